// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands that note something down, and those that are refused as Debian's Xen refuses them on
//! Arm: for want of an I/O MMU, of cache colours, of permissions to give.

use super::{Answer, Command};
use crate::current::Current;
use crate::domain::Domain;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use xen_abi::Payload;
use xen_abi::domctl::*;
use xen_abi::errno::Errno;

/// The command of that number, if there is one.
pub(super) fn command(cmd: u32) -> Option<Command> {
    Some(match cmd {
        XEN_DOMCTL_SETDOMAINHANDLE => set_handle,
        XEN_DOMCTL_SETTIMEOFFSET => set_time_offset,
        XEN_DOMCTL_SETDEBUGGING => |_, _, _| Ok(Answer::Done),
        XEN_DOMCTL_SUBSCRIBE => |_, _, _| Ok(Answer::Done),
        XEN_DOMCTL_IRQ_PERMISSION => |_, _, _| Err(Errno::IlSeq),
        XEN_DOMCTL_IOMEM_PERMISSION => |_, _, _| Err(Errno::Perm),
        XEN_DOMCTL_MEMORY_MAPPING => memory_mapping,
        XEN_DOMCTL_SET_VIRQ_HANDLER => |_, _, _| Err(Errno::Inval),
        XEN_DOMCTL_SETVNUMAINFO => |_, _, _| Err(Errno::Inval),
        XEN_DOMCTL_VUART_OP => vuart,
        XEN_DOMCTL_ASSIGN_DEVICE
        | XEN_DOMCTL_TEST_ASSIGN_DEVICE
        | XEN_DOMCTL_DEASSIGN_DEVICE
        | XEN_DOMCTL_GET_DEVICE_GROUP
        | XEN_DOMCTL_BIND_PT_IRQ
        | XEN_DOMCTL_UNBIND_PT_IRQ
        | XEN_DOMCTL_MONITOR_OP
        | XEN_DOMCTL_DT_OVERLAY
        | XEN_DOMCTL_SET_LLC_COLORS => |_, _, _| Err(Errno::OpNotSupp),
        _ => return None,
    })
}

/// `XEN_DOMCTL_setdomainhandle`: its UUID.
fn set_handle(_: &Current<'_>, domain: &Arc<Domain>, arg: &mut Payload) -> Result<Answer, Errno> {
    let SetDomainHandle { handle } = arg.get();
    *domain.handle.lock() = handle;
    Ok(Answer::Done)
}

/// `XEN_DOMCTL_settimeoffset`: by how much its wall clock differs, from when it is next told.
fn set_time_offset(
    _: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let SetTimeOffset {
        time_offset_seconds,
    } = arg.get();
    domain
        .time_offset
        .store(time_offset_seconds, Ordering::Relaxed);
    Ok(Answer::Done)
}

/// `XEN_DOMCTL_vuart_op`: no UART can be given to a domain. `EPERM` once it was let run.
fn vuart(_: &Current<'_>, domain: &Arc<Domain>, _: &mut Payload) -> Result<Answer, Errno> {
    match domain.life.lock().is_built() {
        true => Err(Errno::Perm),
        false => Err(Errno::Inval),
    }
}

/// Most frames of a `XEN_DOMCTL_memory_mapping`.
const MOST: u64 = 64;

/// `XEN_DOMCTL_memory_mapping`: no device memory is the caller's to give.
fn memory_mapping(_: &Current<'_>, _: &Arc<Domain>, arg: &mut Payload) -> Result<Answer, Errno> {
    let op: MemoryMapping = arg.get();
    let wraps = |first: u64| {
        op.nr_mfns
            .checked_sub(1)
            .and_then(|n| first.checked_add(n))
            .is_none()
    };
    if wraps(op.first_mfn) || wraps(op.first_gfn) {
        return Err(Errno::Inval);
    }
    if op.nr_mfns > MOST {
        return Err(Errno::TooBig);
    }
    Err(Errno::Perm)
}
