// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each physical CPU has for itself, reached through TPIDR_EL2.

use crate::sysreg::{mrs, msr};
use core::cell::Cell;
use core::marker::PhantomData;
use hv_core::addr::CpuId;
use hv_core::cpu::errata::Workarounds;

/// One CPU's data. Other CPUs never see it: what they share lives in `hv_core::System`.
pub(crate) struct PerCpu {
    /// Top of the stack that a fault in EL2 is told on. First: assembly reads it.
    pub(crate) emergency_stack: u64,
    /// What is done when a guest was left, against what it trained: the SMCCC_ARCH_WORKAROUND to
    /// call, or 0, and in the upper half a number of branches. Assembly reads it.
    pub(crate) after_guest: Cell<u64>,
    /// What is done about errata.
    pub(crate) workarounds: Cell<Workarounds>,
    /// Its number.
    pub(crate) id: CpuId,
    /// Its affinity, as in MPIDR_EL1.
    pub(crate) mpidr: u64,
    /// The virtual timer's physical interrupt is active here.
    pub(crate) vtimer_active: Cell<bool>,
    /// The deadline CNTHP_CVAL_EL2 holds.
    pub(crate) deadline: Cell<Option<u64>>,
    /// The vCPU on this CPU, for messages: `domain << 16 | vcpu`, all ones for none.
    pub(crate) running: Cell<u32>,
    /// ESR_EL2 of an SError taken at EL2 where one was expected; 0: none.
    pub(crate) serror: Cell<u64>,
    /// SErrors are being let in.
    pub(crate) serror_expected: Cell<bool>,
    /// This CPU works on a panic.
    pub(crate) panicking: Cell<bool>,
    not_send: PhantomData<*const ()>,
}

impl PerCpu {
    /// Data of CPU `id`; `emergency_stack` is the top of a mapped stack.
    pub(crate) fn new(id: CpuId, mpidr: u64, emergency_stack: u64) -> Self {
        Self {
            emergency_stack,
            after_guest: Cell::new(0),
            workarounds: Cell::new(Workarounds::empty()),
            id,
            mpidr,
            vtimer_active: Cell::new(false),
            deadline: Cell::new(None),
            running: Cell::new(u32::MAX),
            serror: Cell::new(0),
            serror_expected: Cell::new(false),
            panicking: Cell::new(false),
            not_send: PhantomData,
        }
    }
}

/// This CPU's data, once [`install`] was called.
#[inline(always)]
pub(crate) fn this() -> &'static PerCpu {
    // SAFETY: TPIDR_EL2 holds the leaked PerCpu of this CPU from before anything asks for it.
    unsafe { &*core::ptr::with_exposed_provenance(mrs!("tpidr_el2") as usize) }
}

/// As [`this`], when it may be too early for it.
pub(crate) fn try_this() -> Option<&'static PerCpu> {
    (mrs!("tpidr_el2") != 0).then(this)
}

/// Makes `percpu` this CPU's.
pub(crate) fn install(percpu: &'static PerCpu) {
    let addr = (&raw const *percpu).expose_provenance() as u64;
    // SAFETY: TPIDR_EL2 is ours alone.
    unsafe { msr!("tpidr_el2", addr) };
}
