// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fetches the Debian packages named in `debian.lock` and unpacks them under `target/debian/<role>/`.
//!
//! The lock file's hash is checked on top of what apt verifies. A role whose `LOCKED` file holds its lock line is
//! complete: nothing is asked of the network then.

use std::fs;
use std::path::{Path, PathBuf};

use crate::apt::{self, Apt, Offered};
use crate::error::{Context, Failure, Result, fail};
use crate::workspace::{create_directory, root, target, write_whole};

/// One line of the lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Locked {
    role: String,
    suite: String,
    package: String,
    version: String,
    sha256: String,
}

/// Makes every role of the lock file available.
///
/// # Errors
/// What apt, the network, a hash or the file system refused.
pub fn fetch_all() -> Result<()> {
    fetch_those(|_| true)
}

/// Makes one role of the lock file available, for instance `xen`.
///
/// # Errors
/// As [`fetch_all`].
pub fn fetch(role: &str) -> Result<()> {
    fetch_those(|locked| locked.role == role)
}

fn fetch_those(wanted: impl Fn(&Locked) -> bool) -> Result<()> {
    let missing: Vec<_> = read_lock()?
        .into_iter()
        .filter(|locked| wanted(locked) && !is_here(locked))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|l| l.package.as_str()).collect();
    println!("debian: fetching {}", names.join(", "));
    let apt = Apt::prepare()?;
    apt.update()?;
    for locked in &missing {
        install(&apt, locked)?;
    }
    Ok(())
}

/// Root of the unpacked package of `role`, for instance `linux-6.12`.
///
/// # Errors
/// When it was not fetched yet.
pub fn unpacked(role: &str) -> Result<PathBuf> {
    let directory = target("debian").join(role);
    if directory.join("LOCKED").exists() {
        return Ok(directory);
    }
    fail(format!(
        "Debian's {role} is not in {}; `make deps` fetches it",
        directory.display()
    ))
}

fn read_lock() -> Result<Vec<Locked>> {
    let path = root().join("tests/debian.lock");
    let text = fs::read_to_string(&path).context(|| format!("reading {}", path.display()))?;
    parse_lock(&text).context(|| format!("{}", path.display()))
}

fn parse_lock(text: &str) -> Result<Vec<Locked>> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(index, line)| {
            let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            let [role, suite, package, version, sha256] = words.try_into().map_err(|_| {
                Failure::new(format!(
                    "line {}: want role, suite, package, version and SHA256",
                    index + 1
                ))
            })?;
            Ok(Locked {
                role,
                suite,
                package,
                version,
                sha256,
            })
        })
        .collect()
}

fn lock_line(locked: &Locked) -> String {
    format!("{} {} {}\n", locked.package, locked.version, locked.sha256)
}

fn is_here(locked: &Locked) -> bool {
    let stamp = target("debian").join(&locked.role).join("LOCKED");
    fs::read_to_string(stamp).is_ok_and(|line| line == lock_line(locked))
}

fn install(apt: &Apt, locked: &Locked) -> Result<()> {
    let offered = choose(apt, locked)?;
    if offered.version != locked.version {
        println!(
            "debian: {} {} is gone from Debian, taking {} {}",
            locked.package, locked.version, offered.package, offered.version
        );
    }
    for archive in apt.download(&[offered])? {
        unpack(locked, &archive)?;
        let _ = fs::remove_file(&archive);
    }
    Ok(())
}

/// The locked version, or when Debian has it no longer the newest of the same role.
fn choose(apt: &Apt, locked: &Locked) -> Result<Offered> {
    let exact = format!("{}={}", locked.package, locked.version);
    if let Some(offered) = apt.show(std::slice::from_ref(&exact))?.into_iter().next() {
        if offered.sha256 != locked.sha256 {
            return fail(format!(
                "{exact}: Debian's index says SHA256 {}, tests/debian.lock says {}",
                offered.sha256, locked.sha256
            ));
        }
        return Ok(offered);
    }
    let package = newest_name(apt, locked)?;
    apt.show(std::slice::from_ref(&package))?
        .into_iter()
        .next()
        .ok_or_else(|| {
            Failure::new(format!(
                "Debian {} has no {package} any more: change tests/debian.lock",
                locked.suite
            ))
        })
}

/// The package that fills the role today: a kernel's name changes with each of its versions.
fn newest_name(apt: &Apt, locked: &Locked) -> Result<String> {
    let Some(series) = locked.role.strip_prefix("linux-") else {
        return Ok(locked.package.clone());
    };
    let prefix = format!("linux-image-{series}.");
    let found = apt
        .depends("linux-image-arm64")?
        .into_iter()
        .find(|name| name.starts_with(&prefix));
    found.ok_or_else(|| {
        Failure::new(format!(
            "Debian {} has no Linux {series} any more",
            locked.suite
        ))
    })
}

fn unpack(locked: &Locked, archive: &Path) -> Result<()> {
    let place = target("debian").join(&locked.role);
    let fresh = target("debian").join(format!("{}.new", locked.role));
    let _ = fs::remove_dir_all(&fresh);
    create_directory(&fresh)?;
    apt::extract(archive, &fresh)?;
    write_whole(&fresh.join("LOCKED"), lock_line(locked).as_bytes())?;
    let _ = fs::remove_dir_all(&place);
    fs::rename(&fresh, &place).context(|| format!("moving {} into place", place.display()))
}

/// The kernel image of the package in `role`.
///
/// # Errors
/// When the package was not fetched or holds no kernel.
pub fn boot_file(role: &str, prefix: &str) -> Result<PathBuf> {
    let directory = unpacked(role)?.join("boot");
    let mut names: Vec<_> = fs::read_dir(&directory)
        .context(|| format!("listing {}", directory.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            name.starts_with(prefix) && !name.ends_with(".efi") && !name.ends_with(".config")
        })
        .collect();
    names.sort();
    match names.into_iter().next() {
        Some(path) => Ok(path),
        None => fail(format!("{} holds no {prefix}*", directory.display())),
    }
}

/// The device tree `name` that the kernel package of `role` has, for instance `arm/juno-r2.dtb`.
///
/// # Errors
/// When the package was not fetched or has none.
pub fn device_tree(role: &str, name: &str) -> Result<PathBuf> {
    let top = unpacked(role)?.join("usr/lib");
    let places = fs::read_dir(&top).context(|| format!("listing {}", top.display()))?;
    let mut trees = places.flatten().map(|place| place.path().join(name));
    match trees.find(|tree| tree.exists()) {
        Some(tree) => Ok(tree),
        None => fail(format!("{} holds no {name}", top.display())),
    }
}

/// Directory of the modules of the kernel in `role`.
///
/// # Errors
/// When the package was not fetched or holds no modules.
pub fn kernel_modules(role: &str) -> Result<PathBuf> {
    let top = unpacked(role)?;
    for place in ["usr/lib/modules", "lib/modules"] {
        if let Some(version) = fs::read_dir(top.join(place))
            .ok()
            .and_then(|mut l| l.next())
        {
            let version = version.context(|| format!("listing {place}"))?;
            return Ok(version.path().join("kernel"));
        }
    }
    fail(format!("{} holds no kernel modules", top.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolstack;

    #[test]
    fn lock_file_of_the_repository_is_well_formed() {
        let roles: Vec<_> = read_lock()
            .expect("tests/debian.lock")
            .into_iter()
            .map(|l| l.role)
            .collect();
        assert_eq!(roles[..4], ["xen", "linux-6.12", "linux-6.1", "busybox"]);
        for role in toolstack::roles() {
            assert!(roles.iter().any(|r| r == role), "{role}");
        }
    }

    #[test]
    fn a_short_line_is_named() {
        let error = parse_lock("# comment\nxen trixie\n").expect_err("too few words");
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
