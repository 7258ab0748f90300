// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ports of a domain: their states, and which numbers are free.

use super::EventDomain;
use crate::addr::DomId;
use alloc::sync::Arc;
use alloc::vec::Vec;
use xen_abi::errno::Errno;
use xen_abi::event::{EVTCHN_FIFO_NR_CHANNELS, EVTCHN_FIFO_PRIORITY_DEFAULT};

/// What a port is.
#[derive(Clone)]
pub(super) enum State {
    /// Nothing: free, or port 0.
    Free,
    /// Being closed: the number is not free before the peer forgot it.
    Closing,
    /// Waits for this domain to bind.
    Unbound(DomId),
    /// Connected.
    Interdomain(Peer),
    /// Receives a virtual interrupt.
    Virq(u32),
    /// Between vCPUs.
    Ipi,
}

/// The other end of a connected port.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) domain: Arc<dyn EventDomain>,
    pub(super) id: DomId,
    pub(super) port: u32,
}

/// Who gets a port's events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Consumer {
    /// The guest; it may do with the port what it likes.
    Guest,
    /// The hypervisor, for the domain; the guest may not touch the port.
    Xen,
}

/// A FIFO queue: one of a vCPU's priorities.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Queue {
    pub(super) vcpu: u32,
    pub(super) priority: u32,
}

/// One port.
pub(super) struct Port {
    pub(super) state: State,
    pub(super) consumer: Consumer,
    /// Where the FIFO ABI queues the port's next event. The vCPU is the one notified.
    pub(super) queue: Queue,
    /// Where it queued the last one. Outlives the port's closing: it may still be queued there.
    pub(super) last_queue: Option<Queue>,
}

const FRESH: Queue = Queue {
    vcpu: 0,
    priority: EVTCHN_FIFO_PRIORITY_DEFAULT,
};

impl Port {
    const FREE: Self = Self {
        state: State::Free,
        consumer: Consumer::Guest,
        queue: FRESH,
        last_queue: None,
    };

    pub(super) const fn is_open(&self) -> bool {
        !matches!(self.state, State::Free | State::Closing)
    }

    /// Open, and its events are the guest's.
    pub(super) const fn is_guests(&self) -> bool {
        self.is_open() && matches!(self.consumer, Consumer::Guest)
    }

    /// Connected to `port` of domain `id`.
    pub(super) fn has_peer(&self, id: DomId, port: u32) -> bool {
        matches!(&self.state, State::Interdomain(p) if p.id == id && p.port == port)
    }
}

/// Ports a bucket holds.
const BUCKET: u32 = u64::BITS;
/// Ports that may be found busy in one allocation, and as many looked at that were before.
const BUSY: u32 = 64;

struct Bucket {
    /// Bit per port that may be allocated.
    free: u64,
    /// Bit per port that is free but was found busy when it was to be allocated.
    parked: u64,
    /// Bit per port with an event that waits for its event word to exist (FIFO).
    waiting: u64,
    ports: Vec<Port>,
}

/// All ports of a domain, in buckets that are allocated when first needed and then kept.
pub(super) struct Ports {
    buckets: Vec<Bucket>,
    /// Highest number.
    max: u32,
    /// Every bucket before this one is full.
    hint: u32,
    /// Guest ports that are not free.
    open: u32,
    /// Ports that are parked.
    parked: u32,
    /// Where the next look at them begins.
    parked_from: u32,
}

const fn bucket_of(port: u32) -> usize {
    (port / BUCKET) as usize
}

const fn bit_of(port: u32) -> u64 {
    1 << (port % BUCKET)
}

impl Ports {
    pub(super) fn new(max: u32) -> Self {
        Self {
            buckets: Vec::new(),
            max: max.min(EVTCHN_FIFO_NR_CHANNELS.saturating_sub(1)),
            hint: 0,
            open: 0,
            parked: 0,
            parked_from: 0,
        }
    }

    /// Numbers below this have a port.
    pub(super) fn count(&self) -> u32 {
        (self.buckets.len() as u32).saturating_mul(BUCKET)
    }

    /// Open guest ports.
    pub(super) const fn open(&self) -> u32 {
        self.open
    }

    pub(super) fn get(&self, port: u32) -> Option<&Port> {
        let bucket = self.buckets.get(bucket_of(port))?;
        bucket.ports.get((port % BUCKET) as usize)
    }

    pub(super) fn get_mut(&mut self, port: u32) -> Option<&mut Port> {
        let bucket = self.buckets.get_mut(bucket_of(port))?;
        bucket.ports.get_mut((port % BUCKET) as usize)
    }

    /// The lowest free number that is below `limit` and not `busy`; its bucket exists on return.
    /// Looks at a bounded number of busy ones: if a guest leaves more than that, the number may
    /// not be the lowest. `ENOSPC` without one, `ENOMEM` if it takes memory that it may not have.
    pub(super) fn next_free(
        &mut self,
        limit: u32,
        busy: impl Fn(u32) -> bool,
        may_grow: impl FnOnce() -> bool,
    ) -> Result<u32, Errno> {
        let end = limit.min(self.max.saturating_add(1));
        self.unpark(&busy);
        let found = self.scan(&busy).unwrap_or(self.count().max(1));
        if found >= end {
            return Err(Errno::NoSpc);
        }
        if found < self.count() {
            return Ok(found);
        }
        if !may_grow() {
            return Err(Errno::NoMem);
        }
        self.grow()?;
        Ok(found)
    }

    /// The lowest free number that is not `busy`; those that are get parked.
    fn scan(&mut self, busy: impl Fn(u32) -> bool) -> Option<u32> {
        for _ in 0..=BUSY {
            let full = |b: &&Bucket| b.free == 0;
            let skipped = self.buckets.iter().skip(self.hint as usize);
            self.hint = self
                .hint
                .saturating_add(skipped.take_while(full).count() as u32);
            let bucket = self.buckets.get_mut(self.hint as usize)?;
            let bit = bucket.free.trailing_zeros();
            let port = self.hint.saturating_mul(BUCKET).saturating_add(bit);
            if !busy(port) {
                return Some(port);
            }
            bucket.free &= !bit_of(port);
            bucket.parked |= bit_of(port);
            self.parked = self.parked.saturating_add(1);
        }
        None
    }

    /// Looks whether some of the parked ports are no longer `busy`.
    fn unpark(&mut self, busy: impl Fn(u32) -> bool) {
        for _ in 0..self.parked.min(BUSY) {
            let Some(port) = self
                .next_bit(self.parked_from, u32::MAX, |b| b.parked)
                .or_else(|| self.next_bit(0, u32::MAX, |b| b.parked))
            else {
                return;
            };
            self.parked_from = port.saturating_add(1);
            if busy(port) {
                continue;
            }
            if let Some(bucket) = self.buckets.get_mut(bucket_of(port)) {
                bucket.parked &= !bit_of(port);
                bucket.free |= bit_of(port);
                self.parked = self.parked.saturating_sub(1);
                self.hint = self.hint.min(port / BUCKET);
            }
        }
    }

    fn grow(&mut self) -> Result<(), Errno> {
        let mut ports = Vec::new();
        ports
            .try_reserve_exact(BUCKET as usize)
            .map_err(|_| Errno::NoMem)?;
        ports.resize_with(BUCKET as usize, || Port::FREE);
        self.buckets.try_reserve(1).map_err(|_| Errno::NoMem)?;
        // Port 0 is never valid.
        let free = if self.buckets.is_empty() { !1 } else { !0 };
        self.buckets.push(Bucket {
            free,
            parked: 0,
            waiting: 0,
            ports,
        });
        Ok(())
    }

    /// Opens `port`, which [`Ports::next_free`] named.
    pub(super) fn open_as(&mut self, port: u32, state: State, vcpu: u32, consumer: Consumer) {
        let Some(bucket) = self.buckets.get_mut(bucket_of(port)) else {
            return;
        };
        bucket.free &= !bit_of(port);
        let Some(slot) = self.get_mut(port) else {
            return;
        };
        slot.state = state;
        slot.consumer = consumer;
        slot.queue = Queue { vcpu, ..FRESH };
        if consumer == Consumer::Guest {
            self.open = self.open.saturating_add(1);
        }
    }

    /// Makes `port` free.
    pub(super) fn release(&mut self, port: u32) {
        let Some(slot) = self.get_mut(port) else {
            return;
        };
        slot.state = State::Free;
        slot.queue = FRESH;
        if core::mem::replace(&mut slot.consumer, Consumer::Guest) == Consumer::Guest {
            self.open = self.open.saturating_sub(1);
        }
        if let Some(bucket) = self.buckets.get_mut(bucket_of(port)) {
            bucket.free |= bit_of(port);
            self.hint = self.hint.min(port / BUCKET);
        }
    }

    /// Notes whether an event of `port` waits for its event word; returns what was noted.
    pub(super) fn set_waiting(&mut self, port: u32, waiting: bool) -> bool {
        let Some(bucket) = self.buckets.get_mut(bucket_of(port)) else {
            return false;
        };
        let was = bucket.waiting & bit_of(port) != 0;
        if waiting {
            bucket.waiting |= bit_of(port);
        } else {
            bucket.waiting &= !bit_of(port);
        }
        was
    }

    /// True if an event of `port` waits for its event word.
    pub(super) fn is_waiting(&self, port: u32) -> bool {
        let bucket = self.buckets.get(bucket_of(port));
        bucket.is_some_and(|b| b.waiting & bit_of(port) != 0)
    }

    /// The first port from `from` on (below `end`) whose event waits.
    pub(super) fn next_waiting(&self, from: u32, end: u32) -> Option<u32> {
        self.next_bit(from, end, |b| b.waiting)
    }

    /// The first port from `from` on that is not free.
    pub(super) fn next_used(&self, from: u32) -> Option<u32> {
        self.next_bit(from.max(1), u32::MAX, |b| !(b.free | b.parked))
    }

    fn next_bit(&self, from: u32, end: u32, bits: impl Fn(&Bucket) -> u64) -> Option<u32> {
        let first = bucket_of(from);
        let mut mask = u64::MAX << (from % BUCKET);
        for (index, bucket) in (0u32..).zip(&self.buckets).skip(first) {
            let set = bits(bucket) & mask;
            mask = u64::MAX;
            if set != 0 {
                let port = index
                    .saturating_mul(BUCKET)
                    .saturating_add(set.trailing_zeros());
                return (port < end).then_some(port);
            }
        }
        None
    }
}
