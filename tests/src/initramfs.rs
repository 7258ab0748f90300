// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds dom0's initramfs: busybox, the modules for QEMU's disks and network cards, `/init` and the agent.

use std::fs;
use std::path::PathBuf;

use crate::cpio::Archive;
use crate::debian;
use crate::error::{Context, Result, fail};
use crate::machine::Kernel;
use crate::module;
use crate::workspace::{target, write_whole};

const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "nvme",
    "e1000e",
    "ext4",
    "xen-evtchn",
    "xen-gntdev",
    "xen-gntalloc",
    "xen-privcmd",
    "xenfs",
];

/// The archive for `kernel`.
///
/// # Errors
/// When it was not built yet.
pub fn path(kernel: Kernel) -> Result<PathBuf> {
    let path = place(kernel);
    if path.exists() {
        return Ok(path);
    }
    fail(format!(
        "{} is missing: `make deps` makes it",
        path.display()
    ))
}

fn place(kernel: Kernel) -> PathBuf {
    target(&format!("initramfs-{kernel}.cpio"))
}

/// Builds the archive for `kernel`.
///
/// # Errors
/// When a package is missing or a module is malformed.
pub fn build(kernel: Kernel) -> Result<()> {
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "proc", "sys", "modules"] {
        archive.directory(directory);
    }
    // Before devtmpfs is mounted, /init already writes to the console.
    archive.character_device("dev/console", 5, 1);
    let busybox = debian::unpacked("busybox")?.join("usr/bin/busybox");
    let program = fs::read(&busybox).context(|| format!("reading {}", busybox.display()))?;
    archive.file("bin/busybox", 0o755, &program);
    archive.symlink("bin/sh", "busybox");
    archive.file("init", 0o755, include_bytes!("init.sh"));
    archive.file("agent", 0o644, include_bytes!("agent.sh"));

    let directory = debian::kernel_modules(kernel.role())?;
    let mut order = String::new();
    for module in module::load_in_order(&directory, MODULES)? {
        archive.file(
            &format!("modules/{}.ko", module.name),
            0o644,
            &module.object,
        );
        order.push_str(&module.name);
        order.push('\n');
    }
    archive.file("modules/order", 0o644, order.as_bytes());

    write_whole(&place(kernel), &archive.finish())
}
