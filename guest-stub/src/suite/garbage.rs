// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls and accesses at random, always the same. What they answer does not matter; that the machine goes on does.

use core::sync::atomic::Ordering;

use xen_abi::hypercall::{
    CONSOLE_IO, DOMCTL, EVENT_CHANNEL_OP, GRANT_TABLE_OP, HVM_OP, MEMORY_OP, MULTICALL, PHYSDEV_OP,
    PLATFORM_OP, SCHED_OP, SYSCTL, VCPU_OP, XEN_VERSION,
};

use super::check::{Check, Outcome, check, ensure_eq};
use super::gicd::spare;
use crate::machine::dt::facts;
use crate::machine::exception::attempt;
use crate::machine::gic;
use crate::machine::mmio::{read32, write32};
use crate::machine::psci;
use crate::xen::hypercall::hypercall;
use crate::xen::page::Page;

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

pub(super) const CHECKS: &[Check] = &[
    check("twenty thousand hypercalls", hypercalls),
    check("five thousand firmware calls", firmware),
    check("twenty thousand distributor accesses", distributor),
    check("the machine still answers", alive),
];

/// Xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    /// A number as a structure may hold: small, all ones, a domain, or anything.
    fn value(&mut self) -> u64 {
        match self.below(8) {
            0..=3 => self.below(32),
            4 => u64::MAX >> self.below(64),
            5 => 0x7ff0 + self.below(4),
            6 => 1 << self.below(64),
            _ => self.next(),
        }
    }

    /// An argument: a buffer of random content, an address that is wrong, or a number.
    fn argument(&mut self) -> u64 {
        match self.below(4) {
            0 | 1 => self.buffer(),
            2 => facts().grant_region.base + self.below(4096),
            _ => self.value(),
        }
    }

    fn buffer(&mut self) -> u64 {
        for word in &BUFFER.0[..32] {
            word.store(self.value(), Ordering::Relaxed);
        }
        BUFFER.address()
            + if self.below(8) == 0 {
                self.below(16)
            } else {
                0
            }
    }
}

static BUFFER: Page = Page::new();

/// What a guest may well do to itself is left out: stopping, sleeping without end, writing on the console.
fn is_harmless(number: u64, operation: u64) -> bool {
    match number {
        SCHED_OP => !matches!(operation as u32, 1..=6),
        CONSOLE_IO => operation as u32 != 0,
        _ => true,
    }
}

fn hypercalls() -> Outcome {
    const NUMBERS: [u64; 12] = [
        PLATFORM_OP,
        MEMORY_OP,
        XEN_VERSION,
        CONSOLE_IO,
        GRANT_TABLE_OP,
        VCPU_OP,
        SCHED_OP,
        EVENT_CHANNEL_OP,
        PHYSDEV_OP,
        HVM_OP,
        SYSCTL,
        DOMCTL,
    ];
    let mut random = Random(SEED);
    for _ in 0..20_000 {
        let number = match random.below(16) {
            0 => random.value(),
            n => NUMBERS[n as usize % NUMBERS.len()],
        };
        let operation = if matches!(number, SYSCTL | DOMCTL | PLATFORM_OP) {
            random.argument()
        } else {
            random.below(40)
        };
        let mut arguments = [
            operation,
            random.argument(),
            random.argument(),
            random.value(),
            random.value(),
        ];
        if number == GRANT_TABLE_OP {
            // An array longer than the buffer would have its results written over this kernel.
            arguments[2] = random.below(6);
        }
        // A multicall of random entries could do what is left out here.
        if number != MULTICALL && is_harmless(number, operation) {
            hypercall(number, arguments);
        }
    }
    alive()
}

fn firmware() -> Outcome {
    let mut random = Random(SEED);
    for _ in 0..5000 {
        let function = match random.below(4) {
            0 => random.next(),
            1 => 0x8000_0000 | random.below(8) << 24 | random.below(0x30),
            2 => 0xc000_0000 | random.below(8) << 24 | random.below(0x30),
            _ => 0x8400_ff00 | random.below(8) << 24 | random.below(8),
        };
        // Not what stops this CPU or the machine, or starts another one on nothing.
        if !matches!(function as u32 & 0xbfff_ffff, 1..=3 | 0x8400_0001..=0x8400_0003 | 0x8400_0008 | 0x8400_0009)
        {
            psci::hvc(function, [random.value(), random.value(), random.value()]);
        }
    }
    alive()
}

fn distributor() -> Outcome {
    let mut random = Random(SEED);
    let size = if facts().gic.is_v3() {
        0x1_0000
    } else {
        0x1000
    };
    for _ in 0..20_000 {
        let offset = random.below(size / 4) * 4;
        let address = facts().gic.distributor() + offset;
        // The devices' interrupts are left alone, and SGIs are not sent.
        let writes = offset >= 0x80 && offset != gic::SGIR && random.below(2) == 0;
        let value = if offset < 0x400 {
            0
        } else {
            random.next() as u32
        };
        let _ = attempt(|| {
            if writes {
                write32(address, value)
            } else {
                read32(address);
            }
        });
    }
    while gic::take().is_some() {}
    alive()
}

fn alive() -> Outcome {
    ensure_eq!(hypercall(XEN_VERSION, [0; 5]), 0x4_0014, "xen_version");
    gic::enable(7, 0xa0);
    gic::pend(7);
    let taken = gic::take();
    gic::disable(7);
    ensure_eq!(taken, Some(7), "an SGI");
    ensure_eq!(gic::lines() - 1, spare(), "the lines");
    Ok(())
}
