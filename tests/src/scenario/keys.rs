// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xenolith's own keys, after Ctrl-a was typed three times: each shows what it should, and dom0 goes on.

use std::time::Duration;

use super::{Scenario, Selection, Stage};
use crate::error::Result;
use crate::machine::Machine;

const ANSWER: Duration = Duration::from_secs(20);

/// Keys, and what must appear after them, in this order.
const KEYS: &[(&str, &[&str])] = &[
    ("h", &["'h' pressed", "key 'h' =>", "key 'C' =>"]),
    (
        "0",
        &["'0' pressed", "d0v0 PC 0x", "TTBR1 0x", "d0v1 PC 0x"],
    ),
    ("d", &["'d' pressed", "CPU 0 MPIDR 0", "CPU 1 MPIDR 0x1"]),
    ("e", &["'e' pressed", "d0", "\n"]),
    ("i", &["'i' pressed", "d0:", "\n"]),
    (
        "m",
        &["'m' pressed", "RAM 1024 MiB, free ", "heap ", "d0: "],
    ),
    (
        "q",
        &["'q' pressed", "d0: 2 vCPUs", "v0 on CPU", "v1 on CPU"],
    ),
    // One that means nothing is answered with the help.
    ("~", &["'~' pressed", "key 'h' =>", "key 'C' =>"]),
];

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("keys/switch", Selection::Full, switches),
        Scenario::new("keys/answers", Selection::Short, answer).on_xenolith_alone(),
    ]
}

/// dom0 sees nothing of a switch of the input.
fn switches(stage: &Stage) -> Result<()> {
    let mut dom0 = stage.boot(&stage.machine())?;
    for to in ["*** Serial input to Xen", "*** Serial input to DOM0"] {
        dom0.console.send("\x01\x01\x01")?;
        dom0.console.expect(to, ANSWER)?;
        dom0.console.expect("\n", ANSWER)?;
    }
    dom0.expect_cpus(1)?;
    dom0.power_off()
}

fn answer(stage: &Stage) -> Result<()> {
    let machine = Machine {
        cpus: 2,
        ..stage.machine()
    };
    let mut dom0 = stage.boot(&machine)?;
    dom0.input_to_hypervisor()?;
    for (key, shown) in KEYS {
        dom0.console.send(key)?;
        for text in *shown {
            dom0.console.expect(text, ANSWER)?;
        }
    }
    dom0.input_to_dom0()?;
    dom0.expect_cpus(2)?;
    dom0.power_off()
}
