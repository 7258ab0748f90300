// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree itself: root tables in a row, walked, filled and emptied by frame number. Nothing
//! here knows about TLBs.

use super::geometry::Stage2Geometry;
use super::pool::Tables;
use super::types::{Mapping, P2mError, P2mType};
use crate::addr::{Gfn, Mfn, PAGE_SHIFT};
use aarch64_paging::descriptor::{PhysicalAddress, Stage2Attributes, VirtualAddress};
use aarch64_paging::paging::{Constraints, MemoryRegion, RootTable, Stage2};
use alloc::vec::Vec;
use core::ops::ControlFlow;

/// Frame numbers `start` to `end` (exclusive), within the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Span {
    pub(super) fn pages(self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// Pages in a row that one entry or several map in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Extent {
    pub(super) span: Span,
    pub(super) mfn: Mfn,
    pub(super) ty: P2mType,
}

impl Extent {
    /// What of it is in `start..end`.
    pub(super) fn part(self, start: u64, end: u64) -> Option<Self> {
        let span = Span {
            start: start.max(self.span.start),
            end: end.min(self.span.end),
        };
        let mfn = self
            .mfn
            .checked_add(span.start.checked_sub(self.span.start)?)?;
        (span.pages() > 0).then_some(Self { span, mfn, ..self })
    }
}

/// log2 of the pages in the largest block.
pub(super) const MAX_BLOCK: u32 = 18;
/// log2 of the pages of an entry at level 0, where there are no blocks.
const ROOT_ORDER: u32 = 27;

/// log2 of the pages of an entry at `level`.
const fn entry_order(level: usize) -> u32 {
    match level {
        0 => ROOT_ORDER,
        1 => MAX_BLOCK,
        2 => 9,
        _ => 0,
    }
}

/// An entry seen on a walk of a span.
pub(super) struct Visited {
    /// What of the walk's span it covers.
    pub(super) span: Span,
    /// log2 of the pages it covers as a whole.
    pub(super) order: u32,
    /// What it maps, as a whole.
    pub(super) leaf: Option<Extent>,
}

impl Visited {
    /// True if it can be made invalid without a further table.
    fn is_whole(&self) -> bool {
        // The paging crate descends from level 0 whatever is there.
        self.order < ROOT_ORDER && self.span.pages() == 1 << self.order
    }
}

pub(super) struct Table {
    geometry: Stage2Geometry,
    roots: Vec<RootTable<Stage2, Tables>>,
}

impl Table {
    pub(super) fn new(geometry: Stage2Geometry, roots: Vec<RootTable<Stage2, Tables>>) -> Self {
        Self { geometry, roots }
    }

    /// Frees all tables.
    pub(super) fn clear(&mut self) {
        self.roots.clear();
    }

    /// Visits the entries of `span` in order until `visit` breaks.
    pub(super) fn walk(&self, span: Span, mut visit: impl FnMut(Visited) -> ControlFlow<()>) {
        for piece in Pieces::of(self.geometry, span) {
            let Some(root) = self.roots.get(piece.root) else {
                return;
            };
            let walked = root.walk_range(&piece.region, &mut |region, descriptor, level| {
                let order = entry_order(level);
                let span = Span {
                    start: piece.gfn(region.start()),
                    end: piece.gfn(region.end()),
                };
                let start = span.start >> order << order;
                let leaf = P2mType::from_attributes(descriptor.flags()).map(|ty| Extent {
                    span: Span {
                        start,
                        end: start.saturating_add(1 << order),
                    },
                    mfn: Mfn(descriptor.output_address().0 as u64 >> PAGE_SHIFT),
                    ty,
                });
                match visit(Visited { span, order, leaf }) {
                    ControlFlow::Continue(()) => Ok(()),
                    ControlFlow::Break(()) => Err(()),
                }
            });
            if walked.is_err() {
                return;
            }
        }
    }

    /// The root table that `gfn` is in, and log2 of the pages that each of its entries is about.
    #[inline]
    pub(super) fn root(&self, gfn: u64) -> Option<(&RootTable<Stage2, Tables>, u32)> {
        let (index, len) = (
            (gfn >> self.geometry.root_shift()) as usize,
            self.roots.len(),
        );
        if index >= len {
            return None;
        }
        // As `nospec`, for less: their number is a power of two.
        let root = self.roots.get(index & len.wrapping_sub(1))?;
        Some((root, self.geometry.root_entry_order()))
    }

    /// What `gfn`, which is in range, is mapped to.
    #[inline]
    pub(super) fn lookup(&self, gfn: Gfn) -> Option<Mapping> {
        self.entry(gfn.0)?.mapping(gfn.0)
    }

    /// The ends of blocks that begin in `span` and end outside, or the other way round.
    pub(super) fn overhang(&self, span: Span) -> [Option<Extent>; 2] {
        if span.pages() == 0 {
            return [None, None];
        }
        let leaf = |gfn| self.entry(gfn)?.leaf(gfn);
        [
            leaf(span.start).and_then(|leaf| leaf.part(0, span.start)),
            leaf(span.end.saturating_sub(1)).and_then(|leaf| leaf.part(span.end, u64::MAX)),
        ]
    }

    /// Maps what is unmapped so far. The tables were reserved.
    pub(super) fn map(&mut self, extent: Extent) -> Result<(), P2mError> {
        for piece in Pieces::of(self.geometry, extent.span) {
            let root = self.roots.get_mut(piece.root).ok_or(P2mError::Invalid)?;
            let skipped = piece
                .gfn(piece.region.start())
                .saturating_sub(extent.span.start);
            let mfn = extent.mfn.checked_add(skipped).ok_or(P2mError::Invalid)?;
            let pa = PhysicalAddress(mfn.base().0 as usize);
            root.map_range(
                &piece.region,
                pa,
                extent.ty.attributes(),
                Constraints::empty(),
            )
            .map_err(|_| P2mError::Invalid)?;
        }
        Ok(())
    }

    /// Unmaps `span`, in which no block begins or ends without being wholly inside; true if
    /// there was anything to do. Needs no table, and frees those wholly in `span`: all with
    /// `sweep`, else those near which something was mapped.
    pub(super) fn unmap(&mut self, span: Span, sweep: bool) -> bool {
        let mut any = false;
        let mut at = span.start;
        while let Some(run) = self.next_run(Span { start: at, ..span }, sweep) {
            any = true;
            self.invalidate(run);
            at = run.end;
        }
        any
    }

    /// The next run of entries in which something is mapped (or that is there at all, with
    /// `sweep`) and all of which can be made invalid in place. The paging crate would make
    /// tables to hold a part of a larger hole.
    fn next_run(&self, span: Span, sweep: bool) -> Option<Span> {
        let mut run: Option<Span> = None;
        let mut found = false;
        self.walk(span, |entry| {
            if entry.is_whole() {
                found |= sweep || entry.leaf.is_some();
                run.get_or_insert(entry.span).end = entry.span.end;
            } else if found {
                return ControlFlow::Break(());
            } else {
                run = None;
            }
            ControlFlow::Continue(())
        });
        run.filter(|_| found)
    }

    fn invalidate(&mut self, run: Span) {
        for piece in Pieces::of(self.geometry, run) {
            if let Some(root) = self.roots.get_mut(piece.root) {
                // The address is said to be ignored but is computed with: the region's own
                // never underflows.
                let pa = PhysicalAddress(piece.region.start().0);
                let nothing = Stage2Attributes::empty();
                let done = root.map_range(&piece.region, pa, nothing, Constraints::empty());
                debug_assert!(done.is_ok());
            }
        }
    }
}

/// How many tables mapping `span` to the pages from `mfn` takes below an entry of `order`, or at
/// most if `span` is in several. What sticks out of it is in the same tables.
pub(super) fn tables_for(span: Span, mfn: Mfn, order: u32) -> u64 {
    let Some(last) = span.end.checked_sub(1).filter(|&last| last >= span.start) else {
        return 0;
    };
    let tables = |order: u32| {
        let offset = !(u64::MAX << order);
        let (first, last) = (span.start >> order, last >> order);
        if order == ROOT_ORDER || (span.start ^ mfn.0) & offset != 0 {
            return last.saturating_sub(first).saturating_add(1);
        }
        // Blocks fit, but for the ends.
        let head = span.start & offset != 0;
        let tail = span.end & offset != 0;
        if first == last {
            return u64::from(head || tail);
        }
        u64::from(head).saturating_add(u64::from(tail))
    };
    let levels = [9, 18, ROOT_ORDER].into_iter();
    levels.filter(|&level| level <= order).map(tables).sum()
}

/// The part of a span that is in one root table.
struct Piece {
    root: usize,
    /// The first frame number of that root.
    base: u64,
    /// Addresses within that root.
    region: MemoryRegion,
}

impl Piece {
    /// The frame number of an address within the root.
    fn gfn(&self, at: VirtualAddress) -> u64 {
        self.base.saturating_add((at.0 >> PAGE_SHIFT) as u64)
    }
}

struct Pieces {
    shift: u32,
    left: Span,
}

impl Pieces {
    fn of(geometry: Stage2Geometry, span: Span) -> Self {
        Self {
            shift: geometry.root_shift(),
            left: span,
        }
    }
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let Span { start, end } = self.left;
        if start >= end {
            return None;
        }
        let root = start >> self.shift;
        let base = root << self.shift;
        let stop = end.min(base.saturating_add(1 << self.shift));
        self.left.start = stop;
        let local = |gfn: u64| (gfn.saturating_sub(base) << PAGE_SHIFT) as usize;
        Some(Piece {
            root: root as usize,
            base,
            region: MemoryRegion::new(local(start), local(stop)),
        })
    }
}
