// SPDX-License-Identifier: MIT OR Apache-2.0
//! Firmware calls: each function's answer.

use super::PsciRequest::*;
use super::SmcccCall::{Nothing, Psci, Return, Return4, SetSsbd, Unhandled};
use super::*;
use proptest::prelude::*;

const MITIGATIONS: Mitigations = Mitigations {
    wa1: Mitigation::Required,
    wa2: Mitigation::NotRequired,
    wa3: Mitigation::NotSupported,
};

fn call(x0: u64, x1: u64, x2: u64, x3: u64) -> SmcccCall {
    decode(&[x0, x1, x2, x3], &MITIGATIONS)
}

#[test]
fn error_codes() {
    assert_eq!(NOT_SUPPORTED, u64::MAX);
    assert_eq!(INVALID_PARAMETERS as i64, -2);
    assert_eq!(DENIED as i64, -3);
    assert_eq!(ALREADY_ON as i64, -4);
    assert_eq!(INVALID_ADDRESS as i64, -9);
}

#[test]
fn constants() {
    let table = [
        (0x8000_0000, 0, 0x1_0002),
        (0x8400_0000, 0, 0x1_0001),
        (0x8400_0006, 0, 2),
        (0x8500_ff00, 0, 3),
        (0x8400_ff00, 0, 15),
        // ARCH_FEATURES.
        (0x8000_0001, 0x8000_8000, 0),
        (0x8000_0001, 0x8000_7fff, 1),
        (0x8000_0001, 0x8000_3fff, NOT_SUPPORTED),
        (0x8000_0001, 0x8000_0002, NOT_SUPPORTED),
        (0x8000_0001, 0x8000_0000, NOT_SUPPORTED),
        (0x8000_0001, 0xc500_0020, NOT_SUPPORTED),
        // PSCI_FEATURES: the version, CPU_ON64, CPU_SUSPEND32, SMCCC_VERSION.
        (0x8400_000a, 0x8400_0000, 0),
        (0x8400_000a, 0xc400_0003, 0),
        (0x8400_000a, 0x8400_0001, 0),
        (0x8400_000a, 0x8000_0000, 0),
        // SYSTEM_SUSPEND, SYSTEM_RESET2, MIGRATE, nonsense.
        (0x8400_000a, 0xc400_000e, NOT_SUPPORTED),
        (0x8400_000a, 0x8400_0012, NOT_SUPPORTED),
        (0x8400_000a, 0x8400_0005, NOT_SUPPORTED),
        (0x8400_000a, 0x1234_5678, NOT_SUPPORTED),
    ];
    for (x0, x1, answer) in table {
        assert_eq!(call(x0, x1, 0, 0), Return(answer), "{x0:#x}({x1:#x})");
        // Only the low half of the function id counts.
        assert_eq!(call(x0 | 0xabcd << 32, x1, 0, 0), Return(answer));
    }
}

#[test]
fn identity() {
    let Return4(words) = call(0x8500_ff01, 0, 0, 0) else {
        panic!("UID")
    };
    let bytes: std::vec::Vec<u8> = words
        .iter()
        .flat_map(|w| (*w as u32).to_le_bytes())
        .collect();
    let text: std::string::String = bytes.iter().map(|b| std::format!("{b:02x}")).collect();
    assert_eq!(text, "a71812dcc69843699acf79d18ddee667");
    let std_uid = [0x6f38_63f8, 0xbd4c_394b, 0x16ce_2092, 0x6f9f_e541];
    assert_eq!(call(0x8400_ff01, 0, 0, 0), Return4(std_uid));
    assert_eq!(call(0x8500_ff03, 9, 7, 8), Return4([0, 1, 7, 8]));
}

#[test]
fn workarounds() {
    assert_eq!(call(0x8000_8000, 0, 0, 0), Nothing);
    assert_eq!(call(0x8000_3fff, 0, 0, 0), Nothing);
    assert_eq!(call(0x8000_7fff, 1, 0, 0), SetSsbd(true));
    assert_eq!(call(0x8000_7fff, 1 << 32, 0, 0), SetSsbd(false));
}

#[test]
fn of_two_cpus_the_worse_counts() {
    use Mitigation::{NotRequired, NotSupported, Required};
    let both = |a, b| {
        let one = |wa1| Mitigations {
            wa1,
            ..Mitigations::default()
        };
        assert_eq!(one(a).combine(one(b)).wa1, one(b).combine(one(a)).wa1);
        one(a).combine(one(b)).wa1
    };
    assert_eq!(both(NotRequired, NotRequired), NotRequired);
    assert_eq!(both(NotRequired, Required), Required);
    assert_eq!(both(NotSupported, Required), Required);
    assert_eq!(both(NotSupported, NotRequired), NotSupported);
}

#[test]
fn vcpus() {
    let on = |mpidr, entry, context| {
        Psci(CpuOn {
            mpidr,
            entry,
            context,
        })
    };
    assert_eq!(
        call(0xc400_0003, 0x101, 0x4008_0000, 7),
        on(0x101, 0x4008_0000, 7)
    );
    // SMC32: the upper halves do not count.
    let x2 = 0xffff_ffff_4008_0000;
    assert_eq!(call(0x8400_0003, 1, x2, 1 << 32 | 7), on(1, 0x4008_0000, 7));
    assert_eq!(call(2, 0x8000_0001, 0x1000, 7), on(1, 0x1000, 0));
    assert_eq!(call(1, 0, 0, 0), Psci(CpuOff));
    assert_eq!(call(0x8400_0002, 0, 0, 0), Psci(CpuOff));
    assert_eq!(call(0x8400_0001, 0, 0, 0), Psci(CpuSuspend));
    assert_eq!(call(0xc400_0001, 0x1_0000, 0, 0), Psci(CpuSuspend));
    let info = AffinityInfo { mpidr: 2, level: 3 };
    assert_eq!(call(0xc400_0004, 2, 3, 0), Psci(info));
    assert_eq!(call(0xc400_0004, 2, 4, 0), Return(INVALID_PARAMETERS));
    assert_eq!(call(0xc400_0003, 1 << 63, 0, 0), Return(INVALID_PARAMETERS));
    assert_eq!(call(0x8400_0008, 0, 0, 0), Psci(SystemOff));
    assert_eq!(call(0x8400_0009, 0, 0, 0), Psci(SystemReset));
}

#[test]
fn unhandled() {
    // TRNG's random numbers, MIGRATE, SYSTEM_SUSPEND, SYSTEM_RESET2, STAT, an SMC64 PSCI version.
    let fids = [
        0x8400_0053,
        0x8400_0005,
        0xc400_000e,
        0xc400_0012,
        0xc400_0010,
        0xc400_0000,
        0,
        3,
        0x8200_0000,
    ];
    for fid in fids {
        let answer = call(fid, u64::MAX, u64::MAX, 0);
        assert!(
            matches!(answer, Unhandled | Return(NOT_SUPPORTED)),
            "{fid:#x} {answer:?}"
        );
    }
}

/// Who asks whether a service is there does nothing that is worth a warning.
#[test]
fn services_that_are_not_there() {
    // TRNG's version; UIDs: KVM's, the CPU's, SiP's, OEM's; count and revision of a secure monitor's.
    for fid in [
        0x8400_0050,
        0x8600_ff01,
        0x8100_ff01,
        0x8200_ff01,
        0x8300_ff01,
        0xb200_ff00,
        0xb200_ff03,
    ] {
        assert_eq!(call(fid, 0, 0, 0), Return(NOT_SUPPORTED), "{fid:#x}");
    }
    // Not of that kind: a yielding call, SMC64, reserved numbers.
    for fid in [0x0600_ff01, 0xc600_ff01, 0x8600_ff02, 0x8601_ff01] {
        assert_eq!(call(fid, 0, 0, 0), Unhandled, "{fid:#x}");
    }
}

#[test]
fn affinities() {
    assert_eq!(vmpidr(0), 0x8000_0000);
    assert_eq!(vmpidr(15), 0x8000_000f);
    assert_eq!(vmpidr(16), 0x8000_0100);
    assert_eq!(vmpidr(127), 0x8000_070f);
    for id in 0..4096 {
        assert_eq!(vcpu_of(vmpidr(id)), Some(id));
        assert!(in_affinity(id, affinity_of(id), 0));
    }
    for bad in [0x10, 0x1_0000, 1 << 32] {
        assert_eq!(vcpu_of(bad), None);
    }
    assert!(!in_affinity(1, 0, 0) && in_affinity(1, 0, 1));
    assert!(!in_affinity(16, 0, 1) && in_affinity(16, 0, 2) && in_affinity(16, 0, 3));
    assert!(!in_affinity(0, 1 << 32, 3));
    assert!(entry_is_valid(0x4008_0000) && !entry_is_valid(0x4008_0001));
}

proptest! {
    #[test]
    fn no_call_panics(x: [u64; 4], fid in 0x8400_0000u64..0x8400_0020, smc64: bool) {
        let _ = decode(&x, &MITIGATIONS);
        let fid = if smc64 { fid | 1 << 30 } else { fid };
        let _ = decode(&[fid, x[1], x[2], x[3]], &MITIGATIONS);
        let _ = decode(&[fid, x[1] & 0xff, x[2] & 3, x[3]], &MITIGATIONS);
    }
}
