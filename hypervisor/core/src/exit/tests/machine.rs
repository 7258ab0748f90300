// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine of two CPUs that runs two hostile domains, one trap after the other.

use super::guest::{self, Dice, Kind, Layout, Trap};
use super::*;
use crate::addr::{CpuId, DomId, Gfn, Gva, Ipa, Mfn, PAGE_SIZE, Pa, PaRange};
use crate::domain::context::Context;
use crate::domain::vcpu::{Start, Vcpu};
use crate::domain::{Domain, GicLayout, Role};
use crate::fake::{Event, FakeHw, set_this_cpu};
use crate::frame::{Kind as PageKind, Limits, Relinquished};
use crate::guest::copy::GuestMemory;
use crate::hw::Hw;
use crate::p2m::{P2mType, Progress};
use crate::sched::Next;
use crate::system::System;
use crate::testing::{self, NR_LRS, Setup};
use crate::timer;
use crate::vgic::{ListRegisters, Model};
use alloc::sync::Arc;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::String;
use std::vec::Vec;
use zerocopy::IntoBytes;

const RAM: PaRange = PaRange {
    start: Pa(0x4000_0000),
    end: Pa(0x4080_0000),
};
/// Pages of a domain.
const PAGES: u64 = 512;
/// Frames of a domain that have a virtual address, which is the physical one.
const VISIBLE: u64 = 96;
/// The fake machine may be asked for this much in one trap.
const MOST_EVENTS: usize = 2500;
/// An interrupted hypercall is gone on with so often.
const MOST_RESTARTS: u32 = 64;

/// List registers that a guest does things to.
#[derive(Default)]
struct Lrs {
    lr: [u64; NR_LRS as usize],
    eoi_count: u32,
}

const STATE_SHIFT: u32 = 62;

impl ListRegisters for Lrs {
    fn read(&mut self, n: u32) -> u64 {
        self.lr[n as usize]
    }
    fn write(&mut self, n: u32, value: u64) {
        self.lr[n as usize] = value;
    }
    fn eoi_count(&mut self) -> u32 {
        core::mem::take(&mut self.eoi_count)
    }
}

impl Lrs {
    /// The guest acknowledges and ends interrupts.
    fn guest(&mut self, dice: &mut Dice) {
        let lr = &mut self.lr[dice.below(NR_LRS.into()) as usize];
        let state = match *lr >> STATE_SHIFT {
            // Acknowledged, ended; pending and active: ended.
            1 => 2,
            3 => 1,
            _ => 0,
        };
        *lr = *lr & !(3 << STATE_SHIFT) | state << STATE_SHIFT;
        if dice.one_in(50) {
            self.eoi_count = dice.below(32) as u32;
        }
    }
}

#[derive(Default)]
struct Cpu {
    lrs: Lrs,
    loaded: Option<Arc<Vcpu>>,
    runs: bool,
}

pub(super) struct Machine {
    hw: &'static FakeHw,
    sys: &'static System,
    domains: [Arc<Domain>; 2],
    layouts: [Layout; 2],
    cpus: [Cpu; 2],
    dice: Dice,
    pub(super) traps: u64,
    pub(super) most_events: usize,
    pub(super) tally: Tally,
}

/// How traps came out.
#[derive(Default, Debug)]
pub(super) struct Tally {
    pub(super) stepped: u32,
    pub(super) excepted: u32,
    pub(super) restarted: u32,
    pub(super) ended: u32,
    /// Hypercalls by number: refused, performed.
    pub(super) calls: BTreeMap<u64, [u32; 2]>,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.stepped += other.stepped;
        self.excepted += other.excepted;
        self.restarted += other.restarted;
        self.ended += other.ended;
        for (&number, [refused, performed]) in other.calls.iter().filter(|c| *c.0 < 64) {
            let sum = self.calls.entry(number).or_default();
            *sum = [sum[0] + refused, sum[1] + performed];
        }
    }
}

impl Machine {
    pub(super) fn new(dice: Dice) -> Self {
        let (hw, sys) = testing::system(RAM, 2);
        let role = Role {
            hardware: true,
            control: true,
            console: true,
            direct_mapped: true,
        };
        let v3 = GicLayout {
            gicd: (Ipa(0x800_0000), 0x1_0000),
            gicr: [(Ipa(0x80a_0000), 0x6_0000)].into(),
            gicc: None,
        };
        let dom0 = Setup {
            id: 0,
            role,
            nr_vcpus: 3,
            model: Model::V3,
            gic_layout: v3,
        };
        let v2 = GicLayout {
            gicd: (Ipa(0x300_1000), 0x1000),
            gicr: Vec::new(),
            gicc: Some((Ipa(0x300_2000), 0x2000)),
        };
        let domu = Setup {
            id: 1,
            role: Role::default(),
            nr_vcpus: 2,
            model: Model::V2,
            gic_layout: v2,
        };
        let (dom0, layout0) = domain(sys, hw, dom0);
        let (domu, layout1) = domain(sys, hw, domu);
        Self {
            hw,
            sys,
            domains: [dom0, domu],
            layouts: [layout0, layout1],
            cpus: Default::default(),
            dice,
            traps: 0,
            most_events: 0,
            tally: Tally::default(),
        }
    }

    /// Something happens on one of the CPUs.
    pub(super) fn step(&mut self) {
        let cpu = self.dice.below(2) as usize;
        set_this_cpu(CpuId(cpu as u32));
        self.hw.irq.store(self.dice.one_in(2), Ordering::Relaxed);
        self.hw
            .time
            .fetch_add(self.dice.below(100_000), Ordering::Relaxed);
        if self.dice.one_in(4) {
            // A watchdog may bite.
            ends_machine(true, || timer::run_expired(self.sys));
        }
        if self.dice.one_in(4) {
            self.interrupt();
        }
        match self.cpus[cpu].loaded.clone() {
            Some(vcpu) if self.cpus[cpu].runs => self.run(cpu, &vcpu),
            _ => self.choose(cpu),
        }
        set_this_cpu(CpuId(0));
    }

    /// A device or another CPU wants something of a vCPU.
    fn interrupt(&mut self) {
        let domain = &self.domains[self.dice.below(2) as usize];
        let vcpu = self.dice.below(3) as u32;
        let intid = self.dice.below(70) as u32;
        match self.dice.below(8) {
            0 | 1 => domain
                .vgic
                .set_line(Some(vcpu), intid, self.dice.one_in(2), &**domain),
            2 | 3 => domain.vgic.pulse(Some(vcpu), intid, &**domain),
            4 => {
                domain.vgic.hw_fired(intid, Some(vcpu), &**domain);
            }
            5 => drop(domain.vgic.link_hw(intid, intid, &**domain)),
            6 => domain.vgic.unlink_hw(intid, &**domain),
            _ => crate::event::raise_virq(&**domain, self.dice.below(24) as u32),
        }
    }

    fn choose(&mut self, cpu: usize) {
        let this = CpuId(cpu as u32);
        match self
            .sys
            .sched
            .choose(self.hw, this, self.cpus[cpu].loaded.as_ref(), self.hw.now())
            .0
        {
            Next::Run(vcpu) => self.load(cpu, vcpu),
            Next::Idle => self.wake_something(),
        }
    }

    fn wake_something(&mut self) {
        let domain = &self.domains[self.dice.below(2) as usize];
        let vcpu = &domain.vcpus()[self.dice.below(domain.vcpus().len() as u64) as usize];
        let ended = domain.life.lock().shutdown_code.is_some();
        if ended {
            domain.resume();
        } else if !vcpu.is_up() {
            vcpu.start(domain, Start { entry: 0, x0: 0 });
        } else {
            vcpu.unblock(!crate::sched::pause::DOMAIN);
        }
    }

    fn load(&mut self, cpu: usize, vcpu: Arc<Vcpu>) {
        let started = vcpu.take_start();
        if let Some(start) = started {
            // SAFETY: the vCPU is about to run here and nowhere else.
            unsafe { *vcpu.context.get() = Context::reset(start.entry, start.x0) };
        }
        let this = &mut self.cpus[cpu];
        let same = this.loaded.as_ref().is_some_and(|l| Arc::ptr_eq(l, &vcpu));
        if !same {
            if let Some(old) = this.loaded.take() {
                let domain = old.domain.upgrade().unwrap();
                domain
                    .vgic
                    .unload(old.id, &mut this.lrs, (27, false), &*domain);
                assert!(this.lrs.lr.iter().all(|lr| lr >> STATE_SHIFT == 0));
                old.sched.set_loaded(None);
            }
            vcpu.sched.set_loaded(Some(CpuId(cpu as u32)));
            this.loaded = Some(vcpu);
        }
        this.runs = true;
    }

    /// The vCPU enters, runs, and traps.
    fn run(&mut self, cpu: usize, vcpu: &Arc<Vcpu>) {
        let domain = vcpu.domain.upgrade().unwrap();
        let lrs = &mut self.cpus[cpu].lrs;
        if domain.vgic.is_dirty(vcpu.id) {
            domain.vgic.enter(vcpu.id, lrs, &*domain);
        }
        lrs.guest(&mut self.dice);
        if vcpu.flush_step(&domain) {
            self.trap(&domain, vcpu);
        }
        if self.sys.sched.take_resched(CpuId(cpu as u32)) || self.dice.one_in(40) {
            domain.vgic.sync(vcpu.id, &mut self.cpus[cpu].lrs);
            vcpu.settle_wait(&domain);
            self.cpus[cpu].runs = false;
        }
    }

    fn trap(&mut self, domain: &Arc<Domain>, vcpu: &Arc<Vcpu>) {
        self.traps += 1;
        let layout = &self.layouts[usize::from(domain.id.0)];
        see_memory(self.hw, domain, layout);
        // SAFETY: the vCPU runs here, and its registers are used nowhere else.
        let regs = unsafe { &mut (*vcpu.context.get()).regs };
        let Trap { syndrome, kind } = guest::trap(layout, &mut regs.x, &mut self.dice);
        write_memory(self.sys, domain, layout, &regs.x, &mut self.dice);
        regs.pstate = self
            .dice
            .pick(&[0x3c5, 0x3c5, 0x3c5, 0x5, 0x4, 0, 0x10, 0x20_0005, 0x1f]);
        regs.pc = (layout.gfn + self.dice.below(8)) * PAGE_SIZE + self.dice.below(1024) * 4;
        let instruction = guest::instruction(&mut self.dice).to_le_bytes();
        let _ = GuestMemory::new(self.sys, domain.id).write_bytes(Gva(regs.pc), &instruction);
        self.hw.write_el1(El1Reg::Vbar, VBAR);
        let mut cur = Current {
            sys: self.sys,
            domain,
            vcpu,
            regs,
        };
        self.hw.take_events();
        let number = cur.regs.get(16);
        for _ in 0..MOST_RESTARTS {
            let pc = cur.regs.pc;
            let hardware = domain.role.hardware;
            let ended = ends_machine(hardware, || handle_sync(&mut cur, syndrome));
            self.most_events = self
                .most_events
                .max(check(self.hw, &cur, pc, syndrome, kind, ended));
            let again = kind == Kind::Call && cur.regs.pc == pc.wrapping_sub(4);
            self.tally.ended += u32::from(ended);
            self.tally.restarted += u32::from(again);
            self.tally.excepted += u32::from(cur.regs.pc & !0x7ff == VBAR);
            self.tally.stepped +=
                u32::from(kind != Kind::Call && cur.regs.pc == pc.wrapping_add(4));
            if !again && syndrome.esr as u16 == HYPERCALL_TAG && kind == Kind::Call {
                let performed = cur.regs.get(0) as i64 >= 0;
                self.tally.calls.entry(number).or_default()[usize::from(performed)] += 1;
            }
            if !again {
                break;
            }
            cur.regs.pc = pc;
            self.hw.irq.store(self.dice.one_in(2), Ordering::Relaxed);
        }
    }

    /// Every page is free, the hypervisor's, or counted as a domain's.
    pub(super) fn check_pages(&self) {
        let frames = self.sys.frames;
        let mut owned = [0; 2];
        let mut free = 0;
        for state in pages().filter_map(|mfn| frames.state(mfn)) {
            match (state.kind(), state.owner()) {
                (PageKind::Free, _) => free += 1,
                (PageKind::Ram, Some(owner)) => owned[usize::from(owner.0)] += 1,
                _ => {}
            }
        }
        assert_eq!(free, frames.free_pages());
        assert_eq!(owned, [0, 1].map(|id| frames.tot_pages(DomId(id))));
        for (domain, owned) in self.domains.iter().zip(owned) {
            assert!(owned <= domain.max_pages.load(Ordering::Relaxed));
        }
    }

    /// Takes everything from the domains. Returns how many pages are free then, or were but for
    /// the domains' Xen pages.
    pub(super) fn end(self) -> u64 {
        let frames = self.sys.frames;
        for domain in &self.domains {
            while domain.p2m.relinquish(u32::MAX) != Progress::Done {}
            while crate::event::close_all(&**domain, u32::MAX) != crate::event::Progress::Done {}
        }
        for domain in &self.domains {
            assert_eq!(
                frames.relinquish(domain.id, Mfn(0), u32::MAX),
                Relinquished::Done
            );
        }
        let owned: Vec<_> = pages()
            .filter_map(|mfn| frames.state(mfn))
            .filter(|state| state.owner().is_some())
            .collect();
        assert!(
            owned
                .iter()
                .all(|s| s.kind() == PageKind::XenShared && s.references() == 1)
        );
        frames.free_pages() + owned.len() as u64
    }
}

/// What the guest's exception vectors are at.
const VBAR: u64 = 0xdead_0000_0000_0000;

fn pages() -> impl Iterator<Item = Mfn> {
    (RAM.start.frame().0..RAM.end.frame().0).map(Mfn)
}

fn domain(sys: &'static System, hw: &'static FakeHw, setup: Setup) -> (Arc<Domain>, Layout) {
    let domain = testing::domain(sys, hw, setup);
    let mfn = sys
        .frames
        .alloc_ram(domain.id, 9, Limits::default())
        .unwrap();
    let gfn = if domain.role.direct_mapped {
        mfn.0
    } else {
        0x40000
    };
    domain
        .p2m
        .insert(Gfn(gfn), mfn, PAGES, P2mType::RamRw)
        .unwrap();
    domain.max_pages.store(PAGES as u32 * 2, Ordering::Relaxed);
    sys.domains.insert(domain.clone());
    domain.unpause();
    let mut devices = domain.gic_layout.gicr.clone();
    devices.push(domain.gic_layout.gicd);
    let layout = Layout {
        gfn,
        mfn: mfn.0,
        pages: PAGES,
        devices,
    };
    (domain, layout)
}

/// The guest sees its memory where it is, and what it has put after it.
fn see_memory(hw: &FakeHw, domain: &Domain, layout: &Layout) {
    let tail = layout.gfn + layout.pages;
    let gfns = (layout.gfn..layout.gfn + VISIBLE / 2).chain(tail..tail + VISIBLE / 2);
    let mapping = |gfn: u64| {
        let found = domain.p2m.lookup(Gfn(gfn))?;
        let writable = found.ty.allows(Access::Write);
        found
            .ty
            .is_memory()
            .then_some((gfn * PAGE_SIZE, found.mfn.base().0, writable))
    };
    *hw.mappings.lock().unwrap() = gfns.filter_map(mapping).collect();
}

/// Random structures where hypercalls will look for them.
fn write_memory(
    sys: &'static System,
    domain: &Domain,
    layout: &Layout,
    x: &[u64; 31],
    dice: &mut Dice,
) {
    let memory = GuestMemory::new(sys, domain.id);
    for &at in &x[..3] {
        let words: [u64; 16] = core::array::from_fn(|_| layout.field(dice));
        let _ = memory.write_bytes(Gva(at), words.as_bytes());
    }
}

/// True if `act` ended the machine, as only the hardware domain may.
fn ends_machine(allowed: bool, act: impl FnOnce()) -> bool {
    let Err(why) = catch_unwind(AssertUnwindSafe(act)) else {
        return false;
    };
    let said = why.downcast_ref::<String>().map_or("", String::as_str);
    if !allowed || !(said == "halt" || said.starts_with("system: ")) {
        std::panic::resume_unwind(why);
    }
    true
}

/// The trap got the guest on. Returns what it cost, which is not too much.
fn check(
    hw: &FakeHw,
    cur: &Current<'_>,
    pc: u64,
    syndrome: Syndrome,
    kind: Kind,
    ended: bool,
) -> usize {
    let events = hw.take_events();
    let shown = || std::format!("{kind:?} {syndrome:x?} at {pc:#x}: {:x?}", cur.regs);
    assert!(
        events.len() < MOST_EVENTS,
        "{} events: {}",
        events.len(),
        shown()
    );
    let now = cur.regs.pc;
    // HVC leaves the address after it.
    let at = if kind == Kind::Call {
        pc.wrapping_sub(4)
    } else {
        pc
    };
    let excepted = now & !0x7ff == VBAR && hw.read_el1(El1Reg::Elr) == at;
    let stepped = now == pc.wrapping_add(4) || now == pc.wrapping_add(2);
    let on = match kind {
        Kind::Call => now == pc || now == pc.wrapping_sub(4) || excepted,
        Kind::Instruction => stepped || excepted,
        Kind::Abort => stepped || excepted || now == pc && may_retry(hw, cur, syndrome),
        Kind::SError => now == pc && events.contains(&Event::SError),
    };
    assert!(on || ended, "stuck: {}", shown());
    events.len()
}

/// The access that failed would succeed.
fn may_retry(hw: &FakeHw, cur: &Current<'_>, syndrome: Syndrome) -> bool {
    let ipa = Ipa(syndrome.hpfar >> 4 << 12);
    let mapped = cur.domain.p2m.lookup(ipa.frame()).is_some();
    mapped
        || hw
            .mappings
            .lock()
            .unwrap()
            .iter()
            .any(|m| m.0 == syndrome.far & !0xfff)
}
