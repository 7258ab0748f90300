// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks, what stands for one, and what they need: each moves data by DMA with the operations that its device is served by.

pub(crate) mod environment;
pub(crate) mod nvme;
pub(crate) mod pci;
pub(crate) mod pl330;
pub(crate) mod virtio;

use core::fmt;

use guest_stub::dma::{Device, DmaError};

/// Bytes of a page, and of a block as the drivers here count them.
pub(crate) const BLOCK: usize = 4096;

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// From the disk into memory.
    Read,
    /// From memory to the disk.
    Write,
}

/// Pages that follow each other, as the CPU sees them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Buffer {
    /// Guest-physical address.
    pub(crate) address: u64,
    pub(crate) pages: usize,
}

impl Buffer {
    /// Its size in bytes.
    pub(crate) fn size(&self) -> usize {
        self.pages * BLOCK
    }
}

/// A disk.
pub(crate) trait Disk {
    /// What DMA is about.
    fn device(&self) -> &'static Device;

    /// Moves the blocks from number `block` on, one for each page of `buffers`, and returns when that is done.
    ///
    /// # Errors
    /// What went wrong; some blocks may have been moved.
    fn transfer(
        &mut self,
        transfer: Transfer,
        block: u64,
        buffers: &[Buffer],
    ) -> Result<(), DiskError>;

    /// As [`transfer`](Self::transfer); `act` runs when the device has its command, before its end is waited for.
    ///
    /// # Errors
    /// As there; `Unsupported` of a disk that cannot.
    fn transfer_while(
        &mut self,
        _transfer: Transfer,
        _block: u64,
        _buffers: &[Buffer],
        _act: &mut dyn FnMut(),
    ) -> Result<(), DiskError> {
        Err(DiskError::Unsupported("nothing can be done meanwhile"))
    }
}

/// Why a disk does not do what it should.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DiskError {
    /// The memory cannot be used for DMA.
    Dma(DmaError),
    /// The driver of virtio devices says so.
    Virtio(virtio_drivers::Error),
    /// The status field of an NVMe command.
    Nvme(u16),
    /// The fault type of a PL330's channel.
    Pl330(u32),
    /// It does not answer.
    Timeout,
    /// What the driver cannot do.
    Unsupported(&'static str),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dma(error) => write!(f, "DMA: {error}"),
            Self::Virtio(error) => write!(f, "virtio: {error}"),
            Self::Nvme(status) => write!(f, "NVMe: status {status:#x}"),
            Self::Pl330(fault) => write!(f, "PL330: fault {fault:#x}"),
            Self::Timeout => f.write_str("the device does not answer"),
            Self::Unsupported(what) => f.write_str(what),
        }
    }
}

impl From<DmaError> for DiskError {
    fn from(error: DmaError) -> Self {
        Self::Dma(error)
    }
}

impl From<virtio_drivers::Error> for DiskError {
    fn from(error: virtio_drivers::Error) -> Self {
        Self::Virtio(error)
    }
}
