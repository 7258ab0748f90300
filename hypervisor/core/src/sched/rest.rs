// SPDX-License-Identifier: MIT OR Apache-2.0
//! A CPU that nobody waits for: its vCPU goes on, rests and wakes there without the queue's lock.
//!
//! A vCPU that waits stays its CPU's current one and [rests](Place::Resting), as long as no other
//! one wants the CPU. What is seen without the lock is stored by one side before it reads what the
//! other side stores, in one order for all CPUs (`SeqCst`), so that one of the two sees the other:
//!
//! | one stores, then reads | the other stores, then reads |
//! |---|---|
//! | a CPU: that its vCPU rests or is out; its flags | who clears the last flag: that; the place |
//! | a CPU: that its vCPU rests, that it was not told and has no deadline; whether anybody waits | who admits a vCPU: that it waits; these three of each CPU |
//! | a CPU: that it runs a vCPU, and is its home; the vCPU's flags | who sets a flag: that; the home, which it kicks |

use super::state::{Place, SchedState, pause};
use super::{Cpu, Next, Queue, Scheduler};
use crate::addr::CpuId;
use crate::domain::vcpu::Vcpu;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

impl Scheduler {
    /// What `this` does next if nobody waits and it has the registers of `vcpu`, its current one.
    /// `None` if that is for the queue to say.
    #[inline]
    pub(super) fn choose_alone(
        &self,
        cpu: &Cpu,
        this: CpuId,
        vcpu: &Arc<Vcpu>,
        now: u64,
    ) -> Option<Next> {
        let sched = &vcpu.sched;
        let (place, flags) = (sched.place(), sched.flags());
        let current = matches!(place, Place::Running | Place::Resting);
        let waits = flags & !(pause::BLOCKED | pause::POLLING) == 0;
        if !current || !waits || sched.is_limited() || !sched.is_content(this) {
            return None;
        }
        let queue = self.queue(cpu.queue.load(Ordering::Relaxed))?;
        if flags != 0 && place == Place::Running {
            sched.stop_clock(now);
            sched.set_place(Place::Resting);
        }
        if queue.seen.waiting.load(Ordering::SeqCst) != 0 {
            return None;
        }
        if flags != 0 && sched.flags() != 0 {
            cpu.begin_idle(now);
            return Some(Next::Idle);
        }
        if sched.place() == Place::Resting {
            self.resume(queue, sched, now);
            cpu.end_idle(now);
        }
        Some(Next::Run(vcpu.clone()))
    }

    /// A vCPU that rested runs again, as one that is admitted.
    fn resume(&self, queue: &Queue, sched: &SchedState, now: u64) {
        let time = queue.seen.time.load(Ordering::Relaxed);
        sched.raise_vruntime(time.saturating_sub(self.times.slice / 2));
        sched.start_clock(now);
        sched.set_place(Place::Running);
    }
}
