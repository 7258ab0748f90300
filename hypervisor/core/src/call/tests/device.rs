// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a toolstack gives to a domain besides memory: it works, and comes back when the domain dies.

use super::death::Stage0;
use super::domctl::*;
use super::*;
use crate::addr::{Gfn, Ipa, PAGE_SIZE, Pa, PaRange};
use crate::p2m::P2mType;
use core::sync::atomic::Ordering;
use xen_abi::domctl::*;
use xen_abi::event::*;
use xen_abi::xen::{VIRQ_CON_RING, VIRQ_DEBUG, VIRQ_DOM_EXC};

const RING: u64 = BASE + 1;

fn uart(gfn: u64) -> VuartOp {
    VuartOp {
        cmd: XEN_DOMCTL_VUART_OP_INIT,
        r#type: XEN_DOMCTL_VUART_TYPE_VPL011,
        gfn,
        console_domid: 0,
        pad: [0; 2],
        evtchn: 0,
    }
}

fn bind(stage: &mut Stage0, id: u16, remote_port: u32) -> u32 {
    let bind = BindInterdomain {
        remote_dom: id,
        _pad: 0,
        remote_port,
        local_port: 0,
    };
    let dom0 = stage.machine.dom0();
    let (result, bind) = dom0.op(EVENT_CHANNEL_OP, 0, bind);
    assert_eq!(result, 0);
    bind.local_port
}

#[test]
fn a_uart_by_a_ring() {
    let mut stage = Stage0::new();
    let id = build_with(&mut stage.machine, |config| config.arch.nr_spis = 1);
    let (result, op): (_, VuartOp) = act(&mut stage.machine, XEN_DOMCTL_VUART_OP, id, &uart(RING));
    assert_eq!(result, 0);
    let port = bind(&mut stage, id, op.evtchn);
    let domain = stage.domain(id);
    let dr = Ipa(0x2200_0000);
    assert!(domain.is_emulated(dr));
    assert!(domain.access_device(0, dr, 4, Some(b'a'.into())).is_some());
    let page = domain.p2m.lookup(Gfn(RING)).unwrap();
    let sys = stage.machine.sys;
    let ring = crate::call::page::share(sys.map, sys.frames.get(page.mfn, domain.id).unwrap());
    assert_eq!(ring.atomic_u8(1024).unwrap().load(Ordering::Relaxed), b'a');
    assert!(stage.takes(port));
    // What its server sends comes.
    ring.atomic_u8(0).unwrap().store(b'b', Ordering::Relaxed);
    ring.atomic_u32(3076).unwrap().store(1, Ordering::Relaxed);
    let dom0 = stage.machine.dom0();
    assert_eq!(dom0.op(EVENT_CHANNEL_OP, 4, port).0, 0);
    assert_eq!(domain.access_device(0, dr, 4, None), Some(b'b'.into()));
    drop((ring, domain));
    // It holds the ring's page no longer than the domain lives.
    assert_eq!(stage.destroy(id), 0);
    stage.check_gone(id);
}

#[test]
fn a_uart_is_refused() {
    let mut stage = Stage0::new();
    let without = build(&mut stage.machine);
    let ask = |stage: &mut Stage0, id, op| says(&mut stage.machine, XEN_DOMCTL_VUART_OP, id, &op);
    assert_eq!(ask(&mut stage, without, uart(RING)), EINVAL);
    let id = build_with(&mut stage.machine, |config| config.arch.nr_spis = 1);
    let with = |change: fn(&mut VuartOp)| {
        let mut op = uart(RING);
        change(&mut op);
        op
    };
    for (op, errno) in [
        (with(|op| op.cmd = 1), EINVAL),
        (with(|op| op.pad[1] = 1), EINVAL),
        (with(|op| op.r#type = 1), EOPNOTSUPP),
        (with(|op| op.console_domid = 77), ESRCH),
        (with(|op| op.gfn = 1), EINVAL),
        (with(|op| op.gfn = u64::MAX), EINVAL),
        (with(|_| ()), 0),
        (with(|_| ()), EINVAL),
    ] {
        assert_eq!(ask(&mut stage, id, op), errno, "{op:?}");
    }
    assert_eq!(
        says(&mut stage.machine, XEN_DOMCTL_UNPAUSEDOMAIN, id, &NONE),
        0
    );
    assert_eq!(ask(&mut stage, id, uart(RING)), EPERM);
    assert_eq!(stage.destroy(without), 0);
    assert_eq!(stage.destroy(id), 0);
    stage.check_gone(id);
}

const DEVICE: u64 = 0x9010;

fn permit(stage: &mut Stage0, id: u16, first_mfn: u64, nr_mfns: u64, allow: bool) -> i64 {
    let op = IomemPermission {
        first_mfn,
        nr_mfns,
        allow_access: allow.into(),
        _pad: [0; 7],
    };
    says(&mut stage.machine, XEN_DOMCTL_IOMEM_PERMISSION, id, &op)
}

fn map(stage: &mut Stage0, id: u16, gfn: u64, mfn: u64, nr: u64, add: u32) -> i64 {
    let op = MemoryMapping {
        first_gfn: gfn,
        first_mfn: mfn,
        nr_mfns: nr,
        add_mapping: add,
        padding: 0,
    };
    says(&mut stage.machine, XEN_DOMCTL_MEMORY_MAPPING, id, &op)
}

#[test]
fn registers_are_given_and_taken() {
    let mut stage = Stage0::new();
    let start = Pa(DEVICE * PAGE_SIZE);
    let own = PaRange::new(start, 8 * PAGE_SIZE).unwrap();
    *stage.machine.dom0().domain.iomem.lock() = alloc::vec![own];
    let id = build(&mut stage.machine);
    assert_eq!(map(&mut stage, id, 7, DEVICE, 1, 1), EPERM);
    assert_eq!(permit(&mut stage, id, DEVICE, 9, true), EPERM);
    assert_eq!(permit(&mut stage, id, DEVICE - 1, 2, true), EPERM);
    assert_eq!(permit(&mut stage, id, DEVICE, 4, true), 0);
    assert_eq!(permit(&mut stage, id, DEVICE + 2, 1, false), 0);
    assert_eq!(map(&mut stage, id, 7, DEVICE, 4, 1), EPERM);
    assert_eq!(map(&mut stage, id, 7, DEVICE, 2, 1), 0);
    let domain = stage.domain(id);
    let there = domain.p2m.lookup(Gfn(8)).unwrap();
    assert_eq!((there.mfn.0, there.ty), (DEVICE + 1, P2mType::MmioDevice));
    // Only what is there is taken.
    assert_eq!(map(&mut stage, id, 8, DEVICE, 1, 0), 0);
    assert!(domain.p2m.lookup(Gfn(8)).is_some());
    assert_eq!(map(&mut stage, id, BASE, DEVICE, 1, 0), 0);
    assert!(domain.p2m.lookup(Gfn(BASE)).is_some());
    assert_eq!(map(&mut stage, id, 7, DEVICE, 2, 0), 0);
    assert!(domain.p2m.lookup(Gfn(8)).is_none());
    drop(domain);
    assert_eq!(map(&mut stage, id, 7, DEVICE, 2, 1), 0);
    assert_eq!(stage.destroy(id), 0);
    stage.check_gone(id);
}

fn interrupt(stage: &mut Stage0, cmd: u32, id: u16, irq: u32) -> i64 {
    let op = BindPtIrq {
        machine_irq: irq,
        irq_type: PT_IRQ_TYPE_SPI,
        spi: irq as u16,
        _rest: [0; 7],
    };
    says(&mut stage.machine, cmd, id, &op)
}

#[test]
fn interrupts_are_given_and_come_back() {
    let mut stage = Stage0::new();
    let dom0 = stage.machine.dom0().domain.clone();
    dom0.spare_irqs.call_once(|| [40, 41].into());
    assert!(dom0.vgic.link_hw(42, 42, &*dom0));
    let first = build_with(&mut stage.machine, |config| config.arch.nr_spis = 32);
    let second = build_with(&mut stage.machine, |config| config.arch.nr_spis = 32);
    let bare = build(&mut stage.machine);
    let (bind, unbind) = (XEN_DOMCTL_BIND_PT_IRQ, XEN_DOMCTL_UNBIND_PT_IRQ);
    for (cmd, id, irq, answer) in [
        (bind, first, 27, EPERM),
        (bind, first, 43, EPERM),
        (bind, first, 42, EBUSY),
        (unbind, first, 40, EINVAL),
        (bind, bare, 40, EINVAL),
        (bind, first, 40, 0),
        (bind, first, 40, EBUSY),
        (bind, second, 40, EBUSY),
        (unbind, first, 40, EBUSY),
        (bind, second, 41, 0),
    ] {
        assert_eq!(
            interrupt(&mut stage, cmd, id, irq),
            answer,
            "{cmd} of {irq}"
        );
    }
    let owner = |stage: &Stage0, irq| {
        let mut owner = None;
        stage
            .machine
            .sys
            .with_irq_owner(irq, |d| owner = Some(d.id.0));
        owner
    };
    assert_eq!(owner(&stage, 40), Some(first));
    assert_eq!(stage.destroy(first), 0);
    assert_eq!(owner(&stage, 40), Some(0));
    assert_eq!(interrupt(&mut stage, bind, second, 40), 0);
}

#[test]
fn virqs_move_and_come_back() {
    let mut stage = Stage0::new();
    let id = build(&mut stage.machine);
    let give = |stage: &mut Stage0, virq| {
        let op = SetVirqHandler { virq };
        says(&mut stage.machine, XEN_DOMCTL_SET_VIRQ_HANDLER, id, &op)
    };
    assert_eq!(give(&mut stage, VIRQ_DEBUG), EINVAL);
    assert_eq!(give(&mut stage, 24), EINVAL);
    assert_eq!(give(&mut stage, VIRQ_CON_RING), 0);
    assert_eq!(give(&mut stage, VIRQ_DOM_EXC), 0);
    let sys = stage.machine.sys;
    sys.tell_dom_exc();
    assert!(!stage.told());
    assert_eq!(stage.destroy(id), 0);
    assert!(stage.told());
    sys.tell_dom_exc();
    assert!(stage.told());
}

#[test]
fn a_suspension_is_told_on_its_port() {
    let mut stage = Stage0::new();
    let id = build(&mut stage.machine);
    let unbound = AllocUnbound {
        dom: id,
        remote_dom: 0,
        port: 0,
    };
    let (result, unbound) = stage.machine.dom0().op(EVENT_CHANNEL_OP, 6, unbound);
    assert_eq!(result, 0);
    let op = Subscribe { port: unbound.port };
    assert_eq!(says(&mut stage.machine, XEN_DOMCTL_SUBSCRIBE, id, &op), 0);
    let port = bind(&mut stage, id, unbound.port);
    stage.takes(port);
    stage.domain(id).shutdown(2);
    assert!(stage.takes(port));
    assert!(!stage.told());
}

/// However much is logged, its readers are told once until they were.
#[test]
fn the_log_is_told_once() {
    let mut stage = Stage0::new();
    let virq = BindVirq {
        virq: VIRQ_CON_RING,
        vcpu: 0,
        port: 0,
    };
    let (result, virq) = stage.machine.dom0().op(EVENT_CHANNEL_OP, 1, virq);
    assert_eq!(result, 0);
    let (sys, hw) = (stage.machine.sys, stage.machine.hw);
    for _ in 0..3 {
        sys.log_grew();
        sys.log_grew();
        assert!(!stage.takes(virq.port));
        hw.time.fetch_add(1_000_000, Ordering::Relaxed);
        crate::timer::run_expired(sys);
        assert!(stage.takes(virq.port));
        crate::timer::run_expired(sys);
        assert!(!stage.takes(virq.port));
    }
}
