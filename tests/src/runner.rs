// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists, filters, runs and counts scenarios.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::error::{Failure, Result, fail};
use crate::juno;
use crate::machine::Hypervisor;
use crate::scenario::{Scenario, Selection, all};

/// What is to be run.
pub struct Request {
    /// On which hypervisor.
    pub hypervisor: Hypervisor,
    /// Also what only `make test-full` runs.
    pub full: bool,
    /// Scenarios whose name contains one of these, whatever else is said; empty: all.
    pub filters: Vec<String>,
    /// How many at a time.
    pub jobs: usize,
}

#[derive(Default)]
struct Tally {
    passed: AtomicUsize,
    skipped: AtomicUsize,
    failures: Mutex<Vec<(String, Failure)>>,
}

/// Prints the names of all scenarios.
pub fn list() {
    for scenario in all() {
        let when = match scenario.selection {
            Selection::Short => "test",
            Selection::Full => "test-full",
        };
        println!("{:<36} {when}", scenario.name);
    }
}

/// Runs the scenarios of `request`, prints a line for each and the count at the end.
///
/// # Errors
/// When one fails, or none has a name that was asked for.
pub fn run(request: &Request) -> Result<()> {
    let chosen: Vec<_> = all().into_iter().filter(|s| wanted(s, request)).collect();
    if chosen.is_empty() {
        return fail(format!(
            "no scenario's name contains {}; `make list` lists them",
            request.filters.join(" or ")
        ));
    }
    let tally = Tally::default();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..request.jobs.clamp(1, chosen.len()) {
            scope.spawn(|| {
                while let Some(scenario) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run_one(scenario, request.hypervisor, &tally);
                }
            });
        }
    });
    report(tally)
}

fn wanted(scenario: &Scenario, request: &Request) -> bool {
    if request.filters.is_empty() {
        return request.full || scenario.selection == Selection::Short;
    }
    let named = |filter: &String| scenario.name.contains(filter.as_str());
    request.filters.iter().any(named)
}

fn run_one(scenario: &Scenario, hypervisor: Hypervisor, tally: &Tally) {
    let name = &scenario.name;
    let why_not = if hypervisor == Hypervisor::Xen && !scenario.runs_on_xen {
        Some("has no meaning on Xen")
    } else if scenario.needs_juno && juno::qemu().is_none() {
        Some(juno::WANTED)
    } else {
        None
    };
    if let Some(why) = why_not {
        tally.skipped.fetch_add(1, Ordering::Relaxed);
        println!("skip  {name:<36} {why}");
        return;
    }
    let start = Instant::now();
    let outcome = scenario.run(hypervisor);
    let seconds = start.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => {
            tally.passed.fetch_add(1, Ordering::Relaxed);
            println!("ok    {name:<36} {seconds:6.1} s");
        }
        Err(failure) => {
            println!("FAIL  {name:<36} {seconds:6.1} s  {failure}");
            let mut failures = tally.failures.lock().unwrap_or_else(|e| e.into_inner());
            failures.push((name.clone(), failure));
        }
    }
}

fn report(tally: Tally) -> Result<()> {
    let failures = tally
        .failures
        .into_inner()
        .unwrap_or_else(|e| e.into_inner());
    let passed = tally.passed.into_inner();
    let skipped = tally.skipped.into_inner();
    for (name, failure) in &failures {
        let text = failure.to_string();
        println!("failed: {name}: {}", text.lines().next().unwrap_or(""));
    }
    println!(
        "boots: {passed} passed, {} failed, {skipped} skipped",
        failures.len()
    );
    if failures.is_empty() {
        return Ok(());
    }
    fail(format!("{} scenarios failed", failures.len()))
}
