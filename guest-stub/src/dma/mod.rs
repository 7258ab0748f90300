// SPDX-License-Identifier: MIT OR Apache-2.0
//! DMA as Linux does it on Arm under Xen, since its fix of 2017: which operations a device is served by, which address
//! it is given, and whose caches are maintained when. `docs/dma.md` tells the story.
//!
//! | what | where |
//! |---|---|
//! | what a driver calls: [`Dma::map_page`] and so on | `api.rs` |
//! | which operations serve a device: [`Dma::get_dma_ops`] | `dispatch.rs`, `arch.rs` |
//! | a device: [`Device`], [`ArchData`] | `device.rs` |
//! | a table of operations: [`DmaOps`] | `ops.rs` |
//! | the three of them: [`DIRECT`], [`IommuOps`], [`XEN`] | `direct.rs`, `iommu.rs`, `xen.rs` |
//! | machine addresses of pages mapped by grant: [`P2m`] | `p2m.rs` |
//! | bounce buffers: [`Swiotlb`] | `swiotlb.rs` |
//! | memory, caches and hypercalls: [`Platform`] | `platform.rs` |
//!
//! Nothing here allocates or touches hardware.

mod api;
mod arch;
mod device;
mod direct;
mod dispatch;
mod iommu;
mod ops;
mod p2m;
mod platform;
mod scatterlist;
mod swiotlb;
#[cfg(test)]
mod tests;
mod xen;

use core::fmt;
use xen_abi::Errno;

pub use arch::{Arch, Arm, Dispatch};
pub use device::{ArchData, Bus, Device};
pub use direct::DIRECT;
pub use dispatch::Dma;
pub use iommu::{Iommu, IommuOps};
pub use ops::{Coherent, DmaOps};
pub use p2m::P2m;
pub use platform::{CpuPages, Platform};
pub use scatterlist::Scatterlist;
pub use swiotlb::Swiotlb;
pub use xen::XEN;

/// Bytes of a page, here, in Xen and of an IOMMU.
pub const PAGE_SIZE: u64 = 4096;

/// A guest-physical address: what this kernel takes for one, whoever owns the page behind it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Phys(pub u64);

/// An address of the machine's memory. The same number as the [`Phys`] for a page that a direct-mapped domain owns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Machine(pub u64);

/// What a device is told: a machine address, or one that an IOMMU translates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DmaAddr(pub u64);

/// Who writes and who reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The device reads what the CPU wrote.
    ToDevice,
    /// The CPU reads what the device wrote.
    FromDevice,
    /// Both.
    Bidirectional,
}

impl Direction {
    /// True if the device reads.
    #[must_use]
    pub const fn is_to_device(self) -> bool {
        !matches!(self, Self::FromDevice)
    }

    /// True if the device writes.
    #[must_use]
    pub const fn is_from_device(self) -> bool {
        !matches!(self, Self::ToDevice)
    }
}

/// Why memory cannot be used for DMA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DmaError {
    /// No bytes, or addresses that wrap.
    BadRange,
    /// Nothing was mapped for DMA at this address, or not as much.
    NotMapped,
    /// The device cannot be given an address below its mask.
    Unreachable,
    /// All bounce buffers are in use, or none is large enough.
    NoBounceBuffer,
    /// No memory.
    NoMemory,
    /// A table has no entry left.
    TableFull,
    /// There is an entry already.
    Exists,
    /// The hypervisor refused to maintain caches.
    CacheFlush(Errno),
}

impl fmt::Display for DmaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRange => f.write_str("no bytes, or addresses that wrap"),
            Self::NotMapped => f.write_str("not mapped for DMA"),
            Self::Unreachable => f.write_str("out of the device's reach"),
            Self::NoBounceBuffer => f.write_str("no bounce buffer is free that would do"),
            Self::NoMemory => f.write_str("no memory"),
            Self::TableFull => f.write_str("the table is full"),
            Self::Exists => f.write_str("exists already"),
            Self::CacheFlush(errno) => write!(f, "GNTTABOP_cache_flush: {errno:?}"),
        }
    }
}

/// The last byte of `size` bytes from `start`.
///
/// # Errors
/// [`DmaError::BadRange`].
fn last_byte(start: u64, size: usize) -> Result<u64, DmaError> {
    let distance = (size as u64).checked_sub(1).ok_or(DmaError::BadRange)?;
    start.checked_add(distance).ok_or(DmaError::BadRange)
}

/// The pieces of `size` bytes from `start` that lie in one page each: address, bytes.
fn by_page(start: u64, size: usize) -> impl Iterator<Item = (u64, usize)> {
    let (mut at, mut left) = (start, size);
    core::iter::from_fn(move || {
        let in_page = (PAGE_SIZE - at % PAGE_SIZE) as usize;
        let piece = (at, left.min(in_page));
        at = at.wrapping_add(piece.1 as u64);
        left -= piece.1;
        (piece.1 != 0).then_some(piece)
    })
}
