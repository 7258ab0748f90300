// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may use what: the crates' dependencies, and where machine code and `unsafe` may stand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// For each crate of the workspace, everything it may depend on. What is not named is not allowed.
const ALLOWED: &[(&str, &[&str])] = &[
    ("xen-abi", &["zerocopy"]),
    (
        "platform",
        &[
            "arm-pl011-uart",
            "arm-sysregs",
            "bitflags",
            "log",
            "safe-mmio",
            "smccc",
            "spin",
        ],
    ),
    (
        "hv-core",
        &[
            "aarch64-paging",
            "arm-psci",
            "bitflags",
            "buddy_system_allocator",
            "fdt",
            "log",
            "miniz_oxide",
            "spin",
            "xen-abi",
            "zerocopy",
        ],
    ),
    (
        "hypervisor",
        &[
            "aarch64-paging",
            "arm-psci",
            "arm-sysregs",
            "bitflags",
            "buddy_system_allocator",
            "fdt",
            "hv-core",
            "log",
            "platform",
            "smccc",
            "spin",
            "xen-abi",
            "zerocopy",
        ],
    ),
    ("guest-stub", &["fdt", "spin", "virtio-drivers", "xen-abi"]),
    ("tests", &[]),
];

/// Workspace crates that a crate's own tests may use on top.
const ALLOWED_IN_TESTS: &[(&str, &[&str])] = &[("tests", &["guest-stub", "hv-core", "xen-abi"])];

/// Crates whose sources are portable policy: no assembly, and `unsafe` only in the files of [`UNSAFE`].
const PORTABLE: &[&str] = &[
    "guest-stub/src/dma",
    "hypervisor/abi/src",
    "hypervisor/core/src",
];

/// The files of portable crates, tests apart, that may contain `unsafe`, and what for.
const UNSAFE: &[(&str, &str)] = &[
    (
        "hypervisor/core/src/call/page.rs",
        "a guest's page is seen through atomics while a reference holds it",
    ),
    (
        "hypervisor/core/src/domain/mod.rs",
        "the shared info page is seen through atomics",
    ),
    (
        "hypervisor/core/src/domain/vcpu.rs",
        "a vCPU's registers are shared by ownership of its run state",
    ),
    (
        "hypervisor/core/src/event/sim.rs",
        "a simulated domain's page is seen through atomics",
    ),
    (
        "hypervisor/core/src/fake.rs",
        "simulated RAM is shared as real RAM is",
    ),
    (
        "hypervisor/core/src/frame/setup.rs",
        "the frame table is made of raw memory",
    ),
    (
        "hypervisor/core/src/grant/copy.rs",
        "copies between pages that guests change meanwhile",
    ),
    (
        "hypervisor/core/src/grant/table.rs",
        "grant entries are atomics that a guest shares",
    ),
    (
        "hypervisor/core/src/guest/copy.rs",
        "copies to and from memory that a guest changes meanwhile",
    ),
    (
        "hypervisor/core/src/guest/shared.rs",
        "atomics in pages that a guest shares",
    ),
    (
        "hypervisor/core/src/p2m/entry.rs",
        "descriptors that the processor reads meanwhile",
    ),
    (
        "hypervisor/core/src/p2m/pool.rs",
        "a method that the page table crate's trait declares so",
    ),
];

#[test]
fn crates_depend_on_what_they_may() {
    let packages = workspace_packages();
    let names: Vec<_> = packages.iter().map(|p| text(p, "name")).collect();
    for package in &packages {
        let name = text(package, "name");
        let allowed = lookup(ALLOWED, name).unwrap_or_else(|| {
            panic!("crate {name} is not in the table ALLOWED: say what it may depend on")
        });
        let in_tests = lookup(ALLOWED_IN_TESTS, name).unwrap_or(&[]);
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = text(dependency, "name");
            let is_dev = dependency["kind"] == "dev";
            let is_allowed = if is_dev {
                !names.contains(&used) || in_tests.contains(&used) || allowed.contains(&used)
            } else {
                allowed.contains(&used)
            };
            assert!(
                is_allowed,
                "{name} must not depend on {used}: the table in tests/tests/layering.rs does not allow it"
            );
        }
    }
}

#[test]
fn every_crate_of_the_table_exists() {
    let packages = workspace_packages();
    for (name, _) in ALLOWED {
        let found = packages
            .iter()
            .any(|package| text(package, "name") == *name);
        assert!(found, "the table ALLOWED names {name}, which is no crate");
    }
}

#[test]
fn portable_crates_hold_no_machine_code() {
    for (file, source) in portable_sources() {
        for (number, line) in code_lines(&source) {
            let is_machine = ["core::arch", "asm!", "std::arch"]
                .iter()
                .any(|word| line.contains(word));
            assert!(
                !is_machine,
                "{file}:{number}: machine code belongs to the crate hypervisor"
            );
        }
    }
}

#[test]
fn unsafe_stands_only_where_it_is_listed() {
    for (file, source) in portable_sources() {
        if is_test(&file) || UNSAFE.iter().any(|(listed, _)| *listed == file) {
            continue;
        }
        for (number, line) in code_lines(&source) {
            assert!(
                !has_word(&line, "unsafe"),
                "{file}:{number}: `unsafe` in a file that tests/tests/layering.rs does not list"
            );
        }
    }
}

#[test]
fn listed_files_hold_unsafe() {
    let sources = portable_sources();
    for (listed, _) in UNSAFE {
        let found = sources.iter().any(|(file, source)| {
            file == listed && code_lines(source).any(|(_, line)| has_word(&line, "unsafe"))
        });
        assert!(
            found,
            "{listed} holds no `unsafe` any more: take it off the table UNSAFE"
        );
    }
}

#[test]
fn every_source_names_its_licence() {
    for directory in ["hypervisor", "platform", "guest-stub", "tests"] {
        for path in sources_below(&top().join(directory)) {
            let source = read(&path);
            assert!(
                source.starts_with("// SPDX-License-Identifier: MIT OR Apache-2.0\n"),
                "{}: the first line must name the licence",
                path.display()
            );
        }
    }
}

/// Whether `file` is a module of tests.
fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

fn lookup<'a>(table: &'a [(&str, &'a [&'a str])], name: &str) -> Option<&'a [&'a str]> {
    table
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, list)| *list)
}

fn workspace_packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(top())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    metadata["packages"].as_array().expect("a list").clone()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("")
}

fn top() -> PathBuf {
    tests::workspace::root()
}

/// Paths from the repository's top, and contents.
fn portable_sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for directory in PORTABLE {
        for path in sources_below(&top().join(directory)) {
            let name = path.strip_prefix(top()).unwrap_or(&path);
            found.push((name.display().to_string(), read(&path)));
        }
    }
    found
}

fn sources_below(directory: &Path) -> Vec<PathBuf> {
    let listing = fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("listing {}: {error}", directory.display()));
    let mut found = Vec::new();
    for path in listing.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(sources_below(&path));
        } else if path.extension().is_some_and(|e| e == "rs" || e == "S") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()))
}

/// Numbered lines without comments and without the text of strings.
fn code_lines(source: &str) -> impl Iterator<Item = (usize, String)> {
    let code = |line: &str| {
        let outside_strings: String = line.split('"').step_by(2).collect();
        outside_strings.split("//").next().unwrap_or("").to_owned()
    };
    (1..).zip(source.lines().map(code))
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|found| found == word)
}
