// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen's operations: machine addresses, contiguity, whose caches are maintained how.

use super::machine::{Note, POOL, POOL_SIZE, RAM, initial_domain};
use crate::dma::{Direction, DmaAddr, DmaError, P2m, PAGE_SIZE, Phys, Scatterlist};
use xen_abi::Errno;
use xen_abi::grant::{CacheFlush, GNTTAB_CACHE_CLEAN, GNTTAB_CACHE_INVAL};

/// Three guest pages, and three of the machine that nobody here owns.
const GFN: u64 = (RAM >> 12) + 16;
const MFN: u64 = 0x9_0000;

fn flush(a: u64, offset: u16, length: u16, op: u32) -> Note {
    Note::Flush(CacheFlush {
        a,
        offset,
        length,
        op,
    })
}

#[test]
fn the_p2m_finds_what_was_put_there() {
    let p2m = P2m::new();
    for n in [5, 3, 9, 1, 7] {
        assert_eq!(p2m.insert(n, n + 100), Ok(()));
    }
    assert_eq!(p2m.insert(7, 1), Err(DmaError::Exists));
    assert_eq!(p2m.remove(5), Some(105));
    assert_eq!(p2m.remove(5), None);
    for (gfn, mfn) in [(1, 101), (3, 103), (7, 107), (9, 109)] {
        assert_eq!(p2m.lookup(gfn), Some(mfn));
        assert_eq!(p2m.lookup(gfn + 1), None);
    }
    for n in 100..1120 {
        p2m.insert(n, n).unwrap();
    }
    assert_eq!(p2m.insert(50, 50), Err(DmaError::TableFull));
    assert_eq!(p2m.remove(100), Some(100));
    assert_eq!(p2m.insert(50, 50), Ok(()));
    assert_eq!(p2m.lookup(1119), Some(1119));
}

/// What each direction asks of caches when mapped and when unmapped, as Linux and the ABI have it.
const MAINTENANCE: [(Direction, u32, Option<u32>); 3] = [
    (Direction::ToDevice, GNTTAB_CACHE_CLEAN, None),
    (
        Direction::FromDevice,
        GNTTAB_CACHE_INVAL,
        Some(GNTTAB_CACHE_INVAL),
    ),
    (
        Direction::Bidirectional,
        GNTTAB_CACHE_CLEAN,
        Some(GNTTAB_CACHE_INVAL),
    ),
];

#[test]
fn a_local_page_is_maintained_by_the_cpu() {
    for coherent in [true, false] {
        for (direction, before, after) in MAINTENANCE {
            let (dma, recorder, dev) = initial_domain(coherent);
            let phys = Phys(RAM + 0xfe3);
            let note = |op| match op {
                _ if coherent => None,
                GNTTAB_CACHE_CLEAN => Some(Note::Clean(phys.0, 0x45)),
                _ => Some(Note::Invalidate(phys.0, 0x45)),
            };
            let addr = dma.map_page(&dev, phys, 0x45, direction).unwrap();
            assert_eq!(addr, DmaAddr(phys.0));
            assert_eq!(recorder.take_notes(), Vec::from_iter(note(before)));
            for done in [
                dma.sync_single_for_cpu(&dev, addr, 0x45, direction),
                dma.unmap_page(&dev, addr, 0x45, direction),
            ] {
                assert_eq!(done, Ok(()));
            }
            let twice = after.and_then(note).map(|note| [note.clone(), note]);
            let twice = twice.into_iter().flatten();
            assert_eq!(recorder.take_notes(), Vec::from_iter(twice));
            dma.sync_single_for_device(&dev, addr, 0x45, direction)
                .unwrap();
            assert_eq!(recorder.take_notes(), Vec::from_iter(note(before)));
        }
    }
}

#[test]
fn a_foreign_page_is_maintained_by_the_hypervisor() {
    for coherent in [true, false] {
        for (direction, before, after) in MAINTENANCE {
            let (dma, recorder, dev) = initial_domain(coherent);
            dma.p2m.insert(GFN, MFN).unwrap();
            let phys = Phys(GFN * PAGE_SIZE + 0x123);
            let bus = MFN * PAGE_SIZE;
            let notes = |op| match coherent {
                true => vec![],
                false => vec![flush(bus, 0x123, 0x45, op)],
            };
            let addr = dma.map_page(&dev, phys, 0x45, direction).unwrap();
            assert_eq!(addr, DmaAddr(bus + 0x123));
            assert_eq!(recorder.take_notes(), notes(before));
            let (part, size) = (DmaAddr(addr.0 + 0x40), 5);
            dma.sync_single_for_cpu(&dev, part, size, direction)
                .unwrap();
            let expected = match (coherent, after) {
                (false, Some(op)) => vec![flush(bus, 0x163, 5, op)],
                _ => vec![],
            };
            assert_eq!(recorder.take_notes(), expected);
            dma.unmap_page(&dev, addr, 0x45, direction).unwrap();
            assert_eq!(recorder.take_notes(), after.map_or(vec![], notes));
        }
    }
}

#[test]
fn maintenance_is_split_at_pages_and_exact() {
    let (dma, recorder, dev) = initial_domain(false);
    for n in 0..3 {
        dma.p2m.insert(GFN + n, MFN + n).unwrap();
    }
    let (phys, bus) = (Phys(GFN * PAGE_SIZE + 0xfff), MFN * PAGE_SIZE);
    dma.map_page(&dev, phys, 0x1003, Direction::ToDevice)
        .unwrap();
    assert_eq!(
        recorder.take_notes(),
        [
            flush(bus, 0xfff, 1, GNTTAB_CACHE_CLEAN),
            flush(bus + 0x1000, 0, 0x1000, GNTTAB_CACHE_CLEAN),
            flush(bus + 0x2000, 0, 2, GNTTAB_CACHE_CLEAN),
        ]
    );
}

#[test]
fn what_is_not_one_piece_of_the_machine_is_bounced() {
    let local = RAM >> 12;
    for (mfns, one_piece) in [
        ([MFN, MFN + 1], true),
        ([MFN, MFN + 2], false),
        ([MFN + 1, MFN], false),
        ([MFN, MFN], false),
        // Neighbours, but of one the caches are the CPU's to maintain and of the other the hypervisor's.
        ([local - 1, local], false),
    ] {
        let (dma, _, dev) = initial_domain(false);
        for (gfn, mfn) in (GFN..).zip(mfns) {
            dma.p2m.insert(gfn, mfn).unwrap();
        }
        let phys = Phys(GFN * PAGE_SIZE + 0x800);
        let addr = dma
            .map_page(&dev, phys, 0x1000, Direction::FromDevice)
            .unwrap();
        assert_eq!(
            !dma.swiotlb.contains(crate::dma::Machine(addr.0)),
            one_piece
        );
        dma.unmap_page(&dev, addr, 0x1000, Direction::FromDevice)
            .unwrap();
        assert_eq!(dma.swiotlb.in_use(), 0);
        // Each page alone is.
        let addr = dma
            .map_page(&dev, phys, 0x800, Direction::FromDevice)
            .unwrap();
        assert_eq!(addr.0, mfns[0] * PAGE_SIZE + 0x800);
    }
}

#[test]
fn what_the_device_cannot_reach_is_bounced() {
    let (dma, recorder, dev) = initial_domain(false);
    assert!(dma.set_mask(&dev, u64::from(u32::MAX)));
    dma.p2m.insert(GFN, 1 << 20).unwrap();
    let phys = Phys(GFN * PAGE_SIZE);
    let addr = dma.map_page(&dev, phys, 64, Direction::ToDevice).unwrap();
    assert!((POOL..POOL + POOL_SIZE).contains(&addr.0));
    // Through the CPU's mapping of the guest's page, and the pool is local.
    let copied = Note::Copy {
        to: addr.0,
        from: phys.0,
        size: 64,
    };
    assert_eq!(recorder.take_notes(), [copied, Note::Clean(addr.0, 64)]);
    dma.unmap_page(&dev, addr, 64, Direction::ToDevice).unwrap();
    dma.set_mask(&dev, u64::MAX);
    let addr = dma.map_page(&dev, phys, 64, Direction::ToDevice).unwrap();
    assert_eq!(addr.0, 1 << 32);
}

#[test]
fn a_grant_of_the_domain_to_itself_is_local() {
    let (dma, recorder, dev) = initial_domain(false);
    dma.p2m.insert(GFN, RAM >> 12).unwrap();
    let phys = Phys(GFN * PAGE_SIZE + 8);
    let addr = dma.map_page(&dev, phys, 64, Direction::ToDevice).unwrap();
    assert_eq!(addr, DmaAddr(RAM + 8));
    assert_eq!(recorder.take_notes(), [Note::Clean(RAM + 8, 64)]);
}

#[test]
fn a_refused_flush_is_told() {
    let (dma, recorder, dev) = initial_domain(false);
    dma.p2m.insert(GFN, MFN).unwrap();
    let phys = Phys(GFN * PAGE_SIZE);
    let addr = dma.map_page(&dev, phys, 64, Direction::FromDevice).unwrap();
    *recorder.refusal.lock().unwrap() = Some(Errno::Inval);
    let refused = DmaError::CacheFlush(Errno::Inval);
    for result in [
        dma.map_page(&dev, phys, 64, Direction::ToDevice)
            .map(|_| ()),
        dma.sync_single_for_cpu(&dev, addr, 64, Direction::FromDevice),
        dma.unmap_page(&dev, addr, 64, Direction::FromDevice),
    ] {
        assert_eq!(result, Err(refused));
    }
}

#[test]
fn a_list_is_mapped_whole_or_not_at_all() {
    let (dma, recorder, dev) = initial_domain(false);
    dma.p2m.insert(GFN, MFN).unwrap();
    let mut list = [
        Scatterlist::new(Phys(RAM + 0x10), 0x20),
        Scatterlist::new(Phys(GFN * PAGE_SIZE), 0x1000),
        Scatterlist::new(Phys(GFN * PAGE_SIZE + 0xf00), 0x200),
    ];
    dma.map_sg(&dev, &mut list, Direction::FromDevice).unwrap();
    assert_eq!(list[0].addr, DmaAddr(RAM + 0x10));
    assert_eq!(list[1].addr, DmaAddr(MFN * PAGE_SIZE));
    assert!(list[2].addr.0 >= POOL, "not one piece");
    recorder.take_notes();
    dma.sync_sg_for_cpu(&dev, &list[..2], Direction::FromDevice)
        .unwrap();
    let maintained = [
        Note::Invalidate(RAM + 0x10, 0x20),
        flush(MFN * PAGE_SIZE, 0, 0x1000, GNTTAB_CACHE_INVAL),
    ];
    assert_eq!(recorder.take_notes(), maintained);
    dma.sync_sg_for_device(&dev, &list[..2], Direction::FromDevice)
        .unwrap();
    assert_eq!(recorder.take_notes(), maintained);
    dma.unmap_sg(&dev, &list, Direction::FromDevice).unwrap();
    assert_eq!(dma.swiotlb.in_use(), 0);

    let too_large = POOL_SIZE as usize + 1;
    let mut list = [
        Scatterlist::new(Phys(GFN * PAGE_SIZE + 0xf00), 0x200),
        Scatterlist::new(Phys(GFN * PAGE_SIZE + 0xf00), too_large),
    ];
    assert_eq!(
        dma.map_sg(&dev, &mut list, Direction::ToDevice),
        Err(DmaError::NoBounceBuffer)
    );
    assert_eq!(dma.swiotlb.in_use(), 0);
}

#[test]
fn nothing_and_what_wraps_cannot_be_mapped() {
    let (dma, _, dev) = initial_domain(false);
    for (phys, size) in [(RAM, 0), (u64::MAX, 2), (2, usize::MAX)] {
        let result = dma.map_page(&dev, Phys(phys), size, Direction::ToDevice);
        assert_eq!(result, Err(DmaError::BadRange));
    }
}

#[test]
fn coherent_memory_is_the_domains_own() {
    let (dma, _, dev) = initial_domain(false);
    let memory = dma.alloc_coherent(&dev, 100).unwrap();
    assert_eq!((memory.dma.0, memory.size), (memory.phys.0, 4096));
    dma.free_coherent(&dev, memory);
    assert!(dma.set_coherent_mask(&dev, u64::MAX));
    assert_eq!(dma.alloc_coherent(&dev, 0), Err(DmaError::BadRange));
    assert_eq!(dma.alloc_coherent(&dev, 1 << 30), Err(DmaError::NoMemory));
}
