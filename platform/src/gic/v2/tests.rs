// SPDX-License-Identifier: MIT OR Apache-2.0

//! The GICv2 driver over plain memory.

use super::*;
use crate::gic::Gic;
use crate::gic::distributor::{GICD_TYPER, ICENABLER, IGROUPR, ISENABLER};
use crate::mmio::fake::FakeRegisters;

struct Machine {
    gicd: FakeRegisters,
    gicc: FakeRegisters,
    gich: FakeRegisters,
}

impl Machine {
    /// 96 INTIDs, several CPUs of which this is interface 2, four list registers.
    fn new() -> Self {
        let machine = Self {
            gicd: FakeRegisters::new(GICD_SIZE),
            gicc: FakeRegisters::new(ALIASED_SIZE),
            gich: FakeRegisters::new(GICH_SIZE),
        };
        let gicd = machine.gicd.mmio();
        gicd.write32(GICD_ICPIDR2, 0x2b);
        gicd.write32(GICD_TYPER, 3 << 5 | 2);
        gicd.write32(GICD_ITARGETSR, 0x0404_0404);
        machine.gich.mmio().write32(GICH_VTR, 0x9000_0003);
        machine
    }

    fn regions(&self) -> GicV2Regions {
        GicV2Regions {
            gicd: self.gicd.base(),
            gicc: self.gicc.base(),
            gicc_size: 0x2000,
            gich: self.gich.base(),
            gicv: 0x4000_0000,
        }
    }

    fn driver(&self, regions: &GicV2Regions) -> GicV2 {
        // SAFETY: the memory outlives the driver in each test.
        unsafe { GicV2::new(regions) }.unwrap()
    }

    fn gic(&self) -> Gic {
        Gic::V2(self.driver(&self.regions()))
    }
}

#[test]
fn other_devices_are_refused() {
    let machine = Machine::new();
    let small = GicV2Regions {
        gicc_size: 0x1000,
        ..machine.regions()
    };
    // SAFETY: refused before any access.
    let refused = unsafe { Gic::new_v2(&small) };
    let expected = GicError::CpuInterfaceTooSmall { size: 0x1000 };
    assert_eq!(refused.err(), Some(expected));

    machine.gicd.mmio().write32(GICD_ICPIDR2, 0x3b);
    // SAFETY: the memory is there.
    let refused = unsafe { Gic::new_v2(&machine.regions()) };
    let message = refused.err().map(|error| error.to_string());
    assert!(message.unwrap().contains("PIDR2 is 0x3b"));
}

#[test]
fn repeated_pages_are_seen() {
    let machine = Machine::new();
    let regions = GicV2Regions {
        gicc_size: ALIASED_SIZE,
        ..machine.regions()
    };
    let plain = machine.driver(&regions);
    assert_eq!(plain.guest_cpu_interface(), 0x4000_0000);

    let gicc = machine.gicc.mmio();
    gicc.write32(GICC_IIDR, 0x0202_143b);
    gicc.write32(ALIASED_PAGES + GICC_IIDR, 0x0202_143b);
    let aliased = machine.driver(&regions);
    assert_eq!(aliased.guest_cpu_interface(), 0x4000_f000);
    aliased.deactivate(40);
    assert_eq!(gicc.read32(0x1_0000), 40);
}

#[test]
fn distributor_starts_quiet_and_targets_this_cpu() {
    let machine = Machine::new();
    let gic = machine.gic();
    assert_eq!(gic.lines(), 96);
    gic.init_distributor().unwrap();
    let gicd = machine.gicd.mmio();
    assert_eq!(gicd.read32(GICD_CTLR), 1);
    assert_eq!(gicd.read32(ICENABLER + 8), u32::MAX);
    assert_eq!(gicd.read32(IGROUPR + 4), 0);
    assert_eq!(gicd.read32(GICD_ITARGETSR + 92), 0x0404_0404);
    assert_eq!(gicd.read32(GICD_ITARGETSR + 96), 0);
}

#[test]
fn cpu_learns_its_interface_number() {
    let machine = Machine::new();
    let gic = machine.gic();
    let (gicd, gicc) = (machine.gicd.mmio(), machine.gicc.mmio());
    gicc.write32(GICC_CTLR, 0x6b);
    gic.send_sgi(1, 0x101);
    assert_eq!(gicd.read32(GICD_SGIR), 0, "not started yet");

    gic.init_cpu(0x8000_0101).unwrap();
    // Bypass bits of firmware stay; enabled, EOI only drops the priority.
    assert_eq!(gicc.read32(GICC_CTLR), 0x261);
    assert_eq!(gicc.read32(GICC_PMR), 0xff);
    gic.send_sgi(0x25, 0x101);
    assert_eq!(gicd.read32(GICD_SGIR), 4 << 16 | 5);
    gic.route(33, 0x101);
    assert_eq!(gicd.read32(GICD_ITARGETSR + 32), 0x0400);
    gic.route(31, 0x101);
    gic.route(96, 0x101);
    assert_eq!(gicd.read32(GICD_ITARGETSR + 96), 0);

    gic.disable_cpu();
    assert_eq!(gicc.read32(GICC_CTLR), 0x60, "off, without bypass");
}

#[test]
fn cpu_without_a_number_is_an_error() {
    let machine = Machine::new();
    machine.gicd.mmio().write32(GICD_ITARGETSR, 0);
    let gic = machine.gic();
    assert_eq!(gic.init_cpu(7), Err(GicError::NoCpuInterface(7)));
    machine.gicd.mmio().write32(GICD_TYPER, 2);
    assert_eq!(gic.init_cpu(7), Ok(()), "the only CPU");
}

#[test]
fn sgi_is_ended_with_its_source() {
    let machine = Machine::new();
    let gic = machine.gic();
    let gicc = machine.gicc.mmio();
    gicc.write32(GICC_IAR, 3 << 10 | 5);
    let ack = gic.acknowledge().unwrap();
    assert_eq!(ack.intid(), 5);
    gic.drop_priority(&ack);
    gic.deactivate_ack(&ack);
    assert_eq!(gicc.read32(GICC_EOIR), 3 << 10 | 5);
    assert_eq!(gicc.read32(GICC_DIR), 3 << 10 | 5);
    for special in 1020..=1023 {
        gicc.write32(GICC_IAR, special);
        assert_eq!(gic.acknowledge(), None);
    }
}

#[test]
fn interrupts_beyond_the_lines_are_ignored() {
    let machine = Machine::new();
    let gic = machine.gic();
    for intid in [96, 1019, 1023, 8192, u32::MAX] {
        gic.enable(intid);
        gic.set_priority(intid, 0);
        gic.set_edge(intid, true);
        assert!(!gic.is_enabled(intid));
    }
    gic.enable(95);
    assert_eq!(machine.gicd.mmio().read32(ISENABLER + 8), 1 << 31);
}

#[test]
fn list_registers_are_converted_and_bounded() {
    let machine = Machine::new();
    let gic = machine.gic();
    let gich = machine.gich.mmio();
    assert_eq!(gic.nr_lrs(), 4);
    let lr = 1 << 62 | 1 << 61 | 0xa0 << 48 | 40 << 32 | 40;
    gic.write_lr(3, lr);
    assert_eq!(gich.read32(GICH_LR + 12), 0x9a00_a028);
    assert_eq!(gic.read_lr(3), lr);
    gic.write_lr(4, lr);
    assert_eq!((gich.read32(GICH_LR + 16), gic.read_lr(4)), (0, 0));
    gich.write32(GICH_ELRSR, u32::MAX);
    assert_eq!(gic.elrsr(), 0xf);

    gic.init_cpu(0).unwrap();
    assert_eq!(gic.read_lr(3), 0);
}

#[test]
fn virtual_state_round_trips() {
    let machine = Machine::new();
    let gic = machine.gic();
    let state = VirtualState {
        vmcr: 0xf800_0001,
        apr: [[0x8000, 0, 0, 0], [0; 4]],
    };
    gic.restore_virtual(&state);
    assert_eq!(machine.gich.mmio().read32(GICH_VMCR), 0xf800_0001);
    let mut saved = VirtualState::default();
    gic.save_virtual(&mut saved);
    assert_eq!(saved, state);
}
