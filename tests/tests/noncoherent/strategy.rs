// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random transfers.

use crate::transfer::{Part, Piece, Place, Step, Transfer};
use crate::world::{DISKS, PIECES};
use guest_stub::dma::Direction;
use proptest::prelude::*;

pub(crate) fn transfer() -> impl Strategy<Value = Transfer> {
    let what = (
        0..DISKS.len(),
        direction(),
        prop::collection::vec(piece(), 1..=PIECES as usize),
        prop::collection::vec(step(), 1..4),
    );
    let how = (
        any::<bool>(),
        prop_oneof![Just(0u64), Just(0x1ff), Just(0xfff)],
        any::<bool>(),
        prop_oneof![Just(0usize), 1usize..20, 100usize..400],
        any::<u64>(),
    );
    (what, how).prop_map(
        |(
            (disk, direction, pieces, steps),
            (as_list, min_align_mask, invalidate_discards, noise, seed),
        )| Transfer {
            disk,
            direction,
            pieces,
            steps,
            as_list,
            min_align_mask,
            invalidate_discards,
            noise,
            seed,
        },
    )
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![
        Just(Direction::ToDevice),
        Just(Direction::FromDevice),
        Just(Direction::Bidirectional),
    ]
}

/// Pieces that begin and end in the middle of lines, at them, a byte after; in one page or more.
fn piece() -> impl Strategy<Value = Piece> {
    let place = prop_oneof![
        Just(Place::Own),
        Just(Place::Foreign),
        Just(Place::Foreign),
        Just(Place::Scattered),
        Just(Place::Mixed),
    ];
    let offset = prop_oneof![
        0usize..4096,
        (0usize..64).prop_map(|line| line * 64),
        (0usize..8).prop_map(|sector| sector * 512),
    ];
    let size = prop_oneof![
        1usize..64,
        1usize..8192,
        (1usize..16).prop_map(|sectors| sectors * 512),
        (0usize..64).prop_map(|lines| lines * 64 + 1),
    ];
    (place, offset, size, any::<bool>()).prop_map(|(place, offset, size, snug)| {
        // Often the end is where a line has just begun.
        let end = match snug {
            true => (offset + size).next_multiple_of(64) + 1,
            false => offset + size,
        };
        Piece {
            place,
            offset,
            size: end.min(3 * 4096) - offset,
        }
    })
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        Just((0usize, 1000usize)),
        (0usize..1000, 0usize..=1000).prop_map(|(a, b)| (a.min(b), a.max(b))),
    ]
    .prop_map(|(from, to)| Part { from, to })
}

fn step() -> impl Strategy<Value = Step> {
    (
        part(),
        prop::option::of((0..PIECES as usize, part())),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(device_writes, sync, sync_all, cpu_writes)| Step {
            device_writes,
            sync,
            sync_all,
            cpu_writes,
        })
}
