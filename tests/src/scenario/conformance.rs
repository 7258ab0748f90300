// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest stub as dom0 checks from inside what a guest must see. `make conformance` runs the same on all machines
//! and reports.

use super::{Scenario, Selection};
use crate::conformance::{MACHINES, check, name};
use crate::machine::Gic;

pub(super) fn scenarios() -> Vec<Scenario> {
    MACHINES
        .iter()
        .map(|&(gic, cpus)| {
            let selection = match (gic, cpus) {
                (Gic::V3, 2) | (Gic::V2, 1) => Selection::Short,
                _ => Selection::Full,
            };
            let machine = name(gic, cpus);
            Scenario::new(format!("conformance/{machine}"), selection, move |stage| {
                let count = check(stage.hypervisor, gic, cpus, &stage.log())?;
                println!("      conformance/{machine}: {count}");
                Ok(())
            })
        })
        .collect()
}
