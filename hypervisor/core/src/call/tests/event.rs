// SPDX-License-Identifier: MIT OR Apache-2.0
//! `event_channel_op` and `VCPUOP_register_vcpu_info`.

use super::*;
use xen_abi::event::*;
use xen_abi::vcpu::{RegisterRunstateMemoryArea, RegisterVcpuInfo, RunstateInfo};
use xen_abi::{Handle, xen::VIRQ_CONSOLE};

pub(super) fn alloc(guest: &mut Guest, dom: u16, remote_dom: u16) -> (i64, u32) {
    let op = AllocUnbound {
        dom,
        remote_dom,
        port: 0,
    };
    let (result, op) = guest.op(EVENT_CHANNEL_OP, 6, op);
    (result, op.port)
}

pub(super) fn bind(guest: &mut Guest, remote_dom: u16, remote_port: u32) -> (i64, u32) {
    let op = BindInterdomain {
        remote_dom,
        _pad: 0,
        remote_port,
        local_port: 0,
    };
    let (result, op) = guest.op(EVENT_CHANNEL_OP, 0, op);
    (result, op.local_port)
}

pub(super) fn on_port(guest: &mut Guest, op: u32, port: u32) -> i64 {
    guest.op(EVENT_CHANNEL_OP, op.into(), Port { port }).0
}

pub(super) fn status(guest: &mut Guest, dom: u16, port: u32) -> (i64, Status) {
    let op = Status {
        dom,
        _pad: 0,
        port,
        status: 9,
        vcpu: 9,
        u: [9; 2],
    };
    guest.op(EVENT_CHANNEL_OP, 5, op)
}

#[test]
fn null_arguments() {
    let mut machine = Machine::new();
    for op in 0..15 {
        assert_eq!(
            machine.dom0().call(EVENT_CHANNEL_OP, &[op, 0]),
            EFAULT,
            "{op}"
        );
    }
    for op in [15, 16] {
        assert_eq!(machine.dom0().call(EVENT_CHANNEL_OP, &[op, 0]), ENOSYS);
    }
    let pirq = machine.dom0().op(EVENT_CHANNEL_OP, 2, [0u32; 3]).0;
    assert_eq!(pirq, EOPNOTSUPP);
}

#[test]
fn a_channel() {
    let mut machine = Machine::new();
    let (result, far) = alloc(machine.domu(), SELF, 0);
    assert_eq!((result, far), (0, 1));
    assert_eq!(
        on_port(machine.domu(), EVTCHNOP_SEND, far),
        0,
        "unbound: dropped"
    );
    let (result, near) = bind(machine.dom0(), 1, far);
    assert_eq!(result, 0);
    assert_eq!(bind(machine.dom0(), 1, far).0, EINVAL);
    let (result, seen) = status(machine.dom0(), 1, far);
    assert_eq!((result, seen.interdomain()), (0, Some((0, near))));
    assert_eq!(on_port(machine.dom0(), EVTCHNOP_SEND, near), 0);
    let pending = machine.guests[1].shared_info();
    let word = pending
        .atomic_u64(48)
        .unwrap()
        .load(core::sync::atomic::Ordering::Relaxed);
    assert_eq!(word, 1 << far);
    assert_eq!(on_port(machine.dom0(), EVTCHNOP_CLOSE, near), 0);
    assert_eq!(on_port(machine.dom0(), EVTCHNOP_CLOSE, near), EINVAL);
    let seen = status(machine.domu(), SELF, far).1;
    assert_eq!((seen.status, seen.u[0]), (EVTCHNSTAT_UNBOUND, 0));
}

#[test]
fn refusals() {
    let mut machine = Machine::new();
    let (dom0, silo) = (0, 1);
    assert_eq!(alloc(&mut machine.guests[dom0], SELF, NOBODY).0, ESRCH);
    assert_eq!(alloc(&mut machine.guests[dom0], NOBODY, 0).0, ESRCH);
    assert_eq!(alloc(&mut machine.guests[silo], SELF, 2).0, EPERM);
    assert_eq!(alloc(&mut machine.guests[silo], 0, SELF).0, EPERM);
    assert_eq!(alloc(&mut machine.guests[dom0], 1, 2).0, EPERM, "two domUs");
    assert_eq!(bind(&mut machine.guests[silo], 2, 1).0, EINVAL);
    assert_eq!(bind(&mut machine.guests[silo], NOBODY, 1).0, ESRCH);
    assert_eq!(status(machine.domu(), 0, 1).0, EPERM);
    assert_eq!(alloc(machine.dom0(), SELF, SELF), (0, 1));
    let (result, seen) = status(machine.dom0(), SELF, 0);
    assert_eq!((result, seen.status), (0, EVTCHNSTAT_CLOSED));
    assert_eq!(status(machine.dom0(), SELF, 1023).0, EINVAL);
    assert_eq!(on_port(machine.dom0(), EVTCHNOP_SEND, 3), EINVAL);
}

#[test]
fn virqs() {
    let mut machine = Machine::new();
    let guest = machine.dom0();
    let mut virq = |virq, vcpu| {
        let (result, op) = guest.op(
            EVENT_CHANNEL_OP,
            1,
            BindVirq {
                virq,
                vcpu,
                port: 0,
            },
        );
        (result, op.port)
    };
    let (result, port) = virq(VIRQ_CONSOLE, 0);
    assert_eq!(result, 0);
    assert_eq!(virq(VIRQ_CONSOLE, 0).0, EEXIST);
    assert_eq!(virq(24, 0).0, EINVAL);
    assert_eq!(virq(VIRQ_CONSOLE, 1).0, EINVAL);
    assert_eq!(virq(0, 99).0, ENOENT);
    assert_eq!(on_port(guest, EVTCHNOP_SEND, port), EINVAL);
    let mut vcpu = |vcpu| guest.op(EVENT_CHANNEL_OP, 8, BindVcpu { port, vcpu }).0;
    assert_eq!(vcpu(99), ENOENT);
    assert_eq!(vcpu(1), 0);
    assert_eq!(
        guest
            .op(EVENT_CHANNEL_OP, 7, BindIpi { vcpu: 1, port: 0 })
            .0,
        0
    );
}

fn control(guest: &Guest, page: u64, offset: u32, vcpu: u32) -> InitControl {
    InitControl {
        control_gfn: guest.gfn(page),
        offset,
        vcpu,
        link_bits: 0,
        _pad: [0; 7],
    }
}

#[test]
fn fifo() {
    let mut machine = Machine::new();
    let guest = machine.domu();
    let array = ExpandArray {
        array_gfn: guest.gfn(9),
    };
    assert_eq!(guest.op(EVENT_CHANNEL_OP, 12, array).0, EOPNOTSUPP);
    let port = alloc(guest, SELF, 0).1;
    let priority = |guest: &mut Guest, priority| {
        guest
            .op(EVENT_CHANNEL_OP, 13, SetPriority { port, priority })
            .0
    };
    assert_eq!(priority(guest, 3), ENOSYS);
    let bad = [
        control(guest, 8, 4, 0),
        control(guest, 8, 4096, 0),
        control(guest, 9999, 0, 0),
    ];
    for op in bad {
        assert_eq!(guest.op(EVENT_CHANNEL_OP, 11, op).0, EINVAL);
    }
    assert_eq!(
        guest.op(EVENT_CHANNEL_OP, 11, control(guest, 8, 0, 9)).0,
        ENOENT
    );
    let (result, op) = guest.op(EVENT_CHANNEL_OP, 11, control(guest, 8, 0, 0));
    assert_eq!((result, op.link_bits), (0, 17));
    assert_eq!(
        guest.op(EVENT_CHANNEL_OP, 11, control(guest, 8, 0, 0)).0,
        EINVAL
    );
    assert_eq!(
        guest
            .op(EVENT_CHANNEL_OP, 12, ExpandArray { array_gfn: 5 })
            .0,
        EINVAL
    );
    assert_eq!(guest.op(EVENT_CHANNEL_OP, 12, array).0, 0);
    assert_eq!(priority(guest, 3), 0);
    assert_eq!(priority(guest, 16), EINVAL);
    // The pages are held until the guest goes back to the other ABI.
    let mfn = crate::addr::Mfn(guest.mfn.0 + 9);
    let held = |m: &Machine| m.sys.frames.state(mfn).map_or(0, |s| s.references());
    assert_eq!(held(&machine), 2);
    let reset = machine
        .domu()
        .op(EVENT_CHANNEL_OP, 10, Reset { dom: SELF })
        .0;
    assert_eq!((reset, held(&machine)), (0, 1));
    assert_eq!(
        status(machine.domu(), SELF, port).1.status,
        EVTCHNSTAT_CLOSED
    );
}

#[test]
fn reset_of_others() {
    let mut machine = Machine::new();
    let reset = |guest: &mut Guest, dom| guest.op(EVENT_CHANNEL_OP, 10, Reset { dom }).0;
    assert_eq!(reset(machine.domu(), 0), EPERM);
    assert_eq!(reset(machine.dom0(), 1), EINVAL, "it runs");
    for _ in 0..100 {
        assert_eq!(alloc(machine.domu(), SELF, 0).0, 0);
    }
    machine
        .hw
        .irq
        .store(true, core::sync::atomic::Ordering::Relaxed);
    assert_eq!(reset(machine.domu(), SELF), 0);
    assert_eq!(machine.domu().restarts, 3);
    assert_eq!(alloc(machine.domu(), SELF, 0), (0, 1));
}

#[test]
fn vcpu_info() {
    let mut machine = Machine::new();
    let guest = machine.domu();
    let info = |mfn, offset| RegisterVcpuInfo {
        mfn,
        offset,
        rsvd: 0,
    };
    let register = |guest: &mut Guest, vcpu: u64, info: RegisterVcpuInfo| {
        let at = guest.put(&info);
        guest.call(VCPU_OP, &[10, vcpu, at])
    };
    let gfn = guest.gfn(10);
    for op in [0, 4, 9, 11, 14] {
        assert_eq!(guest.call(VCPU_OP, &[op, 0, 0]), EINVAL);
    }
    assert_eq!(guest.call(VCPU_OP, &[10, 0, 0]), EFAULT);
    assert_eq!(guest.call(VCPU_OP, &[10, 200, 0]), ENOENT);
    assert_eq!(register(guest, 0, info(gfn, 4092)), ENXIO);
    assert_eq!(register(guest, 0, info(gfn, 3)), ENXIO);
    assert_eq!(register(guest, 0, info(gfn, 4096)), EINVAL);
    assert_eq!(register(guest, 0, info(1, 0)), EINVAL);
    assert_eq!(register(guest, 0, info(u64::MAX, 0)), EINVAL);
    assert_eq!(register(guest, 0, info(gfn, 0xc40)), 0);
    assert_eq!(register(guest, 0, info(gfn, 0xc40)), EBUSY);
    assert_eq!(guest.get::<[u64; 2]>(guest.page(10) + 0xc40), [1, u64::MAX]);
}

#[test]
fn runstate() {
    let mut machine = Machine::new();
    let guest = machine.domu();
    let at = guest.page(11);
    let area = guest.put(&RegisterRunstateMemoryArea { addr: Handle(at) });
    assert_eq!(guest.call(VCPU_OP, &[5, 0, 0]), EFAULT);
    assert_eq!(guest.call(VCPU_OP, &[5, 0, area]), 0);
    assert!(guest.get::<RunstateInfo>(at).state <= 3);
    let area = guest.put(&RegisterRunstateMemoryArea {
        addr: Handle(NOWHERE),
    });
    assert_eq!(guest.call(VCPU_OP, &[5, 1, area]), 0);
}
