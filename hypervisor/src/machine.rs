// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine found at boot: its CPUs and drivers, set once.

use crate::panic::halt;
use alloc::vec::Vec;
use hv_core::frame::Frames;
use hv_core::system::System;
use platform::gic::Gic;
use platform::psci::Psci;
use spin::Once;

/// Interrupts that EL2 keeps for itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnIrqs {
    /// CNTHP.
    pub(crate) hyp_timer: u32,
    /// CNTV, handed to the vCPU.
    pub(crate) virt_timer: u32,
    /// The virtual CPU interface's.
    pub(crate) maintenance: u32,
    /// The console's.
    pub(crate) uart: Option<u32>,
}

/// Drivers and facts.
pub(crate) struct Machine {
    pub(crate) gic: Gic,
    pub(crate) psci: Option<Psci>,
    pub(crate) irqs: OwnIrqs,
    /// Affinity of each CPU, by number.
    pub(crate) cpus: Vec<u64>,
    /// Root of EL2's tables.
    pub(crate) tables: u64,
    /// Ticks a second.
    pub(crate) frequency: u64,
}

static MACHINE: Once<Machine> = Once::new();
static SYSTEM: Once<System> = Once::new();
static VTCR: Once<u64> = Once::new();
static FRAMES: Once<Frames> = Once::new();

/// Sets the frame allocator, once.
pub(crate) fn set_frames(frames: Frames) -> &'static Frames {
    FRAMES.call_once(|| frames)
}

/// The frame allocator, if boot got that far.
pub(crate) fn frames() -> Option<&'static Frames> {
    FRAMES.get()
}

/// Sets the machine, once.
pub(crate) fn set(machine: Machine) -> &'static Machine {
    MACHINE.call_once(|| machine)
}

/// The machine. Not before it was set.
#[inline]
pub(crate) fn get() -> &'static Machine {
    match MACHINE.get() {
        Some(machine) => machine,
        None => halt(),
    }
}

/// The machine, if boot got that far.
pub(crate) fn try_get() -> Option<&'static Machine> {
    MACHINE.get()
}

/// Sets VTCR_EL2 for all CPUs, once.
pub(crate) fn set_vtcr(vtcr: u64) {
    VTCR.call_once(|| vtcr);
}

/// VTCR_EL2.
pub(crate) fn vtcr() -> u64 {
    VTCR.get().copied().unwrap_or(0)
}

/// Sets the system, once.
pub(crate) fn set_system(system: System) -> &'static System {
    SYSTEM.call_once(|| system)
}

/// The system. Not before it was set.
#[inline]
pub(crate) fn system() -> &'static System {
    match SYSTEM.get() {
        Some(system) => system,
        None => halt(),
    }
}

/// The system, if boot got that far.
pub(crate) fn try_system() -> Option<&'static System> {
    SYSTEM.get()
}
