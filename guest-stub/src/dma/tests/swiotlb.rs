// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounce buffers.

use super::machine::{Note, POOL, POOL_SIZE, RAM, RAM_SIZE, Recorder, arm, dma};
use crate::dma::{Bus, Device, Direction, Dispatch, Dma, DmaAddr, DmaError, PAGE_SIZE, Phys};

/// A device with 32 bits of address, of a domain that is not the initial one.
fn near_sighted() -> (Dma, &'static Recorder, Device) {
    let (dma, recorder) = dma(arm(Dispatch::Archdata, false));
    let dev = Device::new("disk", Bus::Platform);
    dma.arch.arch_setup_dma_ops(&dev, true, None);
    (dma, recorder, dev)
}

/// Maps what is never one piece of the machine: pages of others that lie apart.
fn bounce(
    dma: &Dma,
    dev: &Device,
    phys: u64,
    size: usize,
    direction: Direction,
) -> Result<DmaAddr, DmaError> {
    for page in phys / PAGE_SIZE..=(phys + size as u64 - 1) / PAGE_SIZE {
        let _ = dma.p2m.insert(page, 0x80000 + page * 2);
    }
    dma.map_page(dev, Phys(phys), size, direction)
}

fn in_pool(addr: DmaAddr) -> bool {
    (POOL..POOL + POOL_SIZE).contains(&addr.0)
}

#[test]
fn what_is_out_of_reach_is_bounced() {
    let (dma, recorder, dev) = near_sighted();
    let far = Phys(1 << 33);
    let addr = dma.map_page(&dev, far, 100, Direction::ToDevice).unwrap();
    assert!(in_pool(addr));
    let copied = Note::Copy {
        to: addr.0,
        from: far.0,
        size: 100,
    };
    assert_eq!(recorder.take_notes(), [copied]);
    dma.unmap_page(&dev, addr, 100, Direction::ToDevice)
        .unwrap();
    assert_eq!(recorder.take_notes(), []);
    assert_eq!(dma.swiotlb.in_use(), 0);
    // The first and the last address that are and are not.
    for (phys, bounced) in [(0xffff_fff0, false), (0xffff_fff1, true)] {
        let addr = dma
            .map_page(&dev, Phys(phys), 16, Direction::ToDevice)
            .unwrap();
        assert_eq!(in_pool(addr), bounced);
    }
    assert!(!dma.set_mask(&dev, POOL + POOL_SIZE - 2));
    assert!(dma.set_mask(&dev, POOL + POOL_SIZE - 1));
    assert_eq!(dev.dma_mask(), POOL + POOL_SIZE - 1);
}

#[test]
fn bytes_go_there_and_back() {
    let (dma, recorder, dev) = super::machine::initial_domain(true);
    let phys = RAM + PAGE_SIZE - 8;
    recorder.write(phys, b"0123456789abcdef");
    let addr = bounce(&dma, &dev, phys, 16, Direction::Bidirectional).unwrap();
    assert!(in_pool(addr));
    assert_eq!(recorder.read(addr.0, 16), b"0123456789abcdef");
    // The device writes some, and the CPU looks at part of that.
    recorder.write(addr.0 + 4, b"DEVICE");
    dma.sync_single_for_cpu(&dev, DmaAddr(addr.0 + 6), 2, Direction::FromDevice)
        .unwrap();
    assert_eq!(recorder.read(phys, 16), b"012345VI89abcdef");
    // The CPU changes a byte, and gives the device that one and one more.
    recorder.write(phys, b"cp");
    dma.sync_single_for_device(&dev, DmaAddr(addr.0 + 1), 1, Direction::ToDevice)
        .unwrap();
    assert_eq!(recorder.read(addr.0, 5), b"0p23D");
    dma.unmap_page(&dev, addr, 16, Direction::Bidirectional)
        .unwrap();
    assert_eq!(recorder.read(phys, 16), b"0p23DEVICEabcdef");
    assert_eq!(dma.swiotlb.in_use(), 0);
}

#[test]
fn what_the_device_does_not_write_survives() {
    let (dma, recorder, dev) = super::machine::initial_domain(false);
    let phys = RAM + PAGE_SIZE - 8;
    recorder.write(phys, b"0123456789abcdef");
    let addr = bounce(&dma, &dev, phys, 16, Direction::FromDevice).unwrap();
    recorder.write(addr.0, b"short");
    // The copy that was made for that had to reach memory.
    assert!(recorder.take_notes().contains(&Note::Clean(addr.0, 16)));
    dma.unmap_page(&dev, addr, 16, Direction::FromDevice)
        .unwrap();
    assert_eq!(recorder.read(phys, 16), b"short56789abcdef");
}

#[test]
fn only_what_is_mapped_is_synced() {
    let (dma, _, dev) = super::machine::initial_domain(true);
    let addr = bounce(&dma, &dev, RAM + PAGE_SIZE - 8, 16, Direction::ToDevice).unwrap();
    for (start, size, fine) in [
        (0, 16, true),
        (15, 1, true),
        (0, 17, false),
        (16, 1, false),
        (8, 9, false),
        (2048, 1, false),
    ] {
        let at = DmaAddr(addr.0 + start);
        let result = dma.sync_single_for_cpu(&dev, at, size, Direction::FromDevice);
        assert_eq!(result.is_ok(), fine, "{start} {size}: {result:?}");
    }
}

#[test]
fn buffers_run_out_and_come_back() {
    let (dma, _, dev) = super::machine::initial_domain(true);
    let slots = (POOL_SIZE / 2048) as usize;
    let phys = RAM + PAGE_SIZE - 8;
    let map = |size| bounce(&dma, &dev, phys, size, Direction::ToDevice);
    let all: Vec<_> = (0..slots).map(|_| map(16).unwrap()).collect();
    assert_eq!(dma.swiotlb.in_use(), slots);
    assert_eq!(map(16), Err(DmaError::NoBounceBuffer));
    // Two that are not neighbours do not make a large one.
    for n in [3, 5] {
        dma.unmap_page(&dev, all[n], 16, Direction::ToDevice)
            .unwrap();
    }
    assert_eq!(map(2049), Err(DmaError::NoBounceBuffer));
    dma.unmap_page(&dev, all[4], 16, Direction::ToDevice)
        .unwrap();
    let large = map(3 * 2048).unwrap();
    assert_eq!(large, all[3]);
    assert_eq!(map(16), Err(DmaError::NoBounceBuffer));
    dma.unmap_page(&dev, large, 3 * 2048, Direction::ToDevice)
        .unwrap();
    assert_eq!(dma.swiotlb.in_use(), slots - 3);
    assert_eq!(map(POOL_SIZE as usize + 1), Err(DmaError::NoBounceBuffer));
}

#[test]
fn neighbours_are_freed_one_by_one() {
    let (dma, _, dev) = super::machine::initial_domain(true);
    let phys = RAM + PAGE_SIZE - 8;
    let one = bounce(&dma, &dev, phys, 4096, Direction::ToDevice).unwrap();
    let two = bounce(&dma, &dev, phys, 4096, Direction::ToDevice).unwrap();
    assert_eq!(two.0 - one.0, 4096);
    dma.unmap_page(&dev, one, 4096, Direction::ToDevice)
        .unwrap();
    assert_eq!(dma.swiotlb.in_use(), 2);
    dma.sync_single_for_cpu(&dev, two, 4096, Direction::FromDevice)
        .unwrap();
    let gone = dma.sync_single_for_cpu(&dev, one, 1, Direction::FromDevice);
    assert_eq!(gone, Err(DmaError::NotMapped));
    assert_eq!(
        dma.unmap_page(&dev, one, 4096, Direction::ToDevice),
        Err(DmaError::NotMapped)
    );
    assert_eq!(dma.swiotlb.in_use(), 2);
}

#[test]
fn the_bits_that_a_device_needs_are_kept() {
    let (dma, _, dev) = super::machine::initial_domain(true);
    for mask in [0u64, 0x1ff, 0x7ff, 0xfff] {
        dev.set_min_align_mask(mask);
        for offset in [0u64, 0x10, 0x234, 0x7ff, 0x800, 0xa34, 0xff8] {
            let phys = RAM + 0x10000 + offset;
            let size = 0x2000;
            let addr = bounce(&dma, &dev, phys, size, Direction::ToDevice).unwrap();
            assert!(in_pool(addr));
            assert_eq!(addr.0 & mask, phys & mask, "{mask:#x} {offset:#x}");
            dma.sync_single_for_cpu(&dev, addr, size, Direction::FromDevice)
                .unwrap();
            dma.unmap_page(&dev, addr, size, Direction::ToDevice)
                .unwrap();
        }
    }
    assert_eq!(dma.swiotlb.in_use(), 0);
}

#[test]
fn without_a_pool_nothing_is_bounced() {
    let recorder = Recorder::leak();
    let none = crate::dma::Swiotlb::new(Phys(0), 0);
    let dma = Dma::new(recorder, arm(Dispatch::Archdata, true), none);
    let dev = Device::new("disk", Bus::Platform);
    dma.arch.arch_setup_dma_ops(&dev, true, None);
    assert!(dma.set_mask(&dev, u64::MAX));
    assert_eq!(
        bounce(&dma, &dev, RAM + RAM_SIZE - 8, 16, Direction::ToDevice),
        Err(DmaError::NoBounceBuffer)
    );
}
