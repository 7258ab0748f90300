// SPDX-License-Identifier: MIT OR Apache-2.0
//! Putting an event where the guest finds it, by the ABI it chose, and telling its vCPU.

use super::port::Consumer;
use super::{EventDomain, Inner, two_level};
use crate::guest::shared::Starved;

/// Whether an event was new, and whether its vCPU must look.
#[derive(Default)]
pub(super) struct Set {
    pub(super) new: bool,
    pub(super) look: bool,
}

/// What to tell a domain once its event lock is free.
#[derive(Default)]
#[must_use]
pub(super) struct Signal {
    /// vCPU to interrupt.
    upcall: Option<u32>,
    /// Port that became pending.
    pending: Option<u32>,
    /// Port the hypervisor consumes.
    xen: Option<u32>,
    starved: bool,
}

impl Signal {
    /// A vCPU to interrupt, nothing else.
    pub(super) fn upcall(vcpu: u32) -> Self {
        Self {
            upcall: Some(vcpu),
            ..Self::default()
        }
    }

    pub(super) fn send(self, domain: &dyn EventDomain) {
        if let Some(vcpu) = self.upcall {
            domain.upcall(vcpu);
        }
        if let Some(port) = self.pending {
            domain.wake_pollers(port);
        }
        if let Some(port) = self.xen {
            domain.xen_event(port);
        }
        if self.starved {
            domain.starved();
        }
    }
}

impl From<Starved> for Signal {
    fn from(_: Starved) -> Self {
        Self {
            starved: true,
            ..Self::default()
        }
    }
}

impl Inner {
    /// Raises an event on `port`; nothing if it is not open.
    pub(super) fn raise(&mut self, port: u32) -> Signal {
        match self.ports.get(port) {
            Some(p) if p.is_guests() => self.set_pending(port).unwrap_or_else(Signal::from),
            Some(p) if p.consumer == Consumer::Xen => Signal {
                xen: Some(port),
                ..Signal::default()
            },
            _ => Signal::default(),
        }
    }

    fn set_pending(&mut self, port: u32) -> Result<Signal, Starved> {
        let Some(entry) = self.ports.get_mut(port) else {
            return Ok(Signal::default());
        };
        let vcpu = entry.queue.vcpu;
        let set = match &mut self.fifo {
            Some(fifo) if fifo.has_word(port) => {
                fifo.set_pending(port, entry.queue, &mut entry.last_queue)?
            }
            Some(_) => Set {
                new: !self.ports.set_waiting(port, true),
                look: false,
            },
            None => {
                let info = self.vcpus.get(vcpu as usize).and_then(|v| v.info.as_ref());
                two_level::set_pending(&self.shared_info, info, port)?
            }
        };
        Ok(Signal {
            upcall: self.upcall_if(set.look, vcpu)?,
            pending: set.new.then_some(port),
            ..Signal::default()
        })
    }

    /// Sets `evtchn_upcall_pending` if the vCPU must `look`; names it if that was news.
    fn upcall_if(&self, look: bool, vcpu: u32) -> Result<Option<u32>, Starved> {
        let info = self.vcpu(vcpu).and_then(|v| v.info.as_ref());
        match info {
            Some(info) if look => Ok(info.mark_pending()?.then_some(vcpu)),
            _ => Ok(None),
        }
    }

    /// Unmasks `port` and delivers what was held back.
    pub(super) fn unmask(&mut self, port: u32) -> Result<Signal, Starved> {
        let Some(entry) = self.ports.get(port).filter(|p| p.is_guests()) else {
            return Ok(Signal::default());
        };
        let vcpu = entry.queue.vcpu;
        if let Some(fifo) = &self.fifo {
            return match fifo.unmask(port)? {
                true => self.set_pending(port),
                false => Ok(Signal::default()),
            };
        }
        let info = self.vcpu(vcpu).and_then(|v| v.info.as_ref());
        let look = two_level::unmask(&self.shared_info, info, port)?;
        let upcall = self.upcall_if(look, vcpu)?;
        Ok(Signal {
            upcall,
            ..Signal::default()
        })
    }

    /// Forgets an event of `port`.
    pub(super) fn clear_pending(&mut self, port: u32) -> Result<(), Starved> {
        self.ports.set_waiting(port, false);
        match &self.fifo {
            Some(fifo) => fifo.clear_pending(port),
            None => two_level::clear_pending(&self.shared_info, port),
        }
    }

    pub(super) fn is_pending(&self, port: u32) -> bool {
        match &self.fifo {
            Some(fifo) => fifo.is_pending(port) || self.ports.is_waiting(port),
            None => two_level::is_pending(&self.shared_info, port),
        }
    }

    pub(super) fn is_masked(&self, port: u32) -> bool {
        match &self.fifo {
            Some(fifo) => fifo.is_masked(port),
            None => two_level::is_masked(&self.shared_info, port),
        }
    }
}
