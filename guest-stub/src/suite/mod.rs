// SPDX-License-Identifier: MIT OR Apache-2.0
//! Conformance: what a guest must see. Each check passes on Xen 4.20 too, unless it says why not.
//!
//! Results are TAP: `ok 3 name`, `not ok 4 name: what was wrong`; on Xen, a check that it is known not to pass fails
//! with `# TODO reason`, and one that would take the machine down is skipped.

#![expect(
    clippy::result_large_err,
    reason = "a failure carries its explanation; there is no heap to put it on"
)]

mod abort;
mod cache;
mod calls;
mod check;
mod domain;
mod domctl;
mod event;
mod firmware;
mod garbage;
mod gicd;
mod irq;
mod smp;
mod sysreg;
mod timer;
mod undefined;

use crate::console::println;
use crate::xen::version::is_xen;
use check::{Check, Failure, OnXen};

/// One family of checks a file.
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
    ("calls", calls::CHECKS),
    ("domctl", domctl::CHECKS),
    ("domain", domain::CHECKS),
    ("event", event::CHECKS),
    ("garbage", garbage::CHECKS),
];

/// Runs those checks whose `family/name` contains `filter`.
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

fn all() -> impl Iterator<Item = (&'static str, &'static Check)> {
    FAMILIES
        .iter()
        .flat_map(|(family, checks)| checks.iter().map(move |check| (*family, check)))
}

fn matches(filter: &str, family: &str, name: &str) -> bool {
    match filter.split_once('/') {
        Some((of, part)) => family == of && name.contains(part),
        None => family == filter || filter.is_empty(),
    }
}

/// Runs one check and prints its line; whether it is as it should be.
fn report(number: u32, family: &str, check: &Check, on_xen: bool) -> bool {
    println!("# {number} {family}/{}", check.name);
    let todo = match check.on_xen {
        OnXen::Hangs(reason) if on_xen => {
            println!(
                "ok {number} {family}/{} # SKIP on Xen: {reason}",
                check.name
            );
            return true;
        }
        OnXen::Differs(reason) if on_xen => Some(reason),
        _ => None,
    };
    match ((check.run)(), todo) {
        (Ok(()), _) => println!("ok {number} {family}/{}", check.name),
        (Err(Failure::Skipped(reason)), _) => {
            println!("ok {number} {family}/{} # SKIP {reason}", check.name);
        }
        (Err(Failure::Failed(detail)), Some(reason)) => {
            println!(
                "not ok {number} {family}/{}: {detail} # TODO on Xen: {reason}",
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
