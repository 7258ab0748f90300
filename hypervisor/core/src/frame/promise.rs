// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of the free pages is promised: left to the hypervisor, set aside for domains' tables,
//! claimed for domains to come.

use super::frames::{FrameError, Frames, Limits, Taker};
use super::page::PageState;
use crate::addr::{DomId, Mfn};
use core::sync::atomic::Ordering;

impl Frames {
    /// From now on [`alloc_ram`](Self::alloc_ram) leaves about `pages` free, so that guests that
    /// take all memory do not starve the hypervisor, and a block of 2 MiB is set aside for its heap.
    /// False if there is none yet.
    pub fn keep_free(&self, pages: u64) -> bool {
        self.kept.store(pages, Ordering::Relaxed);
        self.find_spare();
        self.has_spare()
    }

    /// Pages that domains' RAM leaves free ([`keep_free`](Self::keep_free)).
    pub fn kept_free(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// True if what grows with a guest's calls (its grant table, what it has mapped) may grow, or a
    /// domain may be made. Sets a block aside for the heap if the last one was used.
    pub fn may_grow(&self, dom: DomId) -> bool {
        self.find_spare();
        self.has_room_to_grow(dom)
    }

    /// The same for a caller with locks held: as things are, and takes none.
    /// The last quarter of what [`keep_free`](Self::keep_free) keeps is for what must not fail,
    /// the one before, and growth with no block set aside for the heap, for the initial domain's
    /// sake alone.
    pub fn has_room_to_grow(&self, dom: DomId) -> bool {
        let kept = self.kept_free();
        let quarter = kept / 4;
        match dom {
            DomId(0) => self.free_pages() >= quarter,
            _ => {
                let spared = quarter.saturating_mul(2);
                self.free_pages() >= spared && (kept == 0 || self.has_spare())
            }
        }
    }

    /// Sets `nr` free pages aside, more than are to be left free: others do not see them any
    /// more, and [`alloc_aside`](Self::alloc_aside) will find them.
    pub fn set_aside(&self, nr: u64) -> Result<(), FrameError> {
        let mut buddy = self.buddy.lock();
        let promised = buddy.aside.saturating_add(buddy.claimed);
        let left = buddy.free.saturating_sub(promised);
        if left.saturating_sub(self.kept_free()) < nr {
            return Err(FrameError::NoMemory);
        }
        buddy.aside = buddy.aside.saturating_add(nr);
        self.tell_free(&buddy);
        Ok(())
    }

    /// `nr` pages that were set aside are so no longer.
    pub fn unset_aside(&self, nr: u64) {
        let mut buddy = self.buddy.lock();
        buddy.aside = buddy.aside.saturating_sub(nr);
        self.tell_free(&buddy);
    }

    /// A page of those set aside, for the hypervisor.
    pub fn alloc_aside(&self) -> Result<Mfn, FrameError> {
        self.take(0, Limits::default(), PageState::XEN, &Taker::Pool)
    }

    /// Gives such a page back: free, and set aside again.
    pub fn free_aside(&self, mfn: Mfn) -> Result<(), FrameError> {
        let mut buddy = self.buddy.lock();
        buddy.aside = buddy.aside.saturating_add(1);
        drop(buddy);
        self.free(mfn, 0)
    }

    /// Keeps `nr` of the free pages for `dom`, which has no claim yet, or with 0 gives up its claim.
    ///
    /// # Errors
    /// `BadState` for a second claim, `NoMemory` without as many pages that nobody has claimed.
    pub fn claim(&self, dom: DomId, nr: u32) -> Result<(), FrameError> {
        let owned = self.owned(dom).ok_or(FrameError::BadOwner)?;
        let mut buddy = self.buddy.lock();
        let before = owned.claimed.load(Ordering::Relaxed);
        if nr != 0 && before != 0 {
            return Err(FrameError::BadState);
        }
        let promised = buddy.aside.saturating_add(buddy.claimed);
        if buddy.free.saturating_sub(promised) < u64::from(nr) {
            return Err(FrameError::NoMemory);
        }
        buddy.claimed = buddy
            .claimed
            .saturating_sub(before.into())
            .saturating_add(nr.into());
        owned.claimed.store(nr, Ordering::Relaxed);
        Ok(())
    }

    /// Pages that `dom` has claimed and not got yet.
    pub fn claimed(&self, dom: DomId) -> u32 {
        self.owned(dom)
            .map_or(0, |o| o.claimed.load(Ordering::Relaxed))
    }

    /// Pages that are claimed in all.
    pub fn all_claimed(&self) -> u64 {
        self.buddy.lock().claimed
    }
}
