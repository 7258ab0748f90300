// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grants of this domain to itself: mapped and unmapped, copied from.

use core::sync::atomic::Ordering;

use xen_abi::grant::{
    GNTCOPY_SOURCE_GREF, GNTMAP_HOST_MAP, GNTTAB_NR_RESERVED_ENTRIES, GNTTABOP_COPY,
    GNTTABOP_MAP_GRANT_REF, GNTTABOP_UNMAP_GRANT_REF, GrantCopy, GrantCopyPtr, MapGrantRef,
    UnmapGrantRef,
};
use xen_abi::xen::DOMID_SELF;

use super::{measure, skip};
use crate::machine::dt;
use crate::xen::grant::{Access, grant_access, map_table, operate};
use crate::xen::memory::remove_from_physmap;
use crate::xen::page::Page;

const TIMES: u64 = 100;
/// Most grants of one call.
const BATCH: usize = 32;
/// The initial domain; grants name it by number.
const DOM0: u16 = 0;

static PAGES: [Page; BATCH] = [const { Page::new() }; BATCH];
static COPY: Page = Page::new();

pub(super) fn run() {
    let table = dt::facts().grant_region.base;
    let error = map_table();
    if error < 0 {
        return skip("grants", error);
    }
    for (reference, page) in (GNTTAB_NR_RESERVED_ENTRIES..).zip(&PAGES) {
        page.0[0].store(0, Ordering::Relaxed);
        grant_access(reference, DOM0, page.frame(), Access::ReadWrite);
    }
    for (name, count) in [
        ("grant_map_unmap_1", 1),
        ("grant_map_unmap_16", 16),
        ("grant_map_unmap_32", BATCH),
    ] {
        map_unmap(name, count);
    }
    copy("grant_copy_64", 64, 0);
    copy("grant_copy_1448_from_2", 1448, 2);
    copy("grant_copy_4096", 4096, 0);
    remove_from_physmap(table >> 12);
}

fn map_unmap(name: &str, count: usize) {
    let window = dt::facts().extended_regions[0].base;
    let mut map = [MapGrantRef {
        host_addr: 0,
        flags: GNTMAP_HOST_MAP,
        r#ref: 0,
        dom: DOM0,
        status: 0,
        handle: 0,
        dev_bus_addr: 0,
    }; BATCH];
    let mut unmap = [UnmapGrantRef {
        host_addr: 0,
        dev_bus_addr: 0,
        handle: 0,
        status: 0,
        _pad: 0,
    }; BATCH];
    for (index, (map, unmap)) in (0..).zip(map.iter_mut().zip(&mut unmap)) {
        map.host_addr = window + index * 4096;
        map.r#ref = GNTTAB_NR_RESERVED_ENTRIES + index as u32;
        unmap.host_addr = map.host_addr;
    }
    let (map, unmap) = (&mut map[..count], &mut unmap[..count]);
    measure(name, TIMES, || {
        let mapped = operate(GNTTABOP_MAP_GRANT_REF, map);
        for (map, unmap) in map.iter().zip(unmap.iter_mut()) {
            unmap.handle = map.handle;
        }
        let unmapped = operate(GNTTABOP_UNMAP_GRANT_REF, unmap);
        let status = map[count - 1].status.min(unmap[count - 1].status);
        mapped.min(unmapped).min(status.into())
    });
}

/// Of `length` bytes, from byte `offset` of the granted page to the start of the other.
fn copy(name: &str, length: u16, offset: u16) {
    let side = |u, domid, offset| GrantCopyPtr {
        u,
        domid,
        offset,
        _pad: 0,
    };
    let mut argument = [GrantCopy {
        source: side(GNTTAB_NR_RESERVED_ENTRIES.into(), DOM0, offset),
        dest: side(COPY.frame(), DOMID_SELF, 0),
        len: length,
        flags: GNTCOPY_SOURCE_GREF,
        status: 0,
        _pad: 0,
    }];
    measure(name, TIMES, || {
        let copied = operate(GNTTABOP_COPY, &mut argument);
        copied.min(argument[0].status.into())
    });
}
