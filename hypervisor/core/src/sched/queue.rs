// SPDX-License-Identifier: MIT OR Apache-2.0
//! One pool's run queue, which all its CPUs serve: so that shares are right over all of them.
//!
//! A vCPU's `vruntime` is how long it has run, scaled by its weight; a CPU takes the one that has
//! run least. `time` is the vruntime that the queue has come to: of the last one that was taken
//! while others waited. Who comes back from a wait, or from running alone, is put near it, so that
//! nothing is saved up for long, nor owed.

use super::place::Times;
use super::state::{Place, SchedState, pause};
use crate::addr::CpuId;
use crate::domain::vcpu::Vcpu;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

/// One CPU that serves the queue.
pub(super) struct Slot {
    pub(super) cpu: CpuId,
    pub(super) current: Option<Arc<Vcpu>>,
    /// When the current one was taken.
    pub(super) started: u64,
    /// What it may use of its domain's budget.
    quota: Option<u64>,
    /// Its time is limited: another one waits.
    pub(super) timed: bool,
    pub(super) idle: bool,
    /// It was told to choose, for one that waits.
    pub(super) told: bool,
    yielded: bool,
}

impl Slot {
    /// The current one's vruntime as of `now`.
    pub(super) fn vruntime(&self, now: u64) -> Option<u64> {
        let sched = &self.current.as_ref()?.sched;
        let ran = sched.weighted(now.saturating_sub(self.started));
        Some(sched.vruntime().saturating_add(ran))
    }
}

/// What a CPU is to do.
#[derive(Default)]
pub(super) struct Choice {
    pub(super) vcpu: Option<Arc<Vcpu>>,
    /// It must choose again by then.
    pub(super) until: Option<u64>,
    /// CPUs that must choose, too, a bit each.
    pub(super) tell: u128,
}

/// The vCPUs that are ready, those that wait for their domain's budget, and the CPUs.
pub(super) struct RunQueue {
    pub(super) ready: Vec<Arc<Vcpu>>,
    parked: Vec<Arc<Vcpu>>,
    pub(super) slots: Vec<Slot>,
    pub(super) time: u64,
    pub(super) ratelimit: u64,
}

impl RunQueue {
    pub(super) const fn new() -> Self {
        Self {
            ready: Vec::new(),
            parked: Vec::new(),
            slots: Vec::new(),
            // Far enough from 0 for all that is before it.
            time: 1 << 48,
            ratelimit: 0,
        }
    }

    /// `cpu` serves the queue from now on.
    pub(super) fn join(&mut self, cpu: CpuId) {
        self.slots.push(Slot {
            cpu,
            current: None,
            started: 0,
            quota: None,
            timed: false,
            idle: false,
            told: false,
            yielded: false,
        });
    }

    /// `cpu` serves it no longer. Returns who must choose for what it leaves.
    pub(super) fn leave(&mut self, cpu: CpuId, now: u64, times: &Times) -> u128 {
        self.stop_current(cpu, now, times);
        self.slots.retain(|slot| slot.cpu != cpu);
        if let Some(other) = self.slots.first() {
            for vcpu in self.parked.iter().filter(|v| v.sched.home() == cpu) {
                vcpu.sched.home.store(other.cpu.0, Ordering::Relaxed);
            }
        }
        let all = |set, slot: &Slot| set | super::bit(slot.cpu);
        self.slots.iter().fold(0, all)
    }

    pub(super) fn slot(&mut self, cpu: CpuId) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.cpu == cpu)
    }

    /// Takes in a vCPU that was out.
    pub(super) fn admit(&mut self, vcpu: &Arc<Vcpu>, now: u64, times: &Times) {
        let sched = &vcpu.sched;
        let floor = self.time_for(sched, now).saturating_sub(times.slice / 2);
        self.put_near(sched, floor, times);
        sched.set_place(Place::Ready);
        self.ready.push(vcpu.clone());
    }

    /// The time that counts for a vCPU that comes back: the queue's; where it may run on some
    /// CPUs only, these may not have come so far.
    fn time_for(&self, sched: &SchedState, now: u64) -> u64 {
        if !self.is_bound(sched) {
            return self.time;
        }
        let own = |slot: &&Slot| sched.affinity.contains(slot.cpu);
        let currents = self
            .slots
            .iter()
            .filter(own)
            .filter_map(|s| s.vruntime(now));
        currents.fold(self.time, u64::min)
    }

    /// Brings its vruntime to `floor` at least, and not much more than a slice of its own after the
    /// queue's time.
    fn put_near(&self, sched: &SchedState, floor: u64, times: &Times) {
        let ceiling = self.time.saturating_add(times.about_a_slice(sched));
        sched.set_vruntime(sched.vruntime().min(ceiling).max(floor));
    }

    /// True if it may not run on all the CPUs of the queue.
    fn is_bound(&self, sched: &SchedState) -> bool {
        let may = |slot: &Slot| sched.affinity.contains(slot.cpu);
        !self.slots.iter().all(may)
    }

    /// Chooses for `this`.
    pub(super) fn choose(&mut self, this: CpuId, now: u64, times: &Times) -> Choice {
        let unparked = self.unpark(this, now, times);
        let Some(slot) = self.slot(this) else {
            return Choice::default();
        };
        slot.told = false;
        let expired = slot.current.is_some() && now.saturating_sub(slot.started) >= times.slice;
        let yielder = slot.current.as_ref().filter(|_| slot.yielded).cloned();
        if let Some(choice) = self.go_on(this, now) {
            return choice;
        }
        self.stop_current(this, now, times);
        let vcpu = self.take_first(this, now, times, yielder.as_ref());
        let until = match &vcpu {
            Some(vcpu) => self.start(this, vcpu, now, times),
            None => u64::MAX,
        };
        if let Some(slot) = self.slot(this) {
            slot.idle = vcpu.is_none();
        }
        let spreads = (unparked || expired) && !self.ready.is_empty();
        Choice {
            vcpu,
            until: self.next_deadline(this, until),
            tell: if spreads { self.spread(expired) } else { 0 },
        }
    }

    /// The current vCPU of `this`, if it may go on and has not run for as long as it may
    /// undisturbed.
    fn go_on(&mut self, this: CpuId, now: u64) -> Option<Choice> {
        let (contended, ratelimit) = (self.others_wait(this), self.ratelimit);
        let slot = self.slot(this)?;
        let vcpu = slot.current.as_ref()?;
        let quota = slot.quota.unwrap_or(u64::MAX);
        let ran = now.saturating_sub(slot.started);
        let may = vcpu.sched.flags() == 0 && vcpu.sched.affinity.contains(this);
        if !may || slot.yielded || ran >= ratelimit.min(quota) {
            return None;
        }
        let vcpu = vcpu.clone();
        slot.timed = contended;
        let most = if contended {
            ratelimit.min(quota)
        } else {
            quota
        };
        let until = slot.started.saturating_add(most);
        Some(Choice {
            vcpu: Some(vcpu),
            until: self.next_deadline(this, until),
            tell: 0,
        })
    }

    /// `this` runs `vcpu` from now on; until when.
    fn start(&mut self, this: CpuId, vcpu: &Arc<Vcpu>, now: u64, times: &Times) -> u64 {
        let contended = self.others_wait(this);
        if contended {
            self.pull_up(&vcpu.sched, times);
        }
        vcpu.sched.home.store(this.0, Ordering::Relaxed);
        vcpu.sched.set_place(Place::Running);
        let quota = vcpu.sched.share.take(times.period);
        if let Some(slot) = self.slot(this) {
            slot.current = Some(vcpu.clone());
            slot.started = now;
            slot.quota = quota;
            slot.timed = contended;
        }
        let slice = if contended { times.slice } else { u64::MAX };
        now.saturating_add(slice.min(quota.unwrap_or(u64::MAX)))
    }

    fn others_wait(&self, this: CpuId) -> bool {
        self.ready.iter().any(|v| v.sched.affinity.contains(this))
    }

    /// Accounts what `this` runs and puts it back among the ready, or out if it may not run.
    fn stop_current(&mut self, this: CpuId, now: u64, times: &Times) {
        let Some(slot) = self.slot(this) else { return };
        (slot.yielded, slot.timed) = (false, false);
        let (started, quota) = (slot.started, slot.quota.take());
        let Some(vcpu) = slot.current.take() else {
            return;
        };
        let (sched, ran) = (&vcpu.sched, now.saturating_sub(started));
        sched.run_ticks.fetch_add(ran, Ordering::Relaxed);
        sched.set_vruntime(sched.vruntime().saturating_add(sched.weighted(ran)));
        if let Some(quota) = quota {
            sched.share.give_back(quota, ran);
        }
        if sched.flags() != 0 {
            sched.set_place(Place::Out);
            return;
        }
        self.put_near(sched, 0, times);
        sched.set_place(Place::Ready);
        self.ready.push(vcpu);
    }

    /// Takes the vCPU out of the ready that has run least, of those that `this` may run. Where it
    /// comes from and where it likes to be weighs a little, `yielder` only counts if it is alone.
    fn take_first(
        &mut self,
        this: CpuId,
        now: u64,
        times: &Times,
        yielder: Option<&Arc<Vcpu>>,
    ) -> Option<Arc<Vcpu>> {
        let key = |vcpu: &Arc<Vcpu>| match yielder {
            Some(yielder) if Arc::ptr_eq(yielder, vcpu) => u64::MAX,
            _ => {
                let handicap = times.handicap(&vcpu.sched, this);
                vcpu.sched.vruntime().saturating_add(handicap)
            }
        };
        let may = |v: &Arc<Vcpu>| v.sched.affinity.contains(this) && v.sched.is_free_for(this);
        loop {
            let ready = self.ready.iter().enumerate().filter(|(_, v)| may(v));
            let (at, _) = ready.min_by_key(|(_, v)| key(v))?;
            let vcpu = self.ready.remove(at);
            if vcpu.sched.flags() != 0 {
                vcpu.sched.set_place(Place::Out);
                continue;
            }
            if vcpu.sched.share.is_used_up(now, times.period) {
                vcpu.sched.set(pause::CAPPED);
                vcpu.sched.set_place(Place::Out);
                vcpu.sched.home.store(this.0, Ordering::Relaxed);
                self.parked.push(vcpu);
                continue;
            }
            return Some(vcpu);
        }
    }

    /// `chosen` runs on `this` while others wait: the queue's time is not before its vruntime. If it
    /// is far behind, it is pulled up; those near it that may run nowhere else than it as far, so that
    /// they keep their distances.
    fn pull_up(&mut self, chosen: &SchedState, times: &Times) {
        let vruntime = chosen.vruntime();
        self.time = self.time.max(vruntime);
        let lag = times.own_slice(chosen);
        let behind = self.time.saturating_sub(lag).saturating_sub(vruntime);
        if behind == 0 {
            return;
        }
        chosen.set_vruntime(vruntime.saturating_add(behind));
        if !self.is_bound(chosen) {
            return;
        }
        let all = self
            .slots
            .iter()
            .fold(0, |set, slot| set | super::bit(slot.cpu));
        let elsewhere = all & !chosen.affinity();
        let currents = self.slots.iter().filter_map(|slot| slot.current.as_ref());
        for vcpu in self.ready.iter().chain(currents) {
            let sched = &vcpu.sched;
            let near = vruntime.saturating_add(times.about_a_slice(sched));
            if sched.affinity() & elsewhere == 0 && sched.vruntime() <= near {
                sched.set_vruntime(sched.vruntime().saturating_add(behind));
            }
        }
    }

    /// The sooner of `until` and the next budget of a vCPU that `this` has parked; `u64::MAX` is
    /// never.
    fn next_deadline(&self, this: CpuId, until: u64) -> Option<u64> {
        let own = self.parked.iter().filter(|v| v.sched.home() == this);
        let refills = own.map(|v| v.sched.share.period_end());
        let until = refills.fold(until, u64::min);
        (until != u64::MAX).then_some(until)
    }

    /// Lets the vCPUs that `this` has parked wait for a CPU again if their domain has a budget. True
    /// if any does.
    fn unpark(&mut self, this: CpuId, now: u64, times: &Times) -> bool {
        let due =
            |v: &Arc<Vcpu>| v.sched.home() == this && !v.sched.share.is_used_up(now, times.period);
        self.unpark_if(now, times, due)
    }

    fn unpark_if(&mut self, now: u64, times: &Times, due: impl Fn(&Arc<Vcpu>) -> bool) -> bool {
        let mut any = false;
        let mut at = 0;
        while let Some(vcpu) = self.parked.get(at) {
            if !due(vcpu) {
                at = at.saturating_add(1);
                continue;
            }
            let vcpu = self.parked.swap_remove(at);
            if vcpu.sched.clear(pause::CAPPED) && vcpu.sched.place() == Place::Out {
                self.admit(&vcpu, now, times);
                any = true;
            }
        }
        any
    }

    /// As [`unpark`](Self::unpark), for one whose cap has changed. True if it waits for a CPU now.
    pub(super) fn unpark_one(&mut self, vcpu: &Arc<Vcpu>, now: u64, times: &Times) -> bool {
        self.unpark_if(now, times, |v| Arc::ptr_eq(v, vcpu))
    }

    /// CPUs that are to take part in what is waited for: those that idle; with `busy` those, too,
    /// whose current one runs without a limit.
    fn spread(&mut self, busy: bool) -> u128 {
        let mut tell = 0;
        for slot in &mut self.slots {
            let useful = slot.idle || busy && !slot.timed;
            let may = |v: &Arc<Vcpu>| {
                v.sched.affinity.contains(slot.cpu) && v.sched.is_free_for(slot.cpu)
            };
            if useful && !slot.told && self.ready.iter().any(may) {
                slot.told = true;
                tell |= super::bit(slot.cpu);
            }
        }
        tell
    }

    /// `this` is to prefer others to its current one, if there are any. False if not.
    pub(super) fn yield_current(&mut self, this: CpuId) -> bool {
        let others = self.others_wait(this);
        if others && let Some(slot) = self.slot(this) {
            slot.yielded = true;
        }
        others
    }

    /// Takes `vcpu` out if it is among the ready or the parked.
    pub(super) fn take_out(&mut self, vcpu: &Arc<Vcpu>) -> Option<Arc<Vcpu>> {
        let is = |v: &Arc<Vcpu>| Arc::ptr_eq(v, vcpu);
        if let Some(at) = self.parked.iter().position(is) {
            vcpu.sched.clear(pause::CAPPED);
            return Some(self.parked.swap_remove(at));
        }
        let at = self.ready.iter().position(is)?;
        vcpu.sched.set_place(Place::Out);
        Some(self.ready.remove(at))
    }
}
