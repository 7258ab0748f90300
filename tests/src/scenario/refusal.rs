// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Xenolith cannot run on or with it refuses with a message that says so.

use std::time::Duration;

use super::{Scenario, Selection, Stage};
use crate::console::Console;
use crate::error::Result;
use crate::machine::{Machine, Payload};

/// A machine that must be refused, and what the console must then say.
struct Refusal {
    name: &'static str,
    spoil: fn(&mut Machine),
    message: &'static str,
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        name: "refusal/no-kernel",
        spoil: |machine| machine.payload = Payload::Nothing,
        message: "Xenolith cannot start: no kernel for dom0",
    },
    Refusal {
        name: "refusal/too-little-ram",
        spoil: |machine| (machine.ram_mib, machine.dom0_mib) = (256, 512),
        message: "Xenolith cannot start: dom0: 524288 KiB of its memory are not free",
    },
    Refusal {
        name: "refusal/el1",
        spoil: |machine| machine.el2 = false,
        message: "Xenolith cannot start: entered at EL1",
    },
];

pub(super) fn scenarios() -> Vec<Scenario> {
    REFUSALS
        .iter()
        .map(|refusal| {
            let judge = |stage: &Stage| refuses(stage, refusal);
            Scenario {
                runs_on_xen: false,
                ..Scenario::new(refusal.name, Selection::Short, judge)
            }
        })
        .collect()
}

fn refuses(stage: &Stage, refusal: &Refusal) -> Result<()> {
    let mut machine = stage.machine();
    (refusal.spoil)(&mut machine);
    let mut console = Console::start(&machine, &stage.log())?;
    console.expect(refusal.message, Duration::from_secs(30))?;
    Ok(())
}
