// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scenarios: each boots one machine and judges one thing about it.

mod anywhere;
mod boot;
mod conformance;
mod demo;
mod disk;
mod dmesg;
mod dom0less;
mod image;
mod juno;
mod keys;
mod load;
mod memory;
mod network;
mod options;
mod panic;
mod pvdisk;
mod refusal;
mod stray;
mod uboot;
mod xl;
mod xl_change;
mod xl_death;
mod xl_devices;
mod xl_disk;
mod xl_end;
mod xl_life;
mod xl_net;
mod xl_options;
mod xl_sched;
mod xl_tools;

use std::path::PathBuf;

use crate::dom0::Dom0;
use crate::error::Result;
use crate::machine::{Gic, Hypervisor, Machine, Payload};
use crate::workspace::target;

/// When a scenario runs if nothing is said about it by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// In `make test` and `make test-full`.
    Short,
    /// In `make test-full` alone.
    Full,
}

/// One scenario.
pub struct Scenario {
    /// Family, slash, variant.
    pub name: String,
    /// When it runs.
    pub selection: Selection,
    /// Whether it has a meaning on real Xen.
    pub runs_on_xen: bool,
    /// Whether it needs the model of a Juno.
    pub needs_juno: bool,
    judge: Judge,
}

type Judge = Box<dyn Fn(&Stage) -> Result<()> + Send + Sync>;

impl Scenario {
    fn new(
        name: impl Into<String>,
        selection: Selection,
        judge: impl Fn(&Stage) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            selection,
            runs_on_xen: true,
            needs_juno: false,
            judge: Box::new(judge),
        }
    }

    /// The same, for one that says nothing of real Xen.
    fn on_xenolith_alone(self) -> Self {
        Self {
            runs_on_xen: false,
            ..self
        }
    }

    /// The same, for one that boots the model of a Juno.
    fn on_a_juno(self) -> Self {
        Self {
            needs_juno: true,
            ..self
        }
    }

    /// Runs it on `hypervisor`.
    ///
    /// # Errors
    /// What was not as it should be.
    pub fn run(&self, hypervisor: Hypervisor) -> Result<()> {
        (self.judge)(&Stage {
            hypervisor,
            name: self.name.replace('/', "-"),
        })
    }
}

/// What a running scenario knows: its hypervisor and its name, which makes its file names unique.
struct Stage {
    hypervisor: Hypervisor,
    name: String,
}

impl Stage {
    fn machine(&self) -> Machine {
        Machine::new(self.hypervisor)
    }

    /// A machine whose dom0 has Debian's Xen tools: two CPUs, and room for guests.
    ///
    /// QEMU before 9.1 deactivates an SPI of a GICv2 only for the CPU on which a guest ends it. One that was taken on
    /// another CPU then never comes there again, so under Xen dom0's vCPUs must stay where their disk's interrupts go.
    fn with_tools(&self, gic: Gic) -> Machine {
        Machine {
            hypervisor_args: match (self.hypervisor, gic) {
                (Hypervisor::Xen, Gic::V2) => "dom0_vcpus_pin".to_owned(),
                _ => String::new(),
            },
            payload: Payload::Tools,
            gic,
            cpus: 2,
            ram_mib: 2048,
            ..self.machine()
        }
    }

    fn log(&self) -> PathBuf {
        target("logs").join(format!("{}-{}.log", self.hypervisor, self.name))
    }

    /// A file for this scenario's data.
    fn file(&self, suffix: &str) -> PathBuf {
        target("scratch").join(format!("{}-{}{suffix}", self.hypervisor, self.name))
    }

    fn boot(&self, machine: &Machine) -> Result<Dom0> {
        Dom0::boot(machine, &self.log())
    }
}

/// Every scenario, in the order in which they run: the quick and basic ones first.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [
        refusal::scenarios(),
        conformance::scenarios(),
        boot::scenarios(),
        dom0less::scenarios(),
        demo::scenarios(),
        anywhere::scenarios(),
        uboot::scenarios(),
        memory::scenarios(),
        options::scenarios(),
        keys::scenarios(),
        panic::scenarios(),
        stray::scenarios(),
        disk::scenarios(),
        network::scenarios(),
        pvdisk::scenarios(),
        xl::scenarios(),
        xl_sched::scenarios(),
        xl_options::scenarios(),
        xl_tools::scenarios(),
        xl_life::scenarios(),
        xl_end::scenarios(),
        xl_disk::scenarios(),
        xl_net::scenarios(),
        xl_devices::scenarios(),
        xl_death::scenarios(),
        xl_change::scenarios(),
        image::scenarios(),
        juno::scenarios(),
        load::scenarios(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
