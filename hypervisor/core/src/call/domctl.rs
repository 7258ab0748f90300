// SPDX-License-Identifier: MIT OR Apache-2.0
//! `domctl` (public/domctl.h): a toolstack acts on one domain. No command is there yet; what is
//! wrong with a call is answered as ever.

use super::{Args, CallResult, access};
use crate::current::Current;
use crate::guest::copy::GuestPtr;
use xen_abi::domctl::{Domctl, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_INTERFACE_VERSION};
use xen_abi::errno::Errno;

/// `ESRCH` comes before `EPERM`, and before `ENOSYS` for a command that is not there.
pub(super) fn domctl(cur: &mut Current<'_>, [arg, ..]: Args) -> CallResult {
    let op = GuestPtr::<Domctl>::new(arg).read(cur.memory())?;
    if op.interface_version != XEN_DOMCTL_INTERFACE_VERSION {
        return Err(Errno::Acces);
    }
    // The domain to be created is the one that need not be there.
    if op.cmd != XEN_DOMCTL_CREATEDOMAIN {
        access::by_id(cur, op.domain)?;
    }
    access::control(cur)?;
    Err(Errno::NoSys)
}
