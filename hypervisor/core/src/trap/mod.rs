// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a guest came to EL2, and what the architecture says shall happen then.
//!
//! Pure decode and policy over register values: no domain's state, no processor. The run loop
//! decodes a trap with [`esr`], asks the other modules what to do, and does it.
//!
//! | module | about |
//! |---|---|
//! | [`esr`] | ESR_EL2 to [`esr::Exit`] |
//! | [`abort`], [`insn`] | aborts, emulated device accesses, the instructions behind them |
//! | [`inject`] | exception entry to EL1 |
//! | [`sysreg`], [`idreg`] | trapped system registers, the ID registers a guest sees |
//! | [`smccc`] | firmware calls: SMCCC, PSCI |
//! | [`timer`] | the emulated physical timer, deadlines of the virtual one |
//! | [`setway`] | cache maintenance by set and way |
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

pub mod abort;
pub mod esr;
pub mod idreg;
pub mod inject;
pub mod insn;
pub mod setway;
pub mod smccc;
pub mod sysreg;
pub mod timer;

/// Bits `lo + len - 1` to `lo` of `value`, at bit 0. `lo` and `len` are below 64.
const fn bits(value: u64, lo: u32, len: u32) -> u64 {
    value.wrapping_shr(lo) & !u64::MAX.wrapping_shl(len)
}

/// Bit `n` (below 64) of `value`.
const fn bit(value: u64, n: u32) -> bool {
    value.wrapping_shr(n) & 1 != 0
}

/// The low `len` bits (1 to 64) of `value` as a signed number.
const fn sign_extend(value: u64, len: u32) -> i64 {
    let unused = 64u32.saturating_sub(len);
    ((value << unused) as i64) >> unused
}

/// General register `n` as a data operand: 31 is XZR.
pub fn gpr(regs: &[u64; 31], n: u8) -> u64 {
    regs.get(usize::from(n)).copied().unwrap_or(0)
}

/// Writes general register `n` as a data operand: 31 is XZR.
pub fn set_gpr(regs: &mut [u64; 31], n: u8, value: u64) {
    if let Some(reg) = regs.get_mut(usize::from(n)) {
        *reg = value;
    }
}
