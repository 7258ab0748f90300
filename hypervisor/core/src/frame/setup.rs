// SPDX-License-Identifier: MIT OR Apache-2.0
//! Building the frame table at boot, from the map of RAM.
//!
//! The cost is one pass of zeroing over the table: a block of free pages touches its first
//! entry alone, however large.

use super::buddy::{Buddy, MAX_ORDER};
use super::frames::{FrameError, Frames, NR_DOMAINS, Owned};
use super::page::{Bank, MAX_BANKS, PageInfo, PageState, Table};
use super::spare::Spare;
use crate::addr::{Mfn, PAGE_SHIFT, PAGE_SIZE, Pa, PaRange};
use crate::hw::{DirectMap, Hw};
use crate::sync::Lock;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

impl Frames {
    /// The memory of `banks`, in any order, visible through `map`. What is not in `reserved`
    /// (the hypervisor's image, boot modules, the device tree) becomes free, except for the table
    /// itself. Reserved RAM is the hypervisor's ([`Kind::Xen`](super::Kind::Xen)) and can be
    /// freed later.
    pub fn new(
        map: DirectMap,
        hw: &'static dyn Hw,
        banks: &[PaRange],
        reserved: &[PaRange],
    ) -> Result<Self, FrameError> {
        let (banks, nr_banks) = join(banks)?;
        let ranges = banks.get(..nr_banks).unwrap_or_default();
        let total: u64 = ranges.iter().map(|b| b.pages).sum();
        let entries = usize::try_from(total).map_err(|_| FrameError::TooManyBanks)?;
        if u32::try_from(total).is_err() {
            return Err(FrameError::TooManyBanks);
        }

        let own = place(
            ranges,
            reserved,
            size_of::<PageInfo>().saturating_mul(entries),
        )?;
        hw.scrub(own);
        let owned_at = own.start;
        let table_at = Pa(own.start.0.saturating_add(OWNED_SIZE));
        // SAFETY: `place` chose `own` large enough for both arrays, page aligned, in RAM that
        // `map` shows and that nobody else uses, from now on either: it is never given out.
        // Zeroes are valid values of both types.
        let (owned, entries) = unsafe {
            (
                core::slice::from_raw_parts(map.ptr(owned_at).cast::<Owned>(), NR_DOMAINS),
                core::slice::from_raw_parts(map.ptr(table_at).cast::<PageInfo>(), entries),
            )
        };
        let frames = Self {
            map,
            hw,
            table: Table {
                entries,
                banks,
                nr_banks,
            },
            owned,
            buddy: Lock::new(Buddy::new()),
            free: AtomicU64::new(0),
            total,
            kept: AtomicU64::new(0),
            spare: Spare::none(),
            abandoned: AtomicBool::new(false),
            dead: AtomicU32::new(0),
        };
        frames.fill(reserved, own);
        Ok(frames)
    }

    fn fill(&self, reserved: &[PaRange], own: PaRange) {
        for used in reserved.iter().chain([&own]) {
            for bank in self.table.banks() {
                let part = cut(&used.page_aligned(), &bank.range());
                let nr = part.size() >> PAGE_SHIFT;
                if let Some(pages) = self.table.pages(part.start.frame(), nr) {
                    Table::set(pages, PageState::XEN);
                }
            }
        }
        let mut buddy = self.buddy.lock();
        for bank in self.table.banks() {
            let mut at = bank.range().start;
            while let Some(gap) = gap(at, bank.range().end, reserved, own) {
                for (mfn, order) in blocks(gap) {
                    buddy.insert(&self.table, mfn, order);
                }
                at = gap.end;
            }
        }
        self.tell_free(&buddy);
    }
}

/// Bytes of the array of [`Owned`], whole pages.
const OWNED_SIZE: u64 = ((size_of::<Owned>() * NR_DOMAINS) as u64).next_multiple_of(PAGE_SIZE);

impl Bank {
    fn range(&self) -> PaRange {
        PaRange {
            start: Mfn(self.start).base(),
            end: Mfn(self.end()).base(),
        }
    }
}

/// The whole naturally aligned blocks that make up the whole pages of `range`.
pub(super) fn blocks(range: PaRange) -> impl Iterator<Item = (Mfn, u32)> {
    let mut at = range.start.0.div_ceil(PAGE_SIZE);
    let end = range.end.0 >> PAGE_SHIFT;
    core::iter::from_fn(move || {
        let left = end.checked_sub(at).filter(|&left| left > 0)?;
        let order = at.trailing_zeros().min(left.ilog2()).min(MAX_ORDER);
        let mfn = Mfn(at);
        at = at.saturating_add(1 << order);
        Some((mfn, order))
    })
}

/// Sorts `ranges`, shrinks them to whole pages and joins those that touch or overlap.
fn join(ranges: &[PaRange]) -> Result<([Bank; MAX_BANKS], usize), FrameError> {
    const NONE: Bank = Bank {
        start: 0,
        pages: 0,
        first: 0,
    };
    let mut banks = [NONE; MAX_BANKS];
    let (mut nr, mut first, mut from) = (0usize, 0u64, 0);
    // The next bank starts at the lowest page, not below `from`, that some range covers.
    while let Some(start) = ranges
        .iter()
        .filter_map(whole_pages)
        .filter(|&(_, end)| end > from)
        .map(|(start, _)| start.max(from))
        .min()
    {
        let mut end = start;
        while let Some(further) = ranges
            .iter()
            .filter_map(whole_pages)
            .find(|&(s, e)| s <= end && e > end)
        {
            end = further.1;
        }
        let bank = Bank {
            start,
            pages: end.saturating_sub(start),
            first,
        };
        *banks.get_mut(nr).ok_or(FrameError::TooManyBanks)? = bank;
        nr = nr.saturating_add(1);
        first = first.saturating_add(bank.pages);
        from = end;
    }
    Ok((banks, nr))
}

/// The page numbers wholly in `range`, below 2^48 bytes.
fn whole_pages(range: &PaRange) -> Option<(u64, u64)> {
    let start = range.start.0.div_ceil(PAGE_SIZE);
    let end = (range.end.0 >> PAGE_SHIFT).min(1 << (48 - PAGE_SHIFT));
    (start < end).then_some((start, end))
}

fn cut(a: &PaRange, b: &PaRange) -> PaRange {
    PaRange {
        start: a.start.max(b.start),
        end: a.end.min(b.end),
    }
}

/// The first part of `at..end` that is in none of `reserved` nor in `own`.
fn gap(at: Pa, end: Pa, reserved: &[PaRange], own: PaRange) -> Option<PaRange> {
    let used = || {
        reserved
            .iter()
            .chain([&own])
            .map(PaRange::page_aligned)
            .filter(|r| !r.is_empty())
    };
    let mut start = at;
    while let Some(over) = used().find(|r| r.contains(start)) {
        start = over.end;
    }
    let stop = used()
        .map(|r| r.start)
        .filter(|&s| s > start)
        .fold(end, Pa::min);
    (start < stop).then_some(PaRange { start, end: stop })
}

/// Where the table of `bytes` bytes and the array of [`Owned`] go: high, since low memory is
/// dearer.
fn place(banks: &[Bank], reserved: &[PaRange], bytes: usize) -> Result<PaRange, FrameError> {
    const NOWHERE: PaRange = PaRange {
        start: Pa(0),
        end: Pa(0),
    };
    let size = (bytes as u64)
        .next_multiple_of(PAGE_SIZE)
        .saturating_add(OWNED_SIZE);
    for bank in banks.iter().rev() {
        let (mut at, mut best) = (bank.range().start, None);
        while let Some(gap) = gap(at, bank.range().end, reserved, NOWHERE) {
            at = gap.end;
            if gap.size() >= size {
                best = Some(gap);
            }
        }
        if let Some(gap) = best {
            return Ok(PaRange {
                start: Pa(gap.end.0.saturating_sub(size)),
                end: gap.end,
            });
        }
    }
    Err(FrameError::NoMemory)
}
