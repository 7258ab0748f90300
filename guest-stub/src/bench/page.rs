// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory: mapping, ballooning, cache maintenance, grants.

use xen_abi::domctl::XEN_DOMCTL_DESTROYDOMAIN;
use xen_abi::grant::{CacheFlush, GNTTAB_CACHE_CLEAN, GNTTABOP_CACHE_FLUSH};
use xen_abi::hypercall::GRANT_TABLE_OP;
use xen_abi::memory::{
    XENMAPSPACE_GRANT_TABLE, XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP,
};

use super::measure;
use crate::console::println;
use crate::machine::dt;
use crate::xen::domctl::{BASE, NONE, build, domctl, map_foreign};
use crate::xen::hypercall::hypercall;
use crate::xen::memory::{add_to_physmap, remove_from_physmap, reservation};
use crate::xen::page::Page;

const TIMES: u64 = 200;

static PAGE: Page = Page::new();

pub(super) fn run() {
    let frame = dt::facts().grant_region.base >> 12;
    measure("add_to_physmap_remove", TIMES, || {
        let added = add_to_physmap(XENMAPSPACE_GRANT_TABLE, 0, frame);
        if added < 0 {
            added
        } else {
            remove_from_physmap(frame)
        }
    });
    measure("decrease_populate", TIMES, || {
        let frame = PAGE.frame();
        let done = reservation(XENMEM_DECREASE_RESERVATION, frame)
            + reservation(XENMEM_POPULATE_PHYSMAP, frame);
        done - 2
    });
    foreign();
    flush("cache_flush_64", 64);
    flush("cache_flush_4096", 4096);
}

/// As Linux's privcmd maps another domain's pages: one a call.
fn foreign() {
    let at = dt::facts().grant_region.base >> 12;
    let Ok(id) = build() else {
        return println!("# foreign_map_remove skipped: no domain can be made");
    };
    measure("foreign_map_remove", TIMES, || {
        let mapped = map_foreign(id, BASE, at);
        if mapped < 0 {
            mapped
        } else {
            remove_from_physmap(at)
        }
    });
    domctl(XEN_DOMCTL_DESTROYDOMAIN, id, &NONE);
}

fn flush(name: &str, length: u16) {
    let mut argument = CacheFlush {
        a: PAGE.address(),
        offset: 0,
        length,
        op: GNTTAB_CACHE_CLEAN,
    };
    let address = &raw mut argument as u64;
    measure(name, TIMES, || {
        hypercall(
            GRANT_TABLE_OP,
            [GNTTABOP_CACHE_FLUSH.into(), address, 1, 0, 0],
        )
    });
}
