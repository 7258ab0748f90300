// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random histories of devices, guests and a scheduler against the model of the hardware.

use super::machine::{Cpu, Physical};
use super::*;
use crate::vgic::irq::{ACTIVE, ENABLED, IN_LR, PHYS, QUEUED};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const VCPUS: u32 = 3;
const CPUS: usize = 2;
const TIMER: u32 = 27;
const EVENT: u32 = 31;
const LEVEL: u32 = 32;
/// Linked to physical interrupts 100 higher.
const LINKED: [u32; 2] = [34, 35];
/// The SPIs in use, all in the second word of every bitmap.
const SPIS: core::ops::Range<u32> = 32..44;

#[derive(Clone, Debug)]
enum Op {
    Pulse(u32),
    Event(u32),
    Sgi(u32, u32),
    Line(bool),
    Edge(usize),
    Timer(u32, bool),
    /// Bits of SPIs and of one vCPU's PPIs: register family and mask.
    Bits(u64, u32, u64),
    Priority(u32, u32),
    Route(u32, u32),
    Group(bool),
    Switch(usize, Option<u32>),
    Exit(usize),
    Sync(usize),
    Ack(usize),
    Eoi(usize),
    /// Anything a guest may try: not what a sane one does.
    Dist(u32, u64, u32, Access),
    Redist(u64, u32, Access),
    Reset(u32),
}

/// An interrupt as a guest counts it: vCPU (0 for an SPI), INTID, source.
type Key = (u32, u32, u32);

struct World {
    vgic: Vgic,
    phys: Physical,
    told: Told,
    cpus: [Cpu; CPUS],
    on: [Option<u32>; CPUS],
    /// What each vCPU has acknowledged, while it does not run.
    saved: BTreeMap<u32, Vec<(u32, u32, u32)>>,
    timers: [bool; VCPUS as usize],
    owed: BTreeSet<Key>,
    credit: BTreeMap<Key, i32>,
}

std::thread_local! {
    static NOTES: &'static FakeHw = FakeHw::leak(0, 0);
}

impl World {
    fn new(shape: VgicConfig) -> Self {
        let hw = NOTES.with(|&hw| hw);
        let vgic = Vgic::new(shape, hw);
        let phys = Physical::new(hw);
        let told = Told::default();
        for intid in LINKED {
            assert!(vgic.link_hw(intid, intid + 100, &told));
        }
        vgic.link_ppi(TIMER, &told);
        let world = Self {
            vgic,
            phys,
            told,
            cpus: Default::default(),
            on: [None; CPUS],
            saved: BTreeMap::new(),
            timers: [false; VCPUS as usize],
            owed: BTreeSet::new(),
            credit: BTreeMap::new(),
        };
        world.enable_all();
        world
    }

    fn v3(&self) -> bool {
        self.vgic.config().model == Model::V3
    }

    fn enable_all(&self) {
        self.dist(0, 0, 4, Access::Write(3));
        self.dist(0, 0x104, 4, Access::Write(0xffff_ffff));
        for vcpu in 0..VCPUS {
            self.private(vcpu, 0x100, 0xffff_ffff);
        }
    }

    fn dist(&self, vcpu: u32, offset: u64, size: u32, access: Access) {
        let _ = self
            .vgic
            .dist_access(vcpu, offset, size, access, &self.told);
    }

    /// Writes a word of private interrupts.
    fn private(&self, vcpu: u32, offset: u64, value: u64) {
        if self.v3() {
            let offset = u64::from(vcpu) * 0x2_0000 + 0x1_0000 + offset;
            let _ = self
                .vgic
                .redist_access(offset, 4, Access::Write(value), &self.told);
        } else {
            self.dist(vcpu, offset, 4, Access::Write(value));
        }
    }

    fn owe(&mut self, key: Key) {
        self.owed.insert(key);
        *self.credit.entry(key).or_default() += 1;
    }

    fn key(vcpu: u32, intid: u32, source: u32) -> Key {
        (if intid < 32 { vcpu } else { 0 }, intid, source)
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Pulse(intid) => {
                self.owe((0, intid, 0));
                self.vgic.pulse(None, intid, &self.told);
            }
            Op::Event(vcpu) => {
                self.owe((vcpu, EVENT, 0));
                self.vgic.pulse(Some(vcpu), EVENT, &self.told);
            }
            Op::Sgi(from, to) => self.sgi(from, to),
            Op::Line(high) => self.vgic.set_line(None, LEVEL, high, &self.told),
            Op::Edge(n) => self.phys.irq(LINKED[n] + 100).edge = true,
            Op::Timer(vcpu, high) => self.timer(vcpu, high),
            Op::Bits(family, vcpu, mask) => self.bits(family, vcpu, mask),
            Op::Priority(intid, priority) => {
                self.dist(
                    0,
                    0x400 + u64::from(intid),
                    1,
                    Access::Write(priority.into()),
                );
            }
            Op::Route(intid, vcpu) if self.v3() => {
                self.dist(
                    0,
                    0x6000 + 8 * u64::from(intid),
                    8,
                    Access::Write(vcpu.into()),
                );
            }
            Op::Route(intid, vcpu) => {
                self.dist(0, 0x800 + u64::from(intid), 1, Access::Write(1 << vcpu));
            }
            Op::Group(on) => self.dist(0, 0, 4, Access::Write(if on { 3 } else { 0 })),
            Op::Switch(cpu, vcpu) => self.switch(cpu, vcpu),
            Op::Exit(cpu) => self.exit(cpu),
            Op::Sync(cpu) => {
                if let Some(vcpu) = self.on[cpu] {
                    self.vgic.sync(vcpu, &mut self.cpus[cpu]);
                    if !self.vgic.is_dirty(vcpu) && !self.cpus[cpu].maintenance() {
                        self.check_shown(cpu, vcpu);
                    }
                }
            }
            Op::Ack(cpu) => _ = self.ack(cpu),
            Op::Eoi(cpu) => self.eoi(cpu),
            Op::Dist(vcpu, offset, size, access) => self.dist(vcpu, offset, size, access),
            Op::Redist(offset, size, access) => {
                let _ = self.vgic.redist_access(offset, size, access, &self.told);
            }
            Op::Reset(vcpu) => self.vgic.reset_vcpu(vcpu, &self.told),
        }
        self.take();
        self.check_lists();
    }

    fn sgi(&mut self, from: u32, to: u32) {
        if self.v3() {
            self.owe((to, 1, 0));
            self.vgic.sgi1r(from, 1 << 24 | 1 << to, &self.told);
        } else {
            self.owe((to, 1, from));
            self.dist(from, 0xf00, 4, Access::Write(1 << (16 + to) | 1));
        }
    }

    fn bits(&mut self, family: u64, vcpu: u32, mask: u64) {
        for intid in SPIS {
            let key = (0, intid, 0);
            let chosen = mask >> (intid - 32) & 1 != 0;
            match family {
                0x200 if chosen => self.owe(key),
                0x280 if chosen => _ = self.owed.remove(&key),
                _ => {}
            }
        }
        let word = mask & 0xfff;
        self.dist(0, family + 4, 4, Access::Write(word));
        let ppis = mask & (1 << TIMER | 1 << EVENT);
        for intid in [TIMER, EVENT] {
            match family {
                0x200 if ppis >> intid & 1 != 0 => self.owe((vcpu, intid, 0)),
                0x280 if ppis >> intid & 1 != 0 => _ = self.owed.remove(&(vcpu, intid, 0)),
                _ => {}
            }
        }
        self.private(vcpu, family, ppis);
    }

    fn timer(&mut self, vcpu: u32, high: bool) {
        self.timers[vcpu as usize] = high;
        if let Some(cpu) = self.on.iter().position(|&v| v == Some(vcpu)) {
            self.phys.on_cpu(cpu as u32);
            self.phys.irq(TIMER).level = high;
        }
    }

    /// EL2 takes what is signalled.
    fn take(&mut self) {
        for intid in LINKED {
            if self.phys.ack(intid + 100) {
                self.owe((0, intid, 0));
                self.vgic.hw_fired(intid, None, &self.told);
            }
        }
        for cpu in 0..CPUS {
            if let Some(vcpu) = self.on[cpu] {
                self.phys.on_cpu(cpu as u32);
                self.phys.irq(TIMER).enabled = true;
                if self.phys.ack(TIMER) {
                    self.owe((vcpu, TIMER, 0));
                    self.vgic.hw_fired(TIMER, Some(vcpu), &self.told);
                }
            }
        }
    }

    fn switch(&mut self, cpu: usize, next: Option<u32>) {
        if next.is_some() && self.on.contains(&next) {
            return;
        }
        self.phys.on_cpu(cpu as u32);
        if let Some(old) = self.on[cpu].take() {
            let low = !self.timers[old as usize];
            self.vgic.sync(old, &mut self.cpus[cpu]);
            if low && self.vgic.ppi_hw_active(old, TIMER) {
                self.owed.remove(&(old, TIMER, 0));
            }
            let active = self
                .vgic
                .unload(old, &mut self.cpus[cpu], (TIMER, low), &self.told);
            assert_eq!(self.cpus[cpu].shown(), []);
            assert_eq!(self.phys.irq(TIMER).active, active);
            assert_eq!(self.vgic.ppi_hw_active(old, TIMER), active);
            let cpu = std::mem::take(&mut self.cpus[cpu]);
            self.saved.insert(old, cpu.running);
            *self.phys.irq(TIMER) = Default::default();
        }
        if let Some(vcpu) = next {
            self.on[cpu] = next;
            self.cpus[cpu].running = self.saved.remove(&vcpu).unwrap_or_default();
            self.phys.irq(TIMER).active = self.vgic.ppi_hw_active(vcpu, TIMER);
            self.phys.irq(TIMER).level = self.timers[vcpu as usize];
            // The guest does nothing before the list registers are loaded.
            self.exit(cpu);
        }
    }

    fn exit(&mut self, cpu: usize) {
        if let Some(vcpu) = self.on[cpu] {
            self.phys.on_cpu(cpu as u32);
            if self.cpus[cpu].exit(&self.vgic, vcpu, &self.told) {
                self.check_shown(cpu, vcpu);
            }
            self.phys.irq(TIMER);
        }
    }

    fn ack(&mut self, cpu: usize) -> bool {
        let Some(vcpu) = self.on[cpu] else {
            return false;
        };
        let Some((intid, source)) = self.cpus[cpu].ack() else {
            return false;
        };
        let key = Self::key(vcpu, intid, source);
        self.owed.remove(&key);
        *self.credit.entry(key).or_default() -= 1;
        true
    }

    fn eoi(&mut self, cpu: usize) {
        if self.on[cpu].is_some() && !self.cpus[cpu].running.is_empty() {
            self.phys.on_cpu(cpu as u32);
            self.cpus[cpu].eoi(&mut self.phys);
        }
    }

    fn all(&self) -> impl Iterator<Item = (u32, u32)> {
        let private = (0..VCPUS).flat_map(|v| (0..32).map(move |i| (v, i)));
        private.chain((32..96).map(|i| (0, i)))
    }

    fn irq(&self, vcpu: u32, intid: u32) -> irq::Irq {
        self.vgic.cell(vcpu, intid).expect("interrupt").get()
    }

    /// Every list holds exactly what says that it is in it.
    fn check_lists(&self) {
        let mut listed = BTreeSet::new();
        for (vcpu, cpu) in (0..).zip(&self.vgic.cpus) {
            for &intid in &cpu.state.lock().list {
                let irq = self.irq(vcpu, intid.into());
                assert!(irq.has(QUEUED) && irq.home() == vcpu);
                assert!(irq.wanted() || irq.has(IN_LR));
                assert!(listed.insert((vcpu, u32::from(intid))));
            }
        }
        for (vcpu, intid) in self.all() {
            let irq = self.irq(vcpu, intid);
            assert_eq!(
                irq.has(QUEUED),
                listed.contains(&(irq.home(), intid)),
                "{intid}"
            );
            assert!(
                irq.has(QUEUED) || !irq.wanted() && !irq.has(IN_LR),
                "{intid} forgotten"
            );
            let idle = !irq.pending() && !irq.has(ACTIVE) && !irq.has(IN_LR);
            assert!(!(idle && irq.has(PHYS)), "{intid} stays active physically");
        }
    }

    /// What is shown is right, and the most urgent is among it.
    fn check_shown(&self, cpu: usize, vcpu: u32) {
        let shown = self.cpus[cpu].shown();
        let mut seen = BTreeSet::new();
        for lr in &shown {
            let irq = self.irq(vcpu, lr.vintid());
            assert!(seen.insert(lr.vintid()), "{} shown twice", lr.vintid());
            assert!(irq.has(IN_LR) && irq.home() == vcpu);
            assert!(!lr.state().pending() || irq.has(ENABLED) && self.vgic.group_enabled());
        }
        let urgent = |i: &u16| Some(self.irq(vcpu, (*i).into())).filter(|irq| irq.deliverable());
        let list = self.vgic.cpus[vcpu as usize].state.lock();
        let best = list
            .list
            .iter()
            .filter_map(urgent)
            .map(|irq| irq.priority())
            .min();
        let pending = shown.iter().filter(|lr| lr.state() == LrState::Pending);
        let shown = pending.map(|lr| lr.priority()).min();
        assert_eq!(best.filter(|_| self.vgic.group_enabled()), shown);
    }

    /// Devices fall silent, the guests handle everything.
    fn quiesce(&mut self) {
        self.enable_all();
        for vcpu in 0..VCPUS {
            self.timer(vcpu, false);
        }
        for _ in 0..100 {
            let mut busy = false;
            for vcpu in 0..VCPUS {
                (0..CPUS).for_each(|cpu| self.switch(cpu, None));
                self.switch(0, Some(vcpu));
                busy |= self.run(0);
            }
            if !busy {
                return self.check_quiet();
            }
        }
        panic!("never quiet");
    }

    fn run(&mut self, cpu: usize) -> bool {
        let mut busy = false;
        for _ in 0..200 {
            self.take();
            self.exit(cpu);
            if self.ack(cpu) {
                if self.cpus[cpu].running.last().is_some_and(|r| r.0 == LEVEL) {
                    self.vgic.set_line(None, LEVEL, false, &self.told);
                }
            } else if self.cpus[cpu].running.is_empty() {
                return busy;
            }
            self.exit(cpu);
            self.eoi(cpu);
            busy = true;
        }
        panic!("never idle");
    }

    fn check_quiet(&mut self) {
        (0..CPUS).for_each(|cpu| self.switch(cpu, None));
        for (vcpu, intid) in self.all().collect::<Vec<_>>() {
            let irq = self.irq(vcpu, intid);
            assert!(
                !irq.pending() && !irq.has(ACTIVE | PHYS),
                "vcpu {vcpu}: {intid} {irq:?}"
            );
        }
        for intid in LINKED {
            let line = *self.phys.irq(intid + 100);
            assert!(!line.active && !line.edge, "{line:?}");
        }
        assert!(self.owed.is_empty(), "lost: {:?}", self.owed);
        let twice = |(key, credit): &(&Key, &i32)| key.1 != LEVEL && **credit < 0;
        assert_eq!(self.credit.iter().find(twice), None, "too often");
    }
}

fn sane() -> impl Strategy<Value = Op> {
    let vcpu = || 0..VCPUS;
    let cpu = || 0..CPUS;
    let families = prop::sample::select(&[0x100u64, 0x180, 0x180, 0x200, 0x280][..]);
    prop_oneof![
        4 => (36..SPIS.end).prop_map(Op::Pulse),
        2 => vcpu().prop_map(Op::Event),
        3 => (vcpu(), vcpu()).prop_map(|(from, to)| Op::Sgi(from, to)),
        2 => any::<bool>().prop_map(Op::Line),
        4 => (0..2usize).prop_map(Op::Edge),
        3 => (vcpu(), any::<bool>()).prop_map(|(v, high)| Op::Timer(v, high)),
        3 => (families, vcpu(), any::<u64>(), any::<u64>()).prop_map(|(f, v, a, b)| Op::Bits(f, v, a & b)),
        2 => (SPIS, 0..8u32).prop_map(|(i, p)| Op::Priority(i, p << 5)),
        3 => (SPIS, vcpu()).prop_map(|(i, v)| Op::Route(i, v)),
        1 => any::<bool>().prop_map(Op::Group),
        4 => (cpu(), prop::option::weighted(0.9, vcpu())).prop_map(|(c, v)| Op::Switch(c, v)),
        8 => cpu().prop_map(Op::Exit),
        2 => cpu().prop_map(Op::Sync),
        10 => cpu().prop_map(Op::Ack),
        9 => cpu().prop_map(Op::Eoi),
    ]
}

fn wild() -> impl Strategy<Value = Op> {
    let access = || {
        prop_oneof![
            Just(Access::Read),
            any::<u64>().prop_map(Access::Write),
            Just(Access::Write(u64::MAX)),
        ]
    };
    let size = || prop::sample::select(&[0u32, 1, 2, 4, 4, 4, 8, 16][..]);
    let offset = || {
        prop_oneof![
            6 => (0x80..0x400u64).prop_map(|o| o & !3),
            3 => 0..0x1_1000u64,
            1 => any::<u64>(),
        ]
    };
    prop_oneof![
        6 => (0..5u32, offset(), size(), access()).prop_map(|(v, o, s, a)| Op::Dist(v, o, s, a)),
        6 => (0..4u64, 0..2u64, offset(), size(), access()).prop_map(|(v, f, o, s, a)| {
            Op::Redist((v << 17 | f << 16).wrapping_add(o), s, a)
        }),
        1 => (0..5u32).prop_map(Op::Reset),
        20 => sane(),
    ]
}

fn shape() -> impl Strategy<Value = VgicConfig> {
    let model = prop::sample::select(&[Model::V2, Model::V3][..]);
    (model, 1..5u32, any::<bool>()).prop_map(|(model, lr_count, lrs_deactivate)| VgicConfig {
        nr_vcpus: VCPUS,
        lr_count,
        lrs_deactivate,
        ..config(model)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// A sane guest gets every interrupt, none more often than it came, and all physical ones end
    /// deactivated, once.
    #[test]
    fn sane_guests_lose_nothing(shape in shape(), ops in prop::collection::vec(sane(), 1..200)) {
        let mut world = World::new(shape);
        for op in ops {
            world.step(op);
        }
        world.quiesce();
    }

    /// Whatever a guest does harms nobody but itself.
    #[test]
    fn wild_guests_break_nothing(shape in shape(), ops in prop::collection::vec(wild(), 1..200)) {
        let mut world = World::new(shape);
        for op in ops {
            world.step(op);
        }
        (0..CPUS).for_each(|cpu| world.switch(cpu, None));
        world.vgic.unlink_all(&world.told);
        for intid in LINKED {
            let line = *world.phys.irq(intid + 100);
            assert!(!line.active && !line.enabled, "{line:?}");
        }
    }
}
