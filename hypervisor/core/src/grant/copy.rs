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
                let claim = Claim {
                    by,
                    write,
                    map: false,
                };
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

/// Copies `len` bytes by the largest words that both addresses can be aligned to, or else by
/// words that are put together from two of the source.
///
/// # Safety
/// `from` is readable and `to` writable for `len` bytes, and whatever else the aligned 8 bytes
/// around each byte of `from` hold is readable too. Guests may use both meanwhile, and they may
/// overlap.
unsafe fn copy_bytes(from: *const u8, to: *mut u8, len: usize) {
    let apart = from.addr() ^ to.addr();
    let aligned = |size: usize| apart.is_multiple_of(size);
    let up_to = |size: usize| (to.addr().wrapping_neg() & size.wrapping_sub(1)).min(len);
    // SAFETY: the caller's, for the bytes before the first aligned word, the words, and the rest.
    unsafe {
        let mut done;
        if aligned(16) {
            done = copy_words::<u8>(from, to, 0, up_to(16));
            done = copy_words::<u128>(from, to, done, len);
        } else {
            done = copy_words::<u8>(from, to, 0, up_to(8));
            done = if aligned(8) {
                copy_words::<u64>(from, to, done, len)
            } else {
                copy_shifted(from, to, done, len)
            };
        }
        copy_words::<u8>(from, to, done, len);
    }
}

/// As [`copy_words`] of `u64`, for a source that is not aligned where the destination is: each
/// aligned word of the source is read once, and has parts of two words of the destination. Bytes
/// are in little-endian order, as everything that runs this has them.
///
/// # Safety
/// As [`copy_bytes`]. `to` is aligned to the word from `start` on, and `from` is not.
unsafe fn copy_shifted(from: *const u8, to: *mut u8, start: usize, end: usize) -> usize {
    const WORD: usize = size_of::<u64>();
    const UNROLLED: usize = 4;
    let words = end.saturating_sub(start) / WORD;
    if words == 0 {
        return start;
    }
    let (from, to) = (from.wrapping_add(start), to.wrapping_add(start));
    let into_word = from.addr() % WORD;
    let down = u8::BITS.wrapping_mul(into_word as u32);
    let up = u64::BITS.wrapping_sub(down);
    let mut source = from.wrapping_sub(into_word).cast::<u64>();
    let mut dest = to.cast::<u64>();
    // SAFETY: aligned, and a byte of it is to be copied.
    let mut low = unsafe { source.read_volatile() };
    let mut step = || {
        source = source.wrapping_add(1);
        // SAFETY: aligned, and the first byte is one to copy; so are the eight of the destination.
        unsafe {
            let high = source.read_volatile();
            dest.write_volatile(low.wrapping_shr(down) | high.wrapping_shl(up));
            low = high;
        }
        dest = dest.wrapping_add(1);
    };
    for _ in 0..words / UNROLLED {
        (0..UNROLLED).for_each(|_| step());
    }
    (0..words % UNROLLED).for_each(|_| step());
    start.saturating_add(words.saturating_mul(WORD))
}

/// Copies the whole words from byte `start` that end before `end`, each read and written once.
/// Returns where the first begins that does not.
///
/// # Safety
/// As [`copy_bytes`], and both addresses are aligned to the word from `start` on.
#[inline]
unsafe fn copy_words<W: Copy>(from: *const u8, to: *mut u8, start: usize, end: usize) -> usize {
    const UNROLLED: usize = 8;
    let mut at = start;
    let left = |at: usize| {
        end.saturating_sub(at)
            .checked_div(size_of::<W>())
            .unwrap_or(0)
    };
    let word = |at: usize| {
        (
            from.wrapping_add(at).cast::<W>(),
            to.wrapping_add(at).cast::<W>(),
        )
    };
    while left(at) >= UNROLLED {
        let (source, dest) = word(at);
        let words: [W; UNROLLED] = core::array::from_fn(|n| {
            // SAFETY: aligned and within the caller's bound.
            unsafe { source.add(n).read_volatile() }
        });
        for (n, word) in words.into_iter().enumerate() {
            // SAFETY: as before.
            unsafe { dest.add(n).write_volatile(word) };
        }
        at = at.saturating_add(size_of::<[W; UNROLLED]>());
    }
    while left(at) > 0 {
        let (source, dest) = word(at);
        // SAFETY: as before.
        unsafe { dest.write_volatile(source.read_volatile()) };
        at = at.saturating_add(size_of::<W>());
    }
    at
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]
mod tests {
    use super::*;

    /// Memory that is aligned as a page.
    #[repr(align(64))]
    struct Aligned([u8; 192]);

    #[test]
    fn copies_what_it_is_asked_and_nothing_else_however_it_is_aligned() {
        let from = Aligned(core::array::from_fn(|at| at as u8));
        for (source, dest) in (0..17).flat_map(|s| (0..17).map(move |d| (s, d))) {
            for len in 0..=96 {
                let mut to = Aligned([0xff; 192]);
                // SAFETY: within both arrays, which end on a word.
                unsafe {
                    let (from, to) = (from.0.as_ptr(), to.0.as_mut_ptr());
                    copy_bytes(from.add(source), to.add(dest), len);
                }
                let mut expected = [0xff; 192];
                expected[dest..dest + len].copy_from_slice(&from.0[source..source + len]);
                assert_eq!(to.0, expected, "{len} bytes from {source} to {dest}");
            }
        }
    }
}
