// SPDX-License-Identifier: MIT OR Apache-2.0
//! `GNTTABOP_cache_flush`: cache maintenance before and after DMA of a device that is not
//! coherent.

use crate::addr::{Mfn, PAGE_SIZE, Pa, PaRange};
use crate::current::Current;
use crate::guest::copy::GuestPtr;
use crate::hw::CacheOp;
use core::sync::atomic::Ordering;
use xen_abi::errno::Errno;
use xen_abi::grant::{CacheFlush, GNTTAB_CACHE_CLEAN, GNTTAB_CACHE_INVAL};

/// Maintains part of a page that is the caller's or that it has mapped by a grant, named by its
/// machine address.
///
/// # Errors
/// `EINVAL` for a bad span, operation or page, `EPERM` for a page nobody owns.
pub(super) fn flush(cur: &Current<'_>, op: GuestPtr<CacheFlush>) -> Result<(), Errno> {
    let op = op.read(cur.memory())?;
    let (offset, length) = (u64::from(op.offset), u64::from(op.length));
    if offset >= PAGE_SIZE || offset.saturating_add(length) > PAGE_SIZE {
        return Err(Errno::Inval);
    }
    let how = match op.op {
        0 => return Ok(()),
        GNTTAB_CACHE_CLEAN => CacheOp::Clean,
        GNTTAB_CACHE_INVAL => CacheOp::Invalidate,
        BOTH => CacheOp::CleanInvalidate,
        _ => return Err(Errno::Inval),
    };
    if length == 0 {
        return Ok(());
    }
    let mfn = Pa(op.a).frame();
    let start = mfn.base().checked_add(offset).ok_or(Errno::Inval)?;
    let range = PaRange::new(start, length).ok_or(Errno::Inval)?;
    let counts = &cur.domain.cache_flushes;
    // Held, so that the page does not become another's meanwhile. No lock is.
    let (_page, count) = match cur.sys.frames.get(mfn, cur.domain.id) {
        Some(page) => (page, &counts.own),
        None => match cur.domain.grants.mapped_page(mfn) {
            Some(page) => (page, &counts.foreign),
            None => return Err(refusal(cur, mfn)),
        },
    };
    cur.sys.hw.cache(range, how);
    count.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Why a page that is neither the caller's nor mapped by it is not maintained.
fn refusal(cur: &Current<'_>, mfn: Mfn) -> Errno {
    match cur.sys.frames.state(mfn) {
        Some(state) if state.owner().is_none() => Errno::Perm,
        _ => Errno::Inval,
    }
}

const BOTH: u32 = GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_INVAL;
