// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `virt` has not: buses in buses, maps of interrupts, many banks, reserved memory.

use super::*;
use crate::boot::host_dt::HostError;

/// Like Juno's motherboard: a bus with chip selects that maps its interrupts, with a bus in it.
fn board() -> Vec<u8> {
    let mut dt = DtBuilder::new(&[(0x8000_0000, 0x1_0000)]);
    dt.begin_node("")
        .prop_cells("interrupt-parent", &[1])
        .prop_cells("#address-cells", &[2])
        .prop_cells("#size-cells", &[2]);
    dt.begin_node("interrupt-controller@2c010000")
        .prop_str("compatible", "arm,gic-400\0arm,cortex-a15-gic")
        .prop_cells("#interrupt-cells", &[3])
        .prop_cells("#address-cells", &[1])
        .prop_cells("phandle", &[1])
        .prop_cells(
            "reg",
            &[
                0,
                0x2c01_0000,
                0,
                0x1000,
                0,
                0x2c02_f000,
                0,
                0x2000, //
                0,
                0x2c04_f000,
                0,
                0x2000,
                0,
                0x2c06_f000,
                0,
                0x2000,
            ],
        )
        .prop("interrupt-controller", &[])
        .end_node();
    dt.begin_node("timer")
        .prop_str("compatible", "arm,armv8-timer")
        .prop_cells("interrupts", &[1, 13, 8, 1, 14, 8, 1, 11, 8, 1, 10, 8])
        .end_node();
    dt.begin_node("iommu@7fb00000")
        .prop_str("compatible", "arm,mmu-401\0arm,smmu-v1")
        .prop_cells("phandle", &[7])
        .prop_cells("reg", &[0, 0x7fb0_0000, 0, 0x1_0000])
        .end_node();
    for (name, phandle) in [("iommu@fea00000", 8), ("memory-controller@70019000", 9)] {
        dt.begin_node(name)
            .prop_cells("#iommu-cells", &[1])
            .prop_cells("phandle", &[phandle])
            .end_node();
        dt.begin_node(&alloc::format!("behind-{phandle}"))
            .prop_cells("iommus", &[phandle, 0])
            .end_node();
    }
    dt.begin_node("nic@7ff50000")
        .prop("xen,passthrough", &[])
        .prop_str("status", "okay")
        .prop_cells("iommus", &[7, 0])
        .prop_cells("interrupts", &[0, 99, 4])
        .prop_cells("reg", &[0, 0x7ff5_0000, 0, 0x1000])
        .end_node();
    for (name, base) in [("memory@8,80000000", 8), ("memory@80000000", 0)] {
        dt.begin_node(name)
            .prop_str("device_type", "memory")
            .prop_cells("reg", &[base, 0x8000_0000, 0, 0x1000_0000])
            .end_node();
    }
    reserved(&mut dt);
    dt.begin_node("bus@8000000")
        .prop_str("compatible", "simple-bus")
        .prop_cells("#address-cells", &[2])
        .prop_cells("#size-cells", &[1])
        .prop_cells(
            "ranges",
            &[
                0,
                0,
                0,
                0x0800_0000,
                0x0400_0000,
                3,
                0,
                0,
                0x1c00_0000,
                0x0400_0000,
            ],
        )
        .prop_cells("#interrupt-cells", &[1])
        .prop_cells("interrupt-map-mask", &[0, 0, 63])
        .prop_cells(
            "interrupt-map",
            &[0, 0, 4, 1, 0, 0, 72, 4, 0, 0, 5, 1, 0, 0, 73, 1],
        );
    dt.begin_node("iofpga@300000000")
        .prop_str("compatible", "simple-bus")
        .prop_cells("#address-cells", &[1])
        .prop_cells("#size-cells", &[1])
        .prop_cells("ranges", &[0, 3, 0, 0x20_0000]);
    dt.begin_node("uart@90000")
        .prop_cells("reg", &[0x9_0000, 0x1000])
        .prop_cells("interrupts", &[5])
        .end_node();
    dt.begin_node("beyond@200000")
        .prop_cells("reg", &[0x1f_f800, 0x1000])
        .prop_cells("interrupts", &[9])
        .end_node();
    dt.begin_node("i2c@a0000")
        .prop_cells("reg", &[0xa_0000, 0x1000])
        .prop_cells("#address-cells", &[1])
        .prop_cells("#size-cells", &[0]);
    dt.begin_node("eeprom@50")
        .prop_cells("reg", &[0x50])
        .end_node();
    dt.end_node().end_node().end_node();
    dt.begin_node("mailbox")
        .prop_cells("interrupts-extended", &[1, 0, 36, 4, 1, 1, 3, 4, 77, 1])
        .end_node();
    dt.end_node();
    dt.finish()
}

fn reserved(dt: &mut DtBuilder) {
    dt.begin_node("reserved-memory")
        .prop_cells("#address-cells", &[2])
        .prop_cells("#size-cells", &[2])
        .prop("ranges", &[]);
    dt.begin_node("secure@8f000000")
        .prop_cells("reg", &[0, 0x8f00_0000, 0, 0x10_0000])
        .prop("no-map", &[])
        .end_node();
    dt.begin_node("linux,cma")
        .prop_cells("size", &[0, 0x400_0000])
        .end_node();
    dt.end_node();
}

#[test]
fn addresses_go_through_all_buses() {
    with_host(&board(), |host| {
        let bus = host.find("/bus/iofpga").unwrap().path();
        let at = |name| {
            let node = host.find(&(bus.clone() + name)).unwrap();
            node.reg().collect::<Vec<_>>()
        };
        assert_eq!(at("/uart"), [Some(range(0x1c09_0000, 0x1000))]);
        assert_eq!(at("/beyond"), [None]);
        assert_eq!(at("/i2c/eeprom@50"), [None]);
    });
}

#[test]
fn interrupts_go_through_maps() {
    with_host(&board(), |host| {
        let irqs = |path| {
            let irqs = host.interrupts(host.find(path).unwrap());
            let pairs = irqs
                .into_iter()
                .map(|irq| irq.map(|irq| (irq.intid, irq.edge)));
            pairs.collect::<Vec<_>>()
        };
        assert_eq!(irqs("/bus/iofpga/uart"), [Some((32 + 73, true))]);
        assert_eq!(irqs("/bus/iofpga/beyond"), [None]);
        assert_eq!(irqs("/mailbox"), [Some((68, false)), Some((19, false))]);
        assert_eq!(irqs("/bus"), []);
    });
}

#[test]
fn memory_and_reservations_are_found() {
    with_host(&board(), |host| {
        let banks = [
            range(0x8000_0000, 0x1000_0000),
            range(0x8_8000_0000, 0x1000_0000),
        ];
        assert_eq!(host.memory_banks().unwrap(), banks);
        let reserved = host.memory_reservations().collect::<Vec<_>>();
        assert_eq!(reserved, [range(0x8000_0000, 0x1_0000)]);
        let [secure] = host.reserved_memory()[..] else {
            panic!()
        };
        assert_eq!(secure.range, range(0x8f00_0000, 0x10_0000));
        assert_eq!(host.cpus().unwrap_err(), HostError::NoCpus);
    });
}

#[test]
fn an_unknown_controller_is_named() {
    let mut dt = DtBuilder::new(&[]);
    dt.begin_node("").prop_cells("interrupt-parent", &[1]);
    dt.begin_node("intc")
        .prop_cells("phandle", &[1])
        .prop_str("compatible", "acme,intc")
        .end_node();
    dt.end_node();
    with_host(&dt.finish(), |host| {
        assert_eq!(
            host.gic().unwrap_err(),
            HostError::NoGic("acme,intc".into())
        );
    });
}

#[test]
fn no_cells_at_all_end() {
    let mut dt = DtBuilder::new(&[]);
    dt.begin_node("")
        .prop_cells("#address-cells", &[0])
        .prop_cells("#size-cells", &[0])
        .prop_cells("#interrupt-cells", &[0])
        .prop_cells("interrupt-map", &[1, 1, 1]);
    dt.begin_node("device")
        .prop_cells("phandle", &[1])
        .prop_cells("reg", &[1, 2])
        .prop_cells("ranges", &[1, 2])
        .prop_cells("interrupts", &[1, 2])
        .end_node();
    dt.end_node();
    with_host(&dt.finish(), |host| {
        let node = host.find("/device").unwrap();
        assert_eq!((node.reg().count(), node.ranges().count()), (0, 0));
        assert!(host.interrupts(node).is_empty());
    });
}

#[test]
fn dom0_does_not_get_what_is_set_aside() {
    let blob = with_host(&board(), |host| {
        let (blob, map) = dom0_of(host, &[range(0x8000_0000, 0x800_0000)]).unwrap();
        let mmio = [range(0x1c09_0000, 0x1000), range(0x1c0a_0000, 0x1000)];
        assert_eq!(map.mmio, mmio);
        let spis: Vec<_> = map.spis.iter().map(|irq| irq.intid).collect();
        assert_eq!(spis, [32 + 73]);
        assert_eq!(map.reserved, [range(0x8f00_0000, 0x10_0000)]);
        blob
    });
    with_host(&blob, |dom0| {
        let device = dom0.find("/nic@7ff50000").unwrap();
        assert_eq!(device.str("status"), Some("disabled"));
        assert!(!device.has("xen,passthrough") && !device.has("iommus"));
        assert!(dom0.find("/iommu@7fb00000").is_none());
        assert!(dom0.find("/iommu@fea00000").is_none());
        assert!(dom0.find("/memory-controller@70019000").is_some());
        for behind in ["/behind-8", "/behind-9"] {
            assert!(!dom0.find(behind).unwrap().has("iommus"));
        }
        assert!(dom0.find("/mailbox").is_none());
        assert!(dom0.find("/chosen").unwrap().has("bootargs"));
        let banks = [
            range(0x8000_0000, 0x800_0000),
            range(0x8f00_0000, 0x10_0000),
        ];
        assert_eq!(dom0.memory_banks().unwrap(), banks);
    });
}

/// CPUs of two kinds, a trace unit of one of them, a sound card that calls something else its CPU,
/// and what only this board keeps from dom0.
fn big_little() -> Vec<u8> {
    let mut dt = DtBuilder::new(&[]);
    dt.begin_node("")
        .prop_cells("interrupt-parent", &[1])
        .prop_cells("#address-cells", &[2])
        .prop_cells("#size-cells", &[2]);
    dt.begin_node("intc")
        .prop_str("compatible", "arm,gic-400")
        .prop_cells("#interrupt-cells", &[3])
        .prop_cells("phandle", &[1])
        .prop_cells(
            "reg",
            &[
                0, 0x1000, 0, 0x1000, 0, 0x2000, 0, 0x2000, //
                0, 0x4000, 0, 0x2000, 0, 0x6000, 0, 0x2000,
            ],
        )
        .prop("interrupt-controller", &[])
        .end_node();
    dt.begin_node("timer")
        .prop_str("compatible", "arm,armv8-timer")
        .prop_cells("interrupts", &[1, 13, 8, 1, 14, 8, 1, 11, 8, 1, 10, 8])
        .end_node();
    dt.begin_node("cpus")
        .prop_cells("#address-cells", &[1])
        .prop_cells("#size-cells", &[0]);
    let cores = [(0x100, "arm,cortex-a53", 485), (0, "arm,cortex-a72", 1024)];
    for (n, (mpidr, name, capacity)) in cores.into_iter().enumerate() {
        dt.begin_node(&std::format!("cpu@{mpidr:x}"))
            .prop_cells("reg", &[mpidr])
            .prop_str("device_type", "cpu")
            .prop_str("compatible", name)
            .prop_cells("capacity-dmips-mhz", &[capacity])
            .prop_cells("phandle", &[10 + n as u32])
            .end_node();
    }
    dt.end_node();
    for (name, property, of) in [
        ("etm", "cpu", 10),
        ("pmu", "interrupt-affinity", 11),
        ("sound", "cpu", 1),
        ("none", "cpu", 99),
    ] {
        dt.begin_node(name).prop_cells(property, &[of]).end_node();
    }
    dt.begin_node("doors")
        .prop_str("compatible", "acme,keep-out")
        .end_node();
    dt.begin_node("memory")
        .prop_str("device_type", "memory")
        .prop_cells("reg", &[0, 0x8000_0000, 0, 0x1000_0000])
        .end_node();
    dt.end_node();
    dt.finish()
}

#[test]
fn what_belongs_to_a_cpu_is_not_dom0s() {
    let blob = with_host(&big_little(), |host| {
        dom0_of(host, &[range(0x8000_0000, 0x800_0000)]).unwrap().0
    });
    with_host(&blob, |dom0| {
        let there = ["etm", "pmu", "sound", "none", "doors"]
            .map(|name| dom0.find(&std::format!("/{name}")).is_some());
        assert_eq!(there, [false, false, true, true, false]);
        // vCPU 0 is like the CPU whose MPIDR is 0; nobody's is 1, and so it is like the first.
        let cpus = dom0.cpus().unwrap();
        let seen: Vec<_> = cpus.iter().map(|c| (c.compatible, c.capacity)).collect();
        let (big, little) = ("arm,cortex-a72", "arm,cortex-a53");
        assert_eq!(seen, [(big, Some(1024)), (little, Some(485))]);
    });
}
