// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the distributor registers of GICv2 and GICv3, and GICv3's redistributors for INTIDs below 32,
//! have in common: one bit, byte or two-bit field per interrupt at the same offsets.

use super::DEFAULT_PRIORITY;
use crate::mmio::Mmio;
use spin::mutex::TicketMutex;

pub(super) const GICD_CTLR: usize = 0x0;
pub(super) const GICD_TYPER: usize = 0x4;
pub(super) const IGROUPR: usize = 0x80;
pub(super) const ISENABLER: usize = 0x100;
pub(super) const ICENABLER: usize = 0x180;
pub(super) const ISPENDR: usize = 0x200;
pub(super) const ICPENDR: usize = 0x280;
pub(super) const ISACTIVER: usize = 0x300;
pub(super) const ICACTIVER: usize = 0x380;
pub(super) const IPRIORITYR: usize = 0x400;
pub(super) const ICFGR: usize = 0xc00;

/// Number of INTIDs GICD_TYPER announces: 32 for each ITLinesNumber, never the special ones.
pub(super) fn lines(typer: u32) -> u32 {
    (32 * ((typer & 0x1f) + 1)).min(1020)
}

/// ArchRev of PIDR2: 2 is GICv2, 3 GICv3, 4 GICv4.
pub(super) fn arch_revision(pidr2: u32) -> u32 {
    (pidr2 >> 4) & 0xf
}

/// The distributor.
pub(super) struct Distributor {
    pub(super) regs: Mmio,
    pub(super) lines: u32,
    /// Bits of an INTID.
    pub(super) id_bits: u32,
    /// Serializes read-modify-write of ICFGR words, here and in redistributors.
    icfgr: TicketMutex<()>,
}

impl Distributor {
    pub(super) fn new(regs: Mmio) -> Self {
        Self {
            regs,
            lines: lines(regs.read32(GICD_TYPER)),
            id_bits: (regs.read32(GICD_TYPER) >> 19 & 0x1f).max(9) + 1,
            icfgr: TicketMutex::new(()),
        }
    }

    /// Makes every SPI disabled, inactive, not pending, level-sensitive, of default priority and of
    /// the groups in `group` (a word for 32). `settle` waits until disabling has taken effect.
    pub(super) fn reset_spis<E>(
        &self,
        group: u32,
        settle: impl Fn() -> Result<(), E>,
    ) -> Result<(), E> {
        let words = self.lines.div_ceil(32);
        (1..words).for_each(|word| self.write_word(ICENABLER, word, u32::MAX));
        settle()?;
        for word in 1..words {
            self.write_word(ICPENDR, word, u32::MAX);
            self.write_word(ICACTIVER, word, u32::MAX);
            self.write_word(IGROUPR, word, group);
        }
        for word in 2..2 * words {
            self.write_word(ICFGR, word, 0);
        }
        for word in 8..8 * words {
            self.write_word(IPRIORITYR, word, priority_word());
        }
        Ok(())
    }

    fn write_word(&self, register: usize, word: u32, value: u32) {
        self.regs.write32(register + 4 * word as usize, value);
    }

    /// Sets how `intid` of `frame` is triggered. The interrupt must be disabled.
    pub(super) fn set_edge(&self, frame: &Frame, intid: u32, edge: bool) {
        let offset = ICFGR + 4 * (intid / 16) as usize;
        let bit = 2 << (intid % 16 * 2);
        let _guard = self.icfgr.lock();
        let others = frame.0.read32(offset) & !bit;
        frame
            .0
            .write32(offset, if edge { others | bit } else { others });
    }
}

/// The default priority in each byte of a word.
pub(super) const fn priority_word() -> u32 {
    u32::from_ne_bytes([DEFAULT_PRIORITY; 4])
}

/// Registers that hold the state of some interrupt: the distributor, or the SGI frame of a
/// redistributor. Callers check that the frame has the INTID.
#[derive(Clone, Copy)]
pub(super) struct Frame(pub(super) Mmio);

impl Frame {
    /// Writes the bit of `intid` in a write-one-to-act register array.
    pub(super) fn strike(&self, register: usize, intid: u32) {
        let offset = register + 4 * (intid / 32) as usize;
        self.0.write32(offset, 1 << (intid % 32));
    }

    /// Reads the bit of `intid` in a register array.
    pub(super) fn test(&self, register: usize, intid: u32) -> bool {
        let offset = register + 4 * (intid / 32) as usize;
        self.0.read32(offset) & 1 << (intid % 32) != 0
    }

    pub(super) fn set_priority(&self, intid: u32, priority: u8) {
        self.0.write8(IPRIORITYR + intid as usize, priority);
    }

    /// Makes the SGIs and PPIs of the calling CPU disabled, inactive, not pending and of default
    /// priority. `settle` waits until disabling has taken effect.
    pub(super) fn reset_private<E>(
        &self,
        group: u32,
        settle: impl Fn() -> Result<(), E>,
    ) -> Result<(), E> {
        self.0.write32(ICENABLER, u32::MAX);
        settle()?;
        self.0.write32(ICPENDR, u32::MAX);
        self.0.write32(ICACTIVER, u32::MAX);
        self.0.write32(IGROUPR, group);
        for word in 0..8 {
            self.0.write32(IPRIORITYR + 4 * word, priority_word());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake::FakeRegisters;

    #[test]
    fn lines_and_revisions() {
        assert_eq!(lines(0), 32);
        assert_eq!(lines(0xffff_ffe8), 288);
        assert_eq!(lines(31), 1020);
        assert_eq!(arch_revision(0x2b), 2);
        assert_eq!(arch_revision(0x3b), 3);
    }

    #[test]
    fn reset_reaches_every_spi_and_no_private_interrupt() {
        let memory = FakeRegisters::new(0x1000);
        let regs = memory.mmio();
        regs.write32(GICD_TYPER, 31);
        let distributor = Distributor::new(regs);
        distributor
            .reset_spis(u32::MAX, || Ok::<(), ()>(()))
            .unwrap();
        for (register, last) in [(ICENABLER, 31), (ICPENDR, 31), (IGROUPR, 31)] {
            assert_eq!(regs.read32(register), 0, "{register:#x}");
            assert_eq!(regs.read32(register + 4), u32::MAX, "{register:#x}");
            assert_eq!(regs.read32(register + 4 * last), u32::MAX, "{register:#x}");
        }
        assert_eq!(regs.read32(IPRIORITYR + 28), 0);
        assert_eq!(regs.read32(IPRIORITYR + 32), priority_word());
        assert_eq!(regs.read32(IPRIORITYR + 1016), priority_word());
    }

    #[test]
    fn neighbours_are_left_alone() {
        let memory = FakeRegisters::new(0x1000);
        let distributor = Distributor::new(memory.mmio());
        let frame = Frame(memory.mmio());
        for intid in [32, 33, 34] {
            frame.set_priority(intid, 0x80 + intid as u8);
            distributor.set_edge(&frame, intid, true);
        }
        distributor.set_edge(&frame, 33, false);
        assert_eq!(memory.mmio().read32(IPRIORITYR + 32), 0x00a2_a1a0);
        assert_eq!(memory.mmio().read32(ICFGR + 8), 0b10_00_10);
        frame.strike(ISENABLER, 63);
        assert!(frame.test(ISENABLER, 63) && !frame.test(ISENABLER, 62));
    }
}
