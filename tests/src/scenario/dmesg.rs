// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0's kernel warns of nothing on Xenolith that it does not warn of on real Xen on the same machine.
//!
//! What it says on Xen is recorded in `tests/reference/dmesg/`, by `HV=xen RECORD=1`.

use std::collections::BTreeSet;
use std::fs;

use super::Stage;
use crate::dom0::Dom0;
use crate::error::{Context, Result, fail};
use crate::machine::Hypervisor;
use crate::workspace::{root, write_whole};

/// Warnings of the host's load, not of the hypervisor: an emulated CPU that is not run for a while.
const BUSY_HOST: &[&str] = &["hrtimer: interrupt took", "hogged CPU for"];

/// Compares dom0's warnings with the reference of this scenario, or records them.
pub(super) fn compare(stage: &Stage, dom0: &mut Dom0) -> Result<()> {
    // grep's status 1 means that there is not one warning.
    let text = dom0.run("dmesg -r | grep '^<[0-4]>' || true")?;
    let is_ours = |line: &&str| !BUSY_HOST.iter().any(|busy| line.contains(busy));
    let said: BTreeSet<_> = text.lines().filter(is_ours).map(normalised).collect();
    let path = root()
        .join("tests/reference/dmesg")
        .join(format!("{}.txt", stage.name));
    if stage.hypervisor == Hypervisor::Xen && std::env::var_os("RECORD").is_some() {
        let lines: String = said.iter().map(|line| format!("{line}\n")).collect();
        return write_whole(&path, lines.as_bytes());
    }
    let reference = fs::read_to_string(&path).context(|| {
        format!(
            "reading {} (`make boots HV=xen RECORD=1` records it)",
            path.display()
        )
    })?;
    let reference: BTreeSet<_> = reference.lines().map(str::to_owned).collect();
    let new: Vec<_> = said.difference(&reference).map(String::as_str).collect();
    if new.is_empty() {
        return Ok(());
    }
    let message = format!(
        "dom0's kernel warns of what it does not warn of on real Xen:\n    {}",
        new.join("\n    ")
    );
    fail(message)
}

/// Without level and time stamp, every number replaced by `#`: `<4>[    1.5] at 0x1f00` gives `at #`.
fn normalised(line: &str) -> String {
    let line = line.trim_start_matches(|c| c != '>');
    let line = line.trim_start_matches('>').trim_start();
    let text = match line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
    {
        Some((_, text)) => text,
        None => line,
    };
    let mut result = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        let is_number = word.starts_with(|c: char| c.is_ascii_digit())
            || (word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit()));
        result.push_str(if is_number { "#" } else { &word });
        word.clear();
        result.push(c);
    }
    result.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_do_not_matter() {
        assert_eq!(
            normalised("<4>[    1.234567] cacheinfo: CPU 3 at 0x1f00, 12ms dead00beef"),
            "cacheinfo: CPU # at #, # #"
        );
        assert_eq!(normalised("<3>no stamp"), "no stamp");
    }
}
