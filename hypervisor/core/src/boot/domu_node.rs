// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a `xen,domain` node of `/chosen` asks for (Xen: `docs/misc/arm/device-tree/booting.txt`).
//!
//! What is not supported is refused, since the domain would not be what its author relies on. Only
//! a property nobody knows is ignored, with a message.

use super::modules::{DomainNode, Module, ModuleKind};
use super::node::Node;
use crate::addr::PAGE_SIZE;
use crate::vgic::MAX_SPIS;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use xen_abi::arch_arm::GUEST_VPL011_SPI;

/// Properties that mean something here, or nothing anywhere.
const KNOWN: &[&str] = &[
    "compatible",
    "memory",
    "cpus",
    "#address-cells",
    "#size-cells",
    "vpl011",
    "nr_spis",
    "direct-map",
    "xen,enhanced",
    "max_grant_version",
    "max_grant_frames",
    "max_maptrack_frames",
    "xen,domain-p2m-mem-mb",
    "passthrough",
    "xen,tee",
    "sve",
    "status",
    "phandle",
    "linux,phandle",
    "name",
];
/// Properties that ask for what is not there, and what to do.
const UNSUPPORTED: &[(&str, &str)] = &[
    (
        "xen,static-mem",
        "memory at given addresses is not supported; leave it out, or use direct-map alone",
    ),
    (
        "llc-colors",
        "cache colouring is not supported; leave it out",
    ),
    (
        "domain-cpupool",
        "CPU pools are made by a toolstack, later; leave it out",
    ),
    ("capabilities", "there are no capabilities; leave it out"),
];
/// The same for nodes below it.
const UNSUPPORTED_NODES: &[(&str, &str)] = &[
    (
        "xen,domain-shared-memory-v1",
        "static shared memory is not supported; use grants",
    ),
    (
        "xen,evtchn-v1",
        "static event channels are not supported; let the domains bind theirs",
    ),
];

/// Why a domain cannot be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DomuError {
    /// Path of the node.
    pub path: String,
    /// What is wrong with it, and what to do.
    pub why: String,
}

impl DomuError {
    pub(crate) fn new(node: Node<'_>, why: impl Into<String>) -> Self {
        Self {
            path: node.path(),
            why: why.into(),
        }
    }
}

impl fmt::Display for DomuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

/// What of Xen's interfaces the domain is told of (`xen,enhanced`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Enhanced {
    /// Nothing.
    Disabled,
    /// Grants and event channels.
    NoXenstore,
    /// Xenstore as well, which dom0 serves.
    Enabled,
}

/// A domain that is asked for.
#[derive(Clone, Debug)]
pub struct Domu<'d> {
    /// Its node.
    pub node: Node<'d>,
    /// Bytes of RAM.
    pub memory: u64,
    /// vCPUs.
    pub cpus: u32,
    /// It has a UART.
    pub vpl011: bool,
    /// What it is told of Xen.
    pub enhanced: Enhanced,
    /// Its RAM is where it is in the machine.
    pub direct_map: bool,
    /// SPIs, if not as many as usual.
    pub nr_spis: Option<u32>,
    /// Frames of its grant table, if not the command line's.
    pub max_grant_frames: Option<u32>,
    /// Frames to track its mappings of others' grants, if not the command line's.
    pub max_maptrack_frames: Option<u32>,
    /// MiB its stage-2 tables may take, if not as much as usual.
    pub tables_mib: Option<u32>,
    /// Its kernel.
    pub kernel: Module<'d>,
    /// Its ramdisk.
    pub ramdisk: Option<Module<'d>>,
    /// Its partial device tree.
    pub device_tree: Option<Module<'d>>,
    /// What to tell the user.
    pub messages: Vec<String>,
}

impl<'d> Domu<'d> {
    /// Reads the node of `domain`. The machine has `max_vcpus` vCPUs to offer a domain at most, and a
    /// dom0 or not.
    ///
    /// # Errors
    /// What is missing, malformed or not supported.
    pub fn read(
        domain: &DomainNode<'d>,
        max_vcpus: u32,
        has_dom0: bool,
    ) -> Result<Self, DomuError> {
        let node = domain.node;
        let error = |why: String| DomuError::new(node, why);
        supported(node)?;
        let kernel = domain.module(ModuleKind::Kernel).cloned();
        let kernel = kernel.ok_or_else(|| {
            error("no kernel: it has no \"multiboot,kernel\", \"multiboot,module\" node".into())
        })?;
        let domu = Self {
            node,
            memory: memory(node)?,
            cpus: cpus(node, max_vcpus)?,
            vpl011: vpl011(node)?,
            enhanced: enhanced(node, has_dom0)?,
            direct_map: node.has("direct-map"),
            nr_spis: number(node, "nr_spis")?,
            max_grant_frames: number(node, "max_grant_frames")?,
            max_maptrack_frames: number(node, "max_maptrack_frames")?,
            tables_mib: number(node, "xen,domain-p2m-mem-mb")?,
            kernel,
            ramdisk: domain.module(ModuleKind::Ramdisk).cloned(),
            device_tree: domain.module(ModuleKind::DeviceTree).cloned(),
            messages: unknown(node),
        };
        match domu.nr_spis {
            Some(n) if n > MAX_SPIS => Err(error(format!(
                "nr_spis is {n}, {MAX_SPIS} at most are possible"
            ))),
            Some(0) if domu.vpl011 => Err(error(format!(
                "nr_spis is 0, but vpl011 has SPI {GUEST_VPL011_SPI}: leave one of them out"
            ))),
            _ => match domu.max_grant_frames {
                Some(0) => Err(error("max_grant_frames is 0, it must be 1 or more".into())),
                _ => Ok(domu),
            },
        }
    }

    /// SPIs it gets on a machine that has `host`: as many, and the UART's.
    pub fn spis(&self, host: u32, uart: Option<u32>) -> u32 {
        let needed = uart.map_or(0, |intid| intid.saturating_sub(31));
        self.nr_spis.unwrap_or(host.max(needed))
    }

    /// Pages its stage-2 tables may take, by Xen's rule: 1 MiB for each vCPU, a page for each MiB of
    /// RAM, and 512 KiB.
    pub fn table_pages(&self) -> u64 {
        match self.tables_mib {
            Some(mib) => u64::from(mib) << 8,
            None => u64::from(self.cpus) * 256 + (self.memory >> 20) + 128,
        }
    }
}

fn memory(node: Node<'_>) -> Result<u64, DomuError> {
    let kib = node.number("memory").filter(|&kib| kib != 0);
    let bytes = kib.and_then(|kib| kib.checked_mul(1 << 10));
    let bytes = bytes.and_then(|bytes| bytes.checked_next_multiple_of(PAGE_SIZE));
    bytes.ok_or_else(|| {
        let why = "memory is missing or malformed: two cells, the KiB of its RAM";
        DomuError::new(node, why)
    })
}

fn cpus(node: Node<'_>, max: u32) -> Result<u32, DomuError> {
    match number(node, "cpus")? {
        Some(n) if (1..=max).contains(&n) => Ok(n),
        Some(n) => Err(DomuError::new(
            node,
            format!("cpus is {n}, it must be 1 to {max} with this machine's GIC"),
        )),
        None => Err(DomuError::new(node, "cpus is missing: one cell")),
    }
}

fn vpl011(node: Node<'_>) -> Result<bool, DomuError> {
    match node.str("vpl011") {
        None | Some("sbsa_uart") => Ok(node.has("vpl011")),
        Some(other) => Err(DomuError::new(
            node,
            format!("vpl011 is \"{other}\"; it is an SBSA UART, leave the value out"),
        )),
    }
}

fn enhanced(node: Node<'_>, has_dom0: bool) -> Result<Enhanced, DomuError> {
    let value = node.property("xen,enhanced");
    let text = node.str("xen,enhanced").unwrap_or_default();
    let enhanced = match (value, text) {
        (None, _) | (_, "disabled") => Enhanced::Disabled,
        (Some([]), _) | (_, "enabled") => Enhanced::Enabled,
        (_, "no-xenstore") => Enhanced::NoXenstore,
        _ => {
            let why = "xen,enhanced is none of \"enabled\", \"no-xenstore\", \"disabled\"";
            return Err(DomuError::new(node, why));
        }
    };
    if enhanced == Enhanced::Enabled && !has_dom0 {
        let why = "xen,enhanced asks for xenstore, which dom0 serves, and there is no dom0: \
                   say \"no-xenstore\"";
        return Err(DomuError::new(node, why));
    }
    Ok(enhanced)
}

/// A property of one cell, if it is there.
fn number(node: Node<'_>, name: &str) -> Result<Option<u32>, DomuError> {
    match node.property(name) {
        None => Ok(None),
        Some(value) if value.len() == 4 => Ok(node.u32(name)),
        Some(_) => Err(DomuError::new(
            node,
            format!("{name} is malformed: it must be one cell"),
        )),
    }
}

/// Fails if the node asks for what is not there.
fn supported(node: Node<'_>) -> Result<(), DomuError> {
    let refuse = |why: String| Err(DomuError::new(node, why));
    if let Some((name, why)) = UNSUPPORTED.iter().find(|(name, _)| node.has(name)) {
        return refuse(format!("{name}: {why}"));
    }
    if let Some(value) = node.str("xen,tee").filter(|&value| value != "none") {
        return refuse(format!(
            "xen,tee is \"{value}\": there is no TEE for guests"
        ));
    }
    if node.has("sve") && node.u32("sve") != Some(0) {
        return refuse("sve: guests have no SVE; leave it out".into());
    }
    if node.has("passthrough") && node.str("passthrough") != Some("disabled") {
        let why = "passthrough: no IOMMU is used; leave it out, and let the nodes of the partial \
                   device tree say xen,force-assign-without-iommu";
        return refuse(why.into());
    }
    if let Some(version) = number(node, "max_grant_version")?.filter(|&v| v != 1) {
        return refuse(format!(
            "max_grant_version is {version}: tables have version 1"
        ));
    }
    for child in node.children() {
        let listed = UNSUPPORTED_NODES.iter();
        if let Some((_, why)) = listed
            .clone()
            .find(|(name, _)| child.is_compatible(&[name]))
        {
            return Err(DomuError::new(child, *why));
        }
    }
    Ok(())
}

fn unknown(node: Node<'_>) -> Vec<String> {
    let names = node.properties().map(|property| property.name);
    names
        .filter(|name| !KNOWN.contains(name))
        .map(|name| format!("{}: {name} is not known, ignored", node.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::dt_build::DtBuilder;
    use super::super::modules::Modules;
    use super::super::tests::with_host;
    use super::*;

    /// Reads a node with a kernel, `memory`, `cpus` and what `more` adds.
    fn read<R>(
        more: impl FnOnce(&mut DtBuilder),
        see: impl FnOnce(Result<Domu<'_>, DomuError>) -> R,
    ) -> R {
        let mut dt = DtBuilder::new(&[]);
        dt.begin_node("").begin_node("chosen").begin_node("domU1");
        dt.prop_str("compatible", "xen,domain")
            .prop_cells("#address-cells", &[2])
            .prop_cells("#size-cells", &[2]);
        more(&mut dt);
        dt.begin_node("module@50000000")
            .prop_str("compatible", "multiboot,kernel\0multiboot,module")
            .prop_cells("reg", &[0, 0x5000_0000, 0, 0x1234])
            .prop_str("bootargs", "console=ttyAMA0")
            .end_node();
        dt.end_node().end_node().end_node();
        with_host(&dt.finish(), |host| {
            let modules = Modules::find(host).unwrap();
            see(Domu::read(&modules.domains[0], 8, false))
        })
    }

    fn usual(dt: &mut DtBuilder) {
        dt.prop_cells("memory", &[0, 0x2_0000])
            .prop_cells("cpus", &[2]);
    }

    /// Why a usual node with this on top is refused.
    fn refused(more: impl FnOnce(&mut DtBuilder)) -> String {
        let with = |dt: &mut DtBuilder| {
            usual(dt);
            more(dt);
        };
        read(with, |domu| format!("{}", domu.unwrap_err()))
    }

    #[test]
    fn a_plain_domain() {
        read(usual, |domu| {
            let domu = domu.unwrap();
            assert_eq!((domu.memory, domu.cpus), (128 << 20, 2));
            assert_eq!(domu.enhanced, Enhanced::Disabled);
            assert!(!domu.vpl011 && !domu.direct_map);
            assert_eq!(domu.kernel.range.start.0, 0x5000_0000);
            assert_eq!(domu.kernel.bootargs, Some("console=ttyAMA0"));
            assert!(domu.ramdisk.is_none() && domu.messages.is_empty());
            assert_eq!(domu.table_pages(), 2 * 256 + 128 + 128);
            assert_eq!((domu.spis(224, None), domu.spis(0, Some(32))), (224, 1));
        });
    }

    #[test]
    fn all_that_is_supported() {
        let all = |dt: &mut DtBuilder| {
            usual(dt);
            dt.prop("vpl011", &[])
                .prop("direct-map", &[])
                .prop_str("xen,enhanced", "no-xenstore")
                .prop_cells("nr_spis", &[32])
                .prop_cells("max_grant_frames", &[4])
                .prop_cells("max_maptrack_frames", &[5])
                .prop_cells("max_grant_version", &[1])
                .prop_cells("xen,domain-p2m-mem-mb", &[3])
                .prop_str("passthrough", "disabled")
                .prop_str("xen,tee", "none")
                .prop_cells("sve", &[0])
                .prop_str("colour", "green");
        };
        read(all, |domu| {
            let domu = domu.unwrap();
            assert!(domu.vpl011 && domu.direct_map);
            assert_eq!(domu.enhanced, Enhanced::NoXenstore);
            assert_eq!((domu.nr_spis, domu.spis(224, Some(32))), (Some(32), 32));
            assert_eq!(domu.max_grant_frames, Some(4));
            assert_eq!(domu.max_maptrack_frames, Some(5));
            assert_eq!(domu.table_pages(), 768);
            assert_eq!(
                domu.messages,
                ["/chosen/domU1: colour is not known, ignored"]
            );
        });
    }

    #[test]
    fn what_is_missing_is_named() {
        let only = |name: &'static str, cells: &'static [u32]| {
            read(
                |dt| {
                    dt.prop_cells(name, cells);
                },
                |domu| domu.unwrap_err(),
            )
        };
        assert!(only("memory", &[0, 4096]).why.contains("cpus is missing"));
        assert!(only("cpus", &[1]).why.contains("memory is missing"));
        let none = |dt: &mut DtBuilder| {
            dt.prop_cells("memory", &[0, 0]).prop_cells("cpus", &[1]);
        };
        assert!(read(none, |domu| domu.is_err()));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_path() {
        let why = refused(|dt| {
            dt.prop_cells("xen,static-mem", &[0x3000_0000, 0x2000_0000]);
        });
        assert!(
            why.starts_with("/chosen/domU1: xen,static-mem: memory at given"),
            "{why}"
        );
        let strings = [
            ("llc-colors", "0-7"),
            ("xen,tee", "optee"),
            ("passthrough", "enabled"),
            ("xen,enhanced", "perhaps"),
            ("xen,enhanced", "enabled"),
            ("vpl011", "pl011"),
        ];
        for (name, value) in strings {
            let why = refused(|dt| {
                dt.prop_str(name, value);
            });
            assert!(why.contains(name), "{why}");
        }
        let cells: [(&str, &[u32]); 7] = [
            ("domain-cpupool", &[1]),
            ("sve", &[128]),
            ("sve", &[]),
            ("max_grant_version", &[2]),
            ("max_grant_frames", &[0]),
            ("nr_spis", &[989]),
            ("nr_spis", &[0, 1]),
        ];
        for (name, value) in cells {
            let why = refused(|dt| {
                dt.prop_cells(name, value);
            });
            assert!(why.contains(name), "{why}");
        }
        let why = refused(|dt| {
            dt.prop("vpl011", &[]).prop_cells("nr_spis", &[0]);
        });
        assert!(why.contains("SPI 32"), "{why}");
    }

    #[test]
    fn nodes_that_ask_for_what_is_not_there() {
        let mut dt = DtBuilder::new(&[]);
        dt.begin_node("").begin_node("chosen").begin_node("domU1");
        dt.prop_str("compatible", "xen,domain");
        usual(&mut dt);
        dt.begin_node("ec@1")
            .prop_str("compatible", "xen,evtchn-v1")
            .end_node();
        dt.end_node();
        dt.begin_node("domU2").prop_str("compatible", "xen,domain");
        usual(&mut dt);
        dt.end_node().end_node().end_node();
        with_host(&dt.finish(), |host| {
            let modules = Modules::find(host).unwrap();
            let why = |n: usize| Domu::read(&modules.domains[n], 8, true).unwrap_err();
            assert_eq!(why(0).path, "/chosen/domU1/ec@1");
            assert!(why(1).why.starts_with("no kernel"));
        });
    }
}
