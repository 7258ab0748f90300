// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands of `domctl`, as a toolstack uses them and as it must not.

use super::*;
use crate::addr::{CpuId, DomId, Gfn};
use crate::domain::context::HCR_GUEST;
use crate::fake::Event;
use crate::hw::CacheOp;
use crate::sched::pause;
use crate::trap::timer::{PhysTimer, TimerReg};
use core::sync::atomic::Ordering;
use xen_abi::arch_arm::*;
use xen_abi::domctl::*;
use xen_abi::{Handle, Payload};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// No arguments.
pub(super) const NONE: [u64; 0] = [];

/// dom0 performs a command on a domain. Returns what it says and the arguments after.
pub(super) fn act<T, R>(machine: &mut Machine, cmd: u32, domain: u16, arg: &T) -> (i64, R)
where
    T: IntoBytes + Immutable,
    R: FromBytes + IntoBytes,
{
    let (result, op) = perform(machine, cmd, domain, arg);
    (result, op.u.get())
}

fn perform<T: IntoBytes + Immutable>(
    machine: &mut Machine,
    cmd: u32,
    domain: u16,
    arg: &T,
) -> (i64, Domctl) {
    let mut u = Payload::ZERO;
    u.set(arg);
    let op = Domctl {
        cmd,
        interface_version: XEN_DOMCTL_INTERFACE_VERSION,
        domain,
        _pad: [0; 3],
        u,
    };
    let dom0 = machine.dom0();
    let at = dom0.put(&op);
    let result = dom0.call(DOMCTL, &[at]);
    (result, dom0.get(at))
}

/// As [`act`], for what is said alone.
pub(super) fn says<T: IntoBytes + Immutable>(
    machine: &mut Machine,
    cmd: u32,
    domain: u16,
    arg: &T,
) -> i64 {
    perform(machine, cmd, domain, arg).0
}

pub(super) fn info(machine: &mut Machine, domain: u16) -> Result<GetDomainInfo, i64> {
    match act(machine, XEN_DOMCTL_GETDOMAININFO, domain, &NONE) {
        (0, info) => Ok(info),
        (error, _) => Err(error),
    }
}

/// What xl asks for, with a vCPU.
pub(super) fn plain() -> CreateDomain {
    let mut config = CreateDomain::new_zeroed();
    config.ssidref = 12;
    config.flags = XEN_DOMCTL_CDF_HVM | XEN_DOMCTL_CDF_HAP;
    config.max_vcpus = 1;
    config.max_evtchn_port = 1023;
    config.max_grant_frames = -1;
    config.max_maptrack_frames = -1;
    config.grant_opts = 1;
    config
}

/// Creates a domain; returns its number.
pub(super) fn create(machine: &mut Machine, config: &CreateDomain) -> Result<u16, i64> {
    create_as(machine, u16::MAX, config)
}

fn create_as(machine: &mut Machine, id: u16, config: &CreateDomain) -> Result<u16, i64> {
    match perform(machine, XEN_DOMCTL_CREATEDOMAIN, id, config) {
        (0, op) => Ok(op.domain),
        (error, _) => Err(error),
    }
}

/// Where [`build`] gives a domain pages.
pub(super) const BASE: u64 = 0x40000;
/// How many.
pub(super) const NR: u64 = 8;

/// A domain with a vCPU and some pages, paused.
pub(super) fn build(machine: &mut Machine) -> u16 {
    build_with(machine, |_| ())
}

/// As [`build`], created as `change` says.
pub(super) fn build_with(machine: &mut Machine, change: impl FnOnce(&mut CreateDomain)) -> u16 {
    let mut config = plain();
    change(&mut config);
    let id = create(machine, &config).unwrap();
    let size = 64 << 12;
    let max_memkb = 4 * 64;
    let steps = [
        says(machine, XEN_DOMCTL_MAX_VCPUS, id, &MaxVcpus { max: 1 }),
        says(machine, XEN_DOMCTL_MAX_MEM, id, &MaxMem { max_memkb }),
        says(
            machine,
            XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE,
            id,
            &PagingMempool { size },
        ),
        says(
            machine,
            XEN_DOMCTL_SET_ADDRESS_SIZE,
            id,
            &AddressSize { size: 64 },
        ),
    ];
    assert_eq!(steps, [0; 4]);
    let gfns: std::vec::Vec<u64> = (BASE..BASE + NR).collect();
    assert_eq!(
        memory::change(machine.dom0(), 6, id, &gfns, 0),
        gfns.len() as i64
    );
    id
}

#[test]
fn a_new_domain_is_as_xen_makes_it() {
    let mut machine = Machine::new();
    let mut config = plain();
    config.handle = [3; 16];
    let (result, op) = perform(&mut machine, XEN_DOMCTL_CREATEDOMAIN, 0, &config);
    assert_eq!((result, op.domain), (0, 3));
    let made: CreateDomain = op.u.get();
    assert_eq!(made.arch.gic_version, XEN_DOMCTL_CONFIG_GIC_V3);
    let seen = info(&mut machine, 3).unwrap();
    assert_eq!(seen.flags, 0xffff_010a);
    assert_eq!((seen.tot_pages, seen.max_pages), (0, 0));
    assert_eq!(seen.max_vcpu_id, u32::MAX);
    assert_eq!(seen.nr_online_vcpus, 0);
    assert_eq!(seen.gpaddr_bits, 44);
    assert_eq!(seen.handle, [3; 16]);
    assert_eq!(
        says(&mut machine, XEN_DOMCTL_MAX_VCPUS, 3, &MaxVcpus { max: 2 }),
        EINVAL
    );
    assert_eq!(says(&mut machine, XEN_DOMCTL_GETVCPUINFO, 3, &0u32), EINVAL);
    assert_eq!(
        says(&mut machine, XEN_DOMCTL_MAX_VCPUS, 3, &MaxVcpus { max: 1 }),
        0
    );
    assert_eq!(info(&mut machine, 3).unwrap().max_vcpu_id, 0);
    assert_eq!(info(&mut machine, 3).unwrap().flags, 0xffff_010a);
}

#[test]
fn what_createdomain_refuses() {
    let mut machine = Machine::new();
    let mut refused = |errno, change: fn(&mut CreateDomain)| {
        let mut config = plain();
        change(&mut config);
        assert_eq!(create(&mut machine, &config), Err(errno));
    };
    refused(EINVAL, |c| c.flags = 0);
    refused(EINVAL, |c| c.flags |= XEN_DOMCTL_CDF_XS_DOMAIN);
    refused(EINVAL, |c| c.flags |= XEN_DOMCTL_CDF_IOMMU);
    refused(EINVAL, |c| c.max_vcpus = 0);
    refused(EINVAL, |c| c.max_vcpus = 129);
    refused(EINVAL, |c| c.grant_opts = 2);
    refused(EINVAL, |c| c.grant_opts = 0);
    refused(EINVAL, |c| c.max_grant_frames = 0);
    refused(EINVAL, |c| c.altp2m_opts = 1);
    refused(EINVAL, |c| c.arch.tee_type = XEN_DOMCTL_CONFIG_TEE_OPTEE);
    refused(EINVAL, |c| c.arch.nr_spis = 1 << 20);
    refused(-19, |c| c.arch.gic_version = XEN_DOMCTL_CONFIG_GIC_V2);
    assert_eq!(create_as(&mut machine, 1, &plain()), Err(EEXIST));
    // Nothing was left behind, and no number was used up.
    assert_eq!(machine.sys.domains.count(), 3);
    assert_eq!(create(&mut machine, &plain()), Ok(3));
}

#[test]
fn numbers_are_not_used_again_soon() {
    let mut machine = Machine::new();
    assert_eq!(create(&mut machine, &plain()), Ok(3));
    assert_eq!(says(&mut machine, XEN_DOMCTL_DESTROYDOMAIN, 3, &NONE), 0);
    assert_eq!(create(&mut machine, &plain()), Ok(4));
    assert_eq!(create_as(&mut machine, 0x7fef, &plain()), Ok(0x7fef));
    assert_eq!(create_as(&mut machine, 0x7ff0, &plain()), Ok(5));
    // At the end it begins anew.
    machine
        .sys
        .domains
        .insert_new(machine.sys.domains.get(DomId(0x7fef)).unwrap());
    assert_eq!(create(&mut machine, &plain()), Ok(3));
}

#[test]
fn pauses_are_counted() {
    let mut machine = Machine::new();
    let (pause, unpause) = (XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_UNPAUSEDOMAIN);
    let paused = |machine: &Machine| {
        let vcpu = machine.guests[1].domain.vcpu(0).unwrap().clone();
        vcpu.sched.flags() & pause::PAUSED != 0
    };
    assert_eq!(says(&mut machine, unpause, 1, &NONE), EINVAL);
    assert_eq!(says(&mut machine, pause, 1, &NONE), 0);
    assert_eq!(says(&mut machine, pause, 1, &NONE), 0);
    assert_eq!(info(&mut machine, 1).unwrap().flags, 0xffff_010a);
    assert_eq!(says(&mut machine, unpause, 1, &NONE), 0);
    assert!(paused(&machine));
    assert_eq!(says(&mut machine, unpause, 1, &NONE), 0);
    assert!(!paused(&machine));
    assert_eq!(says(&mut machine, unpause, 1, &NONE), EINVAL);
    // Not the caller itself.
    assert_eq!(says(&mut machine, pause, 0, &NONE), EINVAL);
    assert_eq!(
        says(&mut machine, XEN_DOMCTL_DESTROYDOMAIN, 0, &NONE),
        EINVAL
    );
}

/// Pause, shutdown and unpause do not undo each other.
#[test]
fn a_domain_that_has_shut_down_stays_so() {
    let mut machine = Machine::new();
    let domain = machine.guests[1].domain.clone();
    domain.shutdown(1);
    assert_eq!(info(&mut machine, 1).unwrap().flags, 0x0001_0106);
    assert_eq!(says(&mut machine, XEN_DOMCTL_PAUSEDOMAIN, 1, &NONE), 0);
    assert_eq!(info(&mut machine, 1).unwrap().flags, 0x0001_010e);
    assert_eq!(says(&mut machine, XEN_DOMCTL_UNPAUSEDOMAIN, 1, &NONE), 0);
    assert_eq!(info(&mut machine, 1).unwrap().flags, 0x0001_0106);
    let vcpu = domain.vcpu(0).unwrap();
    assert_ne!(vcpu.sched.flags() & pause::SHUT_DOWN, 0);
    assert_eq!(says(&mut machine, XEN_DOMCTL_RESUMEDOMAIN, 1, &NONE), 0);
    assert_eq!(info(&mut machine, 1).unwrap().flags, 0xffff_0102);
    assert_eq!(vcpu.sched.flags(), pause::DOWN);
}

#[test]
fn memory_limits() {
    let mut machine = Machine::new();
    let id = create(&mut machine, &plain()).unwrap();
    let (get, set) = (
        XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE,
        XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE,
    );
    let limit = |machine: &mut Machine, size| says(machine, set, id, &PagingMempool { size });
    let populate = |machine: &mut Machine, gfn| memory::change(machine.dom0(), 6, id, &[gfn], 0);
    // No pages, then no tables.
    assert_eq!(populate(&mut machine, BASE), 0);
    let max_memkb = 12;
    assert_eq!(
        says(&mut machine, XEN_DOMCTL_MAX_MEM, id, &MaxMem { max_memkb }),
        0
    );
    assert_eq!(info(&mut machine, id).unwrap().max_pages, 3);
    assert_eq!(populate(&mut machine, BASE), 0);
    assert_eq!(machine.sys.frames.tot_pages(DomId(id)), 0);
    assert_eq!(limit(&mut machine, 123), EINVAL);
    assert_eq!(limit(&mut machine, 16 << 12), 0);
    assert_eq!(act(&mut machine, get, id, &NONE), (0, 16u64 << 12));
    for gfn in 0..3 {
        assert_eq!(populate(&mut machine, BASE + gfn), 1);
    }
    assert_eq!(populate(&mut machine, BASE + 3), 0);
    assert_eq!(limit(&mut machine, 1 << 12), -12);
    assert_eq!(limit(&mut machine, 1 << 40), -12);
    // The initial domain's tables have no limit.
    assert_eq!(
        says(&mut machine, set, 0, &PagingMempool { size: 0 }),
        EINVAL
    );
    let size = |size| AddressSize { size };
    assert_eq!(
        says(&mut machine, XEN_DOMCTL_SET_ADDRESS_SIZE, id, &size(64)),
        EBUSY
    );
    assert_eq!(
        says(&mut machine, XEN_DOMCTL_SET_ADDRESS_SIZE, id, &size(48)),
        EINVAL
    );
}

#[test]
fn registers_of_a_vcpu() {
    let mut machine = Machine::new();
    let id = build(&mut machine);
    let (get, set) = (XEN_DOMCTL_GETVCPUCONTEXT, XEN_DOMCTL_SETVCPUCONTEXT);
    let mut context = VcpuGuestContext::new_zeroed();
    context.flags = VGCF_ONLINE;
    context.user_regs.pc64 = 0x4000_0000;
    context.user_regs.x[0] = 0x4800_0000;
    context.user_regs.cpsr = PSR_GUEST64_INIT;
    context.sctlr = SCTLR_GUEST_INIT;
    let at = machine.dom0().put(&context);
    let arg = |vcpu, at| VcpuContext {
        vcpu,
        _pad: 0,
        ctxt: Handle(at),
    };
    assert_eq!(says(&mut machine, get, id, &arg(0, at)), -61);
    assert_eq!(says(&mut machine, set, id, &arg(1, at)), EINVAL);
    assert_eq!(says(&mut machine, set, 0, &arg(0, at)), EINVAL);
    assert_eq!(says(&mut machine, get, 0, &arg(0, at)), EINVAL);
    assert_eq!(says(&mut machine, set, id, &arg(0, NOWHERE)), EFAULT);
    for mode in [0x9, 0x8, 0xd, 0x13, 0x1f, 0x2] {
        context.user_regs.cpsr = mode;
        let bad = machine.dom0().put(&context);
        assert_eq!(
            says(&mut machine, set, id, &arg(0, bad)),
            EINVAL,
            "{mode:#x}"
        );
    }
    assert_eq!(says(&mut machine, set, id, &arg(0, at)), 0);
    let seen: (i64, GetVcpuInfo) = act(&mut machine, XEN_DOMCTL_GETVCPUINFO, id, &0u32);
    assert_eq!((seen.0, seen.1.online, seen.1.running), (0, 1, 0));
    assert_eq!(info(&mut machine, id).unwrap().nr_online_vcpus, 1);
    let back = machine.dom0().put(&VcpuGuestContext::new_zeroed());
    assert_eq!(says(&mut machine, get, id, &arg(0, back)), 0);
    context.user_regs.cpsr = PSR_GUEST64_INIT;
    assert_eq!(machine.dom0().get::<VcpuGuestContext>(back), context);
    // Without registers it is as new.
    assert_eq!(says(&mut machine, set, id, &arg(0, 0)), 0);
    assert_eq!(says(&mut machine, get, id, &arg(0, back)), -61);
    assert_eq!(info(&mut machine, id).unwrap().nr_online_vcpus, 0);
}

/// Two CPUs of dom0's may each ask for the vCPU that the other has: both must let go to be answered.
#[test]
fn who_waits_for_a_vcpu_lets_go_its_own() {
    let mut machine = Machine::new();
    let id = build(&mut machine);
    let sched = &machine.sys.sched;
    let domain = machine.sys.domains.get(DomId(id)).unwrap();
    let vcpu = domain.vcpu(0).unwrap();
    vcpu.sched.set_loaded(Some(CpuId(0)));
    sched.resched(machine.hw, CpuId(0));
    assert!(vcpu.while_stopped(|_| ()).is_none());
    assert_eq!(vcpu.sched.flags() & pause::HELD, 0);
    vcpu.sched.set_loaded(None);
    assert!(vcpu.while_stopped(|_| ()).is_some());
}

/// Whatever it did before, it starts as new, and runs.
#[test]
fn a_vcpu_that_was_reset_starts_as_new() {
    let mut machine = Machine::new();
    let id = build(&mut machine);
    let set = XEN_DOMCTL_SETVCPUCONTEXT;
    let mut context = VcpuGuestContext::new_zeroed();
    context.flags = VGCF_ONLINE;
    context.user_regs.cpsr = PSR_GUEST64_INIT;
    let at = machine.dom0().put(&context);
    let arg = |at| VcpuContext {
        vcpu: 0,
        _pad: 0,
        ctxt: Handle(at),
    };
    let domain = machine.sys.domains.get(DomId(id)).unwrap();
    let vcpu = domain.vcpu(0).unwrap().clone();
    // SAFETY: no CPU has it.
    assert_eq!(unsafe { (*vcpu.context.get()).sys.hcr_el2 }, HCR_GUEST);
    assert_eq!(says(&mut machine, set, id, &arg(at)), 0);
    assert_eq!(says(&mut machine, XEN_DOMCTL_UNPAUSEDOMAIN, id, &NONE), 0);
    assert_eq!(vcpu.sched.flags(), 0);
    for wait in [pause::BLOCKED, pause::POLLING] {
        vcpu.sched.set(wait);
        vcpu.ptimer.lock().write(TimerReg::CntpCval, 1, 0);
        vcpu.tvm.store(true, Ordering::Relaxed);
        vcpu.flush_from.store(0, Ordering::Relaxed);
        domain.vgic.pulse(Some(0), 5, &*domain);
        vcpu.sched.set(wait);
        assert_eq!(says(&mut machine, set, id, &arg(0)), 0);
        assert_eq!(vcpu.sched.flags(), pause::DOWN);
        assert_eq!(says(&mut machine, set, id, &arg(at)), 0);
        assert_eq!(vcpu.sched.flags(), 0);
        assert_eq!(*vcpu.ptimer.lock(), PhysTimer::default());
        assert!(!vcpu.tvm.load(Ordering::Relaxed));
        assert_eq!(vcpu.flush_from.load(Ordering::Relaxed), u64::MAX);
        assert!(!domain.vgic.has_deliverable(0));
    }
    assert_eq!(vcpu.sched.place(), crate::sched::Place::Ready);
}

#[test]
fn caches_are_flushed_where_there_is_memory() {
    let mut machine = Machine::new();
    let id = build(&mut machine);
    let flush = |machine: &mut Machine, start_pfn, nr_pfns| {
        machine.hw.take_events();
        let arg = CacheFlush { start_pfn, nr_pfns };
        let result = says(machine, XEN_DOMCTL_CACHEFLUSH, id, &arg);
        let events = machine.hw.take_events();
        let bytes = events.iter().map(|e| match e {
            Event::Cache(range, CacheOp::CleanInvalidate) => range.size(),
            _ => 0,
        });
        (result, bytes.sum::<u64>() >> 12)
    };
    assert_eq!(flush(&mut machine, BASE, NR), (0, NR));
    assert_eq!(flush(&mut machine, 0, 1 << 18), (0, 0));
    assert_eq!(flush(&mut machine, BASE - 1, 3), (0, 2));
    assert_eq!(flush(&mut machine, BASE + NR - 1, 4), (0, 1));
    assert_eq!(flush(&mut machine, 0, (1 << 18) + 1), (EINVAL, 0));
    assert_eq!(flush(&mut machine, u64::MAX, 2), (EINVAL, 0));
    assert_eq!(flush(&mut machine, 0, 0), (0, 0));
    machine.hw.irq.store(true, Ordering::Relaxed);
    assert_eq!(flush(&mut machine, BASE - 1, 3), (0, 2));
}

#[test]
fn share_of_the_cpus() {
    let mut machine = Machine::new();
    let arg = |sched_id, cmd, weight, cap| SchedulerOp {
        sched_id,
        cmd,
        weight,
        cap,
        _rest: [0; 3],
    };
    let op = XEN_DOMCTL_SCHEDULER_OP;
    assert_eq!(says(&mut machine, op, 1, &arg(5, 1, 0, 0)), EINVAL);
    assert_eq!(says(&mut machine, op, 1, &arg(6, 2, 0, 0)), EINVAL);
    let get = |machine: &mut Machine| {
        let (result, share): (_, SchedulerOp) = act(machine, op, 1, &arg(6, 1, 0, 0));
        (result, share.weight, share.cap)
    };
    assert_eq!(get(&mut machine), (0, 256, 0));
    assert_eq!(says(&mut machine, op, 1, &arg(6, 0, 512, 50)), 0);
    assert_eq!(get(&mut machine), (0, 512, 50));
    // A cap is of all its vCPUs; no weight is no change.
    assert_eq!(says(&mut machine, op, 1, &arg(6, 0, 1, 201)), EINVAL);
    assert_eq!(get(&mut machine), (0, 1, 50));
    assert_eq!(says(&mut machine, op, 1, &arg(6, 0, 0, 200)), 0);
    assert_eq!(get(&mut machine), (0, 1, 200));
}

#[test]
fn affinity() {
    let mut machine = Machine::new();
    let bits = machine.dom0().put(&[0x1u64]);
    let out = machine.dom0().put(&[u64::MAX; 2]);
    let arg = |vcpu, flags, at, nr_bits| {
        let map = Bitmap {
            bitmap: Handle(at),
            nr_bits,
            _pad: 0,
        };
        VcpuAffinity {
            vcpu,
            flags,
            cpumap_hard: map,
            cpumap_soft: map,
        }
    };
    let (set, get) = (XEN_DOMCTL_SETVCPUAFFINITY, XEN_DOMCTL_GETVCPUAFFINITY);
    assert_eq!(says(&mut machine, set, 1, &arg(0, 0, bits, 8)), EINVAL);
    assert_eq!(says(&mut machine, set, 1, &arg(2, 1, bits, 8)), EINVAL);
    assert_eq!(says(&mut machine, set, 1, &arg(0, 1, bits, 8)), 0);
    assert_eq!(says(&mut machine, set, 1, &arg(0, 2, bits, 8)), 0);
    let none = machine.dom0().put(&[0x2u64]);
    assert_eq!(says(&mut machine, set, 1, &arg(0, 1, none, 8)), EINVAL);
    assert_eq!(says(&mut machine, get, 1, &arg(0, 0, out, 8)), EINVAL);
    assert_eq!(says(&mut machine, get, 1, &arg(0, 1, out, 72)), 0);
    // As many bytes as the bits need, and no more.
    assert_eq!(machine.dom0().get::<[u64; 2]>(out), [1, u64::MAX << 8]);
    let node = |nr_bits| NodeAffinity {
        nodemap: Bitmap {
            bitmap: Handle(bits),
            nr_bits,
            _pad: 0,
        },
    };
    assert_eq!(
        says(&mut machine, XEN_DOMCTL_SETNODEAFFINITY, 1, &node(8)),
        0
    );
    assert_eq!(
        says(&mut machine, XEN_DOMCTL_SETNODEAFFINITY, 1, &node(0)),
        EINVAL
    );
    assert_eq!(
        says(&mut machine, XEN_DOMCTL_GETNODEAFFINITY, 1, &node(8)),
        0
    );
}

/// Where CPUs differ, a vCPU's are those of its kind.
#[test]
fn affinity_to_a_kind() {
    let mut machine = Machine::juno();
    let domain = machine.dom0().domain.clone();
    domain.vcpus()[0].runstate.lock().enter(0, 1);
    let out = machine.dom0().put(&[0u64]);
    let mut ask = |cmd, cpus: u64| {
        let at = machine.dom0().put(&[cpus]);
        let map = |at| Bitmap {
            bitmap: Handle(at),
            nr_bits: 8,
            _pad: 0,
        };
        let arg = VcpuAffinity {
            vcpu: 0,
            flags: 1,
            cpumap_hard: map(if cmd == XEN_DOMCTL_SETVCPUAFFINITY {
                at
            } else {
                out
            }),
            cpumap_soft: map(0),
        };
        let said = says(&mut machine, cmd, 0, &arg);
        (
            said,
            machine.dom0().get::<u64>(at),
            machine.dom0().get::<u64>(out),
        )
    };
    // dom0's vCPU 0 is a Cortex-A72, and has run.
    let (set, get) = (XEN_DOMCTL_SETVCPUAFFINITY, XEN_DOMCTL_GETVCPUAFFINITY);
    assert_eq!(ask(set, 0xff), (0, 0b11, 0));
    assert_eq!(ask(set, 0b110), (0, 0b10, 0));
    assert_eq!(ask(set, 0b11_1100), (EINVAL, 0b11_1100, 0));
    assert_eq!(ask(get, 0).2, 0b10);
}

/// Section 10 of what was measured on Xen: a live domain, arguments of zeroes.
#[test]
fn no_arguments() {
    let mut answers = [ENOSYS; 100];
    for cmd in [9, 15, 16, 25, 35, 39, 66, 68, 74, 81] {
        answers[cmd] = EINVAL;
    }
    for cmd in [5, 14, 11, 17, 18, 24, 27, 29, 46, 69, 71, 85] {
        answers[cmd] = 0;
    }
    for cmd in [37, 38, 45, 47, 48, 50, 77, 87, 89] {
        answers[cmd] = EOPNOTSUPP;
    }
    for (cmd, answer) in [(13, EFAULT), (19, -84), (20, EPERM), (86, -12)] {
        answers[cmd] = answer;
    }
    let mut machine = Machine::new();
    let id = build(&mut machine);
    let context = VcpuGuestContext::new_zeroed();
    assert_eq!(context.flags, 0);
    // So that there are registers to be read.
    let domain = machine.sys.domains.get(DomId(id)).unwrap();
    domain.vcpu(0).unwrap().set_up(&domain, true);
    drop(domain);
    for (cmd, answer) in answers.iter().enumerate() {
        if !matches!(cmd, 0..=4 | 12) {
            let zero = Payload::ZERO;
            let payload = [zero.get::<[u64; 16]>()];
            assert_eq!(
                says(&mut machine, cmd as u32, id, &payload),
                *answer,
                "{cmd}"
            );
        }
    }
    assert_eq!(says(&mut machine, 45, 0x7ff4, &NONE), EOPNOTSUPP);
}

/// A second one waits in its guest, as Xen's does.
#[test]
fn one_command_at_a_time() {
    let mut machine = Machine::new();
    let managing = machine.sys.domains.manage().unwrap();
    let op = Domctl {
        cmd: XEN_DOMCTL_PAUSEDOMAIN,
        interface_version: XEN_DOMCTL_INTERFACE_VERSION,
        domain: 1,
        _pad: [0; 3],
        u: Payload::ZERO,
    };
    let dom0 = machine.dom0();
    let at = dom0.put(&op);
    (dom0.regs.x[0], dom0.regs.x[16], dom0.regs.pc) = (at, DOMCTL, 0x1004);
    dom0.step();
    assert_eq!((dom0.regs.pc, dom0.regs.x[0]), (0x1000, at));
    drop(managing);
    dom0.regs.pc = 0x1004;
    dom0.step();
    assert_eq!((dom0.regs.pc, dom0.regs.x[0]), (0x1004, 0));
    assert!(machine.guests[1].domain.p2m.lookup(Gfn(DOMU_GFN)).is_some());
}
