// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ID registers a guest sees.
//!
//! Per field, the least that all CPUs have; and of that only what is on a list. A field not
//! listed reads "not implemented", so that a feature nobody has looked at stays hidden. What is
//! listed needs no EL1 state beyond what is switched, and works with HCRX_EL2 and the HFG*
//! registers zero. Source: Arm ARM DDI 0487, D24.2.

use super::bits;
use super::sysreg::SysReg;

/// Registers in the space S3_0_C0_C1_0 to S3_0_C0_C7_7.
const COUNT: usize = 56;

/// A four-bit field: guests see the minimum over the CPUs, and at most `max`.
#[derive(Clone, Copy)]
struct Field {
    shift: u32,
    max: u8,
    /// 0xf means "not implemented" and counts as -1.
    signed: bool,
}

const fn u(shift: u32, max: u8) -> Field {
    Field {
        shift,
        max,
        signed: false,
    }
}

/// Signed; `max` counts from 0.
const fn s(shift: u32, max: u8) -> Field {
    Field {
        shift,
        max,
        signed: true,
    }
}

impl Field {
    /// The value in order: -1 for a signed field's 0xf.
    const fn rank(self, reg: u64) -> i8 {
        match bits(reg, self.shift, 4) as i8 {
            value if self.signed && value & 8 != 0 => value | -16,
            value => value,
        }
    }

    const fn place(self, rank: i8) -> u64 {
        (rank as u64 & 0xf) << self.shift
    }

    fn least(self, a: u64, b: u64) -> u64 {
        self.place(self.rank(a).min(self.rank(b)))
    }

    fn capped(self, reg: u64) -> u64 {
        self.place(self.rank(reg).min(self.max as i8))
    }
}

/// All eight fields of a 32-bit register (or the low half of a 64-bit one).
const ALL: &[Field] = &[
    u(0, 15),
    u(4, 15),
    u(8, 15),
    u(12, 15),
    u(16, 15),
    u(20, 15),
    u(24, 15),
    u(28, 15),
];

/// One register: CRm, op2, the fields guests see.
struct Register {
    crm: u8,
    op2: u8,
    fields: &'static [Field],
}

const fn r(crm: u8, op2: u8, fields: &'static [Field]) -> Register {
    Register { crm, op2, fields }
}

/// ID_PFR0_EL1: State0-2, CSV2, DIT. Not ThumbEE, AMU, RAS.
const ID_PFR0: &[Field] = &[u(0, 15), u(4, 15), u(8, 15), u(16, 1), u(24, 1)];
/// ID_DFR0_EL1: CopDbg, CopSDbg, MMapTrc (no system registers), PerfMon up to PMUv3. Not MMapDbg,
/// CopTrc, MProfDbg, TraceFilt.
const ID_DFR0: &[Field] = &[u(0, 9), u(4, 9), u(16, 1), s(24, 3)];
/// ID_MMFR0_EL1: all; OuterShr and InnerShr are signed.
const ID_MMFR0: &[Field] = &[
    u(0, 15),
    u(4, 15),
    s(8, 7),
    u(12, 15),
    u(16, 15),
    u(20, 15),
    u(24, 15),
    s(28, 7),
];
/// ID_PFR2_EL1: CSV3, SSBS. Not RAS_frac.
const ID_PFR2: &[Field] = &[u(0, 1), u(4, 1)];

/// ID_AA64PFR0_EL1: EL0-EL3, FP, AdvSIMD, GIC (3.0/4.0), DIT, CSV2 (without SCXTNUM), CSV3.
/// Not RAS, SVE, SEL2, MPAM, AMU, RME.
const ID_AA64PFR0: &[Field] = &[
    u(0, 2),
    u(4, 2),
    u(8, 2),
    u(12, 2),
    s(16, 1),
    s(20, 1),
    u(24, 1),
    u(48, 1),
    u(56, 1),
    u(60, 1),
];
/// ID_AA64PFR1_EL1: BT, SSBS, CSV2_frac (without SCXTNUM). Not MTE, RAS_frac, MPAM_frac, SME,
/// RNDR_trap, NMI, GCS, THE, MTEX, DF2, PFAR.
const ID_AA64PFR1: &[Field] = &[u(0, 1), u(4, 2), u(32, 1)];
/// ID_AA64DFR0_EL1: DebugVer up to v8.4, PMUVer up to PMUv3, BRPs, WRPs, CTX_CMPs, DoubleLock.
/// Not TraceVer, PMSS, SEBEP, PMSVer, TraceFilt, TraceBuffer, MTPMU, BRBE, ExtTrcBuff, HPMN0.
const ID_AA64DFR0: &[Field] = &[u(0, 9), s(8, 1), u(12, 15), u(20, 15), u(28, 15), s(36, 0)];
/// ID_AA64ISAR0_EL1: AES, SHA1, SHA2, CRC32, Atomic, RDM, SHA3, SM3, SM4, DP, FHM, TS, TLB, RNDR.
/// Not TME.
const ID_AA64ISAR0: &[Field] = &[
    u(4, 2),
    u(8, 1),
    u(12, 2),
    u(16, 1),
    u(20, 3),
    u(28, 1),
    u(32, 1),
    u(36, 1),
    u(40, 1),
    u(44, 1),
    u(48, 1),
    u(52, 2),
    u(56, 2),
    u(60, 1),
];
/// ID_AA64ISAR1_EL1: DPB, JSCVT, FCMA, LRCPC, FRINTTS, SB, SPECRES, BF16, DGH, I8MM, XS.
/// Not APA, API, GPA, GPI, LS64.
const ID_AA64ISAR1: &[Field] = &[
    u(0, 2),
    u(12, 1),
    u(16, 1),
    u(20, 3),
    u(32, 1),
    u(36, 1),
    u(40, 2),
    u(44, 2),
    u(48, 1),
    u(52, 1),
    u(56, 1),
];
/// ID_AA64ISAR2_EL1: RPRES, BC, CLRBHB, RPRFM, CSSC. Not WFxT, GPA3, APA3, MOPS, PAC_frac,
/// SYSREG_128, SYSINSTR_128, PRFMSLC, PCDPHINT, LUT, ATS1A.
const ID_AA64ISAR2: &[Field] = &[u(4, 1), u(20, 1), u(28, 1), u(48, 1), u(52, 1)];
/// ID_AA64MMFR0_EL1: PARange (to 48 bits), ASIDBits, BigEnd, SNSMem, BigEndEL0, TGran16, TGran64,
/// TGran4 (none with 52-bit addresses), ExS, ECV (without CNTPOFF). Not TGran*_2, FGT.
const ID_AA64MMFR0: &[Field] = &[
    u(0, 5),
    u(4, 2),
    u(8, 1),
    u(12, 1),
    u(16, 1),
    u(20, 1),
    s(24, 0),
    s(28, 0),
    u(44, 1),
    u(60, 1),
];
/// ID_AA64MMFR1_EL1: HAFDBS (no table descriptors), VMIDBits, VH, HPDS, PAN, SpecSEI, ETS, AFP,
/// nTLBPA, TIDCP1, CMOW, ECBHB. Not LO, XNX, TWED, HCX.
const ID_AA64MMFR1: &[Field] = &[
    u(0, 2),
    u(4, 2),
    u(8, 1),
    u(12, 2),
    u(20, 3),
    u(24, 2),
    u(36, 3),
    u(44, 1),
    u(48, 1),
    u(52, 1),
    u(56, 1),
    u(60, 1),
];
/// ID_AA64MMFR2_EL1: CnP, UAO, LSM, VARange (to 52 bits), CCIDX, ST, AT, IDS, TTL, BBM, E0PD.
/// Not IESB, NV, FWB, EVT.
const ID_AA64MMFR2: &[Field] = &[
    u(0, 1),
    u(4, 1),
    u(8, 1),
    u(16, 1),
    u(20, 1),
    u(28, 1),
    u(32, 1),
    u(36, 1),
    u(48, 1),
    u(52, 2),
    u(60, 1),
];

/// Every register of which guests see anything. The rest of the space reads 0: ID_AFR0, ID_DFR1,
/// ID_AA64PFR2, ZFR0, SMFR0, FPFR0, DFR1, DFR2, AFR0, AFR1, ISAR3, MMFR3, MMFR4.
const REGISTERS: [Register; 29] = [
    r(1, 0, ID_PFR0),
    r(1, 1, ALL), // ID_PFR1
    r(1, 2, ID_DFR0),
    r(1, 4, ID_MMFR0),
    r(1, 5, ALL), // ID_MMFR1
    r(1, 6, ALL), // ID_MMFR2
    r(1, 7, ALL), // ID_MMFR3
    r(2, 0, ALL), // ID_ISAR0
    r(2, 1, ALL), // ID_ISAR1
    r(2, 2, ALL), // ID_ISAR2
    r(2, 3, ALL), // ID_ISAR3
    r(2, 4, ALL), // ID_ISAR4
    r(2, 5, ALL), // ID_ISAR5
    r(2, 6, ALL), // ID_MMFR4
    r(2, 7, ALL), // ID_ISAR6
    r(3, 0, ALL), // MVFR0
    r(3, 1, ALL), // MVFR1
    r(3, 2, ALL), // MVFR2
    r(3, 4, ID_PFR2),
    r(3, 6, ALL), // ID_MMFR5
    r(4, 0, ID_AA64PFR0),
    r(4, 1, ID_AA64PFR1),
    r(5, 0, ID_AA64DFR0),
    r(6, 0, ID_AA64ISAR0),
    r(6, 1, ID_AA64ISAR1),
    r(6, 2, ID_AA64ISAR2),
    r(7, 0, ID_AA64MMFR0),
    r(7, 1, ID_AA64MMFR1),
    r(7, 2, ID_AA64MMFR2),
];

/// The place of `reg` in the space of ID registers.
const fn index(reg: SysReg) -> Option<usize> {
    const BASE: u16 = SysReg::new(3, 0, 0, 1, 0).0;
    match reg.0.checked_sub(BASE) {
        Some(n) if (n as usize) < COUNT => Some(n as usize),
        _ => None,
    }
}

/// The ID registers, AArch64 and AArch32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdRegs([u64; COUNT]);

impl IdRegs {
    /// Every register [`Self::from_reader`] reads.
    pub fn registers() -> impl Iterator<Item = SysReg> {
        REGISTERS.iter().map(|r| SysReg::new(3, 0, 0, r.crm, r.op2))
    }

    /// This CPU's, as `read` gives them.
    pub fn from_reader(read: impl Fn(SysReg) -> u64) -> Self {
        Self::build(|reg, _| read(reg))
    }

    /// What both CPUs can do, field by field. Fields that no guest sees are zero.
    #[must_use]
    pub fn combine(&self, other: &Self) -> Self {
        Self::build(|reg, fields| {
            let (a, b) = (self.raw(reg), other.raw(reg));
            fields.iter().fold(0, |value, f| value | f.least(a, b))
        })
    }

    /// What guests may know of.
    #[must_use]
    pub fn sanitise(&self) -> Self {
        Self::build(|reg, fields| {
            let value = self.raw(reg);
            fields.iter().fold(0, |seen, f| seen | f.capped(value))
        })
    }

    /// With no more physical address bits than ID_AA64MMFR0_EL1.PARange = `most`.
    #[must_use]
    pub fn with_pa_range(mut self, most: u8) -> Self {
        const MMFR0: SysReg = SysReg::new(3, 0, 0, 7, 0);
        if let Some(slot) = index(MMFR0).and_then(|n| self.0.get_mut(n)) {
            let own = *slot & 0xf;
            *slot = *slot & !0xf | own.min(u64::from(most & 0xf));
        }
        self
    }

    /// The value of `reg`; 0 where the space has no register, `None` outside of it.
    pub fn read(&self, reg: SysReg) -> Option<u64> {
        self.0.get(index(reg)?).copied()
    }

    fn raw(&self, reg: SysReg) -> u64 {
        self.read(reg).unwrap_or(0)
    }

    fn build(value: impl Fn(SysReg, &[Field]) -> u64) -> Self {
        let mut regs = [0; COUNT];
        for r in &REGISTERS {
            let reg = SysReg::new(3, 0, 0, r.crm, r.op2);
            if let Some(slot) = index(reg).and_then(|n| regs.get_mut(n)) {
                *slot = value(reg, r.fields);
            }
        }
        Self(regs)
    }
}

#[cfg(test)]
mod tests;
