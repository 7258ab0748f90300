// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device tree of a domain that is made at boot: what Xen's has, node by node.

use super::domu_devices;
use super::dt_build::DtBuilder;
use super::irq::{PPI_BASE, SPI_BASE};
use super::node::Nodes;
use crate::addr::{Ipa, PaRange};
use crate::domain::GicLayout;
use crate::vgic::Model;
use alloc::format;
use alloc::vec::Vec;
use xen_abi::arch_arm::{
    GUEST_EVTCHN_PPI, GUEST_TIMER_PHYS_NS_PPI, GUEST_TIMER_PHYS_S_PPI, GUEST_TIMER_VIRT_PPI,
};

/// The interrupt controller's phandle, unless the partial tree has given it one.
const GIC_PHANDLE: u32 = 65000;
/// Flags of a PPI: level-sensitive, active low, for the CPUs of a GICv2's mask.
const PPI_FLAGS: u32 = 0xf08;
/// Flags of the UART's SPI: level-sensitive, active high.
const SPI_FLAGS: u32 = 0xf04;
/// The UART needs no line; Linux wants to be told a speed.
const SPEED: u32 = 115_200;

/// What a domain is like.
#[derive(Clone, Copy)]
pub struct DomuLayout<'a> {
    /// Its memory, the first bank first.
    pub banks: &'a [PaRange],
    /// The affinity of each of its vCPUs, as in VMPIDR_EL2.
    pub vcpus: &'a [u64],
    /// `compatible` of its CPUs.
    pub cpu: &'a str,
    /// Their `clock-frequency`, if the host says it.
    pub cpu_hz: Option<u32>,
    /// The timer's, if the host says it.
    pub timer_hz: Option<u32>,
    /// Its interrupt controller.
    pub model: Model,
    /// And where that is.
    pub gic: &'a GicLayout,
    /// Its UART: registers and INTID.
    pub uart: Option<((Ipa, u64), u32)>,
    /// What it is told of Xen: where it may map its grant table, and then other pages.
    pub hypervisor: Option<&'a [PaRange]>,
    /// Its ramdisk.
    pub initrd: Option<PaRange>,
    /// Its kernel's command line.
    pub bootargs: &'a str,
    /// Nodes to add.
    pub partial: Option<&'a Nodes<'a>>,
}

/// Builds the tree.
pub fn build(layout: &DomuLayout<'_>) -> Vec<u8> {
    let phandle = layout.partial.and_then(domu_devices::gic_phandle);
    let mut writer = Writer {
        layout,
        phandle: phandle.unwrap_or(GIC_PHANDLE),
        out: DtBuilder::new(&[]),
    };
    writer.root();
    writer.out.finish()
}

struct Writer<'w> {
    layout: &'w DomuLayout<'w>,
    phandle: u32,
    out: DtBuilder,
}

impl Writer<'_> {
    fn root(&mut self) {
        // Nodes of the partial tree may count on the root's interrupt parent.
        self.out
            .begin_node("")
            .prop_cells("#address-cells", &[2])
            .prop_cells("#size-cells", &[2])
            .prop_cells("interrupt-parent", &[self.phandle]);
        self.chosen();
        self.out
            .begin_node("psci")
            .prop_str("compatible", "arm,psci-1.0\0arm,psci-0.2\0arm,psci")
            .prop_str("method", "hvc")
            .prop_cells("cpu_off", &[1])
            .prop_cells("cpu_on", &[2])
            .end_node();
        self.cpus();
        self.memory();
        self.gic();
        self.timer();
        if let Some(((base, size), intid)) = self.layout.uart {
            let spi = intid.saturating_sub(SPI_BASE);
            self.out
                .begin_node(&format!("sbsa-uart@{:x}", base.0))
                .prop_str("compatible", "arm,sbsa-uart")
                .prop("reg", &reg([(base.0, size)]))
                .prop_cells("interrupts", &[0, spi, SPI_FLAGS])
                .prop_cells("interrupt-parent", &[self.phandle])
                .prop_cells("current-speed", &[SPEED])
                .end_node();
        }
        if let Some(regions) = self.layout.hypervisor {
            let regions = regions.iter().map(|r| (r.start.0, r.size()));
            self.out
                .begin_node("hypervisor")
                .prop_str("compatible", "xen,xen-4.20\0xen,xen")
                .prop("reg", &reg(regions))
                .prop_cells("interrupts", &ppi(GUEST_EVTCHN_PPI))
                .prop_cells("interrupt-parent", &[self.phandle])
                .end_node();
        }
        if let Some(partial) = self.layout.partial {
            domu_devices::copy(partial, &mut self.out);
        }
        self.out.end_node();
    }

    fn chosen(&mut self) {
        self.out
            .begin_node("chosen")
            .prop_str("bootargs", self.layout.bootargs);
        if let Some(initrd) = self.layout.initrd {
            self.out
                .prop_u64("linux,initrd-start", initrd.start.0)
                .prop_u64("linux,initrd-end", initrd.end.0);
        }
        self.out.end_node();
    }

    fn cpus(&mut self) {
        self.out
            .begin_node("cpus")
            .prop_cells("#address-cells", &[1])
            .prop_cells("#size-cells", &[0]);
        for &affinity in self.layout.vcpus {
            self.out
                .begin_node(&format!("cpu@{affinity:x}"))
                .prop_str("compatible", self.layout.cpu)
                .prop_str("device_type", "cpu")
                .prop_cells("reg", &[affinity as u32])
                .prop_str("enable-method", "psci");
            if let Some(hz) = self.layout.cpu_hz {
                self.out.prop_cells("clock-frequency", &[hz]);
            }
            self.out.end_node();
        }
        self.out.end_node();
    }

    /// One node a bank, as domains that a toolstack makes have it.
    fn memory(&mut self) {
        for bank in self.layout.banks {
            self.out
                .begin_node(&format!("memory@{:x}", bank.start.0))
                .prop_str("device_type", "memory")
                .prop("reg", &reg([(bank.start.0, bank.size())]))
                .end_node();
        }
    }

    fn gic(&mut self) {
        let GicLayout { gicd, gicr, gicc } = self.layout.gic;
        self.out
            .begin_node(&format!("interrupt-controller@{:x}", gicd.0.0))
            .prop_cells("#address-cells", &[0])
            .prop_cells("#interrupt-cells", &[3])
            .prop("interrupt-controller", &[]);
        match self.layout.model {
            Model::V2 => self.out.prop_str("compatible", "arm,gic-400"),
            Model::V3 => self
                .out
                .prop_str("compatible", "arm,gic-v3")
                .prop_cells("#redistributor-regions", &[gicr.len() as u32]),
        };
        let blocks = [gicd].into_iter().chain(gicr).chain(gicc);
        let reg = reg(blocks.map(|&(base, size)| (base.0, size)));
        self.out
            .prop("reg", &reg)
            .prop_cells("linux,phandle", &[self.phandle])
            .prop_cells("phandle", &[self.phandle])
            .end_node();
    }

    fn timer(&mut self) {
        let ppis = [
            GUEST_TIMER_PHYS_S_PPI,
            GUEST_TIMER_PHYS_NS_PPI,
            GUEST_TIMER_VIRT_PPI,
        ];
        let cells: Vec<u32> = ppis.into_iter().flat_map(ppi).collect();
        self.out
            .begin_node("timer")
            .prop_str("compatible", "arm,armv8-timer")
            .prop_cells("interrupts", &cells)
            .prop_cells("interrupt-parent", &[self.phandle]);
        if let Some(hz) = self.layout.timer_hz {
            self.out.prop_cells("clock-frequency", &[hz]);
        }
        self.out.end_node();
    }
}

/// `reg` of a child of the root: address and size, two cells each.
fn reg(ranges: impl IntoIterator<Item = (u64, u64)>) -> Vec<u8> {
    let numbers = ranges.into_iter().flat_map(|(start, size)| [start, size]);
    numbers.flat_map(u64::to_be_bytes).collect()
}

fn ppi(intid: u32) -> [u32; 3] {
    [1, intid.saturating_sub(PPI_BASE), PPI_FLAGS]
}

#[cfg(test)]
mod tests {
    use super::super::node::Node;
    use super::super::tests::{range, with_host};
    use super::*;
    use crate::domain::create::GuestGic;

    fn layout(model: Model, see: impl FnOnce(&mut DomuLayout<'_>)) -> Vec<u8> {
        let gic = GuestGic {
            model,
            lr_count: 4,
            lrs_deactivate: true,
            priority_bits: 5,
            nr_spis: 32,
            gicv: None,
        };
        let regions = [
            range(0x3800_0000, 0x100_0000),
            range(0x4c00_0000, 0xb400_0000),
        ];
        let mut layout = DomuLayout {
            banks: &[range(0x4000_0000, 0xc00_0000)],
            vcpus: &[0, 1],
            cpu: "arm,cortex-a72",
            cpu_hz: None,
            timer_hz: None,
            model,
            gic: &gic.layout(2),
            uart: Some(((Ipa(0x2200_0000), 0x1000), 32)),
            hypervisor: Some(&regions),
            initrd: Some(range(0x4820_0000, 0x52_3934)),
            bootargs: "console=ttyAMA0",
            partial: None,
        };
        see(&mut layout);
        build(&layout)
    }

    #[test]
    fn the_nodes_are_xens() {
        with_host(&layout(Model::V3, |_| ()), |dt| {
            let names: Vec<_> = dt.root().children().map(|n| n.name()).collect();
            let wanted = [
                "chosen",
                "psci",
                "cpus",
                "memory@40000000",
                "interrupt-controller@3001000",
                "timer",
                "sbsa-uart@22000000",
                "hypervisor",
            ];
            assert_eq!(names, wanted);
            assert_eq!(dt.memory_banks().unwrap(), [range(0x4000_0000, 0xc00_0000)]);
            assert_eq!(dt.cpus().unwrap().len(), 2);
            let gic = dt.gic().unwrap();
            assert_eq!(gic.distributor, range(0x0300_1000, 0x1_0000));
            let uart = dt.find("/sbsa-uart").unwrap();
            let irq = |node: Node<'_>, n: usize| dt.interrupts(node)[n].unwrap().intid;
            assert_eq!(irq(uart, 0), 32);
            let hypervisor = dt.find("/hypervisor").unwrap();
            assert_eq!(irq(hypervisor, 0), 31);
            assert_eq!(hypervisor.reg().count(), 2);
            let timer = dt.find("/timer").unwrap();
            assert_eq!([0, 1, 2].map(|n| irq(timer, n)), [29, 30, 27]);
            let chosen = dt.find("/chosen").unwrap();
            assert_eq!(chosen.str("bootargs"), Some("console=ttyAMA0"));
            assert_eq!(chosen.number("linux,initrd-end"), Some(0x4872_3934));
        });
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let plain = |layout: &mut DomuLayout<'_>| {
            layout.uart = None;
            layout.hypervisor = None;
            layout.initrd = None;
        };
        with_host(&layout(Model::V2, plain), |dt| {
            for path in ["/sbsa-uart", "/hypervisor"] {
                assert!(dt.find(path).is_none());
            }
            assert!(!dt.find("/chosen").unwrap().has("linux,initrd-start"));
            let gic = dt.find("/interrupt-controller").unwrap();
            assert!(gic.is_compatible(&["arm,gic-400"]));
            let reg: Vec<_> = gic.reg().flatten().collect();
            let wanted = [range(0x0300_1000, 0x1000), range(0x0300_2000, 0x2000)];
            assert_eq!(reg, wanted);
        });
    }
}
