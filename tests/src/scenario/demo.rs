// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demonstration shows what it is to show.

use super::{Scenario, Selection};
use crate::demo::{self, Devices};
use crate::machine::{Board, Cpu, Gic};

/// The machines: those of `make run`, and others.
const MACHINES: &[(Gic, Cpu, u32, Devices, Selection)] = &[
    (Gic::V3, Cpu::A72, 2, Devices::NonCoherent, Selection::Short),
    (Gic::V3, Cpu::A72, 2, Devices::Coherent, Selection::Full),
    (Gic::V2, Cpu::A53, 1, Devices::NonCoherent, Selection::Full),
    (Gic::V2, Cpu::A72, 4, Devices::Coherent, Selection::Full),
    (Gic::V3, Cpu::Max, 1, Devices::NonCoherent, Selection::Full),
];

pub(super) fn scenarios() -> Vec<Scenario> {
    let death =
        [(Gic::V3, Selection::Short), (Gic::V2, Selection::Full)].map(|(gic, selection)| {
            Scenario::new(format!("demo/{gic}-death"), selection, move |stage| {
                let name = format!("{}-{}", stage.hypervisor, stage.name);
                let machine = demo::Stage {
                    hypervisor: stage.hypervisor,
                    board: Board::Virt,
                    gic,
                    cpu: Cpu::A72,
                    cpus: 2,
                    devices: Devices::NonCoherent,
                };
                demo::death(&machine, &name)
            })
        });
    let shown = MACHINES
        .iter()
        .map(|&(gic, cpu, cpus, devices, selection)| {
            let kind = match devices {
                Devices::Coherent => "coherent",
                Devices::NonCoherent => "noncoherent",
            };
            let name = format!("demo/{gic}-{cpu}-smp{cpus}-{kind}");
            Scenario::new(name, selection, move |stage| {
                let name = format!("{}-{}", stage.hypervisor, stage.name);
                let machine = demo::Stage {
                    hypervisor: stage.hypervisor,
                    board: Board::Virt,
                    gic,
                    cpu,
                    cpus,
                    devices,
                };
                demo::run(&machine, &name, |_| ())
            })
        });
    shown.chain(death).collect()
}
