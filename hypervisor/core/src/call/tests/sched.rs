// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sched_op`.

use super::*;
use crate::sched::pause;
use core::sync::atomic::Ordering;
use xen_abi::Handle;
use xen_abi::event::{AllocUnbound, BindInterdomain, Port};
use xen_abi::sched::*;

fn flags(guest: &Guest) -> u32 {
    guest.domain.vcpu(0).unwrap().sched.flags() & !pause::DOWN
}

#[test]
fn arguments() {
    let mut machine = Machine::new();
    for op in 2..8 {
        assert_eq!(machine.dom0().call(SCHED_OP, &[op, 0]), EFAULT, "{op}");
    }
    for op in [8, 9] {
        assert_eq!(machine.dom0().call(SCHED_OP, &[op, 0]), ENOSYS);
    }
    let remote = |domain_id| RemoteShutdown {
        domain_id,
        _pad: 0,
        reason: 0,
    };
    assert_eq!(machine.dom0().op(SCHED_OP, 4, remote(NOBODY)).0, ESRCH);
    assert_eq!(machine.dom0().op(SCHED_OP, 4, remote(SELF)).0, ESRCH);
    assert_eq!(machine.domu().op(SCHED_OP, 4, remote(2)).0, EPERM);
    assert_eq!(
        machine.dom0().op(SCHED_OP, 7, PinOverride { pcpu: -1 }).0,
        EINVAL
    );
    assert_eq!(
        machine.domu().op(SCHED_OP, 7, PinOverride { pcpu: 0 }).0,
        EPERM
    );
    let watchdog =
        |guest: &mut Guest, id, timeout| guest.op(SCHED_OP, 6, Watchdog { id, timeout }).0;
    assert_eq!(watchdog(machine.domu(), 5, 1), EINVAL);
    assert_eq!(watchdog(machine.domu(), 1, 1), EINVAL);
    assert_eq!(watchdog(machine.domu(), 0, 30), 1);
    assert_eq!(watchdog(machine.domu(), 0, 30), 2);
    assert_eq!(watchdog(machine.domu(), 0, 30), -28);
    assert_eq!(watchdog(machine.domu(), 1, 0), 0);
}

#[test]
fn shutdown() {
    let mut machine = Machine::new();
    let reason = SHUTDOWN_SOFT_RESET;
    assert_eq!(machine.domu().op(SCHED_OP, 5, Shutdown { reason }).0, 0);
    assert_eq!(flags(machine.domu()), 0);
    assert_eq!(machine.domu().op(SCHED_OP, 2, Shutdown { reason: 1 }).0, 0);
    assert_eq!(flags(machine.domu()), pause::SHUT_DOWN);
    assert_eq!(
        machine.domu().domain.life.lock().shutdown_code,
        Some(reason)
    );
    let remote = RemoteShutdown {
        domain_id: 2,
        _pad: 0,
        reason: 3,
    };
    assert_eq!(machine.dom0().op(SCHED_OP, 4, remote).0, 0);
    assert_eq!(machine.guests[2].domain.life.lock().shutdown_code, Some(3));
}

#[test]
fn block_unmasks() {
    let mut machine = Machine::new();
    let guest = machine.domu();
    guest.regs.pstate = 0x3c5;
    assert_eq!(guest.call(SCHED_OP, &[1, 0]), 0);
    assert_eq!(guest.regs.pstate, 0x345);
    assert_eq!(flags(guest), pause::BLOCKED);
}

/// Makes d1 wait.
fn poll(machine: &mut Machine, ports: &[u32], timeout: u64) -> i64 {
    let guest = machine.domu();
    let list = guest.put(ports);
    let op = Poll {
        ports: Handle(list),
        nr_ports: ports.len() as u32,
        _pad: 0,
        timeout,
    };
    guest.op(SCHED_OP, 3, op).0
}

/// Two ports of d1, each connected to one of dom0, which are returned too.
fn channels(machine: &mut Machine) -> ([u32; 2], [u32; 2]) {
    let mut connect = |_| {
        let op = AllocUnbound {
            dom: SELF,
            remote_dom: 0,
            port: 0,
        };
        let far = machine.domu().op(EVENT_CHANNEL_OP, 6, op).1.port;
        let op = BindInterdomain {
            remote_dom: 1,
            _pad: 0,
            remote_port: far,
            local_port: 0,
        };
        (far, machine.dom0().op(EVENT_CHANNEL_OP, 0, op).1.local_port)
    };
    let [a, b] = [0, 1].map(&mut connect);
    ([a.0, b.0], [a.1, b.1])
}

#[test]
fn polls() {
    let mut machine = Machine::new();
    let (far, near) = channels(&mut machine);
    let too_many = Poll {
        ports: Handle(0),
        nr_ports: 129,
        _pad: 0,
        timeout: 0,
    };
    assert_eq!(machine.domu().op(SCHED_OP, 3, too_many).0, EINVAL);
    // No port, one that is closed, and one that is open too.
    for ports in [&[5000], &[0], &[20], &[far[0], 20][..]] {
        assert_eq!(poll(&mut machine, ports, 0), EINVAL);
    }
    assert_eq!(flags(machine.domu()), 0);
    // One port: only that one wakes.
    assert_eq!(poll(&mut machine, &far[..1], 0), 0);
    assert_eq!(flags(machine.domu()), pause::POLLING);
    let send = |m: &mut Machine, port| m.dom0().op(EVENT_CHANNEL_OP, 4, Port { port }).0;
    // Its event channel interrupt is off, so that nothing else wakes it.
    assert_eq!(send(&mut machine, near[1]), 0);
    assert_eq!(flags(machine.domu()), pause::POLLING);
    assert_eq!(send(&mut machine, near[0]), 0);
    assert_eq!(flags(machine.domu()), 0);
    // Pending: no wait.
    assert_eq!(poll(&mut machine, &far, 0), 0);
    assert_eq!(flags(machine.domu()), 0);
}

#[test]
fn poll_ends_in_time() {
    let mut machine = Machine::new();
    assert_eq!(poll(&mut machine, &[], 1_000_000), 0);
    assert_eq!(flags(machine.domu()), pause::POLLING);
    machine.hw.time.store(62_499, Ordering::Relaxed);
    crate::timer::run_expired(machine.sys);
    assert_eq!(flags(machine.domu()), pause::POLLING);
    machine.hw.time.store(62_500, Ordering::Relaxed);
    crate::timer::run_expired(machine.sys);
    assert_eq!(flags(machine.domu()), 0);
}

#[test]
fn a_multicall_stops_with_its_vcpu() {
    use xen_abi::xen::MulticallEntry;
    let mut machine = Machine::new();
    let guest = machine.domu();
    let reason = guest.put(&0u32);
    let entry = |op, args: [u64; 6]| MulticallEntry {
        op,
        result: 99,
        args,
    };
    let shutdown = [SCHEDOP_SHUTDOWN.into(), reason, 0, 0, 0, 0];
    let version = entry(XEN_VERSION, [0; 6]);
    let list = [entry(SCHED_OP, shutdown), version, version];
    let at = guest.put(&list);
    guest.call(MULTICALL, &[at, 3]);
    // It gave way after each entry; the run loop would not have let it go on.
    assert_eq!(guest.restarts, 2);
}

#[test]
fn an_announced_event_survives_cpu_on() {
    use crate::domain::vcpu::Start;
    use crate::vgic::Access;
    let mut machine = Machine::new();
    let guest = machine.domu();
    let info = xen_abi::vcpu::RegisterVcpuInfo {
        mfn: guest.gfn(8),
        offset: 0,
        rsvd: 0,
    };
    let at = guest.put(&info);
    let domain = guest.domain.clone();
    let enable_group = Access::Write(2);
    domain
        .vgic
        .dist_access(0, 0, 4, enable_group, &*domain)
        .unwrap();
    // GICR_ISENABLER0 of vCPU 1: the event PPI.
    let enable_ppi = Access::Write(1 << domain.event_ppi);
    domain
        .vgic
        .redist_access(0x2_0000 + 0x1_0100, 4, enable_ppi, &*domain)
        .unwrap();
    // Registering announces an event.
    assert_eq!(guest.call(VCPU_OP, &[10, 1, at]), 0);
    assert!(domain.vgic.has_deliverable(1));
    let vcpu = domain.vcpu(1).unwrap();
    assert!(vcpu.start(&domain, Start { entry: 0, x0: 0 }));
    assert!(domain.vgic.has_deliverable(1));
}

/// A vCPU that went down and comes back as new has no area that its predecessor chose.
#[test]
fn a_runstate_area_ends_with_its_vcpu() {
    use xen_abi::vcpu::RegisterRunstateMemoryArea;
    let mut machine = Machine::new();
    let vcpu = machine.guests[1].domain.vcpu(0).unwrap().clone();
    let guest = machine.domu();
    let area = RegisterRunstateMemoryArea {
        addr: Handle(guest.page(4)),
    };
    let arg = guest.put(&area);
    assert_eq!(guest.call(VCPU_OP, &[5, 0, arg]), 0);
    assert!(vcpu.runstate.lock().is_registered());
    vcpu.go_down();
    assert!(!vcpu.runstate.lock().is_registered());
}
