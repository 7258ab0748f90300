// SPDX-License-Identifier: MIT OR Apache-2.0
//! A table of DMA operations (Linux: `struct dma_map_ops`).
//!
//! It has two halves. The *steps* know the device: at which address it reaches a piece of the machine's memory, and how
//! caches are kept right for it. What drivers ask for is made of steps and bounce buffers, the same for all. Xen's
//! operations change the first step, finding the piece of machine memory, and call the device's own operations for the
//! others.

use super::{Device, Direction, Dma, DmaAddr, DmaError, Machine, Phys, Scatterlist};

/// Memory that CPU and device see alike at any time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Coherent {
    /// What the device is told.
    pub dma: DmaAddr,
    /// Where it is.
    pub phys: Phys,
    /// Virtual address at which the CPU uses it.
    pub virt: usize,
    /// Bytes, whole pages.
    pub size: usize,
}

/// Operations that serve a device.
///
/// `dma` is the environment; `dev` the device that is served. All sizes are in bytes and not 0.
pub trait DmaOps: Sync {
    /// For people.
    fn name(&self) -> &'static str;

    // --- steps ------------------------------------------------------------------------------

    /// Where in the machine the bytes are, if they are one piece that the device can be made to reach. `None`: bounce.
    fn reach(&self, dma: &Dma, dev: &Device, phys: Phys, size: usize) -> Option<Machine>;

    /// The address at which the device reaches memory of the machine, from now on. Says nothing to caches.
    ///
    /// # Errors
    /// `Unreachable` below the device's mask; `TableFull`.
    fn attach(
        &self,
        dma: &Dma,
        dev: &Device,
        memory: Machine,
        size: usize,
    ) -> Result<DmaAddr, DmaError>;

    /// Ends what [`Self::attach`] began.
    fn detach(&self, dma: &Dma, dev: &Device, addr: DmaAddr, size: usize);

    /// What the device reaches at `addr`.
    ///
    /// # Errors
    /// `NotMapped`.
    fn machine(&self, dma: &Dma, dev: &Device, addr: DmaAddr) -> Result<Machine, DmaError>;

    /// Cache maintenance before the device has the memory.
    ///
    /// # Errors
    /// `CacheFlush`.
    fn maintain_for_device(
        &self,
        dma: &Dma,
        dev: &Device,
        memory: Machine,
        size: usize,
        direction: Direction,
    ) -> Result<(), DmaError>;

    /// Cache maintenance after the device had it.
    ///
    /// # Errors
    /// `CacheFlush`.
    fn maintain_for_cpu(
        &self,
        dma: &Dma,
        dev: &Device,
        memory: Machine,
        size: usize,
        direction: Direction,
    ) -> Result<(), DmaError>;

    // --- what drivers ask for ---------------------------------------------------------------

    /// True if a device with this mask can be served.
    fn dma_supported(&self, dma: &Dma, dev: &Device, mask: u64) -> bool;

    /// Coherent memory of at least `size` bytes.
    ///
    /// # Errors
    /// `NoMemory`, `Unreachable`, `TableFull`.
    fn alloc(&self, dma: &Dma, dev: &Device, size: usize) -> Result<Coherent, DmaError>;

    /// Takes it back.
    fn free(&self, dma: &Dma, dev: &Device, memory: Coherent);

    /// Hands `size` bytes at `phys`, which may cross pages, to the device.
    ///
    /// # Errors
    /// Any of [`DmaError`]; nothing is mapped then.
    fn map_page(
        &self,
        dma: &Dma,
        dev: &Device,
        phys: Phys,
        size: usize,
        direction: Direction,
    ) -> Result<DmaAddr, DmaError> {
        super::last_byte(phys.0, size)?;
        let (memory, before) = match self.reach(dma, dev, phys, size) {
            Some(memory) => (memory, direction),
            // The copy's bytes that the device will not write must survive, so it is cleaned in any case.
            None => (
                dma.swiotlb.map(dma, dev, phys, size)?,
                Direction::Bidirectional,
            ),
        };
        let attached = self.attach(dma, dev, memory, size).and_then(|addr| {
            self.maintain_for_device(dma, dev, memory, size, before)
                .map(|()| addr)
                .inspect_err(|_| self.detach(dma, dev, addr, size))
        });
        if attached.is_err() && dma.swiotlb.contains(memory) {
            dma.swiotlb.release(memory);
        }
        attached
    }

    /// Takes it back: `addr` and `size` as it was mapped.
    ///
    /// # Errors
    /// `NotMapped`, and nothing changes; `CacheFlush`, and it is unmapped, but what the device wrote may not be seen.
    fn unmap_page(
        &self,
        dma: &Dma,
        dev: &Device,
        addr: DmaAddr,
        size: usize,
        direction: Direction,
    ) -> Result<(), DmaError> {
        let memory = self.machine(dma, dev, addr)?;
        let bounced = dma.swiotlb.contains(memory);
        if bounced {
            dma.swiotlb.stands_for(memory, size)?;
        }
        // The device first loses it, so that nothing changes after the caches were maintained.
        self.detach(dma, dev, addr, size);
        let mut done = self.maintain_for_cpu(dma, dev, memory, size, direction);
        if bounced {
            done = done.and(dma.swiotlb.copy_back(dma, memory, size, direction));
            dma.swiotlb.release(memory);
        }
        done
    }

    /// Lets the CPU look at part of what the device has: `size` bytes at `addr`, anywhere in a mapping.
    ///
    /// # Errors
    /// `NotMapped`, `CacheFlush`.
    fn sync_single_for_cpu(
        &self,
        dma: &Dma,
        dev: &Device,
        addr: DmaAddr,
        size: usize,
        direction: Direction,
    ) -> Result<(), DmaError> {
        let memory = self.machine(dma, dev, addr)?;
        self.maintain_for_cpu(dma, dev, memory, size, direction)?;
        if dma.swiotlb.contains(memory) {
            dma.swiotlb.copy_back(dma, memory, size, direction)?;
        }
        Ok(())
    }

    /// Gives the device back what the CPU looked at or changed.
    ///
    /// # Errors
    /// `NotMapped`, `CacheFlush`.
    fn sync_single_for_device(
        &self,
        dma: &Dma,
        dev: &Device,
        addr: DmaAddr,
        size: usize,
        direction: Direction,
    ) -> Result<(), DmaError> {
        let memory = self.machine(dma, dev, addr)?;
        if dma.swiotlb.contains(memory) {
            dma.swiotlb.copy_in(dma, memory, size, direction)?;
        }
        self.maintain_for_device(dma, dev, memory, size, direction)
    }

    /// Maps each element of a list.
    ///
    /// # Errors
    /// As [`Self::map_page`]; none is mapped then.
    fn map_sg(
        &self,
        dma: &Dma,
        dev: &Device,
        list: &mut [Scatterlist],
        direction: Direction,
    ) -> Result<(), DmaError> {
        for n in 0..list.len() {
            let (done, rest) = list.split_at_mut(n);
            let Some(element) = rest.first_mut() else {
                break;
            };
            match self.map_page(dma, dev, element.phys, element.size, direction) {
                Ok(addr) => element.addr = addr,
                Err(error) => {
                    // What failed is told; the undoing of what did not is not looked at by anyone.
                    let _ = self.unmap_sg(dma, dev, done, direction);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Unmaps each element.
    ///
    /// # Errors
    /// The first of [`Self::unmap_page`]'s; all are unmapped that were mapped.
    fn unmap_sg(
        &self,
        dma: &Dma,
        dev: &Device,
        list: &[Scatterlist],
        direction: Direction,
    ) -> Result<(), DmaError> {
        list.iter()
            .map(|element| self.unmap_page(dma, dev, element.addr, element.size, direction))
            .fold(Ok(()), Result::and)
    }

    /// [`Self::sync_single_for_cpu`] of each element.
    ///
    /// # Errors
    /// The first.
    fn sync_sg_for_cpu(
        &self,
        dma: &Dma,
        dev: &Device,
        list: &[Scatterlist],
        direction: Direction,
    ) -> Result<(), DmaError> {
        list.iter().try_for_each(|element| {
            self.sync_single_for_cpu(dma, dev, element.addr, element.size, direction)
        })
    }

    /// [`Self::sync_single_for_device`] of each element.
    ///
    /// # Errors
    /// The first.
    fn sync_sg_for_device(
        &self,
        dma: &Dma,
        dev: &Device,
        list: &[Scatterlist],
        direction: Direction,
    ) -> Result<(), DmaError> {
        list.iter().try_for_each(|element| {
            self.sync_single_for_device(dma, dev, element.addr, element.size, direction)
        })
    }
}
