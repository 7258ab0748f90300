// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deadlines come due in order, once, and the CPU's timer is always set to the first.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

use super::*;
use crate::addr::{CpuId, Pa, PaRange};
use crate::fake::{Event, FakeHw, set_this_cpu};
use crate::sched::pause;
use crate::testing::{self, Setup};
use core::sync::atomic::Ordering;

const RAM: PaRange = PaRange {
    start: Pa(0x4000_0000),
    end: Pa(0x4020_0000),
};

struct Clock {
    hw: &'static FakeHw,
    sys: &'static System,
    domain: Arc<Domain>,
}

impl Clock {
    fn new(nr_cpus: usize) -> Self {
        let (hw, sys) = testing::system(RAM, nr_cpus);
        let domain = testing::domain(
            sys,
            hw,
            Setup {
                nr_vcpus: 3,
                ..Setup::default()
            },
        );
        for vcpu in domain.vcpus() {
            vcpu.sched.clear(u32::MAX);
            vcpu.sched.set(pause::POLLING);
        }
        hw.take_events();
        Self { hw, sys, domain }
    }

    fn poll(&self, vcpu: u32) -> Purpose {
        Purpose::Poll(Arc::downgrade(self.domain.vcpu(vcpu).unwrap()))
    }

    fn set(&self, at: u64, purpose: Purpose) {
        self.sys.timers.set(self.hw, at, purpose);
    }

    /// What the timer was last set to.
    fn deadline(&self) -> Option<u64> {
        let events = self.hw.take_events();
        let deadline = |e: &Event| match e {
            Event::Deadline(at) => Some(*at),
            _ => None,
        };
        events.iter().rev().find_map(deadline).unwrap()
    }

    fn expire(&self, now: u64) {
        self.hw.time.store(now, Ordering::Relaxed);
        run_expired(self.sys);
    }

    fn polls(&self, vcpu: u32) -> bool {
        self.domain.vcpu(vcpu).unwrap().sched.flags() & pause::POLLING != 0
    }

    fn entries(&self, cpu: u32) -> usize {
        self.sys
            .timers
            .cpus
            .get(cpu as usize)
            .unwrap()
            .lock()
            .0
            .len()
    }
}

#[test]
fn due_in_order() {
    let clock = Clock::new(1);
    for (vcpu, at) in [(0, 300), (1, 100), (2, 200)] {
        clock.set(at, clock.poll(vcpu));
    }
    assert_eq!(clock.deadline(), Some(100));
    clock.expire(99);
    assert!(clock.polls(0) && clock.polls(1) && clock.polls(2));
    clock.expire(100);
    assert_eq!(clock.deadline(), Some(200));
    assert!(clock.polls(0) && !clock.polls(1) && clock.polls(2));
    clock.expire(1000);
    assert_eq!(clock.deadline(), None);
    assert!(!clock.polls(0) && !clock.polls(2));
}

#[test]
fn setting_again_replaces() {
    let clock = Clock::new(1);
    for at in (100..1100).rev() {
        clock.set(at, clock.poll(0));
        assert_eq!(clock.deadline(), Some(at));
    }
    clock.set(5000, clock.poll(0));
    assert_eq!((clock.deadline(), clock.entries(0)), (Some(5000), 1));
    clock.expire(4999);
    assert!(clock.polls(0));
}

#[test]
fn purposes_differ() {
    let clock = Clock::new(1);
    let vcpu = Arc::downgrade(clock.domain.vcpu(0).unwrap());
    let domain = Arc::downgrade(&clock.domain);
    let all = [
        Purpose::Virtual(vcpu.clone()),
        Purpose::Physical(vcpu.clone()),
        Purpose::Poll(vcpu),
        clock.poll(1),
        Purpose::Watchdog(domain.clone(), 0),
        Purpose::Watchdog(domain, 1),
        Purpose::Slice,
    ];
    for _ in 0..2 {
        for (at, purpose) in (100..).zip(&all) {
            clock.set(at, purpose.clone());
        }
    }
    assert_eq!(clock.entries(0), all.len());
    for (left, purpose) in all.iter().enumerate().rev() {
        clock.sys.timers.cancel(clock.hw, purpose);
        assert_eq!(clock.entries(0), left);
    }
    assert_eq!(clock.deadline(), None);
}

#[test]
fn a_cancelled_deadline_does_nothing() {
    let clock = Clock::new(1);
    clock.set(100, clock.poll(0));
    clock.set(200, clock.poll(1));
    clock.sys.timers.cancel(clock.hw, &clock.poll(0));
    assert_eq!(clock.deadline(), Some(200));
    clock.expire(1000);
    assert!(clock.polls(0) && !clock.polls(1));
    clock.sys.timers.cancel(clock.hw, &clock.poll(2));
}

#[test]
fn each_cpu_has_its_own() {
    let clock = Clock::new(2);
    clock.set(100, clock.poll(0));
    set_this_cpu(CpuId(1));
    clock.set(50, clock.poll(0));
    clock.sys.timers.cancel(clock.hw, &clock.poll(1));
    assert_eq!((clock.entries(0), clock.entries(1)), (1, 1));
    clock.expire(60);
    assert_eq!((clock.entries(0), clock.entries(1)), (1, 0));
    assert!(!clock.polls(0));
    // Of no CPU that there is.
    set_this_cpu(CpuId(9));
    clock.set(1, clock.poll(1));
    clock.expire(100);
    set_this_cpu(CpuId(0));
    assert!(clock.polls(1));
}

#[test]
fn the_end_of_a_slice_asks_the_scheduler() {
    let clock = Clock::new(1);
    clock.set(100, Purpose::Slice);
    clock.sys.sched.take_resched(CpuId(0));
    clock.expire(100);
    assert!(clock.sys.sched.take_resched(CpuId(0)));
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut clock = Clock::new(1);
    clock.set(100, clock.poll(0));
    clock.set(100, Purpose::Watchdog(Arc::downgrade(&clock.domain), 0));
    let (hw, sys) = (clock.hw, clock.sys);
    clock.domain = testing::domain(
        sys,
        hw,
        Setup {
            id: 2,
            ..Setup::default()
        },
    );
    clock.expire(100);
    assert_eq!(clock.entries(0), 0);
}

#[test]
fn a_watchdog_bites_unless_fed() {
    let clock = Clock::new(1);
    assert_eq!(clock.domain.set_watchdog(0, 1), Ok(1));
    let second = clock.hw.frequency();
    clock.expire(second / 2);
    assert_eq!(clock.domain.set_watchdog(1, 2), Ok(0));
    clock.expire(second + 2);
    assert_eq!(clock.domain.life.lock().shutdown_code, None);
    clock.expire(3 * second);
    let bitten = Some(xen_abi::sched::SHUTDOWN_WATCHDOG);
    assert_eq!(clock.domain.life.lock().shutdown_code, bitten);
}

#[test]
fn far_deadlines_do_not_wrap() {
    let clock = Clock::new(1);
    clock.set(u64::MAX, clock.poll(0));
    clock.set(u64::MAX - 1, clock.poll(1));
    assert_eq!(clock.deadline(), Some(u64::MAX - 1));
    clock.expire(u64::MAX);
    assert!(!clock.polls(0) && !clock.polls(1));
}
