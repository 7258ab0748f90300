// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a domain asks about memory.

use super::Call;
use crate::addr::Gfn;
use crate::call::access::{self, Class, resolve};
use crate::call::{CallResult, OK, done};
use crate::current::Current;
use crate::domain::Domain;
use crate::frame::FrameError;
use crate::p2m::RamScan;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use xen_abi::errno::Errno;
use xen_abi::memory::{DomidArg, MemoryReservation, ReservedDeviceMemoryMap, XENMEM_RDM_ALL};

/// `XENMEM_maximum_ram_page`: one more than the highest machine frame number.
pub(super) fn maximum_ram_page(cur: &Current<'_>, _: Call) -> CallResult {
    let banks = cur.sys.frames.banks();
    let end = banks.map(|(mfn, nr)| mfn.0.saturating_add(nr)).max();
    done(end.unwrap_or(0) as i64)
}

fn target(cur: &Current<'_>, call: Call) -> Result<Arc<Domain>, Errno> {
    let arg = call.ptr::<DomidArg>().read(cur.memory())?;
    resolve(cur, arg.domid, Class::Target)
}

/// `XENMEM_current_reservation`: pages the domain has.
pub(super) fn current_reservation(cur: &Current<'_>, call: Call) -> CallResult {
    done(cur.sys.frames.tot_pages(target(cur, call)?.id))
}

/// `XENMEM_maximum_reservation`: pages the domain may have.
pub(super) fn maximum_reservation(cur: &Current<'_>, call: Call) -> CallResult {
    done(target(cur, call)?.max_pages.load(Ordering::Relaxed))
}

/// `XENMEM_maximum_gpfn`: the highest frame number of memory. The tables are scanned upwards;
/// an interrupted scan keeps its place in X0 and the highest so far in X2.
pub(super) fn maximum_gpfn(cur: &Current<'_>, call: Call) -> CallResult {
    let domain = target(cur, call)?;
    let (mut at, mut highest) = match call.start {
        0 => (Gfn(0), 0),
        start => (Gfn(start), call.spare.min(start)),
    };
    loop {
        match domain.p2m.next_ram(at) {
            RamScan::End => return done(highest as i64),
            RamScan::Resume(next) => at = next,
            RamScan::Run { gfn, nr, .. } => {
                let end = gfn.0.saturating_add(nr.max(1));
                highest = end.saturating_sub(1);
                at = Gfn(end);
            }
        }
        if cur.must_give_way() {
            let spare = highest;
            return Call { spare, ..call }.again(at.0);
        }
    }
}

/// `XENMEM_claim_pages`: keeps free pages for a domain until it has as many as that; none ends
/// that. `EINVAL` for another claim, for no more than it has, and for more than it may have.
pub(super) fn claim_pages(cur: &Current<'_>, call: Call) -> CallResult {
    let arg = call.ptr::<MemoryReservation>().read(cur.memory())?;
    if !arg.extent_start.is_null() || arg.extent_order != 0 || arg.mem_flags != 0 {
        return Err(Errno::Inval);
    }
    let domain = access::by_id(cur, arg.domid).map_err(|_| Errno::Inval)?;
    access::control(cur)?;
    let frames = cur.sys.frames;
    if arg.nr_extents == 0 {
        frames.claim(domain.id, 0)?;
        return OK;
    }
    let most = domain.max_pages.load(Ordering::Relaxed);
    let wanted = u32::try_from(arg.nr_extents).ok().filter(|&nr| nr <= most);
    let more = wanted.and_then(|nr| nr.checked_sub(frames.tot_pages(domain.id)));
    let more = more.filter(|&nr| nr != 0).ok_or(Errno::Inval)?;
    match frames.claim(domain.id, more) {
        Err(FrameError::BadState) => Err(Errno::Inval),
        // The domain may have begun to die meanwhile.
        Ok(()) if domain.is_dying() => {
            frames.claim(domain.id, 0)?;
            Err(Errno::Inval)
        }
        result => result.map_err(Errno::from).and(OK),
    }
}

/// `XENMEM_get_vnumainfo`: no domain has virtual NUMA nodes.
pub(super) fn vnuma(cur: &Current<'_>, call: Call) -> CallResult {
    target(cur, call)?;
    Err(Errno::OpNotSupp)
}

/// `XENMEM_reserved_device_memory_map`: there is no such memory.
pub(super) fn reserved_device_memory(cur: &Current<'_>, call: Call) -> CallResult {
    let mut map = call.ptr::<ReservedDeviceMemoryMap>().read(cur.memory())?;
    if map.flags & !XENMEM_RDM_ALL != 0 {
        return Err(Errno::Inval);
    }
    map.nr_entries = 0;
    call.ptr().write(cur.memory(), &map)?;
    OK
}
