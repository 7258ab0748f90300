// SPDX-License-Identifier: MIT OR Apache-2.0
//! `grant_table_op` (public/grant_table.h), version 1 of the table. What it does to grants is in
//! [`crate::grant`]; here are its arguments, and who may.

mod cache;
mod copy;
mod map;
mod table;

use super::access::may_talk;
use super::{Args, CallResult, OK, Outcome};
use crate::addr::DomId;
use crate::current::Current;
use crate::domain::Domain;
use crate::grant::GrantError;
use crate::guest::copy::GuestPtr;
use alloc::sync::Arc;
use xen_abi::errno::Errno;
use xen_abi::grant::{
    GNTST_OKAY, GNTTABOP_CACHE_FLUSH, GNTTABOP_CMD_MASK, GNTTABOP_COPY, GNTTABOP_GET_STATUS_FRAMES,
    GNTTABOP_GET_VERSION, GNTTABOP_MAP_GRANT_REF, GNTTABOP_QUERY_SIZE, GNTTABOP_SET_VERSION,
    GNTTABOP_SETUP_TABLE, GNTTABOP_SWAP_GRANT_REF, GNTTABOP_TRANSFER, GNTTABOP_UNMAP_AND_REPLACE,
    GNTTABOP_UNMAP_GRANT_REF,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub(super) fn grant_table_op(cur: &mut Current<'_>, [cmd, array, count, ..]: Args) -> CallResult {
    let (whole, count) = (cmd as u32, count as u32);
    let cmd = whole & GNTTABOP_CMD_MASK;
    // Xen keeps the place of an interrupted cache_flush in the other bits.
    if i32::try_from(count).is_err() || (cmd != whole && cmd != GNTTABOP_CACHE_FLUSH) {
        return Err(Errno::Inval);
    }
    let call = Call { cmd, array, count };
    match cmd {
        GNTTABOP_MAP_GRANT_REF => call.batches(cur, map::map),
        GNTTABOP_UNMAP_GRANT_REF => call.batches(cur, map::unmap),
        GNTTABOP_UNMAP_AND_REPLACE => call.batches(cur, map::unmap_and_replace),
        GNTTABOP_COPY => call.batches(cur, copy::copy),
        GNTTABOP_QUERY_SIZE => table::query_size(cur, call.only()?),
        GNTTABOP_SETUP_TABLE => table::setup_table(cur, call.only()?),
        GNTTABOP_SET_VERSION => table::set_version(cur, GuestPtr::new(array)),
        GNTTABOP_GET_STATUS_FRAMES => table::get_status_frames(cur, call.only()?),
        GNTTABOP_GET_VERSION => table::get_version(cur, GuestPtr::new(array)),
        GNTTABOP_SWAP_GRANT_REF => call.each(cur, table::swap_grant_ref),
        GNTTABOP_CACHE_FLUSH => call.each(cur, cache::flush),
        GNTTABOP_TRANSFER => Err(Errno::OpNotSupp),
        _ => Err(Errno::NoSys),
    }
}

/// A `GNTST_*` of a result.
fn status(result: Result<(), GrantError>) -> i16 {
    result.map_or_else(i16::from, |()| GNTST_OKAY)
}

/// The domain that operations are about, kept for the next one: it mostly is the same.
#[derive(Default)]
struct Peer(Option<Arc<Domain>>);

impl Peer {
    /// Domain `domid`, which must be a number.
    fn find<'a>(&'a mut self, cur: &'a Current<'_>, domid: u16) -> Result<&'a Domain, GrantError> {
        if domid == cur.domain.id.0 {
            return Ok(cur.domain);
        }
        if self.0.as_ref().is_none_or(|kept| kept.id.0 != domid) {
            self.0 = cur.sys.domains.get(DomId(domid));
        }
        let found = self.0.as_deref();
        found.ok_or(GrantError::BadDomain)
    }
}

/// Whether the two may have grants between them.
fn check_talk(a: &Domain, b: &Domain) -> Result<(), GrantError> {
    may_talk(a, b).map_err(|_| GrantError::Denied)
}

/// Elements that are read, done and written back together: no interrupt is taken between.
const BATCH: usize = 32;

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

    /// The call goes on with element `done`, once interrupts were let in.
    fn again<T>(self, done: u32) -> CallResult {
        let at = GuestPtr::<T>::new(self.array).at(done.into())?;
        let left = self.count.saturating_sub(done);
        Ok(Outcome::Again([
            self.cmd.into(),
            at.gva().0,
            left.into(),
            0,
            0,
        ]))
    }

    /// Lets `act` do each element, up to the first error.
    fn each<T: FromBytes + IntoBytes>(
        self,
        cur: &Current<'_>,
        act: impl Fn(&Current<'_>, GuestPtr<T>) -> Result<(), Errno>,
    ) -> CallResult {
        for n in 0..self.count {
            if n > 0 && cur.must_give_way() {
                return self.again::<T>(n);
            }
            act(cur, GuestPtr::new(self.array).at(n.into())?)?;
        }
        OK
    }

    /// Lets `act` do all elements, [`BATCH`] at a time; it says in them what became of them.
    fn batches<T: Copy + FromBytes + IntoBytes + Immutable>(
        self,
        cur: &Current<'_>,
        act: fn(&Current<'_>, &mut [T]),
    ) -> CallResult {
        if self.count == 1 {
            return self.batches_of::<T, 1>(cur, act);
        }
        self.batches_of::<T, BATCH>(cur, act)
    }

    fn batches_of<T: Copy + FromBytes + IntoBytes + Immutable, const N: usize>(
        self,
        cur: &Current<'_>,
        act: fn(&Current<'_>, &mut [T]),
    ) -> CallResult {
        let array = GuestPtr::<T>::new(self.array);
        let mut done = 0u32;
        while done < self.count {
            if done > 0 && cur.must_give_way() {
                return self.again::<T>(done);
            }
            let at = array.at(done.into())?.gva();
            let mut buffer = [T::new_zeroed(); N];
            let nr = (self.count.saturating_sub(done) as usize).min(N);
            let mut batch = buffer.get_mut(..nr).unwrap_or_default();
            if cur.memory().read_bytes(at, batch.as_mut_bytes()).is_err() {
                // Not all are there. What comes before those that are not is done nevertheless.
                batch = batch.get_mut(..1).unwrap_or_default();
                cur.memory().read_bytes(at, batch.as_mut_bytes())?;
            }
            act(cur, batch);
            cur.memory().write_bytes(at, batch.as_bytes())?;
            done = done.saturating_add(batch.len() as u32);
        }
        OK
    }
}
