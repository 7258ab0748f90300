// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies to and from the memory of the vCPU that runs.
//!
//! A hypercall names memory by guest virtual addresses of its caller. Each page is translated as
//! EL1 would see it, must be RAM that the caller's domain owns (not a page of another's mapped
//! there), and is held by a reference while it is copied. What is read is a private copy: a field
//! cannot change after its check.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::addr::{DomId, Gva, PAGE_SIZE};
use crate::frame::PageRef;
use crate::system::System;
use core::marker::PhantomData;
use xen_abi::errno::Errno;
use xen_abi::xen::Handle;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The memory of the running vCPU's domain.
#[derive(Clone, Copy)]
pub struct GuestMemory {
    sys: &'static System,
    owner: DomId,
}

impl GuestMemory {
    /// Memory of `owner`, of which a vCPU runs on this CPU.
    pub const fn new(sys: &'static System, owner: DomId) -> Self {
        Self { sys, owner }
    }

    /// Fills `buffer` from `gva`.
    ///
    /// # Errors
    /// `EFAULT` if any of it is not the domain's own readable RAM; `buffer` may be partly filled.
    pub fn read_bytes(self, gva: Gva, buffer: &mut [u8]) -> Result<(), Errno> {
        let mut at = gva;
        let mut rest = buffer;
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at_mut(bytes_in_page(at, rest.len()));
            let page = self.page(at, false)?;
            // SAFETY: `page` holds the page; the piece stays in it; `piece` is ours.
            unsafe { copy_in(page.ptr().add(at.page_offset() as usize), piece) };
            at = at.checked_add(piece.len() as u64).ok_or(Errno::Fault)?;
            rest = tail;
        }
        Ok(())
    }

    /// Copies `bytes` to `gva`.
    ///
    /// # Errors
    /// `EFAULT` if any of it is not the domain's own writable RAM; some may have been written.
    pub fn write_bytes(self, gva: Gva, bytes: &[u8]) -> Result<(), Errno> {
        let mut at = gva;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(bytes_in_page(at, rest.len()));
            let page = self.page(at, true)?;
            // SAFETY: as in `read_bytes`.
            unsafe { copy_out(page.ptr().add(at.page_offset() as usize), piece) };
            at = at.checked_add(piece.len() as u64).ok_or(Errno::Fault)?;
            rest = tail;
        }
        Ok(())
    }

    fn page(self, gva: Gva, write: bool) -> Result<PageRef, Errno> {
        let pa = self
            .sys
            .hw
            .gva_to_pa(gva, write)
            .or_else(|| self.translate_again(gva, write))
            .ok_or(Errno::Fault)?;
        self.sys
            .frames
            .get(pa.frame(), self.owner)
            .ok_or(Errno::Fault)
    }

    /// A translation fails in the middle of a break-before-make. With the p2m lock held there is
    /// none.
    #[cold]
    fn translate_again(self, gva: Gva, write: bool) -> Option<crate::addr::Pa> {
        let domain = self.sys.domains.get(self.owner)?;
        domain.p2m.while_stable(|| self.sys.hw.gva_to_pa(gva, write))
    }
}

/// Bytes from `at` to the end of its page, at most `len`.
fn bytes_in_page(at: Gva, len: usize) -> usize {
    len.min((PAGE_SIZE - at.page_offset()) as usize)
}

/// # Safety
/// `from` is readable for `to.len()` bytes. The guest may write there meanwhile.
unsafe fn copy_in(from: *const u8, to: &mut [u8]) {
    if from.addr().is_multiple_of(8) {
        let (words, tail) = to.as_chunks_mut::<8>();
        for (n, word) in words.iter_mut().enumerate() {
            // SAFETY: aligned and within the caller's bound.
            *word = unsafe { from.cast::<u64>().add(n).read_volatile() }.to_ne_bytes();
        }
        let done = words.len() * 8;
        for (n, byte) in tail.iter_mut().enumerate() {
            // SAFETY: within the caller's bound.
            *byte = unsafe { from.add(done + n).read_volatile() };
        }
        return;
    }
    for (n, byte) in to.iter_mut().enumerate() {
        // SAFETY: within the caller's bound.
        *byte = unsafe { from.add(n).read_volatile() };
    }
}

/// # Safety
/// `to` is writable for `from.len()` bytes.
unsafe fn copy_out(to: *mut u8, from: &[u8]) {
    if to.addr().is_multiple_of(8) {
        let (words, tail) = from.as_chunks::<8>();
        for (n, word) in words.iter().enumerate() {
            // SAFETY: aligned and within the caller's bound.
            unsafe { to.cast::<u64>().add(n).write_volatile(u64::from_ne_bytes(*word)) };
        }
        let done = words.len() * 8;
        for (n, byte) in tail.iter().enumerate() {
            // SAFETY: within the caller's bound.
            unsafe { to.add(done + n).write_volatile(*byte) };
        }
        return;
    }
    for (n, byte) in from.iter().enumerate() {
        // SAFETY: within the caller's bound.
        unsafe { to.add(n).write_volatile(*byte) };
    }
}

/// A `T` a guest says is at an address of its own. Nothing is known of it until it is copied.
pub struct GuestPtr<T> {
    gva: Gva,
    what: PhantomData<fn() -> T>,
}

impl<T> Clone for GuestPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for GuestPtr<T> {}

impl<T> From<Handle> for GuestPtr<T> {
    fn from(handle: Handle) -> Self {
        Self::new(handle.0)
    }
}

impl<T> GuestPtr<T> {
    /// The `T` at guest virtual address `gva`.
    pub const fn new(gva: u64) -> Self {
        Self {
            gva: Gva(gva),
            what: PhantomData,
        }
    }

    /// True for the null pointer.
    pub const fn is_null(self) -> bool {
        self.gva.0 == 0
    }

    /// Its address.
    pub const fn gva(self) -> Gva {
        self.gva
    }

    /// Element `n` of an array that starts here.
    ///
    /// # Errors
    /// `EFAULT` if its address wraps.
    pub fn at(self, n: u64) -> Result<Self, Errno> {
        let bytes = n.checked_mul(size_of::<T>() as u64).ok_or(Errno::Fault)?;
        let gva = self.gva.checked_add(bytes).ok_or(Errno::Fault)?;
        Ok(Self::new(gva.0))
    }
}

impl<T: FromBytes + IntoBytes> GuestPtr<T> {
    /// Copies it in.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn read(self, memory: GuestMemory) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        memory.read_bytes(self.gva, value.as_mut_bytes())?;
        Ok(value)
    }
}

impl<T: IntoBytes + Immutable> GuestPtr<T> {
    /// Copies `value` out.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn write(self, memory: GuestMemory, value: &T) -> Result<(), Errno> {
        memory.write_bytes(self.gva, value.as_bytes())
    }
}
