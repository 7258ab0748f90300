// SPDX-License-Identifier: MIT OR Apache-2.0
//! What tests build a machine from: a [`System`] over fake RAM, and domains in it.
//!
//! ```ignore
//! let (hw, sys) = testing::system(RAM, 4);
//! let domain = testing::domain(sys, hw, Setup { id: 1, ..Setup::default() });
//! ```

#![allow(clippy::unwrap_used, reason = "tests")]

use crate::addr::{CpuId, DomId, PaRange};
use crate::boot::cmdline::{Options, Params};
use crate::cpu::kind::{Cpu, Kinds};
use crate::cpu::midr::Midr;
use crate::domain::create::{GuestGic, GuestHardware};
use crate::domain::{Domain, DomainConfig, GicLayout, LogBudget, Role};
use crate::fake::FakeHw;
use crate::frame::Frames;
use crate::keys::Showing;
use crate::p2m::{P2m, PoolLimit, Stage2Geometry, VmidAllocator};
use crate::sched::{DEFAULT_RATELIMIT_US, Scheduler};
use crate::sync::Lock;
use crate::system::{Domains, IrqOwners, System};
use crate::timer::Timers;
use crate::trap::idreg::IdRegs;
use crate::trap::smccc::Mitigations;
use crate::trap::sysreg::SysReg;
use crate::vgic::{Model, Vgic, VgicConfig};
use crate::virq::GlobalVirqs;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// List registers of the machine.
pub const NR_LRS: u32 = 4;

/// A system of `nr_cpus`, all online, with `ram`.
pub fn system(ram: PaRange, nr_cpus: usize) -> (&'static FakeHw, &'static System) {
    system_of(ram, nr_cpus, guest_hw())
}

/// The same, whose guests have `guest_hw`.
pub fn system_of(
    ram: PaRange,
    nr_cpus: usize,
    guest_hw: GuestHardware,
) -> (&'static FakeHw, &'static System) {
    system_with(ram, nr_cpus, guest_hw, one_kind())
}

/// A Juno's: two Cortex-A72 and four Cortex-A53.
pub fn juno(ram: PaRange) -> (&'static FakeHw, &'static System) {
    system_with(ram, 6, guest_hw(), juno_kinds())
}

/// One CPU, which is `midr`.
pub fn of_core(ram: PaRange, midr: Midr) -> (&'static FakeHw, &'static System) {
    let kinds = Kinds::new(alloc::vec![cpu(0, midr)], 5).unwrap();
    system_with(ram, 1, guest_hw(), kinds)
}

/// MIDR_EL1 of the cores of a Juno r2.
pub const A72: Midr = Midr(0x410f_d080);
/// See [`A72`].
pub const A53: Midr = Midr(0x410f_d033);

/// Their kinds.
pub fn juno_kinds() -> Kinds {
    Kinds::new(juno_cpus(), 2).unwrap()
}

/// The CPUs of a Juno r2.
pub fn juno_cpus() -> Vec<Cpu> {
    let cores = [A72, A72, A53, A53, A53, A53];
    (0..).zip(cores).map(|(n, midr)| cpu(n, midr)).collect()
}

fn cpu(n: u32, midr: Midr) -> Cpu {
    // ID_AA64MMFR0_EL1: 40 or 44 bits of addresses.
    let mmfr0 = if midr == A72 { 0x1124 } else { 0x1122 };
    Cpu {
        id: CpuId(n),
        midr,
        id_regs: IdRegs::from_reader(|reg| match reg {
            SysReg(0xc038) => mmfr0,
            _ => 0,
        }),
        mitigations: Mitigations::default(),
    }
}

/// CPUs of one kind.
pub fn one_kind() -> Kinds {
    Kinds::new(alloc::vec![cpu(0, A53)], 5).unwrap()
}

fn system_with(
    ram: PaRange,
    nr_cpus: usize,
    guest_hw: GuestHardware,
    kinds: Kinds,
) -> (&'static FakeHw, &'static System) {
    let hw = FakeHw::leak(ram.start.0, ram.size());
    let frames = Frames::new(hw.ram.map, hw, &[ram], &[]).unwrap();
    let sys: &'static System = Box::leak(Box::new(System {
        hw,
        map: hw.ram.map,
        frames: Box::leak(Box::new(frames)),
        guest_hw,
        domains: Domains::new(),
        irq_owners: IrqOwners::new(),
        virqs: GlobalVirqs::new(),
        typed: Showing::none(),
        log_budget: LogBudget::default(),
        params: Lock::new(Params::of(&Options::parse("console=dtuart noreboot"))),
        sched: Scheduler::new(nr_cpus, 62_500_000, DEFAULT_RATELIMIT_US),
        timers: Timers::new(nr_cpus),
        options: Options::parse("console=dtuart noreboot"),
        kinds,
        boot_ticks: 0,
    }));
    for cpu in 0..nr_cpus as u32 {
        sys.sched.set_online(CpuId(cpu));
    }
    (hw, sys)
}

/// A GICv3, 44 bits of addresses.
pub fn guest_hw() -> GuestHardware {
    GuestHardware {
        geometry: Stage2Geometry::for_pa_range(4).unwrap(),
        vmids: VmidAllocator::new(false),
        gic: GuestGic {
            model: Model::V3,
            lr_count: NR_LRS,
            lrs_deactivate: true,
            priority_bits: 5,
            nr_spis: 32,
            gicv: None,
        },
    }
}

/// What distinguishes one domain from another.
pub struct Setup {
    /// Its number.
    pub id: u16,
    /// What it may.
    pub role: Role,
    /// vCPUs.
    pub nr_vcpus: u32,
    /// Its interrupt controller.
    pub model: Model,
    /// And where that is.
    pub gic_layout: GicLayout,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            id: 1,
            role: Role::default(),
            nr_vcpus: 2,
            model: Model::V3,
            gic_layout: GicLayout::default(),
        }
    }
}

/// A domain with no memory yet. It is not in `sys.domains`, is paused, and its vCPUs are down.
pub fn domain(sys: &'static System, hw: &'static FakeHw, setup: Setup) -> Arc<Domain> {
    let id = DomId(setup.id);
    let vmid = sys.guest_hw.vmids.take().unwrap();
    let geometry = sys.guest_hw.geometry;
    let p2m = P2m::new(
        sys.frames,
        hw,
        geometry,
        vmid.number(),
        PoolLimit::Unlimited,
    )
    .unwrap();
    let vgic = VgicConfig {
        model: setup.model,
        nr_vcpus: setup.nr_vcpus,
        nr_spis: 32,
        lr_count: NR_LRS,
        lrs_deactivate: true,
        priority_bits: 5,
        id_bits: 10,
        redist_region_ends: Vec::new(),
    };
    let config = DomainConfig {
        id,
        role: setup.role,
        nr_vcpus: setup.nr_vcpus,
        max_evtchn_port: 1023,
        max_grant_frames: 64,
        max_maptrack_frames: 1024,
        p2m,
        vmid,
        vgic: Vgic::new(vgic, hw),
        gic_layout: setup.gic_layout,
        cntvoff: 0,
        event_ppi: 31,
    };
    Domain::new(sys, config).unwrap()
}
