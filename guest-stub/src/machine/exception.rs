// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions: faults that a test provokes are recorded and stepped over, others end the run; interrupts are counted.

use core::fmt;
use core::sync::atomic::Ordering;

use super::sysreg::read_sysreg;
use super::timer::{self, Timer};
use super::{cpu, dt, gic, psci};
use crate::console::println;
use crate::xen::event;

/// The registers at an exception, as vectors.S lays them out.
#[repr(C)]
pub(crate) struct Frame {
    x: [u64; 31],
    elr: u64,
    spsr: u64,
    _pad: u64,
}

core::arch::global_asm!(
    include_str!("../vectors.S"),
    FRAME_SIZE = const size_of::<Frame>(),
);

const EC_UNKNOWN: u64 = 0;
const EC_SVC: u64 = 0x15;
const EC_INSTRUCTION_ABORT: u64 = 0x20;
const EC_INSTRUCTION_ABORT_SAME: u64 = 0x21;
const EC_DATA_ABORT: u64 = 0x24;
const EC_DATA_ABORT_SAME: u64 = 0x25;

/// A synchronous exception.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    /// Syndrome.
    pub(crate) esr: u64,
    /// Address, of an abort.
    pub(crate) far: u64,
    /// Instruction.
    pub(crate) elr: u64,
}

impl Fault {
    fn class(self) -> u64 {
        self.esr >> 26 & 0x3f
    }

    /// Undefined instruction.
    pub(crate) fn is_undefined(self) -> bool {
        self.class() == EC_UNKNOWN
    }

    /// Data abort.
    pub(crate) fn is_data_abort(self) -> bool {
        matches!(self.class(), EC_DATA_ABORT | EC_DATA_ABORT_SAME)
    }

    /// Instruction abort.
    pub(crate) fn is_instruction_abort(self) -> bool {
        matches!(
            self.class(),
            EC_INSTRUCTION_ABORT | EC_INSTRUCTION_ABORT_SAME
        )
    }

    /// Fault status code of an abort.
    pub(crate) fn status(self) -> u64 {
        self.esr & 0x3f
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ESR {:#x} FAR {:#x}", self.esr, self.far)
    }
}

/// Runs `body`, stepping over every instruction that faults (of a fetch that faults: returning to the caller).
///
/// # Errors
/// The first fault.
pub(crate) fn attempt<R>(body: impl FnOnce() -> R) -> Result<R, Fault> {
    let cpu = cpu::this();
    cpu.faults.store(0, Ordering::Relaxed);
    cpu.attempts.fetch_add(1, Ordering::SeqCst);
    let result = body();
    cpu.attempts.fetch_sub(1, Ordering::SeqCst);
    if cpu.faults.load(Ordering::Relaxed) == 0 {
        return Ok(result);
    }
    Err(Fault {
        esr: cpu.esr.load(Ordering::Relaxed),
        far: cpu.far.load(Ordering::Relaxed),
        elr: cpu.elr.load(Ordering::Relaxed),
    })
}

/// Runs the code at `entry` at EL0 until it executes SVC or faults; its x0.
///
/// # Errors
/// The fault.
pub(crate) fn attempt_at_el0(entry: u64, stack: u64) -> Result<u64, Fault> {
    unsafe extern "C" {
        fn call_el0(entry: u64, stack: u64) -> u64;
    }
    // SAFETY: `call_el0` keeps the callee-saved registers; what runs at EL0 can touch only pages mapped for EL0.
    attempt(|| unsafe { call_el0(entry, stack) })
}

#[unsafe(no_mangle)]
extern "C" fn exception_sync(frame: &mut Frame) {
    unsafe extern "C" {
        fn el0_return();
    }
    let fault = Fault {
        esr: read_sysreg!("esr_el1"),
        far: read_sysreg!("far_el1"),
        elr: frame.elr,
    };
    let from_el0 = frame.spsr & 0xf == 0;
    if fault.class() != EC_SVC && !record(fault) {
        unexpected("synchronous exception", frame);
    }
    if from_el0 {
        frame.elr = el0_return as *const () as u64;
        frame.spsr = 0x3c5;
    } else if fault.is_instruction_abort() {
        frame.elr = frame.x[30];
    } else if fault.class() != EC_SVC {
        frame.elr += 4;
    }
}

/// Records a fault; `false` when none is expected.
fn record(fault: Fault) -> bool {
    let cpu = cpu::this();
    if cpu.attempts.load(Ordering::Relaxed) == 0 {
        return false;
    }
    if cpu.faults.fetch_add(1, Ordering::Relaxed) == 0 {
        cpu.esr.store(fault.esr, Ordering::Relaxed);
        cpu.far.store(fault.far, Ordering::Relaxed);
        cpu.elr.store(fault.elr, Ordering::Relaxed);
    }
    true
}

#[unsafe(no_mangle)]
extern "C" fn exception_irq(_frame: &mut Frame) {
    let now = timer::count();
    let cpu = cpu::this();
    cpu.interrupted_at.store(now, Ordering::Relaxed);
    let Some(acknowledged) = gic::acknowledge() else {
        return;
    };
    let intid = acknowledged.intid();
    let facts = dt::facts();
    if intid == facts.virtual_timer {
        Timer::Virtual.set_control(timer::ENABLE | timer::IMASK);
    } else if intid == facts.physical_timer {
        Timer::Physical.set_control(timer::ENABLE | timer::IMASK);
    } else if intid == facts.event_interrupt {
        event::upcall();
    }
    cpu.note(intid);
    gic::end(acknowledged);
}

#[unsafe(no_mangle)]
extern "C" fn exception_serror(frame: &mut Frame) {
    unexpected("SError", frame);
}

#[unsafe(no_mangle)]
extern "C" fn exception_fatal(frame: &mut Frame) {
    unexpected("exception of a kind that cannot be", frame);
}

fn unexpected(what: &str, frame: &Frame) -> ! {
    println!(
        "Bail out! {what} on CPU {}: ESR {:#x} FAR {:#x} PC {:#x} (image + {:#x}) LR {:#x}",
        cpu::number(),
        read_sysreg!("esr_el1"),
        read_sysreg!("far_el1"),
        frame.elr,
        frame.elr.wrapping_sub(crate::image_start()),
        frame.x[30],
    );
    psci::system_off()
}
