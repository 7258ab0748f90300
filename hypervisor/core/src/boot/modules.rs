// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files the boot loader put into memory: kernel, ramdisk and the like.
//!
//! A module is a node under `/chosen`, at most two levels below it, compatible with
//! `multiboot,module`. Its kind is its second `compatible` string or, without one, its place: the
//! first is the kernel, the second the ramdisk.

use super::host_dt::HostDt;
use super::node::Node;
use crate::addr::{Pa, PaRange};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub(crate) const MODULE: &[&str] = &["multiboot,module", "xen,multiboot-module"];
/// Levels of nodes under the root that are searched.
const MAX_DEPTH: usize = 3;

/// What a module is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModuleKind {
    /// A domain's kernel.
    Kernel,
    /// A domain's initial ramdisk.
    Ramdisk,
    /// A FLASK policy.
    XsmPolicy,
    /// A partial device tree for a domain.
    DeviceTree,
    /// A third module of no stated kind.
    Unknown,
}

/// A module.
#[derive(Clone, Debug)]
pub struct Module<'d> {
    /// What it is.
    pub kind: ModuleKind,
    /// Where it is.
    pub range: PaRange,
    /// Its command line, if it has one.
    pub bootargs: Option<&'d str>,
    /// Its node (`/chosen` for a ramdisk that is named by `linux,initrd-start`).
    pub node: Node<'d>,
}

/// A node of `/chosen` that asks for a domain, and its modules.
#[derive(Clone, Debug)]
pub struct DomainNode<'d> {
    /// The node.
    pub node: Node<'d>,
    /// Its modules, in the tree's order.
    pub modules: Vec<Module<'d>>,
}

impl<'d> DomainNode<'d> {
    /// Its module of this kind.
    pub fn module(&self, kind: ModuleKind) -> Option<&Module<'d>> {
        self.modules.iter().find(|m| m.kind == kind)
    }
}

/// The modules, in the tree's order.
#[derive(Clone, Debug, Default)]
pub struct Modules<'d> {
    /// For dom0 and Xenolith itself.
    pub dom0: Vec<Module<'d>>,
    /// The domains to be made besides dom0.
    pub domains: Vec<DomainNode<'d>>,
}

/// A module whose `reg` is missing or malformed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadModule(pub String);

impl fmt::Display for BadModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boot module {}: bad reg", self.0)
    }
}

impl<'d> Modules<'d> {
    /// Finds the modules of `host`.
    pub fn find(host: &'d HostDt<'_>) -> Result<Self, BadModule> {
        let mut modules = Self::default();
        let Some(chosen) = host.find("/chosen") else {
            return Ok(modules);
        };
        let domains = chosen.children().filter(|n| is_domain(*n));
        modules.domains = domains
            .filter(|node| node.is_available())
            .map(|node| DomainNode {
                node,
                modules: Vec::new(),
            })
            .collect();
        modules.search(chosen, 1)?;
        name_by_order(&mut modules.dom0);
        let domains = modules.domains.iter_mut();
        domains.for_each(|domain| name_by_order(&mut domain.modules));
        if let Some(ramdisk) = initrd(chosen) {
            modules.dom0.push(ramdisk);
        }
        Ok(modules)
    }

    /// Dom0's kernel.
    pub fn kernel(&self) -> Option<&Module<'d>> {
        self.dom0.iter().find(|m| m.kind == ModuleKind::Kernel)
    }

    /// Dom0's ramdisk.
    pub fn ramdisk(&self) -> Option<&Module<'d>> {
        self.dom0.iter().find(|m| m.kind == ModuleKind::Ramdisk)
    }

    /// All, dom0's first.
    pub fn all(&self) -> impl Iterator<Item = &Module<'d>> {
        let domains = self.domains.iter().flat_map(|domain| &domain.modules);
        self.dom0.iter().chain(domains)
    }

    /// Everything that must stay untouched until it is copied.
    pub fn ranges(&self) -> impl Iterator<Item = PaRange> {
        self.all().map(|m| m.range)
    }

    fn search(&mut self, parent: Node<'d>, depth: usize) -> Result<(), BadModule> {
        for node in parent.children() {
            if node.is_compatible(MODULE) {
                let module = module(node)?;
                let domain = self.domains.iter_mut().find(|d| d.node == parent);
                match domain {
                    Some(domain) => domain.modules.push(module),
                    None if is_domain(parent) => {}
                    None => self.dom0.push(module),
                }
            }
            if depth + 1 < MAX_DEPTH {
                self.search(node, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// Makes the first modules of no stated kind the kernel and the ramdisk.
fn name_by_order(modules: &mut [Module<'_>]) {
    let unknown = |m: &&mut Module<'_>| m.kind == ModuleKind::Unknown;
    for kind in [ModuleKind::Kernel, ModuleKind::Ramdisk] {
        let taken = modules.iter().any(|m| m.kind == kind);
        if let Some(module) = modules.iter_mut().find(unknown).filter(|_| !taken) {
            module.kind = kind;
        }
    }
}

fn is_domain(node: Node<'_>) -> bool {
    node.is_compatible(&["xen,domain"])
}

fn module(node: Node<'_>) -> Result<Module<'_>, BadModule> {
    let bad = || BadModule(node.path());
    let (start, size) = node.raw_reg().next().ok_or_else(bad)?;
    let range = PaRange::new(Pa(start), size).ok_or_else(bad)?;
    let kind = node.compatible().find_map(|name| match name {
        "multiboot,kernel" | "xen,linux-zimage" => Some(ModuleKind::Kernel),
        "multiboot,ramdisk" | "xen,linux-initrd" => Some(ModuleKind::Ramdisk),
        "xen,xsm-policy" => Some(ModuleKind::XsmPolicy),
        "multiboot,device-tree" => Some(ModuleKind::DeviceTree),
        _ => None,
    });
    Ok(Module {
        kind: kind.unwrap_or(ModuleKind::Unknown),
        range,
        bootargs: node.str("bootargs"),
        node,
    })
}

/// The ramdisk a boot loader that knows only Linux describes.
fn initrd(chosen: Node<'_>) -> Option<Module<'_>> {
    let start = chosen.number("linux,initrd-start")?;
    let end = chosen.number("linux,initrd-end")?;
    (start < end).then_some(Module {
        kind: ModuleKind::Ramdisk,
        range: PaRange {
            start: Pa(start),
            end: Pa(end),
        },
        bootargs: None,
        node: chosen,
    })
}
