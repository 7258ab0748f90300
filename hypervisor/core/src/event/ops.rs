// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations on open ports: send, status, unmask, retarget.

use super::bind::is_per_vcpu;
use super::port::{Consumer, Peer, Port, State};
use super::{EventDomain, Inner};
use crate::addr::DomId;
use xen_abi::errno::Errno;
use xen_abi::event::{
    EVTCHN_FIFO_PRIORITY_MIN, EVTCHNSTAT_CLOSED, EVTCHNSTAT_IPI, Status as AbiStatus,
};

impl Inner {
    /// A port that was checked and that the guest may use: `EINVAL` if it is the hypervisor's.
    fn guests_port(&mut self, port: u32) -> Result<&mut Port, Errno> {
        let entry = self.ports.get_mut(port);
        entry
            .filter(|p| p.consumer == Consumer::Guest)
            .ok_or(Errno::Inval)
    }
}

/// `EVTCHNOP_send`. On an unbound port the event is dropped; `EINVAL` on one that cannot send. May
/// drop the last reference to the peer's domain.
pub fn send(d: &dyn EventDomain, port: u32) -> Result<(), Errno> {
    let events = d.events();
    let mut inner = events.lock();
    let port = inner.check(port)?;
    match &inner.guests_port(port)?.state {
        State::Interdomain(peer) => {
            let peer = peer.clone();
            drop(inner);
            deliver(&peer, events.id, port);
        }
        State::Ipi => {
            let signal = inner.raise(port);
            drop(inner);
            signal.send(d);
        }
        State::Unbound(_) => {}
        State::Free | State::Closing | State::Virq(_) => return Err(Errno::Inval),
    }
    Ok(())
}

/// Raises the event of `to`, unless its port is no longer connected to `port` of `from`.
fn deliver(to: &Peer, from: DomId, port: u32) {
    let mut inner = to.domain.events().lock();
    let connected = inner.ports.get(to.port);
    if !connected.is_some_and(|p| p.has_peer(from, port)) {
        return;
    }
    let signal = inner.raise(to.port);
    drop(inner);
    signal.send(&*to.domain);
}

/// Sends on a port made by [`alloc_xen`](super::alloc_xen); dropped if nobody is bound to it.
pub fn notify_xen(d: &dyn EventDomain, port: u32) {
    let peer = match d.events().lock().ports.get(port) {
        Some(Port {
            state: State::Interdomain(peer),
            consumer: Consumer::Xen,
            ..
        }) => peer.clone(),
        _ => return,
    };
    deliver(&peer, d.events().id, port);
}

/// Raises a global VIRQ, if `d` bound it.
pub fn raise_virq(d: &dyn EventDomain, virq: u32) {
    raise_vcpu_virq(d, 0, virq);
}

/// Raises a VIRQ of one vCPU, if it is bound.
pub fn raise_vcpu_virq(d: &dyn EventDomain, vcpu: u32, virq: u32) {
    let mut inner = d.events().lock();
    let Some(port) = inner.virq_slot(virq, vcpu).copied().filter(|&p| p != 0) else {
        return;
    };
    let signal = inner.raise(port);
    drop(inner);
    signal.send(d);
}

/// `EVTCHNOP_status` of a port of `d`: fills in `status`, `vcpu` and the details. `EINVAL` for a
/// number without a port.
pub fn status(d: &dyn EventDomain, port: u32, out: &mut AbiStatus) -> Result<(), Errno> {
    let inner = d.events().lock();
    let port = inner.check(port)?;
    let entry = inner.ports.get(port).ok_or(Errno::Inval)?;
    match &entry.state {
        State::Free | State::Closing => out.set_plain(EVTCHNSTAT_CLOSED),
        State::Unbound(remote) => out.set_unbound(remote.0),
        State::Interdomain(peer) => out.set_interdomain(peer.id.0, peer.port),
        State::Virq(virq) => out.set_virq(*virq),
        State::Ipi => out.set_plain(EVTCHNSTAT_IPI),
    }
    out.vcpu = entry.queue.vcpu;
    Ok(())
}

/// `EVTCHNOP_bind_vcpu`: notifies another vCPU from the next event on. `ENOENT` without that vCPU,
/// `EINVAL` for a port that belongs to its vCPU.
pub fn bind_vcpu(d: &dyn EventDomain, port: u32, vcpu: u32) -> Result<(), Errno> {
    if !d.vcpu_exists(vcpu) {
        return Err(Errno::NoEnt);
    }
    let mut inner = d.events().lock();
    let port = inner.check(port)?;
    let entry = inner.guests_port(port)?;
    match entry.state {
        State::Virq(virq) if is_per_vcpu(virq) => return Err(Errno::Inval),
        State::Virq(_) | State::Unbound(_) | State::Interdomain(_) => {}
        State::Free | State::Closing | State::Ipi => return Err(Errno::Inval),
    }
    entry.queue.vcpu = vcpu;
    Ok(())
}

/// `EVTCHNOP_unmask`: clears the mask and delivers what it held back. No error on a closed port.
pub fn unmask(d: &dyn EventDomain, port: u32) -> Result<(), Errno> {
    let mut inner = d.events().lock();
    let port = inner.check(port)?;
    let signal = inner.unmask(port).unwrap_or_else(From::from);
    drop(inner);
    signal.send(d);
    Ok(())
}

/// `EVTCHNOP_set_priority`: the queue of the port's next event. `ENOSYS` on the 2-level ABI,
/// `EINVAL` above 15.
pub fn set_priority(d: &dyn EventDomain, port: u32, priority: u32) -> Result<(), Errno> {
    let mut inner = d.events().lock();
    let port = inner.check(port)?;
    if inner.fifo.is_none() {
        return Err(Errno::NoSys);
    }
    if priority > EVTCHN_FIFO_PRIORITY_MIN {
        return Err(Errno::Inval);
    }
    if let Some(entry) = inner.ports.get_mut(port) {
        entry.queue.priority = priority;
    }
    Ok(())
}

/// For `SCHEDOP_poll`: true if `port` is pending, never for one of the hypervisor's. `EINVAL` for
/// one that is not open.
pub fn is_pending(d: &dyn EventDomain, port: u32) -> Result<bool, Errno> {
    let inner = d.events().lock();
    let port = inner.check(port)?;
    let entry = inner.ports.get(port).filter(|p| p.is_open());
    let guests = entry.ok_or(Errno::Inval)?.is_guests();
    Ok(guests && inner.is_pending(port))
}
