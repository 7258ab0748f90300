// SPDX-License-Identifier: MIT OR Apache-2.0
//! SMCCC and PSCI.

use core::arch::asm;

use super::check::{Check, Outcome, check, ensure_eq};
use crate::machine::dt::facts;
use crate::machine::psci::{
    AFFINITY_INFO, CPU_OFF, CPU_ON, FEATURES, MIGRATE_INFO_TYPE, SMCCC_VERSION, SYSTEM_OFF,
    SYSTEM_RESET, VERSION, call, hvc, smc,
};

const NOT_SUPPORTED: i32 = -1;
const INVALID_PARAMETERS: i32 = -2;
const ALREADY_ON: i32 = -4;
const INVALID_ADDRESS: i32 = -9;
/// Affinity of no CPU.
const NOBODY: u64 = 0x55;

pub(super) const CHECKS: &[Check] = &[
    check("versions", versions),
    check("features", features),
    check("unknown functions are not supported", unknown),
    check("the upper half of the function is ignored", upper_half),
    check("hvc and smc answer alike", conduits),
    check(
        "starting a CPU that is on, is not, or at a wrong address",
        cpu_on,
    ),
    check("Aff3 counts when a CPU is started", cpu_on_aff3)
        .hangs("it ignores Aff3, and would start CPU 1 on nothing"),
    check("the state of CPUs", affinity_info),
    check("a CPU that does not exist has no state", affinity_of_nobody)
        .differs("Xen says it is off"),
    check("the identity of the hypervisor's services", identity),
    check("a call keeps the other registers", registers),
];

fn versions() -> Outcome {
    ensure_eq!(call(VERSION, [0; 3]), 0x1_0001, "PSCI_VERSION");
    ensure_eq!(call(SMCCC_VERSION, [0; 3]), 0x1_0002, "SMCCC_VERSION");
    ensure_eq!(call(MIGRATE_INFO_TYPE, [0; 3]), 2, "MIGRATE_INFO_TYPE");
    Ok(())
}

fn features() -> Outcome {
    for function in [
        VERSION,
        CPU_OFF,
        CPU_ON,
        AFFINITY_INFO,
        MIGRATE_INFO_TYPE,
        SYSTEM_OFF,
        SYSTEM_RESET,
        FEATURES,
        SMCCC_VERSION,
        0x8400_0001,
        0xc400_0001,
        0x8400_0003,
        0x8400_0004,
    ] {
        ensure_eq!(
            call(FEATURES, [function, 0, 0]),
            0,
            "PSCI_FEATURES({function:#x})"
        );
    }
    for function in [0x8400_0005, 0x8400_000e, 0xc400_0012, 0x8400_0013, 0] {
        let answer = call(FEATURES, [function, 0, 0]);
        ensure_eq!(answer, NOT_SUPPORTED, "PSCI_FEATURES({function:#x})");
    }
    Ok(())
}

fn unknown() -> Outcome {
    for function in [
        0x8400_0005,
        0x8400_000e,
        0x8400_0050,
        0x8400_001f,
        0x8000_7000,
        0x8200_0000,
        0xc200_0000,
        0x8600_ff01,
        0xc500_0020,
        0xb200_0000,
        0xffff_ffff,
        0,
    ] {
        ensure_eq!(
            call(function, [0; 3]),
            NOT_SUPPORTED,
            "function {function:#x}"
        );
    }
    ensure_eq!(
        call(0x8000_0001, [0x8000_0002, 0, 0]),
        NOT_SUPPORTED,
        "ARCH_FEATURES(SOC_ID)"
    );
    Ok(())
}

fn upper_half() -> Outcome {
    ensure_eq!(
        call(0xdead_beef << 32 | VERSION, [0; 3]),
        0x1_0001,
        "PSCI_VERSION"
    );
    Ok(())
}

fn conduits() -> Outcome {
    for function in [VERSION, SMCCC_VERSION, MIGRATE_INFO_TYPE, 0x8400_0005] {
        ensure_eq!(
            smc(function, [0; 3])[0],
            hvc(function, [0; 3])[0],
            "function {function:#x}"
        );
    }
    Ok(())
}

fn cpu_on() -> Outcome {
    ensure_eq!(call(CPU_ON, [0, 0x1000, 0]), ALREADY_ON, "CPU_ON(self)");
    ensure_eq!(
        call(CPU_ON, [NOBODY, 0x1000, 0]),
        INVALID_PARAMETERS,
        "CPU_ON(nobody)"
    );
    if facts().cpus > 1 {
        ensure_eq!(
            call(CPU_ON, [1, 0x1001, 0]),
            INVALID_ADDRESS,
            "CPU_ON at an odd address"
        );
    }
    Ok(())
}

fn cpu_on_aff3() -> Outcome {
    let far = 1 << 32 | 1;
    ensure_eq!(
        call(CPU_ON, [far, 0x1000, 0]),
        INVALID_PARAMETERS,
        "the answer"
    );
    Ok(())
}

fn affinity_info() -> Outcome {
    ensure_eq!(call(AFFINITY_INFO, [0, 0, 0]), 0, "the calling CPU");
    ensure_eq!(call(AFFINITY_INFO, [0, 1, 0]), 0, "its cluster");
    ensure_eq!(
        call(AFFINITY_INFO, [0, 4, 0]),
        INVALID_PARAMETERS,
        "level 4"
    );
    if facts().cpus > 1 {
        ensure_eq!(call(AFFINITY_INFO, [1, 0, 0]), 1, "a CPU that is off");
    }
    Ok(())
}

fn affinity_of_nobody() -> Outcome {
    ensure_eq!(
        call(AFFINITY_INFO, [NOBODY, 0, 0]),
        INVALID_PARAMETERS,
        "the answer"
    );
    Ok(())
}

fn identity() -> Outcome {
    let uid = hvc(0x8500_ff01, [0; 3]);
    ensure_eq!(
        uid,
        [0xdc12_18a7, 0x6943_98c6, 0xd179_cf9a, 0x67e6_de8d],
        "UID"
    );
    let [major, minor, ..] = hvc(0x8500_ff03, [0; 3]);
    ensure_eq!([major, minor], [0, 1], "revision");
    Ok(())
}

fn registers() -> Outcome {
    let mut kept = [0x1111_u64, 0x2222, 0x3333, 0x4444];
    let [a, b, c, d] = &mut kept;
    // SAFETY: the call writes no memory; x0-x3 are declared and the others are what is checked.
    unsafe {
        asm!("hvc #0", inout("x0") VERSION => _, inout("x1") 0_u64 => _, inout("x2") 0_u64 => _,
            inout("x3") 0_u64 => _, inout("x4") *a, inout("x9") *b, inout("x17") *c, inout("x30") *d, options(nostack));
    }
    ensure_eq!(kept, [0x1111, 0x2222, 0x3333, 0x4444], "x4, x9, x17, x30");
    Ok(())
}
