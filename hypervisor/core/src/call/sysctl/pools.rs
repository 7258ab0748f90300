// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPU pools and the parameters of their scheduler, which passes for credit2 in each.

use crate::addr::{CpuId, DomId};
use crate::call::domctl::write_bitmap;
use crate::current::Current;
use crate::domain::Domain;
use alloc::sync::Arc;
use alloc::vec::Vec;
use xen_abi::Payload;
use xen_abi::domctl::XEN_SCHEDULER_CREDIT2;
use xen_abi::errno::Errno;
use xen_abi::sysctl::*;

/// `XEN_SYSCTL_scheduler_op`: `EINVAL` for another scheduler's.
pub(super) fn scheduler_op(cur: &Current<'_>, arg: &mut Payload) -> Result<(), Errno> {
    let mut op: SchedulerOp = arg.get();
    let sched = &cur.sys.sched;
    if op.cmd != XEN_SYSCTL_SCHEDOP_GETINFO && op.cmd != XEN_SYSCTL_SCHEDOP_PUTINFO {
        return Err(Errno::Inval);
    }
    let now = sched.ratelimit_us(op.cpupool_id)?;
    if op.sched_id != XEN_SCHEDULER_CREDIT2 {
        return Err(Errno::Inval);
    }
    match op.cmd {
        XEN_SYSCTL_SCHEDOP_GETINFO => op.ratelimit_us = now,
        _ => sched.set_ratelimit_us(op.cpupool_id, op.ratelimit_us)?,
    }
    arg.set(&op);
    Ok(())
}

/// `XEN_SYSCTL_cpupool_op`. Nobody else creates or destroys domains meanwhile.
pub(super) fn pool(cur: &Current<'_>, arg: &mut Payload) -> Result<(), Errno> {
    let mut op: CpupoolOp = arg.get();
    let (sched, hw) = (&cur.sys.sched, cur.sys.hw);
    let any_or = |n: u32| (n != XEN_SYSCTL_CPUPOOL_PAR_ANY).then_some(n);
    let cpu = any_or(op.cpu).map(CpuId);
    match op.op {
        XEN_SYSCTL_CPUPOOL_OP_CREATE => {
            if op.sched_id != XEN_SCHEDULER_CREDIT2 {
                return Err(Errno::NoEnt);
            }
            op.cpupool_id = sched.create_pool(any_or(op.cpupool_id))?;
        }
        XEN_SYSCTL_CPUPOOL_OP_DESTROY => {
            let exists = sched.pool_from(op.cpupool_id);
            exists
                .filter(|p| p.id == op.cpupool_id)
                .ok_or(Errno::NoEnt)?;
            if !domains_of(cur, op.cpupool_id).is_empty() {
                return Err(Errno::Busy);
            }
            sched.destroy_pool(op.cpupool_id)?;
        }
        XEN_SYSCTL_CPUPOOL_OP_INFO => {
            let pool = sched.pool_from(op.cpupool_id).ok_or(Errno::NoEnt)?;
            op.cpupool_id = pool.id;
            op.sched_id = XEN_SCHEDULER_CREDIT2;
            op.n_dom = domains_of(cur, pool.id).len() as u32;
            write_bitmap(cur, op.cpumap, pool.cpus)?;
        }
        XEN_SYSCTL_CPUPOOL_OP_ADDCPU => sched.add_to_pool(hw, op.cpupool_id, cpu)?,
        XEN_SYSCTL_CPUPOOL_OP_RMCPU => {
            let domains = domains_of(cur, op.cpupool_id);
            let vcpus: Vec<_> = domains
                .iter()
                .flat_map(|d| d.all_vcpus())
                .cloned()
                .collect();
            let has_domains = !domains.is_empty();
            sched.remove_from_pool(hw, op.cpupool_id, cpu, &vcpus, has_domains)?;
        }
        XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN => move_domain(cur, op)?,
        XEN_SYSCTL_CPUPOOL_OP_FREEINFO => write_bitmap(cur, op.cpumap, sched.free_cpus())?,
        _ => return Err(Errno::NoSys),
    }
    arg.set(&op);
    Ok(())
}

/// The initial domain stays where it is: `EPERM`.
fn move_domain(cur: &Current<'_>, op: CpupoolOp) -> Result<(), Errno> {
    let id = DomId(op.domid as u16);
    let domain = cur.sys.domains.get(id).ok_or(Errno::Srch)?;
    if domain.role.hardware {
        return Err(Errno::Perm);
    }
    let pool = cur.sys.sched.pool_from(op.cpupool_id);
    let there = pool.is_some_and(|p| p.id == op.cpupool_id && p.cpus != 0);
    if !there {
        return Err(Errno::NoEnt);
    }
    domain.move_to_pool(op.cpupool_id)
}

/// The domains in a pool.
fn domains_of(cur: &Current<'_>, pool: u32) -> Vec<Arc<Domain>> {
    let mut all = Vec::new();
    let mut next = DomId(0);
    while let Some(domain) = cur.sys.domains.at_or_after(next) {
        next = DomId(domain.id.0.saturating_add(1));
        if domain.share.pool() == pool {
            all.push(domain);
        }
    }
    all
}
