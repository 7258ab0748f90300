// SPDX-License-Identifier: MIT OR Apache-2.0
//! What dom0's devices need: their registers in its address space, their interrupts routed to it.

use super::dom0_mem::{merged, without};
use super::dom0_nodes::{Fate, Fates, V2M_FRAME};
use super::host_dt::{Gic, HostDt};
use super::irq::{self, Irq, SPI_BASE, SPIS};
use super::node::Node;
use crate::addr::PaRange;
use alloc::vec::Vec;

/// A frame of a GICv2m.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct V2mFrame {
    /// Its registers.
    pub range: PaRange,
    /// First INTID and number of its SPIs, if the tree says so; else MSI_TYPER does.
    pub spis: Option<(u32, u32)>,
}

impl V2mFrame {
    /// Offset of MSI_TYPER in the frame.
    pub const TYPER: u64 = 0x8;

    /// First INTID and number of SPIs that MSI_TYPER gives.
    pub const fn spis_from_typer(typer: u32) -> (u32, u32) {
        ((typer >> 16) & 0x3ff, typer & 0x3ff)
    }

    /// The frame's interrupts, given first INTID and number: edge-triggered SPIs.
    pub fn irqs((first, count): (u32, u32)) -> impl Iterator<Item = Irq> {
        let end = first.saturating_add(count);
        (first.max(SPI_BASE)..end.min(SPI_BASE + SPIS)).map(|intid| Irq { intid, edge: true })
    }
}

/// What is mapped and routed to dom0.
#[derive(Clone, Debug, Default)]
pub struct Dom0Map {
    /// Registers, in whole pages, sorted and merged. None is RAM, the GIC's or the console's.
    pub mmio: Vec<PaRange>,
    /// `/reserved-memory`, in whole pages, sorted and merged: RAM that firmware or devices use.
    pub reserved: Vec<PaRange>,
    /// SPIs, sorted.
    pub spis: Vec<Irq>,
    /// MSI frames; those whose SPIs the tree does not say are not in `spis`.
    pub frames: Vec<V2mFrame>,
    /// Devices with `xen,passthrough`, which dom0 has not but may give away.
    pub spare: Spare,
}

/// Registers, as [`Dom0Map::mmio`], and SPIs that nobody has.
#[derive(Clone, Debug, Default)]
pub struct Spare {
    /// Registers.
    pub mmio: Vec<PaRange>,
    /// SPIs.
    pub spis: Vec<Irq>,
}

impl Dom0Map {
    /// Collects what the nodes that `fates` copies need. `console` is the hypervisor's UART:
    /// registers and interrupt.
    pub fn collect(
        host: &HostDt<'_>,
        fates: &Fates,
        gic: &Gic,
        ram: &[PaRange],
        console: Option<(PaRange, Option<Irq>)>,
    ) -> Self {
        let mut map = Self::default();
        for node in host.all().filter(|node| fates.of(*node) == Fate::Copy) {
            map.add_node(host, node);
        }
        let mut spare = Self::default();
        for node in host.all().filter(|node| fates.of(*node) == Fate::Disable) {
            spare.add_node(host, node);
        }
        let mut kept = gic.blocks();
        kept.extend(ram);
        kept.extend(console.map(|(range, _)| range));
        let kept: Vec<_> = kept.iter().map(PaRange::page_aligned).collect();
        map.mmio = without(&map.mmio, &kept);
        map.spare.mmio = without(&spare.mmio, &kept);
        map.reserved = merged(
            host.reserved_memory()
                .iter()
                .map(|r| r.range.page_aligned())
                .collect(),
        );
        let own = console.and_then(|(_, irq)| irq).map(|irq| irq.intid);
        map.spis
            .retain(|irq| irq.is_spi() && Some(irq.intid) != own);
        map.spis.sort_by_key(|irq| irq.intid);
        map.spis.dedup_by_key(|irq| irq.intid);
        let is_spare = |irq: &Irq| irq.is_spi() && Some(irq.intid) != own && !map.has(irq.intid);
        map.spare.spis = spare.spis.into_iter().filter(is_spare).collect();
        map
    }

    fn has(&self, intid: u32) -> bool {
        self.spis.iter().any(|irq| irq.intid == intid)
    }

    fn add_node(&mut self, host: &HostDt<'_>, node: Node<'_>) {
        let registers = node.reg().flatten().filter(|r| !r.is_empty());
        self.mmio.extend(registers.map(|r| r.page_aligned()));
        self.spis.extend(host.interrupts(node).iter().flatten());
        if node.str("device_type") == Some("pci") {
            self.add_bridge(host, node);
        }
        if node.is_compatible(V2M_FRAME) {
            self.add_frame(node);
        }
    }

    /// A PCI host bridge: its windows and what its slots may raise.
    fn add_bridge(&mut self, host: &HostDt<'_>, node: Node<'_>) {
        let windows = node
            .ranges()
            .filter_map(|window| node.translate(window.parent, window.size));
        self.mmio
            .extend(windows.filter(|r| !r.is_empty()).map(|r| r.page_aligned()));
        if let Some(gic) = host.gic_node() {
            self.spis.extend(irq::of_map(node, gic));
        }
    }

    fn add_frame(&mut self, node: Node<'_>) {
        let base = node.u32("arm,msi-base-spi");
        let spis = base.zip(node.u32("arm,msi-num-spis"));
        self.spis.extend(spis.into_iter().flat_map(V2mFrame::irqs));
        let range = node.reg().next().flatten();
        self.frames
            .extend(range.map(|range| V2mFrame { range, spis }));
    }
}
