// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which interrupt of the GIC a device tree's interrupt specifier means.
//!
//! Handles `interrupts` and `interrupts-extended`, the inheritance of `interrupt-parent`, and
//! `interrupt-map` of buses (Devicetree Specification 0.4, section 2.4). The GIC's own specifier
//! is that of the `arm,gic` and `arm,gic-v3` bindings: type, number, flags.

use super::cells::Cells;
use super::node::Node;
use alloc::vec::Vec;

/// First SPI.
pub const SPI_BASE: u32 = 32;
/// First PPI.
pub const PPI_BASE: u32 = 16;
/// Number of SPIs a GIC may have.
pub const SPIS: u32 = 988;
/// Most interrupts of one node that are looked at, and most maps they pass through.
const MAX_INTERRUPTS: usize = 2048;
const MAX_HOPS: usize = 8;

/// An interrupt of the GIC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Irq {
    /// Its INTID: 16 to 31 a PPI, 32 to 1019 an SPI.
    pub intid: u32,
    /// Edge-triggered, else level-sensitive.
    pub edge: bool,
}

impl Irq {
    /// Decodes a specifier of the GIC; `None` for extended ranges and what does not exist.
    pub(crate) fn from_gic_cells(spec: &[u8]) -> Option<Self> {
        let mut cells = Cells(spec);
        let (kind, number, flags) = (cells.next()?, cells.next()?, cells.next()?);
        let intid = match kind {
            0 if number < SPIS => SPI_BASE + number,
            1 if number < SPI_BASE - PPI_BASE => PPI_BASE + number,
            _ => return None,
        };
        Some(Self {
            intid,
            edge: matches!(flags & 0xf, 1..=3),
        })
    }

    /// True for an interrupt private to each CPU.
    pub const fn is_ppi(self) -> bool {
        self.intid < SPI_BASE
    }

    /// True for one that all CPUs share.
    pub const fn is_spi(self) -> bool {
        self.intid >= SPI_BASE
    }
}

/// The interrupts of `node` in order; `None` for one that does not arrive at `gic` or is
/// malformed.
pub(crate) fn of_node(node: Node<'_>, gic: Node<'_>) -> Vec<Option<Irq>> {
    if let Some(extended) = node.property("interrupts-extended") {
        return extended_of(node, gic, extended);
    }
    let (Some(list), Some(parent)) = (node.property("interrupts"), parent_of(node)) else {
        return Vec::new();
    };
    let bytes = parent.interrupt_cells().and_then(|n| n.checked_mul(4));
    let Some(bytes) = bytes.filter(|&n| n != 0) else {
        return Vec::new();
    };
    let unit = unit_address(node, parent);
    list.chunks_exact(bytes)
        .take(MAX_INTERRUPTS)
        .map(|spec| resolve(parent, unit, spec, gic))
        .collect()
}

fn extended_of(node: Node<'_>, gic: Node<'_>, list: &[u8]) -> Vec<Option<Irq>> {
    let mut cells = Cells(list);
    let mut irqs = Vec::new();
    while let Some(phandle) = cells.next().filter(|_| irqs.len() < MAX_INTERRUPTS) {
        let Some(parent) = node.nodes().by_phandle(phandle) else {
            // An absent entry is a lone 0; what any other dangling one takes is not known.
            if phandle == 0 {
                irqs.push(None);
                continue;
            }
            break;
        };
        let Some(spec) = cells.take(parent.interrupt_cells().unwrap_or(0)) else {
            break;
        };
        irqs.push(resolve(parent, unit_address(node, parent), spec, gic));
    }
    irqs
}

/// The node that takes `node`'s interrupts: the closest `interrupt-parent`, or the closest
/// ancestor that takes interrupts itself.
pub(crate) fn parent_of(node: Node<'_>) -> Option<Node<'_>> {
    for at in node.ancestry() {
        if at != node && at.interrupt_cells().is_some() {
            return Some(at);
        }
        if let Some(phandle) = at.interrupt_parent() {
            return node.nodes().by_phandle(phandle);
        }
    }
    None
}

/// The unit address of `node` as the map of `nexus` compares it.
fn unit_address<'d>(node: Node<'d>, nexus: Node<'d>) -> &'d [u8] {
    match nexus.own_address_cells() {
        0 => &[],
        cells => node
            .property("reg")
            .and_then(|reg| Cells(reg).take(cells))
            .unwrap_or_default(),
    }
}

/// Follows a specifier from `parent` through maps to the GIC.
fn resolve(parent: Node<'_>, unit: &[u8], spec: &[u8], gic: Node<'_>) -> Option<Irq> {
    let (mut parent, mut unit, mut spec) = (parent, unit, spec);
    for _ in 0..MAX_HOPS {
        if parent == gic {
            return Irq::from_gic_cells(spec);
        }
        let mask = parent.property("interrupt-map-mask").unwrap_or_default();
        let wanted: Vec<u8> = masked(unit.iter().chain(spec), mask).collect();
        let entry = map_entries(parent)
            .find(|e| masked(e.unit.iter().chain(e.spec), mask).eq(wanted.iter().copied()))?;
        (parent, unit, spec) = (entry.parent, entry.parent_unit, entry.parent_spec);
    }
    None
}

/// The bytes under `mask`; all of them if it is shorter.
fn masked<'b>(bytes: impl Iterator<Item = &'b u8>, mask: &'b [u8]) -> impl Iterator<Item = u8> {
    bytes
        .enumerate()
        .map(|(i, b)| b & mask.get(i).unwrap_or(&0xff))
}

/// Every interrupt of the GIC that `nexus`'s `interrupt-map` can raise.
pub(crate) fn of_map<'d>(nexus: Node<'d>, gic: Node<'d>) -> impl Iterator<Item = Irq> + 'd {
    map_entries(nexus)
        .take(MAX_INTERRUPTS)
        .filter_map(move |e| resolve(e.parent, e.parent_unit, e.parent_spec, gic))
}

/// An entry of `interrupt-map`.
struct MapEntry<'d> {
    unit: &'d [u8],
    spec: &'d [u8],
    parent: Node<'d>,
    parent_unit: &'d [u8],
    parent_spec: &'d [u8],
}

fn map_entries(nexus: Node<'_>) -> impl Iterator<Item = MapEntry<'_>> {
    let mut cells = Cells(nexus.property("interrupt-map").unwrap_or_default());
    let unit_cells = nexus.own_address_cells();
    let spec_cells = nexus.interrupt_cells().unwrap_or(1);
    core::iter::from_fn(move || {
        let (unit, spec) = (cells.take(unit_cells)?, cells.take(spec_cells)?);
        let parent = nexus.nodes().by_phandle(cells.next()?)?;
        let parent_unit = cells.take(parent.own_address_cells())?;
        let parent_spec = cells.take(parent.interrupt_cells()?)?;
        Some(MapEntry {
            unit,
            spec,
            parent,
            parent_unit,
            parent_spec,
        })
    })
}
