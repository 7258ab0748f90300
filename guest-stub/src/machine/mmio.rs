// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device registers, by single loads and stores of a general register: the forms a hypervisor can emulate without
//! decoding the instruction.

use core::arch::asm;

macro_rules! access {
    ($read:ident, $write:ident, $type:ty, $load:literal, $store:literal) => {
        /// Reads a register of this width.
        #[inline(always)]
        pub(crate) fn $read(address: u64) -> $type {
            let mut value: u64 = 0;
            // SAFETY: callers pass addresses of device registers or of memory set aside for the test; nothing Rust
            // owns is read.
            unsafe {
                asm!($load, inout("x1") value, in("x0") address, options(nostack, preserves_flags));
            }
            value as $type
        }

        /// Writes a register of this width.
        #[inline(always)]
        pub(crate) fn $write(address: u64, value: $type) {
            // SAFETY: callers pass addresses of device registers or of memory set aside for the test; nothing Rust
            // owns is written.
            unsafe {
                asm!($store, in("x1") u64::from(value), in("x0") address, options(nostack, preserves_flags));
            }
        }
    };
}

access!(read8, write8, u8, "ldrb w1, [x0]", "strb w1, [x0]");
access!(read32, write32, u32, "ldr w1, [x0]", "str w1, [x0]");
access!(read64, write64, u64, "ldr x1, [x0]", "str x1, [x0]");
