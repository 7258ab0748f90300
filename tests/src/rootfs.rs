// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0's root file system: Debian's Xen tools and what they need, as packaged, on an ext4 disk image.
//!
//! Neither root nor binfmt is needed, and `mmdebstrap` is not used: the harness's own apt finds the packages,
//! `dpkg-deb` unpacks them, and what their maintainer scripts would have made is in [`additions`]. `rootfs.lock` says
//! which packages and versions; `target/dom0.packages`, and `/etc/packages` on the disk, what it is made of.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{self, Apt, Offered};
use crate::debian;
use crate::error::{Context, Failure, Result, fail};
use crate::initramfs::{self, PV_KERNEL};
use crate::module;
use crate::workspace::{create_directory, root, target, write_whole};

/// What is asked for; apt finds what these need.
const PACKAGES: &[&str] = &[
    "xen-utils-4.20",
    "xen-utils-common",
    "xenstore-utils",
    "base-files",
    "bash",
    "bridge-utils",
    "bsdutils",
    "busybox-static",
    "coreutils",
    "dash",
    "e2fsprogs",
    "findutils",
    "grep",
    "hostname",
    "iproute2",
    "iputils-ping",
    "kmod",
    "mount",
    "netbase",
    "procps",
    "sed",
    "util-linux",
];

/// What is left out of that, by the beginning of its name: what nothing here runs.
const LEFT_OUT: &[&str] = &[
    "debconf",
    "debianutils",
    "dpkg",
    "gcc-",
    "init-system-helpers",
    "libapparmor",
    "libaudit",
    "libdb5",
    "libexpat",
    "libffi",
    "libpam",
    "libpython",
    "libseccomp",
    "libsqlite",
    "libss2",
    "libsystemd-shared",
    "libtext-",
    "logsave",
    "media-types",
    "openssl-",
    "perl",
    "python3",
    "readline-common",
    "sensible-utils",
    "systemd",
    "tar",
    "tzdata",
    "ucf",
    "udev",
];

/// Directories of packages that are not put onto the disk.
const OMITTED: &[&str] = &[
    "usr/include",
    "usr/lib/aarch64-linux-gnu/gconv",
    "usr/lib/xen-4.20/lib",
    "usr/lib/xen-4.20/ocaml",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/i18n",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
];

/// What busybox stands in for.
const OF_BUSYBOX: &[&str] = &[
    "clear", "cttyhack", "halt", "httpd", "less", "nc", "poweroff", "reboot", "tar", "usleep",
    "vi", "wget", "which",
];

/// Modules that dom0 loads beside those of its initramfs.
const MODULES: &[&str] = &["xen-blkback", "xen-netback", "bridge", "loop", "tun"];

/// Size of the disk. What is empty of it takes no room on the host's.
const SIZE: &str = "768M";

const LOCK: &str = "tests/rootfs.lock";

/// Something on the disk that no package has.
#[derive(Hash)]
enum Addition {
    Directory,
    Link(&'static str),
    File(u32, Vec<u8>),
}

/// The disk image.
///
/// # Errors
/// When it was not built yet.
pub fn image() -> Result<PathBuf> {
    let path = target("dom0.ext4");
    if path.exists() {
        return Ok(path);
    }
    fail(format!(
        "{} is missing: `make deps` makes it",
        path.display()
    ))
}

/// Makes the packages available that the lock file names.
///
/// # Errors
/// What apt, the network, a hash or the file system refused.
pub fn fetch() -> Result<()> {
    let place = target("debian/rootfs");
    let lock = root().join(LOCK);
    let text = fs::read_to_string(&lock).context(|| format!("reading {}", lock.display()))?;
    if fs::read_to_string(place.join("LOCKED")).is_ok_and(|stamp| stamp == text) {
        return Ok(());
    }
    let locked = parse_lock(&text).context(|| LOCK.to_owned())?;
    println!("debian: fetching dom0's {} packages", locked.len());
    let apt = Apt::prepare()?;
    apt.update()?;
    let exact: Vec<_> = locked.iter().map(Offered::exact).collect();
    let offered = apt.show(&exact)?;
    let gone: Vec<_> = locked
        .iter()
        .filter(|package| !offered.contains(package))
        .map(Offered::exact)
        .collect();
    let chosen = if gone.is_empty() {
        locked
    } else {
        println!(
            "debian: {} gone from Debian, taking the newest of all",
            gone.join(", ")
        );
        resolve(&apt)?
    };
    let _ = fs::remove_dir_all(&place);
    create_directory(&place)?;
    for file in apt.download(&chosen)? {
        let name = file.file_name().unwrap_or_default();
        fs::rename(&file, place.join(name)).context(|| format!("moving {}", file.display()))?;
    }
    write_whole(&place.join("PACKAGES"), lock_lines(&chosen).as_bytes())?;
    write_whole(&place.join("LOCKED"), text.as_bytes())
}

/// Writes the lock file anew, of the newest versions.
///
/// # Errors
/// What apt or the network refused.
pub fn lock_newest() -> Result<()> {
    let apt = Apt::prepare()?;
    apt.update()?;
    let head = "# Debian packages (arm64) of dom0's root file system, as last tested: package, version, SHA256.\n\
                # `cargo run --package tests -- lock` writes it. When Debian no longer has one of them, the newest of all\n\
                # are taken and the harness says so.\n";
    let text = format!("{head}{}", lock_lines(&resolve(&apt)?));
    write_whole(&root().join(LOCK), text.as_bytes())
}

/// The newest of all packages that are wanted.
fn resolve(apt: &Apt) -> Result<Vec<Offered>> {
    let wanted: Vec<_> = apt
        .closure(PACKAGES)?
        .into_iter()
        .filter(|name| !LEFT_OUT.iter().any(|prefix| name.starts_with(prefix)))
        .collect();
    let offered = apt.show(&wanted)?;
    if offered.len() != wanted.len() {
        return fail("apt would install packages that it does not show");
    }
    Ok(offered)
}

fn lock_lines(packages: &[Offered]) -> String {
    let line = |p: &Offered| format!("{} {} {}\n", p.package, p.version, p.sha256);
    packages.iter().map(line).collect()
}

fn parse_lock(text: &str) -> Result<Vec<Offered>> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(index, line)| {
            let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            let [package, version, sha256] = words.try_into().map_err(|_| {
                Failure::new(format!(
                    "line {}: want package, version and SHA256",
                    index + 1
                ))
            })?;
            Ok(Offered {
                package,
                version,
                sha256,
            })
        })
        .collect()
}

/// Makes the disk image if one of its ingredients has changed.
///
/// # Errors
/// When a package is missing or damaged, or the image cannot be made.
pub fn build() -> Result<()> {
    let packages = target("debian/rootfs");
    let list = packages.join("PACKAGES");
    let list = fs::read_to_string(&list).context(|| format!("reading {}", list.display()))?;
    let additions = additions(&list)?;
    let mut hasher = DefaultHasher::new();
    (&additions, OMITTED, SIZE).hash(&mut hasher);
    let recipe = format!("{:016x}\n", hasher.finish());
    let stamp = target("dom0.recipe");
    if image().is_ok() && fs::read_to_string(&stamp).is_ok_and(|made| made == recipe) {
        return Ok(());
    }
    println!("debian: making dom0's disk");
    let tree = target("dom0.tree");
    let _ = fs::remove_dir_all(&tree);
    create_directory(&tree)?;
    let listing = fs::read_dir(&packages).context(|| format!("listing {}", packages.display()))?;
    for entry in listing.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "deb") {
            apt::extract(&path, &tree)?;
        }
    }
    for directory in OMITTED {
        let _ = fs::remove_dir_all(tree.join(directory));
    }
    for (path, addition) in &additions {
        add(&tree.join(path), addition).context(|| format!("adding /{path} to dom0's disk"))?;
    }
    make_image(&tree)?;
    write_whole(&target("dom0.packages"), list.as_bytes())?;
    write_whole(&stamp, recipe.as_bytes())?;
    let _ = fs::remove_dir_all(&tree);
    Ok(())
}

fn make_image(tree: &Path) -> Result<()> {
    let part = target("dom0.ext4.part");
    let _ = fs::remove_file(&part);
    let path = std::env::var("PATH").unwrap_or_default();
    apt::run(
        Command::new("mke2fs")
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0"])
            .args(["-E", "root_owner=0:0", "-L", "dom0", "-d"])
            .args([tree, &part])
            .arg(SIZE),
    )
    .context(|| "making dom0's disk (`make deps` installs e2fsprogs)".to_owned())?;
    fs::rename(&part, target("dom0.ext4")).context(|| "moving dom0's disk into place".to_owned())
}

/// What maintainer scripts and an installation would have made, and what is the harness's.
fn additions(packages: &str) -> Result<Vec<(String, Addition)>> {
    use Addition::{Directory, File, Link};
    let text = |mode, text: &str| File(mode, text.as_bytes().to_vec());
    let mut all: Vec<(String, Addition)> = Vec::new();
    let mut put = |path: &str, addition| all.push((path.to_owned(), addition));
    for (path, to) in [
        ("bin", "usr/bin"),
        ("lib", "usr/lib"),
        ("sbin", "usr/sbin"),
        ("var/run", "/run"),
        ("var/lock", "/run/lock"),
        ("usr/bin/awk", "mawk"),
        ("etc/mtab", "/proc/self/mounts"),
    ] {
        put(path, Link(to));
    }
    for path in [
        "boot",
        "dev",
        "etc/xen",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "usr/lib/harness",
        "usr/lib/modules",
        "var/lib/xen",
        "var/log/xen/console",
        "var/tmp",
    ] {
        put(path, Directory);
    }
    for name in OF_BUSYBOX {
        put(&format!("usr/bin/{name}"), Link("busybox"));
    }
    // Where the kernel and people look for them.
    for name in ["halt", "poweroff", "reboot"] {
        put(&format!("usr/sbin/{name}"), Link("../bin/busybox"));
    }
    put(
        "etc/passwd",
        text(0o644, "root:x:0:0:root:/root:/bin/bash\n"),
    );
    put("etc/group", text(0o644, "root:x:0:\ntty:x:5:\n"));
    put("etc/hostname", text(0o644, "dom0\n"));
    put("etc/packages", text(0o644, packages));
    put("usr/sbin/init", text(0o755, include_str!("rootfs/init.sh")));
    put(
        "usr/bin/guest",
        text(0o755, include_str!("rootfs/guest.sh")),
    );
    put(
        "usr/lib/harness/agent",
        text(0o644, include_str!("agent.sh")),
    );
    for (name, example) in [
        ("demo", include_str!("rootfs/demo.cfg")),
        ("disk", include_str!("rootfs/disk.cfg")),
        ("network", include_str!("rootfs/network.cfg")),
        ("vuart", include_str!("rootfs/vuart.cfg")),
    ] {
        put(&format!("etc/xen/{name}.cfg"), text(0o644, example));
    }

    let kernel = debian::boot_file(PV_KERNEL.role(), "vmlinuz-")?;
    let kernel = fs::read(&kernel).context(|| format!("reading {}", kernel.display()))?;
    put("boot/vmlinuz", File(0o644, kernel));
    put("boot/guest.cpio", File(0o644, initramfs::for_guests()?));
    let mut order = String::new();
    let directory = debian::kernel_modules(PV_KERNEL.role())?;
    for module in module::load_in_order(&directory, MODULES)? {
        let name = module.name;
        // Those of the initramfs are loaded already.
        if !initramfs::has(&name) {
            order.push_str(&format!("{name}\n"));
            put(
                &format!("usr/lib/modules/{name}.ko"),
                File(0o644, module.object),
            );
        }
    }
    put("usr/lib/modules/order", text(0o644, &order));
    Ok(all)
}

fn add(path: &Path, addition: &Addition) -> Result<()> {
    if let Some(parent) = path.parent() {
        create_directory(parent)?;
    }
    let doing = || "writing".to_owned();
    match addition {
        Addition::Directory => create_directory(path),
        Addition::Link(to) => {
            // A package's link is right; its directory is there for its installation to replace.
            if path.is_symlink() {
                return Ok(());
            }
            let _ = fs::remove_dir(path);
            symlink(to, path).context(doing)
        }
        Addition::File(mode, content) => {
            fs::write(path, content).context(doing)?;
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).context(doing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_file_has_the_tools_and_nothing_left_out() {
        let text = fs::read_to_string(root().join(LOCK)).expect("the lock file");
        let locked = parse_lock(&text).expect("well formed");
        for package in PACKAGES {
            assert!(locked.iter().any(|l| l.package == *package), "{package}");
        }
        for Offered { package, .. } in &locked {
            let left_out = |prefix: &&str| package.starts_with(*prefix);
            assert!(!LEFT_OUT.iter().any(|p| left_out(&p)), "{package}");
        }
    }

    #[test]
    fn a_short_line_is_named() {
        let error = parse_lock("# comment\nbash 5.2\n").expect_err("too few words");
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
