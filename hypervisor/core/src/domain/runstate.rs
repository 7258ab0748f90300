// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a vCPU has been in which state, and the guest's view of that
//! (`VCPUOP_register_runstate_memory_area`, public/vcpu.h).

use crate::guest::copy::{GuestMemory, GuestPtr};
use crate::system::System;
use xen_abi::vcpu::{
    RUNSTATE_BLOCKED, RUNSTATE_OFFLINE, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING, RunstateInfo,
    XEN_RUNSTATE_UPDATE,
};
use zerocopy::FromZeros;

/// One vCPU's states and times.
#[derive(Clone, Copy)]
pub struct RunstateArea {
    state: u32,
    /// When it was entered, in ticks since boot.
    since: u64,
    /// Ticks spent in each state before.
    time: [u64; 4],
    guest: Option<GuestPtr<RunstateInfo>>,
}

impl Default for RunstateArea {
    fn default() -> Self {
        Self {
            state: RUNSTATE_OFFLINE,
            since: 0,
            time: [0; 4],
            guest: None,
        }
    }
}

impl RunstateArea {
    /// The vCPU is in `state` (`RUNSTATE_*`) from `now` on, in ticks since boot.
    pub fn enter(&mut self, state: u32, now: u64) {
        if let Some(time) = self.time.get_mut(self.state as usize) {
            *time = time.saturating_add(now.saturating_sub(self.since));
        }
        self.state = state;
        self.since = now;
    }

    /// As [`enter`](Self::enter), of a vCPU that may have had something to do since `woken`: from
    /// then on, if it waited or was offline until then, it was runnable.
    pub fn enter_woken(&mut self, state: u32, woken: u64, now: u64) {
        if matches!(self.state, RUNSTATE_BLOCKED | RUNSTATE_OFFLINE) && woken > self.since {
            self.enter(RUNSTATE_RUNNABLE, woken.min(now));
        }
        self.enter(state, now);
    }

    /// The guest wants to see it at `guest`, or no longer for a null pointer.
    pub fn register(&mut self, guest: GuestPtr<RunstateInfo>) {
        self.guest = (!guest.is_null()).then_some(guest);
    }

    /// The guest no longer wants to see it.
    pub fn unregister(&mut self) {
        self.guest = None;
    }

    /// How long the vCPU has run up to `now`, in ticks since boot.
    pub fn ran(&self, now: u64) -> u64 {
        let [before, ..] = self.time;
        match self.state {
            RUNSTATE_RUNNING => before.saturating_add(now.saturating_sub(self.since)),
            _ => before,
        }
    }

    /// True if the vCPU has ever run.
    pub fn has_run(&self) -> bool {
        let [before, ..] = self.time;
        self.state == RUNSTATE_RUNNING || before != 0
    }

    /// True if the guest wants to see it.
    pub fn is_registered(&self) -> bool {
        self.guest.is_some()
    }

    /// Shows it to the guest, whose vCPU runs here. An address that is not mapped now is left for
    /// the next time, as Xen does.
    pub fn show(&self, sys: &System, memory: GuestMemory, update_flag: bool) {
        let Some(guest) = self.guest else { return };
        let mut shown = self.info(sys);
        if update_flag {
            shown.state_entry_time |= XEN_RUNSTATE_UPDATE;
            if guest.write(memory, &shown).is_err() {
                return;
            }
            shown.state_entry_time &= !XEN_RUNSTATE_UPDATE;
        }
        let _ = guest.write(memory, &shown);
    }

    /// What is known now, in nanoseconds.
    pub fn info(&self, sys: &System) -> RunstateInfo {
        let mut info = RunstateInfo::new_zeroed();
        info.state = self.state;
        info.state_entry_time = sys.ticks_to_ns(self.since);
        info.time = self.time.map(|ticks| sys.ticks_to_ns(ticks));
        info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wakes_is_runnable_until_it_runs() {
        let mut area = RunstateArea::default();
        area.enter_woken(RUNSTATE_RUNNING, 5, 7);
        assert_eq!(
            (area.state, area.since, area.time),
            (RUNSTATE_RUNNING, 7, [0, 2, 0, 5])
        );
        // It was woken before; since then it has run.
        area.enter_woken(RUNSTATE_BLOCKED, 5, 10);
        assert_eq!(area.time, [3, 2, 0, 5]);
        // It was not woken since it waits.
        area.enter_woken(RUNSTATE_RUNNING, 5, 20);
        assert_eq!(area.time, [3, 2, 10, 5]);
        area.enter_woken(RUNSTATE_BLOCKED, 5, 21);
        // The CPU that woke it read its clock later than the one that runs it.
        area.enter_woken(RUNSTATE_RUNNING, 26, 25);
        assert_eq!((area.since, area.time), (25, [4, 2, 14, 5]));
    }
}
