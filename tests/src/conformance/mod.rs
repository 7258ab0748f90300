// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the guest stub's suite as dom0 of one hypervisor on several machines, and reports it beside the other's latest
//! results.
//!
//! `target/conformance/` holds what was seen: `<hypervisor>-<machine>.tap`, and made of these `index.html` and
//! `<hypervisor>.xml` (JUnit).

pub mod checks;
mod junit;
mod page;
mod results;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::console::Console;
use crate::dom0::expect_no_errors;
use crate::domu::{self, DomU};
use crate::error::{Failure, Result, fail};
use crate::machine::{Gic, Hypervisor, Machine, Payload};
use crate::tap::{self, Count, Line, Outcome};
use crate::workspace::{target, write_whole};
use checks::Check;
use results::Run;

const LIMIT: Duration = Duration::from_secs(240);

/// The machines: GIC and number of CPUs.
pub const MACHINES: &[(Gic, u32)] = &[
    (Gic::V3, 1),
    (Gic::V3, 2),
    (Gic::V3, 4),
    (Gic::V2, 1),
    (Gic::V2, 2),
    (Gic::V2, 4),
];

/// Name of a machine in files and reports.
#[must_use]
pub fn name(gic: Gic, cpus: u32) -> String {
    format!("{gic}-smp{cpus}")
}

/// The guest stub's image.
#[must_use]
pub fn image() -> PathBuf {
    target("guest-stub.img")
}

/// Runs the suite on `hypervisor` on every machine, `jobs` at a time, and writes the reports. With words in `filters`
/// only the families or `family/part of a name` given, without reports.
///
/// # Errors
/// When a check fails that is not known to, is missing, or a machine does not come to its end.
pub fn run(hypervisor: Hypervisor, filters: &[String], jobs: usize) -> Result<()> {
    let checks = checks::read(&image())?;
    let seen = Mutex::new(BTreeMap::new());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, MACHINES.len()) {
            scope.spawn(|| {
                while let Some(&(gic, cpus)) = MACHINES.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = on_machine(hypervisor, gic, cpus, filters, &checks);
                    let mut seen = seen.lock().unwrap_or_else(|e| e.into_inner());
                    seen.insert(name(gic, cpus), outcome);
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap_or_else(|e| e.into_inner());
    let failed = seen.values().filter(|outcome| outcome.is_err()).count();
    if filters.is_empty() {
        report(&checks)?;
    }
    match failed {
        0 => Ok(()),
        _ => fail(format!("{failed} of {} machines failed", seen.len())),
    }
}

/// Runs the suite on one machine, says so, and stores what it saw.
fn on_machine(
    hypervisor: Hypervisor,
    gic: Gic,
    cpus: u32,
    filters: &[String],
    checks: &[Check],
) -> Result<()> {
    let start = Instant::now();
    let machine = name(gic, cpus);
    let log = target("logs").join(format!("{hypervisor}-conformance-{machine}.log"));
    let on = Machine {
        gic,
        cpus,
        ..Machine::new(hypervisor)
    };
    let outcome = boot(&on, filters, &log).and_then(|(console, lines)| {
        if filters.is_empty() {
            let run = Run::of(hypervisor, &machine, &console.transcript(), lines.clone())?;
            write_whole(&run.path(), run.to_text().as_bytes())?;
        }
        judge(&console, &lines, checks, filters.is_empty()).map(|()| lines)
    });
    let seconds = start.elapsed().as_secs_f64();
    match outcome {
        Ok(lines) => {
            let count = Count::of(lines.iter().map(|line| &line.outcome));
            println!("ok    {machine:<10} {seconds:6.1} s  {count}");
            Ok(())
        }
        Err(failure) => {
            println!("FAIL  {machine:<10} {seconds:6.1} s  {failure}");
            Err(failure)
        }
    }
}

/// Runs the whole suite on one machine and judges it, without a report.
///
/// # Errors
/// When a check fails that is not known to, is missing, or the machine does not come to its end.
pub fn check(hypervisor: Hypervisor, gic: Gic, cpus: u32, log: &Path) -> Result<Count> {
    let machine = Machine {
        gic,
        cpus,
        ..Machine::new(hypervisor)
    };
    check_on(&machine, log)
}

/// The same on `machine`, whatever it boots.
///
/// # Errors
/// As [`check`].
pub fn check_on(machine: &Machine, log: &Path) -> Result<Count> {
    let checks = checks::read(&image())?;
    let (console, lines) = boot(machine, &[], log)?;
    judge(&console, &lines, &checks, true)?;
    Ok(Count::of(lines.iter().map(|line| &line.outcome)))
}

/// Boots the suite and waits for its end.
fn boot(machine: &Machine, filters: &[String], log: &Path) -> Result<(Console, Vec<Line>)> {
    let verb = match filters {
        [] => "check".to_owned(),
        filters => format!("check={}", filters.join(",")),
    };
    let mut machine = Machine {
        payload: Payload::Image(image()),
        dom0_args: verb,
        ..machine.clone()
    };
    let peer = DomU::new(image(), "peer");
    let tree = log.with_extension("dtb");
    domu::add(&mut machine, &[peer.clone(), peer], &tree)?;
    let mut console = Console::start(&machine, log)?;
    let end = console.wait_for_end(LIMIT);
    match (tap::parse(&console.transcript()), end) {
        (Ok(lines), Ok(())) => Ok((console, lines)),
        (Err(message), _) => Err(console.failure(&message)),
        (_, Err(failure)) => Err(failure),
    }
}

fn judge(console: &Console, lines: &[Line], checks: &[Check], all: bool) -> Result<()> {
    let failed: Vec<_> = lines
        .iter()
        .filter_map(|line| match &line.outcome {
            Outcome::Failed(detail) => Some(format!("{}: {detail}", line.name)),
            _ => None,
        })
        .collect();
    if !failed.is_empty() {
        let list = failed.join("\n    ");
        return Err(Failure::new(format!(
            "{} checks failed:\n    {list}",
            failed.len()
        )));
    }
    let ran = lines.iter().map(|line| &line.name);
    if all && !ran.eq(checks.iter().map(|check| &check.name)) {
        return Err(console.failure("the checks that ran are not those of the image's list"));
    }
    expect_no_errors(console)
}

/// Writes the page and the JUnit files from what is stored.
fn report(checks: &[Check]) -> Result<()> {
    let mut all = Vec::new();
    for hypervisor in [Hypervisor::Xen, Hypervisor::Xenolith] {
        let mut runs = Vec::new();
        for &(gic, cpus) in MACHINES {
            runs.extend(Run::load(hypervisor, &name(gic, cpus))?);
        }
        if !runs.is_empty() {
            let file = results::directory().join(format!("{hypervisor}.xml"));
            write_whole(&file, junit::report(hypervisor, &runs).as_bytes())?;
        }
        all.push((hypervisor, runs));
    }
    let page = results::directory().join("index.html");
    write_whole(&page, page::report(checks, &all).as_bytes())?;
    println!("{} checks; {}", checks.len(), page.display());
    Ok(())
}

/// Text in HTML or XML, also in quoted attributes. Characters that XML does not have become question marks.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            c if c.is_control() => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn markup_is_escaped() {
        assert_eq!(
            escaped("<a b='c\"'>&\x1b"),
            "&lt;a b=&#39;c&quot;&#39;&gt;&amp;?"
        );
    }
}
