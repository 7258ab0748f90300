// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state in words, for a debug key.

use super::irq::{ACTIVE, EDGE, ENABLED, IN_LR, LINKED, PHYS};
use super::{NR_PRIVATE, Vgic};
use core::fmt;

impl Vgic {
    /// Writes the interrupts of all vCPUs that are pending or active, one a line.
    pub fn dump(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(
            out,
            "vgic: group {}",
            if self.group_enabled() { "on" } else { "off" }
        )?;
        for vcpu in 0..self.config.nr_vcpus {
            let dirty = if self.is_dirty(vcpu) { ", dirty" } else { "" };
            writeln!(out, " vcpu {vcpu}{dirty}")?;
            for intid in 0..NR_PRIVATE {
                self.dump_irq(vcpu, intid, out)?;
            }
        }
        self.spi_ids()
            .try_for_each(|intid| self.dump_irq(0, intid, out))
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
