// SPDX-License-Identifier: MIT OR Apache-2.0
//! `grant_table_op` with any arguments, also wrong ones, as checks make it; [`grant`](super::grant) is for those who
//! want a page.

use core::sync::atomic::{AtomicU32, Ordering};

use xen_abi::grant::{
    GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTMAP_HOST_MAP, GNTTABOP_COPY, GNTTABOP_MAP_GRANT_REF,
    GNTTABOP_UNMAP_GRANT_REF, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_WRITING, GrantCopy,
    GrantCopyPtr, MapGrantRef, UnmapGrantRef,
};
use xen_abi::xen::DOMID_SELF;

pub(crate) use super::grant::{map_table, operate};
use crate::machine::dt::facts;
use crate::machine::mmio::{read64, write64};

/// Address of an entry of the table's first frame.
fn entry(reference: u32) -> u64 {
    facts().grant_region.base + u64::from(reference % 512) * 8
}

/// Lets domain `domid` use the page of frame `frame`, by an entry with these flags.
pub(crate) fn write_entry(reference: u32, flags: u16, domid: u16, frame: u64) {
    write64(
        entry(reference),
        frame << 32 | u64::from(domid) << 16 | u64::from(flags),
    );
}

/// The flags of an entry now.
pub(crate) fn flags(reference: u32) -> u16 {
    read64(entry(reference)) as u16
}

/// Grants a page.
pub(crate) fn permit(reference: u32, domid: u16, frame: u64, read_only: bool) {
    let read_only = if read_only { GTF_READONLY } else { 0 };
    write_entry(reference, GTF_PERMIT_ACCESS | read_only, domid, frame);
}

/// Takes a grant back, unless it is in use; the bits that say so.
pub(crate) fn revoke(reference: u32) -> u16 {
    let busy = flags(reference) & (GTF_READING | GTF_WRITING);
    if busy == 0 {
        write64(entry(reference), 0);
    }
    busy
}

/// A mapping as it was asked for and answered.
pub(crate) fn map_with(change: impl FnOnce(&mut MapGrantRef)) -> MapGrantRef {
    let mut argument = [MapGrantRef {
        host_addr: window(0),
        flags: GNTMAP_HOST_MAP,
        r#ref: 0,
        dom: 0,
        status: 99,
        handle: 0,
        dev_bus_addr: 0,
    }];
    change(&mut argument[0]);
    let answer = operate(GNTTABOP_MAP_GRANT_REF, &mut argument);
    if answer != 0 {
        argument[0].status = answer as i16;
    }
    argument[0]
}

/// Unmaps; the status.
pub(crate) fn unmap(handle: u32, host_addr: u64) -> i16 {
    let mut argument = [UnmapGrantRef {
        host_addr,
        dev_bus_addr: 0,
        handle,
        status: 99,
        _pad: 0,
    }];
    match operate(GNTTABOP_UNMAP_GRANT_REF, &mut argument) {
        0 => argument[0].status,
        error => error as i16,
    }
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Page `index` of the addresses where pages of others are mapped.
pub(crate) fn window(index: u64) -> u64 {
    facts().extended_regions[0].base + 0x20_0000 + index * 4096
}

/// An address there that was not used yet.
pub(crate) fn fresh_window() -> u64 {
    window(64 + u64::from(NEXT.fetch_add(1, Ordering::SeqCst)))
}

/// One side of a copy.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    /// A frame of the caller's.
    Frame(u64),
    /// A grant of a domain's.
    Grant(u16, u32),
}

/// A copy of `length` bytes between offsets, as asked for; [`copy`] makes it.
pub(crate) fn copy_of(from: (Side, u16), to: (Side, u16), length: u16) -> GrantCopy {
    let pointer = |(side, offset)| {
        let (u, domid) = match side {
            Side::Frame(frame) => (frame, DOMID_SELF),
            Side::Grant(domid, reference) => (reference.into(), domid),
        };
        GrantCopyPtr {
            u,
            domid,
            offset,
            _pad: 0,
        }
    };
    let flag = |side, flag| match side {
        Side::Frame(_) => 0,
        Side::Grant(..) => flag,
    };
    GrantCopy {
        source: pointer(from),
        dest: pointer(to),
        len: length,
        flags: flag(from.0, GNTCOPY_SOURCE_GREF) | flag(to.0, GNTCOPY_DEST_GREF),
        status: 99,
        _pad: 0,
    }
}

/// Makes a copy; its status.
pub(crate) fn copy(argument: GrantCopy) -> i16 {
    let mut arguments = [argument];
    match operate(GNTTABOP_COPY, &mut arguments) {
        0 => arguments[0].status,
        error => error as i16,
    }
}
