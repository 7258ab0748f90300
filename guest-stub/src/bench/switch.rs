// SPDX-License-Identifier: MIT OR Apache-2.0
//! From one vCPU to another on the same CPU.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use xen_abi::hypercall::SCHED_OP;
use xen_abi::sched::SCHEDOP_YIELD;

use super::{measure, skip};
use crate::console::println;
use crate::machine::smp;
use crate::xen::hypercall::hypercall;

const TIMES: u64 = 200;
/// The other vCPU.
const OTHER: usize = 1;
/// More than it can take to come to the other one.
const MOST: u64 = 10_000;

static TURNS: AtomicU64 = AtomicU64::new(0);
static ENOUGH: AtomicBool = AtomicBool::new(false);

/// To a vCPU that has nothing to do but to let others pass, and back. Two switches.
pub(super) fn run() {
    if !smp::ensure_running(OTHER) {
        return skip("sched_yield_there_and_back", -1);
    }
    smp::post(OTHER, || {
        while !ENOUGH.load(Ordering::Relaxed) {
            TURNS.fetch_add(1, Ordering::Relaxed);
            pass();
        }
    });
    measure("sched_yield_there_and_back", TIMES, || {
        let before = TURNS.load(Ordering::Relaxed);
        let has_run = |_: &u64| {
            pass();
            TURNS.load(Ordering::Relaxed) != before
        };
        (0..MOST).find(has_run).map_or(-1, |_| 0)
    });
    ENOUGH.store(true, Ordering::Relaxed);
    if !(smp::finished(OTHER) && smp::stop(OTHER)) {
        println!("# the other vCPU does not stop");
    }
}

fn pass() -> i64 {
    hypercall(SCHED_OP, [SCHEDOP_YIELD.into(), 0, 0, 0, 0])
}
