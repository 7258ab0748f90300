// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dom0's device tree: the host's, node by node, with what dom0 must not see left out and what is
//! virtual put in.

use super::cells::Cells;
use super::dom0_nodes::{Fate, Fates, is_iommu};
use super::dt_build::DtBuilder;
use super::host_dt::{Gic, GicVersion, HostDt, Timer};
use super::irq::{Irq, PPI_BASE};
use super::node::Node;
use crate::addr::PaRange;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;

/// Flags of a PPI: level-sensitive, active low, for the CPUs of a GICv2's mask.
const PPI_FLAGS: u32 = 0xf08;
/// Bytes of dom0's GICC: GICV's two pages.
const GICC_SIZE: u32 = 0x2000;
/// Properties of the GIC's node that stay.
const GIC_KEPT: &[&str] = &["#address-cells", "#size-cells", "phandle", "linux,phandle"];
/// And those that stay for a GICv2, whose MSI frames are below it.
const GICV2_KEPT: &[&str] = &["compatible", "ranges"];
/// Properties of `/chosen` that were for us, or that are made anew.
const CHOSEN_DROPPED: &[&str] = &[
    "bootargs",
    "stdout-path",
    "linux,stdout-path",
    "linux,initrd-start",
    "linux,initrd-end",
    "xen,static-heap",
];

/// What dom0 is like.
#[derive(Clone, Copy, Debug)]
pub struct Dom0Layout<'a> {
    /// Its memory, the first bank first.
    pub banks: &'a [PaRange],
    /// `/reserved-memory`, which it sees as memory too.
    pub reserved: &'a [PaRange],
    /// Where it may map its grant table.
    pub grant_region: PaRange,
    /// Where it may map other pages.
    pub extended_regions: &'a [PaRange],
    /// Its vCPUs.
    pub vcpus: &'a [Dom0Cpu],
    /// Its ramdisk.
    pub initrd: Option<PaRange>,
    /// Its kernel's command line.
    pub bootargs: &'a str,
    /// The host's GIC, which its virtual one is like.
    pub gic: &'a Gic,
    /// Of a GICv3 host's redistributor regions, how many its virtual one has.
    pub redistributor_regions: usize,
    /// The host's timer, whose PPIs its virtual one uses.
    pub timer: &'a Timer,
    /// The INTID of the PPI that tells it of events.
    pub event_ppi: u32,
}

/// A vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dom0Cpu {
    /// Its affinity, as in VMPIDR_EL2.
    pub affinity: u64,
    /// The affinity of a CPU of the host's of its kind.
    pub like: u64,
}

/// A range of the layout that the root's cells cannot say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooWide(pub PaRange);

impl fmt::Display for TooWide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.0.start, self.0.end);
        write!(
            f,
            "dom0's device tree: {start}-{end} needs wider cells than the host's root has"
        )
    }
}

/// Builds dom0's device tree.
pub fn build(
    host: &HostDt<'_>,
    fates: &Fates,
    layout: &Dom0Layout<'_>,
) -> Result<Vec<u8>, TooWide> {
    let gic_phandle = host.gic_node().and_then(Node::phandle);
    let mut writer = Writer {
        host,
        fates,
        layout,
        gic_phandle: gic_phandle.unwrap_or_else(|| host.free_phandle()),
        out: DtBuilder::new(&[]),
    };
    writer.node(host.root())?;
    Ok(writer.out.finish())
}

struct Writer<'w> {
    host: &'w HostDt<'w>,
    fates: &'w Fates,
    layout: &'w Dom0Layout<'w>,
    gic_phandle: u32,
    out: DtBuilder,
}

impl Writer<'_> {
    /// Writes `node` and what is below it; the depth is bounded by that of a checked tree.
    fn node(&mut self, node: Node<'_>) -> Result<(), TooWide> {
        let root = node.parent().is_none();
        match self.fates.of(node) {
            Fate::Drop => return Ok(()),
            Fate::Timer => {
                self.timer();
                return Ok(());
            }
            Fate::Gic => self.gic(node),
            fate => {
                self.out.begin_node(if root { "" } else { node.name() });
                self.properties(node, fate);
            }
        }
        for child in node.children() {
            self.node(child)?;
        }
        if root {
            self.additions()?;
        }
        self.out.end_node();
        Ok(())
    }

    fn properties(&mut self, node: Node<'_>, fate: Fate) {
        let chosen = is_chosen(node);
        let no_iommu = behind_iommu(node);
        for property in node.properties() {
            let dropped = match property.name {
                "xen,passthrough" => true,
                "status" => fate == Fate::Disable,
                "iommus" | "iommu-map" | "iommu-map-mask" => no_iommu,
                name => chosen && chosen_drops(name),
            };
            if !dropped {
                self.out.prop(property.name, property.value);
            }
        }
        if fate == Fate::Disable {
            self.out.prop_str("status", "disabled");
        }
        if chosen {
            self.chosen();
        }
    }

    fn chosen(&mut self) {
        self.out.prop_str("bootargs", self.layout.bootargs);
        if let Some(initrd) = self.layout.initrd {
            self.out
                .prop_u64("linux,initrd-start", initrd.start.0)
                .prop_u64("linux,initrd-end", initrd.end.0);
        }
    }

    /// Begins the GIC's node; the host's children follow.
    fn gic(&mut self, node: Node<'_>) {
        self.out
            .begin_node("interrupt-controller")
            .prop_cells("#interrupt-cells", &[3])
            .prop("interrupt-controller", &[]);
        self.keep(node, GIC_KEPT);
        if node.phandle().is_none() {
            self.out.prop_cells("phandle", &[self.gic_phandle]);
        }
        let blocks = match &self.layout.gic.version {
            GicVersion::V2 { .. } => {
                self.keep(node, GICV2_KEPT);
                2
            }
            GicVersion::V3 { redistributors, .. } => 1 + self.gicv3(redistributors.len()),
        };
        let bus = node.parent().unwrap_or(node);
        let block = (bus.address_cells() + bus.size_cells()) * 4;
        let reg = node.property("reg").unwrap_or_default();
        let mut reg = reg.get(..blocks * block).unwrap_or(reg).to_vec();
        if let GicVersion::V2 { .. } = self.layout.gic.version
            && let Some(size) = reg.last_chunk_mut::<4>()
        {
            // GICC: as much as GICV has, however far the host's is spread.
            *size = GICC_SIZE.to_be_bytes();
        }
        self.out.prop("reg", &reg);
    }

    /// What only a GICv3's node has; returns how many redistributor regions there are.
    /// (The virtual ones follow each other without a gap: no stride.)
    fn gicv3(&mut self, host_regions: usize) -> usize {
        let regions = self.layout.redistributor_regions.clamp(1, host_regions);
        self.out
            .prop_str("compatible", "arm,gic-v3")
            .prop_cells("#redistributor-regions", &[regions as u32]);
        regions
    }

    /// Copies these properties of `node`.
    fn keep(&mut self, node: Node<'_>, names: &[&str]) {
        for name in names {
            if let Some(value) = node.property(name) {
                self.out.prop(name, value);
            }
        }
    }

    fn timer(&mut self) {
        let timer = self.layout.timer;
        // The secure timer is never used; its place must be filled.
        let secure = timer.secure_physical.unwrap_or(timer.physical);
        let irqs = [secure, timer.physical, timer.virtual_];
        let cells: Vec<u32> = irqs.iter().flat_map(|irq| ppi_cells(*irq)).collect();
        self.out
            .begin_node("timer")
            .prop_str("compatible", "arm,armv8-timer")
            .prop_cells("interrupts", &cells)
            .prop_cells("interrupt-parent", &[self.gic_phandle]);
        if let Some(hz) = timer.clock_frequency.and_then(|hz| u32::try_from(hz).ok()) {
            self.out.prop_cells("clock-frequency", &[hz]);
        }
        self.out.end_node();
    }

    /// What the root has in the end that the host's has not.
    fn additions(&mut self) -> Result<(), TooWide> {
        if self.host.find("/chosen").is_none() {
            self.out.begin_node("chosen");
            self.chosen();
            self.out.end_node();
        }
        self.hypervisor()?;
        self.out
            .begin_node("psci")
            .prop_str("compatible", "arm,psci-1.0\0arm,psci-0.2\0arm,psci")
            .prop_str("method", "hvc")
            .prop_cells("cpu_off", &[1])
            .prop_cells("cpu_on", &[2])
            .end_node();
        self.cpus();
        self.memory(self.layout.banks)?;
        self.memory(self.layout.reserved)
    }

    fn hypervisor(&mut self) -> Result<(), TooWide> {
        let layout = self.layout;
        let mut regions = alloc::vec![layout.grant_region];
        regions.extend(layout.extended_regions);
        let reg = self.reg(&regions)?;
        let irq = Irq {
            intid: layout.event_ppi,
            edge: false,
        };
        self.out
            .begin_node("hypervisor")
            .prop_str("compatible", "xen,xen-4.20\0xen,xen")
            .prop("reg", &reg)
            .prop_cells("interrupts", &ppi_cells(irq))
            .prop_cells("interrupt-parent", &[self.gic_phandle])
            .end_node();
        Ok(())
    }

    fn cpus(&mut self) {
        let cpus = self.host.cpus().unwrap_or_default();
        let available = || cpus.iter().filter(|cpu| cpu.available);
        self.out
            .begin_node("cpus")
            .prop_cells("#address-cells", &[1])
            .prop_cells("#size-cells", &[0]);
        for &Dom0Cpu { affinity, like } in self.layout.vcpus {
            let like = available()
                .find(|cpu| cpu.mpidr == like)
                .or_else(|| available().next());
            self.out
                .begin_node(&format!("cpu@{affinity:x}"))
                .prop_str("compatible", like.map_or("arm,armv8", |cpu| cpu.compatible))
                .prop_str("device_type", "cpu")
                .prop_cells("reg", &[affinity as u32])
                .prop_str("enable-method", "psci");
            let hz = like.and_then(|cpu| u32::try_from(cpu.clock_frequency?).ok());
            if let Some(hz) = hz {
                self.out.prop_cells("clock-frequency", &[hz]);
            }
            // How fast it is beside the others.
            if let Some(capacity) = like.and_then(|cpu| cpu.capacity) {
                self.out.prop_cells("capacity-dmips-mhz", &[capacity]);
            }
            self.out.end_node();
        }
        self.out.end_node();
    }

    fn memory(&mut self, ranges: &[PaRange]) -> Result<(), TooWide> {
        let Some(first) = ranges.first() else {
            return Ok(());
        };
        let reg = self.reg(ranges)?;
        self.out
            .begin_node(&format!("memory@{:x}", first.start.0))
            .prop_str("device_type", "memory")
            .prop("reg", &reg)
            .end_node();
        Ok(())
    }

    /// `reg` of a child of the root.
    fn reg(&self, ranges: &[PaRange]) -> Result<Vec<u8>, TooWide> {
        let root = self.host.root();
        let (address, size) = (root.address_cells(), root.size_cells());
        let mut reg = Vec::with_capacity(ranges.len() * 16);
        for range in ranges {
            let said = put_number(&mut reg, range.start.0, address)
                .and_then(|()| put_number(&mut reg, range.size(), size));
            said.ok_or(TooWide(*range))?;
        }
        Ok(reg)
    }
}

/// Appends `value` as `cells` cells, if it fits them.
fn put_number(out: &mut Vec<u8>, value: u64, cells: usize) -> Option<()> {
    match cells {
        1 => out.extend_from_slice(&u32::try_from(value).ok()?.to_be_bytes()),
        2 => out.extend_from_slice(&value.to_be_bytes()),
        _ => return None,
    }
    Some(())
}

fn ppi_cells(irq: Irq) -> [u32; 3] {
    [1, irq.intid.saturating_sub(PPI_BASE), PPI_FLAGS]
}

fn is_chosen(node: Node<'_>) -> bool {
    node.name() == "chosen" && node.parent().is_some_and(|p| p.parent().is_none())
}

fn chosen_drops(name: &str) -> bool {
    let ours = name.starts_with("xen,") && name.ends_with("-bootargs");
    ours || name.starts_with("linux,uefi-") || CHOSEN_DROPPED.contains(&name)
}

/// True if an IOMMU is in front of `node`.
fn behind_iommu(node: Node<'_>) -> bool {
    let phandle = match (node.property("iommus"), node.property("iommu-map")) {
        (Some(list), _) => Cells(list).next(),
        (None, Some(map)) => Cells(map.get(4..).unwrap_or_default()).next(),
        _ => return false,
    };
    let iommu = phandle.and_then(|phandle| node.nodes().by_phandle(phandle));
    iommu.is_some_and(is_iommu)
}
