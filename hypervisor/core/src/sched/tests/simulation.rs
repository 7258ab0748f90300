// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtual CPUs, time and guests with the real scheduler: who spins, who sleeps and works a little,
//! what shares they get, how long they wait. Nothing depends on the machine it runs on.

use super::*;
use core::cell::RefCell;
use std::vec;

/// Ticks of a microsecond, times two.
const TWICE_PER_US: u64 = 125;

fn us(us: u64) -> u64 {
    us * TWICE_PER_US / 2
}

/// What a vCPU does.
#[derive(Clone, Copy)]
enum Does {
    Spins,
    /// Sleeps about so long, works so long, in microseconds.
    Sleeps(u64, u64),
}

struct Sim {
    cpus: Cpus,
    vcpus: RefCell<Vec<Guest>>,
    nr: usize,
    state: RefCell<Vec<CpuState>>,
    dice: RefCell<u64>,
}

/// What a CPU runs, until when if it must choose then, and since when.
type CpuState = (Option<usize>, Option<u64>, u64);

struct Guest {
    vcpu: Arc<Vcpu>,
    does: Does,
    /// When it wakes, or what it has still to do.
    wakes: Option<u64>,
    left: u64,
    woken: Option<u64>,
    /// Microseconds from waking to running.
    waits: Vec<u64>,
    /// Ticks on each CPU.
    ran: Vec<u64>,
    /// The longest it was ready and did not run.
    ready_since: Option<u64>,
    longest: u64,
}

impl Sim {
    fn new(nr: usize) -> Self {
        Self {
            cpus: Cpus::new(nr),
            vcpus: RefCell::default(),
            nr,
            state: RefCell::new(vec![(None, None, 0); nr]),
            dice: RefCell::new(0x9e37_79b9_7f4a_7c15),
        }
    }

    fn hw(&self) -> &'static FakeHw {
        self.cpus.hw
    }

    fn sched(&self) -> &'static Scheduler {
        &self.cpus.sys.sched
    }

    fn roll(&self, sides: u64) -> u64 {
        let mut dice = self.dice.borrow_mut();
        *dice ^= *dice << 13;
        *dice ^= *dice >> 7;
        *dice ^= *dice << 17;
        *dice % sides
    }

    /// A domain; its vCPUs' numbers.
    fn domain(&self, nr_vcpus: u32, weight: u16, does: Does) -> Vec<usize> {
        let share = Arc::new(Share::new(nr_vcpus));
        share.set_weight(weight);
        let first = self.vcpus.borrow().len();
        for n in 0..nr_vcpus {
            let home = CpuId((first as u32 + n) % self.nr as u32);
            let vcpu = Vcpu::new(self.cpus.sys, Weak::new(), n, home, share.clone());
            vcpu.sched.clear(u32::MAX);
            let vcpu = Arc::new(vcpu);
            let spins = matches!(does, Does::Spins);
            if !spins {
                vcpu.sched.set(pause::BLOCKED);
            }
            self.vcpus.borrow_mut().push(Guest {
                vcpu: vcpu.clone(),
                does,
                wakes: (!spins).then(|| self.hw().now() + us(self.roll(10_000))),
                left: 0,
                woken: None,
                waits: vec![],
                ran: vec![0; self.nr],
                ready_since: None,
                longest: 0,
            });
            set_this_cpu(CpuId(u32::MAX));
            self.sched().wake(self.hw(), &vcpu);
        }
        (first..first + nr_vcpus as usize).collect()
    }

    fn spinner(&self, weight: u16) -> usize {
        self.domain(1, weight, Does::Spins)[0]
    }

    fn pin(&self, n: usize, cpus: u128) {
        let vcpu = self.vcpus.borrow()[n].vcpu.clone();
        set_this_cpu(CpuId(u32::MAX));
        self.sched().set_affinity(self.hw(), &vcpu, cpus);
    }

    fn prefer(&self, n: usize, cpus: u128) {
        set_this_cpu(CpuId(u32::MAX));
        self.sched().set_preference(self.hw(), &self.vcpu(n), cpus);
    }

    fn vcpu(&self, n: usize) -> Arc<Vcpu> {
        self.vcpus.borrow()[n].vcpu.clone()
    }

    fn cap(&self, domain: &[usize], cap: u16) {
        let vcpus: Vec<_> = domain.iter().map(|&n| self.vcpu(n)).collect();
        self.sched().set_cap(self.hw(), &vcpus, cap);
    }

    /// Lets `ms` milliseconds pass, in steps of 20 us.
    fn run(&self, ms: u64) {
        let end = self.hw().now() + us(ms * 1000);
        while self.hw().now() < end {
            self.hw().time.fetch_add(us(20), Ordering::Relaxed);
            self.step(us(20));
        }
    }

    fn step(&self, passed: u64) {
        let now = self.hw().now();
        for cpu in 0..self.nr {
            let running = self.state.borrow()[cpu].0;
            if let Some(n) = running {
                self.work(cpu, n, passed, now);
            }
        }
        self.wake_sleepers(now);
        for cpu in 0..self.nr {
            self.maybe_choose(cpu, now);
        }
        for guest in self.vcpus.borrow_mut().iter_mut() {
            let ready = guest.vcpu.sched.place() == Place::Ready;
            let since = *guest.ready_since.get_or_insert(now);
            match ready {
                true => guest.longest = guest.longest.max(now - since),
                false => guest.ready_since = None,
            }
        }
    }

    /// vCPU `n` has run on `cpu`.
    fn work(&self, cpu: usize, n: usize, passed: u64, now: u64) {
        let mut vcpus = self.vcpus.borrow_mut();
        let guest = &mut vcpus[n];
        guest.ran[cpu] += passed;
        if let Does::Sleeps(sleep, _) = guest.does {
            guest.left = guest.left.saturating_sub(passed);
            if guest.left == 0 {
                guest.vcpu.sched.set(pause::BLOCKED);
                guest.wakes = Some(now + us(sleep / 2 + self.roll(sleep)));
                set_this_cpu(CpuId(cpu as u32));
                self.sched().resched(self.hw(), CpuId(cpu as u32));
            }
        }
    }

    fn wake_sleepers(&self, now: u64) {
        let due: Vec<_> = {
            let mut vcpus = self.vcpus.borrow_mut();
            let due = vcpus
                .iter_mut()
                .filter(|g| g.wakes.is_some_and(|at| at <= now));
            due.map(|guest| {
                guest.wakes = None;
                guest.woken = Some(now);
                if let Does::Sleeps(_, work) = guest.does {
                    guest.left = us(work);
                }
                guest.vcpu.clone()
            })
            .collect()
        };
        set_this_cpu(CpuId(u32::MAX));
        for vcpu in due {
            if vcpu.sched.clear(pause::BLOCKED) {
                self.sched().wake(self.hw(), &vcpu);
            }
        }
    }

    fn maybe_choose(&self, cpu: usize, now: u64) {
        let id = CpuId(cpu as u32);
        let (running, until, _) = self.state.borrow()[cpu];
        let expired = until.is_some_and(|until| until <= now);
        let begins = running.is_none() && self.loaded(cpu).is_none() && now == us(20);
        if !self.sched().take_resched(id) && !expired && !begins {
            return;
        }
        self.choose(cpu, now);
    }

    fn choose(&self, cpu: usize, now: u64) {
        let id = CpuId(cpu as u32);
        set_this_cpu(id);
        let loaded = self.loaded(cpu);
        let (next, until) = self
            .sched()
            .choose(self.hw(), id, loaded.as_ref(), self.hw().now());
        let mut running = None;
        match next {
            Next::Run(vcpu) => {
                if loaded.as_ref().is_none_or(|l| !Arc::ptr_eq(l, &vcpu)) {
                    self.unload(loaded);
                    vcpu.sched.set_loaded(Some(id));
                }
                let mut vcpus = self.vcpus.borrow_mut();
                let n = vcpus
                    .iter()
                    .position(|g| Arc::ptr_eq(&g.vcpu, &vcpu))
                    .unwrap();
                let guest = &mut vcpus[n];
                assert!(
                    vcpu.sched.affinity.contains(id),
                    "vCPU {n} where it may not be"
                );
                if let Some(woken) = guest.woken.take() {
                    guest.waits.push((now - woken) * 2 / TWICE_PER_US);
                }
                running = Some(n);
            }
            Next::Idle => {
                if let Some(vcpu) = &loaded
                    && self.sched().must_unload(id, vcpu)
                {
                    self.unload(loaded);
                }
            }
        }
        self.state.borrow_mut()[cpu] = (running, until, now);
    }

    /// The vCPU whose registers are in `cpu`.
    fn loaded(&self, cpu: usize) -> Option<Arc<Vcpu>> {
        let id = CpuId(cpu as u32);
        let vcpus = self.vcpus.borrow();
        let loaded = vcpus
            .iter()
            .find(|g| g.vcpu.sched.loaded_on() == Some(id))?;
        Some(loaded.vcpu.clone())
    }

    fn unload(&self, loaded: Option<Arc<Vcpu>>) {
        if let Some(old) = loaded {
            old.sched.set_loaded(None);
            self.sched().finish_move(self.hw(), &old);
            self.sched().offer(self.hw(), &old);
        }
    }

    /// Thousandths of one CPU that a vCPU had since `ms` milliseconds.
    fn share(&self, n: usize, ms: u64) -> u64 {
        self.total(n) * 1000 / us(ms * 1000)
    }

    fn total(&self, n: usize) -> u64 {
        self.vcpus.borrow()[n].ran.iter().sum()
    }

    fn forget(&self) {
        for guest in self.vcpus.borrow_mut().iter_mut() {
            guest.ran.fill(0);
            guest.waits.clear();
            guest.longest = 0;
        }
    }

    /// What a domain had in `ms` milliseconds, in thousandths of a CPU.
    fn shares(&self, domains: &[&[usize]], ms: u64) -> Vec<u64> {
        self.run(200);
        self.forget();
        self.run(ms);
        let sum = |domain: &&[usize]| domain.iter().map(|&n| self.share(n, ms)).sum();
        domains.iter().map(sum).collect()
    }

    /// Of the waits of these vCPUs, the one that a part of them (in thousandths) stays below.
    fn percentile(&self, domain: &[usize], part: usize) -> u64 {
        let vcpus = self.vcpus.borrow();
        let mut waits: Vec<_> = domain
            .iter()
            .flat_map(|&n| vcpus[n].waits.clone())
            .collect();
        assert!(waits.len() > 100, "only {} wake-ups", waits.len());
        waits.sort_unstable();
        waits[(waits.len() - 1) * part / 1000]
    }

    fn longest_ms(&self, n: usize) -> u64 {
        self.vcpus.borrow()[n].longest / us(1000)
    }
}

/// `is` is within a part in a hundred of `want`.
#[track_caller]
fn near(is: &[u64], want: &[u64], percent: u64) {
    let good = |(is, want): (&u64, &u64)| is.abs_diff(*want) * 100 <= want * percent;
    assert!(is.iter().zip(want).all(good), "{is:?}, not {want:?}");
}

#[test]
fn weights_of_two_guests_of_two_vcpus() {
    let sim = Sim::new(2);
    let a = sim.domain(2, 512, Does::Spins);
    let b = sim.domain(2, 256, Does::Spins);
    near(&sim.shares(&[&a, &b], 3000), &[1333, 667], 5);
}

#[test]
fn weights_on_one_cpu_while_another_spins_elsewhere() {
    let sim = Sim::new(2);
    let (a, b, c) = (sim.spinner(512), sim.spinner(256), sim.spinner(256));
    sim.pin(a, 1);
    sim.pin(b, 1);
    sim.pin(c, 2);
    near(&sim.shares(&[&[a], &[b], &[c]], 3000), &[667, 333, 1000], 5);
}

/// A crowd on one CPU, two on another: each has its shares right.
#[test]
fn weights_in_two_bound_groups() {
    let sim = Sim::new(2);
    let crowd = [512, 256, 256, 256].map(|w| sim.spinner(w));
    let pair = [512, 256].map(|w| sim.spinner(w));
    crowd.iter().for_each(|&n| sim.pin(n, 1));
    pair.iter().for_each(|&n| sim.pin(n, 2));
    let all: Vec<_> = crowd
        .iter()
        .chain(&pair)
        .map(core::slice::from_ref)
        .collect();
    near(&sim.shares(&all, 5000), &[400, 200, 200, 200, 667, 333], 10);
}

#[test]
fn three_on_two_cpus() {
    let sim = Sim::new(2);
    let n = [(); 3].map(|()| sim.spinner(256));
    near(
        &sim.shares(&[&[n[0]], &[n[1]], &[n[2]]], 3000),
        &[667; 3],
        5,
    );
    let sim = Sim::new(2);
    let n = [512, 256, 256].map(|w| sim.spinner(w));
    near(
        &sim.shares(&[&[n[0]], &[n[1]], &[n[2]]], 3000),
        &[1000, 500, 500],
        7,
    );
}

/// A weight that one CPU cannot give takes nothing from what others owe each other.
#[test]
fn one_too_heavy() {
    let sim = Sim::new(2);
    let n = [4096, 512, 256].map(|w| sim.spinner(w));
    near(
        &sim.shares(&[&[n[0]], &[n[1]], &[n[2]]], 5000),
        &[1000, 667, 333],
        10,
    );
}

#[test]
fn eight_cpus_and_twenty_vcpus() {
    let sim = Sim::new(8);
    let a = sim.domain(8, 512, Does::Spins);
    let b = sim.domain(8, 256, Does::Spins);
    let c = sim.domain(4, 256, Does::Spins);
    // 8 vCPUs of 512, 12 of 256: 28 parts of 8 CPUs.
    near(&sim.shares(&[&a, &b, &c], 3000), &[4571, 2286, 1143], 7);
}

#[test]
fn caps_limit_and_are_used() {
    let sim = Sim::new(2);
    let a = sim.domain(1, 256, Does::Spins);
    sim.cap(&a, 50);
    near(&sim.shares(&[&a], 2000), &[500], 3);
    sim.cap(&a, 25);
    near(&sim.shares(&[&a], 2000), &[250], 3);
    sim.cap(&a, 0);
    near(&sim.shares(&[&a], 1000), &[1000], 3);
    let b = sim.domain(2, 256, Does::Spins);
    sim.cap(&b, 30);
    // Both of the two may run at once, and the other one waits then.
    near(&sim.shares(&[&a, &b], 2000), &[850, 300], 5);
    // More than it can get.
    sim.cap(&b, 190);
    near(&sim.shares(&[&a, &b], 2000), &[667, 1333], 7);
}

/// What a domain does not use is not there for later.
#[test]
fn a_capped_sleeper_saves_nothing() {
    let sim = Sim::new(1);
    let a = sim.domain(1, 256, Does::Sleeps(500_000, 20_000));
    sim.cap(&a, 20);
    sim.run(10_000);
    let had = sim.share(a[0], 10_000);
    assert!((30..=40).contains(&had), "{had} of 1000");
}

#[test]
fn sixteen_spinners_and_one_that_sleeps() {
    let sim = Sim::new(2);
    let guests: Vec<_> = (0..8).map(|_| sim.domain(2, 256, Does::Spins)).collect();
    let dom0 = sim.domain(2, 256, Does::Sleeps(2_000, 100));
    sim.run(500);
    sim.forget();
    sim.run(5000);
    let (half, most) = (sim.percentile(&dom0, 500), sim.percentile(&dom0, 990));
    assert!(half <= 600 && most <= 1100, "{half} us, {most} us");
    for &n in guests.iter().flatten() {
        // 16 slices on 2 CPUs.
        assert!(
            sim.longest_ms(n) < 160,
            "vCPU {n} waited {} ms",
            sim.longest_ms(n)
        );
        near(&[sim.share(n, 5000)], &[119], 12);
    }
}

/// A sleeper that may only run among a bound crowd wakes as fast.
#[test]
fn a_bound_sleeper_wakes_fast() {
    let sim = Sim::new(2);
    let crowd: Vec<_> = (0..4).map(|_| sim.spinner(256)).collect();
    crowd.iter().for_each(|&n| sim.pin(n, 1));
    let pair: Vec<_> = (0..2).map(|_| sim.spinner(256)).collect();
    pair.iter().for_each(|&n| sim.pin(n, 2));
    let io = sim.domain(1, 256, Does::Sleeps(2_000, 100));
    sim.pin(io[0], 1);
    sim.run(500);
    sim.forget();
    sim.run(5000);
    let most = sim.percentile(&io, 990);
    assert!(most <= 1100, "{most} us");
}

#[test]
fn the_rate_limit_is_kept() {
    for (limit, below) in [(1000, 1100), (0, 100), (5000, 5100)] {
        let sim = Sim::new(1);
        sim.sched().set_ratelimit_us(0, limit).unwrap();
        let (a, b) = (sim.spinner(256), sim.spinner(256));
        let io = sim.domain(1, 256, Does::Sleeps(12_000, 100));
        sim.run(500);
        sim.forget();
        sim.run(5000);
        let most = sim.percentile(&io, 1000);
        assert!(most <= below, "{most} us with a limit of {limit}");
        assert!(sim.total(a).abs_diff(sim.total(b)) < us(40_000));
    }
}

#[test]
fn preferences_are_followed_where_it_costs_nobody() {
    let sim = Sim::new(2);
    let (a, b) = (sim.spinner(256), sim.spinner(256));
    let others: Vec<_> = (0..2).map(|_| sim.spinner(256)).collect();
    sim.prefer(a, 0b10);
    sim.prefer(b, 0b01);
    sim.run(200);
    sim.forget();
    sim.run(3000);
    let on = |n: usize, cpu: usize| sim.vcpus.borrow()[n].ran[cpu];
    assert!(
        on(a, 1) * 10 >= sim.total(a) * 9,
        "{} of {}",
        on(a, 1),
        sim.total(a)
    );
    assert!(
        on(b, 0) * 10 >= sim.total(b) * 9,
        "{} of {}",
        on(b, 0),
        sim.total(b)
    );
    let had: Vec<_> = [a, b]
        .iter()
        .chain(&others)
        .map(|&n| sim.share(n, 3000))
        .collect();
    near(&had, &[500; 4], 10);
    // Better where it does not like to be than nowhere.
    let sim = Sim::new(2);
    let both = [(); 2].map(|()| sim.spinner(256));
    both.iter().for_each(|&n| sim.prefer(n, 1));
    near(&sim.shares(&[&both[..1], &both[1..]], 1000), &[1000; 2], 3);
}

#[test]
fn pinning_moves_at_once() {
    let sim = Sim::new(4);
    let a = sim.spinner(256);
    for cpu in [3, 1, 0, 2] {
        sim.pin(a, 1 << cpu);
        sim.run(1);
        sim.forget();
        sim.run(10);
        assert_eq!(sim.vcpus.borrow()[a].ran[cpu], us(10_000), "CPU {cpu}");
    }
}

#[test]
fn an_idle_cpu_helps_soon() {
    let sim = Sim::new(2);
    let a = sim.domain(2, 256, Does::Spins);
    a.iter().for_each(|&n| sim.pin(n, 1));
    sim.run(100);
    a.iter().for_each(|&n| sim.pin(n, 3));
    sim.run(20);
    sim.forget();
    sim.run(100);
    let had: Vec<_> = a.iter().map(|&n| sim.share(n, 100)).collect();
    near(&had, &[1000; 2], 2);
}

/// Random affinities, pools, caps and weights: nobody runs where it may not, nobody starves.
#[test]
fn everything_changes_and_nobody_starves() {
    let sim = Sim::new(4);
    let mut domains: Vec<_> = (0..4).map(|_| sim.domain(2, 256, Does::Spins)).collect();
    domains.extend((0..3).map(|_| sim.domain(2, 256, Does::Sleeps(3_000, 500))));
    let sched = sim.sched();
    let pool = sched.create_pool(None).unwrap();
    for _ in 0..400 {
        set_this_cpu(CpuId(u32::MAX));
        let domain = &domains[sim.roll(7) as usize];
        let vcpus: Vec<_> = domain.iter().map(|&n| sim.vcpu(n)).collect();
        let all: Vec<_> = (0..sim.vcpus.borrow().len()).map(|n| sim.vcpu(n)).collect();
        let own = vcpus[0].sched.share.pool();
        match sim.roll(6) {
            0 | 1 => {
                let wanted = (1 + u128::from(sim.roll(15))) & sched.pool_cpus(own);
                if wanted != 0 {
                    sim.pin(domain[sim.roll(2) as usize], wanted);
                }
            }
            2 => sim.cap(domain, [0, 0, 50, 10, 150][sim.roll(5) as usize]),
            3 => {
                let to = [0, pool][sim.roll(2) as usize];
                let moved = sched.move_to_pool(sim.hw(), &vcpus, to);
                assert_eq!(moved.is_ok(), own == to || sched.pool_cpus(to) != 0);
            }
            4 => {
                let from = [0, pool][sim.roll(2) as usize];
                let inside = |v: &&Arc<Vcpu>| v.sched.share.pool() == from;
                let inside: Vec<_> = all.iter().filter(inside).cloned().collect();
                let has = !inside.is_empty();
                let _ = sched.remove_from_pool(sim.hw(), from, None, &inside, has);
                let to = [0, pool][sim.roll(2) as usize];
                let _ = sched.add_to_pool(sim.hw(), to, None);
            }
            _ => vcpus[0]
                .sched
                .share
                .set_weight([64, 256, 1024][sim.roll(3) as usize]),
        }
        sim.run(sim.roll(60));
        for vcpu in all.iter().filter(|v| v.sched.place() == Place::Running) {
            let pool = sched.pool_cpus(vcpu.sched.share.pool());
            assert_ne!(pool & bit(vcpu.sched.home()), 0, "in another pool");
        }
    }
    for domain in &domains {
        let vcpus: Vec<_> = domain.iter().map(|&n| sim.vcpu(n)).collect();
        sched.move_to_pool(sim.hw(), &vcpus, 0).unwrap();
    }
    while sched
        .remove_from_pool(sim.hw(), pool, None, &[], false)
        .is_ok()
    {}
    while sched.add_to_pool(sim.hw(), 0, None).is_ok() {}
    for domain in &domains {
        let vcpus: Vec<_> = domain.iter().map(|&n| sim.vcpu(n)).collect();
        vcpus[0].sched.share.set_weight(256);
        sim.cap(domain, 0);
        domain.iter().for_each(|&n| sim.pin(n, u128::MAX));
    }
    sim.run(2000);
    sim.forget();
    sim.run(2000);
    for domain in &domains[..4] {
        for &n in domain {
            let (had, sched) = (sim.share(n, 2000), &sim.vcpu(n).sched);
            let (flags, vruntime) = (sched.flags(), sched.vruntime());
            let time = sim.sched().queues[0].run.lock().time();
            assert!(
                had > 340,
                "vCPU {n} has {had}: flags {flags:#x}, vruntime {vruntime} at {time}, in queue {}",
                sched.queue.load(Ordering::Relaxed)
            );
        }
    }
    for domain in &domains[4..] {
        assert!(sim.percentile(domain, 990) <= 1100);
    }
}
