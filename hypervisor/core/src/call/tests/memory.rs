// SPDX-License-Identifier: MIT OR Apache-2.0
//! `memory_op`.

use super::*;
use crate::addr::{DomId, Gfn, Mfn};
use crate::p2m::P2mType;
use core::sync::atomic::Ordering;
use xen_abi::Handle;
use xen_abi::memory::*;

pub(super) fn add(domid: u16, space: u32, idx: u64, gpfn: u64) -> AddToPhysmap {
    AddToPhysmap {
        domid,
        size: 1,
        space,
        idx,
        gpfn,
    }
}

pub(super) fn reservation(
    domid: u16,
    extents: u64,
    nr_extents: u64,
    extent_order: u32,
) -> MemoryReservation {
    MemoryReservation {
        extent_start: Handle(extents),
        nr_extents,
        extent_order,
        mem_flags: 0,
        domid,
        _pad: [0; 6],
    }
}

/// A reservation operation on frame numbers.
pub(super) fn change(guest: &mut Guest, op: u32, domid: u16, gfns: &[u64], order: u32) -> i64 {
    let list = guest.put(gfns);
    let request = reservation(domid, list, gfns.len() as u64, order);
    guest.op(MEMORY_OP, op.into(), request).0
}

#[test]
fn null_arguments() {
    let mut machine = Machine::new();
    let guest = machine.dom0();
    let mut answers = [ENOSYS; 64];
    for op in [0, 1, 6, 18, 19] {
        answers[op] = 0;
    }
    for op in [3, 4, 7, 11, 14, 15, 23, 24, 26, 27, 28] {
        answers[op] = EFAULT;
    }
    answers[2] = 0x40c00;
    for (op, answer) in (0..64).zip(answers) {
        assert_eq!(guest.call(MEMORY_OP, &[op, 0]), answer, "{op}");
    }
}

#[test]
fn counts() {
    let mut machine = Machine::new();
    let ask = |guest: &mut Guest, op, domid| guest.op(MEMORY_OP, op, DomidArg { domid }).0;
    assert_eq!(ask(machine.dom0(), 3, SELF), PAGES as i64);
    assert_eq!(ask(machine.dom0(), 3, 1), PAGES as i64);
    assert_eq!(ask(machine.dom0(), 3, NOBODY), ESRCH);
    assert_eq!(ask(machine.domu(), 3, 0), EPERM);
    assert_eq!(ask(machine.domu(), 4, SELF), 2 * PAGES as i64);
    assert_eq!(ask(machine.domu(), 14, SELF), (DOMU_GFN + PAGES - 1) as i64);
    machine.hw.irq.store(true, Ordering::Relaxed);
    assert_eq!(ask(machine.domu(), 14, SELF), (DOMU_GFN + PAGES - 1) as i64);
    assert_eq!(machine.domu().call(MEMORY_OP, &[3 | 1 << 6, 0]), EINVAL);
}

#[test]
fn shared_info_and_grant_frames() {
    let mut machine = Machine::new();
    let tot = machine.domu().tot_pages();
    let guest = machine.domu();
    let gfn = guest.gfn(100);
    let op = |guest: &mut Guest, a| guest.op(MEMORY_OP, 7, a).0;
    assert_eq!(op(guest, add(SELF, 0, 0, gfn)), 0);
    let mapped = guest.domain.p2m.lookup(Gfn(gfn)).unwrap();
    assert_eq!(mapped.mfn, guest.domain.shared_info.mfn());
    assert_eq!(op(guest, add(SELF, 0, 0, gfn + 1)), EBUSY);
    assert_eq!(op(guest, add(SELF, 0, 1, gfn)), EINVAL);
    assert_eq!(op(guest, add(SELF, 1, 0, u64::MAX)), EINVAL);
    assert_eq!(op(guest, add(SELF, 1, 0, 1 << 40)), EINVAL);
    assert_eq!(op(guest, add(SELF, 1, 64, gfn)), EINVAL);
    assert_eq!(op(guest, add(SELF, 1, 0x8000_0000, gfn)), EINVAL);
    assert_eq!(op(guest, add(SELF, 1, 0, 0x38000)), 0);
    assert_eq!(op(guest, add(SELF, 1, 0, 0x38000)), EBUSY);
    // A page that another takes the place of can be mapped again.
    assert_eq!(op(guest, add(SELF, 1, 2, gfn)), 0);
    assert_eq!(op(guest, add(SELF, 0, 0, gfn + 1)), 0);
    for space in [2, 3, 4, 9] {
        assert_eq!(op(guest, add(SELF, space, 0, gfn)), ENOSYS);
    }
    assert_eq!(op(guest, add(SELF, 5, 0x9030, gfn)), EACCES);
    assert_eq!(op(guest, add(NOBODY, 0, 0, gfn)), ESRCH);
    assert_eq!(op(guest, add(0, 0, 0, gfn)), EPERM);
    // What was replaced is still the domain's.
    assert_eq!(guest.tot_pages(), tot);
}

#[test]
fn devices() {
    let mut machine = Machine::new();
    let guest = machine.dom0();
    let p2m = &guest.domain.p2m;
    p2m.insert(Gfn(0x9000), Mfn(0x9000), 1, P2mType::MmioDevice)
        .unwrap();
    assert_eq!(guest.op(MEMORY_OP, 7, add(SELF, 5, 0x9030, 0x100)).0, 0);
    assert_eq!(guest.domain.p2m.lookup(Gfn(0x100)), None);
    assert_eq!(guest.op(MEMORY_OP, 7, add(SELF, 5, 0x9000, 0x100)).0, 0);
    let mapped = guest.domain.p2m.lookup(Gfn(0x100)).unwrap();
    assert_eq!((mapped.mfn, mapped.ty), (Mfn(0x9000), P2mType::MmioCached));
    // RAM is no device.
    let ram = guest.gfn(3);
    assert_eq!(guest.op(MEMORY_OP, 7, add(SELF, 5, ram, 0x101)).0, 0);
    assert_eq!(guest.domain.p2m.lookup(Gfn(0x101)), None);
}

fn remove(guest: &mut Guest, gpfn: u64) -> i64 {
    let arg = RemoveFromPhysmap {
        domid: SELF,
        _pad: [0; 6],
        gpfn,
    };
    guest.op(MEMORY_OP, 15, arg).0
}

#[test]
fn removing() {
    let mut machine = Machine::new();
    let guest = machine.domu();
    let gfn = guest.gfn(200);
    assert_eq!(guest.op(MEMORY_OP, 7, add(SELF, 0, 0, gfn)).0, 0);
    assert_eq!(remove(guest, gfn), 0);
    assert_eq!(remove(guest, gfn), ENOENT);
    assert_eq!(remove(guest, u64::MAX), ENOENT);
    assert_eq!(guest.op(MEMORY_OP, 7, add(SELF, 0, 0, gfn)).0, 0);
}

/// Maps pages of d1 into dom0.
fn map_foreign(machine: &mut Machine, idxs: &[u64], gpfns: &[u64]) -> (i64, std::vec::Vec<i32>) {
    let guest = machine.dom0();
    let (idx_at, gpfn_at) = (guest.put(idxs), guest.put(gpfns));
    let errs = guest.put(&[99i32; 8]);
    let batch = AddToPhysmapBatch {
        domid: SELF,
        space: 4,
        size: idxs.len() as u16,
        foreign_domid: 1,
        idxs: Handle(idx_at),
        gpfns: Handle(gpfn_at),
        errs: Handle(errs),
    };
    let result = guest.op(MEMORY_OP, 23, batch).0;
    (result, guest.get::<[i32; 8]>(errs)[..idxs.len()].to_vec())
}

#[test]
fn foreign_pages() {
    let mut machine = Machine::new();
    let mfn = Mfn(machine.domu().mfn.0 + 5);
    let references = |m: &Machine| m.sys.frames.state(mfn).map_or(0, |s| s.references());
    let idxs = [DOMU_GFN + 5, 1, DOMU_GFN + 5];
    assert_eq!(
        map_foreign(&mut machine, &idxs, &[0x10, 0x11, u64::MAX]),
        (0, std::vec![0, -22, -22])
    );
    assert_eq!(references(&machine), 2);
    // The owner gives it up: it stays as long as it is mapped.
    let tot = machine.domu().tot_pages();
    assert_eq!(change(machine.domu(), 1, SELF, &[DOMU_GFN + 5], 0), 1);
    assert_eq!((references(&machine), machine.domu().tot_pages()), (1, tot));
    assert_eq!(remove(machine.dom0(), 0x10), 0);
    assert_eq!(machine.domu().tot_pages(), tot - 1);
}

#[test]
fn foreign_refusals() {
    let mut machine = Machine::new();
    let batch = |foreign_domid, space| AddToPhysmapBatch {
        domid: SELF,
        space,
        size: 1,
        foreign_domid,
        idxs: Handle(0),
        gpfns: Handle(0),
        errs: Handle(0),
    };
    assert_eq!(machine.dom0().op(MEMORY_OP, 23, batch(1, 3)).0, EOPNOTSUPP);
    assert_eq!(machine.dom0().op(MEMORY_OP, 23, batch(1, 5)).0, EOPNOTSUPP);
    assert_eq!(machine.dom0().op(MEMORY_OP, 23, batch(1, 4)).0, EFAULT);
    for (who, owner, answer) in [
        (0, 0, -1),
        (0, SELF, -3),
        (0, 0x7ff2, -22),
        (0, NOBODY, -3),
        (1, 2, -1),
        (1, 0, -1),
    ] {
        let guest = &mut machine.guests[who];
        let idx = guest.put(&DOMU_GFN);
        let gfn = guest.put(&0x20u64);
        let errs = guest.put(&0i32);
        let mut op = batch(owner, 4);
        (op.idxs, op.gpfns, op.errs) = (Handle(idx), Handle(gfn), Handle(errs));
        assert_eq!(guest.op(MEMORY_OP, 23, op).0, 0);
        assert_eq!(guest.get::<i32>(errs), answer);
    }
}

#[test]
fn a_batch_goes_on_where_it_was_interrupted() {
    let mut machine = Machine::new();
    machine.hw.irq.store(true, Ordering::Relaxed);
    let idxs = core::array::from_fn::<u64, 5, _>(|n| DOMU_GFN + n as u64);
    let gpfns = [0x30, 0x31, 0x32, 0x33, 0x34];
    assert_eq!(
        map_foreign(&mut machine, &idxs, &gpfns),
        (0, std::vec![0; 5])
    );
    assert_eq!(machine.dom0().restarts, 4);
}

#[test]
fn balloon_of_a_domu() {
    let mut machine = Machine::new();
    let free = machine.sys.frames.free_pages();
    let guest = machine.domu();
    let gfns = [300, 301, 302].map(|n| DOMU_GFN + n);
    assert_eq!(change(guest, 1, SELF, &gfns, 0), 3);
    assert_eq!(guest.tot_pages(), PAGES as u32 - 3);
    assert_eq!(change(guest, 1, SELF, &gfns, 0), 0, "not there any more");
    assert_eq!(change(guest, 6, SELF, &gfns, 0), 3);
    assert_eq!(guest.tot_pages(), PAGES as u32);
    assert_eq!(
        machine.sys.frames.free_pages(),
        free - 1,
        "the table of the split block"
    );
    // Limits.
    let guest = machine.domu();
    assert_eq!(change(guest, 6, SELF, &[1 << 40], 0), 0);
    assert_eq!(change(guest, 6, NOBODY, &[5], 0), 0);
    assert_eq!(change(guest, 6, 0, &[5], 0), 0, "not permitted");
    assert_eq!(change(guest, 6, SELF, &[5], 10), 0);
    assert_eq!(change(guest, 6, SELF, &[0x100], 9), 1);
    assert_eq!(change(guest, 6, SELF, &[0x400], 0), 0, "over max_pages");
    assert_eq!(change(guest, 1, SELF, &[0x100], 9), 1);
    assert_eq!(change(guest, 6, SELF, &[0x400, 0x400], 0), 2);
    assert_eq!(guest.tot_pages(), PAGES as u32 + 2);
    assert_eq!(change(guest, 0, SELF, &[0, 0, 0], 0), 3);
    assert_eq!(guest.tot_pages(), PAGES as u32 + 5);
}

#[test]
fn new_pages_are_zero() {
    let mut machine = Machine::new();
    let guest = machine.domu();
    assert_eq!(change(guest, 6, SELF, &[0x900], 0), 1);
    let (page, _) = guest
        .domain
        .p2m
        .page(Gfn(0x900), crate::p2m::Access::Read)
        .unwrap();
    let page = crate::call::page::share(machine.sys.map, page);
    let mut bytes = [1; 4096];
    page.read(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|&b| b == 0));
}

#[test]
fn a_direct_mapped_domain_keeps_its_pages() {
    let mut machine = Machine::new();
    let other = machine.domu().mfn.0;
    let guest = machine.dom0();
    let gfn = guest.gfn(40);
    assert_eq!(change(guest, 1, SELF, &[gfn], 0), 1);
    assert_eq!(guest.tot_pages(), PAGES as u32);
    assert_eq!(guest.domain.p2m.lookup(Gfn(gfn)), None);
    assert_eq!(change(guest, 6, SELF, &[gfn], 0), 1);
    assert_eq!(guest.domain.p2m.lookup(Gfn(gfn)).unwrap().mfn, Mfn(gfn));
    assert_eq!(change(guest, 6, SELF, &[other], 0), 0, "not its own");
    assert_eq!(guest.tot_pages(), PAGES as u32);
}

#[test]
fn a_xen_page_is_unmapped_not_freed() {
    let mut machine = Machine::new();
    let guest = machine.domu();
    let gfn = guest.gfn(7);
    assert_eq!(guest.op(MEMORY_OP, 7, add(SELF, 0, 0, gfn)).0, 0);
    assert_eq!(change(guest, 1, SELF, &[gfn], 0), 1);
    let state = machine
        .sys
        .frames
        .state(machine.guests[1].domain.shared_info.mfn());
    assert!(state.is_some_and(|s| s.is_allocated() && s.owner() == Some(DomId(1))));
    assert_eq!(machine.domu().op(MEMORY_OP, 7, add(SELF, 0, 0, gfn)).0, 0);
}

#[test]
fn a_reservation_goes_on_where_it_was_interrupted() {
    let mut machine = Machine::new();
    machine.hw.irq.store(true, Ordering::Relaxed);
    let guest = machine.domu();
    let gfns = core::array::from_fn::<u64, 20, _>(|n| 0x1000 + n as u64);
    assert_eq!(change(guest, 6, SELF, &gfns, 0), 20);
    assert_eq!(guest.restarts, 19);
    assert_eq!(change(guest, 1, SELF, &gfns, 0), 20);
    assert_eq!(guest.tot_pages(), PAGES as u32);
}

#[test]
fn resources() {
    let mut machine = Machine::new();
    let ask = |domid, id, ty| AcquireResource {
        domid,
        r#type: ty,
        id,
        nr_frames: 0,
        pad: 0,
        frame: 0,
        frame_list: Handle(0),
    };
    let guest = machine.dom0();
    for (domid, id, ty, answer) in [
        (SELF, 0, 1, ESRCH),
        (0, 0, 1, EPERM),
        (NOBODY, 0, 1, ESRCH),
        (1, 1, 1, EINVAL),
        (1, 0, 0, EINVAL),
        (1, 0, 7, EINVAL),
    ] {
        assert_eq!(guest.op(MEMORY_OP, 28, ask(domid, id, ty)).0, answer);
    }
    let mut padded = ask(1, 0, 1);
    padded.pad = 1;
    assert_eq!(guest.op(MEMORY_OP, 28, padded).0, EINVAL);
    let (result, size) = guest.op(MEMORY_OP, 28, ask(1, 0, 1));
    assert_eq!((result, size.nr_frames), (0, 64));
    let list = guest.put(&[0x50u64]);
    let mut one = ask(1, 0, 1);
    (one.nr_frames, one.frame_list) = (1, Handle(list));
    assert_eq!(guest.op(MEMORY_OP, 28, one).0, 0);
    let mapped = guest.domain.p2m.lookup(Gfn(0x50)).unwrap();
    assert_eq!(mapped.ty, P2mType::ForeignRw);
    assert_eq!(machine.domu().op(MEMORY_OP, 28, ask(2, 0, 1)).0, EPERM);
    let frame = machine.domu().domain.grants.frame(0).unwrap();
    assert_eq!(mapped.mfn, frame.mfn());
}
