// SPDX-License-Identifier: MIT OR Apache-2.0
//! A block set aside for the hypervisor's heap. Guests can scatter free memory until no two free pages
//! are neighbours; what the hypervisor then allocates without a way to fail comes out of this block,
//! and what may fail waits until there is another.

use super::frames::{Frames, Limits};
use crate::addr::Mfn;
use core::sync::atomic::{AtomicU64, Ordering};

/// log2 of the pages in the block.
const ORDER: u32 = 9;
/// There is none.
const NONE: u64 = u64::MAX;

/// The first page of the block.
pub(super) struct Spare(AtomicU64);

impl Spare {
    pub(super) const fn none() -> Self {
        Self(AtomicU64::new(NONE))
    }
}

impl Frames {
    /// The block set aside, for the heap: its first page, and log2 of its pages. It stays if it has
    /// fewer than 2^`order` pages, as it would be of no use. Takes no lock.
    pub fn take_spare(&self, order: u32) -> Option<(Mfn, u32)> {
        if order > ORDER {
            return None;
        }
        let mfn = self.spare.0.swap(NONE, Ordering::AcqRel);
        (mfn != NONE).then_some((Mfn(mfn), ORDER))
    }

    /// True if a block is set aside. Takes no lock.
    pub(super) fn has_spare(&self) -> bool {
        self.spare.0.load(Ordering::Relaxed) != NONE
    }

    /// Sets a block aside if none is and there is one.
    pub(super) fn find_spare(&self) {
        if self.kept_free() == 0 || self.has_spare() {
            return;
        }
        // What was in it stays: the heap's users write before they read.
        let limits = Limits {
            dirty: true,
            ..Limits::default()
        };
        let Ok(mfn) = self.alloc(ORDER, limits) else {
            return;
        };
        let (none, relaxed) = (NONE, Ordering::Relaxed);
        let kept = self
            .spare
            .0
            .compare_exchange(none, mfn.0, Ordering::AcqRel, relaxed);
        if kept.is_err() {
            // Another CPU was faster. It was just taken: it can be given back.
            let _ = self.free(mfn, ORDER);
        }
    }
}
