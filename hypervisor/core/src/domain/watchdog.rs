// SPDX-License-Identifier: MIT OR Apache-2.0
//! Watchdogs (`SCHEDOP_watchdog`): a domain that does not set them anew in time is shut down.

use super::Domain;
use crate::timer::Purpose;
use alloc::sync::Arc;
use xen_abi::errno::Errno;
use xen_abi::sched::SHUTDOWN_WATCHDOG;

/// Watchdogs a domain has.
const NR_WATCHDOGS: usize = 2;

/// Deadline of each armed watchdog, in ticks.
pub(super) struct Watchdogs([Option<u64>; NR_WATCHDOGS]);

impl Watchdogs {
    pub(super) const NONE: Self = Self([None; NR_WATCHDOGS]);
}

impl Domain {
    /// `SCHEDOP_watchdog`: id 0 allocates a watchdog, another id (1 or 2) sets it anew; a timeout
    /// of 0 seconds with an id disarms. Returns the id of one that was allocated, else 0.
    ///
    /// # Errors
    /// `EINVAL` for an id there is not or that is not armed, `ENOSPC` when all are in use.
    pub fn set_watchdog(self: &Arc<Self>, id: u32, timeout_s: u32) -> Result<u32, Errno> {
        let hw = self.sys.hw;
        let ticks = u64::from(timeout_s).saturating_mul(hw.frequency());
        let deadline = hw.now().saturating_add(ticks);
        let mut life = self.life.lock();
        let watchdogs = &mut life.watchdogs.0;
        let (slot, answer) = match id.checked_sub(1) {
            None => {
                let free = watchdogs
                    .iter()
                    .position(Option::is_none)
                    .ok_or(Errno::NoSpc)?;
                (free, (free as u32).saturating_add(1))
            }
            Some(slot) => {
                let armed = watchdogs.get(slot as usize).is_some_and(Option::is_some);
                armed.then_some(()).ok_or(Errno::Inval)?;
                (slot as usize, 0)
            }
        };
        let disarm = id != 0 && timeout_s == 0;
        if let Some(watchdog) = watchdogs.get_mut(slot) {
            *watchdog = (!disarm).then_some(deadline);
        }
        drop(life);
        if !disarm {
            let purpose = Purpose::Watchdog(Arc::downgrade(self), slot as u32);
            self.sys.timers.set(hw, deadline, purpose);
        }
        Ok(answer)
    }

    pub(crate) fn watchdog_expired(&self, slot: u32) {
        let now = self.sys.hw.now();
        let due = {
            let life = self.life.lock();
            let armed = life.watchdogs.0.get(slot as usize).copied().flatten();
            armed.is_some_and(|deadline| deadline <= now)
        };
        if due {
            log::error!("{} watchdog {} fired", self.id, slot.saturating_add(1));
            self.shutdown(SHUTDOWN_WATCHDOG);
        }
    }
}
