// SPDX-License-Identifier: MIT OR Apache-2.0
//! A model of Arm's Juno: a QEMU that has a machine `juno`, which the variable `QEMU_JUNO` names. It boots with the
//! device tree that Linux has for the board.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use crate::debian;
use crate::error::{Result, fail};

/// A Juno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Juno {
    /// Which of the boards.
    pub revision: Revision,
    /// The CPUs have EL3, and the interrupt controller shows its Non-secure side.
    pub el3: bool,
}

/// A revision of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    /// Cortex-A57 and A53.
    R0,
    /// The same, with PCIe.
    R1,
    /// Cortex-A72 and A53.
    R2,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::R0 => "r0",
            Self::R1 => "r1",
            Self::R2 => "r2",
        })
    }
}

impl Juno {
    /// Addresses of dom0's modules: RAM starts at 0x8000_0000, the hypervisor is at 0x8020_0000, the device tree at
    /// 0x8800_0000.
    pub const KERNEL_ADDRESS: u32 = 0x8a00_0000;
    /// See [`Self::KERNEL_ADDRESS`].
    pub const INITRD_ADDRESS: u32 = 0x9400_0000;
    /// The first address that is free behind dom0's modules.
    pub const FREE_ADDRESS: u32 = 0x9800_0000;

    /// The command without CPUs, memory and what runs.
    ///
    /// # Errors
    /// When there is no such QEMU, or no kernel package with the board's tree.
    pub fn command(self) -> Result<Command> {
        let Some(qemu) = qemu() else {
            return fail(WANTED);
        };
        let el3 = if self.el3 { "on" } else { "off" };
        let mut command = Command::new(qemu);
        command
            .arg("-machine")
            .arg(format!("juno,revision={},el3={el3}", self.revision));
        command.arg("-dtb").arg(self.tree()?);
        Ok(command)
    }

    /// The board's tree. QEMU adds the modules to it, and says how much memory and how many CPUs there are.
    ///
    /// # Errors
    /// When there is no kernel package with it.
    pub fn tree(self) -> Result<PathBuf> {
        let name = match self.revision {
            Revision::R0 => "juno.dtb",
            Revision::R1 => "juno-r1.dtb",
            Revision::R2 => "juno-r2.dtb",
        };
        debian::device_tree("linux-6.12", &format!("arm/{name}"))
    }
}

/// What to say where there is none.
pub const WANTED: &str = "QEMU_JUNO= does not name a QEMU with the machine juno";

/// The QEMU, if the variable names one.
#[must_use]
pub fn qemu() -> Option<PathBuf> {
    let path = std::env::var_os("QEMU_JUNO").filter(|path| !path.is_empty())?;
    let path = PathBuf::from(path);
    let machines = Command::new(&path).args(["-machine", "help"]).output();
    let known = machines.ok()?.stdout;
    let known = String::from_utf8_lossy(&known);
    let has_it = known.lines().any(|line| line.starts_with("juno "));
    has_it.then_some(path)
}
