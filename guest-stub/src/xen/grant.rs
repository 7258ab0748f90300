// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grant tables: this domain's own, and pages that others grant.

use xen_abi::Errno;
use xen_abi::grant::{
    CacheFlush, GNTMAP_HOST_MAP, GNTMAP_READONLY, GNTST_OKAY, GNTTABOP_CACHE_FLUSH,
    GNTTABOP_MAP_GRANT_REF, GNTTABOP_UNMAP_GRANT_REF, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY,
    GTF_WRITING, MapGrantRef, UnmapGrantRef,
};
use xen_abi::hypercall::GRANT_TABLE_OP;
use xen_abi::memory::XENMAPSPACE_GRANT_TABLE;

use super::hypercall::hypercall;
use super::memory::add_to_physmap;
use crate::machine::dt;
use crate::machine::mmio::{read64, write64};

/// What another domain may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

/// A page of another domain's, mapped here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping {
    /// Where, guest-physical.
    pub(crate) address: u64,
    handle: u32,
    /// Where it is in the machine (`dev_bus_addr`).
    pub(crate) machine: u64,
}

/// Makes a hypercall about the elements of `arguments`.
pub(crate) fn operate<T>(operation: u32, arguments: &mut [T]) -> i64 {
    let (address, count) = (arguments.as_mut_ptr() as u64, arguments.len() as u64);
    hypercall(GRANT_TABLE_OP, [operation.into(), address, count, 0, 0])
}

/// Maps the first page of this domain's table where the device tree wants it.
pub(crate) fn map_table() -> i64 {
    let table = dt::facts().grant_region.base;
    add_to_physmap(XENMAPSPACE_GRANT_TABLE, 0, table >> 12)
}

/// Address of an entry of this domain's table.
fn entry(reference: u32) -> u64 {
    assert!(
        reference < 512,
        "only the first page of the table is mapped"
    );
    dt::facts().grant_region.base + u64::from(reference) * 8
}

/// Lets `domain` map guest frame `frame`. The reference is not in use.
pub(crate) fn grant_access(reference: u32, domain: u16, frame: u64, access: Access) {
    let flags = match access {
        Access::ReadOnly => GTF_PERMIT_ACCESS | GTF_READONLY,
        Access::ReadWrite => GTF_PERMIT_ACCESS,
    };
    let without_flags = frame << 32 | u64::from(domain) << 16;
    write64(entry(reference), without_flags);
    crate::machine::barrier::dsb();
    write64(entry(reference), without_flags | u64::from(flags));
    crate::machine::barrier::dsb();
}

/// Ends a grant; false, and no change, while it is in use.
pub(crate) fn end_access(reference: u32) -> bool {
    let in_use = u64::from(GTF_READING | GTF_WRITING);
    if read64(entry(reference)) & in_use != 0 {
        return false;
    }
    // The one it is granted to maps nothing more: it was told so before.
    write64(entry(reference), 0);
    true
}

/// Maps what `domain` granted under `reference` at guest-physical `address`.
///
/// # Errors
/// The status, one of `GNTST_*`.
pub(crate) fn map(
    domain: u16,
    reference: u32,
    address: u64,
    access: Access,
) -> Result<Mapping, i16> {
    let flags = match access {
        Access::ReadOnly => GNTMAP_HOST_MAP | GNTMAP_READONLY,
        Access::ReadWrite => GNTMAP_HOST_MAP,
    };
    let mut argument = [MapGrantRef {
        host_addr: address,
        flags,
        r#ref: reference,
        dom: domain,
        status: i16::MIN,
        handle: 0,
        dev_bus_addr: 0,
    }];
    operate(GNTTABOP_MAP_GRANT_REF, &mut argument);
    let [done] = argument;
    match done.status {
        GNTST_OKAY => Ok(Mapping {
            address,
            handle: done.handle,
            machine: done.dev_bus_addr,
        }),
        status => Err(status),
    }
}

/// Undoes a mapping.
///
/// # Errors
/// The status, one of `GNTST_*`.
pub(crate) fn unmap(mapping: Mapping) -> Result<(), i16> {
    let mut argument = [UnmapGrantRef {
        host_addr: mapping.address,
        dev_bus_addr: 0,
        handle: mapping.handle,
        status: i16::MIN,
        _pad: 0,
    }];
    operate(GNTTABOP_UNMAP_GRANT_REF, &mut argument);
    match argument[0].status {
        GNTST_OKAY => Ok(()),
        status => Err(status),
    }
}

/// Has the hypervisor maintain its caches over part of a page of the machine.
///
/// # Errors
/// The hypervisor's.
pub(crate) fn cache_flush(flush: &CacheFlush) -> Result<(), Errno> {
    match operate(GNTTABOP_CACHE_FLUSH, &mut [*flush]) {
        0 => Ok(()),
        error => Err(i32::try_from(-error)
            .ok()
            .and_then(Errno::from_code)
            .unwrap_or(Errno::Io)),
    }
}
