// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files the boot loader put into memory: kernel, ramdisk and the like.
//!
//! A module is a node under `/chosen`, at most two levels below it, compatible with
//! `multiboot,module`. Its kind is its second `compatible` string or, without one, its place: the
//! first is the kernel, the second the ramdisk.

use super::host_dt::HostDt;
use super::node::Node;
use crate::addr::{Pa, PaRange};
use alloc::format;
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

/// The modules, in the tree's order.
#[derive(Clone, Debug, Default)]
pub struct Modules<'d> {
    /// For dom0 and Xenolith itself.
    pub dom0: Vec<Module<'d>>,
    /// Those of `xen,domain` nodes.
    pub domains: Vec<Module<'d>>,
    /// What to tell the user.
    pub messages: Vec<String>,
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
        modules.search(chosen, 1)?;
        modules.name_by_order();
        if let Some(ramdisk) = initrd(chosen) {
            modules.dom0.push(ramdisk);
        }
        if let Some(module) = modules.domains.first() {
            let domain = module.node.parent().map(Node::path).unwrap_or_default();
            let message = format!("{domain}: guests made at boot are not supported, ignored");
            modules.messages.push(message);
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

    /// Everything that must stay untouched until it is copied.
    pub fn ranges(&self) -> impl Iterator<Item = PaRange> {
        self.dom0.iter().chain(&self.domains).map(|m| m.range)
    }

    fn search(&mut self, parent: Node<'d>, depth: usize) -> Result<(), BadModule> {
        for node in parent.children() {
            if node.is_compatible(MODULE) {
                let module = module(node)?;
                match parent.is_compatible(&["xen,domain"]) {
                    true => self.domains.push(module),
                    false => self.dom0.push(module),
                }
            }
            if depth + 1 < MAX_DEPTH {
                self.search(node, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Makes the first modules of no stated kind the kernel and the ramdisk.
    fn name_by_order(&mut self) {
        let unknown = |m: &&mut Module<'_>| m.kind == ModuleKind::Unknown;
        for kind in [ModuleKind::Kernel, ModuleKind::Ramdisk] {
            let taken = self.dom0.iter().any(|m| m.kind == kind);
            if let Some(module) = self.dom0.iter_mut().find(unknown).filter(|_| !taken) {
                module.kind = kind;
            }
        }
    }
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
