// SPDX-License-Identifier: MIT OR Apache-2.0
//! Syndromes: exits, AArch32 conditions, and where to go on.

use super::*;
use crate::trap::sysreg::{SysReg, reg};
use proptest::prelude::*;

const EL1H: u64 = 0x5;
const USR32: u64 = 0x10;
const Z: u64 = 1 << 30;

fn sysreg(reg: SysReg, rt: u8, write: bool) -> Exit {
    Exit::SysReg(SysRegAccess { reg, rt, write })
}

#[test]
fn values_seen_from_el1() {
    let id_aa64pfr0 = SysReg::new(3, 0, 0, 4, 0);
    let table = [
        (0x5a00_0ea1, Exit::Hvc64 { imm: 0xea1 }),
        (0x5a00_0000, Exit::Hvc64 { imm: 0 }),
        (0x5e00_0001, Exit::Smc64 { imm: 1 }),
        (0x07e0_0000, Exit::Wfx(Wfx::Wfi)),
        (0x07e0_0001, Exit::Wfx(Wfx::Wfe)),
        (0x07e0_00a6, Exit::Wfx(Wfx::Wfit { rt: 5 })),
        (0x07e0_03e7, Exit::Wfx(Wfx::Wfet { rt: 31 })),
        (0x6230_0029, sysreg(id_aa64pfr0, 1, false)),
        (0x623a_3056, sysreg(reg::ICC_SGI1R_EL1, 2, true)),
        (0x6228_0400, sysreg(reg::OSLAR_EL1, 0, true)),
        (0x9383_0006, Exit::DataAbort(DataAbort(0x183_0006))),
        (0x8200_0006, Exit::InstrAbort(InstrAbort(6))),
        (0xbe00_0011, Exit::SError { iss: 0x11 }),
        (0x6600_0000, Exit::Undefined { ec: 0x19 }),
        (0x2600_0000, Exit::Undefined { ec: 0x09 }),
        (0x7600_0000, Exit::Undefined { ec: 0x1d }),
        (0x0200_0000, Exit::Undefined { ec: 0 }),
        (0x9600_0006, Exit::Unknown { ec: 0x25 }),
        (0xfa00_0000, Exit::Unknown { ec: 0x3e }),
    ];
    for (esr, exit) in table {
        assert_eq!(Esr(esr).decode(EL1H), exit, "{esr:#x}");
    }
}

#[test]
fn aarch32_conditions() {
    // MCR p15 with condition EQ: only executed, and then UNDEFINED, with Z set.
    let eq = Esr(0x0f00_0000);
    assert_eq!(eq.decode(USR32), Exit::ConditionFailed);
    assert_eq!(eq.decode(USR32 | Z), Exit::Undefined { ec: 3 });
    // NE.
    let ne = Esr(0x0f10_0000);
    assert_eq!(ne.decode(USR32), Exit::Undefined { ec: 3 });
    assert_eq!(ne.decode(USR32 | Z), Exit::ConditionFailed);
    // AL, and the unconditional space.
    for cond in [0xe, 0xf] {
        let esr = Esr(0x0f00_0000 | cond << 20);
        assert_eq!(esr.decode(USR32), Exit::Undefined { ec: 3 });
    }
    // T32: no COND in the syndrome. No IT block, then EQ in an IT block.
    let t32 = Esr(0x0e00_0000);
    assert_eq!(t32.decode(USR32), Exit::Undefined { ec: 3 });
    let it_eq = USR32 | 0x8 >> 2 << 10;
    assert_eq!(t32.decode(it_eq), Exit::ConditionFailed);
    assert_eq!(t32.decode(it_eq | Z), Exit::Undefined { ec: 3 });
    // A conditional WFI.
    assert_eq!(Esr(0x0700_0000).decode(USR32), Exit::ConditionFailed);
    assert_eq!(Esr(0x0700_0000).decode(USR32 | Z), Exit::Wfx(Wfx::Wfi));
}

#[test]
fn condition_codes() {
    let nzcv = |n: u64, z: u64, c: u64, v: u64| USR32 | n << 31 | z << 30 | c << 29 | v << 28;
    let holds = |cond: u64, spsr| Esr(0x0f00_0000 | cond << 20).condition_holds(spsr);
    for i in 0..16 {
        let (n, z, c, v) = (i >> 3 & 1, i >> 2 & 1, i >> 1 & 1, i & 1);
        let spsr = nzcv(n, z, c, v);
        let expected = [
            z == 1,
            c == 1,
            n == 1,
            v == 1,
            c == 1 && z == 0,
            n == v,
            z == 0 && n == v,
        ];
        for (code, expected) in (0u64..).zip(expected) {
            assert_eq!(holds(code * 2, spsr), expected);
            assert_eq!(holds(code * 2 + 1, spsr), !expected);
        }
    }
}

#[test]
fn exception_levels() {
    assert!(is_el0(0) && is_el0(USR32) && !is_el0(EL1H) && !is_el0(4));
    assert!(!is_el0(0x13) && is_aarch32(0x13) && !is_aarch32(EL1H));
}

#[test]
fn advancing() {
    let long = Esr(1 << 25);
    assert_eq!(advance(0x1000, EL1H, long), (0x1004, EL1H));
    assert_eq!(advance(u64::MAX - 3, EL1H | 1 << 21, long), (0, EL1H));
    assert_eq!(
        advance(0x1000, USR32 | 0x20, Esr(0)),
        (0x1002, USR32 | 0x20)
    );
    // ITTE EQ: EQ EQ NE, then out. IT = 0000 0110 -> 0000 1100 -> 0001 1000 -> 0.
    let spsr = |it: u64| USR32 | 0x20 | (it >> 2) << 10 | (it & 3) << 25;
    let mut at = (0, spsr(0b0000_0110));
    for it in [0b0000_1100, 0b0001_1000, 0] {
        at = advance(at.0, at.1, Esr(0));
        assert_eq!(at.1, spsr(it));
    }
    assert_eq!(at.0, 6);
}

proptest! {
    #[test]
    fn no_value_panics(esr: u64, spsr: u64, pc: u64) {
        let _ = Esr(esr).decode(spsr);
        let _ = advance(pc, spsr, Esr(esr));
    }

    #[test]
    fn nothing_but_an_aarch32_instruction_is_skipped(esr: u64, spsr: u64) {
        if Esr(esr).decode(spsr) == Exit::ConditionFailed {
            prop_assert!(is_aarch32(spsr));
        }
    }
}
