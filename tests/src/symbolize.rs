// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names the functions and lines behind the addresses in a log of the hypervisor.
//!
//! The hypervisor writes addresses as offsets from its image's base, `+0x1234`: it runs wherever it was loaded.

use std::io::BufRead;
use std::process::Command;

use crate::error::{Context, Result, fail};
use crate::workspace::target;

/// Copies standard input to standard output, with a line after each that holds an offset.
///
/// # Errors
/// When the ELF file or `addr2line` is missing.
pub fn filter() -> Result<()> {
    let elf = target("xenolith.elf");
    if !elf.exists() {
        return fail(format!(
            "{} is missing: `make build` makes it",
            elf.display()
        ));
    }
    for line in std::io::stdin().lock().lines() {
        let line = line.context(|| "reading standard input".to_owned())?;
        println!("{line}");
        for offset in offsets(&line) {
            let output = Command::new("aarch64-linux-gnu-addr2line")
                .args(["--functions", "--inlines", "--pretty-print", "--demangle"])
                .arg("--exe")
                .arg(&elf)
                .arg(format!("{offset:#x}"))
                .output()
                .context(|| "starting aarch64-linux-gnu-addr2line (`make deps`)".to_owned())?;
            for place in String::from_utf8_lossy(&output.stdout).lines() {
                println!("    {offset:#x}: {place}");
            }
        }
    }
    Ok(())
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
