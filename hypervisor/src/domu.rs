// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds the domains that the boot loader's device tree asks for besides dom0: each in RAM of its
//! own, with its device tree, kernel and ramdisk in it.

use crate::boot::Host;
use crate::dom0::{self, bytes, clean, room};
use crate::panic::refuse;
use crate::{copy, machine, mmu, percpu};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use hv_core::addr::{DomId, Gfn, Ipa, PAGE_SHIFT, PAGE_SIZE, Pa, PaRange};
use hv_core::boot::dom0_mem::{self, Payload, Placement};
use hv_core::boot::domu_devices::{self, Devices, Limits};
use hv_core::boot::domu_dt::{self, DomuLayout};
use hv_core::boot::domu_mem::{self, GuestRam};
use hv_core::boot::domu_node::{Domu, DomuError, Enhanced};
use hv_core::boot::host_dt::Uart as UartNode;
use hv_core::boot::image::Kernel;
use hv_core::boot::modules::Module;
use hv_core::boot::node::Nodes;
use hv_core::boot::validate::Tree;
use hv_core::domain::Domain;
use hv_core::domain::create::{self, CreateConfig};
use hv_core::domain::vcpu::Start;
use hv_core::event;
use hv_core::frame;
use hv_core::p2m::{P2mType, PoolLimit};
use hv_core::sync::Lock;
use hv_core::system::System;
use hv_core::trap::smccc;
use hv_core::vdev::line::Line;
use hv_core::vdev::vpl011::{Backend, Vpl011};
use xen_abi::arch_arm::{
    GUEST_GNTTAB_BASE, GUEST_GNTTAB_SIZE, GUEST_PL011_BASE, GUEST_PL011_SIZE, GUEST_VPL011_SPI,
};
use xen_abi::hvm::{HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN};

/// What `place` keeps for the device tree.
const DTB_SPACE: u64 = 2 << 20;
/// `HVM_PARAM_STORE_PFN` of a domain whose xenstore page dom0 makes later (`init-dom0less`).
const STORE_PFN_LATE: u64 = u64::MAX;

/// Why there is no domain.
macro_rules! refuse_domu {
    ($domu:expr, $($why:tt)*) => {
        refuse(format_args!("{}: {}", $domu.node, format_args!($($why)*)))
    };
}

/// Builds all of them, in the tree's order, numbered from 1. None runs yet.
pub(crate) fn build(
    sys: &'static System,
    host: &Host,
    dom0: Option<&Arc<Domain>>,
) -> Vec<Arc<Domain>> {
    let max_vcpus = sys.guest_hw.gic.max_vcpus();
    let nodes = host.modules.domains.iter();
    let wanted: Result<Vec<Domu<'static>>, DomuError> = nodes
        .map(|node| Domu::read(node, max_vcpus, dom0.is_some()))
        .collect();
    let wanted = wanted.unwrap_or_else(|error| refuse(format_args!("{error}")));
    let numbered = (1..).map(DomId).zip(&wanted);
    numbered
        .map(|(id, domu)| build_one(sys, host, dom0, id, domu))
        .collect()
}

fn build_one(
    sys: &'static System,
    host: &Host,
    dom0: Option<&Arc<Domain>>,
    id: DomId,
    domu: &Domu<'static>,
) -> Arc<Domain> {
    for message in &domu.messages {
        log::warn!("{message}");
    }
    log::info!(
        "{id} is {}: {} vCPUs, {} KiB{}",
        domu.node,
        domu.cpus,
        domu.memory >> 10,
        if domu.direct_map {
            ", direct-mapped"
        } else {
            ""
        }
    );
    let uart = domu.vpl011.then(|| uart_of(host, domu));
    let domain = create(sys, host, id, domu, uart);
    let ram = memory(&domain, domu);
    if let Some((range, spi)) = uart {
        domain
            .uart
            .call_once(|| Vpl011::new(sys.hw, id, range, spi, Backend::Console));
    }
    domain.console_line.call_once(|| Lock::new(Line::EMPTY));
    let partial = domu
        .device_tree
        .as_ref()
        .map(|module| partial(domu, module));
    if let Some(partial) = partial {
        give_devices(sys, host, dom0, &domain, domu, &ram, partial);
    }
    start(sys, host, &domain, domu, &ram, partial);
    if let (Enhanced::Enabled, Some(dom0)) = (domu.enhanced, dom0) {
        offer_xenstore(&domain, dom0, domu);
    }
    sys.domains.insert(domain.clone());
    domain
}

/// Where it has its UART, and the UART's interrupt: in a direct-mapped domain, where the machine's
/// console is.
fn uart_of(host: &Host, domu: &Domu<'_>) -> ((Ipa, u64), u32) {
    let usual = ((Ipa(GUEST_PL011_BASE), GUEST_PL011_SIZE), GUEST_VPL011_SPI);
    let own = |uart: &UartNode<'_>| {
        let irq = uart.irq.filter(|irq| irq.is_spi())?;
        Some(((Ipa(uart.range.start.0), PAGE_SIZE), irq.intid))
    };
    let uart = host.uart.as_ref().filter(|_| domu.direct_map);
    uart.and_then(own).unwrap_or(usual)
}

fn create(
    sys: &'static System,
    host: &Host,
    id: DomId,
    domu: &Domu<'_>,
    uart: Option<((Ipa, u64), u32)>,
) -> Arc<Domain> {
    let usual = CreateConfig::new(sys, domu.cpus);
    let direct_mapped = domu.direct_map.then(|| {
        let (layout, room) = dom0::gic_layout(host, domu.cpus);
        if room < domu.cpus {
            refuse_domu!(
                domu,
                "cpus is {}, but it is direct-mapped, and the GICR regions have room for {room}",
                domu.cpus
            );
        }
        layout
    });
    let config = CreateConfig {
        nr_spis: domu.spis(usual.nr_spis, uart.map(|(_, intid)| intid)),
        max_grant_frames: domu.max_grant_frames.unwrap_or(usual.max_grant_frames),
        max_maptrack_frames: domu
            .max_maptrack_frames
            .unwrap_or(usual.max_maptrack_frames),
        tables: PoolLimit::Pages(domu.table_pages()),
        direct_mapped,
        ..usual
    };
    create::domu(sys, id, &config).unwrap_or_else(|error| refuse_domu!(domu, "{error}"))
}

fn memory(domain: &Domain, domu: &Domu<'_>) -> GuestRam {
    let ram = if domu.direct_map {
        GuestRam::in_place(domain, domu.memory)
    } else {
        domu_mem::banks(domu.memory, domain.p2m.ipa_bits())
            .and_then(|banks| GuestRam::anywhere(domain, banks))
    };
    let ram = ram.unwrap_or_else(|error| refuse_domu!(domu, "{error}"));
    for bank in &ram.banks {
        let (start, end) = (bank.start, bank.end);
        log::info!("{} memory {start}-{end}", domain.id);
    }
    ram
}

/// The nodes of its partial device tree.
fn partial(domu: &Domu<'_>, module: &Module<'_>) -> &'static Nodes<'static> {
    // SAFETY: a boot module, and no domain runs before all are built. The tree is a copy.
    let blob = unsafe { bytes(module.range) };
    let tree = Tree::check(blob).unwrap_or_else(|error| {
        refuse_domu!(domu, "partial device tree, {}: {error}", module.node)
    });
    let tree: &'static Tree = Box::leak(Box::new(tree));
    let fdt = Box::leak(Box::new(tree.fdt()));
    Box::leak(Box::new(Nodes::new(tree, fdt)))
}

fn give_devices(
    sys: &'static System,
    host: &Host,
    dom0: Option<&Arc<Domain>>,
    domain: &Arc<Domain>,
    domu: &Domu<'_>,
    ram: &GuestRam,
    partial: &Nodes<'_>,
) {
    let mut ours = host.banks.clone();
    ours.extend(host.gic.blocks());
    ours.extend(host.uart.iter().map(|uart| uart.range));
    let ours: Vec<_> = ours.iter().map(PaRange::page_aligned).collect();
    let limits = Limits {
        machine: &ours,
        console: host
            .uart
            .as_ref()
            .and_then(|uart| uart.irq)
            .map(|irq| irq.intid),
        guest: &taken(domain, ram),
        dom0: dom0.map(|dom0| &**dom0),
    };
    let devices = domu_devices::devices(partial, host.dt, &limits);
    let Devices { registers, irqs } = devices.unwrap_or_else(|error| refuse_domu!(domu, "{error}"));
    for one in &registers {
        let nr = one.machine.size() >> PAGE_SHIFT;
        let (gfn, mfn): (Gfn, _) = (one.guest.frame(), one.machine.start.frame());
        if let Err(error) = domain.p2m.insert(gfn, mfn, nr, P2mType::MmioDevice) {
            refuse_domu!(domu, "mapping {}: {error}", one.machine);
        }
    }
    let gic = &machine::get().gic;
    for irq in &irqs {
        gic.set_edge(irq.intid, irq.edge);
        gic.route(irq.intid, percpu::this().mpidr);
        let owned = sys.irq_owners.give(irq.intid, domain.id);
        if !owned || !domain.vgic.link_hw(irq.intid, irq.intid, &**domain) {
            refuse_domu!(
                domu,
                "interrupt {} cannot be given to it: another domain has it, or nr_spis is too low",
                irq.intid
            );
        }
    }
    log::info!(
        "{} has {} ranges of registers, {} interrupts",
        domain.id,
        registers.len(),
        irqs.len()
    );
}

/// The addresses at which it has something.
fn taken(domain: &Domain, ram: &GuestRam) -> Vec<PaRange> {
    let layout = &domain.gic_layout;
    let mut taken = ram.banks.clone();
    let blocks = [layout.gicd].into_iter();
    let blocks = blocks.chain(layout.gicr.iter().copied());
    let blocks = blocks
        .chain(layout.gicc)
        .chain(domain.uart.get().map(|uart| uart.range));
    taken.extend(blocks.filter_map(|(start, size)| PaRange::new(Pa(start.0), size)));
    taken.push(grant_region(domain));
    taken
}

/// Where it may map its grant table. A direct-mapped domain may have RAM anywhere but where Xenolith
/// is.
fn grant_region(domain: &Domain) -> PaRange {
    let (_, frames) = domain.grants.size();
    let start = match domain.role.direct_mapped {
        true => mmu::image().text.start,
        false => Pa(GUEST_GNTTAB_BASE),
    };
    let size = match domain.role.direct_mapped {
        true => u64::from(frames) * PAGE_SIZE,
        false => GUEST_GNTTAB_SIZE,
    };
    PaRange {
        start,
        end: Pa(start.0 + size),
    }
}

/// What it may map others' pages at: for its grant table, and then the extended regions.
fn regions(host: &Host, domain: &Domain, ram: &GuestRam) -> Vec<PaRange> {
    let mut regions = alloc::vec![grant_region(domain)];
    let extended = match (domain.sys.options.ext_regions, domain.role.direct_mapped) {
        (false, _) => Vec::new(),
        (true, false) => domu_mem::extended_regions(&ram.banks, domain.p2m.ipa_bits()),
        (true, true) => {
            let mut used = ram.banks.clone();
            used.extend(&regions);
            used.extend(host.dt.memory_reservations());
            dom0_mem::extended_regions(&host.banks, &used)
        }
    };
    regions.extend(extended);
    regions
}

/// Puts everything into its memory, and its first vCPU at the start.
fn start(
    sys: &'static System,
    host: &Host,
    domain: &Arc<Domain>,
    domu: &Domu<'_>,
    ram: &GuestRam,
    partial: Option<&Nodes<'_>>,
) {
    let module = &domu.kernel;
    // SAFETY: a boot module, and no domain runs before all are built.
    let kernel = Kernel::open(unsafe { bytes(module.range) })
        .unwrap_or_else(|error| refuse_domu!(domu, "{}: {error}", module.node));
    let ramdisk = domu.ramdisk.as_ref().map(|module| module.range);
    let payload = Payload {
        text_offset: kernel.header.text_offset,
        kernel: kernel.memory_size(),
        dtb: DTB_SPACE,
        ramdisk: ramdisk.map_or(0, |range| range.size()),
    };
    let place = dom0_mem::place(&ram.banks, payload).unwrap_or_else(|_| {
        refuse_domu!(
            domu,
            "kernel and modules do not fit its memory of {} KiB",
            domu.memory >> 10
        )
    });
    let initrd = ramdisk.and_then(|range| PaRange::new(place.ramdisk, range.size()));
    let dtb = device_tree(host, domain, domu, ram, (initrd, partial));
    if dtb.len() as u64 > DTB_SPACE {
        refuse_domu!(
            domu,
            "its device tree has {} bytes, {DTB_SPACE} at most are supported",
            dtb.len()
        );
    }
    load(sys, domu, &kernel, payload.kernel, ram, place);
    if let Some(from) = ramdisk {
        // SAFETY: as for the kernel.
        put(sys, domu, ram, unsafe { bytes(from) }, place.ramdisk);
    }
    put(sys, domu, ram, &dtb, place.dtb);
    sys.hw.icache_invalidate_all();
    log::info!(
        "{} kernel at {}, device tree at {}",
        domain.id,
        place.kernel,
        place.dtb
    );
    if let Some(initrd) = initrd {
        log::info!("{} ramdisk at {}-{}", domain.id, initrd.start, initrd.end);
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
    host: &Host,
    domain: &Domain,
    domu: &Domu<'_>,
    ram: &GuestRam,
    (initrd, partial): (Option<PaRange>, Option<&Nodes<'_>>),
) -> Vec<u8> {
    let vcpus = domain.vcpus().iter();
    let vcpus: Vec<u64> = vcpus.map(|vcpu| smccc::affinity_of(vcpu.id)).collect();
    let cpus = host.dt.cpus().unwrap_or_default();
    let like = cpus.iter().find(|cpu| cpu.available);
    let hz = |hz: Option<u64>| hz.and_then(|hz| u32::try_from(hz).ok());
    let regions = regions(host, domain, ram);
    let told = domu.enhanced != Enhanced::Disabled;
    domu_dt::build(&DomuLayout {
        banks: &ram.banks,
        vcpus: &vcpus,
        cpu: like.map_or("arm,armv8", |cpu| cpu.compatible),
        cpu_hz: hz(like.and_then(|cpu| cpu.clock_frequency)),
        timer_hz: hz(host.dt.timer().ok().and_then(|timer| timer.clock_frequency)),
        model: domain.vgic.config().model,
        gic: &domain.gic_layout,
        uart: domain.uart.get().map(|uart| (uart.range, uart.spi)),
        hypervisor: told.then_some(&regions),
        initrd,
        bootargs: domu.kernel.bootargs.unwrap_or_default(),
        partial,
    })
}

fn load(
    sys: &'static System,
    domu: &Domu<'_>,
    kernel: &Kernel<'_>,
    size: u64,
    ram: &GuestRam,
    place: Placement,
) {
    let unpack = |to: &mut [u8]| {
        let written = kernel.load(to, copy::copy);
        written.unwrap_or_else(|error| refuse_domu!(domu, "{}: {error}", domu.kernel.node))
    };
    if let Some(image) = kernel.plain() {
        return put(sys, domu, ram, image, place.kernel);
    }
    let pieces = pieces(domu, ram, place.kernel, size);
    if let [whole] = *pieces {
        // SAFETY: a piece of the memory of a domain that does not run yet, apart from the others.
        let written = unpack(unsafe { room(whole.start, size) });
        return clean(sys, whole.start, written as u64);
    }
    // Unpacking wants one piece of memory.
    let order = (size.div_ceil(PAGE_SIZE)).next_power_of_two().ilog2();
    let limits = frame::Limits::default();
    let staging = sys.frames.alloc(order, limits).unwrap_or_else(|_| {
        refuse_domu!(
            domu,
            "no {} KiB in one piece to unpack its kernel",
            size >> 10
        )
    });
    // SAFETY: it was allocated for this.
    let unpacked = unsafe { room(staging.base(), size) };
    let written = unpack(unpacked);
    put(sys, domu, ram, &unpacked[..written], place.kernel);
    if let Err(error) = sys.frames.free(staging, order) {
        log::error!("{staging}: {error}");
    }
}

fn pieces(domu: &Domu<'_>, ram: &GuestRam, at: Pa, size: u64) -> Vec<PaRange> {
    let pieces = PaRange::new(at, size).and_then(|range| ram.pieces(range));
    pieces.unwrap_or_else(|| refuse_domu!(domu, "{at} and {size} bytes more are not its memory"))
}

/// Copies `from` to its address `at`, for a domain that starts with its caches off.
fn put(sys: &System, domu: &Domu<'_>, ram: &GuestRam, from: &[u8], at: Pa) {
    let mut rest = from;
    for piece in pieces(domu, ram, at, from.len() as u64) {
        let (now, later) = rest.split_at(piece.size() as usize);
        // SAFETY: a piece of the memory of a domain that does not run yet, apart from the others.
        copy::copy(unsafe { room(piece.start, piece.size()) }, now);
        clean(sys, piece.start, piece.size());
        rest = later;
    }
}

/// Makes the event channel over which dom0 serves xenstore; the page comes when dom0 is ready.
fn offer_xenstore(domain: &Arc<Domain>, dom0: &Arc<Domain>, domu: &Domu<'_>) {
    let port = event::alloc_unbound(&**domain, dom0.id)
        .unwrap_or_else(|error| refuse_domu!(domu, "xenstore's event channel: {error}"));
    let mut params = domain.hvm_params.lock();
    for (index, value) in [
        (HVM_PARAM_STORE_EVTCHN, port.into()),
        (HVM_PARAM_STORE_PFN, STORE_PFN_LATE),
    ] {
        if let Some(param) = params.get_mut(index as usize) {
            *param = value;
        }
    }
}
