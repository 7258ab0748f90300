// SPDX-License-Identifier: MIT OR Apache-2.0
//! The GICv2 distributor's registers (Arm IHI 0048), 4 KiB.

use super::mmio::{Access, AccessFault, Answer, View, sized};
use super::{NR_PRIVATE, VcpuNotify, Vgic};

const DIST_SIZE: u32 = 0x1000;
const GICD_CTLR: u32 = 0x000;
const GICD_TYPER: u32 = 0x004;
const GICD_IIDR: u32 = 0x008;
const GICD_SGIR: u32 = 0xf00;
/// As Xen's.
const IIDR: u64 = 0x43b;

impl Vgic {
    pub(super) fn v2_dist_access(
        &self,
        vcpu: u32,
        offset: u64,
        size: u32,
        access: Access,
        notify: &dyn VcpuNotify,
    ) -> Answer {
        let offset = u32::try_from(offset).map_err(|_| AccessFault)?;
        let view = View {
            vgic: self,
            vcpu,
            first: 0,
            end: self.spi_ids().end,
            notify,
        };
        if let Some(answer) = view.access(offset, size, access) {
            return answer;
        }
        match offset {
            0x800..0xc00 => return self.v2_targets(&view, offset, size, access),
            0xf10..0xf30 => return v2_sgi_sources(&view, offset, size, access),
            0..DIST_SIZE => sized(offset, size, &[4])?,
            _ => return Err(AccessFault),
        }
        Ok(match (offset, access) {
            (GICD_CTLR, Access::Read) => self.group_enabled().into(),
            (GICD_CTLR, Access::Write(value)) => {
                self.enable_group(value & 1 != 0, notify);
                0
            }
            (GICD_TYPER, Access::Read) => {
                let cpus = u64::from(self.config.nr_vcpus.saturating_sub(1));
                self.it_lines() | cpus << 5
            }
            (GICD_IIDR, Access::Read) => IIDR,
            (GICD_SGIR, Access::Write(value)) => {
                self.sgir(vcpu, value, notify);
                0
            }
            // Reserved, or an identification register: all are zero on Xen.
            _ => 0,
        })
    }

    /// `GICD_ITARGETSR`: a byte each, by byte or word. An SPI goes to the lowest vCPU of its mask;
    /// a mask without any is ignored. Private interrupts tell who asks.
    fn v2_targets(&self, view: &View<'_>, offset: u32, size: u32, access: Access) -> Answer {
        sized(offset, size, &[1, 4])?;
        let first = offset & 0x3ff;
        let Access::Write(value) = access else {
            let own = if first < NR_PRIVATE {
                Some(view.vcpu)
            } else {
                None
            };
            return Ok(view.gather(first, size, 8, |irq| 1 << (own.unwrap_or(irq.target()) & 7)));
        };
        for byte in 0..size.min(4) {
            let mask = (value >> (byte << 3)) as u32 & 0xff;
            let target = mask.trailing_zeros();
            if target < self.config.nr_vcpus {
                self.set_target(first | byte, target, view.notify);
            }
        }
        Ok(0)
    }
}

/// `GICD_CPENDSGIR` and `GICD_SPENDSGIR`: a byte of source CPUs for each SGI, by byte or word.
fn v2_sgi_sources(view: &View<'_>, offset: u32, size: u32, access: Access) -> Answer {
    sized(offset, size, &[1, 4])?;
    let first = offset & 0xf;
    match access {
        Access::Read => return Ok(view.gather(first, size, 8, |irq| irq.sources())),
        Access::Write(value) => view.scatter(first, size, 8, value, |irq, _, sources| {
            if offset < 0xf20 {
                irq.remove_sources(sources);
            } else {
                irq.add_sources(sources & view.vgic.vcpu_mask());
            }
        }),
    }
    Ok(0)
}
