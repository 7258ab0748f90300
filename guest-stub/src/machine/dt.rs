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

/// A range of addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Region {
    pub(crate) base: u64,
    pub(crate) size: u64,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) gic: Gic,
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
    /// Command line.
    pub(crate) arguments: &'static str,
}

static FACTS: Once<Facts> = Once::new();

/// The machine, once [`read`] has looked.
#[inline(always)]
pub(crate) fn facts() -> &'static Facts {
    &FACTS
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
        cpus: tree
            .all_nodes()
            .filter(|node| text(*node, "device_type") == Some("cpu"))
            .count(),
        virtual_timer: interrupt(timer, 2),
        physical_timer: interrupt(timer, 1),
        event_interrupt: xen.map_or(DOMU_EVENT_PPI, |xen| interrupt(xen, 0)),
        grant_region,
        extended_regions: extended,
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
