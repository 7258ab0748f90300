// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's U-Boot finds the script on a disk, or gets it by TFTP, and starts Xenolith by it, as on a board.

use std::fs;
use std::time::Duration;

use super::boot::inspect;
use super::{Scenario, Selection, Stage};
use crate::console::Console;
use crate::device_tree;
use crate::dom0::Dom0;
use crate::error::{Context, Result};
use crate::machine::{Entry, Gic, Machine, Payload, RAM};
use crate::uboot::{self, Board};

pub(super) fn scenarios() -> Vec<Scenario> {
    let case = |name, selection, gic, from| {
        Scenario::new(name, selection, move |stage| boots(stage, gic, from)).on_xenolith_alone()
    };
    use Selection::{Full, Short};
    vec![
        case("uboot/gic2-disk", Short, Gic::V2, From::Disk),
        case("uboot/gic3-disk", Full, Gic::V3, From::Disk),
        case("uboot/gic2-tftp", Full, Gic::V2, From::Tftp),
    ]
}

/// Where the files are.
#[derive(Debug, Clone, Copy)]
enum From {
    /// On the first partition of a disk, where U-Boot looks for a script by itself.
    Disk,
    /// On a server, of which it is told.
    Tftp,
}

/// What is typed for TFTP (docs/juno.md), after U-Boot tried the network by itself in vain.
const BY_TFTP: &str = "setenv devtype dhcp; setenv autoload no; dhcp; tftpboot ${scriptaddr} boot.scr; source ${scriptaddr}\n";
const PROMPT: Duration = Duration::from_secs(60);

fn boots(stage: &Stage, gic: Gic, from: From) -> Result<()> {
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
    let place = directory.display().to_string().replace(',', ",,");
    let mut dom0 = match from {
        From::Disk => {
            let drive = format!("if=none,id=boot,format=raw,readonly=on,file=fat:{place}");
            machine.attach("-drive", &drive);
            machine.attach("-device", "virtio-blk-pci,romfile=,drive=boot");
            stage.boot(&machine)?
        }
        From::Tftp => {
            machine.attach("-netdev", &format!("user,id=net,tftp={place}"));
            machine.attach("-device", "virtio-net-pci,romfile=,netdev=net");
            let mut console = Console::start(&machine, &stage.log())?;
            console.expect("Hit any key to stop autoboot", PROMPT)?;
            console.send("\n")?;
            console.expect("=> ", PROMPT)?;
            console.send(BY_TFTP)?;
            Dom0::of(console)?
        }
    };
    inspect(&mut dom0, &machine)?;
    dom0.power_off()?;
    fs::remove_dir_all(&directory).context(|| format!("removing {}", directory.display()))?;
    fs::remove_file(&tree).context(|| format!("removing {}", tree.display()))
}
