// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device tree of a machine, changed as source text.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context, Result, fail};
use crate::machine::{Board, Machine};
use crate::workspace::create_directory;

/// Writes the device tree that QEMU would give `machine` to `path`; that of a board as it is before QEMU adds to it.
///
/// # Errors
/// When QEMU does not make one.
pub fn dump(machine: &Machine, path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        create_directory(parent)?;
    }
    if let Board::Juno(juno) = machine.board {
        let tree = juno.tree()?;
        return fs::copy(&tree, path)
            .map(drop)
            .context(|| format!("copying {} to {}", tree.display(), path.display()));
    }
    let mut qemu = machine.command()?;
    let file = path.display().to_string().replace(',', ",,");
    qemu.arg("-machine").arg(format!("dumpdtb={file}"));
    run(&mut qemu).map(drop)
}

/// Writes that tree to `path`, with `edit` applied to its source.
///
/// # Errors
/// When QEMU does not make one, or what `edit` made does not compile.
pub fn edited(machine: &Machine, path: &Path, edit: impl Fn(&str) -> String) -> Result<()> {
    dump(machine, path)?;
    let source = run(dtc("dts").arg("--in-format=dtb").arg(path))?;
    let changed = edit(&source);
    if changed == source {
        return fail(format!("{}: the edit changes nothing", path.display()));
    }
    compile(&changed, path)
}

/// Writes the device tree of this source to `path`.
///
/// # Errors
/// When it does not compile.
pub fn compile(source: &str, path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        create_directory(parent)?;
    }
    let text = with_suffix(path, ".dts");
    fs::write(&text, source).context(|| format!("writing {}", text.display()))?;
    let mut compile = dtc("dtb");
    compile.arg("--in-format=dts").arg("--out").arg(path);
    run(compile.arg(&text)).map(drop)
}

/// Appends `nodes`, in source form; what they name again, with a path in `&{}`, they change.
#[must_use]
pub fn appended(source: &str, nodes: &str) -> String {
    format!("{source}\n{nodes}\n")
}

/// Adds an entry to the memory reservation block.
#[must_use]
pub fn reserving(source: &str, start: u64, size: u64) -> String {
    let entry = format!("/dts-v1/;\n/memreserve/ {start:#x} {size:#x};\n");
    source.replacen("/dts-v1/;\n", &entry, 1)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn dtc(format: &str) -> Command {
    let mut dtc = Command::new("dtc");
    dtc.args(["--quiet", "--quiet"]);
    dtc.arg(format!("--out-format={format}"));
    dtc
}

/// Runs `command` and returns its standard output.
fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .context(|| format!("starting {program} (`make deps` installs it)"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return fail(format!("{program}: {why}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
