// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's packages by apt, in a root of its own: the machine's apt configuration is read (it may name a proxy) but its
//! sources, lists and status are not touched, and no privilege is needed. apt verifies Debian's signatures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Context, Result, fail};
use crate::workspace::{create_directory, target, write_whole};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org/debian";

/// A package as apt's index describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Its name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// SHA256 of its file.
    pub sha256: String,
}

impl Offered {
    /// How apt is asked for this version.
    #[must_use]
    pub fn exact(&self) -> String {
        format!("{}={}", self.package, self.version)
    }
}

/// apt with its own lists, caches and sources.
pub struct Apt {
    directory: PathBuf,
    configuration: PathBuf,
}

impl Apt {
    /// Writes its configuration.
    ///
    /// # Errors
    /// When Debian's signing keys are missing or the files cannot be written.
    pub fn prepare() -> Result<Self> {
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

    /// Fetches Debian's package lists.
    ///
    /// # Errors
    /// When there is no network.
    pub fn update(&self) -> Result<()> {
        run(self.command("apt-get").arg("update"))
            .context(|| "asking Debian for its package lists (is there a network?)".to_owned())
    }

    /// What Debian has of `packages`, each a name or `name=version`. What it does not have is left out.
    ///
    /// # Errors
    /// When apt cannot be run.
    pub fn show(&self, packages: &[String]) -> Result<Vec<Offered>> {
        let text = self
            .command("apt-cache")
            .arg("show")
            .args(packages)
            .output()
            .context(|| "starting apt-cache".to_owned())?;
        Ok(parse_index(&String::from_utf8_lossy(&text.stdout)))
    }

    /// Names in the `Depends:` of `package`.
    ///
    /// # Errors
    /// When Debian does not have it.
    pub fn depends(&self, package: &str) -> Result<Vec<String>> {
        let text = output(self.command("apt-cache").args(["show", package]))?;
        let lists = text
            .lines()
            .filter_map(|line| line.strip_prefix("Depends: "));
        let names = lists.flat_map(|list| list.split([',', ' ']));
        Ok(names.map(str::to_owned).collect())
    }

    /// `packages` and all that they depend on, as `name=version`, in the order of their names.
    ///
    /// # Errors
    /// When apt finds no way to install them.
    pub fn closure(&self, packages: &[&str]) -> Result<Vec<String>> {
        let text = output(
            self.command("apt-get")
                .args(["--simulate", "--no-install-recommends", "install"])
                .args(packages),
        )?;
        let mut names: Vec<_> = text.lines().filter_map(to_be_installed).collect();
        names.sort();
        Ok(names)
    }

    /// Downloads `packages` into an empty directory; returns their files in no certain order.
    ///
    /// # Errors
    /// When the network fails, or a file is not what was offered.
    pub fn download(&self, packages: &[Offered]) -> Result<Vec<PathBuf>> {
        let directory = self.directory.join("download");
        let _ = fs::remove_dir_all(&directory);
        create_directory(&directory)?;
        let exact = packages.iter().map(Offered::exact);
        run(self
            .command("apt-get")
            .args(["--quiet=2", "download"])
            .args(exact)
            .current_dir(&directory))?;
        let listing =
            fs::read_dir(&directory).context(|| format!("listing {}", directory.display()))?;
        let files: Vec<_> = listing.flatten().map(|entry| entry.path()).collect();
        if files.len() != packages.len() {
            return fail(format!(
                "apt-get download left {} files for {} packages",
                files.len(),
                packages.len()
            ));
        }
        for file in &files {
            let sum = sha256(file)?;
            if !packages.iter().any(|package| package.sha256 == sum) {
                return fail(format!("{}: SHA256 is {sum}", file.display()));
            }
        }
        Ok(files)
    }
}

/// Unpacks a package into `directory`.
///
/// # Errors
/// When it is damaged or the directory cannot be written.
pub fn extract(package: &Path, directory: &Path) -> Result<()> {
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .args([package, directory]))
}

/// The package in a line `Inst name (version origin [architecture])` of apt's simulation.
fn to_be_installed(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
    let version = rest.split_whitespace().next()?;
    Some(format!("{name}={version}"))
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

/// Runs a command that prints to the terminal.
///
/// # Errors
/// When it cannot be started or fails.
pub fn run(command: &mut Command) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_installation() {
        let line = "Inst libc6 (2.41-12 Debian:13.1/stable [arm64]) []";
        assert_eq!(to_be_installed(line).as_deref(), Some("libc6=2.41-12"));
        assert_eq!(to_be_installed("Conf libc6 (2.41-12 Debian)"), None);
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
