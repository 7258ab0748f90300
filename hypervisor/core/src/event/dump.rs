// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listing behind the debug key `e`.

use super::port::{Consumer, State};
use super::{EventChannels, Inner};
use alloc::string::String;
use core::fmt::{self, Write};

impl EventChannels {
    /// Writes a line, with the lock free: for `from` 0 how many ports are open, else the first open
    /// port from this number on, for the debug key `e`. Returns the number after it, or `None` if
    /// there was no such port.
    pub fn dump(&self, from: u32, out: &mut dyn Write) -> Result<Option<u32>, fmt::Error> {
        let mut line = String::new();
        let next = match from {
            0 => head(self, &mut line)?,
            from => describe(&self.lock(), from, &mut line)?,
        };
        out.write_str(&line)?;
        Ok(next)
    }
}

fn head(events: &EventChannels, out: &mut String) -> Result<Option<u32>, fmt::Error> {
    let inner = events.lock();
    let abi = if inner.fifo.is_some() {
        "fifo"
    } else {
        "2-level"
    };
    let open = inner.ports.open();
    drop(inner);
    writeln!(out, "{} events: {open} open, {abi}", events.id)?;
    Ok(Some(1))
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
