// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists of buffers for one transfer.

use super::{DmaAddr, Phys};

/// One buffer of a list (Linux: `struct scatterlist`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scatterlist {
    /// Where it is.
    pub phys: Phys,
    /// Bytes.
    pub size: usize,
    /// What the device is told. Only while the list is mapped.
    pub addr: DmaAddr,
}

impl Scatterlist {
    /// A buffer that is not mapped.
    #[must_use]
    pub const fn new(phys: Phys, size: usize) -> Self {
        Self {
            phys,
            size,
            addr: DmaAddr(u64::MAX),
        }
    }
}
