// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold of the dispatch, whichever way it goes; and what does not in the broken one.

use super::machine::{Note, Other, arm, dma, iommu_ops, same};
use crate::dma::{
    Bus, DIRECT, Device, Direction, Dispatch, Dma, DmaAddr, DmaOps, PAGE_SIZE, Phys, XEN,
};

const ALL: [Dispatch; 3] = [
    Dispatch::Broken,
    Dispatch::InitialDomainCheck,
    Dispatch::Archdata,
];
const RIGHT: [Dispatch; 2] = [Dispatch::InitialDomainCheck, Dispatch::Archdata];

/// A guest page that is a foreign page of the machine.
const GFN: u64 = 0x40008;
const MFN: u64 = 0x9_0000;

fn device() -> Device {
    Device::new("disk", Bus::Platform)
}

fn served_by(dma: &Dma, dev: Option<&Device>) -> &'static str {
    dma.get_dma_ops(dev).name()
}

/// What a device that was set up so is given for the foreign page, and what was maintained.
fn map_foreign(dma: &Dma, dev: &Device) -> DmaAddr {
    dma.p2m.insert(GFN, MFN).unwrap();
    let phys = Phys(GFN * PAGE_SIZE + 0x100);
    dma.map_page(dev, phys, 0x200, Direction::ToDevice).unwrap()
}

#[test]
fn in_the_initial_domain_xens_serve_every_device() {
    for dispatch in RIGHT {
        let (iommu, _) = iommu_ops();
        let (dma, _) = dma(arm(dispatch, true));
        for (coherent, iommu, own) in [
            (false, None, &DIRECT as &dyn DmaOps),
            (true, None, &DIRECT),
            (false, Some(iommu as &dyn DmaOps), iommu),
            (true, Some(iommu), iommu),
        ] {
            let dev = device();
            dma.arch.arch_setup_dma_ops(&dev, coherent, iommu);
            assert_eq!(served_by(&dma, Some(&dev)), "xen", "{dispatch:?}");
            assert!(same(dma.arch.xen_get_dma_ops(&dev), own), "{dispatch:?}");
            assert_eq!(dev.is_dma_coherent(), coherent);
        }
    }
}

#[test]
fn the_devices_own_operations_do_the_steps_that_depend_on_it() {
    for dispatch in RIGHT {
        for (coherent, behind_iommu) in [(false, false), (true, false), (false, true), (true, true)]
        {
            let (dma, recorder) = dma(arm(dispatch, true));
            let (ops, iommu) = iommu_ops();
            let dev = device();
            let ops: Option<&'static dyn DmaOps> = if behind_iommu { Some(ops) } else { None };
            dma.arch.arch_setup_dma_ops(&dev, coherent, ops);
            let local = Phys(0x4000_0100);
            let addr = dma.map_page(&dev, local, 64, Direction::ToDevice).unwrap();
            let maintained = match coherent {
                true => vec![],
                false => vec![Note::Clean(local.0, 64)],
            };
            assert_eq!(recorder.take_notes(), maintained);
            assert_eq!(iommu.0.lock().unwrap().len(), usize::from(behind_iommu));
            assert_eq!(addr.0 == local.0, !behind_iommu);
            dma.unmap_page(&dev, addr, 64, Direction::ToDevice).unwrap();
            assert!(iommu.0.lock().unwrap().is_empty());
        }
    }
}

#[test]
fn a_foreign_page_is_found_in_the_machine() {
    for dispatch in RIGHT {
        let (dma, _) = dma(arm(dispatch, true));
        let dev = device();
        dma.arch.arch_setup_dma_ops(&dev, true, None);
        let addr = map_foreign(&dma, &dev);
        assert_eq!(addr, DmaAddr(MFN * PAGE_SIZE + 0x100), "{dispatch:?}");
    }
}

#[test]
fn the_broken_dispatch_gives_the_device_the_guests_address() {
    let (dma, recorder) = dma(arm(Dispatch::Broken, true));
    let dev = device();
    // Before it is set up, and for no device, the fallback is asked.
    assert_eq!(served_by(&dma, Some(&dev)), "xen");
    assert_eq!(served_by(&dma, None), "xen");
    dma.arch.arch_setup_dma_ops(&dev, false, None);
    assert_eq!(served_by(&dma, Some(&dev)), "direct");
    assert_eq!(map_foreign(&dma, &dev), DmaAddr(GFN * PAGE_SIZE + 0x100));
    let flushed = |note: &Note| matches!(note, Note::Flush(_));
    assert!(!recorder.take_notes().iter().any(flushed));
}

#[test]
fn elsewhere_a_devices_own_operations_serve_it() {
    for dispatch in ALL {
        let (iommu, _) = iommu_ops();
        let (dma, _) = dma(arm(dispatch, false));
        for (iommu, own) in [
            (None, &DIRECT as &dyn DmaOps),
            (Some(iommu as &dyn DmaOps), iommu),
        ] {
            let dev = device();
            assert_eq!(served_by(&dma, Some(&dev)), "direct");
            dma.arch.arch_setup_dma_ops(&dev, true, iommu);
            assert!(same(dma.get_dma_ops(Some(&dev)), own));
            assert!(dev.archdata().dev_dma_ops.is_none());
        }
        assert_eq!(served_by(&dma, None), "direct");
    }
}

#[test]
fn no_device_is_served_by_the_default() {
    for dispatch in ALL {
        for (initial, name) in [(true, "xen"), (false, "direct")] {
            let arm = arm(dispatch, initial);
            let (dma, _) = dma(arm);
            assert_eq!(served_by(&dma, None), name);
        }
    }
}

#[test]
fn set_up_twice_xens_do_not_call_themselves() {
    for dispatch in RIGHT {
        let (dma, _) = dma(arm(dispatch, true));
        let (iommu, list) = iommu_ops();
        let dev = device();
        dma.arch.arch_setup_dma_ops(&dev, false, None);
        dma.arch.arch_setup_dma_ops(&dev, false, None);
        assert_eq!(served_by(&dma, Some(&dev)), "xen");
        assert_eq!(dma.arch.xen_get_dma_ops(&dev).name(), "direct");
        let addr = map_foreign(&dma, &dev);
        assert_eq!(addr.0 / PAGE_SIZE, MFN);
        // And firmware may say something else the second time.
        dma.arch.arch_setup_dma_ops(&dev, true, Some(iommu));
        assert_eq!(dma.arch.xen_get_dma_ops(&dev).name(), "iommu");
        let phys = Phys(GFN * PAGE_SIZE);
        dma.map_page(&dev, phys, 1, Direction::ToDevice).unwrap();
        assert_eq!(list.0.lock().unwrap()[0].1, MFN * PAGE_SIZE);
    }
}

#[test]
fn teardown_leaves_no_trace() {
    for dispatch in ALL {
        for initial in [true, false] {
            let (dma, _) = dma(arm(dispatch, initial));
            let (own, _) = iommu_ops();
            for before in [None, Some(own as &'static dyn DmaOps)] {
                let dev = device();
                dev.set_dma_ops(before);
                for _ in 0..2 {
                    dma.arch.arch_setup_dma_ops(&dev, false, None);
                    let with_xen = initial && dispatch != Dispatch::Broken;
                    let own = before.map_or("direct", DmaOps::name);
                    assert_eq!(
                        served_by(&dma, Some(&dev)),
                        if with_xen { "xen" } else { own }
                    );
                    if with_xen {
                        assert_eq!(dma.arch.xen_get_dma_ops(&dev).name(), own);
                    }
                    dma.arch.arch_teardown_dma_ops(&dev);
                    let after = dev.dma_ops().map(DmaOps::name);
                    assert_eq!(after, before.map(DmaOps::name));
                    assert!(dev.archdata().dev_dma_ops.is_none());
                    // Once more does nothing.
                    dma.arch.arch_teardown_dma_ops(&dev);
                    assert_eq!(dev.dma_ops().map(DmaOps::name), after);
                }
            }
        }
    }
}

#[test]
fn operations_that_a_device_had_before_are_its_own() {
    for dispatch in RIGHT {
        let (dma, _) = dma(arm(dispatch, true));
        let (own, list) = iommu_ops();
        let (other, _) = iommu_ops();
        let dev = device();
        dev.set_dma_ops(Some(own));
        dma.arch.arch_setup_dma_ops(&dev, true, Some(other));
        assert_eq!(served_by(&dma, Some(&dev)), "xen");
        map_foreign(&dma, &dev);
        assert_eq!(list.0.lock().unwrap()[0].1, MFN * PAGE_SIZE);
    }
}

#[test]
fn operations_set_after_it_was_set_up_are_its_own_too() {
    let (dma, _) = dma(arm(Dispatch::Archdata, true));
    let (own, _) = iommu_ops();
    let dev = device();
    dma.arch.arch_setup_dma_ops(&dev, true, None);
    dev.set_dma_ops(Some(own));
    assert_eq!(served_by(&dma, Some(&dev)), "iommu");
    dma.arch.arch_setup_dma_ops(&dev, true, None);
    assert_eq!(served_by(&dma, Some(&dev)), "xen");
    assert_eq!(dma.arch.xen_get_dma_ops(&dev).name(), "iommu");
    dma.arch.arch_teardown_dma_ops(&dev);
    assert_eq!(served_by(&dma, Some(&dev)), "iommu");
}

#[test]
fn to_set_xens_without_keeping_the_devices_own_loses_them() {
    // The fourth way that was discussed: why it was not taken.
    let (dma, _) = dma(arm(Dispatch::Archdata, true));
    let (own, _) = iommu_ops();
    let dev = device();
    dev.set_dma_ops(Some(own));
    dev.set_dma_ops(Some(&XEN));
    assert_eq!(served_by(&dma, Some(&dev)), "xen");
    assert_eq!(dma.arch.xen_get_dma_ops(&dev).name(), "direct");
}

#[test]
fn an_architecture_without_xen() {
    let (dma, _) = dma(&Other);
    let (iommu, _) = iommu_ops();
    let dev = device();
    assert_eq!(served_by(&dma, None), "direct");
    dma.arch.arch_setup_dma_ops(&dev, true, None);
    assert_eq!(served_by(&dma, Some(&dev)), "direct");
    dma.arch.arch_setup_dma_ops(&dev, true, Some(iommu));
    assert_eq!(served_by(&dma, Some(&dev)), "iommu");
    let addr = map_foreign(&dma, &dev);
    assert_ne!(addr.0 / PAGE_SIZE, MFN);
}
