// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xenolith at EL2: the processor's side. Policy is `hv_core`'s, devices are `platform`'s.
#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod console;
mod context;
mod copy;
mod cpufeature;
mod dom0;
mod domu;
mod el2;
mod heap;
mod irq;
mod keys;
mod machine;
mod mmu;
mod panic;
mod percpu;
mod refuse;
mod run;
mod smp;
mod sysreg;

use core::mem::offset_of;
use hv_core::domain::context::Regs;

core::arch::global_asm!(
    include_str!("head.S"),
    START_ROOT = const offset_of!(smp::SecondaryStart, root),
    START_STACK = const offset_of!(smp::SecondaryStart, stack),
    START_PERCPU = const offset_of!(smp::SecondaryStart, percpu),
    MAIR = const mmu::MAIR,
    TCR = const mmu::TCR,
    SCTLR = const mmu::SCTLR,
);

core::arch::global_asm!(
    include_str!("vectors.S"),
    REGS_PC = const offset_of!(Regs, pc),
    EXIT_SYNC = const run::EXIT_SYNC,
    EXIT_IRQ = const run::EXIT_IRQ,
    EXIT_FIQ = const run::EXIT_FIQ,
    EXIT_SERROR = const run::EXIT_SERROR,
    EXIT_SYNC32 = const run::EXIT_SYNC32,
    PERCPU_EMERGENCY = const offset_of!(percpu::PerCpu, emergency_stack),
    PERCPU_AFTER_GUEST = const offset_of!(percpu::PerCpu, after_guest),
    EMERGENCY_SIZE = const boot::Stacks::EMERGENCY,
    FATAL_SIZE = const panic::FATAL_SIZE,
);
