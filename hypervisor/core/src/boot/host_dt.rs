// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the host's device tree says of the machine: memory, CPUs, GIC, PSCI, timer, UART.

use super::dom0_mem::merged;
use super::irq::{self, Irq};
use super::node::{Node, NodeId, Nodes};
use super::validate::Tree;
use crate::addr::PaRange;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;
use fdt::Fdt;

/// `compatible` of GICs with a memory-mapped CPU interface and virtualization.
pub(crate) const GICV2: &[&str] = &["arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic"];
/// `compatible` of GICv3 and GICv4.
pub(crate) const GICV3: &[&str] = &["arm,gic-v3"];
pub(crate) const TIMER: &[&str] = &["arm,armv8-timer", "arm,armv7-timer"];
pub(crate) const PSCI: &[&str] = &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"];

/// What the machine's description lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostError {
    /// No usable RAM.
    NoMemory,
    /// A memory bank whose `reg` cannot be read.
    BadMemory(String),
    /// No usable CPU.
    NoCpus,
    /// No interrupt controller that is known; the `compatible` of the one found, or empty.
    NoGic(String),
    /// The GIC's node lacks a register block or has a malformed one.
    BadGic(String),
    /// No generic timer, or one without the hypervisor's interrupt.
    NoTimer,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => write!(f, "device tree: no memory"),
            Self::BadMemory(path) => {
                write!(f, "device tree: {path}: reg is not of addresses and sizes")
            }
            Self::NoCpus => write!(f, "device tree: no CPUs"),
            Self::NoGic(found) if found.is_empty() => {
                write!(f, "device tree: no interrupt controller")
            }
            Self::NoGic(found) => {
                write!(f, "device tree: interrupt controller \"{found}\" not known")
            }
            Self::BadGic(path) => write!(
                f,
                "device tree: {path}: reg must give GICD, GICC, GICH and GICV of a GICv2, GICD and each region \
                 of GICRs of a GICv3"
            ),
            Self::NoTimer => write!(
                f,
                "device tree: no generic timer with PPIs for the physical, the virtual and the hypervisor's one"
            ),
        }
    }
}

/// A range of `/reserved-memory`.
#[derive(Clone, Copy, Debug)]
pub struct Reserved {
    /// The memory.
    pub range: PaRange,
    /// Its node.
    pub node: NodeId,
}

/// How a CPU is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnableMethod<'d> {
    /// PSCI `CPU_ON`.
    Psci,
    /// Something else; empty if nothing is said.
    Other(&'d str),
}

/// A CPU.
#[derive(Clone, Copy, Debug)]
pub struct Cpu<'d> {
    /// The affinity fields of its MPIDR_EL1.
    pub mpidr: u64,
    /// The first string of its `compatible`.
    pub compatible: &'d str,
    /// How it is started.
    pub enable: EnableMethod<'d>,
    /// Its `clock-frequency`, in Hz.
    pub clock_frequency: Option<u64>,
    /// Its `capacity-dmips-mhz`.
    pub capacity: Option<u32>,
    /// False if `status` says that it is not to be used.
    pub available: bool,
}

/// The physical GIC.
#[derive(Clone, Debug)]
pub struct Gic {
    /// Its node.
    pub node: NodeId,
    /// GICD.
    pub distributor: PaRange,
    /// What depends on its version.
    pub version: GicVersion,
    /// The maintenance interrupt, a PPI.
    pub maintenance: Option<Irq>,
}

/// The parts of a GIC that depend on its version.
#[derive(Clone, Debug)]
pub enum GicVersion {
    /// GICv2.
    V2 {
        /// GICC.
        cpu: PaRange,
        /// GICH.
        hypervisor: PaRange,
        /// GICV.
        virtual_cpu: PaRange,
    },
    /// GICv3 or GICv4.
    V3 {
        /// GICR regions.
        redistributors: Vec<PaRange>,
        /// Bytes from one CPU's frames to the next's, if not what GICR_TYPER implies.
        stride: Option<u64>,
    },
}

impl Gic {
    /// Every register block a guest must not touch.
    pub fn blocks(&self) -> Vec<PaRange> {
        let mut blocks = alloc::vec![self.distributor];
        match &self.version {
            GicVersion::V2 {
                cpu,
                hypervisor,
                virtual_cpu,
            } => blocks.extend([*cpu, *hypervisor, *virtual_cpu]),
            GicVersion::V3 { redistributors, .. } => blocks.extend(redistributors),
        }
        blocks
    }
}

/// The firmware's PSCI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Psci {
    /// Called with `HVC`, else with `SMC`.
    pub hvc: bool,
    /// The function number of `CPU_ON` of version 0.1, which has no fixed numbers; `None` for 0.2
    /// and later.
    pub cpu_on_v0_1: Option<u32>,
}

/// The generic timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timer {
    /// EL1 physical timer of the secure state.
    pub secure_physical: Option<Irq>,
    /// EL1 physical timer.
    pub physical: Irq,
    /// EL1 virtual timer.
    pub virtual_: Irq,
    /// EL2 physical timer.
    pub hypervisor: Irq,
    /// Ticks a second, for firmware that did not set CNTFRQ_EL0.
    pub clock_frequency: Option<u64>,
}

/// The UART the console is to use.
#[derive(Clone, Debug)]
pub struct Uart<'d> {
    /// Its node, which is kept from dom0.
    pub node: Node<'d>,
    /// Registers.
    pub range: PaRange,
    /// Its interrupt.
    pub irq: Option<Irq>,
}

/// The host's device tree.
pub struct HostDt<'a> {
    nodes: Nodes<'a>,
    /// The interrupt controller at the root of the interrupt tree, if it is a known GIC.
    gic: Option<u16>,
}

impl<'a> Deref for HostDt<'a> {
    type Target = Nodes<'a>;
    fn deref(&self) -> &Nodes<'a> {
        &self.nodes
    }
}

impl<'a> HostDt<'a> {
    /// Indexes `tree`, of which `fdt` is the view ([`Tree::fdt`]).
    pub fn new(tree: &Tree, fdt: &'a Fdt<'a>) -> Self {
        let nodes = Nodes::new(tree, fdt);
        let gic = root_gic(&nodes).map(|node| node.id().0);
        Self { nodes, gic }
    }

    /// `model` of the root.
    pub fn model(&self) -> Option<&str> {
        self.root().str("model")
    }

    /// The GIC's node.
    pub fn gic_node(&self) -> Option<Node<'_>> {
        self.get(NodeId(self.gic?))
    }

    /// The interrupts of `node` in order; `None` for one that does not arrive at the GIC.
    pub fn interrupts(&self, node: Node<'_>) -> Vec<Option<Irq>> {
        match self.gic.and_then(|id| node.nodes().get(NodeId(id))) {
            Some(gic) => irq::of_node(node, gic),
            None => Vec::new(),
        }
    }

    /// RAM, sorted and merged; reservations are not taken out.
    pub fn memory_banks(&self) -> Result<Vec<PaRange>, HostError> {
        let mut banks = Vec::new();
        for node in self.all().filter(|n| is_memory(*n) && n.is_available()) {
            for range in node.reg() {
                let range = range.ok_or_else(|| HostError::BadMemory(node.path()))?;
                banks.push(range);
            }
        }
        let banks = merged(banks);
        match banks.is_empty() {
            true => Err(HostError::NoMemory),
            false => Ok(banks),
        }
    }

    /// The children of `/reserved-memory` that have a place (not those that only want a size).
    pub fn reserved_memory(&self) -> Vec<Reserved> {
        let parent = self.find("/reserved-memory");
        let nodes = parent.into_iter().flat_map(|parent| parent.children());
        nodes
            .filter(|node| node.is_available())
            .flat_map(|node| {
                node.reg().flatten().map(move |range| Reserved {
                    range,
                    node: node.id(),
                })
            })
            .collect()
    }

    /// The CPUs, in the tree's order.
    pub fn cpus(&self) -> Result<Vec<Cpu<'_>>, HostError> {
        let parent = self.find("/cpus").ok_or(HostError::NoCpus)?;
        let cpus: Vec<_> = parent
            .children()
            .filter(|node| node.str("device_type") == Some("cpu"))
            .filter_map(cpu)
            .collect();
        match cpus.iter().any(|cpu| cpu.available) {
            true => Ok(cpus),
            false => Err(HostError::NoCpus),
        }
    }

    /// The GIC.
    pub fn gic(&self) -> Result<Gic, HostError> {
        let node = self.gic_node().ok_or_else(|| self.no_gic())?;
        let bad = || HostError::BadGic(node.path());
        let regions = usize::try_from(node.u32("#redistributor-regions").unwrap_or(1)).ok();
        let mut reg = node.reg().map(|r| r.filter(|r| !r.is_empty()));
        let mut next = || reg.next().flatten().ok_or_else(bad);
        let distributor = next()?;
        let version = if node.is_compatible(GICV3) {
            let regions = regions.filter(|n| (1..=256).contains(n)).ok_or_else(bad)?;
            GicVersion::V3 {
                redistributors: (0..regions).map(|_| next()).collect::<Result<_, _>>()?,
                stride: node.number("redistributor-stride"),
            }
        } else {
            GicVersion::V2 {
                cpu: next()?,
                hypervisor: next()?,
                virtual_cpu: next()?,
            }
        };
        Ok(Gic {
            node: node.id(),
            distributor,
            version,
            maintenance: self.interrupts(node).first().copied().flatten(),
        })
    }

    fn no_gic(&self) -> HostError {
        let found = irq::parent_of(self.root())
            .or_else(|| self.all().find(|n| n.has("interrupt-controller")))
            .and_then(|node| node.compatible().next());
        HostError::NoGic(found.unwrap_or_default().into())
    }

    /// PSCI, if the firmware has it.
    pub fn psci(&self) -> Option<Psci> {
        let node = self
            .all()
            .find(|n| n.is_compatible(PSCI) && n.is_available())?;
        let old = !node.is_compatible(&["arm,psci-1.0", "arm,psci-0.2"]);
        Some(Psci {
            hvc: node.str("method")? == "hvc",
            cpu_on_v0_1: if old { Some(node.u32("cpu_on")?) } else { None },
        })
    }

    /// The generic timer.
    pub fn timer(&self) -> Result<Timer, HostError> {
        let mut nodes = self.all().filter(|n| n.is_compatible(TIMER));
        let node = nodes.find(|n| n.is_available()).ok_or(HostError::NoTimer)?;
        let irqs = self.interrupts(node);
        let irq = |name: &str, place: usize| {
            let named = node.strings("interrupt-names").position(|n| n == name);
            let place = match node.has("interrupt-names") {
                true => named?,
                false => place,
            };
            irqs.get(place)
                .copied()
                .flatten()
                .filter(|irq| irq.is_ppi())
        };
        Ok(Timer {
            secure_physical: irq("sec-phys", 0),
            physical: irq("phys", 1).ok_or(HostError::NoTimer)?,
            virtual_: irq("virt", 2).ok_or(HostError::NoTimer)?,
            hypervisor: irq("hyp-phys", 3).ok_or(HostError::NoTimer)?,
            clock_frequency: node.number("clock-frequency"),
        })
    }

    /// The UART that `dtuart=` names (an alias or a path), or else `/chosen/stdout-path`.
    pub fn uart<'d>(&'d self, dtuart: Option<&'d str>) -> Option<Uart<'d>> {
        let chosen = self.find("/chosen");
        let stdout = || {
            let chosen = chosen?;
            chosen
                .str("stdout-path")
                .or_else(|| chosen.str("linux,stdout-path"))
        };
        let name = dtuart.filter(|name| !name.is_empty()).or_else(stdout)?;
        let node = self.find_alias(name)?;
        let offset = u64::from(node.u32("reg-offset").unwrap_or(0));
        let range = node.reg().next().flatten()?;
        Some(Uart {
            node,
            range: PaRange {
                start: range.start.checked_add(offset)?,
                ..range
            },
            irq: self.interrupts(node).first().copied().flatten(),
        })
    }
}

impl Uart<'_> {
    /// True for the kind of UART that there is a driver for.
    pub fn is_driven(&self) -> bool {
        self.node.is_compatible(&["arm,pl011", "arm,sbsa-uart"])
    }
}

/// True for a node that describes RAM.
pub(crate) fn is_memory(node: Node<'_>) -> bool {
    node.str("device_type") == Some("memory")
}

/// True for a known GIC.
pub(crate) fn is_gic(node: Node<'_>) -> bool {
    node.is_compatible(GICV3) || node.is_compatible(GICV2)
}

/// The known GIC that no other controller stands behind.
fn root_gic<'d>(nodes: &'d Nodes<'_>) -> Option<Node<'d>> {
    let gics = || nodes.all().filter(|n| is_gic(*n) && n.is_available());
    gics()
        .find(|n| irq::parent_of(*n).is_none_or(|parent| parent == *n))
        .or_else(|| gics().next())
}

fn cpu<'d>(node: Node<'d>) -> Option<Cpu<'d>> {
    let method = |node: Node<'d>| node.str("enable-method");
    let enable = match method(node).or_else(|| node.parent().and_then(method)) {
        Some("psci") => EnableMethod::Psci,
        other => EnableMethod::Other(other.unwrap_or_default()),
    };
    Some(Cpu {
        mpidr: node.raw_reg().next()?.0,
        compatible: node.compatible().next().unwrap_or_default(),
        enable,
        clock_frequency: node.number("clock-frequency"),
        capacity: node.u32("capacity-dmips-mhz"),
        available: node.is_available(),
    })
}
