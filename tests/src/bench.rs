// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares what operations cost on Xenolith and on Xen, in instructions.
//!
//! QEMU counts one instruction as one nanosecond (`-icount shift=0`), so the numbers do not drift with the machine. The
//! guest stub, as dom0, prints lines `BENCH <name> <instructions>` and powers off.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::console::Console;
use crate::error::{Result, fail};
use crate::machine::{Hypervisor, Machine, Payload};
use crate::workspace::target;

const LIMIT: Duration = Duration::from_secs(600);

/// Runs the benchmark on both hypervisors and prints its lines side by side.
///
/// # Errors
/// When an image is missing, or the stub does not reach its end.
pub fn compare() -> Result<()> {
    let xen = measure(Hypervisor::Xen)?;
    let ours = measure(Hypervisor::Xenolith)?;
    let none = || "-".to_owned();
    println!(
        "{:<32} {:>12} {:>12} {:>8}",
        "operation", "xenolith", "xen", "ratio"
    );
    let names: std::collections::BTreeSet<_> = xen.keys().chain(ours.keys()).collect();
    for name in names {
        let (a, b) = (ours.get(name), xen.get(name));
        let ratio = match (a, b) {
            (Some(a), Some(b)) if *b > 0 => format!("{:.2}", *a as f64 / *b as f64),
            _ => none(),
        };
        let cell = |n: Option<&u64>| n.map_or_else(none, u64::to_string);
        println!("{name:<32} {:>12} {:>12} {ratio:>8}", cell(a), cell(b));
    }
    Ok(())
}

fn measure(hypervisor: Hypervisor) -> Result<BTreeMap<String, u64>> {
    let image = target("guest-stub.img");
    if !image.exists() {
        return fail(format!(
            "{} is missing: `make build` makes it",
            image.display()
        ));
    }
    let mut machine = Machine::new(hypervisor);
    machine.payload = Payload::Image(image);
    machine.dom0_args = "bench".to_owned();
    // On one CPU. The second one is off for all but what it takes to switch to it.
    machine.hypervisor_args = "dom0_max_vcpus=2".to_owned();
    machine.attach("-icount", "shift=0,sleep=off");
    let log = target("logs").join(format!("{hypervisor}-bench.log"));
    let mut console = Console::start(&machine, &log)?;
    console.wait_for_end(LIMIT)?;
    let results = parse(&console.transcript());
    if results.is_empty() {
        return Err(console.failure("the guest stub printed no line that starts with BENCH"));
    }
    Ok(results)
}

fn parse(transcript: &str) -> BTreeMap<String, u64> {
    transcript
        .lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once("BENCH ")?;
            let (name, count) = rest.trim().rsplit_once(' ')?;
            Some((name.to_owned(), count.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_stub() {
        let found = parse("hello\nBENCH null hypercall 424\n(XEN) BENCH map 5147\nBENCH bad x\n");
        assert_eq!(found.len(), 2);
        assert_eq!(found["null hypercall"], 424);
        assert_eq!(found["map"], 5147);
    }
}
