// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens to interrupts: injection, links to physical ones, SGIs, and the moments at which
//! list registers are brought up to date.

use super::cpu::{Home, Moved};
use super::irq::{ACTIVE, EDGE, ENABLED, Irq, LATCH, LINE, LINKED, PHYS, QUEUED};
use super::{HcrBits, ListRegisters, NR_PRIVATE, VcpuNotify, Vgic};
use core::sync::atomic::Ordering;

/// Injection.
impl Vgic {
    /// Sets the line of an emulated device: an SPI, or a PPI of a vCPU. A level-sensitive interrupt
    /// is pending while its line is high, an edge-triggered one once for each rise. Not for a linked
    /// interrupt.
    pub fn set_line(&self, vcpu: Option<u32>, intid: u32, level: bool, notify: &dyn VcpuNotify) {
        self.update(vcpu.unwrap_or(0), intid, notify, |irq| {
            if irq.has(LINKED) {
                return;
            }
            let rise = level && !irq.has(LINE);
            irq.set(LINE, level);
            irq.set(LATCH, irq.has(LATCH) || rise && irq.has(EDGE));
        });
    }

    /// One edge: pending once more, even while active, whatever its configuration.
    pub fn pulse(&self, vcpu: Option<u32>, intid: u32, notify: &dyn VcpuNotify) {
        self.update(vcpu.unwrap_or(0), intid, notify, |irq| irq.add_sources(1));
    }

    /// The physical interrupt linked to `intid` fired, and EL2 acknowledged it but did not
    /// deactivate it. For a PPI: on the CPU that runs `vcpu`. False if it is not linked
    /// any more: the caller deactivates it, since nobody else will.
    pub fn hw_fired(&self, intid: u32, vcpu: Option<u32>, notify: &dyn VcpuNotify) -> bool {
        let mut taken = false;
        self.update_home(vcpu.unwrap_or(0), intid, notify, |irq, home| {
            if irq.has(LINKED) {
                irq.fire();
                if intid < NR_PRIVATE {
                    home.state.ppi_fired(irq.pintid());
                }
                taken = true;
            }
        });
        taken
    }

    /// A write of `ICC_SGI1R_EL1` by `by_vcpu` (GICv3).
    pub fn sgi1r(&self, by_vcpu: u32, value: u64, notify: &dyn VcpuNotify) {
        let intid = (value >> 24 & 0xf) as u32;
        if value >> 40 & 1 != 0 {
            let all = 0..self.config.nr_vcpus;
            all.filter(|&v| v != by_vcpu)
                .for_each(|v| self.pulse(Some(v), intid, notify));
            return;
        }
        // Aff3, RS and Aff2: no vCPU has another than 0.
        if value & (0xff << 48 | 0xf << 44 | 0xff << 32) != 0 {
            return;
        }
        let first = (value >> 12 & 0xff0) as u32;
        let mut targets = value & 0xffff;
        while targets != 0 {
            self.pulse(Some(first | targets.trailing_zeros()), intid, notify);
            targets &= targets.wrapping_sub(1);
        }
    }

    /// A write of `GICD_SGIR` by `by_vcpu` (GICv2).
    pub(super) fn sgir(&self, by_vcpu: u32, value: u64, notify: &dyn VcpuNotify) {
        let own = 1u64.checked_shl(by_vcpu).unwrap_or(0);
        let targets = match value >> 24 & 3 {
            0 => value >> 16 & 0xff,
            1 => 0xff & !own,
            2 => own,
            _ => 0,
        };
        let intid = (value & 0xf) as u32;
        (0..self.config.nr_vcpus)
            .filter(|v| targets.wrapping_shr(*v) & 1 != 0)
            .for_each(|v| self.update(v, intid, notify, |irq| irq.add_sources(own as u32)));
    }
}

/// Links to physical interrupts.
impl Vgic {
    /// Ties SPI `intid` to the physical SPI `pintid`: enabling, routing and deactivation reach it.
    /// False if there is no such SPI, or it is tied already.
    pub fn link_hw(&self, intid: u32, pintid: u32, notify: &dyn VcpuNotify) -> bool {
        let mut linked = false;
        if intid >= NR_PRIVATE {
            self.update(0, intid, notify, |irq| {
                linked = !irq.has(LINKED);
                if linked {
                    irq.set(LINKED, true);
                    irq.set(LINE, false);
                    irq.set_pintid(pintid);
                    self.hw.irq_enable(pintid, irq.has(ENABLED));
                }
            });
        }
        linked
    }

    /// True if SPI `intid` is tied to a physical one.
    pub fn is_linked(&self, intid: u32) -> bool {
        intid >= NR_PRIVATE && self.cell(0, intid).is_some_and(|c| c.get().has(LINKED))
    }

    /// Undoes [`Self::link_hw`]: the physical interrupt ends disabled and inactive. A list register
    /// of a running vCPU may still deactivate it until that vCPU next exits (it is made to).
    pub fn unlink_hw(&self, intid: u32, notify: &dyn VcpuNotify) {
        if intid < NR_PRIVATE {
            return;
        }
        self.update(0, intid, notify, |irq| {
            if irq.has(LINKED) {
                self.hw.irq_enable(irq.pintid(), false);
                if irq.has(PHYS) {
                    self.hw.irq_set_active(irq.pintid(), false);
                }
                irq.set(LINKED | PHYS, false);
            }
        });
    }

    /// [`Self::unlink_hw`] for all SPIs: the domain goes away.
    pub fn unlink_all(&self, notify: &dyn VcpuNotify) {
        for intid in self.spi_ids() {
            self.unlink_hw(intid, notify);
        }
    }

    /// Ties the PPI `intid` of every vCPU to the physical PPI of the same number.
    pub fn link_ppi(&self, intid: u32, notify: &dyn VcpuNotify) {
        if !(NR_PRIVATE / 2..NR_PRIVATE).contains(&intid) {
            return;
        }
        for vcpu in 0..self.config.nr_vcpus {
            self.update(vcpu, intid, notify, |irq| {
                irq.set(LINKED, true);
                irq.set_pintid(intid);
            });
        }
    }

    /// True if there is an SPI `intid`.
    pub fn has_spi(&self, intid: u32) -> bool {
        self.spi_ids().contains(&intid)
    }

    pub(super) fn spi_ids(&self) -> core::ops::Range<u32> {
        NR_PRIVATE..NR_PRIVATE.saturating_add(self.config.nr_spis)
    }
}

/// The life of a vCPU.
impl Vgic {
    /// Brings the list registers up to date. Call it on the CPU that is about to run `vcpu`, before
    /// the guest is entered, when [`Self::is_dirty`], and on a maintenance interrupt. Write what it
    /// returns to `ICH_HCR_EL2`, with an EOIcount of 0, even if it is the same as before.
    pub fn enter(
        &self,
        vcpu: u32,
        lrs: &mut impl ListRegisters,
        notify: &dyn VcpuNotify,
    ) -> HcrBits {
        let mut moved = Moved::new();
        let hcr = self.at_home(vcpu, |home| {
            home.cpu.set_dirty(false);
            home.enter(lrs, &mut moved)
        });
        self.settle_moved(vcpu, &moved, notify);
        hcr.unwrap_or_default()
    }

    /// Learns what the guest did, so that the registers of `vcpu` read exactly. Call it on the CPU
    /// that runs it, before an access of its own to the distributor or a redistributor and before
    /// [`Self::has_deliverable`].
    pub fn sync(&self, vcpu: u32, lrs: &mut impl ListRegisters) {
        self.at_home(vcpu, |home| home.sync(lrs));
    }

    /// Takes everything out of the list registers: another vCPU gets them. The next
    /// [`Self::enter`], for which this leaves it dirty, loads them again.
    ///
    /// `ppi` is a linked one. If its line is `low`, one that fired and that the guest has not
    /// acknowledged is forgotten, and its physical interrupt deactivated here, where it is active.
    /// Returns whether that is still active on this CPU.
    pub fn unload(
        &self,
        vcpu: u32,
        lrs: &mut impl ListRegisters,
        (ppi, low): (u32, bool),
        notify: &dyn VcpuNotify,
    ) -> bool {
        let mut moved = Moved::new();
        let active = self.at_home(vcpu, |home| {
            home.cpu.set_dirty(true);
            home.unload(lrs, (ppi, low), &mut moved)
        });
        self.settle_moved(vcpu, &moved, notify);
        active.unwrap_or(false)
    }

    /// True if `vcpu` would take an interrupt, its priority mask and PSTATE aside. Exact for a vCPU
    /// that is not loaded, or after [`Self::sync`].
    pub fn has_deliverable(&self, vcpu: u32) -> bool {
        self.at_home(vcpu, |home| home.has_deliverable())
            .unwrap_or(false)
    }

    /// `CPU_ON`: nothing is active at `vcpu`, none of its private interrupts is pending.
    pub fn reset_vcpu(&self, vcpu: u32, notify: &dyn VcpuNotify) {
        for intid in 0..NR_PRIVATE {
            self.update(vcpu, intid, notify, |irq| {
                irq.clear_pending();
                irq.write_active(false);
            });
        }
        for intid in self.spi_ids() {
            self.update(0, intid, notify, |irq| {
                if irq.home() == vcpu && irq.has(ACTIVE) {
                    irq.write_active(false);
                }
            });
        }
    }

    /// Enables or disables the group: `GICD_CTLR`.
    pub(super) fn enable_group(&self, on: bool, notify: &dyn VcpuNotify) {
        if self.enabled.swap(on, Ordering::SeqCst) == on {
            return;
        }
        for (vcpu, cpu) in (0u32..).zip(&self.cpus) {
            cpu.set_dirty(true);
            notify.notify(vcpu);
        }
    }

    /// Runs `f` with the lock of `vcpu` held.
    fn at_home<T>(&self, vcpu: u32, f: impl FnOnce(&mut Home<'_>) -> T) -> Option<T> {
        let cpu = self.cpu(vcpu)?;
        let mut state = cpu.state.lock();
        Some(f(&mut Home {
            vgic: self,
            id: vcpu,
            cpu,
            state: &mut state,
        }))
    }

    #[inline]
    fn settle_moved(&self, vcpu: u32, moved: &Moved, notify: &dyn VcpuNotify) {
        for &intid in moved {
            self.settle_one(vcpu, intid.into(), notify);
        }
    }
}

/// Changing an interrupt.
impl Vgic {
    #[cold]
    fn settle_one(&self, vcpu: u32, intid: u32, notify: &dyn VcpuNotify) {
        self.update(vcpu, intid, notify, |_| {});
    }

    /// Changes the interrupt `intid` as `vcpu` knows it; nothing if there is none.
    pub(super) fn update(
        &self,
        vcpu: u32,
        intid: u32,
        notify: &dyn VcpuNotify,
        change: impl FnOnce(&mut Irq),
    ) {
        self.update_home(vcpu, intid, notify, |irq, _| change(irq));
    }

    /// As [`Self::update`], for a change of its home as well.
    fn update_home(
        &self,
        vcpu: u32,
        intid: u32,
        notify: &dyn VcpuNotify,
        change: impl FnOnce(&mut Irq, &mut Home<'_>),
    ) {
        let mut change = Some(change);
        let Some(cell) = self.cell(vcpu, intid) else {
            return;
        };
        // Again when it moved: under our eyes, which took its mover a whole trap, or by this change.
        loop {
            let id = cell.get().home();
            let done = self.at_home(id, |home| {
                let before = cell.get();
                if before.home() != id {
                    return None;
                }
                let mut irq = before;
                let releases = home.state.release_ppis();
                if let Some(change) = change.take() {
                    change(&mut irq, home);
                }
                let moved = home.settle(intid as u16, &mut irq);
                cell.put(irq);
                // What is to be deactivated is news as well, though it leaves the list.
                let releases = home.state.release_ppis() & !releases != 0;
                let news = irq != before && irq.has(QUEUED) || releases;
                if news {
                    home.cpu.set_dirty(true);
                }
                Some((moved, news))
            });
            match done {
                Some(Some((moved, news))) => {
                    if news {
                        notify.notify(id);
                    }
                    if !moved {
                        return;
                    }
                }
                Some(None) => core::hint::spin_loop(),
                None => return,
            }
        }
    }
}
