// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names the functions and lines behind the addresses in a log of the hypervisor.
//!
//! The hypervisor writes addresses as offsets from its image's base, `+0x1234`: it runs wherever it was loaded.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Context, Result, fail};
use crate::machine::Hypervisor;

/// Copies standard input to standard output, with lines after each that holds offsets.
///
/// # Errors
/// When the ELF file or `addr2line` is missing.
pub fn filter() -> Result<()> {
    let elf = elf()?;
    for line in std::io::stdin().lock().lines() {
        let line = line.context(|| "reading standard input".to_owned())?;
        println!("{line}");
        for place in places(&elf, &line)? {
            println!("    {place}");
        }
    }
    Ok(())
}

/// The symbols of Xenolith's image: beside it, made by the same build.
///
/// # Errors
/// When there are none.
pub fn elf() -> Result<PathBuf> {
    let elf = Hypervisor::Xenolith.image()?.with_extension("elf");
    if elf.exists() {
        return Ok(elf);
    }
    fail(format!(
        "{} is missing: `make build` makes it",
        elf.display()
    ))
}

/// For each offset in `text`: itself, and the functions and lines there, inlined ones too.
///
/// # Errors
/// When `addr2line` is missing or cannot read `elf`.
pub fn places(elf: &Path, text: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for offset in offsets(text) {
        let output = Command::new("aarch64-linux-gnu-addr2line")
            .args(["--functions", "--inlines", "--pretty-print", "--demangle"])
            .arg("--exe")
            .arg(elf)
            .arg(format!("{offset:#x}"))
            .output()
            .context(|| "starting aarch64-linux-gnu-addr2line (`make deps`)".to_owned())?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return fail(format!("addr2line cannot read {}: {why}", elf.display()));
        }
        let names = String::from_utf8_lossy(&output.stdout);
        found.extend(names.lines().map(|name| format!("{offset:#x}: {name}")));
    }
    Ok(found)
}

fn offsets(line: &str) -> Vec<u64> {
    let mut rest = line;
    let mut found = Vec::new();
    while let Some((_, after)) = rest.split_once("+0x") {
        let end = after.find(|c: char| !c.is_ascii_hexdigit());
        let digits = &after[..end.unwrap_or(after.len())];
        found.extend(u64::from_str_radix(digits, 16));
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_found_in_text() {
        assert_eq!(offsets("pc +0x12f4 lr (+0xAB)"), [0x12f4, 0xab]);
        assert_eq!(offsets("x0 0x12 +0x"), [0; 0]);
    }
}
