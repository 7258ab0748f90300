// SPDX-License-Identifier: MIT OR Apache-2.0
//! ESR_EL2, decoded.
//!
//! Source: Arm ARM DDI 0487, ESR_EL2. Guests run EL1 as AArch64; AArch32 comes from EL0 only.

use super::abort::{DataAbort, InstrAbort};
use super::sysreg::SysRegAccess;
use super::{bit, bits};

/// Exception classes of a trap from a lower EL.
mod ec {
    pub(super) const WFX: u8 = 0x01;
    pub(super) const CP15_32: u8 = 0x03;
    pub(super) const CP15_64: u8 = 0x04;
    pub(super) const CP14_32: u8 = 0x05;
    pub(super) const CP14_LS: u8 = 0x06;
    pub(super) const FP: u8 = 0x07;
    pub(super) const CP10_ID: u8 = 0x08;
    pub(super) const CP14_64: u8 = 0x0c;
    pub(super) const HVC32: u8 = 0x12;
    pub(super) const SMC32: u8 = 0x13;
    pub(super) const HVC64: u8 = 0x16;
    pub(super) const SMC64: u8 = 0x17;
    pub(super) const SYSREG: u8 = 0x18;
    pub(super) const INSTR_ABORT_LOWER: u8 = 0x20;
    pub(super) const DATA_ABORT_LOWER: u8 = 0x24;
    pub(super) const SERROR: u8 = 0x2f;
    /// Classes that a guest's instruction can cause and that have no answer but UNDEFINED:
    /// unknown, pointer authentication, LD64B and friends, branch target, illegal state, SVC,
    /// 128-bit system registers, SVE, ERET, TSTART, pointer authentication failure, SME, PC and
    /// SP alignment, memory copy, floating point, guarded control stack, profiling, debug.
    pub(super) const UNDEFINED: &[u8] = &[
        0x00, 0x09, 0x0a, 0x0b, 0x0d, 0x0e, 0x11, 0x14, 0x15, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e,
        0x22, 0x26, 0x27, 0x28, 0x2c, 0x2d, 0x30, 0x32, 0x34, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d,
        0x3f,
    ];
}

/// A value of ESR_EL2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Esr(pub u64);

/// What made the guest leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// `HVC #imm`; ELR_EL2 is past it already.
    Hvc64 {
        /// The immediate.
        imm: u16,
    },
    /// `SMC #imm`; ELR_EL2 is at it.
    Smc64 {
        /// The immediate.
        imm: u16,
    },
    /// A wait; ELR_EL2 is at it.
    Wfx(Wfx),
    /// `MSR`, `MRS` or a system instruction.
    SysReg(SysRegAccess),
    /// A load or store that stage 2 (or the bus) refused.
    DataAbort(DataAbort),
    /// An instruction fetch that stage 2 (or the bus) refused.
    InstrAbort(InstrAbort),
    /// A system error; ISS as in the register.
    SError {
        /// ESR_EL2.ISS.
        iss: u32,
    },
    /// An AArch32 instruction that its condition skips: [`advance`] and go on.
    ConditionFailed,
    /// To be answered with [`super::inject::El1State::undef`].
    Undefined {
        /// ESR_EL2.EC.
        ec: u8,
    },
    /// An exception class no guest should be able to cause. UNDEFINED for the guest too.
    Unknown {
        /// ESR_EL2.EC.
        ec: u8,
    },
}

/// Which wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wfx {
    /// Wait for an interrupt.
    Wfi,
    /// Wait for an event.
    Wfe,
    /// Wait for an interrupt until CNTVCT_EL0 reaches Xt.
    Wfit {
        /// The number of Xt (31 is XZR).
        rt: u8,
    },
    /// Wait for an event until CNTVCT_EL0 reaches Xt.
    Wfet {
        /// The number of Xt (31 is XZR).
        rt: u8,
    },
}

impl Esr {
    /// The exception class.
    pub const fn ec(self) -> u8 {
        bits(self.0, 26, 6) as u8
    }

    /// True for a 4-byte instruction, false for a 2-byte one.
    pub const fn il(self) -> bool {
        bit(self.0, 25)
    }

    /// The syndrome, 25 bits.
    pub const fn iss(self) -> u32 {
        bits(self.0, 0, 25) as u32
    }

    /// What happened. `spsr` is SPSR_EL2.
    pub fn decode(self, spsr: u64) -> Exit {
        let iss = self.iss();
        match self.ec() {
            ec::HVC64 => Exit::Hvc64 { imm: iss as u16 },
            ec::SYSREG => Exit::SysReg(SysRegAccess::from_iss(iss)),
            ec::DATA_ABORT_LOWER => Exit::DataAbort(DataAbort(iss)),
            ec::INSTR_ABORT_LOWER => Exit::InstrAbort(InstrAbort(iss)),
            ec::SMC64 => Exit::Smc64 { imm: iss as u16 },
            ec::SERROR => Exit::SError { iss },
            ec => self.decode_conditional(ec, spsr),
        }
    }

    /// Classes that an AArch32 instruction can cause, whose condition has to be looked at.
    fn decode_conditional(self, ec: u8, spsr: u64) -> Exit {
        match ec {
            ec::WFX
            | ec::CP15_32
            | ec::CP15_64
            | ec::CP14_32
            | ec::CP14_LS
            | ec::FP
            | ec::CP10_ID
            | ec::CP14_64
            | ec::SMC32
                if is_aarch32(spsr) && !self.condition_holds(spsr) =>
            {
                Exit::ConditionFailed
            }
            ec::WFX => Exit::Wfx(self.wfx()),
            ec::CP15_32
            | ec::CP15_64
            | ec::CP14_32
            | ec::CP14_LS
            | ec::FP
            | ec::CP10_ID
            | ec::CP14_64
            | ec::HVC32
            | ec::SMC32 => Exit::Undefined { ec },
            ec if ec::UNDEFINED.contains(&ec) => Exit::Undefined { ec },
            ec => Exit::Unknown { ec },
        }
    }

    const fn wfx(self) -> Wfx {
        let rt = bits(self.0, 5, 5) as u8;
        match bits(self.0, 0, 2) {
            0 => Wfx::Wfi,
            1 => Wfx::Wfe,
            2 => Wfx::Wfit { rt },
            _ => Wfx::Wfet { rt },
        }
    }

    /// ConditionHolds() for a trapped AArch32 instruction.
    fn condition_holds(self, spsr: u64) -> bool {
        let cond = if bit(self.0, 24) {
            bits(self.0, 20, 4)
        } else {
            // T32: the condition is in the IT state, if any.
            match it_state(spsr) {
                0 => 0xe,
                it => it >> 4,
            }
        };
        let (n, z, c, v) = (bit(spsr, 31), bit(spsr, 30), bit(spsr, 29), bit(spsr, 28));
        let holds = match cond >> 1 {
            0 => z,
            1 => c,
            2 => n,
            3 => v,
            4 => c && !z,
            5 => n == v,
            6 => n == v && !z,
            _ => return true,
        };
        holds != bit(cond, 0)
    }
}

/// True if `spsr` is of AArch32 state.
pub const fn is_aarch32(spsr: u64) -> bool {
    bit(spsr, 4)
}

/// True if `spsr` is of EL0, AArch64 or AArch32.
pub const fn is_el0(spsr: u64) -> bool {
    if is_aarch32(spsr) {
        bits(spsr, 0, 4) == 0
    } else {
        bits(spsr, 2, 2) == 0
    }
}

/// PSTATE.IT: bits 7:2 in SPSR 15:10, bits 1:0 in SPSR 26:25.
const fn it_state(spsr: u64) -> u64 {
    bits(spsr, 10, 6) << 2 | bits(spsr, 25, 2)
}

const IT_MASK: u64 = 0x3f << 10 | 3 << 25;
const SS: u64 = 1 << 21;

/// ELR_EL2 and SPSR_EL2 after the trapped instruction counts as executed: past it, the IT state
/// moved on, a software step due.
pub const fn advance(pc: u64, spsr: u64, esr: Esr) -> (u64, u64) {
    let pc = pc.wrapping_add(if esr.il() { 4 } else { 2 });
    let spsr = spsr & !SS;
    let it = it_state(spsr);
    if !is_aarch32(spsr) || it == 0 {
        return (pc, spsr);
    }
    let it = if it & 7 == 0 {
        0
    } else {
        it & 0xe0 | (it << 1) & 0x1f
    };
    (pc, spsr & !IT_MASK | (it >> 2) << 10 | (it & 3) << 25)
}

#[cfg(test)]
mod tests;
