// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sysctl` (public/sysctl.h): the toolstack and the machine. No command is there yet; what is
//! wrong with a call is answered as ever.

use super::{Args, CallResult, access};
use crate::current::Current;
use crate::guest::copy::GuestPtr;
use xen_abi::errno::Errno;
use xen_abi::sysctl::{Sysctl, XEN_SYSCTL_INTERFACE_VERSION};

pub(super) fn sysctl(cur: &mut Current<'_>, [arg, ..]: Args) -> CallResult {
    let op = GuestPtr::<Sysctl>::new(arg).read(cur.memory())?;
    if op.interface_version != XEN_SYSCTL_INTERFACE_VERSION {
        return Err(Errno::Acces);
    }
    access::control(cur)?;
    Err(Errno::NoSys)
}
