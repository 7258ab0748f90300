// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions given to a guest.

use super::*;
use proptest::prelude::*;

const VBAR: u64 = 0xffff_8000_1000_0800;
/// Linux's: SPAN clear.
const SCTLR: u64 = 0x3475_d91d & !SCTLR_SPAN;

fn at(pstate: u64, sctlr: u64) -> El1State {
    El1State {
        pc: 0x40_1000,
        pstate,
        vbar: VBAR,
        sctlr,
        far: 0x77,
        ..El1State::default()
    }
}

#[test]
fn undef_from_user_space() {
    let mut s = at(0x8000_0000, SCTLR);
    s.undef();
    assert_eq!((s.pc, s.elr), (VBAR + 0x400, 0x40_1000));
    assert_eq!((s.esr, s.far), (0x0200_0000, 0x77));
    assert_eq!(s.spsr, 0x8000_0000);
    // N survives; PAN is set.
    assert_eq!(s.pstate, 0x8000_0000 | PAN | 0x3c5);
}

#[test]
fn vectors_by_source() {
    for (pstate, offset) in [(0x4, 0), (0x5, 0x200), (0x0, 0x400), (0x10, 0x600)] {
        let mut s = at(pstate, SCTLR);
        s.undef();
        assert_eq!(s.pc, VBAR + offset, "{pstate:#x}");
    }
}

#[test]
fn aborts() {
    for (pstate, same) in [(0x3c5, 1 << 26), (0, 0), (0x10, 0), (0x304, 1 << 26)] {
        let mut s = at(pstate, SCTLR);
        s.data_abort(0xdead_beef, true);
        assert_eq!((s.esr, s.far), (0x9200_0050 | same, 0xdead_beef));
        let mut s = at(pstate, SCTLR);
        s.data_abort(1, false);
        assert_eq!(s.esr, 0x9200_0010 | same);
        let mut s = at(pstate, SCTLR);
        s.instr_abort(0x40_1000);
        assert_eq!((s.esr, s.far), (0x8200_0010 | same, 0x40_1000));
    }
}

#[test]
fn pstate_at_entry() {
    let entry = |pstate, sctlr| {
        let mut s = at(pstate, sctlr);
        s.undef();
        assert_eq!(s.spsr, pstate);
        s.pstate
    };
    // SPAN set: PAN as it was.
    assert_eq!(entry(0x5, SCTLR_SPAN), 0x3c5);
    assert_eq!(entry(0x5 | PAN, SCTLR_SPAN), 0x3c5 | PAN);
    // SSBS comes from DSSBS alone.
    assert_eq!(entry(0x5 | SSBS, SCTLR_SPAN), 0x3c5);
    assert_eq!(entry(0x5, SCTLR_SPAN | SCTLR_DSSBS), 0x3c5 | SSBS);
    // UAO, SS, IL, ALLINT and BTYPE are cleared; DIT and TCO live on.
    let cleared = 1 << 23 | 1 << 21 | 1 << 20 | 1 << 13 | 3 << 10;
    assert_eq!(
        entry(0x5 | cleared | DIT | TCO, SCTLR_SPAN),
        0x3c5 | DIT | TCO
    );
    // From T32 with everything set: flags, DIT and PAN; not Q, IT, GE, E or T.
    let all = 0xffff_ffff & !0xf;
    assert_eq!(entry(all, SCTLR_SPAN), NZCV | DIT | PAN | 0x3c5);
}

proptest! {
    #[test]
    fn always_to_el1h_masked(pstate: u64, sctlr: u64, vbar: u64, pc: u64, far: u64) {
        let mut s = El1State { pc, pstate, vbar, sctlr, ..El1State::default() };
        s.data_abort(far, false);
        prop_assert_eq!(s.pstate & 0x3df, 0x3c5);
        prop_assert_eq!((s.elr, s.spsr), (pc, pstate));
        s.instr_abort(far);
        prop_assert_eq!(s.pc, vbar.wrapping_add(0x200));
        s.undef();
    }
}
