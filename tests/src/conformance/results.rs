// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one run on one machine showed, and its file: comments that say what ran, then TAP.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Context, Result};
use crate::machine::Hypervisor;
use crate::tap::{self, Line, Outcome};
use crate::workspace::target;

/// Where everything about conformance lies.
pub(super) fn directory() -> PathBuf {
    target("conformance")
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) hypervisor: Hypervisor,
    pub(super) machine: String,
    /// The hypervisor's banner.
    pub(super) version: String,
    /// QEMU's version.
    pub(super) qemu: String,
    /// Seconds since 1970.
    pub(super) time: u64,
    pub(super) lines: Vec<Line>,
}

impl Run {
    /// A run that has just ended, with the console's text.
    pub(super) fn of(
        hypervisor: Hypervisor,
        machine: &str,
        console: &str,
        lines: Vec<Line>,
    ) -> Result<Self> {
        let output = Command::new("qemu-system-aarch64")
            .arg("--version")
            .output();
        let output = output.context(|| "asking QEMU for its version".to_owned())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Self {
            hypervisor,
            machine: machine.to_owned(),
            version: banner(hypervisor, console),
            qemu: text.lines().next().unwrap_or("QEMU").to_owned(),
            time: now.map_or(0, |now| now.as_secs()),
            lines,
        })
    }

    fn file(hypervisor: Hypervisor, machine: &str) -> PathBuf {
        directory().join(format!("{hypervisor}-{machine}.tap"))
    }

    pub(super) fn path(&self) -> PathBuf {
        Self::file(self.hypervisor, &self.machine)
    }

    pub(super) fn to_text(&self) -> String {
        let Self {
            version,
            qemu,
            time,
            lines,
            ..
        } = self;
        let lines = tap::print(lines);
        format!("# version: {version}\n# qemu: {qemu}\n# time: {time}\n{lines}")
    }

    /// The latest run on a machine, if there was one that can be read.
    pub(super) fn load(hypervisor: Hypervisor, machine: &str) -> Result<Option<Self>> {
        let path = Self::file(hypervisor, machine);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).context(|| format!("reading {}", path.display()))?;
        Ok(Self::parse(hypervisor, machine, &text))
    }

    fn parse(hypervisor: Hypervisor, machine: &str, text: &str) -> Option<Self> {
        let field = |key: &str| {
            let prefix = format!("# {key}: ");
            text.lines().find_map(|line| line.strip_prefix(&prefix))
        };
        Some(Self {
            hypervisor,
            machine: machine.to_owned(),
            version: field("version")?.to_owned(),
            qemu: field("qemu")?.to_owned(),
            time: field("time")?.parse().ok()?,
            lines: tap::parse(text).ok()?,
        })
    }

    /// How the check of this name ended.
    pub(super) fn outcome(&self, name: &str) -> Option<&Outcome> {
        let line = self.lines.iter().find(|line| line.name == name);
        line.map(|line| &line.outcome)
    }
}

/// What a hypervisor says of its version.
fn banner(hypervisor: Hypervisor, console: &str) -> String {
    let (prefix, word) = match hypervisor {
        Hypervisor::Xen => ("(XEN) ", "Xen version "),
        Hypervisor::Xenolith => ("(XL) ", "Xenolith "),
    };
    let mut lines = console.lines().filter_map(|line| line.strip_prefix(prefix));
    let line = lines.find(|line| line.starts_with(word));
    line.map_or_else(|| hypervisor.to_string(), |line| line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_survives_its_file() {
        let run = Run {
            hypervisor: Hypervisor::Xen,
            machine: "gic3-smp1".to_owned(),
            version: "Xen version 4.20.4".to_owned(),
            qemu: "QEMU 10".to_owned(),
            time: 17,
            lines: vec![Line {
                name: "a/b".to_owned(),
                outcome: Outcome::Passed,
            }],
        };
        let back = Run::parse(Hypervisor::Xen, "gic3-smp1", &run.to_text());
        assert_eq!(back, Some(run));
    }

    #[test]
    fn finds_the_banner() {
        let console = "(XEN) [0] x\n(XEN) Xen version 4.20.4 (Debian)\n";
        assert_eq!(
            banner(Hypervisor::Xen, console),
            "Xen version 4.20.4 (Debian)"
        );
        assert_eq!(banner(Hypervisor::Xenolith, console), "xenolith");
    }
}
