// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands of a toolstack that are about a domain's vCPUs: their registers, their share of the CPUs and which they use.

use xen_abi::Handle;
use xen_abi::arch_arm::{PSR_GUEST64_INIT, VGCF_ONLINE, VcpuGuestContext};
use xen_abi::domctl::*;
use xen_abi::zerocopy::FromZeros;

use super::check::{Check, Outcome, check, ensure, ensure_eq};
use super::domctl::Domu;
use super::errno::{EINVAL, ENODATA};
use crate::xen::domctl::{command, domctl, info};

pub(super) const CHECKS: &[Check] = &[
    check("registers of a vCPU", context),
    check("getvcpuinfo", vcpu_info),
    check("scheduler_op", share),
    check("affinities", affinities),
];

fn context() -> Outcome {
    let domain = Domu::new()?;
    let mut context = VcpuGuestContext::new_zeroed();
    context.flags = VGCF_ONLINE;
    context.user_regs.pc64 = 0x4000_0010;
    context.user_regs.x = core::array::from_fn(|n| n as u64 + 100);
    context.user_regs.cpsr = PSR_GUEST64_INIT;
    context.user_regs.sp_el1 = 0x4000_2000;
    context.sctlr = 0x00c5_0078;
    context.ttbr0 = 0x4000_3000;
    let argument = |vcpu, context: &VcpuGuestContext| VcpuContext {
        vcpu,
        _pad: 0,
        ctxt: Handle(&raw const *context as u64),
    };
    let set = |vcpu, context: &VcpuGuestContext| {
        domctl(
            XEN_DOMCTL_SETVCPUCONTEXT,
            domain.0,
            &argument(vcpu, context),
        )
    };
    let mut back = VcpuGuestContext::new_zeroed();
    let get = argument(0, &back);
    let get = || domctl(XEN_DOMCTL_GETVCPUCONTEXT, domain.0, &get);
    ensure_eq!(get(), ENODATA, "get before set");
    ensure_eq!(set(1, &context), EINVAL, "set of vCPU 1");
    for mode in [0x8, 0x9, 0xd, 0x13, 0x1f] {
        let mut bad = context;
        bad.user_regs.cpsr = mode;
        ensure_eq!(set(0, &bad), EINVAL, "set with mode {mode:#x}");
    }
    ensure_eq!(set(0, &context), 0, "set");
    ensure_eq!(get(), 0, "get");
    // SAFETY: a local, which the hypercall has written.
    back = unsafe { (&raw const back).read_volatile() };
    ensure_eq!(back.flags, VGCF_ONLINE, "flags");
    ensure_eq!(back.user_regs.x, context.user_regs.x, "x0 to x30");
    let core = |c: &VcpuGuestContext| (c.user_regs.pc64, c.user_regs.cpsr, c.user_regs.sp_el1);
    ensure_eq!(core(&back), core(&context), "pc, cpsr, sp_el1");
    let system = |c: &VcpuGuestContext| (c.sctlr, c.ttbcr, c.ttbr0, c.ttbr1);
    ensure_eq!(
        system(&back),
        system(&context),
        "sctlr, ttbcr, ttbr0, ttbr1"
    );
    ensure_eq!(
        info(domain.0).map(|i| i.nr_online_vcpus),
        Ok(1),
        "vCPUs online"
    );
    context.flags = 0;
    ensure_eq!(set(0, &context), 0, "set, not online");
    ensure_eq!(
        info(domain.0).map(|i| i.nr_online_vcpus),
        Ok(0),
        "vCPUs online"
    );
    let null = VcpuContext {
        vcpu: 0,
        _pad: 0,
        ctxt: Handle(0),
    };
    ensure_eq!(
        domctl(XEN_DOMCTL_SETVCPUCONTEXT, domain.0, &null),
        0,
        "reset"
    );
    ensure_eq!(get(), ENODATA, "get after a reset");
    Ok(())
}

fn vcpu_info() -> Outcome {
    let domain = Domu::new()?;
    let (result, op) = command(XEN_DOMCTL_GETVCPUINFO, domain.0, &0_u32);
    let seen: GetVcpuInfo = op.u.get();
    ensure_eq!(
        (result, seen.online, seen.running, seen.cpu_time),
        (0, 0, 0, 0),
        "vCPU 0"
    );
    for vcpu in [1, u32::MAX] {
        ensure_eq!(
            domctl(XEN_DOMCTL_GETVCPUINFO, domain.0, &vcpu),
            EINVAL,
            "vCPU {vcpu}"
        );
    }
    let (result, op) = command(XEN_DOMCTL_GETVCPUINFO, 0, &0_u32);
    let seen: GetVcpuInfo = op.u.get();
    ensure_eq!(
        (result, seen.online, seen.blocked, seen.running),
        (0, 1, 0, 1),
        "our own"
    );
    ensure!(seen.cpu_time != 0, "no time was used");
    Ok(())
}

fn share() -> Outcome {
    let domain = Domu::new()?;
    let argument = |sched_id, cmd, weight, cap| SchedulerOp {
        sched_id,
        cmd,
        weight,
        cap,
        _rest: [0; 3],
    };
    let run = |argument: SchedulerOp| {
        let (result, op) = command(XEN_DOMCTL_SCHEDULER_OP, domain.0, &argument);
        let op: SchedulerOp = op.u.get();
        (result, op.weight, op.cap)
    };
    ensure_eq!(run(argument(6, 1, 0, 0)), (0, 256, 0), "get");
    ensure_eq!(run(argument(5, 1, 0, 0)).0, EINVAL, "of credit");
    ensure_eq!(run(argument(6, 0, 512, 50)).0, 0, "put");
    ensure_eq!(run(argument(6, 1, 0, 0)), (0, 512, 50), "get");
    ensure_eq!(
        run(argument(6, 0, 1, 101)).0,
        EINVAL,
        "a cap of more than a vCPU"
    );
    ensure_eq!(run(argument(6, 1, 0, 0)), (0, 1, 50), "get");
    ensure_eq!(run(argument(6, 0, 0, 0)).0, 0, "put without a weight");
    ensure_eq!(run(argument(6, 1, 0, 0)), (0, 1, 0), "get");
    ensure_eq!(run(argument(6, 9, 0, 0)).0, EINVAL, "command 9");
    Ok(())
}

fn affinities() -> Outcome {
    let domain = Domu::new()?;
    let mut bits = [1_u64, u64::MAX];
    let argument = |vcpu, flags, bits: *mut u64, nr_bits| {
        let map = Bitmap {
            bitmap: Handle(bits as u64),
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
    let bits = bits.as_mut_ptr();
    let set = |argument| domctl(XEN_DOMCTL_SETVCPUAFFINITY, domain.0, &argument);
    let get = |argument| domctl(XEN_DOMCTL_GETVCPUAFFINITY, domain.0, &argument);
    ensure_eq!(set(argument(0, 0, bits, 8)), EINVAL, "set of nothing");
    ensure_eq!(set(argument(1, 1, bits, 8)), EINVAL, "set of vCPU 1");
    ensure_eq!(set(argument(0, 2, bits, 8)), 0, "set of the soft one");
    // What it now likes may be nowhere: where CPUs differ, its own are others yet.
    // SAFETY: an array of two.
    unsafe { bits.write_volatile(1) };
    ensure_eq!(set(argument(0, 1, bits, 8)), 0, "set of the hard one");
    ensure_eq!(set(argument(0, 1, bits, 0)), EINVAL, "set of no CPU");
    ensure_eq!(get(argument(0, 0, bits, 8)), EINVAL, "get of nothing");
    ensure_eq!(get(argument(1, 1, bits, 8)), EINVAL, "get of vCPU 1");
    // SAFETY: as before.
    unsafe { bits.write_volatile(u64::MAX) };
    ensure_eq!(get(argument(0, 1, bits, 16)), 0, "get of the hard one");
    // SAFETY: as before.
    let first = unsafe { bits.read_volatile() };
    ensure_eq!(first, 0xffff_ffff_ffff_0001, "the hard one");
    let node = |nr_bits| NodeAffinity {
        nodemap: Bitmap {
            bitmap: Handle(bits as u64),
            nr_bits,
            _pad: 0,
        },
    };
    ensure_eq!(
        domctl(XEN_DOMCTL_SETNODEAFFINITY, domain.0, &node(8)),
        0,
        "set of node 0"
    );
    ensure_eq!(
        domctl(XEN_DOMCTL_SETNODEAFFINITY, domain.0, &node(0)),
        EINVAL,
        "set of no node"
    );
    ensure_eq!(
        domctl(XEN_DOMCTL_GETNODEAFFINITY, domain.0, &node(8)),
        0,
        "get of nodes"
    );
    Ok(())
}
