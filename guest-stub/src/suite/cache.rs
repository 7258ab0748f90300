// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cache maintenance.

use core::arch::asm;
use core::sync::atomic::Ordering;

use super::check::{Check, Outcome, check, ensure_eq};
use crate::machine::barrier;
use crate::machine::sysreg::{read_sysreg, write_sysreg};
use crate::xen::page::Page;

pub(super) const CHECKS: &[Check] = &[
    check("by address", by_address),
    check("by set and way", set_way),
    check(
        "translation registers after set and way",
        translation_registers,
    ),
];

static PAGE: Page = Page::new();

fn fill(seed: u64) {
    for (index, word) in (0..).zip(&PAGE.0) {
        word.store(seed ^ index, Ordering::Relaxed);
    }
}

fn intact(seed: u64) -> Outcome {
    for (index, word) in (0..).zip(&PAGE.0) {
        ensure_eq!(word.load(Ordering::Relaxed), seed ^ index, "word {index}");
    }
    Ok(())
}

macro_rules! maintain {
    ($operation:literal, $argument:expr) => {{
        let argument: u64 = $argument;
        // SAFETY: cleaning changes no memory as this CPU sees it.
        unsafe { asm!(concat!("dc ", $operation, ", {0}"), in(reg) argument, options(nostack)) };
    }};
}

fn by_address() -> Outcome {
    fill(0x1234);
    for address in (PAGE.address()..PAGE.address() + 4096).step_by(16) {
        maintain!("cvac", address);
        maintain!("cvau", address);
        maintain!("civac", address);
    }
    barrier::dsb();
    intact(0x1234)
}

fn set_way() -> Outcome {
    fill(0x5678);
    for _ in 0..3 {
        for argument in [0, 1 << 6, 2, 2 | 1 << 6, 1 << 28] {
            maintain!("cisw", argument);
            maintain!("csw", argument);
        }
        barrier::dsb();
    }
    intact(0x5678)
}

fn translation_registers() -> Outcome {
    maintain!("cisw", 0);
    let before = [
        read_sysreg!("sctlr_el1"),
        read_sysreg!("ttbr0_el1"),
        read_sysreg!("tcr_el1"),
        read_sysreg!("mair_el1"),
    ];
    write_sysreg!("contextidr_el1", 0x77);
    write_sysreg!("ttbr0_el1", before[1]);
    write_sysreg!("tcr_el1", before[2]);
    write_sysreg!("mair_el1", before[3]);
    write_sysreg!("sctlr_el1", before[0]);
    write_sysreg!("far_el1", 0x1234_5678);
    barrier::isb();
    let after = [
        read_sysreg!("sctlr_el1"),
        read_sysreg!("ttbr0_el1"),
        read_sysreg!("tcr_el1"),
        read_sysreg!("mair_el1"),
    ];
    ensure_eq!(after, before, "SCTLR, TTBR0, TCR, MAIR");
    ensure_eq!(read_sysreg!("contextidr_el1"), 0x77, "CONTEXTIDR_EL1");
    ensure_eq!(read_sysreg!("far_el1"), 0x1234_5678, "FAR_EL1");
    intact(0x5678)
}
