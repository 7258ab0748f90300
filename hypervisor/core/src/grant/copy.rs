// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copying within and between domains' pages, granted or the caller's own.

use super::GrantError;
use super::entry::Claim;
use super::pin::{Pin, own_page};
use crate::addr::{DomId, Gfn, Mfn, PAGE_SIZE};
use crate::domain::Domain;
use crate::frame::PageRef;
use crate::hw::DirectMap;

/// Which page.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// A grant.
    Grant(u32),
    /// A frame of the caller's own.
    Frame(Gfn),
}

/// One end of a copy.
#[derive(Clone, Copy)]
pub struct End<'a> {
    /// Whose page.
    pub domain: &'a Domain,
    /// Which.
    pub page: Source,
    /// The first byte.
    pub offset: u16,
}

/// A page that stays what it is.
enum Held<'a> {
    Pinned(Pin<'a>),
    Own(PageRef),
}

impl Held<'_> {
    fn mfn(&self) -> Mfn {
        match self {
            Self::Pinned(pin) => pin.mfn(),
            Self::Own(page) => page.mfn(),
        }
    }
}

impl<'a> End<'a> {
    /// Holds the page for a copy that `by` makes.
    fn hold(&self, by: DomId, write: bool) -> Result<Held<'a>, GrantError> {
        match self.page {
            Source::Grant(reference) => {
                let claim = Claim { by, write, map: false };
                Pin::new(self.domain, reference, claim).map(Held::Pinned)
            }
            Source::Frame(gfn) => {
                let page = own_page(self.domain, gfn, write);
                page.map(Held::Own).ok_or(GrantError::BadPage)
            }
        }
    }
}

/// Copies `len` bytes for `by`.
///
/// # Errors
/// What [`Pin::new`] says; `BadPage` for a frame that is not memory of the caller's; `BadCopy` if
/// an end leaves its page.
pub fn copy(by: DomId, from: End<'_>, to: End<'_>, len: u16) -> Result<(), GrantError> {
    let source = from.hold(by, false)?;
    let dest = to.hold(by, true)?;
    let fits = |offset: u16| u64::from(offset).saturating_add(len.into()) <= PAGE_SIZE;
    if !fits(from.offset) || !fits(to.offset) {
        return Err(GrantError::BadCopy);
    }
    let map = from.domain.sys.map;
    let at = |page: &Held<'_>, offset: u16| byte(map, page.mfn(), offset);
    // SAFETY: both pages are RAM that is held, and the bytes are inside them.
    unsafe { copy_bytes(at(&source, from.offset), at(&dest, to.offset), len.into()) };
    Ok(())
}

/// Where byte `offset` of a page is visible.
fn byte(map: DirectMap, mfn: Mfn, offset: u16) -> *mut u8 {
    map.ptr(mfn.base()).wrapping_add(offset.into())
}

/// Copies `len` bytes in rising order, by the largest words both addresses are aligned to.
///
/// # Safety
/// `from` is readable and `to` writable for `len` bytes. Guests may use both meanwhile, and they
/// may overlap.
unsafe fn copy_bytes(from: *const u8, to: *mut u8, len: usize) {
    let (mut from, mut to, mut left) = (from, to, len);
    let apart = from.addr() ^ to.addr();
    if apart & 7 == 0 {
        // Up to where both are aligned.
        let head = (from.addr().wrapping_neg() & 7).min(left);
        // SAFETY: the caller's.
        unsafe { words::<u8>(&mut from, &mut to, &mut left, head) };
        // SAFETY: the caller's; both are aligned for it.
        unsafe { words::<[u64; 8]>(&mut from, &mut to, &mut left, usize::MAX) };
        // SAFETY: as before.
        unsafe { words::<u64>(&mut from, &mut to, &mut left, usize::MAX) };
    }
    // SAFETY: the caller's.
    unsafe { words::<u8>(&mut from, &mut to, &mut left, usize::MAX) };
}

/// Copies as many `W` as there are in `left` bytes, `limit` at most.
///
/// # Safety
/// As [`copy_bytes`], and both are aligned for `W`.
unsafe fn words<W>(from: &mut *const u8, to: &mut *mut u8, left: &mut usize, limit: usize) {
    for _ in 0..limit.min(left.checked_div(size_of::<W>()).unwrap_or(0)) {
        // SAFETY: the caller's: a whole word is left, aligned.
        unsafe { to.cast::<W>().write_volatile(from.cast::<W>().read_volatile()) };
        *from = from.wrapping_add(size_of::<W>());
        *to = to.wrapping_add(size_of::<W>());
        *left = left.saturating_sub(size_of::<W>());
    }
}
