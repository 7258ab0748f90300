// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's partial device tree: nodes to add to its own, and devices of the machine to give it
//! (Xen: `docs/misc/arm/passthrough.txt`).
//!
//! No IOMMU is used, so a device that is given away reaches all memory by DMA. Its node must say that
//! this is wanted (`xen,force-assign-without-iommu`).

use super::cells::Cells;
use super::domu_node::DomuError;
use super::dt_build::DtBuilder;
use super::host_dt::HostDt;
use super::irq::Irq;
use super::node::{Node, Nodes};
use crate::addr::{Gfn, Ipa, PAGE_SHIFT, PAGE_SIZE, Pa, PaRange};
use crate::domain::Domain;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Nodes below the partial tree's root that are copied.
const COPIED: &[&str] = &["aliases", "passthrough"];
const REG: &str = "xen,reg";
const PATH: &str = "xen,path";
const FORCE: &str = "xen,force-assign-without-iommu";

/// Registers to map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registers {
    /// Where they are.
    pub machine: PaRange,
    /// Where the domain sees them.
    pub guest: Ipa,
}

/// The devices a domain is given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Devices {
    /// Their registers, in whole pages.
    pub registers: Vec<Registers>,
    /// Their interrupts, which have the same number in the domain.
    pub irqs: Vec<Irq>,
}

/// What must not be given away or covered.
pub struct Limits<'a> {
    /// The machine's: RAM, the GIC, the console's UART.
    pub machine: &'a [PaRange],
    /// The interrupt of the console's UART.
    pub console: Option<u32>,
    /// The domain's addresses in use: RAM, GIC, UART, grant table.
    pub guest: &'a [PaRange],
    /// dom0, if there is one, which has what is not set aside.
    pub dom0: Option<&'a Domain>,
}

impl Limits<'_> {
    /// True if dom0 has any page of `machine`, where it is in the machine.
    fn is_dom0s(&self, machine: &PaRange) -> bool {
        let (first, nr) = (machine.start.frame().0, machine.size() >> PAGE_SHIFT);
        self.dom0.is_some_and(|dom0| {
            (first..)
                .zip(0..nr)
                .any(|(n, _)| dom0.p2m.lookup(Gfn(n)).is_some())
        })
    }

    /// Whose SPI `intid` is, if it cannot be given away.
    fn owner_of(&self, intid: u32) -> Option<&'static str> {
        if self.console == Some(intid) {
            return Some("the hypervisor's");
        }
        let is_dom0s = self.dom0.is_some_and(|dom0| dom0.vgic.is_linked(intid));
        is_dom0s.then_some("dom0's")
    }
}

/// Finds what the nodes of `partial` want of `host`.
///
/// # Errors
/// For what cannot or must not be given away.
pub fn devices(
    partial: &Nodes<'_>,
    host: &HostDt<'_>,
    limits: &Limits<'_>,
) -> Result<Devices, DomuError> {
    let mut devices = Devices::default();
    for node in partial.all() {
        if node.has("xen,pci-assigned") {
            return Err(refused(
                node,
                "xen,pci-assigned: no PCI device can be given away",
            ));
        }
        if node.has("xen,reg-cacheable") {
            return Err(refused(
                node,
                "xen,reg-cacheable is not supported; use xen,reg",
            ));
        }
        if !(node.has(REG) || node.has(PATH)) {
            continue;
        }
        if !node.has(FORCE) {
            let why = "no IOMMU is used, so the device will reach all memory by DMA: if its domain \
                       is trusted, say xen,force-assign-without-iommu";
            return Err(refused(node, why));
        }
        registers(node, limits, &mut devices.registers)?;
        if let Some(path) = node.str(PATH) {
            let device = host
                .find(path)
                .ok_or_else(|| refused(node, format!("xen,path: there is no {path}")))?;
            if limits.dom0.is_some() && !device.has("xen,passthrough") {
                let why = format!("xen,path: {path} is dom0's: give it xen,passthrough");
                return Err(refused(node, why));
            }
            let irqs = host.interrupts(device);
            for irq in irqs.into_iter().flatten().filter(|irq| irq.is_spi()) {
                if let Some(owner) = limits.owner_of(irq.intid) {
                    let why = format!("xen,path: {path} has interrupt {}, {owner}", irq.intid);
                    return Err(refused(node, why));
                }
                devices.irqs.push(irq);
            }
        }
    }
    devices.irqs.sort_by_key(|irq| irq.intid);
    devices.irqs.dedup_by_key(|irq| irq.intid);
    Ok(devices)
}

fn refused(node: Node<'_>, why: impl Into<String>) -> DomuError {
    let error = DomuError::new(node, why);
    DomuError {
        path: format!("partial device tree, {}", error.path),
        ..error
    }
}

/// `xen,reg`: machine address, size and guest address of each.
fn registers(
    node: Node<'_>,
    limits: &Limits<'_>,
    out: &mut Vec<Registers>,
) -> Result<(), DomuError> {
    let value = node
        .property(REG)
        .ok_or_else(|| refused(node, "xen,path without xen,reg"))?;
    let bus = node.parent().unwrap_or(node);
    let (address, size) = (bus.address_cells(), bus.size_cells());
    let mut cells = Cells(value);
    while !cells.0.is_empty() {
        let mut next = |n| cells.take_number(n);
        let triple = (|| Some((next(address)?, next(size)?, next(address)?)))();
        let (start, size, guest) =
            triple.ok_or_else(|| refused(node, "xen,reg: machine address, size, guest address"))?;
        let whole = |n: u64| n.is_multiple_of(PAGE_SIZE);
        let machine = PaRange::new(Pa(start), size);
        let seen = PaRange::new(Pa(guest), size);
        let (Some(machine), Some(seen), true) =
            (machine, seen, whole(start) && whole(size) && whole(guest))
        else {
            return Err(refused(
                node,
                format!("xen,reg: {start:#x} is not whole pages"),
            ));
        };
        if limits.machine.iter().any(|taken| taken.overlaps(&machine)) {
            let why = format!("xen,reg: {start:#x} is RAM, or the hypervisor's");
            return Err(refused(node, why));
        }
        if limits.is_dom0s(&machine) {
            let why = format!(
                "xen,reg: {start:#x} is dom0's: give its node in the machine's tree xen,passthrough"
            );
            return Err(refused(node, why));
        }
        let others = out
            .iter()
            .map(|r| PaRange::new(Pa(r.guest.0), r.machine.size()));
        let mut taken = limits.guest.iter().copied().chain(others.flatten());
        if taken.any(|taken| taken.overlaps(&seen)) {
            let why = format!("xen,reg: something else is at {guest:#x} in the domain");
            return Err(refused(node, why));
        }
        out.push(Registers {
            machine,
            guest: Ipa(guest),
        });
    }
    Ok(())
}

/// The phandle by which the partial tree's nodes name the interrupt controller.
pub fn gic_phandle(partial: &Nodes<'_>) -> Option<u32> {
    partial.find("/gic")?.phandle()
}

/// Copies the nodes that go into the domain's tree.
pub fn copy(partial: &Nodes<'_>, out: &mut DtBuilder) {
    for node in partial.root().children() {
        if COPIED.contains(&node.name()) {
            copy_node(node, out);
        }
    }
}

/// The depth is bounded by that of a checked tree.
fn copy_node(node: Node<'_>, out: &mut DtBuilder) {
    out.begin_node(node.name());
    for property in node.properties() {
        if !property.name.starts_with("xen,") {
            out.prop(property.name, property.value);
        }
    }
    node.children().for_each(|child| copy_node(child, out));
    out.end_node();
}

#[cfg(test)]
mod tests {
    use super::super::tests::{range, virt, with_host};
    use super::*;
    use crate::addr::Mfn;
    use crate::p2m::P2mType;
    use crate::testing::{self, Setup};
    use alloc::sync::Arc;

    /// A dom0 that has the page and the interrupt of QEMU's PL031.
    fn dom0() -> Arc<Domain> {
        let (hw, sys) = testing::system(range(0x4000_0000, 0x80_0000), 1);
        let setup = Setup {
            id: 0,
            ..Setup::default()
        };
        let domain = testing::domain(sys, hw, setup);
        let (gfn, mfn) = (Gfn(0x9010), Mfn(0x9010));
        domain.p2m.insert(gfn, mfn, 1, P2mType::MmioCached).unwrap();
        assert!(domain.vgic.link_hw(34, 34, &*domain));
        domain
    }

    /// A partial tree with one device below `/passthrough`.
    fn partial(device: impl FnOnce(&mut DtBuilder)) -> Vec<u8> {
        let mut dt = DtBuilder::new(&[]);
        dt.begin_node("")
            .prop_cells("#address-cells", &[2])
            .prop_cells("#size-cells", &[1]);
        dt.begin_node("gic")
            .prop_cells("#interrupt-cells", &[3])
            .prop_cells("phandle", &[7])
            .end_node();
        dt.begin_node("aliases")
            .prop_str("gpio", "/passthrough/gpio@10000000")
            .end_node();
        dt.begin_node("passthrough")
            .prop_str("compatible", "simple-bus")
            .prop("ranges", &[])
            .prop_cells("#address-cells", &[2])
            .prop_cells("#size-cells", &[1]);
        dt.begin_node("gpio@10000000")
            .prop_str("compatible", "arm,pl061")
            .prop_cells("reg", &[0, 0x1000_0000, 0x1000]);
        device(&mut dt);
        dt.end_node().end_node().end_node();
        dt.finish()
    }

    fn find(device: impl FnOnce(&mut DtBuilder), has_dom0: bool) -> Result<Devices, String> {
        find_in(&virt(true), device, has_dom0)
    }

    fn find_in(
        host: &[u8],
        device: impl FnOnce(&mut DtBuilder),
        has_dom0: bool,
    ) -> Result<Devices, String> {
        let dom0 = has_dom0.then(dom0);
        let limits = Limits {
            machine: &[range(0x4000_0000, 0xc000_0000), range(0x900_0000, 0x1000)],
            console: Some(33),
            guest: &[range(0x4000_0000, 0x1000_0000)],
            dom0: dom0.as_deref(),
        };
        with_host(host, |host| {
            with_host(&partial(device), |tree| {
                devices(tree, host, &limits).map_err(|error| format!("{error}"))
            })
        })
    }

    fn pl061(dt: &mut DtBuilder) {
        dt.prop_cells(REG, &[0, 0x0903_0000, 0x1000, 0, 0x1000_0000])
            .prop_str(PATH, "/pl061@9030000")
            .prop(FORCE, &[]);
    }

    #[test]
    fn a_device_is_found() {
        let found = find(pl061, false).unwrap();
        let registers = Registers {
            machine: range(0x0903_0000, 0x1000),
            guest: Ipa(0x1000_0000),
        };
        assert_eq!(found.registers, [registers]);
        let irq = Irq {
            intid: 39,
            edge: false,
        };
        assert_eq!(found.irqs, [irq]);
        assert_eq!(find(|_| (), true).unwrap(), Devices::default());
    }

    #[test]
    fn what_must_not_be_given_away() {
        let why = |reg: &'static [u32]| {
            find(
                |dt| {
                    dt.prop_cells(REG, reg).prop(FORCE, &[]);
                },
                false,
            )
            .unwrap_err()
        };
        assert!(why(&[0, 0x4000_0000, 0x1000, 0, 0x1000_0000]).contains("is RAM"));
        assert!(why(&[0, 0x0900_0000, 0x1000, 0, 0x1000_0000]).contains("hypervisor's"));
        assert!(why(&[0, 0x0903_0000, 0x1000, 0, 0x4100_0000]).contains("something else"));
        assert!(why(&[0, 0x0903_0000, 0x200, 0, 0x1000_0000]).contains("whole pages"));
        assert!(why(&[0, 0x0903_0000, 0x1000, 0]).contains("guest address"));
        let twice = [0, 0x0903_0000, 0x1000, 0, 0x1000_0000];
        let twice: &'static [u32] = [twice, twice].concat().leak();
        assert!(why(twice).contains("something else"));

        assert!(find(pl061, true).unwrap_err().contains("is dom0's"));
        let unforced = |dt: &mut DtBuilder| {
            dt.prop_cells(REG, &[0, 0x0903_0000, 0x1000, 0, 0x1000_0000]);
        };
        let error = find(unforced, false).unwrap_err();
        let path = "partial device tree, /passthrough/gpio@10000000: no IOMMU";
        assert!(error.starts_with(path), "{error}");
        let nowhere = |dt: &mut DtBuilder| {
            pl061(dt);
            dt.prop_str(PATH, "/nothing");
        };
        let _ = find(nowhere, false);
        let pci = |dt: &mut DtBuilder| {
            dt.prop_cells("xen,pci-assigned", &[0, 7, 0]);
        };
        assert!(find(pci, false).is_err());
    }

    /// A machine with one device, set aside, that has SPI `spi`.
    fn set_aside(spi: u32) -> Vec<u8> {
        let mut dt = DtBuilder::new(&[]);
        dt.begin_node("")
            .prop_cells("interrupt-parent", &[1])
            .prop_cells("#address-cells", &[2])
            .prop_cells("#size-cells", &[2]);
        dt.begin_node("intc@8000000")
            .prop_str("compatible", "arm,gic-v3")
            .prop("interrupt-controller", &[])
            .prop_cells("#interrupt-cells", &[3])
            .prop_cells("phandle", &[1])
            .prop_cells(
                "reg",
                &[0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0xf6_0000],
            )
            .end_node();
        dt.begin_node("pl061@9030000")
            .prop("xen,passthrough", &[])
            .prop_cells("reg", &[0, 0x903_0000, 0, 0x1000])
            .prop_cells("interrupts", &[0, spi, 4])
            .end_node();
        dt.end_node();
        dt.finish()
    }

    #[test]
    fn interrupts_of_others_are_not_given_away() {
        let of = |spi, has_dom0| find_in(&set_aside(spi), pl061, has_dom0);
        assert_eq!(of(7, true).unwrap().irqs.len(), 1);
        // One that a device of dom0's has, too.
        assert_eq!(of(2, false).unwrap().irqs.len(), 1);
        let error = of(2, true).unwrap_err();
        assert!(
            error.ends_with("/pl061@9030000 has interrupt 34, dom0's"),
            "{error}"
        );
        // The console's.
        for has_dom0 in [false, true] {
            let error = of(1, has_dom0).unwrap_err();
            assert!(error.ends_with("interrupt 33, the hypervisor's"), "{error}");
        }
    }

    #[test]
    fn registers_of_dom0s_are_not_given_away() {
        let named = |start: u32, size: u32| {
            let device = move |dt: &mut DtBuilder| {
                dt.prop_cells(REG, &[0, start, size, 0, 0x1000_0000])
                    .prop(FORCE, &[]);
            };
            (find(device, false), find(device, true))
        };
        for (start, size) in [
            (0x901_0000, 0x1000),
            (0x900_f000, 0x2000),
            (0x901_0000, 0x8000),
        ] {
            let (alone, beside) = named(start, size);
            assert!(alone.is_ok());
            assert!(beside.unwrap_err().contains("is dom0's"));
        }
        assert!(named(0x901_1000, 0x1000).1.is_ok());
    }

    #[test]
    fn nodes_are_copied_without_what_is_for_us() {
        with_host(&partial(pl061), |tree| {
            assert_eq!(gic_phandle(tree), Some(7));
            let mut out = DtBuilder::new(&[]);
            out.begin_node("");
            copy(tree, &mut out);
            out.end_node();
            with_host(&out.finish(), |copied| {
                assert!(copied.find("/gic").is_none());
                assert!(copied.find("/aliases").is_some());
                let node = copied.find("/passthrough/gpio@10000000").unwrap();
                let names: Vec<_> = node.properties().map(|p| p.name).collect();
                assert_eq!(names, ["compatible", "reg"]);
            });
        });
    }
}
