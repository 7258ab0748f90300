// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds initramfs archives: busybox, the modules for the machines' disks and network cards, `/init` and the agent; and a
//! larger one with Debian's toolstack and both ends of Xen's block devices.

use std::fs;
use std::path::PathBuf;

use crate::cpio::Archive;
use crate::debian;
use crate::error::{Context, Result, fail};
use crate::machine::Kernel;
use crate::module;
use crate::toolstack;
use crate::workspace::{target, write_whole};

const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "nvme",
    "e1000e",
    // What a Juno's LAN9118 needs.
    "fixed",
    "smsc",
    "smsc911x",
    "crc32c_generic",
    "ext4",
    "xen-evtchn",
    "xen-gntdev",
    "xen-gntalloc",
    "xen-privcmd",
    "xenfs",
];

/// What the archive with the toolstack has in addition.
const PV_MODULES: &[&str] = &["xen-blkback", "xen-blkfront"];
/// The kernel that it is for.
pub const PV_KERNEL: Kernel = Kernel::V6_12;

/// The archive for `kernel`.
///
/// # Errors
/// When it was not built yet.
pub fn path(kernel: Kernel) -> Result<PathBuf> {
    present(place(kernel))
}

/// The archive with the toolstack.
///
/// # Errors
/// When it was not built yet.
pub fn with_toolstack() -> Result<PathBuf> {
    present(place_with_toolstack())
}

fn present(path: PathBuf) -> Result<PathBuf> {
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

fn place_with_toolstack() -> PathBuf {
    target(&format!("initramfs-{PV_KERNEL}-toolstack.cpio"))
}

/// Builds all archives.
///
/// # Errors
/// When a package is missing or a module is malformed.
pub fn build_all() -> Result<()> {
    for kernel in [Kernel::V6_1, Kernel::V6_12] {
        let archive = basic(kernel, MODULES)?;
        write_whole(&place(kernel), &archive.finish())?;
    }
    let mut archive = basic(PV_KERNEL, &[MODULES, PV_MODULES].concat())?;
    toolstack::add(&mut archive)?;
    write_whole(&place_with_toolstack(), &archive.finish())
}

/// Modules of a guest under [`for_guests`].
const GUEST_MODULES: &[&str] = &["xen-blkfront", "xen-netfront", "crc32c_generic", "ext4"];

/// The archive for guests that xl starts: what they find is Xen's.
///
/// # Errors
/// When a package is missing or a module is malformed.
pub fn for_guests() -> Result<Vec<u8>> {
    let init = include_bytes!("rootfs/guest-init.sh");
    let mut archive = with_init(PV_KERNEL, GUEST_MODULES, init)?;
    // The kernel looks for poweroff and reboot there.
    archive.symlink("sbin", "bin");
    Ok(archive.finish())
}

/// Whether the archive of every dom0 loads `module`, or what it needs.
pub fn has(module: &str) -> bool {
    MODULES.iter().any(|name| name.replace('-', "_") == module)
}

fn basic(kernel: Kernel, modules: &[&str]) -> Result<Archive> {
    with_init(kernel, modules, include_bytes!("init.sh"))
}

fn with_init(kernel: Kernel, modules: &[&str], init: &[u8]) -> Result<Archive> {
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
    archive.file("init", 0o755, init);
    archive.file("agent", 0o644, include_bytes!("agent.sh"));

    let directory = debian::kernel_modules(kernel.role())?;
    let mut order = String::new();
    for module in module::load_in_order(&directory, modules)? {
        archive.file(
            &format!("modules/{}.ko", module.name),
            0o644,
            &module.object,
        );
        order.push_str(&module.name);
        order.push('\n');
    }
    archive.file("modules/order", 0o644, order.as_bytes());
    Ok(archive)
}
