// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's U-Boot finds the script on a disk and starts Xenolith by it, as on a board.

use std::fs;

use super::boot::inspect;
use super::{Scenario, Selection, Stage};
use crate::device_tree;
use crate::error::{Context, Result};
use crate::machine::{Entry, Gic, Machine, Payload, RAM};
use crate::uboot::{self, Board};

pub(super) fn scenarios() -> Vec<Scenario> {
    let case = |selection, gic: Gic| {
        Scenario::new(format!("uboot/{gic}-disk"), selection, move |stage| {
            boots(stage, gic)
        })
        .on_xenolith_alone()
    };
    vec![
        case(Selection::Short, Gic::V2),
        case(Selection::Full, Gic::V3),
    ]
}

fn boots(stage: &Stage, gic: Gic) -> Result<()> {
    let mut machine = Machine {
        gic,
        // QEMU's tree is another one with firmware.
        entry: Entry::Firmware(uboot::for_virt()?),
        payload: Payload::Nothing,
        cpus: 2,
        ..stage.machine()
    };
    let tree = stage.file(".dtb");
    device_tree::dump(&machine, &tree)?;
    let board = Board {
        ram: RAM,
        trees: vec![tree.clone()],
        args: machine.hypervisor_command_line(),
        dom0_args: "console=hvc0 rdinit=/init harness".to_owned(),
    };
    let directory = stage.file(".boot");
    uboot::fill(&directory, &board)?;
    let disk = directory.display().to_string().replace(',', ",,");
    machine.attach(
        "-drive",
        &format!("if=none,id=boot,format=raw,readonly=on,file=fat:{disk}"),
    );
    machine.attach("-device", "virtio-blk-pci,romfile=,drive=boot");
    let mut dom0 = stage.boot(&machine)?;
    inspect(&mut dom0, &machine)?;
    dom0.power_off()?;
    fs::remove_dir_all(&directory).context(|| format!("removing {}", directory.display()))?;
    fs::remove_file(&tree).context(|| format!("removing {}", tree.display()))
}
