// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Xenolith cannot run on or with it refuses with a message that says so, and does nothing more.

use std::thread;
use std::time::Duration;

use super::{Scenario, Selection, Stage};
use crate::console::Console;
use crate::device_tree::{appended, dump, edited};
use crate::error::{Context, Result};
use crate::machine::{Entry, Machine, Payload, RAM, raw_loader};
use crate::noise::noise;
use crate::trampoline;
use crate::workspace::write_whole;

const MESSAGE: Duration = Duration::from_secs(30);
/// Time in which nothing more may come.
const SILENCE: Duration = Duration::from_secs(1);

/// Where Xenolith is put when QEMU's boot loader does not choose, and where other files go: above QEMU's device tree.
const XENOLITH: u32 = 0x4a20_0000;
const DATA: u32 = 0x4b00_0000;

/// A machine that must be refused, and what the console must then say.
struct Refusal {
    name: &'static str,
    spoil: fn(&Stage, &mut Machine) -> Result<()>,
    /// What stands after "Xenolith cannot start: ".
    message: &'static str,
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        name: "refusal/no-kernel",
        spoil: |_, machine| {
            machine.payload = Payload::Nothing;
            Ok(())
        },
        message: "no kernel for dom0",
    },
    Refusal {
        name: "refusal/not-a-kernel",
        spoil: |stage, machine| {
            let image = stage.file(".img");
            write_whole(&image, &noise(5, 1 << 16))?;
            machine.payload = Payload::Image(image);
            Ok(())
        },
        message: "dom0's kernel, /chosen/module@0x42000000: ",
    },
    Refusal {
        name: "refusal/too-little-ram",
        spoil: |_, machine| {
            (machine.ram_mib, machine.dom0_mib) = (256, 512);
            Ok(())
        },
        message: "dom0: of its 524288 KiB, 131072 KiB in one piece, aligned to that, are not free",
    },
    Refusal {
        name: "refusal/too-little-for-kernel",
        spoil: |_, machine| {
            machine.dom0_mib = 16;
            Ok(())
        },
        message: "dom0: kernel and modules do not fit any of its banks",
    },
    Refusal {
        name: "refusal/el1",
        spoil: |_, machine| {
            machine.el2 = false;
            Ok(())
        },
        message: "entered at EL1, but a hypervisor needs EL2",
    },
    Refusal {
        name: "refusal/el3",
        spoil: enter_at_el3,
        message: "entered at EL3, but a hypervisor needs EL2",
    },
    Refusal {
        name: "refusal/no-device-tree",
        spoil: |_, machine| {
            machine.payload = Payload::Nothing;
            machine.entry = Entry::Reset {
                address: XENOLITH,
                start: XENOLITH,
            };
            Ok(())
        },
        message: "no device tree: x0 was 0",
    },
    Refusal {
        name: "refusal/misaligned-device-tree",
        spoil: |stage, machine| enter_with(stage, machine, u64::from(DATA) + 4),
        message: "no device tree at 0x4b000004, where x0 points",
    },
    Refusal {
        name: "refusal/far-device-tree",
        spoil: |stage, machine| enter_with(stage, machine, 0xdead_beef_0000_0000),
        message: "no device tree at 0xdeadbeef00000000, where x0 points",
    },
    Refusal {
        name: "refusal/blank-device-tree",
        spoil: |stage, machine| enter_with(stage, machine, DATA.into()),
        message: "no device tree at 0x4b000000, where x0 points: magic 0x0",
    },
    Refusal {
        name: "refusal/device-tree-nowhere",
        spoil: |stage, machine| enter_with(stage, machine, 0x2000_0000),
        message: "no device tree at 0x20000000, where x0 points",
    },
    Refusal {
        name: "refusal/endless-device-tree",
        spoil: |stage, machine| enter_with_tree(stage, machine, |tree| tree[4] = 0x7f),
        message: "the device tree at 0x4b000000 has ",
    },
    Refusal {
        name: "refusal/broken-device-tree",
        spoil: |stage, machine| {
            // A token that there is none of, in place of the root's first.
            enter_with_tree(stage, machine, |tree| {
                let offset = [8, 9, 10, 11].map(|at| tree[at]);
                let structure = u32::from_be_bytes(offset) as usize;
                tree[structure + 3] = 0x77;
            })
        },
        message: "the device tree at 0x4b000000 is broken: ",
    },
    Refusal {
        name: "refusal/unknown-gic",
        spoil: |stage, machine| {
            edit_tree(stage, machine, |source| {
                source.replace("\"arm,gic-v3\"", "\"acme,gic-9000\"")
            })
        },
        message: "device tree: interrupt controller \"acme,gic-9000\" not known; Xenolith drives GICv2 ",
    },
    Refusal {
        name: "refusal/no-timer",
        spoil: |stage, machine| {
            edit_tree(stage, machine, |source| {
                appended(source, "&{/timer} { compatible = \"acme,clock\"; };")
            })
        },
        message: "device tree: no generic timer",
    },
    Refusal {
        name: "refusal/module-outside-ram",
        spoil: |stage, machine| {
            edit_tree(stage, machine, |source| {
                appended(
                    source,
                    "&{/chosen/module@0x42000000} { reg = <0 0x92000000 0 0x2000000>; };",
                )
            })
        },
        message: "/chosen/module@0x42000000: ",
    },
];

pub(super) fn scenarios() -> Vec<Scenario> {
    REFUSALS
        .iter()
        .map(|refusal| {
            let judge = |stage: &Stage| refuses(stage, refusal);
            Scenario::new(refusal.name, Selection::Short, judge).on_xenolith_alone()
        })
        .collect()
}

/// What comes after a refusal.
const ENDS: [&str; 2] = [
    "(XL) Rebooting",
    "(XL) halted: there is no PSCI yet to reboot with",
];

fn refuses(stage: &Stage, refusal: &Refusal) -> Result<()> {
    let mut machine = stage.machine();
    (refusal.spoil)(stage, &mut machine)?;
    let mut console = Console::start(&machine, &stage.log())?;
    let message = format!("(XL) **** Xenolith cannot start: {}", refusal.message);
    console.expect(&message, MESSAGE)?;
    console.expect("\n", MESSAGE)?;
    thread::sleep(SILENCE);
    let after = console.rest();
    // The line may be on its way.
    match after.trim() {
        more if ENDS.iter().any(|end| end.starts_with(more)) => Ok(()),
        more => Err(console.failure(&format!("after the refusal came: {more}"))),
    }
}

/// Enters Xenolith with `x0` in place of the device tree's address.
fn enter_with(stage: &Stage, machine: &mut Machine, x0: u64) -> Result<()> {
    let image = stage.file(".img");
    let program = trampoline::enter_with(x0, XENOLITH);
    write_whole(&image, &trampoline::image(&program))?;
    machine.entry = Entry::Program {
        image,
        address: XENOLITH,
    };
    Ok(())
}

/// Enters Xenolith with a device tree that was spoilt after it was made.
fn enter_with_tree(stage: &Stage, machine: &mut Machine, spoil: fn(&mut [u8])) -> Result<()> {
    let path = stage.file(".dtb");
    dump(machine, &path)?;
    let mut tree = std::fs::read(&path).context(|| format!("reading {}", path.display()))?;
    spoil(&mut tree);
    write_whole(&path, &tree)?;
    enter_with(stage, machine, DATA.into())?;
    machine.attach("-device", &raw_loader(&path, DATA)?);
    Ok(())
}

/// Boots with QEMU's device tree changed by `edit`.
fn edit_tree(stage: &Stage, machine: &mut Machine, edit: fn(&str) -> String) -> Result<()> {
    let path = stage.file(".dtb");
    edited(machine, &path, edit)?;
    machine.attach("-dtb", &path.display().to_string());
    Ok(())
}

/// Out of reset at EL3, as firmware is, but with a device tree.
fn enter_at_el3(stage: &Stage, machine: &mut Machine) -> Result<()> {
    let program = stage.file(".bin");
    let code = trampoline::enter_with(RAM.into(), XENOLITH);
    write_whole(&program, &trampoline::bytes(&code))?;
    machine.payload = Payload::Nothing;
    machine.entry = Entry::Reset {
        address: XENOLITH,
        start: DATA,
    };
    machine.attach("-device", &raw_loader(&program, DATA)?);
    machine.attach("-machine", "secure=on");
    Ok(())
}
