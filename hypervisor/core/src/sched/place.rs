// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which CPU is told that a vCPU waits.

use super::queue::{RunQueue, Slot};
use super::state::SchedState;
use crate::addr::CpuId;
use crate::domain::vcpu::Vcpu;

/// A time slice, in microseconds.
pub(super) const SLICE_US: u64 = 10_000;
/// The time for which a cap gives a budget.
pub(super) const PERIOD_US: u64 = 10_000;
/// What a vCPU must have run less than another to be taken from the CPU where it last ran.
pub(super) const MOVE_US: u64 = 500;

/// Spans of time, in ticks.
pub(super) struct Times {
    pub(super) slice: u64,
    pub(super) period: u64,
    pub(super) moving: u64,
}

impl Times {
    pub(super) const fn new(frequency: u64) -> Self {
        Self {
            slice: ticks(SLICE_US, frequency),
            period: ticks(PERIOD_US, frequency),
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

impl RunQueue {
    /// The CPU to tell that `vcpu`, just admitted, waits: one that idles, or else the one whose
    /// current vCPU has run most, if it `preempts` that one, which has run more. `None`: those that
    /// may run it will come to it.
    pub(super) fn whom_to_tell(
        &mut self,
        vcpu: &Vcpu,
        now: u64,
        times: &Times,
        preempts: bool,
    ) -> Option<CpuId> {
        let sched = &vcpu.sched;
        let usable = |slot: &&mut Slot| {
            sched.affinity.contains(slot.cpu) && sched.is_free_for(slot.cpu) && !slot.told
        };
        let idle = self.slots.iter_mut().filter(usable).filter(|s| s.idle);
        if let Some(slot) = idle.min_by_key(|slot| times.handicap(sched, slot.cpu)) {
            slot.told = true;
            return Some(slot.cpu);
        }
        let mut busiest: Option<(u64, &mut Slot)> = None;
        let mut timed = false;
        for slot in self
            .slots
            .iter_mut()
            .filter(|s| sched.affinity.contains(s.cpu))
        {
            timed |= slot.timed || slot.told;
            if slot.told || !sched.is_free_for(slot.cpu) {
                continue;
            }
            // One that runs nothing is about to choose.
            let ran = slot.vruntime(now).unwrap_or(u64::MAX);
            let more = ran.saturating_sub(times.handicap(sched, slot.cpu));
            if busiest.as_ref().is_none_or(|(most, _)| more > *most) {
                busiest = Some((more, slot));
            }
        }
        let (most, slot) = busiest?;
        let preempts =
            preempts && sched.vruntime() < most && !sched.share.is_used_up(now, times.period);
        if !preempts && timed {
            return None;
        }
        slot.told = true;
        Some(slot.cpu)
    }
}
