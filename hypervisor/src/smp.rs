// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other CPUs: started by PSCI, one after another, each to the run loop.

use crate::boot::Stacks;
use crate::cpufeature::Features;
use crate::percpu::{self, PerCpu};
use crate::sysreg::mrs;
use crate::{el2, machine, mmu, panic, run};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use hv_core::addr::{CpuId, PaRange};
use hv_core::hw::{CacheOp, Hw};
use hv_core::sync::{Lock, rank};

/// What head.S reads with the MMU off.
#[repr(C)]
pub(crate) struct SecondaryStart {
    pub(crate) root: u64,
    pub(crate) stack: u64,
    pub(crate) percpu: u64,
}

unsafe extern "C" {
    fn secondary_entry();
}

/// What the CPUs so far are like.
static FEATURES: Lock<Vec<Features>, { rank::DOMAINS }> = Lock::new(Vec::new());
/// The number of the CPU that is being started, until it has arrived or was given up.
static AWAITED: AtomicU32 = AtomicU32::new(NOBODY);
const NOBODY: u32 = u32::MAX;

/// Says what this CPU is like.
pub(crate) fn contribute_features() {
    let own = Features::of_this_cpu();
    FEATURES.lock().push(own);
}

/// What those of the CPUs that run are like.
pub(crate) fn features(running: &[CpuId]) -> Vec<Features> {
    let mut all = FEATURES.lock().clone();
    all.retain(|features| running.contains(&features.id()));
    all
}

/// Starts the CPUs but this one, at most `limit` in all; returns those that run, this one
/// included.
pub(crate) fn start_all(stacks: &Stacks, limit: usize) -> Vec<CpuId> {
    let machine = machine::get();
    let this = percpu::this().id;
    let mut running = alloc::vec![this];
    for (n, &mpidr) in machine.cpus.iter().enumerate() {
        let id = CpuId(n as u32);
        if id == this || running.len() >= limit.max(1) {
            continue;
        }
        if start(stacks, id, mpidr) {
            running.push(id);
        }
    }
    running
}

fn start(stacks: &Stacks, id: CpuId, mpidr: u64) -> bool {
    let machine = machine::get();
    let Some(psci) = &machine.psci else {
        log::warn!("CPU {} (MPIDR {mpidr:#x}): no PSCI to start it with", id.0);
        return false;
    };
    let percpu = Box::leak(Box::new(PerCpu::new(id, mpidr, stacks.emergency(id).0)));
    let block = Box::leak(Box::new(SecondaryStart {
        root: machine.tables,
        stack: stacks.top(id).0,
        percpu: (&raw const *percpu).expose_provenance() as u64,
    }));
    let at = (&raw const *block).expose_provenance() as u64;
    if let Some(range) = PaRange::new(hv_core::addr::Pa(at), size_of::<SecondaryStart>() as u64) {
        el2::EL2.cache(range, CacheOp::CleanInvalidate);
    }
    AWAITED.store(id.0, Ordering::SeqCst);
    let entry = (secondary_entry as *const ()).expose_provenance() as u64;
    if let Err(error) = psci.cpu_on(mpidr, entry, at) {
        log::warn!("CPU {} (MPIDR {mpidr:#x}): PSCI CPU_ON: {error:?}", id.0);
        return false;
    }
    let until = platform::timer::now() + machine.frequency;
    while AWAITED.load(Ordering::Acquire) == id.0 {
        if platform::timer::now() > until && take_awaited(id) {
            log::warn!(
                "CPU {} (MPIDR {mpidr:#x}) did not arrive within a second",
                id.0
            );
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// True for the one that takes `id` out of [`AWAITED`]: the CPU itself, or who waited for it.
fn take_awaited(id: CpuId) -> bool {
    AWAITED
        .compare_exchange(id.0, NOBODY, Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
}

/// Where a secondary CPU arrives in Rust.
#[unsafe(no_mangle)]
extern "C" fn secondary_main() -> ! {
    let cpu = percpu::this();
    mmu::activate(machine::get().tables);
    el2::init_cpu();
    if let Err(error) = machine::get().gic.init_cpu(cpu.mpidr) {
        log::error!("CPU {}: {error}", cpu.id.0);
        panic::halt();
    }
    enable_own_irqs();
    contribute_features();
    log::debug!(
        "CPU {} MPIDR {:#x} MIDR {:#x}",
        cpu.id.0,
        cpu.mpidr,
        mrs!("midr_el1")
    );
    if !take_awaited(cpu.id) {
        log::warn!("CPU {} arrived too late: halted", cpu.id.0);
        panic::halt();
    }
    while machine::try_system().is_none() {
        core::hint::spin_loop();
    }
    el2::set_vtcr();
    run::run()
}

/// Lets in the private interrupts EL2 uses.
pub(crate) fn enable_own_irqs() {
    let machine = machine::get();
    let irqs = &machine.irqs;
    for sgi in [crate::irq::SGI_KICK, crate::irq::SGI_HALT] {
        machine.gic.enable(sgi);
    }
    for ppi in [irqs.hyp_timer, irqs.virt_timer, irqs.maintenance] {
        machine.gic.set_edge(ppi, false);
        machine.gic.enable(ppi);
    }
}
