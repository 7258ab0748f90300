// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much memory a domain may have, and the caches of what it has.

use super::Answer;
use crate::addr::{Gfn, PAGE_SHIFT, PAGE_SIZE, PaRange};
use crate::current::Current;
use crate::domain::Domain;
use crate::hw::CacheOp;
use crate::p2m::{PoolLimit, RamScan};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use xen_abi::Payload;
use xen_abi::domctl::{CacheFlush, MaxMem, PagingMempool};
use xen_abi::errno::Errno;

/// `XEN_DOMCTL_max_mem`: it may be less than the domain has.
pub(super) fn max_mem(
    _: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let MaxMem { max_memkb } = arg.get();
    let pages = max_memkb >> (PAGE_SHIFT.saturating_sub(10));
    let pages = u32::try_from(pages).unwrap_or(u32::MAX);
    domain.max_pages.store(pages, Ordering::Relaxed);
    Ok(Answer::Done)
}

/// `XEN_DOMCTL_get_paging_mempool_size`: bytes that its stage-2 tables may take.
pub(super) fn get_pool_size(
    _: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let size = match domain.p2m.pool() {
        (PoolLimit::Unlimited, _) => 0,
        (PoolLimit::Pages(pages), _) => pages.saturating_mul(PAGE_SIZE),
    };
    arg.set(&PagingMempool { size });
    Ok(Answer::Copy)
}

/// `XEN_DOMCTL_set_paging_mempool_size`. `EINVAL` unless it is whole pages, and for the initial
/// domain, whose tables have no limit; `ENOMEM` if they take more already or there is not as much.
pub(super) fn set_pool_size(
    _: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let PagingMempool { size } = arg.get();
    let (limit, _) = domain.p2m.pool();
    if !size.is_multiple_of(PAGE_SIZE) || limit == PoolLimit::Unlimited {
        return Err(Errno::Inval);
    }
    let pages = PoolLimit::Pages(size >> PAGE_SHIFT);
    domain.p2m.set_pool_limit(pages)?;
    Ok(Answer::Done)
}

/// Most frames of a `XEN_DOMCTL_cacheflush`.
const MOST: u64 = 1 << 18;
/// Frames maintained between two looks for interrupts.
const STEP: u64 = 512;

/// `XEN_DOMCTL_cacheflush`: cleans and invalidates what is mapped in a range of frames, so that a
/// guest with its caches off sees what was written.
pub(super) fn cache_flush(
    cur: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let CacheFlush { start_pfn, nr_pfns } = arg.get();
    let end = start_pfn.checked_add(nr_pfns).ok_or(Errno::Inval)?;
    if nr_pfns > MOST {
        return Err(Errno::Inval);
    }
    let mut at = start_pfn;
    while at < end {
        let (from, mfn, nr) = match domain.p2m.next_ram(Gfn(at)) {
            RamScan::End => break,
            RamScan::Resume(next) => (next.0, None, 0),
            RamScan::Run { gfn, mfn, nr } => (gfn.0, Some(mfn), nr),
        };
        let nr = nr.min(STEP).min(end.saturating_sub(from));
        if let Some(range) =
            mfn.and_then(|mfn| PaRange::new(mfn.base(), nr.saturating_mul(PAGE_SIZE)))
        {
            cur.sys.hw.cache(range, CacheOp::CleanInvalidate);
        }
        at = from.saturating_add(nr);
        if at < end && cur.must_give_way() {
            arg.set(&CacheFlush {
                start_pfn: at,
                nr_pfns: end.saturating_sub(at),
            });
            return Ok(Answer::Again);
        }
    }
    cur.sys.hw.icache_invalidate_all();
    Ok(Answer::Done)
}
