// SPDX-License-Identifier: MIT OR Apache-2.0
//! The FIFO ABI: an event word per port, in pages of the guest, linked into queues, one a vCPU
//! and priority, that start in a control block per vCPU (`xen/event_channel.h`).
//!
//! The hypervisor appends to queues and alone sets LINKED. The guest takes from their heads: it
//! clears LINKED and LINK at once and goes on at what LINK said. So a tail that is not LINKED any
//! more has been taken, and its queue is empty. Nothing here follows a link.

use super::deliver::Set;
use super::port::Queue;
use crate::addr::PAGE_SIZE;
use crate::guest::shared::{GuestAtomic, SharedPage, Starved};
use crate::nospec;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering};
use xen_abi::errno::Errno;
use xen_abi::event::{
    EVTCHN_FIFO_BUSY, EVTCHN_FIFO_LINK_MASK, EVTCHN_FIFO_LINKED, EVTCHN_FIFO_MASKED,
    EVTCHN_FIFO_MAX_QUEUES, EVTCHN_FIFO_NR_CHANNELS, EVTCHN_FIFO_PENDING, FifoControlBlock,
};

const PENDING: u32 = 1 << EVTCHN_FIFO_PENDING;
const MASKED: u32 = 1 << EVTCHN_FIFO_MASKED;
const LINKED: u32 = 1 << EVTCHN_FIFO_LINKED;
/// What a fresh link replaces. BUSY, with which Xen keeps the guest from unmasking a tail while it
/// is linked behind, to bound its retries, is never set here: `change` is bounded anyway.
const LINK_AND_BUSY: u32 = EVTCHN_FIFO_LINK_MASK | 1 << EVTCHN_FIFO_BUSY;

/// Event words a page holds.
pub(super) const WORDS: u32 = (PAGE_SIZE / 4) as u32;
/// Pages of words at most.
const MAX_PAGES: usize = (EVTCHN_FIFO_NR_CHANNELS / WORDS) as usize;
/// Last offset of a control block that leaves it in the page.
const LAST_OFFSET: usize = PAGE_SIZE as usize - size_of::<FifoControlBlock>();

/// A domain's FIFO state.
pub(super) struct Fifo {
    array: Vec<SharedPage>,
    /// A vCPU's queues, once its guest set them up.
    vcpus: Vec<Option<Queues>>,
}

/// The queues of one vCPU.
struct Queues {
    control: SharedPage,
    offset: usize,
    /// The last port of each, 0 if the queue is known to be empty.
    tails: [u32; EVTCHN_FIFO_MAX_QUEUES as usize],
}

impl Queues {
    fn head(&self, priority: u32) -> Option<&AtomicU32> {
        let index = (priority as usize).checked_mul(4)?;
        let head = offset_of!(FifoControlBlock, head).checked_add(index)?;
        self.control.atomic_u32(self.offset.checked_add(head)?)
    }

    fn ready(&self) -> Option<&AtomicU32> {
        self.control.atomic_u32(self.offset)
    }

    /// Starts a queue with `port`; true if the vCPU must look.
    fn start(&self, priority: u32, port: u32) -> Result<bool, Starved> {
        let (Some(head), Some(ready)) = (self.head(priority), self.ready()) else {
            return Ok(false);
        };
        head.store(port, Ordering::Relaxed);
        let bit = 1u32.checked_shl(priority).unwrap_or(0);
        // Releases: who sees the queue ready sees its head and the words of its events.
        Ok(ready.change(|v| Some(v | bit))? & bit == 0)
    }
}

/// Checks where a guest wants a control block.
pub(super) fn check_offset(offset: u32) -> Result<usize, Errno> {
    let offset = offset as usize;
    let fits = offset <= LAST_OFFSET && offset.is_multiple_of(8);
    fits.then_some(offset).ok_or(Errno::Inval)
}

impl Fifo {
    pub(super) fn new(max_vcpus: usize) -> Result<Self, Errno> {
        let mut vcpus = Vec::new();
        vcpus
            .try_reserve_exact(max_vcpus)
            .map_err(|_| Errno::NoMem)?;
        vcpus.resize_with(max_vcpus, || None);
        let mut array = Vec::new();
        array
            .try_reserve_exact(MAX_PAGES)
            .map_err(|_| Errno::NoMem)?;
        Ok(Self { array, vcpus })
    }

    /// Sets up a vCPU's queues; `EINVAL` if it has some.
    pub(super) fn set_control(
        &mut self,
        vcpu: u32,
        control: SharedPage,
        offset: usize,
    ) -> Result<(), Errno> {
        let slot = nospec::get_mut(&mut self.vcpus, vcpu as usize).ok_or(Errno::NoEnt)?;
        if slot.is_some() {
            return Err(Errno::Inval);
        }
        let tails = [0; EVTCHN_FIFO_MAX_QUEUES as usize];
        *slot = Some(Queues {
            control,
            offset,
            tails,
        });
        Ok(())
    }

    /// True if `vcpu` has queues.
    pub(super) fn has_control(&self, vcpu: u32) -> bool {
        matches!(self.vcpus.get(vcpu as usize), Some(Some(_)))
    }

    /// `ENOSPC` if the array has all its pages.
    pub(super) fn check_room(&self) -> Result<(), Errno> {
        (self.array.len() < MAX_PAGES)
            .then_some(())
            .ok_or(Errno::NoSpc)
    }

    /// Adds a page of event words; returns the first port it has the word of.
    pub(super) fn add_page(&mut self, page: &SharedPage) -> Result<u32, Errno> {
        self.check_room()?;
        let first = (self.array.len() as u32).saturating_mul(WORDS);
        self.array.push(page.clone());
        Ok(first)
    }

    fn word(&self, port: u32) -> Option<&AtomicU32> {
        let page = self.array.get((port / WORDS) as usize)?;
        page.atomic_u32(((port % WORDS) as usize).checked_mul(4)?)
    }

    fn tail(&mut self, queue: Queue) -> Option<&mut u32> {
        let queues = self.vcpus.get_mut(queue.vcpu as usize)?.as_mut()?;
        queues.tails.get_mut(queue.priority as usize)
    }

    /// True if there is an event word for `port`.
    pub(super) fn has_word(&self, port: u32) -> bool {
        self.word(port).is_some()
    }

    /// Makes `port` pending and, unless it is masked or on a queue, appends it to `queue`. `last`
    /// is the queue it was on last.
    pub(super) fn set_pending(
        &mut self,
        port: u32,
        queue: Queue,
        last: &mut Option<Queue>,
    ) -> Result<Set, Starved> {
        let can_link = self.has_control(queue.vcpu);
        let Some(word) = self.word(port) else {
            return Ok(Set::default());
        };
        let links = |v: u32| can_link && v & (MASKED | LINKED) == 0;
        let old = word.change(|v| {
            let linked = if links(v) {
                (v | LINKED) & !LINK_AND_BUSY
            } else {
                v
            };
            Some(linked | PENDING)
        })?;
        let look = links(old) && self.link(port, queue, last)?;
        Ok(Set {
            new: old & PENDING == 0,
            look,
        })
    }

    /// Appends `port`, just marked LINKED, to `queue`; true if the vCPU must look.
    fn link(&mut self, port: u32, queue: Queue, last: &mut Option<Queue>) -> Result<bool, Starved> {
        // It was taken from its last queue. If it was the tail there, that queue is empty: its
        // next event must not be appended to this port, which is elsewhere now.
        if let Some(tail) = last.and_then(|last| self.tail(last))
            && *tail == port
        {
            *tail = 0;
        }
        *last = Some(queue);
        let Some(tail) = self.tail(queue) else {
            return Ok(false);
        };
        let before = core::mem::replace(tail, port);
        if before != 0 && self.append(before, port)? {
            return Ok(false);
        }
        match self.vcpus.get(queue.vcpu as usize) {
            Some(Some(queues)) => queues.start(queue.priority, port),
            _ => Ok(false),
        }
    }

    /// Makes `tail` point to `port` if it is still on its queue; true if so.
    fn append(&self, tail: u32, port: u32) -> Result<bool, Starved> {
        let Some(word) = self.word(tail) else {
            return Ok(false);
        };
        let old = word.change(|v| (v & LINKED != 0).then_some(v & !LINK_AND_BUSY | port))?;
        Ok(old & LINKED != 0)
    }

    /// Clears MASKED; true if the port is pending, so that [`Fifo::set_pending`] must queue it.
    pub(super) fn unmask(&self, port: u32) -> Result<bool, Starved> {
        let Some(word) = self.word(port) else {
            return Ok(false);
        };
        Ok(word.change(|v| Some(v & !MASKED))? & PENDING != 0)
    }

    /// Clears PENDING.
    pub(super) fn clear_pending(&self, port: u32) -> Result<(), Starved> {
        match self.word(port) {
            Some(word) => word.change(|v| Some(v & !PENDING)).map(|_| ()),
            None => Ok(()),
        }
    }

    pub(super) fn is_pending(&self, port: u32) -> bool {
        self.test(port, PENDING)
    }

    pub(super) fn is_masked(&self, port: u32) -> bool {
        self.test(port, MASKED)
    }

    /// On a queue, as far as the guest says.
    pub(super) fn is_linked(&self, port: u32) -> bool {
        self.test(port, LINKED)
    }

    fn test(&self, port: u32, bit: u32) -> bool {
        self.word(port)
            .is_some_and(|w| w.load(Ordering::Acquire) & bit != 0)
    }
}
