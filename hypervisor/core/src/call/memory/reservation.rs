// SPDX-License-Identifier: MIT OR Apache-2.0
//! Getting pages and giving them back. All three answer with the number of extents done, whatever
//! went wrong with the next.

use super::Call;
use crate::addr::{Gfn, Mfn, Pa};
use crate::call::access::{Class, resolve};
use crate::call::{CallResult, OK, done};
use crate::current::Current;
use crate::domain::Domain;
use crate::frame::{Kind, Limits};
use crate::guest::copy::GuestPtr;
use crate::p2m::{Batch, P2mType};
use core::sync::atomic::Ordering;
use xen_abi::errno::Errno;
use xen_abi::memory::{
    MEMOP_EXTENT_SHIFT, MemoryExchange, MemoryReservation, XENMEM_DECREASE_RESERVATION,
    XENMEM_POPULATE_PHYSMAP, XENMEMF_POPULATE_ON_DEMAND,
};

/// Largest extent (log2 of pages). More would be too long a time without interrupts.
const MAX_ORDER: u32 = 9;
/// `mem_flags`: bits of the highest address wanted.
const ADDRESS_BITS: u32 = 0xff;

/// `XENMEM_increase_reservation`, `_decrease_reservation` and `_populate_physmap`.
pub(super) fn reservation(cur: &Current<'_>, call: Call) -> CallResult {
    match perform(cur, call) {
        Some(again) => again,
        None => done(call.start as i64),
    }
}

/// `None` if not even a first extent can be looked at.
fn perform(cur: &Current<'_>, call: Call) -> Option<CallResult> {
    let request = call.ptr::<MemoryReservation>().read(cur.memory()).ok()?;
    let limit = u64::from(u32::MAX >> MEMOP_EXTENT_SHIFT);
    if request.nr_extents > limit
        || call.start >= request.nr_extents
        || request.extent_order > MAX_ORDER
    {
        return None;
    }
    let domain = resolve(cur, request.domid, Class::Target).ok()?;
    // What is taken away is flushed from the TLBs when this is dropped.
    let batch = domain.p2m.batch();
    let extents = GuestPtr::<u64>::from(request.extent_start);
    for n in call.start..request.nr_extents {
        if n > call.start && cur.must_give_way() {
            return Some(call.again(n));
        }
        let extent = || extents.at(n)?.read(cur.memory()).map(Gfn);
        let result = match call.op {
            XENMEM_POPULATE_PHYSMAP => extent().and_then(|gfn| populate(&domain, &request, gfn)),
            XENMEM_DECREASE_RESERVATION => {
                extent().and_then(|gfn| decrease(&domain, &batch, gfn, request.extent_order))
            }
            _ => allocate(&domain, &request).map(drop),
        };
        if result.is_err() {
            return Some(done(n as i64));
        }
    }
    Some(done(request.nr_extents as i64))
}

/// Pages in an extent of `order`.
const fn pages(order: u32) -> u64 {
    1u64.wrapping_shl(order)
}

/// New pages for the domain, zeroed, within its limit.
fn allocate(domain: &Domain, request: &MemoryReservation) -> Result<Mfn, Errno> {
    let frames = domain.sys.frames;
    let order = request.extent_order;
    let too_many = |more: u64| {
        let total = u64::from(frames.tot_pages(domain.id)).saturating_add(more);
        total > domain.max_pages.load(Ordering::Relaxed).into()
    };
    if too_many(pages(order)) {
        return Err(Errno::NoMem);
    }
    let bits = request.mem_flags & ADDRESS_BITS;
    let below = (bits != 0).then(|| Pa(1u64.checked_shl(bits).unwrap_or(u64::MAX)));
    let limits = Limits {
        below,
        ..Limits::default()
    };
    let mfn = frames.alloc_ram(domain.id, order, limits)?;
    // Another vCPU may have been as far.
    if too_many(0) {
        release(domain, mfn, order);
        return Err(Errno::NoMem);
    }
    Ok(mfn)
}

/// Gives up pages that are not mapped.
fn release(domain: &Domain, mfn: Mfn, order: u32) {
    for page in (mfn.0..).take(pages(order) as usize) {
        domain.sys.frames.release_allocation(Mfn(page), domain.id);
    }
}

/// Maps an extent of new pages at `gfn`; for a direct-mapped domain the pages that belong there.
fn populate(domain: &Domain, request: &MemoryReservation, gfn: Gfn) -> Result<(), Errno> {
    if request.mem_flags & XENMEMF_POPULATE_ON_DEMAND != 0 {
        return Err(Errno::NoSys);
    }
    let order = request.extent_order;
    let nr = pages(order);
    let direct = domain.role.direct_mapped;
    let mfn = match direct {
        true => own_pages(domain, gfn, nr)?,
        false => allocate(domain, request)?,
    };
    match domain.p2m.insert(gfn, mfn, nr, P2mType::RamRw) {
        Ok(replaced) => {
            if replaced.ram != 0 {
                domain.xen_pages_unmapped(gfn, nr);
            }
            Ok(())
        }
        Err(error) => {
            if !direct {
                release(domain, mfn, order);
            }
            Err(error.into())
        }
    }
}

/// The machine pages of the number `gfn`, if all are RAM of the domain.
fn own_pages(domain: &Domain, gfn: Gfn, nr: u64) -> Result<Mfn, Errno> {
    let end = gfn.checked_add(nr).ok_or(Errno::Inval)?;
    let own = |mfn: u64| {
        let state = domain.sys.frames.state(Mfn(mfn));
        state.is_some_and(|s| s.owner() == Some(domain.id) && s.kind() == Kind::Ram)
    };
    let all = (gfn.0..end.0).all(own);
    all.then_some(Mfn(gfn.0)).ok_or(Errno::Inval)
}

/// Takes an extent from the domain. What was in a direct-mapped one stays its own.
fn decrease(domain: &Domain, batch: &Batch<'_>, gfn: Gfn, order: u32) -> Result<(), Errno> {
    let end = gfn.checked_add(pages(order)).ok_or(Errno::Inval)?;
    for gfn in gfn.0..end.0 {
        decrease_page(domain, batch, Gfn(gfn))?;
    }
    Ok(())
}

fn decrease_page(domain: &Domain, batch: &Batch<'_>, gfn: Gfn) -> Result<(), Errno> {
    let found = domain.p2m.lookup(gfn).ok_or(Errno::Inval)?;
    let page = domain
        .sys
        .frames
        .get(found.mfn, domain.id)
        .ok_or(Errno::NXIO)?;
    if !found.ty.is_ram() {
        return Err(Errno::Inval);
    }
    if page.state().kind() != Kind::Ram {
        // A page the hypervisor shares is only unmapped.
        batch.remove_exact(gfn, found.mfn, found.ty)?;
        domain.xen_pages_unmapped(gfn, 1);
        return Ok(());
    }
    batch.remove_page(gfn, page)?;
    if !domain.role.direct_mapped {
        domain.sys.frames.release_allocation(found.mfn, domain.id);
    }
    Ok(())
}

/// `XENMEM_exchange`: no page can be taken out of an Arm domain this way.
pub(super) fn exchange(cur: &Current<'_>, call: Call) -> CallResult {
    let arg = call.ptr::<MemoryExchange>().read(cur.memory())?;
    let (input, out) = (arg.input, arg.out);
    if arg.nr_exchanged > input.nr_extents || input.domid != out.domid {
        return Err(Errno::Inval);
    }
    if input.extent_order > MAX_ORDER || out.extent_order > MAX_ORDER {
        return Err(Errno::Perm);
    }
    resolve(cur, input.domid, Class::Target)?;
    if arg.nr_exchanged == input.nr_extents {
        return OK;
    }
    let extents = GuestPtr::<u64>::from(input.extent_start);
    extents.at(arg.nr_exchanged)?.read(cur.memory())?;
    Err(Errno::Inval)
}
