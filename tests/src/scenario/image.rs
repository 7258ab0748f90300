// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the hypervisor's image must not contain: code that errata of Cortex-A53 make wrong (docs/errata.md). It runs on
//! every core.

use std::process::Command;

use super::{Scenario, Selection};
use crate::error::{Context, Result, fail};
use crate::workspace::target;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("image/a53-errata", Selection::Short, |_| a53_errata()).on_xenolith_alone()]
}

fn a53_errata() -> Result<()> {
    let elf = target("xenolith.elf");
    let mut objdump = Command::new("aarch64-linux-gnu-objdump");
    objdump.args(["--disassemble", "--no-show-raw-insn"]);
    let output = objdump.arg(&elf).output();
    let output = output.context(|| "starting aarch64-linux-gnu-objdump".to_owned())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let code: Vec<_> = text.lines().filter_map(instruction).collect();
    if code.len() < 10_000 {
        return fail(format!("{}: hardly any code", elf.display()));
    }
    let found = [
        (835_769, multiply_after_access(&code)),
        (843_419, adrp_at_the_end(&code)),
    ];
    for (erratum, places) in found {
        if let Some(first) = places.first() {
            let count = places.len();
            return fail(format!(
                "erratum {erratum} at {count} places, the first is {first:#x}"
            ));
        }
    }
    Ok(())
}

/// A line of objdump's: address, mnemonic, operands.
#[derive(Debug, Clone, Copy)]
struct Instruction<'a> {
    at: u64,
    name: &'a str,
    operands: &'a str,
}

fn instruction(line: &str) -> Option<Instruction<'_>> {
    let (at, code) = line.split_once(":\t")?;
    let at = u64::from_str_radix(at.trim(), 16).ok()?;
    let (name, operands) = code.split_once('\t').unwrap_or((code, ""));
    Some(Instruction { at, name, operands })
}

fn accesses_memory(code: Instruction<'_>) -> bool {
    let starts = ["ld", "st", "prfm", "swp", "cas"];
    starts.iter().any(|start| code.name.starts_with(start))
}

/// 835769: a 64-bit multiply-accumulate right after a load, store or prefetch.
fn multiply_after_access(code: &[Instruction<'_>]) -> Vec<u64> {
    let multiplies = ["madd", "msub", "smaddl", "smsubl", "umaddl", "umsubl"];
    code.windows(2)
        .filter(|pair| {
            pair[1].at == pair[0].at + 4
                && accesses_memory(pair[0])
                && multiplies.contains(&pair[1].name)
                && pair[1].operands.starts_with('x')
        })
        .map(|pair| pair[1].at)
        .collect()
}

/// 843419: ADRP in the last two words of a page, then a load or store, then, with at most one instruction between, one
/// with an immediate offset from the register that ADRP wrote.
fn adrp_at_the_end(code: &[Instruction<'_>]) -> Vec<u64> {
    let uses = |code: Instruction<'_>, register: &str| {
        accesses_memory(code) && code.operands.contains(&format!("[{register}"))
    };
    code.windows(4)
        .filter(|window| {
            let [adrp, access, third, fourth] = window else {
                return false;
            };
            let Some(register) = adrp.operands.split(',').next() else {
                return false;
            };
            adrp.name == "adrp"
                && adrp.at & 0xfff >= 0xff8
                && accesses_memory(*access)
                && (uses(*third, register) || uses(*fourth, register))
        })
        .map(|window| window[0].at)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Instruction<'_>> {
        text.lines().filter_map(instruction).collect()
    }

    #[test]
    fn what_is_wrong_is_found() {
        let code = read(
            "    7c544:\tldr\tw9, [x21, #4]\n    7c548:\tmadd\tx8, x26, x28, x24\n    7c54c:\tldr\tx0, [x1]\n    \
             7c550:\tmul\tx0, x1, x2\n",
        );
        assert_eq!(multiply_after_access(&code), [0x7c548]);
        let code = "8ff8:\tadrp\tx0, 1000 <a>\n8ffc:\tldr\tx1, [x2]\n9000:\tadd\tx3, x3, #1\n9004:\tstr\tx1, [x0, #8]\n";
        assert_eq!(adrp_at_the_end(&read(code)), [0x8ff8]);
        let harmless = code.replace("8ff8:\tadrp", "8ff0:\tadrp");
        assert_eq!(adrp_at_the_end(&read(&harmless)), []);
    }
}
