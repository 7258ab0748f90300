// SPDX-License-Identifier: MIT OR Apache-2.0
//! From what causes an interrupt to its handler.

use core::hint::spin_loop;
use core::sync::atomic::Ordering;

use super::{measure, measure_spans, skip};
use crate::machine::timer::{self, Timer};
use crate::machine::{barrier, cpu, dt, gic};
use crate::xen::event;

const TIMES: u64 = 500;
const SGI: u32 = 3;
const PRIORITY: u8 = 0xa0;

pub(super) fn run() {
    sgi();
    timers();
    if let Err(error) = events() {
        skip("event channels", error);
    }
}

fn sgi() {
    gic::enable(SGI, PRIORITY);
    let me = cpu::number();
    measure_spans("sgi_self", TIMES, || span(SGI, || gic::send_sgi(SGI, me)));
    gic::disable(SGI);
}

/// Ticks from `cause` until the handler of the interrupt it causes.
fn span(intid: u32, cause: impl FnOnce()) -> u64 {
    let cpu = cpu::this();
    let before = cpu.taken(intid);
    barrier::unmask_irq();
    let start = timer::count();
    cause();
    while cpu.taken(intid) == before {
        spin_loop();
    }
    barrier::mask_irq();
    cpu.interrupted_at
        .load(Ordering::Relaxed)
        .saturating_sub(start)
}

fn timers() {
    let intid = dt::facts().virtual_timer;
    gic::enable(intid, PRIORITY);
    measure_spans("vtimer_to_handler", TIMES, || {
        let at = timer::count() + timer::microseconds(20);
        Timer::Virtual.set_compare(at);
        Timer::Virtual.set_control(timer::ENABLE);
        span(intid, || ());
        cpu::this().interrupted_at.load(Ordering::Relaxed) - at
    });
    let sleep = timer::microseconds(256);
    measure_spans("wfi_wake_256us", 100, || {
        let start = timer::count();
        Timer::Virtual.set_compare(start + sleep);
        Timer::Virtual.set_control(timer::ENABLE);
        barrier::wfi();
        let woken = timer::count();
        span(intid, || ());
        woken - start - sleep
    });
    Timer::Virtual.set_control(0);
    gic::disable(intid);
}

fn events() -> Result<(), i64> {
    match event::map_shared_info() {
        0 => {}
        error => return Err(error),
    }
    measure(
        "alloc_unbound_close",
        TIMES,
        || match event::alloc_unbound() {
            Ok(port) => event::close(port),
            Err(error) => error,
        },
    );
    let (from, to) = event::connected_pair()?;
    let intid = dt::facts().event_interrupt;
    gic::enable(intid, PRIORITY);
    let pending = &event::shared_info().pending[to as usize / 64];
    event::set_masked(to, true);
    measure("evtchn_send_masked", TIMES, || {
        pending.store(0, Ordering::Relaxed);
        event::send(from)
    });
    pending.store(0, Ordering::Relaxed);
    event::set_masked(to, false);
    cpu::with_irqs(|| timer::delay(100));
    measure_spans("evtchn_send_to_handler", TIMES, || {
        span(intid, || {
            event::send(from);
        })
    });
    gic::disable(intid);
    event::close(from);
    event::close(to);
    Ok(())
}
