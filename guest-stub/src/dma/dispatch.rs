// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which operations serve a device: the part that all architectures share.

use super::{Arch, Device, DmaOps, P2m, Platform, Swiotlb};

/// A kernel's DMA: chosen at boot, used ever after.
pub struct Dma {
    /// Memory, caches, hypercalls.
    pub platform: &'static dyn Platform,
    /// What the architecture does in its own way.
    pub arch: &'static dyn Arch,
    /// Bounce buffers.
    pub swiotlb: Swiotlb,
    /// Machine addresses of pages mapped by grant.
    pub p2m: P2m,
}

impl Dma {
    /// The DMA of a kernel on `platform` and `arch` that bounces through `swiotlb`.
    #[must_use]
    pub const fn new(
        platform: &'static dyn Platform,
        arch: &'static dyn Arch,
        swiotlb: Swiotlb,
    ) -> Self {
        Self {
            platform,
            arch,
            swiotlb,
            p2m: P2m::new(),
        }
    }

    /// The operations that serve `dev`: its own, else those of its bus. Without a device, the default.
    #[must_use]
    pub fn get_dma_ops(&self, dev: Option<&Device>) -> &'static dyn DmaOps {
        if let Some(ops) = self.arch.ops_of_all_devices() {
            return ops;
        }
        dev.and_then(Device::dma_ops)
            .unwrap_or_else(|| self.arch.get_arch_dma_ops(dev.map(Device::bus)))
    }
}
