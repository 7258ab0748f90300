// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads as CPUs, with a small run loop, and as devices that wake vCPUs: every wake-up leads to a
//! run, and no vCPU is in two places.

use super::*;
use crate::domain::Domain;
use crate::domain::vcpu::Start;
use crate::testing::Setup;
use core::sync::atomic::AtomicU32;
use std::thread;
use std::time::{Duration, Instant};

const NR_CPUS: usize = 4;
const NR_DEVICES: u64 = 2;
/// What each device does.
const SIGNALS: u32 = 4000;
/// A machine this slow would be a broken one, even if it does other things beside.
const PATIENCE: Duration = Duration::from_secs(60);
const NOWHERE: u32 = u32::MAX;

/// A vCPU and what the test knows of it.
struct Guest {
    vcpu: Arc<Vcpu>,
    /// An interrupt waits for it.
    signal: AtomicBool,
    /// The CPU that has its registers.
    loaded: AtomicU32,
    /// The CPU that runs it.
    running: AtomicU32,
    served: AtomicU64,
}

struct World {
    cpus: Cpus,
    domain: Arc<Domain>,
    guests: Vec<Guest>,
    stop: AtomicBool,
}

/// xorshift64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

impl World {
    fn new(nr_vcpus: usize) -> Self {
        let cpus = Cpus::new(NR_CPUS);
        let setup = Setup {
            nr_vcpus: nr_vcpus as u32,
            ..Setup::default()
        };
        let domain = testing::domain(cpus.sys, cpus.hw, setup);
        let guest = |vcpu: &Arc<Vcpu>| Guest {
            vcpu: vcpu.clone(),
            signal: AtomicBool::new(false),
            loaded: AtomicU32::new(NOWHERE),
            running: AtomicU32::new(NOWHERE),
            served: AtomicU64::new(0),
        };
        let guests: Vec<_> = domain.vcpus().iter().map(guest).collect();
        guests[nr_vcpus - 1].vcpu.sched.pin();
        for guest in &guests {
            guest.vcpu.sched.clear(pause::DOMAIN);
        }
        Self {
            cpus,
            domain,
            guests,
            stop: AtomicBool::new(false),
        }
    }

    fn guest(&self, vcpu: &Arc<Vcpu>) -> &Guest {
        &self.guests[vcpu.id as usize]
    }

    fn any(&self, dice: &mut Dice) -> &Guest {
        &self.guests[dice.roll(self.guests.len() as u64) as usize]
    }

    /// The interrupt controller's `notify`.
    fn signal(&self, guest: &Guest) {
        guest.signal.store(true, Ordering::SeqCst);
        let sched = &guest.vcpu.sched;
        if sched.place() == Place::Running && sched.home() != self.cpus.hw.this_cpu() {
            self.cpus.hw.kick(sched.home());
        }
        guest.vcpu.unblock(pause::BLOCKED | pause::POLLING);
    }

    /// A device: signals vCPUs, starts those that are down, sometimes waits until it was served.
    fn device(&self, n: u64) {
        // No CPU's thread: all must be kicked.
        set_this_cpu(CpuId(NOWHERE));
        let mut dice = Dice(0x1234_5678_9abc_def1 + n);
        for _ in 0..SIGNALS {
            let guest = self.any(&mut dice);
            self.signal(guest);
            if dice.roll(3) != 0 {
                self.wait_until_served(guest);
            }
            if n == 0 && dice.roll(10) == 0 {
                self.bind(&self.guests[0], 1 + u128::from(dice.roll(15)));
            }
        }
        for guest in &self.guests {
            self.wait_until_served(guest);
        }
    }

    /// It is soon where it may be, and stays there.
    fn bind(&self, guest: &Guest, cpus: u128) {
        let (sched, start) = (&guest.vcpu.sched, Instant::now());
        self.cpus
            .sys
            .sched
            .set_affinity(self.cpus.hw, &guest.vcpu, cpus);
        while cpus & bit(sched.home()) == 0 || sched.flags() & pause::MOVING != 0 {
            assert!(start.elapsed() < PATIENCE, "stays at {:?}", sched.home());
            thread::yield_now();
        }
        self.signal(guest);
        self.wait_until_served(guest);
        assert_ne!(cpus & bit(sched.home()), 0, "it went elsewhere");
    }

    fn wait_until_served(&self, guest: &Guest) {
        let start = Instant::now();
        while guest.signal.load(Ordering::SeqCst) {
            if !guest.vcpu.is_up() {
                let start = Start { entry: 0, x0: 0 };
                guest.vcpu.start(&self.domain, start);
            }
            assert!(
                start.elapsed() < PATIENCE,
                "vCPU {} sleeps on: flags {:#x}, {:?} at {:?}",
                guest.vcpu.id,
                guest.vcpu.sched.flags(),
                guest.vcpu.sched.place(),
                guest.vcpu.sched.home(),
            );
            thread::yield_now();
        }
    }

    /// A CPU: the run loop.
    fn cpu(&self, id: u32) {
        set_this_cpu(CpuId(id));
        let mut dice = Dice(0xfeed_f00d_0000_0001 + u64::from(id));
        let mut loaded = None;
        while !self.stop.load(Ordering::Relaxed) {
            match self.cpus.choose_with(id, loaded.as_ref()) {
                (Some(vcpu), end) => {
                    self.load(id, &mut loaded, &vcpu);
                    self.turn(id, &vcpu, end, &mut dice);
                }
                (None, _) => self.idle(id, &mut loaded),
            }
        }
    }

    fn load(&self, id: u32, loaded: &mut Option<Arc<Vcpu>>, vcpu: &Arc<Vcpu>) {
        let started = vcpu.take_start().is_some();
        if !started && loaded.as_ref().is_some_and(|l| Arc::ptr_eq(l, vcpu)) {
            return;
        }
        self.unload(id, loaded);
        assert_eq!(
            self.guest(vcpu).loaded.swap(id, Ordering::SeqCst),
            NOWHERE,
            "loaded twice"
        );
        vcpu.sched.set_loaded(Some(CpuId(id)));
        *loaded = Some(vcpu.clone());
    }

    fn unload(&self, id: u32, loaded: &mut Option<Arc<Vcpu>>) {
        if let Some(old) = loaded.take() {
            assert_eq!(self.guest(&old).loaded.swap(NOWHERE, Ordering::SeqCst), id);
            old.sched.set_loaded(None);
            let (sched, hw) = (&self.cpus.sys.sched, self.cpus.hw);
            sched.finish_move(hw, &old);
            sched.offer(hw, &old);
        }
    }

    fn idle(&self, id: u32, loaded: &mut Option<Arc<Vcpu>>) {
        let sched = &self.cpus.sys.sched;
        let goes = |v: &Arc<Vcpu>| sched.must_unload(CpuId(id), v);
        if loaded.as_ref().is_some_and(goes) {
            self.unload(id, loaded);
        }
        // A CPU does not kick itself.
        while sched.may_sleep(CpuId(id)) && !self.kicked(id) && !self.stop.load(Ordering::Relaxed) {
            thread::yield_now();
        }
    }

    fn kicked(&self, id: u32) -> bool {
        self.cpus.kicked(id as usize)
    }

    /// The vCPU runs until the scheduler wants to choose anew.
    fn turn(&self, id: u32, vcpu: &Arc<Vcpu>, end: Option<u64>, dice: &mut Dice) {
        let guest = self.guest(vcpu);
        assert_eq!(
            guest.running.swap(id, Ordering::SeqCst),
            NOWHERE,
            "runs twice"
        );
        assert_eq!(
            guest.loaded.load(Ordering::SeqCst),
            id,
            "runs elsewhere than it is loaded"
        );
        loop {
            if guest.signal.swap(false, Ordering::SeqCst) {
                guest.served.fetch_add(1, Ordering::Relaxed);
            }
            self.guest_code(id, vcpu, dice);
            if end.is_some_and(|end| self.cpus.hw.now() >= end) {
                self.cpus.sys.sched.resched(self.cpus.hw, CpuId(id));
            }
            if self.cpus.resched(id) || self.stop.load(Ordering::Relaxed) {
                break;
            }
        }
        if vcpu.sched.flags() & pause::BLOCKED != 0 && guest.signal.load(Ordering::SeqCst) {
            vcpu.sched.clear(pause::BLOCKED);
        }
        assert_eq!(guest.running.swap(NOWHERE, Ordering::SeqCst), id);
    }

    /// A while in the guest, then an exit.
    fn guest_code(&self, id: u32, vcpu: &Arc<Vcpu>, dice: &mut Dice) {
        let sched = &self.cpus.sys.sched;
        for _ in 0..dice.roll(4) {
            self.cpus.pass(100);
            if self.kicked(id) {
                return;
            }
        }
        match dice.roll(8) {
            0..4 => vcpu.block(),
            4 => vcpu.go_down(),
            5 => sched.yield_current(self.cpus.hw, CpuId(id)),
            6 => self.signal(self.any(dice)),
            _ => thread::yield_now(),
        }
    }
}

#[test]
fn no_wake_up_is_lost_in_a_crowd() {
    no_wake_up_is_lost(7);
}

/// Where nobody waits, mostly: vCPUs rest.
#[test]
fn no_wake_up_is_lost_without_the_lock() {
    no_wake_up_is_lost(NR_CPUS - 1);
}

fn no_wake_up_is_lost(nr_vcpus: usize) {
    let world = World::new(nr_vcpus);
    thread::scope(|scope| {
        let cpus: Vec<_> = (0..NR_CPUS as u32)
            .map(|id| {
                let world = &world;
                scope.spawn(move || world.cpu(id))
            })
            .collect();
        let devices: Vec<_> = (0..NR_DEVICES)
            .map(|n| {
                let world = &world;
                scope.spawn(move || world.device(n))
            })
            .collect();
        let done = devices.into_iter().all(|d| d.join().is_ok());
        world.stop.store(true, Ordering::SeqCst);
        let alive = cpus.into_iter().all(|c| c.join().is_ok());
        assert!(alive && done, "a thread failed");
    });
    assert!(
        world
            .guests
            .iter()
            .all(|g| g.served.load(Ordering::Relaxed) > 0)
    );
    let pinned = &world.guests[nr_vcpus - 1].vcpu;
    assert_eq!(pinned.sched.home().index(), (nr_vcpus - 1) % NR_CPUS);
}
