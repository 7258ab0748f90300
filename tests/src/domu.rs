// SPDX-License-Identifier: MIT OR Apache-2.0
//! Domains without a toolstack (dom0less): nodes under `/chosen` that are compatible with `xen,domain`, and their
//! modules in RAM, as a boot loader would leave them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::device_tree::{appended, edited};
use crate::error::{Context, Result, fail};
use crate::juno::Juno;
use crate::machine::{Board, Machine, Payload, raw_loader};

/// One domU. Domains get their numbers in the tree's order, from 1.
#[derive(Debug, Clone)]
pub struct DomU {
    /// Memory in MiB.
    pub memory_mib: u32,
    /// vCPUs.
    pub cpus: u32,
    /// Its kernel.
    pub kernel: PathBuf,
    /// Its ramdisk.
    pub ramdisk: Option<PathBuf>,
    /// Its partial device tree.
    pub device_tree: Option<PathBuf>,
    /// Its command line.
    pub args: String,
    /// More properties of its node, in source form. With `vpl011;` it has a UART.
    pub properties: String,
}

impl DomU {
    /// 32 MiB, one vCPU, a UART, the hypervisor's node in its tree.
    #[must_use]
    pub fn new(kernel: PathBuf, args: &str) -> Self {
        Self {
            memory_mib: 32,
            cpus: 1,
            kernel,
            ramdisk: None,
            device_tree: None,
            args: args.to_owned(),
            properties: "vpl011; xen,enhanced = \"no-xenstore\";".to_owned(),
        }
    }
}

/// First address for modules of domUs on `virt`: behind dom0's, whose initramfs may take 24 MiB.
const FIRST: u32 = 0x4700_0000;
/// Where QEMU's device tree is then, and how much may be its.
const TREE: (u32, u32) = (0x4800_0000, 0x4820_0000);
/// Boot loaders align by this.
const ALIGN: u32 = 0x20_0000;

/// Lays out modules one behind the other.
struct Modules<'m> {
    next: u32,
    machine: &'m mut Machine,
}

impl Modules<'_> {
    /// Loads `file`; its node of `kind`, with `more` properties.
    fn load(&mut self, kind: &str, file: &Path, more: &str) -> Result<String> {
        let size = fs::metadata(file)
            .context(|| format!("reading {}", file.display()))?
            .len();
        let Ok(size) = u32::try_from(size) else {
            return fail(format!("{} is too large", file.display()));
        };
        let (tree, behind_tree) = TREE;
        if self.next < behind_tree && self.next + size > tree {
            self.next = behind_tree;
        }
        let address = self.next;
        self.next = (address + size).next_multiple_of(ALIGN);
        self.machine.attach("-device", &raw_loader(file, address)?);
        Ok(format!(
            "module@{address:x} {{ compatible = \"multiboot,{kind}\", \"multiboot,module\"; \
             reg = <{address:#x} {size:#x}>; {more} }};\n"
        ))
    }
}

/// Gives `machine` the domains `domus` by a device tree that is written to `tree`. To be called when all else of the
/// machine is as it shall be: QEMU's tree describes it.
///
/// # Errors
/// When a file is missing or the tree cannot be made.
pub fn add(machine: &mut Machine, domus: &[DomU], tree: &Path) -> Result<()> {
    add_with(machine, domus, tree, str::to_owned)
}

/// As [`add`], with one more change to the tree's source.
///
/// # Errors
/// When a file is missing or the tree cannot be made.
pub fn add_with(
    machine: &mut Machine,
    domus: &[DomU],
    tree: &Path,
    change: impl Fn(&str) -> String,
) -> Result<()> {
    let described = machine.clone();
    let mut modules = Modules {
        next: match machine.board {
            Board::Virt => FIRST,
            Board::Juno(_) => Juno::FREE_ADDRESS,
        },
        machine,
    };
    let mut nodes = String::new();
    for (number, domu) in (1..).zip(domus) {
        let bootargs = format!("bootargs = \"{}\";", domu.args);
        let mut inside = modules.load("kernel", &domu.kernel, &bootargs)?;
        if let Some(ramdisk) = &domu.ramdisk {
            inside.push_str(&modules.load("ramdisk", ramdisk, "")?);
        }
        if let Some(tree) = &domu.device_tree {
            inside.push_str(&modules.load("device-tree", tree, "")?);
        }
        nodes.push_str(&format!(
            "domU{number} {{ compatible = \"xen,domain\"; #address-cells = <1>; #size-cells = <1>; \
             memory = <0 {:#x}>; cpus = <{}>; {}\n{inside} }};\n",
            domu.memory_mib * 1024,
            domu.cpus,
            domu.properties,
        ));
    }
    // Without a module of dom0's, the command line would be taken for dom0's.
    let line = match described.payload {
        Payload::Nothing => format!(
            "xen,xen-bootargs = \"{}\";",
            described.hypervisor_command_line()
        ),
        _ => String::new(),
    };
    edited(&described, tree, |source| {
        appended(
            &change(source),
            &format!("/ {{ chosen {{ {line} {nodes} }}; }};"),
        )
    })?;
    machine.attach("-dtb", &tree.display().to_string());
    Ok(())
}
