// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual interrupt controller of a domain: a GICv2 or a GICv3.
//!
//! Policy only. The hardware's virtual CPU interface delivers what stands in the list registers;
//! this module decides what stands there, and plays the distributor and the redistributors.
//!
//! **State.** One interrupt is one word ([`irq::Irq`]): readers take no lock. Writers hold the lock
//! of the vCPU that is the interrupt's *home*: for an SGI or PPI its own vCPU, for an SPI the one
//! it is routed to, or still active at. A home's list names the interrupts that are active or
//! (pending and enabled) there. There is no lock of the whole distributor.
//!
//! **List registers** belong to the CPU that runs the vCPU. Whoever changes an interrupt of a vCPU
//! marks it dirty and calls [`VcpuNotify::notify`]; before it enters the guest, the CPU looks at
//! [`Vgic::is_dirty`] and calls [`Vgic::enter`], which reads back what the guest did and writes what it
//! shall see. Other exits leave the list registers alone.
//!
//! **The window.** What a vCPU running elsewhere did since it last entered is not known here, so a
//! register read may be that much out of date, and a write takes effect when that vCPU next exits
//! (it is made to at once). Nobody waits for it. [`Vgic::sync`] makes the reader's own state exact.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod cpu;
mod dist;
mod dump;
mod irq;
mod lr;
mod mmio;
#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test may fail"
)]
mod tests;
mod v2_mmio;
mod v3_mmio;

pub use lr::{Lr, LrState};
pub use mmio::{Access, AccessFault, may_tell_state};

use crate::addr::CpuId;
use crate::hw::Hw;
use crate::nospec;
use crate::sync::{Lock, rank};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use cpu::CpuState;
use irq::IrqCell;

/// SGIs and PPIs: the interrupts each vCPU has for itself.
pub const NR_PRIVATE: u32 = 32;
/// The most SPIs a domain can have.
pub const MAX_SPIS: u32 = 988;
/// The most list registers the architecture knows.
pub const MAX_LRS: u32 = 16;
/// The most vCPUs of a GICv2.
pub const MAX_VCPUS_V2: u32 = 8;
/// The most vCPUs of a GICv3 here.
pub const MAX_VCPUS_V3: u32 = 128;

/// Which GIC a domain sees. It is the one the host has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Model {
    /// GICv2: the guest's CPU interface is the hardware's GICV page.
    V2,
    /// GICv3: the guest's CPU interface is the hardware's ICV registers.
    V3,
}

/// The shape of a [`Vgic`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VgicConfig {
    /// Which GIC.
    pub model: Model,
    /// vCPUs: 1 to [`MAX_VCPUS_V2`] or [`MAX_VCPUS_V3`].
    pub nr_vcpus: u32,
    /// SPIs, rounded up to a multiple of 32 and to at most [`MAX_SPIS`].
    pub nr_spis: u32,
    /// List registers of the hardware (`ICH_VTR_EL2.ListRegs` + 1).
    pub lr_count: u32,
    /// A list register may deactivate the physical interrupt it stands for (`ICH_LR.HW`). Else its end is
    /// told by a maintenance interrupt.
    pub lrs_deactivate: bool,
    /// Implemented priority bits, 4 to 8, the most significant ones.
    pub priority_bits: u32,
    /// INTID bits that `GICD_TYPER.IDbits` tells (GICv3): 10 for a domU, the host's for dom0.
    pub id_bits: u32,
    /// For each redistributor region but the last, the number of the first vCPU after it
    /// (`GICR_TYPER.Last` is set before it). Empty when there is one region.
    pub redist_region_ends: Vec<u32>,
}

/// How the vGIC reaches a vCPU; the domain implements it. Never called with a vGIC lock held.
pub trait VcpuNotify {
    /// Something changed for `vcpu`: wake it if it is blocked, make it exit if it runs elsewhere.
    fn notify(&self, vcpu: u32);
    /// The CPU `vcpu` runs on or would run on, where its device interrupts best arrive.
    fn cpu_of(&self, vcpu: u32) -> CpuId;
}

/// The list registers of the CPU this runs on, in `ICH_LR_EL2` layout.
///
/// The source CPU of a GICv2 SGI is in bits 44:42; the driver of a GICH converts.
pub trait ListRegisters {
    /// Reads list register `n`.
    fn read(&mut self, n: u32) -> u64;
    /// Writes list register `n`.
    fn write(&mut self, n: u32, value: u64);
    /// `ICH_HCR_EL2.EOIcount`: deactivations that found no list register since `ICH_HCR_EL2` was
    /// last written.
    fn eoi_count(&mut self) -> u32;
}

bitflags::bitflags! {
    /// Maintenance interrupts to ask for, as in `ICH_HCR_EL2` and `GICH_HCR`. Bits not named here
    /// are the caller's (`En`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct HcrBits: u32 {
        /// Tell when a deactivation finds no list register: an active interrupt has none.
        const LRENPIE = 1 << 2;
        /// Tell when no list register is pending: a pending interrupt has none.
        const NPIE = 1 << 3;
    }
}

/// One vCPU's part.
struct VgicCpu {
    private: [IrqCell; NR_PRIVATE as usize],
    /// The list registers may not say what they should.
    dirty: AtomicBool,
    state: Lock<CpuState, { rank::VGIC_CPU }>,
}

/// A domain's interrupt controller. See the module's description.
pub struct Vgic {
    config: VgicConfig,
    hw: &'static dyn Hw,
    /// `GICD_CTLR`: the one group the guest has is enabled.
    enabled: AtomicBool,
    spis: Box<[IrqCell]>,
    cpus: Box<[VgicCpu]>,
}

impl Vgic {
    /// A controller as after reset. Numbers out of range are brought into it.
    pub fn new(mut config: VgicConfig, hw: &'static dyn Hw) -> Self {
        let max_vcpus = match config.model {
            Model::V2 => MAX_VCPUS_V2,
            Model::V3 => MAX_VCPUS_V3,
        };
        config.nr_vcpus = config.nr_vcpus.clamp(1, max_vcpus);
        config.nr_spis = config
            .nr_spis
            .min(MAX_SPIS)
            .next_multiple_of(32)
            .min(MAX_SPIS);
        config.lr_count = config.lr_count.clamp(1, MAX_LRS);
        config.priority_bits = config.priority_bits.clamp(4, 8);
        config.id_bits = config.id_bits.clamp(10, 24);
        let spis = (0..config.nr_spis).map(|_| IrqCell::spi()).collect();
        let cpus = (0..config.nr_vcpus)
            .map(|v| VgicCpu::new(&config, v))
            .collect();
        Self {
            config,
            hw,
            enabled: AtomicBool::new(false),
            spis,
            cpus,
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &VgicConfig {
        &self.config
    }

    /// True if [`Self::enter`] must be called before `vcpu` enters the guest.
    ///
    /// Whoever enters must have said that it runs the vCPU (so that it can be kicked) before it
    /// asks, with a full barrier between the two.
    #[inline]
    pub fn is_dirty(&self, vcpu: u32) -> bool {
        self.cpu(vcpu)
            .is_some_and(|c| c.dirty.load(Ordering::SeqCst))
    }

    /// True if `vcpu` holds the physical private interrupt linked to its `intid` active.
    ///
    /// Before the first [`Self::enter`] on a CPU the caller makes the physical active state this. It
    /// may change after it was asked for; what the CPU is to know of it then comes with the next
    /// [`Self::enter`].
    pub fn ppi_hw_active(&self, vcpu: u32, intid: u32) -> bool {
        intid < NR_PRIVATE
            && self
                .cell(vcpu, intid)
                .is_some_and(|c| c.get().has(irq::PHYS))
    }

    fn cpu(&self, vcpu: u32) -> Option<&VgicCpu> {
        self.cpus.get(vcpu as usize)
    }

    /// The interrupt `intid` as `vcpu` knows it. The vCPU may be one that a guest named; a guest's
    /// INTID is confined where its register is decoded.
    fn cell(&self, vcpu: u32, intid: u32) -> Option<&IrqCell> {
        match intid.checked_sub(NR_PRIVATE) {
            None => nospec::get(&self.cpus, vcpu as usize)?
                .private
                .get(intid as usize),
            Some(spi) => self.spis.get(spi as usize),
        }
    }

    fn group_enabled(&self) -> bool {
        self.enabled.load(Ordering::SeqCst)
    }
}

impl VgicCpu {
    fn new(config: &VgicConfig, vcpu: u32) -> Self {
        Self {
            private: core::array::from_fn(|intid| {
                IrqCell::private(intid as u32, vcpu, config.model == Model::V2)
            }),
            dirty: AtomicBool::new(true),
            state: Lock::new(CpuState::new(config)),
        }
    }

    fn set_dirty(&self, dirty: bool) {
        self.dirty.store(dirty, Ordering::SeqCst);
    }
}
