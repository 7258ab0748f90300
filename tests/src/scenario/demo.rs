// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demonstration shows what it is to show.

use super::{Scenario, Selection};
use crate::demo::{self, Devices};
use crate::machine::Gic;

pub(super) fn scenarios() -> Vec<Scenario> {
    [
        (Gic::V3, Devices::Coherent, Selection::Full),
        (Gic::V3, Devices::NonCoherent, Selection::Short),
        (Gic::V2, Devices::Coherent, Selection::Full),
        (Gic::V2, Devices::NonCoherent, Selection::Full),
    ]
    .map(|(gic, devices, selection)| {
        let kind = match devices {
            Devices::Coherent => "coherent",
            Devices::NonCoherent => "noncoherent",
        };
        Scenario::new(format!("demo/{gic}-{kind}"), selection, move |stage| {
            let name = format!("{}-{}", stage.hypervisor, stage.name);
            demo::run(stage.hypervisor, gic, devices, &name, |_| ())
        })
    })
    .into()
}
