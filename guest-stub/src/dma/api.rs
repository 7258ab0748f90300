// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a driver calls: each finds the device's operations and lets them do it.

use super::{Coherent, Device, Direction, Dma, DmaAddr, DmaError, Phys, Scatterlist};

/// `dma_map_page` and its like. Errors are those of the [`DmaOps`](super::DmaOps) method of the same name.
#[allow(missing_docs, reason = "each is documented where DmaOps declares it")]
#[allow(clippy::missing_errors_doc, reason = "as above")]
impl Dma {
    pub fn map_page(
        &self,
        dev: &Device,
        phys: Phys,
        size: usize,
        direction: Direction,
    ) -> Result<DmaAddr, DmaError> {
        self.get_dma_ops(Some(dev))
            .map_page(self, dev, phys, size, direction)
    }

    pub fn unmap_page(
        &self,
        dev: &Device,
        addr: DmaAddr,
        size: usize,
        direction: Direction,
    ) -> Result<(), DmaError> {
        self.get_dma_ops(Some(dev))
            .unmap_page(self, dev, addr, size, direction)
    }

    pub fn map_sg(
        &self,
        dev: &Device,
        list: &mut [Scatterlist],
        direction: Direction,
    ) -> Result<(), DmaError> {
        self.get_dma_ops(Some(dev))
            .map_sg(self, dev, list, direction)
    }

    pub fn unmap_sg(
        &self,
        dev: &Device,
        list: &[Scatterlist],
        direction: Direction,
    ) -> Result<(), DmaError> {
        self.get_dma_ops(Some(dev))
            .unmap_sg(self, dev, list, direction)
    }

    pub fn sync_single_for_cpu(
        &self,
        dev: &Device,
        addr: DmaAddr,
        size: usize,
        direction: Direction,
    ) -> Result<(), DmaError> {
        self.get_dma_ops(Some(dev))
            .sync_single_for_cpu(self, dev, addr, size, direction)
    }

    pub fn sync_single_for_device(
        &self,
        dev: &Device,
        addr: DmaAddr,
        size: usize,
        direction: Direction,
    ) -> Result<(), DmaError> {
        self.get_dma_ops(Some(dev))
            .sync_single_for_device(self, dev, addr, size, direction)
    }

    pub fn sync_sg_for_cpu(
        &self,
        dev: &Device,
        list: &[Scatterlist],
        direction: Direction,
    ) -> Result<(), DmaError> {
        self.get_dma_ops(Some(dev))
            .sync_sg_for_cpu(self, dev, list, direction)
    }

    pub fn sync_sg_for_device(
        &self,
        dev: &Device,
        list: &[Scatterlist],
        direction: Direction,
    ) -> Result<(), DmaError> {
        self.get_dma_ops(Some(dev))
            .sync_sg_for_device(self, dev, list, direction)
    }

    pub fn alloc_coherent(&self, dev: &Device, size: usize) -> Result<Coherent, DmaError> {
        self.get_dma_ops(Some(dev)).alloc(self, dev, size)
    }

    pub fn free_coherent(&self, dev: &Device, memory: Coherent) {
        self.get_dma_ops(Some(dev)).free(self, dev, memory);
    }

    /// Says how far the device's addresses reach, coherent ones included; false, and no change, if that does not do
    /// (Linux: `dma_set_mask_and_coherent`).
    pub fn set_mask(&self, dev: &Device, mask: u64) -> bool {
        let supported = self.get_dma_ops(Some(dev)).dma_supported(self, dev, mask);
        if supported {
            dev.set_masks(Some(mask), Some(mask));
        }
        supported
    }

    /// The same for coherent memory alone (Linux: `dma_set_coherent_mask`).
    pub fn set_coherent_mask(&self, dev: &Device, mask: u64) -> bool {
        let supported = self.get_dma_ops(Some(dev)).dma_supported(self, dev, mask);
        if supported {
            dev.set_masks(None, Some(mask));
        }
        supported
    }
}
