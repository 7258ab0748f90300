// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine with a dom0 and two domUs, whose vCPUs tests make hypercalls with.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "for tests"
)]

use super::{Args, hypercall};
use crate::addr::{CpuId, DomId, Gfn, Gva, Mfn, PAGE_SIZE, Pa, PaRange};
use crate::boot::cmdline::{Options, Params};
use crate::cpu::kind::Kinds;
use crate::current::Current;
use crate::domain::context::Regs;
use crate::domain::{Domain, DomainConfig, GicLayout, LogBudget, Role};
use crate::fake::FakeHw;
use crate::frame::{Frames, Limits};
use crate::guest::copy::{GuestMemory, GuestPtr};
use crate::guest::shared::SharedPage;
use crate::keys::Showing;
use crate::p2m::{P2m, P2mType, PoolLimit};
use crate::sched::{DEFAULT_RATELIMIT_US, Scheduler};
use crate::sync::Lock;
use crate::system::{Domains, IrqOwners, System};
use crate::testing;
use crate::timer::Timers;
use crate::vgic::{Model, Vgic, VgicConfig};
use crate::virq::GlobalVirqs;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where the machine's RAM is.
pub const RAM: PaRange = PaRange {
    start: Pa(0x4000_0000),
    end: Pa(0x40c0_0000),
};
/// Pages each domain starts with.
pub const PAGES: u64 = 512;
/// Pages of those that have a virtual address, the machine one.
const MAPPED: u64 = 16;
/// Where a domU's RAM is.
pub const DOMU_GFN: u64 = 0x40000;
/// An address nobody maps.
pub const NOWHERE: u64 = 0x9000_0000;

/// The machine.
pub struct Machine {
    /// The processor and RAM.
    pub hw: &'static FakeHw,
    /// The hypervisor.
    pub sys: &'static System,
    /// dom0, d1 and d2.
    pub guests: [Guest; 3],
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A new one; its memory is never freed.
    pub fn new() -> Self {
        Self::of(1, testing::one_kind())
    }

    /// One with the CPUs of a Juno.
    pub fn juno() -> Self {
        Self::of(6, testing::juno_kinds())
    }

    fn of(nr_cpus: usize, kinds: Kinds) -> Self {
        let hw = FakeHw::leak(RAM.start.0, RAM.size());
        let frames = Frames::new(hw.ram.map, hw, &[RAM], &[]).unwrap();
        let sys: &'static System = Box::leak(Box::new(System {
            hw,
            map: hw.ram.map,
            frames: Box::leak(Box::new(frames)),
            guest_hw: testing::guest_hw(),
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
        let initial = Role {
            hardware: true,
            control: true,
            console: true,
            direct_mapped: true,
        };
        let guests = [
            Guest::new(sys, hw, 0, initial),
            Guest::new(sys, hw, 1, Role::default()),
            Guest::new(sys, hw, 2, Role::default()),
        ];
        Self { hw, sys, guests }
    }

    /// Domain 0, the initial one.
    pub fn dom0(&mut self) -> &mut Guest {
        &mut self.guests[0]
    }

    /// Domain 1.
    pub fn domu(&mut self) -> &mut Guest {
        &mut self.guests[1]
    }
}

/// A domain and the registers of its vCPU 0.
pub struct Guest {
    sys: &'static System,
    /// The domain.
    pub domain: Arc<Domain>,
    /// General registers.
    pub regs: Regs,
    /// Its first page.
    pub mfn: Mfn,
    /// Where the next structure goes.
    next: u64,
    /// Times a call was interrupted.
    pub restarts: u32,
}

impl Guest {
    fn new(sys: &'static System, hw: &'static FakeHw, id: u16, role: Role) -> Self {
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
            model: Model::V3,
            nr_vcpus: 2,
            nr_spis: 32,
            lr_count: 4,
            lrs_deactivate: true,
            priority_bits: 5,
            id_bits: 10,
            redist_region_ends: alloc::vec![],
        };
        let domain = Domain::new(
            sys,
            DomainConfig {
                id: DomId(id),
                role,
                nr_vcpus: 2,
                max_evtchn_port: 1023,
                max_grant_frames: 64,
                max_maptrack_frames: 1024,
                p2m,
                vmid,
                vgic: Vgic::new(vgic, hw),
                gic_layout: GicLayout::default(),
                cntvoff: 0,
                event_ppi: 31,
            },
        )
        .unwrap();
        let mfn = sys
            .frames
            .alloc_ram(domain.id, 9, Limits::default())
            .unwrap();
        let gfn = if role.direct_mapped {
            Gfn(mfn.0)
        } else {
            Gfn(DOMU_GFN)
        };
        domain.p2m.insert(gfn, mfn, PAGES, P2mType::RamRw).unwrap();
        domain.max_pages.store(PAGES as u32 * 2, Ordering::Relaxed);
        let mut mappings = hw.mappings.lock().unwrap();
        mappings.extend((0..MAPPED).map(|n| {
            let page = Mfn(mfn.0 + n).base().0;
            (page, page, true)
        }));
        drop(mappings);
        sys.domains.insert(domain.clone());
        domain.unpause();
        Self {
            sys,
            domain,
            regs: Regs::default(),
            mfn,
            next: 0,
            restarts: 0,
        }
    }

    /// Makes hypercall `number`, as often as it is interrupted.
    pub fn call(&mut self, number: u64, args: &[u64]) -> i64 {
        let mut all: Args = [0; 5];
        for (to, from) in all.iter_mut().zip(args) {
            *to = *from;
        }
        self.regs.x[..5].copy_from_slice(&all);
        self.regs.x[16] = number;
        loop {
            self.regs.pc = 0x1004;
            self.step();
            if self.regs.pc == 0x1004 {
                return self.regs.x[0] as i64;
            }
            assert_eq!(self.regs.pc, 0x1000);
            self.restarts += 1;
        }
    }

    /// Performs the hypercall that the registers ask for, once.
    pub fn step(&mut self) {
        let vcpu = self.domain.vcpu(0).unwrap().clone();
        hypercall(&mut Current {
            sys: self.sys,
            domain: &self.domain,
            vcpu: &vcpu,
            regs: &mut self.regs,
        });
    }

    /// Makes hypercall `number` with sub-operation `op` and a structure. Returns that, too.
    pub fn op<T>(&mut self, number: u64, op: u64, value: T) -> (i64, T)
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        let at = self.put(&value);
        let result = self.call(number, &[op, at]);
        (result, self.get(at))
    }

    /// The domain's frame number of its page `n`.
    pub fn gfn(&self, n: u64) -> u64 {
        match self.domain.role.direct_mapped {
            true => self.mfn.0 + n,
            false => DOMU_GFN + n,
        }
    }

    /// Virtual address of page `n`.
    pub fn page(&self, n: u64) -> u64 {
        Mfn(self.mfn.0 + n).base().0
    }

    /// Writes `value` somewhere in the first four pages.
    pub fn put<T: IntoBytes + Immutable + ?Sized>(&mut self, value: &T) -> u64 {
        let bytes = value.as_bytes();
        if self.next + bytes.len() as u64 > 4 * PAGE_SIZE {
            self.next = 0;
        }
        let at = self.page(0) + self.next;
        self.next += (bytes.len() as u64).next_multiple_of(16);
        self.memory().write_bytes(Gva(at), bytes).unwrap();
        at
    }

    /// The `T` at virtual address `at`.
    pub fn get<T: FromBytes + IntoBytes>(&self, at: u64) -> T {
        GuestPtr::new(at).read(self.memory()).unwrap()
    }

    fn memory(&self) -> GuestMemory {
        GuestMemory::new(self.sys, self.domain.id)
    }

    /// Its `shared_info`.
    pub fn shared_info(&self) -> SharedPage {
        let mfn = self.domain.shared_info.mfn();
        let page = self.sys.frames.get(mfn, self.domain.id).unwrap();
        super::page::share(self.sys.map, page)
    }

    /// Pages of RAM it owns.
    pub fn tot_pages(&self) -> u32 {
        self.sys.frames.tot_pages(self.domain.id)
    }
}
