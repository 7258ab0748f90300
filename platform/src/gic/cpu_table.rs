// SPDX-License-Identifier: MIT OR Apache-2.0

//! What each CPU found of itself in the interrupt controller, keyed by affinity, without a lock.

use super::encoding::affinity;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Slots, twice the CPUs supported, so that probes stay short.
const SLOTS: usize = 256;

/// Set in a slot's key to tell affinity 0 from an empty slot.
const PRESENT: u64 = 1 << 63;

struct Slot {
    key: AtomicU64,
    value: AtomicUsize,
}

/// A map from affinity to a word. A CPU enters itself; any CPU looks up.
pub(super) struct CpuTable {
    slots: [Slot; SLOTS],
}

impl CpuTable {
    pub(super) const fn new() -> Self {
        Self {
            slots: [const {
                Slot {
                    key: AtomicU64::new(0),
                    value: AtomicUsize::new(0),
                }
            }; SLOTS],
        }
    }

    /// Slots to try for an affinity, the likeliest first.
    fn probe(&self, mpidr: u64) -> impl Iterator<Item = &Slot> {
        // Aff0 numbers threads or CPUs, Aff1 CPUs or clusters, Aff2 clusters: spread all three.
        let start = (mpidr & 0xff) + 8 * (mpidr >> 8 & 0xff) + 32 * (mpidr >> 16 & 0xff);
        let start = start as usize % SLOTS;
        let (wrapped, first) = self.slots.split_at(start);
        first.iter().chain(wrapped)
    }

    /// Enters or changes the word of the CPU with affinity `mpidr`; false if the table is full.
    #[must_use]
    pub(super) fn set(&self, mpidr: u64, value: usize) -> bool {
        let key = affinity(mpidr) | PRESENT;
        let slot = self.probe(mpidr).find(|slot| {
            slot.key
                .compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
                || slot.key.load(Ordering::Relaxed) == key
        });
        slot.inspect(|slot| slot.value.store(value, Ordering::Release))
            .is_some()
    }

    /// The word of the CPU with affinity `mpidr`, never 0, if it has entered itself.
    pub(super) fn get(&self, mpidr: u64) -> Option<usize> {
        let key = affinity(mpidr) | PRESENT;
        self.probe(mpidr)
            .map(|slot| (slot.key.load(Ordering::Relaxed), slot))
            .take_while(|(found, _)| *found != 0)
            .find(|(found, _)| *found == key)
            .map(|(_, slot)| slot.value.load(Ordering::Acquire))
            .filter(|&value| value != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_find_themselves_whatever_their_affinities() {
        let table = CpuTable::new();
        let mpidr = |n: usize| (n % 4) as u64 | (n as u64 / 4 % 8) << 8 | (n as u64 / 32) << 16;
        assert_eq!(table.get(0), None);
        for n in 0..SLOTS {
            assert!(table.set(mpidr(n) | 1 << 31, n + 1));
            assert!(table.set(mpidr(n), n + 1), "again");
        }
        assert!((0..SLOTS).all(|n| table.get(mpidr(n)) == Some(n + 1)));
        assert!(!table.set(0x1_0000_0000, 1), "full");
        assert_eq!(table.get(0x1_0000_0000), None);
    }
}
