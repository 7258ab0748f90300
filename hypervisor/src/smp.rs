// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other CPUs: started by PSCI, one after another, each to the run loop.

use crate::boot::Stacks;
use crate::percpu::{self, PerCpu};
use crate::sysreg::mrs;
use crate::{cpufeature, el2, machine, mmu, panic, run};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use hv_core::addr::{CpuId, PaRange};
use hv_core::hw::{CacheOp, Hw};
use hv_core::sync::{Lock, rank};
use hv_core::trap::idreg::IdRegs;

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

/// ID registers that all CPUs so far have in common.
static COMMON_IDS: Lock<Option<IdRegs>, { rank::CONSOLE }> = Lock::new(None);
/// The CPU that is being started has arrived.
static ARRIVED: AtomicBool = AtomicBool::new(false);

/// Adds this CPU's ID registers to what all have in common.
pub(crate) fn contribute_ids() {
    let own = cpufeature::id_regs();
    let mut common = COMMON_IDS.lock();
    let combined = common.as_ref().map_or(own, |ids| ids.combine(&own));
    *common = Some(combined);
}

/// What all CPUs have in common.
pub(crate) fn common_ids() -> IdRegs {
    let common = *COMMON_IDS.lock();
    common.unwrap_or_else(cpufeature::id_regs)
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
    ARRIVED.store(false, Ordering::SeqCst);
    let entry = (secondary_entry as *const ()).expose_provenance() as u64;
    if let Err(error) = psci.cpu_on(mpidr, entry, at) {
        log::warn!("CPU {} (MPIDR {mpidr:#x}): PSCI CPU_ON: {error:?}", id.0);
        return false;
    }
    let until = platform::timer::now() + machine.frequency;
    while !ARRIVED.load(Ordering::Acquire) {
        if platform::timer::now() > until {
            log::warn!("CPU {} (MPIDR {mpidr:#x}) did not arrive within a second", id.0);
            return false;
        }
        core::hint::spin_loop();
    }
    true
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
    contribute_ids();
    log::debug!("CPU {} MPIDR {:#x} MIDR {:#x}", cpu.id.0, cpu.mpidr, mrs!("midr_el1"));
    ARRIVED.store(true, Ordering::Release);
    while machine::try_system().is_none() {
        core::hint::spin_loop();
    }
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
