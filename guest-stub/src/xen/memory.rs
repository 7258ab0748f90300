// SPDX-License-Identifier: MIT OR Apache-2.0
//! `memory_op`.

use xen_abi::Handle;
use xen_abi::hypercall::MEMORY_OP;
use xen_abi::memory::{
    AddToPhysmap, MemoryReservation, RemoveFromPhysmap, XENMEM_ADD_TO_PHYSMAP,
    XENMEM_REMOVE_FROM_PHYSMAP,
};
use xen_abi::xen::DOMID_SELF;

use super::hypercall::operate;

/// Maps page `index` of a special space at guest frame `frame`.
pub(crate) fn add_to_physmap(space: u32, index: u64, frame: u64) -> i64 {
    let mut argument = AddToPhysmap {
        domid: DOMID_SELF,
        size: 0,
        space,
        idx: index,
        gpfn: frame,
    };
    operate(MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, &mut argument)
}

/// Unmaps guest frame `frame`.
pub(crate) fn remove_from_physmap(frame: u64) -> i64 {
    let mut argument = RemoveFromPhysmap {
        domid: DOMID_SELF,
        _pad: [0; 6],
        gpfn: frame,
    };
    operate(MEMORY_OP, XENMEM_REMOVE_FROM_PHYSMAP, &mut argument)
}

/// Populates or gives up (by `operation`) one page at guest frame `frame`; the number of pages done.
pub(crate) fn reservation(operation: u32, frame: u64) -> i64 {
    let frames = [frame];
    let mut argument = MemoryReservation {
        extent_start: Handle(&raw const frames as u64),
        nr_extents: 1,
        extent_order: 0,
        mem_flags: 0,
        domid: DOMID_SELF,
        _pad: [0; 6],
    };
    operate(MEMORY_OP, operation, &mut argument)
}
