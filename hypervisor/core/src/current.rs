// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vCPU that runs on this CPU, as trap handlers see it.

use crate::domain::Domain;
use crate::domain::context::Regs;
use crate::domain::vcpu::Vcpu;
use crate::guest::copy::GuestMemory;
use crate::system::System;
use alloc::sync::Arc;

/// The vCPU whose trap is being handled.
pub struct Current<'a> {
    /// Everything.
    pub sys: &'static System,
    /// Its domain.
    pub domain: &'a Arc<Domain>,
    /// Itself.
    pub vcpu: &'a Arc<Vcpu>,
    /// Its general registers.
    pub regs: &'a mut Regs,
}

impl Current<'_> {
    /// True if long work must pause: an interrupt waits, or this vCPU may no longer run.
    pub fn must_give_way(&self) -> bool {
        self.sys.hw.irq_pending() || self.sys.sched.wants_choice(self.sys.hw.this_cpu())
    }

    /// Its memory.
    pub fn memory(&self) -> GuestMemory {
        GuestMemory::new(self.sys, self.domain.id)
    }
}
