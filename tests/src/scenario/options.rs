// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of the hypervisor's command line do what they say.

use std::time::Duration;

use super::{Scenario, Selection, Stage};
use crate::console::Console;
use crate::dom0::{Dom0, USERSPACE};
use crate::error::Result;
use crate::machine::{Hypervisor, Machine};

const BOOT: Duration = Duration::from_secs(240);
const LINE: Duration = Duration::from_secs(30);

pub(super) fn scenarios() -> Vec<Scenario> {
    use Selection::{Full, Short};
    let counts = |name, cpus, options: &'static str, expected| {
        Scenario::new(name, Full, move |stage| {
            boots_with(stage, cpus, options)?.expect_cpus(expected)
        })
    };
    vec![
        counts("options/maxcpus", 2, "maxcpus=1", 1),
        Scenario::new("options/vcpus", Short, pins_vcpus),
        Scenario::new("options/timestamps", Short, stamps_lines),
        Scenario::new("options/unknown", Short, warns_of_unknown).on_xenolith_alone(),
        Scenario::new("options/quiet", Full, is_quiet).on_xenolith_alone(),
        Scenario::new("options/console-none", Full, has_no_console).on_xenolith_alone(),
    ]
}

fn machine(stage: &Stage, cpus: u32, options: &str) -> Machine {
    Machine {
        cpus,
        hypervisor_args: options.to_owned(),
        ..stage.machine()
    }
}

fn boots_with(stage: &Stage, cpus: u32, options: &str) -> Result<Dom0> {
    stage.boot(&machine(stage, cpus, options))
}

/// Starts the machine for one that looks at the hypervisor's own messages.
fn console(stage: &Stage, options: &str) -> Result<Console> {
    Console::start(&machine(stage, 1, options), &stage.log())
}

fn pins_vcpus(stage: &Stage) -> Result<()> {
    let mut dom0 = boots_with(stage, 4, "dom0_max_vcpus=3 dom0_vcpus_pin")?;
    dom0.expect_cpus(3)?;
    if stage.hypervisor == Hypervisor::Xenolith {
        dom0.input_to_hypervisor()?;
        dom0.console.send("q")?;
        for place in ["v0 on CPU 0", "v1 on CPU 1", "v2 on CPU 2"] {
            dom0.console.expect(place, LINE)?;
        }
        dom0.input_to_dom0()?;
    }
    dom0.power_off()
}

fn warns_of_unknown(stage: &Stage) -> Result<()> {
    let mut console = console(stage, "frobnicate=1 dom0_max_vcpus=many")?;
    console.expect("WARN: option \"frobnicate=1\": unknown, ignored\n", LINE)?;
    console.expect(
        "WARN: option \"dom0_max_vcpus=many\": malformed, ignored\n",
        LINE,
    )?;
    console.expect("dom0 has 1 vCPUs", LINE).map(drop)
}

fn stamps_lines(stage: &Stage) -> Result<()> {
    let mut console = console(stage, "console_timestamps=boot loglvl=all")?;
    let prefix = match stage.hypervisor {
        Hypervisor::Xenolith => "(XL) [",
        Hypervisor::Xen => "(XEN) [",
    };
    for _ in 0..5 {
        console.expect(prefix, LINE)?;
        let stamp = console.expect("] ", LINE)?;
        let seconds = stamp.trim().parse::<f64>();
        seconds.map_err(|_| console.failure(&format!("a time stamp reads {stamp:?}")))?;
    }
    Ok(())
}

/// Only dom0 is heard.
fn is_quiet(stage: &Stage) -> Result<()> {
    let mut console = console(stage, "loglvl=none guest_loglvl=none")?;
    console.expect(USERSPACE, BOOT)?;
    silent(&console, &console.transcript())
}

/// Nobody is heard, though dom0 runs: nothing comes, and QEMU does not end.
fn has_no_console(stage: &Stage) -> Result<()> {
    let mut console = console(stage, "console=none")?;
    console.goes_on_for(Duration::from_secs(5))?;
    silent(&console, &console.transcript())
}

fn silent(console: &Console, transcript: &str) -> Result<()> {
    match transcript.lines().find(|line| line.starts_with("(XL)")) {
        Some(line) => Err(console.failure(&format!("the hypervisor says: {line}"))),
        None => Ok(()),
    }
}
