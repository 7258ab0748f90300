// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's grant table: its frames, grown as the domain asks, and what is in use of them.

use super::GrantError;
use super::entry::SharedEntry;
use super::maptrack::Maptrack;
use super::pin::Active;
use crate::addr::{DomId, Gfn, Mfn};
use crate::domain::Domain;
use crate::domain::xen_pages::XenPage;
use crate::frame::PageRef;
use crate::guest::shared::SharedPage;
use crate::nospec;
use crate::sync::{Lock, rank};
use crate::system::System;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use xen_abi::errno::Errno;
use xen_abi::grant::{GRANT_ENTRIES_PER_FRAME, GrantEntryV1};

/// A table's and a maptrack's rank: a [`XenPage`]'s lock is taken under it, and never two.
pub(super) const RANK: u8 = rank::GRANT - 1;

/// What a domain has granted to others, and what others granted to it that it uses.
pub struct GrantTable {
    sys: &'static System,
    owner: DomId,
    max_frames: u32,
    pub(super) table: Lock<Table, RANK>,
    pub(super) maptrack: Lock<Maptrack, RANK>,
    /// Entries that are in use.
    pub(super) in_use: AtomicU32,
}

impl GrantTable {
    /// A table of one frame, of `max_frames` at most, for a domain that can have mappings for
    /// `max_maptrack_frames` times [`MAPTRACK_PER_FRAME`](super::MAPTRACK_PER_FRAME) handles.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(
        sys: &'static System,
        owner: DomId,
        max_frames: u32,
        max_maptrack_frames: u32,
    ) -> Result<Self, Errno> {
        let mut table = Table { frames: Vec::new() };
        if max_frames != 0 {
            table.grow(sys, owner)?;
        }
        Ok(Self {
            sys,
            owner,
            max_frames,
            table: Lock::new(table),
            maptrack: Lock::new(Maptrack::new(max_maptrack_frames)),
            in_use: AtomicU32::new(0),
        })
    }

    /// Frames there are, and how many there can be.
    pub fn size(&self) -> (u32, u32) {
        (self.table.lock().frames.len() as u32, self.max_frames)
    }

    /// Frame `index`; the table grows to have it.
    ///
    /// # Errors
    /// `EINVAL` beyond the limit, `ENOMEM`.
    pub fn frame(&self, index: u32) -> Result<Arc<XenPage>, Errno> {
        if index >= self.max_frames {
            return Err(Errno::Inval);
        }
        let mut table = self.table.lock();
        while table.frames.len() <= index as usize {
            if !self.sys.frames.may_grow(self.owner) {
                return Err(Errno::NoMem);
            }
            table.grow(self.sys, self.owner)?;
        }
        let frame = nospec::get(&table.frames, index as usize).ok_or(Errno::Inval)?;
        Ok(frame.page.clone())
    }

    /// Maps frame `index` at `gfn`.
    ///
    /// # Errors
    /// As [`GrantTable::frame`] and [`XenPage::map`].
    pub fn map(&self, domain: &Domain, index: u32, gfn: Gfn) -> Result<(), Errno> {
        self.frame(index)?.map(domain, gfn)
    }

    /// Grants of this domain that others use, and grants of others that it has mapped.
    pub fn counts(&self) -> (u32, u32) {
        let mapped = self.maptrack.lock().mapped();
        (self.in_use.load(Ordering::Relaxed), mapped)
    }

    /// True if `f` is true of all frames.
    pub fn all_frames(&self, f: impl Fn(Mfn) -> bool) -> bool {
        self.table
            .lock()
            .frames
            .iter()
            .all(|frame| f(frame.page.mfn()))
    }

    /// [`XenPage::unmapped`] for all frames.
    pub fn unmapped(&self, domain: &Domain, gfn: Gfn, nr: u64) {
        for frame in &self.table.lock().frames {
            frame.page.unmapped(domain, gfn, nr);
        }
    }

    /// Exchanges two entries.
    ///
    /// # Errors
    /// `BadReference`; `Again` while one is in use.
    pub fn swap(&self, a: u32, b: u32) -> Result<(), GrantError> {
        let mut table = self.table.lock();
        let word_a = table.unused_word(a);
        let word_b = table.unused_word(b);
        let known = |word: &Result<_, _>| !matches!(word, Err(GrantError::BadReference));
        if a == b && known(&word_a) {
            return Ok(());
        }
        if !known(&word_a) || !known(&word_b) {
            return Err(GrantError::BadReference);
        }
        let (word_a, word_b) = (word_a?, word_b?);
        table.store(a, word_b);
        table.store(b, word_a);
        Ok(())
    }

    /// Another's page `mfn`, held, if the domain has it mapped by a grant.
    pub fn mapped_page(&self, mfn: Mfn) -> Option<PageRef> {
        let maptrack = self.maptrack.lock();
        // The mapping holds the page as long as it is in the maptrack.
        maptrack
            .maps(mfn)
            .then(|| self.sys.frames.get_any(mfn))
            .flatten()
    }
}

/// The frames.
pub(super) struct Table {
    frames: Vec<Frame>,
}

struct Frame {
    page: Arc<XenPage>,
    /// The same page, seen from here.
    entries: SharedPage,
    active: Vec<Active>,
}

impl Frame {
    fn new(sys: &'static System, owner: DomId) -> Result<Self, Errno> {
        let mut active = Vec::new();
        active
            .try_reserve_exact(GRANT_ENTRIES_PER_FRAME as usize)
            .map_err(|_| Errno::NoMem)?;
        active.resize_with(GRANT_ENTRIES_PER_FRAME as usize, || Active::UNUSED);
        let page = Arc::new(XenPage::new(sys, owner)?);
        // SAFETY: the page is the hypervisor's for as long as `page`, beside which it stays; only
        // atomics touch it.
        let entries = unsafe { SharedPage::new(sys.map, page.mfn(), None) };
        Ok(Self {
            page,
            entries,
            active,
        })
    }
}

impl Table {
    fn grow(&mut self, sys: &'static System, owner: DomId) -> Result<(), Errno> {
        self.frames.try_reserve(1).map_err(|_| Errno::NoMem)?;
        self.frames.push(Frame::new(sys, owner)?);
        Ok(())
    }

    /// Both halves of entry `reference`.
    #[inline]
    pub(super) fn entry(&mut self, reference: u32) -> Option<(SharedEntry<'_>, &mut Active)> {
        let index = reference.checked_div(GRANT_ENTRIES_PER_FRAME)? as usize;
        let slot = reference.checked_rem(GRANT_ENTRIES_PER_FRAME)? as usize;
        let frame = nospec::get_mut(&mut self.frames, index)?;
        let offset = slot.checked_mul(size_of::<GrantEntryV1>())?;
        let word = frame.entries.atomic_u64(offset)?;
        Some((SharedEntry(word), frame.active.get_mut(slot)?))
    }

    /// Entry `reference` as the guest wrote it, if it is not in use.
    fn unused_word(&mut self, reference: u32) -> Result<u64, GrantError> {
        let (entry, active) = self.entry(reference).ok_or(GrantError::BadReference)?;
        if active.is_used() {
            return Err(GrantError::Again);
        }
        Ok(entry.0.load(Ordering::Acquire))
    }

    fn store(&mut self, reference: u32, word: u64) {
        if let Some((entry, _)) = self.entry(reference) {
            entry.0.store(word, Ordering::Release);
        }
    }
}
