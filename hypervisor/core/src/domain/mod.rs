// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain: its memory, vCPUs, interrupt controller, events and life.

pub mod context;
pub mod create;
mod death;
pub mod life;
mod log_budget;
pub mod runstate;
pub mod vcpu;
mod watchdog;
pub mod xen_pages;

pub use log_budget::LogBudget;

use crate::addr::{CpuId, DomId, Gfn, Ipa, PaRange};
use crate::cpu::kind::KindId;
use crate::event::{self, EventChannels, EventDomain};
use crate::grant::GrantTable;
use crate::guest::shared::SharedPage;
use crate::nospec;
use crate::p2m::{P2m, Vmid};
use crate::sched::{Place, Share, bit, pause};
use crate::sync::{Lock, rank};
use crate::system::System;
use crate::vdev::line::Line;
use crate::vdev::vpl011::{Owner, Vpl011};
use crate::vgic::{Access, VcpuNotify, Vgic};
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use life::Life;
use spin::Once;
use vcpu::Vcpu;
use xen_abi::arch_arm::GUEST_GICC_SIZE;
use xen_abi::errno::Errno;
use xen_abi::xen::VMASST_TYPE_RUNSTATE_UPDATE_FLAG;
use xen_pages::XenPage;

/// The virtual timer's PPI, in every domain.
pub const PPI_VIRT_TIMER: u32 = 27;
/// The EL1 physical timer's PPI.
pub const PPI_PHYS_TIMER: u32 = 30;

/// What a domain may do beyond an ordinary guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Role {
    /// Has the machine's devices; its end is the machine's.
    pub hardware: bool,
    /// May manage other domains.
    pub control: bool,
    /// Owns the console.
    pub console: bool,
    /// Its RAM is where its guest physical addresses say (`XENFEAT_direct_mapped`).
    pub direct_mapped: bool,
}

/// Where a domain's emulated interrupt controller is.
#[derive(Clone, Debug, Default)]
pub struct GicLayout {
    /// The distributor: first address, bytes.
    pub gicd: (Ipa, u64),
    /// The redistributor regions of a GICv3, in the order of the vCPUs.
    pub gicr: Vec<(Ipa, u64)>,
    /// The CPU interface of a GICv2, backed by GICV.
    pub gicc: Option<(Ipa, u64)>,
}

/// What a domain is made of.
pub struct DomainConfig {
    /// Its number.
    pub id: DomId,
    /// What it may do.
    pub role: Role,
    /// vCPUs.
    pub nr_vcpus: u32,
    /// Highest event channel port.
    pub max_evtchn_port: u32,
    /// `gnttab_max_frames`.
    pub max_grant_frames: u32,
    /// `gnttab_max_maptrack_frames`.
    pub max_maptrack_frames: u32,
    /// Its stage-2 tables.
    pub p2m: P2m,
    /// The VMID they were made for.
    pub vmid: Vmid,
    /// Its interrupt controller.
    pub vgic: Vgic,
    /// Where that is.
    pub gic_layout: GicLayout,
    /// CNTVOFF_EL2: the virtual counter starts at 0.
    pub cntvoff: u64,
    /// The PPI that announces events.
    pub event_ppi: u32,
}

/// A domain.
pub struct Domain {
    /// Its number.
    pub id: DomId,
    /// Everything else.
    pub sys: &'static System,
    /// What it may do.
    pub role: Role,
    /// Its stage-2 tables.
    pub p2m: P2m,
    /// Free again after the tables are gone: fields are dropped in this order.
    _vmid: Vmid,
    /// Its interrupt controller.
    pub vgic: Vgic,
    /// Where that is.
    pub gic_layout: GicLayout,
    /// Its event channels.
    pub events: EventChannels,
    /// Its grant table.
    pub grants: GrantTable,
    /// `shared_info`.
    pub shared_info: XenPage,
    /// Its UART, if it was given one.
    pub uart: Once<Vpl011>,
    /// The line it writes by `console_io`, if it is one that may: Xen lets domains of the device
    /// tree, for the early messages of their kernels.
    pub console_line: Once<Lock<Line, { rank::VGIC_DIST }>>,
    /// CNTVOFF_EL2.
    pub cntvoff: u64,
    /// The PPI that announces events.
    pub event_ppi: u32,
    /// `HVM_PARAM_*` by index; only those 4.20 has on Arm are ever set.
    pub hvm_params: Lock<[u64; 32], { rank::DOMAIN }>,
    /// `VMASST_TYPE_*` bits.
    pub vm_assist: AtomicU32,
    /// Pauses, shutdown, watchdogs.
    pub life: Lock<Life, { rank::DOMAIN }>,
    /// A [`life::Stage`].
    stage: AtomicU8,
    log_budget: LogBudget,
    /// The vCPU that last ran on each CPU; `u32::MAX`: none.
    last_ran: Box<[AtomicU32]>,
    /// Pages of RAM it may have; its builder sets this.
    pub max_pages: AtomicU32,
    /// Its UUID, all zero for the initial domain.
    pub handle: Lock<[u8; 16], { rank::DOMAIN }>,
    /// False while it still is what a new domain is to a toolstack: 32-bit.
    pub is_64bit: AtomicBool,
    /// Seconds that its wall clock is ahead of the machine's.
    pub time_offset: AtomicI64,
    /// Devices' registers that it may be given, or give if it is the control domain.
    pub iomem: Lock<Vec<PaRange>, { rank::DOMAIN }>,
    /// SPIs that it has not, and may give.
    pub spare_irqs: Once<Box<[u32]>>,
    /// A toolstack has set `XEN_DOMCTL_setdebugging`.
    pub is_debugged: AtomicBool,
    /// The domain that it serves as device model (`XEN_DOMCTL_set_target`).
    pub target: Once<Weak<Domain>>,
    /// `GNTTABOP_cache_flush` of its own pages, and of others' that it has mapped.
    pub cache_flushes: CacheFlushes,
    /// What of the CPUs' time it is to have.
    pub share: Arc<Share>,
    /// Its vCPUs, made with it.
    all_vcpus: Box<[Arc<Vcpu>]>,
    /// False until a toolstack has asked for them.
    has_vcpus: AtomicBool,
}

/// How often a domain had caches maintained for DMA.
#[derive(Default)]
pub struct CacheFlushes {
    /// Of its own pages.
    pub own: AtomicU64,
    /// Of others' pages, which it has mapped by grants.
    pub foreign: AtomicU64,
}

impl Domain {
    /// A domain whose vCPUs are all down and which is paused.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(sys: &'static System, config: DomainConfig) -> Result<Arc<Self>, Errno> {
        let shared_info = XenPage::new(sys, config.id)?;
        // SAFETY: the page is the domain's for as long as `shared_info`, which lives in the domain
        // beside the channels; only atomics touch it.
        let shared_page = unsafe { SharedPage::new(sys.map, shared_info.mfn(), None) };
        let events = EventChannels::new(
            config.id,
            config.nr_vcpus,
            config.max_evtchn_port,
            shared_page,
        )?;
        let (frames, maptrack) = (config.max_grant_frames, config.max_maptrack_frames);
        let grants = GrantTable::new(sys, config.id, frames, maptrack)?;
        let usable = of_its_kinds(sys, &config, sys.sched.pool_cpus(0));
        let cpus: Vec<CpuId> = sys
            .sched
            .online()
            .filter(|&cpu| usable & bit(cpu) != 0)
            .collect();
        let mut homes = cpus.into_iter().cycle();
        let mut home = || homes.next().unwrap_or_default();
        let share = Arc::new(Share::new(config.nr_vcpus));
        let others = sys.domains.all();
        let others = others.iter().map(|domain| domain.all_vcpus.len());
        sys.sched.make_room(
            others
                .sum::<usize>()
                .saturating_add(config.nr_vcpus as usize),
        )?;
        Ok(Arc::new_cyclic(|domain| Self {
            id: config.id,
            sys,
            role: config.role,
            p2m: config.p2m,
            _vmid: config.vmid,
            vgic: config.vgic,
            gic_layout: config.gic_layout,
            events,
            grants,
            shared_info,
            uart: Once::new(),
            console_line: Once::new(),
            cntvoff: config.cntvoff,
            event_ppi: config.event_ppi,
            hvm_params: Lock::new([0; 32]),
            vm_assist: AtomicU32::new(0),
            life: Lock::new(Life::new()),
            stage: AtomicU8::new(life::Stage::Alive as u8),
            log_budget: LogBudget::default(),
            last_ran: (0..sys.sched.nr_cpus())
                .map(|_| AtomicU32::new(u32::MAX))
                .collect(),
            max_pages: AtomicU32::new(0),
            handle: Lock::new([0; 16]),
            is_64bit: AtomicBool::new(true),
            time_offset: AtomicI64::new(0),
            iomem: Lock::new(Vec::new()),
            spare_irqs: Once::new(),
            is_debugged: AtomicBool::new(false),
            target: Once::new(),
            cache_flushes: CacheFlushes::default(),
            share: share.clone(),
            has_vcpus: AtomicBool::new(true),
            all_vcpus: (0..config.nr_vcpus)
                .map(|n| Arc::new(Vcpu::new(sys, domain.clone(), n, home(), share.clone())))
                .collect(),
        }))
    }

    /// All its vCPUs, by number.
    pub fn vcpus(&self) -> &[Arc<Vcpu>] {
        match self.has_vcpus.load(Ordering::Acquire) {
            true => &self.all_vcpus,
            false => &[],
        }
    }

    /// All its vCPUs, even while it appears to have none.
    pub fn all_vcpus(&self) -> &[Arc<Vcpu>] {
        &self.all_vcpus
    }

    /// vCPU `n`.
    pub fn vcpu(&self, n: u32) -> Option<&Arc<Vcpu>> {
        nospec::get(self.vcpus(), n as usize)
    }

    /// vCPUs it was created for.
    pub fn max_vcpus(&self) -> u32 {
        self.all_vcpus.len() as u32
    }

    /// Lets it appear without vCPUs until [`show_vcpus`](Self::show_vcpus), as a new domain does
    /// to a toolstack.
    pub fn hide_vcpus(&self) {
        self.has_vcpus.store(false, Ordering::Release);
    }

    /// Its vCPUs are there from now on.
    pub fn show_vcpus(&self) {
        self.has_vcpus.store(true, Ordering::Release);
    }

    /// Limits it to `cap` percent of a CPU; 0: does not.
    pub fn set_cap(&self, cap: u16) {
        self.sys.sched.set_cap(self.sys.hw, &self.all_vcpus, cap);
    }

    /// Puts it into another pool. If that has no CPU of the kinds of its vCPUs, which have never
    /// run, they become of one that it has.
    ///
    /// # Errors
    /// As [`Scheduler::move_to_pool`](crate::sched::Scheduler::move_to_pool); `EBUSY` if somebody
    /// looks at the registers of a vCPU that has never run.
    pub fn move_to_pool(&self, pool: u32) -> Result<(), Errno> {
        let (sched, hw) = (&self.sys.sched, self.sys.hw);
        let cpus = sched.room_in_pool(pool)?;
        let vcpus = &self.all_vcpus;
        let fits = vcpus.iter().all(|vcpu| vcpu.sched.may_be_among(cpus));
        if !fits && !vcpus.iter().any(|vcpu| vcpu.has_run()) {
            let kind = self.sys.kinds.least_used(cpus, self.max_vcpus());
            let kind = kind.ok_or(Errno::NoDev)?;
            self.change_kinds(kind)?;
        }
        sched.move_to_pool(hw, vcpus, pool)
    }

    /// Makes its vCPUs of another kind, all or none.
    ///
    /// # Errors
    /// `EBUSY` if one has run, or somebody looks at its registers.
    fn change_kinds(&self, kind: KindId) -> Result<(), Errno> {
        for (n, vcpu) in self.all_vcpus.iter().enumerate() {
            let before = vcpu.kind_id();
            if vcpu.change_kind(kind) != Some(true) {
                // They were all of one kind, as of a domain that has never run.
                let changed = self.all_vcpus.iter().take(n);
                changed.for_each(|vcpu| _ = vcpu.change_kind(before));
                return Err(Errno::Busy);
            }
        }
        Ok(())
    }

    /// True if SPI `intid` of the machine is its own, or its to give.
    pub fn has_irq(&self, intid: u32) -> bool {
        let spare = self.spare_irqs.get();
        self.vgic.is_linked(intid) || spare.is_some_and(|spare| spare.contains(&intid))
    }

    /// True if it is the device model of `other`.
    pub fn serves(&self, other: &Self) -> bool {
        let target = self.target.get();
        target.is_some_and(|target| core::ptr::eq(target.as_ptr(), other))
    }

    /// True if the guest wants to see its runstate being updated.
    pub fn runstate_update_flag(&self) -> bool {
        self.vm_assist.load(Ordering::Relaxed) & 1 << VMASST_TYPE_RUNSTATE_UPDATE_FLAG != 0
    }

    /// Takes a line from the log budget: false if the domain has caused too many this second.
    pub fn may_log(&self) -> bool {
        let second = self.sys.now_ns() / 1_000_000_000;
        // That of all counts for those that could be many.
        self.log_budget.take(second, log_budget::OF_ONE)
            && (self.id == DomId(0) || self.sys.log_budget.take(second, log_budget::OF_ALL))
    }

    /// Notes that `vcpu` runs on `cpu` from now on; true if another vCPU of the domain ran there
    /// since it last did.
    pub fn is_newcomer(&self, vcpu: u32, cpu: CpuId) -> bool {
        let last = self.last_ran.get(cpu.index());
        last.is_none_or(|last| last.swap(vcpu, Ordering::Relaxed) != vcpu)
    }

    /// The nanoseconds since boot that a guest's system time counts from.
    pub fn now_ns(&self) -> u64 {
        self.sys.now_ns()
    }

    /// True if a device is emulated at `ipa`.
    pub fn is_emulated(&self, ipa: Ipa) -> bool {
        let inside = |&(start, size): &(Ipa, u64)| ipa.0.wrapping_sub(start.0) < size;
        inside(&self.gic_layout.gicd)
            || self.gic_layout.gicr.iter().any(inside)
            || self.uart.get().is_some_and(|uart| inside(&uart.range))
    }

    /// True if `ipa` is where a GICv2's CPU interface belongs, which is the hardware's GICV.
    pub fn is_gicv(&self, ipa: Ipa) -> bool {
        let inside = |(start, _): (Ipa, u64)| ipa.0.wrapping_sub(start.0) < GUEST_GICC_SIZE;
        self.sys.guest_hw.gic.gicv.is_some() && self.gic_layout.gicc.is_some_and(inside)
    }

    /// An access of vCPU `vcpu` to an emulated device: a write of that value, or a read, whose
    /// value is returned. `None` for what must abort.
    pub fn access_device(&self, vcpu: u32, ipa: Ipa, size: u8, write: Option<u64>) -> Option<u64> {
        let size = u32::from(size);
        let access = write.map_or(Access::Read, Access::Write);
        let offset = |(start, size): (Ipa, u64)| {
            let offset = ipa.0.wrapping_sub(start.0);
            (offset < size).then_some(offset)
        };
        if let Some(at) = offset(self.gic_layout.gicd) {
            return self.vgic.dist_access(vcpu, at, size, access, self).ok();
        }
        // The regions follow each other, for the vGIC.
        let mut base = 0u64;
        for &region in &self.gic_layout.gicr {
            if let Some(at) = offset(region) {
                return self
                    .vgic
                    .redist_access(base.saturating_add(at), size, access, self)
                    .ok();
            }
            base = base.saturating_add(region.1);
        }
        let uart = self.uart.get()?;
        uart.access(uart.offset(ipa)?, size, access, &self.vgic, self)
    }

    /// Forgets that Xen pages of the domain were mapped at any of `nr` frames from `gfn`, as far
    /// as they are no longer.
    pub fn xen_pages_unmapped(&self, gfn: Gfn, nr: u64) {
        self.shared_info.unmapped(self, gfn, nr);
        self.grants.unmapped(self, gfn, nr);
    }
}

/// Those of `cpus` that the vCPUs of a new domain may be at home on. The hardware domain's are
/// spread over all kinds of CPU, another domain's are of one kind.
fn of_its_kinds(sys: &System, config: &DomainConfig, cpus: u128) -> u128 {
    if config.role.hardware {
        return cpus;
    }
    let kind = sys.kinds.least_used(cpus, config.nr_vcpus);
    kind.map_or(cpus, |kind| cpus & sys.kinds.get(kind).cpus)
}

/// A message a guest caused: level, domain's budget, text. Needs no prefix.
#[macro_export]
macro_rules! guest_log {
    ($domain:expr, $($arg:tt)*) => {
        if $domain.may_log() {
            log::warn!(target: $crate::GUEST_LOG, $($arg)*);
        }
    };
}

impl VcpuNotify for Domain {
    fn notify(&self, vcpu: u32) {
        const WAITS: u32 = pause::BLOCKED | pause::POLLING;
        // Its number is the vGIC's own.
        let Some(vcpu) = self.vcpus().get(vcpu as usize) else {
            return;
        };
        // Out of the guest first if it runs elsewhere; awake if it waits.
        let hw = self.sys.hw;
        if vcpu.sched.place() == Place::Running && vcpu.sched.home() != hw.this_cpu() {
            hw.kick(vcpu.sched.home());
        }
        // The flags are set before the waiting vCPU looks for what it is told of here.
        if vcpu.sched.flags() & WAITS != 0 {
            vcpu.unblock(WAITS);
        }
    }

    fn cpu_of(&self, vcpu: u32) -> CpuId {
        self.vcpu(vcpu).map(|v| v.sched.home()).unwrap_or_default()
    }
}

impl Owner for Domain {
    fn send(&self, port: u32) {
        event::notify_xen(self, port);
    }
}

impl EventDomain for Domain {
    fn events(&self) -> &EventChannels {
        &self.events
    }

    fn vcpu_exists(&self, vcpu: u32) -> bool {
        self.vcpu(vcpu).is_some()
    }

    fn upcall(&self, vcpu: u32) {
        self.vgic.pulse(Some(vcpu), self.event_ppi, self);
    }

    fn wake_pollers(&self, port: u32) {
        for vcpu in self.vcpus() {
            let wanted = vcpu.poll_port.load(Ordering::SeqCst);
            if vcpu.sched.flags() & pause::POLLING != 0 && (wanted == port || wanted == u32::MAX) {
                vcpu.unblock(pause::POLLING);
            }
        }
    }

    fn starved(&self) {
        self.crash("it kept a shared word changing");
    }

    fn may_grow(&self) -> bool {
        self.sys.frames.has_room_to_grow(self.id)
    }

    fn xen_event(&self, port: u32) {
        if let Some(uart) = self.uart.get() {
            uart.served(port, &self.vgic, self);
        }
    }
}
