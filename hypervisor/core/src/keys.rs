// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pace of the debug keys. What a key shows may be long, and a console is slow: it is shown in
//! pieces, between which interrupts come and vCPUs run.

use crate::system::System;
use crate::timer::Purpose;
use core::sync::atomic::{AtomicU64, Ordering};

/// A key's output goes on from here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct At {
    /// The domain with this number, or the next one.
    pub domain: u16,
    /// What of this domain's comes next; what that is depends on the key.
    pub item: u32,
}

/// A key whose output was interrupted, if there is one.
pub struct Showing(AtomicU64);

impl Showing {
    /// Nothing was.
    pub const fn none() -> Self {
        Self(AtomicU64::new(0))
    }

    /// `key` is to go on from `at`.
    pub(crate) fn put(&self, key: u8, at: At) {
        let word = 1 << 63 | u64::from(key) << 48 | u64::from(at.domain) << 32 | u64::from(at.item);
        self.0.store(word, Ordering::Relaxed);
    }

    /// What is to go on, for the caller to do.
    pub(crate) fn take(&self) -> Option<(u8, At)> {
        let word = self.0.swap(0, Ordering::Relaxed);
        let at = At {
            domain: (word >> 32) as u16,
            item: word as u32,
        };
        (word != 0).then_some(((word >> 48) as u8, at))
    }
}

/// Pieces of what a typed key shows in a second, at least.
const PACE: u64 = 1000;

impl System {
    /// `key` was typed on the console.
    pub fn type_key(&self, key: u8) {
        self.show_typed(key, None);
    }

    /// Goes on with what a typed key shows.
    pub(crate) fn go_on_showing(&self) {
        if let Some((key, at)) = self.typed.take() {
            self.show_typed(key, Some(at));
        }
    }

    fn show_typed(&self, key: u8, from: Option<At>) {
        if let Some(at) = self.hw.debug_key(key, from) {
            self.typed.put(key, at);
            let span = self.hw.frequency() / PACE;
            let deadline = self.hw.now().saturating_add(span);
            self.timers.set(self.hw, deadline, Purpose::Keys);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_interrupted_is_told_once() {
        let showing = Showing::none();
        assert_eq!(showing.take(), None);
        let last = At {
            domain: u16::MAX,
            item: u32::MAX,
        };
        for (key, at) in [(0, At::default()), (b'e', last), (255, At::default())] {
            showing.put(key, at);
            assert_eq!(showing.take(), Some((key, at)));
            assert_eq!(showing.take(), None);
        }
    }
}
