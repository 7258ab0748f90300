// SPDX-License-Identifier: MIT OR Apache-2.0
//! The generic timer: counters, and the virtual and the physical timer.

use super::barrier;
use super::sysreg::{read_sysreg, write_sysreg};

/// CTL: the timer runs.
pub(crate) const ENABLE: u64 = 1;
/// CTL: its interrupt is masked.
pub(crate) const IMASK: u64 = 2;
/// CTL: its condition is met.
pub(crate) const ISTATUS: u64 = 4;

/// One of the two timers of EL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    Virtual,
    /// Most hypervisors emulate this one.
    Physical,
}

impl Timer {
    /// Its counter.
    pub(crate) fn now(self) -> u64 {
        match self {
            Self::Virtual => count(),
            Self::Physical => physical_count(),
        }
    }

    /// Sets the time it fires at.
    pub(crate) fn set_compare(self, at: u64) {
        match self {
            Self::Virtual => write_sysreg!("cntv_cval_el0", at),
            Self::Physical => write_sysreg!("cntp_cval_el0", at),
        }
    }

    /// The time it fires at.
    pub(crate) fn compare(self) -> u64 {
        match self {
            Self::Virtual => read_sysreg!("cntv_cval_el0"),
            Self::Physical => read_sysreg!("cntp_cval_el0"),
        }
    }

    /// Fires `ticks` from now.
    pub(crate) fn set_ticks(self, ticks: u64) {
        match self {
            Self::Virtual => write_sysreg!("cntv_tval_el0", ticks),
            Self::Physical => write_sysreg!("cntp_tval_el0", ticks),
        }
    }

    /// What is left, signed, 32 bits.
    pub(crate) fn ticks(self) -> i32 {
        match self {
            Self::Virtual => read_sysreg!("cntv_tval_el0") as i32,
            Self::Physical => read_sysreg!("cntp_tval_el0") as i32,
        }
    }

    pub(crate) fn set_control(self, control: u64) {
        match self {
            Self::Virtual => write_sysreg!("cntv_ctl_el0", control),
            Self::Physical => write_sysreg!("cntp_ctl_el0", control),
        }
        barrier::isb();
    }

    pub(crate) fn control(self) -> u64 {
        match self {
            Self::Virtual => read_sysreg!("cntv_ctl_el0"),
            Self::Physical => read_sysreg!("cntp_ctl_el0"),
        }
    }
}

/// The virtual counter.
#[inline(always)]
pub(crate) fn count() -> u64 {
    barrier::isb();
    read_sysreg!("cntvct_el0")
}

/// The physical counter.
pub(crate) fn physical_count() -> u64 {
    barrier::isb();
    read_sysreg!("cntpct_el0")
}

/// Ticks of a second.
pub(crate) fn frequency() -> u64 {
    read_sysreg!("cntfrq_el0")
}

/// Nanoseconds of `ticks`, a few minutes at most.
pub(crate) fn nanoseconds(ticks: u64) -> u64 {
    ticks.saturating_mul(1_000_000_000) / frequency()
}

/// Ticks of `microseconds`.
pub(crate) fn microseconds(microseconds: u64) -> u64 {
    frequency() * microseconds / 1_000_000
}

/// Passes time until `done` or, at the latest, `limit` microseconds later; whether it was `done`.
pub(crate) fn wait_until(limit: u64, mut done: impl FnMut() -> bool) -> bool {
    let end = count() + microseconds(limit);
    while !done() {
        if count() >= end {
            return done();
        }
        barrier::relax();
    }
    true
}

/// Passes time.
pub(crate) fn delay(microseconds: u64) {
    wait_until(microseconds, || false);
}
