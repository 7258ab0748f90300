// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mapping, unmapping, and what they leave behind.

use super::*;
use crate::grant::map::relinquish;
use crate::p2m::{P2mType, Progress};

#[test]
fn a_page_is_mapped_and_unmapped() {
    let mut machine = Machine::new();
    let mfn = machine.guests[1].mfn.0 + 5;
    let idle = machine.references(mfn);
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    let op = machine.map(0, 1, 8, WINDOW, GNTMAP_HOST_MAP);
    assert_eq!((op.status, op.dev_bus_addr), (GNTST_OKAY, mfn << 12));
    assert_eq!(
        machine.flags(1, 8),
        GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING
    );
    assert_eq!(machine.mapped(0, WINDOW), Some((mfn, P2mType::GrantRw)));
    assert_eq!(machine.references(mfn), idle + 2);

    let readonly = machine.map(0, 1, 8, WINDOW + 1, GNTMAP_HOST_MAP | GNTMAP_READONLY);
    assert_eq!(readonly.status, GNTST_OKAY);
    assert_eq!(machine.mapped(0, WINDOW + 1), Some((mfn, P2mType::GrantRo)));

    assert_eq!(machine.unmap(0, op.handle, WINDOW), GNTST_OKAY);
    assert_eq!(machine.flags(1, 8), GTF_PERMIT_ACCESS | GTF_READING);
    assert_eq!(machine.unmap(0, op.handle, WINDOW), GNTST_BAD_HANDLE);
    assert_eq!(machine.unmap(0, readonly.handle, WINDOW + 1), GNTST_OKAY);
    assert_eq!(machine.flags(1, 8), GTF_PERMIT_ACCESS);
    assert_eq!(machine.mapped(0, WINDOW), None);
    assert_eq!(machine.references(mfn), idle);
}

#[test]
fn what_xen_refuses() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS | GTF_READONLY);
    machine.grant(1, 9, 2, 5, GTF_PERMIT_ACCESS);
    machine.grant(1, 10, 0, 100_000, GTF_PERMIT_ACCESS);
    let frames = machine.sys.frames.free_pages();
    for (dom, reference, gfn, flags, status) in [
        (1, 8, WINDOW, 0, GNTST_BAD_GNTREF),
        (1, 8, WINDOW, GNTMAP_READONLY, GNTST_BAD_GNTREF),
        (NOBODY, 8, WINDOW, 2, GNTST_BAD_DOMAIN),
        (SELF, 8, WINDOW, 2, GNTST_BAD_DOMAIN),
        (1, 512, WINDOW, 2, GNTST_BAD_GNTREF),
        (1, u32::MAX, WINDOW, 2, GNTST_BAD_GNTREF),
        (1, 7, WINDOW, 2, GNTST_GENERAL_ERROR),
        (1, 8, WINDOW, 2, GNTST_GENERAL_ERROR),
        (1, 9, WINDOW, 2, GNTST_GENERAL_ERROR),
        (1, 8, WINDOW, 1, GNTST_GENERAL_ERROR),
        (1, 8, WINDOW, 2 | 8, GNTST_GENERAL_ERROR),
        (1, 8, WINDOW, 2 | 16, GNTST_GENERAL_ERROR),
        (1, 8, WINDOW, 2 | 1 << 16, GNTST_GENERAL_ERROR),
        (1, 10, WINDOW, 2, GNTST_BAD_PAGE),
        (1, 8, u64::MAX >> 12, 2 | 4, GNTST_GENERAL_ERROR),
        (0, 8, WINDOW, 2, GNTST_GENERAL_ERROR),
    ] {
        let op = machine.map(0, dom, reference, gfn, flags);
        assert_eq!(op.status, status, "{dom} {reference} {gfn:#x} {flags}");
    }
    for reference in 8..11 {
        assert_eq!(machine.flags(1, reference) & (GTF_READING | GTF_WRITING), 0);
    }
    assert_eq!(machine.sys.frames.free_pages(), frames);
    assert_eq!(machine.unmap(0, 5, WINDOW), GNTST_BAD_HANDLE);
    assert_eq!(machine.unmap(0, u32::MAX, WINDOW), GNTST_BAD_HANDLE);
    // All handles are free again: the first is the first.
    assert_eq!(machine.map(0, 1, 8, WINDOW, 2 | 4).handle, 0);
}

#[test]
fn domains_that_may_not_talk() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 2, 5, GTF_PERMIT_ACCESS);
    assert_eq!(
        machine.map(2, 1, 8, WINDOW, 2).status,
        GNTST_PERMISSION_DENIED
    );
    machine.grant(0, 8, 2, 5, GTF_PERMIT_ACCESS);
    assert_eq!(machine.map(2, 0, 8, WINDOW, 2).status, GNTST_OKAY);
}

#[test]
fn grants_to_oneself() {
    for id in [0, 1] {
        let mut machine = Machine::new();
        let mfn = machine.guests[id].mfn.0 + 5;
        let idle = machine.references(mfn);
        machine.grant(id, 8, id as u16, 5, GTF_PERMIT_ACCESS);
        let op = machine.map(id, id as u16, 8, WINDOW, 2);
        assert_eq!((op.status, op.dev_bus_addr), (GNTST_OKAY, mfn << 12));
        assert_eq!(machine.unmap(id, op.handle, WINDOW), GNTST_OKAY);
        assert_eq!(machine.references(mfn), idle);
    }
}

#[test]
fn a_batch_flushes_once() {
    let mut machine = Machine::new();
    for n in 0..40 {
        machine.grant(1, 8 + n, 0, 5 + u64::from(n), GTF_PERMIT_ACCESS);
    }
    let maps: Vec<_> = (0..32)
        .map(|n| map_op(1, 8 + n, WINDOW + u64::from(n), 2))
        .collect();
    machine.hw.take_events();
    let maps = machine.batch(0, 0, &maps);
    assert!(maps.iter().all(|op| op.status == GNTST_OKAY));
    assert_eq!(machine.flushes(), 0);
    let mut unmaps: Vec<_> = maps
        .iter()
        .map(|op| unmap_op(op.handle, op.host_addr >> 12))
        .collect();
    unmaps[7].host_addr += 4096;
    unmaps[9].handle = 999;
    let unmaps = machine.batch(0, 1, &unmaps);
    assert_eq!(machine.flushes(), 1);
    for (n, op) in unmaps.iter().enumerate() {
        let wanted = match n {
            7 => GNTST_GENERAL_ERROR,
            9 => GNTST_BAD_HANDLE,
            _ => GNTST_OKAY,
        };
        assert_eq!(op.status, wanted);
    }
    assert!(machine.mapped(0, WINDOW + 7).is_some() && machine.mapped(0, WINDOW + 9).is_some());
}

/// The flush comes while nobody was told yet, and with the pages still held.
#[test]
fn flushed_before_anything_is_let_go() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    let handle = machine.map(0, 1, 8, WINDOW, 2).handle;
    let (sys, domain, mfn) = (
        machine.sys,
        machine.guests[1].domain.clone(),
        machine.guests[1].mfn,
    );
    let page = table_page(&machine, 1);
    let seen = Arc::new(std::sync::Mutex::new(None));
    let notes = seen.clone();
    *machine.hw.on_flush.lock().unwrap() = Some(Box::new(move || {
        let flags = page.atomic_u16(8 * 8).unwrap().load(Ordering::Relaxed);
        let held = sys
            .frames
            .get(Mfn(mfn.0 + 5), domain.id)
            .unwrap()
            .state()
            .references();
        *notes.lock().unwrap() = Some((flags, held));
    }));
    assert_eq!(machine.unmap(0, handle, WINDOW), GNTST_OKAY);
    let marked = GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING;
    // The allocation, the p2m entry, the pin, and the one taken to look.
    assert_eq!(*seen.lock().unwrap(), Some((marked, 4)));
}

#[test]
fn a_mapping_is_not_mapped_over() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    machine.grant(1, 9, 0, 6, GTF_PERMIT_ACCESS);
    let op = machine.map(0, 1, 8, WINDOW, 2);
    assert_eq!(machine.map(0, 1, 9, WINDOW, 2).status, GNTST_GENERAL_ERROR);
    assert_eq!(machine.flags(1, 9), GTF_PERMIT_ACCESS);
    assert_eq!(machine.unmap(0, op.handle, WINDOW), GNTST_OKAY);
}

#[test]
fn uses_are_counted_to_a_limit() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    let mut handles = Vec::new();
    for n in 0.. {
        let op = machine.map(0, 1, 8, WINDOW + n, 2);
        if op.status != GNTST_OKAY {
            assert_eq!((op.status, n), (GNTST_GENERAL_ERROR, 128));
            break;
        }
        handles.push(op.handle);
    }
    assert_eq!(machine.map(0, 1, 8, WINDOW + 500, 2 | 4).status, GNTST_OKAY);
    for (n, handle) in (0..).zip(handles) {
        assert_eq!(machine.unmap(0, handle, WINDOW + n), GNTST_OKAY);
    }
    assert_eq!(machine.flags(1, 8), GTF_PERMIT_ACCESS | GTF_READING);
}

#[test]
fn replacing_is_refused_on_arm() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    let handle = machine.map(0, 1, 8, WINDOW, 2).handle;
    let replace = |handle, new_addr| UnmapGrantRef {
        dev_bus_addr: new_addr,
        ..unmap_op(handle, WINDOW)
    };
    assert_eq!(
        machine.batch(0, 7, &[replace(77, 0x1000)])[0].status,
        GNTST_BAD_HANDLE
    );
    assert_eq!(
        machine.batch(0, 7, &[replace(handle, 0x1000)])[0].status,
        GNTST_GENERAL_ERROR
    );
    assert!(machine.mapped(0, WINDOW).is_some());
    let nowhere = UnmapGrantRef {
        host_addr: 0,
        ..replace(handle, 0x1000)
    };
    assert_eq!(machine.batch(0, 7, &[nowhere])[0].status, GNTST_OKAY);
    assert_eq!(machine.unmap(0, handle, 0), GNTST_OKAY);
    assert_eq!(machine.unmap(0, 77, 0), GNTST_BAD_HANDLE);
    assert!(machine.mapped(0, WINDOW).is_some());
    assert_eq!(
        machine.batch(0, 7, &[replace(handle, 0)])[0].status,
        GNTST_OKAY
    );
    assert_eq!(machine.mapped(0, WINDOW), None);
}

#[test]
fn what_can_be_read_of_an_array_is_done() {
    let mut machine = Machine::new();
    for reference in 8..16 {
        machine.grant(1, reference, 0, 5, GTF_PERMIT_ACCESS);
    }
    // The last two elements before the end of what is mapped at all.
    let end = machine.guests[0].page(15) + 4096;
    let at = end - 64;
    machine.guests[0].write(at, &[map_op(1, 8, WINDOW, 2), map_op(1, 9, WINDOW + 1, 2)]);
    assert_eq!(machine.guests[0].call(GRANT_TABLE_OP, &[0, at, 8]), EFAULT);
    let done: [MapGrantRef; 2] = machine.guests[0].get(at);
    assert_eq!(done.map(|op| op.status), [GNTST_OKAY; 2]);
}

#[test]
fn arrays_give_way_to_interrupts() {
    let mut machine = Machine::new();
    machine.hw.irq.store(true, Ordering::Relaxed);
    let maps: Vec<_> = (0..100).map(|n| map_op(1, 8, WINDOW + n, 2 | 4)).collect();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    assert!(
        machine
            .batch(0, 0, &maps)
            .iter()
            .all(|op| op.status == GNTST_OKAY)
    );
    assert_eq!(machine.guests[0].restarts, 3);
}

#[test]
fn a_dying_domain_lets_go_in_slices() {
    let mut machine = Machine::new();
    let free = machine.sys.frames.free_pages();
    let mfn = machine.guests[1].mfn.0 + 5;
    let idle = machine.references(mfn);
    for reference in 8..12 {
        machine.grant(1, reference, 0, 5, GTF_PERMIT_ACCESS);
        for n in 0..100 {
            let gfn = WINDOW + u64::from(reference) * 100 + n;
            assert_eq!(machine.map(0, 1, reference, gfn, 2).status, GNTST_OKAY);
        }
    }
    let domain = machine.guests[0].domain.clone();
    let mut slices = 1;
    while relinquish(&domain, 100) == Progress::More {
        slices += 1;
    }
    assert!((5..=6).contains(&slices), "{slices}");
    assert_eq!(machine.references(mfn), idle);
    assert!((8..12).all(|reference| machine.flags(1, reference) == GTF_PERMIT_ACCESS));
    assert_eq!(machine.map(0, 1, 8, WINDOW, 2).status, GNTST_NO_SPACE);
    while domain.p2m.relinquish(1000) == Progress::More {}
    assert!(machine.sys.frames.free_pages() >= free);
}

#[test]
fn a_dead_granters_page_stays_until_the_last_unmap() {
    let mut machine = Machine::new();
    let granter = machine.guests[1].domain.clone();
    let page = machine.guests[1].mfn.0 + 5;
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    let handle = machine.map(0, 1, 8, WINDOW, 2).handle;
    while granter.p2m.relinquish(1000) == Progress::More {}
    let frames = machine.sys.frames;
    assert_eq!(
        frames.relinquish(granter.id, Mfn(0), u32::MAX),
        crate::frame::Relinquished::Done
    );
    assert_eq!(frames.tot_pages(granter.id), 1);
    assert_eq!(machine.map(0, 1, 8, WINDOW + 1, 2).status, GNTST_OKAY);
    assert_eq!(machine.unmap(0, handle + 1, WINDOW + 1), GNTST_OKAY);
    assert_eq!(frames.state(Mfn(page)).unwrap().owner(), Some(granter.id));
    assert_eq!(machine.unmap(0, handle, WINDOW), GNTST_OKAY);
    assert_eq!(frames.tot_pages(granter.id), 0);
    assert_eq!(machine.map(0, 1, 8, WINDOW, 2).status, GNTST_BAD_PAGE);
}
