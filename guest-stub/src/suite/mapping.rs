// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grants in use: what a mapping shows, what the table says of it meanwhile, and how it ends. dom0 grants to itself.

use core::sync::atomic::Ordering;

use xen_abi::grant::{
    GNTMAP_HOST_MAP, GNTMAP_READONLY, GNTTABOP_SWAP_GRANT_REF, GTF_PERMIT_ACCESS, GTF_READING,
    GTF_WRITING, SwapGrantRef,
};
use xen_abi::hypercall::XEN_VERSION;
use xen_abi::memory::{XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP};

use super::call::plain;
use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq};
use super::grant::{DOM0, map_own};
use crate::machine::exception::attempt;
use crate::machine::mmio::{read64, write64};
use crate::xen::gnttab::{
    Side, copy, copy_of, flags, map_table, operate, permit, revoke, unmap, write_entry,
};
use crate::xen::memory::{remove_from_physmap, reservation};
use crate::xen::page::Page;

static PAGE: Page = Page::new();
static OTHER: Page = Page::new();
const REFERENCE: u32 = 24;
const READ: u32 = GNTMAP_HOST_MAP | GNTMAP_READONLY;

/// A grant of [`PAGE`] that is mapped.
struct Mapped {
    handle: u32,
    address: u64,
}

fn grant(read_only: bool) -> Outcome {
    let answer = map_table();
    ensure!(
        matches!(answer, 0 | -16),
        "mapping the table gives {answer}"
    );
    for (index, word) in (0..).zip(&PAGE.0) {
        word.store(0x1111 * index, Ordering::SeqCst);
    }
    permit(REFERENCE, DOM0, PAGE.frame(), read_only);
    Ok(())
}

fn map(map_flags: u32) -> Result<Mapped, Failure> {
    let (status, handle, address) = map_own(REFERENCE, map_flags);
    ensure_eq!(status, 0, "the status of mapping");
    Ok(Mapped { handle, address })
}

/// Runs `body` with a grant mapped, and unmaps it.
fn mapped(map_flags: u32, body: impl FnOnce(&Mapped) -> Outcome) -> Outcome {
    grant(false)?;
    let mapping = map(map_flags)?;
    let outcome = body(&mapping);
    let status = unmap(mapping.handle, mapping.address);
    revoke(REFERENCE);
    outcome?;
    ensure_eq!(status, 0, "the status of unmapping");
    Ok(())
}

pub(super) const CHECKS: &[Check] = &[
    check("mapped: it shows the page", || {
        mapped(GNTMAP_HOST_MAP, |mapping| {
            ensure_eq!(read64(mapping.address + 0x50), 0x1111 * 10, "a word");
            Ok(())
        })
    }),
    check("mapped: what is written there is in the page", || {
        mapped(GNTMAP_HOST_MAP, |mapping| {
            write64(mapping.address + 0x60, 0x77);
            ensure_eq!(PAGE.0[12].load(Ordering::SeqCst), 0x77, "a word");
            Ok(())
        })
    }),
    check("mapped: what is written in the page is there", || {
        mapped(GNTMAP_HOST_MAP, |mapping| {
            PAGE.0[13].store(0x88, Ordering::SeqCst);
            ensure_eq!(read64(mapping.address + 13 * 8), 0x88, "a word");
            Ok(())
        })
    }),
    check("mapped: dev_bus_addr is the machine address", || {
        grant(false)?;
        let mapping = crate::xen::gnttab::map_with(|map| map.r#ref = REFERENCE);
        unmap(mapping.handle, mapping.host_addr);
        revoke(REFERENCE);
        ensure_eq!(mapping.dev_bus_addr, PAGE.address(), "dev_bus_addr");
        Ok(())
    }),
    check("mapped: it cannot be executed", || {
        mapped(GNTMAP_HOST_MAP, |mapping| {
            // `ret`.
            write64(mapping.address, 0xd65f_03c0);
            let address = mapping.address;
            let jumped = attempt(|| {
                // SAFETY: the fetch faults and the handler returns to the link register; if it does not, `ret` does.
                unsafe { core::arch::asm!("blr x20", in("x20") address, clobber_abi("C")) };
            });
            ensure!(
                jumped.is_err_and(|fault| fault.is_instruction_abort()),
                "it can be executed"
            );
            Ok(())
        })
    })
    .hangs("Xen returns to the guest without telling it, for ever"),
    check("mapped: the table says reading and writing", || {
        mapped(GNTMAP_HOST_MAP, |_| {
            ensure_eq!(
                flags(REFERENCE),
                GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING,
                "flags"
            );
            Ok(())
        })
    }),
    check("mapped read-only: the table says reading", || {
        mapped(READ, |_| {
            ensure_eq!(flags(REFERENCE), GTF_PERMIT_ACCESS | GTF_READING, "flags");
            Ok(())
        })
    }),
    check("mapped read-only: it can be read", || {
        mapped(READ, |mapping| {
            ensure_eq!(read64(mapping.address + 8), 0x1111, "a word");
            Ok(())
        })
    }),
    check("mapped read-only: a write aborts", || {
        mapped(READ, |mapping| {
            let written = attempt(|| write64(mapping.address, 1));
            ensure!(
                written.is_err_and(|fault| fault.is_data_abort()),
                "it can be written"
            );
            Ok(())
        })
    })
    .hangs("Xen returns to the guest without telling it, for ever"),
    check("mapped: the table is clear once unmapped", || {
        mapped(GNTMAP_HOST_MAP, |_| Ok(()))?;
        grant(false)?;
        let mapping = map(GNTMAP_HOST_MAP)?;
        unmap(mapping.handle, mapping.address);
        let left = flags(REFERENCE);
        revoke(REFERENCE);
        ensure_eq!(left, GTF_PERMIT_ACCESS, "flags");
        Ok(())
    }),
    check("mapped: nothing is there once unmapped", || {
        grant(false)?;
        let mapping = map(GNTMAP_HOST_MAP)?;
        ensure_eq!(unmap(mapping.handle, mapping.address), 0, "the status");
        revoke(REFERENCE);
        ensure!(
            attempt(|| read64(mapping.address)).is_err(),
            "it can still be read"
        );
        Ok(())
    }),
    check("mapped: a handle ends with its mapping", || {
        grant(false)?;
        let mapping = map(GNTMAP_HOST_MAP)?;
        let twice = [0, 1].map(|_| unmap(mapping.handle, mapping.address));
        revoke(REFERENCE);
        ensure_eq!(twice, [0, -4], "unmapping twice");
        Ok(())
    }),
    check("mapped twice: each has a handle", twice),
    check(
        "mapped twice: the table is busy until the last is unmapped",
        last,
    ),
    check(
        "mapped for writing and for reading: writing ends first",
        writing,
    ),
    check(
        "mapped: it cannot be mapped at another access than granted",
        || {
            grant(true)?;
            let refused = map_own(REFERENCE, GNTMAP_HOST_MAP).0;
            let taken = map(READ)?;
            unmap(taken.handle, taken.address);
            revoke(REFERENCE);
            ensure_eq!(refused, -1, "writing");
            Ok(())
        },
    ),
    check("mapped: a hypercall takes one's own page there", || {
        mapped(GNTMAP_HOST_MAP, |mapping| {
            let answer = plain(XEN_VERSION, 1, mapping.address, 0);
            ensure_eq!(answer, 0, "XENVER_extraversion there");
            Ok(())
        })
    }),
    check(
        "mapped: XENMEM_remove_from_physmap does not take it away",
        || {
            mapped(GNTMAP_HOST_MAP, |mapping| {
                let answer = remove_from_physmap(mapping.address >> 12);
                ensure_eq!(answer, -2, "the answer");
                ensure_eq!(read64(mapping.address + 8), 0x1111, "a word");
                Ok(())
            })
        },
    )
    .differs("Xen takes the page away and leaves the handle"),
    check("mapped: the page stays when it is given up", given_up),
    check("mapped: two entries may grant one page", two_entries),
    check("mapped: an entry in use is not swapped", swap_busy),
    check("GNTTABOP_swap_grant_ref swaps two entries", swapped),
    check("copy: bytes arrive, and no others", copied),
    check(
        "copy: bytes arrive in a grant, and no others",
        copied_to_grant,
    ),
    check("copy: the table is clear afterwards", || {
        grant(false)?;
        let status = copy(copy_of(
            (Side::Grant(DOM0, REFERENCE), 0),
            (Side::Frame(OTHER.frame()), 0),
            8,
        ));
        let left = flags(REFERENCE);
        revoke(REFERENCE);
        ensure_eq!((status, left), (0, GTF_PERMIT_ACCESS), "status, flags");
        Ok(())
    }),
    check("five hundred mappings of one grant", many),
];

fn twice() -> Outcome {
    mapped(GNTMAP_HOST_MAP, |first| {
        let second = map(GNTMAP_HOST_MAP)?;
        write64(first.address, 0x99);
        let read = read64(second.address);
        let status = unmap(second.handle, second.address);
        ensure!(first.handle != second.handle, "both have {}", first.handle);
        ensure_eq!((read, status), (0x99, 0), "a word, the status");
        ensure_eq!(read64(first.address), 0x99, "a word of the first");
        Ok(())
    })
}

fn last() -> Outcome {
    mapped(GNTMAP_HOST_MAP, |_| {
        let second = map(GNTMAP_HOST_MAP)?;
        unmap(second.handle, second.address);
        let busy = GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING;
        ensure_eq!(flags(REFERENCE), busy, "flags with one left");
        Ok(())
    })
}

fn writing() -> Outcome {
    mapped(READ, |_| {
        let second = map(GNTMAP_HOST_MAP)?;
        let both = flags(REFERENCE);
        unmap(second.handle, second.address);
        let one = flags(REFERENCE);
        ensure_eq!(both & (GTF_READING | GTF_WRITING), 0x18, "with both");
        ensure_eq!(one & (GTF_READING | GTF_WRITING), 8, "with the reader");
        Ok(())
    })
}

fn given_up() -> Outcome {
    mapped(GNTMAP_HOST_MAP, |mapping| {
        let frame = PAGE.frame();
        ensure_eq!(
            reservation(XENMEM_DECREASE_RESERVATION, frame),
            1,
            "giving up"
        );
        let read = attempt(|| read64(mapping.address + 8));
        let back = reservation(XENMEM_POPULATE_PHYSMAP, frame);
        ensure_eq!(back, 1, "getting back");
        ensure!(
            matches!(read, Ok(0x1111)),
            "through the mapping it reads {read:x?}"
        );
        Ok(())
    })
}

fn two_entries() -> Outcome {
    mapped(GNTMAP_HOST_MAP, |first| {
        permit(REFERENCE + 1, DOM0, PAGE.frame(), false);
        let (status, handle, address) = map_own(REFERENCE + 1, GNTMAP_HOST_MAP);
        ensure_eq!(status, 0, "the second entry");
        write64(address, 0x5a);
        let read = read64(first.address);
        ensure_eq!(unmap(handle, address), 0, "unmapping it");
        ensure_eq!(revoke(REFERENCE + 1), 0, "bits of the second entry");
        ensure_eq!(read, 0x5a, "a word");
        Ok(())
    })
}

fn swap(ref_a: u32, ref_b: u32) -> i16 {
    let mut argument = [SwapGrantRef {
        ref_a,
        ref_b,
        status: 99,
        _pad: 0,
    }];
    operate(GNTTABOP_SWAP_GRANT_REF, &mut argument);
    argument[0].status
}

fn swap_busy() -> Outcome {
    mapped(GNTMAP_HOST_MAP, |_| {
        ensure_eq!(swap(REFERENCE, REFERENCE + 2), -12, "the status");
        Ok(())
    })
}

fn swapped() -> Outcome {
    grant(false)?;
    let status = swap(REFERENCE, REFERENCE + 2);
    let after = [flags(REFERENCE), flags(REFERENCE + 2)];
    write_entry(REFERENCE, 0, 0, 0);
    write_entry(REFERENCE + 2, 0, 0, 0);
    ensure_eq!(status, 0, "the status");
    ensure_eq!(after, [0, GTF_PERMIT_ACCESS], "flags of both");
    Ok(())
}

fn fill_other() {
    for word in &OTHER.0 {
        word.store(u64::MAX, Ordering::SeqCst);
    }
}

fn copied() -> Outcome {
    grant(false)?;
    fill_other();
    let status = copy(copy_of(
        (Side::Grant(DOM0, REFERENCE), 16),
        (Side::Frame(OTHER.frame()), 32),
        16,
    ));
    revoke(REFERENCE);
    ensure_eq!(status, 0, "the status");
    let around: [u64; 4] = core::array::from_fn(|n| OTHER.0[n + 3].load(Ordering::SeqCst));
    ensure_eq!(around, [u64::MAX, 0x2222, 0x3333, u64::MAX], "words 3 to 6");
    Ok(())
}

fn copied_to_grant() -> Outcome {
    grant(false)?;
    fill_other();
    let status = copy(copy_of(
        (Side::Frame(OTHER.frame()), 0),
        (Side::Grant(DOM0, REFERENCE), 80),
        8,
    ));
    revoke(REFERENCE);
    ensure_eq!(status, 0, "the status");
    let around: [u64; 3] = core::array::from_fn(|n| PAGE.0[n + 9].load(Ordering::SeqCst));
    ensure_eq!(around, [0x9999, u64::MAX, 0x1111 * 11], "words 9 to 11");
    Ok(())
}

/// More than one frame of handles; the pins of one entry are counted in eight bits, so by several entries.
fn many() -> Outcome {
    const ENTRIES: u32 = 4;
    const MANY: usize = 500;
    grant(false)?;
    for entry in 0..ENTRIES {
        permit(REFERENCE + entry, DOM0, PAGE.frame(), false);
    }
    let mut handles = [(0, 0); MANY];
    let mut statuses = 0;
    for (index, place) in (0..).zip(&mut handles) {
        let (status, handle, address) = map_own(REFERENCE + index % ENTRIES, GNTMAP_HOST_MAP);
        statuses |= status;
        *place = (handle, address);
    }
    for (handle, address) in handles {
        statuses |= unmap(handle, address);
    }
    let busy = (0..ENTRIES).fold(0, |busy, entry| busy | revoke(REFERENCE + entry));
    ensure_eq!((statuses, busy), (0, 0), "statuses, bits of use");
    Ok(())
}
