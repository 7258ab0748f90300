// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counters and timers.

use core::sync::atomic::Ordering;

use super::check::{Check, Outcome, check, ensure, ensure_eq, fail};
use crate::machine::dt::facts;
use crate::machine::timer::{
    self, ENABLE, IMASK, ISTATUS, Timer, count, microseconds, physical_count, wait_until,
};
use crate::machine::{barrier, cpu, gic};

/// The latest that an interrupt may come, on a machine that is emulated and busy.
const LATE: u64 = 500_000;
const PRIORITY: u8 = 0xa0;

pub(super) const CHECKS: &[Check] = &[
    check("the counters count up", counters),
    check("the virtual counter starts near zero", counter_start),
    check("the virtual timer fires once, in time", || {
        fires(Timer::Virtual)
    }),
    check("the physical timer fires once, in time", || {
        fires(Timer::Physical)
    }),
    check("the virtual timer's registers", || {
        registers(Timer::Virtual)
    }),
    check("the physical timer's registers", || {
        registers(Timer::Physical)
    }),
    check("a masked virtual timer waits", || masked(Timer::Virtual)),
    check("a masked physical timer waits", || masked(Timer::Physical)),
    check("a deadline in the past fires at once", past),
    check("a disabled timer does not fire", disabled),
    check("the virtual timer fires as often as it is set", || {
        often(Timer::Virtual)
    }),
    check("the physical timer fires as often as it is set", || {
        often(Timer::Physical)
    }),
    check(
        "a virtual timer fires again after its interrupt was disabled and cleared",
        || cleared(Timer::Virtual),
    ),
    check(
        "a physical timer fires again after its interrupt was disabled and cleared",
        || cleared(Timer::Physical),
    ),
    check(
        "a virtual timer that is due before its last interrupt ended fires again",
        || due_again(Timer::Virtual),
    ),
    check(
        "a physical timer that is due before its last interrupt ended fires again",
        || due_again(Timer::Physical),
    ),
    check("both timers at once", both),
    check("wfi ends when the virtual timer fires", || {
        wakes(Timer::Virtual)
    }),
    check("wfi ends when the physical timer fires", || {
        wakes(Timer::Physical)
    }),
    check("wfi ends at once when an interrupt waits", wfi_pending),
    check("wfe comes back", wfe),
];

fn intid(timer: Timer) -> u32 {
    match timer {
        Timer::Virtual => facts().virtual_timer,
        Timer::Physical => facts().physical_timer,
    }
}

/// Runs `body` with the timers' interrupts enabled, and stops the timers.
fn with_timers(body: impl FnOnce() -> Outcome) -> Outcome {
    let timers = [Timer::Virtual, Timer::Physical];
    for timer in timers {
        timer.set_control(0);
        gic::enable(intid(timer), PRIORITY);
    }
    cpu::with_irqs(|| timer::delay(10));
    cpu::this().forget();
    let outcome = body();
    barrier::mask_irq();
    for timer in timers {
        timer.set_control(0);
        gic::disable(intid(timer));
    }
    outcome
}

/// Waits with interrupts let in until `timer` has fired `times` times; whether it has.
fn fired(timer: Timer, times: u32) -> bool {
    cpu::with_irqs(|| wait_until(LATE, || cpu::this().taken(intid(timer)) >= times))
}

fn counters() -> Outcome {
    let (mut virtual_before, mut physical_before) = (count(), physical_count());
    for _ in 0..1000 {
        let (virtual_now, physical_now) = (count(), physical_count());
        ensure!(virtual_now >= virtual_before, "CNTVCT_EL0 goes back");
        ensure!(physical_now >= physical_before, "CNTPCT_EL0 goes back");
        (virtual_before, physical_before) = (virtual_now, physical_now);
    }
    ensure!(
        timer::frequency() >= 1_000_000,
        "CNTFRQ_EL0 is {}",
        timer::frequency()
    );
    Ok(())
}

fn counter_start() -> Outcome {
    ensure!(
        count() < timer::frequency() * 600,
        "CNTVCT_EL0 is {:#x}",
        count()
    );
    ensure!(
        physical_count() >= count(),
        "CNTPCT_EL0 is behind CNTVCT_EL0"
    );
    Ok(())
}

fn fires(timer: Timer) -> Outcome {
    with_timers(|| {
        let start = count();
        let span = microseconds(2000);
        timer.set_compare(timer.now() + span);
        timer.set_control(ENABLE);
        ensure!(fired(timer, 1), "it does not fire");
        let at = cpu::this().interrupted_at.load(Ordering::Relaxed) - start;
        ensure!(at >= span, "it fires after {at} ticks, not {span}");
        cpu::with_irqs(|| timer::delay(5000));
        ensure_eq!(cpu::this().taken(intid(timer)), 1, "times it fires");
        Ok(())
    })
}

fn registers(timer: Timer) -> Outcome {
    with_timers(|| {
        timer.set_control(IMASK);
        ensure_eq!(timer.control(), IMASK, "CTL, disabled");
        let at = timer.now() + timer::frequency() * 20;
        timer.set_compare(at);
        ensure_eq!(timer.compare(), at, "CVAL");
        timer.set_control(ENABLE | IMASK);
        ensure_eq!(timer.control(), ENABLE | IMASK, "CTL long before");
        let (before, after) = (timer.ticks(), timer.ticks());
        ensure!(
            before > 0 && after <= before,
            "TVAL is {before}, then {after}"
        );
        timer.set_ticks(1000);
        let left = timer.compare().wrapping_sub(timer.now()) as i64;
        ensure!(left <= 1000, "CVAL is {left} ticks away once TVAL was 1000");
        ensure!(
            wait_until(LATE, || timer.control() == ENABLE | IMASK | ISTATUS),
            "CTL is {:#x} after the deadline",
            timer.control()
        );
        ensure!(
            timer.ticks() <= 0,
            "TVAL is {} after the deadline",
            timer.ticks()
        );
        timer.set_compare(timer.now() + (1 << 50));
        ensure_eq!(timer.control(), ENABLE | IMASK, "CTL months before");
        Ok(())
    })
}

fn masked(timer: Timer) -> Outcome {
    with_timers(|| {
        timer.set_compare(timer.now() + microseconds(100));
        timer.set_control(ENABLE | IMASK);
        cpu::with_irqs(|| timer::delay(3000));
        ensure_eq!(cpu::this().taken(intid(timer)), 0, "times it fires, masked");
        timer.set_control(ENABLE);
        ensure!(fired(timer, 1), "it does not fire once unmasked");
        Ok(())
    })
}

fn past() -> Outcome {
    for timer in [Timer::Virtual, Timer::Physical] {
        with_timers(|| {
            timer.set_compare(timer.now() - 1);
            timer.set_control(ENABLE);
            ensure!(fired(timer, 1), "{timer:?} does not fire");
            Ok(())
        })?;
    }
    Ok(())
}

fn disabled() -> Outcome {
    for timer in [Timer::Virtual, Timer::Physical] {
        with_timers(|| {
            timer.set_compare(timer.now() + timer::frequency());
            timer.set_control(ENABLE);
            timer.set_control(0);
            timer.set_compare(timer.now() - 1);
            cpu::with_irqs(|| timer::delay(3000));
            ensure_eq!(cpu::this().total(), 0, "interrupts of {timer:?}");
            Ok(())
        })?;
    }
    Ok(())
}

fn often(timer: Timer) -> Outcome {
    with_timers(|| {
        for times in 1..=50 {
            timer.set_compare(timer.now() + microseconds(50));
            timer.set_control(ENABLE);
            ensure!(fired(timer, times), "it does not fire time {times}");
        }
        cpu::with_irqs(|| timer::delay(2000));
        ensure_eq!(cpu::this().taken(intid(timer)), 50, "times it fires");
        Ok(())
    })
}

fn cleared(timer: Timer) -> Outcome {
    with_timers(|| {
        gic::disable(intid(timer));
        timer.set_compare(timer.now() + microseconds(100));
        timer.set_control(ENABLE);
        cpu::with_irqs(|| timer::delay(3000));
        ensure_eq!(
            cpu::this().taken(intid(timer)),
            0,
            "times it fires, disabled"
        );
        timer.set_control(0);
        gic::set_bit(gic::ICPENDR, intid(timer));
        gic::enable(intid(timer), PRIORITY);
        timer.set_compare(timer.now() + microseconds(100));
        timer.set_control(ENABLE);
        ensure!(fired(timer, 1), "it does not fire again");
        Ok(())
    })
}

/// As a handler does it that sets the timer anew and is slow to end. Nothing after the end leaves the guest. So
/// often that what brings a lost one by chance does not hide that it was lost.
fn due_again(timer: Timer) -> Outcome {
    const TIMES: u32 = 100;
    let acknowledged = || {
        let mut taken = None;
        wait_until(LATE, || {
            taken = gic::acknowledge();
            taken.is_some()
        });
        let taken = taken?;
        if taken.intid() != intid(timer) {
            gic::end(taken);
            return None;
        }
        Some(taken)
    };
    with_timers(|| {
        timer.set_compare(timer.now() - 1);
        timer.set_control(ENABLE);
        let Some(mut taken) = acknowledged() else {
            fail!("it does not fire");
        };
        let start = count();
        for times in 0..TIMES {
            timer.set_control(ENABLE | IMASK);
            timer.set_compare(timer.now() + microseconds(20));
            timer.set_control(ENABLE);
            let due = wait_until(LATE, || timer.control() & ISTATUS != 0);
            gic::end(taken);
            ensure!(due, "it is not due again");
            taken = match acknowledged() {
                Some(taken) => taken,
                None => fail!("it does not fire again, after {times} times"),
            };
        }
        let span = count() - start;
        timer.set_control(0);
        gic::end(taken);
        ensure!(
            span < microseconds(LATE),
            "it fires {TIMES} times in {span} ticks"
        );
        Ok(())
    })
}

fn both() -> Outcome {
    with_timers(|| {
        let span = microseconds(500);
        Timer::Virtual.set_compare(count() + span);
        Timer::Physical.set_compare(physical_count() + span);
        Timer::Virtual.set_control(ENABLE);
        Timer::Physical.set_control(ENABLE);
        ensure!(fired(Timer::Virtual, 1), "the virtual one does not fire");
        ensure!(fired(Timer::Physical, 1), "the physical one does not fire");
        Ok(())
    })
}

fn wakes(timer: Timer) -> Outcome {
    with_timers(|| {
        for _ in 0..5 {
            let before = cpu::this().taken(intid(timer));
            let end = timer.now() + microseconds(1000);
            timer.set_compare(end);
            timer.set_control(ENABLE);
            // Exceptions stay masked: what waits ends WFI all the same.
            while timer.now() < end {
                barrier::wfi();
            }
            ensure!(fired(timer, before + 1), "it does not fire");
        }
        Ok(())
    })
}

fn wfi_pending() -> Outcome {
    gic::enable(11, PRIORITY);
    gic::pend(11);
    barrier::wfi();
    let taken = gic::take();
    gic::disable(11);
    ensure_eq!(taken, Some(11), "the interrupt that waits");
    Ok(())
}

fn wfe() -> Outcome {
    for _ in 0..10 {
        barrier::sev();
        barrier::wfe();
    }
    Ok(())
}
