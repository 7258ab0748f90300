// SPDX-License-Identifier: MIT OR Apache-2.0
//! `memory_op` (public/memory.h). Bits 5:0 of X0 are the operation, the rest how many extents an
//! earlier, interrupted call has done.

mod info;
mod physmap;
mod reservation;
mod resource;

use super::{Args, CallResult, Outcome, done};
use crate::current::Current;
use crate::guest::copy::GuestPtr;
use xen_abi::errno::Errno;
use xen_abi::memory::{
    MEMOP_CMD_MASK, MEMOP_EXTENT_SHIFT, XENMEM_ACQUIRE_RESOURCE, XENMEM_ADD_TO_PHYSMAP,
    XENMEM_ADD_TO_PHYSMAP_BATCH, XENMEM_CLAIM_PAGES, XENMEM_CURRENT_RESERVATION,
    XENMEM_DECREASE_RESERVATION, XENMEM_EXCHANGE, XENMEM_GET_SHARING_FREED_PAGES,
    XENMEM_GET_SHARING_SHARED_PAGES, XENMEM_GET_VNUMAINFO, XENMEM_INCREASE_RESERVATION,
    XENMEM_MAXIMUM_GPFN, XENMEM_MAXIMUM_RAM_PAGE, XENMEM_MAXIMUM_RESERVATION,
    XENMEM_POPULATE_PHYSMAP, XENMEM_REMOVE_FROM_PHYSMAP, XENMEM_RESERVED_DEVICE_MEMORY_MAP,
};

/// An operation and where it stands.
#[derive(Clone, Copy)]
struct Call {
    op: u32,
    /// Extents done before.
    start: u64,
    /// The guest's structure.
    arg: u64,
    /// X2, unused by the ABI.
    spare: u64,
}

impl Call {
    /// It goes on with extent `next`.
    fn again(self, next: u64) -> CallResult {
        let x0 = next << MEMOP_EXTENT_SHIFT | u64::from(self.op);
        Ok(Outcome::Again([x0, self.arg, self.spare, 0, 0]))
    }

    fn ptr<T>(self) -> GuestPtr<T> {
        GuestPtr::new(self.arg)
    }
}

pub(super) fn memory_op(cur: &mut Current<'_>, [cmd, arg, spare, ..]: Args) -> CallResult {
    let call = Call {
        op: cmd as u32 & MEMOP_CMD_MASK,
        start: cmd >> MEMOP_EXTENT_SHIFT,
        arg,
        spare,
    };
    match call.op {
        XENMEM_INCREASE_RESERVATION | XENMEM_DECREASE_RESERVATION | XENMEM_POPULATE_PHYSMAP => {
            reservation::reservation(cur, call)
        }
        XENMEM_ADD_TO_PHYSMAP => physmap::add(cur, call),
        XENMEM_ADD_TO_PHYSMAP_BATCH => physmap::add_batch(cur, call),
        XENMEM_MAXIMUM_GPFN => info::maximum_gpfn(cur, call),
        XENMEM_ACQUIRE_RESOURCE => resource::acquire(cur, call),
        op => whole(cur, op, call),
    }
}

/// The operations that never stop half-way.
fn whole(cur: &Current<'_>, op: u32, call: Call) -> CallResult {
    type Handler = fn(&Current<'_>, Call) -> CallResult;
    let handler: Handler = match op {
        XENMEM_MAXIMUM_RAM_PAGE => info::maximum_ram_page,
        XENMEM_CURRENT_RESERVATION => info::current_reservation,
        XENMEM_MAXIMUM_RESERVATION => info::maximum_reservation,
        XENMEM_REMOVE_FROM_PHYSMAP => physmap::remove,
        XENMEM_EXCHANGE => reservation::exchange,
        XENMEM_GET_SHARING_FREED_PAGES | XENMEM_GET_SHARING_SHARED_PAGES => |_, _| done(0),
        XENMEM_CLAIM_PAGES => info::claim_pages,
        XENMEM_GET_VNUMAINFO => info::vnuma,
        XENMEM_RESERVED_DEVICE_MEMORY_MAP => info::reserved_device_memory,
        _ => return Err(Errno::NoSys),
    };
    if call.start != 0 {
        return Err(Errno::Inval);
    }
    handler(cur, call)
}
