// SPDX-License-Identifier: MIT OR Apache-2.0
//! Barriers and hints.

macro_rules! instruction {
    ($(#[$doc:meta])* $name:ident, $text:literal) => {
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name() {
            // SAFETY: a barrier or hint changes no register and no memory.
            unsafe { core::arch::asm!($text, options(nostack, preserves_flags)) };
        }
    };
}

instruction! {
    /// Context synchronisation.
    isb, "isb"
}
instruction! {
    /// Waits for all memory accesses.
    dsb, "dsb sy"
}
instruction! {
    /// Waits for an interrupt.
    wfi, "wfi"
}
instruction! {
    /// Waits for an event.
    wfe, "wfe"
}
instruction! {
    /// Says that this CPU only waits for another one: an emulator that runs them in turn goes on to the next.
    relax, "yield"
}
instruction! {
    /// Sends an event to all CPUs.
    sev, "sev"
}
instruction! {
    /// Lets interrupts in.
    unmask_irq, "msr daifclr, #2"
}
instruction! {
    /// Keeps interrupts out.
    mask_irq, "msr daifset, #2"
}
