// SPDX-License-Identifier: MIT OR Apache-2.0
//! `event_channel_op` (`xen/event_channel.h`). x0 = sub-operation, x1 = structure.
//!
//! A port is a channel's index in its domain; port 0 is never valid.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`BindInterdomain`].
pub const EVTCHNOP_BIND_INTERDOMAIN: u32 = 0;
/// [`BindVirq`].
pub const EVTCHNOP_BIND_VIRQ: u32 = 1;
/// Physical interrupt as an event; not on Arm.
pub const EVTCHNOP_BIND_PIRQ: u32 = 2;
/// [`Port`] (`struct evtchn_close`).
pub const EVTCHNOP_CLOSE: u32 = 3;
/// [`Port`] (`struct evtchn_send`).
pub const EVTCHNOP_SEND: u32 = 4;
/// [`Status`].
pub const EVTCHNOP_STATUS: u32 = 5;
/// [`AllocUnbound`].
pub const EVTCHNOP_ALLOC_UNBOUND: u32 = 6;
/// [`BindIpi`].
pub const EVTCHNOP_BIND_IPI: u32 = 7;
/// [`BindVcpu`].
pub const EVTCHNOP_BIND_VCPU: u32 = 8;
/// [`Port`] (`struct evtchn_unmask`).
pub const EVTCHNOP_UNMASK: u32 = 9;
/// [`Reset`].
pub const EVTCHNOP_RESET: u32 = 10;
/// [`InitControl`].
pub const EVTCHNOP_INIT_CONTROL: u32 = 11;
/// [`ExpandArray`].
pub const EVTCHNOP_EXPAND_ARRAY: u32 = 12;
/// [`SetPriority`].
pub const EVTCHNOP_SET_PRIORITY: u32 = 13;
/// [`Reset`], as its own continuation.
pub const EVTCHNOP_RESET_CONT: u32 = 14;

/// Free.
pub const EVTCHNSTAT_CLOSED: u32 = 0;
/// Waits for a remote domain.
pub const EVTCHNSTAT_UNBOUND: u32 = 1;
/// Connected.
pub const EVTCHNSTAT_INTERDOMAIN: u32 = 2;
/// Physical interrupt.
pub const EVTCHNSTAT_PIRQ: u32 = 3;
/// Virtual interrupt.
pub const EVTCHNSTAT_VIRQ: u32 = 4;
/// Between vCPUs of one domain.
pub const EVTCHNSTAT_IPI: u32 = 5;

/// Ports of the 2-level ABI.
pub const EVTCHN_2L_NR_CHANNELS: u32 = 4096;
/// Served first.
pub const EVTCHN_FIFO_PRIORITY_MAX: u32 = 0;
/// Of a new channel.
pub const EVTCHN_FIFO_PRIORITY_DEFAULT: u32 = 7;
/// Served last.
pub const EVTCHN_FIFO_PRIORITY_MIN: u32 = 15;
/// Queues of a vCPU, one a priority.
pub const EVTCHN_FIFO_MAX_QUEUES: u32 = 16;
/// Event word bit: pending.
pub const EVTCHN_FIFO_PENDING: u32 = 31;
/// Event word bit: masked.
pub const EVTCHN_FIFO_MASKED: u32 = 30;
/// Event word bit: on a queue.
pub const EVTCHN_FIFO_LINKED: u32 = 29;
/// Event word bit: Xen is linking behind it; the guest must not unmask.
pub const EVTCHN_FIFO_BUSY: u32 = 28;
/// Width of LINK, the low bits: next port on the queue, 0 at its end.
pub const EVTCHN_FIFO_LINK_BITS: u32 = 17;
/// The bits of LINK.
pub const EVTCHN_FIFO_LINK_MASK: u32 = (1 << EVTCHN_FIFO_LINK_BITS) - 1;
/// Ports of the FIFO ABI.
pub const EVTCHN_FIFO_NR_CHANNELS: u32 = 1 << EVTCHN_FIFO_LINK_BITS;

/// `struct evtchn_bind_interdomain`: connect to a remote's unbound port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct BindInterdomain {
    /// Remote domain.
    pub remote_dom: u16,
    /// Padding.
    pub _pad: u16,
    /// Its port.
    pub remote_port: u32,
    /// Out: the caller's port.
    pub local_port: u32,
}

/// `struct evtchn_bind_virq`: receive a virtual interrupt.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct BindVirq {
    /// `VIRQ_*`.
    pub virq: u32,
    /// vCPU told of it.
    pub vcpu: u32,
    /// Out: the port.
    pub port: u32,
}

/// The argument that is a port: `struct evtchn_close`, `evtchn_send`, `evtchn_unmask`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Port {
    /// The caller's port.
    pub port: u32,
}

/// `struct evtchn_status`: state of a port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Status {
    /// Whose port.
    pub dom: u16,
    /// Padding.
    pub _pad: u16,
    /// The port.
    pub port: u32,
    /// Out: `EVTCHNSTAT_*`.
    pub status: u32,
    /// Out: vCPU the port notifies.
    pub vcpu: u32,
    /// Out: union of details; written by the `set_*` methods.
    pub u: [u32; 2],
}

impl Status {
    /// Fills in `EVTCHNSTAT_unbound`: waits for `dom`.
    pub fn set_unbound(&mut self, dom: u16) {
        self.status = EVTCHNSTAT_UNBOUND;
        self.u = [dom.into(), 0];
    }

    /// Fills in `EVTCHNSTAT_interdomain`: connected to `port` of `dom`.
    pub fn set_interdomain(&mut self, dom: u16, port: u32) {
        self.status = EVTCHNSTAT_INTERDOMAIN;
        self.u = [dom.into(), port];
    }

    /// Fills in `EVTCHNSTAT_virq`.
    pub fn set_virq(&mut self, virq: u32) {
        self.status = EVTCHNSTAT_VIRQ;
        self.u = [virq, 0];
    }

    /// Fills in a state without details.
    pub fn set_plain(&mut self, status: u32) {
        self.status = status;
        self.u = [0; 2];
    }

    /// Remote domain and port of an `EVTCHNSTAT_interdomain` channel.
    #[must_use]
    pub fn interdomain(&self) -> Option<(u16, u32)> {
        let [dom, port] = self.u;
        (self.status == EVTCHNSTAT_INTERDOMAIN).then_some(((dom & 0xffff) as u16, port))
    }
}

/// `struct evtchn_alloc_unbound`: allocate a port `remote_dom` may connect to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct AllocUnbound {
    /// Whose port.
    pub dom: u16,
    /// Who may bind to it.
    pub remote_dom: u16,
    /// Out: the port.
    pub port: u32,
}

/// `struct evtchn_bind_ipi`: port for interrupts between vCPUs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct BindIpi {
    /// vCPU notified.
    pub vcpu: u32,
    /// Out: the port.
    pub port: u32,
}

/// `struct evtchn_bind_vcpu`: notify another vCPU from now on.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct BindVcpu {
    /// The port.
    pub port: u32,
    /// vCPU to notify.
    pub vcpu: u32,
}

/// `struct evtchn_reset`: close all ports.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Reset {
    /// Whose ports.
    pub dom: u16,
}

/// `struct evtchn_init_control`: switch to the FIFO ABI and register a control block.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct InitControl {
    /// Guest frame of the block.
    pub control_gfn: u64,
    /// Byte offset in the frame, a multiple of 8.
    pub offset: u32,
    /// vCPU the block is for.
    pub vcpu: u32,
    /// Out: [`EVTCHN_FIFO_LINK_BITS`].
    pub link_bits: u8,
    /// Padding.
    pub _pad: [u8; 7],
}

/// `struct evtchn_expand_array`: add a page of 1024 event words.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ExpandArray {
    /// Guest frame of the page.
    pub array_gfn: u64,
}

/// `struct evtchn_set_priority`: choose a port's queue.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SetPriority {
    /// The port.
    pub port: u32,
    /// 0 (first) to 15.
    pub priority: u32,
}

/// `struct evtchn_fifo_control_block`: queues of one vCPU, in guest memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct FifoControlBlock {
    /// Bit per non-empty queue.
    pub ready: u32,
    /// Reserved.
    pub _rsvd: u32,
    /// First port of each queue.
    pub head: [u32; 16],
}
