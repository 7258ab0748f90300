// SPDX-License-Identifier: MIT OR Apache-2.0
//! Holding pages: one by a reference, many of the hypervisor's own in a list.

use super::frames::Frames;
use super::page::{NIL, PageInfo, PageState};
use crate::addr::{Mfn, PAGE_SIZE, Pa, PaRange};
use core::fmt;
use core::sync::atomic::Ordering;

/// A reference to a domain's page: while it is held the page is not freed and keeps its owner.
#[must_use]
pub struct PageRef {
    frames: &'static Frames,
    entry: &'static PageInfo,
    mfn: Mfn,
}

impl PageRef {
    /// Owns a reference to `mfn`, whose entry is `entry`, that has been counted already.
    #[inline]
    pub(super) fn new(frames: &'static Frames, entry: &'static PageInfo, mfn: Mfn) -> Self {
        Self { frames, entry, mfn }
    }

    /// Gives the reference to whoever keeps the number, to be dropped by [`Frames::put`].
    pub(crate) fn into_raw(self) -> Mfn {
        core::mem::ManuallyDrop::new(self).mfn
    }

    /// The page.
    pub fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// Where it is.
    pub fn pa(&self) -> Pa {
        self.mfn.base()
    }

    /// The bytes it is.
    pub fn range(&self) -> PaRange {
        PaRange {
            start: self.pa(),
            end: Pa(self.pa().0 | (PAGE_SIZE - 1))
                .checked_add(1)
                .unwrap_or(self.pa()),
        }
    }

    /// Where it is visible.
    pub fn ptr(&self) -> *mut u8 {
        self.frames.map().ptr(self.pa())
    }

    /// Owner, kind and count. The first two stay as they are while the reference is held.
    pub fn state(&self) -> PageState {
        self.entry.state()
    }

    /// Another reference; `None` if there are too many.
    pub fn try_clone(&self) -> Option<Self> {
        self.frames.get_any(self.mfn)
    }
}

impl Drop for PageRef {
    #[inline]
    fn drop(&mut self) {
        self.frames.put_entry(self.entry, self.mfn);
    }
}

impl fmt::Debug for PageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageRef({}, {:?})", self.mfn, self.state())
    }
}

/// A stack of the hypervisor's own pages, linked through their entries: it needs no memory, and
/// does not touch the pages.
pub(crate) struct PageList {
    head: u32,
    len: u64,
}

impl PageList {
    pub(crate) const EMPTY: Self = Self { head: NIL, len: 0 };

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Adds `mfn`, a [`Kind::Xen`](super::Kind::Xen) page that is on no list.
    pub(crate) fn push(&mut self, frames: &Frames, mfn: Mfn) {
        let table = frames.table();
        let Some(index) = table.index(mfn) else {
            return;
        };
        if let Some(page) = table.entry(index) {
            page.next.store(self.head, Ordering::Relaxed);
            self.head = index;
            self.len = self.len.saturating_add(1);
        }
    }

    /// Takes the page added last.
    pub(crate) fn pop(&mut self, frames: &Frames) -> Option<Mfn> {
        let table = frames.table();
        let page = table.entry(self.head)?;
        let mfn = table.mfn(self.head)?;
        self.head = page.next.load(Ordering::Relaxed);
        self.len = self.len.saturating_sub(1);
        Some(mfn)
    }
}
