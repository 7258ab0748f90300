// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest left for EL2: decode why, decide, perform.
//!
//! Nothing a guest does here may stop the machine. What it may not do becomes an exception of its
//! own: UNDEFINED, or an external abort.

#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use crate::addr::Gva;
use crate::cpu::errata::Workarounds;
use crate::current::Current;
use crate::domain::create::map_gicv;
use crate::hw::El1Reg;
use crate::p2m::{Access, FaultOutcome};
use crate::trap::abort::{DataAbort, Fault, InstrAbort, MmioAccess};
use crate::trap::esr::{Esr, Exit, Wfx, advance};
use crate::trap::inject::El1State;
use crate::trap::sysreg::{self, Caller, SysRegAccess, SysRegAction, VmReg};
use crate::trap::timer::TimerReg;
use crate::trap::{insn, setway, smccc};
use crate::{call, guest_log, psci};
use core::sync::atomic::Ordering;
use xen_abi::hypercall::HYPERCALL_TAG;

/// The syndrome of a synchronous exception.
#[derive(Clone, Copy, Debug)]
pub struct Syndrome {
    /// ESR_EL2.
    pub esr: u64,
    /// FAR_EL2.
    pub far: u64,
    /// HPFAR_EL2.
    pub hpfar: u64,
}

/// `HVC #0xEA1` from AArch64, with a 4-byte instruction: by far the most frequent syndrome.
const ESR_HYPERCALL: u64 = 0x16 << 26 | 1 << 25 | HYPERCALL_TAG as u64;

/// Handles a synchronous exception from the running vCPU.
pub fn handle_sync(cur: &mut Current<'_>, syndrome: Syndrome) {
    if syndrome.esr == ESR_HYPERCALL {
        return call::hypercall(cur);
    }
    let esr = Esr(syndrome.esr);
    match esr.decode(cur.regs.pstate) {
        Exit::Hvc64 { imm: HYPERCALL_TAG } => call::hypercall(cur),
        Exit::Hvc64 { imm: 0 } => smccc_call(cur),
        Exit::Smc64 { imm: 0 } => {
            step_over(cur, esr);
            smccc_call(cur);
        }
        Exit::Wfx(wfx) => {
            step_over(cur, esr);
            wait(cur, wfx);
        }
        Exit::SysReg(access) => system_register(cur, access, esr),
        Exit::DataAbort(abort) => {
            let write = abort.write() && !abort.cache_maintenance();
            let doubtful = matches!(abort.fault(), Fault::Translation { .. }) && !abort.s1ptw();
            if let Some(syndrome) = believed(cur, syndrome, doubtful, write) {
                data_abort(cur, abort, syndrome);
            }
        }
        Exit::InstrAbort(abort) => {
            let doubtful = matches!(abort.fault(), Fault::Translation { .. }) && !abort.s1ptw();
            if let Some(syndrome) = believed(cur, syndrome, doubtful, false) {
                instr_abort(cur, abort, syndrome);
            }
        }
        Exit::ConditionFailed => step_over(cur, esr),
        Exit::SError { .. } => handle_serror(cur, syndrome.esr),
        Exit::Hvc64 { .. } => {
            // Unlike other instructions that trap, HVC leaves the address after it.
            cur.regs.pc = cur.regs.pc.wrapping_sub(4);
            undefined(cur);
        }
        Exit::Smc64 { .. } | Exit::Undefined { .. } => undefined(cur),
        Exit::Unknown { ec } => {
            guest_log!(
                cur.domain,
                "unknown exception class {ec:#x} at {:#x}",
                cur.regs.pc
            );
            undefined(cur);
        }
    }
}

/// An SError that the running vCPU caused, or that arrived while it ran: it gets it.
pub fn handle_serror(cur: &mut Current<'_>, esr: u64) {
    guest_log!(cur.domain, "SError, ESR {esr:#x}, at {:#x}", cur.regs.pc);
    cur.sys.hw.inject_serror();
}

fn step_over(cur: &mut Current<'_>, esr: Esr) {
    (cur.regs.pc, cur.regs.pstate) = advance(cur.regs.pc, cur.regs.pstate, esr);
}

fn wait(cur: &mut Current<'_>, wfx: Wfx) {
    match wfx {
        Wfx::Wfi => cur.vcpu.block(),
        // Any of these may end early. A wait with timeout is rare enough to poll.
        Wfx::Wfe | Wfx::Wfit { .. } | Wfx::Wfet { .. } => {
            cur.sys
                .sched
                .yield_current(cur.sys.hw, cur.sys.hw.this_cpu());
        }
    }
}

fn smccc_call(cur: &mut Current<'_>) {
    let [x0, x1, x2, x3, ..] = cur.regs.x;
    match smccc::decode(&[x0, x1, x2, x3], &cur.vcpu.kind().mitigations) {
        smccc::SmcccCall::Return(value) => cur.regs.set(0, value),
        smccc::SmcccCall::Return4(values) => {
            for (n, value) in (0u8..).zip(values) {
                cur.regs.set(n, value);
            }
        }
        // Workaround 2 is always on where it is needed and never offered: nothing to switch.
        smccc::SmcccCall::Nothing | smccc::SmcccCall::SetSsbd(_) => {}
        smccc::SmcccCall::Psci(request) => psci::handle(cur, request),
        smccc::SmcccCall::Unhandled => {
            guest_log!(cur.domain, "unhandled SMC/HVC {x0:#x}");
            cur.regs.set(0, smccc::NOT_SUPPORTED);
        }
    }
}

// --- exceptions for the guest ---------------------------------------------------------------

fn inject(cur: &mut Current<'_>, take: impl FnOnce(&mut El1State)) {
    let hw = cur.sys.hw;
    let mut state = El1State {
        pc: cur.regs.pc,
        pstate: cur.regs.pstate,
        vbar: hw.read_el1(El1Reg::Vbar),
        sctlr: hw.read_el1(El1Reg::Sctlr),
        far: hw.read_el1(El1Reg::Far),
        ..El1State::default()
    };
    take(&mut state);
    hw.write_el1(El1Reg::Elr, state.elr);
    hw.write_el1(El1Reg::Spsr, state.spsr);
    hw.write_el1(El1Reg::Esr, state.esr);
    hw.write_el1(El1Reg::Far, state.far);
    cur.regs.pc = state.pc;
    cur.regs.pstate = state.pstate;
}

fn undefined(cur: &mut Current<'_>) {
    inject(cur, El1State::undef);
}

// --- system registers -----------------------------------------------------------------------

fn system_register(cur: &mut Current<'_>, access: SysRegAccess, esr: Esr) {
    let el0 = cur.regs.is_el0();
    // It matters to EL0 alone.
    let cntkctl = if el0 {
        cur.sys.hw.read_el1(El1Reg::Cntkctl)
    } else {
        0
    };
    let caller = Caller { el0, cntkctl };
    let value = cur.regs.get(access.rt);
    match sysreg::classify(access, caller, &cur.vcpu.kind().id_regs) {
        SysRegAction::Read(value) => cur.regs.set(access.rt, value),
        SysRegAction::WriteIgnore => {}
        SysRegAction::Undef => {
            guest_log!(cur.domain, "{access:?} at {:#x} is undefined", cur.regs.pc);
            return undefined(cur);
        }
        SysRegAction::Timer(reg) => physical_timer(cur, reg, access),
        SysRegAction::Sgi1r => cur.domain.vgic.sgi1r(cur.vcpu.id, value, &**cur.domain),
        SysRegAction::SetWay => apply_set_way(
            cur,
            setway::on_set_way(cur.vcpu.tvm.load(Ordering::Relaxed)),
        ),
        SysRegAction::VmReg(reg) => write_vm_register(cur, reg, value),
        SysRegAction::Actlr => {
            let value = cur.sys.hw.read_el1(El1Reg::Actlr);
            cur.regs.set(access.rt, value);
        }
    }
    step_over(cur, esr);
}

fn physical_timer(cur: &mut Current<'_>, reg: TimerReg, access: SysRegAccess) {
    let now = cur.sys.hw.now();
    if access.write {
        let value = cur.regs.get(access.rt);
        cur.vcpu.ptimer.lock().write(reg, value, now);
        cur.vcpu.update_ptimer(cur.domain);
    } else {
        let value = cur.vcpu.ptimer.lock().read(reg, now);
        cur.regs.set(access.rt, value);
    }
}

fn apply_set_way(cur: &mut Current<'_>, outcome: setway::Outcome) {
    if outcome.flush {
        cur.vcpu.flush_from.store(0, Ordering::Relaxed);
    }
    if cur.vcpu.tvm.swap(outcome.tvm, Ordering::Relaxed) != outcome.tvm {
        cur.sys.hw.trap_vm_writes(outcome.tvm);
    }
}

fn write_vm_register(cur: &mut Current<'_>, reg: VmReg, value: u64) {
    let hw = cur.sys.hw;
    let el1 = match reg {
        VmReg::Sctlr => {
            let old = hw.read_el1(El1Reg::Sctlr);
            hw.write_el1(El1Reg::Sctlr, value);
            return apply_set_way(cur, setway::on_sctlr_write(old, value));
        }
        VmReg::Ttbr0 => El1Reg::Ttbr0,
        VmReg::Ttbr1 => El1Reg::Ttbr1,
        VmReg::Tcr => El1Reg::Tcr,
        VmReg::Afsr0 => El1Reg::Afsr0,
        VmReg::Afsr1 => El1Reg::Afsr1,
        VmReg::Esr => El1Reg::Esr,
        VmReg::Far => El1Reg::Far,
        VmReg::Mair => El1Reg::Mair,
        VmReg::Amair => El1Reg::Amair,
        VmReg::Contextidr => El1Reg::Contextidr,
    };
    hw.write_el1(el1, value);
}

// --- aborts ---------------------------------------------------------------------------------

/// What really happened, if it is a doubtful fault of stage 2 on a CPU that reports one where stage 1
/// has a fault (Cortex-A57 erratum 834220): stage 1 is asked for the address. `None` if it has
/// none: then the guest tries again, and takes its own fault.
fn believed(
    cur: &Current<'_>,
    syndrome: Syndrome,
    doubtful: bool,
    write: bool,
) -> Option<Syndrome> {
    let workarounds = cur.vcpu.kind().workarounds;
    if !doubtful || !workarounds.contains(Workarounds::STAGE2_FAULT_DOUBTED) {
        return Some(syndrome);
    }
    let ipa = cur.sys.hw.gva_to_ipa(Gva(syndrome.far), write)?;
    Some(Syndrome {
        // FIPA, bits 43:4.
        hpfar: ipa.0 >> 12 << 4,
        ..syndrome
    })
}

fn data_abort(cur: &mut Current<'_>, abort: DataAbort, syndrome: Syndrome) {
    let ipa = abort.ipa(syndrome.hpfar, syndrome.far);
    if abort.fault() == Fault::External {
        return external_abort(cur, abort.write(), syndrome);
    }
    if abort.ipa_valid() && !abort.s1ptw() && cur.domain.is_emulated(ipa) {
        return emulate(cur, abort, syndrome);
    }
    let denied = matches!(abort.fault(), Fault::Permission { .. });
    if denied && abort.cache_maintenance() {
        // Of a page the guest may only read: not its to maintain.
        let esr = Esr(syndrome.esr);
        return step_over(cur, esr);
    }
    // A break-before-make may have been under way. A table walk that was denied wanted to write.
    let write = if abort.s1ptw() {
        denied
    } else {
        abort.write() && !abort.cache_maintenance()
    };
    let access = if write { Access::Write } else { Access::Read };
    if abort.ipa_valid() && cur.domain.p2m.resolve_fault(ipa, access) == FaultOutcome::Retry {
        return;
    }
    if abort.ipa_valid() && cur.domain.is_gicv(ipa) && map_gicv(cur.domain).is_ok() {
        return;
    }
    let transient = denied || matches!(abort.fault(), Fault::Translation { .. });
    if !abort.ipa_valid() && transient && retranslates(cur, syndrome.far, write) {
        return;
    }
    guest_log!(
        cur.domain,
        "data abort: {ipa} (VA {:#x}), {}, at {:#x}, ESR {:#x}",
        syndrome.far,
        if write { "write" } else { "read" },
        cur.regs.pc,
        syndrome.esr
    );
    inject(cur, |state| state.data_abort(syndrome.far, write));
}

/// True if the access at `far` would work now. For faults that do not tell the IPA.
fn retranslates(cur: &Current<'_>, far: u64, write: bool) -> bool {
    let gva = Gva(far);
    let hw = cur.sys.hw;
    cur.domain
        .p2m
        .while_stable(|| hw.gva_to_pa(gva, write))
        .is_some()
}

/// The bus refused an access that stage 2 allows: the guest gets what it would have had natively.
fn external_abort(cur: &mut Current<'_>, write: bool, syndrome: Syndrome) {
    guest_log!(
        cur.domain,
        "external abort: VA {:#x}, at {:#x}",
        syndrome.far,
        cur.regs.pc
    );
    inject(cur, |state| state.data_abort(syndrome.far, write));
}

fn instr_abort(cur: &mut Current<'_>, abort: InstrAbort, syndrome: Syndrome) {
    let ipa = abort.ipa(syndrome.hpfar, syndrome.far);
    let maybe_mapped = abort.fault() != Fault::External && abort.ipa_valid();
    if maybe_mapped && cur.domain.p2m.resolve_fault(ipa, Access::Execute) == FaultOutcome::Retry {
        return;
    }
    guest_log!(
        cur.domain,
        "instruction abort: {ipa} (VA {:#x}), ESR {:#x}",
        syndrome.far,
        syndrome.esr
    );
    inject(cur, |state| state.instr_abort(syndrome.far));
}

// --- emulated devices -----------------------------------------------------------------------

/// Performs an access to a device of the domain's that is emulated, then steps over it.
fn emulate(cur: &mut Current<'_>, abort: DataAbort, syndrome: Syndrome) {
    let ipa = abort.ipa(syndrome.hpfar, syndrome.far);
    let done = if abort.cache_maintenance() {
        Some(())
    } else if let Some(access) = abort.mmio(ipa) {
        perform_access(cur, access)
    } else {
        emulate_instruction(cur, syndrome.far, ipa)
    };
    if done.is_some() {
        return step_over(cur, Esr(syndrome.esr));
    }
    guest_log!(
        cur.domain,
        "bad access to an emulated device: {ipa}, at {:#x}, ESR {:#x}",
        cur.regs.pc,
        syndrome.esr
    );
    inject(cur, |state| state.data_abort(syndrome.far, abort.write()));
}

fn perform_access(cur: &mut Current<'_>, access: MmioAccess) -> Option<()> {
    let write = access
        .write
        .then(|| access.store_value(cur.regs.get(access.reg)));
    let value = cur
        .domain
        .access_device(cur.vcpu.id, access.ipa, access.size, write)?;
    if !access.write {
        cur.regs.set(access.reg, access.complete_read(value));
    }
    Some(())
}

/// The syndrome does not say what the access was: look at the instruction.
fn emulate_instruction(cur: &mut Current<'_>, far: u64, ipa: crate::addr::Ipa) -> Option<()> {
    if cur.regs.is_aarch32() {
        return None;
    }
    let mut word = [0; 4];
    cur.memory().read_bytes(Gva(cur.regs.pc), &mut word).ok()?;
    let operation = insn::decode(u32::from_le_bytes(word))?;
    let sp = if cur.regs.pstate & 1 == 0 {
        El1Reg::SpEl0
    } else {
        El1Reg::SpEl1
    };
    let base = match operation.base {
        31 => cur.sys.hw.read_el1(sp),
        n => cur.regs.get(n),
    };
    let regs = cur.regs.x;
    let plan = operation.plan(|n| crate::trap::gpr(&regs, n), base, far, ipa)?;
    perform_access(cur, plan.first)?;
    if let Some(second) = plan.second {
        perform_access(cur, second)?;
    }
    match plan.writeback {
        Some((31, value)) => cur.sys.hw.write_el1(sp, value),
        Some((n, value)) => cur.regs.set(n, value),
        None => {}
    }
    Some(())
}

#[cfg(test)]
mod tests;
