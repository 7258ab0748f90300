// SPDX-License-Identifier: MIT OR Apache-2.0
//! What DMA needs of the machine, by instructions and hypercalls, and a count of the maintenance done.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_stub::dma::{CpuPages, Phys, Platform};
use xen_abi::Errno;
use xen_abi::grant::{CacheFlush, GNTTAB_CACHE_CLEAN};

use super::{cache, dt, pages};
use crate::xen::grant;

/// This CPU and this domain.
pub(crate) struct Machine;

/// Bytes maintained, by whom and how, hypercalls made for it, and bytes copied to and from bounce buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Maintenance {
    /// By the CPU's own instructions.
    pub(crate) cleaned: u64,
    pub(crate) invalidated: u64,
    /// By the hypervisor.
    pub(crate) calls: u64,
    pub(crate) cleaned_by_call: u64,
    pub(crate) invalidated_by_call: u64,
    pub(crate) copied: u64,
}

static CLEANED: AtomicU64 = AtomicU64::new(0);
static INVALIDATED: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);
static CLEANED_BY_CALL: AtomicU64 = AtomicU64::new(0);
static INVALIDATED_BY_CALL: AtomicU64 = AtomicU64::new(0);
static COPIED: AtomicU64 = AtomicU64::new(0);

/// What was maintained since this was asked last.
pub(crate) fn take_maintenance() -> Maintenance {
    let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
    Maintenance {
        cleaned: take(&CLEANED),
        invalidated: take(&INVALIDATED),
        calls: take(&CALLS),
        cleaned_by_call: take(&CLEANED_BY_CALL),
        invalidated_by_call: take(&INVALIDATED_BY_CALL),
        copied: take(&COPIED),
    }
}

fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Platform for Machine {
    fn copy(&self, to: Phys, from: Phys, size: usize) {
        count(&COPIED, size as u64);
        // SAFETY: both ranges are mapped and do not overlap, by the trait's contract.
        unsafe { core::ptr::copy_nonoverlapping(from.0 as *const u8, to.0 as *mut u8, size) };
    }

    fn clean(&self, start: Phys, size: usize) {
        count(&CLEANED, size as u64);
        cache::clean(start.0, size as u64);
    }

    fn invalidate(&self, start: Phys, size: usize) {
        count(&INVALIDATED, size as u64);
        cache::invalidate(start.0, size as u64);
    }

    fn is_local(&self, frame: u64) -> bool {
        let address = frame << 12;
        let memory = &dt::facts().memory;
        memory
            .iter()
            .any(|region| (region.base..region.end()).contains(&address))
    }

    fn grant_cache_flush(&self, flush: &CacheFlush) -> Result<(), Errno> {
        count(&CALLS, 1);
        let by_operation = if flush.op == GNTTAB_CACHE_CLEAN {
            &CLEANED_BY_CALL
        } else {
            &INVALIDATED_BY_CALL
        };
        count(by_operation, flush.length.into());
        grant::cache_flush(flush)
    }

    fn alloc_pages(&self, count: usize, limit: u64, cached: bool) -> Option<CpuPages> {
        let address = pages::allocate(count)?;
        if address + count as u64 * 4096 - 1 > limit {
            pages::free(address, count);
            return None;
        }
        let virt = if cached {
            address
        } else {
            pages::uncached(address, count)
        };
        Some(CpuPages {
            phys: Phys(address),
            virt: virt as usize,
        })
    }

    fn free_pages(&self, memory: CpuPages, count: usize) {
        pages::free(memory.phys.0, count);
    }
}
