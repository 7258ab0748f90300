// SPDX-License-Identifier: MIT OR Apache-2.0
//! `hvm_op` (public/hvm/hvm_op.h): the parameters of a domain.

use super::access::{Class, resolve};
use super::{Args, CallResult, OK, update};
use crate::current::Current;
use crate::domain::Domain;
use crate::guest::copy::GuestPtr;
use crate::nospec;
use xen_abi::errno::Errno;
use xen_abi::hvm::{
    HVM_PARAM_CALLBACK_IRQ, HVM_PARAM_CONSOLE_EVTCHN, HVM_PARAM_CONSOLE_PFN,
    HVM_PARAM_MONITOR_RING_PFN, HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN, HVMOP_GET_PARAM,
    HVMOP_GUEST_REQUEST_VM_EVENT, HVMOP_SET_PARAM, HvmParam,
};

pub(super) fn hvm_op(cur: &mut Current<'_>, [op, arg, ..]: Args) -> CallResult {
    match u32::try_from(op) {
        Ok(HVMOP_SET_PARAM) => set_param(cur, GuestPtr::new(arg)),
        Ok(HVMOP_GET_PARAM) => update(cur, GuestPtr::new(arg), |param| get_param(cur, param)),
        Ok(HVMOP_GUEST_REQUEST_VM_EVENT) if arg == 0 => OK,
        Ok(HVMOP_GUEST_REQUEST_VM_EVENT) => Err(Errno::Inval),
        _ => Err(Errno::NoSys),
    }
}

fn set_param(cur: &Current<'_>, arg: GuestPtr<HvmParam>) -> CallResult {
    let param = arg.read(cur.memory())?;
    let domain = resolve(cur, param.domid, Class::Target)?;
    if !is_known(param.index) {
        return Err(Errno::Inval);
    }
    not_itself(cur, &domain)?;
    let mut params = domain.hvm_params.lock();
    if let Some(slot) = nospec::get_mut(&mut *params, param.index as usize) {
        *slot = param.value;
    }
    OK
}

fn get_param(cur: &Current<'_>, param: &mut HvmParam) -> Result<(), Errno> {
    let domain = resolve(cur, param.domid, Class::Target)?;
    if !is_known(param.index) {
        return Err(Errno::Inval);
    }
    if param.index == HVM_PARAM_MONITOR_RING_PFN {
        not_itself(cur, &domain)?;
    }
    let params = domain.hvm_params.lock();
    let value = nospec::get(&*params, param.index as usize);
    param.value = value.copied().unwrap_or(0);
    Ok(())
}

/// The parameters that 4.20 has on Arm.
const fn is_known(index: u32) -> bool {
    matches!(
        index,
        HVM_PARAM_CALLBACK_IRQ
            | HVM_PARAM_STORE_PFN
            | HVM_PARAM_STORE_EVTCHN
            | HVM_PARAM_CONSOLE_PFN
            | HVM_PARAM_CONSOLE_EVTCHN
            | HVM_PARAM_MONITOR_RING_PFN
    )
}

fn not_itself(cur: &Current<'_>, domain: &Domain) -> Result<(), Errno> {
    (domain.id != cur.domain.id)
        .then_some(())
        .ok_or(Errno::Perm)
}
