// SPDX-License-Identifier: MIT OR Apache-2.0
//! Free blocks: lists by size, linked through the heads' entries. Nothing here allocates.

use super::frames::Limits;
use super::page::{NIL, PageState, Table};
use crate::addr::{Mfn, PAGE_SHIFT};
use core::sync::atomic::Ordering;

/// log2 of the pages in the largest block, 4 GiB.
pub const MAX_ORDER: u32 = 20;
const ORDERS: usize = MAX_ORDER as usize + 1;
/// The first page number that 32-bit devices do not reach.
const LOW_END: u64 = 1 << (32 - PAGE_SHIFT);
/// How many blocks of a list are looked at for one below an odd limit.
const SCAN: usize = 16;

/// The lists, those below 4 GiB apart: what needs no low memory leaves it alone.
pub(super) struct Buddy {
    low: [u32; ORDERS],
    high: [u32; ORDERS],
    /// Pages in all lists.
    pub(super) free: u64,
    /// Pages of these that are kept for some domain.
    pub(super) claimed: u64,
    /// Pages of these that were promised to domains' tables.
    pub(super) aside: u64,
}

impl Buddy {
    pub(super) const fn new() -> Self {
        Self {
            low: [NIL; ORDERS],
            high: [NIL; ORDERS],
            free: 0,
            claimed: 0,
            aside: 0,
        }
    }

    /// Frees the naturally aligned block of 2^`order` pages at `mfn`, whose entries all say
    /// [`PageState::FREE`], and joins it with its neighbours.
    pub(super) fn insert(&mut self, table: &Table, mut mfn: Mfn, mut order: u32) {
        self.free = self.free.saturating_add(1 << order);
        while order < MAX_ORDER {
            let buddy = Mfn(mfn.0 ^ 1 << order);
            if !is_free(table, buddy, order) {
                break;
            }
            self.unlink(table, buddy, order);
            mfn = mfn.min(buddy);
            order = order.saturating_add(1);
        }
        self.push(table, mfn, order);
    }

    /// Takes a block of 2^`order` pages.
    pub(super) fn take(&mut self, table: &Table, order: u32, limits: Limits) -> Option<Mfn> {
        let end = limits.below.map_or(u64::MAX, |pa| pa.frame().0);
        let (mfn, found) = if limits.lowest {
            self.lowest(table, order, end)?
        } else if end >= LOW_END {
            self.any(table, order, end)?
        } else {
            scan(table, &self.low, order, end, SCAN)?
        };
        self.carve(table, mfn, found, mfn, order);
        Some(mfn)
    }

    /// Takes the block of 2^`order` pages at `mfn`; false unless all of it is free.
    pub(super) fn take_at(&mut self, table: &Table, mfn: Mfn, order: u32) -> bool {
        if !mfn.is_aligned(order) {
            return false;
        }
        for found in order..=MAX_ORDER {
            let head = Mfn(mfn.0 >> found << found);
            if is_free(table, head, found) {
                self.carve(table, head, found, mfn, order);
                return true;
            }
        }
        false
    }

    fn any(&self, table: &Table, order: u32, end: u64) -> Option<(Mfn, u32)> {
        let scanned = if end == u64::MAX { 1 } else { SCAN };
        scan(table, &self.high, order, end, scanned)
            .or_else(|| scan(table, &self.low, order, end, 1))
    }

    fn lowest(&self, table: &Table, order: u32, end: u64) -> Option<(Mfn, u32)> {
        let lists = self.low.iter().zip(0..).chain(self.high.iter().zip(0..));
        lists
            .filter(|&(_, found)| found >= order)
            .flat_map(|(&head, found)| blocks(table, head).map(move |mfn| (mfn, found)))
            .filter(|&(mfn, _)| fits(mfn, order, end))
            .min()
    }

    /// Takes the free block `head` of order `found` out, and gives back what of it is not the
    /// block of order `order` at `wanted`.
    fn carve(&mut self, table: &Table, head: Mfn, found: u32, wanted: Mfn, order: u32) {
        self.unlink(table, head, found);
        self.free = self.free.saturating_sub(1 << order);
        let mut head = head;
        for half in (order..found).rev() {
            let upper = Mfn(head.0 | 1 << half);
            let rest = if wanted < upper { upper } else { head };
            self.push(table, rest, half);
            if wanted >= upper {
                head = upper;
            }
        }
    }

    fn list(&mut self, mfn: Mfn, order: u32) -> Option<&mut u32> {
        let lists = if mfn.0 < LOW_END {
            &mut self.low
        } else {
            &mut self.high
        };
        lists.get_mut(order as usize)
    }

    fn push(&mut self, table: &Table, mfn: Mfn, order: u32) {
        let Some(index) = table.index(mfn) else {
            return;
        };
        let (Some(page), Some(list)) = (table.entry(index), self.list(mfn, order)) else {
            return;
        };
        page.set(PageState::free_head(order));
        page.prev.store(NIL, Ordering::Relaxed);
        page.next.store(*list, Ordering::Relaxed);
        if let Some(next) = table.entry(*list) {
            next.prev.store(index, Ordering::Relaxed);
        }
        *list = index;
    }

    fn unlink(&mut self, table: &Table, mfn: Mfn, order: u32) {
        let Some(page) = table.page(mfn) else { return };
        let next = page.next.load(Ordering::Relaxed);
        let prev = page.prev.load(Ordering::Relaxed);
        page.set(PageState::FREE);
        if let Some(next) = table.entry(next) {
            next.prev.store(prev, Ordering::Relaxed);
        }
        match table.entry(prev) {
            Some(prev) => prev.next.store(next, Ordering::Relaxed),
            None => {
                if let Some(list) = self.list(mfn, order) {
                    *list = next;
                }
            }
        }
    }
}

/// The first block of at least `order` that ends below `end`, the smallest size first, looking
/// at `depth` blocks of each size.
fn scan(
    table: &Table,
    lists: &[u32; ORDERS],
    order: u32,
    end: u64,
    depth: usize,
) -> Option<(Mfn, u32)> {
    lists
        .iter()
        .zip(0..)
        .filter(|&(_, found)| found >= order)
        .find_map(|(&head, found)| {
            blocks(table, head)
                .take(depth)
                .find(|&mfn| fits(mfn, order, end))
                .map(|mfn| (mfn, found))
        })
}

fn blocks(table: &Table, head: u32) -> impl Iterator<Item = Mfn> + '_ {
    let step = |page: u32| Some(table.entry(page)?.next.load(Ordering::Relaxed));
    core::iter::successors(Some(head), move |&page| step(page)).map_while(|page| table.mfn(page))
}

fn fits(mfn: Mfn, order: u32, end: u64) -> bool {
    mfn.0.checked_add(1 << order).is_some_and(|e| e <= end)
}

fn is_free(table: &Table, mfn: Mfn, order: u32) -> bool {
    table
        .page(mfn)
        .is_some_and(|page| page.state() == PageState::free_head(order))
}
