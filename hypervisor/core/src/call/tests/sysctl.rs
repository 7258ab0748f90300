// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands of `sysctl`.

use super::domctl::{create, plain};
use super::*;
use crate::fake::Event;
use crate::keys::At;
use core::sync::atomic::Ordering;
use std::vec::Vec;
use xen_abi::domctl::{Bitmap, GetDomainInfo};
use xen_abi::sysctl::*;
use xen_abi::{Handle, Payload};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

fn act<T, R>(machine: &mut Machine, cmd: u32, arg: &T) -> (i64, R)
where
    T: IntoBytes + Immutable,
    R: FromBytes + IntoBytes,
{
    let mut u = Payload::ZERO;
    u.set(arg);
    let op = Sysctl {
        cmd,
        interface_version: XEN_SYSCTL_INTERFACE_VERSION,
        u,
    };
    let dom0 = machine.dom0();
    let at = dom0.put(&op);
    let result = dom0.call(SYSCTL, &[at]);
    (result, dom0.get::<Sysctl>(at).u.get())
}

/// As Xen answers to zeroes.
#[test]
fn no_arguments() {
    let mut answers = [ENOSYS; 40];
    for cmd in [1, 3, 4, 6, 7, 8, 9, 16, 17] {
        answers[cmd] = 0;
    }
    for (cmd, answer) in [
        (14, EFAULT),
        (19, EINVAL),
        (20, EOPNOTSUPP),
        (30, EOPNOTSUPP),
    ] {
        answers[cmd] = answer;
    }
    let mut machine = Machine::new();
    for (cmd, answer) in answers.iter().enumerate() {
        let (result, _): (_, u64) = act(&mut machine, cmd as u32, &[0u64; 16]);
        assert_eq!(result, *answer, "{cmd}");
    }
}

#[test]
fn the_machine() {
    let mut machine = Machine::new();
    let (result, info): (_, PhysInfo) = act(&mut machine, XEN_SYSCTL_PHYSINFO, &[0u64; 16]);
    assert_eq!(result, 0);
    assert_eq!((info.nr_cpus, info.max_cpu_id, info.nr_nodes), (1, 0, 1));
    assert_eq!(info.cpu_khz, 62_500);
    assert_eq!(info.total_pages, machine.sys.frames.total_pages());
    assert_eq!(info.free_pages, machine.sys.frames.free_pages());
    assert_eq!(info.max_mfn, 0x40bff);
    let (_, id): (_, SchedId) = act(&mut machine, XEN_SYSCTL_SCHED_ID, &[0u64; 16]);
    assert_eq!(id.sched_id, 6);
    let (_, topo): (_, CpuTopoInfo) = act(&mut machine, XEN_SYSCTL_CPUTOPOINFO, &[0u64; 16]);
    assert_eq!(topo.num_cpus, 1);
    let (_, numa): (_, NumaInfo) = act(&mut machine, XEN_SYSCTL_NUMAINFO, &[0u64; 16]);
    assert_eq!(numa.num_nodes, 1);
    let null = Handle(0);
    let distance = Handle(machine.dom0().put(&0u32));
    let asked = NumaInfo {
        num_nodes: 1,
        _pad: 0,
        meminfo: null,
        distance,
    };
    let (result, _): (_, NumaInfo) = act(&mut machine, XEN_SYSCTL_NUMAINFO, &asked);
    assert_eq!(result, 0);
    let distance: u32 = machine.dom0().get(distance.0);
    assert_eq!(distance, 20, "as Xen on Arm has it");
}

#[test]
fn all_domains_in_order() {
    let mut machine = Machine::new();
    let empty = GetDomainInfo::new_zeroed();
    let at = machine.dom0().put(&[empty; 4]);
    let mut list = |first_domain, max_domains| {
        let arg = GetDomainInfoList {
            first_domain,
            _pad0: 0,
            max_domains,
            buffer: Handle(at),
            num_domains: 9,
            _pad1: 0,
        };
        let (result, op): (_, GetDomainInfoList) =
            act(&mut machine, XEN_SYSCTL_GETDOMAININFOLIST, &arg);
        assert_eq!(result, 0);
        let infos: [GetDomainInfo; 4] = machine.dom0().get(at);
        let named = infos.iter().take(op.num_domains as usize);
        named.map(|i| i.domain).collect::<Vec<_>>()
    };
    assert_eq!(list(0, 4), [0, 1, 2]);
    assert_eq!(list(1, 1), [1]);
    assert_eq!(list(2, 4), [2]);
    assert_eq!(list(3, 4), [0u16; 0]);
    assert_eq!(list(u16::MAX, 4), [0u16; 0]);
}

/// Tools take an answer that is shorter than their room for the end: xentop has room for 256.
#[test]
fn all_of_many_domains() {
    let mut machine = Machine::new();
    while create(&mut machine, &plain()).is_ok_and(|id| id < 99) {}
    let at = machine.dom0().page(8);
    let arg = GetDomainInfoList {
        first_domain: 0,
        _pad0: 0,
        max_domains: 256,
        buffer: Handle(at),
        num_domains: 0,
        _pad1: 0,
    };
    let (result, op): (_, GetDomainInfoList) =
        act(&mut machine, XEN_SYSCTL_GETDOMAININFOLIST, &arg);
    assert_eq!((result, op.num_domains), (0, 100));
}

#[test]
fn the_pool() {
    let mut machine = Machine::new();
    let map = machine.dom0().put(&[u64::MAX]);
    let arg = |op, cpupool_id| CpupoolOp {
        op,
        cpupool_id,
        sched_id: 0,
        domid: 0,
        cpu: 0,
        n_dom: 0,
        cpumap: Bitmap {
            bitmap: Handle(map),
            nr_bits: 64,
            _pad: 0,
        },
    };
    let (result, pool): (_, CpupoolOp) = act(&mut machine, XEN_SYSCTL_CPUPOOL_OP, &arg(3, 0));
    assert_eq!((result, pool.sched_id, pool.n_dom), (0, 6, 3));
    assert_eq!(machine.dom0().get::<u64>(map), 1);
    for id in [1, u32::MAX] {
        let (result, _): (_, u64) = act(&mut machine, XEN_SYSCTL_CPUPOOL_OP, &arg(3, id));
        assert_eq!(result, ENOENT);
    }
    // One more, empty, in which no domain can be.
    let mut run = |op, cpupool_id, sched_id, domid| {
        let arg = CpupoolOp {
            sched_id,
            domid,
            ..arg(op, cpupool_id)
        };
        let (result, pool): (_, CpupoolOp) = act(&mut machine, XEN_SYSCTL_CPUPOOL_OP, &arg);
        (result, pool.cpupool_id)
    };
    const EPERM: i64 = -1;
    assert_eq!(run(1, u32::MAX, 5, 0).0, ENOENT);
    assert_eq!(run(1, u32::MAX, 6, 0), (0, 1));
    assert_eq!(run(3, 1, 0, 0), (0, 1));
    assert_eq!(run(6, 1, 0, 0).0, EPERM);
    assert_eq!(run(6, 1, 0, 1).0, ENOENT);
    assert_eq!(run(6, 0, 0, 1).0, 0);
    assert_eq!(run(6, 0, 0, 77).0, -3);
    assert_eq!(run(5, 0, 0, 0).0, EINVAL);
    assert_eq!(run(2, 0, 0, 0).0, -16);
    assert_eq!(run(2, 1, 0, 0).0, 0);
    assert_eq!(run(2, 1, 0, 0).0, ENOENT);
    assert_eq!(run(8, 0, 0, 0).0, ENOSYS);
    assert_eq!(run(7, 0, 0, 0).0, 0);
    assert_eq!(machine.dom0().get::<u64>(map), 0);
}

#[test]
fn the_console() {
    let mut machine = Machine::new();
    machine
        .hw
        .console
        .lock()
        .unwrap()
        .extend_from_slice(&[b'x'; 300]);
    let buffer = machine.dom0().put(&[0u8; 256]);
    let mut read = |incremental, index, count| {
        let arg = ReadConsole {
            clear: 0,
            incremental,
            pad0: 0,
            pad1: 0,
            index,
            buffer: Handle(buffer),
            count,
            _pad: 0,
        };
        let (result, op): (_, ReadConsole) = act(&mut machine, XEN_SYSCTL_READCONSOLE, &arg);
        (result, op.index, op.count)
    };
    assert_eq!(read(0, 0, 256), (0, 256, 256));
    assert_eq!(read(1, 256, 256), (0, 300, 44));
    assert_eq!(read(1, 300, 256), (0, 300, 0));
    let keys = machine.dom0().put(b"qg");
    machine.hw.take_events();
    let arg = DebugKeys {
        keys: Handle(keys),
        nr_keys: 2,
        _pad: 0,
    };
    let (result, _): (_, u64) = act(&mut machine, XEN_SYSCTL_DEBUG_KEYS, &arg);
    assert_eq!(result, 0);
    let pressed = [Event::DebugKey(b'q', None), Event::DebugKey(b'g', None)];
    assert_eq!(machine.hw.take_events(), pressed);
}

/// What a key shows may be long, too: it goes on where it was left, for who pressed it.
#[test]
fn what_a_key_shows_lets_interrupts_in() {
    let mut machine = Machine::new();
    let keys = machine.dom0().put(b"eq");
    let arg = DebugKeys {
        keys: Handle(keys),
        nr_keys: 2,
        _pad: 0,
    };
    let at = |item| Some(At { domain: 0, item });
    machine.hw.key_pieces.store(3, Ordering::Relaxed);
    machine.hw.take_events();
    let (result, _): (_, u64) = act(&mut machine, XEN_SYSCTL_DEBUG_KEYS, &arg);
    assert_eq!((result, machine.dom0().restarts), (0, 4));
    let pieces = |key| [None, at(1), at(2)].map(|from| Event::DebugKey(key, from));
    let pressed = [pieces(b'e'), pieces(b'q')].concat();
    assert_eq!(machine.hw.take_events(), pressed);
    // Typed, it goes on by a timer.
    machine.sys.type_key(b'i');
    assert!(
        machine
            .hw
            .take_events()
            .contains(&Event::DebugKey(b'i', None))
    );
    machine.hw.time.fetch_add(1 << 40, Ordering::Relaxed);
    crate::timer::run_expired(machine.sys);
    assert!(
        machine
            .hw
            .take_events()
            .contains(&Event::DebugKey(b'i', at(1)))
    );
}

/// Each key may write for long, with interrupts masked.
#[test]
fn keys_let_interrupts_in() {
    let mut machine = Machine::new();
    let wanted: Vec<u8> = (0..64).collect();
    let keys = machine.dom0().put(wanted.as_slice());
    let arg = DebugKeys {
        keys: Handle(keys),
        nr_keys: 64,
        _pad: 0,
    };
    machine.hw.irq.store(true, Ordering::Relaxed);
    machine.hw.take_events();
    let (result, _): (_, u64) = act(&mut machine, XEN_SYSCTL_DEBUG_KEYS, &arg);
    assert_eq!((result, machine.dom0().restarts), (0, 63));
    let press = |key| Event::DebugKey(key, None);
    let pressed: Vec<Event> = wanted.into_iter().map(press).collect();
    assert_eq!(machine.hw.take_events(), pressed);
}
