// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trapped system registers: encodings, and what becomes of each.

use super::SysRegAction::{Read, Undef, WriteIgnore};
use super::*;
use proptest::prelude::*;

const EL1: Caller = Caller {
    el0: false,
    cntkctl: 0,
};
const EL0: Caller = Caller {
    el0: true,
    cntkctl: 0,
};

fn ids() -> IdRegs {
    IdRegs::from_reader(|reg| u64::from(reg.0))
}

fn act(reg: SysReg, write: bool, caller: Caller) -> SysRegAction {
    classify(SysRegAccess { reg, rt: 0, write }, caller, &ids())
}

/// The GNU assembler's MSR, MRS, SYS with x0, in the order of the table.
const WORDS: &[(SysReg, u32)] = &[
    (reg::DC_ISW, 0xd508_7640),
    (reg::DC_CSW, 0xd508_7a40),
    (reg::DC_CISW, 0xd508_7e40),
    (reg::OSDLR_EL1, 0xd530_1380),
    (reg::OSLAR_EL1, 0xd510_1080),
    (reg::OSLSR_EL1, 0xd530_1180),
    (reg::MDSCR_EL1, 0xd530_0240),
    (reg::MDRAR_EL1, 0xd530_1000),
    (reg::MDCCSR_EL0, 0xd533_0100),
    (reg::SCTLR_EL1, 0xd538_1000),
    (reg::ACTLR_EL1, 0xd538_1020),
    (reg::TTBR0_EL1, 0xd538_2000),
    (reg::TTBR1_EL1, 0xd538_2020),
    (reg::TCR_EL1, 0xd538_2040),
    (reg::AFSR0_EL1, 0xd538_5100),
    (reg::AFSR1_EL1, 0xd538_5120),
    (reg::ESR_EL1, 0xd538_5200),
    (reg::FAR_EL1, 0xd538_6000),
    (reg::MAIR_EL1, 0xd538_a200),
    (reg::AMAIR_EL1, 0xd538_a300),
    (reg::CONTEXTIDR_EL1, 0xd538_d020),
    (reg::PMINTENSET_EL1, 0xd538_9e20),
    (reg::PMINTENCLR_EL1, 0xd538_9e40),
    (reg::PMCR_EL0, 0xd53b_9c00),
    (reg::PMCNTENSET_EL0, 0xd53b_9c20),
    (reg::PMCNTENCLR_EL0, 0xd53b_9c40),
    (reg::PMOVSCLR_EL0, 0xd53b_9c60),
    (reg::PMSWINC_EL0, 0xd51b_9c80),
    (reg::PMSELR_EL0, 0xd53b_9ca0),
    (reg::PMCEID0_EL0, 0xd53b_9cc0),
    (reg::PMCEID1_EL0, 0xd53b_9ce0),
    (reg::PMCCNTR_EL0, 0xd53b_9d00),
    (reg::PMXEVTYPER_EL0, 0xd53b_9d20),
    (reg::PMXEVCNTR_EL0, 0xd53b_9d40),
    (reg::PMUSERENR_EL0, 0xd53b_9e00),
    (reg::PMOVSSET_EL0, 0xd53b_9e60),
    (reg::CNTP_TVAL_EL0, 0xd53b_e200),
    (reg::CNTP_CTL_EL0, 0xd53b_e220),
    (reg::CNTP_CVAL_EL0, 0xd53b_e240),
    (reg::ICC_SGI1R_EL1, 0xd518_cba0),
    (reg::ICC_SRE_EL1, 0xd538_cca0),
];

#[test]
fn encodings_are_the_assemblers() {
    assert_eq!(WORDS.len(), reg::ALL.len());
    for (&(reg, word), &(name, listed)) in WORDS.iter().zip(reg::ALL) {
        assert_eq!(reg, listed, "{name}");
        assert_eq!((word >> 5) as u16, reg.0, "{name}");
        let access = SysRegAccess::from_iss(iss(word));
        let write = word & 1 << 21 == 0;
        assert_eq!(access, SysRegAccess { reg, rt: 0, write }, "{name}");
    }
    // mrs x0, id_aa64mmfr2_el1; id_mmfr5_el1; mvfr2_el1
    assert_eq!((0xd538_0740u32 >> 5) as u16, SysReg::new(3, 0, 0, 7, 2).0);
    assert_eq!((0xd538_03c0u32 >> 5) as u16, SysReg::new(3, 0, 0, 3, 6).0);
    assert_eq!((0xd538_0340u32 >> 5) as u16, SysReg::new(3, 0, 0, 3, 2).0);
}

/// The ISS that a trap of the instruction gives.
fn iss(word: u32) -> u32 {
    let field = |lo: u32, len: u32| word >> lo & ((1 << len) - 1);
    field(19, 2) << 20
        | field(5, 3) << 17
        | field(16, 3) << 14
        | field(12, 4) << 10
        | field(0, 5) << 5
        | field(8, 4) << 1
        | field(21, 1)
}

#[test]
fn names() {
    assert_eq!(std::format!("{:?}", reg::CNTP_CTL_EL0), "S3_3_C14_C2_1");
    assert_eq!(std::format!("{:?}", reg::OSLAR_EL1), "S2_0_C1_C0_4");
}

#[test]
fn what_linux_traps() {
    let raz_wi = [
        reg::OSDLR_EL1,
        reg::MDSCR_EL1,
        reg::PMUSERENR_EL0,
        reg::ICC_SRE_EL1,
        SysReg::new(2, 0, 0, 0, 4),  // DBGBVR0_EL1
        SysReg::new(2, 0, 0, 5, 5),  // DBGBCR5_EL1
        SysReg::new(2, 0, 0, 3, 6),  // DBGWVR3_EL1
        SysReg::new(2, 0, 0, 15, 7), // DBGWCR15_EL1
    ];
    for reg in raz_wi {
        assert_eq!(act(reg, true, EL1), WriteIgnore, "{reg:?}");
        assert_eq!(act(reg, false, EL1), Read(0), "{reg:?}");
        assert_eq!(act(reg, true, EL0), Undef, "{reg:?}");
    }
    assert_eq!(act(reg::OSLAR_EL1, true, EL1), WriteIgnore);
    assert_eq!(act(reg::OSLAR_EL1, false, EL1), Undef);
    assert_eq!(act(reg::OSLSR_EL1, false, EL1), Read(8));
    assert_eq!(act(reg::OSLSR_EL1, true, EL1), Undef);
    assert_eq!(act(reg::ICC_SGI1R_EL1, true, EL1), SysRegAction::Sgi1r);
    assert_eq!(act(reg::ICC_SGI1R_EL1, false, EL1), Undef);
    let pfr0 = SysReg::new(3, 0, 0, 4, 0);
    assert_eq!(act(pfr0, false, EL1), Read(u64::from(pfr0.0)));
    assert_eq!(act(pfr0, true, EL1), Undef);
    assert_eq!(act(pfr0, false, EL0), Undef);
    // ID_AA64PFR2_EL1: allocated, but hidden; S3_0_C0_C7_7: not allocated.
    assert_eq!(act(SysReg::new(3, 0, 0, 4, 2), false, EL1), Read(0));
    assert_eq!(act(SysReg::new(3, 0, 0, 7, 7), false, EL1), Read(0));
}

#[test]
fn the_rest_of_the_policy() {
    assert_eq!(act(reg::ACTLR_EL1, false, EL1), SysRegAction::Actlr);
    assert_eq!(act(reg::ACTLR_EL1, true, EL1), WriteIgnore);
    assert_eq!(act(reg::MDRAR_EL1, false, EL1), Read(0));
    for reg in [reg::DC_ISW, reg::DC_CSW, reg::DC_CISW] {
        assert_eq!(act(reg, true, EL1), SysRegAction::SetWay);
        assert_eq!(act(reg, true, EL0), Undef);
    }
    let sctlr = SysRegAction::VmReg(VmReg::Sctlr);
    assert_eq!(act(reg::SCTLR_EL1, true, EL1), sctlr);
    assert_eq!(act(reg::SCTLR_EL1, false, EL1), Undef);
    let mut seen = std::vec::Vec::new();
    for &(_, reg) in reg::ALL {
        if let SysRegAction::VmReg(vm) = act(reg, true, EL1) {
            assert!(!seen.contains(&vm));
            seen.push(vm);
        }
    }
    assert_eq!(seen.len(), 11);
}

#[test]
fn what_is_undefined() {
    let table = [
        SysReg::new(3, 0, 12, 11, 6), // ICC_ASGI1R_EL1
        SysReg::new(3, 0, 12, 11, 7), // ICC_SGI0R_EL1
        SysReg::new(2, 0, 1, 4, 4),   // DBGPRCR_EL1
        SysReg::new(2, 0, 0, 2, 0),   // MDCCINT_EL1
        SysReg::new(2, 0, 0, 0, 2),   // OSDTRRX_EL1
        SysReg::new(2, 0, 0, 6, 2),   // OSECCR_EL1
        SysReg::new(2, 0, 7, 8, 6),   // DBGCLAIMSET_EL1
        SysReg::new(2, 0, 7, 14, 6),  // DBGAUTHSTATUS_EL1
        SysReg::new(2, 3, 0, 5, 0),   // DBGDTRRX_EL0
        SysReg::new(2, 1, 0, 0, 1),   // TRCTRACEIDR
        SysReg::new(3, 3, 13, 2, 0),  // AMCR_EL0
        SysReg::new(3, 3, 13, 4, 0),  // AMEVCNTR00_EL0
        SysReg::new(3, 3, 14, 8, 0),  // PMEVCNTR0_EL0
        SysReg::new(3, 3, 14, 15, 7), // PMCCFILTR_EL0
        SysReg::new(3, 0, 9, 14, 6),  // PMMIR_EL1
        SysReg::new(3, 1, 15, 2, 1),  // IMPLEMENTATION DEFINED
        SysReg::new(3, 0, 2, 0, 3),   // TCR2_EL1
        SysReg::new(3, 3, 13, 0, 7),  // SCXTNUM_EL0
        SysReg::new(1, 0, 7, 6, 4),   // DC IGSW
        SysReg::new(1, 0, 11, 0, 0),  // IMPLEMENTATION DEFINED
        SysReg::new(0, 0, 0, 1, 0),
    ];
    for reg in table {
        for (write, caller) in [(false, EL1), (true, EL1), (false, EL0), (true, EL0)] {
            assert_eq!(act(reg, write, caller), Undef, "{reg:?}");
        }
    }
}

#[test]
fn user_space() {
    let pten = Caller {
        el0: true,
        cntkctl: CNTKCTL_EL0PTEN,
    };
    let ctl = SysRegAction::Timer(TimerReg::CntpCtl);
    assert_eq!(act(reg::CNTP_CTL_EL0, true, EL1), ctl);
    assert_eq!(act(reg::CNTP_CTL_EL0, true, EL0), Undef);
    assert_eq!(act(reg::CNTP_CTL_EL0, false, pten), ctl);
    let cval = SysRegAction::Timer(TimerReg::CntpCval);
    assert_eq!(act(reg::CNTP_CVAL_EL0, false, pten), cval);
    let tval = SysRegAction::Timer(TimerReg::CntpTval);
    assert_eq!(act(reg::CNTP_TVAL_EL0, false, pten), tval);
    assert_eq!(act(reg::PMUSERENR_EL0, false, EL0), Read(0));
    assert_eq!(act(reg::MDCCSR_EL0, false, EL0), Read(0));
    assert_eq!(act(reg::PMCR_EL0, false, EL1), Read(0));
    assert_eq!(act(reg::PMCR_EL0, false, EL0), Undef);
    assert_eq!(act(reg::PMCCNTR_EL0, false, EL0), Undef);
}

#[test]
fn every_encoding_has_an_answer_and_user_space_gets_little() {
    let ids = ids();
    for packed in 0..=u16::MAX {
        for write in [false, true] {
            let access = SysRegAccess {
                reg: SysReg(packed),
                rt: 31,
                write,
            };
            let _ = classify(access, EL1, &ids);
            let user = classify(access, EL0, &ids);
            assert!(matches!(user, Undef | Read(0)), "{:?}", access.reg);
        }
    }
}

proptest! {
    #[test]
    fn no_syndrome_panics(iss: u32, el0: bool, cntkctl: u64) {
        let access = SysRegAccess::from_iss(iss);
        let action = classify(access, Caller { el0, cntkctl }, &ids());
        let reads = matches!(action, Read(_) | SysRegAction::Actlr);
        let writes = matches!(action, WriteIgnore | SysRegAction::Sgi1r | SysRegAction::SetWay
            | SysRegAction::VmReg(_));
        let fits = if access.write { !reads } else { !writes };
        prop_assert!(fits);
    }
}
