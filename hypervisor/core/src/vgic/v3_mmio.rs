// SPDX-License-Identifier: MIT OR Apache-2.0
//! The GICv3 distributor's and redistributors' registers (Arm IHI 0069).

use super::mmio::{ARRAYS, Access, AccessFault, Answer, View, sized};
use super::{NR_PRIVATE, VcpuNotify, Vgic};
use crate::nospec;

const DIST_SIZE: u32 = 0x1_0000;
const GICD_CTLR: u32 = 0x0000;
const GICD_TYPER: u32 = 0x0004;
const GICD_IIDR: u32 = 0x0008;
const GICD_IROUTER: u32 = 0x6000;
const GICD_IROUTER_END: u32 = 0x7fe0;
/// `GICD_PIDR2` and `GICR_PIDR2`.
const PIDR2: u32 = 0xffe8;
const GICD_CTLR_ARE_NS: u64 = 1 << 4;
const GICD_CTLR_ENABLE_GRP1A: u64 = 1 << 1;
/// `GICD_IROUTER.Interrupt_Routing_Mode`: any vCPU.
const IRM: u64 = 1 << 31;

/// Bytes of one redistributor: the RD frame and the SGI frame.
const REDIST_SIZE: u64 = 0x2_0000;
const SGI_FRAME: u32 = 0x1_0000;
const GICR_IIDR: u32 = 0x0004;
const GICR_TYPER: u32 = 0x0008;
const GICR_PROPBASER: u32 = 0x0070;
const GICR_PENDBASER: u32 = 0x0078;
const GICR_TYPER_LAST: u64 = 1 << 4;

/// As Xen's.
const IIDR: u64 = 0x34c;
/// Architecture revision 3.
const PIDR2_V3: u64 = 0x30;

/// The affinity of a vCPU, as in `GICD_IROUTER`: 16 to a cluster.
fn affinity(vcpu: u32) -> u64 {
    u64::from(vcpu & 0xf | (vcpu >> 4) << 8)
}

impl Vgic {
    pub(super) fn v3_dist_access(
        &self,
        vcpu: u32,
        offset: u64,
        size: u32,
        access: Access,
        notify: &dyn VcpuNotify,
    ) -> Answer {
        let offset = u32::try_from(offset).map_err(|_| AccessFault)?;
        if ARRAYS.contains(&offset) {
            // With affinity routing the distributor has no registers for private interrupts.
            let view = View {
                vgic: self,
                vcpu,
                first: NR_PRIVATE,
                end: self.spi_ids().end,
                notify,
            };
            if let Some(answer) = view.access(offset, size, access) {
                return answer;
            }
        }
        match offset {
            GICD_IROUTER..GICD_IROUTER_END => return self.router(offset, size, access, notify),
            0..DIST_SIZE => sized(offset, size, &[4])?,
            _ => return Err(AccessFault),
        }
        Ok(match (offset, access) {
            (GICD_CTLR, Access::Read) if self.group_enabled() => {
                GICD_CTLR_ARE_NS | GICD_CTLR_ENABLE_GRP1A
            }
            (GICD_CTLR, Access::Read) => GICD_CTLR_ARE_NS,
            (GICD_CTLR, Access::Write(value)) => {
                self.enable_group(value & GICD_CTLR_ENABLE_GRP1A != 0, notify);
                0
            }
            (GICD_TYPER, Access::Read) => {
                let cpus = u64::from(self.config.nr_vcpus.min(8).saturating_sub(1));
                let ids = u64::from(self.config.id_bits.saturating_sub(1));
                self.it_lines() | cpus << 5 | ids << 19
            }
            (GICD_IIDR, Access::Read) => IIDR,
            (PIDR2, Access::Read) => PIDR2_V3,
            _ => 0,
        })
    }

    /// `GICD_IROUTER<n>`. "Any vCPU" is vCPU 0; an affinity nobody has is ignored.
    fn router(&self, offset: u32, size: u32, access: Access, notify: &dyn VcpuNotify) -> Answer {
        sized(offset, size, &[4, 8])?;
        let intid = (offset & 0x1fff) >> 3;
        let spis = self.spi_ids();
        let spi = spis.contains(&intid);
        let intid = nospec::confine(intid as usize, spis.end as usize) as u32;
        let target = self
            .cell(0, intid)
            .filter(|_| spi)
            .map(|c| c.get().target());
        access.wide(offset, size, target.map_or(0, affinity), |route| {
            let vcpu = match route & IRM {
                0 => (route & 0xf | route >> 4 & 0xff0) as u32,
                _ => 0,
            };
            let same = affinity(vcpu) == route & 0xff_00ff_ffff;
            if vcpu < self.config.nr_vcpus && (same || route & IRM != 0) {
                self.set_target(intid, vcpu, notify);
            }
        })
    }

    pub(super) fn v3_redist_access(
        &self,
        offset: u64,
        size: u32,
        access: Access,
        notify: &dyn VcpuNotify,
    ) -> Answer {
        let vcpu = u32::try_from(offset / REDIST_SIZE).map_err(|_| AccessFault)?;
        let offset = (offset % REDIST_SIZE) as u32;
        if vcpu >= self.config.nr_vcpus {
            return Err(AccessFault);
        }
        let Some(offset) = offset.checked_sub(SGI_FRAME) else {
            return self.rd_frame(vcpu, offset, size, access);
        };
        let view = View {
            vgic: self,
            vcpu,
            first: 0,
            end: NR_PRIVATE,
            notify,
        };
        match view.access(offset, size, access) {
            Some(answer) => answer,
            None => sized(offset, size, &[4]).map(|()| 0),
        }
    }

    fn rd_frame(&self, vcpu: u32, offset: u32, size: u32, access: Access) -> Answer {
        match offset & !7 {
            GICR_TYPER => {
                return access.wide(offset, size, self.redist_typer(vcpu), |_| {});
            }
            // There are no LPIs.
            GICR_PROPBASER | GICR_PENDBASER => return access.wide(offset, size, 0, |_| {}),
            _ => sized(offset, size, &[4])?,
        }
        // GICR_WAKER too is zero: the redistributor is awake.
        Ok(access.read_only(match offset {
            GICR_IIDR => IIDR,
            PIDR2 => PIDR2_V3,
            _ => 0,
        }))
    }

    fn redist_typer(&self, vcpu: u32) -> u64 {
        let next = vcpu.saturating_add(1);
        let last = next == self.config.nr_vcpus || self.config.redist_region_ends.contains(&next);
        let last = if last { GICR_TYPER_LAST } else { 0 };
        affinity(vcpu) << 32 | u64::from(vcpu) << 8 | last
    }
}
