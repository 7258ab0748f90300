// SPDX-License-Identifier: MIT OR Apache-2.0

//! A block of device registers that several CPUs access at once.
//!
//! `safe-mmio` is not used for these: its writes need a unique pointer, while the registers of an
//! interrupt controller are made to be written by all CPUs concurrently.

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Loads acquire: set where a CPU has Cortex-A57 erratum 832075.
static LOADS_ACQUIRE: AtomicBool = AtomicBool::new(false);

/// Makes loads of registers acquire from now on, on all CPUs: plain ones beside exclusives may
/// deadlock (Cortex-A57 erratum 832075).
pub fn make_loads_acquire() {
    LOADS_ACQUIRE.store(true, Ordering::Relaxed);
}

/// A mapped block of registers; accesses are checked to lie inside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mmio {
    base: usize,
    size: usize,
}

macro_rules! read {
    ($name:ident, $type:ty, $atomic:ty) => {
        /// Reads the register at `offset`.
        #[inline]
        pub(crate) fn $name(&self, offset: usize) -> $type {
            let at = self.at::<$type>(offset);
            if LOADS_ACQUIRE.load(Ordering::Relaxed) {
                // SAFETY: as below; LDAR is a load like another to a device.
                return unsafe { <$atomic>::from_ptr(at) }.load(Ordering::Acquire);
            }
            // SAFETY: `at` returns an aligned address inside the block, which the maker of `self`
            // promised to be mapped registers.
            unsafe { at.read_volatile() }
        }
    };
}

macro_rules! write {
    ($name:ident, $type:ty) => {
        /// Writes the register at `offset`.
        #[inline]
        pub(crate) fn $name(&self, offset: usize, value: $type) {
            // SAFETY: as for reads; a volatile write races with nothing the compiler knows of.
            unsafe { self.at::<$type>(offset).write_volatile(value) }
        }
    };
}

impl Mmio {
    /// Names the `size` bytes of registers at `base`.
    ///
    /// # Safety
    ///
    /// The range must be mapped as device memory for as long as the value or a copy of it is used,
    /// hold no memory that Rust code owns, and tolerate reads and writes of its registers by any CPU.
    pub(crate) const unsafe fn new(base: usize, size: usize) -> Self {
        Self { base, size }
    }

    /// The `size` bytes at `offset`, which must lie within this block.
    pub(crate) fn sub(&self, offset: usize, size: usize) -> Self {
        assert!(offset <= self.size && size <= self.size - offset);
        Self {
            base: self.base + offset,
            size,
        }
    }

    /// Address of the block.
    pub(crate) fn base(&self) -> usize {
        self.base
    }

    /// Bytes in the block.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        let size = size_of::<T>();
        assert!(offset < self.size && size <= self.size - offset && offset.is_multiple_of(size));
        ptr::with_exposed_provenance_mut(self.base + offset)
    }

    read!(read32, u32, AtomicU32);
    read!(read64, u64, AtomicU64);
    write!(write8, u8);
    write!(write32, u32);
    write!(write64, u64);

    /// Reads the register at `offset` until `done` accepts it; false if it never does.
    ///
    /// Bounded by [`POLLS`] reads, so that a dead device cannot hang the machine.
    #[must_use]
    pub(crate) fn poll(&self, offset: usize, done: impl Fn(u32) -> bool) -> bool {
        (0..POLLS).any(|_| done(self.read32(offset)))
    }
}

/// Upper bound of a wait for a device. A device read takes tens of nanoseconds or more, so this is
/// long for hardware that works (microseconds are usual) and short for a human.
const POLLS: u32 = if cfg!(test) { 1_000 } else { 2_000_000 };

#[cfg(test)]
pub(crate) mod fake {
    //! Plain memory standing for device registers.

    use super::Mmio;

    /// Zeroed memory with the address of a device.
    pub(crate) struct FakeRegisters {
        words: *mut [u64],
    }

    impl FakeRegisters {
        pub(crate) fn new(bytes: usize) -> Self {
            let words = vec![0_u64; bytes / 8].into_boxed_slice();
            Self {
                words: Box::into_raw(words),
            }
        }

        pub(crate) fn base(&self) -> usize {
            self.words.cast::<u64>().expose_provenance()
        }

        pub(crate) fn mmio(&self) -> Mmio {
            // SAFETY: only raw pointers to this memory exist until it is dropped.
            unsafe { Mmio::new(self.base(), self.words.len() * 8) }
        }
    }

    impl Drop for FakeRegisters {
        fn drop(&mut self) {
            // SAFETY: made by `Box::into_raw` in `new` and freed once, here.
            drop(unsafe { Box::from_raw(self.words) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::FakeRegisters;

    #[test]
    fn widths_share_the_memory() {
        let memory = FakeRegisters::new(16);
        let regs = memory.mmio();
        regs.write64(8, 0x1122_3344_5566_7788);
        assert_eq!(regs.read32(8), 0x5566_7788);
        regs.write8(13, 0xaa);
        assert_eq!(regs.read32(12), 0x1122_aa44);
        assert_eq!(regs.sub(8, 8).read32(4), 0x1122_aa44);
    }

    #[test]
    fn loads_that_acquire_read_the_same() {
        let memory = FakeRegisters::new(16);
        let regs = memory.mmio();
        regs.write64(8, 0x1122_3344_5566_7788);
        super::make_loads_acquire();
        assert_eq!(regs.read32(12), 0x1122_3344);
        assert_eq!(regs.read64(8), 0x1122_3344_5566_7788);
    }

    #[test]
    #[should_panic]
    fn outside_is_refused() {
        FakeRegisters::new(16).mmio().read32(16);
    }

    #[test]
    fn poll_gives_up() {
        let memory = FakeRegisters::new(8);
        assert!(!memory.mmio().poll(0, |value| value == 1));
        memory.mmio().write32(0, 1);
        assert!(memory.mmio().poll(0, |value| value == 1));
    }
}
