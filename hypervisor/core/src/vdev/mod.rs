// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices that are emulated for guests, besides their interrupt controller and timers.

#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

pub mod line;
pub mod vpl011;
