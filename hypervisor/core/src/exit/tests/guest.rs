// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a hostile guest comes up with: traps, registers, memory.

use super::Syndrome;
use crate::addr::{Ipa, PAGE_SIZE};
use crate::trap::sysreg::reg;
use std::vec::Vec;
use xen_abi::hypercall::*;

/// xorshift64*.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, sides: u64) -> u64 {
        (self.word() >> 11) % sides
    }

    pub(super) fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What a guest knows of itself.
pub(super) struct Layout {
    /// Its first frame number, the machine's number of that frame, how many there are.
    pub(super) gfn: u64,
    pub(super) mfn: u64,
    pub(super) pages: u64,
    /// Its distributor and redistributor (or CPU interface).
    pub(super) devices: Vec<(Ipa, u64)>,
}

impl Layout {
    /// An address in one of the first pages, where structures are put.
    fn address(&self, dice: &mut Dice) -> u64 {
        let page = (self.gfn + dice.below(8)) * PAGE_SIZE;
        let offset = match dice.below(4) {
            0 => 0,
            1 => dice.below(PAGE_SIZE / 8) * 8,
            2 => PAGE_SIZE - 8 * (1 + dice.below(8)),
            _ => dice.below(PAGE_SIZE),
        };
        page + offset
    }

    fn frame(&self, dice: &mut Dice) -> u64 {
        let base = dice.pick(&[self.gfn, self.gfn, self.mfn, self.gfn + self.pages, 0x40000]);
        let span = dice.pick_size(self.pages);
        base + dice.below(span)
    }

    /// Any value a guest might use for anything.
    pub(super) fn value(&self, dice: &mut Dice) -> u64 {
        match dice.below(16) {
            0..5 => dice.below(8),
            5 => dice.below(64),
            6 | 7 => self.address(dice),
            8 | 9 => self.frame(dice),
            10 => dice.pick(&[0, 1, 2, 0x7ff0, 0x7ff1, 0x7ff4, 0xffff]),
            11 => dice.pick(&[
                u64::MAX,
                u32::MAX.into(),
                1 << 63,
                i32::MAX as u64,
                u64::MAX - 1,
            ]),
            12 => 1 << dice.below(64),
            13 => dice.below(4) << 32 | dice.below(4) << 16 | dice.below(4),
            14 => dice.word() >> dice.below(64),
            _ => dice.word(),
        }
    }

    /// A word of a structure: fields of 16 or 32 bits, often of itself, or any value.
    pub(super) fn field(&self, dice: &mut Dice) -> u64 {
        let domain = dice.pick(&[0x7ff0, 0x7ff0, 0, 1]);
        match dice.below(6) {
            0 => domain,
            1 => domain | dice.below(4) << 16 | dice.below(4) << 32,
            2 => domain | dice.pick(&[0x7ff0, 0, 1]) << 16,
            3 => dice.below(8) | dice.below(8) << 32,
            _ => self.value(dice),
        }
    }

    /// Where a device is emulated, or RAM, or nothing.
    fn ipa(&self, dice: &mut Dice) -> u64 {
        if dice.below(8) < 6 {
            let (start, size) = dice.pick(&self.devices);
            let low = dice.pick_size(size);
            return start.0 + (dice.below(low) & !dice.pick(&[0, 1, 3, 7]));
        }
        let elsewhere = [self.address(dice), self.value(dice), 0x9000_0000];
        dice.pick(&elsewhere)
    }
}

impl Dice {
    /// A bound up to `most`, small ones more often.
    fn pick_size(&mut self, most: u64) -> u64 {
        self.pick(&[most, most.min(0x1000), most.min(0x110), most.min(16)])
    }
}

/// A trap, ready to be handled.
pub(super) struct Trap {
    pub(super) syndrome: Syndrome,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The program counter is past the instruction already.
    Call,
    /// Is stepped over or becomes an exception.
    Instruction,
    /// The same, or the guest tries again because the access would work now.
    Abort,
    SError,
}

fn syndrome(ec: u64, iss: u64) -> Syndrome {
    let esr = ec << 26 | 1 << 25 | iss & 0x1ff_ffff;
    Syndrome {
        esr,
        far: 0,
        hpfar: 0,
    }
}

/// A trap that leaves the hardware's choice of registers to chance. `x` may be changed to suit it.
pub(super) fn trap(layout: &Layout, x: &mut [u64; 31], dice: &mut Dice) -> Trap {
    for register in x.iter_mut() {
        *register = layout.value(dice);
    }
    let (kind, syndrome) = match dice.below(32) {
        0..14 => (Kind::Call, hypercall(x, layout, dice)),
        14 => (Kind::Call, syndrome(0x16, firmware_call(x, dice))),
        15 | 16 => (Kind::Instruction, syndrome(0x17, firmware_call(x, dice))),
        17..20 => (Kind::Instruction, syndrome(0x18, system_register(dice))),
        20..27 => (Kind::Abort, data_abort(layout, dice)),
        27 => (Kind::Abort, instruction_abort(layout, dice)),
        28 | 29 => (Kind::Instruction, syndrome(0x01, dice.word() & 0x1f0_03e3)),
        30 => (Kind::SError, syndrome(0x2f, dice.word())),
        _ => (Kind::Instruction, junk(dice)),
    };
    Trap { syndrome, kind }
}

pub(super) const NUMBERS: [u64; 12] = [
    PLATFORM_OP,
    MEMORY_OP,
    MEMORY_OP,
    MULTICALL,
    XEN_VERSION,
    CONSOLE_IO,
    GRANT_TABLE_OP,
    GRANT_TABLE_OP,
    VCPU_OP,
    SCHED_OP,
    EVENT_CHANNEL_OP,
    HVM_OP,
];

fn hypercall(x: &mut [u64; 31], layout: &Layout, dice: &mut Dice) -> Syndrome {
    x[16] = match dice.below(16) {
        0 => dice.below(64),
        1 if dice.one_in(4) => dice.word(),
        _ => dice.pick(&NUMBERS),
    };
    if !dice.one_in(8) {
        x[0] = dice.below(16);
    }
    // An operation and its structure, or a list and how long it is, or a vCPU's structure.
    match dice.below(4) {
        0 => (x[1], x[2]) = (dice.below(4), layout.address(dice)),
        1 => (x[0], x[1]) = (layout.address(dice), dice.below(8)),
        2 => (x[1], x[2]) = (layout.address(dice), dice.below(8)),
        _ => {}
    }
    syndrome(0x16, HYPERCALL_TAG.into())
}

fn firmware_call(x: &mut [u64; 31], dice: &mut Dice) -> u64 {
    const BASES: [u64; 6] = [
        0x8400_0000,
        0xc400_0000,
        0x8000_0000,
        0xc600_ff00,
        0x8600_ff00,
        0x95c1_ba5e,
    ];
    x[0] = dice.pick(&BASES) + dice.below(32);
    if dice.one_in(2) {
        x[1] = dice.below(3);
    }
    match dice.below(8) {
        0 => dice.word(),
        _ => 0,
    }
}

fn system_register(dice: &mut Dice) -> u64 {
    if dice.one_in(4) {
        return dice.word();
    }
    let (_, reg) = dice.pick(reg::ALL);
    let fields = [
        (reg.op0(), 20),
        (reg.op2(), 17),
        (reg.op1(), 14),
        (reg.crn(), 10),
        (reg.crm(), 1),
    ];
    let iss = fields
        .iter()
        .fold(0, |iss, &(field, at)| iss | u64::from(field) << at);
    iss | dice.below(32) << 5 | dice.below(2)
}

fn at(mut syndrome: Syndrome, layout: &Layout, dice: &mut Dice) -> Syndrome {
    let ipa = layout.ipa(dice);
    syndrome.hpfar = ipa >> 12 << 4 & 0xf_ffff_fff0;
    syndrome.far = match dice.below(4) {
        0 => layout.value(dice),
        _ => ipa,
    };
    syndrome
}

fn data_abort(layout: &Layout, dice: &mut Dice) -> Syndrome {
    let fault = match dice.below(4) {
        0 => dice.below(64),
        _ => dice.pick(&[0x04, 0x05, 0x07, 0x0f, 0x0d]),
    };
    // WnR, and ISV with all that comes with it or not.
    let valid = dice.below(3) << 22 | dice.below(32) << 16 | dice.below(4) << 14 | 1 << 24;
    let rare = match dice.below(4) {
        0 => dice.word() & (1 << 21 | 1 << 10 | 1 << 9 | 1 << 8 | 1 << 7),
        _ => 0,
    };
    let iss = fault | dice.below(2) << 6 | rare | if dice.one_in(3) { 0 } else { valid };
    at(syndrome(0x24, iss), layout, dice)
}

fn instruction_abort(layout: &Layout, dice: &mut Dice) -> Syndrome {
    let iss = dice.pick(&[0x05, 0x07, 0x0f, 0x10]) | dice.word() & (1 << 9 | 1 << 7);
    at(syndrome(0x20, iss), layout, dice)
}

/// Any other class.
fn junk(dice: &mut Dice) -> Syndrome {
    const USED: [u64; 7] = [0x01, 0x16, 0x17, 0x18, 0x20, 0x24, 0x2f];
    loop {
        let ec = dice.below(64);
        if !USED.contains(&ec) {
            let mut syndrome = syndrome(ec, dice.word());
            syndrome.esr ^= dice.below(2) << 25;
            return syndrome;
        }
    }
}

/// An instruction that loads or stores, or anything.
pub(super) fn instruction(dice: &mut Dice) -> u32 {
    const LOADS_AND_STORES: [u32; 8] = [
        0xb940_0000,
        0xf900_0000,
        0xb840_0400,
        0x3800_0c00,
        0xa940_0000,
        0x2980_0000,
        0xf860_6800,
        0x4d00_0000,
    ];
    let word = dice.word() as u32;
    match dice.below(8) {
        0 => word,
        _ => dice.pick(&LOADS_AND_STORES) | word & 0x00df_ffff,
    }
}
