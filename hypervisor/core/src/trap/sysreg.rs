// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trapped system registers: what each access shall do.
//!
//! Whatever is not named here is UNDEFINED for the guest.

use super::idreg::IdRegs;
use super::timer::TimerReg;
use super::{bit, bits};

/// A system register or instruction: op0, op1, CRn, CRm, op2 packed as in the instruction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct SysReg(pub u16);

impl SysReg {
    /// Packs the five fields; each is cut to its width.
    pub const fn new(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Self {
        Self(
            (op0 as u16 & 3) << 14
                | (op1 as u16 & 7) << 11
                | (crn as u16 & 15) << 7
                | (crm as u16 & 15) << 3
                | (op2 as u16 & 7),
        )
    }
    /// op0.
    pub const fn op0(self) -> u8 {
        (self.0 >> 14) as u8
    }
    /// op1.
    pub const fn op1(self) -> u8 {
        (self.0 >> 11 & 7) as u8
    }
    /// CRn.
    pub const fn crn(self) -> u8 {
        (self.0 >> 7 & 15) as u8
    }
    /// CRm.
    pub const fn crm(self) -> u8 {
        (self.0 >> 3 & 15) as u8
    }
    /// op2.
    pub const fn op2(self) -> u8 {
        (self.0 & 7) as u8
    }
}

impl core::fmt::Debug for SysReg {
    /// The generic name that assemblers take.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (op0, op1, op2) = (self.op0(), self.op1(), self.op2());
        write!(f, "S{op0}_{op1}_C{}_C{}_{op2}", self.crn(), self.crm())
    }
}

/// One trapped access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SysRegAccess {
    /// The register.
    pub reg: SysReg,
    /// The general register; 31 is XZR.
    pub rt: u8,
    /// `MSR` or a system instruction; else `MRS`.
    pub write: bool,
}

impl SysRegAccess {
    /// Decodes the ISS of exception class 0x18.
    pub const fn from_iss(iss: u32) -> Self {
        let iss = iss as u64;
        Self {
            reg: SysReg::new(
                bits(iss, 20, 2) as u8,
                bits(iss, 14, 3) as u8,
                bits(iss, 10, 4) as u8,
                bits(iss, 1, 4) as u8,
                bits(iss, 17, 3) as u8,
            ),
            rt: bits(iss, 5, 5) as u8,
            write: !bit(iss, 0),
        }
    }
}

macro_rules! sysregs {
    ($($name:ident = $op0:literal $op1:literal $crn:literal $crm:literal $op2:literal;)*) => {
        /// Encodings, by the Arm ARM's names.
        #[allow(missing_docs, reason = "the name is the documentation")]
        pub mod reg {
            use super::SysReg;
            $(pub const $name: SysReg = SysReg::new($op0, $op1, $crn, $crm, $op2);)*
            /// All of the above, with their names.
            #[cfg(test)]
            pub(crate) const ALL: &[(&str, SysReg)] = &[$((stringify!($name), $name)),*];
        }
    };
}

sysregs! {
    DC_ISW = 1 0 7 6 2;
    DC_CSW = 1 0 7 10 2;
    DC_CISW = 1 0 7 14 2;
    OSDLR_EL1 = 2 0 1 3 4;
    OSLAR_EL1 = 2 0 1 0 4;
    OSLSR_EL1 = 2 0 1 1 4;
    MDSCR_EL1 = 2 0 0 2 2;
    MDRAR_EL1 = 2 0 1 0 0;
    MDCCSR_EL0 = 2 3 0 1 0;
    SCTLR_EL1 = 3 0 1 0 0;
    ACTLR_EL1 = 3 0 1 0 1;
    TTBR0_EL1 = 3 0 2 0 0;
    TTBR1_EL1 = 3 0 2 0 1;
    TCR_EL1 = 3 0 2 0 2;
    AFSR0_EL1 = 3 0 5 1 0;
    AFSR1_EL1 = 3 0 5 1 1;
    ESR_EL1 = 3 0 5 2 0;
    FAR_EL1 = 3 0 6 0 0;
    MAIR_EL1 = 3 0 10 2 0;
    AMAIR_EL1 = 3 0 10 3 0;
    CONTEXTIDR_EL1 = 3 0 13 0 1;
    PMINTENSET_EL1 = 3 0 9 14 1;
    PMINTENCLR_EL1 = 3 0 9 14 2;
    PMCR_EL0 = 3 3 9 12 0;
    PMCNTENSET_EL0 = 3 3 9 12 1;
    PMCNTENCLR_EL0 = 3 3 9 12 2;
    PMOVSCLR_EL0 = 3 3 9 12 3;
    PMSWINC_EL0 = 3 3 9 12 4;
    PMSELR_EL0 = 3 3 9 12 5;
    PMCEID0_EL0 = 3 3 9 12 6;
    PMCEID1_EL0 = 3 3 9 12 7;
    PMCCNTR_EL0 = 3 3 9 13 0;
    PMXEVTYPER_EL0 = 3 3 9 13 1;
    PMXEVCNTR_EL0 = 3 3 9 13 2;
    PMUSERENR_EL0 = 3 3 9 14 0;
    PMOVSSET_EL0 = 3 3 9 14 3;
    CNTP_TVAL_EL0 = 3 3 14 2 0;
    CNTP_CTL_EL0 = 3 3 14 2 1;
    CNTP_CVAL_EL0 = 3 3 14 2 2;
    ICC_SGI1R_EL1 = 3 0 12 11 5;
    ICC_SRE_EL1 = 3 0 12 12 5;
}

/// A register that HCR_EL2.TVM traps. The write is to be performed as it is; for `Sctlr` see
/// [`super::setway::on_sctlr_write`].
#[allow(missing_docs, reason = "registers by their names")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmReg {
    Sctlr,
    Ttbr0,
    Ttbr1,
    Tcr,
    Afsr0,
    Afsr1,
    Esr,
    Far,
    Mair,
    Amair,
    Contextidr,
}

/// What an access does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SysRegAction {
    /// Rt becomes this.
    Read(u64),
    /// Nothing happens.
    WriteIgnore,
    /// The instruction is UNDEFINED.
    Undef,
    /// See [`super::timer::PhysTimer`].
    Timer(TimerReg),
    /// An SGI is sent, as Rt says.
    Sgi1r,
    /// See [`super::setway::on_set_way`].
    SetWay,
    /// Rt is written to the register.
    VmReg(VmReg),
    /// Rt becomes the vCPU's ACTLR_EL1.
    Actlr,
}

/// The state an access is judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// It comes from EL0.
    pub el0: bool,
    /// CNTKCTL_EL1 of the vCPU.
    pub cntkctl: u64,
}

const CNTKCTL_EL0PTEN: u64 = 1 << 9;
/// OSLM: the OS lock is there; OSLK: it is not locked.
const OSLSR_VALUE: u64 = 0x8;

/// Decides about `access`.
pub fn classify(access: SysRegAccess, caller: Caller, ids: &IdRegs) -> SysRegAction {
    if caller.el0 {
        return classify_el0(access, caller.cntkctl);
    }
    if let Some(value) = ids.read(access.reg) {
        return read_only(access, value);
    }
    match access.reg.op0() {
        1 => match access.reg {
            reg::DC_ISW | reg::DC_CSW | reg::DC_CISW => write_only(access, SysRegAction::SetWay),
            _ => SysRegAction::Undef,
        },
        2 => classify_debug(access),
        _ => classify_el1(access),
    }
}

const fn read_only(access: SysRegAccess, value: u64) -> SysRegAction {
    if access.write {
        SysRegAction::Undef
    } else {
        SysRegAction::Read(value)
    }
}

const fn write_only(access: SysRegAccess, action: SysRegAction) -> SysRegAction {
    if access.write {
        action
    } else {
        SysRegAction::Undef
    }
}

const fn raz_wi(access: SysRegAccess) -> SysRegAction {
    if access.write {
        SysRegAction::WriteIgnore
    } else {
        SysRegAction::Read(0)
    }
}

const fn timer(r: SysReg) -> Option<TimerReg> {
    Some(match r {
        reg::CNTP_CTL_EL0 => TimerReg::CntpCtl,
        reg::CNTP_TVAL_EL0 => TimerReg::CntpTval,
        reg::CNTP_CVAL_EL0 => TimerReg::CntpCval,
        _ => return None,
    })
}

fn classify_el0(access: SysRegAccess, cntkctl: u64) -> SysRegAction {
    match access.reg {
        reg::PMUSERENR_EL0 | reg::MDCCSR_EL0 => read_only(access, 0),
        r => match timer(r) {
            Some(timer) if cntkctl & CNTKCTL_EL0PTEN != 0 => SysRegAction::Timer(timer),
            _ => SysRegAction::Undef,
        },
    }
}

fn classify_debug(access: SysRegAccess) -> SysRegAction {
    let r = access.reg;
    match r {
        reg::OSDLR_EL1 | reg::MDSCR_EL1 => raz_wi(access),
        reg::OSLAR_EL1 => write_only(access, SysRegAction::WriteIgnore),
        reg::OSLSR_EL1 => read_only(access, OSLSR_VALUE),
        reg::MDRAR_EL1 | reg::MDCCSR_EL0 => read_only(access, 0),
        // DBGBVRn, DBGBCRn, DBGWVRn, DBGWCRn, n = CRm.
        _ if r.op1() == 0 && r.crn() == 0 && matches!(r.op2(), 4..=7) => raz_wi(access),
        _ => SysRegAction::Undef,
    }
}

fn classify_el1(access: SysRegAccess) -> SysRegAction {
    match access.reg {
        reg::ACTLR_EL1 if access.write => SysRegAction::WriteIgnore,
        reg::ACTLR_EL1 => SysRegAction::Actlr,
        reg::ICC_SGI1R_EL1 => write_only(access, SysRegAction::Sgi1r),
        reg::PMINTENSET_EL1
        | reg::PMINTENCLR_EL1
        | reg::PMUSERENR_EL0
        | reg::PMCR_EL0
        | reg::PMCNTENSET_EL0
        | reg::PMCNTENCLR_EL0
        | reg::PMOVSCLR_EL0
        | reg::PMOVSSET_EL0
        | reg::PMSWINC_EL0
        | reg::PMSELR_EL0
        | reg::PMCEID0_EL0
        | reg::PMCEID1_EL0
        | reg::PMCCNTR_EL0
        | reg::PMXEVTYPER_EL0
        | reg::PMXEVCNTR_EL0
        | reg::ICC_SRE_EL1 => raz_wi(access),
        r => match (timer(r), vm_reg(r)) {
            (Some(timer), _) => SysRegAction::Timer(timer),
            (_, Some(vm)) => write_only(access, SysRegAction::VmReg(vm)),
            _ => SysRegAction::Undef,
        },
    }
}

const fn vm_reg(r: SysReg) -> Option<VmReg> {
    Some(match r {
        reg::SCTLR_EL1 => VmReg::Sctlr,
        reg::TTBR0_EL1 => VmReg::Ttbr0,
        reg::TTBR1_EL1 => VmReg::Ttbr1,
        reg::TCR_EL1 => VmReg::Tcr,
        reg::AFSR0_EL1 => VmReg::Afsr0,
        reg::AFSR1_EL1 => VmReg::Afsr1,
        reg::ESR_EL1 => VmReg::Esr,
        reg::FAR_EL1 => VmReg::Far,
        reg::MAIR_EL1 => VmReg::Mair,
        reg::AMAIR_EL1 => VmReg::Amair,
        reg::CONTEXTIDR_EL1 => VmReg::Contextidr,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
