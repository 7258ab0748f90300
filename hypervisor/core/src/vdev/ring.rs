// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring of a paravirtual console (public/io/console.h): a page of the guest's, in which the
//! hypervisor takes the guest's part and another domain serves the console.
//!
//! Both domains may write anything into the page at any time, so each index is read once for each
//! use, and confined. Indexes that make no sense lose bytes of that console and do nothing else.

use crate::guest::shared::SharedPage;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use xen_abi::console::XenconsInterface;

const IN: usize = offset_of!(XenconsInterface, r#in);
const OUT: usize = offset_of!(XenconsInterface, out);
const IN_CONS: usize = offset_of!(XenconsInterface, in_cons);
const IN_PROD: usize = offset_of!(XenconsInterface, in_prod);
const OUT_CONS: usize = offset_of!(XenconsInterface, out_cons);
const OUT_PROD: usize = offset_of!(XenconsInterface, out_prod);

/// Bytes each direction holds.
const IN_SIZE: u32 = (OUT - IN) as u32;
const OUT_SIZE: u32 = (IN_CONS - OUT) as u32;

/// The guest's part of a console ring.
pub struct ConsoleRing {
    page: SharedPage,
}

impl ConsoleRing {
    /// The ring in `page`.
    pub const fn new(page: SharedPage) -> Self {
        Self { page }
    }

    fn load(&self, index: usize) -> u32 {
        let word = self.page.atomic_u32(index);
        word.map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn store(&self, index: usize, value: u32) {
        if let Some(word) = self.page.atomic_u32(index) {
            word.store(value, Ordering::Release);
        }
    }

    /// Bytes that the guest has not read: none if the indexes make no sense.
    pub(super) fn waiting(&self) -> u32 {
        let waiting = self.load(IN_PROD).wrapping_sub(self.load(IN_CONS));
        if waiting > IN_SIZE { 0 } else { waiting }
    }

    /// True if no more fit for the guest.
    pub(super) fn is_full(&self) -> bool {
        self.waiting() == IN_SIZE
    }

    /// Bytes that the guest may write: none if the indexes make no sense.
    pub(super) fn room(&self) -> u32 {
        let queued = self.load(OUT_PROD).wrapping_sub(self.load(OUT_CONS));
        OUT_SIZE.saturating_sub(queued)
    }

    /// True if all that the guest wrote was taken.
    pub(super) fn is_drained(&self) -> bool {
        self.room() == OUT_SIZE
    }

    /// Reads the next byte.
    pub(super) fn take(&self) -> Option<u8> {
        if self.waiting() == 0 {
            return None;
        }
        let index = self.load(IN_CONS);
        let at = IN.saturating_add((index % IN_SIZE) as usize);
        let byte = self.page.atomic_u8(at)?.load(Ordering::Relaxed);
        self.store(IN_CONS, index.wrapping_add(1));
        Some(byte)
    }

    /// Writes a byte; false, and it is lost, without room for it.
    pub(super) fn put(&self, byte: u8) -> bool {
        if self.room() == 0 {
            return false;
        }
        let index = self.load(OUT_PROD);
        let at = OUT.saturating_add((index % OUT_SIZE) as usize);
        if let Some(slot) = self.page.atomic_u8(at) {
            slot.store(byte, Ordering::Relaxed);
        }
        self.store(OUT_PROD, index.wrapping_add(1));
        true
    }
}
