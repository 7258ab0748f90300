// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables say what they were told, never change in place, and lose nothing.

mod model;
mod random;

use super::*;
use crate::addr::{DomId, PAGE_SHIFT};
use crate::fake::Event;
use model::{G1, M2, Machine};

const D1: DomId = DomId(1);
const D2: DomId = DomId(2);

fn flushes(machine: &Machine) -> usize {
    let events = machine.hw.take_events();
    events
        .iter()
        .filter(|e| matches!(e, Event::FlushStage2(_)))
        .count()
}

#[test]
fn geometries() {
    let geometry = |parange| Stage2Geometry::for_pa_range(parange).unwrap();
    // What Xen 4.20 programs on a Cortex-A72 with 44 bits.
    assert_eq!(geometry(4).vtcr(false), 0x8004_3594);
    let t0sz_sl0 = |parange| {
        (
            geometry(parange).vtcr(false) & 63,
            geometry(parange).vtcr(true) >> 6 & 3,
        )
    };
    assert_eq!(t0sz_sl0(1), (28, 1));
    assert_eq!(t0sz_sl0(2), (24, 1));
    assert_eq!(t0sz_sl0(3), (22, 1));
    assert_eq!(t0sz_sl0(4), (20, 2));
    assert_eq!(t0sz_sl0(5), (16, 2));
    assert_eq!(geometry(6), geometry(5));
    assert!(Stage2Geometry::for_pa_range(8).is_none());
    assert_eq!(geometry(2).vtcr(true) >> 16 & 15, 0b1010);
}

#[test]
fn roots_are_aligned_and_the_vmid_is_in_vttbr() {
    for (parange, roots) in [(1, 1), (2, 2), (3, 8), (4, 1)] {
        let machine = Machine::new(parange, PoolLimit::Unlimited);
        let vttbr = machine.p2m.vttbr();
        assert_eq!(vttbr >> 48, 7);
        assert_eq!(vttbr & 0xffff_ffff_ffff & (roots * 4096 - 1), 0);
    }
}

#[test]
fn out_of_range_is_an_error() {
    for parange in 0..=6 {
        let machine = Machine::new(parange, PoolLimit::Unlimited);
        let p2m = &machine.p2m;
        let end = 1 << (p2m.ipa_bits() - PAGE_SHIFT);
        let insert = |gfn, mfn, nr| p2m.insert(Gfn(gfn), Mfn(mfn), nr, P2mType::MmioDevice);
        for (gfn, mfn, nr) in [
            (end, 0, 1),
            (end - 1, 0, 2),
            (0, end, 1),
            (0, end - 1, 2),
            (u64::MAX, 0, 1),
            (0, u64::MAX, 1),
            (1, 0, u64::MAX),
            (0, 1, u64::MAX),
            (1 << 52, 0, 1),
            (0, 1 << 52, 1),
        ] {
            assert_eq!(
                insert(gfn, mfn, nr),
                Err(P2mError::Invalid),
                "{gfn:x} {mfn:x} {nr:x}"
            );
        }
        for gfn in [end, 1 << 52, u64::MAX] {
            assert_eq!(p2m.remove(Gfn(gfn), 1), Err(P2mError::Invalid));
            assert_eq!(p2m.lookup(Gfn(gfn)), None);
            assert_eq!(p2m.next_ram(Gfn(gfn)), RamScan::End);
            assert!(p2m.page(Gfn(gfn), Access::Read).is_none());
        }
        assert_eq!(p2m.translate(Ipa(u64::MAX)), None);
        assert_eq!(
            p2m.resolve_fault(Ipa(u64::MAX), Access::Read),
            FaultOutcome::Unmapped
        );
        // The last page there is, and nothing at all.
        insert(end - 1, end - 1, 1).unwrap();
        insert(end, 0, 0).unwrap();
        assert_eq!(p2m.remove(Gfn(0), end).unwrap().mmio, 1);
        insert(0, end - 1, 1).unwrap();
        machine.check();
    }
}

#[test]
fn a_gigabyte_is_one_entry() {
    let machine = Machine::new(4, PoolLimit::Pages(1));
    let p2m = &machine.p2m;
    // The one page of the pool is the level 1 table.
    let done = p2m.insert(Gfn(4 * G1), Mfn(2 * G1), 3 * G1, P2mType::RamRw);
    assert_eq!(done, Ok(Replaced::default()));
    let found = p2m.lookup(Gfn(5 * G1 + 77)).unwrap();
    assert_eq!((found.mfn, found.order), (Mfn(3 * G1 + 77), 18));
    assert_eq!(
        p2m.translate(Ipa((4 * G1) << 12 | 5)),
        Some((Pa((2 * G1) << 12 | 5), P2mType::RamRw))
    );
    assert_eq!(flushes(&machine), 0);
    // To split it there is no table, and then nothing happens.
    assert_eq!(p2m.remove(Gfn(4 * G1 + 1), 1), Err(P2mError::NoMemory));
    let over = p2m.insert(Gfn(4 * G1 + 1), Mfn(0), 1, P2mType::MmioDevice);
    assert_eq!(over, Err(P2mError::NoMemory));
    assert_eq!(p2m.lookup(Gfn(4 * G1)).unwrap().order, 18);
    p2m.set_pool_limit(PoolLimit::Pages(3)).unwrap();
    let over = p2m.insert(Gfn(4 * G1 + 1), Mfn(0), 1, P2mType::MmioDevice);
    assert_eq!(over.unwrap().ram, 1);
    assert_eq!(flushes(&machine), 1);
    assert_eq!(p2m.lookup(Gfn(4 * G1 + 1)).unwrap().ty, P2mType::MmioDevice);
    assert_eq!(p2m.lookup(Gfn(4 * G1 + 2)).unwrap().order, 0);
    assert_eq!(p2m.lookup(Gfn(4 * G1 + 512)).unwrap().order, 9);
    assert_eq!(
        p2m.set_pool_limit(PoolLimit::Pages(2)),
        Err(P2mError::NoMemory)
    );
    machine.check();
}

#[test]
fn a_split_needs_the_table_that_its_range_frees() {
    let machine = Machine::new(2, PoolLimit::Unlimited);
    let p2m = &machine.p2m;
    p2m.insert(Gfn(0), Mfn(M2), G1, P2mType::RamRw).unwrap();
    // All blocks of the gigabyte are unmapped, the last for its end to be mapped again.
    p2m.remove(Gfn(0), G1 - 5).unwrap();
    assert_eq!(p2m.lookup(Gfn(G1 - 6)), None);
    assert_eq!(p2m.lookup(Gfn(G1 - 5)).unwrap().mfn, Mfn(G1 + M2 - 5));
    machine.check();
}

#[test]
fn a_remove_flushes_once_and_a_batch_too() {
    let machine = Machine::new(2, PoolLimit::Unlimited);
    let p2m = &machine.p2m;
    p2m.insert(Gfn(0), Mfn(0), 8 * M2, P2mType::RamRw).unwrap();
    assert_eq!(p2m.remove(Gfn(M2), 2 * M2).unwrap().ram, 2 * M2);
    assert_eq!(flushes(&machine), 1);
    p2m.remove(Gfn(M2), 2 * M2).unwrap();
    assert_eq!(flushes(&machine), 0);
    p2m.insert(Gfn(M2), Mfn(M2), 1, P2mType::RamRw).unwrap();
    assert_eq!(flushes(&machine), 0);
    let batch = p2m.batch();
    batch.remove(Gfn(4 * M2), M2).unwrap();
    batch.remove(Gfn(M2), 1).unwrap();
    assert_eq!(flushes(&machine), 0);
    drop(batch);
    assert_eq!(flushes(&machine), 1);
    machine.check();
}

#[test]
fn an_insert_flushes_what_a_batch_left() {
    let machine = Machine::new(2, PoolLimit::Unlimited);
    let p2m = &machine.p2m;
    p2m.insert(Gfn(5), Mfn(5), 1, P2mType::RamRw).unwrap();
    let batch = p2m.batch();
    batch.remove(Gfn(5), 1).unwrap();
    p2m.insert(Gfn(5), Mfn(6), 1, P2mType::RamRw).unwrap();
    assert_eq!(flushes(&machine), 1);
    drop(batch);
    assert_eq!(flushes(&machine), 0);
    machine.check();
}

#[test]
fn foreign_pages_live_as_long_as_their_entries() {
    let machine = Machine::new(2, PoolLimit::Unlimited);
    let (p2m, frames) = (&machine.p2m, machine.frames);
    let mfn = machine.page(D2);
    let held = || frames.get(mfn, D2).unwrap();
    p2m.insert_page(Gfn(1), held(), P2mType::ForeignRw).unwrap();
    p2m.insert_page(Gfn(2), held(), P2mType::ForeignRo).unwrap();
    assert_eq!(machine.references(mfn), 3);
    assert!(frames.release_allocation(mfn, D2));
    // Over a foreign page: its reference goes with the flush.
    p2m.insert(Gfn(1), Mfn(0), 1, P2mType::MmioDevice).unwrap();
    assert_eq!((machine.references(mfn), flushes(&machine)), (1, 1));
    let batch = p2m.batch();
    assert_eq!(batch.remove(Gfn(0), 512).unwrap().references, 1);
    assert_eq!((machine.references(mfn), frames.tot_pages(D2)), (1, 1));
    drop(batch);
    assert_eq!((machine.references(mfn), frames.tot_pages(D2)), (0, 0));
    machine.check();
}

#[test]
fn granted_pages_go_only_by_name() {
    let machine = Machine::new(2, PoolLimit::Unlimited);
    let (p2m, frames) = (&machine.p2m, machine.frames);
    let mfn = machine.page(D2);
    let held = || frames.get(mfn, D2).unwrap();
    p2m.insert_page(Gfn(600), held(), P2mType::GrantRw).unwrap();
    let device = p2m.insert(Gfn(512), Mfn(0), 512, P2mType::MmioDevice);
    assert_eq!(device, Err(P2mError::Busy));
    let foreign = p2m.insert_page(Gfn(600), held(), P2mType::ForeignRw);
    assert_eq!(foreign, Err(P2mError::Busy));
    assert_eq!(p2m.remove(Gfn(0), 1024), Err(P2mError::Busy));
    assert_eq!(machine.references(mfn), 2);
    let exact = |gfn, mfn, ty| p2m.remove_exact(Gfn(gfn), mfn, ty);
    assert_eq!(exact(601, mfn, P2mType::GrantRw), Err(P2mError::NotMapped));
    assert_eq!(
        exact(600, Mfn(0), P2mType::GrantRw),
        Err(P2mError::NotMapped)
    );
    assert_eq!(exact(600, mfn, P2mType::GrantRo), Err(P2mError::NotMapped));
    exact(600, mfn, P2mType::GrantRw).unwrap();
    assert_eq!(machine.references(mfn), 1);
    assert_eq!(
        p2m.insert_page(Gfn(0), held(), P2mType::RamRw),
        Err(P2mError::Invalid)
    );
    assert_eq!(
        p2m.insert(Gfn(0), mfn, 1, P2mType::GrantRo),
        Err(P2mError::Invalid)
    );
    assert_eq!(machine.references(mfn), 1);
    machine.check();
}

#[test]
fn more_references_than_can_wait() {
    let machine = Machine::new(2, PoolLimit::Unlimited);
    let (p2m, frames) = (&machine.p2m, machine.frames);
    let mfn = machine.page(D2);
    for gfn in 500..700 {
        let held = frames.get(mfn, D2).unwrap();
        p2m.insert_page(Gfn(gfn), held, P2mType::ForeignRw).unwrap();
    }
    assert_eq!(p2m.remove(Gfn(0), 2048).unwrap().references, 200);
    assert_eq!(flushes(&machine), 4);
    assert_eq!(machine.references(mfn), 1);
    machine.check();
}

#[test]
fn a_page_taken_out_survives_its_release_until_the_flush() {
    let machine = Machine::new(2, PoolLimit::Unlimited);
    let (p2m, frames) = (&machine.p2m, machine.frames);
    let mfn = machine.page(D1);
    p2m.insert(Gfn(9), mfn, 1, P2mType::RamRw).unwrap();
    let (page, ty) = p2m.page(Gfn(9), Access::Write).unwrap();
    assert_eq!((page.mfn(), ty), (mfn, P2mType::RamRw));
    let batch = p2m.batch();
    assert_eq!(batch.remove_page(Gfn(8), page), Err(P2mError::NotMapped));
    batch
        .remove_page(Gfn(9), frames.get(mfn, D1).unwrap())
        .unwrap();
    assert!(frames.release_allocation(mfn, D1));
    assert_eq!(frames.tot_pages(D1), 1);
    drop(batch);
    assert_eq!(frames.tot_pages(D1), 0);

    // The hypervisor's own page cannot be taken away like that.
    let shared = frames.alloc_shared(D1).unwrap();
    p2m.insert(Gfn(9), shared, 1, P2mType::RamRw).unwrap();
    let (page, _) = p2m.page(Gfn(9), Access::Read).unwrap();
    assert_eq!(
        p2m.batch().remove_page(Gfn(9), page),
        Err(P2mError::NotMapped)
    );
    machine.check();
}

#[test]
fn many_pages_are_taken_out_in_a_batch() {
    let machine = Machine::new(2, PoolLimit::Unlimited);
    let (p2m, frames) = (&machine.p2m, machine.frames);
    let first = frames.alloc_ram(D1, 9, Default::default()).unwrap();
    p2m.insert(Gfn(M2), first, M2, P2mType::RamRw).unwrap();
    for pages in [0..1, 1..65, 65..195, 195..512] {
        let batch = p2m.batch();
        for n in pages.clone() {
            let page = frames.get(Mfn(first.0 + n), D1).unwrap();
            batch.remove_page(Gfn(M2 + n), page).unwrap();
            assert!(frames.release_allocation(Mfn(first.0 + n), D1));
            machine.check();
        }
        drop(batch);
        assert_eq!(u64::from(frames.tot_pages(D1)), 512 - pages.end);
    }
}

#[test]
fn tables_and_frames_are_shared_between_cpus() {
    fn shared<T: Send + Sync>() {}
    shared::<P2m>();
    shared::<Frames>();
    shared::<PageRef>();
}

#[test]
fn faults_are_judged_by_the_entry() {
    let machine = Machine::new(2, PoolLimit::Unlimited);
    let p2m = &machine.p2m;
    p2m.insert(Gfn(1), Mfn(1), 1, P2mType::RamRo).unwrap();
    p2m.insert(Gfn(2), Mfn(1), 1, P2mType::MmioCached).unwrap();
    let fault = |gfn: u64, access| p2m.resolve_fault(Ipa(gfn << 12 | 8), access);
    assert_eq!(fault(0, Access::Read), FaultOutcome::Unmapped);
    assert_eq!(fault(1, Access::Read), FaultOutcome::Retry);
    assert_eq!(fault(1, Access::Execute), FaultOutcome::Retry);
    assert_eq!(
        fault(1, Access::Write),
        FaultOutcome::Denied(P2mType::RamRo)
    );
    assert_eq!(fault(2, Access::Write), FaultOutcome::Retry);
    assert_eq!(
        fault(2, Access::Execute),
        FaultOutcome::Denied(P2mType::MmioCached)
    );
    assert!(p2m.page(Gfn(1), Access::Write).is_none());
    assert!(p2m.page(Gfn(2), Access::Read).is_none());
}

#[test]
fn memory_is_found_in_runs() {
    let machine = Machine::new(2, PoolLimit::Unlimited);
    let p2m = &machine.p2m;
    p2m.insert(Gfn(3), Mfn(3), 2 * M2, P2mType::RamRw).unwrap();
    p2m.insert(Gfn(100), Mfn(0), 1, P2mType::MmioDevice)
        .unwrap();
    p2m.insert(Gfn(200 * G1 + 5), Mfn(7), 1, P2mType::RamRo)
        .unwrap();
    p2m.insert(Gfn(200 * G1 + 6), Mfn(9), 1, P2mType::RamRo)
        .unwrap();
    let (mut from, mut runs) = (Gfn(0), std::vec::Vec::new());
    loop {
        match p2m.next_ram(from) {
            RamScan::Run { gfn, mfn, nr } => {
                runs.push((gfn.0, mfn.0, nr));
                from = Gfn(gfn.0 + nr);
            }
            RamScan::Resume(next) => from = next,
            RamScan::End => break,
        }
    }
    let far = 200 * G1;
    let rest = 3 + 2 * M2 - 101;
    assert_eq!(
        runs,
        [
            (3, 3, 97),
            (101, 101, rest),
            (far + 5, 7, 1),
            (far + 6, 9, 1)
        ]
    );
}

#[test]
fn teardown_goes_in_steps_and_is_final() {
    let machine = Machine::new(4, PoolLimit::Unlimited);
    let (p2m, frames) = (&machine.p2m, machine.frames);
    let mfn = machine.page(D2);
    for n in 0..100 {
        let held = frames.get(mfn, D2).unwrap();
        p2m.insert_page(Gfn(n * 300), held, P2mType::GrantRo)
            .unwrap();
        p2m.insert(Gfn(5 * G1 + n * M2), Mfn(0), 1, P2mType::RamRw)
            .unwrap();
        p2m.remove(Gfn(5 * G1 + n * M2), 1).unwrap();
    }
    let mut steps = 0;
    while p2m.relinquish(512) == Progress::More {
        steps += 1;
        assert!(steps < 1000);
    }
    assert!(steps > 10, "{steps}");
    assert_eq!(machine.references(mfn), 1);
    // The level 1 table is left.
    assert_eq!(p2m.pool().1, 1);
    let late = p2m.insert(Gfn(0), Mfn(0), 1, P2mType::RamRw);
    assert_eq!(late, Err(P2mError::Dying));
    assert_eq!(p2m.relinquish(0), Progress::Done);
    machine.check();
}

#[test]
fn vmids() {
    let vmids = VmidAllocator::new(false);
    let all: std::vec::Vec<_> = core::iter::from_fn(|| vmids.alloc()).collect();
    assert_eq!(all, (1..=255).collect::<std::vec::Vec<_>>());
    vmids.free(0);
    vmids.free(300);
    assert_eq!(vmids.alloc(), None);
    vmids.free(200);
    vmids.free(100);
    assert_eq!((vmids.alloc(), vmids.alloc()), (Some(100), Some(200)));
    let vmids = VmidAllocator::new(true);
    assert_eq!(core::iter::from_fn(|| vmids.alloc()).last(), Some(0xffff));
}
