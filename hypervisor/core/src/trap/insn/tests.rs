// SPDX-License-Identifier: MIT OR Apache-2.0
//! The words are the GNU assembler's.
use super::Index::{Post, Pre};
use super::*;
use proptest::prelude::*;

/// (word, write, reg, base, size, sign_extend, sf, offset, index)
type Row = (u32, bool, u8, u8, u8, bool, bool, i64, Index);

const IMMEDIATE: &[Row] = &[
    (0xf940_0041, false, 1, 2, 8, false, true, 0, Index::Offset), // ldr x1, [x2]
    (0xb940_0441, false, 1, 2, 4, false, false, 4, Index::Offset), // ldr w1, [x2, #4]
    (
        0x397f_fc83,
        false,
        3,
        4,
        1,
        false,
        false,
        4095,
        Index::Offset,
    ), // ldrb w3, [x4, #4095]
    (
        0x797f_ffe3,
        false,
        3,
        31,
        2,
        false,
        false,
        8190,
        Index::Offset,
    ), // ldrh w3, [sp, #8190]
    (
        0xf93f_fcbf,
        true,
        31,
        5,
        8,
        false,
        true,
        32760,
        Index::Offset,
    ), // str xzr, [x5, #32760]
    (0x3900_04e6, true, 6, 7, 1, false, false, 1, Index::Offset), // strb w6, [x7, #1]
    (0x7900_04e6, true, 6, 7, 2, false, false, 2, Index::Offset), // strh w6, [x7, #2]
    (0x3980_0128, false, 8, 9, 1, true, true, 0, Index::Offset),  // ldrsb x8, [x9]
    (0x39c0_0128, false, 8, 9, 1, true, false, 0, Index::Offset), // ldrsb w8, [x9]
    (0x7980_0528, false, 8, 9, 2, true, true, 2, Index::Offset),  // ldrsh x8, [x9, #2]
    (0x79c0_0528, false, 8, 9, 2, true, false, 2, Index::Offset), // ldrsh w8, [x9, #2]
    (0xb980_0528, false, 8, 9, 4, true, true, 4, Index::Offset),  // ldrsw x8, [x9, #4]
    (0xf840_856a, false, 10, 11, 8, false, true, 8, Post),        // ldr x10, [x11], #8
    (0xb85f_c56a, false, 10, 11, 4, false, false, -4, Post),      // ldr w10, [x11], #-4
    (0xb810_0d6a, true, 10, 11, 4, false, false, -256, Pre),      // str w10, [x11, #-256]!
    (0xf81f_0fea, true, 10, 31, 8, false, true, -16, Pre),        // str x10, [sp, #-16]!
    (0x3840_1420, false, 0, 1, 1, false, false, 1, Post),         // ldrb w0, [x1], #1
    (0x780f_f420, true, 0, 1, 2, false, false, 255, Post),        // strh w0, [x1], #255
    (0xb880_4c20, false, 0, 1, 4, true, true, 4, Pre),            // ldrsw x0, [x1, #4]!
    (0x38df_f420, false, 0, 1, 1, true, false, -1, Post),         // ldrsb w0, [x1], #-1
    (0xf85f_8020, false, 0, 1, 8, false, true, -8, Index::Offset), // ldur x0, [x1, #-8]
    (0xb800_3020, true, 0, 1, 4, false, false, 3, Index::Offset), // stur w0, [x1, #3]
    (0xb89f_c020, false, 0, 1, 4, true, true, -4, Index::Offset), // ldursw x0, [x1, #-4]
    (0xf85f_f820, false, 0, 1, 8, false, true, -1, Index::Offset), // ldtr x0, [x1, #-1]
    (0x3800_5820, true, 0, 1, 1, false, false, 5, Index::Offset), // sttrb w0, [x1, #5]
    (0x7880_0820, false, 0, 1, 2, true, true, 0, Index::Offset),  // ldtrsh x0, [x1]
    (0x88df_fc20, false, 0, 1, 4, false, false, 0, Index::Offset), // ldar w0, [x1]
    (0x08df_fc20, false, 0, 1, 1, false, false, 0, Index::Offset), // ldarb w0, [x1]
    (0xc89f_ffe2, true, 2, 31, 8, false, true, 0, Index::Offset), // stlr x2, [sp]
    (0x489f_fc62, true, 2, 3, 2, false, false, 0, Index::Offset), // stlrh w2, [x3]
    (0xc8df_7c62, false, 2, 3, 8, false, true, 0, Index::Offset), // ldlar x2, [x3]
];

/// (second register, the rest as above)
const PAIRS: &[(u8, Row)] = &[
    (
        1,
        (0xa940_0440, false, 0, 2, 8, false, true, 0, Index::Offset),
    ), // ldp x0, x1, [x2]
    (
        1,
        (0x297f_0440, false, 0, 2, 4, false, false, -8, Index::Offset),
    ), // ldp w0, w1, [x2, #-8]
    (1, (0xa9bf_07e0, true, 0, 31, 8, false, true, -16, Pre)), // stp x0, x1, [sp, #-16]!
    (4, (0x2881_10a3, true, 3, 5, 4, false, false, 8, Post)),  // stp w3, w4, [x5], #8
    (4, (0xa8e0_10a3, false, 3, 5, 8, false, true, -512, Post)), // ldp x3, x4, [x5], #-512
    (
        4,
        (0x6940_90a3, false, 3, 5, 4, true, true, 4, Index::Offset),
    ), // ldpsw x3, x4, [x5, #4]
    (
        4,
        (0xa841_10a3, false, 3, 5, 8, false, true, 16, Index::Offset),
    ), // ldnp x3, x4, [x5, #16]
    (
        4,
        (0x2800_10a3, true, 3, 5, 4, false, false, 0, Index::Offset),
    ), // stnp w3, w4, [x5]
];

const NOT_EMULATED: &[u32] = &[
    0x3dc0_0020,     // ldr q0, [x1]
    0x6c81_0440,     // stp d0, d1, [x2], #16
    0x5800_0000,     // ldr x0, .
    0xf980_0020,     // prfm pldl1keep, [x1]
    0xf89f_f020,     // prfum pldl1keep, [x1, #-1]
    0xc85f_7c20,     // ldxr x0, [x1]
    0xc800_fc41,     // stlxr w0, x1, [x2]
    0x885f_fc20,     // ldaxr w0, [x1]
    0xf820_0041,     // ldadd x0, x1, [x2]
    0xf820_8041,     // swp x0, x1, [x2]
    0xc8a0_7c41,     // cas x0, x1, [x2]
    0xc87f_0440,     // ldxp x0, x1, [x2]
    0xf8bf_c020,     // ldapr x0, [x1]
    0xf820_0420,     // ldraa x0, [x1]
    0xd50b_7e20,     // dc civac, x0
    0xd503_201f,     // nop
    0x8b02_0020,     // add x0, x1, x2
    0xf840_8400,     // ldr x0, [x0], #8
    0xa940_0040,     // ldp x0, x0, [x2]
    0xa8c1_0440 | 2, // ldp x2, x1, [x2], #16
];

fn row(row: &Row, reg2: Option<u8>) -> LoadStore {
    let &(_, write, reg, base, size, sign_extend, sf, offset, index) = row;
    LoadStore {
        reg,
        reg2,
        base,
        offset: Offset::Immediate(offset),
        index,
        size,
        write,
        sign_extend,
        sf,
    }
}

#[test]
fn immediate_forms() {
    for r in IMMEDIATE {
        assert_eq!(decode(r.0), Some(row(r, None)), "{:#x}", r.0);
    }
}

#[test]
fn pairs() {
    for (reg2, r) in PAIRS {
        assert_eq!(decode(r.0), Some(row(r, Some(*reg2))), "{:#x}", r.0);
    }
}

#[test]
fn everything_else() {
    for &word in NOT_EMULATED {
        assert_eq!(decode(word), None, "{word:#x}");
    }
}

#[test]
fn register_offsets() {
    let base = 0x1000u64;
    let x2 = 0xffff_ffff_8000_0002u64;
    let table = [
        (0xf862_6820, base.wrapping_add(x2)),      // ldr x0, [x1, x2]
        (0xb862_5820, base + (0x8000_0002 << 2)),  // ldr w0, [x1, w2, uxtw #2]
        (0xf822_d820, base.wrapping_add(x2 << 3)), // str x0, [x1, w2, sxtw #3]
        (0x3822_e820, base.wrapping_add(x2)),      // strb w0, [x1, x2, sxtx]
        (0x787f_7820, base),                       // ldrh w0, [x1, xzr, lsl #1]
    ];
    for (word, address) in table {
        let insn = decode(word).expect("emulated");
        let regs = |n| if n == 2 { x2 } else { 0xbad };
        let ipa = Ipa(0x900_0000 | address & 0xfff);
        let plan = insn.plan(regs, base, address, ipa).expect("address");
        assert_eq!((plan.first.ipa, plan.writeback), (ipa, None));
        assert_eq!(insn.plan(regs, base, address ^ 1, ipa), None);
    }
}

#[test]
fn pair_with_writeback() {
    // stp x0, x1, [sp, #-16]!
    let insn = decode(0xa9bf_07e0).expect("emulated");
    let plan = insn
        .plan(|_| 0, 0x9010, 0x9000, Ipa(0x900_0000))
        .expect("plan");
    let second = plan.second.expect("second");
    assert_eq!((plan.first.reg, plan.first.ipa), (0, Ipa(0x900_0000)));
    assert_eq!((second.reg, second.ipa), (1, Ipa(0x900_0008)));
    assert_eq!(plan.writeback, Some((31, 0x9000)));
    // The fault is of the second half, or the pair leaves the page.
    assert_eq!(insn.plan(|_| 0, 0x9010, 0x9008, Ipa(0x900_0008)), None);
    assert_eq!(insn.plan(|_| 0, 0x9008, 0x8ff8, Ipa(0x900_0ff8)), None);
}

#[test]
fn writeback_wraps() {
    // ldp x3, x4, [x5], #-512; str x10, [sp, #-16]!
    let post = decode(0xa8e0_10a3).expect("emulated");
    let plan = post.plan(|_| 0, 0x100, 0x100, Ipa(0x100)).expect("plan");
    assert_eq!(plan.writeback, Some((5, 0u64.wrapping_sub(0x100))));
    let pre = decode(0xf81f_0fea).expect("emulated");
    let top = 0u64.wrapping_sub(16);
    let plan = pre.plan(|_| 0, 0, top, Ipa(0xff0)).expect("plan");
    assert_eq!(plan.writeback, Some((31, top)));
}

#[test]
fn a_tag_does_not_matter() {
    // ldr x10, [x11], #8
    let insn = decode(0xf840_856a).expect("emulated");
    let tagged = 0x5a00_0000_0000_2000;
    let plan = insn.plan(|_| 0, tagged, 0x2000, Ipa(0)).expect("plan");
    assert_eq!(plan.writeback, Some((11, tagged + 8)));
}

fn any_load_store() -> impl Strategy<Value = u32> {
    (any::<u32>(), 0..3usize).prop_map(|(word, class)| {
        word & !0x3c00_0000 | [0x3800_0000, 0x2800_0000, 0x0800_0000][class]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn no_word_panics(word in any_load_store(), value: u64, base: u64, far: u64, ipa: u64) {
        if let Some(insn) = decode(word) {
            prop_assert!(matches!(insn.size, 1 | 2 | 4 | 8));
            let _ = insn.plan(|_| value, base, far, Ipa(ipa));
            if let Some(plan) = insn.plan(|_| value, base, base, Ipa(ipa)) {
                prop_assert_eq!(plan.first.ipa, Ipa(ipa));
                let end = plan.second.unwrap_or(plan.first).ipa;
                prop_assert_eq!(end.frame(), Ipa(ipa).frame());
            }
        }
    }
}
