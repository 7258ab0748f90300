// SPDX-License-Identifier: MIT OR Apache-2.0

//! The GICv3 driver over plain memory and fake system registers.

use super::redistributor::*;
use super::*;
use crate::gic::distributor::{GICD_TYPER, ICENABLER, IGROUPR, IPRIORITYR, ISENABLER};
use crate::gic::encoding::packed_affinity;
use crate::gic::{DEFAULT_PRIORITY, Gic};
use crate::mmio::fake::FakeRegisters;
use arm_sysregs::{el1, el2};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Serializes tests, as the fake system registers are one set.
static CPU: Mutex<()> = Mutex::new(());

fn this_cpu(mpidr: u64) -> MutexGuard<'static, ()> {
    let guard = CPU.lock().unwrap_or_else(PoisonError::into_inner);
    let mut registers = el1::fake::SYSREGS.lock().unwrap();
    registers.reset();
    registers.mpidr_el1 = el1::registers::MpidrEl1::from_bits_retain(mpidr);
    registers.id_aa64pfr0_el1 = el1::registers::IdAa64pfr0El1::from_bits_retain(1 << 24);
    el2::fake::SYSREGS.lock().unwrap().reset();
    *ich::fake::SYSREGS.lock().unwrap() = ich::fake::Registers {
        // Seven preemption bits, four list registers.
        ich_vtr_el2: 6 << 29 | 6 << 26 | 3,
        ..Default::default()
    };
    guard
}

/// Makes the frames at `offset` of `region` a redistributor for `mpidr`.
fn place(region: &FakeRegisters, offset: usize, mpidr: u64, flags: u64) {
    let regs = region.mmio().sub(offset, GICR_SIZE);
    regs.write32(PIDR2, 0x3b);
    let typer = u64::from(packed_affinity(mpidr)) << 32 | flags;
    regs.write64(GICR_TYPER, typer);
}

fn offset_of(regions: &[&FakeRegisters], stride: Option<usize>, mpidr: u64) -> Option<usize> {
    let regions: Vec<Mmio> = regions.iter().map(|region| region.mmio()).collect();
    let found = find_redistributor(&regions, stride, mpidr)?;
    let within =
        |region: &&Mmio| (region.base()..region.base() + region.size()).contains(&found.base());
    let region = regions.iter().find(within)?;
    Some(found.base() - region.base())
}

const LAST: u64 = GICR_TYPER_LAST;
const VLPIS: u64 = GICR_TYPER_VLPIS;

#[test]
fn walk_finds_by_affinity_over_several_regions() {
    let (first, second) = (FakeRegisters::new(0x6_0000), FakeRegisters::new(0x4_0000));
    place(&first, 0, 0, 0);
    place(&first, 0x2_0000, 0x1, LAST);
    // Behind the last one: must not be seen.
    place(&first, 0x4_0000, 0x2, LAST);
    place(&second, 0, 0x01_0000_0100, 0);
    place(&second, 0x2_0000, 0x101, 0);
    let regions = [&first, &second];
    assert_eq!(offset_of(&regions, None, 0x8000_0000), Some(0));
    assert_eq!(offset_of(&regions, None, 0x8100_0001), Some(0x2_0000));
    assert_eq!(offset_of(&regions, None, 0x2), None);
    assert_eq!(offset_of(&regions, None, 0x01_8000_0100), Some(0));
    assert_eq!(offset_of(&regions, None, 0x101), Some(0x2_0000));
    assert_eq!(
        offset_of(&regions, None, 0x100),
        None,
        "the walk ends with the region"
    );
}

#[test]
fn walk_keeps_the_stride() {
    let region = FakeRegisters::new(0x8_0000);
    place(&region, 0, 0, VLPIS);
    place(&region, 0x4_0000, 1, VLPIS | LAST);
    assert_eq!(offset_of(&[&region], None, 1), Some(0x4_0000));
    // A tree without the property, or with nonsense, is as none.
    for nonsense in [0, 0x1_0000, 0x2_0001, 0x3_fff0] {
        assert_eq!(offset_of(&[&region], Some(nonsense), 1), Some(0x4_0000));
    }
    assert_eq!(offset_of(&[&region], Some(usize::MAX & !0xffff), 1), None);

    let sparse = FakeRegisters::new(0x8_0000);
    place(&sparse, 0, 0, 0);
    place(&sparse, 0x3_0000, 1, LAST);
    assert_eq!(offset_of(&[&sparse], Some(0x3_0000), 1), Some(0x3_0000));
}

#[test]
fn walk_stops_at_what_is_no_redistributor() {
    let region = FakeRegisters::new(0x4_0000);
    place(&region, 0x2_0000, 0, LAST);
    assert_eq!(offset_of(&[&region], None, 0), None);
}

struct Machine {
    gicd: FakeRegisters,
    gicr: FakeRegisters,
}

impl Machine {
    /// 64 INTIDs and redistributors of CPUs 0 and 0x100.
    fn new() -> Self {
        let machine = Self {
            gicd: FakeRegisters::new(GICD_SIZE),
            gicr: FakeRegisters::new(0x4_0000),
        };
        machine.gicd.mmio().write32(PIDR2, 0x3b);
        machine.gicd.mmio().write32(GICD_TYPER, 1);
        place(&machine.gicr, 0, 0, 0);
        place(&machine.gicr, 0x2_0000, 0x100, LAST);
        machine
    }

    fn gic(&self) -> Gic {
        let regions = GicV3Regions {
            gicd: self.gicd.base(),
            redistributors: vec![RedistributorRegion {
                base: self.gicr.base(),
                size: 0x4_0000,
            }],
            stride: None,
        };
        // SAFETY: the memory outlives the driver in each test.
        unsafe { Gic::new_v3(regions) }.unwrap()
    }

    fn sgi_frame(&self) -> Mmio {
        self.gicr.mmio().sub(0x3_0000, GICR_FRAME_SIZE)
    }
}

#[test]
fn distributor_starts_quiet_with_affinity_routing() {
    let _cpu = this_cpu(0x8000_0100);
    let machine = Machine::new();
    let gicd = machine.gicd.mmio();
    // Firmware left group 1 on and one security state with 1-of-N wake-up.
    gicd.write32(GICD_CTLR, 0xc2);
    machine.gic().init_distributor().unwrap();
    assert_eq!(gicd.read32(GICD_CTLR), 0xc0 | 0x12);
    assert_eq!(gicd.read32(ICENABLER + 4), u32::MAX);
    assert_eq!(gicd.read32(IGROUPR + 4), u32::MAX);
    assert_eq!(gicd.read64(GICD_IROUTER + 8 * 63), 0x100);
    assert_eq!(gicd.read64(GICD_IROUTER + 8 * 64), 0);
}

#[test]
fn pending_writes_do_not_hang() {
    let _cpu = this_cpu(0);
    let machine = Machine::new();
    let gicr = machine.gicr.mmio();
    let gic = machine.gic();

    gicr.write32(GICR_CTLR, GICR_CTLR_RWP);
    assert_eq!(gic.init_cpu(0), Err(GicError::WritePending(gicr.base())));
    // Bit 31 is not RWP here.
    gicr.write32(GICR_CTLR, 1 << 31);
    assert_eq!(gic.init_cpu(0), Ok(()));
    gicr.write32(GICR_WAKER, GICR_WAKER_CHILDREN_ASLEEP);
    assert_eq!(
        gic.init_cpu(0),
        Err(GicError::RedistributorAsleep(gicr.base()))
    );
    assert_eq!(gic.init_cpu(5), Err(GicError::NoRedistributor(5)));
}

#[test]
fn cpu_without_system_registers_is_refused() {
    let _cpu = this_cpu(0);
    el1::fake::SYSREGS.lock().unwrap().id_aa64pfr0_el1 =
        el1::registers::IdAa64pfr0El1::from_bits_retain(0);
    let machine = Machine::new();
    assert_eq!(machine.gic().init_cpu(0), Err(GicError::NoSystemRegisters));
}

#[test]
fn cpu_interface_splits_drop_and_deactivation() {
    let _cpu = this_cpu(0x8000_0100);
    let machine = Machine::new();
    machine.gic().init_cpu(0x8000_0100).unwrap();
    let el1 = el1::fake::SYSREGS.lock().unwrap();
    assert_eq!(el1.icc_ctlr_el1, IccCtlrEl1::EOIMODE);
    assert_eq!(el1.icc_pmr_el1.bits(), 0xff);
    assert_eq!(el1.icc_igrpen1_el1.bits(), 1);
    let el2 = el2::fake::SYSREGS.lock().unwrap();
    assert_eq!(el2.icc_sre_el2.bits(), 0xf);
    assert_eq!(el2.ich_hcr_el2.bits(), 0);
    let frame = machine.sgi_frame();
    assert_eq!(frame.read32(ICENABLER), u32::MAX);
    assert_eq!(frame.read32(IGROUPR), u32::MAX);
    assert_eq!(
        frame.read32(IPRIORITYR + 28),
        u32::from_ne_bytes([DEFAULT_PRIORITY; 4])
    );
}

#[test]
fn private_interrupts_are_the_calling_cpus() {
    let _cpu = this_cpu(0x8000_0100);
    let machine = Machine::new();
    let gic = machine.gic();
    gic.enable(27);
    assert!(!gic.is_enabled(27), "not before init_cpu");
    gic.init_cpu(0x8000_0100).unwrap();
    gic.enable(27);
    gic.enable(40);
    gic.enable(64);
    assert_eq!(machine.sgi_frame().read32(ISENABLER), 1 << 27);
    assert_eq!(machine.gicd.mmio().read32(ISENABLER), 0);
    assert_eq!(machine.gicd.mmio().read32(ISENABLER + 4), 1 << 8);
    assert_eq!(machine.gicd.mmio().read32(ISENABLER + 8), 0);
}

#[test]
fn route_keeps_any_cpu_mode_off() {
    let _cpu = this_cpu(0);
    let machine = Machine::new();
    let gic = machine.gic();
    gic.route(40, 0x01_8000_0203);
    let gicd = machine.gicd.mmio();
    assert_eq!(gicd.read64(GICD_IROUTER + 320), 0x01_0000_0203);
    gic.route(31, 1);
    assert_eq!(gicd.read64(GICD_IROUTER + 248), 0);
}

#[test]
fn virtual_state_round_trips_through_all_active_priorities() {
    let _cpu = this_cpu(0);
    let machine = Machine::new();
    let gic = machine.gic();
    let state = VirtualState {
        vmcr: 0xf012_0001,
        apr: [[1, 2, 3, 4], [5, 6, 7, 8]],
    };
    gic.restore_virtual(&state);
    let mut saved = VirtualState::default();
    gic.save_virtual(&mut saved);
    assert_eq!(saved, state);

    // With five bits the other registers do not exist: an access would be undefined.
    ich::fake::SYSREGS.lock().unwrap().ich_vtr_el2 = 4 << 26 | 3;
    gic.restore_virtual(&VirtualState::default());
    let registers = ich::fake::SYSREGS.lock().unwrap();
    assert_eq!((registers.ich_ap0r0_el2, registers.ich_ap0r1_el2), (0, 2));
}

#[test]
fn list_registers_are_indexed() {
    let _cpu = this_cpu(0);
    let machine = Machine::new();
    let gic = machine.gic();
    assert_eq!(gic.nr_lrs(), 4);
    for n in 0..16 {
        gic.write_lr(n, n as u64 + 1);
    }
    assert!((0..16).all(|n| gic.read_lr(n) == n as u64 + 1));
    assert_eq!(ich::fake::SYSREGS.lock().unwrap().ich_lr11_el2, 12);
    gic.write_lr(16, 1);
    assert_eq!(gic.read_lr(16), 0);
}

#[test]
fn guest_without_system_registers_traps() {
    let _cpu = this_cpu(0);
    let machine = Machine::new();
    let gic = machine.gic();
    gic.set_guest_sre(false);
    let sre = || {
        (
            el2::fake::SYSREGS.lock().unwrap().icc_sre_el2.bits(),
            el1::fake::SYSREGS.lock().unwrap().icc_sre_el1.bits(),
        )
    };
    assert_eq!(sre(), (0x7, 0));
    gic.set_guest_sre(true);
    assert_eq!(sre(), (0xf, 1));
}
