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

mod simulation;
mod stress;

use super::place::SLICE_US;
use super::*;
use crate::addr::{Pa, PaRange};
use crate::fake::{FakeHw, set_this_cpu};
use crate::system::System;
use crate::testing;
use alloc::sync::Weak;
use std::vec::Vec;
use xen_abi::errno::Errno;

const RAM: PaRange = PaRange {
    start: Pa(0x4000_0000),
    end: Pa(0x4020_0000),
};

/// What a pool begins with, in microseconds.
const RATELIMIT_US: u64 = 1000;

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
        let share = Arc::new(Share::new(1));
        let vcpu = Vcpu::new(self.sys, Weak::new(), 0, CpuId(home), share);
        vcpu.sched.clear(u32::MAX);
        Arc::new(vcpu)
    }

    /// The same, with `weight`, in the queue.
    fn ready(&self, home: u32, weight: u16) -> Arc<Vcpu> {
        let vcpu = self.vcpu(home);
        vcpu.sched.share.set_weight(weight);
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
        self.choose_with(cpu, None)
    }

    /// The same of a CPU that has a vCPU's registers.
    fn choose_with(
        &self,
        cpu: u32,
        loaded: Option<&Arc<Vcpu>>,
    ) -> (Option<Arc<Vcpu>>, Option<u64>) {
        set_this_cpu(CpuId(cpu));
        match self
            .sys
            .sched
            .choose(self.hw, CpuId(cpu), loaded, self.hw.now())
        {
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

    /// Runs CPU 0 for as long as `slices` whole slices.
    fn run_slices(&self, slices: u64) {
        let over = self.hw.now() + slices * SLICE_US * 125 / 2;
        while self.hw.now() < over {
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
    assert_eq!(cpus.sys.sched.waiting(CpuId(0)), 2);
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
    assert_eq!(end, Some(cpus.hw.now() + RATELIMIT_US * 125 / 2));
    // From then on they take turns, as short as the rate limit allows.
    for _ in 0..3 {
        cpus.pass(RATELIMIT_US);
        let (_, end) = cpus.choose(0);
        assert_eq!(end, Some(cpus.hw.now() + RATELIMIT_US * 125 / 2));
    }
}

/// Who has run less has the CPU until it has run as much, but no longer than a slice.
#[test]
fn a_slice_is_as_long_as_the_lead() {
    for (weight, lead_us, slice_us) in [
        (256, 0, RATELIMIT_US),
        (256, 3000, 3000),
        (512, 3000, 6000),
        (1024, 3000, SLICE_US),
    ] {
        let cpus = Cpus::new(1);
        let (a, b) = (cpus.ready(0, 256), cpus.ready(0, weight));
        cpus.runs(0, &a);
        cpus.pass(RATELIMIT_US);
        let reached = a.sched.vruntime_at(cpus.hw.now());
        b.sched.set_vruntime(reached - lead_us * 125 / 2);
        let (chosen, end) = cpus.choose(0);
        assert!(Arc::ptr_eq(&chosen.unwrap(), &b));
        assert_eq!(end, Some(cpus.hw.now() + slice_us * 125 / 2));
    }
}

#[test]
fn waking_takes_an_idle_cpu() {
    let cpus = Cpus::new(3);
    let (a, b) = (cpus.ready(0, 256), cpus.vcpu(0));
    cpus.runs(0, &a);
    cpus.idles(1);
    set_this_cpu(CpuId(0));
    cpus.wake(&b);
    assert!(cpus.kicked(1) && cpus.resched(1) && !cpus.kicked(0));
    cpus.runs(1, &b);
}

#[test]
fn a_loaded_vcpu_wakes_where_it_is() {
    let cpus = Cpus::new(2);
    let (a, b) = (cpus.ready(0, 256), cpus.vcpu(0));
    cpus.runs(0, &a);
    a.sched.set_loaded(Some(CpuId(0)));
    cpus.block(&a);
    cpus.wake(&b);
    cpus.runs(0, &b);
    cpus.idles(1);
    a.sched.clear(pause::BLOCKED);
    cpus.wake(&a);
    assert_eq!(a.sched.home(), CpuId(0));
    cpus.idles(1);
    a.sched.set_loaded(None);
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
    cpus.pass(RATELIMIT_US / 2);
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
fn shares(weights: &[u16], slices: u64) -> Vec<u64> {
    let cpus = Cpus::new(1);
    let vcpus: Vec<_> = weights.iter().map(|&w| cpus.ready(0, w)).collect();
    cpus.run_slices(slices);
    let sum: u64 = weights.iter().map(|&w| u64::from(w)).sum();
    let all: u64 = vcpus.iter().map(|v| v.sched.run_ticks()).sum();
    let share =
        |(v, &w): (&Arc<Vcpu>, &u16)| v.sched.run_ticks() * 1000 * sum / (all * u64::from(w));
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
    mover.sched.set_home(CpuId(1));
    mover.sched.clear(pause::BLOCKED);
    cpus.wake(&other);
    cpus.runs(1, &other);
    cpus.wake(&mover);
    cpus.pass(SLICE_US + RATELIMIT_US);
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
    moved.sched.set_loaded(Some(CpuId(1)));
    // It runs where it may not any more.
    sched.set_affinity(cpus.hw, &moved, only(0));
    assert!(sched.wants_choice(CpuId(1)) && moved.sched.is_held());
    cpus.idles(1);
    assert_ne!(moved.sched.flags() & pause::EVICTED, 0);
    sched.finish_move(cpus.hw, &moved);
    assert_eq!(moved.sched.home(), CpuId(1));
    moved.sched.set_loaded(None);
    sched.finish_move(cpus.hw, &moved);
    assert_eq!((moved.sched.home(), moved.sched.flags()), (CpuId(0), 0));
    // Nobody takes it from where it must be.
    assert_eq!(moved.sched.place(), Place::Ready);
    cpus.idles(1);
    cpus.block(&busy);
    cpus.runs(0, &moved);
}

/// Pools by the rules of Xen.
#[test]
fn pools_are_made_and_changed() {
    let cpus = Cpus::new(4);
    let (sched, hw) = (&cpus.sys.sched, cpus.hw);
    let info = |id, cpus| Some(PoolInfo { id, cpus });
    assert_eq!(
        (sched.pool_from(0), sched.pool_from(1)),
        (info(0, 0xf), None)
    );
    assert_eq!(sched.create_pool(Some(0)), Err(Errno::Exist));
    assert_eq!(sched.create_pool(None), Ok(1));
    assert_eq!(sched.create_pool(Some(7)), Ok(7));
    assert_eq!(sched.create_pool(None), Ok(8));
    assert_eq!(sched.create_pool(Some(u32::MAX - 1)), Ok(u32::MAX - 1));
    assert_eq!(sched.create_pool(None), Ok(2));
    assert_eq!(sched.pool_from(3), info(7, 0));
    for id in [1, 2, u32::MAX - 1] {
        assert_eq!(sched.destroy_pool(id), Ok(()));
    }
    assert_eq!(sched.destroy_pool(1), Err(Errno::NoEnt));
    assert_eq!(sched.destroy_pool(0), Err(Errno::Busy));
    let add = |id, cpu: Option<u32>| sched.add_to_pool(hw, id, cpu.map(CpuId));
    let remove =
        |id, cpu: Option<u32>| sched.remove_from_pool(hw, id, cpu.map(CpuId), &[], id == 0);
    assert_eq!(add(7, Some(0)), Err(Errno::NoDev));
    assert_eq!(add(7, None), Err(Errno::NoDev));
    assert_eq!(add(7, Some(4)), Err(Errno::Inval));
    assert_eq!(add(55, Some(0)), Err(Errno::NoEnt));
    assert_eq!(remove(7, Some(0)), Err(Errno::AddrNotAvail));
    assert_eq!(remove(7, None), Err(Errno::Inval));
    assert_eq!(remove(0, Some(4)), Err(Errno::Inval));
    assert_eq!(remove(0, Some(0)), Err(Errno::Inval));
    assert_eq!(remove(0, None), Ok(()));
    assert_eq!((sched.free_cpus(), sched.pool_cpus(0)), (8, 7));
    assert_eq!(add(7, None), Ok(()));
    assert_eq!((sched.free_cpus(), sched.pool_cpus(7)), (0, 8));
    assert_eq!(sched.destroy_pool(7), Err(Errno::Busy));
    for limit in [99, 500_001, u32::MAX] {
        assert_eq!(sched.set_ratelimit_us(7, limit), Err(Errno::Inval));
    }
    assert_eq!(sched.set_ratelimit_us(7, 0), Ok(()));
    assert_eq!(sched.set_ratelimit_us(9, 0), Err(Errno::Srch));
    assert_eq!(
        (sched.ratelimit_us(7), sched.ratelimit_us(0)),
        (Ok(0), Ok(1000))
    );
}

/// A domain goes to another pool, a CPU out of its pool: what runs there stops.
#[test]
fn pools_are_kept_apart() {
    let cpus = Cpus::new(2);
    let (sched, hw) = (&cpus.sys.sched, cpus.hw);
    let (a, b) = (cpus.ready(0, 256), cpus.ready(1, 256));
    cpus.runs(0, &a);
    cpus.runs(1, &b);
    b.sched.set_loaded(Some(CpuId(1)));
    let pool = sched.create_pool(None).unwrap();
    let own = core::slice::from_ref(&b);
    assert_eq!(sched.move_to_pool(hw, own, pool), Err(Errno::NoDev));
    sched.set_affinity(hw, &b, 0b10);
    let both = [a.clone(), b.clone()];
    sched
        .remove_from_pool(hw, 0, Some(CpuId(1)), &both, true)
        .unwrap();
    assert_eq!(b.sched.affinity(), u128::MAX, "it could run nowhere");
    cpus.idles(1);
    assert!(sched.must_unload(CpuId(1), &b));
    b.sched.set_loaded(None);
    set_this_cpu(CpuId(1));
    sched.finish_move(hw, &b);
    assert_eq!((b.sched.place(), b.sched.home()), (Place::Ready, CpuId(0)));
    cpus.idles(1);
    // Into the pool that the CPU is in now.
    sched.add_to_pool(hw, pool, None).unwrap();
    b.sched.share.set_weight(7);
    sched.move_to_pool(hw, own, pool).unwrap();
    assert_eq!((b.sched.share.weight(), b.sched.share.pool()), (256, pool));
    cpus.runs(1, &b);
    cpus.block(&a);
    cpus.idles(0);
}

/// What was parked where the CPU goes on with another one is told to a CPU that idles.
#[test]
fn who_has_a_budget_again_is_told_to_who_idles() {
    let cpus = Cpus::new(2);
    let sched = &cpus.sys.sched;
    let (capped, other) = (cpus.vcpu(0), cpus.vcpu(0));
    sched.set_cap(cpus.hw, std::slice::from_ref(&capped), 10);
    cpus.wake(&capped);
    cpus.runs(0, &capped);
    cpus.pass(5000);
    cpus.idles(0);
    assert_eq!(capped.sched.flags(), pause::CAPPED);
    cpus.idles(1);
    cpus.pass(60_000);
    other.sched.raise_vruntime(0);
    cpus.wake(&other);
    // CPU 0 takes the other one just before it sees the new budget.
    capped.sched.set_home(CpuId(1));
    cpus.runs(0, &other);
    capped.sched.set_home(CpuId(0));
    cpus.pass(100);
    cpus.resched(1);
    cpus.runs(0, &other);
    assert_eq!(capped.sched.place(), Place::Ready);
    assert!(cpus.resched(1) && cpus.kicked(1));
    cpus.runs(1, &capped);
}

/// A CPU leaves the pool with one that waits there for its budget, and may be on one other alone.
#[test]
fn who_is_parked_on_a_cpu_that_leaves_is_parked_elsewhere() {
    let cpus = Cpus::new(3);
    let sched = &cpus.sys.sched;
    let capped = cpus.vcpu(2);
    sched.set_cap(cpus.hw, std::slice::from_ref(&capped), 10);
    sched.set_affinity(cpus.hw, &capped, 0b110);
    cpus.wake(&capped);
    cpus.runs(2, &capped);
    cpus.pass(5000);
    cpus.idles(2);
    assert_eq!(capped.sched.flags(), pause::CAPPED);
    for cpu in [0, 1] {
        cpus.idles(cpu);
    }
    let inside = std::slice::from_ref(&capped);
    sched
        .remove_from_pool(cpus.hw, 0, Some(CpuId(2)), inside, true)
        .unwrap();
    cpus.idles(2);
    assert!(cpus.resched(1));
    cpus.idles(1);
    assert_eq!(capped.sched.home(), CpuId(1));
    cpus.pass(60_000);
    cpus.runs(1, &capped);
}

#[test]
fn a_look_parks_all_of_a_domain() {
    let cpus = Cpus::new(1);
    let share = Arc::new(Share::new(8));
    let vcpu = |id| Vcpu::new(cpus.sys, Weak::new(), id, CpuId(0), share.clone());
    let all: Vec<_> = (0..8).map(|id| Arc::new(vcpu(id))).collect();
    cpus.sys.sched.set_cap(cpus.hw, &all, 10);
    for vcpu in &all {
        vcpu.sched.clear(u32::MAX);
        cpus.wake(vcpu);
    }
    assert!(!share.is_used_up(cpus.hw.now(), cpus.sys.sched.times.period));
    share.give_back(0, 1 << 32);
    cpus.idles(0);
    let parked = |v: &&Arc<Vcpu>| v.sched.flags() == pause::CAPPED && v.sched.place() == Place::Out;
    assert_eq!(all.iter().filter(parked).count(), 8);
}

/// One that rests may be about to run without the queue's lock: its CPU is told of a cap.
#[test]
fn a_cap_reaches_one_that_rests() {
    let cpus = Cpus::new(1);
    let a = cpus.ready(0, 256);
    cpus.runs(0, &a);
    a.sched.set_loaded(Some(CpuId(0)));
    cpus.block(&a);
    assert!(cpus.choose_with(0, Some(&a)).0.is_none());
    assert_eq!(a.sched.place(), Place::Resting);
    assert!(!cpus.resched(0));
    cpus.sys
        .sched
        .set_cap(cpus.hw, std::slice::from_ref(&a), 10);
    assert!(cpus.resched(0));
}

/// One that runs alone goes where it likes to be.
#[test]
fn a_preference_moves_one_that_does_not_wait() {
    let cpus = Cpus::new(2);
    let sched = &cpus.sys.sched;
    let a = cpus.ready(0, 256);
    cpus.runs(0, &a);
    a.sched.set_loaded(Some(CpuId(0)));
    sched.set_preference(cpus.hw, &a, 0b10);
    assert!(sched.wants_choice(CpuId(0)));
    assert!(cpus.choose_with(0, Some(&a)).0.is_none());
    assert!(sched.must_unload(CpuId(0), &a));
    a.sched.set_loaded(None);
    sched.finish_move(cpus.hw, &a);
    cpus.runs(1, &a);
}

/// A move to one pool that is overtaken by a move to another one ends there.
#[test]
fn a_second_move_counts() {
    let cpus = Cpus::new(3);
    let sched = &cpus.sys.sched;
    let pools: Vec<_> = [1, 2]
        .map(|cpu| {
            let pool = sched.create_pool(None).unwrap();
            let free = Some(CpuId(cpu));
            sched.remove_from_pool(cpus.hw, 0, free, &[], true).unwrap();
            cpus.idles(cpu);
            sched.add_to_pool(cpus.hw, pool, free).unwrap();
            cpus.idles(cpu);
            pool
        })
        .into();
    let a = cpus.ready(0, 256);
    cpus.runs(0, &a);
    a.sched.set_loaded(Some(CpuId(0)));
    for &pool in &pools {
        let one = std::slice::from_ref(&a);
        sched.move_to_pool(cpus.hw, one, pool).unwrap();
    }
    assert!(cpus.choose_with(0, Some(&a)).0.is_none());
    a.sched.set_loaded(None);
    sched.finish_move(cpus.hw, &a);
    assert_eq!((a.sched.home(), a.sched.flags()), (CpuId(2), 0));
    cpus.runs(2, &a);
}
