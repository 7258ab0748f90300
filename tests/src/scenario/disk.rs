// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0 drives a disk by DMA: what it reads is what is there, and what it writes arrives.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{Scenario, Selection, Stage};
use crate::apt::sha256;
use crate::error::{Context, Result, fail};
use crate::machine::{Gic, Kernel, Machine, Payload};
use crate::noise::noise;
use crate::workspace::write_whole;

const MIB: usize = 1 << 20;
const SIZE: usize = 24 * MIB;
/// The first 8 MiB are copied to 16 MiB.
const COPIED: usize = 8 * MIB;
const COPY_AT: usize = 16 * MIB;

pub(super) fn scenarios() -> Vec<Scenario> {
    let case = |name, selection, disk, gic, kernel| {
        Scenario::new(name, selection, move |stage| {
            let machine = Machine {
                gic,
                payload: Payload::Linux(kernel),
                cpus: 2,
                ..stage.machine()
            };
            reads_and_writes(stage, disk, machine, "true")
        })
    };
    use Selection::{Full, Short};
    vec![
        case("disk/nvme-gic3", Short, NVME, Gic::V3, Kernel::V6_12),
        case("disk/nvme-gic2", Full, NVME, Gic::V2, Kernel::V6_1),
        case("disk/virtio-gic2", Short, VIRTIO, Gic::V2, Kernel::V6_12),
        case("disk/virtio-gic3", Full, VIRTIO, Gic::V3, Kernel::V6_1),
    ]
}

/// A disk controller: QEMU's device and Linux's name for it.
#[derive(Clone, Copy)]
pub(super) struct Disk {
    device: &'static str,
    pub(super) node: &'static str,
}

pub(super) const NVME: Disk = Disk {
    device: "nvme,serial=1",
    node: "/dev/nvme0n1",
};
const VIRTIO: Disk = Disk {
    device: "virtio-blk-pci,romfile=",
    node: "/dev/vda",
};

/// Attaches `image` as a virtio disk; returns Linux's name for it.
pub(super) fn attach_virtio(machine: &mut Machine, image: &Path) -> &'static str {
    attach(machine, VIRTIO, image);
    VIRTIO.node
}

/// Attaches `image` behind the controller `disk`.
pub(super) fn attach(machine: &mut Machine, disk: Disk, image: &Path) {
    let file = image.display().to_string().replace(',', ",,");
    machine.attach("-drive", &format!("if=none,id=disk,format=raw,file={file}"));
    machine.attach("-device", &format!("{},drive=disk", disk.device));
}

/// A shell command that waits for a device node.
pub(super) fn wait_for(node: &str) -> String {
    format!("for i in $(seq 100); do [ -b {node} ] && break; usleep 100000; done; [ -b {node} ]")
}

/// `machine` with a disk; `check` is run once it was read.
pub(super) fn reads_and_writes(
    stage: &Stage,
    disk: Disk,
    mut machine: Machine,
    check: &str,
) -> Result<()> {
    let image = stage.file(".img");
    let mut content = noise(7, SIZE);
    write_whole(&image, &content)?;
    let expected = sha256(&image)?;
    attach(&mut machine, disk, &image);

    let mut dom0 = stage.boot(&machine)?;
    let node = disk.node;
    dom0.run(&wait_for(node))?;
    let sum = dom0.run_within(&format!("sha256sum {node}"), Duration::from_secs(120))?;
    if !sum.starts_with(&expected) {
        return Err(dom0
            .console
            .failure(&format!("dom0 reads {sum}, the disk holds {expected}")));
    }
    dom0.run(check)?;
    let (count, seek) = (COPIED / MIB, COPY_AT / MIB);
    dom0.run_within(
        &format!("dd if={node} of={node} bs=1M count={count} seek={seek} conv=notrunc,fsync 2>&1"),
        Duration::from_secs(120),
    )?;
    dom0.power_off()?;

    content.copy_within(..COPIED, COPY_AT);
    let written = fs::read(&image).context(|| format!("reading {}", image.display()))?;
    if let Some(at) = written.iter().zip(&content).position(|(a, b)| a != b) {
        return fail(format!(
            "{}: what dom0 wrote differs from byte {at:#x} on",
            image.display()
        ));
    }
    fs::remove_file(&image).context(|| format!("removing {}", image.display()))
}
