// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls as checks make them: with a structure, and with an address in its place.

use crate::machine::dt::facts;
use crate::xen::hypercall::{hypercall, operate};

/// An address that this kernel has not mapped.
pub(super) const UNMAPPED: u64 = 0x7f_dead_0000;
/// A domain that does not exist.
pub(super) const NOBODY: u16 = 77;

/// Makes a hypercall of a sub-operation and a structure; the answer, and the structure as it comes back.
pub(super) fn with<T>(number: u64, operation: u32, mut argument: T) -> (i64, T) {
    let answer = operate(number, operation, &mut argument);
    (answer, argument)
}

/// Makes a hypercall of a sub-operation and a structure; the answer.
pub(super) fn answer<T>(number: u64, operation: u32, argument: T) -> i64 {
    with(number, operation, argument).0
}

/// Makes a hypercall with up to three arguments.
pub(super) fn plain(number: u64, x0: u64, x1: u64, x2: u64) -> i64 {
    hypercall(number, [x0, x1, x2, 0, 0])
}

/// Addresses that no hypercall may read or write: nothing is mapped, what is mapped is no memory of this domain, or
/// the address does not exist.
pub(super) fn nowhere() -> [(&'static str, u64); 9] {
    let grant = facts().grant_region;
    [
        ("NULL", 0),
        ("a small number", 8),
        ("an address that is not mapped", UNMAPPED),
        (
            "the lowest address of the upper half",
            0xffff_0000_0000_0000,
        ),
        ("an address beyond all tables", 1 << 47),
        ("the last address", u64::MAX - 7),
        ("device registers", facts().gic.distributor()),
        (
            "the grant table's region, without a table",
            grant.base + grant.size - 4096,
        ),
        (
            "an extended region, without a page",
            facts().extended_regions[0].base,
        ),
    ]
}
