// SPDX-License-Identifier: MIT OR Apache-2.0
//! Direct operations: a device uses the addresses that the kernel uses.

use super::{
    Coherent, Device, Direction, Dma, DmaAddr, DmaError, DmaOps, Machine, PAGE_SIZE, Phys,
    last_byte,
};

/// The operations of a device without an IOMMU, coherent or not.
pub static DIRECT: DirectOps = DirectOps(());

/// See [`DIRECT`].
pub struct DirectOps(());

impl DmaOps for DirectOps {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn reach(&self, _: &Dma, dev: &Device, phys: Phys, size: usize) -> Option<Machine> {
        let last = last_byte(phys.0, size).ok()?;
        (last <= dev.dma_mask()).then_some(Machine(phys.0))
    }

    fn attach(
        &self,
        _: &Dma,
        dev: &Device,
        memory: Machine,
        size: usize,
    ) -> Result<DmaAddr, DmaError> {
        if last_byte(memory.0, size)? > dev.dma_mask() {
            return Err(DmaError::Unreachable);
        }
        Ok(DmaAddr(memory.0))
    }

    fn detach(&self, _: &Dma, _: &Device, _: DmaAddr, _: usize) {}

    fn machine(&self, _: &Dma, _: &Device, addr: DmaAddr) -> Result<Machine, DmaError> {
        Ok(Machine(addr.0))
    }

    fn maintain_for_device(
        &self,
        dma: &Dma,
        dev: &Device,
        memory: Machine,
        size: usize,
        direction: Direction,
    ) -> Result<(), DmaError> {
        arch_sync_dma_for_device(dma, dev, memory, size, direction);
        Ok(())
    }

    fn maintain_for_cpu(
        &self,
        dma: &Dma,
        dev: &Device,
        memory: Machine,
        size: usize,
        direction: Direction,
    ) -> Result<(), DmaError> {
        arch_sync_dma_for_cpu(dma, dev, memory, size, direction);
        Ok(())
    }

    fn dma_supported(&self, dma: &Dma, _: &Device, mask: u64) -> bool {
        dma.swiotlb.is_reachable(mask)
    }

    fn alloc(&self, dma: &Dma, dev: &Device, size: usize) -> Result<Coherent, DmaError> {
        let memory = alloc_pages(dma, dev, size, dev.coherent_dma_mask())?;
        Ok(Coherent {
            dma: DmaAddr(memory.phys.0),
            ..memory
        })
    }

    fn free(&self, dma: &Dma, _: &Device, memory: Coherent) {
        free_pages(dma, memory);
    }
}

/// Maintains the CPU's caches by its own instructions before a device that is not coherent has the memory.
pub(super) fn arch_sync_dma_for_device(
    dma: &Dma,
    dev: &Device,
    memory: Machine,
    size: usize,
    direction: Direction,
) {
    if dev.is_dma_coherent() {
        return;
    }
    let start = Phys(memory.0);
    match direction {
        Direction::FromDevice => dma.platform.invalidate(start, size),
        Direction::ToDevice | Direction::Bidirectional => dma.platform.clean(start, size),
    }
}

/// The same after it had the memory: what was fetched into caches meanwhile, be it by speculation, is old.
pub(super) fn arch_sync_dma_for_cpu(
    dma: &Dma,
    dev: &Device,
    memory: Machine,
    size: usize,
    direction: Direction,
) {
    if direction.is_from_device() && !dev.is_dma_coherent() {
        dma.platform.invalidate(Phys(memory.0), size);
    }
}

/// Coherent pages that end at `limit` or below; the device's address is the caller's to find.
pub(super) fn alloc_pages(
    dma: &Dma,
    dev: &Device,
    size: usize,
    limit: u64,
) -> Result<Coherent, DmaError> {
    let pages = size.div_ceil(PAGE_SIZE as usize);
    if pages == 0 {
        return Err(DmaError::BadRange);
    }
    let memory = dma
        .platform
        .alloc_pages(pages, limit, dev.is_dma_coherent())
        .ok_or(DmaError::NoMemory)?;
    Ok(Coherent {
        dma: DmaAddr(u64::MAX),
        phys: memory.phys,
        virt: memory.virt,
        size: pages * PAGE_SIZE as usize,
    })
}

/// Takes them back.
pub(super) fn free_pages(dma: &Dma, memory: Coherent) {
    let Coherent {
        phys, virt, size, ..
    } = memory;
    let pages = super::CpuPages { phys, virt };
    dma.platform.free_pages(pages, size / PAGE_SIZE as usize);
}
