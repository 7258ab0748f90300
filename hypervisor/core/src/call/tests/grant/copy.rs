// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copying.

use super::*;

fn op(source: GrantCopyPtr, dest: GrantCopyPtr, len: u16, flags: u16) -> GrantCopy {
    GrantCopy {
        source,
        dest,
        len,
        flags,
        status: 9,
        _pad: 0,
    }
}

fn end(u: u64, domid: u16, offset: u16) -> GrantCopyPtr {
    GrantCopyPtr {
        u,
        domid,
        offset,
        _pad: 0,
    }
}

/// dom0's page 6 is the destination.
fn copy(machine: &mut Machine, source: GrantCopyPtr, offset: u16, len: u16, flags: u16) -> i16 {
    let dest = end(machine.guests[0].gfn(6), SELF, offset);
    machine.batch(0, 5, &[op(source, dest, len, flags)])[0].status
}

#[test]
fn bytes_arrive_whatever_the_alignment() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS | GTF_READONLY);
    let pattern: Vec<u8> = (0..4096u32).map(|n| (n * 7 + n / 256) as u8).collect();
    let (from, to) = (machine.guests[1].page(5), machine.guests[0].page(6));
    machine.guests[1].write(from, &pattern[..]);
    for (source, dest, len) in [
        (0, 0, 4096),
        (0, 0, 0),
        (8, 16, 200),
        (3, 3, 1000),
        (5, 13, 70),
        (1, 0, 4095),
        (7, 2, 900),
        (4, 2, 8),
        (4095, 4095, 1),
    ] {
        machine.guests[0].write(to, &[0u8; 4096]);
        let status = copy(
            &mut machine,
            end(8, 1, source),
            dest,
            len,
            GNTCOPY_SOURCE_GREF,
        );
        assert_eq!(status, GNTST_OKAY);
        let got: [u8; 4096] = machine.guests[0].get(to);
        let (source, dest, len) = (usize::from(source), usize::from(dest), usize::from(len));
        assert_eq!(got[dest..dest + len], pattern[source..source + len]);
        assert!(
            got[..dest]
                .iter()
                .chain(&got[dest + len..])
                .all(|&b| b == 0)
        );
    }
    assert_eq!(machine.flags(1, 8), GTF_PERMIT_ACCESS | GTF_READONLY);
}

#[test]
fn to_a_grant_and_between_two() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    machine.grant(2, 8, 0, 5, GTF_PERMIT_ACCESS);
    let from = machine.guests[1].page(5);
    machine.guests[1].write(from, &7u64);
    // Who copies must be allowed both ends.
    let flags = GNTCOPY_SOURCE_GREF | GNTCOPY_DEST_GREF;
    let both = op(end(8, 1, 0), end(8, 2, 0), 8, flags);
    assert_eq!(machine.batch(0, 5, &[both])[0].status, GNTST_OKAY);
    let there = machine.guests[2].page(5);
    assert_eq!(machine.guests[2].get::<u64>(there), 7);
    let own = machine.guests[0].gfn(7);
    let at = machine.guests[0].page(7);
    machine.guests[0].write(at, &9u64);
    let there = op(end(own, SELF, 0), end(8, 1, 0), 8, GNTCOPY_DEST_GREF);
    assert_eq!(machine.batch(0, 5, &[there])[0].status, GNTST_OKAY);
    assert_eq!(machine.guests[1].get::<u64>(from), 9);
}

/// Two domUs do not hear from each other (SILO): not through dom0's pages, nor within one's own.
#[test]
fn a_third_between_two_others() {
    let mut machine = Machine::new();
    let flags = GNTCOPY_SOURCE_GREF | GNTCOPY_DEST_GREF;
    machine.grant(1, 8, 2, 5, GTF_PERMIT_ACCESS);
    machine.grant(1, 9, 2, 6, GTF_PERMIT_ACCESS);
    machine.grant(0, 8, 2, 5, GTF_PERMIT_ACCESS);
    for (source, dest) in [((8, 1), (9, 1)), ((8, 0), (9, 1)), ((8, 1), (8, 0))] {
        let between = op(end(source.0, source.1, 0), end(dest.0, dest.1, 0), 8, flags);
        assert_eq!(
            machine.batch(2, 5, &[between])[0].status,
            GNTST_PERMISSION_DENIED,
            "{source:?} {dest:?}"
        );
    }
}

#[test]
fn what_xen_answers() {
    let mut machine = Machine::new();
    machine.grant(1, 8, 0, 5, GTF_PERMIT_ACCESS);
    machine.grant(1, 9, 2, 5, GTF_PERMIT_ACCESS);
    machine.grant(1, 10, 0, 100_000, GTF_PERMIT_ACCESS);
    let own = machine.guests[0].gfn(5);
    for (source, offset, len, flags, status) in [
        (end(own, SELF, 0), 0, 4097, 0, GNTST_BAD_COPY_ARG),
        (end(8, 1, 1), 0, 4096, 1, GNTST_BAD_COPY_ARG),
        (end(8, 1, 0), 1, 4096, 1, GNTST_BAD_COPY_ARG),
        (end(8, 1, 0), 4097, 0, 1, GNTST_OKAY),
        (end(512, NOBODY, 0), 0, 0, 1, GNTST_OKAY),
        (end(8, 1, 0), 4096, 1, 1, GNTST_BAD_COPY_ARG),
        (end(8, 1, u16::MAX), 0, u16::MAX, 1, GNTST_BAD_COPY_ARG),
        (end(own, 1, 0), 0, 8, 0, GNTST_PERMISSION_DENIED),
        (end(own, 0, 0), 0, 8, 0, GNTST_PERMISSION_DENIED),
        (end(8, NOBODY, 0), 0, 8, 1, GNTST_BAD_DOMAIN),
        (end(512, 1, 0), 0, 8, 1, GNTST_BAD_GNTREF),
        (end(7, 1, 0), 0, 8, 1, GNTST_GENERAL_ERROR),
        (end(9, 1, 0), 0, 8, 1, GNTST_GENERAL_ERROR),
        (end(10, 1, 0), 0, 8, 1, GNTST_BAD_PAGE),
        (end(100_000_000, SELF, 0), 0, 8, 0, GNTST_BAD_PAGE),
        (end(8, SELF, 0), 0, 8, 1, GNTST_GENERAL_ERROR),
    ] {
        assert_eq!(
            copy(&mut machine, source, offset, len, flags),
            status,
            "{source:?}"
        );
    }
    assert_eq!(machine.flags(1, 8), GTF_PERMIT_ACCESS);
}

#[test]
fn ones_own_page_behind_a_grant_to_oneself() {
    let mut machine = Machine::new();
    machine.grant(0, 8, 0, 5, GTF_PERMIT_ACCESS);
    let first = machine.map(0, 0, 8, WINDOW, 2);
    machine.grant_gfn(0, 9, 0, WINDOW, GTF_PERMIT_ACCESS);
    let second = machine.map(0, 0, 9, WINDOW + 1, 2);
    assert_eq!(
        (second.status, second.dev_bus_addr),
        (GNTST_OKAY, first.dev_bus_addr)
    );
    assert_eq!(machine.copy_from(0, 9), GNTST_OKAY);
    assert_eq!(
        copy(&mut machine, end(WINDOW, SELF, 0), 0, 8, 0),
        GNTST_OKAY
    );
    assert_eq!(machine.unmap(0, first.handle, WINDOW), GNTST_OKAY);
    assert_eq!(machine.unmap(0, second.handle, WINDOW + 1), GNTST_OKAY);
    assert_eq!(machine.references(first.dev_bus_addr >> 12), 1);
}
