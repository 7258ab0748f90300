// SPDX-License-Identifier: MIT OR Apache-2.0
//! `GNTTABOP_map_grant_ref`, `GNTTABOP_unmap_grant_ref`, `GNTTABOP_unmap_and_replace`.

use super::{BATCH, Peer, check_talk, status};
use crate::addr::Ipa;
use crate::current::Current;
use crate::grant::map::{Request, find, finish, take};
use crate::grant::{GrantError, Mapping, map as grant_map};
use xen_abi::grant::{
    GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP, GNTMAP_READONLY, MapGrantRef, UnmapGrantRef,
};

pub(super) fn map(cur: &Current<'_>, batch: &mut [MapGrantRef]) {
    let mut peer = Peer::default();
    for op in batch {
        op.status = status(map_one(cur, &mut peer, op));
    }
}

fn map_one(cur: &Current<'_>, peer: &mut Peer, op: &mut MapGrantRef) -> Result<(), GrantError> {
    if op.flags & (GNTMAP_DEVICE_MAP | GNTMAP_HOST_MAP) == 0 {
        return Err(GrantError::BadReference);
    }
    // The other flags are not for Arm.
    if op.flags & !(GNTMAP_HOST_MAP | GNTMAP_READONLY) != 0 {
        return Err(GrantError::General);
    }
    let owner = peer.find(cur, op.dom)?;
    check_talk(cur.domain, owner)?;
    let request = Request {
        reference: op.r#ref,
        gfn: Ipa(op.host_addr).frame(),
        readonly: op.flags & GNTMAP_READONLY != 0,
    };
    let (handle, mfn) = grant_map::map(cur.domain, owner, request)?;
    // Devices must be given the machine address: Linux's swiotlb-xen relies on it.
    (op.handle, op.dev_bus_addr) = (handle, mfn.base().0);
    Ok(())
}

pub(super) fn unmap(cur: &Current<'_>, batch: &mut [UnmapGrantRef]) {
    unmap_if(cur, batch, |_| Ok(()));
}

/// There is nothing to replace a mapping by on Arm. The structure is that of an unmapping, with
/// the new address in `dev_bus_addr`'s place; without one that is what it is.
pub(super) fn unmap_and_replace(cur: &Current<'_>, batch: &mut [UnmapGrantRef]) {
    unmap_if(cur, batch, |op| match op.dev_bus_addr {
        0 => Ok(()),
        _ => Err(GrantError::General),
    });
}

/// Unmaps those that `check` allows, with one flush.
fn unmap_if(cur: &Current<'_>, batch: &mut [UnmapGrantRef], check: Check) {
    match batch.len() {
        1 => unmap_up_to::<1>(cur, batch, check),
        _ => unmap_up_to::<BATCH>(cur, batch, check),
    }
}

type Check = fn(&UnmapGrantRef) -> Result<(), GrantError>;

fn unmap_up_to<const N: usize>(cur: &Current<'_>, batch: &mut [UnmapGrantRef], check: Check) {
    let mut taken: [Option<Mapping>; N] = [const { None }; N];
    for (op, slot) in batch.iter_mut().zip(&mut taken) {
        op.status = status(take_one(cur, op, check).map(|mapping| *slot = mapping));
    }
    let taken = taken.get(..batch.len()).unwrap_or_default();
    finish(cur.domain, taken);
}

/// The mapping to unmap. Without an address there is nothing to do, which is no error.
fn take_one(
    cur: &Current<'_>,
    op: &UnmapGrantRef,
    check: Check,
) -> Result<Option<Mapping>, GrantError> {
    let gfn = Ipa(op.host_addr).frame();
    let result = match check(op) {
        Ok(()) => take(cur.domain, op.handle, gfn),
        Err(error) => find(cur.domain, op.handle).and(Err(error)),
    };
    match result {
        Err(GrantError::General) if op.host_addr == 0 => Ok(None),
        result => result.map(Some),
    }
}
