// SPDX-License-Identifier: MIT OR Apache-2.0
//! System registers that a hypervisor traps.

use core::arch::asm;

use super::check::{Check, Outcome, check, ensure, ensure_eq, fault, undefined, value};
use crate::machine::exception::{attempt, attempt_at_el0};
use crate::machine::mmu::{EL0_OFFSET, map_for_el0};
use crate::machine::sysreg::{read_sysreg, write_sysreg};
use crate::machine::{dt, psci};

pub(super) const CHECKS: &[Check] = &[
    check("debug registers read as zero and ignore writes", debug_raz),
    check("the OS lock is unlocked", os_lock),
    check("other debug registers are undefined", debug_undefined),
    check(
        "the performance monitor reads as zero and ignores writes",
        pmu_raz,
    ),
    check("event counters are undefined", pmu_undefined),
    check("features that are not virtualised are hidden", id_hidden),
    check(
        "unallocated identification registers are zero",
        id_unallocated,
    ),
    check("identification registers are read-only", id_read_only),
    check("ACTLR_EL1 ignores writes", actlr),
    check("implementation defined registers are undefined", impdef),
    check("SGIs of other groups are undefined", sgi_groups),
    check("the affinity is that of the device tree", affinity),
    check("EL0 sees the performance monitor closed", el0_pmu),
    check("EL0 makes no calls", el0_calls),
    check("EL0 faults where nothing is", el0_abort),
];

/// Reads, writes and reads again.
macro_rules! raz_wi {
    ($($name:literal $register:literal),* $(,)?) => {$(
        ensure_eq!(value(attempt(|| read_sysreg!($register)), $name)?, 0, $name);
        value(attempt(|| write_sysreg!($register, u64::MAX)), concat!("writing ", $name))?;
        ensure_eq!(value(attempt(|| read_sysreg!($register)), $name)?, 0, "{} once written", $name);
    )*};
}

macro_rules! reads_undefined {
    ($($name:literal $register:literal),* $(,)?) => {$(
        undefined(attempt(|| read_sysreg!($register)), $name)?;
    )*};
}

macro_rules! writes_undefined {
    ($($name:literal $register:literal),* $(,)?) => {$(
        undefined(attempt(|| write_sysreg!($register, 0)), $name)?;
    )*};
}

macro_rules! reads {
    ($($name:literal $register:literal & $mask:literal == $want:literal),* $(,)?) => {$(
        ensure_eq!(value(attempt(|| read_sysreg!($register)), $name)? & $mask, $want, $name);
    )*};
}

fn debug_raz() -> Outcome {
    raz_wi! {
        "MDSCR_EL1" "S2_0_C0_C2_2", "OSDLR_EL1" "S2_0_C1_C3_4",
        "DBGBVR0_EL1" "S2_0_C0_C0_4", "DBGBCR0_EL1" "S2_0_C0_C0_5",
        "DBGWVR0_EL1" "S2_0_C0_C0_6", "DBGWCR0_EL1" "S2_0_C0_C0_7",
        "DBGBVR1_EL1" "S2_0_C0_C1_4", "DBGWCR1_EL1" "S2_0_C0_C1_7",
    }
    reads! { "MDRAR_EL1" "S2_0_C1_C0_0" & 0xffff_ffff_ffff_ffff == 0 }
    Ok(())
}

fn os_lock() -> Outcome {
    value(attempt(|| write_sysreg!("S2_0_C1_C0_4", 0)), "OSLAR_EL1")?;
    reads! { "OSLSR_EL1" "S2_0_C1_C1_4" & 0xffff_ffff == 8 }
    value(attempt(|| write_sysreg!("S2_0_C1_C0_4", 1)), "OSLAR_EL1")?;
    reads! { "OSLSR_EL1 once locked" "S2_0_C1_C1_4" & 0xffff_ffff == 8 }
    Ok(())
}

fn debug_undefined() -> Outcome {
    reads_undefined! {
        "DBGPRCR_EL1" "S2_0_C1_C4_4", "MDCCINT_EL1" "S2_0_C0_C2_0", "OSDTRRX_EL1" "S2_0_C0_C0_2",
        "OSECCR_EL1" "S2_0_C0_C6_2", "DBGCLAIMSET_EL1" "S2_0_C7_C8_6", "DBGAUTHSTATUS_EL1" "S2_0_C7_C14_6",
    }
    Ok(())
}

fn pmu_raz() -> Outcome {
    raz_wi! {
        "PMCR_EL0" "S3_3_C9_C12_0", "PMCNTENSET_EL0" "S3_3_C9_C12_1", "PMCNTENCLR_EL0" "S3_3_C9_C12_2",
        "PMOVSCLR_EL0" "S3_3_C9_C12_3", "PMSELR_EL0" "S3_3_C9_C12_5", "PMCCNTR_EL0" "S3_3_C9_C13_0",
        "PMXEVTYPER_EL0" "S3_3_C9_C13_1", "PMXEVCNTR_EL0" "S3_3_C9_C13_2", "PMUSERENR_EL0" "S3_3_C9_C14_0",
        "PMINTENSET_EL1" "S3_0_C9_C14_1", "PMINTENCLR_EL1" "S3_0_C9_C14_2", "PMOVSSET_EL0" "S3_3_C9_C14_3",
    }
    reads! {
        "PMCEID0_EL0" "S3_3_C9_C12_6" & 0xffff_ffff == 0,
        "PMCEID1_EL0" "S3_3_C9_C12_7" & 0xffff_ffff == 0,
    }
    value(attempt(|| write_sysreg!("S3_3_C9_C12_4", 1)), "PMSWINC_EL0")?;
    Ok(())
}

fn pmu_undefined() -> Outcome {
    reads_undefined! {
        "PMEVCNTR0_EL0" "S3_3_C14_C8_0", "PMEVTYPER0_EL0" "S3_3_C14_C12_0", "PMCCFILTR_EL0" "S3_3_C14_C15_7",
    }
    Ok(())
}

fn id_hidden() -> Outcome {
    reads! {
        "RAS, SVE, MPAM, AMU in ID_AA64PFR0_EL1" "S3_0_C0_C4_0" & 0x0000_ff0f_f000_0000 == 0,
        "MTE, SME and fractions in ID_AA64PFR1_EL1" "S3_0_C0_C4_1" & 0x0000_0000_0f0f_ff00 == 0,
        "ID_AA64ZFR0_EL1" "S3_0_C0_C4_4" & 0xffff_ffff_ffff_ffff == 0,
        "pointer authentication in ID_AA64ISAR1_EL1" "S3_0_C0_C6_1" & 0x0000_0000_ff00_0ff0 == 0,
    }
    let el1 = read_sysreg!("S3_0_C0_C4_0") >> 4 & 0xf;
    ensure!(el1 == 1 || el1 == 2, "ID_AA64PFR0_EL1.EL1 is {el1}");
    Ok(())
}

fn id_unallocated() -> Outcome {
    reads! {
        "S3_0_C0_C4_6" "S3_0_C0_C4_6" & 0xffff_ffff_ffff_ffff == 0,
        "S3_0_C0_C5_6" "S3_0_C0_C5_6" & 0xffff_ffff_ffff_ffff == 0,
        "S3_0_C0_C6_7" "S3_0_C0_C6_7" & 0xffff_ffff_ffff_ffff == 0,
        "S3_0_C0_C7_7" "S3_0_C0_C7_7" & 0xffff_ffff_ffff_ffff == 0,
        "S3_0_C0_C3_7" "S3_0_C0_C3_7" & 0xffff_ffff_ffff_ffff == 0,
    }
    Ok(())
}

fn id_read_only() -> Outcome {
    writes_undefined! {
        "writing ID_AA64PFR0_EL1" "S3_0_C0_C4_0", "writing ID_AA64ISAR0_EL1" "S3_0_C0_C6_0",
        "writing ID_AA64MMFR0_EL1" "S3_0_C0_C7_0",
    }
    Ok(())
}

fn actlr() -> Outcome {
    let before = value(attempt(|| read_sysreg!("S3_0_C1_C0_1")), "ACTLR_EL1")?;
    value(
        attempt(|| write_sysreg!("S3_0_C1_C0_1", !before)),
        "writing ACTLR_EL1",
    )?;
    ensure_eq!(
        read_sysreg!("S3_0_C1_C0_1"),
        before,
        "ACTLR_EL1 once written"
    );
    Ok(())
}

fn impdef() -> Outcome {
    reads_undefined! { "S3_0_C15_C0_0" "S3_0_C15_C0_0", "S3_0_C11_C0_0" "S3_0_C11_C0_0" }
    Ok(())
}

fn sgi_groups() -> Outcome {
    if !dt::facts().gic.is_v3() {
        return Ok(());
    }
    writes_undefined! { "ICC_SGI0R_EL1" "S3_0_C12_C11_7", "ICC_ASGI1R_EL1" "S3_0_C12_C11_6" }
    Ok(())
}

fn affinity() -> Outcome {
    let mpidr = read_sysreg!("mpidr_el1");
    ensure_eq!(
        mpidr & 0xff_40ff_ffff,
        0,
        "MPIDR_EL1 of CPU 0 but for its RES1 bit"
    );
    ensure!(mpidr & 1 << 31 != 0, "MPIDR_EL1 is {mpidr:#x}: bit 31 is 0");
    Ok(())
}

/// The address, as EL0 sees it, of code made of these instructions and SVC.
macro_rules! el0_code {
    ($($instruction:literal),*) => {{
        let address: u64;
        // SAFETY: the code is jumped over; only its address is taken.
        unsafe {
            asm!("adr {0}, 2f", "b 3f", "2:", $($instruction,)* "svc #0", "3:", out(reg) address,
                options(nomem, nostack, preserves_flags));
        }
        map_for_el0(address);
        address + EL0_OFFSET
    }};
}

fn el0_pmu() -> Outcome {
    let pmuserenr = attempt_at_el0(el0_code!("mrs x0, S3_3_C9_C14_0"), 0);
    ensure_eq!(
        value(pmuserenr, "PMUSERENR_EL0 at EL0")?,
        0,
        "PMUSERENR_EL0"
    );
    for attempted in [
        attempt_at_el0(el0_code!("mrs x0, S3_3_C9_C12_0"), 0),
        attempt_at_el0(el0_code!("mrs x0, S3_3_C9_C13_0"), 0),
    ] {
        // Undefined, or the trap that a PMUSERENR_EL0 of 0 makes.
        let fault = fault(attempted, "PMCR_EL0 or PMCCNTR_EL0")?;
        ensure!(
            fault.is_undefined() || fault.esr >> 26 == 0x18,
            "EL0 gets {fault:?}"
        );
    }
    Ok(())
}

fn el0_calls() -> Outcome {
    undefined(attempt_at_el0(el0_code!("hvc #0xea1"), 0), "hvc at EL0")?;
    undefined(attempt_at_el0(el0_code!("hvc #0"), 0), "hvc #0 at EL0")?;
    undefined(attempt_at_el0(el0_code!("smc #0"), 0), "smc #0 at EL0")?;
    let [version, ..] = psci::hvc(psci::VERSION, [0; 3]);
    ensure_eq!(version, 0x1_0001, "the version, at EL1");
    Ok(())
}

fn el0_abort() -> Outcome {
    let region = dt::facts().extended_regions[0];
    map_for_el0(region.base);
    let at = region.base + 0x8_0000 + EL0_OFFSET;
    let code = el0_code!("mov x0, sp", "ldr x0, [x0]");
    match attempt_at_el0(code, at) {
        Ok(value) => super::check::fail!("EL0 reads {value:#x} there"),
        Err(fault) => {
            ensure!(fault.is_data_abort(), "EL0 gets {fault:?}");
            ensure_eq!(fault.esr >> 26, 0x24, "exception class");
            ensure_eq!(fault.far, at, "FAR");
        }
    }
    Ok(())
}
