// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scheduler on fake CPUs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod stress;

use super::*;
use crate::addr::{Pa, PaRange};
use crate::fake::{FakeHw, set_this_cpu};
use crate::system::System;
use crate::testing;
use alloc::sync::Weak;
use std::vec::Vec;

const RAM: PaRange = PaRange {
    start: Pa(0x4000_0000),
    end: Pa(0x4020_0000),
};

/// CPUs that this thread plays by turns, and vCPUs of no domain.
struct Cpus {
    hw: &'static FakeHw,
    sys: &'static System,
}

impl Cpus {
    fn new(nr_cpus: usize) -> Self {
        let (hw, sys) = testing::system(RAM, nr_cpus);
        Self { hw, sys }
    }

    /// A vCPU that may run, at home on `home`, in no queue yet.
    fn vcpu(&self, home: u32) -> Arc<Vcpu> {
        let vcpu = Vcpu::new(self.sys, Weak::new(), 0, CpuId(home));
        vcpu.sched.clear(u32::MAX);
        Arc::new(vcpu)
    }

    /// The same, with `weight`, in the queue.
    fn ready(&self, home: u32, weight: u32) -> Arc<Vcpu> {
        let vcpu = self.vcpu(home);
        vcpu.sched.weight.store(weight, Ordering::Relaxed);
        self.wake(&vcpu);
        vcpu
    }

    fn wake(&self, vcpu: &Arc<Vcpu>) {
        self.sys.sched.wake(self.hw, vcpu);
    }

    fn block(&self, vcpu: &Arc<Vcpu>) {
        vcpu.sched.set(pause::BLOCKED);
    }

    fn choose(&self, cpu: u32) -> (Option<Arc<Vcpu>>, Option<u64>) {
        set_this_cpu(CpuId(cpu));
        match self.sys.sched.choose(self.hw, CpuId(cpu)) {
            (Next::Run(vcpu), end) => (Some(vcpu), end),
            (Next::Idle, end) => (None, end),
        }
    }

    /// What `cpu` chooses is `vcpu`.
    fn runs(&self, cpu: u32, vcpu: &Arc<Vcpu>) {
        let chosen = self.choose(cpu).0.expect("something to run");
        assert!(Arc::ptr_eq(&chosen, vcpu));
        assert_eq!(vcpu.sched.place(), Place::Running);
        assert_eq!(vcpu.sched.home(), CpuId(cpu));
    }

    fn idles(&self, cpu: u32) {
        assert!(self.choose(cpu).0.is_none());
    }

    fn pass(&self, us: u64) {
        self.hw.time.fetch_add(us * 125 / 2, Ordering::Relaxed);
    }

    fn resched(&self, cpu: u32) -> bool {
        self.sys.sched.take_resched(CpuId(cpu))
    }

    fn kicked(&self, cpu: usize) -> bool {
        self.hw.kicked[cpu].swap(false, Ordering::Relaxed)
    }

    /// Runs CPU 0 for `slices` whole slices.
    fn run_slices(&self, slices: u32) {
        for _ in 0..slices {
            let (_, end) = self.choose(0);
            let end = end.expect("others wait, so the slice ends");
            self.hw.time.store(end, Ordering::Relaxed);
        }
        self.choose(0);
    }
}

#[test]
fn one_runs_at_a_time_and_only_while_it_may() {
    let cpus = Cpus::new(1);
    cpus.idles(0);
    let (a, b) = (cpus.vcpu(0), cpus.vcpu(0));
    cpus.block(&a);
    cpus.wake(&a);
    assert_eq!(a.sched.place(), Place::Out);
    assert!(a.sched.clear(pause::BLOCKED));
    assert!(!a.sched.clear(pause::BLOCKED), "was clear");
    cpus.wake(&a);
    cpus.wake(&a);
    cpus.wake(&b);
    assert_eq!(cpus.sys.sched.ready(CpuId(0)).len(), 2);
    cpus.runs(0, &a);
    cpus.block(&a);
    cpus.runs(0, &b);
    assert_eq!(a.sched.place(), Place::Out);
    cpus.block(&b);
    cpus.idles(0);
}

/// An idle CPU that puts away the registers it holds wakes who was told of an interrupt by that.
#[test]
fn an_idle_cpu_that_wakes_somebody_itself_does_not_sleep() {
    let cpus = Cpus::new(2);
    let (runner, a) = (cpus.ready(0, 256), cpus.vcpu(0));
    cpus.runs(0, &runner);
    cpus.idles(1);
    assert!(cpus.sys.sched.may_sleep(CpuId(1)));
    cpus.wake(&a);
    assert_eq!(a.sched.home(), CpuId(1));
    assert!(!cpus.kicked(1), "no CPU kicks itself");
    assert!(!cpus.sys.sched.may_sleep(CpuId(1)));
    cpus.runs(1, &a);
    cpus.block(&a);
    cpus.idles(1);
    assert!(cpus.sys.sched.may_sleep(CpuId(1)));
}

#[test]
fn blocked_while_ready_is_left_out() {
    let cpus = Cpus::new(1);
    let (a, b) = (cpus.ready(0, 256), cpus.ready(0, 256));
    cpus.block(&a);
    cpus.runs(0, &b);
    assert_eq!(a.sched.place(), Place::Out);
    // The wake-up that comes before the choice keeps it in.
    cpus.block(&b);
    b.sched.clear(pause::BLOCKED);
    cpus.wake(&b);
    cpus.runs(0, &b);
}

#[test]
fn a_slice_ends_only_if_others_wait() {
    let cpus = Cpus::new(1);
    let _a = cpus.ready(0, 256);
    assert_eq!(cpus.choose(0).1, None);
    assert!(!cpus.resched(0));
    let _b = cpus.ready(0, 256);
    assert!(cpus.resched(0), "the slice must be told of");
    let (_, end) = cpus.choose(0);
    assert_eq!(end, Some(cpus.hw.now() + SLICE_US * 125 / 2));
}

#[test]
fn waking_takes_an_idle_cpu() {
    let cpus = Cpus::new(3);
    let (a, b) = (cpus.ready(0, 256), cpus.vcpu(0));
    cpus.runs(0, &a);
    cpus.idles(1);
    set_this_cpu(CpuId(0));
    cpus.wake(&b);
    assert_eq!(b.sched.home(), CpuId(1));
    assert!(cpus.kicked(1) && cpus.resched(1) && !cpus.kicked(0));
    cpus.runs(1, &b);
}

#[test]
fn a_loaded_vcpu_wakes_where_it_is() {
    let cpus = Cpus::new(2);
    let (a, b) = (cpus.ready(0, 256), cpus.vcpu(0));
    cpus.runs(0, &a);
    cpus.sys.sched.set_loaded(CpuId(0), Some(a.clone()));
    assert!(Arc::ptr_eq(&cpus.sys.sched.loaded(CpuId(0)).unwrap(), &a));
    cpus.block(&a);
    cpus.wake(&b);
    cpus.runs(0, &b);
    cpus.idles(1);
    a.sched.clear(pause::BLOCKED);
    cpus.wake(&a);
    assert_eq!(a.sched.home(), CpuId(0));
    cpus.idles(1);
    cpus.sys.sched.set_loaded(CpuId(0), None);
    cpus.runs(1, &a);
}

#[test]
fn idle_cpus_steal_what_is_not_pinned() {
    let cpus = Cpus::new(2);
    let (a, b, c) = (cpus.vcpu(0), cpus.vcpu(0), cpus.vcpu(0));
    b.sched.pin();
    assert_eq!(b.sched.affinity(), 0b1, "as a toolstack sees it");
    for vcpu in [&a, &b, &c] {
        cpus.wake(vcpu);
    }
    cpus.runs(0, &a);
    cpus.runs(1, &c);
    cpus.block(&c);
    cpus.idles(1);
    cpus.wake(&b);
    assert_eq!(b.sched.home(), CpuId(0), "pinned, though CPU 1 is idle");
    cpus.block(&a);
    cpus.runs(0, &b);
}

#[test]
fn a_woken_sleeper_goes_first() {
    let cpus = Cpus::new(1);
    let (hog, sleeper) = (cpus.ready(0, 256), cpus.vcpu(0));
    cpus.runs(0, &hog);
    cpus.pass(PREEMPT_US / 2);
    cpus.runs(0, &hog);
    cpus.pass(20 * SLICE_US);
    cpus.wake(&sleeper);
    assert!(cpus.resched(0));
    cpus.runs(0, &sleeper);
    assert!(hog.sched.run_ticks() >= 20 * SLICE_US * 125 / 2);
}

#[test]
fn yield_lets_all_others_pass() {
    let cpus = Cpus::new(1);
    let [a, b, c] = [256; 3].map(|w| cpus.ready(0, w));
    cpus.runs(0, &a);
    cpus.resched(0);
    cpus.sys.sched.yield_current(cpus.hw, CpuId(0));
    assert!(cpus.resched(0));
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(cpus.choose(0).0.unwrap());
        cpus.pass(1);
        cpus.sys.sched.yield_current(cpus.hw, CpuId(0));
    }
    for vcpu in [&b, &c] {
        assert!(seen[..2].iter().any(|s| Arc::ptr_eq(s, vcpu)));
    }
    assert!(Arc::ptr_eq(&seen[2], &a));
}

#[test]
fn yield_alone_is_nothing() {
    let cpus = Cpus::new(1);
    let a = cpus.ready(0, 256);
    cpus.runs(0, &a);
    cpus.sys.sched.yield_current(cpus.hw, CpuId(0));
    assert!(!cpus.resched(0));
}

/// Shares of `weights` after many slices, in thousandths of what they should be.
fn shares(weights: &[u32], slices: u32) -> Vec<u64> {
    let cpus = Cpus::new(1);
    let vcpus: Vec<_> = weights.iter().map(|&w| cpus.ready(0, w)).collect();
    cpus.run_slices(slices);
    let sum: u64 = weights.iter().map(|&w| u64::from(w)).sum();
    let all: u64 = vcpus.iter().map(|v| v.sched.run_ticks()).sum();
    let share =
        |(v, &w): (&Arc<Vcpu>, &u32)| v.sched.run_ticks() * 1000 * sum / (all * u64::from(w));
    vcpus.iter().zip(weights).map(share).collect()
}

#[test]
fn weights_give_shares() {
    for weights in [
        &[256, 256, 256][..],
        &[512, 256],
        &[1024, 256, 64],
        &[16, 256],
    ] {
        let got = shares(weights, 3000);
        assert!(
            got.iter().all(|s| (950..1050).contains(s)),
            "{weights:?}: {got:?}"
        );
    }
}

/// One that always sleeps a little before its slice ends does not get more than its share.
#[test]
fn short_sleeps_gain_nothing() {
    let cpus = Cpus::new(1);
    let (hog, sly) = (cpus.ready(0, 256), cpus.ready(0, 256));
    for _ in 0..3000 {
        let (next, end) = cpus.choose(0);
        if Arc::ptr_eq(&next.unwrap(), &sly) {
            cpus.pass(SLICE_US * 9 / 10);
            cpus.block(&sly);
            cpus.runs(0, &hog);
            cpus.pass(10);
            sly.sched.clear(pause::BLOCKED);
            cpus.wake(&sly);
        } else if let Some(end) = end {
            cpus.hw.time.store(end, Ordering::Relaxed);
        }
    }
    let (hog, sly) = (hog.sched.run_ticks(), sly.sched.run_ticks());
    assert!(sly < hog * 11 / 10, "{sly} of {hog}");
}

/// Who slept for long does not get the CPU for as long.
#[test]
fn sleep_is_not_saved_up() {
    let cpus = Cpus::new(1);
    let (hog, late) = (cpus.ready(0, 256), cpus.vcpu(0));
    cpus.runs(0, &hog);
    cpus.pass(1000 * SLICE_US);
    cpus.wake(&late);
    let before = hog.sched.run_ticks();
    cpus.choose(0);
    let before = before.max(hog.sched.run_ticks());
    cpus.run_slices(10);
    assert!(hog.sched.run_ticks() - before >= 4 * SLICE_US * 125 / 2);
}

/// A vCPU comes from a CPU whose weighted time is far ahead: it is not punished for that.
#[test]
fn moving_costs_at_most_a_slice() {
    let cpus = Cpus::new(2);
    let (old, mover) = (cpus.ready(0, 256), cpus.ready(0, 256));
    cpus.run_slices(500);
    let other = cpus.vcpu(1);
    cpus.block(&mover);
    cpus.runs(0, &old);
    mover.sched.home.store(1, Ordering::Relaxed);
    mover.sched.clear(pause::BLOCKED);
    cpus.wake(&other);
    cpus.runs(1, &other);
    cpus.wake(&mover);
    cpus.pass(SLICE_US + PREEMPT_US);
    cpus.runs(1, &mover);
}

#[test]
fn unknown_cpus_are_ignored() {
    let cpus = Cpus::new(1);
    let stray = cpus.vcpu(7);
    cpus.wake(&stray);
    cpus.idles(7);
    cpus.sys.sched.yield_current(cpus.hw, CpuId(7));
    cpus.sys.sched.resched(cpus.hw, CpuId(7));
    cpus.sys.sched.set_loaded(CpuId(7), None);
    assert!(cpus.sys.sched.loaded(CpuId(7)).is_none());
    assert!(!cpus.resched(7));
    set_this_cpu(CpuId(0));
}

/// A vCPU leaves a CPU that it may no longer run on: at once from a queue, and from a CPU that has
/// its registers once they are put away.
#[test]
fn affinity_is_obeyed() {
    let cpus = Cpus::new(2);
    let only = |cpu: u32| 1u128 << cpu;
    let sched = &cpus.sys.sched;
    let busy = cpus.ready(0, 256);
    let moved = cpus.ready(0, 256);
    cpus.runs(0, &busy);
    sched.set_affinity(cpus.hw, &moved, only(1));
    assert_eq!((moved.sched.home(), moved.sched.flags()), (CpuId(1), 0));
    cpus.runs(1, &moved);
    sched.set_loaded(CpuId(1), Some(moved.clone()));
    // It runs where it may not any more.
    sched.set_affinity(cpus.hw, &moved, only(0));
    assert!(sched.wants_choice(CpuId(1)) && sched.holds(&moved));
    cpus.idles(1);
    assert_ne!(moved.sched.flags() & pause::EVICTED, 0);
    sched.finish_move(cpus.hw, &moved);
    assert_eq!(moved.sched.home(), CpuId(1));
    sched.set_loaded(CpuId(1), None);
    sched.finish_move(cpus.hw, &moved);
    assert_eq!((moved.sched.home(), moved.sched.flags()), (CpuId(0), 0));
    // Nobody takes it from where it must be.
    assert_eq!(moved.sched.place(), Place::Ready);
    cpus.idles(1);
    cpus.block(&busy);
    cpus.runs(0, &moved);
}
