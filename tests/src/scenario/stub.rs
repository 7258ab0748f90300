// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest stub as dom0 checks from inside what a guest must see, and all its checks pass.

use std::time::Duration;

use super::{Scenario, Selection, Stage};
use crate::console::Console;
use crate::dom0::expect_no_errors;
use crate::error::{Result, fail};
use crate::machine::{Gic, Machine, Payload};
use crate::tap;
use crate::workspace::target;

const LIMIT: Duration = Duration::from_secs(180);

/// GIC and number of CPUs.
const MACHINES: &[(Gic, u32, Selection)] = &[
    (Gic::V3, 2, Selection::Short),
    (Gic::V2, 1, Selection::Short),
    (Gic::V3, 1, Selection::Full),
    (Gic::V2, 2, Selection::Full),
    (Gic::V3, 4, Selection::Full),
    (Gic::V2, 4, Selection::Full),
];

pub(super) fn scenarios() -> Vec<Scenario> {
    MACHINES
        .iter()
        .map(|&(gic, cpus, selection)| {
            let name = format!("stub/{gic}-smp{cpus}");
            Scenario::new(name, selection, move |stage| checks(stage, gic, cpus))
        })
        .collect()
}

fn checks(stage: &Stage, gic: Gic, cpus: u32) -> Result<()> {
    let image = target("guest-stub.img");
    if !image.exists() {
        let path = image.display();
        return fail(format!("{path} is missing: `make build` makes it"));
    }
    let machine = Machine {
        payload: Payload::Image(image),
        gic,
        cpus,
        dom0_args: "check".to_owned(),
        ..stage.machine()
    };
    let mut console = Console::start(&machine, &stage.log())?;
    console.wait_for_end(LIMIT)?;
    let transcript = console.transcript();
    let count = tap::judge(&transcript).map_err(|message| console.failure(&message))?;
    expect_no_errors(&console)?;
    println!("      stub/{gic}-smp{cpus}: {count}");
    Ok(())
}
