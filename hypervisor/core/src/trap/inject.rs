// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions injected into a guest: AArch64.TakeException() to EL1, done by hand.

use super::bits;
use super::esr::{is_aarch32, is_el0};

/// What exception entry to EL1 reads and writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct El1State {
    /// Where the vCPU goes on (ELR_EL2).
    pub pc: u64,
    /// Its PSTATE (SPSR_EL2).
    pub pstate: u64,
    /// VBAR_EL1; only read.
    pub vbar: u64,
    /// SCTLR_EL1; only read.
    pub sctlr: u64,
    /// ELR_EL1; only written.
    pub elr: u64,
    /// SPSR_EL1; only written.
    pub spsr: u64,
    /// ESR_EL1; only written.
    pub esr: u64,
    /// FAR_EL1; written for aborts.
    pub far: u64,
}

const EC_UNKNOWN: u64 = 0x00;
const EC_INSTR_ABORT_LOWER: u64 = 0x20;
const EC_DATA_ABORT_LOWER: u64 = 0x24;
/// IL is 1 for all that is injected here: an unknown reason, and aborts without a valid syndrome.
const IL: u64 = 1 << 25;
/// A synchronous external abort, not on a table walk.
const FSC_EXTERNAL: u64 = 0x10;
const WNR: u64 = 1 << 6;

const EL1H: u64 = 0x5;
const DAIF: u64 = 0xf << 6;
const SSBS: u64 = 1 << 12;
const PAN: u64 = 1 << 22;
const DIT: u64 = 1 << 24;
const TCO: u64 = 1 << 25;
const NZCV: u64 = 0xf << 28;
const SCTLR_SPAN: u64 = 1 << 23;
const SCTLR_DSSBS: u64 = 1 << 44;

impl El1State {
    /// The instruction at `pc` is UNDEFINED.
    pub const fn undef(&mut self) {
        self.take_exception(EC_UNKNOWN << 26 | IL);
    }

    /// A synchronous external abort of the load (or `write`) at `pc` from or to `far`.
    pub const fn data_abort(&mut self, far: u64, write: bool) {
        let wnr = if write { WNR } else { 0 };
        self.abort(EC_DATA_ABORT_LOWER, far, wnr);
    }

    /// A synchronous external abort of the instruction fetch from `far`.
    pub const fn instr_abort(&mut self, far: u64) {
        self.abort(EC_INSTR_ABORT_LOWER, far, 0);
    }

    const fn abort(&mut self, ec_lower: u64, far: u64, iss: u64) {
        // The class of the same EL is one more than that of a lower EL.
        let ec = if is_el0(self.pstate) {
            ec_lower
        } else {
            ec_lower | 1
        };
        self.far = far;
        self.take_exception(ec << 26 | IL | iss | FSC_EXTERNAL);
    }

    const fn take_exception(&mut self, esr: u64) {
        self.esr = esr;
        self.elr = self.pc;
        self.spsr = self.pstate;
        self.pc = self.vbar.wrapping_add(vector(self.pstate));
        self.pstate = entry_pstate(self.pstate, self.sctlr);
    }
}

/// Offset of the synchronous vector for an exception from `pstate`.
const fn vector(pstate: u64) -> u64 {
    if is_aarch32(pstate) {
        0x600
    } else if is_el0(pstate) {
        0x400
    } else if bits(pstate, 0, 1) == 1 {
        0x200
    } else {
        0x000
    }
}

/// PSTATE at the vector. Flags and DIT live on; SS, IL, UAO, BTYPE are cleared; DAIF is set. A
/// CPU without PAN or SSBS has their bits in SPSR_EL2 as RES0, so that nothing is lost there.
const fn entry_pstate(old: u64, sctlr: u64) -> u64 {
    // From AArch32, bit 25 is part of the IT state.
    let kept = if is_aarch32(old) {
        NZCV | DIT | PAN
    } else {
        NZCV | DIT | PAN | TCO
    };
    let mut new = old & kept | DAIF | EL1H;
    if sctlr & SCTLR_SPAN == 0 {
        new |= PAN;
    }
    if sctlr & SCTLR_DSSBS != 0 {
        new |= SSBS;
    }
    new
}

#[cfg(test)]
mod tests;
