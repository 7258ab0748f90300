// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers, interrupts, and what reaches the console.

use super::*;
use crate::addr::CpuId;
use crate::fake::FakeHw;
use crate::vgic::{Model, VgicConfig};
use std::string::String;

struct Nobody;

impl VcpuNotify for Nobody {
    fn notify(&self, _: u32) {}
    fn cpu_of(&self, _: u32) -> CpuId {
        CpuId(0)
    }
}

struct Setup {
    hw: &'static FakeHw,
    vgic: Vgic,
    uart: Vpl011,
}

const SPI: u32 = 32;

impl Setup {
    fn new() -> Self {
        let hw = FakeHw::leak(0x4000_0000, 2 << 20);
        let config = VgicConfig {
            model: Model::V3,
            nr_vcpus: 1,
            nr_spis: 32,
            lr_count: 4,
            priority_bits: 5,
            id_bits: 10,
            redist_region_ends: alloc::vec![],
        };
        let vgic = Vgic::new(config, hw);
        // GICD_CTLR.EnableGrp1A, ISENABLER1.
        vgic.dist_access(0, 0, 4, Access::Write(2), &Nobody)
            .unwrap();
        vgic.dist_access(0, 0x104, 4, Access::Write(1), &Nobody)
            .unwrap();
        let range = (Ipa(0x2200_0000), 0x1000);
        let uart = Vpl011::new(hw, DomId(3), range, SPI, Backend::Console);
        Self { hw, vgic, uart }
    }

    fn read(&self, offset: u64) -> u32 {
        self.access(offset, 4, Access::Read).unwrap() as u32
    }

    fn write(&self, offset: u64, value: u32) {
        self.access(offset, 4, Access::Write(value.into())).unwrap();
    }

    fn access(&self, offset: u64, size: u32, access: Access) -> Option<u64> {
        self.uart.access(offset, size, access, &self.vgic, &Nobody)
    }

    fn type_in(&self, text: &str) {
        text.bytes()
            .for_each(|byte| self.uart.receive(byte, &self.vgic, &Nobody));
    }

    /// True if the guest would be interrupted.
    fn line(&self) -> bool {
        self.vgic.has_deliverable(0)
    }

    fn console(&self) -> String {
        String::from_utf8(self.hw.console.lock().unwrap().clone()).unwrap()
    }
}

#[test]
fn after_reset() {
    let setup = Setup::new();
    assert_eq!(setup.read(FR), 0x90);
    for register in [DR, 0x04, IMSC, RIS, MIS, 0x24, 0x30, 0xfe0, 0xffc] {
        assert_eq!(setup.read(register), 0, "{register:#x}");
    }
    assert_eq!(setup.uart.offset(Ipa(0x2200_0ffc)), Some(0xffc));
    assert_eq!(setup.uart.offset(Ipa(0x2200_1000)), None);
    assert_eq!(setup.uart.offset(Ipa(0x21ff_ffff)), None);
}

#[test]
fn what_aborts() {
    let setup = Setup::new();
    assert_eq!(setup.access(ICR, 4, Access::Read), None);
    for access in [Access::Read, Access::Write(0)] {
        assert_eq!(setup.access(DR, 8, access), None);
        assert_eq!(setup.access(DR + 2, 4, access), None);
        assert_eq!(setup.access(IMSC + 3, 2, access), None);
    }
}

#[test]
fn parts_of_registers() {
    let setup = Setup::new();
    setup.write(IMSC, 0xffff_ffff);
    assert_eq!(setup.read(IMSC), 0x7ff);
    assert_eq!(setup.access(IMSC + 1, 1, Access::Read), Some(7));
    setup.access(IMSC + 1, 1, Access::Write(1)).unwrap();
    setup.access(IMSC, 1, Access::Write(0x1_23)).unwrap();
    assert_eq!(setup.read(IMSC), 0x123);
    // Nothing is sent by a write that leaves the data out.
    setup.access(DR + 1, 1, Access::Write(0x41)).unwrap();
    assert_eq!(setup.read(RIS), 0);
}

#[test]
fn input_interrupts_until_it_is_read() {
    let setup = Setup::new();
    setup.type_in("a");
    assert_eq!(setup.read(RIS), RTI);
    assert!(!setup.line());
    setup.write(IMSC, RXI | RTI);
    assert!(setup.line());
    assert_eq!(setup.read(MIS), RTI);
    assert_eq!(setup.read(FR) & RXFE, 0);
    assert_eq!(setup.read(DR), u32::from(b'a'));
    assert!(!setup.line());
    assert_eq!(setup.read(FR), 0x90);

    setup.type_in("0123456789abcdef");
    assert_eq!(setup.read(RIS), RXI | RTI);
    setup.write(ICR, RTI);
    assert_eq!(setup.read(RIS), RXI);
    assert_eq!(setup.read(DR), u32::from(b'0'));
    assert_eq!(setup.read(RIS), 0);
    assert!(!setup.line());
    // What comes next is told of again.
    setup.type_in("g");
    assert!(setup.line());
    let rest: String = (0..16).map(|_| setup.read(DR) as u8 as char).collect();
    assert_eq!(rest, "123456789abcdefg");
    assert!(!setup.line());
}

#[test]
fn too_much_input_is_lost() {
    let setup = Setup::new();
    setup.type_in(&"x".repeat(FIFO + 10));
    assert_eq!(setup.read(FR) & (RXFF | RXFE), RXFF);
    let read = (0..2 * FIFO)
        .filter(|_| setup.read(DR) == u32::from(b'x'))
        .count();
    assert_eq!(read, FIFO);
}

#[test]
fn output_interrupts_until_it_is_cleared() {
    let setup = Setup::new();
    setup.write(IMSC, TXI);
    assert!(!setup.line());
    setup.write(DR, b'a'.into());
    assert!(setup.line());
    setup.write(ICR, TXI);
    assert!(!setup.line());
    setup.write(DR, b'b'.into());
    assert!(setup.line());
    setup.write(IMSC, 0);
    assert!(!setup.line());
    assert_eq!(setup.read(FR), 0x90);
}

#[test]
fn lines_reach_the_console_whole() {
    let setup = Setup::new();
    let write = |text: &str| text.bytes().for_each(|byte| setup.write(DR, byte.into()));
    write("hello\r\nwor");
    assert_eq!(setup.console(), "(d3) hello\n");
    write("ld\n# ");
    assert_eq!(setup.console(), "(d3) hello\n(d3) world\n");
    *setup.hw.input_of.lock().unwrap() = Some(DomId(3));
    setup.uart.show_unfinished();
    assert_eq!(setup.console(), "(d3) hello\n(d3) world\n# ");
    write("ls\n");
    assert_eq!(setup.console(), "(d3) hello\n(d3) world\n# ls\n");
}
