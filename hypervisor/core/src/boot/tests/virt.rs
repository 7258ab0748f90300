// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is read from a `virt` machine, and what its dom0 gets, against what Xen 4.20 does there.

use super::*;
use crate::boot::cmdline::CommandLines;
use crate::boot::dom0_map::V2mFrame;
use crate::boot::host_dt::{EnableMethod, GicVersion, Psci};
use crate::boot::irq::Irq;
use crate::boot::modules::{ModuleKind, Modules};

const BANK: PaRange = PaRange {
    start: Pa(0x8000_0000),
    end: Pa(0xc000_0000),
};

fn ppi(number: u32) -> Irq {
    Irq {
        intid: 16 + number,
        edge: false,
    }
}

#[test]
fn the_machine_is_read() {
    with_host(&virt(true), |host| {
        assert_eq!(host.model(), Some("linux,dummy-virt"));
        assert_eq!(
            host.memory_banks().unwrap(),
            [range(0x4000_0000, 0xc000_0000)]
        );
        let cpus = host.cpus().unwrap();
        assert_eq!(
            cpus.iter().map(|cpu| cpu.mpidr).collect::<Vec<_>>(),
            [0, 1, 2, 3]
        );
        assert!(
            cpus.iter()
                .all(|c| c.available && c.enable == EnableMethod::Psci)
        );
        let psci = Psci {
            hvc: false,
            cpu_on_v0_1: None,
        };
        assert_eq!(host.psci(), Some(psci));
        let timer = host.timer().unwrap();
        assert_eq!(timer.secure_physical, Some(ppi(13)));
        assert_eq!(
            [timer.physical, timer.virtual_, timer.hypervisor],
            [14, 11, 10].map(ppi)
        );
        let uart = host.uart(None).unwrap();
        assert_eq!(uart.range, range(0x0900_0000, 0x1000));
        assert_eq!(uart.irq.map(|irq| (irq.intid, irq.edge)), Some((33, false)));
        let uart = host.uart(Some("serial0:115200n8")).unwrap();
        assert_eq!(uart.node.path(), "/pl011@9000000");
        assert!(host.uart(Some("serial7")).is_none());
    });
}

#[test]
fn both_gics_are_read() {
    with_host(&virt(true), |host| {
        let gic = host.gic().unwrap();
        assert_eq!(gic.distributor, range(0x0800_0000, 0x1_0000));
        assert_eq!(gic.maintenance, Some(ppi(9)));
        let GicVersion::V3 {
            redistributors,
            stride,
        } = gic.version
        else {
            panic!()
        };
        assert_eq!(redistributors, [range(0x080a_0000, 0x00f6_0000)]);
        assert_eq!(stride, None);
    });
    with_host(&virt(false), |host| {
        let GicVersion::V2 { virtual_cpu, .. } = host.gic().unwrap().version else {
            panic!()
        };
        assert_eq!(virtual_cpu, range(0x0804_0000, 0x1_0000));
    });
}

#[test]
fn modules_and_command_lines_are_found() {
    with_host(&virt(true), |host| {
        let modules = Modules::find(host).unwrap();
        assert_eq!(
            modules.kernel().unwrap().range,
            range(0x4900_0000, 0xf_4241)
        );
        assert_eq!(
            modules.ramdisk().unwrap().range,
            range(0x4a00_0000, 0xf_4240)
        );
        assert!(modules.domains.is_empty());
        let lines = CommandLines::find(host, &modules);
        assert_eq!(lines.xen, "dom0_mem=1024M console=dtuart");
        assert_eq!(lines.dom0, "console=hvc0 root=/dev/vda");
    });
}

#[test]
fn dom0_gets_the_devices_xen_gives_it() {
    with_host(&virt(false), |host| {
        let (_, map) = dom0_of(host, &[BANK]).unwrap();
        let mmio = [
            range(0x0802_0000, 0x1000),
            range(0x0903_0000, 0x1000),
            range(0x0a00_0000, 0x1000),
            range(0x1000_0000, 0x2f00_0000),
            range(0x40_1000_0000, 0x1000_0000),
            range(0x80_0000_0000, 0x80_0000_0000),
        ];
        assert_eq!(map.mmio, mmio);
        let edges = map.spis.iter().filter(|irq| irq.edge).map(|irq| irq.intid);
        assert_eq!(edges.collect::<Vec<_>>(), [48]);
        let levels = map.spis.iter().filter(|irq| !irq.edge).map(|irq| irq.intid);
        assert_eq!(levels.collect::<Vec<_>>(), [35, 36, 37, 39]);
        assert_eq!(map.frames[0].range, range(0x0802_0000, 0x1000));
        assert_eq!(map.frames[0].spis, None);
        let irqs = V2mFrame::irqs(V2mFrame::spis_from_typer(0x0050_0040));
        assert!(irqs.map(|irq| irq.intid).eq(0x50..0x90));
    });
}

#[test]
fn dom0_sees_the_tree_xen_gives_it() {
    let blob = with_host(&virt(true), |host| dom0_of(host, &[BANK]).unwrap().0);
    with_host(&blob, |dom0| {
        let gone = [
            "/pl011",
            "/pmu",
            "/memory@40000000",
            "/intc",
            "/chosen/module",
            "/interrupt-controller/its",
            "/cpus/cpu-map",
            "/cpus/cpu@2",
        ];
        for path in gone {
            assert!(dom0.find(path).is_none(), "{path}");
        }
        let gic = dom0.gic().unwrap();
        assert_eq!(gic.blocks().len(), 2);
        assert_eq!(dom0.find("/interrupt-controller").unwrap().id(), gic.node);
        let psci = Psci {
            hvc: true,
            cpu_on_v0_1: None,
        };
        assert_eq!(dom0.psci(), Some(psci));
        assert_eq!(dom0.memory_banks().unwrap(), [BANK]);
        let timer = dom0.interrupts(dom0.find("/timer").unwrap());
        assert_eq!(timer, [13, 14, 11].map(|n| Some(ppi(n))));
        let last: Vec<_> = dom0.root().children().map(|n| n.name()).collect();
        assert_eq!(
            last[last.len() - 4..],
            ["hypervisor", "psci", "cpus", "memory@80000000"]
        );
    });
}

#[test]
fn dom0_sees_the_hypervisor_node_xen_gives_it() {
    let blob = with_host(&virt(true), |host| dom0_of(host, &[BANK]).unwrap().0);
    with_host(&blob, |dom0| {
        let node = dom0.find("/hypervisor").unwrap();
        let compatible: Vec<_> = node.compatible().collect();
        assert_eq!(compatible, ["xen,xen-4.20", "xen,xen"]);
        let reg: Vec<_> = node.reg().flatten().collect();
        let regions = [
            range(0x4020_0000, 0x4_0000),
            range(0x4040_0000, 0x3fa0_0000),
            range(0xc000_0000, 0x3fe0_0000),
        ];
        assert_eq!(reg, regions);
        assert_eq!(dom0.interrupts(node), [Some(ppi(0))]);
        let chosen = dom0.find("/chosen").unwrap();
        assert_eq!(chosen.str("bootargs"), Some("console=hvc0"));
        assert_eq!(chosen.number("linux,initrd-start"), Some(0x8820_0000));
        assert_eq!(chosen.number("linux,initrd-end"), Some(0x8832_3456));
        assert!(chosen.has("kaslr-seed") && !chosen.has("stdout-path"));
    });
}

#[test]
fn dom0_keeps_the_msi_frame_of_a_gicv2() {
    let blob = with_host(&virt(false), |host| dom0_of(host, &[BANK]).unwrap().0);
    with_host(&blob, |dom0| {
        let gic = dom0.find("/interrupt-controller").unwrap();
        assert!(gic.is_compatible(&["arm,cortex-a15-gic"]) && gic.has("ranges"));
        let reg: Vec<_> = gic.reg().flatten().map(|r| r.start.0).collect();
        assert_eq!(reg, [0x0800_0000, 0x0801_0000]);
        let frame = dom0.find("/interrupt-controller/v2m@8020000").unwrap();
        assert!(frame.has("msi-controller"));
    });
}

#[test]
fn modules_without_a_kind_go_by_order() {
    let mut dt = DtBuilder::new(&[]);
    dt.begin_node("")
        .begin_node("chosen")
        .prop_str("bootargs", "quiet");
    for (name, compatible) in [
        ("a", "xen,multiboot-module"),
        ("b", "multiboot,module"),
        ("c", "multiboot,module\0xen,xsm-policy"),
    ] {
        dt.begin_node(name)
            .prop_str("compatible", compatible)
            .prop_cells("reg", &[0, 0x1000, 4096])
            .end_node();
    }
    dt.begin_node("domU1").prop_str("compatible", "xen,domain");
    dt.begin_node("kernel")
        .prop_str("compatible", "multiboot,module\0multiboot,kernel")
        .prop_cells("reg", &[0, 0x9000, 4096])
        .end_node();
    dt.end_node().end_node().end_node();
    with_host(&dt.finish(), |host| {
        let modules = Modules::find(host).unwrap();
        let kinds: Vec<_> = modules.dom0.iter().map(|m| m.kind).collect();
        use ModuleKind::{Kernel, Ramdisk, XsmPolicy};
        assert_eq!(kinds, [Kernel, Ramdisk, XsmPolicy]);
        let kinds = modules.domains[0].modules.iter().map(|m| m.kind);
        assert_eq!(kinds.collect::<Vec<_>>(), [Kernel]);
        assert_eq!(modules.domains.len(), 1);
        let lines = CommandLines::find(host, &modules);
        assert_eq!((lines.xen, lines.dom0), ("", "quiet"));
    });
}
