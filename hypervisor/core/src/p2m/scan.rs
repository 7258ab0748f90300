// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finding a guest's memory, piece by piece.

use super::inner::Inner;
use super::table::{Extent, Span};
use crate::addr::{Gfn, Mfn};
use core::ops::ControlFlow;

/// Entries looked at in one call.
const BUDGET: u32 = 4096;

/// What [`P2m::next_ram`](super::P2m::next_ram) found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum RamScan {
    /// `nr` pages from `gfn` are those from `mfn`. Go on at `gfn + nr`.
    Run {
        /// First frame number.
        gfn: Gfn,
        /// First page.
        mfn: Mfn,
        /// How many.
        nr: u64,
    },
    /// None so far; go on here.
    Resume(Gfn),
    /// There is none.
    End,
}

impl Inner {
    /// See [`P2m::next_ram`](super::P2m::next_ram); `from` is in range.
    pub(super) fn next_ram(&self, from: Gfn) -> RamScan {
        let span = self.span_from(from);
        let mut run: Option<Extent> = None;
        let mut left = BUDGET;
        let mut stop = from.0;
        self.table.walk(span, |entry| {
            let part = entry.leaf.filter(|leaf| leaf.ty.is_memory());
            let part = part.and_then(|leaf| leaf.part(entry.span.start, entry.span.end));
            match (&mut run, part) {
                (None, part) => run = part,
                (Some(run), Some(part))
                    if run.mfn.checked_add(run.span.pages()) == Some(part.mfn) =>
                {
                    run.span.end = part.span.end;
                }
                (Some(_), _) => return ControlFlow::Break(()),
            }
            stop = entry.span.end;
            left = left.saturating_sub(1);
            if left == 0 {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        match run {
            Some(run) => RamScan::Run {
                gfn: Gfn(run.span.start),
                mfn: run.mfn,
                nr: run.span.pages(),
            },
            None if stop < span.end => RamScan::Resume(Gfn(stop)),
            None => RamScan::End,
        }
    }

    fn span_from(&self, from: Gfn) -> Span {
        Span {
            start: from.0,
            end: self.end(),
        }
    }
}
