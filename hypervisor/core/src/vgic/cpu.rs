// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU's interrupts and the list registers that show them to the guest.

use super::irq::{ACTIVE, IN_LR, Irq, PHYS, QUEUED};
use super::lr::{Lr, LrState};
use super::{HcrBits, ListRegisters, MAX_LRS, Model, NR_PRIVATE, Vgic, VgicConfig, VgicCpu};
use alloc::vec::Vec;

/// What the lock of a vCPU protects, besides the words of the interrupts that have their home there.
pub(super) struct CpuState {
    /// INTIDs of the interrupts that are active, or pending and enabled. Never grows past its
    /// first capacity.
    pub(super) list: Vec<u16>,
    slots: [Slot; MAX_LRS as usize],
    /// Private physical interrupts to deactivate on the CPU that runs it, if they are active.
    release_ppis: u32,
}

/// How an interrupt of a list competes for a list register.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    /// The guest has it to deactivate.
    Active,
    /// The guest may take it.
    Pending,
    /// Its group is disabled.
    Hidden,
}

/// A list register in use: whose, and what was last read or written.
#[derive(Clone, Copy, Default)]
struct Slot {
    intid: Option<u16>,
    lr: Lr,
}

/// Interrupts that left a vCPU for another: at most one a list register and one an EOI count.
pub(super) type Moved = Vec<u16>;

impl CpuState {
    pub(super) fn new(config: &VgicConfig) -> Self {
        let most = NR_PRIVATE.saturating_add(config.nr_spis);
        Self {
            list: Vec::with_capacity(most as usize),
            slots: Default::default(),
            release_ppis: 0,
        }
    }

    /// The physical private interrupt fired: it is not one that waits for its deactivation.
    pub(super) fn ppi_fired(&mut self, pintid: u32) {
        self.release_ppis &= !(1 << (pintid & 31));
    }
}

/// A vCPU whose lock is held.
pub(super) struct Home<'a> {
    pub(super) vgic: &'a Vgic,
    pub(super) id: u32,
    pub(super) cpu: &'a VgicCpu,
    pub(super) state: &'a mut CpuState,
}

impl Home<'_> {
    fn get(&self, intid: u16) -> Option<Irq> {
        Some(self.vgic.cell(self.id, intid.into())?.get())
    }

    fn put(&self, intid: u16, irq: Irq) {
        if let Some(cell) = self.vgic.cell(self.id, intid.into()) {
            cell.put(irq);
        }
    }

    /// Puts the interrupt where its state says it belongs. True if that is another vCPU now. One
    /// that is in a list register stays until the list registers are next written.
    pub(super) fn settle(&mut self, intid: u16, irq: &mut Irq) -> bool {
        if irq.has(IN_LR) {
            return false;
        }
        if irq.has(PHYS) && !irq.pending() && !irq.has(ACTIVE) {
            self.release(intid, irq);
        }
        let moves = self.moves(intid, *irq);
        let listed = irq.wanted() && !moves;
        if listed != irq.has(QUEUED) {
            self.enlist(intid, listed);
            irq.set(QUEUED, listed);
        }
        if moves {
            irq.set_home(irq.target());
        }
        moves
    }

    /// True for an SPI that is routed elsewhere and not active here.
    fn moves(&self, intid: u16, irq: Irq) -> bool {
        u32::from(intid) >= NR_PRIVATE && irq.target() != self.id && !irq.has(ACTIVE)
    }

    fn enlist(&mut self, intid: u16, listed: bool) {
        let list = &mut self.state.list;
        if listed {
            list.push(intid);
        } else if let Some(at) = list.iter().position(|&i| i == intid) {
            list.swap_remove(at);
        }
    }

    /// Deactivates the physical interrupt.
    fn release(&mut self, intid: u16, irq: &mut Irq) {
        irq.set(PHYS, false);
        if u32::from(intid) >= NR_PRIVATE {
            self.vgic.hw.irq_set_active(irq.pintid(), false);
        } else {
            self.state.release_ppis |= 1 << (irq.pintid() & 31);
        }
    }

    /// Deactivates private physical interrupts, here on the CPU they belong to.
    fn release_ppis(&mut self) {
        let mut mask = core::mem::take(&mut self.state.release_ppis);
        while mask != 0 {
            let intid = mask.trailing_zeros();
            mask &= !(1 << intid);
            self.vgic.hw.irq_set_active(intid, false);
        }
    }

    /// The list registers in use and what they say now.
    fn read_lrs(&mut self, lrs: &mut dyn ListRegisters) {
        let empty = lrs.empty();
        for (n, slot) in (0..self.vgic.config.lr_count).zip(&mut self.state.slots) {
            if slot.intid.is_some() && slot.lr != Lr::EMPTY {
                slot.lr = match empty.wrapping_shr(n) & 1 {
                    0 => Lr(lrs.read(n)),
                    _ => slot.lr.with_state(LrState::Invalid),
                };
            }
        }
    }

    /// Learns what the guest did, without changing a list register.
    pub(super) fn sync(&mut self, lrs: &mut dyn ListRegisters) {
        self.read_lrs(lrs);
        for slot in self.state.slots {
            if let Some(intid) = slot.intid
                && let Some(mut irq) = self.get(intid)
            {
                irq.refresh(slot.lr);
                self.put(intid, irq);
            }
        }
    }

    /// Takes back what the list registers hold, and gives up those with nothing to show any more.
    pub(super) fn fold(&mut self, lrs: &mut dyn ListRegisters, moved: &mut Moved) {
        self.read_lrs(lrs);
        for n in 0..MAX_LRS {
            let slot = self.slot(n);
            let Some(intid) = slot.intid else {
                continue;
            };
            let Some(mut irq) = self.get(intid) else {
                continue;
            };
            irq.fold(slot.lr);
            if !irq.wanted() || self.moves(intid, irq) {
                irq.leave_lr();
                self.write_slot(lrs, n, Slot::default());
                if self.settle(intid, &mut irq) {
                    moved.push(intid);
                }
            }
            self.put(intid, irq);
        }
        for _ in 0..lrs.take_eoi_count().min(31) {
            self.deactivate_unlisted(moved);
        }
        self.release_ppis();
    }

    /// A deactivation found no list register: it was for the interrupt without one that is active
    /// with the highest priority.
    fn deactivate_unlisted(&mut self, moved: &mut Moved) {
        let unlisted = |&i: &u16| {
            let irq = self.get(i)?;
            (irq.has(ACTIVE) && !irq.has(IN_LR)).then_some((irq.priority(), i, irq))
        };
        let best = self.state.list.iter().filter_map(unlisted);
        if let Some((_, intid, mut irq)) = best.min_by_key(|&(priority, i, _)| (priority, i)) {
            irq.write_active(false);
            if self.settle(intid, &mut irq) {
                moved.push(intid);
            }
            self.put(intid, irq);
        }
    }

    /// Shows the guest the most urgent interrupts of the list. Only after [`Self::fold`].
    pub(super) fn fill(&mut self, lrs: &mut dyn ListRegisters) -> HcrBits {
        self.sort();
        let (chosen, hcr) = self.choose();
        for n in 0..MAX_LRS {
            let owner = self.slot(n).intid;
            if owner.is_some() && !chosen.contains(&owner) {
                self.evict(lrs, n);
            }
        }
        for intid in chosen.into_iter().flatten() {
            self.show(lrs, intid);
        }
        hcr
    }

    /// What to show, and which maintenance interrupts tell when there is room for the rest.
    ///
    /// Active interrupts first, so that the guest can deactivate them; but if they would take all
    /// list registers, one goes to the most urgent pending interrupt, which may preempt them.
    fn choose(&self) -> ([Option<u16>; MAX_LRS as usize], HcrBits) {
        let lrs = self.vgic.config.lr_count as usize;
        let ranked = |rank| {
            let list = self.state.list.iter().copied();
            list.filter(move |&i| self.rank(i) == rank)
        };
        let (active, pending) = (ranked(Rank::Active).count(), ranked(Rank::Pending).count());
        let show_active = active.min(lrs.saturating_sub(usize::from(pending != 0)));
        let show_pending = pending.min(lrs.saturating_sub(show_active));
        let mut chosen = [None; MAX_LRS as usize];
        let best = ranked(Rank::Active).take(show_active);
        let best = best.chain(ranked(Rank::Pending).take(show_pending));
        for (place, intid) in chosen.iter_mut().zip(best) {
            *place = Some(intid);
        }
        let mut hcr = HcrBits::empty();
        hcr.set(HcrBits::LRENPIE, show_active < active);
        hcr.set(HcrBits::NPIE, show_pending < pending);
        (chosen, hcr)
    }

    /// Why an interrupt of the list should be shown.
    fn rank(&self, intid: u16) -> Rank {
        match self.get(intid) {
            Some(irq) if irq.has(ACTIVE) => Rank::Active,
            Some(irq) if irq.deliverable() && self.vgic.group_enabled() => Rank::Pending,
            _ => Rank::Hidden,
        }
    }

    /// Brings the list in order of priority, if not all of it fits.
    fn sort(&mut self) {
        if self.state.list.len() > self.vgic.config.lr_count as usize {
            let (vgic, id) = (self.vgic, self.id);
            let priority = |i: u16| vgic.cell(id, i.into()).map(|c| c.get().priority());
            self.state.list.sort_unstable_by_key(|&i| (priority(i), i));
        }
    }

    /// Gives up list register `n`, which is folded.
    fn evict(&mut self, lrs: &mut dyn ListRegisters, n: u32) {
        if let Some(intid) = self.slot(n).intid
            && let Some(mut irq) = self.get(intid)
        {
            irq.leave_lr();
            self.put(intid, irq);
            self.write_slot(lrs, n, Slot::default());
        }
    }

    /// Writes the list register of `intid`, its own or a free one.
    fn show(&mut self, lrs: &mut dyn ListRegisters, intid: u16) {
        let Some(mut irq) = self.get(intid) else {
            return;
        };
        let owner = if irq.has(IN_LR) { Some(intid) } else { None };
        let place = self.state.slots.iter().position(|s| s.intid == owner);
        if let Some(n) = place {
            let group1 = self.vgic.config.model == Model::V3;
            let lr = irq.load(intid.into(), group1, self.vgic.group_enabled());
            self.put(intid, irq);
            let owner = Some(intid);
            self.write_slot(lrs, n as u32, Slot { intid: owner, lr });
        }
    }

    fn write_slot(&mut self, lrs: &mut dyn ListRegisters, n: u32, new: Slot) {
        if let Some(slot) = self.state.slots.get_mut(n as usize) {
            if slot.lr != new.lr {
                lrs.write(n, new.lr.0);
            }
            *slot = new;
        }
    }

    /// Takes everything back: the list registers go to another vCPU.
    pub(super) fn unload(&mut self, lrs: &mut dyn ListRegisters, moved: &mut Moved) {
        self.fold(lrs, moved);
        for n in 0..MAX_LRS {
            self.evict(lrs, n);
        }
    }

    fn slot(&self, n: u32) -> Slot {
        self.state
            .slots
            .get(n as usize)
            .copied()
            .unwrap_or_default()
    }

    /// True if the guest would take one of the interrupts.
    pub(super) fn has_deliverable(&self) -> bool {
        self.state
            .list
            .iter()
            .any(|&i| self.rank(i) == Rank::Pending)
    }
}
