// SPDX-License-Identifier: MIT OR Apache-2.0
//! `event_channel_op` (public/event_channel.h).

use super::access::{Class, by_any_id, by_id, may_talk, resolve};
use super::{Args, CallResult, OK, Outcome, page, update};
use crate::current::Current;
use crate::domain::Domain;
use crate::event::{self, EventDomain, Progress};
use crate::guest::copy::GuestPtr;
use crate::sched::pause;
use alloc::sync::Arc;
use xen_abi::errno::Errno;
use xen_abi::event::{
    AllocUnbound, BindInterdomain, BindIpi, BindVcpu, BindVirq, EVTCHN_FIFO_LINK_BITS,
    EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN, EVTCHNOP_BIND_IPI, EVTCHNOP_BIND_PIRQ,
    EVTCHNOP_BIND_VCPU, EVTCHNOP_BIND_VIRQ, EVTCHNOP_CLOSE, EVTCHNOP_EXPAND_ARRAY,
    EVTCHNOP_INIT_CONTROL, EVTCHNOP_RESET, EVTCHNOP_RESET_CONT, EVTCHNOP_SEND,
    EVTCHNOP_SET_PRIORITY, EVTCHNOP_STATUS, EVTCHNOP_UNMASK, ExpandArray, InitControl, Port, Reset,
    SetPriority,
};
use xen_abi::xen::DOMID_SELF;
use zerocopy::FromBytes;

/// Ports closed between two looks for interrupts.
const RESET_BUDGET: u32 = 32;

pub(super) fn event_channel_op(cur: &mut Current<'_>, [op, arg, ..]: Args) -> CallResult {
    let domain = &**cur.domain;
    match op as u32 {
        EVTCHNOP_SEND => event::send(domain, port(cur, arg)?)?,
        EVTCHNOP_UNMASK => event::unmask(domain, port(cur, arg)?)?,
        EVTCHNOP_CLOSE => event::close(domain, port(cur, arg)?)?,
        EVTCHNOP_STATUS => {
            return update(
                cur,
                GuestPtr::new(arg),
                |op: &mut xen_abi::event::Status| {
                    let target = resolve(cur, op.dom, Class::Target)?;
                    event::status(&*target, op.port, op)
                },
            );
        }
        EVTCHNOP_BIND_VCPU => {
            let op: BindVcpu = read(cur, arg)?;
            event::bind_vcpu(domain, op.port, op.vcpu)?;
        }
        EVTCHNOP_SET_PRIORITY => {
            let op: SetPriority = read(cur, arg)?;
            event::set_priority(domain, op.port, op.priority)?;
        }
        EVTCHNOP_EXPAND_ARRAY => {
            let op: ExpandArray = read(cur, arg)?;
            event::expand_array(domain, || page::shared_page(cur, op.array_gfn))?;
        }
        EVTCHNOP_INIT_CONTROL => {
            return update(cur, GuestPtr::new(arg), |op| init_control(cur, op));
        }
        EVTCHNOP_RESET | EVTCHNOP_RESET_CONT => return reset(cur, arg),
        EVTCHNOP_BIND_PIRQ => {
            read::<[u32; 3]>(cur, arg)?;
            return Err(Errno::OpNotSupp);
        }
        op => return bind(cur, op, arg),
    }
    OK
}

/// The operations that open a port.
fn bind(cur: &Current<'_>, op: u32, arg: u64) -> CallResult {
    let domain = &**cur.domain;
    match op {
        EVTCHNOP_ALLOC_UNBOUND => update(cur, GuestPtr::new(arg), |op| alloc_unbound(cur, op)),
        EVTCHNOP_BIND_INTERDOMAIN => {
            update(cur, GuestPtr::new(arg), |op| bind_interdomain(cur, op))
        }
        EVTCHNOP_BIND_VIRQ => update(cur, GuestPtr::new(arg), |op: &mut BindVirq| {
            op.port = event::bind_virq(domain, op.virq, op.vcpu)?;
            Ok(())
        }),
        EVTCHNOP_BIND_IPI => update(cur, GuestPtr::new(arg), |op: &mut BindIpi| {
            op.port = event::bind_ipi(domain, op.vcpu)?;
            Ok(())
        }),
        _ => Err(Errno::NoSys),
    }
}

fn read<T: FromBytes + zerocopy::IntoBytes>(cur: &Current<'_>, arg: u64) -> Result<T, Errno> {
    GuestPtr::<T>::new(arg).read(cur.memory())
}

fn port(cur: &Current<'_>, arg: u64) -> Result<u32, Errno> {
    Ok(read::<Port>(cur, arg)?.port)
}

fn alloc_unbound(cur: &Current<'_>, op: &mut AllocUnbound) -> Result<(), Errno> {
    let domain = by_any_id(cur, op.dom)?;
    let remote = by_any_id(cur, op.remote_dom)?;
    may_talk(&domain, &remote)?;
    resolve(cur, op.dom, Class::Target)?;
    op.port = event::alloc_unbound(&*domain, remote.id)?;
    Ok(())
}

fn bind_interdomain(cur: &Current<'_>, op: &mut BindInterdomain) -> Result<(), Errno> {
    let remote = match op.remote_dom {
        DOMID_SELF => cur.domain.clone(),
        id => by_id(cur, id)?,
    };
    // Of two that may not talk neither has a port for the other.
    may_talk(cur.domain, &remote).map_err(|_| Errno::Inval)?;
    let local: Arc<dyn EventDomain> = cur.domain.clone();
    let remote: Arc<dyn EventDomain> = remote;
    op.local_port = event::bind_interdomain(&local, &remote, op.remote_port)?;
    Ok(())
}

fn init_control(cur: &Current<'_>, op: &mut InitControl) -> Result<(), Errno> {
    let page = || page::shared_page(cur, op.control_gfn);
    event::init_control(&**cur.domain, op.vcpu, op.offset, page)?;
    op.link_bits = EVTCHN_FIFO_LINK_BITS as u8;
    Ok(())
}

/// Another domain must be paused.
fn reset(cur: &Current<'_>, arg: u64) -> CallResult {
    let op: Reset = read(cur, arg)?;
    let domain = resolve(cur, op.dom, Class::Target)?;
    if domain.id != cur.domain.id && !is_paused(&domain) {
        return Err(Errno::Inval);
    }
    while event::reset(&*domain, RESET_BUDGET)? == Progress::More {
        if cur.must_give_way() {
            return Ok(Outcome::Again([EVTCHNOP_RESET_CONT.into(), arg, 0, 0, 0]));
        }
    }
    OK
}

fn is_paused(domain: &Domain) -> bool {
    let mut vcpus = domain.vcpus().iter();
    vcpus.all(|vcpu| vcpu.sched.flags() & pause::DOMAIN != 0)
}
