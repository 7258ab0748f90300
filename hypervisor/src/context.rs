// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moves a vCPU's registers to and from the processor.

use crate::sysreg::{mrs, msr};
use hv_core::domain::context::{FpRegs, SysRegs};

core::arch::global_asm!(
    r#"
.arch armv8-a+fp+simd
// fp_save(regs: *mut FpRegs), fp_load(regs: *const FpRegs)
.global fp_save
fp_save:
    stp q0, q1, [x0]
    stp q2, q3, [x0, #32]
    stp q4, q5, [x0, #64]
    stp q6, q7, [x0, #96]
    stp q8, q9, [x0, #128]
    stp q10, q11, [x0, #160]
    stp q12, q13, [x0, #192]
    stp q14, q15, [x0, #224]
    stp q16, q17, [x0, #256]
    stp q18, q19, [x0, #288]
    stp q20, q21, [x0, #320]
    stp q22, q23, [x0, #352]
    stp q24, q25, [x0, #384]
    stp q26, q27, [x0, #416]
    stp q28, q29, [x0, #448]
    stp q30, q31, [x0, #480]
    mrs x1, fpsr
    mrs x2, fpcr
    str x1, [x0, #512]
    str x2, [x0, #520]
    ret
.global fp_load
fp_load:
    ldp q0, q1, [x0]
    ldp q2, q3, [x0, #32]
    ldp q4, q5, [x0, #64]
    ldp q6, q7, [x0, #96]
    ldp q8, q9, [x0, #128]
    ldp q10, q11, [x0, #160]
    ldp q12, q13, [x0, #192]
    ldp q14, q15, [x0, #224]
    ldp q16, q17, [x0, #256]
    ldp q18, q19, [x0, #288]
    ldp q20, q21, [x0, #320]
    ldp q22, q23, [x0, #352]
    ldp q24, q25, [x0, #384]
    ldp q26, q27, [x0, #416]
    ldp q28, q29, [x0, #448]
    ldp q30, q31, [x0, #480]
    ldr x1, [x0, #512]
    ldr x2, [x0, #520]
    msr fpsr, x1
    msr fpcr, x2
    ret
"#
);

unsafe extern "C" {
    fn fp_save(regs: *mut FpRegs);
    fn fp_load(regs: *const FpRegs);
}

/// Each register of [`SysRegs`] with its name in the instruction.
macro_rules! for_each_sysreg {
    ($m:ident) => {
        $m! {
            sctlr_el1 actlr_el1 cpacr_el1 ttbr0_el1 ttbr1_el1 tcr_el1 esr_el1 far_el1 afsr0_el1
            afsr1_el1 mair_el1 amair_el1 contextidr_el1 vbar_el1 tpidr_el0 tpidrro_el0 tpidr_el1
            sp_el0 sp_el1 elr_el1 spsr_el1 par_el1 csselr_el1 cntkctl_el1
        }
    };
}

/// Saves what a switch must save, and stops the virtual timer.
pub(crate) fn save(sys: &mut SysRegs, fp: &mut FpRegs) {
    macro_rules! save {
        ($($reg:ident)*) => {{ $( sys.$reg = read!($reg); )* }};
    }
    macro_rules! read {
        ($reg:ident) => {{
            let value: u64;
            // SAFETY: reads an EL1 register that EL2 does not use.
            unsafe { core::arch::asm!(concat!("mrs {}, ", stringify!($reg)), out(reg) value, options(nomem, nostack, preserves_flags)) };
            value
        }};
    }
    for_each_sysreg!(save);
    sys.cntv_ctl_el0 = mrs!("cntv_ctl_el0");
    sys.cntv_cval_el0 = mrs!("cntv_cval_el0");
    // SAFETY: the timer is the leaving guest's; `fp` is 16-byte aligned storage of the right size.
    unsafe {
        msr!("cntv_ctl_el0", 0);
        fp_save(fp);
    }
}

/// Loads what [`save`] saved. The virtual timer goes last: CNTVOFF_EL2 must be right by then.
pub(crate) fn load(sys: &SysRegs, fp: &FpRegs) {
    macro_rules! write {
        ($($reg:ident)*) => {{ $(
            // SAFETY: EL1 state, without effect at EL2.
            unsafe { core::arch::asm!(concat!("msr ", stringify!($reg), ", {}"), in(reg) sys.$reg, options(nostack, preserves_flags)) };
        )* }};
    }
    for_each_sysreg!(write);
    // SAFETY: as above.
    unsafe {
        msr!("cntv_cval_el0", sys.cntv_cval_el0);
        msr!("cntv_ctl_el0", sys.cntv_ctl_el0);
        fp_load(fp);
    }
}
