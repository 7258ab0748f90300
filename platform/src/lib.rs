// SPDX-License-Identifier: MIT OR Apache-2.0

//! Drivers of the physical machine, as leaves: they know registers and nothing of hypervisor policy.
//!
//! Everything runs at EL2 on an identity-mapped address space with devices mapped nGnRE and IRQs
//! masked. Methods take `&self` and may be called by several CPUs at once unless they say otherwise.
//!
//! | module | device |
//! |---|---|
//! | [`gic`] | interrupt controller, GICv2 and GICv3, with the virtual CPU interface |
//! | [`uart`] | console |
//! | [`psci`] | firmware calls: power, reset, CPU errata queries |
//! | [`timer`] | the EL2 physical timer |
//! | [`board`] | what is particular to one board |
//!
//! On a host the same code runs over plain memory and `arm-sysregs` fakes; only the instructions in
//! `barrier` and the firmware calls are compiled out.

#![cfg_attr(target_arch = "aarch64", no_std)]

extern crate alloc;

mod barrier;
pub mod board;
pub mod gic;
pub mod mmio;
pub mod psci;
pub mod timer;
pub mod uart;
