// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is decided at boot: the host's device tree in, dom0's memory, devices and tree out.

pub mod cells;
pub mod cmdline;
pub mod dom0_dt;
pub mod dom0_map;
pub mod dom0_mem;
pub mod dom0_nodes;
pub mod dt_build;
pub mod host_dt;
pub mod image;
pub mod irq;
pub mod modules;
pub mod node;
pub mod validate;

#[cfg(test)]
mod tests;
