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
    /// A block for the heap, of at least 2^`order` pages, and log2 of the pages it has: the one set
    /// aside if there is no other.
    pub fn alloc_for_heap(&self, order: u32) -> Option<(Mfn, u32)> {
        if let Ok(mfn) = self.alloc(order, Limits::default()) {
            return Some((mfn, order));
        }
        if order > ORDER {
            return None;
        }
        let mfn = self.spare.0.swap(NONE, Ordering::AcqRel);
        (mfn != NONE).then_some((Mfn(mfn), ORDER))
    }

    /// True if a block is set aside, now or already.
    pub(super) fn has_spare(&self) -> bool {
        if self.spare.0.load(Ordering::Relaxed) != NONE {
            return true;
        }
        // What was in it stays: the heap's users write before they read.
        let limits = Limits {
            dirty: true,
            ..Limits::default()
        };
        let Ok(mfn) = self.alloc(ORDER, limits) else {
            return false;
        };
        let (none, relaxed) = (NONE, Ordering::Relaxed);
        let kept = self
            .spare
            .0
            .compare_exchange(none, mfn.0, Ordering::AcqRel, relaxed);
        // If another CPU was faster, there is one too many.
        kept.is_ok() || self.free(mfn, ORDER).is_ok()
    }
}
