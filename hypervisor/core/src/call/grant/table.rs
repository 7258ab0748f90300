// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's grant table as such: its size, its version, where its frames are mapped.

use crate::addr::Gfn;
use crate::call::access::{Class, by_any_id, resolve};
use crate::call::{CallResult, OK, page, update};
use crate::current::Current;
use crate::domain::Domain;
use crate::guest::copy::GuestPtr;
use crate::guest::shared::SharedPage;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use xen_abi::errno::Errno;
use xen_abi::grant::{
    GNTST_BAD_DOMAIN, GNTST_BAD_GNTREF, GNTST_BAD_VIRT_ADDR, GNTST_GENERAL_ERROR, GNTST_OKAY,
    GNTST_PERMISSION_DENIED, GRANT_ENTRIES_PER_FRAME, GetStatusFrames, GetVersion, GrantEntryV1,
    QuerySize, SetVersion, SetupTable, SwapGrantRef,
};

/// The only version of the table there is.
const VERSION: u32 = 1;

/// [`resolve`] with a `GNTST_*` for its error.
fn target(cur: &Current<'_>, domid: u16) -> Result<Arc<Domain>, i16> {
    by_any_id(cur, domid).map_err(|_| GNTST_BAD_DOMAIN)?;
    resolve(cur, domid, Class::Target).map_err(|_| GNTST_PERMISSION_DENIED)
}

pub(super) fn query_size(cur: &Current<'_>, arg: GuestPtr<QuerySize>) -> CallResult {
    update(cur, arg, |op| {
        op.status = match target(cur, op.dom) {
            Ok(domain) => {
                (op.nr_frames, op.max_nr_frames) = domain.grants.size();
                GNTST_OKAY
            }
            Err(status) => status,
        };
        Ok(())
    })
}

pub(super) fn setup_table(cur: &Current<'_>, arg: GuestPtr<SetupTable>) -> CallResult {
    update(cur, arg, |op| {
        op.status = list_frames(cur, op).err().unwrap_or(GNTST_OKAY);
        Ok(())
    })
}

/// Grows the table to the frames wanted and lists where they are mapped, `!0` for nowhere.
fn list_frames(cur: &Current<'_>, op: &SetupTable) -> Result<(), i16> {
    let domain = target(cur, op.dom)?;
    if op.nr_frames > domain.grants.size().1 {
        return Err(GNTST_GENERAL_ERROR);
    }
    let list = GuestPtr::<u64>::from(op.frame_list);
    for n in 0..op.nr_frames {
        let frame = domain.grants.frame(n).map_err(|_| GNTST_GENERAL_ERROR)?;
        let gfn = frame.gfn().unwrap_or(Gfn(u64::MAX));
        list.at(n.into())
            .and_then(|at| at.write(cur.memory(), &gfn.0))
            .map_err(|_| GNTST_BAD_VIRT_ADDR)?;
    }
    Ok(())
}

pub(super) fn set_version(cur: &Current<'_>, arg: GuestPtr<SetVersion>) -> CallResult {
    let wanted = arg.read(cur.memory())?.version;
    let result = match wanted {
        VERSION => OK,
        2 => Err(Errno::NoSys),
        _ => Err(Errno::Inval),
    };
    arg.write(cur.memory(), &SetVersion { version: VERSION })?;
    result
}

pub(super) fn get_version(cur: &Current<'_>, arg: GuestPtr<GetVersion>) -> CallResult {
    update(cur, arg, |op| {
        resolve(cur, op.dom, Class::Target)?;
        op.version = VERSION;
        Ok(())
    })
}

/// There are none in version 1.
pub(super) fn get_status_frames(cur: &Current<'_>, arg: GuestPtr<GetStatusFrames>) -> CallResult {
    update(cur, arg, |op| {
        op.status = match target(cur, op.dom) {
            Ok(_) if op.nr_frames == 0 => GNTST_OKAY,
            Ok(_) => GNTST_GENERAL_ERROR,
            Err(status) => status,
        };
        Ok(())
    })
}

/// Exchanges two entries of the caller's table.
pub(super) fn swap_grant_ref(cur: &Current<'_>, arg: GuestPtr<SwapGrantRef>) -> Result<(), Errno> {
    let mut op = arg.read(cur.memory())?;
    op.status = match swap(cur, op.ref_a, op.ref_b) {
        Some(()) => GNTST_OKAY,
        None => GNTST_BAD_GNTREF,
    };
    arg.write(cur.memory(), &op)
}

/// `None` if there is no such entry.
fn swap(cur: &Current<'_>, a: u32, b: u32) -> Option<()> {
    let ((page_a, at_a), (page_b, at_b)) = (entry(cur, a)?, entry(cur, b)?);
    let (a, b) = (page_a.atomic_u64(at_a)?, page_b.atomic_u64(at_b)?);
    let was = a.load(Ordering::Acquire);
    a.store(b.load(Ordering::Acquire), Ordering::Release);
    b.store(was, Ordering::Release);
    Some(())
}

/// The frame of an entry of the caller and the entry's offset in it.
fn entry(cur: &Current<'_>, reference: u32) -> Option<(SharedPage, usize)> {
    const SIZE: usize = size_of::<GrantEntryV1>();
    let index = reference.checked_div(GRANT_ENTRIES_PER_FRAME)?;
    if index >= cur.domain.grants.size().0 {
        return None;
    }
    let mfn = cur.domain.grants.frame(index).ok()?.mfn();
    let frame = cur.sys.frames.get(mfn, cur.domain.id)?;
    let offset = reference.checked_rem(GRANT_ENTRIES_PER_FRAME)? as usize;
    Some((page::share(cur.sys.map, frame), offset.saturating_mul(SIZE)))
}
