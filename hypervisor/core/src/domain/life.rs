// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a domain stops: shutdown, crash, watchdogs. The hardware domain's end is the machine's.

use super::Domain;
use crate::hw::SystemOp;
use crate::sched::pause;
use crate::timer::Purpose;
use alloc::sync::Arc;
use xen_abi::errno::Errno;
use xen_abi::sched::{
    SHUTDOWN_CRASH, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_SOFT_RESET, SHUTDOWN_SUSPEND,
    SHUTDOWN_WATCHDOG,
};

/// Watchdogs a domain has.
const NR_WATCHDOGS: usize = 2;

/// The state of a domain's life.
#[derive(Default)]
pub struct Life {
    /// `SHUTDOWN_*`, once it has shut down.
    pub shutdown_code: Option<u32>,
    /// What it will be, whatever reason is given then (`SCHEDOP_shutdown_code`).
    planned_code: Option<u32>,
    /// Deadline of each armed watchdog, in ticks.
    watchdogs: [Option<u64>; NR_WATCHDOGS],
}

/// What a `SHUTDOWN_*` is called.
fn reason_name(reason: u32) -> &'static str {
    match reason {
        SHUTDOWN_POWEROFF => "power off",
        SHUTDOWN_REBOOT => "reboot",
        SHUTDOWN_SUSPEND => "suspend",
        SHUTDOWN_CRASH => "crash",
        SHUTDOWN_WATCHDOG => "watchdog",
        SHUTDOWN_SOFT_RESET => "soft reset",
        _ => "unknown reason",
    }
}

impl Domain {
    /// Lets the vCPUs that are up run.
    pub fn unpause(&self) {
        for vcpu in self.vcpus() {
            vcpu.unblock(pause::DOMAIN);
        }
    }

    /// Stops all vCPUs, soon.
    fn stop_vcpus(&self) {
        for vcpu in self.vcpus() {
            vcpu.sched.set(pause::DOMAIN);
            self.sys.sched.resched(self.sys.hw, vcpu.sched.home());
        }
    }

    /// Shuts down for `reason` (`SHUTDOWN_*`). The first reason counts.
    pub fn shutdown(&self, reason: u32) {
        let reason = {
            let mut life = self.life.lock();
            if life.shutdown_code.is_some() {
                return;
            }
            let reason = life.planned_code.unwrap_or(reason);
            life.shutdown_code = Some(reason);
            reason
        };
        self.stop_vcpus();
        if self.role.hardware {
            self.end_machine(reason);
        }
        log::info!("{} shut down: {}", self.id, reason_name(reason));
    }

    /// Chooses the reason of a shutdown to come. The first one counts.
    pub fn plan_shutdown(&self, reason: u32) {
        self.life.lock().planned_code.get_or_insert(reason);
    }

    fn end_machine(&self, reason: u32) -> ! {
        let noreboot = self.sys.options.noreboot;
        let (what, op) = match reason {
            SHUTDOWN_POWEROFF => ("halted: halting machine", SystemOp::Off),
            SHUTDOWN_REBOOT => ("shutdown: rebooting machine", SystemOp::Reset),
            SHUTDOWN_WATCHDOG => ("shutdown: watchdog rebooting machine", SystemOp::Reset),
            SHUTDOWN_CRASH => ("crashed: rebooting machine", SystemOp::Reset),
            _ => (
                "shutdown (unknown reason): rebooting machine",
                SystemOp::Reset,
            ),
        };
        log::info!("Hardware Dom0 {what}");
        if op == SystemOp::Reset && noreboot && reason != SHUTDOWN_REBOOT {
            log::info!("noreboot: halted");
            self.sys.hw.halt();
        }
        self.sys.hw.system(op)
    }

    /// Stops a domain that did what it must not.
    pub fn crash(&self, why: &str) {
        if self.life.lock().shutdown_code.is_none() {
            log::error!("{} crashed: {why}", self.id);
        }
        self.shutdown(SHUTDOWN_CRASH);
    }

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
        let (slot, answer) = match id.checked_sub(1) {
            None => {
                let free = life
                    .watchdogs
                    .iter()
                    .position(Option::is_none)
                    .ok_or(Errno::NoSpc)?;
                (free, (free as u32).saturating_add(1))
            }
            Some(slot) => {
                let armed = life
                    .watchdogs
                    .get(slot as usize)
                    .is_some_and(Option::is_some);
                armed.then_some(()).ok_or(Errno::Inval)?;
                (slot as usize, 0)
            }
        };
        let disarm = id != 0 && timeout_s == 0;
        if let Some(watchdog) = life.watchdogs.get_mut(slot) {
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
            let armed = life.watchdogs.get(slot as usize).copied().flatten();
            armed.is_some_and(|deadline| deadline <= now)
        };
        if due {
            log::error!("{} watchdog {} fired", self.id, slot.saturating_add(1));
            self.shutdown(SHUTDOWN_WATCHDOG);
        }
    }
}
