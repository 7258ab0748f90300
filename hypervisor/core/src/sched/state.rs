// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scheduler's part of a vCPU: why it does not run, where it is, where it may be, how much it
//! has run.

use super::share::{DEFAULT_WEIGHT, Share};
use crate::addr::CpuId;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Why a vCPU does not run: bits of [`SchedState::flags`].
pub mod pause {
    /// Waits for an interrupt or an event (WFI, `SCHEDOP_block`).
    pub const BLOCKED: u32 = 1 << 0;
    /// Not started, or stopped itself (PSCI).
    pub const DOWN: u32 = 1 << 1;
    /// Waits in `SCHEDOP_poll`.
    pub const POLLING: u32 = 1 << 2;
    /// Its domain is paused by a toolstack.
    pub const PAUSED: u32 = 1 << 3;
    /// Its domain has shut down.
    pub const SHUT_DOWN: u32 = 1 << 4;
    /// Its domain is being destroyed.
    pub const DYING: u32 = 1 << 5;
    /// It goes to another CPU, one that it may run on.
    pub const MOVING: u32 = 1 << 6;
    /// Somebody looks at its registers.
    pub const HELD: u32 = 1 << 7;
    /// Its domain has used up what its cap gives it for now.
    pub const CAPPED: u32 = 1 << 8;
    /// Its domain is stopped, for whatever reason.
    pub const DOMAIN: u32 = PAUSED | SHUT_DOWN | DYING;
    /// Its registers must leave the CPU, even if that has nothing else to do.
    pub const EVICTED: u32 = DOWN | DOMAIN | MOVING | HELD;
}

/// Where a vCPU is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Place {
    /// In no queue.
    Out = 0,
    /// In its queue.
    Ready = 1,
    /// On its home CPU.
    Running = 2,
}

/// No CPU.
const NOWHERE: u32 = u32::MAX;

/// The scheduler's part of a vCPU.
pub struct SchedState {
    flags: AtomicU32,
    place: AtomicU8,
    /// The run queue whose lock orders what happens to it.
    pub(super) queue: AtomicU32,
    pub(super) home: AtomicU32,
    /// The CPU that has its registers.
    loaded: AtomicU32,
    /// What its domain is to have.
    pub share: Arc<Share>,
    pub(super) affinity: CpuSet,
    pub(super) preference: CpuSet,
    /// Weighted ticks that it has run, more or less: its rank in the queue.
    pub(super) vruntime: AtomicU64,
    pub(super) run_ticks: AtomicU64,
}

impl SchedState {
    /// Out of any queue with `flags` set; at home on `home`.
    pub fn new(flags: u32, home: CpuId, share: Arc<Share>) -> Self {
        Self {
            flags: AtomicU32::new(flags),
            place: AtomicU8::new(Place::Out as u8),
            queue: AtomicU32::new(share.queue()),
            home: AtomicU32::new(home.0),
            loaded: AtomicU32::new(NOWHERE),
            share,
            affinity: CpuSet::all(),
            preference: CpuSet::all(),
            vruntime: AtomicU64::new(0),
            run_ticks: AtomicU64::new(0),
        }
    }

    /// Keeps the vCPU at home (`dom0_vcpus_pin`).
    pub fn pin(&self) {
        self.affinity.set(bit(self.home()));
    }

    /// Sets pause flags. If the vCPU may be running elsewhere, kick its home after.
    pub fn set(&self, flags: u32) {
        self.flags.fetch_or(flags, Ordering::SeqCst);
    }

    /// Sets pause flags unless one is set already; true if it did.
    pub fn try_set(&self, flags: u32) -> bool {
        let free = |old: u32| (old & flags == 0).then_some(old | flags);
        self.flags
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, free)
            .is_ok()
    }

    /// Clears pause flags; true if that was the last of them.
    pub fn clear(&self, flags: u32) -> bool {
        let old = self.flags.fetch_and(!flags, Ordering::SeqCst);
        old & flags != 0 && old & !flags == 0
    }

    /// The pause flags.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::SeqCst)
    }

    /// The CPUs it may run on, a bit each: its hard affinity.
    pub fn affinity(&self) -> u128 {
        self.affinity.get()
    }

    /// The CPUs it likes to run on: its soft affinity.
    pub fn preference(&self) -> u128 {
        self.preference.get()
    }

    /// Sets [`preference`](Self::preference).
    pub fn set_preference(&self, cpus: u128) {
        self.preference.set(cpus);
    }

    /// The CPU it runs on, or last did.
    pub fn home(&self) -> CpuId {
        CpuId(self.home.load(Ordering::Relaxed))
    }

    /// Where it is; may have changed by the time it is looked at.
    pub fn place(&self) -> Place {
        match self.place.load(Ordering::SeqCst) {
            1 => Place::Ready,
            2 => Place::Running,
            _ => Place::Out,
        }
    }

    pub(super) fn set_place(&self, place: Place) {
        self.place.store(place as u8, Ordering::SeqCst);
    }

    /// The CPU that has its registers.
    pub(super) fn loaded_on(&self) -> Option<CpuId> {
        let cpu = self.loaded.load(Ordering::SeqCst);
        (cpu != NOWHERE).then_some(CpuId(cpu))
    }

    pub(super) fn set_loaded(&self, cpu: Option<CpuId>) {
        let cpu = cpu.map_or(NOWHERE, |cpu| cpu.0);
        self.loaded.store(cpu, Ordering::SeqCst);
    }

    /// True unless another CPU than `cpu` has its registers.
    pub(super) fn is_free_for(&self, cpu: CpuId) -> bool {
        self.loaded_on().is_none_or(|on| on == cpu)
    }

    /// How long it has run, in ticks.
    pub fn run_ticks(&self) -> u64 {
        self.run_ticks.load(Ordering::Relaxed)
    }

    pub(super) fn vruntime(&self) -> u64 {
        self.vruntime.load(Ordering::Relaxed)
    }

    pub(super) fn set_vruntime(&self, ticks: u64) {
        self.vruntime.store(ticks, Ordering::Relaxed);
    }

    /// Ticks in weighted time.
    pub(super) fn weighted(&self, ticks: u64) -> u64 {
        let scaled = ticks.saturating_mul(u64::from(DEFAULT_WEIGHT));
        scaled
            .checked_div(self.share.weight().into())
            .unwrap_or(scaled)
    }
}

/// `cpu` as a set.
pub fn bit(cpu: CpuId) -> u128 {
    1u128.checked_shl(cpu.0).unwrap_or(0)
}

/// CPUs, a bit each.
pub(super) struct CpuSet([AtomicU64; 2]);

impl CpuSet {
    pub(super) const fn all() -> Self {
        Self([AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)])
    }

    pub(super) const fn none() -> Self {
        Self([AtomicU64::new(0), AtomicU64::new(0)])
    }

    pub(super) fn get(&self) -> u128 {
        let [low, high] = &self.0;
        u128::from(low.load(Ordering::SeqCst)) | u128::from(high.load(Ordering::SeqCst)) << 64
    }

    pub(super) fn set(&self, cpus: u128) {
        let [low, high] = &self.0;
        low.store(cpus as u64, Ordering::SeqCst);
        high.store((cpus >> 64) as u64, Ordering::SeqCst);
    }

    pub(super) fn contains(&self, cpu: CpuId) -> bool {
        let word = self.0.get(cpu.index() / 64);
        word.is_some_and(|w| w.load(Ordering::Relaxed) >> (cpu.0 % 64) & 1 != 0)
    }
}
