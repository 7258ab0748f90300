// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deadlines: a queue a CPU, whose first is what the CPU's EL2 timer is set to.
//!
//! Cancelling is lazy: what a deadline leads to looks whether it is still wanted. Setting one
//! again replaces it if it is in the same queue, so a guest cannot make a queue grow.

use crate::domain::Domain;
use crate::domain::vcpu::Vcpu;
use crate::hw::Hw;
use crate::sync::{Lock, rank};
use crate::system::System;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

/// What a deadline is for.
#[derive(Clone)]
pub enum Purpose {
    /// The virtual timer of a vCPU that is not loaded.
    Virtual(Weak<Vcpu>),
    /// The emulated physical timer of a vCPU.
    Physical(Weak<Vcpu>),
    /// The end of a `SCHEDOP_poll` or of a WFI with timeout.
    Poll(Weak<Vcpu>),
    /// Watchdog number `.1` of a domain (`SCHEDOP_watchdog`).
    Watchdog(Weak<Domain>, u32),
    /// The end of the running vCPU's time slice.
    Slice,
    /// A line waits for the end of another on the console.
    Console,
    /// The log has more text than its readers were told of.
    Log,
    /// What a key shows goes on.
    Keys,
}

impl Purpose {
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Virtual(a), Self::Virtual(b))
            | (Self::Physical(a), Self::Physical(b))
            | (Self::Poll(a), Self::Poll(b)) => a.ptr_eq(b),
            (Self::Watchdog(a, n), Self::Watchdog(b, m)) => n == m && a.ptr_eq(b),
            (Self::Slice, Self::Slice)
            | (Self::Console, Self::Console)
            | (Self::Log, Self::Log)
            | (Self::Keys, Self::Keys) => true,
            _ => false,
        }
    }
}

struct Entry {
    deadline: u64,
    purpose: Purpose,
}

/// One CPU's deadlines, the latest first.
#[derive(Default)]
struct Queue(Vec<Entry>);

impl Queue {
    fn first(&self) -> Option<u64> {
        self.0.last().map(|e| e.deadline)
    }
}

/// The deadlines of all CPUs, in ticks of CNTPCT_EL0.
pub struct Timers {
    cpus: Box<[Lock<Queue, { rank::TIMER }>]>,
}

impl Timers {
    /// Empty queues for `nr_cpus`.
    pub fn new(nr_cpus: usize) -> Self {
        Self {
            cpus: (0..nr_cpus).map(|_| Lock::new(Queue::default())).collect(),
        }
    }

    /// Sets (or moves) a deadline in this CPU's queue.
    pub fn set(&self, hw: &dyn Hw, deadline: u64, purpose: Purpose) {
        let Some(queue) = self.cpus.get(hw.this_cpu().index()) else {
            return;
        };
        let mut queue = queue.lock();
        queue.0.retain(|e| !e.purpose.same(&purpose));
        let at = queue.0.partition_point(|e| e.deadline > deadline);
        queue.0.insert(at, Entry { deadline, purpose });
        hw.set_deadline(queue.first());
    }

    /// Forgets a deadline, if it is in this CPU's queue.
    pub fn cancel(&self, hw: &dyn Hw, purpose: &Purpose) {
        if let Some(queue) = self.cpus.get(hw.this_cpu().index()) {
            let mut queue = queue.lock();
            queue.0.retain(|e| !e.purpose.same(purpose));
            hw.set_deadline(queue.first());
        }
    }

    /// Forgets all deadlines of a domain whose vCPUs no CPU has, and whose last ones these are.
    pub fn forget(&self, domain: &Arc<Domain>) {
        let watchdogs = Arc::downgrade(domain);
        for queue in &self.cpus {
            let mut queue = queue.lock();
            // The CPU's timer stays as it is: at worst it finds nothing to do.
            queue.0.retain(|e| match &e.purpose {
                Purpose::Virtual(v) | Purpose::Physical(v) | Purpose::Poll(v) => !domain
                    .vcpus()
                    .iter()
                    .any(|own| v.as_ptr() == Arc::as_ptr(own)),
                Purpose::Watchdog(d, _) => !d.ptr_eq(&watchdogs),
                Purpose::Slice | Purpose::Console | Purpose::Log | Purpose::Keys => true,
            });
        }
    }

    /// Takes out one deadline of this CPU that is not after `now`; when there is none, sets the
    /// timer to the next.
    fn take_expired(&self, hw: &dyn Hw, now: u64) -> Option<Purpose> {
        let mut queue = self.cpus.get(hw.this_cpu().index())?.lock();
        match queue.first() {
            Some(first) if first <= now => queue.0.pop().map(|e| e.purpose),
            first => {
                hw.set_deadline(first);
                None
            }
        }
    }
}

/// Lets everything happen whose time has come on this CPU.
pub fn run_expired(sys: &'static System) {
    let now = sys.hw.now();
    while let Some(purpose) = sys.timers.take_expired(sys.hw, now) {
        match purpose {
            Purpose::Virtual(vcpu) => with(&vcpu, Vcpu::virtual_timer_expired),
            Purpose::Physical(vcpu) => with(&vcpu, Vcpu::physical_timer_expired),
            Purpose::Poll(vcpu) => with(&vcpu, Vcpu::poll_expired),
            Purpose::Slice => sys.sched.resched(sys.hw, sys.hw.this_cpu()),
            Purpose::Console => sys.hw.console_settle(),
            Purpose::Log => sys.tell_log(),
            Purpose::Keys => sys.go_on_showing(),
            Purpose::Watchdog(domain, id) => {
                if let Some(domain) = domain.upgrade() {
                    domain.watchdog_expired(id);
                }
            }
        }
    }
}

fn with(vcpu: &Weak<Vcpu>, f: impl FnOnce(&Arc<Vcpu>)) {
    if let Some(vcpu) = vcpu.upgrade() {
        f(&vcpu);
    }
}

#[cfg(test)]
mod tests;
