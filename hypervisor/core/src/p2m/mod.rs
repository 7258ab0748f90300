// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's stage-2 tables: what its frame numbers mean.
//!
//! The tables are `aarch64_paging`'s, of which nobody outside sees a type. That crate neither
//! breaks before it makes, nor knows VMIDs, nor may run out of tables, nor keeps freed tables
//! until the TLBs have forgotten them; [`P2m`] does all that:
//!
//! - Tables are reserved before anything is touched, so that running out changes nothing.
//! - What is mapped is never changed in place: it is unmapped, flushed, then mapped anew. A CPU
//!   that meets the gap takes a stage-2 fault, for which [`P2m::resolve_fault`] says `Retry`.
//! - A foreign or granted page keeps a reference for as long as its entry or a TLB's copy of it
//!   can be used: it is dropped after the flush. So are tables.
//!
//! A domain's own RAM has no reference from here, its allocation's is enough. Who takes such a
//! page from the domain removes it with [`Batch::remove_page`], which keeps it until the flush.

#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod entry;
mod geometry;
mod inner;
mod pool;
mod scan;
mod table;
#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
mod tests;
mod types;
mod vmid;

pub use geometry::Stage2Geometry;
pub use pool::PoolLimit;
pub use scan::RamScan;
pub use types::{Access, FaultOutcome, Mapping, P2mError, P2mType, Progress, Replaced};
pub use vmid::{Vmid, VmidAllocator};

use crate::addr::{Gfn, Ipa, Mfn, Pa};
use crate::frame::{Frames, PageRef};
use crate::hw::Hw;
use crate::sync::{Lock, rank};
use core::fmt;
use inner::Inner;
use table::Span;

/// A domain's stage-2 translation.
///
/// To be dropped only when no CPU has its [`vttbr`](Self::vttbr) loaded any more.
pub struct P2m {
    frames: &'static Frames,
    geometry: Stage2Geometry,
    vttbr: u64,
    inner: Lock<Inner, { rank::P2M }>,
}

impl fmt::Debug for P2m {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P2m(vttbr {:#x})", self.vttbr)
    }
}

impl P2m {
    /// Empty tables for a domain that runs with `vmid`, which no other one may have. They take
    /// no more than `limit` pages, the root not counted.
    pub fn new(
        frames: &'static Frames,
        hw: &'static dyn Hw,
        geometry: Stage2Geometry,
        vmid: u16,
        limit: PoolLimit,
    ) -> Result<Self, P2mError> {
        let inner = Inner::new(frames, hw, geometry, vmid, limit)?;
        Ok(Self {
            frames,
            geometry,
            vttbr: inner.vttbr(),
            inner: Lock::new(inner),
        })
    }

    /// The value of VTTBR_EL2: root and VMID.
    pub fn vttbr(&self) -> u64 {
        self.vttbr
    }

    /// The form of the tables.
    pub fn geometry(&self) -> Stage2Geometry {
        self.geometry
    }

    /// Frame numbers are below 2^(`ipa_bits` - 12).
    pub fn ipa_bits(&self) -> u32 {
        self.geometry.ipa_bits()
    }

    /// Maps `nr` pages from `gfn` to those from `mfn`, in the largest blocks that fit, in place
    /// of whatever is there.
    ///
    /// Not for types that hold a reference ([`insert_page`](Self::insert_page)). Errors, all
    /// without any change: `Invalid` for addresses out of range, `Busy` over a granted page,
    /// `NoMemory` without the tables, `Dying` after [`relinquish`](Self::relinquish).
    pub fn insert(&self, gfn: Gfn, mfn: Mfn, nr: u64, ty: P2mType) -> Result<Replaced, P2mError> {
        if ty.holds_reference() {
            return Err(P2mError::Invalid);
        }
        let span = self.span(gfn, nr)?;
        self.geometry.check_output(mfn, nr)?;
        self.inner.lock().insert(span, mfn, ty)
    }

    /// Maps `page` at `gfn` as foreign or granted. Its reference goes with the mapping, or is
    /// dropped on error.
    pub fn insert_page(&self, gfn: Gfn, page: PageRef, ty: P2mType) -> Result<Replaced, P2mError> {
        if !ty.holds_reference() {
            return Err(P2mError::Invalid);
        }
        let span = self.span(gfn, 1)?;
        self.geometry.check_output(page.mfn(), 1)?;
        let replaced = self.inner.lock().insert(span, page.mfn(), ty)?;
        let _ = page.into_raw();
        Ok(replaced)
    }

    /// Unmaps `nr` pages from `gfn`, as far as they are mapped; no TLB has them on return.
    ///
    /// Errors, without any change: `Invalid` for a range beyond the tables, `Busy` if a granted
    /// page is in it, `NoMemory` without the tables to split a block.
    pub fn remove(&self, gfn: Gfn, nr: u64) -> Result<Replaced, P2mError> {
        let span = self.span(gfn, nr)?;
        let mut inner = self.inner.lock();
        let removed = inner.remove(span)?;
        inner.flush();
        Ok(removed)
    }

    /// Unmaps `gfn` if it is mapped to `mfn` as `ty`, which may be a granted type; `NotMapped`
    /// if it is not exactly that.
    pub fn remove_exact(&self, gfn: Gfn, mfn: Mfn, ty: P2mType) -> Result<(), P2mError> {
        let span = self.span(gfn, 1)?;
        let mut inner = self.inner.lock();
        inner.remove_exact(span, mfn, ty)?;
        inner.flush();
        Ok(())
    }

    /// For several removals with one flush, when the batch is dropped.
    pub fn batch(&self) -> Batch<'_> {
        Batch { p2m: self }
    }

    /// What `gfn` is mapped to.
    pub fn lookup(&self, gfn: Gfn) -> Option<Mapping> {
        if !self.geometry.contains(gfn) {
            return None;
        }
        self.inner.lock().table.lookup(gfn)
    }

    /// The machine address behind `ipa` and its type.
    pub fn translate(&self, ipa: Ipa) -> Option<(Pa, P2mType)> {
        let found = self.lookup(ipa.frame())?;
        let pa = found.mfn.base().checked_add(ipa.page_offset())?;
        Some((pa, found.ty))
    }

    /// A reference to the page behind `gfn`, if it is memory of any domain that the guest may
    /// access so.
    pub fn page(&self, gfn: Gfn, access: Access) -> Option<(PageRef, P2mType)> {
        if !self.geometry.contains(gfn) {
            return None;
        }
        // Under the lock the entry keeps the page from being freed.
        let inner = self.inner.lock();
        let found = inner.table.lookup(gfn)?;
        if !found.ty.is_memory() || !found.ty.allows(access) {
            return None;
        }
        Some((self.frames.get_any(found.mfn)?, found.ty))
    }

    /// What to do about a stage-2 fault of an access to `ipa`.
    pub fn resolve_fault(&self, ipa: Ipa, access: Access) -> FaultOutcome {
        match self.lookup(ipa.frame()) {
            None => FaultOutcome::Unmapped,
            Some(found) if found.ty.allows(access) => FaultOutcome::Retry,
            Some(found) => FaultOutcome::Denied(found.ty),
        }
    }

    /// Runs `f` while no entry is in the middle of a change: a translation that fails in `f` is
    /// of something that is not mapped.
    pub fn while_stable<R>(&self, f: impl FnOnce() -> R) -> R {
        let _inner = self.inner.lock();
        f()
    }

    /// The first run of mapped memory, its own or another domain's, at `from` or after it. Looks
    /// at a bounded number of entries.
    pub fn next_ram(&self, from: Gfn) -> RamScan {
        if !self.geometry.contains(from) {
            return RamScan::End;
        }
        self.inner.lock().next_ram(from)
    }

    /// Changes how many pages the tables may take. `NoMemory` if they take more already.
    pub fn set_pool_limit(&self, limit: PoolLimit) -> Result<(), P2mError> {
        self.inner.lock().pool.lock().set_limit(limit)
    }

    /// The limit, and how many pages are taken.
    pub fn pool(&self) -> (PoolLimit, u64) {
        self.inner.lock().pool.lock().usage()
    }

    /// Takes everything out, for a domain that is dying: from now on nothing can be mapped.
    /// Looks at no more than about `budget` entries. Comes before the domain's pages are
    /// released.
    pub fn relinquish(&self, budget: u32) -> Progress {
        self.inner.lock().relinquish(budget)
    }

    /// Ends what removals in a [`Batch`] have left to do.
    fn flush(&self) {
        self.inner.lock().flush();
    }

    #[cfg(test)]
    fn is_flushed(&self) -> bool {
        self.inner.lock().is_flushed()
    }

    fn span(&self, gfn: Gfn, nr: u64) -> Result<Span, P2mError> {
        let end = gfn.checked_add(nr).ok_or(P2mError::Invalid)?;
        if end.0 > self.geometry.end().0 {
            return Err(P2mError::Invalid);
        }
        Ok(Span {
            start: gfn.0,
            end: end.0,
        })
    }
}

/// Defers the flush of removals until it is dropped. Until then the guest may still use what was
/// removed, so nothing of it may get another use: foreign and granted pages see to that
/// themselves, for a page of the domain's own there is [`remove_page`](Self::remove_page).
#[must_use]
pub struct Batch<'a> {
    p2m: &'a P2m,
}

impl Batch<'_> {
    /// As [`P2m::remove`].
    pub fn remove(&self, gfn: Gfn, nr: u64) -> Result<Replaced, P2mError> {
        let span = self.p2m.span(gfn, nr)?;
        self.p2m.inner.lock().remove(span)
    }

    /// As [`P2m::remove_exact`].
    pub fn remove_exact(&self, gfn: Gfn, mfn: Mfn, ty: P2mType) -> Result<(), P2mError> {
        let span = self.p2m.span(gfn, 1)?;
        self.p2m.inner.lock().remove_exact(span, mfn, ty)
    }

    /// Unmaps `gfn` if it is mapped to `page`, which must be RAM of its domain, and keeps the
    /// reference until the flush. So the page's allocation can be released right after.
    /// `NotMapped` if it is not that.
    pub fn remove_page(&self, gfn: Gfn, page: PageRef) -> Result<(), P2mError> {
        let span = self.p2m.span(gfn, 1)?;
        self.p2m.inner.lock().remove_page(span, page)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.p2m.flush();
    }
}
