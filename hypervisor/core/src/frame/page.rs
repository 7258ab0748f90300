// SPDX-License-Identifier: MIT OR Apache-2.0
//! The frame table: an entry for each page of RAM.

use crate::addr::{DomId, Mfn};
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// No entry: the end of a list.
pub(super) const NIL: u32 = u32::MAX;
/// How many banks of RAM there may be, neighbours counted as one.
pub(super) const MAX_BANKS: usize = 64;

/// What a page is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nothing.
    Free,
    /// The hypervisor's own; no reference can be taken.
    Xen,
    /// The hypervisor's, shared with a domain that counts as owner: shared_info, grant frames.
    XenShared,
    /// A domain's RAM.
    Ram,
}

/// An entry's word: bits 0-31 references, 32 allocated, 33 head of a free block, 34-35 kind,
/// 40-47 a free block's order, 48-63 owner. All zero is a page inside a free block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PageState(u64);

const ALLOCATED: u64 = 1 << 32;
const FREE_HEAD: u64 = 1 << 33;
const KIND_SHIFT: u32 = 34;
const ORDER_SHIFT: u32 = 40;
const OWNER_SHIFT: u32 = 48;
/// More references than this are refused; the field itself could hold twice as many.
const MAX_REFS: u32 = i32::MAX as u32;

impl PageState {
    pub(super) const FREE: Self = Self(0);
    pub(super) const XEN: Self = Self(1 | 1 << KIND_SHIFT);

    pub(super) const fn shared(owner: DomId) -> Self {
        Self(1 | ALLOCATED | 2 << KIND_SHIFT | (owner.0 as u64) << OWNER_SHIFT)
    }
    pub(super) const fn ram(owner: DomId) -> Self {
        Self(1 | ALLOCATED | 3 << KIND_SHIFT | (owner.0 as u64) << OWNER_SHIFT)
    }
    #[cfg(test)]
    pub(super) const fn ram_with(owner: DomId, references: u32) -> Self {
        Self(Self::ram(owner).0 - 1 + references as u64)
    }
    pub(super) const fn free_head(order: u32) -> Self {
        Self(FREE_HEAD | (order as u64) << ORDER_SHIFT)
    }
    /// The order, if this is the head of a free block.
    pub(super) const fn free_order(self) -> Option<u32> {
        if self.0 & FREE_HEAD == 0 {
            return None;
        }
        Some((self.0 >> ORDER_SHIFT) as u32 & 0xff)
    }
    /// What the page is used for.
    pub const fn kind(self) -> Kind {
        match self.0 >> KIND_SHIFT & 3 {
            0 => Kind::Free,
            1 => Kind::Xen,
            2 => Kind::XenShared,
            _ => Kind::Ram,
        }
    }
    /// The domain it belongs to.
    pub const fn owner(self) -> Option<DomId> {
        match self.kind() {
            Kind::Free | Kind::Xen => None,
            Kind::XenShared | Kind::Ram => Some(DomId((self.0 >> OWNER_SHIFT) as u16)),
        }
    }
    /// How many references there are, the allocation's included.
    pub const fn references(self) -> u32 {
        self.0 as u32
    }
    /// True while the owner's allocation holds one of them.
    pub const fn is_allocated(self) -> bool {
        self.0 & ALLOCATED != 0
    }
    /// With one more reference; `None` if it has none or too many.
    pub(super) const fn with_reference(self) -> Option<Self> {
        if self.owner().is_none() || self.references() == 0 || self.references() >= MAX_REFS {
            return None;
        }
        Some(Self(self.0.wrapping_add(1)))
    }
    /// With one reference less, free after the last; `None` if there is none to drop.
    pub(super) const fn without_reference(self) -> Option<Self> {
        match (self.owner(), self.references()) {
            (None, _) | (_, 0) => None,
            (_, 1) => Some(Self::FREE),
            _ => Some(Self(self.0.wrapping_sub(1))),
        }
    }
    /// Without the allocation and its reference; `None` if that has gone before.
    pub(super) const fn without_allocation(self) -> Option<Self> {
        if !self.is_allocated() {
            return None;
        }
        Self(self.0 & !ALLOCATED).without_reference()
    }
}

impl fmt::Debug for PageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind())?;
        if let Some(owner) = self.owner() {
            write!(f, " {owner:?}")?;
        }
        let allocated = if self.is_allocated() {
            " allocated"
        } else {
            ""
        };
        write!(f, " x{}{allocated}", self.references())
    }
}

/// A page's entry.
#[repr(C, align(16))]
pub(super) struct PageInfo {
    state: AtomicU64,
    /// Entry numbers of the neighbours in a list. Whoever owns the list may touch them.
    pub(super) next: AtomicU32,
    pub(super) prev: AtomicU32,
}

impl PageInfo {
    pub(super) fn state(&self) -> PageState {
        PageState(self.state.load(Ordering::Relaxed))
    }
    /// Changes the state in a way that needs no order of its own (see [`Table::set`]).
    pub(super) fn set(&self, state: PageState) {
        self.state.store(state.0, Ordering::Relaxed);
    }
    /// Changes the state by `change`, unless that says no. Returns the old and the new one.
    #[inline]
    pub(super) fn update(
        &self,
        change: impl Fn(PageState) -> Option<PageState>,
    ) -> Result<(PageState, PageState), PageState> {
        let mut old = self.state();
        loop {
            let new = change(old).ok_or(old)?;
            match self.state.compare_exchange_weak(
                old.0,
                new.0,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok((old, new)),
                Err(now) => old = PageState(now),
            }
        }
    }
}

/// A bank of RAM: `pages` pages from `start`, the entries from number `first`.
#[derive(Clone, Copy)]
pub(super) struct Bank {
    pub(super) start: u64,
    pub(super) pages: u64,
    pub(super) first: u64,
}

impl Bank {
    /// The first page after it.
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(self.pages)
    }
}

/// All entries, bank after bank.
pub(super) struct Table {
    pub(super) entries: &'static [PageInfo],
    pub(super) banks: [Bank; MAX_BANKS],
    pub(super) nr_banks: usize,
}

impl Table {
    /// The banks, by rising address; there is a gap between any two.
    pub(super) fn banks(&self) -> &[Bank] {
        self.banks.get(..self.nr_banks).unwrap_or_default()
    }

    /// The number of `mfn`'s entry, if it is RAM.
    #[inline]
    pub(super) fn index(&self, mfn: Mfn) -> Option<u32> {
        for bank in self.banks() {
            let offset = mfn.0.wrapping_sub(bank.start);
            if offset < bank.pages {
                return Some(bank.first.wrapping_add(offset) as u32);
            }
        }
        None
    }

    /// The page entry number `index` is about.
    pub(super) fn mfn(&self, index: u32) -> Option<Mfn> {
        let index = u64::from(index);
        self.banks().iter().find_map(|bank| {
            let offset = index.wrapping_sub(bank.first);
            (offset < bank.pages).then(|| Mfn(bank.start.wrapping_add(offset)))
        })
    }

    /// Entry number `index`.
    #[inline]
    pub(super) fn entry(&self, index: u32) -> Option<&'static PageInfo> {
        self.entries.get(index as usize)
    }

    /// `mfn`'s entry, if it is RAM.
    #[inline]
    pub(super) fn page(&self, mfn: Mfn) -> Option<&'static PageInfo> {
        self.entry(self.index(mfn)?)
    }

    /// The entries of `nr` pages from `mfn`; `None` unless all are RAM.
    pub(super) fn pages(&self, mfn: Mfn, nr: u64) -> Option<&'static [PageInfo]> {
        let first = self.index(mfn)?;
        // Numbers run on from bank to bank, page numbers do not.
        let distance = nr.checked_sub(1)?;
        let last = self.index(mfn.checked_add(distance)?)?;
        if u64::from(last.checked_sub(first)?) != distance {
            return None;
        }
        self.entries.get(first as usize..=last as usize)
    }

    /// Puts `pages`, which only the caller knows of, into `state`; what was done to them before
    /// is seen by whoever acquires one.
    pub(super) fn set(pages: &[PageInfo], state: PageState) {
        fence(Ordering::Release);
        for page in pages {
            page.set(state);
        }
    }
}
