// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the first Rust on the boot CPU to the run loop.

use crate::cpufeature::Features;
use crate::machine::{Machine, OwnIrqs};
use crate::mmu::{self, Tables};
use crate::panic::refuse;
use crate::percpu::{self, PerCpu};
use crate::sysreg::mrs;
use crate::{console, dom0, domu, el2, heap, irq, machine, refuse as early, run, smp};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use hv_core::addr::{CpuId, PAGE_SIZE, Pa, PaRange};
use hv_core::boot::cmdline::{CommandLines, Options, Params, Scheduler as SchedulerOption};
use hv_core::boot::dom0_mem::{merged, without};
use hv_core::boot::host_dt::{Gic as GicNode, GicVersion, HostDt, Uart as UartNode};
use hv_core::boot::modules::Modules;
use hv_core::boot::validate::{MAGIC, MAX_SIZE, Tree};
use hv_core::console::Target;
use hv_core::cpu::errata::Summary;
use hv_core::cpu::kind::{CpuList, Kinds};
use hv_core::domain::create::{GuestGic, GuestHardware};
use hv_core::domain::{LogBudget, PPI_PHYS_TIMER, PPI_VIRT_TIMER};
use hv_core::frame::Frames;
use hv_core::hw::DirectMap;
use hv_core::keys::Showing;
use hv_core::p2m::{Stage2Geometry, VmidAllocator};
use hv_core::sched::{MAX_CPUS, Scheduler};
use hv_core::sync::Lock;
use hv_core::system::{Domains, IrqOwners, System};
use hv_core::timer::Timers;
use hv_core::vgic::Model;
use hv_core::virq::GlobalVirqs;
use platform::gic::{Gic, GicV2Regions, GicV3Regions, RedistributorRegion, affinity};
use platform::psci::Psci;
use platform::uart::Uart;

/// Log ring before `conring_size=` is known.
const EARLY_RING: usize = 16 << 10;
/// Most that `conring_size=` may ask for.
const MAX_RING: usize = 16 << 20;
const GIC_WANTED: &str =
    "Xenolith drives GICv2 (\"arm,gic-400\", \"arm,cortex-a15-gic\") and GICv3 (\"arm,gic-v3\")";

/// Everything read from the device tree that later steps use.
pub(crate) struct Host {
    pub(crate) dt: &'static HostDt<'static>,
    pub(crate) modules: Modules<'static>,
    pub(crate) dom0_line: &'static str,
    pub(crate) gic: GicNode,
    pub(crate) uart: Option<UartNode<'static>>,
    pub(crate) banks: Vec<PaRange>,
    /// RAM with something in it: image, device tree, modules, reservations, stacks.
    pub(crate) used: Vec<PaRange>,
}

#[unsafe(no_mangle)]
extern "C" fn boot_main(dtb: u64, image: u64) -> ! {
    heap::init();
    console::init(EARLY_RING);
    let blob = device_tree(dtb);
    let tree: &'static Tree = match Tree::check(blob) {
        Ok(tree) => Box::leak(Box::new(tree)),
        Err(error) => no_tree(format_args!(
            "the device tree at {dtb:#x} is broken: {error}"
        )),
    };
    let fdt = Box::leak(Box::new(tree.fdt()));
    let dt: &'static HostDt<'static> = Box::leak(Box::new(HostDt::new(tree, fdt)));
    let (modules, bad_module) = match Modules::find(dt) {
        Ok(modules) => (modules, None),
        Err(bad) => (Modules::default(), Some(bad)),
    };
    let lines = CommandLines::find(dt, &modules);
    let options = Options::parse(leak(lines.xen));
    let uart = dt.uart(options.dtuart).filter(|_| options.console);
    if uart.is_none() && options.console {
        let named = options.dtuart.unwrap_or("stdout-path of /chosen");
        log::warn!("no console: {named} names no UART of the device tree (dtuart=ALIAS or PATH)");
    }
    let uart = start_console(&options, uart);
    banner(dt, image, options.line);
    options
        .warnings
        .iter()
        .for_each(|warning| log::warn!("{warning}"));
    if options.sched != SchedulerOption::Credit2 {
        log::warn!("sched=: there is one scheduler, by weights like credit2");
    }
    if let Some(bad) = bad_module {
        refuse(format_args!("{bad}"));
    }
    if modules.kernel().is_none() && modules.domains.is_empty() {
        refuse(format_args!(
            "no kernel for dom0, and no other domain: /chosen has no \"multiboot,module\" node (QEMU: -device guest-loader,addr=...,kernel=...)"
        ));
    }
    let host = survey(dt, modules, leak(lines.dom0), uart, blob);
    bring_up(host, options)
}

fn leak(text: &str) -> &'static str {
    Box::leak(String::from(text).into_boxed_str())
}

/// The blob that firmware left at `dtb`.
fn device_tree(dtb: u64) -> &'static [u8] {
    if dtb == 0 {
        no_tree(format_args!(
            "no device tree: x0 was 0 (boot the Image, not the ELF)"
        ));
    }
    if !dtb.is_multiple_of(8) || dtb >> 48 != 0 {
        no_tree(format_args!("no device tree at {dtb:#x}, where x0 points"));
    }
    let start: *const u32 = core::ptr::with_exposed_provenance(dtb as usize);
    // SAFETY: `early_map` mapped these 8 bytes, as normal memory. That there is RAM at the address
    // is for who calls the image to see to (Documentation/arch/arm64/booting.rst of Linux, x0).
    let (magic, size) = unsafe {
        (
            u32::from_be(start.read()),
            u32::from_be(start.add(1).read()),
        )
    };
    let size = size as usize;
    if magic != MAGIC {
        no_tree(format_args!(
            "no device tree at {dtb:#x}, where x0 points: magic {magic:#x}"
        ));
    }
    if size > MAX_SIZE {
        no_tree(format_args!(
            "the device tree at {dtb:#x} has {size} bytes, {MAX_SIZE} at most are supported"
        ));
    }
    // SAFETY: mapped, and left alone from now on: it is never freed.
    unsafe { core::slice::from_raw_parts(start.cast(), size) }
}

fn no_tree(why: core::fmt::Arguments<'_>) -> ! {
    if let Some(uart) = early::last_resort_uart() {
        console::set_uart(uart);
    }
    refuse(why)
}

/// Uses `uart` as console, if there is a driver for it; else it stays dom0's.
fn start_console<'d>(
    options: &Options<'static>,
    uart: Option<UartNode<'d>>,
) -> Option<UartNode<'d>> {
    console::configure(options);
    crate::panic::NOREBOOT.store(options.noreboot, core::sync::atomic::Ordering::Relaxed);
    let uart = uart?;
    if !uart.is_driven() {
        log::warn!(
            "{}: not a PL011: no console there, and dom0 has it",
            uart.node.path()
        );
        return None;
    }
    mmu::early_device(uart.range.start.0);
    // SAFETY: the tree says a PL011 is there; it is kept from dom0.
    console::set_uart(unsafe { Uart::new(uart.range.start.0 as usize) });
    Some(uart)
}

fn banner(dt: &HostDt<'_>, image: u64, line: &str) {
    log::info!(
        "Xenolith {} (Xen ABI 4.20), MIT OR Apache-2.0",
        env!("CARGO_PKG_VERSION")
    );
    log::info!(
        "machine: {}",
        dt.model()
            .or_else(|| dt.root().str("compatible"))
            .unwrap_or("no name")
    );
    log::info!(
        "image at {image:#x}, CPU MPIDR {:#x} MIDR {:#x}",
        affinity(mrs!("mpidr_el1")),
        mrs!("midr_el1")
    );
    log::info!("command line: {line}");
}

/// Memory and interrupt controller.
fn survey(
    dt: &'static HostDt<'static>,
    modules: Modules<'static>,
    dom0_line: &'static str,
    uart: Option<UartNode<'static>>,
    blob: &[u8],
) -> Host {
    let gic = dt
        .gic()
        .unwrap_or_else(|error| refuse(format_args!("{error}; {GIC_WANTED}")));
    let banks = dt
        .memory_banks()
        .unwrap_or_else(|error| refuse(format_args!("{error}")));
    let whole_pages = |bank: &PaRange| PaRange {
        start: Pa(bank.start.0.next_multiple_of(PAGE_SIZE)),
        end: Pa(bank.end.0.min(1 << 48) & !(PAGE_SIZE - 1)),
    };
    let banks: Vec<_> = banks
        .iter()
        .map(whole_pages)
        .filter(|b| !b.is_empty())
        .collect();
    let image = mmu::image();
    let dtb_at = Pa(blob.as_ptr().expose_provenance() as u64);
    let mut used = alloc::vec![PaRange {
        start: image.text.start,
        end: image.data.end
    }];
    used.extend(PaRange::new(dtb_at, blob.len() as u64));
    used.extend(modules.ranges());
    used.extend(dt.memory_reservations());
    used.extend(dt.reserved_memory().iter().map(|r| r.range));
    let used = used.iter().map(PaRange::page_aligned).collect();
    for module in modules.all() {
        let inside =
            |bank: &PaRange| bank.start <= module.range.start && module.range.end <= bank.end;
        if !banks.iter().any(inside) {
            refuse(format_args!(
                "{}: {} is not in RAM",
                module.node.path(),
                module.range
            ));
        }
    }
    let mut ours = alloc::vec![(
        "Xenolith's image",
        PaRange {
            start: image.text.start,
            end: image.data.end
        }
    )];
    ours.extend(modules.all().map(|m| ("a boot module", m.range)));
    for reserved in dt.reserved_memory() {
        if let Some((what, at)) = ours
            .iter()
            .find(|(_, range)| range.overlaps(&reserved.range))
        {
            refuse(format_args!(
                "{what} at {} lies in /reserved-memory, {}",
                at.start, reserved.range
            ));
        }
    }
    Host {
        dt,
        modules,
        dom0_line,
        gic,
        uart,
        banks,
        used,
    }
}

/// The stacks of the secondary CPUs, and every CPU's emergency stack, each above a guard page.
pub(crate) struct Stacks {
    range: PaRange,
}

impl Stacks {
    const STACK: u64 = 32 << 10;
    pub(crate) const EMERGENCY: u64 = 16 << 10;
    const EACH: u64 = PAGE_SIZE + Self::STACK + PAGE_SIZE + Self::EMERGENCY;

    /// Takes room for `cpus` from the top of free RAM.
    fn carve(host: &mut Host, cpus: usize) -> Self {
        let size = Self::EACH * cpus as u64;
        let free = without(&host.banks, &host.used);
        let Some(room) = free.iter().rev().find(|r| r.size() >= size) else {
            refuse(format_args!(
                "too little RAM: no {} KiB for stacks",
                size >> 10
            ));
        };
        let range = PaRange {
            start: Pa(room.end.0 - size),
            end: room.end,
        };
        host.used.push(range);
        Self { range }
    }

    fn base(&self, cpu: CpuId) -> u64 {
        self.range.start.0 + Self::EACH * u64::from(cpu.0)
    }

    /// Top of `cpu`'s stack.
    pub(crate) fn top(&self, cpu: CpuId) -> Pa {
        Pa(self.base(cpu) + PAGE_SIZE + Self::STACK)
    }

    /// Top of `cpu`'s emergency stack.
    pub(crate) fn emergency(&self, cpu: CpuId) -> Pa {
        Pa(self.base(cpu) + Self::EACH)
    }

    fn guards(&self, cpus: usize) -> Vec<PaRange> {
        let page = |at: u64| PaRange {
            start: Pa(at),
            end: Pa(at + PAGE_SIZE),
        };
        let bases = (0..cpus as u32).map(|n| self.base(CpuId(n)));
        bases
            .flat_map(|base| [page(base), page(base + PAGE_SIZE + Self::STACK)])
            .collect()
    }
}

/// Drivers, all CPUs, the frame table, and then dom0.
fn bring_up(mut host: Host, options: Options<'static>) -> ! {
    let boot_ticks = platform::timer::now();
    let cpus = cpu_list(&host);
    let stacks = Stacks::carve(&mut host, cpus.len());
    let root = map_everything(&host, &stacks, cpus.len());
    mmu::activate(root);
    let frames = Frames::new(DirectMap::IDENTITY, &el2::EL2, &host.banks, &host.used)
        .unwrap_or_else(|error| {
            refuse(format_args!(
                "device tree: the RAM in it cannot be managed: {error}"
            ))
        });
    let frames = machine::set_frames(frames);

    let machine = machine::set(find_machine(&host, cpus, root));
    let boot_id = install_boot_cpu(&stacks);
    let limit = options.maxcpus.map_or(usize::MAX, |n| n as usize);
    let running = smp::start_all(&stacks, limit);
    log::info!(
        "{} of {} CPUs run, timer at {} kHz",
        running.len(),
        machine.cpus.len(),
        machine.frequency / 1000
    );

    let features = smp::features(&running);
    let pa_range = features.iter().map(|f| f.pa_range).min().unwrap_or(0);
    let vmid16 = features.iter().all(|f| f.vmid16);
    let kinds = find_kinds(&features, pa_range);
    let geometry = Stage2Geometry::for_pa_range(pa_range).unwrap_or_else(|| {
        refuse(format_args!(
            "ID_AA64MMFR0_EL1.PARange {pa_range} is not known"
        ))
    });
    machine::set_vtcr(geometry.vtcr(vmid16));
    el2::set_vtcr();
    let sched = Scheduler::new(
        machine.cpus.len(),
        machine.frequency,
        options.sched_ratelimit_us,
    );
    running.iter().for_each(|&cpu| sched.set_online(cpu));
    let sys = machine::set_system(System {
        hw: &el2::EL2,
        map: DirectMap::IDENTITY,
        frames,
        guest_hw: GuestHardware {
            geometry,
            vmids: VmidAllocator::new(vmid16),
            gic: guest_gic(&machine.gic),
        },
        domains: Domains::new(),
        irq_owners: IrqOwners::new(),
        virqs: GlobalVirqs::new(),
        typed: Showing::none(),
        log_budget: LogBudget::default(),
        params: Lock::new(Params::of(&options)),
        sched,
        timers: Timers::new(machine.cpus.len()),
        options,
        kinds,
        boot_ticks,
    });
    log::debug!("boot CPU is {}", boot_id.0);
    console::resize_ring(ring_size(sys.options.conring_size));
    let dom0 = dom0::build(sys, &host);
    frames.keep_free(heap::RESERVE);
    let domus = domu::build(sys, &host, dom0.as_ref());
    for module in merged(host.modules.ranges().collect()) {
        if let Err(error) = frames.free_range(module) {
            log::warn!("boot module at {}: {error}", module.start);
        }
    }
    if !frames.keep_free(heap::RESERVE) || frames.free_pages() < heap::RESERVE {
        refuse(format_args!(
            "{} KiB of RAM are left, and the hypervisor needs {} KiB and 2 MiB in one piece to grow: give the domains \
             less (dom0_mem on the command line, memory in /chosen)",
            frames.free_pages() << 2,
            heap::RESERVE << 2
        ));
    }
    if !domus.is_empty() {
        say_whose_input(dom0.is_some());
    }
    for domain in dom0.iter().chain(&domus) {
        domain.unpause();
    }
    if let Some(uart) = machine.irqs.uart {
        machine.gic.set_edge(uart, false);
        machine.gic.route(uart, percpu::this().mpidr);
        machine.gic.enable(uart);
        console::enable_input();
    }
    run::run()
}

/// The size of the log ring, which may not be `asked`.
fn ring_size(asked: u64) -> usize {
    let size = usize::try_from(asked)
        .unwrap_or(MAX_RING)
        .clamp(EARLY_RING, MAX_RING);
    if size as u64 != asked {
        log::warn!(
            "conring_size={asked}: it is {size}, from {EARLY_RING} to {MAX_RING} are possible"
        );
    }
    size
}

/// Sorts the CPUs by kind, and says what they are.
fn find_kinds(features: &[Features], pa_range: u8) -> Kinds {
    let cpus = features.iter().map(|f| f.cpu.clone()).collect();
    let kinds = Kinds::new(cpus, pa_range)
        .unwrap_or_else(|| refuse(format_args!("no CPU says what it is")));
    for (_, kind) in kinds.iter() {
        let of_kind = || features.iter().filter(|f| f.cpu.midr == kind.midr);
        let cpus = of_kind().fold(0, |all, f| all | 1u128 << f.id().0);
        if let Some(first) = of_kind().next() {
            log::info!(
                "CPUs {}: {}{}{}",
                CpuList(cpus),
                kind.midr,
                Summary(kind.midr),
                first.plan
            );
        }
    }
    for f in features {
        if f.frequency != 0 && f.frequency != machine::get().frequency {
            log::warn!(
                "CPU {}: its CNTFRQ_EL0 says {} Hz, the machine's timer runs at {} Hz: guests there will keep the \
                 wrong time (firmware must set it)",
                f.id().0,
                f.frequency,
                machine::get().frequency
            );
        }
    }
    kinds
}

fn cpu_list(host: &Host) -> Vec<u64> {
    let this = affinity(mrs!("mpidr_el1"));
    let listed = host
        .dt
        .cpus()
        .unwrap_or_else(|error| refuse(format_args!("{error}")));
    let mut cpus: Vec<u64> = listed
        .iter()
        .filter(|cpu| cpu.available)
        .map(|cpu| cpu.mpidr)
        .collect();
    if !cpus.contains(&this) {
        log::warn!("device tree: /cpus does not list this CPU, MPIDR {this:#x}");
        cpus.push(this);
    }
    if cpus.len() > MAX_CPUS {
        log::warn!(
            "device tree: /cpus lists {} CPUs: {MAX_CPUS} of them are used",
            cpus.len()
        );
        cpus.retain(|&cpu| cpu != this);
        cpus.insert(0, this);
        cpus.truncate(MAX_CPUS);
    }
    cpus
}

fn map_everything(host: &Host, stacks: &Stacks, cpus: usize) -> u64 {
    let reserved: Vec<_> = host
        .dt
        .reserved_memory()
        .iter()
        .map(|r| r.range.page_aligned())
        .collect();
    let ram = without(&host.banks, &reserved);
    let mut devices = host.gic.blocks();
    devices.extend(host.uart.iter().map(|uart| uart.range));
    devices.extend(dom0::msi_frames(host.dt));
    let tables = Tables::new(&ram, &stacks.guards(cpus), &devices)
        .unwrap_or_else(|range| refuse(format_args!("cannot map {range}")));
    let root = tables.root();
    core::mem::forget(tables);
    root
}

fn find_machine(host: &Host, cpus: Vec<u64>, tables: u64) -> Machine {
    let timer = host
        .dt
        .timer()
        .unwrap_or_else(|error| refuse(format_args!("{error}")));
    if (timer.physical.intid, timer.virtual_.intid) != (PPI_PHYS_TIMER, PPI_VIRT_TIMER) {
        refuse(format_args!(
            "device tree: the timer's PPIs are {} and {}, but guests have {PPI_PHYS_TIMER} and {PPI_VIRT_TIMER}",
            timer.physical.intid, timer.virtual_.intid
        ));
    }
    let gic = gic_driver(&host.gic);
    let psci = psci_driver(host.dt);
    let frequency = match timer.clock_frequency {
        Some(hz) if platform::timer::cntfrq() == 0 => hz,
        _ => platform::timer::cntfrq(),
    };
    if frequency == 0 {
        refuse(format_args!(
            "CNTFRQ_EL0 is 0: firmware did not set it, nor does the device tree say it"
        ));
    }
    Machine {
        gic,
        psci,
        irqs: OwnIrqs {
            hyp_timer: timer.hypervisor.intid,
            virt_timer: timer.virtual_.intid,
            maintenance: host.gic.maintenance.map_or(25, |irq| irq.intid),
            uart: host
                .uart
                .as_ref()
                .and_then(|uart| uart.irq)
                .map(|irq| irq.intid),
        },
        cpus,
        tables,
        frequency,
    }
}

/// Firmware that can be called from EL2, by the numbers of PSCI 0.2.
fn psci_driver(dt: &HostDt<'_>) -> Option<Psci> {
    let Some(node) = dt.psci() else {
        log::warn!("device tree: no PSCI: one CPU, and no way to power off");
        return None;
    };
    if node.hvc {
        log::warn!(
            "device tree: PSCI by HVC cannot be called from EL2: one CPU, and no way to power off"
        );
        return None;
    }
    if node.cpu_on_v0_1.is_some() {
        log::warn!("device tree: PSCI 0.1 is not supported: one CPU, and no way to power off");
        return None;
    }
    Some(Psci)
}

fn gic_driver(node: &GicNode) -> Gic {
    let at = |range: &PaRange| range.start.0 as usize;
    // SAFETY: the tree says these are the GIC's registers; they are mapped as a device and nobody
    // else drives them.
    let driver = unsafe {
        match &node.version {
            GicVersion::V2 {
                cpu,
                hypervisor,
                virtual_cpu,
            } => Gic::new_v2(&GicV2Regions {
                gicd: at(&node.distributor),
                gicc: at(cpu),
                gicc_size: cpu.size() as usize,
                gich: at(hypervisor),
                gicv: at(virtual_cpu),
            }),
            GicVersion::V3 {
                redistributors,
                stride,
            } => Gic::new_v3(GicV3Regions {
                gicd: at(&node.distributor),
                redistributors: redistributors
                    .iter()
                    .map(|r| RedistributorRegion {
                        base: at(r),
                        size: r.size() as usize,
                    })
                    .collect(),
                stride: stride.map(|s| s as usize),
            }),
        }
    };
    driver.unwrap_or_else(|error| refuse(format_args!("{error}; {GIC_WANTED}")))
}

/// With several domains on the console, says who has its input; without dom0 the first other one.
fn say_whose_input(has_dom0: bool) {
    match console::input_target() {
        Target::Domain(_) if !has_dom0 => irq::switch_input(),
        target => irq::turn_input_to(target),
    }
}

/// What guests have of `gic`.
fn guest_gic(gic: &Gic) -> GuestGic {
    let (model, gicv) = match gic {
        Gic::V2(gic) => (Model::V2, Some(Pa(gic.guest_cpu_interface() as u64))),
        Gic::V3(_) => (Model::V3, None),
    };
    GuestGic {
        model,
        lr_count: gic.nr_lrs() as u32,
        lrs_deactivate: gic.lrs_deactivate(),
        priority_bits: 5,
        nr_spis: gic.lines() - 32,
        gicv,
    }
}

/// Makes this CPU one of the machine's.
fn install_boot_cpu(stacks: &Stacks) -> CpuId {
    let machine = machine::get();
    let mpidr = affinity(mrs!("mpidr_el1"));
    let place = machine
        .cpus
        .iter()
        .position(|&cpu| cpu == mpidr)
        .unwrap_or(0);
    let id = CpuId(place as u32);
    percpu::install(Box::leak(Box::new(PerCpu::new(
        id,
        mpidr,
        stacks.emergency(id).0,
    ))));
    el2::init_cpu();
    let started = machine
        .gic
        .init_distributor()
        .and_then(|()| machine.gic.init_cpu(mpidr));
    if let Err(error) = started {
        refuse(format_args!("{error}"));
    }
    smp::enable_own_irqs();
    smp::contribute_features();
    id
}
