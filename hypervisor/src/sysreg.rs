// SPDX-License-Identifier: MIT OR Apache-2.0
//! System registers by their Arm ARM names. Own macros, since arm-sysregs lacks ICH_*, the AArch32
//! banked and several EL1 registers, and one way to read a register is better than two.

/// Reads a system register as u64.
macro_rules! mrs {
    ($($name:tt)+) => {{
        let value: u64;
        // SAFETY: reading this register has no side effect on memory or control flow.
        #[allow(unused_unsafe, reason = "it may be used inside `unsafe`, too")]
        unsafe { core::arch::asm!(concat!("mrs {}, ", $($name)+), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

/// Writes a system register. An expression of type `()`, to be used inside `unsafe`.
macro_rules! msr {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags))
    }};
}

/// `ISB`.
#[inline(always)]
pub(crate) fn isb() {
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("isb", options(nostack, preserves_flags)) };
}

/// `DSB ISH`.
#[inline(always)]
pub(crate) fn dsb_ish() {
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("dsb ish", options(nostack, preserves_flags)) };
}

/// `DSB SY`.
#[inline(always)]
pub(crate) fn dsb_sy() {
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("dsb sy", options(nostack, preserves_flags)) };
}

pub(crate) use {mrs, msr};
