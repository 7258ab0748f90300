// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pointers that are wrong, for every operation that takes one: to nowhere, to what ends in nowhere, and where the
//! answer is written, to what is read-only.

use xen_abi::hypercall::{
    DOMCTL, EVENT_CHANNEL_OP, GRANT_TABLE_OP, HVM_OP, MEMORY_OP, PLATFORM_OP, SCHED_OP, SYSCTL,
    VCPU_OP, XEN_VERSION,
};
use xen_abi::xen::DOMID_SELF;

use super::call::{nowhere, plain};
use super::check::{Check, Outcome, check, ensure_eq};
use super::errno::EFAULT;
use crate::machine::dt::facts;
use crate::machine::mmu;
use crate::machine::window::Place;
use crate::xen::hypercall::hypercall;
use crate::xen::page::Page;

const SELF: u64 = DOMID_SELF as u64;

/// Calls with every address that is nowhere.
fn all_nowhere(call: impl Fn(u64) -> i64) -> Outcome {
    for (what, address) in nowhere() {
        ensure_eq!(call(address), EFAULT, "{what}");
    }
    Ok(())
}

/// Calls with a structure of `size` bytes of which the last four, or only the first four, are there.
fn ends(size: u64, call: impl Fn(u64) -> i64) -> Outcome {
    let cuts = [size.saturating_sub(4), 4, 1];
    for bytes in cuts.into_iter().filter(|bytes| *bytes < size) {
        let at = Place::Writable.end(&[], bytes);
        ensure_eq!(call(at), EFAULT, "{bytes} of {size} bytes");
    }
    Ok(())
}

/// Calls with a structure, `words`, that cannot be written.
fn read_only(words: &[u64], call: impl Fn(u64) -> i64) -> Outcome {
    ensure_eq!(call(Place::ReadOnly.fill(words)), EFAULT, "the answer");
    Ok(())
}

/// For each operation: a name, how it is called with an address, and the size of what is read there; what is there
/// when it is written too.
macro_rules! pointers {
    ($($name:literal, $call:expr, reads $size:literal $(, writes $words:expr)?;)*) => {
        &[$(
            check(concat!($name, ": a pointer to nowhere"), || all_nowhere($call)),
            check(concat!($name, ": a structure that ends nowhere"), || ends($size, $call)),
            $(check(concat!($name, ": an answer on a read-only page"), || read_only($words, $call)),)?
        )*]
    };
}

/// For each operation that only writes: a name, how it is called, and how much it writes.
macro_rules! results {
    ($($name:literal, $call:expr, writes $size:literal;)*) => {
        &[$(
            check(concat!($name, ": a pointer to nowhere"), || all_nowhere($call)),
            check(concat!($name, ": a buffer that ends nowhere"), || ends($size, $call)),
            check(concat!($name, ": a buffer on a read-only page"), || read_only(&[], $call)),
        )*]
    };
}

fn at_x1(number: u64, operation: u64) -> impl Fn(u64) -> i64 {
    move |at| plain(number, operation, at, 0)
}

fn version(command: u64) -> impl Fn(u64) -> i64 {
    at_x1(XEN_VERSION, command)
}

fn memory(operation: u64) -> impl Fn(u64) -> i64 {
    at_x1(MEMORY_OP, operation)
}

fn event(operation: u64) -> impl Fn(u64) -> i64 {
    at_x1(EVENT_CHANNEL_OP, operation)
}

fn sched(operation: u64) -> impl Fn(u64) -> i64 {
    at_x1(SCHED_OP, operation)
}

fn grant(operation: u64) -> impl Fn(u64) -> i64 {
    move |at| plain(GRANT_TABLE_OP, operation, at, 1)
}

fn at_x0(number: u64) -> impl Fn(u64) -> i64 {
    move |at| plain(number, at, 0, 0)
}

pub(super) const RESULTS: &[Check] = results! {
    "XENVER_extraversion", version(1), writes 16;
    "XENVER_compile_info", version(2), writes 144;
    "XENVER_capabilities", version(3), writes 1024;
    "XENVER_changeset", version(4), writes 64;
    "XENVER_platform_parameters", version(5), writes 8;
    "XENVER_guest_handle", version(8), writes 16;
    "XENVER_commandline", version(9), writes 1024;
};

pub(super) const POINTERS: &[Check] = pointers! {
    "XENVER_get_features", version(6), reads 8, writes &[];
    "XENMEM_current_reservation", memory(3), reads 2;
    "XENMEM_maximum_reservation", memory(4), reads 2;
    "XENMEM_add_to_physmap", memory(7), reads 24;
    "XENMEM_exchange", memory(11), reads 72;
    "XENMEM_maximum_gpfn", memory(14), reads 2;
    "XENMEM_remove_from_physmap", memory(15), reads 16;
    "XENMEM_add_to_physmap_batch", memory(23), reads 32;
    "XENMEM_claim_pages", memory(24), reads 32;
    "XENMEM_reserved_device_memory_map", memory(27), reads 24;
    "XENMEM_acquire_resource", memory(28), reads 32;
    "EVTCHNOP_bind_interdomain", event(0), reads 12;
    "EVTCHNOP_bind_virq", event(1), reads 12;
    "EVTCHNOP_bind_pirq", event(2), reads 12;
    "EVTCHNOP_close", event(3), reads 4;
    "EVTCHNOP_send", event(4), reads 4;
    "EVTCHNOP_status", event(5), reads 24, writes &[SELF];
    "EVTCHNOP_alloc_unbound", event(6), reads 8, writes &[SELF | SELF << 16];
    "EVTCHNOP_bind_ipi", event(7), reads 8, writes &[0];
    "EVTCHNOP_bind_vcpu", event(8), reads 8;
    "EVTCHNOP_unmask", event(9), reads 4;
    "EVTCHNOP_reset", event(10), reads 2;
    "EVTCHNOP_init_control", event(11), reads 24;
    "EVTCHNOP_expand_array", event(12), reads 8;
    "EVTCHNOP_set_priority", event(13), reads 8;
    "EVTCHNOP_reset_cont", event(14), reads 2;
    "GNTTABOP_map_grant_ref", grant(0), reads 32, writes &[];
    "GNTTABOP_unmap_grant_ref", grant(1), reads 24, writes &[0, 0, 0xffff_ffff];
    "GNTTABOP_setup_table", grant(2), reads 24, writes &[SELF];
    "GNTTABOP_copy", grant(5), reads 40, writes &[];
    "GNTTABOP_query_size", grant(6), reads 16, writes &[SELF];
    "GNTTABOP_unmap_and_replace", grant(7), reads 24, writes &[0, 0, 0xffff_ffff];
    "GNTTABOP_set_version", grant(8), reads 4, writes &[1];
    "GNTTABOP_get_version", grant(10), reads 8, writes &[SELF];
    "GNTTABOP_swap_grant_ref", grant(11), reads 12, writes &[8 | 9 << 32];
    "GNTTABOP_cache_flush", grant(12), reads 16;
    "SCHEDOP_shutdown", sched(2), reads 4;
    "SCHEDOP_poll", sched(3), reads 24;
    "SCHEDOP_remote_shutdown", sched(4), reads 8;
    "SCHEDOP_shutdown_code", sched(5), reads 4;
    "SCHEDOP_watchdog", sched(6), reads 8;
    "SCHEDOP_pin_override", sched(7), reads 4;
    "HVMOP_set_param", at_x1(HVM_OP, 0), reads 16;
    "HVMOP_get_param", at_x1(HVM_OP, 1), reads 16, writes &[SELF];
    "VCPUOP_register_runstate_memory_area", |at| plain(VCPU_OP, 5, 0, at), reads 8;
    "VCPUOP_register_vcpu_info", |at| plain(VCPU_OP, 10, 0, at), reads 16;
    "platform_op", at_x0(PLATFORM_OP), reads 136;
    "sysctl", at_x0(SYSCTL), reads 136;
    "domctl", at_x0(DOMCTL), reads 144;
};

/// Operations that answer with what they have done, not with an error.
pub(super) const COUNTING: &[Check] = &[
    check(
        "XENMEM_increase_reservation: a pointer to nowhere does nothing",
        || counts(0),
    ),
    check(
        "XENMEM_decrease_reservation: a pointer to nowhere does nothing",
        || counts(1),
    ),
    check(
        "XENMEM_populate_physmap: a pointer to nowhere does nothing",
        || counts(6),
    ),
];

fn counts(operation: u64) -> Outcome {
    for (what, address) in nowhere() {
        ensure_eq!(memory(operation)(address), 0, "{what}");
    }
    Ok(())
}

/// Pointers whose translation, not whose target, is wrong, and those that need more than one page.
pub(super) const TABLES: &[Check] = &[
    check("a pointer whose table is in device registers", || {
        table_at(facts().gic.distributor() + 0x800)
    }),
    check(
        "a pointer whose table is at an address without anything",
        || table_at(facts().extended_regions[0].base),
    ),
    check("a pointer whose table is the hypervisor's memory", || {
        table_at(facts().grant_region.base + facts().grant_region.size - 4096)
    }),
    check("a pointer whose table is beyond all memory", || {
        table_at(0x7fff_ffff_f000)
    }),
    check(
        "a pointer whose table is where the bus gives an error",
        bus_error,
    )
    .hangs("Xen takes the abort of the walk itself and panics"),
    check("an answer over two pages", two_pages),
    check("an answer that goes on over a read-only page", || {
        let at = Place::BeforeReadOnly.end(&[], 8);
        ensure_eq!(version(1)(at), EFAULT, "XENVER_extraversion");
        Ok(())
    }),
    check("an answer at an address that is not aligned", unaligned),
];

/// Calls with a buffer whose level 2 descriptor would be read at `descriptor`.
fn table_at(descriptor: u64) -> Outcome {
    let table = descriptor & !0xfff;
    let address = mmu::TABLE_OFFSET + (descriptor - table) / 8 * 0x20_0000;
    mmu::with_table(table, || {
        ensure_eq!(version(1)(address), EFAULT, "XENVER_extraversion");
        ensure_eq!(event(4)(address), EFAULT, "EVTCHNOP_send");
        Ok(())
    })
}

fn bus_error() -> Outcome {
    let Some(registers) = facts().fw_cfg else {
        return Err(super::check::Failure::Skipped(
            "no page is known to have a hole",
        ));
    };
    mmu::map(registers, 8, mmu::Kind::Device);
    table_at(registers + 0x800)
}

static TWO: [Page; 2] = [const { Page::new() }; 2];

/// `XENVER_get_features` at an address in two pages; the features.
fn features_at(address: u64) -> Result<u32, super::check::Failure> {
    // SAFETY: the four bytes are in pages set aside for this.
    unsafe { (address as *mut u32).write_unaligned(0) };
    let answer = hypercall(XEN_VERSION, [6, address, 0, 0, 0]);
    ensure_eq!(answer, 0, "XENVER_get_features");
    // SAFETY: as above.
    Ok(unsafe { ((address + 4) as *const u32).read_unaligned() })
}

fn two_pages() -> Outcome {
    let at = (&raw const TWO[1] as u64) - 4;
    ensure_eq!(features_at(at)?, 0x6_6805, "features");
    Ok(())
}

fn unaligned() -> Outcome {
    let at = (&raw const TWO[0] as u64) + 1;
    ensure_eq!(features_at(at)?, 0x6_6805, "features");
    Ok(())
}
