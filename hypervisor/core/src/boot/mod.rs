// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is decided at boot: the host's device tree in; memory, devices and trees of dom0 and of the
//! other domains out.

pub mod cells;
pub mod cmdline;
pub mod dom0_dt;
pub mod dom0_map;
pub mod dom0_mem;
pub mod dom0_nodes;
pub mod domu_devices;
pub mod domu_dt;
pub mod domu_mem;
pub mod domu_node;
pub mod dt_build;
pub mod host_dt;
pub mod image;
pub mod irq;
pub mod modules;
pub mod node;
pub mod validate;

#[cfg(test)]
mod tests;
