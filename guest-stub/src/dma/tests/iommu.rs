// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations over an IOMMU.

use super::machine::{Other, RAM, dma, iommu_ops};
use crate::dma::{Bus, Device, Direction, Dma, DmaAddr, DmaError, PAGE_SIZE, Phys};

fn behind_iommu() -> (Dma, Device, &'static super::machine::ListIommu) {
    let (dma, _) = dma(&Other);
    let (ops, iommu) = iommu_ops();
    let dev = Device::new("disk", Bus::Pci);
    dma.arch.arch_setup_dma_ops(&dev, true, Some(ops));
    (dma, dev, iommu)
}

#[test]
fn each_page_is_translated_and_then_no_more() {
    let (dma, dev, iommu) = behind_iommu();
    let phys = Phys(RAM + 0xff0);
    let one = dma
        .map_page(&dev, phys, 0x1020, Direction::ToDevice)
        .unwrap();
    let two = dma.map_page(&dev, phys, 1, Direction::ToDevice).unwrap();
    assert_eq!(one.0 % PAGE_SIZE, 0xff0);
    let pages: Vec<_> = iommu
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|entry| entry.1)
        .collect();
    assert_eq!(pages, [RAM, RAM + PAGE_SIZE, RAM + 2 * PAGE_SIZE, RAM]);
    dma.unmap_page(&dev, one, 0x1020, Direction::ToDevice)
        .unwrap();
    assert_eq!(iommu.0.lock().unwrap().len(), 1);
    dma.unmap_page(&dev, two, 1, Direction::ToDevice).unwrap();
    assert_eq!(iommu.0.lock().unwrap().len(), 0);
    let gone = dma.unmap_page(&dev, two, 1, Direction::ToDevice);
    assert_eq!(gone, Err(DmaError::NotMapped));
}

#[test]
fn its_addresses_are_below_the_mask_or_refused() {
    let (dma, dev, iommu) = behind_iommu();
    assert!(!dma.set_mask(&dev, 0xf_ffff));
    assert!(dma.set_mask(&dev, 0xff_ffff));
    let far = Phys(1 << 40);
    let addr = dma.map_page(&dev, far, 64, Direction::ToDevice).unwrap();
    assert!(addr.0 + 63 <= 0xff_ffff);
    assert_eq!(iommu.0.lock().unwrap()[0].1, far.0);
}

#[test]
fn its_addresses_run_out_and_come_back() {
    let (dma, dev, iommu) = behind_iommu();
    let map = |n: u64| dma.map_page(&dev, Phys(RAM + n * PAGE_SIZE), 4096, Direction::ToDevice);
    let all: Vec<DmaAddr> = (0..1024).map(|n| map(n).unwrap()).collect();
    assert_eq!(map(0), Err(DmaError::TableFull));
    dma.unmap_page(&dev, all[7], 4096, Direction::ToDevice)
        .unwrap();
    assert_eq!(map(0), Ok(all[7]));
    assert_eq!(iommu.0.lock().unwrap().len(), 1024);
}

#[test]
fn coherent_memory_has_an_address_of_its_own() {
    let (dma, dev, iommu) = behind_iommu();
    let memory = dma.alloc_coherent(&dev, 5000).unwrap();
    assert_eq!((memory.size, memory.phys), (8192, Phys(RAM)));
    assert_ne!(memory.dma.0, memory.phys.0);
    assert_eq!(iommu.0.lock().unwrap().len(), 2);
    dma.free_coherent(&dev, memory);
    assert_eq!(iommu.0.lock().unwrap().len(), 0);
}
