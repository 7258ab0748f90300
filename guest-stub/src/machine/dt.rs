// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the device tree says of the machine.

use fdt::Fdt;
use fdt::node::FdtNode;

use super::gic::Gic;
use super::mmu::{self, Kind};
use super::once::Once;
use crate::console;

/// Regions kept of a list.
const REGIONS: usize = 8;

/// Virtio devices with registers of their own: QEMU's machine has as many slots.
const VIRTIO_SLOTS: usize = 32;

/// A range of addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Region {
    pub(crate) base: u64,
    pub(crate) size: u64,
}

impl Region {
    /// The address behind it.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.size
    }
}

/// A device that does DMA, as the tree describes it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DmaNode {
    /// Registers.
    pub(crate) registers: Region,
    /// It sees what is in caches: `dma-coherent`.
    pub(crate) is_coherent: bool,
}

/// A PCI Express host bridge with ECAM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PciHost {
    /// Its registers are the configuration space of its buses; what holds for it holds for the devices behind it.
    pub(crate) node: DmaNode,
    /// Addresses for 32-bit memory BARs: the same on the bus.
    pub(crate) window: Region,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) gic: Gic,
    /// The domain's memory; empty ones at the end.
    pub(crate) memory: [Region; REGIONS],
    /// The device tree itself.
    pub(crate) tree: Region,
    /// Slots for virtio devices; empty ones at the end.
    pub(crate) virtio_mmio: [DmaNode; VIRTIO_SLOTS],
    /// The first host bridge.
    pub(crate) pci: Option<PciHost>,
    /// The first DMA controller of this kind.
    pub(crate) pl330: Option<DmaNode>,
    /// Number of CPUs.
    pub(crate) cpus: usize,
    /// Interrupt of the virtual timer.
    pub(crate) virtual_timer: u32,
    /// Interrupt of the non-secure physical timer.
    pub(crate) physical_timer: u32,
    /// Interrupt of event channels.
    pub(crate) event_interrupt: u32,
    /// Addresses set aside for the grant table.
    pub(crate) grant_region: Region,
    /// Unused addresses, where pages of others may be mapped; empty ones at the end.
    pub(crate) extended_regions: [Region; REGIONS],
    /// QEMU's configuration device: nothing answers in the rest of its page. None elsewhere.
    pub(crate) fw_cfg: Option<u64>,
    /// The machine is a Juno, else QEMU's `virt`.
    pub(crate) is_juno: bool,
    /// Command line.
    pub(crate) arguments: &'static str,
}

static FACTS: Once<Facts> = Once::new();

/// The machine, once [`read`] has looked.
#[inline(always)]
pub(crate) fn facts() -> &'static Facts {
    &FACTS
}

/// The CPUs that the tree calls the same as `cpu`, a bit each. A vCPU of dom0 is like the CPU with its number.
pub(crate) fn cpus_like(cpu: u32) -> u64 {
    let all = || {
        KEPT.0
            .all_nodes()
            .filter(|node| text(*node, "device_type") == Some("cpu"))
            .map(|node| text(node, "compatible"))
    };
    let own = all().nth(cpu as usize);
    (0..)
        .zip(all())
        .filter(|(_, name)| Some(*name) == own)
        .fold(0, |set, (n, _): (u32, _)| set | 1 << n)
}

/// Reads the device tree at `address` and maps what it names.
pub(crate) fn read(address: u64) {
    // SAFETY: the boot protocol passes the address of a device tree that stays where it is; head.S has mapped it.
    let tree = unsafe { Fdt::from_ptr(address as *const u8) }.expect("no device tree in x0");
    let tree = KEPT.keep(tree);
    let memory: [Region; REGIONS] = tree
        .all_nodes()
        .find(|node| text(*node, "device_type") == Some("memory"))
        .map(regions)
        .unwrap_or_default();
    for region in memory.iter().filter(|region| region.size != 0) {
        mmu::map(region.base, region.size, Kind::Memory);
    }
    let gic = gic(tree);
    use_uart(tree);
    let timer = node(tree, "arm,armv8-timer");
    // A domU that is not `xen,enhanced` has no such node; what it would say is fixed (public/arch-arm.h).
    let xen = tree.find_compatible(&["xen,xen"]);
    let [grant_region, extended @ ..] = xen.map_or(DOMU_REGIONS, regions::<{ REGIONS + 1 }>);
    mmu::map(grant_region.base, grant_region.size, Kind::Memory);
    for region in extended.iter().filter(|region| region.size != 0) {
        mmu::map(region.base, region.size, Kind::Memory);
    }
    FACTS.set(Facts {
        gic,
        memory,
        tree: Region {
            base: address,
            size: tree.total_size() as u64,
        },
        virtio_mmio: virtio_mmio(tree),
        pci: tree
            .find_compatible(&["pci-host-ecam-generic"])
            .map(pci_host),
        pl330: tree.find_compatible(&["arm,pl330"]).map(|node| {
            let node = dma_node(node);
            mmu::map(node.registers.base, node.registers.size, Kind::Device);
            node
        }),
        cpus: tree
            .all_nodes()
            .filter(|node| text(*node, "device_type") == Some("cpu"))
            .count(),
        virtual_timer: interrupt(timer, 2),
        physical_timer: interrupt(timer, 1),
        event_interrupt: xen.map_or(DOMU_EVENT_PPI, |xen| interrupt(xen, 0)),
        grant_region,
        extended_regions: extended,
        is_juno: is_juno(tree),
        fw_cfg: tree.find_compatible(&["qemu,fw-cfg-mmio"]).map(|node| {
            let [registers] = regions(node);
            registers.base
        }),
        arguments: tree
            .find_node("/chosen")
            .and_then(|chosen| text(chosen, "bootargs"))
            .unwrap_or(""),
    });
}

/// `GUEST_EVTCHN_PPI`.
const DOMU_EVENT_PPI: u32 = 31;
/// `GUEST_GNTTAB_BASE` and `GUEST_GNTTAB_SIZE`; no extended regions.
const DOMU_REGIONS: [Region; REGIONS + 1] = {
    let mut regions = [Region { base: 0, size: 0 }; REGIONS + 1];
    regions[0] = Region {
        base: 0x3800_0000,
        size: 0x100_0000,
    };
    regions
};

/// Has lines go to the UART that a domU's tree names: the hypervisor's console is not its own.
fn use_uart(tree: &'static Fdt<'static>) {
    let Some(node) = tree.find_compatible(&["arm,sbsa-uart"]) else {
        return;
    };
    let [registers] = regions(node);
    mmu::map(registers.base, registers.size, Kind::Device);
    console::use_uart(registers.base);
}

fn dma_node(node: FdtNode<'static, 'static>) -> DmaNode {
    let [registers] = regions(node);
    DmaNode {
        registers,
        is_coherent: node.property("dma-coherent").is_some(),
    }
}

fn virtio_mmio(tree: &'static Fdt<'static>) -> [DmaNode; VIRTIO_SLOTS] {
    let mut slots = [DmaNode::default(); VIRTIO_SLOTS];
    let nodes = tree
        .all_nodes()
        .filter(|node| text(*node, "compatible") == Some("virtio,mmio"));
    for (slot, node) in slots.iter_mut().zip(nodes) {
        *slot = dma_node(node);
        mmu::map(slot.registers.base, slot.registers.size, Kind::Device);
    }
    slots
}

/// The space of 32-bit memory addresses, in `ranges`: three cells of the bus, two of the CPU, two of the size.
const PCI_MEMORY_32: u64 = 0x0200_0000;

fn pci_host(node: FdtNode<'static, 'static>) -> PciHost {
    let ranges = node
        .property("ranges")
        .map_or(&[][..], |ranges| ranges.value);
    let window = ranges
        .chunks_exact(28)
        .find(|entry| number(&entry[..4]) & 0x0300_0000 == PCI_MEMORY_32)
        .map(|entry| Region {
            base: number(&entry[12..20]),
            size: number(&entry[20..]),
        })
        .unwrap_or_default();
    let host = PciHost {
        node: dma_node(node),
        window,
    };
    mmu::map(
        host.node.registers.base,
        host.node.registers.size,
        Kind::Device,
    );
    mmu::map(window.base, window.size, Kind::Device);
    host
}

/// Holds the parsed tree for as long as its strings are used: for ever.
static KEPT: Kept = Kept(Once::new());

struct Kept(Once<Fdt<'static>>);

impl Kept {
    fn keep(&'static self, tree: Fdt<'static>) -> &'static Fdt<'static> {
        self.0.set(tree);
        &self.0
    }
}

fn gic(tree: &'static Fdt<'static>) -> Gic {
    let (gic, [distributor, second]) = if let Some(node) = tree.find_compatible(&["arm,gic-v3"]) {
        let [distributor, redistributors] = regions(node);
        let gic = Gic::V3 {
            distributor: distributor.base,
            redistributors: redistributors.base,
        };
        (gic, [distributor, redistributors])
    } else {
        let node = tree
            .find_compatible(&["arm,cortex-a15-gic", "arm,gic-400"])
            .expect("no interrupt controller in the device tree");
        let [distributor, cpu] = regions(node);
        let gic = Gic::V2 {
            distributor: distributor.base,
            cpu: cpu.base,
        };
        (gic, [distributor, cpu])
    };
    for region in [distributor, second] {
        mmu::map(region.base, region.size, Kind::Device);
    }
    gic
}

/// A domU's root need not say what it is.
fn is_juno(tree: &Fdt<'_>) -> bool {
    let root = tree.find_node("/");
    let names = root.and_then(|root| root.property("compatible"));
    names.is_some_and(|names| {
        names
            .value
            .split(|&b| b == 0)
            .any(|name| name == b"arm,juno")
    })
}

fn node(tree: &'static Fdt<'static>, compatible: &str) -> FdtNode<'static, 'static> {
    tree.find_compatible(&[compatible])
        .unwrap_or_else(|| panic!("no {compatible} in the device tree"))
}

fn text(node: FdtNode<'static, 'static>, property: &str) -> Option<&'static str> {
    let bytes = node.property(property)?.value;
    core::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).ok()
}

/// The first regions of `reg`; the root's two address and two size cells are used everywhere the stub looks.
fn regions<const N: usize>(node: FdtNode<'static, 'static>) -> [Region; N] {
    let mut found = [Region::default(); N];
    let bytes = node.property("reg").map_or(&[][..], |reg| reg.value);
    for (region, entry) in found.iter_mut().zip(bytes.chunks_exact(16)) {
        *region = Region {
            base: number(&entry[..8]),
            size: number(&entry[8..]),
        };
    }
    found
}

/// Number of interrupt `index` of a node: three cells, the kind first.
fn interrupt(node: FdtNode<'static, 'static>, index: usize) -> u32 {
    let bytes = node
        .property("interrupts")
        .and_then(|property| property.value.chunks_exact(12).nth(index))
        .expect("an interrupt is missing in the device tree");
    let base = if number(&bytes[..4]) == 1 { 16 } else { 32 };
    base + number(&bytes[4..8]) as u32
}

fn number(big_endian: &[u8]) -> u64 {
    big_endian
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
