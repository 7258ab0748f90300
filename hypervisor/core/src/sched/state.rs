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
    /// It waits for something, and its home CPU does nothing else.
    Resting = 3,
}

/// No CPU.
const NOWHERE: u32 = u32::MAX;
/// It does not run; or has no limit.
const NONE: u64 = u64::MAX;

/// The scheduler's part of a vCPU.
pub struct SchedState {
    flags: AtomicU32,
    place: AtomicU8,
    /// The run queue whose lock orders what happens to it.
    pub(super) queue: AtomicU32,
    home: AtomicU32,
    /// The CPU that has its registers.
    loaded: AtomicU32,
    /// What its domain is to have.
    pub share: Arc<Share>,
    /// The CPUs of its kind, all that it may ever run on.
    kind: CpuSet,
    /// Of these only.
    pub(super) affinity: CpuSet,
    pub(super) preference: CpuSet,
    /// Weighted ticks that it has run, more or less: its rank in the queue.
    vruntime: AtomicU64,
    run_ticks: AtomicU64,
    /// Of the CPU that runs it: since when, and what it may use of its domain's budget.
    since: AtomicU64,
    quota: AtomicU64,
    /// When it last had to wait for a CPU after it had been out.
    woken: AtomicU64,
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
            kind: CpuSet::all(),
            affinity: CpuSet::all(),
            preference: CpuSet::all(),
            vruntime: AtomicU64::new(0),
            run_ticks: AtomicU64::new(0),
            since: AtomicU64::new(NONE),
            quota: AtomicU64::new(NONE),
            woken: AtomicU64::new(0),
        }
    }

    /// From now on `cpus` are those of its kind, and it may run on all of them. Of a vCPU that no
    /// CPU has.
    pub fn set_kind(&self, cpus: u128) {
        self.kind.set(cpus);
        self.affinity.set(cpus);
    }

    /// True if one of `cpus` is of its kind.
    pub fn fits(&self, cpus: u128) -> bool {
        self.kind.get() & cpus != 0
    }

    /// True if it may be in a pool of `cpus`: one that will never run again may be in any.
    pub fn may_be_among(&self, cpus: u128) -> bool {
        self.fits(cpus) || self.flags() & pause::DYING != 0
    }

    /// Lets it run on those of `cpus` that are of its kind.
    pub(super) fn allow(&self, cpus: u128) {
        self.affinity.set(cpus & self.kind.get());
    }

    /// Keeps the vCPU at home (`dom0_vcpus_pin`).
    pub fn pin(&self) {
        self.allow(bit(self.home()));
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

    /// The CPUs it may run on, a bit each: its hard affinity. All are of its kind.
    pub fn affinity(&self) -> u128 {
        self.affinity.get()
    }

    /// The CPUs it likes to run on: its soft affinity.
    pub fn preference(&self) -> u128 {
        self.preference.get()
    }

    /// The CPU it runs on, or last did.
    pub fn home(&self) -> CpuId {
        CpuId(self.home.load(Ordering::SeqCst))
    }

    pub(super) fn set_home(&self, cpu: CpuId) {
        self.home.store(cpu.0, Ordering::SeqCst);
    }

    /// Where it is; may have changed by the time it is looked at.
    pub fn place(&self) -> Place {
        match self.place.load(Ordering::SeqCst) {
            1 => Place::Ready,
            2 => Place::Running,
            3 => Place::Resting,
            _ => Place::Out,
        }
    }

    pub(super) fn set_place(&self, place: Place) {
        self.place.store(place as u8, Ordering::SeqCst);
    }

    /// The CPU that has its registers.
    pub fn loaded_on(&self) -> Option<CpuId> {
        let cpu = self.loaded.load(Ordering::SeqCst);
        (cpu != NOWHERE).then_some(CpuId(cpu))
    }

    /// Says which CPU has its registers now: `None` once they were saved.
    pub fn set_loaded(&self, cpu: Option<CpuId>) {
        let cpu = cpu.map_or(NOWHERE, |cpu| cpu.0);
        self.loaded.store(cpu, Ordering::SeqCst);
    }

    /// True if a CPU runs it or has its registers. With a pause flag set this will end, and not begin
    /// again: a CPU that takes it shows that before it looks at the flags, and shows that it has its
    /// registers before it shows that it does not run it.
    pub fn is_held(&self) -> bool {
        let current = matches!(self.place(), Place::Running | Place::Resting);
        current || self.loaded_on().is_some()
    }

    /// True unless another CPU than `cpu` has its registers.
    pub(super) fn is_free_for(&self, cpu: CpuId) -> bool {
        self.loaded_on().is_none_or(|on| on == cpu)
    }

    /// True if it may run on `cpu` and would not rather be elsewhere.
    pub(super) fn is_content(&self, cpu: CpuId) -> bool {
        self.affinity.contains(cpu) && self.preference.contains(cpu)
    }

    /// How long it has run until it last stopped, in ticks.
    pub fn run_ticks(&self) -> u64 {
        self.run_ticks.load(Ordering::Relaxed)
    }

    /// When it last came to those that wait for a CPU from where it waited for something else, in
    /// ticks.
    pub fn woken(&self) -> u64 {
        self.woken.load(Ordering::Relaxed)
    }

    pub(super) fn set_woken(&self, now: u64) {
        self.woken.store(now, Ordering::Relaxed);
    }

    /// It runs from `now` on.
    pub(super) fn start_clock(&self, now: u64) {
        self.since.store(now, Ordering::Relaxed);
    }

    /// Ticks that it has run up to `now` since it was chosen.
    pub(super) fn runs_for(&self, now: u64) -> u64 {
        now.saturating_sub(self.since.load(Ordering::Relaxed))
    }

    /// Accounts what it has run since it was chosen, if it runs; how much that is. For the CPU that
    /// runs it.
    pub(super) fn stop_clock(&self, now: u64) -> u64 {
        let ran = self.runs_for(now);
        self.since.store(NONE, Ordering::Relaxed);
        let all = self.run_ticks.load(Ordering::Relaxed).saturating_add(ran);
        self.run_ticks.store(all, Ordering::Relaxed);
        self.add_vruntime(self.weighted(ran));
        ran
    }

    /// What it may use of its domain's budget; `u64::MAX` if that has no limit.
    pub(super) fn quota(&self) -> u64 {
        self.quota.load(Ordering::Relaxed)
    }

    pub(super) fn set_quota(&self, quota: Option<u64>) {
        self.quota.store(quota.unwrap_or(NONE), Ordering::Relaxed);
    }

    /// Gives back what it has not used of its domain's budget, after it `ran`.
    pub(super) fn return_quota(&self, ran: u64) {
        let quota = self.quota();
        if quota != NONE {
            self.quota.store(NONE, Ordering::Relaxed);
            self.share.give_back(quota, ran);
        }
    }

    /// True if it has a quota, or must have one to go on.
    pub(super) fn is_limited(&self) -> bool {
        self.share.cap() != 0 || self.quota() != NONE
    }

    pub(super) fn vruntime(&self) -> u64 {
        self.vruntime.load(Ordering::Relaxed)
    }

    /// The same as of `now`, if it runs.
    pub(super) fn vruntime_at(&self, now: u64) -> u64 {
        self.vruntime()
            .saturating_add(self.weighted(self.runs_for(now)))
    }

    pub(super) fn add_vruntime(&self, ticks: u64) {
        self.vruntime.fetch_add(ticks, Ordering::Relaxed);
    }

    pub(super) fn raise_vruntime(&self, least: u64) {
        if self.vruntime() < least {
            self.set_vruntime(least);
        }
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

    /// Weighted time in ticks, rounded up.
    pub(super) fn unweighted(&self, time: u64) -> u64 {
        let scaled = time.saturating_mul(self.share.weight().into());
        scaled.div_ceil(u64::from(DEFAULT_WEIGHT))
    }
}

/// The most CPUs: what a set of them has room for.
pub const MAX_CPUS: usize = u128::BITS as usize;

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
