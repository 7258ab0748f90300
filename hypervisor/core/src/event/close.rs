// SPDX-License-Identifier: MIT OR Apache-2.0
//! Closing ports: one (`EVTCHNOP_close`), a guest's (`EVTCHNOP_reset`), all (destruction).
//!
//! The two ends of a channel are changed one after the other, each under its own lock. Until the
//! peer has forgotten it, a closed port's number is not free, so that the peer cannot be taken
//! for a later one's.

use super::port::{Consumer, Peer, State};
use super::{EventChannels, EventDomain, Inner};
use crate::addr::DomId;
use crate::guest::shared::Starved;
use xen_abi::errno::Errno;

/// How far a restartable operation got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Progress {
    /// To its end.
    Done,
    /// Not yet: call again.
    More,
}

/// `EVTCHNOP_close`: the port is free, a peer's becomes unbound and waits for `d`. `EINVAL` if the
/// port is not open or the hypervisor's.
pub fn close(d: &dyn EventDomain, port: u32) -> Result<(), Errno> {
    let port = d.events().lock().check(port)?;
    close_port(d, port, Consumer::Guest)
}

/// Closes a port made by [`alloc_xen`](super::alloc_xen).
pub fn close_xen(d: &dyn EventDomain, port: u32) -> Result<(), Errno> {
    close_port(d, port, Consumer::Xen)
}

fn close_port(d: &dyn EventDomain, port: u32, consumer: Consumer) -> Result<(), Errno> {
    let events = d.events();
    let Closed { peer, cleared } = events.lock().begin_close(port, consumer)?;
    if let Some(peer) = peer {
        peer.domain.events().forget(peer.port, events.id, port);
        events.lock().ports.release(port);
    }
    if cleared.is_err() {
        d.starved();
    }
    Ok(())
}

/// What closing a port leaves to do once the lock is free.
struct Closed {
    /// Must forget the port.
    peer: Option<Peer>,
    cleared: Result<(), Starved>,
}

impl Inner {
    /// Closes a port of `consumer`. With a peer it is left `Closing`.
    fn begin_close(&mut self, port: u32, consumer: Consumer) -> Result<Closed, Errno> {
        let entry = self.ports.get_mut(port).ok_or(Errno::Inval)?;
        if entry.consumer != consumer || matches!(entry.state, State::Free | State::Closing) {
            return Err(Errno::Inval);
        }
        let state = core::mem::replace(&mut entry.state, State::Closing);
        let vcpu = entry.queue.vcpu;
        let cleared = match consumer {
            Consumer::Guest => self.clear_pending(port),
            Consumer::Xen => Ok(()),
        };
        let mut peer = None;
        match state {
            State::Interdomain(far) => peer = Some(far),
            State::Virq(virq) => self.unbind_virq(virq, vcpu, port),
            _ => {}
        }
        if peer.is_none() {
            self.ports.release(port);
        }
        Ok(Closed { peer, cleared })
    }

    /// A global VIRQ is noted in vCPU 0, whichever vCPU its port notifies.
    fn unbind_virq(&mut self, virq: u32, vcpu: u32, port: u32) {
        let vcpu = if super::bind::is_per_vcpu(virq) {
            vcpu
        } else {
            0
        };
        if let Some(slot) = self.virq_slot(virq, vcpu).filter(|slot| **slot == port) {
            *slot = 0;
        }
    }
}

impl EventChannels {
    /// `port` loses its peer, `far_port` of `far`.
    fn forget(&self, port: u32, far: DomId, far_port: u32) {
        let mut inner = self.lock();
        let Some(entry) = inner
            .ports
            .get_mut(port)
            .filter(|p| p.has_peer(far, far_port))
        else {
            return;
        };
        let peer = core::mem::replace(&mut entry.state, State::Unbound(far));
        drop(inner);
        drop(peer);
    }
}

/// `EVTCHNOP_reset` of `d`: closes the guest's ports, at most `budget` a call, and goes back to
/// the 2-level ABI. `EAGAIN` if ports were opened meanwhile.
pub fn reset(d: &dyn EventDomain, budget: u32) -> Result<Progress, Errno> {
    let events = d.events();
    if close_some(d, budget, false) == Progress::More {
        return Ok(Progress::More);
    }
    let mut inner = events.lock();
    if inner.ports.open() != 0 {
        return Err(Errno::Again);
    }
    let pages = inner.fifo.take();
    // With no event left, what still says so would hide the first new one.
    for info in inner.vcpus.iter().filter_map(|v| v.info.as_ref()) {
        info.clear();
    }
    drop(inner);
    drop(pages);
    Ok(Progress::Done)
}

/// Closes every port of a dying domain, at most `budget` a call, and lets go of the guest's pages.
/// No port can be opened from the first call on.
pub fn close_all(d: &dyn EventDomain, budget: u32) -> Progress {
    let events = d.events();
    events.lock().dying = true;
    if close_some(d, budget, true) == Progress::More {
        return Progress::More;
    }
    let mut inner = events.lock();
    let fifo = inner.fifo.take();
    let vcpus = core::mem::take(&mut inner.vcpus);
    drop(inner);
    drop((fifo, vcpus));
    Progress::Done
}

/// Closes up to `budget` ports from where the last call stopped: the guest's, with `all` the
/// hypervisor's too.
fn close_some(d: &dyn EventDomain, budget: u32, all: bool) -> Progress {
    let events = d.events();
    for _ in 0..budget.max(1) {
        let mut inner = events.lock();
        let Some(port) = inner.ports.next_used(inner.closing) else {
            inner.closing = 0;
            return Progress::Done;
        };
        inner.closing = port.saturating_add(1);
        let owner = inner
            .ports
            .get(port)
            .map_or(Consumer::Guest, |p| p.consumer);
        drop(inner);
        if all || owner == Consumer::Guest {
            // An error means that it is closed or being closed: fine.
            let _ = close_port(d, port, owner);
        }
    }
    Progress::More
}
