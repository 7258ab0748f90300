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

/// log2 of the pages that are done at a time. More would be too long without interrupts.
const PIECE: u32 = 9;
/// Where the pieces done of an extent are kept in what the ABI has for the extents done.
const PIECE_SHIFT: u32 = 40;

/// The largest extent (log2 of pages) that a domain may ask for.
fn max_order(caller: &Domain) -> u32 {
    match (caller.role.control, caller.role.hardware) {
        (true, _) => 18,
        (_, true) => 10,
        _ => 9,
    }
}

/// How far an operation has come.
#[derive(Clone, Copy)]
struct Place {
    extent: u64,
    piece: u64,
}

impl Place {
    /// From what the ABI has for the extents done. Only large extents have pieces.
    fn decode(start: u64, order: u32) -> Self {
        match order > PIECE {
            true => Self {
                extent: start & !(u64::MAX << PIECE_SHIFT),
                piece: start >> PIECE_SHIFT,
            },
            false => Self {
                extent: start,
                piece: 0,
            },
        }
    }

    fn encode(self) -> u64 {
        self.piece << PIECE_SHIFT | self.extent
    }

    /// After one piece more.
    fn next(self, order: u32) -> Self {
        let piece = self.piece.saturating_add(1);
        match piece < pieces(order) {
            true => Self { piece, ..self },
            false => Self {
                extent: self.extent.saturating_add(1),
                piece: 0,
            },
        }
    }
}

/// Pieces of an extent.
const fn pieces(order: u32) -> u64 {
    pages(order.saturating_sub(PIECE))
}
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
    let order = request.extent_order;
    let mut place = Place::decode(call.start, order);
    if request.nr_extents > limit
        || place.extent >= request.nr_extents
        || order > max_order(cur.domain)
        || place.piece >= pieces(order)
    {
        return None;
    }
    let domain = resolve(cur, request.domid, Class::Target).ok()?;
    // What is taken away is flushed from the TLBs when this is dropped.
    let batch = domain.p2m.batch();
    let extents = GuestPtr::<u64>::from(request.extent_start);
    let mut first = true;
    while place.extent < request.nr_extents {
        if !first && cur.must_give_way() {
            return Some(call.again(place.encode()));
        }
        first = false;
        // The first frame of the piece.
        let gfn = || {
            let extent = extents.at(place.extent)?.read(cur.memory())?;
            let piece = place.piece << PIECE;
            extent.checked_add(piece).map(Gfn).ok_or(Errno::Inval)
        };
        let piece = order.min(PIECE);
        let result = match call.op {
            XENMEM_DECREASE_RESERVATION => {
                gfn().and_then(|gfn| decrease(&domain, &batch, gfn, piece))
            }
            _ if place.piece == 0 && !may_have(&domain, order) => Err(Errno::NoMem),
            XENMEM_POPULATE_PHYSMAP if order > PIECE => {
                gfn().and_then(|gfn| populate_parts(&domain, &request, gfn, piece))
            }
            XENMEM_POPULATE_PHYSMAP => {
                gfn().and_then(|gfn| populate(&domain, &request, gfn, piece))
            }
            _ => allocate(&domain, &request, piece).map(drop),
        };
        if result.is_err() {
            return Some(done(place.extent as i64));
        }
        place = place.next(order);
    }
    Some(done(request.nr_extents as i64))
}

/// Pages in an extent of `order`.
const fn pages(order: u32) -> u64 {
    1u64.wrapping_shl(order)
}

/// True if with `more` pages the domain has more than it may.
fn exceeds(domain: &Domain, more: u64) -> bool {
    let total = u64::from(domain.sys.frames.tot_pages(domain.id)).saturating_add(more);
    total > domain.max_pages.load(Ordering::Relaxed).into()
}

/// True if an extent of that size, which is got in pieces, may be begun: so that it does not stop
/// half-way for lack of pages.
fn may_have(domain: &Domain, order: u32) -> bool {
    let frames = domain.sys.frames;
    let needed = pages(order).saturating_add(frames.kept_free());
    order <= PIECE
        || domain.role.direct_mapped
        || (!exceeds(domain, pages(order)) && frames.free_pages() >= needed)
}

/// New pages for the domain, zeroed, within its limit.
fn allocate(domain: &Domain, request: &MemoryReservation, order: u32) -> Result<Mfn, Errno> {
    let frames = domain.sys.frames;
    if domain.is_dying() || exceeds(domain, pages(order)) {
        return Err(Errno::NoMem);
    }
    let bits = request.mem_flags & ADDRESS_BITS;
    let below = (bits != 0).then(|| Pa(1u64.checked_shl(bits).unwrap_or(u64::MAX)));
    let limits = Limits {
        below,
        ..Limits::default()
    };
    let mfn = frames.alloc_ram(domain.id, order, limits)?;
    // Another vCPU may have been as far, or the domain's end has come.
    if exceeds(domain, 0) || domain.is_dying() {
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

/// As [`populate`], of smaller parts where there are no blocks of that size.
fn populate_parts(
    domain: &Domain,
    request: &MemoryReservation,
    gfn: Gfn,
    order: u32,
) -> Result<(), Errno> {
    match (populate(domain, request, gfn, order), order.checked_sub(1)) {
        (Err(Errno::NoMem), Some(half)) => {
            let second = gfn.checked_add(pages(half)).ok_or(Errno::Inval)?;
            populate_parts(domain, request, gfn, half)?;
            populate_parts(domain, request, second, half)
        }
        (result, _) => result,
    }
}

/// Maps an extent of new pages at `gfn`; for a direct-mapped domain the pages that belong there.
fn populate(
    domain: &Domain,
    request: &MemoryReservation,
    gfn: Gfn,
    order: u32,
) -> Result<(), Errno> {
    if request.mem_flags & XENMEMF_POPULATE_ON_DEMAND != 0 {
        return Err(Errno::NoSys);
    }
    let nr = pages(order);
    let direct = domain.role.direct_mapped;
    let mfn = match direct {
        true => own_pages(domain, gfn, nr)?,
        false => allocate(domain, request, order)?,
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

/// `XENMEM_exchange`: no page can be taken out of an Arm domain this way (`EOPNOTSUPP`), but what
/// comes before that is checked.
pub(super) fn exchange(cur: &Current<'_>, call: Call) -> CallResult {
    let arg = call.ptr::<MemoryExchange>().read(cur.memory())?;
    let (input, out) = (arg.input, arg.out);
    let most = max_order(cur.domain);
    if input.extent_order > most || out.extent_order > most {
        return Err(Errno::Perm);
    }
    let pages = |r: &MemoryReservation| r.nr_extents.checked_shl(r.extent_order).unwrap_or(0);
    if arg.nr_exchanged > input.nr_extents
        || input.domid != out.domid
        || pages(&input) != pages(&out)
    {
        return Err(Errno::Inval);
    }
    let domain = resolve(cur, input.domid, Class::Target)?;
    if arg.nr_exchanged == input.nr_extents {
        return OK;
    }
    let list = GuestPtr::<u64>::from(input.extent_start);
    let gfn = list.at(arg.nr_exchanged)?.read(cur.memory())?;
    match domain.p2m.lookup(Gfn(gfn)) {
        Some(found) if found.ty.is_ram() => Err(Errno::OpNotSupp),
        _ => Err(Errno::Inval),
    }
}
