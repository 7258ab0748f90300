// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU's interrupts and the list registers that show them to the guest.

use super::irq::{ACTIVE, IN_LR, Irq, IrqCell, PHYS, QUEUED};
use super::lr::Lr;
use super::{HcrBits, ListRegisters, MAX_LRS, NR_PRIVATE, Vgic, VgicConfig, VgicCpu};
use alloc::vec::Vec;
use core::ops::Range;

/// What the lock of a vCPU protects, besides the words of the interrupts that have their home there.
pub(super) struct CpuState {
    /// INTIDs of the interrupts that are active, or pending and enabled. Never grows past its
    /// first capacity.
    pub(super) list: Vec<u16>,
    slots: [Slot; MAX_LRS as usize],
    /// The slots in use: the first ones.
    shown: usize,
    /// What was asked of the maintenance interrupt.
    hcr: HcrBits,
    /// Private physical interrupts to deactivate on the CPU that runs it, if they are active.
    release_ppis: u32,
}

/// How an interrupt of a list competes for a list register.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The guest has it to deactivate.
    Active,
    /// The guest may take it.
    Pending,
    /// Its group is disabled.
    Hidden,
}

/// A list register: what was last read or written, and whose that is while it is in use.
/// [`Lr::EMPTY`] stands for whatever shows nothing.
#[derive(Clone, Copy, Default)]
struct Slot {
    intid: u16,
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
            shown: 0,
            hcr: HcrBits::empty(),
            release_ppis: 0,
        }
    }

    /// Those that wait for their deactivation, a bit each.
    pub(super) fn release_ppis(&self) -> u32 {
        self.release_ppis
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

impl<'a> Home<'a> {
    fn cell(&self, intid: u16) -> Option<&'a IrqCell> {
        match u32::from(intid).checked_sub(NR_PRIVATE) {
            None => self.cpu.private.get(usize::from(intid)),
            Some(spi) => self.vgic.spis.get(spi as usize),
        }
    }

    /// Puts the interrupt where its state says it belongs. True if that is another vCPU now. One
    /// that is in a list register stays until the list registers are next written.
    #[inline]
    pub(super) fn settle(&mut self, intid: u16, irq: &mut Irq) -> bool {
        !irq.has(IN_LR) && self.place(intid, irq)
    }

    fn place(&mut self, intid: u16, irq: &mut Irq) -> bool {
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

    /// Forgets the private interrupt `intid` if it came from a physical one, unless it is active, and
    /// deactivates the physical one. Only after [`Self::fold`].
    fn withdraw(&mut self, intid: u32) {
        let Some(cell) = self.cpu.private.get(intid as usize) else {
            return;
        };
        let mut irq = cell.get();
        if irq.has(PHYS) {
            irq.clear_pending();
            self.settle(intid as u16, &mut irq);
            cell.put(irq);
            self.release_ppis();
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

    /// Learns what the guest did, without changing a list register.
    pub(super) fn sync(&mut self, lrs: &mut impl ListRegisters) {
        for n in 0..self.state.shown {
            if let Some((cell, slot)) = self.read_slot(lrs, n) {
                let mut irq = cell.get();
                irq.refresh(slot.lr);
                cell.put(irq);
            }
        }
    }

    /// Reads list register `n`, which is in use.
    #[inline(always)]
    fn read_slot(&mut self, lrs: &mut impl ListRegisters, n: usize) -> Option<(&'a IrqCell, Slot)> {
        let slot = self.state.slots.get_mut(n)?;
        slot.lr = Lr(lrs.read(n as u32));
        let slot = *slot;
        Some((self.cell(slot.intid)?, slot))
    }

    /// Brings the list registers up to date.
    pub(super) fn enter(&mut self, lrs: &mut impl ListRegisters, moved: &mut Moved) -> HcrBits {
        let before = self.fold(lrs, moved);
        self.state.hcr = self.fill(lrs);
        self.clear(lrs, before);
        self.state.hcr
    }

    /// Takes everything back: the list registers go to another vCPU. `ppi` is a linked private
    /// interrupt; its line may be low. True if the physical one stays active.
    pub(super) fn unload(
        &mut self,
        lrs: &mut impl ListRegisters,
        (ppi, low): (u32, bool),
        moved: &mut Moved,
    ) -> bool {
        let before = self.fold(lrs, moved);
        if low {
            self.withdraw(ppi);
        }
        self.state.hcr = HcrBits::empty();
        self.clear(lrs, before);
        let cell = self.cpu.private.get(ppi as usize);
        cell.is_some_and(|cell| cell.get().has(PHYS))
    }

    /// Takes back into the words what the list registers hold, and returns how many did. They still
    /// say it, but none is in use any more.
    #[inline(always)]
    fn fold(&mut self, lrs: &mut impl ListRegisters, moved: &mut Moved) -> usize {
        if self.state.hcr.contains(HcrBits::LRENPIE) {
            for _ in 0..lrs.eoi_count().min(31) {
                self.deactivate_unlisted(moved);
            }
        }
        for n in 0..self.state.shown {
            let Some((cell, Slot { intid, lr })) = self.read_slot(lrs, n) else {
                continue;
            };
            let mut irq = cell.get();
            irq.fold(lr);
            if !irq.wanted() || self.moves(intid, irq) {
                self.settle_or_move(intid, &mut irq, moved);
            }
            cell.put(irq);
        }
        if self.state.release_ppis != 0 {
            self.release_ppis();
        }
        core::mem::take(&mut self.state.shown)
    }

    fn settle_or_move(&mut self, intid: u16, irq: &mut Irq, moved: &mut Moved) {
        if self.settle(intid, irq) {
            moved.push(intid);
        }
    }

    /// A deactivation found no list register: it was for the interrupt without one that is active
    /// with the highest priority.
    #[cold]
    fn deactivate_unlisted(&mut self, moved: &mut Moved) {
        let unlisted = |&i: &u16| {
            let cell = self.cell(i)?;
            let irq = cell.get();
            (irq.has(ACTIVE) && !irq.has(IN_LR)).then_some((irq.priority(), i, cell))
        };
        let best = self.state.list.iter().filter_map(unlisted);
        if let Some((_, intid, cell)) = best.min_by_key(|&(priority, i, _)| (priority, i)) {
            let mut irq = cell.get();
            irq.write_active(false);
            self.settle_or_move(intid, &mut irq, moved);
            cell.put(irq);
        }
    }

    /// Shows the guest the most urgent interrupts of the list. Only after [`Self::fold`].
    fn fill(&mut self, lrs: &mut impl ListRegisters) -> HcrBits {
        let listed = self.state.list.len();
        // Once: other vCPUs change it meanwhile, and one order must hold for the whole list.
        let enabled = self.vgic.group_enabled();
        let (active, pending, hcr) = if listed <= self.room() {
            (0..listed, 0..0, HcrBits::empty())
        } else {
            self.choose(enabled)
        };
        self.show(lrs, active.chain(pending), enabled);
        hcr
    }

    /// List registers.
    fn room(&self) -> usize {
        self.vgic.config.lr_count as usize
    }

    /// Sorts the list, of which not all may fit: the parts to show, and the maintenance interrupts
    /// that tell when there is room for the rest.
    ///
    /// Active interrupts first, so that the guest can deactivate them; but if they would take all
    /// list registers, one goes to the most urgent pending interrupt, which may preempt them.
    #[cold]
    fn choose(&mut self, enabled: bool) -> (Range<usize>, Range<usize>, HcrBits) {
        let mut list = core::mem::take(&mut self.state.list);
        list.sort_unstable_by_key(|&i| (self.rank(i, enabled), self.priority(i), i));
        let count = |rank| {
            let has = |i: &&u16| self.rank(**i, enabled) == rank;
            list.iter().filter(has).count()
        };
        let (active, pending) = (count(Rank::Active), count(Rank::Pending));
        self.state.list = list;
        let show_active = active.min(self.room().saturating_sub(usize::from(pending != 0)));
        let show_pending = pending.min(self.room().saturating_sub(show_active));
        let mut hcr = HcrBits::empty();
        hcr.set(HcrBits::LRENPIE, show_active < active);
        hcr.set(HcrBits::NPIE, show_pending < pending);
        (
            0..show_active,
            active..active.saturating_add(show_pending),
            hcr,
        )
    }

    fn priority(&self, intid: u16) -> Option<u32> {
        Some(self.cell(intid)?.get().priority())
    }

    /// Why an interrupt of the list should be shown, if its group is `enabled`.
    fn rank(&self, intid: u16, enabled: bool) -> Rank {
        match self.cell(intid).map(IrqCell::get) {
            Some(irq) if irq.has(ACTIVE) => Rank::Active,
            Some(irq) if irq.deliverable() && enabled => Rank::Pending,
            _ => Rank::Hidden,
        }
    }

    /// Puts a part of the list into free list registers, but what is hidden.
    fn show(
        &mut self,
        lrs: &mut impl ListRegisters,
        part: impl Iterator<Item = usize>,
        enabled: bool,
    ) {
        for at in part {
            let Some(&intid) = self.state.list.get(at) else {
                return;
            };
            let Some(cell) = self.cell(intid) else {
                continue;
            };
            let mut irq = cell.get();
            if !(irq.has(ACTIVE) || enabled && irq.deliverable()) {
                continue;
            }
            let n = self.state.shown;
            let Some(slot) = self.state.slots.get_mut(n) else {
                return;
            };
            let lr = irq.load(intid.into(), &self.vgic.config, enabled);
            cell.put(irq);
            if slot.lr != lr {
                lrs.write(n as u32, lr.0);
            }
            *slot = Slot { intid, lr };
            self.state.shown = n.saturating_add(1);
        }
    }

    /// Empties the list registers up to `before` that are not in use any more.
    fn clear(&mut self, lrs: &mut impl ListRegisters, before: usize) {
        for n in self.state.shown..before {
            if let Some(slot) = self.state.slots.get_mut(n) {
                if slot.lr.is_live() {
                    lrs.write(n as u32, 0);
                }
                slot.lr = Lr::EMPTY;
            }
        }
    }

    /// True if the guest would take one of the interrupts.
    pub(super) fn has_deliverable(&self) -> bool {
        let enabled = self.vgic.group_enabled();
        let mut list = self.state.list.iter();
        list.any(|&i| self.rank(i, enabled) == Rank::Pending)
    }
}
