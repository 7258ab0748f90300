// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual machine as its kernel sees it: processor, interrupt controller, timers, firmware, device tree.

pub(crate) mod barrier;
pub(crate) mod cache;
pub(crate) mod cpu;
pub(crate) mod dma;
pub(crate) mod dt;
pub(crate) mod exception;
pub(crate) mod gic;
pub(crate) mod mmio;
pub(crate) mod mmu;
pub(crate) mod once;
pub(crate) mod pages;
pub(crate) mod psci;
pub(crate) mod smp;
pub(crate) mod sysreg;
pub(crate) mod timer;
pub(crate) mod window;
