// SPDX-License-Identifier: MIT OR Apache-2.0
//! `grant_table_op`.

mod copy;
mod map;
mod model;
mod xsa;

use super::*;
use crate::addr::{DomId, Gfn, Gva, Mfn, Pa, PaRange};
use crate::domain::Domain;
use crate::fake::Event;
use crate::guest::copy::GuestMemory;
use crate::guest::shared::SharedPage;
use crate::hw::CacheOp;
use crate::p2m::P2mType;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use std::boxed::Box;
use std::vec::Vec;
use xen_abi::Handle;
use xen_abi::grant::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Frame numbers where domains have nothing.
pub(super) const WINDOW: u64 = 0x10_0000;

pub(super) fn map_op(dom: u16, r#ref: u32, gfn: u64, flags: u32) -> MapGrantRef {
    let host_addr = gfn << 12;
    MapGrantRef {
        host_addr,
        flags,
        r#ref,
        dom,
        status: 9,
        handle: 0x7777,
        dev_bus_addr: 0,
    }
}

fn unmap_op(handle: u32, gfn: u64) -> UnmapGrantRef {
    UnmapGrantRef {
        host_addr: gfn << 12,
        dev_bus_addr: 0,
        handle,
        status: 9,
        _pad: 0,
    }
}

/// The first frame of a domain's table.
fn table_page(machine: &Machine, id: usize) -> SharedPage {
    frame(machine, id, 0)
}

fn frame(machine: &Machine, id: usize, index: u32) -> SharedPage {
    let domain = &machine.guests[id].domain;
    let mfn = domain.grants.frame(index).unwrap().mfn();
    crate::call::page::share(
        machine.sys.map,
        machine.sys.frames.get(mfn, domain.id).unwrap(),
    )
}

impl Guest {
    fn write<T: IntoBytes + Immutable + ?Sized>(&mut self, at: u64, value: &T) {
        let memory = GuestMemory::new(self.domain.sys, self.domain.id);
        memory.write_bytes(Gva(at), value.as_bytes()).unwrap();
    }
}

impl Machine {
    /// Domain `id` grants its page `page` to domain `to`.
    pub(super) fn grant(&self, id: usize, reference: u32, to: u16, page: u64, flags: u16) {
        self.grant_gfn(id, reference, to, self.guests[id].gfn(page), flags);
    }

    pub(super) fn grant_gfn(&self, id: usize, reference: u32, to: u16, gfn: u64, flags: u16) {
        let word = gfn << 32 | u64::from(to) << 16 | u64::from(flags);
        let page = frame(self, id, reference / 512);
        let at = page.atomic_u64((reference % 512) as usize * 8).unwrap();
        at.store(word, Ordering::SeqCst);
    }

    /// The flags of an entry.
    pub(super) fn flags(&self, id: usize, reference: u32) -> u16 {
        let page = frame(self, id, reference / 512);
        page.atomic_u16((reference % 512) as usize * 8)
            .unwrap()
            .load(Ordering::SeqCst)
    }

    /// Domain `id` performs `cmd` on an array.
    pub(super) fn batch<T>(&mut self, id: usize, cmd: u32, ops: &[T]) -> Vec<T>
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        let guest = &mut self.guests[id];
        let at = guest.page(8);
        for (n, op) in (0u64..).zip(ops) {
            guest.write(at + n * size_of::<T>() as u64, op);
        }
        assert_eq!(
            guest.call(GRANT_TABLE_OP, &[cmd.into(), at, ops.len() as u64]),
            0
        );
        (0..ops.len() as u64)
            .map(|n| guest.get(at + n * size_of::<T>() as u64))
            .collect()
    }

    pub(super) fn map(
        &mut self,
        id: usize,
        dom: u16,
        reference: u32,
        gfn: u64,
        flags: u32,
    ) -> MapGrantRef {
        self.batch(id, 0, &[map_op(dom, reference, gfn, flags)])[0]
    }

    pub(super) fn unmap(&mut self, id: usize, handle: u32, gfn: u64) -> i16 {
        self.batch(id, 1, &[unmap_op(handle, gfn)])[0].status
    }

    fn swap(&mut self, id: usize, ref_a: u32, ref_b: u32) -> i16 {
        self.batch(
            id,
            11,
            &[SwapGrantRef {
                ref_a,
                ref_b,
                status: 9,
                _pad: 0,
            }],
        )[0]
        .status
    }

    /// dom0 copies 8 bytes of a grant to its page 6.
    pub(super) fn copy_from(&mut self, dom: u16, reference: u32) -> i16 {
        let source = GrantCopyPtr {
            u: reference.into(),
            domid: dom,
            offset: 0,
            _pad: 0,
        };
        let dest = GrantCopyPtr {
            u: self.guests[0].gfn(6),
            domid: SELF,
            offset: 0,
            _pad: 0,
        };
        let flags = GNTCOPY_SOURCE_GREF;
        self.batch(
            0,
            5,
            &[GrantCopy {
                source,
                dest,
                len: 8,
                flags,
                status: 9,
                _pad: 0,
            }],
        )[0]
        .status
    }

    /// Domain `id` gives up its page; returns how many that were.
    fn decrease(&mut self, id: usize, page: u64) -> i64 {
        let guest = &mut self.guests[id];
        let extent_start = Handle(guest.put(&guest.gfn(page)));
        let request = xen_abi::memory::MemoryReservation {
            extent_start,
            nr_extents: 1,
            extent_order: 0,
            mem_flags: 0,
            domid: SELF,
            _pad: [0; 6],
        };
        guest.op(MEMORY_OP, 1, request).0
    }

    pub(super) fn mapped(&self, id: usize, gfn: u64) -> Option<(u64, P2mType)> {
        self.guests[id]
            .domain
            .p2m
            .lookup(Gfn(gfn))
            .map(|m| (m.mfn.0, m.ty))
    }

    pub(super) fn references(&self, mfn: u64) -> u32 {
        self.sys.frames.state(Mfn(mfn)).unwrap().references()
    }

    /// Flushes since the notes were last taken.
    fn flushes(&self) -> usize {
        let events = self.hw.take_events();
        events
            .iter()
            .filter(|e| matches!(e, Event::FlushStage2(_)))
            .count()
    }
}

/// Performs `cmd` on one structure.
fn one<T>(guest: &mut Guest, cmd: u32, value: T) -> (i64, T)
where
    T: FromBytes + IntoBytes + Immutable,
{
    let at = guest.put(&value);
    let result = guest.call(GRANT_TABLE_OP, &[cmd.into(), at, 1]);
    (result, guest.get(at))
}

#[test]
fn counts_and_commands() {
    let mut machine = Machine::new();
    let guest = machine.dom0();
    for cmd in [0, 1, 3, 5, 7, 13] {
        let answer = guest.call(GRANT_TABLE_OP, &[cmd, NOWHERE, 1]);
        assert!([EFAULT, ENOSYS].contains(&answer), "{cmd}: {answer}");
    }
    for cmd in [3, 13] {
        assert_eq!(guest.call(GRANT_TABLE_OP, &[cmd, 0, 1]), ENOSYS);
    }
    assert_eq!(guest.call(GRANT_TABLE_OP, &[4, 0, 1]), EOPNOTSUPP);
    for cmd in [2, 6, 9] {
        assert_eq!(guest.call(GRANT_TABLE_OP, &[cmd, 0, 0]), EINVAL);
        assert_eq!(guest.call(GRANT_TABLE_OP, &[cmd, 0, 1]), EFAULT);
    }
    let version = guest.put(&1u32);
    for count in [0, 1, 5] {
        assert_eq!(guest.call(GRANT_TABLE_OP, &[8, 0, count]), EFAULT);
        assert_eq!(guest.call(GRANT_TABLE_OP, &[8, version, count]), 0);
    }
    for cmd in [0, 1, 5, 11, 12] {
        assert_eq!(guest.call(GRANT_TABLE_OP, &[cmd, 0, 0]), 0);
    }
    assert_eq!(guest.call(GRANT_TABLE_OP, &[12, 0, 1 << 31]), EINVAL);
    assert_eq!(guest.call(GRANT_TABLE_OP, &[6 | 1 << 12, 0, 1]), EINVAL);
}

#[test]
fn size_and_version() {
    let mut machine = Machine::new();
    let size = |dom| QuerySize {
        dom,
        _pad0: 0,
        nr_frames: 0,
        max_nr_frames: 0,
        status: 9,
        _pad1: 0,
    };
    let (result, op) = one(machine.domu(), 6, size(SELF));
    assert_eq!(
        (result, op.status, op.nr_frames, op.max_nr_frames),
        (0, 0, 1, 64)
    );
    assert_eq!(
        one(machine.domu(), 6, size(NOBODY)).1.status,
        GNTST_BAD_DOMAIN
    );
    assert_eq!(
        one(machine.domu(), 6, size(0)).1.status,
        GNTST_PERMISSION_DENIED
    );
    for (version, answer) in [(1, 0), (2, ENOSYS), (3, EINVAL)] {
        assert_eq!(one(machine.domu(), 8, SetVersion { version }).0, answer);
    }
    let (result, op) = one(
        machine.domu(),
        10,
        GetVersion {
            dom: SELF,
            _pad: 0,
            version: 0,
        },
    );
    assert_eq!((result, op.version), (0, 1));
}

#[test]
fn setup() {
    let mut machine = Machine::new();
    let guest = machine.domu();
    let list = guest.put(&[0u64; 3]);
    let setup = |nr_frames, list| SetupTable {
        dom: SELF,
        _pad0: 0,
        nr_frames,
        status: 9,
        _pad1: [0; 6],
        frame_list: Handle(list),
    };
    assert_eq!(one(guest, 2, setup(65, list)).1.status, GNTST_GENERAL_ERROR);
    assert_eq!(
        one(guest, 2, setup(3, NOWHERE)).1.status,
        GNTST_BAD_VIRT_ADDR
    );
    assert_eq!(guest.call(GRANT_TABLE_OP, &[2, list, 2]), EINVAL);
    guest
        .domain
        .grants
        .map(&guest.domain, 1, Gfn(0x38001))
        .unwrap();
    assert_eq!(one(guest, 2, setup(3, list)).1.status, GNTST_OKAY);
    assert_eq!(guest.get::<[u64; 3]>(list), [u64::MAX, 0x38001, u64::MAX]);
}

#[test]
fn swapping() {
    let mut machine = Machine::new();
    let sys = machine.sys;
    let guest = machine.domu();
    let frame = guest.domain.grants.frame(0).unwrap().mfn();
    let page = sys.frames.get(frame, guest.domain.id).unwrap();
    let page = crate::call::page::share(sys.map, page);
    page.atomic_u64(8 * 8).unwrap().store(11, Ordering::Relaxed);
    let swap = |ref_a, ref_b| SwapGrantRef {
        ref_a,
        ref_b,
        status: 9,
        _pad: 0,
    };
    assert_eq!(one(guest, 11, swap(8, 511)).1.status, GNTST_OKAY);
    assert_eq!(
        page.atomic_u64(511 * 8).unwrap().load(Ordering::Relaxed),
        11
    );
    assert_eq!(page.atomic_u64(8 * 8).unwrap().load(Ordering::Relaxed), 0);
    assert_eq!(one(guest, 11, swap(8, 512)).1.status, GNTST_BAD_GNTREF);
}

fn cache(machine: &mut Machine, a: u64, offset: u16, length: u16, op: u32) -> i64 {
    one(
        machine.dom0(),
        12,
        CacheFlush {
            a,
            offset,
            length,
            op,
        },
    )
    .0
}

#[test]
fn cache_flush() {
    let mut machine = Machine::new();
    let own = Mfn(machine.dom0().mfn.0 + 3).base().0;
    let foreign = machine.domu().mfn.base().0;
    for (a, offset, length, op, answer) in [
        (own, 0, 0, 4, EINVAL),
        (own, 0, 4097, 1, EINVAL),
        (own, 4096, 0, 1, EINVAL),
        (own, 4000, 97, 1, EINVAL),
        (0, 0, 64, 1, EINVAL),
        (0x900_0000, 0, 64, 1, EINVAL),
        (u64::MAX, 0, 64, 1, EINVAL),
        (own, 0, 64, 0x8000_0001, EINVAL),
        (foreign, 0, 64, 1, EINVAL),
        (0, 0, 0, 1, 0),
        (0, 0, 64, 0, 0),
    ] {
        assert_eq!(cache(&mut machine, a, offset, length, op), answer);
    }
    let free = machine
        .sys
        .frames
        .alloc(0, crate::frame::Limits::default())
        .unwrap();
    assert_eq!(cache(&mut machine, free.base().0, 0, 1, 1), EPERM);
    machine.hw.take_events();
    for (op, how) in [
        (1, CacheOp::Clean),
        (2, CacheOp::Invalidate),
        (3, CacheOp::CleanInvalidate),
    ] {
        assert_eq!(cache(&mut machine, own | 0x123, 0xf80, 0x80, op), 0);
        let range = PaRange::new(Pa(own + 0xf80), 0x80).unwrap();
        assert_eq!(machine.hw.take_events(), [Event::Cache(range, how)]);
    }
}

#[test]
fn arrays_go_on_where_they_were_interrupted() {
    let mut machine = Machine::new();
    machine.hw.irq.store(true, Ordering::Relaxed);
    let hw = machine.hw;
    let guest = machine.dom0();
    let a = guest.mfn.base().0;
    let ops = [1u16, 2, 3].map(|length| CacheFlush {
        a,
        offset: 0,
        length,
        op: 1,
    });
    let at = guest.put(&ops);
    hw.take_events();
    assert_eq!(guest.call(GRANT_TABLE_OP, &[12, at, 3]), 0);
    assert_eq!(guest.restarts, 2);
    let lengths: Vec<_> = hw
        .take_events()
        .iter()
        .map(|e| match e {
            Event::Cache(range, _) => range.size(),
            _ => 0,
        })
        .collect();
    assert_eq!(lengths, [1, 2, 3]);
}

#[test]
fn cache_flush_of_a_mapped_page() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    let foreign = (machine.guests[1].mfn.0 + 5) << 12;
    assert_eq!(cache(&mut machine, foreign, 0, 64, 1), EINVAL);
    let one = machine.map(0, 1, 8, WINDOW, GNTMAP_HOST_MAP);
    let two = machine.map(0, 1, 8, WINDOW + 1, GNTMAP_HOST_MAP | GNTMAP_READONLY);
    assert_eq!(one.dev_bus_addr, foreign);
    machine.hw.take_events();
    for handle in [one, two] {
        assert_eq!(cache(&mut machine, foreign | 0x45, 64, 128, 2), 0);
        let range = PaRange::new(Pa(foreign + 64), 128).unwrap();
        assert_eq!(
            machine.hw.take_events(),
            [Event::Cache(range, CacheOp::Invalidate)]
        );
        assert_eq!(cache(&mut machine, foreign + 4096, 0, 64, 1), EINVAL);
        assert_eq!(
            machine.unmap(0, handle.handle, handle.host_addr >> 12),
            GNTST_OKAY
        );
        machine.hw.take_events();
    }
    assert_eq!(cache(&mut machine, foreign, 0, 64, 1), EINVAL);
    assert_eq!(machine.references(foreign >> 12), 1);
}

/// Ends the only mapping of a page that dom0 has, and the granter's ownership of it, as another CPU may while the page
/// is maintained.
struct EndsMapping {
    mapper: Arc<Domain>,
    granter: Arc<Domain>,
    mapping: MapGrantRef,
}

impl crate::fake::Caches for EndsMapping {
    fn maintain(&mut self, range: PaRange, _: CacheOp) {
        let gfn = Gfn(self.mapping.host_addr >> 12);
        let taken = crate::grant::map::take(&self.mapper, self.mapping.handle, gfn).unwrap();
        crate::grant::map::finish(&self.mapper, &[Some(taken)]);
        let (frames, mfn) = (self.granter.sys.frames, range.start.frame());
        self.granter.p2m.remove(Gfn(DOMU_GFN + 5), 1).unwrap();
        assert!(frames.release_allocation(mfn, self.granter.id));
        // Nobody is given the page until it has been maintained.
        let state = frames.state(mfn).unwrap();
        assert_eq!(
            (state.owner(), state.references()),
            (Some(self.granter.id), 1)
        );
    }
    fn write_zeroes(&mut self, _: PaRange) {}
}

#[test]
fn a_page_stays_while_it_is_maintained() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    let mapping = machine.map(0, 1, 8, WINDOW, GNTMAP_HOST_MAP);
    // Another page goes first: tables are allocated, and scrubbed, now.
    let granter = &machine.guests[1].domain;
    granter.p2m.remove(Gfn(DOMU_GFN + 6), 1).unwrap();
    *machine.hw.caches.lock().unwrap() = Some(Box::new(EndsMapping {
        mapper: machine.guests[0].domain.clone(),
        granter: machine.guests[1].domain.clone(),
        mapping,
    }));
    assert_eq!(cache(&mut machine, mapping.dev_bus_addr, 0, 4096, 3), 0);
    let mfn = Pa(mapping.dev_bus_addr).frame();
    assert_eq!(machine.sys.frames.state(mfn).unwrap().owner(), None);
    assert_eq!(cache(&mut machine, mapping.dev_bus_addr, 0, 4096, 3), EPERM);
}
