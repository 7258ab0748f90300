// SPDX-License-Identifier: MIT OR Apache-2.0
//! RAM in several pieces and with holes: dom0 gets as much as was asked for, and nothing that is reserved.

use super::boot::inspect;
use super::{Scenario, Selection, Stage};
use crate::device_tree::{appended, edited, reserving};
use crate::dom0::Dom0;
use crate::error::Result;
use crate::machine::Machine;

pub(super) fn scenarios() -> Vec<Scenario> {
    let size = |name, ram_mib, dom0_mib| {
        Scenario::new(name, Selection::Full, move |stage| {
            let machine = Machine {
                ram_mib,
                dom0_mib,
                ..stage.machine()
            };
            boots(stage, &machine).and_then(|mut dom0| dom0.power_off())
        })
    };
    vec![
        Scenario::new("memory/two-nodes", Selection::Full, two_nodes),
        Scenario::new("memory/reserved", Selection::Short, reserved),
        size("memory/dom0-256M", 1024, 256),
        size("memory/dom0-6G", 8192, 6144),
    ]
}

fn boots(stage: &Stage, machine: &Machine) -> Result<Dom0> {
    let mut dom0 = stage.boot(machine)?;
    inspect(&mut dom0, machine)?;
    Ok(dom0)
}

/// Two memory nodes in the tree; dom0 needs some of both.
fn two_nodes(stage: &Stage) -> Result<()> {
    let mut machine = Machine {
        ram_mib: 2048,
        dom0_mib: 1536,
        cpus: 2,
        ..stage.machine()
    };
    for node in 0..2 {
        machine.attach(
            "-object",
            &format!("memory-backend-ram,id=node{node},size=1G"),
        );
        machine.attach("-numa", &format!("node,cpus={node},memdev=node{node}"));
    }
    boots(stage, &machine)?.power_off()
}

/// A range that dom0 must not use as its RAM.
struct Reserved {
    start: u64,
    size: u64,
    /// A node below `/reserved-memory` with these properties; without, an entry of the reservation block.
    node: Option<&'static str>,
}

/// All in the one bank of 1 GiB.
const RESERVED: &[Reserved] = &[
    Reserved {
        start: 0x5000_0000,
        size: 0x20_0000,
        node: Some("no-map;"),
    },
    Reserved {
        start: 0x5234_5000,
        size: 0x3000,
        node: Some(""),
    },
    Reserved {
        start: 0x6000_0000,
        size: 0x100_0000,
        node: Some("no-map;"),
    },
    Reserved {
        start: 0x5800_0000,
        size: 0x1_0000,
        node: None,
    },
];

fn reserved(stage: &Stage) -> Result<()> {
    let mut machine = stage.machine();
    // As much as real Xen finds between them.
    machine.dom0_mib = 256;
    // The tree holds dom0's command line, too.
    machine.dom0_args = "harness".to_owned();
    let tree = stage.file(".dtb");
    edited(&machine, &tree, with_reservations)?;
    machine.attach("-dtb", &tree.display().to_string());
    let mut dom0 = boots(stage, &machine)?;
    for range in RESERVED.iter().filter(|range| range.node.is_some()) {
        dom0.run(&format!(
            "ls -d /proc/device-tree/reserved-memory/area@{:x}",
            range.start
        ))?;
    }
    let iomem = dom0.run("cat /proc/iomem")?;
    let used = RESERVED
        .iter()
        .find(|range| uses(&iomem, range.start, range.start + range.size));
    if let Some(Reserved { start, size, .. }) = used {
        let message = format!("dom0 uses the reserved {start:#x}+{size:#x}:\n{iomem}");
        return Err(dom0.console.failure(&message));
    }
    // Writing to most of what dom0 has hurts nothing.
    dom0.run("mount -o remount,size=90% /tmp")?;
    dom0.run("dd if=/dev/zero of=/tmp/a bs=1M count=100 2>&1 && rm /tmp/a")?;
    dom0.power_off()
}

fn with_reservations(source: &str) -> String {
    let mut nodes = String::new();
    let mut source = source.to_owned();
    for Reserved { start, size, node } in RESERVED {
        match node {
            Some(more) => nodes.push_str(&format!(
                "area@{start:x} {{ reg = <0 {start:#x} 0 {size:#x}>; {more} }};\n"
            )),
            None => source = reserving(&source, *start, *size),
        }
    }
    let cells = "#address-cells = <2>; #size-cells = <2>; ranges;";
    let node = format!("/ {{ reserved-memory {{ {cells}\n{nodes} }}; }};");
    appended(&source, &node)
}

/// Whether any of `start..end` is system RAM in `/proc/iomem` without being reserved there as a whole.
fn uses(iomem: &str, start: u64, end: u64) -> bool {
    let ranges = |name: &'static str| {
        iomem.lines().filter_map(move |line| {
            let (range, what) = line.split_once(" : ")?;
            let (first, last) = range.trim().split_once('-')?;
            let number = |text| u64::from_str_radix(text, 16).ok();
            (what == name).then_some((number(first)?, number(last)?.checked_add(1)?))
        })
    };
    let is_ram = ranges("System RAM").any(|(first, next)| first < end && start < next);
    let is_reserved = ranges("reserved").any(|(first, next)| first <= start && end <= next);
    is_ram && !is_reserved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ram_is_not_used() {
        let iomem = "40000000-4fffffff : System RAM\n  41000000-41ffffff : reserved\n";
        assert!(uses(iomem, 0x4f00_0000, 0x5000_0000));
        assert!(!uses(iomem, 0x4100_0000, 0x4200_0000));
        assert!(!uses(iomem, 0x5000_0000, 0x5100_0000));
    }
}
