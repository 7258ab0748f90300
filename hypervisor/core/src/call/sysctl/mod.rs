// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sysctl` (public/sysctl.h): the toolstack and the machine.

mod console;
mod cpus;
mod domains;
mod machine;
mod pools;

use super::{Args, CallResult, OK, Outcome, access};
use crate::current::Current;
use crate::guest::copy::GuestPtr;
use xen_abi::Payload;
use xen_abi::errno::Errno;
use xen_abi::sysctl::*;

/// Answers with arguments that it may change.
type Command = fn(&Current<'_>, &mut Payload) -> Result<(), Errno>;

pub(super) fn sysctl(cur: &mut Current<'_>, args: Args) -> CallResult {
    let [arg, ..] = args;
    let ptr = GuestPtr::<Sysctl>::new(arg);
    let mut op = ptr.read(cur.memory())?;
    if op.interface_version != XEN_SYSCTL_INTERFACE_VERSION {
        return Err(Errno::Acces);
    }
    access::control(cur)?;
    let command: Command = match op.cmd {
        XEN_SYSCTL_READCONSOLE => console::read,
        XEN_SYSCTL_DEBUG_KEYS => {
            // Goes on with the same structure, as a `domctl` that takes long.
            let all = console::keys(cur, &mut op.u)?;
            ptr.write(cur.memory(), &op)?;
            return if all { OK } else { Ok(Outcome::Again(args)) };
        }
        XEN_SYSCTL_PHYSINFO => machine::physinfo,
        XEN_SYSCTL_AVAILHEAP => machine::available,
        XEN_SYSCTL_NUMAINFO => machine::numa,
        XEN_SYSCTL_GETDOMAININFOLIST => domains::list,
        XEN_SYSCTL_SCHED_ID => cpus::scheduler,
        XEN_SYSCTL_SCHEDULER_OP => pools::scheduler_op,
        XEN_SYSCTL_GETCPUINFO => cpus::load,
        XEN_SYSCTL_CPUTOPOINFO => cpus::topology,
        XEN_SYSCTL_CPUPOOL_OP => pools::pool,
        XEN_SYSCTL_PAGE_OFFLINE_OP => |_, _| Err(Errno::Fault),
        XEN_SYSCTL_COVERAGE_OP | XEN_SYSCTL_DT_OVERLAY => |_, _| Err(Errno::OpNotSupp),
        _ => return Err(Errno::NoSys),
    };
    // Pools and the domains in them change one at a time.
    let managing = (op.cmd == XEN_SYSCTL_CPUPOOL_OP).then(|| cur.sys.domains.manage());
    if matches!(managing, Some(None)) {
        return Ok(Outcome::Again(args));
    }
    command(cur, &mut op.u)?;
    ptr.write(cur.memory(), &op)?;
    OK
}
