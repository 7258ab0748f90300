// SPDX-License-Identifier: MIT OR Apache-2.0
//! ID registers: what guests see of a CPU, and of several.

use super::*;
use proptest::prelude::*;

const PFR0: SysReg = SysReg::new(3, 0, 0, 4, 0);
const PFR1: SysReg = SysReg::new(3, 0, 0, 4, 1);
const DFR0: SysReg = SysReg::new(3, 0, 0, 5, 0);
const ISAR1: SysReg = SysReg::new(3, 0, 0, 6, 1);
const MMFR0: SysReg = SysReg::new(3, 0, 0, 7, 0);

fn one(reg: SysReg, value: u64) -> IdRegs {
    IdRegs::from_reader(|r| if r == reg { value } else { 0 })
}

fn seen(reg: SysReg, value: u64) -> u64 {
    one(reg, value).sanitise().read(reg).expect("in the space")
}

#[test]
fn a_cortex_a72_is_shown_as_it_is() {
    let table = [
        (PFR0, 0x0100_2222),
        (DFR0, 0x1030_5106),
        (SysReg::new(3, 0, 0, 6, 0), 0x0001_1120), // ID_AA64ISAR0_EL1
        (MMFR0, 0x0000_1124),
        (SysReg::new(3, 0, 0, 1, 0), 0x0000_0131), // ID_PFR0_EL1
        (SysReg::new(3, 0, 0, 1, 2), 0x0301_0066), // ID_DFR0_EL1
        (SysReg::new(3, 0, 0, 1, 4), 0x1020_1105), // ID_MMFR0_EL1
        (SysReg::new(3, 0, 0, 2, 0), 0x0210_1110), // ID_ISAR0_EL1
        (SysReg::new(3, 0, 0, 3, 1), 0x1211_1111), // MVFR1_EL1
    ];
    for (reg, value) in table {
        assert_eq!(seen(reg, value), value, "{reg:?}");
    }
}

/// A CPU with everything (15 in every unsigned field).
#[test]
fn everything_unknown_is_hidden() {
    let all = IdRegs::from_reader(|_| 0x7777_7777_7777_7777).sanitise();
    let read = |reg| all.read(reg).expect("in the space");
    // CSV3 CSV2 - DIT - - - - - GIC AdvSIMD FP EL3-EL0.
    assert_eq!(read(PFR0), 0x1101_0000_0111_2222);
    assert_eq!(read(PFR1), 0x0000_0001_0000_0021);
    assert_eq!(read(DFR0), 0x0000_0000_7070_7107);
    // Pointer authentication and LS64 gone.
    assert_eq!(read(ISAR1), 0x0111_2211_0031_1002);
    assert_eq!(read(MMFR0), 0x1000_1000_0011_1125);
    let hidden = [
        (1, 3),
        (3, 5),
        (4, 2),
        (4, 4),
        (4, 5),
        (4, 7),
        (5, 1),
        (5, 2),
    ];
    for (crm, op2) in hidden
        .into_iter()
        .chain([(5, 4), (5, 5), (6, 3), (7, 3), (7, 4), (7, 7)])
    {
        assert_eq!(read(SysReg::new(3, 0, 0, crm, op2)), 0, "C{crm}_{op2}");
    }
}

#[test]
fn not_implemented_stays_so() {
    // FP, AdvSIMD; TGran4, TGran64; PMUVer (not architected) and DoubleLock.
    assert_eq!(seen(PFR0, 0x00ff_0011), 0x00ff_0011);
    assert_eq!(seen(MMFR0, 0xff00_0000), 0xff00_0000);
    assert_eq!(seen(DFR0, 0xf0_0000_0f06), 0xf0_0000_0f06);
    let half = |r, a, b| one(r, a).combine(&one(r, b)).read(r);
    assert_eq!(half(PFR0, 0x0011_0000, 0x00ff_0000), Some(0x00ff_0000));
    assert_eq!(half(MMFR0, 0xf000_0000, 0x1000_0000), Some(0xf000_0000));
}

#[test]
fn the_least_of_two() {
    // Cortex-A53 and A72: address sizes 40 and 44 bits.
    let both = one(MMFR0, 0x1122).combine(&one(MMFR0, 0x1124));
    assert_eq!(both.read(MMFR0), Some(0x1122));
    // Independent of which field is larger where.
    let both = one(PFR0, 0x0100_2212).combine(&one(PFR0, 0x0000_2222));
    assert_eq!(both.read(PFR0), Some(0x0000_2212));
}

#[test]
fn the_space_and_nothing_else() {
    let regs = one(PFR0, 1);
    assert_eq!(regs.read(SysReg::new(3, 0, 0, 0, 7)), None);
    assert_eq!(regs.read(SysReg::new(3, 0, 0, 1, 0)), Some(0));
    assert_eq!(regs.read(SysReg::new(3, 0, 0, 7, 7)), Some(0));
    assert_eq!(regs.read(SysReg::new(3, 0, 0, 8, 0)), None);
    assert_eq!(regs.read(SysReg::new(2, 0, 0, 1, 4)), None);
    assert_eq!(IdRegs::registers().count(), REGISTERS.len());
    assert!(IdRegs::registers().all(|reg| index(reg).is_some()));
}

#[test]
fn fields_do_not_overlap() {
    for r in &REGISTERS {
        let mut used = 0u64;
        for f in r.fields {
            let mask = 0xf << f.shift;
            assert_eq!(used & mask, 0, "C{}_{}", r.crm, r.op2);
            used |= mask;
        }
    }
}

fn any_cpu() -> impl Strategy<Value = IdRegs> {
    proptest::collection::vec(any::<u64>(), COUNT)
        .prop_map(|v| IdRegs::from_reader(|reg| v[index(reg).expect("in the space")]))
}

/// True if no field guests see is more in `a` than in `b`.
fn no_more(a: &IdRegs, b: &IdRegs) -> bool {
    REGISTERS.iter().all(|r| {
        let reg = SysReg::new(3, 0, 0, r.crm, r.op2);
        r.fields
            .iter()
            .all(|f| f.rank(a.raw(reg)) <= f.rank(b.raw(reg)))
    })
}

proptest! {
    #[test]
    fn combine_is_a_minimum(a in any_cpu(), b in any_cpu(), c in any_cpu()) {
        let ab = a.combine(&b);
        prop_assert_eq!(ab, b.combine(&a));
        prop_assert_eq!(ab.combine(&c), a.combine(&b.combine(&c)));
        prop_assert_eq!(ab.combine(&ab), ab);
        prop_assert!(no_more(&ab, &a) && no_more(&ab, &b));
    }

    #[test]
    fn sanitise_is_final(a in any_cpu(), b in any_cpu()) {
        let clean = a.sanitise();
        prop_assert_eq!(clean.sanitise(), clean);
        prop_assert!(no_more(&clean, &a));
        // The order of the two does not matter.
        prop_assert_eq!(a.combine(&b).sanitise(), clean.combine(&b.sanitise()));
    }
}
