// SPDX-License-Identifier: MIT OR Apache-2.0
//! The allocator keeps what it has, and references keep pages.

use super::*;
use crate::addr::{DomId, Mfn, Pa, PaRange};
use crate::fake::{Event, FakeHw};
use crate::hw::Hw;
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec::Vec;

const MIB: u64 = 1 << 20;
const BASE: u64 = 0x4000_0000;
const D1: DomId = DomId(1);
const D2: DomId = DomId(2);

fn range(start: u64, size: u64) -> PaRange {
    PaRange::new(Pa(start), size).unwrap()
}

fn build(size: u64, banks: &[PaRange], reserved: &[PaRange]) -> (&'static FakeHw, &'static Frames) {
    let hw = FakeHw::leak(BASE, size);
    let frames = Frames::new(hw.ram.map, hw, banks, reserved).unwrap();
    (hw, Box::leak(Box::new(frames)))
}

fn simple() -> (&'static FakeHw, &'static Frames) {
    build(16 * MIB, &[range(BASE, 16 * MIB)], &[])
}

fn any() -> Limits {
    Limits::default()
}

/// Pages that are the hypervisor's: all that is not free in a new table.
fn xen_pages(frames: &Frames) -> u64 {
    frames
        .banks()
        .flat_map(|(mfn, nr)| mfn.0..mfn.0 + nr)
        .filter(|&mfn| frames.state(Mfn(mfn)).unwrap().kind() == Kind::Xen)
        .count() as u64
}

#[test]
fn entries_are_small() {
    assert_eq!(size_of::<page::PageInfo>(), 16);
}

#[test]
fn banks_with_holes_and_reserved_parts() {
    let banks = [
        range(BASE + 12 * MIB, 4 * MIB),
        range(BASE + 0x800, 3 * MIB),
        range(BASE + 3 * MIB, MIB),
        range(BASE + 5 * MIB + 1, 1),
        range(BASE + 6 * MIB, 0),
    ];
    let reserved = [
        range(BASE + MIB + 1, 1),
        range(BASE + 2 * MIB, 16),
        range(BASE + 2 * MIB, 2 * MIB),
        range(BASE + 12 * MIB, 0),
        range(0, 16),
    ];
    let (hw, frames) = build(16 * MIB, &banks, &reserved);
    let found: Vec<_> = frames.banks().collect();
    // The second begins in the middle of a page and ends there: 3 MiB and 2 KiB.
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], (Pa(BASE + 0x1000).frame(), 1023));
    assert_eq!(found[1], (Pa(BASE + 12 * MIB).frame(), 1024));
    assert_eq!(frames.total_pages(), 2047);
    assert_eq!(frames.free_pages() + xen_pages(frames), 2047);
    // Table (2047 * 16 bytes) and counters (384 KiB), at the top.
    let own = 8 + 96;
    assert_eq!(xen_pages(frames), own + 1 + 512);
    let events = hw.take_events();
    assert_eq!(
        events,
        [Event::Scrub(range(
            BASE + 16 * MIB - own * 4096,
            own * 4096
        ))]
    );
    assert!(frames.state(Pa(BASE + 6 * MIB).frame()).is_none());
    assert_eq!(
        frames.state(Pa(BASE + MIB).frame()).unwrap().kind(),
        Kind::Xen
    );
    // Boot modules are freed later.
    let free = frames.free_pages();
    frames.free_range(range(BASE + 2 * MIB, 2 * MIB)).unwrap();
    assert_eq!(frames.free_pages(), free + 512);
    assert_eq!(
        frames.free_range(range(BASE + 2 * MIB, 2 * MIB)),
        Err(FrameError::BadState)
    );
}

#[test]
fn no_room_no_frames() {
    let hw = FakeHw::leak(BASE, 2 * MIB);
    let new = |banks: &[_], reserved: &[_]| Frames::new(hw.ram.map, hw, banks, reserved).err();
    assert_eq!(new(&[], &[]), Some(FrameError::NoMemory));
    let all = [range(BASE, 2 * MIB)];
    assert_eq!(new(&all, &all), Some(FrameError::NoMemory));
    let many: Vec<_> = (0..65).map(|n| range(BASE + n * 8192, 4096)).collect();
    assert_eq!(new(&many, &[]), Some(FrameError::TooManyBanks));
    let vast = [range(0, 1 << 48)];
    assert_eq!(new(&vast, &[]), Some(FrameError::TooManyBanks));
}

/// A guest that wants memory below an odd address does not make the allocator search for it.
#[test]
fn an_odd_limit_looks_at_few_blocks() {
    let hw = FakeHw::leak(BASE, 8 * MIB);
    let frames = Frames::new(hw.ram.map, hw, &[hw.ram.range], &[]).unwrap();
    let frames = Box::leak(Box::new(frames));
    let mut pages: Vec<_> = core::iter::from_fn(|| frames.alloc(0, any()).ok()).collect();
    pages.sort_unstable();
    // Every second one is free, the lowest of them the first in the list's other end.
    let lowest = *pages.first().unwrap();
    for mfn in pages.iter().filter(|mfn| mfn.0 % 2 == lowest.0 % 2) {
        frames.free(*mfn, 0).unwrap();
    }
    let below = Limits {
        below: lowest.checked_add(1).map(|mfn| mfn.base()),
        ..any()
    };
    assert_eq!(frames.alloc(0, below), Err(FrameError::NoMemory));
    let lowest_of_all = Limits {
        lowest: true,
        ..below
    };
    assert_eq!(frames.alloc(0, lowest_of_all), Ok(lowest));
}

#[test]
fn high_banks_work_and_low_memory_is_spared() {
    // One buffer, told to lie around 4 GiB.
    let base = (4 << 30) - 8 * MIB;
    let hw = FakeHw::leak(base, 16 * MIB);
    let frames = Frames::new(hw.ram.map, hw, &[hw.ram.range], &[]).unwrap();
    let frames = Box::leak(Box::new(frames));
    assert!(frames.alloc(0, any()).unwrap().base().0 >= 4 << 30);
    let below = |pa| Limits {
        below: Some(Pa(pa)),
        ..any()
    };
    assert_eq!(frames.alloc(0, below(base + 4096)).unwrap().base().0, base);
    assert_eq!(
        frames.alloc(0, below(base + 4096)),
        Err(FrameError::NoMemory)
    );
    assert_eq!(frames.alloc(0, below(0)), Err(FrameError::NoMemory));
    assert_eq!(
        frames.alloc(1, below(4 << 30)).unwrap().base().0,
        base + 8192
    );
    let lowest = Limits {
        lowest: true,
        ..any()
    };
    assert_eq!(frames.alloc(0, lowest).unwrap().base().0, base + 4096);
    assert_eq!(frames.alloc(9, lowest).unwrap().base().0, base + 2 * MIB);
}

#[test]
fn content_is_zeroed_unless_declined() {
    let (hw, frames) = simple();
    hw.take_events();
    let dirty = Limits {
        dirty: true,
        ..any()
    };
    frames.alloc_ram(D1, 9, dirty).unwrap();
    assert_eq!(hw.take_events(), []);
    let mfn = frames.alloc_ram(D1, 3, any()).unwrap();
    assert_eq!(
        hw.take_events(),
        [Event::Scrub(range(mfn.base().0, 8 << 12))]
    );
}

#[test]
fn domains_leave_what_is_kept() {
    let (_, frames) = simple();
    frames.keep_free(10);
    while frames.alloc_ram(D1, 0, any()).is_ok() {}
    assert_eq!(frames.free_pages(), 10);
    assert_eq!(frames.alloc_ram(D1, 1, any()), Err(FrameError::NoMemory));
    assert!(frames.alloc(1, any()).is_ok());
}

/// No two free pages are neighbours: what must not fail gets the block set aside, what may waits until
/// there is another.
#[test]
fn memory_in_pieces_leaves_a_block_for_the_heap() {
    let (_, frames) = simple();
    assert!(frames.keep_free(1) && frames.may_grow(D1));
    let pages = core::iter::from_fn(|| frames.alloc_ram(D1, 0, any()).ok());
    let (even, odd): (Vec<_>, Vec<_>) = pages.partition(|mfn| mfn.0 % 2 == 0);
    frames.alloc(0, any()).unwrap();
    assert!(even.iter().all(|mfn| frames.release_allocation(*mfn, D1)));
    assert_eq!(frames.alloc(1, any()), Err(FrameError::NoMemory));
    assert!(frames.may_grow(D1));
    assert_eq!(frames.take_spare(10), None);
    let (block, order) = frames.take_spare(9).unwrap();
    assert_eq!((block.0 % 512, order), (0, 9));
    assert_eq!(frames.take_spare(0), None);
    assert!(!frames.may_grow(D1) && frames.may_grow(DomId(0)));
    assert!(odd.iter().all(|mfn| frames.release_allocation(*mfn, D1)));
    assert!(!frames.has_room_to_grow(D1));
    assert!(frames.may_grow(D1) && frames.has_room_to_grow(D1));
}

#[test]
fn freed_twice_is_caught() {
    let (_, frames) = simple();
    let free = frames.free_pages();
    let mfn = frames.alloc(2, any()).unwrap();
    assert_eq!(frames.free(Mfn(mfn.0 + 1), 1), Err(FrameError::BadRange));
    assert_eq!(frames.free(mfn, MAX_ORDER + 1), Err(FrameError::BadRange));
    frames.free(Mfn(mfn.0 + 2), 0).unwrap();
    // Half a block free: nothing happens to the rest.
    assert_eq!(frames.free(mfn, 2), Err(FrameError::BadState));
    frames.free(mfn, 1).unwrap();
    assert_eq!(frames.free(mfn, 0), Err(FrameError::BadState));
    frames.free(Mfn(mfn.0 + 3), 0).unwrap();
    assert_eq!(frames.free(mfn, 2), Err(FrameError::BadState));
    assert_eq!(frames.free(Mfn(1), 0), Err(FrameError::BadRange));
    assert_eq!(frames.free_pages(), free);
    let ram = frames.alloc_ram(D1, 0, any()).unwrap();
    assert_eq!(frames.free(ram, 0), Err(FrameError::BadState));
}

#[test]
fn references_keep_a_page() {
    let (_, frames) = simple();
    let free = frames.free_pages();
    let mfn = frames.alloc_ram(D1, 0, any()).unwrap();
    assert_eq!(frames.tot_pages(D1), 1);
    assert!(frames.get(mfn, D2).is_none());
    let held = frames.get(mfn, D1).unwrap();
    let more = held.try_clone().unwrap();
    assert_eq!(held.state().references(), 3);
    assert!(!frames.release_allocation(mfn, D2));
    assert!(!frames.release_shared(mfn, D1));
    assert!(frames.release_allocation(mfn, D1));
    assert!(!frames.release_allocation(mfn, D1));
    drop(more);
    assert_eq!((frames.tot_pages(D1), frames.free_pages()), (1, free - 1));
    assert_eq!(held.state().owner(), Some(D1));
    drop(held);
    assert_eq!((frames.tot_pages(D1), frames.free_pages()), (0, free));
    assert!(frames.get_any(mfn).is_none());
    assert!(!frames.release_allocation(mfn, D1));
}

#[test]
fn the_hypervisors_pages_have_no_references() {
    let (_, frames) = simple();
    let mfn = frames.alloc(0, any()).unwrap();
    assert!(frames.get_any(mfn).is_none());
    assert!(!frames.release_allocation(mfn, D1));
    let shared = frames.alloc_shared(D1).unwrap();
    assert_eq!((frames.tot_pages(D1), frames.shared_pages(D1)), (0, 1));
    let held = frames.get(shared, D1).unwrap();
    assert!(!frames.release_allocation(shared, D1));
    assert!(frames.release_shared(shared, D1));
    assert_eq!(frames.shared_pages(D1), 1);
    drop(held);
    assert_eq!(frames.shared_pages(D1), 0);
    assert_eq!(
        frames.alloc_shared(DomId(0x8000)),
        Err(FrameError::BadOwner)
    );
}

#[test]
fn an_unmatched_put_does_no_harm() {
    let (_, frames) = simple();
    let free = frames.free_pages();
    let mfn = frames.alloc(0, any()).unwrap();
    frames.put(mfn);
    frames.free(mfn, 0).unwrap();
    frames.put(mfn);
    frames.put(Mfn(0));
    assert_eq!(frames.free_pages(), free);
}

#[test]
fn counts_do_not_overflow() {
    let mut state = PageState::ram(D1);
    assert!(state.with_reference().is_some());
    state = PageState::ram_with(D1, i32::MAX as u32);
    assert!(state.with_reference().is_none());
    assert_eq!(
        state.without_reference().unwrap().references(),
        i32::MAX as u32 - 1
    );
}

#[test]
fn assigned_memory_is_relinquished_in_steps() {
    let (_, frames) = simple();
    let free = frames.free_pages();
    let mfn = Pa(BASE + 4 * MIB).frame();
    frames.alloc_at(mfn, 10).unwrap();
    assert_eq!(frames.alloc_at(mfn, 0), Err(FrameError::BadState));
    assert_eq!(
        frames.alloc_at(Mfn(mfn.0 + 1), 1),
        Err(FrameError::BadState)
    );
    assert_eq!(frames.alloc_at(Mfn(0), 0), Err(FrameError::BadRange));
    frames.assign(mfn, 1024, D1).unwrap();
    assert_eq!(frames.assign(mfn, 1, D2), Err(FrameError::BadState));
    assert_eq!(frames.assign(mfn, 0, D2), Err(FrameError::BadRange));
    frames.alloc_ram(D2, 4, any()).unwrap();
    assert_eq!(frames.tot_pages(D1), 1024);
    let held = frames.get(Mfn(mfn.0 + 5), D1).unwrap();
    let (mut from, mut steps) = (Mfn(0), 0);
    while let Relinquished::More(next) = frames.relinquish(D1, from, 100) {
        from = next;
        steps += 1;
    }
    assert!((10..12).contains(&steps), "{steps}");
    assert_eq!((frames.tot_pages(D1), frames.tot_pages(D2)), (1, 16));
    drop(held);
    assert_eq!(frames.tot_pages(D1), 0);
    let none_left = frames.relinquish(D1, Mfn(0), 1);
    assert_eq!(none_left, Relinquished::Done, "no page more is looked at");
    assert_eq!(frames.free_pages(), free - 16);
}

#[test]
fn all_of_a_bank_can_be_had_and_comes_back_whole() {
    let (_, frames) = simple();
    let free = frames.free_pages();
    let pages: Vec<_> = core::iter::from_fn(|| frames.alloc(0, any()).ok()).collect();
    assert_eq!(pages.len() as u64, free);
    assert_eq!(frames.free_pages(), 0);
    for mfn in pages
        .iter()
        .step_by(2)
        .chain(pages.iter().skip(1).step_by(2))
    {
        frames.free(*mfn, 0).unwrap();
    }
    assert_eq!(frames.free_pages(), free);
    assert_eq!(frames.alloc(11, any()).unwrap(), Pa(BASE).frame());
}

#[derive(Debug, Clone)]
enum Op {
    Alloc(u32, Limits),
    AllocAt(u64, u32),
    Free(usize),
    FreeAgain(u64, u32),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let limits = (any_below(), any_bool()).prop_map(|(below, lowest)| Limits {
        below,
        lowest,
        dirty: true,
    });
    let op = prop_oneof![
        4 => (0..12u32, limits).prop_map(|(order, limits)| Op::Alloc(order, limits)),
        1 => (0..4096u64, 0..10u32).prop_map(|(page, order)| Op::AllocAt(page, order)),
        4 => (0..64usize).prop_map(Op::Free),
        1 => (0..4096u64, 0..10u32).prop_map(|(page, order)| Op::FreeAgain(page, order)),
    ];
    proptest::collection::vec(op, 1..200)
}

fn any_below() -> impl Strategy<Value = Option<Pa>> {
    proptest::option::of((0..16 * MIB).prop_map(|offset| Pa(BASE + offset)))
}

fn any_bool() -> impl Strategy<Value = bool> {
    proptest::bool::ANY
}

/// Blocks in use, which must not overlap.
#[derive(Default)]
struct Used(BTreeMap<u64, u32>);

impl Used {
    fn add(&mut self, mfn: Mfn, order: u32) {
        assert!(mfn.is_aligned(order));
        let end = mfn.0 + (1 << order);
        if let Some((start, before)) = self.0.range(..end).next_back() {
            assert!(start + (1 << before) <= mfn.0, "overlap");
        }
        self.0.insert(mfn.0, order);
    }
    fn pages(&self) -> u64 {
        self.0.values().map(|order| 1 << order).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_allocator_keeps_what_it_has(ops in ops()) {
        let banks = [range(BASE, 7 * MIB), range(BASE + 8 * MIB, 8 * MIB)];
        let (_, frames) = build(16 * MIB, &banks, &[range(BASE + 3 * MIB, 0x5000)]);
        let all = frames.free_pages();
        let mut used = Used::default();
        for op in ops {
            match op {
                Op::Alloc(order, limits) => if let Ok(mfn) = frames.alloc(order, limits) {
                    let end = Pa(mfn.base().0 + (4096 << order));
                    prop_assert!(limits.below.is_none_or(|below| end <= below));
                    used.add(mfn, order);
                },
                Op::AllocAt(page, order) => {
                    let mfn = Mfn((Pa(BASE).frame().0 + page) >> order << order);
                    if frames.alloc_at(mfn, order).is_ok() {
                        used.add(mfn, order);
                    }
                }
                Op::Free(n) => if let Some((&mfn, &order)) = used.0.iter().nth(n) {
                    frames.free(Mfn(mfn), order).unwrap();
                    used.0.remove(&mfn);
                },
                Op::FreeAgain(page, order) => {
                    let mfn = Mfn((Pa(BASE).frame().0 + page) >> order << order);
                    let free = frames.free_pages();
                    let state = frames.state(mfn);
                    if state.is_none_or(|s| s.kind() == Kind::Free) {
                        prop_assert!(frames.free(mfn, order).is_err());
                    }
                    prop_assert_eq!(frames.free_pages(), free);
                }
            }
            prop_assert_eq!(frames.free_pages() + used.pages(), all);
        }
        for (mfn, order) in used.0 {
            frames.free(Mfn(mfn), order).unwrap();
        }
        prop_assert_eq!(frames.free_pages(), all);
        frames.alloc(10, Limits { lowest: true, ..any() }).unwrap();
    }
}

#[test]
fn references_from_many_threads() {
    let (hw, frames) = simple();
    let free = frames.free_pages();
    let mfn = frames.alloc_ram(D1, 0, any()).unwrap();
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for n in 0..10_000 {
                    let held = frames.get(mfn, D1);
                    if n == 9_000 {
                        frames.release_allocation(mfn, D1);
                    }
                    assert!(held.is_none_or(|h| h.state().owner() == Some(D1)));
                }
            });
        }
    });
    assert_eq!((frames.free_pages(), frames.tot_pages(D1)), (free, 0));
    let _ = hw.this_cpu();
}

#[test]
fn what_is_set_aside_is_there() {
    let (_, frames) = simple();
    frames.keep_free(100);
    let free = frames.free_pages();
    assert_eq!(frames.set_aside(free - 99), Err(FrameError::NoMemory));
    assert_eq!(frames.set_aside(free - 100), Ok(()));
    assert_eq!(frames.free_pages(), 100);
    // Not for a domain, nor twice.
    assert_eq!(frames.alloc_ram(D1, 0, any()), Err(FrameError::NoMemory));
    assert_eq!(frames.tot_pages(D1), 0);
    assert_eq!(frames.claim(D1, 101), Err(FrameError::NoMemory));
    assert_eq!(frames.set_aside(1), Err(FrameError::NoMemory));
    let page = frames.alloc_aside().unwrap();
    assert_eq!(frames.free_pages(), 100);
    frames.free_aside(page).unwrap();
    assert_eq!(frames.free_pages(), 100);
    frames.alloc_aside().unwrap();
    frames.unset_aside(free - 101);
    assert_eq!(frames.free_pages(), free - 1);
}

#[test]
fn the_last_of_the_reserve_is_not_for_guests() {
    let (_, frames) = simple();
    frames.keep_free(400);
    let leave = |pages| {
        while frames.free_pages() > pages {
            frames.alloc(0, any()).unwrap();
        }
    };
    leave(200);
    assert!(frames.may_grow(D1));
    leave(199);
    assert!(!frames.may_grow(D1));
    leave(100);
    assert!(frames.may_grow(DomId(0)));
    leave(99);
    assert!(!frames.may_grow(DomId(0)));
}
