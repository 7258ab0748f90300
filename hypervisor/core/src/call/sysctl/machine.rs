// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine: its CPUs, its memory.

use crate::addr::PAGE_SIZE;
use crate::current::Current;
use crate::guest::copy::GuestPtr;
use xen_abi::Payload;
use xen_abi::errno::Errno;
use xen_abi::sysctl::{
    AvailHeap, MemInfo, NumaInfo, PhysInfo, XEN_SYSCTL_PHYSCAP_GNTTAB_V1, XEN_SYSCTL_PHYSCAP_HAP,
    XEN_SYSCTL_PHYSCAP_HVM,
};
use zerocopy::FromZeros;

/// `XEN_SYSCTL_physinfo`.
pub(super) fn physinfo(cur: &Current<'_>, arg: &mut Payload) -> Result<(), Errno> {
    let (sched, frames) = (&cur.sys.sched, cur.sys.frames);
    let mut info = PhysInfo::new_zeroed();
    info.threads_per_core = 1;
    info.nr_cpus = sched.online().count() as u32;
    // As Xen on Arm has it: all CPUs are one socket's.
    info.cores_per_socket = info.nr_cpus;
    info.max_cpu_id = (sched.nr_cpus() as u32).saturating_sub(1);
    info.nr_nodes = 1;
    info.cpu_khz = u32::try_from(cur.sys.hw.frequency() / 1000).unwrap_or(u32::MAX);
    info.capabilities =
        XEN_SYSCTL_PHYSCAP_HVM | XEN_SYSCTL_PHYSCAP_HAP | XEN_SYSCTL_PHYSCAP_GNTTAB_V1;
    info.total_pages = frames.total_pages();
    info.free_pages = frames.free_pages();
    info.outstanding_pages = frames.all_claimed();
    let ends = frames.banks().map(|(mfn, nr)| mfn.0.saturating_add(nr));
    info.max_mfn = ends.max().unwrap_or(0).saturating_sub(1);
    arg.set(&info);
    Ok(())
}

/// `XEN_SYSCTL_availheap`: bytes free, of any address.
pub(super) fn available(cur: &Current<'_>, arg: &mut Payload) -> Result<(), Errno> {
    let mut op: AvailHeap = arg.get();
    op.avail_bytes = cur.sys.frames.free_pages().saturating_mul(PAGE_SIZE);
    arg.set(&op);
    Ok(())
}

/// Distance of the node to itself, as Xen on Arm gives it.
const LOCAL_DISTANCE: u32 = 20;

/// `XEN_SYSCTL_numainfo`: there is one node. Null pointers ask for the number only.
pub(super) fn numa(cur: &Current<'_>, arg: &mut Payload) -> Result<(), Errno> {
    let mut op: NumaInfo = arg.get();
    let sizes = GuestPtr::<MemInfo>::from(op.meminfo);
    let distances = GuestPtr::<u32>::from(op.distance);
    let asked = op.num_nodes != 0;
    if !sizes.is_null() && asked {
        let frames = cur.sys.frames;
        let info = MemInfo {
            memsize: frames.total_pages().saturating_mul(PAGE_SIZE),
            memfree: frames.free_pages().saturating_mul(PAGE_SIZE),
        };
        sizes.write(cur.memory(), &info)?;
    }
    if !distances.is_null() && asked {
        distances.write(cur.memory(), &LOCAL_DISTANCE)?;
    }
    op.num_nodes = 1;
    arg.set(&op);
    Ok(())
}
