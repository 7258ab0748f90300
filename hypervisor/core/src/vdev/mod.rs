// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices that are emulated for guests, besides their interrupt controller and timers.

pub mod line;
pub mod ring;
pub mod vpl011;
