// SPDX-License-Identifier: MIT OR Apache-2.0
//! One pool's run queue, which all its CPUs serve: so that shares are right over all of them.
//!
//! A vCPU's `vruntime` is how long it has run, scaled by its weight; a CPU takes the one that has
//! run least. `time` is the vruntime that the queue has come to: of the last one that was taken
//! while others waited. Who comes back from a wait, or from running alone, is put near it, so that
//! nothing is saved up for long, nor owed.

use super::Cpu;
use super::place::Moment;
use super::share::Share;
use super::state::{Place, SchedState, pause};
use crate::addr::CpuId;
use crate::domain::vcpu::Vcpu;
use alloc::collections::TryReserveError;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// One CPU that serves the queue.
pub(super) struct Slot {
    pub(super) cpu: CpuId,
    pub(super) current: Option<Arc<Vcpu>>,
}

impl Slot {
    /// Nothing runs there.
    pub(super) fn is_idle(&self) -> bool {
        let rests = |vcpu: &Arc<Vcpu>| vcpu.sched.place() == Place::Resting;
        self.current.as_ref().is_none_or(rests)
    }

    /// The current one's vruntime as of `now`.
    pub(super) fn vruntime(&self, now: u64) -> u64 {
        let current = self.current.as_ref();
        current.map_or(u64::MAX, |vcpu| vcpu.sched.vruntime_at(now))
    }
}

/// What is seen of a queue without its lock, under which it changes.
pub(super) struct Seen {
    /// vCPUs that wait for a CPU or a budget.
    pub(super) waiting: AtomicU32,
    /// Those of them that wait for a CPU.
    pub(super) ready: AtomicU32,
    /// The vruntime that the queue has come to.
    pub(super) time: AtomicU64,
}

impl Seen {
    pub(super) const fn new() -> Self {
        Self {
            waiting: AtomicU32::new(0),
            ready: AtomicU32::new(0),
            // Far enough from 0 for all that is before it.
            time: AtomicU64::new(1 << 48),
        }
    }
}

/// Why a CPU chooses.
#[derive(Clone, Copy)]
pub(super) struct Why {
    /// The time of its current one is over.
    pub(super) expired: bool,
    /// Its current one lets others pass.
    pub(super) yields: bool,
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
    pub(super) ratelimit: u64,
    seen: Arc<Seen>,
}

impl RunQueue {
    pub(super) const fn new(seen: Arc<Seen>) -> Self {
        Self {
            ready: Vec::new(),
            parked: Vec::new(),
            slots: Vec::new(),
            ratelimit: 0,
            seen,
        }
    }

    /// Lets so many vCPUs wait here without more memory.
    pub(super) fn make_room(&mut self, vcpus: usize) -> Result<(), TryReserveError> {
        self.ready
            .try_reserve(vcpus.saturating_sub(self.ready.len()))?;
        self.parked
            .try_reserve(vcpus.saturating_sub(self.parked.len()))
    }

    /// `cpu` serves the queue from now on.
    pub(super) fn join(&mut self, cpu: CpuId) {
        self.slots.push(Slot { cpu, current: None });
    }

    /// `cpu` serves it no longer. Returns who must choose for what it leaves.
    pub(super) fn leave(&mut self, cpu: CpuId, at: Moment<'_>) -> u128 {
        if let Some(slot) = self.slots.iter().position(|slot| slot.cpu == cpu) {
            self.stop_current(slot, at);
            self.slots.remove(slot);
        }
        // Those that it has parked: the others park them again where they may run.
        self.unpark_if(at, |vcpu| vcpu.sched.home() == cpu);
        let all = |set, slot: &Slot| set | super::bit(slot.cpu);
        self.slots.iter().fold(0, all)
    }

    pub(super) fn time(&self) -> u64 {
        self.seen.time.load(Ordering::Relaxed)
    }

    /// Shows how many wait. Before it is decided whom to tell.
    fn show_waiting(&self) {
        let waiting = self.ready.len().saturating_add(self.parked.len());
        self.seen.waiting.store(waiting as u32, Ordering::SeqCst);
        let ready = self.ready.len() as u32;
        self.seen.ready.store(ready, Ordering::Relaxed);
    }

    fn push_ready(&mut self, vcpu: Arc<Vcpu>) {
        vcpu.sched.set_place(Place::Ready);
        self.ready.push(vcpu);
        self.show_waiting();
    }

    /// Takes in a vCPU that was out.
    pub(super) fn admit(&mut self, vcpu: &Arc<Vcpu>, at: Moment<'_>) {
        self.put_near(&vcpu.sched, self.floor(&vcpu.sched, at), at);
        vcpu.sched.set_woken(at.now);
        self.push_ready(vcpu.clone());
    }

    /// The least vruntime of one that comes back: half a slice before the queue's time. Where it may
    /// run on some CPUs only, these may not have come so far.
    fn floor(&self, sched: &SchedState, at: Moment<'_>) -> u64 {
        let mut time = self.time();
        if self.is_bound(sched) {
            let own = |slot: &&Slot| sched.affinity.contains(slot.cpu) && !slot.is_idle();
            let currents = self.slots.iter().filter(own).map(|s| s.vruntime(at.now));
            time = currents.fold(time, u64::min);
        }
        time.saturating_sub(at.times.slice / 2)
    }

    /// Brings its vruntime to `floor` at least, and not much more than a slice of its own after the
    /// queue's time.
    fn put_near(&self, sched: &SchedState, floor: u64, at: Moment<'_>) {
        let ceiling = self.time().saturating_add(at.times.about_a_slice(sched));
        sched.set_vruntime(sched.vruntime().min(ceiling).max(floor));
    }

    /// True if it may not run on all the CPUs of the queue.
    fn is_bound(&self, sched: &SchedState) -> bool {
        let may = |slot: &Slot| sched.affinity.contains(slot.cpu);
        !self.slots.iter().all(may)
    }

    /// Chooses for `this`, whose current one has `expired` or `yields`.
    pub(super) fn choose(&mut self, this: &Cpu, id: CpuId, at: Moment<'_>, mut why: Why) -> Choice {
        let unparked = !self.parked.is_empty() && self.unpark(id, at);
        why.yields = why.yields && self.ready.iter().any(|vcpu| may_take(vcpu, id));
        let Some(slot) = self.slots.iter().position(|slot| slot.cpu == id) else {
            return Choice::default();
        };
        if let Some(mut choice) = self.go_on(this, slot, at, why) {
            if unparked {
                choice.tell = self.spread(false, at);
            }
            return choice;
        }
        let current = self.slots.get(slot).and_then(|slot| slot.current.as_ref());
        let yielder = current.filter(|_| why.yields).cloned();
        let came_back = self.stop_current(slot, at);
        let vcpu = self.take_first(id, at, yielder.as_ref());
        let until = match &vcpu {
            Some(vcpu) => self.start(this, id, vcpu, at),
            None => u64::MAX,
        };
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.current.clone_from(&vcpu);
        }
        let spreads = (unparked || came_back || why.expired) && !self.ready.is_empty();
        Choice {
            vcpu,
            until: self.next_deadline(id, until),
            tell: if spreads {
                self.spread(why.expired, at)
            } else {
                0
            },
        }
    }

    /// The current vCPU of `this`, if it may go on and has not run for as long as it may
    /// undisturbed.
    fn go_on(&self, this: &Cpu, slot: usize, at: Moment<'_>, why: Why) -> Option<Choice> {
        let slot = self.slots.get(slot)?;
        let vcpu = slot.current.as_ref()?;
        let sched = &vcpu.sched;
        let (quota, ran) = (sched.quota(), sched.runs_for(at.now));
        let runs = sched.place() == Place::Running && sched.flags() == 0;
        let limited = sched.share.cap() != 0 && quota == u64::MAX;
        let may = runs && !limited && sched.affinity.contains(slot.cpu);
        if !may || why.yields || ran >= self.ratelimit.min(quota) {
            return None;
        }
        let started = at.now.saturating_sub(ran);
        let mut until = quota;
        if self.others_wait(slot.cpu) {
            until = quota.min(self.ratelimit);
            this.set_until(started.saturating_add(until));
        }
        Some(Choice {
            vcpu: Some(vcpu.clone()),
            until: self.next_deadline(slot.cpu, started.saturating_add(until)),
            tell: 0,
        })
    }

    /// `this` runs `vcpu` from now on; until when.
    fn start(&self, this: &Cpu, id: CpuId, vcpu: &Arc<Vcpu>, at: Moment<'_>) -> u64 {
        let sched = &vcpu.sched;
        let mut most = u64::MAX;
        let others_wait = self.others_wait(id);
        if others_wait {
            self.pull_up(sched, at);
            most = self.time_before_others(id, sched, at);
        }
        let quota = sched.share.take(at.times.period);
        sched.set_quota(quota);
        sched.start_clock(at.now);
        let most = most.min(quota.unwrap_or(u64::MAX));
        let until = at.now.saturating_add(most);
        if others_wait {
            this.set_until(until);
        }
        until
    }

    /// How long `chosen` runs on `cpu` until one that waits has run less, but not shorter than the
    /// rate limit nor longer than a slice.
    fn time_before_others(&self, cpu: CpuId, chosen: &SchedState, at: Moment<'_>) -> u64 {
        let key = |sched: &SchedState| {
            let handicap = at.times.handicap(sched, cpu);
            sched.vruntime().saturating_add(handicap)
        };
        let others = self.ready.iter().filter(|v| may_take(v, cpu));
        let least = others.map(|v| key(&v.sched)).min();
        let lead = least.map_or(u64::MAX, |least| least.saturating_sub(key(chosen)));
        let most = chosen.unweighted(lead);
        let least = self.ratelimit.max(at.times.least);
        most.min(at.times.slice).max(least)
    }

    fn others_wait(&self, this: CpuId) -> bool {
        self.ready.iter().any(|v| v.sched.affinity.contains(this))
    }

    /// Accounts what a CPU runs and puts it back among the ready, or out if it may not run. True if
    /// it rested and is among the ready now.
    fn stop_current(&mut self, slot: usize, at: Moment<'_>) -> bool {
        let current = self.slots.get_mut(slot).and_then(|s| s.current.take());
        let Some(vcpu) = current else {
            return false;
        };
        let sched = &vcpu.sched;
        let ran = sched.stop_clock(at.now);
        sched.return_quota(ran);
        let rested = sched.place() == Place::Resting;
        if sched.flags() != 0 {
            sched.set_place(Place::Out);
            // Whoever cleared the last flag before saw it at another place and did nothing.
            if sched.flags() != 0 {
                return false;
            }
        }
        let floor = if rested { self.floor(sched, at) } else { 0 };
        self.put_near(sched, floor, at);
        self.push_ready(vcpu);
        rested
    }

    /// Takes the vCPU out of the ready that has run least, of those that `this` may run: it runs
    /// there. Where it comes from and where it likes to be weighs a little, `yielder` only counts if
    /// it is alone.
    fn take_first(
        &mut self,
        this: CpuId,
        at: Moment<'_>,
        yielder: Option<&Arc<Vcpu>>,
    ) -> Option<Arc<Vcpu>> {
        let key = |vcpu: &Arc<Vcpu>| match yielder {
            Some(yielder) if Arc::ptr_eq(yielder, vcpu) => u64::MAX,
            _ => {
                let handicap = at.times.handicap(&vcpu.sched, this);
                vcpu.sched.vruntime().saturating_add(handicap)
            }
        };
        loop {
            let ready = self.ready.iter().enumerate();
            let ready = ready.filter(|(_, vcpu)| may_take(vcpu, this));
            let (n, vcpu) = ready.min_by_key(|(_, vcpu)| key(vcpu))?;
            let sched = &vcpu.sched;
            if sched.share.is_used_up(at.now, at.times.period) {
                let share = sched.share.clone();
                self.park(&share, this);
                continue;
            }
            // At home here before its flags are looked at: who sets one later kicks this CPU.
            sched.set_home(this);
            sched.set_place(Place::Running);
            if sched.flags() != 0 {
                sched.set_place(Place::Out);
                if sched.flags() == 0 {
                    // As in `stop_current`.
                    sched.set_place(Place::Ready);
                    continue;
                }
            }
            let runs = sched.place() == Place::Running;
            let vcpu = self.ready.remove(n);
            self.show_waiting();
            if runs {
                return Some(vcpu);
            }
        }
    }

    /// Those of a domain without budget that `this` may run wait there for the next one.
    fn park(&mut self, share: &Arc<Share>, this: CpuId) {
        let of_domain = |v: &mut Arc<Vcpu>| Arc::ptr_eq(&v.sched.share, share) && may_take(v, this);
        for vcpu in self.ready.extract_if(.., of_domain) {
            vcpu.sched.set(pause::CAPPED);
            vcpu.sched.set_place(Place::Out);
            vcpu.sched.set_home(this);
            self.parked.push(vcpu);
        }
        self.show_waiting();
    }

    /// `chosen` runs while others wait: the queue's time is not before its vruntime. If it is far
    /// behind, it is pulled up; those near it that may run nowhere else than it as far, so that they
    /// keep their distances.
    fn pull_up(&self, chosen: &SchedState, at: Moment<'_>) {
        let vruntime = chosen.vruntime();
        let time = self.time().max(vruntime);
        self.seen.time.store(time, Ordering::Relaxed);
        let lag = at.times.own_slice(chosen);
        let behind = time.saturating_sub(lag).saturating_sub(vruntime);
        if behind == 0 {
            return;
        }
        chosen.add_vruntime(behind);
        if !self.is_bound(chosen) {
            return;
        }
        let all = |set, slot: &Slot| set | super::bit(slot.cpu);
        let elsewhere = self.slots.iter().fold(0, all) & !chosen.affinity();
        let currents = self.slots.iter().filter_map(|slot| slot.current.as_ref());
        for vcpu in self.ready.iter().chain(currents) {
            let sched = &vcpu.sched;
            let near = vruntime.saturating_add(at.times.about_a_slice(sched));
            if sched.affinity() & elsewhere == 0 && sched.vruntime() <= near {
                sched.add_vruntime(behind);
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
    fn unpark(&mut self, this: CpuId, at: Moment<'_>) -> bool {
        let due = |v: &Arc<Vcpu>| {
            v.sched.home() == this && !v.sched.share.is_used_up(at.now, at.times.period)
        };
        self.unpark_if(at, due)
    }

    fn unpark_if(&mut self, at: Moment<'_>, due: impl Fn(&Arc<Vcpu>) -> bool) -> bool {
        let mut any = false;
        let mut n = 0;
        while let Some(vcpu) = self.parked.get(n) {
            if !due(vcpu) {
                n = n.saturating_add(1);
                continue;
            }
            let vcpu = self.parked.swap_remove(n);
            if vcpu.sched.clear(pause::CAPPED) && vcpu.sched.place() == Place::Out {
                self.admit(&vcpu, at);
                any = true;
            }
        }
        self.show_waiting();
        any
    }

    /// As [`unpark`](Self::unpark), for one whose cap has changed. True if it waits for a CPU now.
    pub(super) fn unpark_one(&mut self, vcpu: &Arc<Vcpu>, at: Moment<'_>) -> bool {
        self.unpark_if(at, |v| Arc::ptr_eq(v, vcpu))
    }

    /// CPUs that are to take part in what is waited for: those that idle; with `busy` those, too,
    /// whose current one runs without a limit.
    fn spread(&self, busy: bool, at: Moment<'_>) -> u128 {
        let mut tell = 0;
        for slot in &self.slots {
            let useful = slot.is_idle() || busy && !at.is_timed(slot.cpu);
            let may = |v: &Arc<Vcpu>| may_take(v, slot.cpu);
            if useful && !at.is_told(slot.cpu) && self.ready.iter().any(may) {
                at.tell(slot.cpu);
                tell |= super::bit(slot.cpu);
            }
        }
        tell
    }

    /// Takes `vcpu` out if it is among the ready or the parked.
    pub(super) fn take_out(&mut self, vcpu: &Arc<Vcpu>) -> Option<Arc<Vcpu>> {
        let is = |v: &Arc<Vcpu>| Arc::ptr_eq(v, vcpu);
        let taken = if let Some(n) = self.parked.iter().position(is) {
            vcpu.sched.clear(pause::CAPPED);
            self.parked.swap_remove(n)
        } else {
            let n = self.ready.iter().position(is)?;
            vcpu.sched.set_place(Place::Out);
            self.ready.remove(n)
        };
        self.show_waiting();
        Some(taken)
    }
}

/// True if `cpu` may take `vcpu`, which is ready.
fn may_take(vcpu: &Vcpu, cpu: CpuId) -> bool {
    vcpu.sched.affinity.contains(cpu) && vcpu.sched.is_free_for(cpu)
}
