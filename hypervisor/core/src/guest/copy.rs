// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies to and from the memory of the vCPU that runs.
//!
//! A hypercall names memory by guest virtual addresses of its caller. Each page is translated as
//! EL1 would see it, must be RAM that the caller's domain owns (not a page of another's mapped
//! there), and is held by a reference while it is copied. What is read is a private copy: a field
//! cannot change after its check.

#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

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
    #[inline]
    pub fn read_bytes(self, gva: Gva, buffer: &mut [u8]) -> Result<(), Errno> {
        let to = buffer.as_mut_ptr();
        self.by_page(gva, buffer.len(), false, |guests, done, len| {
            // SAFETY: `guests` is in a page that is held; the piece of `buffer` is ours.
            unsafe { copy(guests, to.add(done), len) }
        })
    }

    /// Copies `bytes` to `gva`.
    ///
    /// # Errors
    /// `EFAULT` if any of it is not the domain's own writable RAM; some may have been written.
    #[inline]
    pub fn write_bytes(self, gva: Gva, bytes: &[u8]) -> Result<(), Errno> {
        let from = bytes.as_ptr();
        self.by_page(gva, bytes.len(), true, |guests, done, len| {
            // SAFETY: as in `read_bytes`.
            unsafe { copy(from.add(done), guests, len) }
        })
    }

    /// Calls `act` for each page that `len` bytes from `gva` are in: with where its first byte
    /// of them is visible, how many there were before, and how many are in it.
    #[inline]
    fn by_page(
        self,
        gva: Gva,
        len: usize,
        write: bool,
        act: impl Fn(*mut u8, usize, usize),
    ) -> Result<(), Errno> {
        let mut done = 0usize;
        while done < len {
            let at = gva.checked_add(done as u64).ok_or(Errno::Fault)?;
            let offset = at.page_offset() as usize;
            let piece = len
                .saturating_sub(done)
                .min((PAGE_SIZE as usize).saturating_sub(offset));
            let page = self.page(at, write)?;
            act(page.ptr().wrapping_add(offset), done, piece);
            done = done.saturating_add(piece);
        }
        Ok(())
    }

    /// The page at `gva`, held.
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
        domain
            .p2m
            .while_stable(|| self.sys.hw.gva_to_pa(gva, write))
    }
}

/// Copies `len` bytes, each read and written once: by words, if addresses and length allow.
///
/// # Safety
/// `from` is readable and `to` writable for `len` bytes. The guest may use its side meanwhile.
#[inline]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    let addresses = from.addr() | to.addr();
    let all = addresses | len;
    // SAFETY: the caller's, for the whole words and then for the rest.
    unsafe {
        if all.is_multiple_of(8) {
            copy_words::<u64>(from, to, len);
        } else if all.is_multiple_of(4) {
            copy_words::<u32>(from, to, len);
        } else {
            let aligned = addresses.is_multiple_of(8);
            let words = if aligned { len & !7 } else { 0 };
            copy_words::<u64>(from, to, words);
            copy_words::<u8>(from.add(words), to.add(words), len.saturating_sub(words));
        }
    }
}

/// Copies the whole words in `len` bytes.
///
/// # Safety
/// As [`copy`], and both addresses are aligned to the word if there is one.
#[inline]
unsafe fn copy_words<W: Copy>(from: *const u8, to: *mut u8, len: usize) {
    let (from, to) = (from.cast::<W>(), to.cast::<W>());
    for n in 0..len.checked_div(size_of::<W>()).unwrap_or(0) {
        // SAFETY: aligned and within the caller's bound.
        unsafe { to.add(n).write_volatile(from.add(n).read_volatile()) };
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
    #[inline]
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
    #[inline]
    pub fn write(self, memory: GuestMemory, value: &T) -> Result<(), Errno> {
        memory.write_bytes(self.gva, value.as_bytes())
    }
}
