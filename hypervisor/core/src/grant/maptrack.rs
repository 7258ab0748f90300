// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a domain has mapped of others: by handle, the number the domain knows it by, and by page.
//!
//! Handles come in frames of [`MAPTRACK_PER_FRAME`], which are allocated when needed and kept:
//! with them come as many hash buckets, so that chains stay short. A new bucket takes over what
//! belongs there from one other chain (linear hashing), so growing never moves everything.
//!
//! In a chain is one mapping of each page. The page's others, its twins, are in a list of their own
//! beside it, so that a page which is mapped ever so often makes no chain long.

use super::GrantError;
use crate::addr::{DomId, Gfn, Mfn};
use crate::nospec;
use alloc::vec::Vec;

/// Handles in a frame.
pub const MAPTRACK_PER_FRAME: u32 = 256;
/// No handle: the end of a list.
const NIL: u32 = u32::MAX;

/// A granted page that is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Where.
    pub gfn: Gfn,
    /// The page.
    pub mfn: Mfn,
    /// Which grant.
    pub reference: u32,
    /// Of whom.
    pub owner: DomId,
    /// To read only.
    pub readonly: bool,
}

struct Entry {
    kept: Option<Kept>,
    /// The next one in the chain of the bucket, or of the twins; of a free handle, the next free one.
    next: u32,
    /// Of one in a chain, its first twin; of a twin, the twin before it, or the one in the chain.
    beside: u32,
}

/// A mapping. As [`Mapping`], without a byte between the last fields.
#[derive(Clone, Copy)]
struct Kept {
    gfn: Gfn,
    mfn: Mfn,
    reference: u32,
    owner: DomId,
    readonly: bool,
    is_twin: bool,
}

const _: () = assert!(size_of::<Entry>() == 32);

/// Handles, and the bucket of the same number for each.
struct Frame {
    entries: Vec<Entry>,
    buckets: Vec<u32>,
}

/// All mappings of a domain.
pub(super) struct Maptrack {
    frames: Vec<Frame>,
    max_frames: u32,
    free: u32,
    /// Mappings there are.
    mapped: u32,
    /// Where [`take_next`](Self::take_next) goes on.
    cursor: u32,
    closed: bool,
}

impl Maptrack {
    pub(super) const fn new(max_frames: u32) -> Self {
        Self {
            frames: Vec::new(),
            max_frames,
            free: NIL,
            mapped: 0,
            cursor: 0,
            closed: false,
        }
    }

    /// A handle that stands for nothing yet. Allocates more of them if it has to and `may_grow`.
    pub(super) fn reserve(&mut self, may_grow: impl FnOnce() -> bool) -> Option<u32> {
        if self.closed {
            return None;
        }
        if self.free == NIL {
            may_grow().then_some(())?;
            self.grow()?;
        }
        let handle = self.free;
        self.free = self.entry(handle)?.next;
        Some(handle)
    }

    /// Gives a handle back that stands for nothing.
    pub(super) fn release(&mut self, handle: u32) {
        let free = self.free;
        if let Some(entry) = self.entry_mut(handle) {
            entry.next = free;
            self.free = handle;
        }
    }

    /// Lets a reserved handle stand for `mapping`.
    pub(super) fn publish(&mut self, handle: u32, mapping: Mapping) {
        let Mapping {
            gfn,
            mfn,
            reference,
            owner,
            readonly,
        } = mapping;
        let bucket = self.bucket_of(mfn);
        let other = self.chain(bucket).find(|(_, kept)| kept.mfn == mfn);
        if let Some(entry) = self.entry_mut(handle) {
            entry.kept = Some(Kept {
                gfn,
                mfn,
                reference,
                owner,
                readonly,
                is_twin: other.is_some(),
            });
            self.mapped = self.mapped.saturating_add(1);
            match other {
                Some((first, _)) => self.add_twin(first, handle),
                None => self.link(bucket, handle),
            }
        }
    }

    /// The end of the mapping with `handle`, if that is at `gfn`.
    ///
    /// # Errors
    /// `BadHandle`; `General` if it is elsewhere.
    pub(super) fn take(&mut self, handle: u32, gfn: Gfn) -> Result<Mapping, GrantError> {
        let handle = self.known(handle).ok_or(GrantError::BadHandle)?;
        let mapping = self.get(handle).ok_or(GrantError::BadHandle)?;
        if mapping.gfn != gfn {
            return Err(GrantError::General);
        }
        self.remove(handle, mapping);
        Ok(mapping)
    }

    /// The end of any mapping, for a domain that is dying. Looks at no more than `budget` handles
    /// and takes them off that. No new mapping begins any more.
    pub(super) fn take_next(&mut self, budget: &mut u32) -> Option<Mapping> {
        self.closed = true;
        while *budget != 0 && self.cursor < self.nr_handles() {
            let handle = self.cursor;
            *budget = budget.saturating_sub(1);
            self.cursor = handle.saturating_add(1);
            if let Some(mapping) = self.get(handle) {
                self.remove(handle, mapping);
                return Some(mapping);
            }
        }
        None
    }

    /// True once [`take_next`](Self::take_next) has seen all.
    pub(super) fn is_empty(&self) -> bool {
        self.closed && self.cursor >= self.nr_handles()
    }

    /// What `handle` stands for.
    pub(super) fn get(&self, handle: u32) -> Option<Mapping> {
        let kept = self.entry(self.known(handle)?)?.kept?;
        Some(Mapping {
            gfn: kept.gfn,
            mfn: kept.mfn,
            reference: kept.reference,
            owner: kept.owner,
            readonly: kept.readonly,
        })
    }

    /// How many mappings there are.
    pub(super) const fn mapped(&self) -> u32 {
        self.mapped
    }

    /// True if `mfn` is mapped.
    pub(super) fn maps(&self, mfn: Mfn) -> bool {
        self.chain(self.bucket_of(mfn))
            .any(|(_, kept)| kept.mfn == mfn)
    }

    fn remove(&mut self, handle: u32, mapping: Mapping) {
        self.unlink(self.bucket_of(mapping.mfn), handle);
        if let Some(entry) = self.entry_mut(handle) {
            entry.kept = None;
            self.mapped = self.mapped.saturating_sub(1);
        }
        self.release(handle);
    }

    /// A handle that a guest named, if there is one, safe to use.
    fn known(&self, handle: u32) -> Option<u32> {
        let nr = self.nr_handles();
        (handle < nr).then(|| nospec::confine(handle as usize, nr as usize) as u32)
    }

    fn nr_handles(&self) -> u32 {
        (self.frames.len() as u32).saturating_mul(MAPTRACK_PER_FRAME)
    }

    fn entry(&self, handle: u32) -> Option<&Entry> {
        let (frame, slot) = place(handle);
        self.frames.get(frame)?.entries.get(slot)
    }

    fn entry_mut(&mut self, handle: u32) -> Option<&mut Entry> {
        let (frame, slot) = place(handle);
        self.frames.get_mut(frame)?.entries.get_mut(slot)
    }

    /// One frame more.
    fn grow(&mut self) -> Option<()> {
        if self.frames.len() as u32 >= self.max_frames {
            return None;
        }
        self.frames.try_reserve(1).ok()?;
        let first = self.nr_handles();
        let nr = MAPTRACK_PER_FRAME as usize;
        let (mut entries, mut buckets) = (Vec::new(), Vec::new());
        entries.try_reserve_exact(nr).ok()?;
        buckets.try_reserve_exact(nr).ok()?;
        entries.resize_with(nr, || Entry {
            kept: None,
            next: NIL,
            beside: NIL,
        });
        buckets.resize(nr, NIL);
        self.frames.push(Frame { entries, buckets });
        let new = first..first.saturating_add(MAPTRACK_PER_FRAME);
        for handle in new.clone().rev() {
            self.release(handle);
        }
        if first != 0 {
            new.for_each(|bucket| self.fill(bucket));
        }
        Some(())
    }

    /// The bucket of `mfn`.
    fn bucket_of(&self, mfn: Mfn) -> u32 {
        bucket(mfn, self.nr_handles())
    }

    /// Moves what belongs into the new bucket `to` from where it is so far.
    fn fill(&mut self, to: u32) {
        let nr = to.saturating_add(1);
        let from = to & half_mask(nr);
        let mut next = self.head(from);
        self.set_head(from, NIL);
        while let Some(&Entry {
            kept: Some(kept),
            next: after,
            ..
        }) = self.entry(next)
        {
            let moves = bucket(kept.mfn, nr) == to;
            self.link(if moves { to } else { from }, next);
            next = after;
        }
    }

    /// One mapping of each page in a bucket.
    fn chain(&self, bucket: u32) -> impl Iterator<Item = (u32, Kept)> {
        let mut next = self.head(bucket);
        core::iter::from_fn(move || {
            let entry = self.entry(next)?;
            let found = (next, entry.kept?);
            next = entry.next;
            Some(found)
        })
    }

    fn head(&self, bucket: u32) -> u32 {
        let (frame, slot) = place(bucket);
        let head = self.frames.get(frame).and_then(|f| f.buckets.get(slot));
        head.copied().unwrap_or(NIL)
    }

    fn set_head(&mut self, bucket: u32, handle: u32) {
        let (frame, slot) = place(bucket);
        if let Some(head) = self
            .frames
            .get_mut(frame)
            .and_then(|f| f.buckets.get_mut(slot))
        {
            *head = handle;
        }
    }

    /// Puts `handle`, with its twins, into a chain.
    fn link(&mut self, bucket: u32, handle: u32) {
        self.set_next(handle, self.head(bucket));
        self.set_head(bucket, handle);
    }

    /// Puts `twin` beside `first`, which is in a chain.
    fn add_twin(&mut self, first: u32, twin: u32) {
        let second = self.entry(first).map_or(NIL, |entry| entry.beside);
        self.set_next(twin, second);
        self.set_beside(twin, first);
        self.set_beside(second, twin);
        self.set_beside(first, twin);
    }

    /// Takes `handle` out of the chain of `bucket`, where a twin takes its place, or from the twins.
    fn unlink(&mut self, bucket: u32, handle: u32) {
        let Some(&Entry {
            kept: Some(kept),
            next,
            beside,
        }) = self.entry(handle)
        else {
            return;
        };
        self.set_beside(handle, NIL);
        if kept.is_twin {
            match self.is_twin(beside) {
                true => self.set_next(beside, next),
                false => self.set_beside(beside, next),
            }
            return self.set_beside(next, beside);
        }
        let heir = match self.entry_mut(beside) {
            Some(Entry {
                kept: Some(twin),
                next: second,
                beside: first,
            }) => {
                // The twin after it knows it as its neighbour already.
                twin.is_twin = false;
                *first = *second;
                *second = next;
                beside
            }
            _ => next,
        };
        let before = self.chain(bucket).map(|(n, _)| n);
        let before = before
            .take_while(|n| *n != handle)
            .find(|n| self.entry(*n).is_some_and(|entry| entry.next == handle));
        match before {
            Some(before) => self.set_next(before, heir),
            None => self.set_head(bucket, heir),
        }
    }

    fn is_twin(&self, handle: u32) -> bool {
        self.entry(handle)
            .and_then(|entry| entry.kept)
            .is_some_and(|kept| kept.is_twin)
    }

    fn set_next(&mut self, handle: u32, next: u32) {
        if let Some(entry) = self.entry_mut(handle) {
            entry.next = next;
        }
    }

    fn set_beside(&mut self, handle: u32, beside: u32) {
        if let Some(entry) = self.entry_mut(handle) {
            entry.beside = beside;
        }
    }
}

/// Frame and slot of a handle or bucket.
fn place(number: u32) -> (usize, usize) {
    const _: () = assert!(MAPTRACK_PER_FRAME == 1 << 8);
    ((number >> 8) as usize, (number & 0xff) as usize)
}

/// The bits of a hash that count while the newer half of `nr` buckets is being added.
fn half_mask(nr: u32) -> u32 {
    nr.next_power_of_two().wrapping_sub(1) >> 1
}

/// The bucket of `mfn` when there are `nr`.
fn bucket(mfn: Mfn, nr: u32) -> u32 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let hash = (mfn.0.wrapping_mul(GOLDEN) >> 32) as u32;
    let half = half_mask(nr);
    let wide = hash & (half << 1 | 1);
    if wide < nr { wide } else { hash & half }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn mapping(mfn: u64, gfn: u64) -> Mapping {
        Mapping {
            gfn: Gfn(gfn),
            mfn: Mfn(mfn),
            reference: 8,
            owner: DomId(1),
            readonly: false,
        }
    }

    fn add(track: &mut Maptrack, mfn: u64, gfn: u64) -> Option<u32> {
        let handle = track.reserve(|| true)?;
        track.publish(handle, mapping(mfn, gfn));
        Some(handle)
    }

    #[test]
    fn handles_begin_at_zero_and_end_at_the_limit() {
        let mut track = Maptrack::new(3);
        let nr = 3 * MAPTRACK_PER_FRAME;
        for n in 0..nr {
            assert_eq!(add(&mut track, n.into(), n.into()), Some(n));
        }
        assert_eq!(track.reserve(|| true), None);
        assert!((0..nr).all(|n| track.maps(Mfn(n.into()))));
        assert!(!track.maps(Mfn(nr.into())));
        assert_eq!(track.take(7, Gfn(7)), Ok(mapping(7, 7)));
        assert_eq!(track.reserve(|| true), Some(7));
    }

    #[test]
    fn no_more_handles_than_there_is_memory_for() {
        let mut track = Maptrack::new(3);
        assert_eq!(track.reserve(|| false), None);
        for n in 0..MAPTRACK_PER_FRAME {
            assert_eq!(track.reserve(|| n == 0), Some(n));
        }
        assert_eq!(track.reserve(|| false), None);
        assert_eq!(track.reserve(|| true), Some(MAPTRACK_PER_FRAME));
    }

    /// Whoever maps one page ever so often makes nobody walk.
    #[test]
    fn a_page_mapped_often_makes_no_long_chain() {
        let mut track = Maptrack::new(40);
        let nr = 40 * MAPTRACK_PER_FRAME;
        for n in 0..nr {
            add(&mut track, if n % 2 == 0 { 7 } else { n.into() }, n.into()).unwrap();
        }
        let longest = (0..nr).map(|bucket| track.chain(bucket).count()).max();
        assert!(longest < Some(8), "{longest:?}");
        // In another order than they came in.
        for step in [3, 1] {
            for n in (0..nr).step_by(step) {
                let _ = track.take(n * 7 % nr, Gfn((n * 7 % nr).into()));
            }
        }
        assert_eq!(track.mapped(), 0);
        assert!(!track.maps(Mfn(7)));
    }

    #[test]
    fn a_reserved_handle_is_nobodys() {
        let mut track = Maptrack::new(1);
        let handle = track.reserve(|| true).unwrap();
        assert_eq!(track.take(handle, Gfn(0)), Err(GrantError::BadHandle));
        track.release(handle);
        assert_eq!(track.reserve(|| true), Some(handle));
    }

    #[test]
    fn dying_takes_all_in_slices() {
        let mut track = Maptrack::new(2);
        for n in 0..300 {
            add(&mut track, n, n);
        }
        let (mut taken, mut slices) = (0, 0);
        while !track.is_empty() {
            let mut budget = 50;
            while track.take_next(&mut budget).is_some() {
                taken += 1;
            }
            slices += 1;
        }
        assert_eq!((taken, slices), (300, 11));
        assert_eq!(track.reserve(|| true), None);
    }

    proptest! {
        #[test]
        fn pages_are_found_while_mapped(
            ops in prop::collection::vec((any::<bool>(), 0u64..40, 0usize..4000), 1..4000)
        ) {
            let mut track = Maptrack::new(9);
            let mut model = BTreeMap::new();
            for (n, (insert, mfn, which)) in ops.into_iter().enumerate() {
                // Many are of one page, which others of its bucket surround.
                let mfn = if which % 3 == 0 { mfn } else { mfn * 0x1001 + (which as u64 & 0xfff) };
                if insert || model.is_empty() {
                    if let Some(handle) = add(&mut track, mfn, n as u64) {
                        prop_assert!(model.insert(handle, mapping(mfn, n as u64)).is_none());
                    } else {
                        prop_assert_eq!(model.len(), 9 * 256);
                    }
                } else {
                    let (&handle, &mapping) = model.iter().nth(which % model.len()).unwrap();
                    prop_assert_eq!(track.take(handle, Gfn(u64::MAX)), Err(GrantError::General));
                    prop_assert_eq!(track.take(handle, mapping.gfn), Ok(mapping));
                    prop_assert_eq!(track.take(handle, mapping.gfn), Err(GrantError::BadHandle));
                    model.remove(&handle);
                }
                prop_assert_eq!(track.maps(Mfn(mfn)), model.values().any(|m| m.mfn == Mfn(mfn)));
            }
            for mapping in model.values() {
                prop_assert!(track.maps(mapping.mfn));
            }
        }
    }
}
