// SPDX-License-Identifier: MIT OR Apache-2.0
//! Holes that Xen had: each is tried, by the number of its advisory.

use super::*;
use crate::p2m::P2mType;

#[test]
fn xsa_134_swapping_entries_in_use() {
    let mut machine = Machine::new();
    machine.grant(0, 8, 0, 5, GTF_PERMIT_ACCESS);
    let handle = machine.map(0, 0, 8, WINDOW, 2).handle;
    assert_eq!(machine.swap(0, 8, 9), GNTST_EAGAIN);
    assert_eq!(machine.swap(0, 9, 8), GNTST_EAGAIN);
    assert_eq!(machine.swap(0, 8, 8), GNTST_OKAY);
    assert_eq!(machine.unmap(0, handle, WINDOW), GNTST_OKAY);
    assert_eq!(machine.swap(0, 8, 9), GNTST_OKAY);
    assert_eq!(
        (machine.flags(0, 8), machine.flags(0, 9)),
        (0, GTF_PERMIT_ACCESS)
    );
}

#[test]
fn xsa_218_228_handles_are_unique_under_contention() {
    let machine = Machine::new();
    machine.grant(0, 8, 0, 5, GTF_PERMIT_ACCESS);
    let mfn = machine.guests[0].mfn.0 + 5;
    let idle = machine.references(mfn);
    let domain = machine.guests[0].domain.clone();
    std::thread::scope(|scope| {
        for thread in 0..2u64 {
            let domain = &domain;
            scope.spawn(move || {
                use crate::grant::map::{Request, finish, map, take};
                for n in 0..400 {
                    let gfn = Gfn(WINDOW + thread * 1000 + n);
                    let request = Request {
                        reference: 8,
                        gfn,
                        readonly: n % 2 == 0,
                    };
                    let (handle, _) = map(domain, domain, request).unwrap();
                    let taken = take(domain, handle, gfn).unwrap();
                    finish(domain, &[Some(taken)]);
                }
            });
        }
    });
    assert_eq!(machine.references(mfn), idle);
    assert_eq!(machine.flags(0, 8), GTF_PERMIT_ACCESS);
}

#[test]
fn xsa_224_394_a_wrong_unmap_changes_nothing() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    let one = machine.map(0, 1, 8, WINDOW, 2);
    let two = machine.map(0, 1, 8, WINDOW + 1, 2);
    let mfn = one.dev_bus_addr >> 12;
    let held = machine.references(mfn);
    // The same page, by another mapping of it.
    assert_eq!(
        machine.unmap(0, one.handle, WINDOW + 1),
        GNTST_GENERAL_ERROR
    );
    assert_eq!(machine.references(mfn), held);
    assert!(machine.mapped(0, WINDOW).is_some() && machine.mapped(0, WINDOW + 1).is_some());
    // Nothing was mapped for a device, so what is said of one does not matter.
    let device = UnmapGrantRef {
        dev_bus_addr: 0x1234_5000,
        ..unmap_op(one.handle, WINDOW)
    };
    assert_eq!(machine.batch(0, 1, &[device])[0].status, GNTST_OKAY);
    assert_eq!(machine.batch(0, 1, &[device])[0].status, GNTST_BAD_HANDLE);
    assert_eq!(machine.references(mfn), held - 1);
    assert_eq!(machine.unmap(0, two.handle, WINDOW + 1), GNTST_OKAY);
}

#[test]
fn xsa_226_transitive_grants_are_refused() {
    let mut machine = Machine::new();
    for flags in [GTF_TRANSITIVE, GTF_ACCEPT_TRANSFER] {
        machine.grant(1, 8, 0, 5, flags);
        assert_eq!(machine.map(0, 1, 8, WINDOW, 2).status, GNTST_GENERAL_ERROR);
        assert_eq!(machine.copy_from(1, 8), GNTST_GENERAL_ERROR);
        assert_eq!(machine.flags(1, 8), flags);
    }
}

#[test]
fn xsa_230_a_copy_leaves_the_marks_of_mappings() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    let reading = machine.map(0, 1, 8, WINDOW, 2 | 4);
    assert_eq!(machine.copy_from(1, 8), GNTST_OKAY);
    assert_eq!(machine.flags(1, 8), GTF_PERMIT_ACCESS | GTF_READING);
    let writing = machine.map(0, 1, 8, WINDOW + 1, 2);
    assert_eq!(machine.copy_from(1, 8), GNTST_OKAY);
    assert_eq!(
        machine.flags(1, 8),
        GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING
    );
    assert_eq!(machine.unmap(0, reading.handle, WINDOW), GNTST_OKAY);
    assert_eq!(
        machine.flags(1, 8),
        GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING
    );
    assert_eq!(machine.unmap(0, writing.handle, WINDOW + 1), GNTST_OKAY);
    // What was granted to read stays so, in use or not.
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS | GTF_READONLY);
    machine.map(0, 1, 8, WINDOW, 2 | 4);
    assert_eq!(
        machine.map(0, 1, 8, WINDOW + 1, 2).status,
        GNTST_GENERAL_ERROR
    );
    assert_eq!(
        machine.flags(1, 8),
        GTF_PERMIT_ACCESS | GTF_READONLY | GTF_READING
    );
}

#[test]
fn xsa_232_cache_flush_of_nobodys_page() {
    let mut machine = Machine::new();
    let mfn = machine
        .sys
        .frames
        .alloc(0, crate::frame::Limits::default())
        .unwrap();
    let state = machine.sys.frames.state(mfn);
    assert_eq!(cache(&mut machine, mfn.base().0, 0, 64, 1), EPERM);
    assert_eq!(machine.sys.frames.state(mfn), state);
}

#[test]
fn xsa_235_255_errors_leave_no_lock_and_no_frame() {
    let mut machine = Machine::new();
    let guest = machine.dom0();
    let add = |idx| xen_abi::memory::AddToPhysmap {
        domid: SELF,
        size: 0,
        space: xen_abi::memory::XENMAPSPACE_GRANT_TABLE,
        idx,
        gpfn: WINDOW + idx,
    };
    for idx in [64, 65, 1 << 31, u64::MAX >> 13] {
        assert_eq!(guest.op(MEMORY_OP, 7, add(idx)).0, EINVAL);
        assert_eq!(guest.domain.grants.size(), (1, 64));
    }
    for idx in [63, 0] {
        assert_eq!(guest.op(MEMORY_OP, 7, add(idx)).0, 0);
    }
    assert_eq!(guest.domain.grants.size(), (64, 64));
    machine.grant(0, 64 * 512 - 1, 0, 5, GTF_PERMIT_ACCESS);
    assert_eq!(
        machine.map(0, 0, 64 * 512 - 1, WINDOW + 100, 2).status,
        GNTST_OKAY
    );
    assert_eq!(
        machine.map(0, 0, 64 * 512, WINDOW + 101, 2).status,
        GNTST_BAD_GNTREF
    );
}

#[test]
fn xsa_236_252_a_granted_page_outlives_its_owners_use() {
    let mut machine = Machine::new();
    let mfn = machine.guests[1].mfn.0 + 5;
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    let op = machine.map(0, 1, 8, WINDOW, 2);
    assert_eq!(machine.decrease(1, 5), 1);
    assert_eq!(
        machine.sys.frames.state(Mfn(mfn)).unwrap().owner(),
        Some(DomId(1))
    );
    assert_eq!(machine.guests[1].tot_pages(), 512);
    assert_eq!(machine.mapped(0, WINDOW), Some((mfn, P2mType::GrantRw)));
    // More uses of the same grant are of the page it is pinned to.
    assert_eq!(machine.copy_from(1, 8), GNTST_OKAY);
    assert_eq!(machine.unmap(0, op.handle, WINDOW), GNTST_OKAY);
    assert_eq!(machine.guests[1].tot_pages(), 511);
    assert_eq!(machine.map(0, 1, 8, WINDOW, 2).status, GNTST_BAD_PAGE);
}

#[test]
fn xsa_252_mapped_grants_are_not_given_up() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    let op = machine.map(0, 1, 8, WINDOW, 2);
    let dom0 = machine.dom0();
    let remove = xen_abi::memory::RemoveFromPhysmap {
        domid: SELF,
        _pad: [0; 6],
        gpfn: WINDOW,
    };
    assert_eq!(dom0.op(MEMORY_OP, 15, remove).0, ENOENT);
    let add = xen_abi::memory::AddToPhysmap {
        domid: SELF,
        size: 0,
        space: xen_abi::memory::XENMAPSPACE_SHARED_INFO,
        idx: 0,
        gpfn: WINDOW,
    };
    assert_eq!(dom0.op(MEMORY_OP, 7, add).0, EBUSY);
    assert_eq!(machine.unmap(0, op.handle, WINDOW), GNTST_OKAY);
}

#[test]
fn xsa_295_411_an_entry_that_never_rests() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    let page = table_page(&machine, 1);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let word = page.atomic_u64(8 * 8).unwrap();
            while !stop.load(Ordering::Relaxed) {
                word.fetch_xor(1 << 60, Ordering::Relaxed);
            }
        });
        for _ in 0..200 {
            let op = machine.map(0, 1, 8, WINDOW, 2);
            match op.status {
                GNTST_OKAY => assert_eq!(machine.unmap(0, op.handle, WINDOW), GNTST_OKAY),
                status => assert!([GNTST_GENERAL_ERROR, GNTST_BAD_PAGE].contains(&status)),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(machine.references(machine.guests[1].mfn.0 + 5), 1);
}

#[test]
fn xsa_316_a_failed_map_says_so() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    machine.map(0, 1, 8, WINDOW, 2);
    let op = machine.map(0, 1, 8, WINDOW, 2);
    assert_eq!(op.status, GNTST_GENERAL_ERROR);
    assert_eq!(machine.unmap(0, op.handle, WINDOW), GNTST_BAD_HANDLE);
}

#[test]
fn xsa_318_an_interrupted_copy_goes_on_where_it_was() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    machine.hw.irq.store(true, Ordering::Relaxed);
    let from = machine.guests[1].page(5);
    let bytes: Vec<u8> = (0..100).collect();
    machine.guests[1].write(from, &bytes[..]);
    let gfn = machine.guests[0].gfn(6);
    let ops: Vec<_> = (0..100u16)
        .map(|n| GrantCopy {
            source: GrantCopyPtr {
                u: 8,
                domid: 1,
                offset: n,
                _pad: 0,
            },
            dest: GrantCopyPtr {
                u: gfn,
                domid: SELF,
                offset: 200 - n,
                _pad: 0,
            },
            len: 1,
            flags: GNTCOPY_SOURCE_GREF,
            status: 9,
            _pad: 0,
        })
        .collect();
    assert!(
        machine
            .batch(0, 5, &ops)
            .iter()
            .all(|op| op.status == GNTST_OKAY)
    );
    assert_eq!(machine.guests[0].restarts, 3);
    let got: [u8; 201] = machine.guests[0].get(machine.guests[0].page(6));
    assert!((0..100).all(|n| got[200 - n] == n as u8));
}

#[test]
fn xsa_380_release_is_in_bounded_steps() {
    use crate::grant::map::relinquish;
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    for n in 0..120 {
        machine.map(0, 1, 8, WINDOW + n, 2);
    }
    let dom0 = machine.guests[0].domain.clone();
    machine.hw.take_events();
    assert_eq!(relinquish(&dom0, 10), crate::p2m::Progress::More);
    let left = (0..120)
        .filter(|n| machine.mapped(0, WINDOW + n).is_some())
        .count();
    assert_eq!((left, machine.flushes()), (110, 1));
}

#[test]
fn xsa_384_473_frames_that_are_not_the_granters() {
    let mut machine = Machine::new();
    // A page of d1 that dom0 has mapped is not dom0's to grant on.
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    machine.map(0, 1, 8, WINDOW, 2);
    machine.grant_gfn(0, 9, 2, WINDOW, GTF_PERMIT_ACCESS);
    assert_eq!(machine.map(2, 0, 9, WINDOW, 2).status, GNTST_BAD_PAGE);
    // Nor can it be given up, or copied to as one's own.
    let dest = GrantCopyPtr {
        u: WINDOW,
        domid: SELF,
        offset: 0,
        _pad: 0,
    };
    let op = GrantCopy {
        source: dest,
        dest,
        len: 8,
        flags: 0,
        status: 9,
        _pad: 0,
    };
    assert_eq!(machine.batch(0, 5, &[op])[0].status, GNTST_BAD_PAGE);
}

#[test]
fn xsa_500_a_pinned_grant_is_one_page() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    let (page, other) = (machine.guests[1].page(5), machine.guests[1].page(6));
    machine.guests[1].write(page, &0x55u64);
    machine.guests[1].write(other, &0x66u64);
    let first = machine.map(0, 1, 8, WINDOW, 2 | 4);
    machine.grant(1, 8, 0, 6, GTF_PERMIT_ACCESS);
    let second = machine.map(0, 1, 8, WINDOW + 1, 2);
    assert_eq!(
        (second.status, second.dev_bus_addr),
        (GNTST_OKAY, first.dev_bus_addr)
    );
    assert_eq!(machine.copy_from(1, 8), GNTST_OKAY);
    let got: u64 = machine.guests[0].get(machine.guests[0].page(6));
    assert_eq!(got, 0x55);
}

#[test]
fn xsa_501_the_version_stays_what_it_is() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    let handle = machine.map(0, 1, 8, WINDOW, 2).handle;
    for (version, answer) in [(2, ENOSYS), (1, 0), (0, EINVAL)] {
        assert_eq!(
            one(&mut machine.guests[1], 8, SetVersion { version }).0,
            answer
        );
    }
    assert_eq!(machine.unmap(0, handle, WINDOW), GNTST_OKAY);
}
