// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for the other domain: asleep, until an event or a timer.

use crate::machine::timer::{self, Timer};
use crate::machine::{barrier, dt, gic};
use crate::xen::event;

const PRIORITY: u8 = 0x80;
/// Microseconds of sleep after which to look again, event or not.
const NAP: u64 = 5000;

/// Lets events and the timer wake this CPU.
pub(super) fn start() -> i64 {
    let answer = event::map_shared_info();
    gic::enable(dt::facts().event_interrupt, PRIORITY);
    gic::enable(dt::facts().virtual_timer, PRIORITY);
    answer
}

/// Sleeps until `done`, or until `limit` microseconds have passed; whether it was `done`.
pub(super) fn until(limit: u64, mut done: impl FnMut() -> bool) -> bool {
    let end = timer::count() + timer::microseconds(limit);
    while !done() {
        if timer::count() >= end {
            return false;
        }
        Timer::Virtual.set_ticks(timer::microseconds(NAP));
        Timer::Virtual.set_control(timer::ENABLE);
        // What becomes pending before this instruction ends it too: interrupts are taken only after it.
        barrier::wfi();
        barrier::unmask_irq();
        barrier::isb();
        barrier::mask_irq();
    }
    true
}
