// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real boards' trees: `DTB_DIR=/usr/lib/linux-image-6.12 cargo test -p hv-core corpus -- --ignored --nocapture`.
//! With `DTB_OUT` set, dom0's tree of each is written there, for `dtc` to look at.

use super::broken::read_everything;
use super::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::{env, format, fs, println};

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

/// What a machine lacks for a boot.
fn missing(host: &HostDt<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    missing.extend(host.memory_banks().err().map(|e| e.to_string()));
    missing.extend(host.cpus().err().map(|e| e.to_string()));
    missing.extend(host.gic().err().map(|e| e.to_string()));
    missing.extend(host.timer().err().map(|e| e.to_string()));
    missing.extend(host.psci().is_none().then(|| "no PSCI".into()));
    missing.extend(host.uart(None).is_none().then(|| "no UART".into()));
    missing
}

#[test]
#[ignore = "needs DTB_DIR"]
fn corpus() {
    let mut paths = Vec::new();
    blobs(Path::new(&env::var("DTB_DIR").unwrap()), &mut paths);
    let mut lacks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in &paths {
        let name = path.file_name().unwrap().to_string_lossy().to_string();
        let blob = fs::read(path).unwrap();
        let tree = match Tree::check(&blob) {
            Ok(tree) => tree,
            Err(error) => {
                lacks.entry(error.to_string()).or_default().push(name);
                continue;
            }
        };
        let fdt = tree.fdt();
        let host = HostDt::new(&tree, &fdt);
        read_everything(&host);
        for lack in missing(&host) {
            lacks.entry(lack).or_default().push(name.clone());
        }
        if let (Ok(out), Some((dom0, _))) = (
            env::var("DTB_OUT"),
            dom0_of(&host, &[range(0x8000_0000, 1 << 30)]),
        ) {
            fs::write(Path::new(&out).join(format!("dom0-{name}")), dom0).unwrap();
        }
    }
    println!("{} trees", paths.len());
    for (lack, names) in lacks {
        println!(
            "{:5} {lack}: {:?}",
            names.len(),
            &names[..names.len().min(3)]
        );
    }
}
