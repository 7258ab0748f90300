// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds dom0: memory where it is, its devices, its device tree, its kernel; and starts it.

use crate::boot::Host;
use crate::panic::refuse;
use crate::{copy, machine, mmu, percpu};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use hv_core::addr::{DomId, Gfn, Ipa, PAGE_SHIFT, PAGE_SIZE, Pa, PaRange};
use hv_core::boot::cmdline::BootScrub;
use hv_core::boot::dom0_dt::{self, Dom0Cpu, Dom0Layout};
use hv_core::boot::dom0_map::{Dom0Map, V2mFrame};
use hv_core::boot::dom0_mem::{self, BankAllocator, LOW, Payload, Placement};
use hv_core::boot::dom0_nodes::Fates;
use hv_core::boot::host_dt::{GicVersion, HostDt};
use hv_core::boot::image::Kernel;
use hv_core::boot::irq::Irq;
use hv_core::boot::modules::Module;
use hv_core::domain::create::{self, GICR_FRAMES};
use hv_core::domain::vcpu::{Start, Vcpu};
use hv_core::domain::{Domain, DomainConfig, GicLayout, PPI_VIRT_TIMER, Role};
use hv_core::frame::{Frames, Limits};
use hv_core::hw::CacheOp;
use hv_core::p2m::{P2m, P2mType, PoolLimit};
use hv_core::system::System;
use hv_core::trap::smccc;
use hv_core::vgic::{Vgic, VgicConfig};
use platform::board;
use xen_abi::hvm::HVM_PARAM_CALLBACK_IRQ;

/// dom0's number.
const DOM0: DomId = DomId(0);
/// Memory without `dom0_mem=`.
const DEFAULT_MEMORY: u64 = 512 << 20;
/// What `place` keeps for the device tree.
const DTB_SPACE: u64 = 2 << 20;
/// `HVM_PARAM_CALLBACK_IRQ`: a PPI, level-sensitive, active low (public/hvm/params.h).
const CALLBACK_PPI: u64 = 2 << 56 | 2 << 8;

macro_rules! or_refuse {
    ($result:expr) => {
        $result.unwrap_or_else(|error| refuse(format_args!("{error}")))
    };
}

/// dom0's banks come out of the frame allocator, lowest first.
struct Banks {
    frames: &'static Frames,
    /// They hold what firmware left there (`bootscrub=` is not on).
    dirty: bool,
}

impl BankAllocator for Banks {
    fn alloc(&mut self, order: u32, below: Option<Pa>) -> Option<Pa> {
        let limits = Limits {
            below,
            lowest: true,
            dirty: self.dirty,
        };
        self.frames.alloc(order, limits).ok().map(|mfn| mfn.base())
    }
}

/// Registers of GICv2m frames, which must be read to know their interrupts.
pub(crate) fn msi_frames(dt: &HostDt<'_>) -> Vec<PaRange> {
    let v2m = dt.all().filter(|n| n.is_compatible(&["arm,gic-v2m-frame"]));
    v2m.filter_map(|n| n.reg().next().flatten()).collect()
}

/// Builds dom0, if there is a kernel for it. It does not run yet.
pub(crate) fn build(sys: &'static System, host: &Host) -> Option<Arc<Domain>> {
    let module = host.modules.kernel()?;
    let banks = memory(sys);
    let board = board::find(host.dt.root().compatible());
    let hidden = board.map_or(&[][..], |board| board.hidden);
    let uart = host.uart.as_ref().map(|uart| uart.node.id());
    let fates = Fates::decide(host.dt, uart, hidden);
    let console = host.uart.as_ref().map(|uart| (uart.range, uart.irq));
    let map = Dom0Map::collect(host.dt, &fates, &host.gic, &host.banks, console);
    let domain = create(sys, host, &banks);
    map_memory(&domain, &banks, &map);
    route(&domain, &map);
    start(sys, host, module, &domain, &banks, (&fates, &map.reserved));
    Some(domain)
}

fn memory(sys: &'static System) -> Vec<PaRange> {
    let size = sys.options.dom0_mem.unwrap_or_else(|| {
        log::warn!(
            "dom0_mem= not given: dom0 gets {} MiB",
            DEFAULT_MEMORY >> 20
        );
        DEFAULT_MEMORY
    });
    let mut source = Banks {
        frames: sys.frames,
        dirty: sys.options.bootscrub != BootScrub::On,
    };
    let banks = or_refuse!(dom0_mem::choose_banks(&mut source, size));
    if banks.first().is_some_and(|bank| bank.start >= LOW) {
        log::warn!("dom0 has no memory below 4 GiB, as a device with 32 bits of address needs it");
    }
    for bank in &banks {
        let (mfn, nr) = (bank.start.frame(), bank.size() >> PAGE_SHIFT);
        if let Err(error) = sys.frames.assign(mfn, nr, DOM0) {
            refuse(format_args!("dom0's memory at {}: {error}", bank.start));
        }
        log::info!(
            "dom0 memory {}-{} ({} MiB)",
            bank.start,
            bank.end,
            bank.size() >> 20
        );
    }
    banks
}

fn create(sys: &'static System, host: &Host, banks: &[PaRange]) -> Arc<Domain> {
    let guest_hw = &sys.guest_hw;
    let online = sys.sched.online().count() as u32;
    let most = guest_hw.gic.max_vcpus();
    let asked = sys.options.dom0_max_vcpus.filter(|asked| *asked != 0);
    let wanted = asked.unwrap_or(online).clamp(1, most);
    if let Some(asked) = asked.filter(|asked| *asked > most) {
        log::warn!("dom0_max_vcpus={asked}: the GIC has room for {most}");
    }
    let (gic_layout, nr_vcpus) = gic_layout(host, wanted);
    if nr_vcpus < wanted {
        log::warn!("dom0_max_vcpus={wanted}: the GICR regions have room for {nr_vcpus}");
    }
    let vmid = guest_hw.vmids.take();
    let vmid = vmid.unwrap_or_else(|| refuse(format_args!("no VMID for dom0")));
    let p2m = P2m::new(
        sys.frames,
        sys.hw,
        guest_hw.geometry,
        vmid.number(),
        PoolLimit::Unlimited,
    )
    .unwrap_or_else(|error| refuse(format_args!("dom0's stage-2 tables: {error}")));
    let timer = or_refuse!(host.dt.timer());
    let event_ppi = dom0_mem::event_ppi(&timer, &host.gic)
        .unwrap_or_else(|| refuse(format_args!("no PPI is free for dom0's events")));
    let vgic = Vgic::new(vgic_config(sys, nr_vcpus, &gic_layout), sys.hw);
    let config = DomainConfig {
        id: DOM0,
        role: Role {
            hardware: true,
            control: true,
            console: true,
            direct_mapped: true,
        },
        nr_vcpus,
        max_evtchn_port: u32::MAX,
        max_grant_frames: sys.options.gnttab_max_frames,
        max_maptrack_frames: sys.options.gnttab_max_maptrack_frames,
        p2m,
        vmid,
        vgic,
        gic_layout,
        cntvoff: sys.hw.now(),
        event_ppi,
    };
    let domain =
        Domain::new(sys, config).unwrap_or_else(|error| refuse(format_args!("dom0: {error}")));
    domain.vgic.link_ppi(PPI_VIRT_TIMER, &*domain);
    if let Some(callback) = domain
        .hvm_params
        .lock()
        .get_mut(HVM_PARAM_CALLBACK_IRQ as usize)
    {
        *callback = CALLBACK_PPI | u64::from(event_ppi);
    }
    if sys.options.dom0_vcpus_pin {
        domain.vcpus().iter().for_each(|vcpu| vcpu.sched.pin());
    }
    let pages = banks.iter().map(PaRange::size).sum::<u64>() >> PAGE_SHIFT;
    domain
        .max_pages
        .store(u32::try_from(pages).unwrap_or(u32::MAX), Ordering::Relaxed);
    sys.domains.insert(domain.clone());
    log::info!(
        "dom0 has {nr_vcpus} vCPUs, {} MiB",
        banks.iter().map(PaRange::size).sum::<u64>() >> 20
    );
    domain
}

/// Where a direct-mapped domain has its interrupt controller (where the host's is), and for how many
/// vCPUs.
pub(crate) fn gic_layout(host: &Host, wanted: u32) -> (GicLayout, u32) {
    let ipa = |range: &PaRange| (Ipa(range.start.0), range.size());
    let gicd = ipa(&host.gic.distributor);
    let redistributors = match &host.gic.version {
        GicVersion::V2 { cpu, .. } => {
            return (
                GicLayout {
                    gicd,
                    gicr: Vec::new(),
                    gicc: Some(ipa(cpu)),
                },
                wanted,
            );
        }
        GicVersion::V3 { redistributors, .. } => redistributors,
    };
    let mut gicr = Vec::new();
    let mut room = 0;
    for region in redistributors {
        if room >= wanted {
            break;
        }
        let frames = (region.size() / GICR_FRAMES).min(u64::from(wanted - room));
        room += frames as u32;
        gicr.push((Ipa(region.start.0), frames * GICR_FRAMES));
    }
    (
        GicLayout {
            gicd,
            gicr,
            gicc: None,
        },
        wanted.min(room),
    )
}

fn vgic_config(sys: &System, nr_vcpus: u32, layout: &GicLayout) -> VgicConfig {
    let gic = &sys.guest_hw.gic;
    VgicConfig {
        model: gic.model,
        nr_vcpus,
        nr_spis: gic.nr_spis,
        lr_count: gic.lr_count,
        lrs_deactivate: gic.lrs_deactivate,
        priority_bits: gic.priority_bits,
        id_bits: machine::get().gic.id_bits(),
        redist_region_ends: create::region_ends(layout),
    }
}

fn map_memory(domain: &Domain, banks: &[PaRange], map: &Dom0Map) {
    let insert = |range: &PaRange, ty| {
        let (gfn, mfn) = (Gfn(range.start.frame().0), range.start.frame());
        if let Err(error) = domain.p2m.insert(gfn, mfn, range.size() >> PAGE_SHIFT, ty) {
            refuse(format_args!("dom0: mapping {range}: {error}"));
        }
    };
    banks.iter().for_each(|bank| insert(bank, P2mType::RamRw));
    map.mmio
        .iter()
        .chain(&map.reserved)
        .for_each(|range| insert(range, P2mType::MmioCached));
    if let Err(error) = create::map_gicv(domain) {
        refuse(format_args!("dom0: mapping GICV: {error}"));
    }
}

/// Hands the devices' interrupts to dom0.
fn route(domain: &Arc<Domain>, map: &Dom0Map) {
    let gic = &machine::get().gic;
    let from_frames = map
        .frames
        .iter()
        .filter(|frame| frame.spis.is_none())
        .flat_map(|frame| {
            let typer: *const u32 = core::ptr::with_exposed_provenance(
                (frame.range.start.0 + V2mFrame::TYPER) as usize,
            );
            // SAFETY: MSI_TYPER of a frame the tree describes, mapped as a device.
            let typer = unsafe { typer.read_volatile() };
            V2mFrame::irqs(V2mFrame::spis_from_typer(typer))
        });
    let all: Vec<Irq> = map.spis.iter().copied().chain(from_frames).collect();
    for irq in &all {
        gic.set_edge(irq.intid, irq.edge);
        gic.route(irq.intid, percpu::this().mpidr);
        if !domain.vgic.link_hw(irq.intid, irq.intid, &**domain) {
            log::warn!("interrupt {} cannot be given to dom0", irq.intid);
        }
    }
    log::info!(
        "dom0 has {} ranges of registers, {} interrupts",
        map.mmio.len(),
        all.len()
    );
    for irq in &map.spare.spis {
        gic.set_edge(irq.intid, irq.edge);
    }
    let spare = map.spare.spis.iter().map(|irq| irq.intid);
    domain.spare_irqs.call_once(|| spare.collect());
    let registers = map.mmio.iter().chain(&map.spare.mmio);
    *domain.iomem.lock() = dom0_mem::merged(registers.copied().collect());
}

fn start(
    sys: &'static System,
    host: &Host,
    module: &Module<'_>,
    domain: &Arc<Domain>,
    banks: &[PaRange],
    described: (&Fates, &[PaRange]),
) {
    // SAFETY: a boot module, and no domain runs before all are built.
    let image = unsafe { bytes(module.range) };
    let kernel = Kernel::open(image).unwrap_or_else(|error| {
        refuse(format_args!(
            "dom0's kernel, {}: {error}",
            module.node.path()
        ))
    });
    let ramdisk = host.modules.ramdisk().map(|module| module.range);
    let payload = Payload {
        text_offset: kernel.header.text_offset,
        kernel: kernel.memory_size(),
        dtb: DTB_SPACE,
        ramdisk: ramdisk.map_or(0, |range| range.size()),
    };
    let place = or_refuse!(dom0_mem::place(banks, payload));
    let initrd = ramdisk.and_then(|range| PaRange::new(place.ramdisk, range.size()));
    let dtb = device_tree(sys, host, domain, banks, described, initrd);
    if dtb.len() as u64 > DTB_SPACE {
        refuse(format_args!(
            "dom0's device tree has {} bytes, {DTB_SPACE} at most are supported",
            dtb.len()
        ));
    }
    load(sys, &kernel, payload.kernel, place);
    if let Some(from) = ramdisk {
        // SAFETY: as for the kernel.
        put(sys, unsafe { bytes(from) }, place.ramdisk);
    }
    put(sys, &dtb, place.dtb);
    sys.hw.icache_invalidate_all();
    log::info!(
        "dom0 kernel at {}, device tree at {}",
        place.kernel,
        place.dtb
    );
    if let Some(initrd) = initrd {
        log::info!("dom0 ramdisk at {}-{}", initrd.start, initrd.end);
    }
    if let Some(vcpu) = domain.vcpu(0) {
        let start = Start {
            entry: place.kernel.0,
            x0: place.dtb.0,
        };
        vcpu.start(domain, start);
    }
}

fn device_tree(
    sys: &System,
    host: &Host,
    domain: &Domain,
    banks: &[PaRange],
    (fates, reserved): (&Fates, &[PaRange]),
    initrd: Option<PaRange>,
) -> Vec<u8> {
    let text = mmu::image().text.start;
    let frames = u64::from(sys.options.gnttab_max_frames.clamp(1, 64));
    let grant_region = PaRange {
        start: text,
        end: Pa(text.0 + frames * PAGE_SIZE),
    };
    let mut used = banks.to_vec();
    used.extend(reserved);
    used.extend(host.dt.memory_reservations());
    used.push(grant_region);
    let extended = match sys.options.ext_regions {
        true => dom0_mem::extended_regions(&host.banks, &used),
        false => Vec::new(),
    };
    let like = |vcpu: &Vcpu| {
        let cpu = vcpu.kind().cpus.trailing_zeros() as usize;
        machine::get().cpus.get(cpu).copied()
    };
    let vcpus: Vec<Dom0Cpu> = domain
        .vcpus()
        .iter()
        .map(|vcpu| Dom0Cpu {
            affinity: smccc::affinity_of(vcpu.id),
            like: like(vcpu).unwrap_or(0),
        })
        .collect();
    let timer = or_refuse!(host.dt.timer());
    let layout = Dom0Layout {
        banks,
        reserved,
        grant_region,
        extended_regions: &extended,
        vcpus: &vcpus,
        initrd,
        bootargs: host.dom0_line,
        gic: &host.gic,
        redistributor_regions: domain.gic_layout.gicr.len(),
        timer: &timer,
        event_ppi: domain.event_ppi,
    };
    or_refuse!(dom0_dt::build(host.dt, fates, &layout))
}

/// A boot module's bytes, where firmware left them.
///
/// # Safety
/// The range must be one of [`Host::modules`]', which lie in RAM and are mapped and reserved until all
/// domains are built, and the bytes must not be used after that.
pub(crate) unsafe fn bytes(range: PaRange) -> &'static [u8] {
    let start = core::ptr::with_exposed_provenance(range.start.0 as usize);
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts(start, range.size() as usize) }
}

/// Memory that nobody uses yet.
///
/// # Safety
/// It must be RAM of a domain's that does not run yet, or taken from the frame allocator, and in no other
/// slice that is in use.
pub(crate) unsafe fn room(start: Pa, size: u64) -> &'static mut [u8] {
    let start = core::ptr::with_exposed_provenance_mut(start.0 as usize);
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts_mut(start, size as usize) }
}

fn load(sys: &System, kernel: &Kernel<'_>, size: u64, place: Placement) {
    // SAFETY: `place` chose it inside dom0's memory, apart from the other pieces.
    let room = unsafe { room(place.kernel, size) };
    let written = kernel.load(room, copy::copy);
    let written = written.unwrap_or_else(|error| refuse(format_args!("dom0's kernel: {error}")));
    clean(sys, place.kernel, written as u64);
}

fn put(sys: &System, from: &[u8], to: Pa) {
    // SAFETY: `place` chose it inside dom0's memory, apart from the other pieces.
    copy::copy(unsafe { room(to, from.len() as u64) }, from);
    clean(sys, to, from.len() as u64);
}

/// A domain starts with its caches off.
pub(crate) fn clean(sys: &System, start: Pa, size: u64) {
    if let Some(range) = PaRange::new(start, size) {
        sys.hw.cache(range, CacheOp::Clean);
    }
}
