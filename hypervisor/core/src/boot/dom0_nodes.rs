// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which nodes of the host's device tree dom0 gets: the one answer for its tree and its mappings.

use super::cells::Cells;
use super::host_dt::{GICV2, GICV3, HostDt, PSCI, TIMER, is_gic, is_memory};
use super::modules::MODULE;
use super::node::{Node, NodeId};
use alloc::vec::Vec;

/// Nodes about Xen, CPUs and firmware that dom0 must not see.
const HIDDEN: &[&str] = &[
    "xen,xen",
    "xen,evtchn-v1",
    "arm,cortex-a7-pmu",
    "arm,cortex-a15-pmu",
    "arm,armv8-pmuv3",
    "arm,cortex-a53-edac",
    "arm,armv7-timer-mem",
];
/// Arm's IOMMUs, of which old trees name the users differently.
const SMMU: &[&str] = &[
    "arm,smmu-v1",
    "arm,smmu-v2",
    "arm,smmu-v3",
    "arm,mmu-400",
    "arm,mmu-401",
    "arm,mmu-500",
];
/// A frame of a GICv2m, which turns writes into SPIs.
pub(crate) const V2M_FRAME: &[&str] = &["arm,gic-v2m-frame"];

/// What becomes of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Copied, its devices mapped.
    Copy,
    /// Copied as disabled, its devices not mapped: it is set aside for another domain.
    Disable,
    /// Left out with all below it.
    Drop,
    /// The GIC: replaced by the virtual one.
    Gic,
    /// The timer: replaced by the virtual one.
    Timer,
}

/// The fate of each node, by index.
pub struct Fates(Vec<Fate>);

impl Fates {
    /// Decides for all nodes of `host`, of which `uart` is the console's. What is compatible with
    /// one of `hidden`, which is the board's, is left out too.
    pub fn decide(host: &HostDt<'_>, uart: Option<NodeId>, hidden: &[&str]) -> Self {
        let mut fates: Vec<Fate> = Vec::with_capacity(host.len());
        for node in host.all() {
            let above = node.parent().map(|p| fates[p.id().index()]);
            let fate = match above {
                Some(Fate::Gic) => gic_child(host, node),
                Some(Fate::Drop | Fate::Timer) => Fate::Drop,
                _ if Some(node.id()) == uart || node.is_compatible(hidden) => Fate::Drop,
                _ => own_fate(host, node),
            };
            fates.push(fate);
        }
        Self(fates)
    }

    /// What becomes of `node`.
    pub fn of(&self, node: Node<'_>) -> Fate {
        self.0.get(node.id().index()).copied().unwrap_or(Fate::Drop)
    }
}

fn own_fate(host: &HostDt<'_>, node: Node<'_>) -> Fate {
    if host.gic_node().is_some_and(|gic| gic.id() == node.id()) {
        return Fate::Gic;
    }
    if node.is_compatible(TIMER) {
        return Fate::Timer;
    }
    let domain = node.compatible().any(|c| c.starts_with("xen,domain"));
    let hidden = domain
        || is_iommu(node) && !is_more(node)
        || [HIDDEN, MODULE, PSCI]
            .iter()
            .any(|list| node.is_compatible(list));
    let replaced = is_gic(node) || is_memory(node) || is_cpus(node);
    if hidden || replaced || has_ppi(host, node) || is_of_a_cpu(node) {
        return Fate::Drop;
    }
    match node.has("xen,passthrough") {
        true => Fate::Disable,
        false => Fate::Copy,
    }
}

/// Of the GIC's children dom0 gets the MSI frames of a GICv2, which need no emulation.
fn gic_child(host: &HostDt<'_>, node: Node<'_>) -> Fate {
    let v2 = host
        .gic_node()
        .is_some_and(|gic| !gic.is_compatible(GICV3) && gic.is_compatible(GICV2));
    match v2 && node.is_compatible(V2M_FRAME) {
        true => Fate::Copy,
        false => Fate::Drop,
    }
}

fn is_cpus(node: Node<'_>) -> bool {
    node.name() == "cpus" && node.parent().is_some_and(|p| p.parent().is_none())
}

/// True for a part of certain CPUs of the machine: trace units, debug registers, PMUs with SPIs. dom0's
/// vCPUs are not those CPUs.
fn is_of_a_cpu(node: Node<'_>) -> bool {
    let of = node
        .property("cpu")
        .or_else(|| node.property("interrupt-affinity"));
    let phandle = of.and_then(|list| Cells(list).next());
    let cpu = phandle.and_then(|phandle| node.nodes().by_phandle(phandle));
    cpu.and_then(Node::parent).is_some_and(is_cpus)
}

fn has_ppi(host: &HostDt<'_>, node: Node<'_>) -> bool {
    host.interrupts(node)
        .iter()
        .flatten()
        .any(|irq| irq.is_ppi())
}

/// True for an IOMMU. Dom0 is to use none: its devices have the addresses of other domains' pages as
/// they are.
pub(crate) fn is_iommu(node: Node<'_>) -> bool {
    node.has("#iommu-cells") || node.is_compatible(SMMU)
}

/// True for an IOMMU that is something else as well, which dom0 needs: a memory controller.
fn is_more(node: Node<'_>) -> bool {
    node.name().starts_with("memory-controller")
}
