// SPDX-License-Identifier: MIT OR Apache-2.0
//! What operations cost.
//!
//! Under QEMU's `-icount shift=0` an instruction is a nanosecond of the counter, which ticks every 16 or so: a time is
//! the mean of many. Lines are `BENCH <name> <instructions>`.

mod call;
mod grant;
mod interrupt;
mod page;
mod switch;

use core::hint::black_box;

use crate::console::println;
use crate::machine::timer;

/// Measures everything.
pub(crate) fn run(first_count: u64) {
    report("reset_to_dom0", timer::nanoseconds(first_count));
    call::run();
    interrupt::run();
    page::run();
    grant::run();
    switch::run();
    println!("BENCH done");
}

fn report(name: &str, instructions: u64) {
    println!("BENCH {name} {instructions}");
}

fn skip(name: &str, error: i64) {
    println!("# {name} skipped: the hypervisor answers {error}");
}

/// Prints what `operation` takes, the mean of `times`, without the loop around it. Its result tells the first call,
/// which is not measured, whether to go on: a negative one is an error.
fn measure(name: &str, times: u64, mut operation: impl FnMut() -> i64) {
    let error = operation();
    if error < 0 {
        return skip(name, error);
    }
    let full = timed(times, || {
        black_box(operation());
    });
    let empty = timed(times, || {
        black_box(0);
    });
    report(name, full.saturating_sub(empty) / times);
}

/// As [`measure`], of an operation that is meant to fail.
fn measure_error(name: &str, times: u64, mut operation: impl FnMut() -> i64) {
    measure(name, times, || operation().wrapping_neg().max(0));
}

/// Prints the mean of `times` spans, each measured by `span` itself in ticks.
fn measure_spans(name: &str, times: u64, mut span: impl FnMut() -> u64) {
    span();
    let ticks = (0..times).map(|_| span()).sum();
    report(name, timer::nanoseconds(ticks) / times);
}

#[inline(always)]
fn timed(times: u64, mut operation: impl FnMut()) -> u64 {
    let start = timer::count();
    for _ in 0..times {
        operation();
    }
    timer::nanoseconds(timer::count() - start)
}
