// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers of the distributor and of the redistributors.

use core::arch::asm;

use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq, value};
use crate::machine::cpu;
use crate::machine::dt::facts;
use crate::machine::exception::attempt;
use crate::machine::gic::{
    self, CTLR, ICACTIVER, ICENABLER, ICFGR, ICPENDR, IIDR, IPRIORITYR, IROUTER, ISACTIVER,
    ISENABLER, ISPENDR, ITARGETSR, TYPER, bit, frame, set_bit,
};
use crate::machine::mmio::{read8, read32, read64, write8, write32, write64};

const NO_PENDING: &str = "Xen answers 0 for pending and active bits and clears nothing";

pub(super) const CHECKS: &[Check] = &[
    check(
        "the identification registers are the architecture's",
        identity,
    ),
    check("the redistributor knows its CPU", redistributor),
    check("CTLR keeps what is written", control),
    check("enable bits of an SPI", || enable_bits(spare())),
    check("enable bits of an SGI", || enable_bits(9)),
    check("enable bits of a PPI", || enable_bits(22)),
    check("priorities by byte and by word", priorities),
    check("trigger of an SPI", trigger),
    check("trigger of SGIs is fixed", sgi_trigger),
    check("target of an SPI", target),
    check("pending bits read back", pending_bits).differs(NO_PENDING),
    check("pending bits of an SGI read back", sgi_pending_bits).differs(NO_PENDING),
    check("active bits read back", active_bits).differs(NO_PENDING),
    check("loads extend as the architecture says", extension)
        .differs("Xen extends the sign to 64 bits for a 32-bit register too"),
    check("the zero register loads and stores", zero_register),
    check(
        "loads and stores without syndrome work or abort",
        no_syndrome,
    ),
    check("accesses of a wrong width abort or answer", widths),
    check("every word of the distributor answers or aborts", sweep),
    check(
        "every word of the redistributor answers or aborts",
        sweep_redistributor,
    ),
];

/// The last SPI: no device has it.
pub(super) fn spare() -> u32 {
    gic::lines() - 1
}

fn only_v3() -> Result<(), Failure> {
    if facts().gic.is_v3() {
        return Ok(());
    }
    Err(Failure::Skipped("GICv3 only"))
}

fn distributor() -> u64 {
    facts().gic.distributor()
}

fn identity() -> Outcome {
    let typer = read32(distributor() + TYPER);
    ensure!(gic::lines() >= 64, "TYPER {typer:#x} has no SPI");
    let cpus = (typer >> 5 & 7) as usize + 1;
    ensure_eq!(cpus, facts().cpus.min(8), "CPUs in TYPER");
    let iidr = read32(distributor() + IIDR);
    let want = if facts().gic.is_v3() { 0x34c } else { 0x43b };
    ensure_eq!(iidr, want, "IIDR");
    if facts().gic.is_v3() {
        ensure_eq!(
            read32(distributor() + 0xffe8) >> 4 & 0xf,
            3,
            "architecture in PIDR2"
        );
        ensure_eq!(
            read32(gic::redistributor(0) + 0xffe8) >> 4 & 0xf,
            3,
            "architecture in GICR_PIDR2"
        );
    }
    Ok(())
}

fn redistributor() -> Outcome {
    only_v3()?;
    for number in 0..facts().cpus {
        let base = gic::redistributor(number);
        let typer = read64(base + 8);
        let (low, high) = (read32(base + 8), read32(base + 12));
        ensure_eq!(
            u64::from(high) << 32 | u64::from(low),
            typer,
            "GICR_TYPER by halves"
        );
        ensure_eq!(
            typer >> 32,
            number as u64,
            "affinity of redistributor {number}"
        );
        ensure_eq!(typer >> 8 & 0xffff, number as u64, "processor number");
        let last = number + 1 == facts().cpus;
        ensure_eq!(typer >> 4 & 1 != 0, last, "Last of redistributor {number}");
        ensure_eq!(read32(base + 0x14) & 4, 0, "ChildrenAsleep");
        ensure_eq!(read32(base) & 1 << 3, 0, "RWP");
    }
    Ok(())
}

fn control() -> Outcome {
    let on = if facts().gic.is_v3() { 0x12 } else { 1 };
    ensure_eq!(read32(distributor() + CTLR), on, "CTLR");
    write32(distributor() + CTLR, on & !3);
    let off = read32(distributor() + CTLR);
    write32(distributor() + CTLR, on);
    ensure_eq!(off, on & !3, "CTLR, off");
    ensure_eq!(read32(distributor() + CTLR), on, "CTLR, on again");
    Ok(())
}

fn enable_bits(intid: u32) -> Outcome {
    set_bit(ISENABLER, intid);
    ensure!(bit(ISENABLER, intid), "ISENABLER of {intid} is 0 once set");
    ensure!(bit(ICENABLER, intid), "ICENABLER of {intid} is 0 once set");
    set_bit(ICENABLER, intid);
    ensure!(
        !bit(ISENABLER, intid),
        "ISENABLER of {intid} is 1 once cleared"
    );
    ensure!(
        !bit(ICENABLER, intid),
        "ICENABLER of {intid} is 1 once cleared"
    );
    Ok(())
}

fn priorities() -> Outcome {
    for intid in [spare() & !3, 4, 20] {
        let word = frame(intid) + IPRIORITYR + u64::from(intid);
        write32(word, 0xf8a0_5008);
        ensure_eq!(read32(word), 0xf8a0_5008, "priorities of {intid}-");
        for (at, want) in (0..).zip([0x08, 0x50, 0xa0, 0xf8]) {
            ensure_eq!(read8(word + at), want, "priority of {intid} + {at}");
        }
        write8(word + 2, 0x18);
        ensure_eq!(
            read32(word),
            0xf818_5008,
            "priorities of {intid}- after one"
        );
        write32(word, 0xa0a0_a0a0);
    }
    Ok(())
}

fn trigger() -> Outcome {
    let intid = spare();
    let register = frame(intid) + ICFGR + u64::from(intid / 16 * 4);
    let edge = 2 << (intid % 16 * 2);
    let before = read32(register);
    write32(register, before | edge);
    ensure_eq!(read32(register), before | edge, "ICFGR, edge");
    write32(register, before & !edge);
    ensure_eq!(read32(register), before & !edge, "ICFGR, level");
    write32(register, before | edge);
    Ok(())
}

fn sgi_trigger() -> Outcome {
    let register = frame(0) + ICFGR;
    let before = read32(register);
    write32(register, !before);
    ensure_eq!(read32(register), before, "ICFGR0");
    Ok(())
}

fn target() -> Outcome {
    let intid = spare();
    if facts().gic.is_v3() {
        let router = distributor() + IROUTER + u64::from(intid) * 8;
        write64(router, 0);
        ensure_eq!(read64(router), 0, "IROUTER");
        ensure_eq!(read32(router), 0, "IROUTER, lower half");
        return Ok(());
    }
    let byte = distributor() + ITARGETSR + u64::from(intid);
    write8(byte, 1);
    ensure_eq!(read8(byte), 1, "ITARGETSR of an SPI");
    let own = 1 << cpu::number();
    ensure_eq!(read8(distributor() + ITARGETSR), own, "ITARGETSR of an SGI");
    ensure_eq!(
        read32(distributor() + ITARGETSR),
        u32::from(own) * 0x0101_0101,
        "ITARGETSR0"
    );
    Ok(())
}

fn pending_bits() -> Outcome {
    let intid = spare();
    gic::disable(intid);
    set_bit(ISPENDR, intid);
    ensure!(bit(ISPENDR, intid), "ISPENDR is 0 once set");
    ensure!(bit(ICPENDR, intid), "ICPENDR is 0 once set");
    set_bit(ICPENDR, intid);
    ensure!(!bit(ISPENDR, intid), "ISPENDR is 1 once cleared");
    gic::enable(intid, 0xa0);
    ensure_eq!(gic::take(), None, "the interrupt that was cleared");
    gic::disable(intid);
    Ok(())
}

fn sgi_pending_bits() -> Outcome {
    gic::disable(9);
    gic::pend(9);
    let read = bit(ISPENDR, 9);
    gic::enable(9, 0xa0);
    let taken = gic::take();
    gic::disable(9);
    ensure!(read, "ISPENDR is 0 while an SGI waits");
    ensure_eq!(taken, Some(9), "the SGI");
    ensure!(!bit(ISPENDR, 9), "ISPENDR is 1 once the SGI was taken");
    Ok(())
}

fn active_bits() -> Outcome {
    gic::enable(9, 0xa0);
    gic::pend(9);
    let Some(acknowledged) = gic::acknowledge() else {
        super::check::fail!("the SGI does not come");
    };
    let (set, clear) = (bit(ISACTIVER, 9), bit(ICACTIVER, 9));
    gic::end(acknowledged);
    let after = bit(ISACTIVER, 9);
    gic::disable(9);
    ensure!(set && clear, "the active bit is 0 in its handler");
    ensure!(!after, "the active bit is 1 after its end");
    Ok(())
}

/// Executes one load of the form given on the address in x1; what is then in x0.
macro_rules! load {
    ($address:expr, $instruction:literal) => {{
        let address: u64 = $address;
        attempt(|| {
            let mut x0 = u64::MAX;
            // SAFETY: the address is that of a device register.
            unsafe { asm!($instruction, inout("x0") x0, in("x1") address, options(nostack)) };
            x0
        })
    }};
}

fn extension() -> Outcome {
    let intid = spare() & !3;
    let byte = frame(intid) + IPRIORITYR + u64::from(intid);
    write8(byte, 0xa8);
    ensure_eq!(value(load!(byte, "ldrb w0, [x1]"), "ldrb")?, 0xa8, "ldrb");
    ensure_eq!(
        value(load!(byte, "ldrsb w0, [x1]"), "ldrsb w")?,
        0xffff_ffa8,
        "ldrsb w"
    );
    let signed = value(load!(byte, "ldrsb x0, [x1]"), "ldrsb x")?;
    ensure_eq!(signed, 0xffff_ffff_ffff_ffa8, "ldrsb x");
    write32(byte, 0xf800_0008);
    ensure_eq!(
        value(load!(byte, "ldr w0, [x1]"), "ldr w")?,
        0xf800_0008,
        "ldr w"
    );
    let signed = value(load!(byte, "ldrsw x0, [x1]"), "ldrsw")?;
    ensure_eq!(signed, 0xffff_ffff_f800_0008, "ldrsw");
    write32(byte, 0xa0a0_a0a0);
    Ok(())
}

fn zero_register() -> Outcome {
    let intid = spare() & !3;
    let word = frame(intid) + IPRIORITYR + u64::from(intid);
    write32(word, 0xa0a0_a0a0);
    value(load!(word, "ldr wzr, [x1]"), "ldr wzr")?;
    value(load!(word, "strb wzr, [x1]"), "strb wzr")?;
    ensure_eq!(read32(word), 0xa0a0_a000, "priorities after strb wzr");
    value(load!(word, "str wzr, [x1]"), "str wzr")?;
    ensure_eq!(read32(word), 0, "priorities after str wzr");
    write32(word, 0xa0a0_a0a0);
    Ok(())
}

/// Executes a load with x1 the address, x0 and x2 the data; if it does not abort, x0 and x1 must be as given.
macro_rules! works_or_aborts {
    ($address:expr, $instruction:literal, $x0:expr, $x1:expr) => {{
        let mut x1: u64 = $address;
        let (mut x0, start) = (0_u64, x1);
        let attempted = attempt(|| {
            // SAFETY: the address is that of a device register.
            unsafe { asm!($instruction, inout("x0") x0, inout("x1") x1, inout("x2") 0_u64 => _, options(nostack)) };
        });
        match attempted {
            Ok(()) => {
                ensure_eq!(x0, u64::from($x0), "data of {}", $instruction);
                ensure_eq!(x1.wrapping_sub(start) as i64, $x1, "write-back of {}", $instruction);
            }
            Err(fault) => {
                ensure!(fault.is_data_abort(), "{} gives {fault:?}", $instruction);
                ensure_eq!(x1, start, "the base of {}, which aborts", $instruction);
            }
        }
    }};
}

fn no_syndrome() -> Outcome {
    let word = distributor() + TYPER;
    let (typer, next) = (read32(word), u64::from(read32(word + 4)));
    works_or_aborts!(word, "ldr w0, [x1], #4", typer, 4);
    works_or_aborts!(word - 4, "ldr w0, [x1, #4]!", typer, 4);
    works_or_aborts!(word, "ldr w0, [x1], #-8", typer, -8);
    works_or_aborts!(word, "ldp w0, w2, [x1]", typer, 0);
    works_or_aborts!(word, "ldp w0, w2, [x1], #8", typer, 8);
    works_or_aborts!(word, "ldpsw x0, x2, [x1]", typer, 0);
    works_or_aborts!(word, "ldxr w0, [x1]", typer, 0);
    works_or_aborts!(word, "ldar w0, [x1]", typer, 0);
    works_or_aborts!(word, "ldtr w0, [x1]", typer, 0);
    works_or_aborts!(word, "ldur w0, [x1]", typer, 0);
    works_or_aborts!(word + 4, "ldrb w0, [x1], #1", next & 0xff, 1);
    no_syndrome_stores()
}

fn no_syndrome_stores() -> Outcome {
    let intid = spare() & !7;
    let word = frame(intid) + IPRIORITYR + u64::from(intid);
    write32(word, 0xa0a0_a0a0);
    works_or_aborts!(word, "str w0, [x1], #4", 0_u32, 4);
    works_or_aborts!(word - 4, "strb w0, [x1, #4]!", 0_u32, 4);
    works_or_aborts!(word, "stp w0, w2, [x1]", 0_u32, 0);
    works_or_aborts!(word, "stp w0, w2, [x1], #8", 0_u32, 8);
    works_or_aborts!(word, "stlr w0, [x1]", 0_u32, 0);
    works_or_aborts!(word, "stur w0, [x1, #4]", 0_u32, 0);
    works_or_aborts!(word, "dc civac, x1", 0_u32, 0);
    write32(word, 0xa0a0_a0a0);
    write32(word + 4, 0xa0a0_a0a0);
    Ok(())
}

fn widths() -> Outcome {
    let base = distributor();
    for offset in [CTLR, TYPER, ISENABLER, ISPENDR, ICFGR] {
        // Either is fine; coming back is the point.
        let _ = attempt(|| read8(base + offset));
        let _ = load!(base + offset, "ldrh w0, [x1]");
        let _ = attempt(|| read64(base + offset));
        let _ = attempt(|| read32(base + offset + 2));
    }
    ensure!(gic::lines() >= 64, "TYPER is damaged");
    Ok(())
}

fn sweep() -> Outcome {
    let size = if facts().gic.is_v3() {
        0x1_0000
    } else {
        0x1000
    };
    sweep_words(distributor(), size)
}

fn sweep_redistributor() -> Outcome {
    only_v3()?;
    sweep_words(gic::redistributor(0), 0x2_0000)
}

fn sweep_words(base: u64, size: u64) -> Outcome {
    for address in (base..base + size).step_by(4) {
        if let Err(fault) = attempt(|| read32(address)) {
            ensure!(fault.is_data_abort(), "{address:#x} gives {fault:?}");
            ensure_eq!(fault.far, address, "FAR");
        }
    }
    Ok(())
}
