// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device that does DMA.

use super::DmaOps;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use spin::Mutex;

/// What a device is attached to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bus {
    /// Described by the device tree.
    Platform,
    /// PCI.
    Pci,
}

/// The architecture's own part of a device (Linux: `struct dev_archdata`).
#[derive(Clone, Copy, Default)]
pub struct ArchData {
    /// The operations that the device would have without Xen, while it has Xen's.
    pub dev_dma_ops: Option<&'static dyn DmaOps>,
    /// What the device had before it was set up; `None` if it is not.
    pub(super) before: Option<Option<&'static dyn DmaOps>>,
}

/// Everything of a device that changes by configuration.
#[derive(Clone, Copy, Default)]
pub(super) struct Config {
    pub(super) dma_ops: Option<&'static dyn DmaOps>,
    pub(super) archdata: ArchData,
}

/// A device (Linux: `struct device`, what of it DMA is about). Shared freely; a driver sets it up before it maps.
pub struct Device {
    name: &'static str,
    bus: Bus,
    config: Mutex<Config>,
    dma_coherent: AtomicBool,
    dma_mask: AtomicU64,
    coherent_dma_mask: AtomicU64,
    min_align_mask: AtomicU64,
}

impl Device {
    /// A device that nobody set up yet: no operations, not coherent, 32 bits of address.
    #[must_use]
    pub const fn new(name: &'static str, bus: Bus) -> Self {
        Self {
            name,
            bus,
            config: Mutex::new(Config {
                dma_ops: None,
                archdata: ArchData {
                    dev_dma_ops: None,
                    before: None,
                },
            }),
            dma_coherent: AtomicBool::new(false),
            dma_mask: AtomicU64::new(u32::MAX as u64),
            coherent_dma_mask: AtomicU64::new(u32::MAX as u64),
            min_align_mask: AtomicU64::new(0),
        }
    }

    /// What people call it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it is attached to.
    #[must_use]
    pub const fn bus(&self) -> Bus {
        self.bus
    }

    /// Its operations, if it has any (Linux: `dev->dma_ops`).
    #[must_use]
    pub fn dma_ops(&self) -> Option<&'static dyn DmaOps> {
        self.config.lock().dma_ops
    }

    /// The architecture's own part.
    #[must_use]
    pub fn archdata(&self) -> ArchData {
        self.config.lock().archdata
    }

    /// Gives it operations of its own, or takes them away (Linux: `set_dma_ops`). What the architecture kept for it is
    /// forgotten: if it is set up afterwards, these are its own.
    pub fn set_dma_ops(&self, ops: Option<&'static dyn DmaOps>) {
        *self.config.lock() = Config {
            dma_ops: ops,
            archdata: ArchData::default(),
        };
    }

    pub(super) fn reconfigure(&self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config.lock());
    }

    /// True if it sees what is in caches (`dma-coherent` in the device tree).
    #[must_use]
    pub fn is_dma_coherent(&self) -> bool {
        self.dma_coherent.load(Ordering::Relaxed)
    }

    pub(super) fn set_dma_coherent(&self, coherent: bool) {
        self.dma_coherent.store(coherent, Ordering::Relaxed);
    }

    /// The highest address it can use. [`Dma::set_mask`](super::Dma::set_mask) changes it.
    #[must_use]
    pub fn dma_mask(&self) -> u64 {
        self.dma_mask.load(Ordering::Relaxed)
    }

    /// The same for coherent memory.
    #[must_use]
    pub fn coherent_dma_mask(&self) -> u64 {
        self.coherent_dma_mask.load(Ordering::Relaxed)
    }

    pub(super) fn set_masks(&self, streaming: Option<u64>, coherent: Option<u64>) {
        if let Some(mask) = streaming {
            self.dma_mask.store(mask, Ordering::Relaxed);
        }
        if let Some(mask) = coherent {
            self.coherent_dma_mask.store(mask, Ordering::Relaxed);
        }
    }

    /// The bits of an address that a bounce buffer must share with what it stands for.
    #[must_use]
    pub fn min_align_mask(&self) -> u64 {
        self.min_align_mask.load(Ordering::Relaxed)
    }

    /// Sets [`Self::min_align_mask`], a page's bits at most (NVMe: 0xfff).
    pub fn set_min_align_mask(&self, mask: u64) {
        self.min_align_mask
            .store(mask & (super::PAGE_SIZE - 1), Ordering::Relaxed);
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ops = self.dma_ops().map_or("none", DmaOps::name);
        write!(f, "{}: {ops}", self.name)
    }
}
