// SPDX-License-Identifier: MIT OR Apache-2.0
//! `grant_table_op`: the table, and what is refused. dom0 grants to itself.

use xen_abi::Handle;
use xen_abi::grant::{
    CacheFlush, GNTMAP_APPLICATION_MAP, GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP,
    GNTMAP_READONLY, GNTTAB_CACHE_CLEAN, GNTTAB_CACHE_INVAL, GNTTAB_CACHE_SOURCE_GREF,
    GNTTABOP_CACHE_FLUSH, GNTTABOP_GET_STATUS_FRAMES, GNTTABOP_GET_VERSION, GNTTABOP_MAP_GRANT_REF,
    GNTTABOP_QUERY_SIZE, GNTTABOP_SET_VERSION, GNTTABOP_SETUP_TABLE, GNTTABOP_SWAP_GRANT_REF,
    GNTTABOP_UNMAP_AND_REPLACE, GTF_ACCEPT_TRANSFER, GTF_INVALID, GTF_PERMIT_ACCESS, GTF_SUB_PAGE,
    GTF_TRANSITIVE, GetStatusFrames, GetVersion, QuerySize, SetVersion, SetupTable, SwapGrantRef,
    UnmapGrantRef,
};
use xen_abi::hypercall::GRANT_TABLE_OP;
use xen_abi::xen::{DOMID_IO, DOMID_SELF, DOMID_XEN};

use super::call::{NOBODY, UNMAPPED, plain};
use super::check::{Check, rows};
use super::errno::{EINVAL, ENOSYS, EOPNOTSUPP, EPERM, ESRCH};
use crate::machine::dt::facts;
use crate::xen::gnttab::{
    Side, copy, copy_of, flags, fresh_window, map_table, map_with, operate, permit, unmap, window,
    write_entry,
};
use crate::xen::page::Page;

/// The initial domain; grants name it by number.
pub(super) const DOM0: u16 = 0;

static PAGE: Page = Page::new();
static OTHER: Page = Page::new();

fn call(operation: u64, count: u64) -> i64 {
    plain(GRANT_TABLE_OP, operation, 0, count)
}

fn query(dom: u16) -> (i16, u32) {
    let mut argument = [QuerySize {
        dom,
        _pad0: 0,
        nr_frames: 0,
        max_nr_frames: 0,
        status: 99,
        _pad1: 0,
    }];
    operate(GNTTABOP_QUERY_SIZE, &mut argument);
    (argument[0].status, argument[0].max_nr_frames)
}

fn set_version(version: u32, count: u64) -> i64 {
    let mut argument = SetVersion { version };
    let operation = u64::from(GNTTABOP_SET_VERSION);
    plain(GRANT_TABLE_OP, operation, &raw mut argument as u64, count)
}

fn get_version(dom: u16) -> (i64, u32) {
    let mut argument = [GetVersion {
        dom,
        _pad: 0,
        version: 99,
    }];
    let answer = operate(GNTTABOP_GET_VERSION, &mut argument);
    (answer, argument[0].version)
}

/// `setup_table`; the answer, the status, and the first frame listed.
fn setup(dom: u16, nr_frames: u32, list: Option<u64>) -> (i64, i16) {
    let mut frames = [0x55_u64; 64];
    let mut argument = [SetupTable {
        dom,
        _pad0: 0,
        nr_frames,
        status: 99,
        _pad1: [0; 6],
        frame_list: Handle(list.unwrap_or(frames.as_mut_ptr() as u64)),
    }];
    let answer = operate(GNTTABOP_SETUP_TABLE, &mut argument);
    (answer, argument[0].status)
}

fn status_frames(dom: u16, nr_frames: u32) -> (i64, i16) {
    let mut frames = [0x55_u64; 4];
    let mut argument = [GetStatusFrames {
        nr_frames,
        dom,
        status: 99,
        frame_list: Handle(frames.as_mut_ptr() as u64),
    }];
    let answer = operate(GNTTABOP_GET_STATUS_FRAMES, &mut argument);
    (answer, argument[0].status)
}

fn swap(ref_a: u32, ref_b: u32) -> i16 {
    map_table();
    let mut argument = [SwapGrantRef {
        ref_a,
        ref_b,
        status: 99,
        _pad: 0,
    }];
    operate(GNTTABOP_SWAP_GRANT_REF, &mut argument);
    argument[0].status
}

fn flush_at(a: u64, offset: u16, length: u16, op: u32) -> i64 {
    let mut argument = [CacheFlush {
        a,
        offset,
        length,
        op,
    }];
    operate(GNTTABOP_CACHE_FLUSH, &mut argument)
}

fn flush(offset: u16, length: u16, op: u32) -> i64 {
    flush_at(PAGE.address(), offset, length, op)
}

/// The status of mapping reference 16 with these flags of the table, and of the call.
fn map_entry(entry: u16, domid: u16, frame: u64, flags: u32) -> i16 {
    map_table();
    write_entry(16, entry, domid, frame);
    let mapped = map_with(|map| (map.r#ref, map.flags) = (16, flags));
    if mapped.status == 0 {
        unmap(mapped.handle, mapped.host_addr);
    }
    write_entry(16, 0, 0, 0);
    mapped.status
}

fn map_flags(flags: u32) -> i16 {
    map_entry(GTF_PERMIT_ACCESS, DOM0, PAGE.frame(), flags)
}

fn map_reference(dom: u16, reference: u32) -> i16 {
    map_table();
    map_with(|map| (map.dom, map.r#ref) = (dom, reference)).status
}

pub(super) const TABLE: &[Check] = rows! {
    "GNTTABOP_dump_table is not for the release build", call(3, 0) => ENOSYS;
    "GNTTABOP_transfer is not for Arm", call(4, 0) => EOPNOTSUPP;
    "operation 13 is not there", call(13, 0) => ENOSYS;
    "operation 4095 is not there", call(4095, 0) => ENOSYS;
    "bits above the operation are a continuation's", call(1 << 12, 0) => EINVAL;
    "a negative count", call(0, u64::MAX) => EINVAL;
    "a count of 2^31", call(0, 1 << 31) => EINVAL;
    "GNTTABOP_map_grant_ref of nothing", call(0, 0) => 0;
    "GNTTABOP_unmap_grant_ref of nothing", call(1, 0) => 0;
    "GNTTABOP_copy of nothing", call(5, 0) => 0;
    "GNTTABOP_swap_grant_ref of nothing", call(11, 0) => 0;
    "GNTTABOP_cache_flush of nothing", call(12, 0) => 0;
    "GNTTABOP_setup_table takes one", call(2, 0) => EINVAL;
    "GNTTABOP_query_size takes one", call(6, 0) => EINVAL;
    "GNTTABOP_get_status_frames takes one", call(9, 0) => EINVAL;
    "GNTTABOP_query_size of dom0: 64 frames at most", query(DOMID_SELF) => (0, 64);
    "GNTTABOP_query_size by number", query(DOM0) => (0, 64);
    "GNTTABOP_query_size of no domain", query(NOBODY).0 => -2;
    "GNTTABOP_query_size of DOMID_IO", query(DOMID_IO).0 => -2;
    "GNTTABOP_set_version(1)", set_version(1, 1) => 0;
    "GNTTABOP_set_version ignores the count", (set_version(1, 0), set_version(1, 5)) => (0, 0);
    "GNTTABOP_set_version(2): there is version 1 alone", set_version(2, 1) => ENOSYS;
    "GNTTABOP_set_version(0)", set_version(0, 1) => EINVAL;
    "GNTTABOP_set_version(3)", set_version(3, 1) => EINVAL;
    "GNTTABOP_set_version(~0)", set_version(u32::MAX, 1) => EINVAL;
    "GNTTABOP_get_version is 1", get_version(DOMID_SELF) => (0, 1);
    "GNTTABOP_get_version by number", get_version(DOM0) => (0, 1);
    "GNTTABOP_get_version of no domain", get_version(NOBODY).0 => ESRCH;
    "GNTTABOP_setup_table of no frames", setup(DOMID_SELF, 0, None) => (0, 0);
    "GNTTABOP_setup_table of one frame", setup(DOMID_SELF, 1, None) => (0, 0);
    "GNTTABOP_setup_table of 65 frames", setup(DOMID_SELF, 65, None) => (0, -1);
    "GNTTABOP_setup_table of ~0 frames", setup(DOMID_SELF, u32::MAX, None) => (0, -1);
    "GNTTABOP_setup_table of no domain", setup(NOBODY, 1, None) => (0, -2);
    "GNTTABOP_setup_table with a list nowhere", setup(DOMID_SELF, 1, Some(UNMAPPED)) => (0, -5);
    "GNTTABOP_get_status_frames: version 1 has none", status_frames(DOMID_SELF, 1) => (0, -1);
    "GNTTABOP_get_status_frames of no frames", status_frames(DOMID_SELF, 0) => (0, 0);
    "GNTTABOP_get_status_frames of no domain", status_frames(NOBODY, 1) => (0, -2);
    "GNTTABOP_swap_grant_ref of two free entries", swap(20, 21) => 0;
    "GNTTABOP_swap_grant_ref of an entry with itself", swap(20, 20) => 0;
    "GNTTABOP_swap_grant_ref beyond the table", swap(20, 1 << 20) => -3;
    "GNTTABOP_swap_grant_ref of ~0", swap(u32::MAX, 20) => -3;
};

pub(super) const MAP: &[Check] = rows! {
    "map: read and write", map_flags(GNTMAP_HOST_MAP) => 0;
    "map: read-only", map_flags(GNTMAP_HOST_MAP | GNTMAP_READONLY) => 0;
    "map: bits for the guest's own use, which are not available", map_flags(GNTMAP_HOST_MAP | 0xffff_0000) => -1;
    "map: no kind of mapping", map_flags(0) => -3;
    "map: read-only, but no kind of mapping", map_flags(GNTMAP_READONLY) => -3;
    "map: GNTMAP_device_map is not for Arm", map_flags(GNTMAP_DEVICE_MAP) => -1;
    "map: GNTMAP_device_map with GNTMAP_host_map", map_flags(GNTMAP_DEVICE_MAP | GNTMAP_HOST_MAP) => -1;
    "map: GNTMAP_application_map is not for Arm", map_flags(GNTMAP_HOST_MAP | GNTMAP_APPLICATION_MAP) => -1;
    "map: GNTMAP_contains_pte is not for Arm", map_flags(GNTMAP_HOST_MAP | GNTMAP_CONTAINS_PTE) => -1;
    "map: a flag that means nothing", map_flags(GNTMAP_HOST_MAP | 1 << 5) => -1;
    "map: of no domain", map_reference(NOBODY, 16) => -2;
    "map: of DOMID_SELF, which is not resolved", map_reference(DOMID_SELF, 16) => -2;
    "map: of DOMID_IO", map_reference(DOMID_IO, 16) => -2;
    "map: of DOMID_XEN", map_reference(DOMID_XEN, 16) => -2;
    "map: of domain 0xffff", map_reference(0xffff, 16) => -2;
    "map: a reference beyond the table", map_reference(DOM0, 1 << 20) => -3;
    "map: reference ~0", map_reference(DOM0, u32::MAX) => -3;
    "map: an entry that grants nothing", map_entry(GTF_INVALID, DOM0, PAGE.frame(), 2) => -1;
    "map: an entry that accepts a transfer", map_entry(GTF_ACCEPT_TRANSFER, DOM0, PAGE.frame(), 2) => -1;
    "map: a transitive entry in version 1", map_entry(GTF_TRANSITIVE, DOM0, PAGE.frame(), 2) => -1;
    "map: a sub-page entry in version 1", map_entry(GTF_PERMIT_ACCESS | GTF_SUB_PAGE, DOM0, PAGE.frame(), 2) => -1;
    "map: an entry for another domain", map_entry(GTF_PERMIT_ACCESS, 5, PAGE.frame(), 2) => -1;
    "map: an entry for DOMID_SELF", map_entry(GTF_PERMIT_ACCESS, DOMID_SELF, PAGE.frame(), 2) => -1;
    "map: a read-only entry to be written",
        map_entry(GTF_PERMIT_ACCESS | 4, DOM0, PAGE.frame(), GNTMAP_HOST_MAP) => -1;
    "map: a read-only entry to be read",
        map_entry(GTF_PERMIT_ACCESS | 4, DOM0, PAGE.frame(), GNTMAP_HOST_MAP | GNTMAP_READONLY) => 0;
    "map: the frame of device registers",
        map_entry(GTF_PERMIT_ACCESS, DOM0, facts().gic.distributor() >> 12, 2) => -9;
    "map: a frame where nothing is",
        map_entry(GTF_PERMIT_ACCESS, DOM0, facts().extended_regions[0].base >> 12, 2) => -9;
    "map: frame ~0", map_entry(GTF_PERMIT_ACCESS, DOM0, 0xffff_ffff, 2) => -9;
    "map: the frame of the grant table itself",
        map_entry(GTF_PERMIT_ACCESS, DOM0, facts().grant_region.base >> 12, 2) => 0;
};

/// Unmaps by a handle that was never given.
fn unmap_handle(handle: u32) -> i16 {
    unmap(handle, window(0))
}

/// `unmap_and_replace`, with or without a new address.
fn replace(new_addr: u64) -> i16 {
    let mut argument = [UnmapGrantRef {
        host_addr: window(0),
        dev_bus_addr: new_addr,
        handle: u32::MAX,
        status: 99,
        _pad: 0,
    }];
    operate(GNTTABOP_UNMAP_AND_REPLACE, &mut argument);
    argument[0].status
}

pub(super) const UNMAP: &[Check] = rows! {
    "unmap: handle ~0", unmap_handle(u32::MAX) => -4;
    "unmap: a handle beyond all", unmap_handle(256 * 1024) => -4;
    "unmap: a handle that was not given", unmap_handle(200) => -4;
    "GNTTABOP_unmap_and_replace with a handle that was not given", replace(0) => -4;
    "GNTTABOP_unmap_and_replace with a new address", replace(0x1000) => -4;
};

/// The status of a copy of `length` bytes from grant 16 (of the page) to a frame.
fn copy_from(reference: (u16, u32), offset: u16, to: u64, to_offset: u16, length: u16) -> i16 {
    map_table();
    permit(16, DOM0, PAGE.frame(), false);
    let (domid, reference) = reference;
    let status = copy(copy_of(
        (Side::Grant(domid, reference), offset),
        (Side::Frame(to), to_offset),
        length,
    ));
    write_entry(16, 0, 0, 0);
    status
}

fn copy_part(offset: u16, to_offset: u16, length: u16) -> i16 {
    copy_from((DOM0, 16), offset, OTHER.frame(), to_offset, length)
}

fn copy_to_grant(entry: u16) -> i16 {
    map_table();
    write_entry(16, entry, DOM0, PAGE.frame());
    let status = copy(copy_of(
        (Side::Frame(OTHER.frame()), 0),
        (Side::Grant(DOM0, 16), 0),
        8,
    ));
    write_entry(16, 0, 0, 0);
    status
}

/// A copy between frames whose source names this domain.
fn copy_frames(domid: u16) -> i16 {
    let mut argument = copy_of(
        (Side::Frame(PAGE.frame()), 0),
        (Side::Frame(OTHER.frame()), 0),
        8,
    );
    argument.source.domid = domid;
    copy(argument)
}

pub(super) const COPY: &[Check] = rows! {
    "copy: a page", copy_part(0, 0, 4096) => 0;
    "copy: no bytes", copy_part(0, 0, 0) => 0;
    "copy: the last byte", copy_part(4095, 4095, 1) => 0;
    "copy: offsets that are not aligned", copy_part(1, 3, 100) => 0;
    "copy: more than a page", copy_part(0, 0, 4097) => -10;
    "copy: beyond the end of the source", copy_part(1, 0, 4096) => -10;
    "copy: beyond the end of the destination", copy_part(0, 1, 4096) => -10;
    "copy: an offset of a page", copy_part(4096, 0, 1) => -10;
    "copy: offset and length that overflow 16 bits", copy_part(0xffff, 0, 2) => -10;
    "copy: between frames of one's own", copy_frames(DOMID_SELF) => 0;
    "copy: a frame of no domain", copy_frames(NOBODY) => -2;
    "copy: a frame named by one's own number", copy_frames(DOM0) => -8;
    "copy: a grant of no domain", copy_from((NOBODY, 16), 0, OTHER.frame(), 0, 8) => -2;
    "copy: a grant of DOMID_SELF", copy_from((DOMID_SELF, 16), 0, OTHER.frame(), 0, 8) => 0;
    "copy: a grant that is not", copy_from((DOM0, 17), 0, OTHER.frame(), 0, 8) => -1;
    "copy: a reference beyond the table", copy_from((DOM0, 1 << 20), 0, OTHER.frame(), 0, 8) => -3;
    "copy: to device registers", copy_from((DOM0, 16), 0, facts().gic.distributor() >> 12, 0, 8) => -9;
    "copy: to where nothing is", copy_from((DOM0, 16), 0, facts().extended_regions[0].base >> 12, 0, 8) => -9;
    "copy: to a grant", copy_to_grant(GTF_PERMIT_ACCESS) => 0;
    "copy: to a read-only grant", copy_to_grant(GTF_PERMIT_ACCESS | 4) => -1;
    "copy: to a grant that is not", copy_to_grant(GTF_INVALID) => -1;
};

pub(super) const FLUSH: &[Check] = rows! {
    "cache_flush: clean a page of one's own", flush(0, 4096, GNTTAB_CACHE_CLEAN) => 0;
    "cache_flush: invalidate", flush(0, 4096, GNTTAB_CACHE_INVAL) => 0;
    "cache_flush: clean and invalidate", flush(0, 4096, GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_INVAL) => 0;
    "cache_flush: a part of a line", flush(3, 5, GNTTAB_CACHE_INVAL) => 0;
    "cache_flush: nothing to be done", flush(0, 4096, 0) => 0;
    "cache_flush: no bytes", flush(0, 0, GNTTAB_CACHE_CLEAN) => 0;
    "cache_flush: no bytes of no page", flush_at(0, 0, 0, GNTTAB_CACHE_CLEAN) => 0;
    "cache_flush: bits of the address within the page are ignored",
        flush_at(PAGE.address() + 0x123, 0, 4096, GNTTAB_CACHE_CLEAN) => 0;
    "cache_flush: an unknown operation", flush(0, 8, 4) => EINVAL;
    "cache_flush: by reference is not there", flush(0, 8, GNTTAB_CACHE_SOURCE_GREF | 1) => EINVAL;
    "cache_flush: more than a page", flush(0, 4097, 1) => EINVAL;
    "cache_flush: an offset of a page", flush(4096, 0, 1) => EINVAL;
    "cache_flush: over the end of the page", flush(4095, 2, 1) => EINVAL;
    "cache_flush: machine address 0", flush_at(0, 0, 8, 1) => EINVAL;
    "cache_flush: device registers", flush_at(facts().gic.distributor(), 0, 8, 1) => EINVAL;
    "cache_flush: beyond all memory", flush_at(1 << 43, 0, 8, 1) => EINVAL;
    "cache_flush: address ~0", flush_at(u64::MAX, 0, 8, 1) => EINVAL;
    "cache_flush: the hypervisor's own memory", flush_at(facts().grant_region.base, 0, 8, 1) => EPERM;
    "cache_flush: memory of nobody's", flush_at(facts().extended_regions[0].base, 0, 8, 1) => EPERM;
    "cache_flush: one that fails ends the list", flush_list() => (EINVAL, 0);
};

/// One that fails between two that would not; the second answer is of the rest alone.
fn flush_list() -> (i64, i64) {
    let good = CacheFlush {
        a: PAGE.address(),
        offset: 0,
        length: 8,
        op: 1,
    };
    let bad = CacheFlush { op: 4, ..good };
    let all = operate(GNTTABOP_CACHE_FLUSH, &mut [good, bad, good]);
    (all, operate(GNTTABOP_CACHE_FLUSH, &mut [good]))
}

/// Maps grant `reference` of dom0's own at a fresh address; status, handle, address.
pub(super) fn map_own(reference: u32, flags: u32) -> (i16, u32, u64) {
    let at = fresh_window();
    let mapped = map_with(|map| {
        (map.host_addr, map.r#ref, map.flags) = (at, reference, flags);
    });
    (mapped.status, mapped.handle, at)
}

/// A list in which one mapping fails, by its place; the statuses.
pub(super) fn map_list() -> (i64, [i16; 3]) {
    map_table();
    permit(16, DOM0, PAGE.frame(), false);
    let entry = |reference| xen_abi::grant::MapGrantRef {
        host_addr: fresh_window(),
        flags: GNTMAP_HOST_MAP,
        r#ref: reference,
        dom: DOM0,
        status: 99,
        handle: 0,
        dev_bus_addr: 0,
    };
    let mut list = [entry(16), entry(17), entry(16)];
    let answer = operate(GNTTABOP_MAP_GRANT_REF, &mut list);
    for map in list.iter().filter(|map| map.status == 0) {
        unmap(map.handle, map.host_addr);
    }
    let left = flags(16);
    write_entry(16, 0, 0, 0);
    debug_assert_eq!(left, GTF_PERMIT_ACCESS);
    (answer, list.map(|map| map.status))
}

pub(super) const LISTS: &[Check] = rows! {
    "map: one of a list that fails, fails alone", map_list() => (0, [0, -1, 0]);
};
