// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations of a device behind an IOMMU: it uses addresses of a space of its own, where any page can be put.

use super::direct::{alloc_pages, arch_sync_dma_for_cpu, arch_sync_dma_for_device, free_pages};
use super::{
    Coherent, Device, Direction, Dma, DmaAddr, DmaError, DmaOps, Machine, PAGE_SIZE, Phys,
    last_byte,
};
use spin::Mutex;

/// An IOMMU's translation for one device, by pages.
pub trait Iommu: Sync {
    /// Translates `pages` pages from `iova` to those from `memory`, both aligned to pages; nothing was there.
    ///
    /// # Errors
    /// `NoMemory`; nothing is translated then.
    fn map(&self, iova: u64, memory: Machine, pages: usize) -> Result<(), DmaError>;

    /// Translates them no more; complete on return.
    fn unmap(&self, iova: u64, pages: usize);

    /// What is at `iova`.
    fn iova_to_phys(&self, iova: u64) -> Option<Machine>;
}

/// Pages of an [`IommuOps`]'s address space.
const PAGES: usize = 1024;
/// Where that begins: not at 0, which devices take for none.
const BASE: u64 = 0x10_0000;

/// Operations over an IOMMU.
pub struct IommuOps {
    iommu: &'static dyn Iommu,
    used: Mutex<[bool; PAGES]>,
}

impl IommuOps {
    /// Operations of devices that `iommu` translates for.
    #[must_use]
    pub const fn new(iommu: &'static dyn Iommu) -> Self {
        Self {
            iommu,
            used: Mutex::new([false; PAGES]),
        }
    }

    /// The address of `pages` free pages.
    fn take(&self, pages: usize) -> Option<u64> {
        let mut used = self.used.lock();
        let mut run = 0;
        let last = used.iter().position(|&page| {
            run = if page { 0 } else { run + 1 };
            run == pages
        })?;
        let first = last + 1 - pages;
        used[first..=last].fill(true);
        Some(BASE + first as u64 * PAGE_SIZE)
    }

    fn give(&self, iova: u64, pages: usize) {
        let first = (iova.wrapping_sub(BASE) / PAGE_SIZE) as usize;
        let mut used = self.used.lock();
        if let Some(run) = used.get_mut(first..first.saturating_add(pages)) {
            run.fill(false);
        }
    }
}

/// Bytes of `start`'s page before it, and the pages that `size` bytes from `start` touch.
fn pages(start: u64, size: usize) -> (u64, usize) {
    let offset = start % PAGE_SIZE;
    (
        offset,
        (offset as usize + size).div_ceil(PAGE_SIZE as usize),
    )
}

impl DmaOps for IommuOps {
    fn name(&self) -> &'static str {
        "iommu"
    }

    fn reach(&self, _: &Dma, _: &Device, phys: Phys, size: usize) -> Option<Machine> {
        last_byte(phys.0, size).ok().map(|_| Machine(phys.0))
    }

    fn attach(
        &self,
        _: &Dma,
        dev: &Device,
        memory: Machine,
        size: usize,
    ) -> Result<DmaAddr, DmaError> {
        let (offset, pages) = pages(memory.0, size);
        let iova = self.take(pages).ok_or(DmaError::TableFull)?;
        let mapped = match last_byte(iova + offset, size) {
            Ok(last) if last <= dev.dma_mask() => {
                self.iommu.map(iova, Machine(memory.0 - offset), pages)
            }
            _ => Err(DmaError::Unreachable),
        };
        mapped
            .map(|()| DmaAddr(iova + offset))
            .inspect_err(|_| self.give(iova, pages))
    }

    fn detach(&self, _: &Dma, _: &Device, addr: DmaAddr, size: usize) {
        let (offset, pages) = pages(addr.0, size);
        self.iommu.unmap(addr.0 - offset, pages);
        self.give(addr.0 - offset, pages);
    }

    fn machine(&self, _: &Dma, _: &Device, addr: DmaAddr) -> Result<Machine, DmaError> {
        self.iommu.iova_to_phys(addr.0).ok_or(DmaError::NotMapped)
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

    fn dma_supported(&self, _: &Dma, _: &Device, mask: u64) -> bool {
        mask >= BASE + PAGES as u64 * PAGE_SIZE - 1
    }

    fn alloc(&self, dma: &Dma, dev: &Device, size: usize) -> Result<Coherent, DmaError> {
        let memory = alloc_pages(dma, dev, size, u64::MAX)?;
        match self.attach(dma, dev, Machine(memory.phys.0), memory.size) {
            Ok(addr) => Ok(Coherent {
                dma: addr,
                ..memory
            }),
            Err(error) => {
                free_pages(dma, memory);
                Err(error)
            }
        }
    }

    fn free(&self, dma: &Dma, dev: &Device, memory: Coherent) {
        self.detach(dma, dev, memory.dma, memory.size);
        free_pages(dma, memory);
    }
}
