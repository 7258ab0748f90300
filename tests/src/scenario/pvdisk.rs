// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Debian domU of the device tree uses an NVMe disk that Debian's dom0 serves: the device's DMA goes straight into
//! and out of pages that the domU granted. What the domU reads is what the disk holds, and what it writes arrives,
//! whether the device is coherent or dom0 has to ask for cache maintenance.

use std::fmt;
use std::fs;
use std::time::Duration;

use super::disk::{NVME, attach, wait_for};
use super::{Scenario, Selection, Stage};
use crate::apt::sha256;
use crate::debian;
use crate::device_tree::appended;
use crate::dom0::Dom0;
use crate::domu::{self, DomU};
use crate::error::{Context, Result, fail};
use crate::initramfs;
use crate::machine::{Gic, Hypervisor, Machine, Payload};
use crate::noise::noise;
use crate::workspace::write_whole;

const MIB: usize = 1 << 20;
const SIZE: usize = 48 * MIB;
/// What `vbd-guest.sh` copies, and where to.
const COPIED: usize = 16 * MIB;
const COPY_AT: usize = 32 * MIB;

const STEP: Duration = Duration::from_secs(240);
const ANSWER: Duration = Duration::from_secs(20);

/// QEMU's host bridge says that its devices are coherent. Without that, dom0's kernel has to maintain caches.
pub(super) const NOT_COHERENT: &str = "&{/pcie@10000000} { /delete-property/ dma-coherent; };";

/// Linux maintains the caches of a page itself, by its own mapping, when it finds a `struct page` for the page's machine
/// address, and asks the hypervisor else. Extended regions lie in RAM that dom0 does not have, and get a `struct page`
/// when dom0 maps grants there: the domU's machine addresses then have one by chance. Without them, they never do.
pub(super) const BY_HYPERCALL: &str = "ext_regions=0";

/// One request at a time, by a driver that starts anew. QEMU's NVMe with shadow doorbells does not see that the last
/// of several completions was taken when they overlap with the driver's reading, and keeps its interrupt asserted.
pub(super) const ONE_AT_A_TIME: &str = "echo 2 >/sys/module/nvme/parameters/io_queue_depth && (cd /sys/bus/pci/drivers/nvme && \
     for device in 0000:*; do echo $device >unbind && echo $device >bind; done)";

/// Whether the device tree says that the disk's DMA is coherent with the caches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dma {
    Coherent,
    NonCoherent,
}

impl fmt::Display for Dma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coherent => "coherent",
            Self::NonCoherent => "noncoherent",
        })
    }
}

pub(super) fn scenarios() -> Vec<Scenario> {
    let case = |name, selection, gic, dma| {
        Scenario::new(name, selection, move |stage| serves(stage, gic, dma))
    };
    use Selection::{Full, Short};
    vec![
        case("pvdisk/noncoherent-gic3", Short, Gic::V3, Dma::NonCoherent),
        case("pvdisk/coherent-gic3", Full, Gic::V3, Dma::Coherent),
        case("pvdisk/noncoherent-gic2", Full, Gic::V2, Dma::NonCoherent),
        case("pvdisk/coherent-gic2", Full, Gic::V2, Dma::Coherent),
    ]
}

fn serves(stage: &Stage, gic: Gic, dma: Dma) -> Result<()> {
    let image = stage.file(".img");
    let mut content = noise(11, SIZE);
    write_whole(&image, &content)?;
    let before = sha256(&image)?;
    content.copy_within(..COPIED, COPY_AT);
    let copy = stage.file(".expected");
    write_whole(&copy, &content)?;
    let after = sha256(&copy)?;

    let mut machine = Machine {
        gic,
        payload: Payload::Toolstack,
        // A tree that is edited is not given dom0's command line again.
        dom0_args: "harness".to_owned(),
        cpus: 2,
        // One vCPU with the same aim as `ONE_AT_A_TIME`.
        hypervisor_args: format!("dom0_max_vcpus=1 {BY_HYPERCALL}"),
        ..stage.machine()
    };
    attach(&mut machine, NVME, &image);
    let guest = DomU {
        memory_mib: 256,
        ramdisk: Some(initramfs::with_toolstack()?),
        properties: "vpl011; xen,enhanced = \"enabled\";".to_owned(),
        ..DomU::new(
            debian::boot_file(initramfs::PV_KERNEL.role(), "vmlinuz-")?,
            "console=ttyAMA0 rdinit=/init run=vbd-guest",
        )
    };
    domu::add_with(
        &mut machine,
        &[guest],
        &stage.file(".dtb"),
        |source| match dma {
            Dma::Coherent => source.to_owned(),
            Dma::NonCoherent => appended(source, NOT_COHERENT),
        },
    )?;

    let mut dom0 = stage.boot(&machine)?;
    dom0.run(&wait_for(NVME.node))?;
    dom0.run(ONE_AT_A_TIME)?;
    dom0.run(&wait_for(NVME.node))?;
    dom0.run_within("start-xenstore", STEP)?;
    let vbd = format!("1 {}", NVME.node);
    dom0.run_within(&format!("vbd attach {vbd}"), STEP)?;
    expect_read(&mut dom0, &before)?;
    dom0.console.expect("VBD: copied, status 0\n", STEP)?;
    expect_read(&mut dom0, &after)?;
    let direct = format!(
        "dd if={} of=/tmp/disk bs=1M iflag=direct && sha256sum </tmp/disk",
        NVME.node
    );
    let sum = dom0.run_within(&direct, STEP)?;
    if !sum.contains(&after) {
        let message = format!("dom0 reads {sum} after the domU wrote, not {after}");
        return Err(dom0.console.failure(&message));
    }
    dom0.run_within(&format!("vbd detach {vbd}"), STEP)?;
    dom0.console.expect("VBD: gone\n", STEP)?;
    if stage.hypervisor == Hypervisor::Xenolith {
        expect_maintenance(&mut dom0, dma)?;
    }
    dom0.power_off()?;

    let written = fs::read(&image).context(|| format!("reading {}", image.display()))?;
    if let Some(at) = written.iter().zip(&content).position(|(a, b)| a != b) {
        return fail(format!(
            "{}: what the domU wrote differs from byte {at:#x} on",
            image.display()
        ));
    }
    for file in [image, copy] {
        fs::remove_file(&file).context(|| format!("removing {}", file.display()))?;
    }
    Ok(())
}

/// Judges the sum that the domU says it has read.
fn expect_read(dom0: &mut Dom0, expected: &str) -> Result<()> {
    dom0.console.expect("VBD: read ", STEP)?;
    let sum = dom0.console.expect("\n", STEP)?;
    if sum.starts_with(expected) {
        return Ok(());
    }
    let message = format!("the domU reads {sum}, the disk holds {expected}");
    Err(dom0.console.failure(&message))
}

/// Xenolith has counted dom0's maintenance of pages that are another domain's exactly when the disk needs it, and
/// nothing but the domU's xenstore page is still mapped.
fn expect_maintenance(dom0: &mut Dom0, dma: Dma) -> Result<()> {
    dom0.input_to_hypervisor()?;
    dom0.console.send("c")?;
    dom0.console.expect("(XL) d0: cache_flush own ", ANSWER)?;
    dom0.console.expect(" foreign ", ANSWER)?;
    let foreign = dom0.console.expect("\n", ANSWER)?;
    dom0.console.send("g")?;
    dom0.console.expect("(XL) d0: ", ANSWER)?;
    dom0.console.expect(" mapped ", ANSWER)?;
    let mapped = dom0.console.expect("\n", ANSWER)?;
    dom0.input_to_dom0()?;
    if mapped != "1" {
        let message = format!("{mapped} pages are mapped when the disk is gone");
        return Err(dom0.console.failure(&message));
    }
    if (foreign != "0") == (dma == Dma::NonCoherent) {
        return Ok(());
    }
    let message = format!("{foreign} of the domU's pages were maintained");
    Err(dom0.console.failure(&message))
}
