// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that a guest and the hypervisor both write: `shared_info`, `vcpu_info`, FIFO control
//! blocks and event arrays.
//!
//! There is never a plain reference to such memory, only atomics. Compiled for Armv8.0, an atomic
//! read-modify-write is a loop of exclusive loads and stores, and a guest that keeps writing the
//! line can make the store fail for ever. So words are changed by [`GuestAtomic::change`] alone: a
//! loop of weak exchanges, each one try, that gives up with [`Starved`].

#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use crate::addr::{Mfn, PAGE_SIZE};
use crate::hw::DirectMap;
use alloc::sync::Arc;
use core::any::Any;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// What keeps a page allocated: a counted reference to its frame. Dropping it may take the locks
/// of the frame allocator.
pub type PageKeep = Arc<dyn Any + Send + Sync>;

/// A page both sides write.
#[derive(Clone)]
pub struct SharedPage {
    map: DirectMap,
    mfn: Mfn,
    _keep: Option<PageKeep>,
}

macro_rules! view {
    ($(#[$doc:meta])* $name:ident, $atomic:ty) => {
        $(#[$doc])*
        #[inline]
        pub fn $name(&self, offset: usize) -> Option<&$atomic> {
            let size = size_of::<$atomic>();
            if !offset.is_multiple_of(size) || offset >= PAGE_SIZE as usize {
                return None;
            }
            let ptr = self.map.ptr(self.mfn.base()).wrapping_add(offset);
            // SAFETY: `new`'s contract: the page is mapped and stays so while `self` lives. The
            // offset is aligned and the page is a multiple of the size, so all of it is inside.
            Some(unsafe { <$atomic>::from_ptr(ptr.cast()) })
        }
    };
}

impl SharedPage {
    /// The page `mfn`, seen through `map`.
    ///
    /// # Safety
    /// The page is RAM that `map` maps, stays allocated while `keep` does (or, without one, while
    /// the value and its clones live), and Rust code sees it only as atomics meanwhile.
    pub const unsafe fn new(map: DirectMap, mfn: Mfn, keep: Option<PageKeep>) -> Self {
        Self {
            map,
            mfn,
            _keep: keep,
        }
    }

    /// The page's frame.
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }

    view!(
        /// The byte at `offset`; `None` outside the page.
        atomic_u8,
        AtomicU8
    );
    view!(
        /// The 16-bit word at `offset`; `None` outside the page or unaligned.
        atomic_u16,
        AtomicU16
    );
    view!(
        /// The 32-bit word at `offset`; `None` outside the page or unaligned.
        atomic_u32,
        AtomicU32
    );
    view!(
        /// The 64-bit word at `offset`; `None` outside the page or unaligned.
        atomic_u64,
        AtomicU64
    );

    /// Copies out the bytes from `offset`, each once; `None`, and nothing copied, if they leave
    /// the page.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Option<()> {
        Self::inside(offset, out.len())?;
        for (at, byte) in (offset..).zip(out) {
            *byte = self.atomic_u8(at)?.load(Ordering::Relaxed);
        }
        Some(())
    }

    /// Copies `bytes` in at `offset`; `None`, and nothing copied, if they leave the page.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Option<()> {
        Self::inside(offset, bytes.len())?;
        for (at, byte) in (offset..).zip(bytes) {
            self.atomic_u8(at)?.store(*byte, Ordering::Relaxed);
        }
        Some(())
    }

    fn inside(offset: usize, len: usize) -> Option<()> {
        (offset.checked_add(len)? <= PAGE_SIZE as usize).then_some(())
    }
}

/// The guest kept a word changing for as long as the hypervisor was willing to try. Only malice
/// does that: the domain should be crashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Starved;

/// Tries before a guest counts as hostile. An honest one changes a word a few times at most
/// while an exchange is under way.
const TRIES: u32 = 512;

/// A word the guest changes too.
pub trait GuestAtomic {
    /// What it holds.
    type Value;
    /// Replaces the value `v` by `f(v)`, or leaves it if that is `None`; returns `v`. Sequentially
    /// consistent if it writes, which it does even when the value stays the same: who sets a bit
    /// that is set already is thereby ordered before the guest that clears it.
    fn change(
        &self,
        f: impl FnMut(Self::Value) -> Option<Self::Value>,
    ) -> Result<Self::Value, Starved>;
}

macro_rules! guest_atomic {
    ($($atomic:ty = $value:ty),*) => {$(
        impl GuestAtomic for $atomic {
            type Value = $value;
            #[inline]
            fn change(&self, mut f: impl FnMut($value) -> Option<$value>) -> Result<$value, Starved> {
                let mut old = self.load(Ordering::Acquire);
                for _ in 0..TRIES {
                    let Some(new) = f(old) else { return Ok(old) };
                    // Weak: the strong form loops inside when the store fails but the value is
                    // the same.
                    match self.compare_exchange_weak(old, new, Ordering::SeqCst, Ordering::Acquire) {
                        Ok(_) => return Ok(old),
                        Err(now) => old = now,
                    }
                }
                Err(Starved)
            }
        }
    )*};
}
guest_atomic!(
    AtomicU8 = u8,
    AtomicU16 = u16,
    AtomicU32 = u32,
    AtomicU64 = u64
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::fake::FakeRam;

    fn page() -> SharedPage {
        let ram = FakeRam::new(0x4000_0000, 2 << 20);
        // SAFETY: fake RAM is never freed, and only this page's atomics touch it.
        unsafe { SharedPage::new(ram.map, Mfn(0x40000), None) }
    }

    #[test]
    fn views_stay_inside_and_aligned() {
        let page = page();
        assert!(page.atomic_u8(4095).is_some());
        assert!(page.atomic_u8(4096).is_none());
        assert!(page.atomic_u64(4088).is_some());
        assert!(page.atomic_u64(4092).is_none());
        assert!(page.atomic_u64(4096).is_none());
        assert!(page.atomic_u32(2).is_none());
        assert!(page.atomic_u16(usize::MAX - 1).is_none());
    }

    #[test]
    fn bytes_are_copied_whole_or_not_at_all() {
        let page = page();
        assert_eq!(page.write(4093, &[1, 2, 3]), Some(()));
        assert_eq!(page.write(4094, &[9, 9, 9]), None);
        let mut out = [0; 3];
        assert_eq!(page.read(4093, &mut out), Some(()));
        assert_eq!(out, [1, 2, 3]);
        assert_eq!(page.read(usize::MAX, &mut out), None);
    }

    #[test]
    fn change_returns_the_old_value() {
        let page = page();
        let word = page.atomic_u32(8).unwrap();
        word.store(5, Ordering::Relaxed);
        assert_eq!(word.change(|v| Some(v | 2)), Ok(5));
        assert_eq!(word.change(|_| None), Ok(7));
        assert_eq!(word.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn change_gives_up_on_a_word_that_never_rests() {
        let word = AtomicU32::new(0);
        let got = word.change(|v| {
            word.store(v.wrapping_add(1), Ordering::Relaxed);
            Some(0)
        });
        assert_eq!(got, Err(Starved));
    }
}
