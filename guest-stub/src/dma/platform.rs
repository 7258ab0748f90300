// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one door to the machine.

use super::Phys;
use xen_abi::Errno;
use xen_abi::grant::CacheFlush;

/// Pages for coherent memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuPages {
    /// Where they are.
    pub phys: Phys,
    /// Virtual address at which the CPU uses them.
    pub virt: usize,
}

/// What the operations need of the kernel and its CPU. Two implementers: the kernel at EL1, and tests with simulated
/// caches. Addresses and lengths are in bytes; a range given here lies in memory that the CPU has mapped, write-back.
pub trait Platform: Sync {
    /// Copies `size` bytes from `from` to `to`, which do not overlap, through the CPU's cached mapping.
    fn copy(&self, to: Phys, from: Phys, size: usize);

    /// Writes the dirty cache lines of the range back to memory (`DC CVAC` of each line that it touches); complete on
    /// return (`DSB SY`).
    fn clean(&self, start: Phys, size: usize);

    /// Makes the CPU read the range from memory again (`DC IVAC`); complete on return (`DSB SY`). Bytes outside the
    /// range are nobody's to discard: a line that is partly outside is cleaned first (`DC CIVAC`).
    fn invalidate(&self, start: Phys, size: usize);

    /// True if machine frame `frame` is memory of this domain, so that [`Self::clean`] of the same number reaches it.
    /// (Linux: `pfn_valid`.) Only asked in a direct-mapped domain.
    fn is_local(&self, frame: u64) -> bool;

    /// `GNTTABOP_cache_flush` of one element.
    ///
    /// # Errors
    /// The hypervisor's.
    fn grant_cache_flush(&self, flush: &CacheFlush) -> Result<(), Errno>;

    /// `pages` contiguous zeroed pages whose last byte is at `limit` or below. Unless `cached`, the CPU sees them by a
    /// mapping that is not cached and nothing of them is left in caches.
    fn alloc_pages(&self, pages: usize, limit: u64, cached: bool) -> Option<CpuPages>;

    /// Takes them back.
    fn free_pages(&self, memory: CpuPages, pages: usize);
}
