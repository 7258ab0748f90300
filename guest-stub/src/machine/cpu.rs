// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each CPU keeps: the interrupts it took and the fault it expects.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::barrier;
use super::sysreg::read_sysreg;

/// CPUs the kernel has room for.
pub(crate) const MAX_CPUS: usize = 8;
/// Interrupt numbers counted.
const INTIDS: usize = 1024;
/// Interrupts whose order is kept.
const ORDER: usize = 64;

/// One CPU's record.
pub(crate) struct Cpu {
    taken: [AtomicU32; INTIDS],
    order: [AtomicU32; ORDER],
    total: AtomicU32,
    /// Virtual counter at the latest interrupt.
    pub(crate) interrupted_at: AtomicU64,
    /// Depth of [`attempt`](super::exception::attempt).
    pub(super) attempts: AtomicU32,
    /// Faults since the attempt began; ESR, FAR and ELR are those of the first.
    pub(super) faults: AtomicU32,
    pub(super) esr: AtomicU64,
    pub(super) far: AtomicU64,
    pub(super) elr: AtomicU64,
}

static CPUS: [Cpu; MAX_CPUS] = [const { Cpu::new() }; MAX_CPUS];

impl Cpu {
    const fn new() -> Self {
        Self {
            taken: [const { AtomicU32::new(0) }; INTIDS],
            order: [const { AtomicU32::new(0) }; ORDER],
            total: AtomicU32::new(0),
            interrupted_at: AtomicU64::new(0),
            attempts: AtomicU32::new(0),
            faults: AtomicU32::new(0),
            esr: AtomicU64::new(0),
            far: AtomicU64::new(0),
            elr: AtomicU64::new(0),
        }
    }

    /// Records an interrupt.
    pub(super) fn note(&self, intid: u32) {
        let at = self.total.fetch_add(1, Ordering::Relaxed) as usize;
        if let Some(entry) = self.order.get(at) {
            entry.store(intid, Ordering::Relaxed);
        }
        if let Some(count) = self.taken.get(intid as usize) {
            count.fetch_add(1, Ordering::Release);
        }
    }

    /// How often interrupt `intid` was taken since [`Self::forget`].
    pub(crate) fn taken(&self, intid: u32) -> u32 {
        self.taken
            .get(intid as usize)
            .map_or(0, |count| count.load(Ordering::Acquire))
    }

    /// Interrupts taken since [`Self::forget`].
    pub(crate) fn total(&self) -> u32 {
        self.total.load(Ordering::Relaxed)
    }

    /// The interrupts taken since [`Self::forget`], in order.
    pub(crate) fn order(&self) -> impl Iterator<Item = u32> {
        let total = self.total() as usize;
        self.order
            .iter()
            .take(total)
            .map(|entry| entry.load(Ordering::Relaxed))
    }

    /// Starts the record anew.
    pub(crate) fn forget(&self) {
        self.total.store(0, Ordering::Relaxed);
        for count in &self.taken {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// Affinity of the calling CPU, as PSCI and the interrupt controller take it.
pub(crate) fn affinity() -> u64 {
    read_sysreg!("mpidr_el1") & 0xff_00ff_ffff
}

/// Number of the calling CPU.
pub(crate) fn number() -> usize {
    let affinity = affinity();
    (affinity & 0xf | affinity >> 4 & 0xf0) as usize
}

/// The record of CPU `number`.
pub(crate) fn record(number: usize) -> &'static Cpu {
    CPUS.get(number).expect("a CPU beyond MAX_CPUS")
}

/// The record of the calling CPU.
pub(crate) fn this() -> &'static Cpu {
    record(number())
}

/// Runs `body` with interrupts let in.
pub(crate) fn with_irqs<R>(body: impl FnOnce() -> R) -> R {
    barrier::unmask_irq();
    let result = body();
    barrier::mask_irq();
    result
}
