// SPDX-License-Identifier: MIT OR Apache-2.0

//! GICv2 with the virtualization extensions, such as GIC-400.
//!
//! All interrupts are left in group 0 and only bit 0 of the control registers is used: in a GIC with
//! one security state that is group 0, in the Non-secure view of one with two it is group 1, the only
//! group visible there (IGROUPR is RAZ/WI). Both are signalled as IRQ.

use super::cpu_table::CpuTable;
use super::distributor::{Distributor, Frame, GICD_CTLR, arch_revision};
use super::encoding::{gich_from_ich, ich_from_gich, sgir};
use super::{Ack, GicError, VirtualState};
use crate::barrier::dsb_sy;
use crate::mmio::Mmio;
use arm_sysregs::el1::accessors::read_mpidr_el1;

/// GICC_IIDR of QEMU's GIC. When a guest ends an interrupt whose list register deactivates a physical one,
/// that one is not looked at again: a level that is high, or an edge that came meanwhile, is signalled when
/// something else happens to the GIC, or never. Before QEMU 9.1 such an SPI also stays active for all other
/// CPUs.
const IIDR_QEMU: u32 = 0x0002_043b;

const GICD_SIZE: usize = 0x1000;
const GICD_ITARGETSR: usize = 0x800;
const GICD_SGIR: usize = 0xf00;
const GICD_CPENDSGIR: usize = 0xf10;
const GICD_ICPIDR2: usize = 0xfe8;

const GICC_CTLR: usize = 0x0;
const GICC_PMR: usize = 0x4;
const GICC_BPR: usize = 0x8;
const GICC_IAR: usize = 0xc;
const GICC_EOIR: usize = 0x10;
const GICC_APR: usize = 0xd0;
const GICC_IIDR: usize = 0xfc;
const GICC_DIR: usize = 0x1000;

const GICC_CTLR_ENABLE: u32 = 1 << 0;
/// Bit 9 is EOImodeNS in the Non-secure view and EOImodeS with one security state.
const GICC_CTLR_EOIMODE: u32 = 1 << 9;
/// FIQ and IRQ bypass disable, for the group(s) that bit 0 enables.
const GICC_CTLR_BYPASS_DISABLE: u32 = 3 << 5;
/// All bypass disable bits of either view: board wiring that firmware knows of.
const GICC_CTLR_BYPASS: u32 = 0xf << 5;

const GICH_SIZE: usize = 0x200;
const GICH_HCR: usize = 0x0;
const GICH_VTR: usize = 0x4;
const GICH_VMCR: usize = 0x8;
const GICH_MISR: usize = 0x10;
const GICH_EISR: usize = 0x20;
const GICH_ELRSR: usize = 0x30;
const GICH_APR: usize = 0xf0;
const GICH_LR: usize = 0x100;

/// Where the CPU interface is when 4 KiB pages are repeated to fill 64 KiB: the last copy of the
/// first page adjoins the first copy of the second.
const ALIASED_PAGES: usize = 0xf000;
const ALIASED_SIZE: usize = 0x2_0000;

/// Physical base addresses of a GICv2, from `reg` of its device tree node in this order.
#[derive(Clone, Copy, Debug)]
pub struct GicV2Regions {
    /// Distributor.
    pub gicd: usize,
    /// CPU interfaces.
    pub gicc: usize,
    /// Bytes at `gicc`.
    pub gicc_size: usize,
    /// Virtual interface control.
    pub gich: usize,
    /// Virtual CPU interfaces, to be mapped to guests.
    pub gicv: usize,
}

/// The GICv2 driver.
pub struct GicV2 {
    distributor: Distributor,
    gicc: Mmio,
    gich: Mmio,
    guest_cpu_interface: usize,
    nr_lrs: usize,
    /// GICD_SGIR target mask of each CPU.
    masks: CpuTable,
}

impl GicV2 {
    /// # Safety
    ///
    /// See [`super::Gic::new_v2`].
    pub(super) unsafe fn new(regions: &GicV2Regions) -> Result<Self, GicError> {
        if regions.gicc_size < GICC_DIR + 4 {
            return Err(GicError::CpuInterfaceTooSmall {
                size: regions.gicc_size,
            });
        }
        // SAFETY: the caller promises that these are the GIC's registers and ours alone.
        let gicd = unsafe { Mmio::new(regions.gicd, GICD_SIZE) };
        // SAFETY: as above.
        let gicc = unsafe { Mmio::new(regions.gicc, regions.gicc_size) };
        // SAFETY: as above.
        let gich = unsafe { Mmio::new(regions.gich, GICH_SIZE) };
        let pidr2 = gicd.read32(GICD_ICPIDR2);
        if arch_revision(pidr2) != 2 {
            return Err(GicError::NotThisVersion {
                expected: 2,
                gicd: regions.gicd,
                pidr2,
            });
        }
        let skip = if is_aliased(&gicc, regions.gicc_size) {
            ALIASED_PAGES
        } else {
            0
        };
        Ok(Self {
            distributor: Distributor::new(gicd),
            gicc: gicc.sub(skip, regions.gicc_size - skip),
            gich,
            guest_cpu_interface: regions.gicv + skip,
            nr_lrs: (gich.read32(GICH_VTR) & 0x3f) as usize + 1,
            masks: CpuTable::new(),
        })
    }

    /// Physical address of the 8 KiB to map as a guest's CPU interface (GICV; GICV_DIR is in the
    /// second page).
    pub fn guest_cpu_interface(&self) -> usize {
        self.guest_cpu_interface
    }

    pub(super) fn distributor(&self) -> &Distributor {
        &self.distributor
    }

    pub(super) fn frame(&self, intid: u32) -> Option<Frame> {
        (intid < self.distributor.lines).then_some(Frame(self.distributor.regs))
    }

    /// Makes earlier writes reach the distributor: it answers reads after them.
    pub(super) fn settle(&self, _intid: u32) {
        self.distributor.regs.read32(GICD_CTLR);
    }

    pub(super) fn init_distributor(&self) -> Result<(), GicError> {
        let regs = &self.distributor.regs;
        regs.write32(GICD_CTLR, 0);
        self.distributor.reset_spis(0, || Ok(()))?;
        let mpidr = read_mpidr_el1().bits();
        let mask = self.own_mask().ok_or(GicError::NoCpuInterface(mpidr))?;
        for intid in 32..self.distributor.lines {
            regs.write8(GICD_ITARGETSR + intid as usize, mask);
        }
        regs.write32(GICD_CTLR, 1);
        Ok(())
    }

    pub(super) fn init_cpu(&self, mpidr: u64) -> Result<(), GicError> {
        let mask = self.own_mask().ok_or(GicError::NoCpuInterface(mpidr))?;
        if !self.masks.set(mpidr, mask.into()) {
            return Err(GicError::TooManyCpus);
        }
        self.init_private();
        self.init_cpu_interface();
        self.init_virtual_interface();
        Ok(())
    }

    /// This CPU's bit in target masks: the banked GICD_ITARGETSR0-7 read as nothing else.
    fn own_mask(&self) -> Option<u8> {
        let regs = &self.distributor.regs;
        let target = (0..8)
            .map(|word| regs.read32(GICD_ITARGETSR + 4 * word))
            .find(|&word| word != 0);
        let cpus = regs.read32(super::distributor::GICD_TYPER) >> 5 & 7;
        match target {
            // The register bank of a single CPU implementation is RAZ.
            None if cpus == 0 => Some(1),
            None => None,
            Some(word) => word.to_ne_bytes().into_iter().find(|&mask| mask != 0),
        }
    }

    fn init_private(&self) {
        let regs = self.distributor.regs;
        let Ok(()) = Frame(regs).reset_private(0, || Ok::<(), core::convert::Infallible>(()));
        for word in 0..4 {
            regs.write32(GICD_CPENDSGIR + 4 * word, u32::MAX);
        }
    }

    fn init_cpu_interface(&self) {
        for word in 0..4 {
            self.gicc.write32(GICC_APR + 4 * word, 0);
        }
        self.gicc.write32(GICC_PMR, 0xff);
        self.gicc.write32(GICC_BPR, 0);
        let bypass = self.gicc.read32(GICC_CTLR) & GICC_CTLR_BYPASS;
        self.gicc
            .write32(GICC_CTLR, bypass | GICC_CTLR_EOIMODE | GICC_CTLR_ENABLE);
    }

    fn init_virtual_interface(&self) {
        self.gich.write32(GICH_HCR, 0);
        for n in 0..self.nr_lrs {
            self.gich.write32(GICH_LR + 4 * n, 0);
        }
        self.restore_virtual(&VirtualState::default());
    }

    pub(super) fn disable_cpu(&self) {
        self.gich.write32(GICH_HCR, 0);
        // A disabled interface passes the legacy nIRQ and nFIQ inputs on unless told not to.
        let bypass = self.gicc.read32(GICC_CTLR) & GICC_CTLR_BYPASS;
        self.gicc
            .write32(GICC_CTLR, bypass | GICC_CTLR_BYPASS_DISABLE);
    }

    pub(super) fn acknowledge(&self) -> Ack {
        let raw = self.gicc.read32(GICC_IAR);
        dsb_sy();
        Ack {
            raw,
            intid: raw & 0x3ff,
        }
    }

    pub(super) fn drop_priority(&self, ack: &Ack) {
        self.gicc.write32(GICC_EOIR, ack.raw);
    }

    pub(super) fn deactivate(&self, raw: u32) {
        self.gicc.write32(GICC_DIR, raw);
    }

    fn mask_of(&self, mpidr: u64) -> Option<u8> {
        self.masks.get(mpidr).map(|mask| mask as u8)
    }

    pub(super) fn send_sgi(&self, sgi: u32, mpidr: u64) {
        if let Some(mask) = self.mask_of(mpidr) {
            self.distributor.regs.write32(GICD_SGIR, sgir(sgi, mask));
        }
    }

    pub(super) fn route(&self, intid: u32, mpidr: u64) {
        if let Some(mask) = self.mask_of(mpidr) {
            let regs = &self.distributor.regs;
            regs.write8(GICD_ITARGETSR + intid as usize, mask);
        }
    }

    #[inline]
    pub(super) fn nr_lrs(&self) -> usize {
        self.nr_lrs
    }

    pub(super) fn lrs_deactivate(&self) -> bool {
        self.gicc.read32(GICC_IIDR) != IIDR_QEMU
    }

    #[inline]
    pub(super) fn read_lr(&self, n: usize) -> u64 {
        if n < self.nr_lrs {
            ich_from_gich(self.gich.read32(GICH_LR + 4 * n))
        } else {
            0
        }
    }

    #[inline]
    pub(super) fn write_lr(&self, n: usize, lr: u64) {
        if n < self.nr_lrs {
            self.gich.write32(GICH_LR + 4 * n, gich_from_ich(lr));
        }
    }

    /// A status register with a bit for each list register.
    fn lr_bits(&self, register: usize) -> u64 {
        let low = u64::from(self.gich.read32(register));
        let bits = match self.nr_lrs {
            0..=32 => low,
            _ => low | u64::from(self.gich.read32(register + 4)) << 32,
        };
        bits & u64::MAX >> (64 - self.nr_lrs)
    }

    #[inline]
    pub(super) fn elrsr(&self) -> u64 {
        self.lr_bits(GICH_ELRSR)
    }

    #[inline]
    pub(super) fn eisr(&self) -> u64 {
        self.lr_bits(GICH_EISR)
    }

    #[inline]
    pub(super) fn misr(&self) -> u32 {
        self.gich.read32(GICH_MISR)
    }

    #[inline]
    pub(super) fn read_hcr(&self) -> u32 {
        self.gich.read32(GICH_HCR)
    }

    #[inline]
    pub(super) fn write_hcr(&self, hcr: u32) {
        self.gich.write32(GICH_HCR, hcr);
    }

    #[inline]
    pub(super) fn read_vmcr(&self) -> u64 {
        self.gich.read32(GICH_VMCR).into()
    }

    #[inline]
    pub(super) fn write_vmcr(&self, vmcr: u64) {
        self.gich.write32(GICH_VMCR, vmcr as u32);
    }

    pub(super) fn save_virtual(&self, state: &mut VirtualState) {
        state.vmcr = self.read_vmcr();
        state.apr[0][0] = self.gich.read32(GICH_APR);
    }

    pub(super) fn restore_virtual(&self, state: &VirtualState) {
        self.write_vmcr(state.vmcr);
        self.gich.write32(GICH_APR, state.apr[0][0]);
    }
}

/// Whether the pages of the CPU interface are repeated: then GICC_IIDR reads the same in the copy.
fn is_aliased(gicc: &Mmio, size: usize) -> bool {
    size >= ALIASED_SIZE && {
        let iidr = gicc.read32(GICC_IIDR);
        iidr != 0 && iidr == gicc.read32(ALIASED_PAGES + GICC_IIDR)
    }
}

#[cfg(test)]
mod tests;
