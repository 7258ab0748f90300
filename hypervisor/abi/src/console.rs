// SPDX-License-Identifier: MIT OR Apache-2.0
//! `console_io` (`xen/xen.h`) and the paravirtual console ring (`xen/io/console.h`).
//!
//! x0 = command, x1 = length in bytes, x2 = buffer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Write the buffer to the console.
pub const CONSOLEIO_WRITE: u32 = 0;
/// Read waiting input; returns bytes read.
pub const CONSOLEIO_READ: u32 = 1;

/// `struct xencons_interface`: console ring page; indices run freely, modulo the ring sizes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct XenconsInterface {
    /// Bytes to the guest.
    pub r#in: [u8; 1024],
    /// Bytes from the guest.
    pub out: [u8; 2048],
    /// Consumed by the guest.
    pub in_cons: u32,
    /// Produced by the backend.
    pub in_prod: u32,
    /// Consumed by the backend.
    pub out_cons: u32,
    /// Produced by the guest.
    pub out_prod: u32,
}
