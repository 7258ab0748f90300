// SPDX-License-Identifier: MIT OR Apache-2.0
//! Firmware calls (SMCCC, PSCI) by HVC.

use core::arch::asm;

/// SMCCC version.
pub(crate) const SMCCC_VERSION: u64 = 0x8000_0000;
/// PSCI version.
pub(crate) const VERSION: u64 = 0x8400_0000;
/// Stops the calling CPU.
pub(crate) const CPU_OFF: u64 = 0x8400_0002;
/// Starts a CPU: affinity, entry, context.
pub(crate) const CPU_ON: u64 = 0xc400_0003;
/// State of a CPU: affinity, level.
pub(crate) const AFFINITY_INFO: u64 = 0xc400_0004;
/// Whether the trusted OS can migrate.
pub(crate) const MIGRATE_INFO_TYPE: u64 = 0x8400_0006;
/// Switches the machine off.
pub(crate) const SYSTEM_OFF: u64 = 0x8400_0008;
/// Restarts the machine.
pub(crate) const SYSTEM_RESET: u64 = 0x8400_0009;
/// Asks whether a function exists.
pub(crate) const FEATURES: u64 = 0x8400_000a;

macro_rules! conduit {
    ($(#[$doc:meta])* $name:ident, $instruction:literal) => {
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name(function: u64, arguments: [u64; 3]) -> [u64; 4] {
            let [mut x0, mut x1, mut x2, mut x3] = [function, arguments[0], arguments[1], arguments[2]];
            // SAFETY: the calls made here write no memory; x4-x17 are given up as SMCCC 1.0 allows the callee.
            unsafe {
                asm!($instruction, inout("x0") x0, inout("x1") x1, inout("x2") x2, inout("x3") x3,
                    lateout("x4") _, lateout("x5") _, lateout("x6") _, lateout("x7") _, lateout("x8") _,
                    lateout("x9") _, lateout("x10") _, lateout("x11") _, lateout("x12") _, lateout("x13") _,
                    lateout("x14") _, lateout("x15") _, lateout("x16") _, lateout("x17") _, options(nostack));
            }
            [x0, x1, x2, x3]
        }
    };
}

conduit! {
    /// Calls by `hvc #0`; x0-x3 as they come back.
    hvc, "hvc #0"
}
conduit! {
    /// Calls by `smc #0`; x0-x3 as they come back.
    smc, "smc #0"
}

/// Calls a function that answers a 32-bit status.
pub(crate) fn call(function: u64, arguments: [u64; 3]) -> i32 {
    let [x0, ..] = hvc(function, arguments);
    x0 as i32
}

/// Switches the machine off.
pub(crate) fn system_off() -> ! {
    hvc(SYSTEM_OFF, [0; 3]);
    loop {
        super::barrier::wfi();
    }
}
