// SPDX-License-Identifier: MIT OR Apache-2.0
//! One interrupt: its state in one word, and what its list register tells about it.
//!
//! The pending state has three places: the latch (an edge, a write to `ISPENDR`, a physical
//! interrupt that fired), the line of a level-sensitive one, and the list register. Loading a list
//! register *moves* the latch into it ([`LR_LATCH`]), so that an edge that comes after the guest's
//! acknowledge is a new one, and an edge that comes before is merged.

use super::lr::{Lr, LrState};
use super::{Model, NR_PRIVATE, VgicConfig};
use core::sync::atomic::{AtomicU64, Ordering};

/// Enabled.
pub(super) const ENABLED: u64 = 1 << 0;
/// Pending by itself, whatever the line does.
pub(super) const LATCH: u64 = 1 << 1;
/// The line is high (emulated devices).
pub(super) const LINE: u64 = 1 << 2;
/// Active, as far as is known.
pub(super) const ACTIVE: u64 = 1 << 3;
/// Edge-triggered, else level-sensitive.
pub(super) const EDGE: u64 = 1 << 4;
/// Linked to a physical interrupt.
pub(super) const LINKED: u64 = 1 << 5;
/// The physical interrupt is active, for us to see to its deactivation.
pub(super) const PHYS: u64 = 1 << 6;
/// In its home's list.
pub(super) const QUEUED: u64 = 1 << 7;
/// In a list register of its home.
pub(super) const IN_LR: u64 = 1 << 8;
/// The pending bit of the list register carries the latch.
pub(super) const LR_LATCH: u64 = 1 << 9;
/// The list register deactivates the physical interrupt.
pub(super) const LR_HW: u64 = 1 << 10;
/// Deactivated by a write; the list register may not know.
const DROP_ACTIVE: u64 = 1 << 11;
/// Activated by a write; the list register may not know.
const FORCE_ACTIVE: u64 = 1 << 12;
/// A GICv2 SGI: pending for each source CPU.
pub(super) const BY_SOURCE: u64 = 1 << 13;

const PRIORITY: Field = Field(16, 0xff);
/// The vCPU an SPI is routed to; the pending sources of a GICv2 SGI.
const TARGET: Field = Field(24, 0xff);
const HOME: Field = Field(32, 0xff);
/// The physical INTID; the source in the list register of a GICv2 SGI.
const PINTID: Field = Field(40, 0x3ff);

/// A field of the word: its lowest bit and its mask.
#[derive(Clone, Copy)]
struct Field(u32, u64);

/// The state of an interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Irq(u64);

impl Irq {
    pub(super) const fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    pub(super) fn set(&mut self, flag: u64, on: bool) {
        self.0 = if on { self.0 | flag } else { self.0 & !flag };
    }

    const fn field(self, Field(shift, mask): Field) -> u32 {
        ((self.0 >> shift) & mask) as u32
    }

    fn set_field(&mut self, Field(shift, mask): Field, value: u32) {
        self.0 = self.0 & !(mask << shift) | (u64::from(value) & mask) << shift;
    }

    pub(super) fn priority(self) -> u32 {
        self.field(PRIORITY)
    }
    pub(super) fn set_priority(&mut self, priority: u32) {
        self.set_field(PRIORITY, priority);
    }
    pub(super) fn target(self) -> u32 {
        self.field(TARGET)
    }
    pub(super) fn set_target(&mut self, vcpu: u32) {
        self.set_field(TARGET, vcpu);
    }
    pub(super) fn home(self) -> u32 {
        self.field(HOME)
    }
    pub(super) fn set_home(&mut self, vcpu: u32) {
        self.set_field(HOME, vcpu);
    }
    pub(super) fn pintid(self) -> u32 {
        self.field(PINTID)
    }
    pub(super) fn set_pintid(&mut self, intid: u32) {
        self.set_field(PINTID, intid);
    }

    /// The sources that wait outside the list register (GICv2 SGI).
    fn waiting_sources(self) -> u32 {
        if self.has(BY_SOURCE) {
            self.field(TARGET)
        } else {
            0
        }
    }

    /// All pending sources (GICv2 SGI), one bit a vCPU.
    pub(super) fn sources(self) -> u32 {
        let in_lr = if self.has(LR_LATCH) {
            1 << self.source()
        } else {
            0
        };
        self.waiting_sources() | in_lr
    }

    /// The source in the list register (GICv2 SGI), 0 to 7.
    fn source(self) -> u32 {
        if self.has(BY_SOURCE) {
            self.field(PINTID) & 7
        } else {
            0
        }
    }

    /// Makes an SGI pending from the vCPUs in `sources`.
    pub(super) fn add_sources(&mut self, sources: u32) {
        if self.has(BY_SOURCE) {
            self.set_field(TARGET, self.field(TARGET) | sources);
        } else {
            self.set(LATCH, sources != 0 || self.has(LATCH));
        }
    }

    /// Takes back the pending state of a GICv2 SGI from the vCPUs in `sources`.
    pub(super) fn remove_sources(&mut self, sources: u32) {
        self.set_field(TARGET, self.waiting_sources() & !sources);
        if sources >> self.source() & 1 != 0 {
            self.set(LR_LATCH, false);
        }
    }

    /// Pending outside the list register, whatever the line does.
    fn latched(self) -> bool {
        self.has(LATCH) || self.waiting_sources() != 0
    }

    fn line_high(self) -> bool {
        self.has(LINE) && !self.has(EDGE)
    }

    /// Pending, as far as is known.
    pub(super) fn pending(self) -> bool {
        self.latched() || self.has(LR_LATCH) || self.line_high()
    }

    /// Belongs in a list: the guest may be shown it, or may deactivate it.
    pub(super) fn wanted(self) -> bool {
        self.has(ACTIVE) || self.pending() && self.has(ENABLED)
    }

    /// Would be taken by a vCPU with nothing else to do.
    pub(super) fn deliverable(self) -> bool {
        self.pending() && self.has(ENABLED) && !self.has(ACTIVE)
    }

    /// Forgets the latch, in the list register too.
    pub(super) fn clear_pending(&mut self) {
        self.set(LATCH | LR_LATCH, false);
        if self.has(BY_SOURCE) {
            self.set_field(TARGET, 0);
        }
    }

    /// Sets or clears the active state, in the list register too.
    pub(super) fn write_active(&mut self, on: bool) {
        self.set(ACTIVE, on);
        self.set(FORCE_ACTIVE, on && self.has(IN_LR));
        self.set(DROP_ACTIVE, !on && self.has(IN_LR));
    }

    /// The physical interrupt fired and is active. If a list register was to deactivate it, it has.
    pub(super) fn fire(&mut self) {
        self.set(LATCH | PHYS, true);
        self.set(LR_HW, false);
    }

    /// Learns from its list register.
    pub(super) fn refresh(&mut self, lr: Lr) {
        let state = lr.state();
        if self.has(LR_HW) && state == LrState::Invalid {
            self.set(PHYS | LR_HW, false);
        }
        if !state.pending() {
            self.set(LR_LATCH, false);
        }
        let active = state.active() && !self.has(DROP_ACTIVE) || self.has(FORCE_ACTIVE);
        self.set(ACTIVE, active);
    }

    /// Takes back into the word what its list register, just read, holds. It has none then.
    pub(super) fn fold(&mut self, lr: Lr) {
        self.refresh(lr);
        self.set(DROP_ACTIVE | FORCE_ACTIVE | IN_LR | LR_HW, false);
        if self.has(LR_LATCH) {
            self.set(LR_LATCH, false);
            self.add_sources(1 << self.source());
        }
    }

    /// Moves the first waiting source of a GICv2 SGI into the latch.
    fn pick_source(&mut self) {
        let waiting = self.waiting_sources();
        if waiting != 0 {
            let source = waiting.trailing_zeros();
            self.set_field(TARGET, waiting & !(1 << source));
            self.set_pintid(source);
            self.set(LATCH, true);
        }
    }

    /// The list register that shows it. Only for a folded one that is wanted. Nothing is shown
    /// pending that is disabled, by itself or by its group (`group_enabled`).
    pub(super) fn load(&mut self, intid: u32, config: &VgicConfig, group_enabled: bool) -> Lr {
        let (active, enabled) = (self.has(ACTIVE), self.has(ENABLED) && group_enabled);
        let group1 = config.model == Model::V3;
        if !active {
            self.pick_source();
        }
        // What a register cannot show beside the active state is shown after the deactivation: a
        // line that may have fallen by then, another source, a physical interrupt's next instance.
        let second = active && self.has(LATCH) && self.has(PHYS);
        let latch = enabled && self.has(LATCH) && !second;
        let line = enabled && self.line_high() && !active;
        let again = enabled && (self.line_high() || self.waiting_sources() != 0 || second);
        let hw = self.has(PHYS) && !second && config.lrs_deactivate;
        // Else it is deactivated when the end of this one was told.
        let told = self.has(PHYS) && !config.lrs_deactivate;
        self.set(LATCH, self.has(LATCH) && !latch);
        self.set(LR_LATCH, latch);
        self.set(LR_HW, hw);
        self.set(IN_LR, true);
        let state = LrState::new(latch || line, active);
        let lr = Lr::new(intid, state, self.priority(), group1);
        if hw {
            lr.with_hw(self.pintid())
        } else {
            lr.with_source(self.source()).with_eoi(again || told)
        }
    }
}

/// Where an interrupt's word is kept. Anyone may read it; only the holder of its home's lock writes.
pub(super) struct IrqCell(AtomicU64);

impl IrqCell {
    /// An SPI after reset: disabled, level-sensitive, routed to vCPU 0.
    pub(super) const fn spi() -> Self {
        Self(AtomicU64::new(0))
    }

    /// An SGI (edge, enabled) or a PPI of `vcpu` after reset.
    pub(super) fn private(intid: u32, vcpu: u32, v2: bool) -> Self {
        let mut irq = Irq(0);
        irq.set_home(vcpu);
        let sgi = intid < NR_PRIVATE / 2;
        irq.set(ENABLED | EDGE, sgi);
        irq.set(BY_SOURCE, sgi && v2);
        Self(AtomicU64::new(irq.0))
    }

    pub(super) fn get(&self) -> Irq {
        Irq(self.0.load(Ordering::Acquire))
    }

    pub(super) fn put(&self, irq: Irq) {
        self.0.store(irq.0, Ordering::Release);
    }
}
