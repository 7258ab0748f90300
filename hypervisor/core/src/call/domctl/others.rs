// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands that note something down, and those that are refused as Debian's Xen refuses them on
//! Arm: for want of an I/O MMU, of cache colours.

use super::{Answer, Command};
use crate::call::access;
use crate::current::Current;
use crate::domain::Domain;
use crate::event;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use xen_abi::Payload;
use xen_abi::domctl::*;
use xen_abi::errno::Errno;

/// The command of that number, if there is one.
pub(super) fn command(cmd: u32) -> Option<Command> {
    Some(match cmd {
        XEN_DOMCTL_SETDOMAINHANDLE => set_handle,
        XEN_DOMCTL_SETTIMEOFFSET => set_time_offset,
        XEN_DOMCTL_SETDEBUGGING => set_debugging,
        XEN_DOMCTL_SUBSCRIBE => subscribe,
        XEN_DOMCTL_SET_TARGET => set_target,
        XEN_DOMCTL_SET_VIRQ_HANDLER => set_virq_handler,
        // An interrupt is given by `bind_pt_irq` on Arm.
        XEN_DOMCTL_IRQ_PERMISSION => |_, _, _| Err(Errno::IlSeq),
        XEN_DOMCTL_SETVNUMAINFO => |_, _, _| Err(Errno::Inval),
        XEN_DOMCTL_ASSIGN_DEVICE
        | XEN_DOMCTL_TEST_ASSIGN_DEVICE
        | XEN_DOMCTL_DEASSIGN_DEVICE
        | XEN_DOMCTL_GET_DEVICE_GROUP
        | XEN_DOMCTL_MONITOR_OP
        | XEN_DOMCTL_DT_OVERLAY
        | XEN_DOMCTL_SET_LLC_COLORS => |_, _, _| Err(Errno::OpNotSupp),
        _ => return None,
    })
}

/// `XEN_DOMCTL_setdomainhandle`: its UUID.
fn set_handle(_: &Current<'_>, domain: &Arc<Domain>, arg: &mut Payload) -> Result<Answer, Errno> {
    let SetDomainHandle { handle } = arg.get();
    *domain.handle.lock() = handle;
    Ok(Answer::Done)
}

/// `XEN_DOMCTL_settimeoffset`: by how much its wall clock differs, from when it is next told.
fn set_time_offset(
    _: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let SetTimeOffset {
        time_offset_seconds,
    } = arg.get();
    domain
        .time_offset
        .store(time_offset_seconds, Ordering::Relaxed);
    Ok(Answer::Done)
}

/// `XEN_DOMCTL_setdebugging`: a debugger is there, says the domain's description. `EINVAL` for the
/// caller's own.
fn set_debugging(
    cur: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let SetDebugging { enable } = arg.get();
    if domain.id == cur.domain.id {
        return Err(Errno::Inval);
    }
    domain.is_debugged.store(enable != 0, Ordering::Relaxed);
    Ok(Answer::Done)
}

/// `XEN_DOMCTL_subscribe`: the domain's port on which its suspension is told, instead of by
/// `VIRQ_DOM_EXC`.
fn subscribe(_: &Current<'_>, domain: &Arc<Domain>, arg: &mut Payload) -> Result<Answer, Errno> {
    let Subscribe { port } = arg.get();
    domain.life.lock().suspend_port = port;
    Ok(Answer::Done)
}

/// `XEN_DOMCTL_set_target`: the domain becomes the device model of another, once. `ESRCH` without
/// that one, `EINVAL` for itself and a second time.
fn set_target(cur: &Current<'_>, domain: &Arc<Domain>, arg: &mut Payload) -> Result<Answer, Errno> {
    let SetTarget { target } = arg.get();
    let target = access::by_id(cur, target)?;
    if target.id == domain.id || domain.target.get().is_some() {
        return Err(Errno::Inval);
    }
    domain.target.call_once(|| Arc::downgrade(&target));
    Ok(Answer::Done)
}

/// `XEN_DOMCTL_set_virq_handler`: the domain gets a global VIRQ, instead of who had it. `EINVAL`
/// for one of a vCPU's.
fn set_virq_handler(
    cur: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let SetVirqHandler { virq } = arg.get();
    let given = !event::is_per_vcpu(virq) && cur.sys.virqs.give(virq, domain.id);
    if domain.is_dying() {
        cur.sys.virqs.take_back(domain.id);
    }
    given.then_some(Answer::Done).ok_or(Errno::Inval)
}
