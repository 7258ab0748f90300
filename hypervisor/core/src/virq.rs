// SPDX-License-Identifier: MIT OR Apache-2.0
//! Global VIRQs: what the hypervisor tells one domain. At first that is the hardware domain, of
//! each; a toolstack may choose another (`XEN_DOMCTL_set_virq_handler`).

use crate::addr::DomId;
use crate::event;
use crate::system::System;
use crate::timer::Purpose;
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use xen_abi::xen::{NR_VIRQS, VIRQ_CON_RING, VIRQ_DOM_EXC};

/// Who gets them, and what is still to be told.
pub struct GlobalVirqs {
    handlers: [AtomicU16; NR_VIRQS as usize],
    /// `VIRQ_CON_RING` will be raised.
    log_grew: AtomicBool,
}

/// Parts of a second between two times that the log's readers are told.
const TOLD: u64 = 100;

impl GlobalVirqs {
    /// All the hardware domain's.
    pub const fn new() -> Self {
        Self {
            handlers: [const { AtomicU16::new(0) }; NR_VIRQS as usize],
            log_grew: AtomicBool::new(false),
        }
    }

    /// `domain` gets `virq`, which is global, from now on; false if there is none of that number.
    pub fn give(&self, virq: u32, domain: DomId) -> bool {
        let handler = self.handlers.get(virq as usize);
        handler.is_some_and(|handler| {
            handler.store(domain.0, Ordering::Relaxed);
            true
        })
    }

    /// The hardware domain gets what `domain` got.
    pub fn take_back(&self, domain: DomId) {
        for handler in &self.handlers {
            let relaxed = Ordering::Relaxed;
            let _ = handler.compare_exchange(domain.0, 0, relaxed, relaxed);
        }
    }

    fn of(&self, virq: u32) -> DomId {
        let handler = self.handlers.get(virq as usize);
        DomId(handler.map_or(0, |handler| handler.load(Ordering::Relaxed)))
    }
}

impl Default for GlobalVirqs {
    fn default() -> Self {
        Self::new()
    }
}

impl System {
    /// Raises a global VIRQ, if its domain bound it.
    pub fn raise_virq(&self, virq: u32) {
        let chosen = match self.virqs.of(virq) {
            DomId(0) => None,
            id => self.domains.get(id),
        };
        if let Some(domain) = chosen.or_else(|| self.domains.hardware()) {
            event::raise_virq(&*domain, virq);
        }
    }

    /// Tells the toolstack that a domain's life took a turn.
    pub fn tell_dom_exc(&self) {
        self.raise_virq(VIRQ_DOM_EXC);
    }

    /// The log has more text: its readers will be told, soon. May be called with locks held, up to
    /// those of the run queues.
    pub fn log_grew(&self) {
        if !self.virqs.log_grew.swap(true, Ordering::Relaxed) {
            let span = self.hw.frequency().checked_div(TOLD).unwrap_or(0);
            let deadline = self.hw.now().saturating_add(span);
            self.timers.set(self.hw, deadline, Purpose::Log);
        }
    }

    /// Tells the log's readers.
    pub(crate) fn tell_log(&self) {
        self.virqs.log_grew.store(false, Ordering::Relaxed);
        self.raise_virq(VIRQ_CON_RING);
    }
}
