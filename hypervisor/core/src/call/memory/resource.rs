// SPDX-License-Identifier: MIT OR Apache-2.0
//! `XENMEM_acquire_resource`: the control domain maps another domain's grant table.

use super::Call;
use crate::addr::Gfn;
use crate::call::access::{Class, resolve};
use crate::call::{CallResult, OK};
use crate::current::Current;
use crate::domain::Domain;
use crate::guest::copy::GuestPtr;
use crate::p2m::P2mType;
use xen_abi::errno::Errno;
use xen_abi::memory::{
    AcquireResource, MEMOP_EXTENT_SHIFT, XENMEM_RESOURCE_GRANT_TABLE,
    XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED,
};

/// With a null list: how many frames there are. Otherwise maps frames at the caller's numbers.
pub(super) fn acquire(cur: &Current<'_>, call: Call) -> CallResult {
    let mut arg = call.ptr::<AcquireResource>().read(cur.memory())?;
    if arg.pad != 0 {
        return Err(Errno::Inval);
    }
    let owner = resolve(cur, arg.domid, Class::ControlRemote)?;
    let max = max_frames(&owner, &arg).ok_or(Errno::Inval)?;
    if owner.is_dying() {
        return Err(Errno::Inval);
    }
    if arg.frame_list.is_null() {
        if arg.nr_frames != 0 || arg.frame != 0 {
            return Err(Errno::Inval);
        }
        arg.nr_frames = max;
        call.ptr().write(cur.memory(), &arg)?;
        return OK;
    }
    let nr = u64::from(arg.nr_frames);
    let end = arg.frame.checked_add(nr).ok_or(Errno::Inval)?;
    if end > max.into() || nr > u64::from(u32::MAX >> MEMOP_EXTENT_SHIFT) || call.start > nr {
        return Err(Errno::Inval);
    }
    let list = GuestPtr::<u64>::from(arg.frame_list);
    for n in call.start..nr {
        if n > call.start && cur.must_give_way() {
            return call.again(n);
        }
        let gfn = list.at(n)?.read(cur.memory()).map(Gfn)?;
        map_frame(cur, &owner, arg.frame.saturating_add(n), gfn)?;
    }
    OK
}

/// How many frames the resource can have; `None` if there is no such resource.
fn max_frames(owner: &Domain, arg: &AcquireResource) -> Option<u32> {
    let table = arg.r#type == XENMEM_RESOURCE_GRANT_TABLE
        && arg.id == XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED;
    table.then(|| owner.grants.size().1)
}

/// Maps frame `index` of the owner's grant table, which grows to have it. The entry holds a
/// reference.
fn map_frame(cur: &Current<'_>, owner: &Domain, index: u64, gfn: Gfn) -> Result<(), Errno> {
    let index = u32::try_from(index).map_err(|_| Errno::Inval)?;
    let mfn = owner.grants.frame(index)?.mfn();
    let page = cur.sys.frames.get(mfn, owner.id).ok_or(Errno::Inval)?;
    let replaced = cur.domain.p2m.insert_page(gfn, page, P2mType::ForeignRw)?;
    if replaced.ram != 0 {
        cur.domain.xen_pages_unmapped(gfn, 1);
    }
    Ok(())
}
