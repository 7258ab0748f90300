// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk of dom0's in a guest that xl has made: what the guest reads is what the disk holds, and what it writes is
//! there for dom0, which reads past its caches.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::disk::{NVME, attach, wait_for};
use super::pvdisk::{BY_HYPERCALL, Dma, NOT_COHERENT, ONE_AT_A_TIME};
use super::{Scenario, Selection, Stage};
use crate::apt::sha256;
use crate::device_tree::{appended, edited};
use crate::dom0::Dom0;
use crate::error::{Context, Result, fail};
use crate::guest::{Guest, LONG, SOON};
use crate::machine::{Gic, Hypervisor, Machine};
use crate::noise::noise;
use crate::workspace::write_whole;

const MIB: usize = 1 << 20;
/// What the guest reads, and copies to behind it.
const PART: usize = 64 * MIB;

pub(super) fn scenarios() -> Vec<Scenario> {
    use Selection::{Full, Short};
    let nvme = |selection, gic: Gic, dma: Dma| {
        Scenario::new(format!("xl-disk/{gic}-nvme-{dma}"), selection, move |s| {
            nvme(s, s.with_tools(gic), dma)
        })
    };
    let file = |selection, gic: Gic| {
        Scenario::new(format!("xl-disk/{gic}-file"), selection, move |stage| {
            file(stage, gic)
        })
    };
    vec![
        nvme(Short, Gic::V3, Dma::NonCoherent),
        nvme(Full, Gic::V3, Dma::Coherent),
        nvme(Full, Gic::V2, Dma::NonCoherent),
        nvme(Full, Gic::V2, Dma::Coherent),
        file(Full, Gic::V3),
        file(Full, Gic::V2),
    ]
}

/// A guest with `disk` as xvda.
fn guest_with(disk: &str) -> Guest {
    Guest {
        cpus: 2,
        memory_mib: 256,
        config: vec![format!("disk = [ \"{disk}\" ]")],
        ..Guest::new("disk")
    }
}

/// A raw NVMe disk of `machine`, whose dom0 has Debian's Xen tools: its DMA goes into and out of the guest's pages.
pub(super) fn nvme(stage: &Stage, mut machine: Machine, dma: Dma) -> Result<()> {
    let image = stage.file(".img");
    let mut content = noise(17, PART);
    write_whole(&image, &content)?;
    let sum = sha256(&image)?;
    content.resize(2 * PART, 0);
    write_whole(&image, &content)?;

    // As in `pvdisk`: one vCPU for QEMU's NVMe.
    let arguments = format!(" dom0_max_vcpus=1 {BY_HYPERCALL}");
    machine.hypervisor_args.push_str(&arguments);
    attach(&mut machine, NVME, &image);
    if dma == Dma::NonCoherent {
        // A tree that is edited is not given dom0's command line again.
        machine.dom0_args = "harness".to_owned();
        let tree = stage.file(".dtb");
        edited(&machine, &tree, |source| appended(source, NOT_COHERENT))?;
        machine.attach("-dtb", &tree.display().to_string());
    }
    let mut dom0 = stage.boot(&machine)?;
    for command in [&wait_for(NVME.node), ONE_AT_A_TIME, &wait_for(NVME.node)] {
        dom0.run(command)?;
    }
    let guest = guest_with(&format!("phy:{},xvda,w", NVME.node));
    guest.create(&mut dom0)?;
    reads_and_writes(&mut dom0, &guest, &sum, NVME.node)?;
    dom0.run_within("xl shutdown -w disk", LONG)?;
    guest.await_gone(&mut dom0)?;
    if stage.hypervisor == Hypervisor::Xenolith {
        expect_maintenance(&mut dom0, dma)?;
    }
    dom0.power_off()?;

    let written = File::open(&image).context(|| format!("opening {}", image.display()))?;
    let mut copy = vec![0; PART];
    written
        .read_exact_at(&mut copy, PART as u64)
        .context(|| format!("reading {}", image.display()))?;
    if copy != noise(17, PART) {
        return fail(format!("{}: the copy is not the original", image.display()));
    }
    fs::remove_file(&image).context(|| format!("removing {}", image.display()))
}

/// A file of dom0's, by a loop device.
fn file(stage: &Stage, gic: Gic) -> Result<()> {
    let mut dom0 = stage.boot(&stage.with_tools(gic))?;
    let path = "/root/disk.img";
    dom0.run_within(&format!("head -c {PART} /dev/urandom >{path}"), LONG)?;
    let sum = dom0.run_within(&format!("sha256sum <{path}"), LONG)?;
    dom0.run(&format!("truncate -s {} {path}", 2 * PART))?;
    let guest = guest_with(&format!("{path},raw,xvda,rw"));
    guest.create(&mut dom0)?;
    reads_and_writes(&mut dom0, &guest, &sum, path)?;
    dom0.run_within("xl shutdown -w disk", LONG)?;
    guest.await_gone(&mut dom0)?;
    let loops = dom0.run("losetup --all")?;
    if !loops.trim().is_empty() {
        let message = format!("the guest is gone, its loop device stays: {loops}");
        return Err(dom0.console.failure(&message));
    }
    dom0.power_off()
}

/// The guest reads the first part, copies it to behind, and reads that past its cache, as dom0 does then with `disk`.
fn reads_and_writes(dom0: &mut Dom0, guest: &Guest, sum: &str, disk: &str) -> Result<()> {
    let count = PART / MIB;
    let read = |disk: &str, more: &str| {
        format!("dd if={disk} bs=1M count={count} {more} 2>/dev/null | sha256sum")
    };
    let copy = format!(
        "dd if=/dev/xvda of=/dev/xvda bs=1M count={count} seek={count} conv=notrunc,fsync 2>&1"
    );
    let behind = format!("skip={count} iflag=direct");
    for (what, command) in [
        ("reads", guest.command(&read("/dev/xvda", ""))),
        (
            "reads again",
            guest.command(&read("/dev/xvda", "iflag=direct")),
        ),
        ("copies", guest.command(&copy)),
        ("reads its copy", guest.command(&read("/dev/xvda", &behind))),
        ("wrote, as dom0 sees it,", read(disk, &behind)),
    ] {
        let told = dom0.run_within(&command, LONG)?;
        let is = told.split_whitespace().next();
        if what != "copies" && is != sum.split_whitespace().next() {
            let message = format!("the guest {what} {told}, the disk held {sum}");
            return Err(dom0.console.failure(&message));
        }
    }
    Ok(())
}

/// dom0 had caches of the guest's pages maintained exactly when the disk needs it.
fn expect_maintenance(dom0: &mut Dom0, dma: Dma) -> Result<()> {
    let command = "xl dmesg -c >/dev/null; xl debug-keys c; \
                   xl dmesg | sed -n 's/.* d0: cache_flush own .* foreign //p'";
    let told = dom0.run_within(command, SOON)?;
    let Ok(foreign) = told.trim().parse::<u64>() else {
        return Err(dom0.console.failure(&format!("key 'c' shows {told:?}")));
    };
    if (foreign != 0) == (dma == Dma::NonCoherent) {
        return Ok(());
    }
    let message = format!("{foreign} of the guest's pages were maintained");
    Err(dom0.console.failure(&message))
}
