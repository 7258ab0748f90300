// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which CPUs and which nodes a domain uses.

use super::{Answer, bitmap};
use crate::current::Current;
use crate::domain::Domain;
use crate::domain::vcpu::CannotRestrict;
use crate::sched::bit;
use alloc::sync::Arc;
use xen_abi::Payload;
use xen_abi::domctl::{NodeAffinity, VcpuAffinity, XEN_VCPUAFFINITY_HARD, XEN_VCPUAFFINITY_SOFT};
use xen_abi::errno::Errno;

/// The CPUs there are.
fn online(cur: &Current<'_>) -> u128 {
    cur.sys.sched.online().fold(0, |set, cpu| set | bit(cpu))
}

/// `XEN_DOMCTL_setvcpuaffinity`: where a vCPU may run and where it likes to. `EINVAL` if it may run
/// nowhere in its pool, or on no CPU of its kind there; a vCPU that has never run becomes of another
/// kind instead. Flags that mean neither are ignored, as in Xen.
pub(super) fn set_vcpu(
    cur: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let op: VcpuAffinity = arg.get();
    if op.flags == 0 {
        return Err(Errno::Inval);
    }
    let vcpu = domain.vcpu(op.vcpu).ok_or(Errno::Inval)?;
    let online = cur.sys.sched.pool_cpus(domain.share.pool());
    if op.flags & XEN_VCPUAFFINITY_HARD != 0 {
        let wanted = bitmap::read(cur, op.cpumap_hard)?;
        let effective = match vcpu.restrict(wanted) {
            Ok(effective) => effective,
            Err(CannotRestrict::Nowhere) => return Err(Errno::Inval),
            Err(CannotRestrict::Again) => return Ok(Answer::Again),
        };
        bitmap::write(cur, op.cpumap_hard, effective)?;
    }
    if op.flags & XEN_VCPUAFFINITY_SOFT != 0 {
        let wanted = bitmap::read(cur, op.cpumap_soft)?;
        cur.sys.sched.set_preference(cur.sys.hw, vcpu, wanted);
        let effective = wanted & online & vcpu.sched.affinity();
        bitmap::write(cur, op.cpumap_soft, effective)?;
    }
    Ok(Answer::Done)
}

/// `XEN_DOMCTL_getvcpuaffinity`.
pub(super) fn get_vcpu(
    cur: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let op: VcpuAffinity = arg.get();
    if op.flags == 0 {
        return Err(Errno::Inval);
    }
    let vcpu = domain.vcpu(op.vcpu).ok_or(Errno::Inval)?;
    if op.flags & XEN_VCPUAFFINITY_HARD != 0 {
        bitmap::write(cur, op.cpumap_hard, vcpu.sched.affinity() & online(cur))?;
    }
    if op.flags & XEN_VCPUAFFINITY_SOFT != 0 {
        bitmap::write(cur, op.cpumap_soft, vcpu.sched.preference() & online(cur))?;
    }
    Ok(Answer::Done)
}

/// The one node.
const NODES: u128 = 1;

/// `XEN_DOMCTL_setnodeaffinity`: there is one node. `EINVAL` for none.
pub(super) fn set_node(
    cur: &Current<'_>,
    _: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let op: NodeAffinity = arg.get();
    let wanted = bitmap::read(cur, op.nodemap)? & NODES;
    (wanted != 0).then_some(Answer::Done).ok_or(Errno::Inval)
}

/// `XEN_DOMCTL_getnodeaffinity`.
pub(super) fn get_node(
    cur: &Current<'_>,
    _: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let op: NodeAffinity = arg.get();
    bitmap::write(cur, op.nodemap, NODES)?;
    Ok(Answer::Done)
}
