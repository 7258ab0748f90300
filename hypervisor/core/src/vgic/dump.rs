// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state in words, for a debug key.

use super::irq::{ACTIVE, EDGE, ENABLED, IN_LR, LINKED, PHYS};
use super::{NR_PRIVATE, Vgic};
use core::fmt;

impl Vgic {
    /// Writes the interrupts that are pending or active, one a line: first, for part 0, what
    /// controls all, then those of each vCPU, then the SPIs. Returns the part after this one, or
    /// `None` if there is none.
    pub fn dump(&self, part: u32, out: &mut dyn fmt::Write) -> Result<Option<u32>, fmt::Error> {
        let vcpus = self.config.nr_vcpus;
        match part.checked_sub(1) {
            None => {
                let group = if self.group_enabled() { "on" } else { "off" };
                writeln!(out, "vgic: group {group}")?;
            }
            Some(vcpu) if vcpu < vcpus => {
                let dirty = if self.is_dirty(vcpu) { ", dirty" } else { "" };
                writeln!(out, " vcpu {vcpu}{dirty}")?;
                (0..NR_PRIVATE).try_for_each(|intid| self.dump_irq(vcpu, intid, out))?;
            }
            Some(rest) => {
                // As many at a time as a vCPU has.
                let first = rest.saturating_sub(vcpus).saturating_mul(NR_PRIVATE);
                let mut spis = self.spi_ids().skip(first as usize);
                let mut some = spis.by_ref().take(NR_PRIVATE as usize);
                some.try_for_each(|intid| self.dump_irq(0, intid, out))?;
                if spis.next().is_none() {
                    return Ok(None);
                }
            }
        }
        Ok(part.checked_add(1))
    }

    fn dump_irq(&self, vcpu: u32, intid: u32, out: &mut dyn fmt::Write) -> fmt::Result {
        let Some(irq) = self.cell(vcpu, intid).map(|c| c.get()) else {
            return Ok(());
        };
        if !irq.pending() && !irq.has(ACTIVE) {
            return Ok(());
        }
        let word = |flag, yes, no| if irq.has(flag) { yes } else { no };
        write!(
            out,
            "  irq {intid} at {}: {}{}{}, {}, priority {:#x}{}",
            irq.home(),
            if irq.pending() { "pending" } else { "" },
            word(ACTIVE, " active", ""),
            word(ENABLED, "", " disabled"),
            word(EDGE, "edge", "level"),
            irq.priority(),
            word(IN_LR, ", shown", ""),
        )?;
        if irq.has(LINKED) {
            write!(
                out,
                ", physical {}{}",
                irq.pintid(),
                word(PHYS, " active", "")
            )?;
        }
        writeln!(out)
    }
}
