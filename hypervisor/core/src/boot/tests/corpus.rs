// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real boards' trees, all that Debian's kernel package has: `make trees`. Each is read as at a boot, says what
//! it has and what it lacks, and gives dom0 a tree that dtc takes.
//!
//! `DTB_DIR`: where the trees are, else those of `target/debian`. `DTB_OUT`: dom0's trees are left there.

use super::broken::read_everything;
use super::*;
use crate::boot::dom0_mem::without;
use crate::boot::host_dt::{GicVersion, HostError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::string::{String, ToString};
use std::{env, format, fs, println, vec};

fn blobs(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            blobs(&path, found);
        } else if path.extension().is_some_and(|e| e == "dtb") {
            found.push(path);
        }
    }
}

fn directory() -> PathBuf {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/debian");
    env::var_os("DTB_DIR").map_or(PathBuf::from(target), PathBuf::from)
}

/// What a machine has, and what it lacks for a boot.
#[derive(Default)]
struct Report {
    has: Vec<String>,
    lacks: Vec<String>,
}

impl Report {
    fn of(host: &HostDt<'_>) -> Self {
        let mut report = Self::default();
        report.add(host.gic().map(|gic| match gic.version {
            GicVersion::V2 { .. } => format!("GICv2 at {}", gic.distributor.start),
            GicVersion::V3 { .. } => format!("GICv3 at {}", gic.distributor.start),
        }));
        let frames = host
            .all()
            .filter(|n| n.is_compatible(&["arm,gic-v2m-frame"]));
        match frames.count() {
            0 => {}
            n => report.has.push(format!("{n} GICv2m")),
        }
        report.add(host.timer().map(|_| "timer".into()));
        report.add(host.cpus().map(|cpus| {
            let mut names: Vec<_> = cpus.iter().map(|cpu| cpu.compatible).collect();
            names.sort_unstable();
            names.dedup();
            format!("{} CPUs ({})", cpus.len(), names.join(", "))
        }));
        report.add(host.memory_banks().map(|banks| {
            let mib = banks.iter().map(PaRange::size).sum::<u64>() >> 20;
            format!("{mib} MiB in {} banks", banks.len())
        }));
        match host.psci() {
            Some(psci) if psci.hvc => report.lacks.push("PSCI by SMC: it is by HVC".into()),
            Some(_) => report.has.push("PSCI".into()),
            None => report.lacks.push("PSCI".into()),
        }
        match host.uart(None) {
            Some(uart) if uart.is_driven() => {
                report.has.push(format!("PL011 at {}", uart.range.start));
            }
            Some(uart) => {
                let name = uart.node.compatible().last().unwrap_or("?");
                report
                    .lacks
                    .push(format!("a console that is driven: {name}"));
            }
            None => report.lacks.push("a console that is named".into()),
        }
        report
    }

    fn add(&mut self, found: Result<String, HostError>) {
        match found {
            Ok(has) => self.has.push(has),
            Err(error) => {
                let error = error.to_string();
                self.lacks.push(error.replace("device tree: ", ""));
            }
        }
    }
}

/// A bank for dom0, as ever apart from reserved memory. (Most trees leave it to firmware to say where RAM is.)
fn bank(host: &HostDt<'_>) -> PaRange {
    let ram = host
        .memory_banks()
        .unwrap_or(vec![range(0x8000_0000, 1 << 30)]);
    let reserved: Vec<_> = host.reserved_memory().iter().map(|r| r.range).collect();
    let free = without(&ram, &reserved);
    let largest = free.into_iter().max_by_key(PaRange::size);
    largest.unwrap_or(range(0xc000_0000, 1 << 20))
}

/// What dtc says of a tree that it cannot take.
fn dtc(blob: &[u8], at: &Path) -> Result<(), String> {
    fs::write(at, blob).unwrap();
    let mut command = Command::new("dtc");
    command.args(["-q", "-q", "-I", "dtb", "-O", "dtb", "-o", "/dev/null"]);
    let output = command.arg(at).output().expect("dtc is to be installed");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Where devices do DMA in dom0's tree as in the host's: what of it is coherent, and what reaches where.
fn same_dma(host: &HostDt<'_>, dom0: &[u8]) -> Result<(), String> {
    let tree = Tree::check(dom0).map_err(|error| error.to_string())?;
    let fdt = tree.fdt();
    let dom0 = HostDt::new(&tree, &fdt);
    let gic = host.gic_node().map(|gic| gic.id());
    for node in dom0.all() {
        let original = host.find(&node.path());
        // The interrupt controller is another one.
        let Some(original) = original.filter(|node| Some(node.id()) != gic) else {
            continue;
        };
        for name in ["dma-coherent", "dma-noncoherent", "dma-ranges"] {
            if node.property(name) != original.property(name) {
                return Err(format!("{}: {name} is another", node.path()));
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs Debian's kernel packages: make trees"]
fn corpus() {
    let mut paths = Vec::new();
    blobs(&directory(), &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no trees in {}", directory().display());
    let keep = env::var_os("DTB_OUT").map(PathBuf::from);
    let scratch = env::temp_dir().join(format!("xenolith-dom0-{}.dtb", std::process::id()));
    let mut lacks: BTreeMap<String, usize> = BTreeMap::new();
    let (mut complete, mut bad) = (0, Vec::new());
    for path in &paths {
        let name = path.file_name().unwrap().to_string_lossy().to_string();
        let blob = fs::read(path).unwrap();
        let tree = match Tree::check(&blob) {
            Ok(tree) => tree,
            Err(error) => {
                bad.push(format!("{name}: {error}"));
                continue;
            }
        };
        let fdt = tree.fdt();
        let host = HostDt::new(&tree, &fdt);
        read_everything(&host);
        let report = Report::of(&host);
        println!("{name}: {}", report.has.join(", "));
        if report.lacks.is_empty() {
            complete += 1;
        } else {
            println!("    lacks: {}", report.lacks.join("; "));
        }
        for lack in report.lacks {
            *lacks.entry(lack).or_default() += 1;
        }
        if let Some((dom0, _)) = dom0_of(&host, &[bank(&host)]) {
            let at = keep.as_ref().map(|dir| dir.join(format!("dom0-{name}")));
            if let Err(said) = dtc(&dom0, at.as_ref().unwrap_or(&scratch)) {
                bad.push(format!("{name}: dom0's tree: {said}"));
            }
            if let Err(said) = same_dma(&host, &dom0) {
                bad.push(format!("{name}: dom0's tree: {said}"));
            }
        }
    }
    let _ = fs::remove_file(&scratch);
    println!(
        "\n{} trees, {complete} lack nothing. Of the others so many lack:",
        paths.len()
    );
    for (lack, count) in lacks {
        println!("{count:5} {lack}");
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
