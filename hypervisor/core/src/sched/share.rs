// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a domain is to have of the CPUs' time: its pool, its weight against others, and its cap.
//!
//! A cap is a percentage of one CPU for the whole domain. It gives a budget for each period of
//! 10 ms; what is not used is not kept, what was used too much is taken off the next. A CPU takes a
//! piece of the budget before it runs one of the domain's vCPUs, and gives back what is left.

use core::sync::atomic::{AtomicI64, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Default weight of a domain (credit2's).
pub const DEFAULT_WEIGHT: u16 = 256;

/// A domain's share of the CPUs' time. The budget changes under the lock of the domain's queue.
pub struct Share {
    weight: AtomicU16,
    cap: AtomicU16,
    pool: AtomicU32,
    queue: AtomicU32,
    nr_vcpus: u32,
    budget: AtomicI64,
    period_end: AtomicU64,
}

impl Share {
    /// Of a domain of `nr_vcpus` in the first pool: no more and no less than others.
    pub const fn new(nr_vcpus: u32) -> Self {
        Self {
            weight: AtomicU16::new(DEFAULT_WEIGHT),
            cap: AtomicU16::new(0),
            pool: AtomicU32::new(0),
            queue: AtomicU32::new(0),
            nr_vcpus,
            budget: AtomicI64::new(0),
            period_end: AtomicU64::new(0),
        }
    }

    /// Its weight against other domains'.
    pub fn weight(&self) -> u16 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Sets [`weight`](Self::weight); 0 means 1.
    pub fn set_weight(&self, weight: u16) {
        self.weight.store(weight.max(1), Ordering::Relaxed);
    }

    /// Its limit in percent of a CPU, 0 for none.
    pub fn cap(&self) -> u16 {
        self.cap.load(Ordering::Relaxed)
    }

    /// The number of its pool.
    pub fn pool(&self) -> u32 {
        self.pool.load(Ordering::Relaxed)
    }

    pub(super) fn queue(&self) -> u32 {
        self.queue.load(Ordering::SeqCst)
    }

    pub(super) fn set_pool(&self, pool: u32, queue: u32) {
        self.pool.store(pool, Ordering::Relaxed);
        self.queue.store(queue, Ordering::SeqCst);
    }

    /// Another cap, with a whole period's budget.
    pub(super) fn set_cap(&self, cap: u16) {
        self.cap.store(cap, Ordering::Relaxed);
        self.budget.store(0, Ordering::Relaxed);
        self.period_end.store(0, Ordering::Relaxed);
    }

    pub(super) fn period_end(&self) -> u64 {
        self.period_end.load(Ordering::Relaxed)
    }

    /// A whole period's budget.
    fn whole(&self, period: u64) -> i64 {
        let ticks = period.saturating_mul(self.cap().into()) / 100;
        i64::try_from(ticks).unwrap_or(i64::MAX)
    }

    /// Begins the periods that have come by `now`.
    fn refill(&self, now: u64, period: u64) {
        let end = match self.period_end() {
            // The first.
            0 => now,
            end => end,
        };
        let Some(late) = now.checked_sub(end) else {
            return;
        };
        let periods = late.checked_div(period).unwrap_or(0).saturating_add(1);
        let whole = self.whole(period);
        let gain = whole.saturating_mul(i64::try_from(periods).unwrap_or(i64::MAX));
        let budget = self.budget.load(Ordering::Relaxed).saturating_add(gain);
        self.budget.store(budget.min(whole), Ordering::Relaxed);
        let end = end.saturating_add(periods.saturating_mul(period));
        self.period_end.store(end, Ordering::Relaxed);
    }

    /// True if the budget is used up at `now`.
    pub(super) fn is_used_up(&self, now: u64, period: u64) -> bool {
        if self.cap() == 0 {
            return false;
        }
        self.refill(now, period);
        self.budget.load(Ordering::Relaxed) <= 0
    }

    /// Takes a piece for one vCPU: `None` if there is no limit. Not to be asked when it
    /// [is used up](Self::is_used_up).
    pub(super) fn take(&self, period: u64) -> Option<u64> {
        if self.cap() == 0 {
            return None;
        }
        let budget = self.budget.load(Ordering::Relaxed).max(0);
        let all = self.whole(period);
        let part = all.checked_div(self.nr_vcpus.max(1).into()).unwrap_or(all);
        // Not so little that running it costs more than it gives.
        let least = i64::try_from(period / 20).unwrap_or(i64::MAX);
        let piece = budget.min(part.max(least));
        self.budget
            .store(budget.saturating_sub(piece), Ordering::Relaxed);
        Some(u64::try_from(piece).unwrap_or(0))
    }

    /// Gives a piece back of which `used` was used, which may be more than all.
    pub(super) fn give_back(&self, piece: u64, used: u64) {
        let signed = |ticks| i64::try_from(ticks).unwrap_or(i64::MAX);
        let left = signed(piece).saturating_sub(signed(used));
        self.budget.fetch_add(left, Ordering::Relaxed);
    }
}
