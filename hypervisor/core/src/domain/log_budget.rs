// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much guests may say in the log: the console is slow, and others wait for it meanwhile.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Lines a domain may cause each second.
pub(super) const OF_ONE: u32 = 10;
/// Lines all domains but the initial one may cause each second.
pub(super) const OF_ALL: u32 = 20;

/// Counts the lines of a second.
#[derive(Default)]
pub struct LogBudget {
    second: AtomicU64,
    used: AtomicU32,
}

impl LogBudget {
    /// Takes a line off the budget of `second`: false if there have been `most`.
    pub(super) fn take(&self, second: u64, most: u32) -> bool {
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.used.store(0, Ordering::Relaxed);
        }
        self.used.fetch_add(1, Ordering::Relaxed) < most
    }
}
