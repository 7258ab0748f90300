// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changing the tables: reserve, break, flush, make, let go.

use super::geometry::Stage2Geometry;
use super::pool::{Pool, PoolLimit, SharedPool, Tables};
use super::table::{Extent, MAX_BLOCK, Span, Table, tables_for};
use super::types::{Mapping, P2mError, P2mType, Progress, Replaced};
use crate::addr::{Gfn, Mfn, PAGE_SIZE};
use crate::frame::{Frames, Kind, Limits, PageRef};
use crate::hw::Hw;
use aarch64_paging::paging::{RootTable, Stage2};
use alloc::vec::Vec;
use core::ops::ControlFlow;

/// References that can wait for a flush; one more makes it happen.
const KEPT: usize = 64;

/// What the lock of a [`P2m`](super::P2m) protects.
pub(super) struct Inner {
    frames: &'static Frames,
    hw: &'static dyn Hw,
    geometry: Stage2Geometry,
    vttbr: u64,
    pub(super) table: Table,
    pub(super) pool: SharedPool,
    /// References to drop after the next flush, the first `nr_kept`.
    kept: [Mfn; KEPT],
    nr_kept: usize,
    /// Something was unmapped that TLBs may still have.
    unflushed: bool,
    dying: bool,
    /// Where [`relinquish`](Self::relinquish) goes on.
    cursor: u64,
}

impl Inner {
    pub(super) fn new(
        frames: &'static Frames,
        hw: &'static dyn Hw,
        geometry: Stage2Geometry,
        vmid: u16,
        limit: PoolLimit,
    ) -> Result<Self, P2mError> {
        let order = geometry.root_order();
        let root = frames
            .alloc(order, Limits::default())
            .map_err(|_| P2mError::NoMemory)?;
        let pool = Pool::shared(frames, limit)?;
        let roots: Vec<_> = (0..1 << order)
            .filter_map(|n| root.checked_add(n))
            .map(|mfn| {
                pool.lock().add_root(mfn);
                let level = usize::from(geometry.root_level());
                RootTable::new(Tables::new(pool.clone(), frames.map()), level, Stage2)
            })
            .collect();
        Ok(Self {
            frames,
            hw,
            geometry,
            vttbr: u64::from(vmid) << 48 | root.base().0,
            table: Table::new(geometry, roots),
            pool,
            kept: [Mfn(0); KEPT],
            nr_kept: 0,
            unflushed: false,
            dying: false,
            cursor: 0,
        })
    }

    /// The first frame number there is not.
    pub(super) fn end(&self) -> u64 {
        self.geometry.end().0
    }

    #[cfg(test)]
    pub(super) fn is_flushed(&self) -> bool {
        !self.unflushed
    }

    pub(super) fn vttbr(&self) -> u64 {
        self.vttbr
    }

    /// Maps `span` to the pages from `mfn`; the caller has checked both.
    pub(super) fn insert(
        &mut self,
        span: Span,
        mfn: Mfn,
        ty: P2mType,
    ) -> Result<Replaced, P2mError> {
        if self.dying {
            return Err(P2mError::Dying);
        }
        if let Some(old) = self.take_page(span, ungranted)? {
            self.flush();
            let entry = self.table.page_entry(span.start);
            entry.ok_or(P2mError::Invalid)?.set_page(mfn, ty);
            return Ok(old.into());
        }
        let found = self.survey(span, mfn);
        let old = found.ungranted()?;
        let tables = if old == Replaced::default() || frees_no_table(span) {
            found.hole_tables.saturating_add(found.leaf_tables)
        } else {
            tables_for(span, mfn, self.geometry.root_entry_order())
        };
        self.pool.lock().reserve(tables)?;
        if old != Replaced::default() {
            self.clear(span)?;
        }
        // An earlier removal's too: a TLB must not know two meanings of one address.
        self.flush();
        let done = self.table.map(Extent { span, mfn, ty });
        self.pool.lock().trim();
        done.map(|()| old)
    }

    /// Unmaps `span`; the flush is the caller's.
    pub(super) fn remove(&mut self, span: Span) -> Result<Replaced, P2mError> {
        if let Some(old) = self.take_page(span, ungranted)? {
            return Ok(old.into());
        }
        let found = self.survey(span, Mfn(span.start));
        let old = found.ungranted()?;
        if old != Replaced::default() {
            let all = tables_for(span, Mfn(span.start), MAX_BLOCK);
            let tables = match found.leaf_tables {
                0 => 0,
                some if frees_no_table(span) => some,
                _ => all,
            };
            self.pool.lock().reserve(tables)?;
            self.clear(span)?;
            self.pool.lock().trim();
        }
        Ok(old)
    }

    /// Unmaps the page `span` if it is mapped so; the flush is the caller's.
    pub(super) fn remove_exact(
        &mut self,
        span: Span,
        mfn: Mfn,
        ty: P2mType,
    ) -> Result<(), P2mError> {
        self.remove_if(span, |found| found.mfn == mfn && found.ty == ty)
    }

    /// Unmaps the page `span` if it is mapped to the RAM `page`, and keeps that until after the
    /// flush, which is the caller's.
    pub(super) fn remove_page(&mut self, span: Span, page: PageRef) -> Result<(), P2mError> {
        if page.state().kind() != Kind::Ram {
            return Err(P2mError::NotMapped);
        }
        self.remove_if(span, |found| found.mfn == page.mfn() && found.ty.is_ram())?;
        self.keep(page.into_raw());
        // Splitting a block may have flushed.
        self.unflushed = true;
        Ok(())
    }

    /// Unmaps the page `span` if it is mapped to what is `wanted`.
    #[inline]
    fn remove_if(&mut self, span: Span, wanted: impl Fn(Mapping) -> bool) -> Result<(), P2mError> {
        let check = |found: Option<Mapping>| match found {
            Some(found) if wanted(found) => Ok(()),
            _ => Err(P2mError::NotMapped),
        };
        if self.take_page(span, check)?.is_none() {
            check(self.table.lookup(Gfn(span.start)))?;
            self.remove(span)?;
        }
        Ok(())
    }

    /// The quick way to unmap a single page, if the table is there that its entry is in; `None`,
    /// and nothing done, if not. Needs and frees no table. `check` may refuse what is found. The
    /// flush is the caller's.
    #[inline]
    fn take_page(
        &mut self,
        span: Span,
        check: impl FnOnce(Option<Mapping>) -> Result<(), P2mError>,
    ) -> Result<Option<Taken>, P2mError> {
        if span.pages() != 1 {
            return Ok(None);
        }
        self.make_room();
        let Some(entry) = self.table.page_entry(span.start) else {
            return Ok(None);
        };
        let found = entry.mapping(span.start);
        check(found)?;
        let Some(found) = found else {
            return Ok(Some(Taken(None)));
        };
        entry.clear();
        self.unflushed = true;
        if found.ty.holds_reference() {
            self.keep(found.mfn);
        }
        Ok(Some(Taken(Some(found.ty))))
    }

    /// Has a reference dropped after the next flush; there is room.
    #[inline]
    fn keep(&mut self, mfn: Mfn) {
        if let Some(slot) = self.kept.get_mut(self.nr_kept) {
            *slot = mfn;
            self.nr_kept = self.nr_kept.saturating_add(1);
        }
    }

    fn make_room(&mut self) {
        if self.nr_kept == KEPT {
            self.flush();
        }
    }

    /// Makes the TLBs forget what was unmapped, then lets go of it.
    pub(super) fn flush(&mut self) {
        if !self.unflushed {
            return;
        }
        self.hw.flush_stage2(self.vttbr);
        self.unflushed = false;
        self.pool.lock().release_retired();
        for &mfn in self.kept.get(..self.nr_kept).unwrap_or_default() {
            self.frames.put(mfn);
        }
        self.nr_kept = 0;
    }

    /// Takes out what is left, looking at about `budget` entries.
    pub(super) fn relinquish(&mut self, budget: u32) -> Progress {
        self.dying = true;
        let all = Span {
            start: self.cursor,
            end: self.end(),
        };
        let stop = self.collect(all, budget);
        // From the start of the gigabyte, of which all before the cursor is empty, so that
        // tables go as soon as they are.
        let start = self.cursor >> 18 << 18;
        self.unflushed |= self.table.unmap(Span { start, end: stop }, true);
        self.cursor = stop;
        self.flush();
        if stop == all.end {
            self.pool.lock().close();
            Progress::Done
        } else {
            Progress::More
        }
    }

    /// What is mapped in `span`, and the tables it takes to map it to the pages from `mfn`.
    fn survey(&self, span: Span, mfn: Mfn) -> Survey {
        let mut found = Survey::default();
        self.table.walk(span, |entry| {
            let mfn = mfn
                .checked_add(entry.span.start.saturating_sub(span.start))
                .unwrap_or(mfn);
            let tables = tables_for(entry.span, mfn, entry.order);
            match entry.leaf {
                None => found.hole_tables = found.hole_tables.saturating_add(tables),
                Some(leaf) => {
                    found.leaf_tables = found.leaf_tables.saturating_add(tables);
                    found.granted |= leaf.ty.is_grant();
                    found.old.add(leaf.ty, entry.span.pages());
                }
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// Unmaps all of `span`. Blocks that stick out are unmapped whole, and what sticks out is
    /// mapped again after a flush, for which tables are reserved.
    fn clear(&mut self, span: Span) -> Result<(), P2mError> {
        let rest = self.table.overhang(span);
        let [left, right] = rest;
        let mut at = left.map_or(span.start, |l| l.span.start);
        let end = right.map_or(span.end, |r| r.span.end);
        while at < end {
            let stop = self.collect(Span { start: at, end }, u32::MAX);
            let part = Span {
                start: at,
                end: stop,
            };
            self.unflushed |= self.table.unmap(part, false);
            at = stop;
        }
        if rest.iter().any(Option::is_some) {
            self.flush();
            for rest in rest.into_iter().flatten() {
                self.table.map(rest)?;
            }
        }
        Ok(())
    }

    /// Takes over the references of the entries in `span`, which are unmapped next. Returns how
    /// far there was room and budget, at least one entry.
    fn collect(&mut self, span: Span, budget: u32) -> u64 {
        self.make_room();
        let (kept, nr) = (&mut self.kept, &mut self.nr_kept);
        let mut left = budget;
        let mut stop = span.start;
        self.table.walk(span, |entry| {
            stop = entry.span.end;
            if let Some(leaf) = entry.leaf.filter(|l| l.ty.holds_reference())
                && let Some(slot) = kept.get_mut(*nr)
            {
                *slot = leaf.mfn;
                *nr = nr.saturating_add(1);
            }
            left = left.saturating_sub(1);
            if *nr == KEPT || left == 0 {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        stop
    }
}

/// True if unmapping `span`, and blocks that stick out of it, can free no table which then is
/// needed again.
fn frees_no_table(span: Span) -> bool {
    span.pages() < 512
}

/// `Busy` if the grant table has a say.
fn ungranted(found: Option<Mapping>) -> Result<(), P2mError> {
    match found {
        Some(found) if found.ty.is_grant() => Err(P2mError::Busy),
        _ => Ok(()),
    }
}

/// What a single page was, if it was mapped.
struct Taken(Option<P2mType>);

impl From<Taken> for Replaced {
    fn from(Taken(ty): Taken) -> Self {
        let mut old = Self::default();
        if let Some(ty) = ty {
            old.add(ty, 1);
        }
        old
    }
}

/// See [`Inner::survey`].
#[derive(Default)]
struct Survey {
    old: Replaced,
    granted: bool,
    /// Tables where there are holes.
    hole_tables: u64,
    /// Tables where there are entries, which then are blocks to be split.
    leaf_tables: u64,
}

impl Survey {
    /// What is mapped; `Busy` if the grant table has a say.
    fn ungranted(&self) -> Result<Replaced, P2mError> {
        if self.granted {
            return Err(P2mError::Busy);
        }
        Ok(self.old)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        while self.relinquish(u32::MAX) == Progress::More {}
        self.table.clear();
        self.unflushed = true;
        self.flush();
    }
}

const _: () = assert!(PAGE_SIZE == aarch64_paging::paging::PAGE_SIZE as u64);
