// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's vCPUs: how many, and their registers.

use super::Answer;
use crate::current::Current;
use crate::domain::Domain;
use crate::domain::context::Context;
use crate::domain::vcpu::Vcpu;
use crate::guest::copy::GuestPtr;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use xen_abi::Payload;
use xen_abi::arch_arm::{
    PSR_MODE_BIT, PSR_MODE_EL0T, PSR_MODE_EL1H, PSR_MODE_EL1T, PSR_MODE_MASK, VGCF_ONLINE,
    VcpuGuestContext,
};
use xen_abi::domctl::{AddressSize, MaxVcpus, VcpuContext};
use xen_abi::errno::Errno;
use zerocopy::FromZeros;

/// `XEN_DOMCTL_max_vcpus`: makes as many vCPUs as the domain was created for; `EINVAL` for another
/// number.
pub(super) fn max_vcpus(
    _: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let MaxVcpus { max } = arg.get();
    if max != domain.max_vcpus() {
        return Err(Errno::Inval);
    }
    domain.show_vcpus();
    Ok(Answer::Done)
}

/// `XEN_DOMCTL_setvcpucontext`: a vCPU's registers, and that it runs; without any it is as new.
/// `EINVAL` for the caller's own domain.
pub(super) fn set_context(
    cur: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let op: VcpuContext = arg.get();
    if domain.id == cur.domain.id {
        return Err(Errno::Inval);
    }
    let vcpu = domain.vcpu(op.vcpu).ok_or(Errno::Inval)?;
    let from = GuestPtr::<VcpuGuestContext>::from(op.ctxt);
    if from.is_null() {
        return match vcpu.reset(domain) {
            true => Ok(Answer::Done),
            false => Ok(Answer::Again),
        };
    }
    let wanted = from.read(cur.memory())?;
    if !is_valid_mode(domain, wanted.user_regs.cpsr) {
        return Err(Errno::Inval);
    }
    let online = wanted.flags & VGCF_ONLINE != 0;
    match vcpu.while_stopped(|context| write(context, &wanted)) {
        Some(()) => {
            vcpu.set_up(domain, online);
            Ok(Answer::Done)
        }
        None => Ok(Answer::Again),
    }
}

/// A guest runs at EL1 or EL0; AArch32 modes are for 32-bit domains.
fn is_valid_mode(domain: &Domain, cpsr: u64) -> bool {
    let mode = cpsr & PSR_MODE_MASK;
    domain.is_64bit.load(Ordering::Relaxed)
        && cpsr & PSR_MODE_BIT == 0
        && matches!(mode, PSR_MODE_EL0T | PSR_MODE_EL1T | PSR_MODE_EL1H)
}

fn write(context: &mut Context, from: &VcpuGuestContext) {
    let (regs, user) = (&mut context.regs, &from.user_regs);
    regs.x = user.x;
    regs.pc = user.pc64;
    regs.pstate = user.cpsr;
    let sys = &mut context.sys;
    sys.sp_el0 = user.sp_el0;
    sys.sp_el1 = user.sp_el1;
    sys.elr_el1 = user.elr_el1;
    sys.spsr_el1 = user.spsr_el1;
    sys.sctlr_el1 = from.sctlr;
    sys.tcr_el1 = from.ttbcr;
    sys.ttbr0_el1 = from.ttbr0;
    sys.ttbr1_el1 = from.ttbr1;
}

/// `XEN_DOMCTL_getvcpucontext`: the registers of a vCPU, which stops for that. `EINVAL` for the
/// caller itself, `ENODATA` for one that never ran nor was given any.
pub(super) fn get_context(
    cur: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let op: VcpuContext = arg.get();
    let vcpu = domain.vcpu(op.vcpu).ok_or(Errno::Inval)?;
    if Arc::ptr_eq(vcpu, cur.vcpu) {
        return Err(Errno::Inval);
    }
    if !vcpu.is_initialised() {
        return Err(Errno::NoData);
    }
    let Some(context) = vcpu.while_stopped(|context| *context) else {
        return Ok(Answer::Again);
    };
    let to = GuestPtr::<VcpuGuestContext>::from(op.ctxt);
    to.write(cur.memory(), &read(vcpu, &context))?;
    Ok(Answer::Copy)
}

fn read(vcpu: &Vcpu, context: &Context) -> VcpuGuestContext {
    let mut to = VcpuGuestContext::new_zeroed();
    if vcpu.is_up() {
        to.flags |= VGCF_ONLINE;
    }
    let (user, sys) = (&mut to.user_regs, &context.sys);
    user.x = context.regs.x;
    user.pc64 = context.regs.pc;
    user.cpsr = context.regs.pstate;
    user.sp_el0 = sys.sp_el0;
    user.sp_el1 = sys.sp_el1;
    user.elr_el1 = sys.elr_el1;
    user.spsr_el1 = sys.spsr_el1;
    to.sctlr = sys.sctlr_el1;
    to.ttbcr = sys.tcr_el1;
    to.ttbr0 = sys.ttbr0_el1;
    to.ttbr1 = sys.ttbr1_el1;
    to
}

/// `XEN_DOMCTL_set_address_size`: guests are 64-bit. `EBUSY` once the domain has memory.
pub(super) fn set_address_size(
    cur: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let AddressSize { size } = arg.get();
    if size != 64 {
        return Err(Errno::Inval);
    }
    if cur.sys.frames.tot_pages(domain.id) != 0 {
        return Err(Errno::Busy);
    }
    domain.is_64bit.store(true, Ordering::Relaxed);
    Ok(Answer::Done)
}
