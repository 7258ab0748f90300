// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random changes against a model that is a list of extents.

use super::model::{G1, M2, Machine};
use crate::addr::{DomId, Gfn, Mfn};
use crate::p2m::{P2mError, P2mType, PoolLimit, Replaced};
use proptest::prelude::*;
use std::vec::Vec;

const D2: DomId = DomId(2);
const NR_PAGES: usize = 8;
const TYPES: [P2mType; 5] = [
    P2mType::RamRw,
    P2mType::RamRo,
    P2mType::MmioDevice,
    P2mType::MmioNc,
    P2mType::MmioCached,
];
const PAGE_TYPES: [P2mType; 4] = [
    P2mType::ForeignRw,
    P2mType::ForeignRo,
    P2mType::GrantRw,
    P2mType::GrantRo,
];

#[derive(Debug, Clone)]
enum Op {
    Insert {
        gfn: u64,
        shift: i64,
        nr: u64,
        ty: usize,
    },
    InsertPage {
        gfn: u64,
        page: usize,
        ty: usize,
    },
    Remove {
        gfn: u64,
        nr: u64,
    },
    RemoveGrant {
        nth: usize,
    },
    Batch(Vec<(u64, u64)>),
    Limit(u64),
}

/// Frame numbers near where tables of all levels meet, and roots (2^27 with 40 bits).
fn gfn() -> impl Strategy<Value = u64> {
    let near = prop_oneof![
        Just(0),
        Just(G1),
        Just(2 * G1),
        Just(512 * G1),
        Just(512 * G1 - G1)
    ];
    let offset = prop_oneof![
        3 => 0..40u64,
        2 => (0..6u64).prop_map(|n| n * M2),
        2 => 0..4 * M2,
        1 => Just(G1 - M2),
        1 => Just(G1 - 1),
    ];
    (near, offset).prop_map(|(near, offset)| near + offset)
}

fn nr() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1..20u64,
        2 => (1..4u64).prop_map(|n| n * M2),
        2 => 0..3 * M2,
        1 => (1..3u64).prop_map(|n| n * G1),
        1 => (0..2 * M2).prop_map(|n| n + G1 - M2),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    // Out of step by pages only for short ranges: else a table for each 2 MiB is needed.
    let short = (gfn(), 0..1000i64, 1..3 * M2, 0..TYPES.len());
    let long = (
        gfn(),
        prop_oneof![Just(M2), Just(G1), Just(2 * G1)],
        nr(),
        0..TYPES.len(),
    );
    prop_oneof![
        3 => short.prop_map(|(gfn, shift, nr, ty)| Op::Insert { gfn, shift, nr, ty }),
        4 => long.prop_map(|(gfn, shift, nr, ty)| Op::Insert { gfn, shift: shift as i64, nr, ty }),
        3 => (gfn(), 0..NR_PAGES, 0..PAGE_TYPES.len())
            .prop_map(|(gfn, page, ty)| Op::InsertPage { gfn, page, ty }),
        4 => (gfn(), nr()).prop_map(|(gfn, nr)| Op::Remove { gfn, nr }),
        3 => (0..20usize).prop_map(|nth| Op::RemoveGrant { nth }),
        1 => proptest::collection::vec((gfn(), nr()), 1..5).prop_map(Op::Batch),
        1 => (0..60u64).prop_map(Op::Limit),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    start: u64,
    end: u64,
    mfn: u64,
    ty: P2mType,
}

#[derive(Default)]
struct Model(Vec<Piece>);

impl Model {
    fn inside(&self, start: u64, end: u64) -> impl Iterator<Item = Piece> + '_ {
        self.0.iter().filter_map(move |p| cut(p, start, end))
    }

    fn survey(&self, start: u64, end: u64) -> Result<Replaced, P2mError> {
        let mut found = Replaced::default();
        for piece in self.inside(start, end) {
            if piece.ty.is_grant() {
                return Err(P2mError::Busy);
            }
            let nr = piece.end - piece.start;
            match piece.ty {
                ty if ty.is_ram() => found.ram += nr,
                ty if ty.holds_reference() => found.references += nr,
                _ => found.mmio += nr,
            }
        }
        Ok(found)
    }

    fn remove(&mut self, start: u64, end: u64) {
        let old = core::mem::take(&mut self.0);
        for piece in old {
            self.0.extend(cut(&piece, 0, start));
            self.0.extend(cut(&piece, end, u64::MAX));
        }
        self.0.sort_by_key(|p| p.start);
    }

    fn insert(&mut self, start: u64, nr: u64, mfn: u64, ty: P2mType) {
        self.remove(start, start + nr);
        if nr > 0 {
            let end = start + nr;
            self.0.push(Piece {
                start,
                end,
                mfn,
                ty,
            });
            self.0.sort_by_key(|p| p.start);
        }
    }
}

fn cut(piece: &Piece, start: u64, end: u64) -> Option<Piece> {
    let (s, e) = (start.max(piece.start), end.min(piece.end));
    (s < e).then(|| Piece {
        start: s,
        end: e,
        mfn: piece.mfn + (s - piece.start),
        ty: piece.ty,
    })
}

fn joined(pieces: impl Iterator<Item = Piece>) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::new();
    for piece in pieces {
        match all.last_mut() {
            Some(last)
                if last.end == piece.start
                    && last.ty == piece.ty
                    && last.mfn + (last.end - last.start) == piece.mfn =>
            {
                last.end = piece.end;
            }
            _ => all.push(piece),
        }
    }
    all
}

struct Test {
    machine: Machine,
    model: Model,
    pages: Vec<Mfn>,
}

impl Test {
    /// What should have happened, given the model's opinion before; true if it did.
    fn same<T: PartialEq + core::fmt::Debug>(
        expected: Result<T, P2mError>,
        result: Result<T, P2mError>,
    ) -> bool {
        if result == Err(P2mError::NoMemory) && expected != Err(P2mError::Busy) {
            return false;
        }
        assert_eq!(result, expected);
        result.is_ok()
    }

    fn apply(&mut self, op: &Op) {
        let p2m = &self.machine.p2m;
        match *op {
            Op::Insert { gfn, shift, nr, ty } => {
                let (mfn, ty) = (gfn.wrapping_add_signed(shift), TYPES[ty]);
                let expected = self.model.survey(gfn, gfn + nr);
                if Self::same(expected, p2m.insert(Gfn(gfn), Mfn(mfn), nr, ty)) {
                    self.model.insert(gfn, nr, mfn, ty);
                }
            }
            Op::InsertPage { gfn, page, ty } => {
                let (mfn, ty) = (self.pages[page], PAGE_TYPES[ty]);
                let page = self.machine.frames.get(mfn, D2).unwrap();
                let expected = self.model.survey(gfn, gfn + 1);
                if Self::same(expected, p2m.insert_page(Gfn(gfn), page, ty)) {
                    self.model.insert(gfn, 1, mfn.0, ty);
                }
            }
            Op::Remove { gfn, nr } => {
                let expected = self.model.survey(gfn, gfn + nr);
                if Self::same(expected, p2m.remove(Gfn(gfn), nr)) {
                    self.model.remove(gfn, gfn + nr);
                }
            }
            Op::RemoveGrant { nth } => {
                let mut grants = self.model.0.iter().filter(|p| p.ty.is_grant());
                if let Some(&Piece { start, mfn, ty, .. }) = grants.nth(nth) {
                    p2m.remove_exact(Gfn(start), Mfn(mfn), ty).unwrap();
                    self.model.remove(start, start + 1);
                }
            }
            Op::Batch(ref removals) => {
                let batch = p2m.batch();
                for &(gfn, nr) in removals {
                    let expected = self.model.survey(gfn, gfn + nr);
                    if Self::same(expected, batch.remove(Gfn(gfn), nr)) {
                        self.model.remove(gfn, gfn + nr);
                    }
                    self.machine.check();
                }
            }
            Op::Limit(pages) => {
                let _ = p2m.set_pool_limit(PoolLimit::Pages(pages));
            }
        }
    }

    fn compare(&self) {
        let entries = self.machine.check();
        let is = entries.into_iter().map(|(start, order, descriptor)| Piece {
            start,
            end: start + (1 << order),
            mfn: (descriptor & 0xffff_ffff_f000) >> 12,
            ty: type_of(descriptor),
        });
        assert_eq!(joined(is), joined(self.model.0.iter().copied()));
        for piece in &self.model.0 {
            for gfn in [piece.start, piece.end - 1] {
                let found = self.machine.p2m.lookup(Gfn(gfn)).unwrap();
                assert_eq!(found.mfn.0, piece.mfn + gfn - piece.start);
                assert_eq!(found.ty, piece.ty);
            }
        }
        for &mfn in &self.pages {
            let mapped = self
                .model
                .0
                .iter()
                .filter(|p| p.mfn == mfn.0 && p.ty.holds_reference());
            assert_eq!(self.machine.references(mfn), 1 + mapped.count() as u32);
        }
    }
}

fn type_of(descriptor: u64) -> P2mType {
    let all = TYPES.into_iter().chain(PAGE_TYPES);
    let same =
        |ty: &P2mType| ty.attributes().bits() as u64 | 2 == descriptor & !0xffff_ffff_f000 | 2;
    all.into_iter().find(same).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn the_tables_say_what_they_were_told(
        parange in prop_oneof![Just(2u8), Just(4u8)],
        limit in prop_oneof![Just(PoolLimit::Unlimited), (0..80u64).prop_map(PoolLimit::Pages)],
        ops in proptest::collection::vec(op(), 1..40),
        budget in prop_oneof![Just(None), (1..2000u32).prop_map(Some)],
    ) {
        let machine = Machine::new(parange, limit);
        let pages: Vec<_> = (0..NR_PAGES).map(|_| machine.page(D2)).collect();
        let mut test = Test { machine, model: Model::default(), pages };
        for op in &ops {
            test.apply(op);
            test.compare();
        }
        let Test { machine, pages, .. } = test;
        if let Some(budget) = budget {
            while machine.p2m.relinquish(budget) == crate::p2m::Progress::More {
                machine.check();
            }
            prop_assert!(machine.check().is_empty());
        }
        machine.end(&pages);
    }
}
