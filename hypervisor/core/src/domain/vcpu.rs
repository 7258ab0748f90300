// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtual CPU.

use super::Domain;
use super::context::Context;
use super::runstate::RunstateArea;
use crate::addr::{CpuId, Gfn, PAGE_SIZE, PaRange};
use crate::event::EventDomain;
use crate::hw::CacheOp;
use crate::p2m::RamScan;
use crate::sched::{SchedState, Share, pause};
use crate::sync::{Lock, rank};
use crate::system::System;
use crate::timer::Purpose;
use crate::trap::timer::PhysTimer;
use alloc::sync::{Arc, Weak};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Registers that belong to whoever runs the vCPU, or else to whoever holds it stopped.
pub struct VcpuCell(UnsafeCell<Context>);

// SAFETY: access goes through `get`, whose contract gives one CPU at a time the registers.
unsafe impl Sync for VcpuCell {}

impl VcpuCell {
    /// The registers.
    pub fn get(&self) -> *mut Context {
        self.0.get()
    }
}

/// A vCPU that is to start, or start over, with these when it next runs.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// First instruction.
    pub entry: u64,
    /// X0 there.
    pub x0: u64,
}

/// A virtual CPU.
pub struct Vcpu {
    /// Its number in the domain.
    pub id: u32,
    /// Its domain.
    pub domain: Weak<Domain>,
    /// Where everything is.
    pub sys: &'static System,
    /// Its registers.
    pub context: VcpuCell,
    /// The scheduler's part.
    pub sched: SchedState,
    /// Its emulated physical timer.
    pub ptimer: Lock<PhysTimer, { rank::VGIC_DIST }>,
    /// Where the guest wants to see its runstate.
    pub runstate: Lock<RunstateArea, { rank::DOMAIN }>,
    /// Set/way operations of this vCPU armed the trap of its VM registers (HCR_EL2.TVM).
    pub tvm: AtomicBool,
    /// Set/way: guest frames from this one on must be cleaned before it goes on; `u64::MAX`: none.
    pub flush_from: AtomicU64,
    start: Lock<Option<Start>, { rank::EVTCHN }>,
    start_pending: AtomicBool,
    /// It was given registers to run with.
    initialised: AtomicBool,
    /// The port `SCHEDOP_poll` waits for: `u32::MAX` for any.
    pub(crate) poll_port: AtomicU32,
}

impl Vcpu {
    /// A vCPU that is down until [`Vcpu::start`].
    pub fn new(
        sys: &'static System,
        domain: Weak<Domain>,
        id: u32,
        home: CpuId,
        share: Arc<Share>,
    ) -> Self {
        Self {
            id,
            domain,
            sys,
            context: VcpuCell(UnsafeCell::new(Context::reset(0, 0))),
            sched: SchedState::new(pause::DOWN | pause::PAUSED, home, share),
            ptimer: Lock::new(PhysTimer::default()),
            runstate: Lock::new(RunstateArea::default()),
            tvm: AtomicBool::new(false),
            flush_from: AtomicU64::new(u64::MAX),
            start: Lock::new(None),
            start_pending: AtomicBool::new(false),
            initialised: AtomicBool::new(false),
            poll_port: AtomicU32::new(0),
        }
    }

    /// True once started and not stopped by itself.
    pub fn is_up(&self) -> bool {
        self.sched.flags() & pause::DOWN == 0
    }

    /// Starts a vCPU that is down, as new. False if it is up already.
    pub fn start(self: &Arc<Self>, domain: &Domain, start: Start) -> bool {
        self.start_in(Some(domain), start)
    }

    /// As [`Vcpu::start`]; without a domain there are no interrupts to reset.
    pub(crate) fn start_in(self: &Arc<Self>, domain: Option<&Domain>, start: Start) -> bool {
        let mut slot = self.start.lock();
        if self.is_up() {
            return false;
        }
        *slot = Some(start);
        self.renew(domain);
        self.initialised.store(true, Ordering::Relaxed);
        self.start_pending.store(true, Ordering::SeqCst);
        let runnable = self.sched.clear(pause::DOWN);
        drop(slot);
        self.announce(domain);
        if runnable {
            self.sys.sched.wake(self.sys.hw, self);
        }
        true
    }

    /// All but its registers is as when it had never run. Of a vCPU that is down.
    fn renew(&self, domain: Option<&Domain>) {
        *self.ptimer.lock() = PhysTimer::default();
        self.tvm.store(false, Ordering::Relaxed);
        self.flush_from.store(u64::MAX, Ordering::Relaxed);
        if let Some(domain) = domain {
            let line = Some(self.id);
            domain.vgic.reset_vcpu(self.id, domain);
            domain
                .vgic
                .set_line(line, super::PPI_PHYS_TIMER, false, domain);
        }
        // Not the last ones: it is down.
        self.sched.clear(pause::BLOCKED | pause::POLLING);
    }

    /// Events that were announced before it was new are not announced again by themselves.
    fn announce(&self, domain: Option<&Domain>) {
        if let Some(domain) = domain.filter(|d| d.events.upcall_pending(self.id)) {
            domain.upcall(self.id);
        }
    }

    /// What it is to start with, if it was started since this was last asked. For the CPU that is
    /// about to run it.
    pub fn take_start(&self) -> Option<Start> {
        if !self.start_pending.load(Ordering::Relaxed) {
            return None;
        }
        self.start_pending.store(false, Ordering::SeqCst);
        self.start.lock().take()
    }

    /// True once it was given registers to run with.
    pub fn is_initialised(&self) -> bool {
        self.initialised.load(Ordering::Relaxed)
    }

    /// Lets `act` see and change its registers, while no CPU runs it or has them. `None` if
    /// somebody else does that just now, or if this CPU is to do something else, which may be to
    /// let go a vCPU that the other waits for in here: ask again after. To be called with no lock
    /// held, and not by itself; waits as long as the CPU needs that has it.
    pub fn while_stopped<R>(self: &Arc<Self>, act: impl FnOnce(&mut Context) -> R) -> Option<R> {
        if !self.sched.try_set(pause::HELD) {
            return None;
        }
        let (sched, hw) = (&self.sys.sched, self.sys.hw);
        sched.resched(hw, self.sched.home());
        while self.sched.is_held() {
            if sched.wants_choice(hw.this_cpu()) {
                self.unblock(pause::HELD);
                return None;
            }
            core::hint::spin_loop();
        }
        // SAFETY: no CPU has the vCPU, and none takes it while the flag is set, which we alone
        // set.
        let context = unsafe { &mut *self.context.get() };
        if let Some(start) = self.take_start() {
            *context = Context::reset(start.entry, start.x0);
        }
        let result = act(context);
        self.unblock(pause::HELD);
        Some(result)
    }

    /// Is up from now on, with the registers it has, or down.
    pub fn set_up(self: &Arc<Self>, domain: &Domain, up: bool) {
        self.initialised.store(true, Ordering::Relaxed);
        if up {
            self.announce(Some(domain));
            self.unblock(pause::DOWN);
        } else {
            self.sched.set(pause::DOWN);
            self.sys.sched.resched(self.sys.hw, self.sched.home());
        }
    }

    /// Is down and as new. False if somebody looks at its registers just now: then it is down. As
    /// [`while_stopped`](Self::while_stopped).
    pub fn reset(self: &Arc<Self>, domain: &Domain) -> bool {
        self.set_up(domain, false);
        let reset = self.while_stopped(|context| {
            let _start = self.start.lock();
            *context = Context::reset(0, 0);
            self.renew(Some(domain));
            self.initialised.store(false, Ordering::Relaxed);
        });
        reset.is_some()
    }

    /// How long it has run, in nanoseconds.
    pub fn run_ns(&self) -> u64 {
        let now = self.sys.hw.now().saturating_sub(self.sys.boot_ticks);
        self.sys.ticks_to_ns(self.runstate.lock().ran(now))
    }

    /// Stops for good, until started anew (PSCI CPU_OFF). Of the running vCPU.
    pub fn go_down(&self) {
        // Its runstate is shown where whoever starts it anew says.
        self.runstate.lock().unregister();
        self.sched.set(pause::DOWN);
        self.sys.sched.resched(self.sys.hw, self.sys.hw.this_cpu());
    }

    /// Waits until something is deliverable. Of the running vCPU; the run loop then looks whether
    /// something is already ([`Vcpu::settle_wait`]).
    pub fn block(&self) {
        self.sched.set(pause::BLOCKED);
        self.sys.sched.resched(self.sys.hw, self.sys.hw.this_cpu());
    }

    /// Of the running vCPU, whose list registers were synced: if it wants to wait and something
    /// is deliverable, it does not.
    pub fn settle_wait(&self, domain: &Domain) {
        let waits = self.sched.flags() & (pause::BLOCKED | pause::POLLING) != 0;
        if waits && domain.vgic.has_deliverable(self.id) {
            self.sched.clear(pause::BLOCKED | pause::POLLING);
        }
    }

    /// Waits in `SCHEDOP_poll` for `port` (`u32::MAX`: the caller looks for itself).
    pub(crate) fn poll(&self, port: u32) {
        self.poll_port.store(port, Ordering::SeqCst);
        self.sched.set(pause::POLLING);
        self.sys.sched.resched(self.sys.hw, self.sys.hw.this_cpu());
    }

    /// Something came that a wait waits for.
    pub fn unblock(self: &Arc<Self>, flags: u32) {
        if self.sched.clear(flags) {
            self.sys.sched.wake(self.sys.hw, self);
        }
    }

    pub(crate) fn virtual_timer_expired(self: &Arc<Self>) {
        // Its interrupt comes when the timer is loaded.
        self.unblock(pause::BLOCKED | pause::POLLING);
    }

    pub(crate) fn physical_timer_expired(self: &Arc<Self>) {
        if let Some(domain) = self.domain.upgrade() {
            self.update_ptimer(&domain);
        }
    }

    pub(crate) fn poll_expired(self: &Arc<Self>) {
        self.unblock(pause::POLLING);
    }

    /// Cleans and invalidates a bounded piece of what set/way operations asked for. True when
    /// nothing is left.
    pub fn flush_step(&self, domain: &Domain) -> bool {
        /// Frames a step, 2 MiB.
        const STEP: u64 = 512;
        let from = self.flush_from.load(Ordering::Relaxed);
        if from == u64::MAX {
            return true;
        }
        let (gfn, mfn, nr) = match domain.p2m.next_ram(Gfn(from)) {
            RamScan::Run { gfn, mfn, nr } => (gfn, mfn, nr),
            RamScan::Resume(at) => {
                self.flush_from.store(at.0, Ordering::Relaxed);
                return false;
            }
            RamScan::End => {
                self.flush_from.store(u64::MAX, Ordering::Relaxed);
                return true;
            }
        };
        let nr = nr.min(STEP);
        if let Some(range) = PaRange::new(mfn.base(), nr.saturating_mul(PAGE_SIZE)) {
            self.sys.hw.cache(range, CacheOp::CleanInvalidate);
        }
        self.flush_from
            .store(gfn.0.saturating_add(nr), Ordering::Relaxed);
        false
    }

    /// Brings the interrupt line of the emulated physical timer up to date, and its deadline.
    pub fn update_ptimer(self: &Arc<Self>, domain: &Domain) {
        let now = self.sys.hw.now();
        // Held until all follows from it: two CPUs may do this at once.
        let timer = self.ptimer.lock();
        let (line, deadline) = (timer.line(now), timer.deadline());
        domain
            .vgic
            .set_line(Some(self.id), super::PPI_PHYS_TIMER, line, domain);
        let purpose = Purpose::Physical(Arc::downgrade(self));
        match deadline {
            Some(at) if !line => self.sys.timers.set(self.sys.hw, at, purpose),
            _ => self.sys.timers.cancel(self.sys.hw, &purpose),
        }
    }
}
