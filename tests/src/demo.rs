// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demonstration (`make run`): the guest stub as dom0 moves data between disks and pages of a domU, once with
//! devices that see caches and once with devices that are said not to; and on a Juno (`make juno`), whose PL330 copies
//! between memory and those pages. It judges itself; here is judged, too, what is on the disks afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::console::Console;
use crate::domu::{self, DomU};
use crate::error::{Context, Result, fail};
use crate::juno::{Juno, Revision};
use crate::machine::{Board, Cpu, Gic, Hypervisor, Machine, Payload};
use crate::noise::noise;
use crate::workspace::{target, write_whole};

/// For each line of the console, and for the end.
const LIMIT: Duration = Duration::from_secs(60);

/// Blocks, as the stub counts them (`guest-stub/src/demo/steps.rs`).
const BLOCK: usize = 4096;
const BLOCKS: usize = 32;
/// What the domU writes, in blocks.
const FROM_DOMU: usize = 4;
/// What the broken dispatch writes instead of the domU's page.
const FROM_BROKEN: usize = 8;
const FROM_DOMU_AGAIN: usize = 12;
/// Blocks of a transfer.
const COUNT: usize = 4;

/// Seeds of patterns (`guest-stub/src/demo/pattern.rs`).
const OF_HOST: u64 = 0x686f_7374;
const OF_DOMU: u64 = 0x646f_6d75;
const OF_DOM0: u64 = 0x646f_6d30;

/// The disks, in the order in which the stub finds them; the last one is used for what comes after the fix.
const DISKS: [&str; 3] = [
    "virtio-blk-device",
    "virtio-blk-pci,disable-legacy=on,romfile=",
    "nvme,serial=1",
];

/// Whether devices see what is in caches, by the device tree: as QEMU writes it (all do), or without that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// `dma-coherent`.
    Coherent,
    /// Not so; on a board, as its tree says: some are not.
    NonCoherent,
}

/// A Juno's disk; the first one is memory, by the PL330.
const JUNO_DISKS: [&str; 1] = ["nvme,serial=1"];

/// A machine for it.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    /// The hypervisor.
    pub hypervisor: Hypervisor,
    /// What kind of machine it is; the next two are of `virt` alone.
    pub board: Board,
    /// Interrupt controller.
    pub gic: Gic,
    /// CPU model.
    pub cpu: Cpu,
    /// Number of CPUs.
    pub cpus: u32,
    /// What its devices see.
    pub devices: Devices,
}

/// What must be on the console in the end.
const VERDICTS: [&str; 4] = [
    "DEMO fixed: ok",
    "DEMO broken: shown",
    "DEMO check: ok",
    "DEMO: passed",
];

/// Part of a line of the hypervisor's, which is not shown: this console takes no input.
const ABOUT_INPUT: &str = "type 'CTRL-a' three times";

/// Runs the demonstration on `hypervisor` with both kinds of devices, its console on standard output.
///
/// # Errors
/// When something is missing, or what was to be shown was not.
pub fn show(hypervisor: Hypervisor) -> Result<()> {
    for devices in [Devices::Coherent, Devices::NonCoherent] {
        let (number, what) = match devices {
            Devices::Coherent => (
                1,
                "a machine whose device tree says that devices see caches",
            ),
            Devices::NonCoherent => (
                2,
                "the same, but its device tree does not say that devices see caches",
            ),
        };
        println!("\n=== {number} of 2: {what} ===\n");
        let name = format!("{hypervisor}-run{number}");
        let stage = Stage {
            hypervisor,
            board: Board::Virt,
            gic: Gic::V3,
            cpu: Cpu::A72,
            cpus: 2,
            devices,
        };
        run(&stage, &name, show_line)?;
    }
    println!(
        "\nShown on {hypervisor}: with the fix every byte went where it should; with the fault of 2017 the disk's data went\n\
         into dom0's own page and dom0's page onto the disk. What the disks hold was checked here, too."
    );
    Ok(())
}

fn show_line(line: &str) {
    if !line.contains(ABOUT_INPUT) {
        println!("{line}");
    }
}

/// A Juno for it.
#[must_use]
pub fn on_juno(hypervisor: Hypervisor) -> Stage {
    let juno = Juno {
        revision: Revision::R2,
        el3: true,
    };
    Stage {
        hypervisor,
        board: Board::Juno(juno),
        gic: Gic::V2,
        cpu: Cpu::A72,
        cpus: 6,
        devices: Devices::NonCoherent,
    }
}

/// As [`show`], on a model of a Juno.
///
/// # Errors
/// As [`show`]; when there is no such model.
pub fn show_juno(hypervisor: Hypervisor) -> Result<()> {
    run(
        &on_juno(hypervisor),
        &format!("{hypervisor}-juno"),
        show_line,
    )?;
    println!(
        "\nShown on {hypervisor}: the PL330, which does not see caches, copied into and out of pages that domain 1 granted,\n         maintained by hypercall; the same with an NVMe disk on PCIe, which sees caches."
    );
    Ok(())
}

/// Runs it once. `name` makes file names; `show` is given each line of the console.
///
/// # Errors
/// When something is missing, or what was to be shown was not.
pub fn run(stage: &Stage, name: &str, show: impl Fn(&str)) -> Result<()> {
    let scratch = |suffix: String| target("scratch").join(format!("{name}{suffix}"));
    // Disks that are not the host's come first.
    let (first, disks) = match stage.board {
        Board::Virt => (0, &DISKS[..]),
        Board::Juno(_) => (1, &JUNO_DISKS[..]),
    };
    let images: Vec<_> = (0..disks.len())
        .map(|number| scratch(format!("-disk{number}.img")))
        .collect();
    for image in &images {
        write_whole(image, &before())?;
    }
    let machine = machine(stage, disks, &images, &scratch(".dtb".to_owned()))?;
    let log = target("logs").join(format!("{name}.log"));
    let mut console = Console::start(&machine, &log)?;
    while !console.transcript().contains("DEMO: ") {
        show(&console.expect("\n", LIMIT)?);
    }
    console.wait_for_end(LIMIT)?;
    show(console.rest().trim_end());
    let transcript = console.transcript();
    for verdict in VERDICTS {
        if !transcript.contains(verdict) {
            return Err(console.failure(&format!("the stub did not say '{verdict}'")));
        }
    }
    let not_coherent = match stage.devices {
        Devices::Coherent => 0,
        Devices::NonCoherent => 1,
    };
    if transcript.matches("(not coherent").count().min(1) != not_coherent {
        return Err(console.failure("the stub takes its devices for others than they are"));
    }
    for (number, image) in images.iter().enumerate() {
        judge(image, first + number, first + disks.len())?;
        fs::remove_file(image).context(|| format!("removing {}", image.display()))?;
    }
    Ok(())
}

/// Has a domain die while a disk writes to a page that dom0 has mapped of it. The disk takes seconds for that.
///
/// # Errors
/// When the page, or anything else that is counted, is not where it should be.
pub fn death(stage: &Stage, name: &str) -> Result<()> {
    let image = target("scratch").join(format!("{name}-disk.img"));
    write_whole(&image, &before())?;
    let tree = target("scratch").join(format!("{name}.dtb"));
    let mut machine = bare(stage)?;
    machine.dom0_args = "demo=death".to_owned();
    let file = image.display().to_string().replace(',', ",,");
    machine.attach(
        "-drive",
        &format!("if=none,id=slow,format=raw,file={file},throttling.bps-total=800"),
    );
    machine.attach("-device", "nvme,serial=1,drive=slow");
    describe(&mut machine, stage, &tree)?;
    let log = target("logs").join(format!("{name}.log"));
    let mut console = Console::start(&machine, &log)?;
    console.wait_for_end(LIMIT)?;
    let transcript = console.transcript();
    for verdict in ["DEMO death: ok", "DEMO: passed"] {
        if !transcript.contains(verdict) {
            return Err(console.failure(&format!("the stub did not say '{verdict}'")));
        }
    }
    fs::remove_file(&image).context(|| format!("removing {}", image.display()))?;
    if stage.hypervisor == Hypervisor::Xen {
        return Ok(());
    }
    // Pages, ports and grants of all domains, before and after.
    let counted: Vec<_> = transcript
        .split("'g' pressed")
        .skip(1)
        .map(counts)
        .collect();
    match counted.as_slice() {
        [before, after] if before == after && before.len() >= 3 => Ok(()),
        _ => Err(console.failure(&format!("the counters differ: {counted:#?}"))),
    }
}

/// The lines that key 'g' shows.
fn counts(text: &str) -> Vec<&str> {
    let is_count = |line: &&str| line.contains("free pages ") || line.contains(" ports ");
    text.lines()
        .skip(1)
        .take_while(|line| line.starts_with("(XL)"))
        .filter(is_count)
        .collect()
}

fn machine(stage: &Stage, disks: &[&str], images: &[PathBuf], tree: &Path) -> Result<Machine> {
    let mut machine = bare(stage)?;
    for (number, (device, image)) in disks.iter().zip(images).enumerate() {
        let file = image.display().to_string().replace(',', ",,");
        machine.attach(
            "-drive",
            &format!("if=none,id=disk{number},format=raw,file={file}"),
        );
        machine.attach("-device", &format!("{device},drive=disk{number}"));
    }
    describe(&mut machine, stage, tree)?;
    Ok(machine)
}

/// The machine without its disks.
fn bare(stage: &Stage) -> Result<Machine> {
    let stub = target("guest-stub.img");
    if !stub.exists() {
        return fail(format!(
            "{} is missing: `make build` makes it",
            stub.display()
        ));
    }
    let mut machine = Machine {
        board: stage.board,
        payload: Payload::Image(stub),
        gic: stage.gic,
        cpu: stage.cpu,
        cpus: stage.cpus,
        dom0_args: "demo".to_owned(),
        ..Machine::new(stage.hypervisor)
    };
    match stage.board {
        // Devices on MMIO are those of virtio 1, as on PCI.
        Board::Virt => machine.attach("-global", "virtio-mmio.force-legacy=false"),
        Board::Juno(_) => machine.ram_mib = 2048,
    }
    Ok(machine)
}

/// Adds the domU, and says in the tree what devices see.
fn describe(machine: &mut Machine, stage: &Stage, tree: &Path) -> Result<()> {
    let domu = DomU::new(target("guest-stub.img"), "demo");
    domu::add_with(machine, &[domu], tree, |source| {
        match (stage.board, stage.devices) {
            (Board::Juno(_), _) | (_, Devices::Coherent) => source.to_owned(),
            (Board::Virt, Devices::NonCoherent) => source.replace("dma-coherent;", ""),
        }
    })
}

/// What is on a disk before.
fn before() -> Vec<u8> {
    noise(OF_HOST, BLOCKS * BLOCK)
}

/// What must be on disk `number` of `count` afterwards.
fn after(number: usize, count: usize) -> Vec<u8> {
    let mut content = before();
    let mut put = |block: usize, seed: u64, blocks: usize| {
        let bytes = noise(seed, blocks * BLOCK);
        content[block * BLOCK..][..bytes.len()].copy_from_slice(&bytes);
    };
    put(FROM_DOMU, OF_DOMU + number as u64, COUNT);
    if number + 1 == count {
        put(FROM_BROKEN, OF_DOM0, 1);
        put(FROM_DOMU_AGAIN, OF_DOM0, COUNT);
    }
    content
}

fn judge(image: &Path, number: usize, count: usize) -> Result<()> {
    let found = fs::read(image).context(|| format!("reading {}", image.display()))?;
    let wanted = after(number, count);
    match found.iter().zip(&wanted).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => fail(format!(
            "{}: what is on the disk is wrong from byte {at:#x} on",
            image.display()
        )),
    }
}
