// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers, interrupts, and what reaches the console.

use super::*;
use crate::addr::{CpuId, Mfn};
use crate::fake::FakeHw;
use crate::guest::shared::SharedPage;
use crate::vgic::{Model, VgicConfig};
use core::cell::Cell;
use core::sync::atomic::Ordering::SeqCst;
use std::string::String;

struct Nobody;

impl VcpuNotify for Nobody {
    fn notify(&self, _: u32) {}
    fn cpu_of(&self, _: u32) -> CpuId {
        CpuId(0)
    }
}

impl Owner for Nobody {
    fn send(&self, _: u32) {}
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
            lrs_deactivate: true,
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

/// A UART whose other end is a ring, and what its server sees.
struct Ringed {
    vgic: Vgic,
    uart: Vpl011,
    page: SharedPage,
    owner: Bell,
}

/// Counts how often the server was told.
struct Bell(Cell<u32>);

impl VcpuNotify for Bell {
    fn notify(&self, _: u32) {}
    fn cpu_of(&self, _: u32) -> CpuId {
        CpuId(0)
    }
}

impl Owner for Bell {
    fn send(&self, port: u32) {
        assert_eq!(port, PORT);
        self.0.set(self.0.get() + 1);
    }
}

const PORT: u32 = 7;
const IN_CONS: usize = 3072;
const IN_PROD: usize = 3076;
const OUT_CONS: usize = 3080;
const OUT_PROD: usize = 3084;

impl Ringed {
    fn new() -> Self {
        let Setup { hw, vgic, .. } = Setup::new();
        // SAFETY: fake RAM is never freed, and only this page's atomics touch it.
        let page = unsafe { SharedPage::new(hw.ram.map, Mfn(0x40000), None) };
        page.write(0, &[0; 4096]).unwrap();
        let range = (Ipa(0x2200_0000), 0x1000);
        let end = Backend::Ring(ConsoleRing::new(page.clone()), PORT);
        Self {
            vgic,
            uart: Vpl011::new(hw, DomId(3), range, SPI, end),
            page,
            owner: Bell(Cell::new(0)),
        }
    }

    fn read(&self, offset: u64) -> u32 {
        self.uart
            .access(offset, 4, Access::Read, &self.vgic, &self.owner)
            .unwrap() as u32
    }

    fn write(&self, offset: u64, value: u32) {
        let write = Access::Write(value.into());
        self.uart
            .access(offset, 4, write, &self.vgic, &self.owner)
            .unwrap();
    }

    fn index(&self, at: usize) -> u32 {
        self.page.atomic_u32(at).unwrap().load(SeqCst)
    }

    fn set(&self, at: usize, value: u32) {
        self.page.atomic_u32(at).unwrap().store(value, SeqCst);
    }

    /// The server has changed something and says so.
    fn served(&self) {
        self.uart.served(PORT, &self.vgic, &self.owner);
    }

    fn send(&self, text: &str) {
        for byte in text.bytes() {
            let at = self.index(IN_PROD);
            let slot = self.page.atomic_u8((at % 1024) as usize).unwrap();
            slot.store(byte, SeqCst);
            self.set(IN_PROD, at.wrapping_add(1));
        }
        self.served();
    }

    fn told(&self) -> u32 {
        self.owner.0.take()
    }
}

#[test]
fn a_ring_takes_what_is_written() {
    let uart = Ringed::new();
    assert_eq!(uart.read(FR), TXFE | RXFE);
    for byte in *b"Xen" {
        uart.write(DR, byte.into());
    }
    assert_eq!((uart.index(OUT_PROD), uart.told()), (3, 3));
    let mut bytes = [0; 3];
    uart.page.read(1024, &mut bytes).unwrap();
    assert_eq!(&bytes, b"Xen");
    assert_eq!(uart.read(FR), RXFE);
    uart.set(OUT_CONS, 3);
    uart.served();
    assert_eq!(uart.read(FR), TXFE | RXFE);
    assert!(!uart.uart.is_on_console());
}

#[test]
fn a_full_ring_holds_the_guest_back() {
    let uart = Ringed::new();
    uart.write(IMSC, TXI);
    for n in 0..2048 {
        assert_eq!(uart.read(FR) & TXFF, 0);
        uart.write(DR, n);
        assert_eq!(uart.read(RIS) & TXI != 0, n < 2048 - 16);
    }
    assert_eq!(uart.read(FR) & (TXFF | TXFE), TXFF);
    assert!(!uart.vgic.has_deliverable(0) || uart.read(MIS) == 0);
    assert_eq!(uart.told(), 2048);
    uart.write(DR, 1);
    assert_eq!((uart.index(OUT_PROD), uart.told()), (2048, 0));
    uart.set(OUT_CONS, 100);
    uart.served();
    assert_eq!(uart.read(MIS), TXI);
    assert_eq!(uart.read(FR) & TXFF, 0);
}

#[test]
fn a_ring_brings_what_is_sent() {
    let uart = Ringed::new();
    uart.write(IMSC, RTI);
    uart.send("ab");
    assert_eq!(uart.read(FR) & RXFE, 0);
    assert!(uart.vgic.has_deliverable(0));
    assert_eq!((uart.read(DR), uart.told()), (u32::from(b'a'), 0));
    assert_eq!((uart.read(DR), uart.told()), (u32::from(b'b'), 1));
    assert_eq!((uart.read(DR), uart.told()), (0, 0));
    assert_eq!(uart.index(IN_CONS), 2);
    assert_eq!(uart.read(MIS), 0);
    uart.send(&"x".repeat(1024));
    assert_eq!(uart.read(FR) & RXFF, RXFF);
    assert_eq!(uart.read(RIS) & (RXI | RTI), RXI | RTI);
}

/// Whatever is in the ring: at worst bytes are lost.
#[test]
fn indexes_of_a_ring_may_be_anything() {
    let uart = Ringed::new();
    let values = [0, 1, 1023, 1024, 1025, 2047, 2048, 2049, 1 << 31, u32::MAX];
    for prod in values {
        for cons in values {
            for (at, value) in [
                (IN_CONS, cons),
                (IN_PROD, prod),
                (OUT_CONS, cons),
                (OUT_PROD, prod),
            ] {
                uart.set(at, value);
            }
            uart.served();
            for _ in 0..3 {
                uart.read(DR);
                uart.write(DR, 1);
                uart.read(FR);
            }
        }
    }
    let mut tail = [0; 1024];
    uart.page.read(3088, &mut tail[..1008]).unwrap();
    assert_eq!(tail, [0; 1024]);
}

#[test]
fn without_its_ring_it_is_quiet() {
    let uart = Ringed::new();
    uart.send("a");
    uart.uart.disconnect();
    assert_eq!(uart.read(FR), TXFE | RXFE);
    assert_eq!(uart.read(DR), 0);
    uart.write(DR, 1);
    uart.served();
    assert_eq!((uart.index(OUT_PROD), uart.told()), (0, 0));
}
