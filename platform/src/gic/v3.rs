// SPDX-License-Identifier: MIT OR Apache-2.0

//! GICv3 and GICv4 with affinity routing and system registers.
//!
//! All interrupts are Non-secure group 1. The bits used, ARE and group 1 enable of GICD_CTLR, are at
//! the same place in the Non-secure view and in a GIC with one security state. LPIs and the extended
//! INTID ranges are not used.

mod redistributor;

use self::redistributor::{
    GICR_SIZE, PIDR2, find_redistributor, is_v3, sgi_frame, wait_redistributor, wake,
};
use super::cpu_table::CpuTable;
use super::distributor::{Distributor, Frame, GICD_CTLR};
use super::encoding::{affinity, apr_count, ich_lr, sgi1r, vtr_preemption_bits};
use super::{Ack, GicError, VirtualState, ich};
use crate::barrier::{dsb_sy, isb};
use crate::mmio::Mmio;
use alloc::vec::Vec;
use arm_sysregs::el1::accessors::{
    read_icc_ctlr_el1, read_icc_iar1_el1, read_id_aa64pfr0_el1, read_mpidr_el1,
    write_icc_ap1r0_el1, write_icc_ap1r1_el1, write_icc_ap1r2_el1, write_icc_ap1r3_el1,
    write_icc_bpr1_el1, write_icc_ctlr_el1, write_icc_dir_el1, write_icc_eoir1_el1,
    write_icc_igrpen1_el1, write_icc_pmr_el1, write_icc_sgi1r_el1, write_icc_sre_el1,
};
use arm_sysregs::el1::registers::{
    IccAp1r0El1, IccBpr1El1, IccCtlrEl1, IccDirEl1, IccEoir1El1, IccIgrpen1El1, IccPmrEl1,
    IccSgi1rEl1, IccSreEl1,
};
use arm_sysregs::el2::accessors::{
    read_icc_sre_el2, read_ich_hcr_el2, read_ich_vmcr_el2, write_icc_sre_el2, write_ich_hcr_el2,
    write_ich_vmcr_el2,
};
use arm_sysregs::el2::registers::{IccSreEl2, IchHcrEl2, IchVmcrEl2};

const GICD_SIZE: usize = 0x1_0000;
const GICD_IROUTER: usize = 0x6000;

const GICD_CTLR_GRP0: u32 = 1 << 0;
const GICD_CTLR_GRP1: u32 = 1 << 1;
/// Secure group 1 with one's view of both security states.
const GICD_CTLR_GRP1S: u32 = 1 << 2;
const GICD_CTLR_ARE: u32 = 1 << 4;
const GICD_CTLR_RWP: u32 = 1 << 31;

/// A contiguous run of redistributors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedistributorRegion {
    /// Physical base address.
    pub base: usize,
    /// Bytes.
    pub size: usize,
}

/// Physical addresses of a GICv3, from its device tree node.
#[derive(Clone, Debug)]
pub struct GicV3Regions {
    /// Distributor.
    pub gicd: usize,
    /// Redistributors.
    pub redistributors: Vec<RedistributorRegion>,
    /// `redistributor-stride`, bytes from one redistributor to the next, if it is not what the
    /// architecture says (128 KiB, or 256 KiB with virtual LPIs).
    pub stride: Option<usize>,
}

/// The GICv3 driver.
pub struct GicV3 {
    distributor: Distributor,
    regions: Vec<Mmio>,
    stride: Option<usize>,
    /// Address of the redistributor of each CPU.
    redistributors: CpuTable,
}

impl GicV3 {
    /// # Safety
    ///
    /// See [`super::Gic::new_v3`].
    pub(super) unsafe fn new(regions: GicV3Regions) -> Result<Self, GicError> {
        // SAFETY: the caller promises that these are the GIC's registers and ours alone.
        let gicd = unsafe { Mmio::new(regions.gicd, GICD_SIZE) };
        let pidr2 = gicd.read32(PIDR2);
        if !is_v3(pidr2) {
            return Err(GicError::NotThisVersion {
                expected: 3,
                gicd: regions.gicd,
                pidr2,
            });
        }
        let mmio = |region: &RedistributorRegion| {
            // SAFETY: as above.
            unsafe { Mmio::new(region.base, region.size) }
        };
        Ok(Self {
            distributor: Distributor::new(gicd),
            regions: regions.redistributors.iter().map(mmio).collect(),
            stride: regions.stride,
            redistributors: CpuTable::new(),
        })
    }

    pub(super) fn distributor(&self) -> &Distributor {
        &self.distributor
    }

    /// The redistributor of the calling CPU, if it has run `init_cpu`.
    fn redistributor(&self) -> Option<Mmio> {
        let base = self.redistributors.get(read_mpidr_el1().bits())?;
        // SAFETY: the table holds addresses `init_cpu` found inside the regions we own.
        Some(unsafe { Mmio::new(base, GICR_SIZE) })
    }

    pub(super) fn frame(&self, intid: u32) -> Option<Frame> {
        if intid < 32 {
            self.redistributor().map(|regs| sgi_frame(&regs))
        } else {
            (intid < self.distributor.lines).then_some(Frame(self.distributor.regs))
        }
    }

    /// Waits until earlier writes to the registers of `intid` have taken effect, within a bound.
    pub(super) fn settle(&self, intid: u32) {
        // Nothing more can be done for a GIC that does not complete writes.
        let _ = if intid < 32 {
            self.redistributor().map(|regs| wait_redistributor(&regs))
        } else {
            Some(self.wait_distributor())
        };
    }

    fn wait_distributor(&self) -> Result<(), GicError> {
        let regs = &self.distributor.regs;
        if regs.poll(GICD_CTLR, |ctlr| ctlr & GICD_CTLR_RWP == 0) {
            Ok(())
        } else {
            Err(GicError::WritePending(regs.base()))
        }
    }

    pub(super) fn init_distributor(&self) -> Result<(), GicError> {
        let regs = &self.distributor.regs;
        // ARE may change only while the groups are disabled; the other bits are firmware's.
        let groups = GICD_CTLR_GRP0 | GICD_CTLR_GRP1 | GICD_CTLR_GRP1S;
        let disabled = regs.read32(GICD_CTLR) & !(groups | GICD_CTLR_RWP);
        regs.write32(GICD_CTLR, disabled);
        self.wait_distributor()?;
        regs.write32(GICD_CTLR, disabled | GICD_CTLR_ARE);
        self.wait_distributor()?;

        self.distributor
            .reset_spis(u32::MAX, || self.wait_distributor())?;
        let mpidr = read_mpidr_el1().bits();
        for intid in 32..self.distributor.lines {
            self.route(intid, mpidr);
        }
        self.wait_distributor()?;
        regs.write32(GICD_CTLR, disabled | GICD_CTLR_ARE | GICD_CTLR_GRP1);
        self.wait_distributor()
    }

    pub(super) fn init_cpu(&self, mpidr: u64) -> Result<(), GicError> {
        enable_system_registers()?;
        let regs = find_redistributor(&self.regions, self.stride, mpidr)
            .ok_or(GicError::NoRedistributor(mpidr))?;
        wake(&regs)?;
        sgi_frame(&regs).reset_private(u32::MAX, || wait_redistributor(&regs))?;
        if !self.redistributors.set(mpidr, regs.base()) {
            return Err(GicError::TooManyCpus);
        }
        self.init_virtual_interface();
        init_cpu_interface();
        Ok(())
    }

    fn init_virtual_interface(&self) {
        self.write_hcr(0);
        (0..self.nr_lrs()).for_each(|n| ich::write_lr(n, 0));
        self.set_guest_sre(true);
        self.restore_virtual(&VirtualState::default());
    }

    pub(super) fn disable_cpu(&self) {
        self.write_hcr(0);
        write_icc_igrpen1_el1(IccIgrpen1El1::empty());
        isb();
    }

    pub(super) fn acknowledge(&self) -> Ack {
        let raw = read_icc_iar1_el1().bits() as u32;
        // The interrupt is active at the GIC before the handler touches its device.
        dsb_sy();
        Ack {
            raw,
            intid: raw & 0xff_ffff,
        }
    }

    pub(super) fn drop_priority(&self, ack: &Ack) {
        write_icc_eoir1_el1(IccEoir1El1::from_bits_retain(ack.raw.into()));
        isb();
    }

    pub(super) fn deactivate(&self, raw: u32) {
        write_icc_dir_el1(IccDirEl1::from_bits_retain(raw.into()));
        isb();
    }

    pub(super) fn send_sgi(&self, sgi: u32, mpidr: u64) {
        write_icc_sgi1r_el1(IccSgi1rEl1::from_bits_retain(sgi1r(sgi, mpidr)));
        isb();
    }

    pub(super) fn route(&self, intid: u32, mpidr: u64) {
        let offset = GICD_IROUTER + 8 * intid as usize;
        self.distributor.regs.write64(offset, affinity(mpidr));
    }

    #[inline]
    pub(super) fn nr_lrs(&self) -> usize {
        ((ich::read_ich_vtr_el2() & 0x1f) as usize + 1).min(16)
    }

    #[inline]
    pub(super) fn read_lr(&self, n: usize) -> u64 {
        ich::read_lr(n)
    }

    #[inline]
    pub(super) fn write_lr(&self, n: usize, lr: u64) {
        ich::write_lr(n, ich_lr(lr));
    }

    #[inline]
    pub(super) fn elrsr(&self) -> u64 {
        ich::read_ich_elrsr_el2() & 0xffff
    }

    #[inline]
    pub(super) fn eisr(&self) -> u64 {
        ich::read_ich_eisr_el2() & 0xffff
    }

    #[inline]
    pub(super) fn misr(&self) -> u32 {
        ich::read_ich_misr_el2() as u32
    }

    #[inline]
    pub(super) fn read_hcr(&self) -> u32 {
        read_ich_hcr_el2().bits() as u32
    }

    #[inline]
    pub(super) fn write_hcr(&self, hcr: u32) {
        let hcr = IchHcrEl2::from_bits_retain(hcr.into());
        // SAFETY: the virtual interface concerns lower exception levels and the maintenance
        // interrupt alone.
        unsafe { write_ich_hcr_el2(hcr) };
    }

    #[inline]
    pub(super) fn read_vmcr(&self) -> u64 {
        read_ich_vmcr_el2().bits()
    }

    #[inline]
    pub(super) fn write_vmcr(&self, vmcr: u64) {
        write_ich_vmcr_el2(IchVmcrEl2::from_bits_retain(vmcr));
    }

    /// Active-priority registers of each group on this CPU.
    fn apr_count(&self) -> usize {
        apr_count(vtr_preemption_bits(ich::read_ich_vtr_el2() as u32))
    }

    pub(super) fn save_virtual(&self, state: &mut VirtualState) {
        state.vmcr = self.read_vmcr();
        let [group0, group1] = &mut state.apr;
        let registers = group0.iter_mut().zip(group1).take(self.apr_count());
        for (n, (apr0, apr1)) in registers.enumerate() {
            *apr0 = ich::read_ap0r(n) as u32;
            *apr1 = ich::read_ap1r(n) as u32;
        }
    }

    pub(super) fn restore_virtual(&self, state: &VirtualState) {
        self.write_vmcr(state.vmcr);
        let [group0, group1] = &state.apr;
        let registers = group0.iter().zip(group1).take(self.apr_count());
        for (n, (&apr0, &apr1)) in registers.enumerate() {
            ich::write_ap0r(n, apr0.into());
            ich::write_ap1r(n, apr1.into());
        }
    }

    pub(super) fn set_guest_sre(&self, sre: bool) {
        let el2 = IccSreEl2::SRE | IccSreEl2::DFB | IccSreEl2::DIB;
        let (el2, el1) = if sre {
            (el2 | IccSreEl2::ENABLE, IccSreEl1::SRE)
        } else {
            (el2, IccSreEl1::empty())
        };
        // SAFETY: EL2 keeps the system register interface either way; what EL1 has is its own.
        unsafe { write_icc_sre_el2(el2) };
        // SAFETY: as above.
        unsafe { write_icc_sre_el1(el1) };
        // What VMCR means depends on SRE.
        isb();
    }
}

/// Turns the system register interface on for EL2 of this CPU.
fn enable_system_registers() -> Result<(), GicError> {
    if read_id_aa64pfr0_el1().gic() == 0 {
        return Err(GicError::NoSystemRegisters);
    }
    let sre = IccSreEl2::SRE | IccSreEl2::DFB | IccSreEl2::DIB | IccSreEl2::ENABLE;
    // SAFETY: no interrupt is taken through the memory-mapped interface this replaces.
    unsafe { write_icc_sre_el2(sre) };
    isb();
    if read_icc_sre_el2().contains(IccSreEl2::SRE) {
        Ok(())
    } else {
        Err(GicError::NoSystemRegisters)
    }
}

/// Opens the physical CPU interface of this CPU for group 1.
fn init_cpu_interface() {
    clear_active_priorities();
    write_icc_pmr_el1(IccPmrEl1::from_bits_retain(0xff));
    write_icc_bpr1_el1(IccBpr1El1::empty());
    write_icc_ctlr_el1(IccCtlrEl1::EOIMODE);
    isb();
    write_icc_igrpen1_el1(IccIgrpen1El1::from_bits_retain(1));
    isb();
}

/// Forgets priorities that whoever ran before left active, which would hold interrupts off.
fn clear_active_priorities() {
    let count = apr_count(u32::from(read_icc_ctlr_el1().pribits()) + 1);
    // SAFETY: interrupts are masked and none is being handled; 0 is the value always allowed.
    unsafe { write_icc_ap1r0_el1(IccAp1r0El1::empty()) };
    if count > 1 {
        // SAFETY: as above; this register exists with 6 priority bits.
        unsafe { write_icc_ap1r1_el1(0) };
    }
    if count > 2 {
        // SAFETY: as above; these two exist with 7.
        unsafe { write_icc_ap1r2_el1(0) };
        // SAFETY: as above.
        unsafe { write_icc_ap1r3_el1(0) };
    }
    isb();
}

#[cfg(test)]
mod tests;
