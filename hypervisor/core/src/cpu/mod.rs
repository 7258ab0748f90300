// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's CPUs: which cores they are, of how many kinds, and what of them must be worked
//! around.

pub mod errata;
pub mod kind;
pub mod midr;
pub mod speculation;
