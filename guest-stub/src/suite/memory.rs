// SPDX-License-Identifier: MIT OR Apache-2.0
//! `memory_op`: how much memory there is, and giving it up and taking it.

use core::sync::atomic::Ordering;

use xen_abi::Handle;
use xen_abi::hypercall::MEMORY_OP;
use xen_abi::memory::{
    DomidArg, MemoryExchange, MemoryReservation, XENMEM_CLAIM_PAGES, XENMEM_CURRENT_RESERVATION,
    XENMEM_DECREASE_RESERVATION, XENMEM_EXCHANGE, XENMEM_GET_SHARING_FREED_PAGES,
    XENMEM_GET_SHARING_SHARED_PAGES, XENMEM_GET_VNUMAINFO, XENMEM_INCREASE_RESERVATION,
    XENMEM_MAXIMUM_GPFN, XENMEM_MAXIMUM_RAM_PAGE, XENMEM_MAXIMUM_RESERVATION,
    XENMEM_POPULATE_PHYSMAP,
};
use xen_abi::xen::{DOMID_IO, DOMID_SELF};

use super::call::{NOBODY, UNMAPPED, answer, plain};
use super::check::{Check, Outcome, check, ensure, ensure_eq, rows};
use super::errno::{EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM, ESRCH};
use crate::machine::dt::facts;
use crate::machine::exception::attempt;
use crate::machine::mmio::read64;
use crate::machine::window::Place;
use crate::xen::memory::reservation;
use crate::xen::page::Page;

/// Calls a sub-operation without structure.
fn memory(operation: u64) -> i64 {
    plain(MEMORY_OP, operation, 0, 0)
}

fn of_domain(operation: u32, domid: u16) -> i64 {
    answer(MEMORY_OP, operation, DomidArg { domid })
}

/// One extent at a frame that dom0 does not have.
fn extent() -> MemoryReservation {
    static FRAMES: [u64; 1] = [0x40_0000];
    MemoryReservation {
        extent_start: Handle(&raw const FRAMES as u64),
        nr_extents: 1,
        extent_order: 0,
        mem_flags: 0,
        domid: DOMID_SELF,
        _pad: [0; 6],
    }
}

fn extents(operation: u32, change: impl FnOnce(&mut MemoryReservation)) -> i64 {
    let mut argument = extent();
    change(&mut argument);
    answer(MEMORY_OP, operation, argument)
}

fn populate(change: impl FnOnce(&mut MemoryReservation)) -> i64 {
    extents(XENMEM_POPULATE_PHYSMAP, change)
}

fn decrease(change: impl FnOnce(&mut MemoryReservation)) -> i64 {
    extents(XENMEM_DECREASE_RESERVATION, change)
}

fn increase(change: impl FnOnce(&mut MemoryReservation)) -> i64 {
    extents(XENMEM_INCREASE_RESERVATION, change)
}

fn claim(change: impl FnOnce(&mut MemoryReservation)) -> i64 {
    extents(XENMEM_CLAIM_PAGES, |argument| {
        argument.extent_start = Handle::NULL;
        argument.nr_extents = 0;
        change(argument);
    })
}

fn exchange(change: impl FnOnce(&mut MemoryExchange)) -> i64 {
    let mut argument = MemoryExchange {
        input: extent(),
        out: extent(),
        nr_exchanged: 0,
    };
    change(&mut argument);
    answer(MEMORY_OP, XENMEM_EXCHANGE, argument)
}

pub(super) const COUNTS: &[Check] = rows! {
    "XENMEM_machphys_mfn_list (5) is not there", memory(5) => ENOSYS;
    "operation 8 is not there", memory(8) => ENOSYS;
    "XENMEM_memory_map (9) is not there", memory(9) => ENOSYS;
    "XENMEM_machine_memory_map (10) is not there", memory(10) => ENOSYS;
    "XENMEM_machphys_mapping (12) is not there", memory(12) => ENOSYS;
    "XENMEM_set_memory_map (13) is not there", memory(13) => ENOSYS;
    "XENMEM_set_pod_target (16) is not there", memory(16) => ENOSYS;
    "XENMEM_get_pod_target (17) is not there", memory(17) => ENOSYS;
    "XENMEM_paging_op (20) is not there", memory(20) => ENOSYS;
    "XENMEM_access_op (21) is not there", memory(21) => ENOSYS;
    "XENMEM_sharing_op (22) is not there", memory(22) => ENOSYS;
    "XENMEM_machphys_compat_mfn_list (25) is not there", memory(25) => ENOSYS;
    "XENMEM_get_vnumainfo: dom0 has no virtual nodes",
        answer(MEMORY_OP, XENMEM_GET_VNUMAINFO, [u64::from(DOMID_SELF), 0, 0, 0, 0, 0, 0]) => EOPNOTSUPP;
    "operation 29 is not there", memory(29) => ENOSYS;
    "operation 63 is not there", memory(63) => ENOSYS;
    "XENMEM_maximum_ram_page is some", memory(XENMEM_MAXIMUM_RAM_PAGE.into()) > 0 => true;
    "XENMEM_get_sharing_freed_pages is 0", memory(XENMEM_GET_SHARING_FREED_PAGES.into()) => 0;
    "XENMEM_get_sharing_shared_pages is 0", memory(XENMEM_GET_SHARING_SHARED_PAGES.into()) => 0;
    "XENMEM_current_reservation of DOMID_SELF", of_domain(XENMEM_CURRENT_RESERVATION, DOMID_SELF) > 1000 => true;
    "XENMEM_current_reservation by number is that of DOMID_SELF",
        of_domain(XENMEM_CURRENT_RESERVATION, 0) == of_domain(XENMEM_CURRENT_RESERVATION, DOMID_SELF) => true;
    "XENMEM_current_reservation of no domain", of_domain(XENMEM_CURRENT_RESERVATION, NOBODY) => ESRCH;
    "XENMEM_current_reservation of DOMID_IO", of_domain(XENMEM_CURRENT_RESERVATION, DOMID_IO) => ESRCH;
    "XENMEM_maximum_reservation is not less than the current one",
        of_domain(XENMEM_MAXIMUM_RESERVATION, DOMID_SELF) >= of_domain(XENMEM_CURRENT_RESERVATION, DOMID_SELF) => true;
    "XENMEM_maximum_reservation of no domain", of_domain(XENMEM_MAXIMUM_RESERVATION, NOBODY) => ESRCH;
    "XENMEM_maximum_gpfn is this kernel's or a higher one",
        of_domain(XENMEM_MAXIMUM_GPFN, DOMID_SELF) >= PAGE.frame() as i64 => true;
    "XENMEM_maximum_gpfn of no domain", of_domain(XENMEM_MAXIMUM_GPFN, NOBODY) => ESRCH;
};

pub(super) const EXTENTS: &[Check] = rows! {
    "XENMEM_populate_physmap of no extents", populate(|r| r.nr_extents = 0) => 0;
    "XENMEM_populate_physmap of a frame that is not dom0's own", populate(|_| ()) => 0;
    "XENMEM_populate_physmap for no domain", populate(|r| r.domid = NOBODY) => 0;
    "XENMEM_populate_physmap for DOMID_IO", populate(|r| r.domid = DOMID_IO) => 0;
    "XENMEM_populate_physmap of order 19", populate(|r| r.extent_order = 19) => 0;
    "XENMEM_populate_physmap of order ~0", populate(|r| r.extent_order = u32::MAX) => 0;
    "XENMEM_populate_physmap with extents nowhere", populate(|r| r.extent_start = Handle(UNMAPPED)) => 0;
    "XENMEM_populate_physmap with 2^62 extents", populate(|r| r.nr_extents = 1 << 62) => 0;
    "XENMEM_populate_physmap from an extent beyond the last",
        answer(MEMORY_OP, XENMEM_POPULATE_PHYSMAP | 5 << 6, extent()) => 5;
    "XENMEM_decrease_reservation of no extents", decrease(|r| r.nr_extents = 0) => 0;
    "XENMEM_decrease_reservation of a frame that is not there", decrease(|_| ()) => 0;
    "XENMEM_decrease_reservation for no domain", decrease(|r| r.domid = NOBODY) => 0;
    "XENMEM_decrease_reservation of order ~0", decrease(|r| r.extent_order = u32::MAX) => 0;
    "XENMEM_decrease_reservation with extents nowhere", decrease(|r| r.extent_start = Handle(UNMAPPED)) => 0;
    "XENMEM_increase_reservation of no extents", increase(|r| r.nr_extents = 0) => 0;
    "XENMEM_increase_reservation for no domain", increase(|r| r.domid = NOBODY) => 0;
    "XENMEM_increase_reservation of order ~0", increase(|r| r.extent_order = u32::MAX) => 0;
    "XENMEM_claim_pages by DOMID_SELF", claim(|_| ()) => EINVAL;
    "XENMEM_claim_pages of none by number", claim(|r| r.domid = 0) => 0;
    "XENMEM_claim_pages for no domain", claim(|r| r.domid = NOBODY) => EINVAL;
    "XENMEM_claim_pages with a list", claim(|r| (r.domid, r.extent_start) = (0, extent().extent_start)) => EINVAL;
    "XENMEM_claim_pages of order 1", claim(|r| (r.domid, r.extent_order) = (0, 1)) => EINVAL;
    "XENMEM_claim_pages with flags", claim(|r| (r.domid, r.mem_flags) = (0, 1)) => EINVAL;
    "XENMEM_claim_pages of fewer than the domain has",
        claim(|r| (r.domid, r.nr_extents) = (0, 1)) => EINVAL;
    "XENMEM_exchange that has begun already", exchange(|e| e.nr_exchanged = 2) => EINVAL;
    "XENMEM_exchange of different amounts", exchange(|e| e.out.nr_extents = 2) => EINVAL;
    "XENMEM_exchange of order ~0", exchange(|e| e.input.extent_order = u32::MAX) => EPERM;
    "XENMEM_exchange between two domains", exchange(|e| e.out.domid = NOBODY) => EINVAL;
    "XENMEM_exchange with a list nowhere", exchange(|e| e.input.extent_start = Handle(UNMAPPED)) => EFAULT;
};

static PAGE: Page = Page::new();
static THREE: [Page; 3] = [const { Page::new() }; 3];

pub(super) const BALLOON: &[Check] = &[
    check("a page given up comes back at its place", balloon),
    check("a page given up cannot be read", hole),
    check("a page given up twice is given up once", twice),
    check("three pages are given up and come back in one call", three),
    check("extents before one that fails are done", partly),
    check("extents before the end of memory are done", fault),
    check(
        "the reservation does not shrink with what is given up",
        kept,
    ),
];

/// Gives up a page, looks at something, and takes the page back.
fn without_page<R>(look: impl FnOnce() -> R) -> Result<R, super::check::Failure> {
    let frame = PAGE.frame();
    ensure_eq!(
        reservation(XENMEM_DECREASE_RESERVATION, frame),
        1,
        "giving up"
    );
    let result = look();
    ensure_eq!(
        reservation(XENMEM_POPULATE_PHYSMAP, frame),
        1,
        "getting back"
    );
    Ok(result)
}

fn balloon() -> Outcome {
    for round in 0..3 {
        without_page(|| ())?;
        PAGE.0[7].store(round, Ordering::SeqCst);
        ensure_eq!(PAGE.0[7].load(Ordering::SeqCst), round, "the page");
    }
    Ok(())
}

fn hole() -> Outcome {
    let read = without_page(|| attempt(|| read64(PAGE.address())))?;
    ensure!(read.is_err(), "it can be read");
    Ok(())
}

fn twice() -> Outcome {
    let again = without_page(|| reservation(XENMEM_DECREASE_RESERVATION, PAGE.frame()))?;
    ensure_eq!(again, 0, "the second time");
    Ok(())
}

/// Gives up or takes the three pages, at these frames.
fn many(operation: u32, frames: &[u64]) -> i64 {
    extents(operation, |argument| {
        argument.extent_start = Handle(frames.as_ptr() as u64);
        argument.nr_extents = frames.len() as u64;
    })
}

fn three() -> Outcome {
    let frames = [0, 1, 2].map(|index| THREE[index].frame());
    ensure_eq!(
        many(XENMEM_DECREASE_RESERVATION, &frames),
        3,
        "giving up three"
    );
    ensure_eq!(many(XENMEM_POPULATE_PHYSMAP, &frames), 3, "getting three");
    Ok(())
}

fn partly() -> Outcome {
    let gap = facts().extended_regions[0].base >> 12;
    let frames = [THREE[0].frame(), gap, THREE[1].frame()];
    ensure_eq!(many(XENMEM_DECREASE_RESERVATION, &frames), 1, "giving up");
    ensure_eq!(many(XENMEM_POPULATE_PHYSMAP, &frames), 1, "getting back");
    Ok(())
}

fn fault() -> Outcome {
    let list = [THREE[0].frame(), THREE[1].frame()];
    let at = Place::Writable.end(&list, 16);
    let call = |operation| {
        extents(operation, |argument| {
            argument.extent_start = Handle(at);
            argument.nr_extents = 3;
        })
    };
    ensure_eq!(call(XENMEM_DECREASE_RESERVATION), 2, "giving up");
    ensure_eq!(call(XENMEM_POPULATE_PHYSMAP), 2, "getting back");
    Ok(())
}

fn kept() -> Outcome {
    let before = of_domain(XENMEM_CURRENT_RESERVATION, DOMID_SELF);
    let during = without_page(|| of_domain(XENMEM_CURRENT_RESERVATION, DOMID_SELF))?;
    ensure_eq!(during, before, "the reservation");
    Ok(())
}
