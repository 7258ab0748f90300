// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each register family, as a guest sees it.

use super::*;
use crate::fake::Event;

const SGI: u64 = 0x1_0000;
const FRAME: u64 = 0x2_0000;

struct Dist(Vgic, &'static FakeHw, Told);

impl Dist {
    fn new(model: Model) -> Self {
        let (vgic, hw, told) = noted(model);
        Self(vgic, hw, told)
    }
    fn read(&self, offset: u64) -> u64 {
        self.0
            .dist_access(1, offset, 4, Access::Read, &self.2)
            .expect("read")
    }
    fn write(&self, offset: u64, value: u64) {
        let done = self
            .0
            .dist_access(1, offset, 4, Access::Write(value), &self.2);
        assert_eq!(done, Ok(0));
    }
    fn sized(&self, offset: u64, size: u32, access: Access) -> Result<u64, AccessFault> {
        self.0.dist_access(1, offset, size, access, &self.2)
    }
    fn redist(&self, offset: u64, size: u32, access: Access) -> Result<u64, AccessFault> {
        self.0.redist_access(offset, size, access, &self.2)
    }
    fn rr(&self, offset: u64) -> u64 {
        self.redist(offset, 4, Access::Read).expect("read")
    }
    fn rw(&self, offset: u64, value: u64) {
        assert_eq!(self.redist(offset, 4, Access::Write(value)), Ok(0));
    }
}

#[test]
fn identification_is_as_xens() {
    let d = Dist::new(Model::V3);
    assert_eq!(d.read(0x0), 0x10);
    assert_eq!(d.read(0x4), 9 << 19 | 3 << 5 | 2);
    assert_eq!(d.read(0x8), 0x34c);
    assert_eq!(d.read(0xffe8), 0x30);
    for zero in [0xc, 0x10, 0x40, 0x80, 0x84, 0xd00, 0xe00, 0xffd0, 0xfff0] {
        assert_eq!(d.read(zero), 0, "{zero:#x}");
    }
    let d = Dist::new(Model::V2);
    assert_eq!(d.read(0x0), 0);
    assert_eq!(d.read(0x4), 3 << 5 | 2);
    assert_eq!(d.read(0x8), 0x43b);
    for zero in [0x80, 0xe00, 0xfe8, 0xffc] {
        assert_eq!(d.read(zero), 0, "{zero:#x}");
    }
}

#[test]
fn redistributors_identify_themselves() {
    let hw = FakeHw::leak(0, 2 << 20);
    let shape = VgicConfig {
        nr_vcpus: 19,
        redist_region_ends: vec![2],
        ..config(Model::V3)
    };
    let d = Dist(Vgic::new(shape, hw), hw, Told::default());
    let typer = |v: u64| d.redist(v * FRAME + 8, 8, Access::Read).expect("typer");
    assert_eq!(typer(0), 0);
    assert_eq!(typer(1), 1 << 32 | 1 << 8 | 1 << 4, "last of its region");
    assert_eq!(typer(17), 0x101 << 32 | 17 << 8);
    assert_eq!(typer(18), 0x102 << 32 | 18 << 8 | 1 << 4);
    assert_eq!(d.rr(17 * FRAME + 0xc), 0x101);
    assert_eq!(d.rr(17 * FRAME + 8), 17 << 8);
    assert_eq!((d.rr(4), d.rr(0xffe8)), (0x34c, 0x30));
    d.rw(0x14, 2);
    assert_eq!(d.rr(0x14), 0, "awake");
    assert_eq!(d.redist(0x70, 8, Access::Write(u64::MAX)), Ok(0));
    assert_eq!(d.redist(0x70, 8, Access::Read), Ok(0));
    assert_eq!(d.redist(19 * FRAME, 4, Access::Read), Err(AccessFault));
}

#[test]
fn sizes_and_bounds() {
    let d = Dist::new(Model::V3);
    for (offset, size) in [
        (0, 1),
        (0, 2),
        (0, 8),
        (2, 4),
        (0x104, 1),
        (0x104, 8),
        (0x402, 2),
        (0x401, 4),
        (0x440, 8),
        (0xc08, 2),
        (0x6104, 8),
        (0x6102, 4),
        (0x6100, 1),
        (0x10000, 4),
        (u64::MAX, 4),
        (0, 3),
        (0, 0),
    ] {
        assert_eq!(
            d.sized(offset, size, Access::Read),
            Err(AccessFault),
            "{offset:#x} {size}"
        );
        assert_eq!(
            d.sized(offset, size, Access::Write(1)),
            Err(AccessFault),
            "{offset:#x} {size}"
        );
    }
    for (offset, size) in [
        (0x421, 1),
        (0x420, 4),
        (0x6100, 8),
        (0x6104, 4),
        (0xfffc, 4),
        (0x7fd8, 8),
    ] {
        assert!(
            d.sized(offset, size, Access::Read).is_ok(),
            "{offset:#x} {size}"
        );
    }
    for (offset, size) in [(8, 1), (9, 4), (0xc, 8), (SGI + 0x100, 1), (u64::MAX, 8)] {
        assert_eq!(
            d.redist(offset, size, Access::Read),
            Err(AccessFault),
            "{offset:#x} {size}"
        );
    }
    let d = Dist::new(Model::V2);
    for (offset, size) in [(0x1000, 4), (0xf00, 1), (0xf10, 2), (0x801, 4), (0x6100, 8)] {
        assert_eq!(
            d.sized(offset, size, Access::Read),
            Err(AccessFault),
            "{offset:#x} {size}"
        );
    }
    assert_eq!(d.redist(0, 4, Access::Read), Err(AccessFault));
}

#[test]
fn enable_bits_set_and_clear() {
    let d = Dist::new(Model::V3);
    d.write(0x104, 0x8000_0001);
    assert_eq!((d.read(0x104), d.read(0x184)), (0x8000_0001, 0x8000_0001));
    d.write(0x184, 1);
    assert_eq!(d.read(0x104), 0x8000_0000);
    d.write(0x100, u64::MAX);
    assert_eq!(d.read(0x100), 0, "private ones are the redistributor's");
    d.write(0x10c, 0xffff_ffff);
    assert_eq!(d.read(0x10c), 0, "beyond the last");
    assert_eq!(d.rr(SGI + 0x100), 0xffff, "SGIs are enabled");
    d.rw(2 * FRAME + SGI + 0x100, 1 << 27);
    assert_eq!(d.rr(2 * FRAME + SGI + 0x180), 0x800_ffff);
    assert_eq!(d.rr(SGI + 0x100), 0xffff);
    assert_eq!(d.rr(SGI + 0x104), 0);
}

#[test]
fn last_registers_of_the_largest_controller() {
    let hw = FakeHw::leak(0, 2 << 20);
    let shape = VgicConfig {
        nr_spis: u32::MAX,
        ..config(Model::V2)
    };
    let d = Dist(Vgic::new(shape, hw), hw, Told::default());
    assert_eq!(d.read(4) & 0x1f, 31);
    d.write(0x17c, 0xffff_ffff);
    assert_eq!(d.read(0x17c), 0x0fff_ffff, "1020 to 1023 are no interrupts");
    d.write(0xcfc, 0xffff_ffff);
    assert_eq!(d.read(0xcfc), 0x00aa_aaaa);
    d.write(0x7fc, 0xffff_ffff);
    assert_eq!(d.read(0x7fc), 0);
    d.write(0xbfc, 0xffff_ffff);
    assert_eq!(d.read(0xbfc), 0);
}

#[test]
fn pending_and_active_bits_work() {
    let d = Dist::new(Model::V3);
    for (set, clear) in [(0x208, 0x288), (0x308, 0x388)] {
        d.write(set, 0x11);
        assert_eq!((d.read(set), d.read(clear)), (0x11, 0x11));
        d.write(clear, 0x1);
        assert_eq!((d.read(set), d.read(clear)), (0x10, 0x10));
    }
    d.rw(FRAME + SGI + 0x200, 3);
    assert_eq!(d.rr(FRAME + SGI + 0x200), 3);
    d.rw(FRAME + SGI + 0x280, 1);
    assert_eq!(d.rr(FRAME + SGI + 0x280), 2);
    d.0.set_line(None, 40, true, &d.2);
    d.write(0x284, 1 << 8);
    assert_eq!(d.read(0x204), 1 << 8, "a high line stays pending");
    d.0.set_line(None, 40, false, &d.2);
    assert_eq!(d.read(0x204), 0);
}

#[test]
fn priorities_keep_the_implemented_bits() {
    let d = Dist::new(Model::V3);
    d.write(0x440, 0xff80_a7a8);
    assert_eq!(d.read(0x440), 0xf880_a0a8);
    assert_eq!(d.sized(0x441, 1, Access::Write(0x10)), Ok(0));
    assert_eq!(d.sized(0x441, 1, Access::Read), Ok(0x10));
    assert_eq!(d.read(0x440), 0xf880_10a8);
    d.write(0x400, 0xffff_ffff);
    assert_eq!(d.read(0x400), 0);
    d.rw(SGI + 0x41c, 0xa0a0_a0a0);
    assert_eq!(d.rr(SGI + 0x41c), 0xa0a0_a0a0);
    assert_eq!(d.rr(FRAME + SGI + 0x41c), 0);
}

#[test]
fn triggers() {
    let d = Dist::new(Model::V3);
    d.write(0xc08, 0xffff_fffe);
    assert_eq!(d.read(0xc08), 0xaaaa_aaaa);
    d.rw(SGI + 0xc00, 0);
    assert_eq!(d.rr(SGI + 0xc00), 0xaaaa_aaaa, "SGIs are edges");
    d.rw(SGI + 0xc04, 0x2);
    assert_eq!(d.rr(SGI + 0xc04), 0x2);
}

#[test]
fn routes_by_affinity() {
    let hw = FakeHw::leak(0, 2 << 20);
    let d = Dist(
        Vgic::new(
            VgicConfig {
                nr_vcpus: 20,
                ..config(Model::V3)
            },
            hw,
        ),
        hw,
        Told::default(),
    );
    let router = 0x6000 + 8 * 33;
    let write = |size, at, value| assert_eq!(d.sized(at, size, Access::Write(value)), Ok(0));
    let route = || d.sized(router, 8, Access::Read).expect("route");
    assert!(d.0.link_hw(33, 133, &d.2));
    d.1.take_events();
    write(8, router, 0x103);
    assert_eq!(route(), 0x103);
    assert_eq!(d.1.take_events(), [Event::IrqRoute(133, CpuId(119))]);
    for bad in [0x104, 0x10, 0x1_0000, 1 << 32, 0x110, 0xffff_ffff_7fff_ffff] {
        write(8, router, bad);
        assert_eq!(route(), 0x103, "{bad:#x} is nobody's");
    }
    write(4, router, 2);
    assert_eq!(route(), 2);
    write(4, router + 4, 1);
    assert_eq!(route(), 2);
    write(8, router, 1 << 31 | 5);
    assert_eq!(route(), 0, "any is the first");
    write(8, 0x6000 + 8 * 5, 1);
    assert_eq!(d.sized(0x6000 + 8 * 5, 8, Access::Read), Ok(0));
}

#[test]
fn targets_by_mask() {
    let d = Dist::new(Model::V2);
    assert_eq!(d.read(0x800), 0x0202_0202, "who asks");
    d.write(0x800, 0xffff_ffff);
    assert_eq!(d.read(0x81c), 0x0202_0202);
    assert_eq!(d.read(0x820), 0x0101_0101);
    d.write(0x820, 0x0c_f0_00_04);
    assert_eq!(
        d.read(0x820),
        0x0401_0104,
        "lowest of the valid, none: unchanged"
    );
    assert_eq!(d.sized(0x821, 1, Access::Write(0x8)), Ok(0));
    assert_eq!(d.sized(0x821, 1, Access::Read), Ok(0x8));
    assert!(d.0.link_hw(34, 134, &d.2));
    d.1.take_events();
    assert_eq!(d.sized(0x822, 1, Access::Write(0x2)), Ok(0));
    assert_eq!(d.1.take_events(), [Event::IrqRoute(134, CpuId(101))]);
}

#[test]
fn sgi_sources_of_a_v2() {
    let d = Dist::new(Model::V2);
    d.write(0xf24, 0x0000_0b00); // SGI 5 from 0, 1, 3 to vCPU 1
    assert_eq!((d.read(0xf24), d.read(0xf14)), (0xb00, 0xb00));
    assert_eq!(d.read(0x200), 1 << 5);
    assert_eq!(d.sized(0xf15, 1, Access::Write(0x2)), Ok(0));
    assert_eq!(d.read(0xf24), 0x900);
    d.write(0x280, 0xffff);
    d.write(0x200, 0xffff);
    assert_eq!(
        d.read(0x200),
        1 << 5,
        "ISPENDR and ICPENDR do not touch SGIs"
    );
    assert_eq!(d.sized(0xf25, 1, Access::Write(0xf0)), Ok(0));
    assert_eq!(d.read(0xf24), 0x900, "no such sources");
}

#[test]
fn group_enable() {
    for (model, bit, off) in [(Model::V2, 1, 0), (Model::V3, 2, 0x10)] {
        let d = Dist::new(model);
        d.write(0, u64::MAX);
        assert_eq!(d.read(0), off | bit);
        assert_eq!(d.2.take(), [0, 1, 2, 3]);
        d.write(0, bit);
        assert_eq!(d.2.take(), []);
        d.write(0, !bit);
        assert_eq!(d.read(0), off);
    }
}

#[test]
fn linked_enables_reach_the_machine() {
    let d = Dist::new(Model::V3);
    assert!(d.0.link_hw(33, 133, &d.2));
    assert!(!d.0.link_hw(33, 134, &d.2), "once");
    assert!(!d.0.link_hw(20, 20, &d.2) && !d.0.link_hw(96, 96, &d.2));
    d.1.take_events();
    d.write(0x104, 2);
    d.write(0x104, 2);
    d.write(0xc08, 0xffff_ffff);
    d.write(0x184, 2);
    let (on, off) = (Event::IrqEnable(133, true), Event::IrqEnable(133, false));
    assert_eq!(d.1.take_events(), [on, off.clone()]);
    d.0.unlink_all(&d.2);
    assert_eq!(d.1.take_events(), [off]);
}

#[test]
fn dump_names_what_waits() {
    let d = Dist::new(Model::V3);
    d.write(0x204, 2);
    d.write(0x208, 2);
    let mut text = std::string::String::new();
    let mut part = Some(0);
    while let Some(at) = part {
        part = d.0.dump(at, &mut text).expect("dump");
    }
    assert!(text.contains("irq 33 at 0: pending disabled"), "{text}");
    assert_eq!(text.matches("irq 65 ").count(), 1, "{text}");
}
