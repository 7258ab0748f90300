// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which CPU is told that a vCPU waits.

use super::Cpu;
use super::queue::RunQueue;
use super::state::SchedState;
use crate::addr::CpuId;
use crate::domain::vcpu::Vcpu;
use core::sync::atomic::Ordering;

/// A time slice, in microseconds.
pub(super) const SLICE_US: u64 = 10_000;
/// The time for which a cap gives a budget.
pub(super) const PERIOD_US: u64 = 10_000;
/// What a vCPU gets at least where others wait, whatever the rate limit.
const LEAST_US: u64 = 500;
/// What a vCPU must have run less than another to be taken from the CPU where it last ran.
pub(super) const MOVE_US: u64 = 500;

/// Spans of time, in ticks.
pub(super) struct Times {
    pub(super) slice: u64,
    pub(super) period: u64,
    pub(super) least: u64,
    pub(super) moving: u64,
}

impl Times {
    pub(super) const fn new(frequency: u64) -> Self {
        Self {
            slice: ticks(SLICE_US, frequency),
            period: ticks(PERIOD_US, frequency),
            least: ticks(LEAST_US, frequency),
            moving: ticks(MOVE_US, frequency),
        }
    }

    /// How much a slice changes its vruntime; not less than that of default weight.
    pub(super) fn own_slice(&self, sched: &SchedState) -> u64 {
        self.slice.max(sched.weighted(self.slice))
    }

    /// The same with something for slices that end late.
    pub(super) fn about_a_slice(&self, sched: &SchedState) -> u64 {
        let slice = self.own_slice(sched);
        slice.saturating_add(slice / 4)
    }

    /// By how much a vCPU counts as having run more, on a CPU where it has no warm caches, or that
    /// it does not like.
    pub(super) fn handicap(&self, sched: &SchedState, cpu: CpuId) -> u64 {
        let moves = if sched.home() == cpu { 0 } else { self.moving };
        let dislikes = if sched.preference.contains(cpu) {
            0
        } else {
            self.slice
        };
        moves.saturating_add(dislikes)
    }
}

/// Microseconds as ticks.
pub(super) const fn ticks(us: u64, frequency: u64) -> u64 {
    us.saturating_mul(frequency) / 1_000_000
}

/// What a choice depends on beside the queue.
#[derive(Clone, Copy)]
pub(super) struct Moment<'a> {
    pub(super) now: u64,
    pub(super) times: &'a Times,
    pub(super) cpus: &'a [Cpu],
}

impl<'a> Moment<'a> {
    /// What is seen of `cpu` without a lock.
    pub(super) fn cpu(&self, cpu: CpuId) -> Option<&'a Cpu> {
        self.cpus.get(cpu.index())
    }

    pub(super) fn is_told(&self, cpu: CpuId) -> bool {
        self.cpu(cpu)
            .is_none_or(|cpu| cpu.told.load(Ordering::SeqCst))
    }

    pub(super) fn tell(&self, cpu: CpuId) {
        if let Some(cpu) = self.cpu(cpu) {
            cpu.told.store(true, Ordering::SeqCst);
        }
    }

    /// True if `cpu` will choose again by itself, since others wait.
    pub(super) fn is_timed(&self, cpu: CpuId) -> bool {
        self.cpu(cpu)
            .is_some_and(|cpu| cpu.until.load(Ordering::SeqCst) != u64::MAX)
    }
}

impl RunQueue {
    /// The CPU to tell that `vcpu`, just admitted, waits: one that idles, or else the one whose
    /// current vCPU has run most, if it `preempts` that one, which has run more. `None`: those that
    /// may run it will come to it.
    pub(super) fn whom_to_tell(
        &self,
        vcpu: &Vcpu,
        at: Moment<'_>,
        preempts: bool,
    ) -> Option<CpuId> {
        let (sched, times) = (&vcpu.sched, at.times);
        let mut idle: Option<(u64, CpuId)> = None;
        let mut busiest: Option<(u64, CpuId)> = None;
        let mut timed = false;
        let usable = |cpu| sched.affinity.contains(cpu);
        for slot in self.slots.iter().filter(|slot| usable(slot.cpu)) {
            let told = at.is_told(slot.cpu);
            timed |= told || at.is_timed(slot.cpu);
            if told || !sched.is_free_for(slot.cpu) {
                continue;
            }
            let handicap = times.handicap(sched, slot.cpu);
            if slot.is_idle() {
                if idle.is_none_or(|(least, _)| handicap < least) {
                    idle = Some((handicap, slot.cpu));
                }
                continue;
            }
            let more = slot.vruntime(at.now).saturating_sub(handicap);
            if busiest.is_none_or(|(most, _)| more > most) {
                busiest = Some((more, slot.cpu));
            }
        }
        let told = match (idle, busiest) {
            (Some((_, cpu)), _) => Some(cpu),
            (None, Some((most, cpu))) => {
                let preempts = preempts
                    && sched.vruntime() < most
                    && !sched.share.is_used_up(at.now, times.period);
                (preempts || !timed).then_some(cpu)
            }
            (None, None) => None,
        }?;
        at.tell(told);
        Some(told)
    }
}
