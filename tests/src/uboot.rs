// SPDX-License-Identifier: MIT OR Apache-2.0
//! What U-Boot starts Xenolith from: a directory that is copied onto a disk or served by TFTP. `scripts/boot.cmd` is the
//! script, the same for every board.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian;
use crate::error::{Context, Result, fail};
use crate::initramfs;
use crate::juno::{Juno, Revision};
use crate::machine::{Hypervisor, Kernel};
use crate::workspace::{create_directory, root, target, write_whole};

/// What is particular to a board, and to what runs on it.
#[derive(Debug, Clone)]
pub struct Board {
    /// Where its RAM starts.
    pub ram: u32,
    /// Its device tree.
    pub trees: Vec<PathBuf>,
    /// Xenolith's command line.
    pub args: String,
    /// dom0's command line.
    pub dom0_args: String,
}

/// Debian's U-Boot for QEMU's `virt`.
///
/// # Errors
/// When the package was not fetched.
pub fn for_virt() -> Result<PathBuf> {
    let path = debian::unpacked("u-boot")?.join("usr/lib/u-boot/qemu_arm64/u-boot.bin");
    if path.exists() {
        return Ok(path);
    }
    fail(format!("Debian's u-boot-qemu has no {}", path.display()))
}

/// Makes the directory for a Juno, with Debian's Linux 6.12 as dom0; returns it.
///
/// # Errors
/// When something of it is missing.
pub fn juno() -> Result<PathBuf> {
    let tree = |revision| {
        let el3 = true;
        Juno { revision, el3 }.tree()
    };
    let board = Board {
        ram: 0x8000_0000,
        trees: vec![
            tree(Revision::R2)?,
            tree(Revision::R1)?,
            tree(Revision::R0)?,
        ],
        args: "console=dtuart dom0_mem=1024M".to_owned(),
        dom0_args: "console=hvc0 rdinit=/init".to_owned(),
    };
    let directory = target("juno");
    fill(&directory, &board)?;
    Ok(directory)
}

/// Fills `directory` for `board`, of whose trees the first is used.
///
/// # Errors
/// When something of it is missing, or the script cannot be packed.
pub fn fill(directory: &Path, board: &Board) -> Result<()> {
    let _ = fs::remove_dir_all(directory);
    create_directory(directory)?;
    let copy = |from: &Path, name: &str| {
        fs::copy(from, directory.join(name))
            .map(drop)
            .context(|| format!("copying {} to {}", from.display(), directory.display()))
    };
    let kernel = Kernel::V6_12;
    copy(&Hypervisor::Xenolith.image()?, "xenolith.img")?;
    copy(&debian::boot_file(kernel.role(), "vmlinuz-")?, "vmlinuz")?;
    copy(&initramfs::path(kernel)?, "initrd")?;
    let mut names = Vec::new();
    for tree in &board.trees {
        let Some(name) = tree.file_name().and_then(|name| name.to_str()) else {
            return fail(format!("{} has no usable name", tree.display()));
        };
        copy(tree, name)?;
        names.push(name);
    }
    let Some((first, others)) = names.split_first() else {
        return fail("a board has a device tree");
    };
    let mut settings = String::from("# What boot.scr reads; numbers are hexadecimal.\n");
    let lines = [
        ("xl_ram", format!("{:x}", board.ram)),
        ("xl_dtb", (*first).to_owned()),
        ("xl_kernel", "vmlinuz".to_owned()),
        ("xl_initrd", "initrd".to_owned()),
        ("xl_args", board.args.clone()),
        ("dom0_args", board.dom0_args.clone()),
    ];
    for (name, value) in lines {
        // Writing to a string does not fail.
        let _ = writeln!(settings, "{name}={value}");
    }
    for other in others {
        let _ = writeln!(settings, "# xl_dtb={other}");
    }
    write_whole(&directory.join("xenolith.env"), settings.as_bytes())?;
    pack(
        &root().join("scripts/boot.cmd"),
        &directory.join("boot.scr"),
    )
}

/// U-Boot sources scripts in an image of its own.
fn pack(script: &Path, image: &Path) -> Result<()> {
    let mut mkimage = Command::new("mkimage");
    mkimage.args([
        "-T", "script", "-C", "none", "-A", "arm64", "-n", "Xenolith", "-d",
    ]);
    let output = mkimage.arg(script).arg(image).output();
    let output = output.context(|| "starting mkimage (`make deps` installs it)".to_owned())?;
    if output.status.success() {
        return Ok(());
    }
    fail(format!(
        "mkimage: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}
