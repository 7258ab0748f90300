// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain is destroyed while devices write to its pages: they hit nobody else.

use crate::kernel::Phase;
use crate::world::World;
use guest_stub::dma::{Direction, Dispatch, PAGE_SIZE, Phys};
use hv_core::addr::{Gfn, Mfn};
use hv_core::call::testing::Machine;
use xen_abi::Handle;
use xen_abi::domctl::{Domctl, XEN_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_INTERFACE_VERSION};
use xen_abi::hypercall::{DOMCTL, MEMORY_OP};
use xen_abi::memory::{MemoryReservation, XENMEM_POPULATE_PHYSMAP};
use xen_abi::xen::DOMID_SELF;
use zerocopy::FromZeros;

/// Where d2 has the pages it is given.
const TO: u64 = 0x8_0000;
/// A device that is not coherent, and no IOMMU.
const DISK: usize = 0;

fn destroy(machine: &mut Machine, id: u16) {
    let mut argument = Domctl::new_zeroed();
    argument.cmd = XEN_DOMCTL_DESTROYDOMAIN;
    argument.interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    argument.domain = id;
    let dom0 = machine.dom0();
    let at = dom0.put(&argument);
    assert_eq!(dom0.call(DOMCTL, &[at]), 0);
}

/// d2 takes all the memory that it can have, one page after another.
fn take_all(machine: &mut Machine) -> Vec<u64> {
    let guest = &mut machine.guests[2];
    let taken = |n: &u64| {
        let frame = guest.put(&(TO + n));
        let argument = MemoryReservation {
            extent_start: Handle(frame),
            nr_extents: 1,
            extent_order: 0,
            mem_flags: 0,
            domid: DOMID_SELF,
            _pad: [0; 6],
        };
        guest
            .op(MEMORY_OP, XENMEM_POPULATE_PHYSMAP.into(), argument)
            .0
            == 1
    };
    let frames: Vec<u64> = (0..4096).take_while(taken).map(|n| TO + n).collect();
    let p2m = &machine.guests[2].domain.p2m;
    let page = |frame| p2m.lookup(Gfn(frame)).unwrap().mfn.0;
    frames.into_iter().map(page).collect()
}

#[test]
fn no_page_is_used_again_before_dma_has_ended() {
    let mut world = World::new(Dispatch::Archdata);
    world.map_grants(0, [0, 1, 2], false);
    let (phys, size) = (
        Phys((world.window(0) + 1) * PAGE_SIZE),
        3 * PAGE_SIZE as usize,
    );
    let pages: Vec<u64> = (0..3).map(|n| world.granted(0, n).1).collect();
    let device = &world.disks[DISK].device;
    let direction = Direction::FromDevice;
    let addr = world.dma.map_page(device, phys, size, direction).unwrap();
    assert_eq!(addr.0, pages[0] * PAGE_SIZE);

    let mut machine = world.kernel.machine.lock().unwrap();
    machine.guests[2]
        .domain
        .max_pages
        .store(u32::MAX, std::sync::atomic::Ordering::Relaxed);
    destroy(&mut machine, 1);
    let taken = take_all(&mut machine);
    let frames = machine.sys.frames;
    drop(machine);
    assert!(taken.len() > 500, "d1's other pages are free");
    assert!(!taken.iter().any(|page| pages.contains(page)));

    // The device goes on, and dom0 maintains caches of the dead domain's pages.
    world.device_write(DISK, addr.0, &vec![0x5a; size]).unwrap();
    world.kernel.begin(Phase::Unmap);
    world.dma.unmap_page(device, addr, size, direction).unwrap();
    let mut bytes = vec![0; size];
    world.kernel.read(0, phys.0, &mut bytes);
    assert!(bytes.iter().all(|&byte| byte == 0x5a));
    for page in &taken {
        let mut bytes = [1; PAGE_SIZE as usize];
        let mut caches = world.caches.lock().unwrap();
        caches.device_read(false, page * PAGE_SIZE, &mut bytes);
        assert_eq!(bytes, [0; PAGE_SIZE as usize], "page {page:#x}");
    }
    for page in &pages {
        assert!(frames.state(Mfn(*page)).unwrap().owner().is_some());
    }
    world.unmap_grants();
    for page in &pages {
        assert_eq!(frames.state(Mfn(*page)).unwrap().owner(), None);
    }
}
