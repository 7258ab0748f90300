// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that guests own: copied across the boundary, or shared as atomics.

pub mod copy;
pub mod shared;
