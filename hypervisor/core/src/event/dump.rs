// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listing behind the debug key `e`.

use super::Inner;
use super::port::{Consumer, State};
use crate::addr::DomId;
use core::fmt;

/// A line per open port: number, pending and masked, state, vCPU, priority.
pub(super) fn dump(id: DomId, inner: &Inner, out: &mut dyn fmt::Write) -> fmt::Result {
    let abi = if inner.fifo.is_some() {
        "fifo"
    } else {
        "2-level"
    };
    writeln!(out, "{id} events: {} open, {abi}", inner.ports.open())?;
    let mut next = 1;
    while let Some(port) = inner.ports.next_used(next) {
        next = port.saturating_add(1);
        let Some(entry) = inner.ports.get(port) else {
            break;
        };
        let flags = (inner.is_pending(port) as u8, inner.is_masked(port) as u8);
        write!(out, "  {port:4} [p{}/m{}] ", flags.0, flags.1)?;
        match &entry.state {
            State::Free | State::Closing => write!(out, "closing")?,
            State::Unbound(remote) => write!(out, "unbound {remote}")?,
            State::Interdomain(peer) => write!(out, "interdomain {} port {}", peer.id, peer.port)?,
            State::Virq(virq) => write!(out, "virq {virq}")?,
            State::Ipi => write!(out, "ipi")?,
        }
        let xen = if entry.consumer == Consumer::Xen {
            ", xen"
        } else {
            ""
        };
        let queue = entry.queue;
        writeln!(out, ", vcpu {} prio {}{xen}", queue.vcpu, queue.priority)?;
    }
    Ok(())
}
