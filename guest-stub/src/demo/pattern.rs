// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data that looks random and that everybody can make: stub and host alike (SplitMix64).

use core::sync::atomic::{AtomicU64, Ordering};

use crate::drivers::BLOCK;

/// What the host has put on the disks, from the first byte on. `tests/src/demo.rs` has it too.
pub(super) const OF_HOST: u64 = 0x686f_7374;
/// What the domU writes to the first disk; one more for each further disk.
pub(super) const OF_DOMU: u64 = 0x646f_6d75;
/// What lies in dom0's own page.
pub(super) const OF_DOM0: u64 = 0x646f_6d30;
/// What is in a page before a disk writes to it.
pub(super) const OLD: u64 = 0x6f6c_6421;

/// Word `index` of the pattern of `seed`.
fn word(seed: u64, index: u64) -> u64 {
    let state = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The words of the page at `address`. Other domains may see them too, so they are atomics.
fn words(address: u64) -> &'static [AtomicU64; BLOCK / 8] {
    // SAFETY: callers pass pages that are mapped for as long as they look, and all look at them as atomics.
    unsafe { &*(address as *const [AtomicU64; BLOCK / 8]) }
}

/// Fills the page at `address` with page `number` of a pattern.
pub(super) fn fill(address: u64, seed: u64, number: usize) {
    for (index, place) in ((number * BLOCK / 8) as u64..).zip(words(address)) {
        place.store(word(seed, index), Ordering::Relaxed);
    }
}

/// How many bytes of the page at `address` are those of page `number` of a pattern, counted by words.
pub(super) fn matching(address: u64, seed: u64, number: usize) -> usize {
    let indexed = ((number * BLOCK / 8) as u64..).zip(words(address));
    let equal =
        indexed.filter(|(index, place)| place.load(Ordering::Relaxed) == word(seed, *index));
    equal.count() * 8
}
