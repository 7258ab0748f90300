// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0 boots on a matrix of machines, sees its CPUs and memory, says nothing new in dmesg, and ends in every way.

use super::dmesg;
use super::{Scenario, Selection, Stage};
use crate::dom0::{Dom0, END};
use crate::error::{Result, fail};
use crate::machine::{Cpu, Gic, Kernel, Machine, Payload};
use crate::pairwise::covering_array;

// Within each setting the value that most depends on the rest comes first: the short selection is the first rows.
const KERNELS: [Kernel; 2] = [Kernel::V6_12, Kernel::V6_1];
const GICS: [Gic; 2] = [Gic::V3, Gic::V2];
const CPUS: [u32; 4] = [2, 4, 1, 8];
const MODELS: [Cpu; 3] = [Cpu::A72, Cpu::A53, Cpu::Max];
const RAM_GIB: [u32; 3] = [1, 3, 8];

/// How many of the matrix's rows `make test` boots.
const SHORT_ROWS: usize = 4;

pub(super) fn scenarios() -> Vec<Scenario> {
    let sizes = [
        KERNELS.len(),
        GICS.len(),
        CPUS.len(),
        MODELS.len(),
        RAM_GIB.len(),
    ];
    let rows = covering_array(&sizes).into_iter().enumerate();
    let matrix = rows.map(|(index, row)| {
        let selection = if index < SHORT_ROWS {
            Selection::Short
        } else {
            Selection::Full
        };
        boots(
            selection,
            KERNELS[row[0]],
            GICS[row[1]],
            CPUS[row[2]],
            MODELS[row[3]],
            RAM_GIB[row[4]],
        )
    });
    matrix
        .chain([
            Scenario::new("reboot/gic3", Selection::Short, |stage| {
                reboots(stage, Gic::V3)
            }),
            Scenario::new("reboot/gic2", Selection::Full, |stage| {
                reboots(stage, Gic::V2)
            }),
            Scenario::new("reboot/ends-qemu", Selection::Full, reboot_ends_qemu),
        ])
        .collect()
}

fn boots(
    selection: Selection,
    kernel: Kernel,
    gic: Gic,
    cpus: u32,
    cpu: Cpu,
    gib: u32,
) -> Scenario {
    let name = format!("boot/{kernel}-{gic}-smp{cpus}-{cpu}-{gib}G");
    Scenario::new(name, selection, move |stage| {
        let machine = Machine {
            payload: Payload::Linux(kernel),
            gic,
            cpus,
            cpu,
            ram_mib: gib * 1024,
            dom0_mib: if gib == 1 { 512 } else { 1024 },
            ..stage.machine()
        };
        let mut dom0 = stage.boot(&machine)?;
        inspect(&mut dom0, &machine)?;
        dmesg::compare(stage, &mut dom0)?;
        dom0.power_off()
    })
}

/// dom0 has its CPUs, its memory, and knows what it runs on.
pub(super) fn inspect(dom0: &mut Dom0, machine: &Machine) -> Result<()> {
    dom0.expect_cpus(machine.cpus)?;
    dom0.run("dmesg | grep -q 'Xen 4.20 support found'")?;
    let total = dom0.run("awk '/MemTotal/ { print $2 }' /proc/meminfo")?;
    let mib = total.trim().parse::<u32>().unwrap_or(0) / 1024;
    // The kernel keeps some for itself.
    if mib > machine.dom0_mib || mib < machine.dom0_mib * 3 / 4 {
        return fail(format!("dom0 has {mib} MiB of {}", machine.dom0_mib));
    }
    Ok(())
}

fn reboots(stage: &Stage, gic: Gic) -> Result<()> {
    let machine = Machine {
        gic,
        cpus: 2,
        reboots: true,
        ..stage.machine()
    };
    let mut dom0 = stage.boot(&machine)?;
    dom0.start("reboot -f")?;
    dom0.await_userspace()?;
    inspect(&mut dom0, &machine)?;
    dom0.power_off()
}

fn reboot_ends_qemu(stage: &Stage) -> Result<()> {
    let mut dom0 = stage.boot(&stage.machine())?;
    dom0.start("reboot -f")?;
    dom0.console.wait_for_end(END)
}
