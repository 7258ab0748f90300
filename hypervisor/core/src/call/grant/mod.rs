// SPDX-License-Identifier: MIT OR Apache-2.0
//! `grant_table_op` (public/grant_table.h), version 1 of the table: what a domain does with its
//! own.

mod cache;
mod table;

use super::{Args, CallResult, OK, Outcome};
use crate::current::Current;
use crate::guest::copy::GuestPtr;
use xen_abi::errno::Errno;
use xen_abi::grant::{
    GNTTABOP_CACHE_FLUSH, GNTTABOP_CMD_MASK, GNTTABOP_COPY, GNTTABOP_GET_STATUS_FRAMES,
    GNTTABOP_GET_VERSION, GNTTABOP_MAP_GRANT_REF, GNTTABOP_QUERY_SIZE, GNTTABOP_SET_VERSION,
    GNTTABOP_SETUP_TABLE, GNTTABOP_SWAP_GRANT_REF, GNTTABOP_TRANSFER, GNTTABOP_UNMAP_GRANT_REF,
};
use zerocopy::{FromBytes, IntoBytes};

pub(super) fn grant_table_op(cur: &mut Current<'_>, [cmd, array, count, ..]: Args) -> CallResult {
    let (whole, count) = (cmd as u32, count as u32);
    let cmd = whole & GNTTABOP_CMD_MASK;
    // Xen keeps the place of an interrupted cache_flush in the other bits.
    if i32::try_from(count).is_err() || (cmd != whole && cmd != GNTTABOP_CACHE_FLUSH) {
        return Err(Errno::Inval);
    }
    let call = Call { cmd, array, count };
    match cmd {
        GNTTABOP_QUERY_SIZE => table::query_size(cur, call.only()?),
        GNTTABOP_SETUP_TABLE => table::setup_table(cur, call.only()?),
        GNTTABOP_SET_VERSION => table::set_version(cur, call.only()?),
        GNTTABOP_GET_STATUS_FRAMES => table::get_status_frames(cur, call.only()?),
        GNTTABOP_GET_VERSION => table::get_version(cur, GuestPtr::new(array)),
        GNTTABOP_SWAP_GRANT_REF => call.each(cur, table::swap_grant_ref),
        GNTTABOP_CACHE_FLUSH => call.each(cur, cache::flush),
        GNTTABOP_TRANSFER => Err(Errno::OpNotSupp),
        GNTTABOP_MAP_GRANT_REF | GNTTABOP_UNMAP_GRANT_REF | GNTTABOP_COPY if count == 0 => OK,
        _ => Err(Errno::NoSys),
    }
}

/// An operation on an array.
#[derive(Clone, Copy)]
struct Call {
    cmd: u32,
    array: u64,
    count: u32,
}

impl Call {
    /// The array's only element: `EINVAL` unless it has one.
    fn only<T>(self) -> Result<GuestPtr<T>, Errno> {
        let only = self.count == 1;
        only.then_some(GuestPtr::new(self.array))
            .ok_or(Errno::Inval)
    }

    /// Lets `act` do each element, up to the first error.
    fn each<T: FromBytes + IntoBytes>(
        self,
        cur: &Current<'_>,
        act: impl Fn(&Current<'_>, GuestPtr<T>) -> Result<(), Errno>,
    ) -> CallResult {
        let array = GuestPtr::<T>::new(self.array);
        for n in 0..self.count {
            let at = array.at(n.into())?;
            if n > 0 && cur.sys.hw.irq_pending() {
                let left = self.count.saturating_sub(n);
                return Ok(Outcome::Again([
                    self.cmd.into(),
                    at.gva().0,
                    left.into(),
                    0,
                    0,
                ]));
            }
            act(cur, at)?;
        }
        OK
    }
}
