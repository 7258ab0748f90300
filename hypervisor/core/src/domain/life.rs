// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a domain goes on and stops: paused by a toolstack (counted), shut down, crashed. The
//! hardware domain's end is the machine's. Its death is in [`death`](super::death).

use super::Domain;
use super::death::Step;
use super::watchdog::Watchdogs;
use crate::event;
use crate::hw::SystemOp;
use crate::sched::pause;
use xen_abi::errno::Errno;
use xen_abi::sched::{
    SHUTDOWN_CRASH, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_SOFT_RESET, SHUTDOWN_SUSPEND,
    SHUTDOWN_WATCHDOG,
};
/// How far a domain's life has gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Stage {
    /// It lives, be it paused or shut down.
    Alive = 0,
    /// It is being destroyed: nothing new is given to it or taken from it.
    Dying = 1,
    /// Nothing of it is left but what others hold.
    Dead = 2,
}

/// The state of a domain's life.
pub struct Life {
    /// How often it was paused and not unpaused.
    pub(super) pauses: u32,
    /// It was unpaused once: its builder is done.
    built: bool,
    /// `SHUTDOWN_*`, once it has shut down.
    pub shutdown_code: Option<u32>,
    /// What it will be, whatever reason is given then (`SCHEDOP_shutdown_code`).
    planned_code: Option<u32>,
    /// Its port on which a suspension is told, 0 for none (`XEN_DOMCTL_subscribe`).
    pub suspend_port: u32,
    pub(super) watchdogs: Watchdogs,
    /// Where its destruction goes on.
    pub(super) death: Step,
}

impl Life {
    /// That of a new domain: paused once, until it has been built.
    pub(super) const fn new() -> Self {
        Self {
            pauses: 1,
            built: false,
            shutdown_code: None,
            planned_code: None,
            suspend_port: 0,
            watchdogs: Watchdogs::NONE,
            death: Step::FIRST,
        }
    }

    /// True from when it was first let run: its builder is done.
    pub const fn is_built(&self) -> bool {
        self.built
    }

    /// True if a toolstack has paused it.
    pub const fn is_paused(&self) -> bool {
        self.pauses != 0
    }
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
    /// Stops its vCPUs until an [`unpause`](Self::unpause) more. They may run on for a moment:
    /// [`is_settled`](Self::is_settled).
    ///
    /// # Errors
    /// `EOVERFLOW`.
    pub fn pause(&self) -> Result<(), Errno> {
        let mut life = self.life.lock();
        life.pauses = life.pauses.checked_add(1).ok_or(Errno::Overflow)?;
        self.stop_vcpus(pause::PAUSED);
        Ok(())
    }

    /// Takes one pause back: the vCPUs that are up run after the last.
    pub fn unpause(&self) {
        self.try_unpause();
    }

    /// As [`unpause`](Self::unpause); false if it is not paused.
    pub fn try_unpause(&self) -> bool {
        let mut life = self.life.lock();
        let Some(left) = life.pauses.checked_sub(1) else {
            return false;
        };
        life.pauses = left;
        if left == 0 {
            life.built = true;
            self.let_run(pause::PAUSED);
        }
        true
    }

    /// True once no CPU runs its vCPUs or has their registers. To be asked after they were
    /// stopped.
    pub fn is_settled(&self) -> bool {
        self.all_vcpus.iter().all(|vcpu| !vcpu.sched.is_held())
    }

    /// Waits until it is [settled](Self::is_settled): as long as the CPUs need that have its
    /// vCPUs. To be called after they were stopped, with no lock held, and by no vCPU of its own.
    pub fn wait_until_settled(&self) {
        while !self.is_settled() {
            core::hint::spin_loop();
        }
    }

    /// Stops all vCPUs, soon.
    pub(super) fn stop_vcpus(&self, why: u32) {
        for vcpu in &self.all_vcpus {
            vcpu.sched.set(why);
            self.sys.sched.resched(self.sys.hw, vcpu.sched.home());
        }
    }

    fn let_run(&self, why: u32) {
        for vcpu in &self.all_vcpus {
            vcpu.unblock(why);
        }
    }

    /// Shuts down for `reason` (`SHUTDOWN_*`). The first reason counts. A suspension is told on the
    /// port that was chosen for that, if there is one.
    pub fn shutdown(&self, reason: u32) {
        let (reason, port) = {
            let mut life = self.life.lock();
            if life.shutdown_code.is_some() {
                return;
            }
            let reason = life.planned_code.unwrap_or(reason);
            life.shutdown_code = Some(reason);
            self.stop_vcpus(pause::SHUT_DOWN);
            (reason, life.suspend_port)
        };
        if self.role.hardware {
            self.end_machine(reason);
        }
        log::info!("{} shut down: {}", self.id, reason_name(reason));
        match (reason, port) {
            (SHUTDOWN_SUSPEND, 1..) => drop(event::send(self, port)),
            _ => self.sys.tell_dom_exc(),
        }
    }

    /// Undoes a shutdown (`XEN_DOMCTL_resumedomain`), if there was one.
    pub fn resume(&self) {
        let mut life = self.life.lock();
        if life.shutdown_code.take().is_some() {
            self.let_run(pause::SHUT_DOWN);
        }
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
}
