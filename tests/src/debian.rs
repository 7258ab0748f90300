// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fetches the Debian packages named in `debian.lock` and unpacks them under `target/debian/<role>/`.
//!
//! apt does the work, in a root of its own: the machine's apt configuration is read (it may name a proxy) but its
//! sources, lists and status are not touched, and no privilege is needed. apt verifies Debian's signatures; the lock
//! file's hash is checked on top. A role whose `LOCKED` file holds its lock line is complete: nothing is asked of the
//! network then.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Context, Failure, Result, fail};
use crate::workspace::{create_directory, root, target, write_whole};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org/debian";

/// One line of the lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Locked {
    role: String,
    suite: String,
    package: String,
    version: String,
    sha256: String,
}

/// A package as apt's index describes it.
#[derive(Debug, PartialEq, Eq)]
struct Offered {
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
    let offered = apt.choose(locked)?;
    if offered.version != locked.version {
        println!(
            "debian: {} {} is gone from Debian, taking {} {}",
            locked.package, locked.version, offered.package, offered.version
        );
    }
    let archive = apt.download(&offered)?;
    unpack(locked, &archive)?;
    let _ = fs::remove_file(&archive);
    Ok(())
}

fn unpack(locked: &Locked, archive: &Path) -> Result<()> {
    let place = target("debian").join(&locked.role);
    let fresh = target("debian").join(format!("{}.new", locked.role));
    let _ = fs::remove_dir_all(&fresh);
    create_directory(&fresh)?;
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .arg(archive)
        .arg(&fresh))?;
    write_whole(&fresh.join("LOCKED"), lock_line(locked).as_bytes())?;
    let _ = fs::remove_dir_all(&place);
    fs::rename(&fresh, &place).context(|| format!("moving {} into place", place.display()))
}

/// apt with its own lists, caches and sources.
struct Apt {
    directory: PathBuf,
    configuration: PathBuf,
}

impl Apt {
    fn prepare() -> Result<Self> {
        if !Path::new(KEYRING).exists() {
            return fail(format!(
                "{KEYRING} is missing: `make deps` installs debian-archive-keyring"
            ));
        }
        let directory = target("debian/apt");
        for part in ["lists/partial", "cache/archives/partial"] {
            create_directory(&directory.join(part))?;
        }
        let sources: String = ["trixie", "bookworm"]
            .iter()
            .map(|suite| format!("deb [arch=arm64 signed-by={KEYRING}] {MIRROR} {suite} main\n"))
            .collect();
        write_whole(&directory.join("sources.list"), sources.as_bytes())?;
        write_whole(&directory.join("status"), b"")?;
        let configuration = directory.join("apt.conf");
        let at = directory.display();
        let text = format!(
            "APT::Architecture \"arm64\";\nAPT::Architectures \"arm64\";\nAPT::Sandbox::User \"\";\n\
             Acquire::Languages \"none\";\nAcquire::Retries \"3\";\nAPT::Update::Error-Mode \"any\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             Dir::Etc::SourceList \"{at}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
             Dir::State::Lists \"{at}/lists\";\nDir::State::status \"{at}/status\";\nDir::Cache \"{at}/cache\";\n"
        );
        write_whole(&configuration, text.as_bytes())?;
        Ok(Self {
            directory,
            configuration,
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.configuration);
        command
    }

    fn update(&self) -> Result<()> {
        run(self.command("apt-get").arg("update"))
            .context(|| "asking Debian for its package lists (is there a network?)".to_owned())
    }

    /// The locked version, or when Debian has it no longer the newest of the same role.
    fn choose(&self, locked: &Locked) -> Result<Offered> {
        let exact = format!("{}={}", locked.package, locked.version);
        if let Some(offered) = self.show(&exact)?.into_iter().next() {
            if offered.sha256 != locked.sha256 {
                return fail(format!(
                    "{exact}: Debian's index says SHA256 {}, tests/debian.lock says {}",
                    offered.sha256, locked.sha256
                ));
            }
            return Ok(offered);
        }
        let package = self.newest_name(locked)?;
        self.show(&package)?.into_iter().next().ok_or_else(|| {
            Failure::new(format!(
                "Debian {} has no {package} any more: change tests/debian.lock",
                locked.suite
            ))
        })
    }

    /// The package that fills the role today: a kernel's name changes with each of its versions.
    fn newest_name(&self, locked: &Locked) -> Result<String> {
        let Some(series) = locked.role.strip_prefix("linux-") else {
            return Ok(locked.package.clone());
        };
        let text = output(
            self.command("apt-cache")
                .args(["show", "linux-image-arm64"]),
        )?;
        let prefix = format!("linux-image-{series}.");
        let found = text
            .lines()
            .filter_map(|line| line.strip_prefix("Depends: "))
            .flat_map(|list| list.split([',', ' ']))
            .find(|name| name.starts_with(&prefix));
        found.map(str::to_owned).ok_or_else(|| {
            Failure::new(format!(
                "Debian {} has no Linux {series} any more",
                locked.suite
            ))
        })
    }

    fn show(&self, package: &str) -> Result<Vec<Offered>> {
        let text = self
            .command("apt-cache")
            .args(["show", package])
            .output()
            .context(|| "starting apt-cache".to_owned())?;
        Ok(parse_index(&String::from_utf8_lossy(&text.stdout)))
    }

    /// Downloads into an empty directory, so that the one file in it is the package.
    fn download(&self, offered: &Offered) -> Result<PathBuf> {
        let directory = self.directory.join("download");
        let _ = fs::remove_dir_all(&directory);
        create_directory(&directory)?;
        let exact = format!("{}={}", offered.package, offered.version);
        run(self
            .command("apt-get")
            .args(["download", &exact])
            .current_dir(&directory))
        .context(|| format!("downloading {exact}"))?;
        let mut files = fs::read_dir(&directory)
            .context(|| format!("listing {}", directory.display()))?
            .flatten();
        let Some(file) = files.next() else {
            return fail(format!("apt-get download {exact} left no file"));
        };
        let sum = sha256(&file.path())?;
        if sum != offered.sha256 {
            return fail(format!(
                "{exact}: SHA256 is {sum}, expected {}",
                offered.sha256
            ));
        }
        Ok(file.path())
    }
}

/// Reads the stanzas that `apt-cache show` prints.
fn parse_index(text: &str) -> Vec<Offered> {
    text.split("\n\n")
        .filter_map(|stanza| {
            let field = |name: &str| {
                let line = stanza.lines().find(|line| line.starts_with(name))?;
                Some(line[name.len()..].trim().to_owned())
            };
            Some(Offered {
                package: field("Package:")?,
                version: field("Version:")?,
                sha256: field("SHA256:")?,
            })
        })
        .collect()
}

/// SHA256 of a file in hexadecimal.
///
/// # Errors
/// When `sha256sum` cannot be run or cannot read the file.
pub fn sha256(path: &Path) -> Result<String> {
    let text = output(Command::new("sha256sum").arg(path))?;
    let sum = text.split_whitespace().next().unwrap_or("");
    Ok(sum.trim_start_matches('\\').to_owned())
}

fn run(command: &mut Command) -> Result<()> {
    let name = format!("{command:?}");
    let status = command.status().context(|| format!("starting {name}"))?;
    if status.success() {
        Ok(())
    } else {
        fail(format!("{name} ended with {status}"))
    }
}

fn output(command: &mut Command) -> Result<String> {
    let name = format!("{command:?}");
    let output = command.output().context(|| format!("starting {name}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    fail(format!("{name} ended with {}: {why}", output.status))
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

    #[test]
    fn index_stanzas() {
        let text = "Package: a\nVersion: 1:2\nDepends: b\nSHA256: ff\n\nPackage: a\nVersion: 1\nSHA256: ee\n";
        let found = parse_index(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].version, "1:2");
        assert_eq!(found[1].sha256, "ee");
    }
}
