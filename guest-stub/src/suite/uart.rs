// SPDX-License-Identifier: MIT OR Apache-2.0
//! The UART of a domU: its registers, and its interrupt. Nothing is sent while an interrupt is watched, since the
//! results of the checks go over it as well.

use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq, fault};
use crate::console;
use crate::machine::exception::attempt;
use crate::machine::gic;
use crate::machine::mmio::{read8, read32, read64, write8, write32, write64};

const DR: u64 = 0x00;
const FR: u64 = 0x18;
const IMSC: u64 = 0x38;
const RIS: u64 = 0x3c;
const MIS: u64 = 0x40;
const ICR: u64 = 0x44;

/// FR: nothing received; everything sent.
const RXFE: u32 = 1 << 4;
const TXFE: u32 = 1 << 7;
/// The transmit interrupt.
const TX: u32 = 1 << 5;
/// `GUEST_VPL011_SPI`.
const SPI: u32 = 32;

pub(super) const CHECKS: &[Check] = &[
    check("nothing is received, everything sent", flags),
    check("an empty receiver reads as 0", empty),
    check("the interrupt mask is read back", mask),
    check("the masked status is the status under the mask", masked),
    check("ICR cannot be read", icr),
    check("other registers read as 0 and ignore writes", others),
    check("64-bit accesses abort", wide),
    check("registers can be read in bytes", bytes),
    check("what is sent interrupts, once unmasked", transmit),
];

fn uart() -> Result<u64, Failure> {
    console::uart().ok_or(Failure::Skipped("no UART: this is dom0"))
}

fn flags() -> Outcome {
    let flags = read32(uart()? + FR);
    ensure_eq!(flags, TXFE | RXFE, "FR");
    Ok(())
}

fn empty() -> Outcome {
    let uart = uart()?;
    ensure_eq!(read32(uart + DR), 0, "DR");
    ensure_eq!(read32(uart + FR) & RXFE, RXFE, "FR.RXFE");
    Ok(())
}

fn mask() -> Outcome {
    let uart = uart()?;
    for value in [0x7ff, 0x50, 0] {
        write32(uart + IMSC, value);
        ensure_eq!(read32(uart + IMSC), value, "IMSC");
    }
    Ok(())
}

fn masked() -> Outcome {
    let uart = uart()?;
    for value in [0, TX, 0x7ff] {
        write32(uart + IMSC, value);
        let (ris, mis) = (read32(uart + RIS), read32(uart + MIS));
        write32(uart + IMSC, 0);
        ensure_eq!(mis, ris & value, "MIS");
    }
    Ok(())
}

fn icr() -> Outcome {
    let uart = uart()?;
    let fault = fault(attempt(|| read32(uart + ICR)), "a read of ICR")?;
    ensure!(fault.is_data_abort(), "a read of ICR gives {fault:?}");
    write32(uart + ICR, 0x7ff);
    Ok(())
}

fn others() -> Outcome {
    let uart = uart()?;
    // Status, clock, line control, control, FIFO levels, DMA, identification.
    for offset in [
        0x04, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x48, 0x800, 0xfe0, 0xffc,
    ] {
        write32(uart + offset, u32::MAX);
        ensure_eq!(read32(uart + offset), 0, "register {offset:#x}");
    }
    Ok(())
}

fn wide() -> Outcome {
    let uart = uart()?;
    for offset in [DR, FR & !7, IMSC] {
        let fault = fault(attempt(|| read64(uart + offset)), "a 64-bit load")?;
        ensure!(fault.is_data_abort(), "a 64-bit load gives {fault:?}");
    }
    let fault = fault(attempt(|| write64(uart + IMSC, 0)), "a 64-bit store")?;
    ensure!(fault.is_data_abort(), "a 64-bit store gives {fault:?}");
    Ok(())
}

fn bytes() -> Outcome {
    let uart = uart()?;
    ensure_eq!(u32::from(read8(uart + FR)), TXFE | RXFE, "the byte of FR");
    write8(uart + IMSC, TX as u8);
    let value = read32(uart + IMSC);
    write32(uart + IMSC, 0);
    ensure_eq!(value, TX, "IMSC after a byte was stored");
    Ok(())
}

/// The line that the harness is told before this check has been sent: the transmitter has raised its interrupt.
fn transmit() -> Outcome {
    let uart = uart()?;
    ensure_eq!(read32(uart + RIS) & TX, TX, "RIS.TXRIS after a line");
    gic::enable(SPI, 0xa0);
    write32(uart + IMSC, TX);
    let first = gic::take();
    write32(uart + ICR, TX);
    let cleared = read32(uart + RIS) & TX;
    while gic::take().is_some() {}
    let second = gic::take();
    write32(uart + IMSC, 0);
    gic::disable(SPI);
    ensure_eq!(first, Some(SPI), "the interrupt");
    ensure_eq!(cleared, 0, "RIS.TXRIS after ICR");
    ensure_eq!(second, None, "an interrupt after it was cleared");
    Ok(())
}
