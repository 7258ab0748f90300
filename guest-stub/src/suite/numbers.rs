// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls as such: which numbers there are, and what the instruction does.

use xen_abi::hypercall::{
    ARGO_OP, CALLBACK_OP, DM_OP, DOMCTL, EVENT_CHANNEL_OP, GRANT_TABLE_OP, HVM_OP, KEXEC_OP,
    MEMORY_OP, MULTICALL, PLATFORM_OP, SCHED_OP, SYSCTL, TMEM_OP, VCPU_OP, VM_ASSIST, XEN_VERSION,
    XENOPROF_OP, XENPMU_OP, XSM_OP,
};

use super::call::plain;
use super::check::{Check, Outcome, check, ensure_eq, rows};
use super::errno::{EFAULT, EINVAL, ENOSYS};
use crate::xen::hypercall::hypercall;

fn none(number: u64) -> i64 {
    hypercall(number, [0; 5])
}

pub(super) const CHECKS: &[Check] = rows! {
    "set_trap_table (0) is not there", none(0) => ENOSYS;
    "mmu_update (1) is not there", none(1) => ENOSYS;
    "set_gdt (2) is not there", none(2) => ENOSYS;
    "stack_switch (3) is not there", none(3) => ENOSYS;
    "set_callbacks (4) is not there", none(4) => ENOSYS;
    "fpu_taskswitch (5) is not there", none(5) => ENOSYS;
    "sched_op_compat (6) is not there", none(6) => ENOSYS;
    "set_debugreg (8) is not there", none(8) => ENOSYS;
    "get_debugreg (9) is not there", none(9) => ENOSYS;
    "update_descriptor (10) is not there", none(10) => ENOSYS;
    "number 11 is not there", none(11) => ENOSYS;
    "update_va_mapping (14) is not there", none(14) => ENOSYS;
    "set_timer_op (15) is not there", none(15) => ENOSYS;
    "event_channel_op_compat (16) is not there", none(16) => ENOSYS;
    "physdev_op_compat (19) is not there", none(19) => ENOSYS;
    "update_va_mapping_otherdomain (22) is not there", none(22) => ENOSYS;
    "iret (23) is not there", none(23) => ENOSYS;
    "set_segment_base (25) is not there", none(25) => ENOSYS;
    "mmuext_op (26) is not there", none(26) => ENOSYS;
    "xsm_op (27) is not there without FLASK", none(XSM_OP) => ENOSYS;
    "nmi_op (28) is not there", none(28) => ENOSYS;
    "callback_op (30) is not there", none(CALLBACK_OP) => ENOSYS;
    "xenoprof_op (31) is not there", none(XENOPROF_OP) => ENOSYS;
    "kexec_op (37) is not there", none(KEXEC_OP) => ENOSYS;
    "tmem_op (38) is not there", none(TMEM_OP) => ENOSYS;
    "argo_op (39) is not there", none(ARGO_OP) => ENOSYS;
    "xenpmu_op (40) is not there", none(XENPMU_OP) => ENOSYS;
    "dm_op (41) is not there", none(DM_OP) => ENOSYS;
    "number 43 is not there", none(43) => ENOSYS;
    "arch_0 (48) is not there", none(48) => ENOSYS;
    "arch_7 (55) is not there", none(55) => ENOSYS;
    "number 63 is not there", none(63) => ENOSYS;
    "number 64 is not there", none(64) => ENOSYS;
    "number ~0 is not there", none(u64::MAX) => ENOSYS;
    "the upper half of x16 counts", none(1 << 32 | XEN_VERSION) => ENOSYS;
    "bit 63 of x16 counts", none(1 << 63 | XEN_VERSION) => ENOSYS;
    "platform_op with all arguments 0", none(PLATFORM_OP) => EFAULT;
    "event_channel_op with all arguments 0", none(EVENT_CHANNEL_OP) => EFAULT;
    "hvm_op with all arguments 0", none(HVM_OP) => EFAULT;
    "sysctl with all arguments 0", none(SYSCTL) => EFAULT;
    "domctl with all arguments 0", none(DOMCTL) => EFAULT;
    "memory_op with all arguments 0", none(MEMORY_OP) => 0;
    "multicall with all arguments 0", none(MULTICALL) => 0;
    "grant_table_op with all arguments 0", none(GRANT_TABLE_OP) => 0;
    "sched_op with all arguments 0", none(SCHED_OP) => 0;
    "vm_assist with all arguments 0", none(VM_ASSIST) => EINVAL;
    "vcpu_op with all arguments 0", none(VCPU_OP) => EINVAL;
    "the upper half of a 32-bit sub-operation is ignored", plain(XEN_VERSION, 1 << 32, 0, 0) => 0x4_0014;
};

pub(super) const REGISTERS: &[Check] = &[check("a hypercall keeps the other registers", registers)];

fn registers() -> Outcome {
    let mut kept = [0x1111_u64, 0x2222, 0x3333, 0x4444];
    let [a, b, c, d] = &mut kept;
    // SAFETY: xen_version 0 writes no memory; the registers are what is checked.
    unsafe {
        core::arch::asm!("hvc #0xea1", inout("x16") XEN_VERSION => _, inout("x0") 0_u64 => _, inout("x1") 0_u64 => _,
            inout("x5") *a, inout("x9") *b, inout("x17") *c, inout("x30") *d, options(nostack));
    }
    ensure_eq!(kept, [0x1111, 0x2222, 0x3333, 0x4444], "x5, x9, x17, x30");
    Ok(())
}
