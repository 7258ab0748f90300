// SPDX-License-Identifier: MIT OR Apache-2.0
//! `tests/abi-ledger.json` says of every hypercall and operation of Xen 4.20's public headers what Xenolith does with it
//! and which checks of the guest stub's suite show it. These tests keep it true: the checks it names are in the suite,
//! each operation that `hypervisor/abi` knows is in it, and its differences are the suite's.
//!
//! A check is named in full, or by its beginning and `*`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tests::conformance::checks::{Check, Known, read};
use tests::conformance::image;
use tests::workspace::root;

/// Files of `hypervisor/abi/src`, the hypercall whose operations they hold, and how the names of those begin.
const OPERATIONS: &[(&str, &str, &str)] = &[
    ("platform", "platform_op", "XENPF_"),
    ("memory", "memory_op", "XENMEM_"),
    ("version", "xen_version", "XENVER_"),
    ("console", "console_io", "CONSOLEIO_"),
    ("grant", "grant_table_op", "GNTTABOP_"),
    ("vcpu", "vcpu_op", "VCPUOP_"),
    ("sched", "sched_op", "SCHEDOP_"),
    ("event", "event_channel_op", "EVTCHNOP_"),
    ("physdev", "physdev_op", "PHYSDEVOP_"),
    ("hvm", "hvm_op", "HVMOP_"),
    ("sysctl", "sysctl", "XEN_SYSCTL_"),
    ("domctl", "domctl", "XEN_DOMCTL_"),
    ("hypfs", "hypfs_op", "XEN_HYPFS_OP_"),
];

/// Names that begin so and are no operations.
const NOT_OPERATIONS: &[&str] = &[
    "GNTTABOP_CMD_MASK",
    "SCHEDOP_POLL_MAX_PORTS",
    "XENMEM_RDM_",
    "XENMEM_RESOURCE_",
    "XEN_DOMCTL_CDF_",
    "XEN_DOMCTL_CONFIG_",
    "XEN_DOMCTL_DEV_",
    "XEN_DOMCTL_GRANT_VERSION_MASK",
    "XEN_DOMCTL_INTERFACE_VERSION",
    "XEN_DOMCTL_SCHEDOP_",
    "XEN_DOMCTL_VUART_OP_INIT",
    "XEN_DOMCTL_VUART_TYPE_",
    "XEN_SYSCTL_CPUPOOL_OP_",
    "XEN_SYSCTL_CPUPOOL_PAR_",
    "XEN_SYSCTL_INTERFACE_VERSION",
    "XEN_SYSCTL_PHYSCAP_",
    "XEN_SYSCTL_SCHEDOP_",
    "XEN_SYSCTL_SCHED_RATELIMIT_",
];

/// One operation, or a hypercall without any.
struct Entry {
    hypercall: String,
    name: String,
    number: u64,
    value: Value,
}

fn ledger() -> Value {
    let path = root().join("tests/abi-ledger.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn text(value: &Value, key: &str) -> String {
    let text = value[key].as_str();
    text.unwrap_or_else(|| panic!("no {key} in {value}"))
        .to_owned()
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for call in list(&ledger(), "hypercalls") {
        let hypercall = text(call, "hypercall");
        let operations = list(call, "operations");
        let alone = std::slice::from_ref(call);
        for value in if operations.is_empty() {
            alone
        } else {
            operations
        } {
            entries.push(Entry {
                hypercall: hypercall.clone(),
                name: value["name"].as_str().unwrap_or(&hypercall).to_owned(),
                number: value["number"].as_u64().unwrap(),
                value: value.clone(),
            });
        }
    }
    entries
}

/// The suite's checks, of the stub as it is in the sources.
fn suite() -> &'static [Check] {
    static SUITE: OnceLock<Vec<Check>> = OnceLock::new();
    SUITE.get_or_init(|| {
        let built = Command::new(root().join("scripts/build.sh"))
            .arg("guest-stub")
            .status();
        assert!(built.unwrap().success(), "the guest stub is not built");
        read(&image()).unwrap()
    })
}

fn is_named(name: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

#[test]
fn the_checks_it_names_are_in_the_suite() {
    let mut missing = Vec::new();
    for entry in entries() {
        for pattern in list(&entry.value, "checks") {
            let pattern = pattern.as_str().unwrap();
            if !suite().iter().any(|check| is_named(&check.name, pattern)) {
                missing.push(format!("{}: {pattern}", entry.name));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_state_is_one_and_is_shown() {
    for entry in entries() {
        let what = format!("{} of {}", entry.name, entry.hypercall);
        match text(&entry.value, "state").as_str() {
            "implemented" => {}
            "refused" => drop(text(&entry.value, "errno")),
            "differs" => {
                text(&entry.value, "reason");
                continue;
            }
            state => panic!("{what} is {state}"),
        }
        let checks = list(&entry.value, "checks");
        assert!(!checks.is_empty(), "no check shows {what}");
    }
}

/// What the hypervisor refuses as it refuses any number it does not know, it does not name.
#[test]
fn what_is_not_there_is_not_in_the_source() {
    let mut words = BTreeSet::new();
    collect_words(&root().join("hypervisor/core/src/call"), &mut words);
    let unknown =
        |entry: &Entry| matches!(entry.value["errno"].as_str(), Some("ENOSYS" | "EINVAL"));
    let named: Vec<_> = entries()
        .into_iter()
        .filter(|entry| unknown(entry) && words.contains(&entry.name.to_uppercase()))
        .map(|entry| entry.name)
        .collect();
    assert!(named.is_empty(), "refused, but in the source: {named:?}");
}

/// The words of the source files below `folder` that are no tests.
fn collect_words(folder: &Path, words: &mut BTreeSet<String>) {
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.ends_with("tests") {
            continue;
        }
        if path.is_dir() {
            collect_words(&path, words);
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let split = source.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.extend(split.map(str::to_owned));
    }
}

#[test]
fn no_operation_stands_in_it_twice() {
    let mut seen = BTreeSet::new();
    for Entry {
        hypercall, number, ..
    } in entries()
    {
        assert!(
            seen.insert((hypercall.clone(), number)),
            "{hypercall} {number}"
        );
    }
}

#[test]
fn every_operation_of_the_abi_is_in_it() {
    let known: BTreeMap<_, _> = entries()
        .into_iter()
        .map(|entry| ((entry.hypercall, entry.number), entry.name))
        .collect();
    let mut found = 0;
    for (file, hypercall, prefix) in OPERATIONS {
        let path = root().join(format!("hypervisor/abi/src/{file}.rs"));
        for (name, number) in constants(&fs::read_to_string(path).unwrap(), prefix) {
            let entry = known.get(&((*hypercall).to_owned(), number));
            let spelled = entry.map(|entry| entry.to_uppercase());
            assert_eq!(spelled.as_ref(), Some(&name), "{hypercall} {number}");
            found += 1;
        }
    }
    assert!(found > 200, "only {found} operations were found in the ABI");
}

/// `pub const NAME: u32 = NUMBER;` of names that begin so.
fn constants(source: &str, prefix: &str) -> Vec<(String, u64)> {
    let parse = |line: &str| {
        let (name, rest) = line.strip_prefix("pub const ")?.split_once(": u32 = ")?;
        let number = rest.strip_suffix(';')?.parse().ok()?;
        let wanted =
            name.starts_with(prefix) && !NOT_OPERATIONS.iter().any(|other| name.starts_with(other));
        wanted.then(|| (name.to_owned(), number))
    };
    source.lines().filter_map(parse).collect()
}

#[test]
fn its_differences_are_those_of_the_suite() {
    let mut suite_says = BTreeSet::new();
    for check in suite() {
        for (on, known) in [("xen", &check.on_xen), ("xenolith", &check.on_xenolith)] {
            let (kind, reason) = match known {
                Known::Passes => continue,
                Known::Differs(reason) => ("differs", reason),
                Known::Hangs(reason) => ("hangs", reason),
            };
            suite_says.insert([&check.name, on, kind, reason].map(str::to_owned));
        }
    }
    let ledger_says: BTreeSet<_> = list(&ledger(), "differences")
        .iter()
        .map(|entry| ["check", "on", "kind", "reason"].map(|key| text(entry, key)))
        .collect();
    assert_eq!(ledger_says, suite_says);
}

#[test]
fn there_are_five_hundred_checks() {
    assert!(suite().len() >= 500, "{} checks", suite().len());
}
