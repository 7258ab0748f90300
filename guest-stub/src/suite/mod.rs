// SPDX-License-Identifier: MIT OR Apache-2.0
//! Conformance: what a guest must see. Each check passes on Xen 4.20, unless it says why not.
//!
//! Results are TAP: `ok 3 name`, `not ok 4 name: what was wrong`; a check that a hypervisor is known not to pass fails
//! there with `# TODO reason`, and one that would take the machine down is skipped.

#![expect(
    clippy::result_large_err,
    reason = "a failure carries its explanation; there is no heap to put it on"
)]

mod abort;
mod cache;
mod call;
mod check;
mod control;
mod device;
mod domain;
mod domctl;
mod domu;
mod errno;
mod event;
mod event2;
mod evtchn;
mod extents;
mod firmware;
mod garbage;
mod gicd;
mod grant;
mod grant2;
mod hypfs;
mod irq;
mod list;
mod mapping;
mod memory;
mod multicall;
mod numbers;
mod physmap;
mod pointer;
mod pool;
mod refused;
mod small;
mod smp;
mod sysctl;
mod sysreg;
mod timer;
mod two;
mod uart;
mod undefined;
mod vcpus;
mod version;
mod vuart;

use crate::console::println;
use crate::xen::version::is_xen;
use check::{Check, Failure, Known};

/// The families, in the order in which they run.
const FAMILIES: &[(&str, &[Check])] = &[
    ("abort", abort::CHECKS),
    ("undefined", undefined::CHECKS),
    ("sysreg", sysreg::CHECKS),
    ("gicd", gicd::CHECKS),
    ("irq", irq::CHECKS),
    ("timer", timer::CHECKS),
    ("firmware", firmware::CHECKS),
    ("cache", cache::CHECKS),
    ("smp", smp::CHECKS),
    ("hypercall", numbers::CHECKS),
    ("hypercall", numbers::REGISTERS),
    ("xen_version", version::NUMBERS),
    ("xen_version", version::TEXTS),
    ("memory_op", memory::COUNTS),
    ("memory_op", memory::EXTENTS),
    ("memory_op", memory::BALLOON),
    ("physmap", physmap::ANSWERS),
    ("physmap", physmap::TABLE),
    ("hvm_op", small::HVM),
    ("vcpu_op", small::VCPU),
    ("vcpu_op", small::RUNSTATES),
    ("sched_op", small::SCHED),
    ("sched_op", small::WATCHDOGS),
    ("console_io", small::CONSOLE),
    ("vm_assist", small::ASSIST),
    ("domctl", control::DOMCTLS),
    ("sysctl", control::SYSCTLS),
    ("platform_op", control::PLATFORM),
    ("physdev_op", control::PHYSDEV),
    ("hypfs_op", hypfs::ANSWERS),
    ("hypfs_op", hypfs::FILES),
    ("multicall", multicall::ANSWERS),
    ("multicall", multicall::LISTS),
    ("event_channel_op", evtchn::ANSWERS),
    ("event_channel_op", evtchn::STATES),
    ("grant_table_op", grant::TABLE),
    ("grant_table_op", grant::MAP),
    ("grant_table_op", grant::UNMAP),
    ("grant_table_op", grant::LISTS),
    ("grant_table_op", mapping::CHECKS),
    ("grant_table_op", grant::COPY),
    ("grant_table_op", grant::FLUSH),
    ("pointer", pointer::RESULTS),
    ("pointer", pointer::POINTERS),
    ("pointer", pointer::COUNTING),
    ("pointer", pointer::TABLES),
    ("event", event::CHECKS),
    ("event2", event2::CHECKS),
    ("grant2", grant2::MAPPED),
    ("grant2", grant2::REFUSED),
    ("grant2", grant2::COPIES),
    ("grant2", grant2::THEIRS),
    ("grant2", grant2::FOREIGN),
    ("domctl", refused::DOMCTLS),
    ("sysctl", refused::SYSCTLS),
    ("domctl", domctl::CHECKS),
    ("domctl", vcpus::CHECKS),
    ("domctl", extents::CHECKS),
    ("domctl", vuart::CHECKS),
    ("domctl", device::CHECKS),
    ("sysctl", sysctl::CHECKS),
    ("domain", domain::CHECKS),
    ("pool", pool::CHECKS),
    ("domu", domu::ANSWERS),
    ("domu", domu::SILO),
    ("garbage", garbage::CHECKS),
    ("uart", uart::CHECKS),
];

/// Runs the checks that `filter` names, all if it is empty.
pub(crate) fn run(filter: &str) {
    let on_xen = is_xen();
    let mut number = 0;
    let mut failed = 0;
    for (family, check) in all() {
        if !matches(filter, family, check.name) {
            continue;
        }
        number += 1;
        if !report(number, family, check, on_xen) {
            failed += 1;
        }
    }
    println!("1..{number}");
    println!("# {failed} of {number} failed");
}

/// Prints the names of all checks and what is known of them.
pub(crate) fn list() {
    for line in list::lines() {
        println!("{line}");
    }
}

fn all() -> impl Iterator<Item = (&'static str, &'static Check)> {
    FAMILIES
        .iter()
        .flat_map(|(family, checks)| checks.iter().map(move |check| (*family, check)))
}

/// Whether one of the words of `filter`, between commas, is the family, or family, slash, and a part of the name.
fn matches(filter: &str, family: &str, name: &str) -> bool {
    filter.is_empty()
        || filter.split(',').any(|word| match word.split_once('/') {
            Some((of, part)) => family == of && name.contains(part),
            None => family == word,
        })
}

/// Runs one check and prints its line; whether it is as it should be.
fn report(number: u32, family: &str, check: &Check, on_xen: bool) -> bool {
    println!("# {number} {family}/{}", check.name);
    let (hypervisor, known) = if on_xen {
        ("Xen", &check.on_xen)
    } else {
        ("Xenolith", &check.on_xenolith)
    };
    let todo = match known {
        Known::Hangs(reason) => {
            println!(
                "ok {number} {family}/{} # SKIP on {hypervisor}: {reason}",
                check.name
            );
            return true;
        }
        Known::Differs(reason) => Some(reason),
        Known::Passes => None,
    };
    match ((check.run)(), todo) {
        (Ok(()), _) => println!("ok {number} {family}/{}", check.name),
        (Err(Failure::Skipped(reason)), _) => {
            println!("ok {number} {family}/{} # SKIP {reason}", check.name);
        }
        (Err(Failure::Failed(detail)), Some(reason)) => {
            println!(
                "not ok {number} {family}/{}: {detail} # TODO on {hypervisor}: {reason}",
                check.name
            );
        }
        (Err(Failure::Failed(detail)), None) => {
            println!("not ok {number} {family}/{}: {detail}", check.name);
            return false;
        }
    }
    true
}
