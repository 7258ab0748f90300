// SPDX-License-Identifier: MIT OR Apache-2.0
//! The run loop of a CPU: choose a vCPU, move its state in, enter it, handle why it left.

use crate::irq::{Handled, ICH_HCR_EN};
use crate::percpu::PerCpu;
use crate::sysreg::{dsb_sy, isb, mrs, msr};
use crate::{context, el2, irq, machine, percpu};
use alloc::sync::Arc;
use hv_core::addr::CpuId;
use hv_core::current::Current;
use hv_core::domain::context::{Context, Regs};
use hv_core::domain::vcpu::Vcpu;
use hv_core::domain::{Domain, PPI_VIRT_TIMER};
use hv_core::exit::{self, Syndrome};
use hv_core::guest_log;
use hv_core::sched::{Next, pause};
use hv_core::system::System;
use hv_core::timer::Purpose;
use hv_core::trap::{smccc, timer};
use hv_core::vgic::{self, HcrBits, ListRegisters};
use platform::gic::{Gic, VirtualState};
use xen_abi::vcpu::{RUNSTATE_BLOCKED, RUNSTATE_OFFLINE, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING};

/// Kinds of exit, as vectors.S numbers them.
pub(crate) const EXIT_SYNC: u64 = 0;
pub(crate) const EXIT_IRQ: u64 = 1;
pub(crate) const EXIT_FIQ: u64 = 2;
pub(crate) const EXIT_SERROR: u64 = 3;
pub(crate) const EXIT_SYNC32: u64 = 4;

/// HCR_EL2.TWI and TWE.
const HCR_TWI: u64 = 1 << 13;
const HCR_TWE: u64 = 1 << 14;
/// ESR_EL2.EC of a data abort from a lower EL.
const EC_DATA_ABORT: u64 = 0x24;

unsafe extern "C" {
    fn enter_guest(regs: *mut Regs) -> u64;
}

/// The GIC's list registers, for the vGIC.
struct Lrs(&'static Gic);

impl ListRegisters for Lrs {
    #[inline]
    fn read(&mut self, n: u32) -> u64 {
        self.0.read_lr(n as usize)
    }
    #[inline(always)]
    fn write(&mut self, n: u32, value: u64) {
        self.0.write_lr(n as usize, value);
    }
    fn eoi_count(&mut self) -> u32 {
        self.0.read_hcr() >> 27
    }
}

/// Runs vCPUs on this CPU for ever.
pub(crate) fn run() -> ! {
    let (cpu, sys) = (percpu::this(), machine::system());
    let mut loaded: Option<(Arc<Domain>, Arc<Vcpu>)> = None;
    // A vCPU's time begins where that of the one before it ends: the switch is part of it.
    let mut now = sys.hw.now();
    loop {
        let own = loaded.as_ref().map(|(_, vcpu)| vcpu);
        let (next, slice_end) = sys.sched.choose(sys.hw, cpu.id, own, now);
        match slice_end {
            Some(at) => sys.timers.set(sys.hw, at, Purpose::Slice),
            None => sys.timers.cancel(sys.hw, &Purpose::Slice),
        }
        match next {
            Next::Run(vcpu) => now = run_vcpu(cpu, sys, &mut loaded, vcpu, now),
            Next::Idle => {
                idle(cpu, sys, &mut loaded);
                now = sys.hw.now();
            }
        }
    }
}

/// Waits for an interrupt, with the last vCPU's state still in the CPU.
fn idle(cpu: &PerCpu, sys: &'static System, loaded: &mut Option<(Arc<Domain>, Arc<Vcpu>)>) {
    if let Some((domain, vcpu)) = loaded
        && sys.sched.must_unload(cpu.id, vcpu)
    {
        let domain = domain.clone();
        unload(cpu, sys, &domain, &vcpu.clone());
        *loaded = None;
    }
    cpu.running.set(u32::MAX);
    deliver_late_serror(sys, loaded.as_ref().map(|(domain, vcpu)| (domain, vcpu)));
    // To put registers away may have woken somebody here, and no CPU kicks itself.
    if !sys.sched.may_sleep(cpu.id) {
        return;
    }
    dsb_sy();
    // SAFETY: waits; a pending interrupt ends it although it is masked.
    unsafe { core::arch::asm!("wfi", options(nostack)) };
    let vcpu = loaded.as_ref().map(|(domain, vcpu)| (&**domain, vcpu.id));
    let handled = irq::handle(vcpu);
    if let Some((domain, vcpu)) = loaded
        && handled.maintenance
    {
        refill(domain, vcpu);
    }
}

/// Runs `vcpu`, whose time begins at `now`. Returns when it ended.
fn run_vcpu(
    cpu: &PerCpu,
    sys: &'static System,
    loaded: &mut Option<(Arc<Domain>, Arc<Vcpu>)>,
    vcpu: Arc<Vcpu>,
    now: u64,
) -> u64 {
    let start = vcpu.take_start();
    let keep = start.is_none() && loaded.as_ref().is_some_and(|(_, l)| Arc::ptr_eq(l, &vcpu));
    if !keep {
        if let Some((domain, old)) = loaded.take() {
            unload(cpu, sys, &domain, &old);
        }
        let Some(domain) = vcpu.domain.upgrade() else {
            vcpu.sched.set(pause::DYING);
            return now;
        };
        if let Some(start) = start {
            // SAFETY: no CPU has the vCPU loaded, and this one runs it.
            unsafe { *vcpu.context.get() = Context::reset(start.entry, start.x0) };
        }
        load(cpu, &domain, &vcpu);
        vcpu.sched.set_loaded(Some(cpu.id));
        *loaded = Some((domain, vcpu));
    }
    let Some((domain, vcpu)) = loaded else {
        return now;
    };
    cpu.running.set(u32::from(domain.id.0) << 16 | vcpu.id);
    runstate(sys, domain, vcpu, RUNSTATE_RUNNING, now);
    turn(cpu.id, sys, domain, vcpu);
    let state = match vcpu.sched.flags() {
        0 | pause::CAPPED => RUNSTATE_RUNNABLE,
        flags if flags & (pause::DOWN | pause::DOMAIN) != 0 => RUNSTATE_OFFLINE,
        _ => RUNSTATE_BLOCKED,
    };
    let now = sys.hw.now();
    runstate(sys, domain, vcpu, state, now);
    now
}

fn runstate(sys: &'static System, domain: &Domain, vcpu: &Vcpu, state: u32, now: u64) {
    let since_boot = |ticks: u64| ticks.saturating_sub(sys.boot_ticks);
    let area = {
        let mut area = vcpu.runstate.lock();
        area.enter_woken(state, since_boot(vcpu.sched.woken()), since_boot(now));
        *area
    };
    if area.is_registered() {
        let memory = hv_core::guest::copy::GuestMemory::new(sys, domain.id);
        area.show(sys, memory, domain.runstate_update_flag());
    }
}

/// Lets the loaded vCPU run until the scheduler wants to choose anew.
fn turn(cpu: CpuId, sys: &'static System, domain: &Arc<Domain>, vcpu: &Arc<Vcpu>) {
    let context = vcpu.context.get();
    // SAFETY: the vCPU runs here, so its registers are this CPU's alone; the system registers in
    // the context are not touched until it is unloaded.
    let regs: &mut Regs = unsafe { &mut (*context).regs };
    let mut cur = Current {
        sys,
        domain,
        vcpu,
        regs,
    };
    loop {
        if domain.vgic.is_dirty(vcpu.id) {
            refill(domain, vcpu);
        }
        // After the refill, which may have woken somebody.
        if sys.sched.take_resched(cpu) {
            break;
        }
        let kind = if vcpu.flush_step(domain) {
            // SAFETY: the vCPU's state is in the CPU and `regs` is exclusively ours.
            unsafe { enter_guest(&raw mut *cur.regs) }
        } else if sys.hw.irq_pending() {
            EXIT_IRQ
        } else {
            continue;
        };
        let handled = match kind {
            EXIT_SYNC | EXIT_SYNC32 => {
                let syndrome = syndrome();
                if syndrome.esr >> 26 == EC_DATA_ABORT && vgic::may_tell_state(syndrome.far) {
                    // What the guest asks of its GIC may be in the list registers.
                    domain.vgic.sync(vcpu.id, &mut Lrs(&machine::get().gic));
                }
                exit::handle_sync(&mut cur, syndrome);
                Handled::default()
            }
            EXIT_IRQ => irq::handle_for(&cur),
            EXIT_SERROR => {
                let esr = mrs!("esr_el2");
                assert!(
                    !sys.options.serrors_panic,
                    "SError, ESR {esr:#x} (serrors=panic)"
                );
                exit::handle_serror(&mut cur, esr);
                Handled::default()
            }
            kind => panic!("exit of kind {kind}: FIQs are firmware's and must not reach EL2"),
        };
        if handled.maintenance {
            refill(domain, vcpu);
        }
    }
    if vcpu.sched.flags() != 0 {
        domain.vgic.sync(vcpu.id, &mut Lrs(&machine::get().gic));
        vcpu.settle_wait(domain);
    }
}

#[inline(always)]
fn syndrome() -> Syndrome {
    Syndrome {
        esr: mrs!("esr_el2"),
        far: mrs!("far_el2"),
        hpfar: mrs!("hpfar_el2"),
    }
}

/// Brings the list registers up to date.
fn refill(domain: &Arc<Domain>, vcpu: &Vcpu) {
    let gic = &machine::get().gic;
    let wanted: HcrBits = domain.vgic.enter(vcpu.id, &mut Lrs(gic), &**domain);
    gic.write_hcr(ICH_HCR_EN | wanted.bits());
}

/// An SError that arrived after its guest was left goes to the vCPU that is `loaded` still, or to
/// nobody.
fn deliver_late_serror(sys: &System, loaded: Option<(&Arc<Domain>, &Arc<Vcpu>)>) {
    let Some(esr) = el2::take_serror() else {
        return;
    };
    assert!(
        !sys.options.serrors_panic,
        "SError, ESR {esr:#x} (serrors=panic)"
    );
    match loaded {
        Some((domain, vcpu)) => {
            guest_log!(
                domain,
                "SError, ESR {esr:#x}, after {}v{} ran",
                domain.id,
                vcpu.id
            );
            sys.hw.inject_serror();
            // It ends WFI.
            vcpu.unblock(pause::BLOCKED);
        }
        None => log::error!("SError, ESR {esr:#x}, on an idle CPU"),
    }
}

/// Moves a vCPU's state out of the CPU. Another CPU may take the vCPU once this is done.
fn unload(cpu: &PerCpu, sys: &'static System, domain: &Arc<Domain>, vcpu: &Arc<Vcpu>) {
    let gic = &machine::get().gic;
    // SAFETY: the vCPU is marked as loaded here, so nobody else touches its registers.
    let context = unsafe { &mut *vcpu.context.get() };
    deliver_late_serror(sys, Some((domain, vcpu)));
    context.sys.hcr_el2 = mrs!("hcr_el2");
    context::save(&mut context.sys, &mut context.fp);
    el2::switch_vdisr(&mut context.sys.vdisr_el2, 0);
    let timer = (PPI_VIRT_TIMER, !timer::is_high(context.sys.cntv_ctl_el0));
    let active = domain.vgic.unload(vcpu.id, &mut Lrs(gic), timer, &**domain);
    cpu.vtimer_active.set(active);
    gic.write_hcr(0);
    let mut state = VirtualState::default();
    gic.save_virtual(&mut state);
    context.sys.ich_vmcr_el2 = state.vmcr;
    context.sys.ich_apr = state.apr;
    let deadline = timer::deadline(
        context.sys.cntv_ctl_el0,
        context.sys.cntv_cval_el0,
        domain.cntvoff,
    );
    let purpose = Purpose::Virtual(Arc::downgrade(vcpu));
    match deadline {
        Some(at) if vcpu.is_up() => sys.timers.set(sys.hw, at, purpose),
        _ => sys.timers.cancel(sys.hw, &purpose),
    }
    // Once nobody is loaded here the domain may end, its tables with it.
    el2::leave_stage2();
    vcpu.sched.set_loaded(None);
    sys.sched.finish_move(sys.hw, vcpu);
    sys.sched.offer(sys.hw, vcpu);
}

/// Moves a vCPU's state into the CPU.
fn load(cpu: &PerCpu, domain: &Arc<Domain>, vcpu: &Arc<Vcpu>) {
    let gic = &machine::get().gic;
    // SAFETY: the vCPU runs here and is loaded nowhere else.
    let context = unsafe { &*vcpu.context.get() };
    let native_wfx = if domain.sys.options.vwfi_native {
        HCR_TWI | HCR_TWE
    } else {
        0
    };
    let hcr = (context.sys.hcr_el2 | el2::hcr_by_feature()) & !native_wfx;
    // SAFETY: the registers of the EL1&0 regime, which EL2 does not use.
    unsafe {
        msr!("hcr_el2", hcr);
        msr!("vmpidr_el2", smccc::vmpidr(vcpu.id));
        msr!("cntvoff_el2", domain.cntvoff);
    }
    isb();
    let held = domain.vgic.ppi_hw_active(vcpu.id, PPI_VIRT_TIMER);
    if cpu.vtimer_active.replace(held) != held {
        gic.set_active(machine::get().irqs.virt_timer, held);
    }
    gic.set_guest_sre(matches!(gic, Gic::V3(_)));
    let state = VirtualState {
        vmcr: context.sys.ich_vmcr_el2,
        apr: context.sys.ich_apr,
    };
    gic.restore_virtual(&state);
    context::load(&context.sys, &context.fp);
    el2::switch_vdisr(&mut 0, context.sys.vdisr_el2);
    isb();
    // Its tables last: as long as stage 2 translates nothing (`el2::leave_stage2`), no AT that is
    // executed by speculation can bring together what is not of one guest (errata 1319367, 1319537).
    // SAFETY: the domain lives as long as the vCPU is loaded.
    unsafe { msr!("vttbr_el2", domain.p2m.vttbr()) };
    isb();
    if domain.is_newcomer(vcpu.id, cpu.id) {
        el2::flush_stage1_local();
    }
}
