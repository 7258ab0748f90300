// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0 reaches for what is not its own: the process that does so dies, nothing else does.

use super::{Scenario, Selection, Stage};
use crate::error::{Result, fail};
use crate::machine::{Gic, Hypervisor, Machine};

/// Places that dom0 has nothing at: the hypervisor's image, and the end of the address space that every CPU has.
const PLACES: &[&str] = &["0x40200000", "0xfffffff000"];

/// How often dom0 tries.
const TRIES: usize = 200;
/// More of these than that in the log are not few.
const FEW: usize = 50;

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
    let place = PLACES[0];
    dom0.run(&format!(
        "for i in $(seq {TRIES}); do devmem {place} 32; done >/dev/null 2>&1; true"
    ))?;
    dom0.run("dmesg | grep -E 'Oops|BUG:|Internal error' && exit 1; true")?;
    let complaints = complaints(&dom0.console.transcript(), stage.hypervisor);
    if complaints == 0 || complaints > FEW {
        let message = format!("{complaints} lines tell of {TRIES} stray accesses");
        return Err(dom0.console.failure(&message));
    }
    dom0.expect_cpus(2)?;
    dom0.power_off()
}

/// Lines that say which vCPU did what is not allowed.
fn complaints(transcript: &str, hypervisor: Hypervisor) -> usize {
    let (prefix, what) = match hypervisor {
        Hypervisor::Xenolith => ("(XL) ", "data abort"),
        Hypervisor::Xen => ("(XEN) ", "HSR=0x"),
    };
    transcript
        .lines()
        .filter(|line| line.starts_with(prefix) && line.contains("d0v") && line.contains(what))
        .count()
}
