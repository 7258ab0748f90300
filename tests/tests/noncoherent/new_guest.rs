// SPDX-License-Identifier: MIT OR Apache-2.0
//! A new guest starts with its caches off: what it is given must be in RAM, and stay as it is.

use crate::caches::HypervisorFault;
use crate::world::World;
use guest_stub::dma::{Dispatch, PAGE_SIZE};
use hv_core::call::testing::Guest;
use xen_abi::Handle;
use xen_abi::hypercall::MEMORY_OP;
use xen_abi::memory::{MemoryReservation, XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP};
use xen_abi::xen::DOMID_SELF;

/// Pages that go from d1 to d2.
const PAGES: u64 = 16;
/// d1's first of them, and where d2 wants them.
const FROM: u64 = 256;
const TO: u64 = 0x8_0000;

fn reservation(guest: &mut Guest, op: u32, frames: [u64; PAGES as usize]) {
    let list = guest.put(&frames);
    let argument = MemoryReservation {
        extent_start: Handle(list),
        nr_extents: PAGES,
        extent_order: 0,
        mem_flags: 0,
        domid: DOMID_SELF,
        _pad: [0; 6],
    };
    let (done, _) = guest.op(MEMORY_OP, op.into(), argument);
    assert_eq!(done, PAGES as i64);
}

/// d1 writes secrets and gives the pages up; d2 is given pages, some of them the same. Returns d2's pages that are not
/// zero in RAM, whatever caches do of themselves.
fn pages_not_zero(fault: Option<HypervisorFault>, seed: u64) -> usize {
    let world = World::new(Dispatch::Archdata);
    world.caches.lock().unwrap().random = crate::random::Random::new(seed);
    let mut frames = [0; PAGES as usize];
    for (n, frame) in (FROM..).zip(&mut frames) {
        *frame = world.kernel.machine.lock().unwrap().guests[1].gfn(n);
        let secret = [0x77; PAGE_SIZE as usize];
        world.kernel.write(1, *frame * PAGE_SIZE, &secret);
    }
    let old: Vec<u64> = frames.map(|frame| world.machine_page(1, frame)).into();
    world.caches.lock().unwrap().fault = fault;
    let mut machine = world.kernel.machine.lock().unwrap();
    reservation(&mut machine.guests[1], XENMEM_DECREASE_RESERVATION, frames);
    let wanted: [u64; PAGES as usize] = std::array::from_fn(|n| TO + n as u64);
    reservation(&mut machine.guests[2], XENMEM_POPULATE_PHYSMAP, wanted);
    drop(machine);
    let new: Vec<u64> = wanted.map(|frame| world.machine_page(2, frame)).into();
    assert!(
        new.iter().any(|page| old.contains(page)),
        "no page went over"
    );
    let mut caches = world.caches.lock().unwrap();
    caches.fault = None;
    let hot: Vec<_> = new
        .iter()
        .map(|page| page * PAGE_SIZE..(page + 1) * PAGE_SIZE)
        .collect();
    caches.set_hot(&hot);
    caches.noise(200);
    let mut not_zero = |page: &&u64| {
        let mut bytes = [1; PAGE_SIZE as usize];
        caches.device_read(false, **page * PAGE_SIZE, &mut bytes);
        bytes != [0; PAGE_SIZE as usize]
    };
    new.iter().filter(|page| not_zero(page)).count()
}

#[test]
fn a_new_guest_sees_zeroes_with_its_caches_off() {
    for seed in 0..4 {
        assert_eq!(pages_not_zero(None, seed), 0);
    }
}

#[test]
fn were_its_memory_not_cleaned_it_would_not() {
    for fault in [
        HypervisorFault::ScrubDoesNotClean,
        HypervisorFault::OneCpuOnly,
    ] {
        assert_ne!(pages_not_zero(Some(fault), 1), 0, "{fault:?}");
    }
}
