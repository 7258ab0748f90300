// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests over whole trees: a machine like QEMU's `virt`, damaged blobs, and real boards' trees.

mod board;
mod broken;
mod corpus;
mod virt;

use super::dom0_dt::{self, Dom0Cpu, Dom0Layout};
use super::dom0_map::Dom0Map;
use super::dom0_mem::{event_ppi, extended_regions};
use super::dom0_nodes::Fates;
use super::dt_build::DtBuilder;
use super::host_dt::HostDt;
use super::validate::Tree;
use crate::addr::{Pa, PaRange};
use std::vec::Vec;

const GIC: u32 = 0x8001;

pub(super) fn range(start: u64, size: u64) -> PaRange {
    PaRange::new(Pa(start), size).unwrap()
}

/// Reads `blob` and gives the view to `f`.
pub(super) fn with_host<R>(blob: &[u8], f: impl FnOnce(&HostDt<'_>) -> R) -> R {
    let tree = Tree::check(blob).unwrap();
    let fdt = tree.fdt();
    f(&HostDt::new(&tree, &fdt))
}

/// What a boot of `host` gives dom0, with its memory at the end of the first GiB.
pub(super) fn dom0_of(host: &HostDt<'_>, banks: &[PaRange]) -> Option<(Vec<u8>, Dom0Map)> {
    let (gic, timer) = (host.gic().ok()?, host.timer().ok()?);
    let ram = host.memory_banks().unwrap_or_default();
    let uart = host.uart(None);
    let fates = Fates::decide(
        host,
        uart.as_ref().map(|uart| uart.node.id()),
        &["acme,keep-out"],
    );
    let console = uart.map(|uart| (uart.range, uart.irq));
    let map = Dom0Map::collect(host, &fates, &gic, &ram, console);
    let grant_region = range(0x4020_0000, 0x4_0000);
    let vcpus = [0, 1].map(|affinity| Dom0Cpu {
        affinity,
        like: affinity,
    });
    let mut used = banks.to_vec();
    used.push(grant_region);
    used.extend(&map.reserved);
    let layout = Dom0Layout {
        banks,
        reserved: &map.reserved,
        grant_region,
        extended_regions: &extended_regions(&ram, &used),
        vcpus: &vcpus,
        initrd: Some(range(0x8820_0000, 0x12_3456)),
        bootargs: "console=hvc0",
        gic: &gic,
        redistributor_regions: 1,
        timer: &timer,
        event_ppi: event_ppi(&timer, &gic)?,
    };
    Some((dom0_dt::build(host, &fates, &layout).ok()?, map))
}

/// A tree like that of QEMU's `virt`, with 3 GiB and four CPUs.
pub(super) fn virt(v3: bool) -> Vec<u8> {
    let mut dt = DtBuilder::new(&[]);
    dt.begin_node("")
        .prop_cells("interrupt-parent", &[GIC])
        .prop_str("model", "linux,dummy-virt")
        .prop_cells("#size-cells", &[2])
        .prop_cells("#address-cells", &[2])
        .prop_str("compatible", "linux,dummy-virt");
    dt.begin_node("psci")
        .prop_str("compatible", "arm,psci-1.0\0arm,psci-0.2\0arm,psci")
        .prop_str("method", "smc")
        .end_node();
    dt.begin_node("memory@40000000")
        .prop_cells("reg", &[0, 0x4000_0000, 0, 0xc000_0000])
        .prop_str("device_type", "memory")
        .end_node();
    devices(&mut dt);
    dt.begin_node("pmu")
        .prop_cells("interrupts", &[1, 7, 0xf04])
        .prop_str("compatible", "arm,armv8-pmuv3")
        .end_node();
    gic(&mut dt, v3);
    cpus(&mut dt);
    dt.begin_node("timer")
        .prop_cells(
            "interrupts",
            &[1, 13, 0x104, 1, 14, 0x104, 1, 11, 0x104, 1, 10, 0x104],
        )
        .prop("always-on", &[])
        .prop_str("compatible", "arm,armv8-timer\0arm,armv7-timer")
        .end_node();
    dt.begin_node("aliases")
        .prop_str("serial0", "/pl011@9000000")
        .end_node();
    chosen(&mut dt);
    dt.end_node();
    dt.finish()
}

fn devices(dt: &mut DtBuilder) {
    dt.begin_node("virtio_mmio@a000000")
        .prop("dma-coherent", &[])
        .prop_cells("interrupts", &[0, 0x10, 1])
        .prop_cells("reg", &[0, 0x0a00_0000, 0, 0x200])
        .prop_str("compatible", "virtio,mmio")
        .end_node();
    dt.begin_node("pl011@9000000")
        .prop_cells("interrupts", &[0, 1, 4])
        .prop_cells("reg", &[0, 0x0900_0000, 0, 0x1000])
        .prop_str("compatible", "arm,pl011\0arm,primecell")
        .end_node();
    dt.begin_node("pl061@9030000")
        .prop_cells("phandle", &[0x8003])
        .prop_cells("#gpio-cells", &[2])
        .prop_cells("#interrupt-cells", &[2])
        .prop("interrupt-controller", &[])
        .prop_cells("interrupts", &[0, 7, 4])
        .prop_cells("reg", &[0, 0x0903_0000, 0, 0x1000])
        .prop_str("compatible", "arm,pl061\0arm,primecell");
    // Its interrupts are not the GIC's.
    dt.begin_node("key")
        .prop_cells("interrupts", &[3, 8])
        .end_node();
    dt.end_node();
    dt.begin_node("pcie@10000000")
        .prop_cells("interrupt-map-mask", &[0x1800, 0, 0, 7])
        .prop_cells(
            "interrupt-map",
            &[
                0, 0, 0, 1, GIC, 0, 0, 0, 3, 4, //
                0, 0, 0, 2, GIC, 0, 0, 0, 4, 4, //
                0x800, 0, 0, 1, GIC, 0, 0, 0, 5, 4,
            ],
        )
        .prop_cells("#interrupt-cells", &[1])
        .prop_cells(
            "ranges",
            &[
                0x0100_0000,
                0,
                0,
                0,
                0x3eff_0000,
                0,
                0x1_0000, //
                0x0200_0000,
                0,
                0x1000_0000,
                0,
                0x1000_0000,
                0,
                0x2eff_0000, //
                0x0300_0000,
                0x80,
                0,
                0x80,
                0,
                0x80,
                0,
            ],
        )
        .prop_cells("reg", &[0x40, 0x1000_0000, 0, 0x1000_0000])
        .prop_cells("#size-cells", &[2])
        .prop_cells("#address-cells", &[3])
        .prop_str("device_type", "pci")
        .prop_str("compatible", "pci-host-ecam-generic")
        .end_node();
}

fn gic(dt: &mut DtBuilder, v3: bool) {
    dt.begin_node("intc@8000000")
        .prop_cells("phandle", &[GIC])
        .prop_cells("#interrupt-cells", &[3])
        .prop("interrupt-controller", &[])
        .prop_cells("interrupts", &[1, 9, 4])
        .prop_cells("#address-cells", &[2])
        .prop_cells("#size-cells", &[2])
        .prop("ranges", &[]);
    if v3 {
        dt.prop_str("compatible", "arm,gic-v3")
            .prop_cells("#redistributor-regions", &[1])
            .prop_cells(
                "reg",
                &[0, 0x0800_0000, 0, 0x1_0000, 0, 0x080a_0000, 0, 0x00f6_0000],
            );
        dt.begin_node("its@8080000")
            .prop_str("compatible", "arm,gic-v3-its")
            .prop_cells("reg", &[0, 0x0808_0000, 0, 0x2_0000])
            .end_node();
    } else {
        let blocks = [0x0800_0000, 0x0801_0000, 0x0803_0000, 0x0804_0000];
        let reg: Vec<u32> = blocks.iter().flat_map(|&at| [0, at, 0, 0x1_0000]).collect();
        dt.prop_str("compatible", "arm,cortex-a15-gic")
            .prop_cells("reg", &reg);
        dt.begin_node("v2m@8020000")
            .prop_str("compatible", "arm,gic-v2m-frame")
            .prop("msi-controller", &[])
            .prop_cells("reg", &[0, 0x0802_0000, 0, 0x1000])
            .end_node();
    }
    dt.end_node();
}

fn cpus(dt: &mut DtBuilder) {
    dt.begin_node("cpus")
        .prop_cells("#size-cells", &[0])
        .prop_cells("#address-cells", &[1]);
    for cpu in 0..4u32 {
        dt.begin_node(&std::format!("cpu@{cpu}"))
            .prop_cells("reg", &[cpu])
            .prop_str("enable-method", "psci")
            .prop_str("compatible", "arm,cortex-a57")
            .prop_str("device_type", "cpu")
            .end_node();
    }
    dt.begin_node("cpu-map").end_node();
    dt.end_node();
}

fn chosen(dt: &mut DtBuilder) {
    dt.begin_node("chosen")
        .prop_str("stdout-path", "/pl011@9000000")
        .prop_u64("kaslr-seed", 0x1234_5678_9abc_def0)
        .prop_str("bootargs", "dom0_mem=1024M console=dtuart");
    dt.begin_node("module@0x4a000000")
        .prop_cells("reg", &[0, 0x4a00_0000, 0, 0xf_4240])
        .prop_str("compatible", "multiboot,module\0multiboot,ramdisk")
        .end_node();
    dt.begin_node("module@0x49000000")
        .prop_str("bootargs", "console=hvc0 root=/dev/vda")
        .prop_cells("reg", &[0, 0x4900_0000, 0, 0xf_4241])
        .prop_str("compatible", "multiboot,module\0multiboot,kernel")
        .end_node();
    dt.end_node();
}
