// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event channels: one-bit signals between domains, from the hypervisor, and between vCPUs.
//!
//! A domain's [`EventChannels`] sit behind one lock, so a delivery never meets half-made state.
//! What follows from an event (an interrupt, a woken vCPU) is told to the domain through
//! [`EventDomain`] after the lock is free, and pages and domains are let go of there too: their
//! drop may take other locks.
//!
//! `port` knows the ports, `two_level` and `fifo` the two ways events lie in guest memory,
//! `deliver` puts an event there, `ops`, `bind`, `control` and `close` are `EVTCHNOP_*`.

#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod bind;
mod close;
mod control;
mod deliver;
mod dump;
mod fifo;
mod ops;
mod port;
mod two_level;
mod vcpu_info;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

pub use bind::is_per_vcpu;
pub use bind::{alloc_unbound, alloc_xen, bind_interdomain, bind_ipi, bind_virq};
pub use close::{Progress, close, close_all, close_xen, reset};
pub use control::{expand_array, init_control, register_vcpu_info};
pub use ops::{
    bind_vcpu, is_pending, notify_xen, raise_vcpu_virq, raise_virq, send, set_priority, status,
    unmask,
};

use crate::addr::DomId;
use crate::guest::shared::SharedPage;
use crate::nospec;
use crate::sync::{Guard, Lock, rank};
use alloc::vec::Vec;
use fifo::Fifo;
use port::Ports;
use vcpu_info::VcpuInfo;
use xen_abi::errno::Errno;
use xen_abi::event::{EVTCHN_2L_NR_CHANNELS, EVTCHN_FIFO_NR_CHANNELS};
use xen_abi::xen::NR_VIRQS;

/// What event channels need of their domain. All methods are called with no event lock held.
pub trait EventDomain: Send + Sync {
    /// The domain's channels.
    fn events(&self) -> &EventChannels;
    /// True once the vCPU has been created.
    fn vcpu_exists(&self, vcpu: u32) -> bool;
    /// The vCPU's `evtchn_upcall_pending` went from 0 to 1: raise its event interrupt.
    fn upcall(&self, vcpu: u32);
    /// `port` became pending: wake the vCPUs that wait for it, or for any port, in
    /// `SCHEDOP_poll`.
    fn wake_pollers(&self, port: u32);
    /// The guest keeps a shared word changing so that the hypervisor cannot write it: crash it.
    fn starved(&self);
    /// True if the domain's calls may take more memory.
    fn may_grow(&self) -> bool;
    /// An event arrived on a port whose consumer is the hypervisor.
    fn xen_event(&self, port: u32);
}

/// The event channels of one domain.
pub struct EventChannels {
    id: DomId,
    inner: Lock<Inner, { rank::EVTCHN }>,
}

impl EventChannels {
    /// Channels for domain `id` of up to `max_vcpus` vCPUs, on the 2-level ABI. No port number
    /// is above `max_port`. `shared_info` is the domain's, zeroed; it holds the `vcpu_info` of
    /// vCPU 0 until another is registered. Its keeper must not own the domain.
    pub fn new(
        id: DomId,
        max_vcpus: u32,
        max_port: u32,
        shared_info: SharedPage,
    ) -> Result<Self, Errno> {
        let mut vcpus = Vec::new();
        vcpus
            .try_reserve_exact(max_vcpus as usize)
            .map_err(|_| Errno::NoMem)?;
        vcpus.resize_with(max_vcpus as usize, VcpuEvents::default);
        if let Some(first) = vcpus.first_mut() {
            first.info = Some(VcpuInfo::legacy(shared_info.clone()));
        }
        let inner = Inner {
            ports: Ports::new(max_port),
            shared_info,
            fifo: None,
            vcpus,
            dying: false,
            closing: 0,
        };
        Ok(Self {
            id,
            inner: Lock::new(inner),
        })
    }

    /// The domain's number.
    pub const fn id(&self) -> DomId {
        self.id
    }

    /// The vCPU's `evtchn_upcall_pending`: an idle vCPU with it set must not sleep.
    pub fn upcall_pending(&self, vcpu: u32) -> bool {
        let inner = self.lock();
        let info = inner.vcpu(vcpu).and_then(|v| v.info.as_ref());
        info.is_some_and(VcpuInfo::is_pending)
    }

    /// Ports that are open.
    pub fn open_ports(&self) -> u32 {
        self.lock().ports.open()
    }

    fn lock(&self) -> Guard<'_, Inner, { rank::EVTCHN }> {
        self.inner.lock()
    }
}

/// What the lock protects.
struct Inner {
    ports: Ports,
    shared_info: SharedPage,
    /// The FIFO ABI's state once the guest chose it.
    fifo: Option<Fifo>,
    vcpus: Vec<VcpuEvents>,
    /// No port is allocated any more.
    dying: bool,
    /// Where the next slice of a reset goes on.
    closing: u32,
}

/// The events of one vCPU.
#[derive(Default)]
struct VcpuEvents {
    info: Option<VcpuInfo>,
    /// The port of each VIRQ, or 0. Global VIRQs are in vCPU 0's.
    virqs: [u32; NR_VIRQS as usize],
}

impl Inner {
    fn vcpu(&self, vcpu: u32) -> Option<&VcpuEvents> {
        self.vcpus.get(vcpu as usize)
    }

    fn vcpu_mut(&mut self, vcpu: u32) -> Option<&mut VcpuEvents> {
        nospec::get_mut(&mut self.vcpus, vcpu as usize)
    }

    /// Ports the ABI in use can name.
    const fn port_limit(&self) -> u32 {
        match self.fifo {
            Some(_) => EVTCHN_FIFO_NR_CHANNELS,
            None => EVTCHN_2L_NR_CHANNELS,
        }
    }

    /// A port number a guest gave, safe to use: below the ABI's limit and in an allocated bucket.
    fn check(&self, port: u32) -> Result<u32, Errno> {
        let known = self.ports.count();
        if port >= self.port_limit() || port >= known {
            return Err(Errno::Inval);
        }
        Ok(nospec::confine(port as usize, known as usize) as u32)
    }

    /// The number the next allocation for `d` gets. Allocates a bucket for it, not the port.
    fn next_free(&mut self, d: &dyn EventDomain) -> Result<u32, Errno> {
        if self.dying {
            return Err(Errno::Inval);
        }
        let limit = self.port_limit();
        let fifo = self.fifo.as_ref();
        let busy = |port| fifo.is_some_and(|f| f.is_linked(port));
        self.ports.next_free(limit, busy, || d.may_grow())
    }
}
