// SPDX-License-Identifier: MIT OR Apache-2.0
//! `XEN_DOMCTL_scheduler_op`: a domain's share of the CPUs. The scheduler passes for credit2,
//! whose weights and caps it has.

use super::Answer;
use crate::current::Current;
use crate::domain::Domain;
use alloc::sync::Arc;
use xen_abi::Payload;
use xen_abi::domctl::{
    SchedulerOp, XEN_DOMCTL_SCHEDOP_GETINFO, XEN_DOMCTL_SCHEDOP_PUTINFO, XEN_SCHEDULER_CREDIT2,
};
use xen_abi::errno::Errno;

/// `EINVAL` for another scheduler's parameters, for those of single vCPUs, and for a cap of more
/// than its vCPUs could use. A weight of 0 changes nothing.
pub(super) fn scheduler_op(
    _: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let mut op: SchedulerOp = arg.get();
    if op.sched_id != XEN_SCHEDULER_CREDIT2 {
        return Err(Errno::Inval);
    }
    let share = &domain.share;
    match op.cmd {
        XEN_DOMCTL_SCHEDOP_GETINFO => {
            op.weight = share.weight();
            op.cap = share.cap();
            arg.set(&op);
            Ok(Answer::Copy)
        }
        XEN_DOMCTL_SCHEDOP_PUTINFO => {
            if op.weight != 0 {
                share.set_weight(op.weight);
            }
            if u32::from(op.cap) > domain.max_vcpus().saturating_mul(100) {
                return Err(Errno::Inval);
            }
            domain.set_cap(op.cap);
            Ok(Answer::Done)
        }
        _ => Err(Errno::Inval),
    }
}
