// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who runs where. The CPUs of a pool serve one run queue, ordered by weighted run time, so that
//! shares are right over all of them; a vCPU that wakes takes a CPU that idles, or that of a vCPU
//! which has run more.
//!
//! A vCPU may run while its pause flags are all clear. Its [`Place`] changes under the lock of its
//! queue; but where nobody waits, its CPU lets it rest and resume without ([`rest`]). Flags are set
//! and cleared without a lock: who clears the last one calls [`Scheduler::wake`]; who sets one on
//! itself and then finds a reason to go on clears it again.
//!
//! A CPU that goes idle keeps the registers of the vCPU it last ran ([`SchedState::loaded_on`]): if
//! that one wakes first, nothing was moved. Until they are saved no other CPU takes that vCPU.

mod moving;
mod place;
mod pool;
mod queue;
mod rest;
mod share;
mod state;
#[cfg(test)]
mod tests;

pub use pool::{DEFAULT_RATELIMIT_US, PoolInfo, is_ratelimit};
pub use share::{DEFAULT_WEIGHT, Share};
pub use state::{MAX_CPUS, Place, SchedState, bit, pause};

use crate::addr::CpuId;
use crate::domain::vcpu::Vcpu;
use crate::hw::Hw;
use crate::sync::{Lock, SpinLock, rank};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use place::{Moment, Times};
use pool::Pool;
use queue::{RunQueue, Seen, Why};
use state::CpuSet;

/// The queue of a CPU that is in no pool.
const NO_QUEUE: u32 = u32::MAX;

/// One CPU, for the scheduler.
struct Cpu {
    /// The queue it serves, and the one it is to serve from its next choice on.
    queue: AtomicU32,
    wanted: AtomicU32,
    online: AtomicBool,
    resched: AtomicBool,
    /// It was told to choose, for one that waits.
    told: AtomicBool,
    /// Its current one lets others pass.
    yields: AtomicBool,
    /// When it chooses again since others wait; `u64::MAX` if it need not.
    until: AtomicU64,
    /// Ticks it was idle before it last was, and since when it is; `u64::MAX` if it is not.
    idle_before: AtomicU64,
    idle_since: AtomicU64,
}

impl Cpu {
    const fn new() -> Self {
        Self {
            queue: AtomicU32::new(NO_QUEUE),
            wanted: AtomicU32::new(NO_QUEUE),
            online: AtomicBool::new(false),
            resched: AtomicBool::new(false),
            told: AtomicBool::new(false),
            yields: AtomicBool::new(false),
            until: AtomicU64::new(u64::MAX),
            idle_before: AtomicU64::new(0),
            idle_since: AtomicU64::new(u64::MAX),
        }
    }

    fn set_until(&self, at: u64) {
        self.until.store(at, Ordering::SeqCst);
    }

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

/// One queue, and the CPUs that serve it or soon will.
struct Queue {
    run: SpinLock<RunQueue, { rank::RUNQ }>,
    seen: Arc<Seen>,
    cpus: CpuSet,
}

/// What a CPU does next.
pub enum Next {
    /// Runs this vCPU.
    Run(Arc<Vcpu>),
    /// Waits for an interrupt.
    Idle,
}

/// The run queues and the CPUs.
pub struct Scheduler {
    cpus: Box<[Cpu]>,
    queues: Box<[Queue]>,
    pools: Lock<Vec<Pool>, { rank::DOMAIN }>,
    /// vCPUs that there may be at a time.
    most_vcpus: AtomicUsize,
    times: Times,
    frequency: u64,
    ratelimit_us: u32,
}

impl Scheduler {
    /// For `nr_cpus`, none online yet, and one pool. `ratelimit_us` is the first limit of each pool
    /// ([`ratelimit_us`](Self::ratelimit_us)).
    pub fn new(nr_cpus: usize, frequency: u64, ratelimit_us: u32) -> Self {
        let queue = |_| {
            let seen = Arc::new(Seen::new());
            Queue {
                run: SpinLock::new(RunQueue::new(seen.clone())),
                seen,
                cpus: CpuSet::none(),
            }
        };
        let scheduler = Self {
            cpus: (0..nr_cpus).map(|_| Cpu::new()).collect(),
            queues: (0..pool::most(nr_cpus)).map(queue).collect(),
            pools: Lock::new(Vec::new()),
            most_vcpus: AtomicUsize::new(0),
            times: Times::new(frequency),
            frequency,
            ratelimit_us,
        };
        scheduler.add_first_pool();
        scheduler
    }

    /// CPUs of the machine, online or not.
    pub fn nr_cpus(&self) -> usize {
        self.cpus.len()
    }

    /// `cpu` takes part from now on, in the first pool.
    pub fn set_online(&self, cpu: CpuId) {
        if let (Some(c), Some(queue)) = (self.cpu(cpu), self.queues.first()) {
            queue.cpus.set(queue.cpus.get() | bit(cpu));
            queue.run.lock().join(cpu);
            c.queue.store(0, Ordering::SeqCst);
            c.wanted.store(0, Ordering::SeqCst);
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
        let Some(c) = self.cpu(cpu) else {
            return false;
        };
        c.resched.load(Ordering::Relaxed) && c.resched.swap(false, Ordering::SeqCst)
    }

    /// True if `cpu` was asked to choose anew and has not yet.
    pub fn wants_choice(&self, cpu: CpuId) -> bool {
        self.cpu(cpu)
            .is_some_and(|c| c.resched.load(Ordering::SeqCst))
    }

    /// True if `cpu`, which chose to idle, has been given nothing since. Others kick it after they
    /// give it something; it itself must ask after all that it does before it waits.
    pub fn may_sleep(&self, cpu: CpuId) -> bool {
        !self.wants_choice(cpu)
    }

    /// Makes `cpu` choose anew, soon.
    pub fn resched(&self, hw: &dyn Hw, cpu: CpuId) {
        if let Some(c) = self.cpu(cpu) {
            c.resched.store(true, Ordering::SeqCst);
            if cpu != hw.this_cpu() {
                hw.kick(cpu);
            }
        }
    }

    fn resched_all(&self, hw: &dyn Hw, cpus: u128) {
        for cpu in self.online().filter(|&cpu| cpus & bit(cpu) != 0) {
            self.resched(hw, cpu);
        }
    }

    #[inline]
    fn cpu(&self, cpu: CpuId) -> Option<&Cpu> {
        self.cpus.get(cpu.index())
    }

    #[inline]
    fn queue(&self, queue: u32) -> Option<&Queue> {
        self.queues.get(queue as usize)
    }

    /// The queue that `cpu` serves.
    fn queue_of(&self, cpu: &Cpu) -> Option<&Queue> {
        self.queue(cpu.queue.load(Ordering::SeqCst))
    }

    fn at(&self, now: u64) -> Moment<'_> {
        Moment {
            now,
            times: &self.times,
            cpus: &self.cpus,
        }
    }

    /// Runs `act` with the queue of `vcpu`, whose lock is held.
    fn with_queue<R: Default>(&self, vcpu: &Vcpu, act: impl Fn(&mut RunQueue) -> R) -> R {
        loop {
            let at = vcpu.sched.queue.load(Ordering::SeqCst);
            let Some(queue) = self.queue(at) else {
                return R::default();
            };
            let mut queue = queue.run.lock();
            if vcpu.sched.queue.load(Ordering::SeqCst) == at {
                return act(&mut queue);
            }
        }
    }

    /// Puts a vCPU whose flags are clear into its queue, unless it is there already, or has its CPU
    /// go on with it. Call it after clearing the last pause flag; calling it too often does no harm.
    pub fn wake(&self, hw: &dyn Hw, vcpu: &Arc<Vcpu>) {
        let told = match vcpu.sched.place() {
            Place::Ready | Place::Running => None,
            Place::Resting => Some(vcpu.sched.home()),
            Place::Out => self.with_queue(vcpu, |queue| {
                if vcpu.sched.place() != Place::Out || vcpu.sched.flags() != 0 {
                    return None;
                }
                let at = self.at(hw.now());
                queue.admit(vcpu, at);
                queue.whom_to_tell(vcpu, at, true)
            }),
        };
        if let Some(cpu) = told {
            self.resched(hw, cpu);
        }
    }

    /// Ticks that `cpu` was idle up to `now`.
    pub fn idle_ticks(&self, cpu: CpuId, now: u64) -> u64 {
        let Some(cpu) = self.cpu(cpu) else {
            return 0;
        };
        let since = cpu.idle_since.load(Ordering::Relaxed);
        let before = cpu.idle_before.load(Ordering::Relaxed);
        before.saturating_add(now.saturating_sub(since))
    }

    /// Takes a vCPU with a pause flag set out of the queue it waits in.
    pub fn take_out(&self, vcpu: &Arc<Vcpu>) {
        let taken = self.with_queue(vcpu, |queue| queue.take_out(vcpu));
        drop(taken);
    }

    /// Chooses what `this` does from `now` on, and until when if it must choose again by then.
    /// `loaded` is the vCPU whose registers it has.
    pub fn choose(
        &self,
        hw: &dyn Hw,
        this: CpuId,
        loaded: Option<&Arc<Vcpu>>,
        now: u64,
    ) -> (Next, Option<u64>) {
        let Some(cpu) = self.cpu(this) else {
            return (Next::Idle, None);
        };
        // All that is looked at below is read after this, at whatever ordering.
        cpu.resched.swap(false, Ordering::SeqCst);
        cpu.told.store(false, Ordering::SeqCst);
        let why = Why {
            expired: cpu.until.load(Ordering::Relaxed) <= now,
            yields: cpu.yields.load(Ordering::Relaxed),
        };
        cpu.set_until(u64::MAX);
        cpu.yields.store(false, Ordering::Relaxed);
        if cpu.wanted.load(Ordering::SeqCst) != cpu.queue.load(Ordering::Relaxed) {
            self.change_queue(hw, this, now);
        } else if let Some(next) = loaded.and_then(|v| self.choose_alone(cpu, this, v, now)) {
            return (next, None);
        }
        let Some(queue) = self.queue_of(cpu) else {
            cpu.begin_idle(now);
            return (Next::Idle, None);
        };
        let choice = queue.run.lock().choose(cpu, this, self.at(now), why);
        if choice.tell != 0 {
            self.resched_all(hw, choice.tell);
        }
        match choice.vcpu {
            Some(vcpu) => {
                cpu.end_idle(now);
                (Next::Run(vcpu), choice.until)
            }
            None => {
                cpu.begin_idle(now);
                (Next::Idle, choice.until)
            }
        }
    }

    /// Puts the running vCPU of `cpu` behind the others (`SCHEDOP_yield`, WFE), if any wait.
    pub fn yield_current(&self, hw: &dyn Hw, this: CpuId) {
        let Some(cpu) = self.cpu(this) else { return };
        let waiting = |queue: &Queue| queue.seen.ready.load(Ordering::SeqCst) != 0;
        if self.queue_of(cpu).is_some_and(waiting) {
            cpu.yields.store(true, Ordering::Relaxed);
            self.resched(hw, this);
        }
    }

    /// True if `cpu`, which idles and has the registers of `vcpu`, is to put them away: it will not
    /// run it again.
    pub fn must_unload(&self, cpu: CpuId, vcpu: &Vcpu) -> bool {
        let sched = &vcpu.sched;
        // It is the current one: what takes it away makes the CPU choose first.
        if sched.place() == Place::Resting {
            return false;
        }
        let queue = self.cpu(cpu).map(|c| c.queue.load(Ordering::Relaxed));
        sched.flags() & pause::EVICTED != 0
            || !sched.is_content(cpu) && !self.has_to_stay(cpu, sched)
            || queue != Some(sched.queue.load(Ordering::Relaxed))
    }

    /// True if a vCPU may be on `cpu` and on none that it likes more.
    fn has_to_stay(&self, cpu: CpuId, sched: &SchedState) -> bool {
        let pool = self.queue(sched.queue.load(Ordering::Relaxed));
        let may = sched.affinity() & pool.map_or(0, |queue| queue.cpus.get());
        may & bit(cpu) != 0 && may & sched.preference() == 0
    }

    /// No CPU has `vcpu` any more: if it waits, tells one that may run it.
    pub fn offer(&self, hw: &dyn Hw, vcpu: &Arc<Vcpu>) {
        if vcpu.sched.place() != Place::Ready {
            return;
        }
        let told = self.with_queue(vcpu, |queue| match vcpu.sched.place() {
            Place::Ready => queue.whom_to_tell(vcpu, self.at(hw.now()), false),
            _ => None,
        });
        if let Some(cpu) = told {
            self.resched(hw, cpu);
        }
    }

    /// How many vCPUs wait for `cpu` or for another CPU of its pool, for a debug key.
    pub fn waiting(&self, cpu: CpuId) -> u32 {
        let queue = self.cpu(cpu).and_then(|cpu| self.queue_of(cpu));
        queue.map_or(0, |queue| queue.seen.waiting.load(Ordering::Relaxed))
    }
}
