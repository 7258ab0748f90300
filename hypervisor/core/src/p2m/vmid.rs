// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which VMIDs are in use.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// Hands out VMIDs, the lowest free one first. 0 stays with "no guest".
///
/// A VMID is freed after its last user's [`P2m`](super::P2m) was dropped, which has flushed it.
pub struct VmidAllocator {
    used: Box<[AtomicU64]>,
}

impl VmidAllocator {
    /// For 8-bit VMIDs, or 16-bit ones (VTCR_EL2.VS).
    pub fn new(vmid16: bool) -> Self {
        let words = if vmid16 { 1 << 10 } else { 1 << 2 };
        let used: Vec<_> = (0..words)
            .map(|word: u32| AtomicU64::new(u64::from(word == 0)))
            .collect();
        Self { used: used.into() }
    }

    /// A VMID that nobody uses, given back when it is dropped.
    pub fn take(&'static self) -> Option<Vmid> {
        let number = self.alloc()?;
        Some(Vmid { number, of: self })
    }

    /// A VMID that nobody uses.
    pub fn alloc(&self) -> Option<u16> {
        for (word, base) in self.used.iter().zip((0..).step_by(64)) {
            let take = |bits: u64| bits.checked_add(1).map(|next| bits | next);
            if let Ok(old) = word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take) {
                return Some(base | old.trailing_ones() as u16);
            }
        }
        None
    }

    /// Gives `vmid` back.
    pub fn free(&self, vmid: u16) {
        if vmid != 0
            && let Some(word) = self.used.get(usize::from(vmid / 64))
        {
            word.fetch_and(!(1 << (vmid % 64)), Ordering::Release);
        }
    }
}

/// A VMID in use. To be dropped after the tables that were made for it.
pub struct Vmid {
    number: u16,
    of: &'static VmidAllocator,
}

impl Vmid {
    /// As in VTTBR_EL2.
    pub const fn number(&self) -> u16 {
        self.number
    }
}

impl fmt::Debug for Vmid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vmid({})", self.number)
    }
}

impl Drop for Vmid {
    fn drop(&mut self) {
        self.of.free(self.number);
    }
}
