// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xenolith's portable policy: everything a hypervisor decides, nothing that names a register.
//!
//! The same code runs at EL2, where [`hw::Hw`] is the processor, and in host tests, where it is
//! [`fake::FakeHw`]. `ARCHITECTURE.md` says what is where.
#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

extern crate alloc;
#[cfg(any(test, feature = "fake"))]
extern crate std;

pub mod addr;
#[allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "it is over before there is a guest, and reads what the machine's owner wrote"
)]
pub mod boot;
pub mod call;
pub mod console;
pub mod cpu;
pub mod current;
pub mod domain;
pub mod event;
pub mod exit;
#[cfg(any(test, feature = "fake"))]
#[allow(
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "for tests"
)]
pub mod fake;
pub mod frame;
pub mod grant;
pub mod guest;
pub mod hw;
pub mod keys;
pub mod nospec;
pub mod p2m;
pub mod psci;
pub mod sched;
pub mod sync;
pub mod system;
#[cfg(any(test, feature = "fake"))]
pub mod testing;
pub mod timer;
pub mod trap;
pub mod vdev;
pub mod vgic;
pub mod virq;

/// Log target of messages that guests cause; `guest_loglvl` governs it.
pub const GUEST_LOG: &str = "guest";
