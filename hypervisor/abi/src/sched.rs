// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sched_op` (`xen/sched.h`). x0 = sub-operation, x1 = structure.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::xen::Handle;

/// Let others run; no argument.
pub const SCHEDOP_YIELD: u32 = 0;
/// Enable event delivery and wait for one; no argument.
pub const SCHEDOP_BLOCK: u32 = 1;
/// [`Shutdown`]: stop the calling domain.
pub const SCHEDOP_SHUTDOWN: u32 = 2;
/// [`Poll`]: wait for one of some ports.
pub const SCHEDOP_POLL: u32 = 3;
/// [`RemoteShutdown`].
pub const SCHEDOP_REMOTE_SHUTDOWN: u32 = 4;
/// [`Shutdown`]: store the reason without stopping.
pub const SCHEDOP_SHUTDOWN_CODE: u32 = 5;
/// [`Watchdog`].
pub const SCHEDOP_WATCHDOG: u32 = 6;
/// [`PinOverride`].
pub const SCHEDOP_PIN_OVERRIDE: u32 = 7;

/// Ended normally.
pub const SHUTDOWN_POWEROFF: u32 = 0;
/// Restart it.
pub const SHUTDOWN_REBOOT: u32 = 1;
/// Saved its state.
pub const SHUTDOWN_SUSPEND: u32 = 2;
/// Crashed.
pub const SHUTDOWN_CRASH: u32 = 3;
/// Its watchdog expired.
pub const SHUTDOWN_WATCHDOG: u32 = 4;
/// Clean up, keep its memory.
pub const SHUTDOWN_SOFT_RESET: u32 = 5;
/// Highest valid reason.
pub const SHUTDOWN_MAX: u32 = 5;

/// Most ports of one poll.
pub const SCHEDOP_POLL_MAX_PORTS: u32 = 128;

/// `struct sched_shutdown`: why the caller stops.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Shutdown {
    /// `SHUTDOWN_*`.
    pub reason: u32,
}

/// `struct sched_poll`: wait for events.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Poll {
    /// Array of `u32` ports.
    pub ports: Handle,
    /// Length of the array.
    pub nr_ports: u32,
    /// Padding.
    pub _pad: u32,
    /// System time to give up at, in ns; 0 for never.
    pub timeout: u64,
}

/// `struct sched_remote_shutdown`: stop another domain.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct RemoteShutdown {
    /// The domain.
    pub domain_id: u16,
    /// Padding.
    pub _pad: u16,
    /// `SHUTDOWN_*`.
    pub reason: u32,
}

/// `struct sched_watchdog`: arm, poke or disarm a timer that shuts the caller down.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Watchdog {
    /// 0 for a new one, else what that call returned.
    pub id: u32,
    /// Seconds from now; 0 disarms.
    pub timeout: u32,
}

/// `struct sched_pin_override`: pin the calling vCPU to a physical CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct PinOverride {
    /// The CPU; negative undoes it.
    pub pcpu: i32,
}
