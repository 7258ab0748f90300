// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sched_op` (public/sched.h): a vCPU waits, a domain stops.

use super::access::{Class, resolve};
use super::{Args, CallResult, OK, done};
use crate::addr::CpuId;
use crate::current::Current;
use crate::event;
use crate::guest::copy::GuestPtr;
use crate::sched::pause;
use crate::timer::Purpose;
use alloc::sync::Arc;
use xen_abi::arch_arm::PSR_IRQ_MASK;
use xen_abi::errno::Errno;
use xen_abi::sched::{
    PinOverride, Poll, RemoteShutdown, SCHEDOP_BLOCK, SCHEDOP_PIN_OVERRIDE, SCHEDOP_POLL,
    SCHEDOP_POLL_MAX_PORTS, SCHEDOP_REMOTE_SHUTDOWN, SCHEDOP_SHUTDOWN, SCHEDOP_SHUTDOWN_CODE,
    SCHEDOP_WATCHDOG, SCHEDOP_YIELD, Shutdown, Watchdog,
};
use zerocopy::IntoBytes;

pub(super) fn sched_op(cur: &mut Current<'_>, [op, arg, ..]: Args) -> CallResult {
    let (hw, domain) = (cur.sys.hw, cur.domain);
    match op as u32 {
        SCHEDOP_YIELD => cur.sys.sched.yield_current(hw, hw.this_cpu()),
        SCHEDOP_BLOCK => {
            cur.regs.pstate &= !PSR_IRQ_MASK;
            cur.vcpu.block();
        }
        SCHEDOP_SHUTDOWN => domain.shutdown(reason(cur, arg)?),
        SCHEDOP_POLL => return poll(cur, GuestPtr::new(arg)),
        SCHEDOP_REMOTE_SHUTDOWN => {
            let op = GuestPtr::<RemoteShutdown>::new(arg).read(cur.memory())?;
            let target = resolve(cur, op.domain_id, Class::Control)?;
            target.shutdown(op.reason & 0xff);
        }
        SCHEDOP_SHUTDOWN_CODE => domain.plan_shutdown(reason(cur, arg)?),
        SCHEDOP_WATCHDOG => {
            let op = GuestPtr::<Watchdog>::new(arg).read(cur.memory())?;
            return done(domain.set_watchdog(op.id, op.timeout)?);
        }
        SCHEDOP_PIN_OVERRIDE => return pin_override(cur, GuestPtr::new(arg)),
        _ => return Err(Errno::NoSys),
    }
    OK
}

/// Xen keeps the low byte.
fn reason(cur: &Current<'_>, arg: u64) -> Result<u32, Errno> {
    let op = GuestPtr::<Shutdown>::new(arg).read(cur.memory())?;
    Ok(op.reason & 0xff)
}

/// Any port wakes a poll of none or several.
const ANY_PORT: u32 = u32::MAX;

/// Waits until one of some ports is pending, an interrupt comes (the run loop looks for one that
/// is there already), or time is up.
fn poll(cur: &Current<'_>, arg: GuestPtr<Poll>) -> CallResult {
    let op = arg.read(cur.memory())?;
    if op.nr_ports > SCHEDOP_POLL_MAX_PORTS {
        return Err(Errno::Inval);
    }
    let mut ports = [0u32; SCHEDOP_POLL_MAX_PORTS as usize];
    let ports = ports.get_mut(..op.nr_ports as usize).unwrap_or_default();
    let at = GuestPtr::<u32>::from(op.ports).gva();
    cur.memory().read_bytes(at, ports.as_mut_bytes())?;
    let wanted = match *ports {
        [port] => port,
        _ => ANY_PORT,
    };
    cur.vcpu.poll(wanted);
    // Looked for after the flag is set, so that an event from here on clears it.
    let found = any_pending(cur, ports);
    if found != Ok(false) {
        cur.vcpu.sched.clear(pause::POLLING);
    } else if op.timeout != 0 {
        let deadline = cur.sys.ns_to_deadline(op.timeout);
        let purpose = Purpose::Poll(Arc::downgrade(cur.vcpu));
        cur.sys.timers.set(cur.sys.hw, deadline, purpose);
    }
    found?;
    OK
}

/// `EINVAL` for a port that is not open.
fn any_pending(cur: &Current<'_>, ports: &[u32]) -> Result<bool, Errno> {
    for &port in ports {
        if event::is_pending(&**cur.domain, port)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Nobody is ever pinned this way, so there is nothing to undo either.
fn pin_override(cur: &Current<'_>, arg: GuestPtr<PinOverride>) -> CallResult {
    if !cur.domain.role.hardware {
        return Err(Errno::Perm);
    }
    let pcpu = arg.read(cur.memory())?.pcpu;
    let exists = |cpu: u32| cur.sys.sched.online().any(|c| c == CpuId(cpu));
    match u32::try_from(pcpu) {
        Ok(cpu) if exists(cpu) => Err(Errno::NoSys),
        _ => Err(Errno::Inval),
    }
}
