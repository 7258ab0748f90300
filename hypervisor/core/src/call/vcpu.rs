// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vcpu_op` (public/vcpu.h) and `vm_assist`: where a vCPU's state is shown to the guest.

use super::{Args, CallResult, OK, page};
use crate::addr::PAGE_SIZE;
use crate::current::Current;
use crate::event;
use crate::guest::copy::GuestPtr;
use core::sync::atomic::Ordering;
use xen_abi::errno::Errno;
use xen_abi::vcpu::{
    RegisterRunstateMemoryArea, RegisterVcpuInfo, VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA,
    VCPUOP_REGISTER_VCPU_INFO,
};
use xen_abi::xen::{VMASST_CMD_DISABLE, VMASST_CMD_ENABLE, VMASST_TYPE_RUNSTATE_UPDATE_FLAG};

pub(super) fn vcpu_op(cur: &mut Current<'_>, [op, vcpu, arg, ..]: Args) -> CallResult {
    let vcpu = vcpu as u32;
    match op as u32 {
        VCPUOP_REGISTER_VCPU_INFO => register_info(cur, vcpu, GuestPtr::new(arg)),
        VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA => register_runstate(cur, vcpu, GuestPtr::new(arg)),
        _ => Err(Errno::Inval),
    }
}

fn register_info(cur: &Current<'_>, vcpu: u32, arg: GuestPtr<RegisterVcpuInfo>) -> CallResult {
    cur.domain.vcpu(vcpu).ok_or(Errno::NoEnt)?;
    let info = arg.read(cur.memory())?;
    if u64::from(info.offset) >= PAGE_SIZE {
        return Err(Errno::Inval);
    }
    let page = || page::shared_page(cur, info.mfn);
    event::register_vcpu_info(&**cur.domain, vcpu, info.offset, page)?;
    OK
}

/// The guest's address is kept and used whenever the vCPU's state changes; it is shown at once.
fn register_runstate(
    cur: &Current<'_>,
    vcpu: u32,
    arg: GuestPtr<RegisterRunstateMemoryArea>,
) -> CallResult {
    let vcpu = cur.domain.vcpu(vcpu).ok_or(Errno::NoEnt)?;
    let at = arg.read(cur.memory())?.addr;
    let area = {
        let mut area = vcpu.runstate.lock();
        area.register(at.into());
        *area
    };
    let flag = cur.domain.vm_assist.load(Ordering::Relaxed) & RUNSTATE_FLAG != 0;
    area.show(cur.sys, cur.memory(), flag);
    OK
}

/// The one type of `vm_assist` there is on Arm.
const RUNSTATE_FLAG: u32 = 1 << VMASST_TYPE_RUNSTATE_UPDATE_FLAG;

pub(super) fn vm_assist(cur: &mut Current<'_>, [cmd, ty, ..]: Args) -> CallResult {
    if ty as u32 != VMASST_TYPE_RUNSTATE_UPDATE_FLAG {
        return Err(Errno::Inval);
    }
    let assist = &cur.domain.vm_assist;
    match cmd as u32 {
        VMASST_CMD_ENABLE => assist.fetch_or(RUNSTATE_FLAG, Ordering::Relaxed),
        VMASST_CMD_DISABLE => assist.fetch_and(!RUNSTATE_FLAG, Ordering::Relaxed),
        _ => return Err(Errno::NoSys),
    };
    OK
}
