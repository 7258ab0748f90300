// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of the image that the hypervisor reads, writes or replaces.

use core::sync::atomic::AtomicU64;

/// A page of plain words.
#[repr(C, align(4096))]
pub(crate) struct Page(pub(crate) [AtomicU64; 512]);

impl Page {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 512])
    }

    /// Its address, virtual and physical.
    pub(crate) fn address(&self) -> u64 {
        &raw const *self as u64
    }

    /// Its frame number.
    pub(crate) fn frame(&self) -> u64 {
        self.address() >> 12
    }
}
