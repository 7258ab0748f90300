// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's grant table as such: its size, its version, where its frames are mapped.

use super::status;
use crate::addr::Gfn;
use crate::call::access::{Class, by_any_id, resolve};
use crate::call::{CallResult, OK, update};
use crate::current::Current;
use crate::domain::Domain;
use crate::guest::copy::GuestPtr;
use alloc::sync::Arc;
use xen_abi::errno::Errno;
use xen_abi::grant::{
    GNTST_BAD_DOMAIN, GNTST_BAD_VIRT_ADDR, GNTST_GENERAL_ERROR, GNTST_OKAY,
    GNTST_PERMISSION_DENIED, GetStatusFrames, GetVersion, QuerySize, SetVersion, SetupTable,
    SwapGrantRef,
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
    op.status = status(cur.domain.grants.swap(op.ref_a, op.ref_b));
    arg.write(cur.memory(), &op)
}
