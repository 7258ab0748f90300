// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interrupt controller, GICv2 or GICv3, as its guest uses it.

use super::dt::facts;
use super::mmio::{read32, write8, write32};
use super::sysreg::{read_sysreg, write_sysreg};
use super::{barrier, cpu};

/// Distributor: control.
pub(crate) const CTLR: u64 = 0x000;
/// Distributor: size.
pub(crate) const TYPER: u64 = 0x004;
/// Distributor: implementer.
pub(crate) const IIDR: u64 = 0x008;
/// Set-enable, one bit an interrupt.
pub(crate) const ISENABLER: u64 = 0x100;
/// Clear-enable.
pub(crate) const ICENABLER: u64 = 0x180;
/// Set-pending.
pub(crate) const ISPENDR: u64 = 0x200;
/// Clear-pending.
pub(crate) const ICPENDR: u64 = 0x280;
/// Set-active.
pub(crate) const ISACTIVER: u64 = 0x300;
/// Clear-active.
pub(crate) const ICACTIVER: u64 = 0x380;
/// Priority, one byte an interrupt.
pub(crate) const IPRIORITYR: u64 = 0x400;
/// Targets of GICv2, one byte an interrupt.
pub(crate) const ITARGETSR: u64 = 0x800;
/// Trigger, two bits an interrupt.
pub(crate) const ICFGR: u64 = 0xc00;
/// SGI generation of GICv2.
pub(crate) const SGIR: u64 = 0xf00;
/// Target of an SPI of GICv3, eight bytes an interrupt.
pub(crate) const IROUTER: u64 = 0x6000;

const GICC_CTLR: u64 = 0x00;
const GICC_PMR: u64 = 0x04;
const GICC_BPR: u64 = 0x08;
const GICC_IAR: u64 = 0x0c;
const GICC_EOIR: u64 = 0x10;
const GICC_DIR: u64 = 0x1000;
const GICR_SGI_FRAME: u64 = 0x1_0000;
const GICR_SIZE: u64 = 0x2_0000;
const SPURIOUS: u32 = 1020;

/// Which architecture, and where its parts are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gic {
    V2 {
        distributor: u64,
        cpu: u64,
    },
    V3 {
        distributor: u64,
        redistributors: u64,
    },
}

impl Gic {
    pub(crate) fn distributor(self) -> u64 {
        match self {
            Self::V2 { distributor, .. } | Self::V3 { distributor, .. } => distributor,
        }
    }

    pub(crate) fn is_v3(self) -> bool {
        matches!(self, Self::V3 { .. })
    }

    /// The frame with the registers of CPU `number`'s SGIs and PPIs.
    pub(crate) fn private(self, number: usize) -> u64 {
        match self {
            Self::V2 { distributor, .. } => distributor,
            Self::V3 { redistributors, .. } => {
                redistributors + number as u64 * GICR_SIZE + GICR_SGI_FRAME
            }
        }
    }
}

/// Redistributor frame of CPU `number`, GICv3 only.
pub(crate) fn redistributor(number: usize) -> u64 {
    facts().gic.private(number) - GICR_SGI_FRAME
}

/// The frame that holds `intid`'s registers: the distributor's, or of a private interrupt the calling CPU's.
pub(crate) fn frame(intid: u32) -> u64 {
    if intid < 32 {
        facts().gic.private(cpu::number())
    } else {
        facts().gic.distributor()
    }
}

/// Sets `intid`'s bit in the register array at offset `array`.
pub(crate) fn set_bit(array: u64, intid: u32) {
    write32(
        frame(intid) + array + u64::from(intid / 32 * 4),
        1 << (intid % 32),
    );
}

/// `intid`'s bit in the register array at offset `array`.
pub(crate) fn bit(array: u64, intid: u32) -> bool {
    read32(frame(intid) + array + u64::from(intid / 32 * 4)) >> (intid % 32) & 1 != 0
}

/// Lets an interrupt through, at a priority.
pub(crate) fn enable(intid: u32, priority: u8) {
    set_priority(intid, priority);
    set_bit(ISENABLER, intid);
}

/// Stops an interrupt.
pub(crate) fn disable(intid: u32) {
    set_bit(ICENABLER, intid);
}

/// Sets an interrupt's priority; 0 is the most urgent.
pub(crate) fn set_priority(intid: u32, priority: u8) {
    write8(frame(intid) + IPRIORITYR + u64::from(intid), priority);
}

/// Sets up the distributor and the calling CPU.
pub(crate) fn start() {
    let distributor = facts().gic.distributor();
    let enable = if facts().gic.is_v3() {
        1 << 4 | 1 << 1
    } else {
        1
    };
    write32(distributor + CTLR, enable);
    start_cpu();
}

/// Sets up the calling CPU's interface.
pub(crate) fn start_cpu() {
    match facts().gic {
        Gic::V2 { cpu, .. } => {
            write32(cpu + GICC_PMR, 0xff);
            write32(cpu + GICC_BPR, 0);
            write32(cpu + GICC_CTLR, 1);
        }
        Gic::V3 { .. } => {
            let sre = read_sysreg!("S3_0_C12_C12_5");
            write_sysreg!("S3_0_C12_C12_5", sre | 1);
            barrier::isb();
            write_sysreg!("S3_0_C12_C12_3", 0);
            write_sysreg!("S3_0_C12_C12_7", 1);
            barrier::isb();
        }
    }
    set_priority_mask(0xff);
}

/// Sets the mask: only interrupts of a lower number (more urgent) are taken.
pub(crate) fn set_priority_mask(mask: u8) {
    match facts().gic {
        Gic::V2 { cpu, .. } => write32(cpu + GICC_PMR, mask.into()),
        Gic::V3 { .. } => {
            write_sysreg!("S3_0_C4_C6_0", mask.into());
            barrier::isb();
        }
    }
}

/// What acknowledging an interrupt gave: of an SGI of GICv2 also its sender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged(u32);

impl Acknowledged {
    pub(crate) fn intid(self) -> u32 {
        self.0 & 0x3ff
    }
}

/// Takes the most urgent pending interrupt; `None` when there is none.
pub(crate) fn acknowledge() -> Option<Acknowledged> {
    let value = match facts().gic {
        Gic::V2 { cpu, .. } => read32(cpu + GICC_IAR),
        Gic::V3 { .. } => {
            let value = read_sysreg!("S3_0_C12_C12_0") as u32;
            barrier::dsb();
            value
        }
    };
    let acknowledged = Acknowledged(value);
    (acknowledged.intid() < SPURIOUS).then_some(acknowledged)
}

/// Drops priority and deactivates.
pub(crate) fn end(acknowledged: Acknowledged) {
    match facts().gic {
        Gic::V2 { cpu, .. } => write32(cpu + GICC_EOIR, acknowledged.0),
        Gic::V3 { .. } => {
            write_sysreg!("S3_0_C12_C12_1", acknowledged.0.into());
            barrier::isb();
        }
    }
}

/// Sends SGI `intid` to CPU `target`.
#[inline(always)]
pub(crate) fn send_sgi(intid: u32, target: usize) {
    barrier::dsb();
    match facts().gic {
        Gic::V2 { distributor, .. } => write32(distributor + SGIR, 1 << (16 + target) | intid),
        Gic::V3 { .. } => {
            let affinity1 = (target as u64 >> 4) << 16;
            write_sysreg!(
                "S3_0_C12_C11_5",
                u64::from(intid) << 24 | affinity1 | 1 << (target & 0xf)
            );
            barrier::isb();
        }
    }
}

/// Acknowledges and ends one interrupt, with exceptions masked; its number.
pub(crate) fn take() -> Option<u32> {
    let acknowledged = acknowledge()?;
    end(acknowledged);
    Some(acknowledged.intid())
}

/// Interrupt numbers of the distributor: all are below this.
pub(crate) fn lines() -> u32 {
    let typer = read32(facts().gic.distributor() + TYPER);
    (32 * ((typer & 0x1f) + 1)).min(SPURIOUS)
}

/// Makes the interrupt pending, an SGI by sending it to the calling CPU.
pub(crate) fn pend(intid: u32) {
    if intid < 16 {
        send_sgi(intid, cpu::number());
    } else {
        set_bit(ISPENDR, intid);
    }
}

/// Sends SGI `intid` to all CPUs but the calling one.
pub(crate) fn send_sgi_to_others(intid: u32) {
    barrier::dsb();
    match facts().gic {
        Gic::V2 { distributor, .. } => write32(distributor + SGIR, 1 << 24 | intid),
        Gic::V3 { .. } => {
            write_sysreg!("S3_0_C12_C11_5", u64::from(intid) << 24 | 1 << 40);
            barrier::isb();
        }
    }
}

/// Priority of the interrupt in progress, 0xff when none is.
pub(crate) fn running_priority() -> u8 {
    match facts().gic {
        Gic::V2 { cpu, .. } => read32(cpu + 0x14) as u8,
        Gic::V3 { .. } => read_sysreg!("S3_0_C12_C11_3") as u8,
    }
}

/// Chooses whether [`end`] only drops the priority, and [`deactivate`] does the rest.
pub(crate) fn split_end(split: bool) {
    match facts().gic {
        Gic::V2 { cpu, .. } => write32(cpu + GICC_CTLR, 1 | u32::from(split) << 9),
        Gic::V3 { .. } => {
            write_sysreg!("S3_0_C12_C12_4", u64::from(split) << 1);
            barrier::isb();
        }
    }
}

/// Deactivates an interrupt that [`end`] did not.
pub(crate) fn deactivate(acknowledged: Acknowledged) {
    match facts().gic {
        Gic::V2 { cpu, .. } => write32(cpu + GICC_DIR, acknowledged.0),
        Gic::V3 { .. } => {
            write_sysreg!("S3_0_C12_C11_1", acknowledged.0.into());
            barrier::isb();
        }
    }
}
