// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen's operations, of the initial domain (Linux: swiotlb-xen): find where in the machine a page is, bounce what is not
//! one piece there, and let the device's own operations do what depends on the device.
//!
//! A page of the domain's own is where the domain thinks it is, since it is direct-mapped. A page mapped by grant is
//! where the hypervisor said; the CPU has no address for that, so its caches are maintained by hypercall.

use super::{
    Coherent, Device, Direction, Dma, DmaAddr, DmaError, DmaOps, Machine, PAGE_SIZE, Phys, by_page,
};
use xen_abi::grant::{CacheFlush, GNTTAB_CACHE_CLEAN, GNTTAB_CACHE_INVAL};

/// Xen's operations.
pub static XEN: XenOps = XenOps(());

/// See [`XEN`].
pub struct XenOps(());

impl DmaOps for XenOps {
    fn name(&self) -> &'static str {
        "xen"
    }

    fn reach(&self, dma: &Dma, dev: &Device, phys: Phys, size: usize) -> Option<Machine> {
        let first = phys_to_machine(dma, phys);
        let local = is_local(dma, first);
        let one_piece = by_page(phys.0, size).all(|(at, _)| {
            let here = phys_to_machine(dma, Phys(at));
            here.0 == first.0.wrapping_add(at.wrapping_sub(phys.0)) && is_local(dma, here) == local
        });
        if !one_piece {
            return None;
        }
        own(dma, dev).reach(dma, dev, Phys(first.0), size)
    }

    fn attach(
        &self,
        dma: &Dma,
        dev: &Device,
        memory: Machine,
        size: usize,
    ) -> Result<DmaAddr, DmaError> {
        own(dma, dev).attach(dma, dev, memory, size)
    }

    fn detach(&self, dma: &Dma, dev: &Device, addr: DmaAddr, size: usize) {
        own(dma, dev).detach(dma, dev, addr, size);
    }

    fn machine(&self, dma: &Dma, dev: &Device, addr: DmaAddr) -> Result<Machine, DmaError> {
        own(dma, dev).machine(dma, dev, addr)
    }

    fn maintain_for_device(
        &self,
        dma: &Dma,
        dev: &Device,
        memory: Machine,
        size: usize,
        direction: Direction,
    ) -> Result<(), DmaError> {
        if is_local(dma, memory) {
            return own(dma, dev).maintain_for_device(dma, dev, memory, size, direction);
        }
        if dev.is_dma_coherent() {
            return Ok(());
        }
        match direction {
            Direction::FromDevice => cache_flush(dma, memory, size, GNTTAB_CACHE_INVAL),
            Direction::ToDevice | Direction::Bidirectional => {
                cache_flush(dma, memory, size, GNTTAB_CACHE_CLEAN)
            }
        }
    }

    fn maintain_for_cpu(
        &self,
        dma: &Dma,
        dev: &Device,
        memory: Machine,
        size: usize,
        direction: Direction,
    ) -> Result<(), DmaError> {
        if is_local(dma, memory) {
            return own(dma, dev).maintain_for_cpu(dma, dev, memory, size, direction);
        }
        if dev.is_dma_coherent() || !direction.is_from_device() {
            return Ok(());
        }
        cache_flush(dma, memory, size, GNTTAB_CACHE_INVAL)
    }

    fn dma_supported(&self, dma: &Dma, dev: &Device, mask: u64) -> bool {
        dma.swiotlb.is_reachable(mask) && own(dma, dev).dma_supported(dma, dev, mask)
    }

    /// The domain's own memory is the machine's, so the device's own operations have it.
    fn alloc(&self, dma: &Dma, dev: &Device, size: usize) -> Result<Coherent, DmaError> {
        own(dma, dev).alloc(dma, dev, size)
    }

    fn free(&self, dma: &Dma, dev: &Device, memory: Coherent) {
        own(dma, dev).free(dma, dev, memory);
    }
}

/// The operations that the device would have without Xen.
fn own(dma: &Dma, dev: &Device) -> &'static dyn DmaOps {
    dma.arch.xen_get_dma_ops(dev)
}

/// Where in the machine the byte at `phys` is.
fn phys_to_machine(dma: &Dma, phys: Phys) -> Machine {
    match dma.p2m.lookup(phys.0 / PAGE_SIZE) {
        Some(frame) => Machine(frame * PAGE_SIZE + phys.0 % PAGE_SIZE),
        None => Machine(phys.0),
    }
}

fn is_local(dma: &Dma, memory: Machine) -> bool {
    dma.platform.is_local(memory.0 / PAGE_SIZE)
}

/// Lets the hypervisor maintain exactly these bytes, a call a page.
fn cache_flush(dma: &Dma, memory: Machine, size: usize, op: u32) -> Result<(), DmaError> {
    by_page(memory.0, size).try_for_each(|(at, length)| {
        let flush = CacheFlush {
            a: at - at % PAGE_SIZE,
            offset: (at % PAGE_SIZE) as u16,
            length: length as u16,
            op,
        };
        dma.platform
            .grant_cache_flush(&flush)
            .map_err(DmaError::CacheFlush)
    })
}
