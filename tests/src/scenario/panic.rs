// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xenolith breaks on request: it says why and where, and the machine reboots or halts as was asked for.

use std::thread;
use std::time::Duration;

use super::{Scenario, Selection, Stage};
use crate::error::Result;
use crate::machine::{Gic, Machine};
use crate::symbolize;

const REPORT: Duration = Duration::from_secs(30);
const CAUSE: &str = "(XL) **** Panic: asked to, by key 'C'\n";

pub(super) fn scenarios() -> Vec<Scenario> {
    let case = |name, selection, gic, noreboot| {
        let judge = move |stage: &Stage| crashes(stage, gic, noreboot);
        Scenario::new(name, selection, judge).on_xenolith_alone()
    };
    use Selection::{Full, Short};
    vec![
        case("panic/reboot-gic3", Short, Gic::V3, false),
        case("panic/noreboot-gic2", Full, Gic::V2, true),
    ]
}

fn crashes(stage: &Stage, gic: Gic, noreboot: bool) -> Result<()> {
    let options = if noreboot { "noreboot" } else { "" };
    let machine = Machine {
        gic,
        cpus: 2,
        hypervisor_args: options.to_owned(),
        ..stage.machine()
    };
    let mut dom0 = stage.boot(&machine)?;
    dom0.input_to_hypervisor()?;
    let console = &mut dom0.console;
    console.send("C")?;
    // Which CPU, and who ran there.
    console.expect("(XL) on CPU ", REPORT)?;
    console.expect(CAUSE, REPORT)?;
    console.expect("(XL) at ", REPORT)?;
    let place = console.expect("\n", REPORT)?;
    console.expect("(XL) Backtrace", REPORT)?;
    let end = if noreboot {
        "(XL) noreboot: halted\n"
    } else {
        "(XL) Rebooting\n"
    };
    let backtrace = console.expect(end, REPORT)?;
    if !place.starts_with("hypervisor/src/keys.rs:") {
        return Err(console.failure(&format!("the panic is said to be at {place}")));
    }
    let names = symbolize::places(&symbolize::elf()?, &backtrace)?.join("\n");
    // From the key itself back to the loop that runs guests.
    for expected in ["keys::", "irq::", "run::"] {
        if !names.contains(expected) {
            let message = format!("the backtrace names no function of {expected}\n{names}");
            return Err(console.failure(&message));
        }
    }
    if !noreboot {
        return console.wait_for_end(REPORT);
    }
    let said = console.transcript();
    console.send("\x01\x01\x01\necho alive\n")?;
    thread::sleep(Duration::from_secs(2));
    if console.transcript() != said {
        return Err(console.failure("a halted Xenolith still answers"));
    }
    Ok(())
}
