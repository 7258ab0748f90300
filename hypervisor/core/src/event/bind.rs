// SPDX-License-Identifier: MIT OR Apache-2.0
//! `EVTCHNOP_alloc_unbound` and `EVTCHNOP_bind_*`: opening ports.

use super::port::{Consumer, Peer, State};
use super::{EventDomain, Inner};
use crate::addr::DomId;
use crate::nospec;
use alloc::sync::Arc;
use xen_abi::errno::Errno;
use xen_abi::xen::{NR_VIRQS, VIRQ_DEBUG, VIRQ_TIMER, VIRQ_XENOPROF, VIRQ_XENPMU};

/// True for a VIRQ each vCPU binds on its own; the others have one port in all.
pub const fn is_per_vcpu(virq: u32) -> bool {
    matches!(virq, VIRQ_TIMER | VIRQ_DEBUG | VIRQ_XENOPROF | VIRQ_XENPMU)
}

fn check_vcpu(d: &dyn EventDomain, vcpu: u32) -> Result<(), Errno> {
    d.vcpu_exists(vcpu).then_some(()).ok_or(Errno::NoEnt)
}

impl Inner {
    fn allocate(
        &mut self,
        d: &dyn EventDomain,
        state: State,
        vcpu: u32,
        consumer: Consumer,
    ) -> Result<u32, Errno> {
        let port = self.next_free(d)?;
        self.ports.open_as(port, state, vcpu, consumer);
        Ok(port)
    }
}

/// `EVTCHNOP_alloc_unbound` on `d`: a port that `remote` may bind to. `ENOSPC` when all are taken,
/// `ENOMEM` when memory is short; so do all that open a port.
pub fn alloc_unbound(d: &dyn EventDomain, remote: DomId) -> Result<u32, Errno> {
    let state = State::Unbound(remote);
    d.events().lock().allocate(d, state, 0, Consumer::Guest)
}

/// A port of `d` that `remote` may bind to and whose events go to [`EventDomain::xen_event`]. The
/// guest cannot touch it.
pub fn alloc_xen(d: &dyn EventDomain, remote: DomId) -> Result<u32, Errno> {
    let state = State::Unbound(remote);
    d.events().lock().allocate(d, state, 0, Consumer::Xen)
}

/// `EVTCHNOP_bind_interdomain`: connects a new port of `local` to `remote_port`, which must be
/// unbound and wait for `local` (else `EINVAL`). The new port is pending at once, since the remote
/// may have sent before.
pub fn bind_interdomain(
    local: &Arc<dyn EventDomain>,
    remote: &Arc<dyn EventDomain>,
    remote_port: u32,
) -> Result<u32, Errno> {
    let (ours, theirs) = (local.events(), remote.events());
    let mut pair = ours.inner.lock_pair(&theirs.inner);
    let port = pair.first().next_free(&**local)?;
    let far = pair.second();
    let remote_port = far.check(remote_port)?;
    let far_dying = far.dying;
    let far_port = far.ports.get_mut(remote_port).ok_or(Errno::Inval)?;
    if far_dying || !matches!(far_port.state, State::Unbound(id) if id == ours.id) {
        return Err(Errno::Inval);
    }
    far_port.state = State::Interdomain(Peer {
        domain: local.clone(),
        id: ours.id,
        port,
    });
    let state = State::Interdomain(Peer {
        domain: remote.clone(),
        id: theirs.id,
        port: remote_port,
    });
    let near = pair.first();
    near.ports.open_as(port, state, 0, Consumer::Guest);
    let signal = near.raise(port);
    drop(pair);
    signal.send(&**local);
    Ok(port)
}

/// `EVTCHNOP_bind_virq`. `EINVAL` for a number Xen has not or a global one not on vCPU 0,
/// `ENOENT` without that vCPU, `EEXIST` if bound already.
pub fn bind_virq(d: &dyn EventDomain, virq: u32, vcpu: u32) -> Result<u32, Errno> {
    if virq >= NR_VIRQS || (!is_per_vcpu(virq) && vcpu != 0) {
        return Err(Errno::Inval);
    }
    check_vcpu(d, vcpu)?;
    let mut inner = d.events().lock();
    if *inner.virq_slot(virq, vcpu).ok_or(Errno::NoEnt)? != 0 {
        return Err(Errno::Exist);
    }
    let port = inner.allocate(d, State::Virq(virq), vcpu, Consumer::Guest)?;
    if let Some(slot) = inner.virq_slot(virq, vcpu) {
        *slot = port;
    }
    Ok(port)
}

/// `EVTCHNOP_bind_ipi`: a port whose sender is the domain itself. `ENOENT` without that vCPU.
pub fn bind_ipi(d: &dyn EventDomain, vcpu: u32) -> Result<u32, Errno> {
    check_vcpu(d, vcpu)?;
    d.events()
        .lock()
        .allocate(d, State::Ipi, vcpu, Consumer::Guest)
}

impl Inner {
    /// Where the port of a VIRQ is noted.
    pub(super) fn virq_slot(&mut self, virq: u32, vcpu: u32) -> Option<&mut u32> {
        nospec::get_mut(&mut self.vcpu_mut(vcpu)?.virqs, virq as usize)
    }
}
