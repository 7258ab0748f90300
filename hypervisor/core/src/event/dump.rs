// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listing behind the debug key `e`.

use super::port::{Consumer, State};
use super::{EventChannels, Inner};
use alloc::string::String;
use core::fmt::{self, Write};

impl EventChannels {
    /// Writes all open ports, for the debug key `e`: a line each, with the lock free while it is
    /// written.
    pub fn dump(&self, out: &mut dyn Write) -> fmt::Result {
        let mut line = String::new();
        head(self, &mut line)?;
        let mut next = Some(1);
        while let Some(from) = next {
            out.write_str(&line)?;
            line.clear();
            next = describe(&self.lock(), from, &mut line)?;
        }
        Ok(())
    }
}

fn head(events: &EventChannels, out: &mut String) -> fmt::Result {
    let inner = events.lock();
    let abi = if inner.fifo.is_some() {
        "fifo"
    } else {
        "2-level"
    };
    let open = inner.ports.open();
    drop(inner);
    writeln!(out, "{} events: {open} open, {abi}", events.id)
}

/// The first open port from number `from` on: number, pending and masked, state, vCPU, priority.
/// Returns the number after it.
fn describe(inner: &Inner, from: u32, out: &mut String) -> Result<Option<u32>, fmt::Error> {
    let Some(port) = inner.ports.next_used(from) else {
        return Ok(None);
    };
    let Some(entry) = inner.ports.get(port) else {
        return Ok(None);
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
    let xen = match entry.consumer {
        Consumer::Xen => ", xen",
        Consumer::Guest => "",
    };
    let queue = entry.queue;
    writeln!(out, ", vcpu {} prio {}{xen}", queue.vcpu, queue.priority)?;
    Ok(Some(port.saturating_add(1)))
}
