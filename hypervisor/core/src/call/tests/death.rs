// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain is destroyed, whatever it has of others and others of it: nothing of it is used again
//! before the last has let go, and in the end all is as it was.

use super::domctl::*;
use super::grant::WINDOW;
use super::*;
use crate::addr::{CpuId, DomId, Gfn, Ipa, Mfn};
use crate::domain::Domain;
use crate::domain::life::Stage;
use crate::domain::vcpu::Start;
use crate::fake::Event;
use crate::hw::Hw as _;
use crate::sched::Next;
use crate::vdev::vpl011::{Backend, Vpl011};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use xen_abi::Handle;
use xen_abi::domctl::*;
use xen_abi::event::*;
use xen_abi::grant::*;
use xen_abi::memory::*;
use xen_abi::xen::VIRQ_DOM_EXC;

/// A machine whose dom0 listens for `VIRQ_DOM_EXC`.
pub(super) struct Stage0 {
    pub(super) machine: Machine,
    port: u32,
    free: u64,
}

impl Stage0 {
    pub(super) fn new() -> Self {
        let mut machine = Machine::new();
        let virq = BindVirq {
            virq: VIRQ_DOM_EXC,
            vcpu: 0,
            port: 0,
        };
        let (result, virq) = machine.dom0().op(EVENT_CHANNEL_OP, 1, virq);
        assert_eq!(result, 0);
        // dom0's tables and handles for what it maps are there, and stay.
        machine.grant(1, 8, 0, 12, GTF_PERMIT_ACCESS);
        let mapped = machine.map(0, 1, 8, WINDOW, GNTMAP_HOST_MAP);
        assert_eq!(machine.unmap(0, mapped.handle, WINDOW), GNTST_OKAY);
        let free = machine.sys.frames.free_pages();
        Self {
            machine,
            port: virq.port,
            free,
        }
    }

    /// True if `VIRQ_DOM_EXC` came since this was last asked.
    pub(super) fn told(&self) -> bool {
        self.takes(self.port)
    }

    /// True if dom0's `port` was raised since this was last asked.
    pub(super) fn takes(&self, port: u32) -> bool {
        let page = self.machine.guests[0].shared_info();
        let at = core::mem::offset_of!(xen_abi::xen::SharedInfo, evtchn_pending);
        let word = page.atomic_u64(at + port as usize / 64 * 8).unwrap();
        let bit = 1 << (port % 64);
        word.fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }

    pub(super) fn domain(&self, id: u16) -> Arc<Domain> {
        self.machine.sys.domains.get(DomId(id)).unwrap()
    }

    /// Domain `id` grants frame `gfn` to domain `to`.
    fn grant(&self, id: u16, reference: u32, to: u16, gfn: u64) {
        let domain = self.domain(id);
        let mfn = domain.grants.frame(0).unwrap().mfn();
        let page = self.machine.sys.frames.get(mfn, domain.id).unwrap();
        let page = crate::call::page::share(self.machine.sys.map, page);
        let word = gfn << 32 | u64::from(to) << 16 | u64::from(GTF_PERMIT_ACCESS);
        let at = page.atomic_u64(reference as usize * 8).unwrap();
        at.store(word, Ordering::SeqCst);
    }

    pub(super) fn destroy(&mut self, id: u16) -> i64 {
        says(&mut self.machine, XEN_DOMCTL_DESTROYDOMAIN, id, &NONE)
    }

    fn mfn(&self, id: u16, gfn: u64) -> u64 {
        self.domain(id).p2m.lookup(Gfn(gfn)).unwrap().mfn.0
    }

    /// It is gone, and all it had is free.
    pub(super) fn check_gone(&mut self, id: u16) {
        assert_eq!(info(&mut self.machine, id).err(), Some(ESRCH));
        assert_eq!(self.destroy(id), ESRCH);
        assert_eq!(self.machine.sys.frames.free_pages(), self.free);
        assert_eq!(self.machine.sys.frames.shared_pages(DomId(id)), 0);
    }

    /// It is dead and has `pages` yet.
    fn check_dead(&mut self, id: u16, pages: u64) {
        let seen = info(&mut self.machine, id).unwrap();
        assert_eq!(seen.flags, 0xffff_010b);
        assert_eq!(seen.tot_pages, pages);
        // Once more does nothing.
        assert_eq!(self.destroy(id), 0);
    }
}

#[test]
fn without_ties_it_is_gone_at_once() {
    for irq in [false, true] {
        let mut stage = Stage0::new();
        let id = build(&mut stage.machine);
        let free = stage.machine.sys.frames.free_pages();
        assert!(free + NR < stage.free);
        assert!(!stage.told());
        stage.machine.hw.irq.store(irq, Ordering::Relaxed);
        let restarts = stage.machine.dom0().restarts;
        assert_eq!(stage.destroy(id), 0);
        assert!(stage.machine.dom0().restarts > restarts || !irq);
        assert!(stage.told());
        stage.check_gone(id);
    }
}

/// Else what is typed is swallowed, or goes to the next domain with its number.
#[test]
fn the_consoles_input_leaves_it() {
    let mut stage = Stage0::new();
    let (hw, sys) = (stage.machine.hw, stage.machine.sys);
    let (id, other) = (build(&mut stage.machine), build(&mut stage.machine));
    let domain = stage.domain(id);
    let range = (Ipa(0x2200_0000), 0x1000);
    let uart = || Vpl011::new(hw, domain.id, range, 32, Backend::Console);
    domain.uart.call_once(uart);
    *hw.input_of.lock().unwrap() = Some(domain.id);
    assert_eq!(stage.destroy(other), 0);
    assert_eq!(*hw.input_of.lock().unwrap(), Some(domain.id));
    assert_eq!(sys.domains.next_on_console(Some(DomId(0))), Some(domain.id));
    let _ = domain.destroy();
    assert!(domain.is_dying());
    assert_eq!(*hw.input_of.lock().unwrap(), None);
    assert_eq!(sys.domains.next_on_console(Some(DomId(0))), None);
}

#[test]
fn shutdown_is_told() {
    let mut stage = Stage0::new();
    let domain = stage.machine.guests[1].domain.clone();
    domain.shutdown(3);
    assert!(stage.told());
    domain.shutdown(1);
    assert!(!stage.told());
    assert_eq!(info(&mut stage.machine, 1).unwrap().flags, 0x0003_0106);
}

#[test]
fn a_page_mapped_by_a_grant_stays() {
    let mut stage = Stage0::new();
    let id = build(&mut stage.machine);
    let mfn = stage.mfn(id, BASE + 2);
    stage.grant(id, 9, 0, BASE + 2);
    let first = stage.machine.map(0, id, 9, WINDOW, GNTMAP_HOST_MAP);
    let second = stage.machine.map(0, id, 9, WINDOW + 1, GNTMAP_HOST_MAP);
    assert_eq!((first.status, second.status), (GNTST_OKAY, GNTST_OKAY));
    assert_eq!(stage.destroy(id), 0);
    assert!(stage.told());
    stage.check_dead(id, 1);
    let state = stage.machine.sys.frames.state(Mfn(mfn)).unwrap();
    assert_eq!(state.owner(), Some(DomId(id)));
    assert_eq!(stage.machine.unmap(0, first.handle, WINDOW), GNTST_OKAY);
    stage.check_dead(id, 1);
    assert!(!stage.told());
    // The page is free after the mapper's TLBs have forgotten it.
    stage.machine.hw.take_events();
    let frames = stage.machine.sys.frames;
    let mut first = true;
    let hook = std::boxed::Box::new(move || {
        let kept = frames.state(Mfn(mfn)).unwrap().owner().is_some();
        assert!(kept || !first);
        first = false;
    });
    *stage.machine.hw.on_flush.lock().unwrap() = Some(hook);
    assert_eq!(
        stage.machine.unmap(0, second.handle, WINDOW + 1),
        GNTST_OKAY
    );
    *stage.machine.hw.on_flush.lock().unwrap() = None;
    assert!(stage.told());
    stage.check_gone(id);
}

#[test]
fn a_foreign_page_stays() {
    let mut stage = Stage0::new();
    let id = build(&mut stage.machine);
    let dom0 = stage.machine.dom0();
    let (idx, gpfn) = (BASE + 1, WINDOW + 2);
    let lists = (dom0.put(&idx), dom0.put(&gpfn), dom0.put(&9i32));
    let add = AddToPhysmapBatch {
        domid: SELF,
        space: 4,
        size: 1,
        foreign_domid: id,
        idxs: Handle(lists.0),
        gpfns: Handle(lists.1),
        errs: Handle(lists.2),
    };
    assert_eq!(dom0.op(MEMORY_OP, 23, add).0, 0);
    assert_eq!(dom0.get::<i32>(lists.2), 0);
    assert_eq!(stage.destroy(id), 0);
    assert!(stage.told());
    stage.check_dead(id, 1);
    // Nothing more of the dead can be mapped.
    let dom0 = stage.machine.dom0();
    assert_eq!(dom0.op(MEMORY_OP, 23, add).0, 0);
    assert_eq!(dom0.get::<i32>(lists.2) as i64, EINVAL);
    let remove = RemoveFromPhysmap {
        domid: SELF,
        _pad: [0; 6],
        gpfn,
    };
    assert_eq!(dom0.op(MEMORY_OP, 15, remove).0, 0);
    assert!(stage.told());
    stage.check_gone(id);
}

#[test]
fn a_grant_table_that_is_mapped_stays() {
    let mut stage = Stage0::new();
    let id = build(&mut stage.machine);
    let dom0 = stage.machine.dom0();
    let gpfn = WINDOW + 3;
    let frame_list = Handle(dom0.put(&gpfn));
    let acquire = AcquireResource {
        domid: id,
        r#type: XENMEM_RESOURCE_GRANT_TABLE,
        id: 0,
        nr_frames: 1,
        pad: 0,
        frame: 0,
        frame_list,
    };
    assert_eq!(dom0.op(MEMORY_OP, 28, acquire).0, 0);
    assert_eq!(stage.destroy(id), 0);
    assert!(stage.told());
    stage.check_dead(id, 0);
    let dom0 = stage.machine.dom0();
    assert_eq!(dom0.op(MEMORY_OP, 28, acquire).0, EINVAL);
    let remove = RemoveFromPhysmap {
        domid: SELF,
        _pad: [0; 6],
        gpfn,
    };
    assert_eq!(dom0.op(MEMORY_OP, 15, remove).0, 0);
    assert!(stage.told());
    stage.check_gone(id);
}

/// What the dying has of others it lets go, and tells them.
#[test]
fn its_own_mappings_end() {
    let mut stage = Stage0::new();
    let machine = &mut stage.machine;
    machine.grant(0, 10, 1, 12, GTF_PERMIT_ACCESS);
    let mfn = machine.guests[0].gfn(12);
    let before = machine.references(mfn);
    assert_eq!(
        machine.map(1, 0, 10, WINDOW, GNTMAP_HOST_MAP).status,
        GNTST_OKAY
    );
    assert_ne!(machine.flags(0, 10) & GTF_READING, 0);
    assert_eq!(stage.destroy(1), 0);
    assert_eq!(stage.machine.references(mfn), before);
    assert_eq!(stage.machine.flags(0, 10), GTF_PERMIT_ACCESS);
}

#[test]
fn its_events_end() {
    let mut stage = Stage0::new();
    let machine = &mut stage.machine;
    let (_, far) = event::alloc(machine.dom0(), SELF, 1);
    let (_, near) = event::bind(machine.domu(), 0, far);
    let (_, unbound) = event::alloc(machine.domu(), SELF, 0);
    assert_eq!(
        event::status(machine.dom0(), 0, far).1.status,
        EVTCHNSTAT_INTERDOMAIN
    );
    assert_eq!(stage.destroy(1), 0);
    let (_, status) = event::status(stage.machine.dom0(), 0, far);
    assert_eq!(status.status, EVTCHNSTAT_UNBOUND);
    assert_eq!(event::on_port(stage.machine.dom0(), EVTCHNOP_SEND, far), 0);
    // The test still has the domain: it cannot be bound to.
    let dead = &*stage.machine.guests[1].domain;
    assert!(crate::event::alloc_unbound(dead, DomId(0)).is_err());
    for port in [near, unbound] {
        assert!(crate::event::send(dead, port).is_err());
    }
}

/// As in xl's way of it: it is paused first, and then takes many calls.
#[test]
fn a_vcpu_must_leave_its_cpu() {
    let mut stage = Stage0::new();
    let id = build(&mut stage.machine);
    let (sys, hw) = (stage.machine.sys, stage.machine.hw);
    let domain = stage.domain(id);
    let vcpu = domain.vcpu(0).unwrap().clone();
    vcpu.start(&domain, Start { entry: 0, x0: 0 });
    domain.unpause();
    assert!(
        matches!(sys.sched.choose(hw, CpuId(0), None, hw.now()).0, Next::Run(v) if Arc::ptr_eq(&v, &vcpu))
    );
    vcpu.sched.set_loaded(Some(CpuId(0)));
    assert_eq!(info(&mut stage.machine, id).unwrap().flags, 0xffff_0122);
    // It runs, then its registers are in the CPU: nothing is taken from it.
    hw.irq.store(true, Ordering::Relaxed);
    let op = Domctl {
        cmd: XEN_DOMCTL_DESTROYDOMAIN,
        interface_version: XEN_DOMCTL_INTERFACE_VERSION,
        domain: id,
        _pad: [0; 3],
        u: xen_abi::Payload::ZERO,
    };
    let dom0 = stage.machine.dom0();
    let at = dom0.put(&op);
    let try_once = |stage: &mut Stage0| {
        let dom0 = stage.machine.dom0();
        (dom0.regs.x[0], dom0.regs.x[16], dom0.regs.pc) = (at, DOMCTL, 0x1004);
        dom0.step();
        assert_eq!(dom0.regs.pc, 0x1000);
        assert_eq!(sys.frames.tot_pages(DomId(id)), NR as u32);
        assert_eq!(domain.stage(), Stage::Dying);
    };
    try_once(&mut stage);
    assert!(sys.sched.wants_choice(CpuId(0)));
    assert!(matches!(
        sys.sched.choose(hw, CpuId(0), Some(&vcpu), hw.now()).0,
        Next::Idle
    ));
    try_once(&mut stage);
    assert_ne!(vcpu.sched.flags() & crate::sched::pause::EVICTED, 0);
    vcpu.sched.set_loaded(None);
    // A timer of it that nobody has taken back.
    sys.timers.set(
        hw,
        1 << 40,
        crate::timer::Purpose::Virtual(Arc::downgrade(&vcpu)),
    );
    assert_eq!(Arc::weak_count(&vcpu), 1);
    assert_eq!(stage.destroy(id), 0);
    assert_eq!(Arc::weak_count(&vcpu), 0);
    drop((vcpu, domain));
    stage.check_gone(id);
}

/// Of reference 9, which is mapped, there may be more uses; of 10 there may be none.
fn uses(stage: &mut Stage0, id: u16) {
    let again = stage.machine.map(0, id, 9, WINDOW + 1, GNTMAP_HOST_MAP);
    assert_eq!(again.status, GNTST_OKAY);
    assert_eq!(stage.machine.unmap(0, again.handle, WINDOW + 1), GNTST_OKAY);
    assert_eq!(stage.machine.copy_from(id, 9), GNTST_OKAY);
    let new = stage.machine.map(0, id, 10, WINDOW + 1, GNTMAP_HOST_MAP);
    assert_eq!(new.status, GNTST_BAD_PAGE);
    assert_eq!(stage.machine.copy_from(id, 10), GNTST_BAD_PAGE);
}

/// XSA-380's question, put to new uses: a dying granter's pages are nobody's to take.
#[test]
fn xsa_380_no_new_use_of_a_dying_granter() {
    let mut stage = Stage0::new();
    let id = build(&mut stage.machine);
    stage.grant(id, 9, 0, BASE + 2);
    stage.grant(id, 10, 0, BASE + 3);
    let mapped = stage.machine.map(0, id, 9, WINDOW, GNTMAP_HOST_MAP);
    let domain = stage.domain(id);
    let _ = domain.destroy();
    assert_eq!(domain.stage(), Stage::Dying);
    uses(&mut stage, id);
    drop(domain);
    assert_eq!(stage.destroy(id), 0);
    stage.check_dead(id, 1);
    uses(&mut stage, id);
    assert_eq!(stage.machine.unmap(0, mapped.handle, WINDOW), GNTST_OKAY);
    stage.check_gone(id);
}

/// Pages that are given while the domain dies do not stay behind.
#[test]
fn the_dying_get_nothing() {
    let mut stage = Stage0::new();
    let id = build(&mut stage.machine);
    let domain = stage.domain(id);
    let populate = |stage: &mut Stage0, gfn| memory::change(stage.machine.dom0(), 6, id, &[gfn], 0);
    let increase = |stage: &mut Stage0| memory::change(stage.machine.dom0(), 0, id, &[0], 0);
    assert_eq!(populate(&mut stage, BASE + 20), 1);
    while domain.stage() != Stage::Dead {
        let _ = domain.destroy();
        assert_eq!(populate(&mut stage, BASE + 21), 0);
        assert_eq!(increase(&mut stage), 0);
    }
    drop(domain);
    stage.check_gone(id);
}

/// XSA-429 and its like: flushes come before frees, of tables too.
#[test]
fn nothing_is_reused_before_the_flush() {
    let mut stage = Stage0::new();
    let id = build(&mut stage.machine);
    stage.machine.hw.take_events();
    let vttbr = stage.domain(id).p2m.vttbr();
    assert_eq!(stage.destroy(id), 0);
    let events = stage.machine.hw.take_events();
    assert!(events.contains(&Event::FlushStage2(vttbr)));
    stage.check_gone(id);
}
