// SPDX-License-Identifier: MIT OR Apache-2.0

//! The barriers drivers need; only a compiler barrier on a host.

use core::sync::atomic::{Ordering, compiler_fence};

macro_rules! barrier {
    ($(#[$doc:meta])* $name:ident, $instruction:literal) => {
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name() {
            #[cfg(target_arch = "aarch64")]
            // SAFETY: a barrier orders accesses and changes no state.
            unsafe {
                core::arch::asm!($instruction, options(nostack, preserves_flags));
            }
            compiler_fence(Ordering::SeqCst);
        }
    };
}

barrier! {
    /// Context synchronization: later instructions see earlier system register writes.
    isb, "isb"
}
barrier! {
    /// Everything before is complete before anything after starts.
    dsb_sy, "dsb sy"
}
barrier! {
    /// Earlier stores are visible to all CPUs before anything after starts.
    dsb_ishst, "dsb ishst"
}
