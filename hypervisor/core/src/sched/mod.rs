// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who runs where: a run queue a CPU, ordered by weighted run time, with time slices, wake-ups to
//! idle CPUs and stealing by them.
//!
//! A vCPU may run while its pause flags are all clear. Its place (out, ready in a queue, running)
//! changes only under the lock of its home CPU's queue. Flags are set and cleared without a lock:
//! who clears the last one calls [`Scheduler::wake`]; who sets one on itself and then finds a
//! reason to go on clears it again, so no wake-up is lost (the queue lock orders the two).
//!
//! A CPU that goes idle keeps the registers of the vCPU it last ran ([`Scheduler::loaded`]): if
//! that one wakes first, nothing was moved. Until they are saved no other CPU takes that vCPU.

mod queue;
#[cfg(test)]
mod tests;

use crate::addr::CpuId;
use crate::domain::vcpu::Vcpu;
use crate::hw::Hw;
use crate::sync::{Lock, rank};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use queue::RunQueue;

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
    /// Its domain is stopped, for whatever reason.
    pub const DOMAIN: u32 = PAUSED | SHUT_DOWN | DYING;
    /// Its registers must leave the CPU, even if that has nothing else to do.
    pub const EVICTED: u32 = DOWN | DOMAIN | MOVING | HELD;
}

/// A time slice, in microseconds.
const SLICE_US: u64 = 10_000;
/// How far ahead of the runner in weighted time a woken vCPU must be to take its CPU.
const PREEMPT_US: u64 = 500;
/// Default weight of a domain (credit2's).
pub const DEFAULT_WEIGHT: u32 = 256;

/// Where a vCPU is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Place {
    /// In no queue.
    Out = 0,
    /// In its home CPU's queue.
    Ready = 1,
    /// On its home CPU.
    Running = 2,
}

/// The scheduler's part of a vCPU.
pub struct SchedState {
    flags: AtomicU32,
    place: AtomicU8,
    home: AtomicU32,
    weight: AtomicU32,
    /// The CPUs it may run on, and those it likes.
    affinity: CpuSet,
    preference: CpuSet,
    vruntime: AtomicU64,
    run_ticks: AtomicU64,
}

impl SchedState {
    /// Out of any queue with `flags` set; at home on `home`.
    pub fn new(flags: u32, home: CpuId) -> Self {
        Self {
            flags: AtomicU32::new(flags),
            place: AtomicU8::new(Place::Out as u8),
            home: AtomicU32::new(home.0),
            weight: AtomicU32::new(DEFAULT_WEIGHT),
            affinity: CpuSet::all(),
            preference: CpuSet::all(),
            vruntime: AtomicU64::new(0),
            run_ticks: AtomicU64::new(0),
        }
    }

    /// Keeps the vCPU at home (`dom0_vcpus_pin`).
    pub fn pin(&self) {
        let home = 1u128.checked_shl(self.home().0).unwrap_or(0);
        self.affinity.set(home);
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

    /// Its share of the CPUs' time against that of others.
    pub fn set_weight(&self, weight: u32) {
        self.weight.store(weight.max(1), Ordering::Relaxed);
    }

    /// The CPUs it may run on, a bit each.
    pub fn affinity(&self) -> u128 {
        self.affinity.get()
    }

    /// The CPUs it likes to run on. Kept for the toolstack; nothing heeds it.
    pub fn preference(&self) -> u128 {
        self.preference.get()
    }

    /// Sets [`preference`](Self::preference).
    pub fn set_preference(&self, cpus: u128) {
        self.preference.set(cpus);
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

    /// How long it has run, in ticks.
    pub fn run_ticks(&self) -> u64 {
        self.run_ticks.load(Ordering::Relaxed)
    }

    fn set_place(&self, place: Place) {
        self.place.store(place as u8, Ordering::SeqCst);
    }

    /// Ticks in weighted time.
    fn weighted(&self, ticks: u64) -> u64 {
        let weight = u64::from(self.weight.load(Ordering::Relaxed));
        let scaled = ticks.saturating_mul(u64::from(DEFAULT_WEIGHT));
        scaled.checked_div(weight).unwrap_or(scaled)
    }
}

/// CPUs, a bit each.
struct CpuSet([AtomicU64; 2]);

impl CpuSet {
    fn all() -> Self {
        Self([AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)])
    }

    fn get(&self) -> u128 {
        let [low, high] = &self.0;
        u128::from(low.load(Ordering::SeqCst)) | u128::from(high.load(Ordering::SeqCst)) << 64
    }

    fn set(&self, cpus: u128) {
        let [low, high] = &self.0;
        low.store(cpus as u64, Ordering::SeqCst);
        high.store((cpus >> 64) as u64, Ordering::SeqCst);
    }

    fn contains(&self, cpu: CpuId) -> bool {
        let word = self.0.get(cpu.index() / 64);
        word.is_some_and(|w| w.load(Ordering::SeqCst) >> (cpu.0 % 64) & 1 != 0)
    }
}

/// One CPU, for the scheduler.
struct Cpu {
    queue: Lock<RunQueue, { rank::RUNQ }>,
    online: AtomicBool,
    idle: AtomicBool,
    resched: AtomicBool,
    /// Ticks it was idle before it last was, and since when it is; `u64::MAX` if it is not.
    idle_before: AtomicU64,
    idle_since: AtomicU64,
}

impl Cpu {
    /// It has nothing to do from `now` on. Of its own only.
    fn begin_idle(&self, now: u64) {
        if self.idle_since.load(Ordering::Relaxed) == u64::MAX {
            self.idle_since.store(now, Ordering::Relaxed);
        }
    }

    fn end_idle(&self, now: u64) {
        let since = self.idle_since.swap(u64::MAX, Ordering::Relaxed);
        self.idle_before
            .fetch_add(now.saturating_sub(since), Ordering::Relaxed);
    }
}

/// How far a vCPU that moves has come.
#[derive(Default)]
enum Move {
    /// Its CPU still has it.
    #[default]
    Later,
    /// Another CPU takes it just now, and will see that it may not run.
    InTransit,
    /// It has another home, and may have been in a queue.
    Done(#[allow(dead_code, reason = "dropped where no lock is held")] Option<Arc<Vcpu>>),
}

/// What a CPU does next.
pub enum Next {
    /// Runs this vCPU.
    Run(Arc<Vcpu>),
    /// Waits for an interrupt.
    Idle,
}

/// The run queues of all CPUs.
pub struct Scheduler {
    cpus: Box<[Cpu]>,
    slice: u64,
    preempt: u64,
}

impl Scheduler {
    /// Queues for `nr_cpus`, none online yet.
    pub fn new(nr_cpus: usize, frequency: u64) -> Self {
        let cpu = |_| Cpu {
            queue: Lock::new(RunQueue::default()),
            online: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            resched: AtomicBool::new(false),
            idle_before: AtomicU64::new(0),
            idle_since: AtomicU64::new(u64::MAX),
        };
        Self {
            cpus: (0..nr_cpus).map(cpu).collect(),
            slice: SLICE_US.saturating_mul(frequency) / 1_000_000,
            preempt: PREEMPT_US.saturating_mul(frequency) / 1_000_000,
        }
    }

    /// CPUs of the machine, online or not.
    pub fn nr_cpus(&self) -> usize {
        self.cpus.len()
    }

    /// `cpu` takes part from now on.
    pub fn set_online(&self, cpu: CpuId) {
        if let Some(c) = self.cpus.get(cpu.index()) {
            c.online.store(true, Ordering::Release);
        }
    }

    /// CPUs that take part.
    pub fn online(&self) -> impl Iterator<Item = CpuId> + '_ {
        let online =
            |(i, c): (usize, &Cpu)| c.online.load(Ordering::Acquire).then_some(CpuId(i as u32));
        self.cpus.iter().enumerate().filter_map(online)
    }

    /// True once for each request that `cpu` chooses anew.
    #[inline]
    pub fn take_resched(&self, cpu: CpuId) -> bool {
        let Some(c) = self.cpus.get(cpu.index()) else {
            return false;
        };
        c.resched.load(Ordering::Relaxed) && c.resched.swap(false, Ordering::SeqCst)
    }

    /// True if `cpu` was asked to choose anew and has not yet.
    pub fn wants_choice(&self, cpu: CpuId) -> bool {
        let cpu = self.cpus.get(cpu.index());
        cpu.is_some_and(|c| c.resched.load(Ordering::SeqCst))
    }

    /// True if `cpu`, which chose to idle, has been given nothing since. Others kick it after they
    /// give it something; it itself must ask after all that it does before it waits.
    pub fn may_sleep(&self, cpu: CpuId) -> bool {
        !self.wants_choice(cpu)
    }

    /// Makes `cpu` choose anew, soon.
    pub fn resched(&self, hw: &dyn Hw, cpu: CpuId) {
        if let Some(c) = self.cpus.get(cpu.index()) {
            c.resched.store(true, Ordering::SeqCst);
            if cpu != hw.this_cpu() {
                hw.kick(cpu);
            }
        }
    }

    /// Puts a vCPU whose flags are clear into a queue, unless it is there already. Call it after
    /// clearing the last pause flag; calling it too often does no harm.
    pub fn wake(&self, hw: &dyn Hw, vcpu: &Arc<Vcpu>) {
        loop {
            let home = vcpu.sched.home();
            let Some(cpu) = self.cpus.get(home.index()) else {
                return;
            };
            let mut queue = cpu.queue.lock();
            if vcpu.sched.home() != home {
                continue;
            }
            if vcpu.sched.place() != Place::Out || vcpu.sched.flags() != 0 {
                return;
            }
            if !queue.is_loaded(vcpu)
                && !cpu.idle.load(Ordering::SeqCst)
                && let Some(idle) = self.find_idle(vcpu)
            {
                vcpu.sched.home.store(idle.0, Ordering::Relaxed);
                continue;
            }
            queue.admit(vcpu, self.slice);
            let preempts = queue.preempts(vcpu, hw.now(), self.preempt);
            let next_slice_matters = queue.waiting() == 1;
            drop(queue);
            if preempts || next_slice_matters || cpu.idle.load(Ordering::SeqCst) {
                self.resched(hw, home);
            }
            return;
        }
    }

    /// True if a CPU runs `vcpu` or has its registers. With a pause flag set this will end, and not
    /// begin again.
    pub fn holds(&self, vcpu: &Arc<Vcpu>) -> bool {
        self.at_home(vcpu, |queue| {
            vcpu.sched.place() == Place::Running || queue.is_loaded(vcpu)
        })
    }

    /// Lets `vcpu` run on `cpus` alone, of which one is online. If it is elsewhere it moves, once
    /// its CPU has put its registers away ([`finish_move`](Self::finish_move)).
    pub fn set_affinity(&self, hw: &dyn Hw, vcpu: &Arc<Vcpu>, cpus: u128) {
        vcpu.sched.affinity.set(cpus);
        let home = vcpu.sched.home();
        if !vcpu.sched.affinity.contains(home) {
            vcpu.sched.set(pause::MOVING);
            self.resched(hw, home);
            self.finish_move(hw, vcpu);
        }
    }

    /// If `vcpu` is to move and no CPU has it any more, it does.
    pub fn finish_move(&self, hw: &dyn Hw, vcpu: &Arc<Vcpu>) {
        if vcpu.sched.flags() & pause::MOVING == 0 {
            return;
        }
        let Some(home) = self.online().find(|&c| vcpu.sched.affinity.contains(c)) else {
            return;
        };
        loop {
            let step = self.at_home(vcpu, |queue| {
                if vcpu.sched.place() == Place::Running || queue.is_loaded(vcpu) {
                    return Move::Later;
                }
                let taken = queue.take_out(vcpu);
                if vcpu.sched.place() != Place::Out {
                    return Move::InTransit;
                }
                vcpu.sched.home.store(home.0, Ordering::Relaxed);
                Move::Done(taken)
            });
            match step {
                Move::Later => return,
                Move::InTransit => core::hint::spin_loop(),
                Move::Done(_) => break,
            }
        }
        if vcpu.sched.clear(pause::MOVING) {
            self.wake(hw, vcpu);
        }
    }

    /// Ticks that `cpu` was idle up to `now`.
    pub fn idle_ticks(&self, cpu: CpuId, now: u64) -> u64 {
        let Some(cpu) = self.cpus.get(cpu.index()) else {
            return 0;
        };
        let since = cpu.idle_since.load(Ordering::Relaxed);
        let before = cpu.idle_before.load(Ordering::Relaxed);
        before.saturating_add(now.saturating_sub(since))
    }

    /// How long a vCPU runs before one that has run less may take its CPU, in microseconds.
    pub const fn ratelimit_us(&self) -> u32 {
        PREEMPT_US as u32
    }

    /// Takes a vCPU with a pause flag set out of the queue it waits in.
    pub fn take_out(&self, vcpu: &Arc<Vcpu>) {
        let taken = self.at_home(vcpu, |queue| queue.take_out(vcpu));
        drop(taken);
    }

    /// Runs `act` with the queue that `vcpu` is at home in, whose lock is held.
    fn at_home<R: Default>(&self, vcpu: &Vcpu, act: impl Fn(&mut RunQueue) -> R) -> R {
        loop {
            let home = vcpu.sched.home();
            let Some(cpu) = self.cpus.get(home.index()) else {
                return R::default();
            };
            let mut queue = cpu.queue.lock();
            if vcpu.sched.home() == home {
                return act(&mut queue);
            }
        }
    }

    fn find_idle(&self, vcpu: &Vcpu) -> Option<CpuId> {
        let allowed = self.online().filter(|&c| vcpu.sched.affinity.contains(c));
        allowed.into_iter().find(|c| {
            self.cpus
                .get(c.index())
                .is_some_and(|c| c.idle.load(Ordering::Relaxed))
        })
    }

    /// Chooses what `cpu` does next, and until when if it must choose again by then.
    pub fn choose(&self, hw: &dyn Hw, this: CpuId) -> (Next, Option<u64>) {
        let Some(cpu) = self.cpus.get(this.index()) else {
            return (Next::Idle, None);
        };
        cpu.resched.store(false, Ordering::SeqCst);
        let now = hw.now();
        let mut queue = cpu.queue.lock();
        queue.stop_current(now, self.slice);
        if queue.waiting() == 0 {
            drop(queue);
            // Seen as idle from here on, so that whoever wakes a vCPU meanwhile gives it to us.
            cpu.idle.store(true, Ordering::SeqCst);
            let stolen = self.steal(this);
            queue = cpu.queue.lock();
            if let Some(vcpu) = stolen {
                queue.admit(&vcpu, self.slice);
            }
        }
        let Some(vcpu) = queue.start_first(now) else {
            cpu.begin_idle(now);
            return (Next::Idle, None);
        };
        cpu.end_idle(now);
        cpu.idle.store(false, Ordering::SeqCst);
        let deadline = (queue.waiting() > 0).then(|| now.saturating_add(self.slice));
        (Next::Run(vcpu), deadline)
    }

    /// A ready vCPU of another CPU's queue, with `this` for its home and in no queue.
    fn steal(&self, this: CpuId) -> Option<Arc<Vcpu>> {
        let (before, after) = self.cpus.split_at_checked(this.index())?;
        for other in after.iter().skip(1).chain(before) {
            if other.idle.load(Ordering::Relaxed) || !other.online.load(Ordering::Relaxed) {
                continue;
            }
            if let Some(vcpu) = other.queue.lock().give_away(this) {
                vcpu.sched.home.store(this.0, Ordering::Relaxed);
                return Some(vcpu);
            }
        }
        None
    }

    /// Puts the running vCPU of `cpu` behind the others (`SCHEDOP_yield`, WFE).
    pub fn yield_current(&self, hw: &dyn Hw, this: CpuId) {
        let Some(cpu) = self.cpus.get(this.index()) else {
            return;
        };
        let mut queue = cpu.queue.lock();
        if queue.waiting() > 0 {
            queue.yield_current();
            drop(queue);
            self.resched(hw, this);
        }
    }

    /// The vCPU whose registers are in `cpu`.
    pub fn loaded(&self, cpu: CpuId) -> Option<Arc<Vcpu>> {
        self.cpus.get(cpu.index())?.queue.lock().loaded()
    }

    /// Says whose registers are in `cpu` now: `None` once they were saved.
    pub fn set_loaded(&self, cpu: CpuId, vcpu: Option<Arc<Vcpu>>) {
        if let Some(c) = self.cpus.get(cpu.index()) {
            c.queue.lock().set_loaded(vcpu);
        }
    }

    /// The vCPU that `cpu` held may run elsewhere now: tells an idle CPU if it waits.
    pub fn offer(&self, hw: &dyn Hw, cpu: CpuId) {
        let waits = |c: &Cpu| c.queue.lock().waiting() > 0;
        if self.cpus.get(cpu.index()).is_some_and(waits) {
            let idle = |c: &CpuId| {
                let c = self.cpus.get(c.index());
                c.is_some_and(|c| c.idle.load(Ordering::Relaxed))
            };
            if let Some(idle) = self.online().find(idle) {
                self.resched(hw, idle);
            }
        }
    }

    /// Every vCPU that waits in `cpu`'s queue, for a debug key.
    pub fn ready(&self, cpu: CpuId) -> Vec<Arc<Vcpu>> {
        self.cpus
            .get(cpu.index())
            .map(|c| c.queue.lock().ready().to_vec())
            .unwrap_or_default()
    }
}
