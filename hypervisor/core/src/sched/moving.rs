// SPDX-License-Identifier: MIT OR Apache-2.0
//! vCPUs go where they may run, domains into other pools, CPUs to other queues; caps change.

use super::Scheduler;
use super::state::{Place, SchedState, bit, pause};
use crate::addr::CpuId;
use crate::domain::vcpu::Vcpu;
use crate::hw::Hw;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

impl Scheduler {
    /// Lets `vcpu` run on `cpus` alone, as far as they are of its kind; one of these is in its pool.
    /// If it is elsewhere it moves, once its CPU has put its registers away
    /// ([`finish_move`](Self::finish_move)).
    pub fn set_affinity(&self, hw: &dyn Hw, vcpu: &Arc<Vcpu>, cpus: u128) {
        // Under the lock it has one home: none takes it from a place where it may not run now.
        let stays = self.with_queue(vcpu, |_| {
            vcpu.sched.allow(cpus);
            vcpu.sched.affinity.contains(vcpu.sched.home())
        });
        match stays {
            true => self.offer(hw, vcpu),
            false => self.begin_move(hw, vcpu),
        }
    }

    /// Lets `vcpu` like to run on `cpus`. If it may run on one of these and is on another, it moves.
    pub fn set_preference(&self, hw: &dyn Hw, vcpu: &Arc<Vcpu>, cpus: u128) {
        let sched = &vcpu.sched;
        sched.preference.set(cpus);
        let liked = self.liked(sched.queue.load(Ordering::SeqCst), sched);
        if liked != 0 && liked & bit(sched.home()) == 0 {
            self.begin_move(hw, vcpu);
        }
    }

    /// The CPUs of a queue that a vCPU may run on: those that it likes, or all if it likes none.
    fn liked(&self, queue: u32, sched: &SchedState) -> u128 {
        let may = sched.affinity() & self.queue(queue).map_or(0, |queue| queue.cpus.get());
        match may & sched.preference() {
            0 => may,
            liked => liked,
        }
    }

    /// Takes `vcpu` off its CPU, to where it may run.
    pub(super) fn begin_move(&self, hw: &dyn Hw, vcpu: &Arc<Vcpu>) {
        vcpu.sched.set(pause::MOVING);
        self.resched(hw, vcpu.sched.home());
        if let Some(cpu) = vcpu.sched.loaded_on() {
            self.resched(hw, cpu);
        }
        self.finish_move(hw, vcpu);
    }

    /// If `vcpu` is to move and no CPU has it any more, it does.
    pub fn finish_move(&self, hw: &dyn Hw, vcpu: &Arc<Vcpu>) {
        let sched = &vcpu.sched;
        if sched.flags() & pause::MOVING == 0 {
            return;
        }
        let moved = self.with_queue(vcpu, |queue| {
            // Not moved meanwhile by somebody else.
            if sched.is_held() || sched.flags() & pause::MOVING == 0 {
                return None;
            }
            let taken = queue.take_out(vcpu);
            // Before it is read where to: who changes that later finds the flag clear, and moves it.
            sched.clear(pause::MOVING);
            let to = sched.share.queue();
            let liked = self.liked(to, sched);
            if liked & bit(sched.home()) == 0 && liked != 0 {
                sched.set_home(CpuId(liked.trailing_zeros()));
            }
            sched.queue.store(to, Ordering::SeqCst);
            Some(taken)
        });
        // Always: who cleared another flag meanwhile may have seen it in the queue that it left.
        if moved.is_some() {
            self.wake(hw, vcpu);
        }
    }

    /// `cpu` is to serve another queue, or none: it does so with its next choice.
    pub(super) fn want_queue(&self, hw: &dyn Hw, cpu: CpuId, queue: u32) {
        if let Some(c) = self.cpu(cpu) {
            c.wanted.store(queue, Ordering::SeqCst);
            self.resched(hw, cpu);
        }
    }

    /// `this` goes to the queue that it is to serve.
    pub(super) fn change_queue(&self, hw: &dyn Hw, this: CpuId, now: u64) {
        let Some(cpu) = self.cpu(this) else { return };
        let left = self
            .queue_of(cpu)
            .map(|queue| queue.run.lock().leave(this, self.at(now)));
        let wanted = cpu.wanted.load(Ordering::SeqCst);
        if let Some(queue) = self.queue(wanted) {
            queue.run.lock().join(this);
        }
        cpu.queue.store(wanted, Ordering::SeqCst);
        self.resched_all(hw, left.unwrap_or(0));
    }

    /// Limits a domain, whose vCPUs these are, to `cap` percent of a CPU; 0: does not.
    pub fn set_cap(&self, hw: &dyn Hw, vcpus: &[Arc<Vcpu>], cap: u16) {
        let Some(first) = vcpus.first() else { return };
        self.with_queue(first, |_| first.sched.share.set_cap(cap));
        for vcpu in vcpus {
            let told = self.with_queue(vcpu, |queue| {
                let at = self.at(hw.now());
                let waits = queue.unpark_one(vcpu, at);
                match vcpu.sched.place() {
                    Place::Running | Place::Resting => Some(vcpu.sched.home()),
                    _ if waits => queue.whom_to_tell(vcpu, at, true),
                    _ => None,
                }
            });
            if let Some(cpu) = told {
                self.resched(hw, cpu);
            }
        }
    }
}
