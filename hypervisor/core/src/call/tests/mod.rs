// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls answer as Xen 4.20 does: vectors measured there, and what random calls must not do.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod control;
mod death;
mod device;
mod domctl;
mod event;
mod general;
mod grant;
mod hypfs;
mod memory;
mod random;
mod reserve;
mod sched;
mod sysctl;

use super::testing::{DOMU_GFN, Guest, Machine, NOWHERE, PAGES};
use xen_abi::hypercall::*;

const EPERM: i64 = -1;
const ENOENT: i64 = -2;
const ESRCH: i64 = -3;
const ENXIO: i64 = -6;
const E2BIG: i64 = -7;
const EACCES: i64 = -13;
const EFAULT: i64 = -14;
const EBUSY: i64 = -16;
const EEXIST: i64 = -17;
const EINVAL: i64 = -22;
const ENOSYS: i64 = -38;
const EOPNOTSUPP: i64 = -95;
const ENOBUFS: i64 = -105;

/// A domain there is not.
const NOBODY: u16 = 77;
const SELF: u16 = xen_abi::xen::DOMID_SELF;
