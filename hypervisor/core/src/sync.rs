// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks with a rank: they are taken in strictly rising rank, which tests check.
//!
//! A ticket lock, so that nobody starves; [`SpinLock`] is for what all CPUs need often. EL2 runs
//! with interrupts masked, so no lock has an irq-saving form. A wait for another CPU never happens
//! under a lock.

use core::fmt;
use core::ops::{Deref, DerefMut};
use spin::mutex::{SpinMutex, SpinMutexGuard, TicketMutex, TicketMutexGuard};

/// The ranks, outermost first.
pub mod rank {
    /// The table of domains.
    pub const DOMAINS: u8 = 20;
    /// A domain's life: state, pause count, memory accounting.
    pub const DOMAIN: u8 = 30;
    /// Where a page of the hypervisor's is mapped in its domain; the grant tables are one below.
    pub const GRANT: u8 = 40;
    /// A domain's stage-2 tables.
    pub const P2M: u8 = 50;
    /// Lists of free frames.
    pub const FRAMES: u8 = 60;
    /// A domain's event channels.
    pub const EVTCHN: u8 = 70;
    /// A vCPU's emulated physical timer, a domain's UART.
    pub const VGIC_DIST: u8 = 80;
    /// A vCPU's interrupt lists.
    pub const VGIC_CPU: u8 = 85;
    /// A pool's run queue.
    pub const RUNQ: u8 = 90;
    /// A CPU's timers.
    pub const TIMER: u8 = 95;
    /// The hypervisor's heap.
    pub const HEAP: u8 = 98;
    /// The console and its log ring.
    pub const CONSOLE: u8 = 99;
}

/// A mutual exclusion lock of rank `RANK`.
pub struct Lock<T: ?Sized, const RANK: u8>(TicketMutex<T>);

impl<T, const RANK: u8> Lock<T, RANK> {
    /// A free lock around `value`.
    pub const fn new(value: T) -> Self {
        Self(TicketMutex::new(value))
    }
}

impl<T: ?Sized, const RANK: u8> Lock<T, RANK> {
    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T, RANK> {
        order::take(RANK);
        Ranked(self.0.lock())
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<Guard<'_, T, RANK>> {
        let guard = self.0.try_lock()?;
        order::take(RANK);
        Some(Ranked(guard))
    }

    /// Waits for two locks of one rank, the one at the lower address first. `other` may be the
    /// same lock as `self`: then it is taken once.
    pub fn lock_pair<'a>(&'a self, other: &'a Self) -> Pair<'a, T, RANK> {
        let (a, b) = (&raw const *self, &raw const *other);
        if core::ptr::addr_eq(a, b) {
            return Pair(self.lock(), None);
        }
        let self_first = a.cast::<u8>() < b.cast::<u8>();
        let (low, high) = if self_first {
            (self, other)
        } else {
            (other, self)
        };
        let low = low.lock();
        order::take_second(RANK);
        let high = Ranked(high.0.lock());
        if self_first {
            Pair(low, Some(high))
        } else {
            Pair(high, Some(low))
        }
    }
}

impl<T: ?Sized, const RANK: u8> fmt::Debug for Lock<T, RANK> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lock<{RANK}>")
    }
}

/// As [`Lock`], but not first come, first served: it goes to a CPU that waits and runs. In a line,
/// one CPU that an emulator or a hypervisor below has stopped would stop all that are behind it.
pub struct SpinLock<T, const RANK: u8>(SpinMutex<T>);

impl<T, const RANK: u8> SpinLock<T, RANK> {
    /// A free lock around `value`.
    pub const fn new(value: T) -> Self {
        Self(SpinMutex::new(value))
    }

    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> Ranked<SpinMutexGuard<'_, T>, RANK> {
        order::take(RANK);
        Ranked(self.0.lock())
    }
}

/// Holds a [`Lock`]; frees it when dropped.
pub type Guard<'a, T, const RANK: u8> = Ranked<TicketMutexGuard<'a, T>, RANK>;

/// Holds a lock of rank `RANK` by the guard `G`; frees it when dropped.
#[must_use]
pub struct Ranked<G, const RANK: u8>(G);

impl<G: Deref, const RANK: u8> Deref for Ranked<G, RANK> {
    type Target = G::Target;
    #[inline]
    fn deref(&self) -> &G::Target {
        &self.0
    }
}
impl<G: DerefMut, const RANK: u8> DerefMut for Ranked<G, RANK> {
    #[inline]
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.0
    }
}
impl<G, const RANK: u8> Drop for Ranked<G, RANK> {
    #[inline]
    fn drop(&mut self) {
        order::release(RANK);
    }
}

/// Holds two locks of one rank, or one that is both.
#[must_use]
pub struct Pair<'a, T: ?Sized, const RANK: u8>(Guard<'a, T, RANK>, Option<Guard<'a, T, RANK>>);

impl<T: ?Sized, const RANK: u8> Pair<'_, T, RANK> {
    /// What [`Lock::lock_pair`]'s `self` protects.
    pub fn first(&mut self) -> &mut T {
        &mut self.0
    }
    /// What its `other` protects.
    pub fn second(&mut self) -> &mut T {
        self.1.as_deref_mut().unwrap_or(&mut self.0)
    }
}

/// The rank checker of host tests: one stack of held ranks a thread.
#[cfg(any(test, feature = "fake"))]
mod order {
    use std::cell::RefCell;
    use std::vec::Vec;

    std::thread_local! {
        static HELD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn take(rank: u8) {
        HELD.with_borrow_mut(|held| {
            if let Some(&top) = held.iter().max() {
                assert!(
                    rank > top,
                    "lock order: rank {rank} taken while holding rank {top}"
                );
            }
            held.push(rank);
        });
    }

    /// The second lock of a pair: `rank` is the highest held already.
    pub(super) fn take_second(rank: u8) {
        HELD.with_borrow_mut(|held| held.push(rank));
    }

    pub(super) fn release(rank: u8) {
        HELD.with_borrow_mut(|held| {
            if let Some(at) = held.iter().rposition(|&r| r == rank) {
                held.remove(at);
            }
        });
    }
}

#[cfg(not(any(test, feature = "fake")))]
mod order {
    #[inline(always)]
    pub(super) fn take(_: u8) {}
    #[inline(always)]
    pub(super) fn take_second(_: u8) {}
    #[inline(always)]
    pub(super) fn release(_: u8) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rising_ranks_are_fine() {
        let (a, b) = (Lock::<_, 1>::new(1), Lock::<_, 2>::new(2));
        let ga = a.lock();
        let gb = b.lock();
        drop(ga);
        drop(gb);
        let _b = b.lock();
    }

    #[test]
    fn pairs_are_taken_in_either_order() {
        let locks = [Lock::<_, 1>::new(1), Lock::<_, 1>::new(2)];
        for (a, b) in [(0, 1), (1, 0), (1, 1)] {
            let mut pair = locks[a].lock_pair(&locks[b]);
            assert_eq!((*pair.first(), *pair.second()), (a + 1, b + 1));
        }
        let _rank_is_free_again = locks[0].lock();
    }

    #[test]
    #[should_panic(expected = "lock order")]
    fn both_kinds_have_ranks() {
        let (a, b) = (Lock::<_, 1>::new(1), SpinLock::<_, 2>::new(2));
        let _b = b.lock();
        let _a = a.lock();
    }

    #[test]
    #[should_panic(expected = "lock order")]
    fn falling_ranks_are_caught() {
        let (a, b) = (Lock::<_, 1>::new(1), Lock::<_, 2>::new(2));
        let _b = b.lock();
        let _a = a.lock();
    }
}
