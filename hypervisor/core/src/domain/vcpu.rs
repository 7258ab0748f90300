// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtual CPU.

use super::Domain;
use super::context::Context;
use super::runstate::RunstateArea;
use crate::addr::{CpuId, Gfn, PAGE_SIZE, PaRange};
use crate::cpu::kind::{Kind, KindId};
use crate::event::EventDomain;
use crate::hw::CacheOp;
use crate::keys::Showing;
use crate::p2m::RamScan;
use crate::sched::{SchedState, Share, bit, pause};
use crate::sync::{Lock, rank};
use crate::system::System;
use crate::timer::Purpose;
use crate::trap::timer::PhysTimer;
use alloc::sync::{Arc, Weak};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

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

/// Why a vCPU cannot be restricted to certain CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CannotRestrict {
    /// None of them is in its pool and of its kind.
    Nowhere,
    /// Not just now: somebody looks at its registers.
    Again,
}

/// A virtual CPU.
pub struct Vcpu {
    /// Its number in the domain.
    pub id: u32,
    /// Its domain.
    pub domain: Weak<Domain>,
    /// Where everything is.
    pub sys: &'static System,
    /// The kind of CPU it is of.
    kind: AtomicU8,
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
    /// What a debug key shows that it pressed (`XEN_SYSCTL_debug_keys`).
    pub(crate) showing: Showing,
    /// The port `SCHEDOP_poll` waits for: `u32::MAX` for any.
    pub(crate) poll_port: AtomicU32,
}

impl Vcpu {
    /// A vCPU that is down until [`Vcpu::start`], of the kind of the CPU `home`.
    pub fn new(
        sys: &'static System,
        domain: Weak<Domain>,
        id: u32,
        home: CpuId,
        share: Arc<Share>,
    ) -> Self {
        let kind = sys.kinds.of_first(bit(home)).unwrap_or_default();
        sys.kinds.enter(kind);
        let sched = SchedState::new(pause::DOWN | pause::PAUSED, home, share);
        sched.set_kind(sys.kinds.get(kind).cpus);
        Self {
            id,
            domain,
            sys,
            kind: AtomicU8::new(kind.0),
            context: VcpuCell(UnsafeCell::new(Context::reset(0, 0))),
            sched,
            ptimer: Lock::new(PhysTimer::default()),
            runstate: Lock::new(RunstateArea::default()),
            tvm: AtomicBool::new(false),
            flush_from: AtomicU64::new(u64::MAX),
            start: Lock::new(None),
            start_pending: AtomicBool::new(false),
            initialised: AtomicBool::new(false),
            showing: Showing::none(),
            poll_port: AtomicU32::new(0),
        }
    }

    /// The kind of CPU it is of: what it sees, and where it runs.
    #[inline]
    pub fn kind(&self) -> &'static Kind {
        self.sys.kinds.get(self.kind_id())
    }

    pub(super) fn kind_id(&self) -> KindId {
        KindId(self.kind.load(Ordering::Relaxed))
    }

    /// True if it has ever run: then it stays of its kind.
    pub fn has_run(&self) -> bool {
        self.runstate.lock().has_run()
    }

    /// Lets it run on `cpus` alone, as far as they are of its kind; returns which of those are in
    /// its pool. If none is, it becomes of another kind, as long as it has never run. As
    /// [`while_stopped`](Self::while_stopped).
    ///
    /// # Errors
    /// Then nothing changed.
    pub fn restrict(self: &Arc<Self>, cpus: u128) -> Result<u128, CannotRestrict> {
        let (sched, hw) = (&self.sys.sched, self.sys.hw);
        let pool = sched.pool_cpus(self.sched.share.pool());
        if !self.sched.fits(cpus & pool) {
            let kind = self.sys.kinds.of_first(cpus & pool);
            let kind = kind.ok_or(CannotRestrict::Nowhere)?;
            // If it runs, it may be who asks.
            if self.has_run() {
                return Err(CannotRestrict::Nowhere);
            }
            match self.change_kind(kind) {
                Some(true) => {}
                Some(false) => return Err(CannotRestrict::Nowhere),
                None => return Err(CannotRestrict::Again),
            }
        }
        // CPUs outside its pool count once it is in another pool, or they are in this one.
        sched.set_affinity(hw, self, cpus);
        Ok(self.sched.affinity() & pool)
    }

    /// Makes it of another kind, of which it may run on all CPUs; false if it has ever run. As
    /// [`while_stopped`](Self::while_stopped).
    pub(super) fn change_kind(self: &Arc<Self>, kind: KindId) -> Option<bool> {
        self.while_stopped(|_| {
            // Another CPU may have run it meanwhile.
            if self.has_run() {
                return false;
            }
            self.sys.kinds.leave(self.kind_id());
            self.kind.store(kind.0, Ordering::Relaxed);
            self.sys.kinds.enter(kind);
            self.sched.set_kind(self.kind().cpus);
            true
        })
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
            // Another vCPU may have started it meanwhile.
            let mut start = self.start.lock();
            *start = None;
            self.start_pending.store(false, Ordering::SeqCst);
            self.sched.set(pause::DOWN);
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

impl Drop for Vcpu {
    fn drop(&mut self) {
        self.sys.kinds.leave(self.kind_id());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Pa;
    use crate::domain::Role;
    use crate::fake::FakeHw;
    use crate::testing::{self, A53, A72, Setup};
    use std::vec::Vec;
    use xen_abi::errno::Errno;
    use xen_abi::vcpu::RUNSTATE_RUNNING;

    const RAM: PaRange = PaRange {
        start: Pa(0x4000_0000),
        end: Pa(0x4080_0000),
    };
    const BIG: u128 = 0b11;
    const LITTLE: u128 = 0b11_1100;

    fn juno() -> (&'static FakeHw, &'static System) {
        testing::juno(RAM)
    }

    fn domain(sys: &'static System, hw: &'static FakeHw, id: u16, nr_vcpus: u32) -> Arc<Domain> {
        let role = Role {
            hardware: id == 0,
            ..Role::default()
        };
        let setup = Setup {
            id,
            role,
            nr_vcpus,
            ..Setup::default()
        };
        testing::domain(sys, hw, setup)
    }

    #[test]
    fn the_hardware_domain_is_spread_over_kinds_and_others_are_not() {
        let (hw, sys) = juno();
        let dom0 = domain(sys, hw, 0, 6);
        let midrs: Vec<_> = dom0.vcpus().iter().map(|v| v.kind().midr).collect();
        assert_eq!(midrs, [A72, A72, A53, A53, A53, A53]);
        // Five on four A53, then four on two A72.
        let guests = [1, 2, 3].map(|id| domain(sys, hw, id, 1));
        let kinds = guests.each_ref().map(|d| d.vcpus()[0].kind().midr);
        assert_eq!(kinds, [A53, A72, A53]);
        for vcpu in dom0
            .vcpus()
            .iter()
            .chain(guests.iter().flat_map(|d| d.vcpus()))
        {
            assert_eq!(vcpu.sched.affinity(), vcpu.kind().cpus);
            assert!(vcpu.kind().cpus & bit(vcpu.sched.home()) != 0);
        }
        let many = domain(sys, hw, 4, 4);
        assert!(many.vcpus().iter().all(|v| v.kind().midr == A53));
        drop(many);
        drop(guests);
        assert_eq!(sys.kinds.least_used(BIG | LITTLE, 4).unwrap().0, 1);
    }

    /// A pool must have CPUs of the kinds of what is in it; whom it never ran takes a kind it has.
    #[test]
    fn pools_have_cpus_of_their_domains_kinds() {
        let (hw, sys) = juno();
        let sched = &sys.sched;
        let pool = sched.create_pool(None).unwrap();
        let remove = |id, cpu, of: &Domain| {
            sched.remove_from_pool(hw, id, Some(CpuId(cpu)), of.all_vcpus(), true)
        };
        let guest = domain(sys, hw, 1, 2);
        let vcpu = &guest.vcpus()[0];
        // Both are Cortex-A53: of those one stays with them.
        assert_eq!(remove(0, 1, &guest), Ok(()));
        for cpu in 2..5 {
            assert_eq!(remove(0, cpu, &guest), Ok(()));
        }
        assert_eq!(remove(0, 5, &guest), Err(Errno::Busy));
        assert_eq!(
            (sched.pool_cpus(0), vcpu.sched.affinity()),
            (0b10_0001, LITTLE)
        );
        assert_eq!(vcpu.restrict(LITTLE), Ok(0b10_0000));
        assert_eq!(vcpu.sched.affinity(), LITTLE);
        // Into a pool with the other kind only, which it becomes of as it has not run.
        sched.add_to_pool(hw, pool, Some(CpuId(1))).unwrap();
        assert_eq!(guest.move_to_pool(pool), Ok(()));
        for vcpu in guest.vcpus() {
            assert_eq!((vcpu.kind().midr, vcpu.sched.affinity()), (A72, BIG));
            assert_eq!(vcpu.sched.home(), CpuId(1));
        }
        assert_eq!(sys.kinds.least_used(BIG | LITTLE, 1).unwrap().0, 1);
        assert_eq!(vcpu.restrict(u128::MAX), Ok(0b10));
        assert_eq!(vcpu.sched.affinity(), BIG, "CPU 0 is in another pool");
        // Once it has, it stays of it.
        vcpu.runstate.lock().enter(RUNSTATE_RUNNING, 7);
        let littles = sched.create_pool(None).unwrap();
        sched.add_to_pool(hw, littles, Some(CpuId(3))).unwrap();
        assert_eq!(guest.move_to_pool(littles), Err(Errno::NoDev));
        assert_eq!((vcpu.kind().midr, guest.share.pool()), (A72, pool));
        assert_eq!(guest.move_to_pool(0), Ok(()));
        assert_eq!(vcpu.sched.home(), CpuId(0));
        // What will never run again may be anywhere.
        vcpu.sched.set(pause::DYING);
        guest.vcpus()[1].sched.set(pause::DYING);
        assert_eq!(guest.move_to_pool(littles), Ok(()));
    }

    #[test]
    fn a_vcpu_that_ran_stays_of_its_kind() {
        let (hw, sys) = juno();
        let guest = domain(sys, hw, 1, 1);
        let vcpu = &guest.vcpus()[0];
        assert_eq!(vcpu.kind().midr, A53);
        assert_eq!(vcpu.restrict(u128::MAX), Ok(LITTLE));
        assert_eq!(vcpu.restrict(0b1010), Ok(0b1000));
        // It has not run: it may still become another.
        assert_eq!(vcpu.restrict(BIG), Ok(BIG));
        assert_eq!((vcpu.kind().midr, vcpu.sched.affinity()), (A72, BIG));
        assert_eq!(vcpu.sched.home(), CpuId(0));
        assert_eq!(vcpu.restrict(1 << 40), Err(CannotRestrict::Nowhere));
        assert!(vcpu.start(&guest, Start { entry: 0, x0: 0 }));
        assert_eq!(vcpu.restrict(LITTLE), Ok(LITTLE));
        assert_eq!(vcpu.restrict(BIG), Ok(BIG));
        vcpu.runstate.lock().enter(RUNSTATE_RUNNING, 7);
        assert_eq!(vcpu.restrict(LITTLE), Err(CannotRestrict::Nowhere));
        assert_eq!((vcpu.kind().midr, vcpu.sched.affinity()), (A72, BIG));
        assert_eq!(vcpu.restrict(0b10), Ok(0b10));
    }
}
