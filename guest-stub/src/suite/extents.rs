// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's memory, as a toolstack gives it: limits, extents, claims.

use xen_abi::Handle;
use xen_abi::domctl::*;
use xen_abi::hypercall::MEMORY_OP;
use xen_abi::memory::{MemoryExchange, MemoryReservation, XENMEM_CLAIM_PAGES, XENMEM_EXCHANGE};
use xen_abi::sysctl::{PhysInfo, XEN_SYSCTL_PHYSINFO};

use super::check::{Check, Outcome, check, ensure_eq, fail};
use super::domctl::Domu;
use super::errno::{EFAULT, EINVAL, ENOMEM, EOPNOTSUPP, EPERM, ESRCH};
use crate::xen::domctl::{
    BASE, NONE, PAGES, command, create, domctl, info, plain, populate, sysctl,
};
use crate::xen::hypercall::operate;

/// A domain that does not exist.
const NOBODY: u16 = 77;

pub(super) const CHECKS: &[Check] = &[
    check("limits of memory", memory),
    check("cacheflush", cacheflush),
    check("extents of many pages", extents),
    check("exchange", exchange),
    check("claims", claims),
];

fn memory() -> Outcome {
    let domain = match create(0, &plain()) {
        Ok(id) => Domu(id),
        Err(error) => fail!("createdomain says {error}"),
    };
    let id = domain.0;
    let limit = |size| {
        domctl(
            XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE,
            id,
            &PagingMempool { size },
        )
    };
    let max = |max_memkb| domctl(XEN_DOMCTL_MAX_MEM, id, &MaxMem { max_memkb });
    ensure_eq!(populate(id, BASE, 1, 0), 0, "populate without a limit");
    ensure_eq!(max(12), 0, "max_mem");
    ensure_eq!(info(id).map(|i| i.max_pages), Ok(3), "max_pages");
    ensure_eq!(populate(id, BASE, 1, 0), 0, "populate without tables");
    ensure_eq!(limit(123), EINVAL, "a pool of 123 bytes");
    ensure_eq!(max(1024), 0, "max_mem");
    ensure_eq!(limit(256 << 12), 0, "a pool of 256 pages");
    let (result, op) = command(XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE, id, &NONE);
    ensure_eq!((result, op.u.get::<u64>()), (0, 256 << 12), "its size");
    ensure_eq!(populate(id, BASE, 3, 0), 3, "populate");
    let have = info(id).map_or(0, |i| i.tot_pages);
    ensure_eq!(max(have * 4), 0, "max_mem");
    ensure_eq!(
        populate(id, BASE + 16, 1, 0),
        0,
        "populate beyond the limit"
    );
    ensure_eq!(max(0), 0, "less than it has");
    ensure_eq!(info(id).map(|i| i.tot_pages), Ok(have), "tot_pages");
    ensure_eq!(max(4096), 0, "max_mem");
    ensure_eq!(limit(0), ENOMEM, "a pool smaller than its use");
    ensure_eq!(populate(id, BASE, 1, 0), 1, "the same frame again");
    ensure_eq!(info(id).map(|i| i.tot_pages), Ok(have + 1), "tot_pages");
    ensure_eq!(populate(id, 1 << 40, 1, 0), 0, "a frame beyond the tables");
    ensure_eq!(populate(id, BASE + 512, 1, 19), 0, "an extent of 2 GiB");
    ensure_eq!(populate(NOBODY, BASE, 1, 0), 0, "populate of nobody");
    Ok(())
}

fn cacheflush() -> Outcome {
    let domain = Domu::new()?;
    let flush = |start_pfn, nr_pfns| {
        domctl(
            XEN_DOMCTL_CACHEFLUSH,
            domain.0,
            &CacheFlush { start_pfn, nr_pfns },
        )
    };
    ensure_eq!(flush(BASE, PAGES), 0, "its memory");
    ensure_eq!(flush(BASE - 1, PAGES + 2), 0, "and holes");
    ensure_eq!(flush(0, 0), 0, "nothing");
    ensure_eq!(flush(0, (1 << 18) + 1), EINVAL, "more than a gigabyte");
    ensure_eq!(flush(u64::MAX, 2), EINVAL, "around the end");
    Ok(())
}

fn extents() -> Outcome {
    let domain = Domu::new()?;
    let id = domain.0;
    let max_memkb = 1 << 20;
    ensure_eq!(
        domctl(XEN_DOMCTL_MAX_MEM, id, &MaxMem { max_memkb }),
        0,
        "max_mem"
    );
    let mut have = PAGES;
    for order in [9, 10, 12, 14] {
        ensure_eq!(
            populate(id, 1 << 18 | 1 << 17, 1, order),
            1,
            "2^{order} pages"
        );
        have += 1 << order;
        ensure_eq!(info(id).map(|i| i.tot_pages), Ok(have), "tot_pages");
    }
    for order in [18, 19, 31] {
        ensure_eq!(
            populate(id, 1 << 18 | 1 << 17, 1, order),
            0,
            "2^{order} pages"
        );
    }
    ensure_eq!(info(id).map(|i| i.tot_pages), Ok(have), "tot_pages");
    Ok(())
}

fn request(list: u64, nr_extents: u64, extent_order: u32, domid: u16) -> MemoryReservation {
    MemoryReservation {
        extent_start: Handle(list),
        nr_extents,
        extent_order,
        mem_flags: 0,
        domid,
        _pad: [0; 6],
    }
}

fn exchange() -> Outcome {
    let domain = Domu::new()?;
    let id = domain.0;
    let (mapped, hole) = ([BASE; 2], [BASE + 512; 2]);
    let (mapped, hole) = (mapped.as_ptr() as u64, hole.as_ptr() as u64);
    let ask = |input, out, nr_exchanged| {
        let mut argument = MemoryExchange {
            input,
            out,
            nr_exchanged,
        };
        operate(MEMORY_OP, XENMEM_EXCHANGE, &mut argument)
    };
    for (what, input, out, done, answer) in [
        (
            "a page for a page",
            (mapped, 1, 0, id),
            (mapped, 1, 0, id),
            0,
            EOPNOTSUPP,
        ),
        (
            "pages for a larger one",
            (mapped, 2, 0, id),
            (mapped, 1, 1, id),
            0,
            EOPNOTSUPP,
        ),
        ("nothing", (mapped, 0, 0, id), (mapped, 0, 0, id), 0, 0),
        ("all done", (mapped, 1, 0, id), (mapped, 1, 0, id), 1, 0),
        (
            "more than all done",
            (mapped, 1, 0, id),
            (mapped, 1, 0, id),
            2,
            EINVAL,
        ),
        (
            "one for two",
            (mapped, 1, 0, id),
            (mapped, 2, 0, id),
            0,
            EINVAL,
        ),
        (
            "of two domains",
            (mapped, 1, 0, id),
            (mapped, 1, 0, 0),
            0,
            EINVAL,
        ),
        (
            "of nobody",
            (mapped, 1, 0, NOBODY),
            (mapped, 1, 0, NOBODY),
            0,
            ESRCH,
        ),
        (
            "of 2 GiB",
            (mapped, 1, 19, id),
            (mapped, 1, 19, id),
            0,
            EPERM,
        ),
        ("a hole", (hole, 1, 0, id), (mapped, 1, 0, id), 0, EINVAL),
        (
            "a list that is not mapped",
            (0x7f_dead_0000, 1, 0, id),
            (mapped, 1, 0, id),
            0,
            EFAULT,
        ),
    ] {
        let of = |(list, nr, order, domid)| request(list, nr, order, domid);
        ensure_eq!(ask(of(input), of(out), done), answer, "{what}");
    }
    Ok(())
}

fn claims() -> Outcome {
    let domain = Domu::new()?;
    let id = domain.0;
    let claim = |nr, domid| operate(MEMORY_OP, XENMEM_CLAIM_PAGES, &mut request(0, nr, 0, domid));
    let outstanding = || {
        let (_, machine): (_, PhysInfo) = sysctl(XEN_SYSCTL_PHYSINFO, &NONE);
        (
            info(id).map_or(u64::MAX, |i| i.outstanding_pages),
            machine.outstanding_pages,
        )
    };
    for (what, mut argument) in [
        ("a list", request(8, 0, 0, id)),
        ("an order", request(0, 0, 1, id)),
        ("nobody", request(0, 10, 0, NOBODY)),
        ("less than it has", request(0, PAGES, 0, id)),
        ("more than it may have", request(0, 257, 0, id)),
    ] {
        ensure_eq!(
            operate(MEMORY_OP, XENMEM_CLAIM_PAGES, &mut argument),
            EINVAL,
            "{what}"
        );
    }
    ensure_eq!(claim(PAGES + 100, id), 0, "100 pages more");
    ensure_eq!(outstanding(), (100, 100), "outstanding");
    ensure_eq!(claim(PAGES + 50, id), EINVAL, "another claim");
    ensure_eq!(populate(id, BASE + PAGES, 4, 0), 4, "populate");
    ensure_eq!(outstanding(), (96, 96), "outstanding");
    ensure_eq!(claim(0, id), 0, "no more");
    ensure_eq!(outstanding(), (0, 0), "outstanding");
    let max_memkb = 1 << 32;
    ensure_eq!(
        domctl(XEN_DOMCTL_MAX_MEM, id, &MaxMem { max_memkb }),
        0,
        "max_mem"
    );
    ensure_eq!(claim(1 << 28, id), ENOMEM, "more than there is");
    ensure_eq!(claim(PAGES + 20, id), 0, "16 pages more");
    drop(domain);
    let (_, machine): (_, PhysInfo) = sysctl(XEN_SYSCTL_PHYSINFO, &NONE);
    ensure_eq!(machine.outstanding_pages, 0, "outstanding after its end");
    Ok(())
}
