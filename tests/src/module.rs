// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds kernel modules and what they depend on, without `depmod`: Debian's package carries no `modules.dep`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Context, Result, fail};

/// One module, ready to be put into an initramfs.
pub struct Module {
    /// Name with underscores, as `lsmod` shows it.
    pub name: String,
    /// The ELF object, decompressed.
    pub object: Vec<u8>,
}

/// Loads `wanted` and their dependencies from the tree under `directory`, in the order in which they must be inserted.
/// A name without a file is taken for one that this kernel has built in.
///
/// # Errors
/// An unreadable or malformed module, or a circle of dependencies.
pub fn load_in_order(directory: &Path, wanted: &[&str]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    index(directory, &mut files)?;
    let mut ordered = Vec::new();
    for name in wanted {
        visit(&canonical(name), &files, &mut ordered, 0)?;
    }
    Ok(ordered)
}

fn visit(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    ordered: &mut Vec<Module>,
    depth: usize,
) -> Result<()> {
    let Some(path) = files.get(name) else {
        return Ok(());
    };
    if ordered.iter().any(|module| module.name == name) {
        return Ok(());
    }
    if depth > 16 {
        return fail(format!(
            "kernel module {name}: dependencies run in a circle"
        ));
    }
    let object = read(path)?;
    for dependency in dependencies(&object).context(|| format!("{}", path.display()))? {
        visit(&dependency, files, ordered, depth + 1)?;
    }
    ordered.push(Module {
        name: name.to_owned(),
        object,
    });
    Ok(())
}

fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

fn index(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let listing = fs::read_dir(directory).context(|| format!("listing {}", directory.display()))?;
    for entry in listing {
        let path = entry
            .context(|| format!("listing {}", directory.display()))?
            .path();
        if path.is_dir() {
            index(&path, files)?;
            continue;
        }
        let file_name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let stem = file_name.trim_end_matches(".xz");
        if let Some(name) = stem.strip_suffix(".ko") {
            files.insert(canonical(name), path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|e| e == "xz") {
        let output = Command::new("xz")
            .args(["--decompress", "--stdout"])
            .arg(path)
            .output()
            .context(|| "starting xz (`make deps` installs it)".to_owned())?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return fail(format!("xz cannot unpack {}: {why}", path.display()));
        }
        return Ok(output.stdout);
    }
    fs::read(path).context(|| format!("reading {}", path.display()))
}

/// Names from the `depends=` and `softdep=pre:` strings of a module's `.modinfo`.
fn dependencies(object: &[u8]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let modinfo = modinfo(object)?;
    for entry in modinfo.split(|byte| *byte == 0) {
        let entry = String::from_utf8_lossy(entry);
        if let Some(list) = entry.strip_prefix("depends=") {
            names.extend(list.split(',').filter(|n| !n.is_empty()).map(canonical));
        } else if let Some(list) = entry.strip_prefix("softdep=pre:") {
            let before = list.split("post:").next().unwrap_or("");
            names.extend(before.split_whitespace().map(canonical));
        }
    }
    Ok(names)
}

/// The `.modinfo` section of a little-endian ELF64 object.
fn modinfo(object: &[u8]) -> Result<&[u8]> {
    let found = find_section(object, b".modinfo");
    match found {
        Some(section) => Ok(section),
        None => fail("not an ELF64 kernel module with a .modinfo section"),
    }
}

fn find_section<'a>(object: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    if object.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let table = usize::try_from(number(object, 0x28, 8)?).ok()?;
    let entry_size = usize::try_from(number(object, 0x3a, 2)?).ok()?;
    let count = usize::try_from(number(object, 0x3c, 2)?).ok()?;
    let names_index = usize::try_from(number(object, 0x3e, 2)?).ok()?;
    let section = |index: usize| {
        let header = table.checked_add(index.checked_mul(entry_size)?)?;
        let offset = usize::try_from(number(object, header.checked_add(0x18)?, 8)?).ok()?;
        let size = usize::try_from(number(object, header.checked_add(0x20)?, 8)?).ok()?;
        object.get(offset..offset.checked_add(size)?)
    };
    let names = section(names_index)?;
    (0..count).find_map(|index| {
        let header = table.checked_add(index.checked_mul(entry_size)?)?;
        let name_at = usize::try_from(number(object, header, 4)?).ok()?;
        let name = names.get(name_at..)?.split(|byte| *byte == 0).next()?;
        (name == wanted).then(|| section(index)).flatten()
    })
}

fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(size)?)?;
    Some(
        field
            .iter()
            .rev()
            .fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF64 with a name table (section 0) and `.modinfo` (section 1).
    fn object(modinfo: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0";
        let mut elf = vec![0_u8; 64];
        elf[..5].copy_from_slice(b"\x7fELF\x02");
        let names_at = elf.len();
        elf.extend_from_slice(names);
        let info_at = elf.len();
        elf.extend_from_slice(modinfo);
        let table = elf.len();
        for (name, at, len) in [(0_u32, names_at, names.len()), (1, info_at, modinfo.len())] {
            let mut header = [0_u8; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(at as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(len as u64).to_le_bytes());
            elf.extend_from_slice(&header);
        }
        elf[0x28..0x30].copy_from_slice(&(table as u64).to_le_bytes());
        elf[0x3a..0x3c].copy_from_slice(&64_u16.to_le_bytes());
        elf[0x3c..0x3e].copy_from_slice(&2_u16.to_le_bytes());
        elf
    }

    #[test]
    fn reads_hard_and_soft_dependencies() {
        let elf = object(b"license=GPL\0depends=nvme-core,t10-pi\0softdep=pre: crc32c post: x\0");
        let names = dependencies(&elf).expect("well formed");
        assert_eq!(names, ["nvme_core", "t10_pi", "crc32c"]);
    }

    #[test]
    fn no_dependencies_is_an_empty_list() {
        let elf = object(b"depends=\0name=t10_pi\0");
        assert_eq!(dependencies(&elf).expect("well formed"), [""; 0]);
    }

    #[test]
    fn garbage_is_refused() {
        assert!(dependencies(b"not a module").is_err());
        let mut elf = object(b"depends=a\0");
        elf.truncate(80);
        assert!(dependencies(&elf).is_err());
    }
}
