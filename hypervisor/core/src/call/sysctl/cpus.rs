// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPUs, and what their scheduler is called.

use crate::addr::CpuId;
use crate::current::Current;
use crate::guest::copy::GuestPtr;
use xen_abi::Payload;
use xen_abi::domctl::XEN_SCHEDULER_CREDIT2;
use xen_abi::errno::Errno;
use xen_abi::sysctl::{
    CpuInfo, CpuTopo, CpuTopoInfo, GetCpuInfo, SchedId, XEN_INVALID_CORE_ID, XEN_INVALID_NODE_ID,
    XEN_INVALID_SOCKET_ID,
};

/// `XEN_SYSCTL_sched_id`.
pub(super) fn scheduler(_: &Current<'_>, arg: &mut Payload) -> Result<(), Errno> {
    let sched_id = XEN_SCHEDULER_CREDIT2;
    arg.set(&SchedId { sched_id });
    Ok(())
}

/// `XEN_SYSCTL_getcpuinfo`: how long each CPU was idle.
pub(super) fn load(cur: &Current<'_>, arg: &mut Payload) -> Result<(), Errno> {
    let mut op: GetCpuInfo = arg.get();
    let nr = op.max_cpus.min(cur.sys.sched.nr_cpus() as u32);
    let list = GuestPtr::<CpuInfo>::from(op.info);
    for cpu in 0..nr {
        let idle = cur.sys.sched.idle_ticks(CpuId(cpu), cur.sys.hw.now());
        let idletime = cur.sys.ticks_to_ns(idle);
        list.at(cpu.into())?
            .write(cur.memory(), &CpuInfo { idletime })?;
    }
    op.nr_cpus = nr;
    arg.set(&op);
    Ok(())
}

/// `XEN_SYSCTL_cputopoinfo`: as Xen on Arm, all CPUs are said to be one core. A null pointer asks
/// for the number only.
pub(super) fn topology(cur: &Current<'_>, arg: &mut Payload) -> Result<(), Errno> {
    let mut op: CpuTopoInfo = arg.get();
    let list = GuestPtr::<CpuTopo>::from(op.cputopo);
    let all = cur.sys.sched.nr_cpus() as u32;
    if !list.is_null() {
        let online = |cpu| cur.sys.sched.online().any(|c| c == CpuId(cpu));
        for cpu in 0..op.num_cpus.min(all) {
            let topo = match online(cpu) {
                true => CpuTopo {
                    core: 0,
                    socket: 0,
                    node: 0,
                },
                false => CpuTopo {
                    core: XEN_INVALID_CORE_ID,
                    socket: XEN_INVALID_SOCKET_ID,
                    node: XEN_INVALID_NODE_ID,
                },
            };
            list.at(cpu.into())?.write(cur.memory(), &topo)?;
        }
    }
    op.num_cpus = all;
    arg.set(&op);
    Ok(())
}
