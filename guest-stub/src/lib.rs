// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of the stub needs no hardware: it runs the same in the kernel at EL1 and in tests on the host.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod dma;
