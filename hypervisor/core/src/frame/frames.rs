// SPDX-License-Identifier: MIT OR Apache-2.0
//! All of RAM: allocation, ownership, references.

use super::buddy::{Buddy, MAX_ORDER};
use super::page::{Kind, PageInfo, PageState, Table};
use super::page_ref::PageRef;
use super::spare::Spare;
use crate::addr::{DomId, Mfn, PAGE_SHIFT, Pa, PaRange};
use crate::hw::{DirectMap, Hw};
use crate::sync::{Lock, rank};
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use xen_abi::errno::Errno;

/// Domains that may own pages have a lower number.
pub(super) const NR_DOMAINS: usize = 0x8000;

/// Why pages could not be had or given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// Not enough free memory (below the limit).
    NoMemory,
    /// The pages are not all RAM, or the block is no block.
    BadRange,
    /// No page can belong to this domain.
    BadOwner,
    /// The pages are not in the state that the call is for: freed twice, or in use.
    BadState,
    /// More banks of RAM than there is room for.
    TooManyBanks,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMemory => "not enough memory is free",
            Self::BadRange => "not all of it is RAM",
            Self::BadOwner => "no domain of this number can have memory",
            Self::BadState => "it is in use, or free already",
            Self::TooManyBanks => "more banks of RAM than are supported",
        })
    }
}

impl From<FrameError> for Errno {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::NoMemory | FrameError::TooManyBanks => Self::NoMem,
            FrameError::BadRange | FrameError::BadOwner => Self::Inval,
            FrameError::BadState => Self::Busy,
        }
    }
}

/// Which memory will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// The block must end at or below this address.
    pub below: Option<Pa>,
    /// Take the lowest block there is. Looks at every free block: for boot.
    pub lowest: bool,
    /// Leave the old content. Only for the initial domain's memory at boot, which nothing secret
    /// has been in and which Linux does not expect to be zero, and for what no domain sees.
    pub dirty: bool,
}

/// How far [`Frames::relinquish`] came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Relinquished {
    /// The domain's allocation holds no page any more (others may still).
    Done,
    /// Call again from this page.
    More(Mfn),
}

/// How many pages a domain has.
#[derive(Default)]
pub(super) struct Owned {
    ram: AtomicU32,
    shared: AtomicU32,
    /// Pages that are kept for it. Changes under the lock of the free lists.
    pub(super) claimed: AtomicU32,
}

/// The machine's RAM.
pub struct Frames {
    pub(super) map: DirectMap,
    pub(super) hw: &'static dyn Hw,
    pub(super) table: Table,
    pub(super) owned: &'static [Owned],
    pub(super) buddy: Lock<Buddy, { rank::FRAMES }>,
    /// Pages that are free and not set aside, for those without the lock.
    pub(super) free: AtomicU64,
    pub(super) total: u64,
    /// Pages that domains' RAM must leave.
    pub(super) kept: AtomicU64,
    /// For the heap.
    pub(super) spare: Spare,
    /// See [`take_abandoned`](Self::take_abandoned).
    pub(super) abandoned: AtomicBool,
    /// Domains that wait for it.
    pub(super) dead: AtomicU32,
}

/// Whom a block is taken for.
pub(super) enum Taker<'a> {
    /// The hypervisor, which must get it.
    Hypervisor,
    /// A pool that has set it aside.
    Pool,
    /// A domain: only what others have not claimed.
    Domain(&'a Owned),
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Frames({} of {} pages free)",
            self.free_pages(),
            self.total
        )
    }
}

impl Frames {
    /// Pages of RAM there are.
    pub fn total_pages(&self) -> u64 {
        self.total
    }
    /// Pages that are free, those not counted that are set aside.
    pub fn free_pages(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }
    /// Pages of RAM that belong to `dom`, those included that only others still hold.
    pub fn tot_pages(&self, dom: DomId) -> u32 {
        self.owned(dom).map_or(0, |o| o.ram.load(Ordering::Acquire))
    }
    /// Shared hypervisor pages that belong to `dom`. Its number may be given to another domain
    /// only when this and [`tot_pages`](Self::tot_pages) are 0.
    pub fn shared_pages(&self, dom: DomId) -> u32 {
        self.owned(dom)
            .map_or(0, |o| o.shared.load(Ordering::Acquire))
    }
    /// Where memory is visible.
    pub fn map(&self) -> DirectMap {
        self.map
    }
    /// The state of `mfn` at this moment; `None` if it is no RAM.
    pub fn state(&self, mfn: Mfn) -> Option<PageState> {
        Some(self.table.page(mfn)?.state())
    }
    /// The banks of RAM, by rising address, neighbours joined: first page and number of pages.
    pub fn banks(&self) -> impl Iterator<Item = (Mfn, u64)> + '_ {
        self.table.banks().iter().map(|b| (Mfn(b.start), b.pages))
    }

    /// A naturally aligned block of 2^`order` pages for the hypervisor.
    pub fn alloc(&self, order: u32, limits: Limits) -> Result<Mfn, FrameError> {
        self.take(order, limits, PageState::XEN, &Taker::Hypervisor)
    }

    /// A naturally aligned block of 2^`order` pages of RAM for `dom`, each with a reference of
    /// its allocation.
    pub fn alloc_ram(&self, dom: DomId, order: u32, limits: Limits) -> Result<Mfn, FrameError> {
        let owned = self.owned(dom).ok_or(FrameError::BadOwner)?;
        let left = self.free_pages().checked_sub(block(order)?);
        if left < Some(self.kept.load(Ordering::Relaxed)) {
            return Err(FrameError::NoMemory);
        }
        // Counted before it can be seen: if the domain is destroyed meanwhile, who finds the pages
        // takes them off.
        owned.ram.fetch_add(1 << order, Ordering::Relaxed);
        self.take(order, limits, PageState::ram(dom), &Taker::Domain(owned))
            .inspect_err(|_| self.count_off(&owned.ram, 1 << order))
    }

    /// A zeroed page of the hypervisor that `dom` shares, with a reference of its allocation.
    pub fn alloc_shared(&self, dom: DomId) -> Result<Mfn, FrameError> {
        let owned = self.owned(dom).ok_or(FrameError::BadOwner)?;
        owned.shared.fetch_add(1, Ordering::Relaxed);
        let state = PageState::shared(dom);
        self.take(0, Limits::default(), state, &Taker::Hypervisor)
            .inspect_err(|_| self.count_off(&owned.shared, 1))
    }

    /// The block of 2^`order` pages at `mfn` for the hypervisor, content unchanged.
    pub fn alloc_at(&self, mfn: Mfn, order: u32) -> Result<(), FrameError> {
        let nr = block(order)?;
        let pages = self.table.pages(mfn, nr).ok_or(FrameError::BadRange)?;
        let mut buddy = self.buddy.lock();
        if !buddy.take_at(&self.table, mfn, order) {
            return Err(FrameError::BadState);
        }
        self.tell_free(&buddy);
        drop(buddy);
        Table::set(pages, PageState::XEN);
        Ok(())
    }

    /// Makes `nr` hypervisor pages from `mfn` RAM of `dom`. The content is the caller's choice.
    pub fn assign(&self, mfn: Mfn, nr: u64, dom: DomId) -> Result<(), FrameError> {
        let owned = self.owned(dom).ok_or(FrameError::BadOwner)?;
        let pages = self.table.pages(mfn, nr).ok_or(FrameError::BadRange)?;
        if pages.iter().any(|p| p.state() != PageState::XEN) {
            return Err(FrameError::BadState);
        }
        owned.ram.fetch_add(nr as u32, Ordering::Relaxed);
        Table::set(pages, PageState::ram(dom));
        Ok(())
    }

    /// Frees a block of 2^`order` pages of the hypervisor. Pages that are not in use, or not the
    /// hypervisor's alone, are an error and nothing happens.
    pub fn free(&self, mfn: Mfn, order: u32) -> Result<(), FrameError> {
        let nr = block(order)?;
        if !mfn.is_aligned(order) {
            return Err(FrameError::BadRange);
        }
        let pages = self.table.pages(mfn, nr).ok_or(FrameError::BadRange)?;
        let swap = |page: &PageInfo, from, to| page.update(|s| (s == from).then_some(to));
        for (done, page) in pages.iter().enumerate() {
            if let Err(state) = swap(page, PageState::XEN, PageState::FREE) {
                Table::set(pages.get(..done).unwrap_or_default(), PageState::XEN);
                log::error!("free of {mfn} order {order}: page {done} is {state:?}");
                return Err(FrameError::BadState);
            }
        }
        self.give(mfn, order);
        Ok(())
    }

    /// Frees all hypervisor pages that lie wholly in `range`, such as a boot module's.
    pub fn free_range(&self, range: PaRange) -> Result<(), FrameError> {
        for (mfn, order) in super::setup::blocks(range) {
            self.free(mfn, order)?;
        }
        Ok(())
    }

    /// A reference to `mfn`, if it is a page of `owner`.
    #[inline]
    pub fn get(&'static self, mfn: Mfn, owner: DomId) -> Option<PageRef> {
        self.get_if(mfn, |s| s.owner() == Some(owner))
    }

    /// A reference to `mfn`, if it is a page of any domain.
    pub fn get_any(&'static self, mfn: Mfn) -> Option<PageRef> {
        self.get_if(mfn, |_| true)
    }

    #[inline]
    fn get_if(&'static self, mfn: Mfn, ok: impl Fn(PageState) -> bool) -> Option<PageRef> {
        let page = self.table.page(mfn)?;
        page.update(|s| if ok(s) { s.with_reference() } else { None })
            .ok()?;
        Some(PageRef::new(self, page, mfn))
    }

    /// Drops the reference that `owner`'s allocation has to its RAM `mfn`; false, and no change,
    /// if there is none. The page is free as soon as nobody else holds it, so it must be out of
    /// the owner's own tables and TLBs before.
    pub fn release_allocation(&self, mfn: Mfn, owner: DomId) -> bool {
        self.release(mfn, owner, Kind::Ram)
    }

    /// The same for a page that the hypervisor shares with `owner` and now has done with.
    pub fn release_shared(&self, mfn: Mfn, owner: DomId) -> bool {
        self.release(mfn, owner, Kind::XenShared)
    }

    fn release(&self, mfn: Mfn, owner: DomId, kind: Kind) -> bool {
        let Some(page) = self.table.page(mfn) else {
            return false;
        };
        let change = |s: PageState| {
            if s.owner() != Some(owner) || s.kind() != kind {
                return None;
            }
            s.without_allocation()
        };
        match page.update(change) {
            Ok((old, new)) => {
                self.after_drop(mfn, old, new);
                true
            }
            Err(_) => false,
        }
    }

    /// Drops the allocation's references of a dying domain, which gets no new pages any more, to
    /// all its RAM from `from` on (first [`Mfn`] 0), looking at `budget` entries. Ends as soon as the
    /// domain has no page more.
    pub fn relinquish(&self, dom: DomId, from: Mfn, budget: u32) -> Relinquished {
        let mut left = budget;
        for bank in self.table.banks() {
            let end = bank.end();
            let mut at = from.0.max(bank.start);
            while at < end {
                if self.tot_pages(dom) == 0 {
                    return Relinquished::Done;
                }
                if left == 0 {
                    return Relinquished::More(Mfn(at));
                }
                left = left.saturating_sub(1);
                let state = self.state(Mfn(at)).unwrap_or(PageState::FREE);
                if state.owner() == Some(dom) {
                    self.release_allocation(Mfn(at), dom);
                }
                at = at.saturating_add(state.free_order().map_or(1, |order| 1 << order));
            }
        }
        Relinquished::Done
    }

    /// Drops one reference, of which only the number was kept.
    pub(crate) fn put(&self, mfn: Mfn) {
        if let Some(page) = self.table.page(mfn) {
            self.put_entry(page, mfn);
        }
    }

    /// Drops one reference to `mfn`, whose entry is `page`.
    #[inline]
    pub(super) fn put_entry(&self, page: &PageInfo, mfn: Mfn) {
        match page.update(PageState::without_reference) {
            Ok((old, new)) => self.after_drop(mfn, old, new),
            Err(state) => not_held(mfn, state),
        }
    }

    #[inline]
    fn after_drop(&self, mfn: Mfn, old: PageState, new: PageState) {
        match new.kind() {
            Kind::Free => self.last_dropped(mfn, old),
            Kind::XenShared => {
                // Against `note_dead`: one of the two sees the other.
                fence(Ordering::SeqCst);
                if self.dead.load(Ordering::Relaxed) != 0 {
                    self.abandoned.store(true, Ordering::Release);
                }
            }
            Kind::Xen | Kind::Ram => {}
        }
    }

    /// Nobody holds `mfn` any more; it was `old`.
    #[cold]
    fn last_dropped(&self, mfn: Mfn, old: PageState) {
        self.give(mfn, 0);
        if let Some(owned) = old.owner().and_then(|dom| self.owned(dom)) {
            let count = match old.kind() {
                Kind::Ram => &owned.ram,
                _ => &owned.shared,
            };
            self.count_off(count, 1);
        }
    }

    fn count_off(&self, count: &AtomicU32, nr: u32) {
        if count.fetch_sub(nr, Ordering::Release) == nr {
            self.abandoned.store(true, Ordering::Release);
        }
    }

    /// A domain is dead, and will be forgotten once nobody holds a page of it; to be called before
    /// that is looked at.
    pub fn note_dead(&self) {
        self.dead.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// A domain that was dead is forgotten.
    pub fn note_gone(&self) {
        self.dead.fetch_sub(1, Ordering::Relaxed);
    }

    /// True once after a domain may have lost its last page, or the last reference but its own to
    /// a page that the hypervisor shares with it: if it is dead, it can be forgotten.
    #[inline]
    pub fn take_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed) && self.abandoned.swap(false, Ordering::AcqRel)
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    pub(super) fn owned(&self, dom: DomId) -> Option<&'static Owned> {
        self.owned.get(usize::from(dom.0))
    }

    fn give(&self, mfn: Mfn, order: u32) {
        let mut buddy = self.buddy.lock();
        buddy.insert(&self.table, mfn, order);
        self.tell_free(&buddy);
    }

    pub(super) fn tell_free(&self, buddy: &Buddy) {
        let free = buddy.free.saturating_sub(buddy.aside);
        self.free.store(free, Ordering::Relaxed);
    }

    pub(super) fn take(
        &self,
        order: u32,
        limits: Limits,
        state: PageState,
        taker: &Taker<'_>,
    ) -> Result<Mfn, FrameError> {
        let nr = block(order)?;
        let mut buddy = self.buddy.lock();
        let (own, promised) = match taker {
            Taker::Domain(owned) => {
                let own = u64::from(owned.claimed.load(Ordering::Relaxed));
                let others = buddy.claimed.saturating_sub(own);
                (own, others.saturating_add(buddy.aside))
            }
            Taker::Hypervisor | Taker::Pool => (0, 0),
        };
        if buddy.free.saturating_sub(promised) < nr {
            return Err(FrameError::NoMemory);
        }
        let mfn = buddy
            .take(&self.table, order, limits)
            .ok_or(FrameError::NoMemory)?;
        match taker {
            Taker::Domain(owned) if own != 0 => {
                let used = own.min(nr);
                owned.claimed.fetch_sub(used as u32, Ordering::Relaxed);
                buddy.claimed = buddy.claimed.saturating_sub(used);
            }
            Taker::Pool => buddy.aside = buddy.aside.saturating_sub(nr),
            Taker::Domain(_) | Taker::Hypervisor => {}
        }
        self.tell_free(&buddy);
        drop(buddy);
        if !limits.dirty {
            self.scrub(mfn, nr);
        }
        let pages = self.table.pages(mfn, nr).ok_or(FrameError::BadRange)?;
        Table::set(pages, state);
        Ok(mfn)
    }

    /// Zeroes pages that only the caller uses, clean to the point of coherency.
    pub fn scrub(&self, mfn: Mfn, nr: u64) {
        if let Some(range) = PaRange::new(mfn.base(), nr << PAGE_SHIFT) {
            self.hw.scrub(range);
        }
    }
}

#[cold]
fn not_held(mfn: Mfn, state: PageState) {
    log::error!("reference to {mfn} dropped that nobody had: {state:?}");
}

fn block(order: u32) -> Result<u64, FrameError> {
    if order > MAX_ORDER {
        return Err(FrameError::BadRange);
    }
    Ok(1 << order)
}
