// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0 reaches for what is not its own: the process that does so dies, nothing else does.

use std::time::Duration;

use super::{Scenario, Selection, Stage};
use crate::dom0::Dom0;
use crate::error::{Result, fail};
use crate::machine::{Gic, Machine};

/// Places that dom0 has nothing at: the hypervisor's image, behind where dom0's tree puts the grant table, and a hole
/// among the devices.
const PLACES: &[&str] = &["0x40250000", "0x0b000000"];

/// How often dom0 tries.
const TRIES: u64 = 300;
/// At most so many lines a second are few.
const LINES_A_SECOND: u64 = 10;
const STORM: Duration = Duration::from_secs(120);

pub(super) fn scenarios() -> Vec<Scenario> {
    let case =
        |name, selection, gic| Scenario::new(name, selection, move |stage| strays(stage, gic));
    vec![
        case("stray/gic3", Selection::Short, Gic::V3),
        case("stray/gic2", Selection::Full, Gic::V2),
    ]
}

fn strays(stage: &Stage, gic: Gic) -> Result<()> {
    let machine = Machine {
        gic,
        cpus: 2,
        hypervisor_args: "guest_loglvl=all".to_owned(),
        ..stage.machine()
    };
    let mut dom0 = stage.boot(&machine)?;
    for place in PLACES {
        for access in ["32", "64", "32 1"] {
            let status = dom0.run(&format!("devmem {place} {access} 2>&1; echo status $?"))?;
            // 128 + SIGBUS.
            if !status.contains("status 135") {
                return fail(format!("`devmem {place} {access}` ends thus: {status}"));
            }
        }
    }
    dom0.run("dmesg | grep -E 'Oops|BUG:|Internal error' && exit 1; true")?;
    storms(&mut dom0, PLACES[0])?;
    dom0.expect_cpus(2)?;
    dom0.power_off()
}

/// Many stray accesses leave lines that say whose they were, but not one each.
fn storms(dom0: &mut Dom0, place: &str) -> Result<()> {
    let before = complaints(&dom0.console.transcript());
    let seconds = dom0.run_within(
        &format!(
            "start=$(date +%s); for i in $(seq {TRIES}); do devmem {place} 32; done >/dev/null 2>&1; \
             echo $(($(date +%s) - start))"
        ),
        STORM,
    )?;
    let few = LINES_A_SECOND * (seconds.trim().parse().unwrap_or(0) + 2);
    let lines = complaints(&dom0.console.transcript()) - before;
    if lines > 0 && lines <= few && lines < TRIES {
        return Ok(());
    }
    let message = format!("{lines} lines tell of {TRIES} stray accesses in {seconds} s");
    Err(dom0.console.failure(&message))
}

/// Lines that say which vCPU did what is not allowed.
fn complaints(transcript: &str) -> u64 {
    let is_complaint = |line: &&str| line.starts_with("(XL) d0v") && line.contains("data abort");
    transcript.lines().filter(is_complaint).map(|_| 1).sum()
}
