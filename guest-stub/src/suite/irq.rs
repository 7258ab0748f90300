// SPDX-License-Identifier: MIT OR Apache-2.0
//! Delivery of interrupts. Most checks keep exceptions masked and acknowledge by hand: the order is then theirs.

use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq, fail};
use super::gicd::spare;
use crate::machine::gic::{self, Acknowledged};
use crate::machine::{barrier, cpu, timer};

const PRIORITY: u8 = 0xa0;
/// More than any implementation has list registers.
const MANY: usize = 20;

pub(super) const CHECKS: &[Check] = &[
    check("every SGI comes once", sgis),
    check("nothing pending is spurious", spurious),
    check("the most urgent comes first", order),
    check("the priority mask holds back", mask),
    check("a disabled SGI waits for its enabling", disabled),
    check("pending twice comes once", twice),
    check(
        "one that is sent in its own handler comes again",
        in_handler,
    ),
    check(
        "a more urgent one preempts, a less urgent one waits",
        preemption,
    ),
    check(
        "a handler is interrupted by a more urgent interrupt",
        nested,
    ),
    check("ending and deactivating apart", split_end),
    check("an SPI made pending comes", spi),
    check("an SPI is as urgent as its priority", spi_order),
    check("twenty pending interrupts come once each", many_arrive),
    check("twenty pending interrupts come in order", many_in_order),
    check("a thousand SGIs to oneself", thousand),
];

/// Lets these interrupts in, at these priorities, while `body` runs.
fn with(intids: &[(u32, u8)], body: impl FnOnce() -> Outcome) -> Outcome {
    for (intid, priority) in intids {
        gic::enable(*intid, *priority);
    }
    let outcome = body();
    gic::set_priority_mask(0xff);
    while gic::take().is_some() {}
    for (intid, _) in intids {
        gic::disable(*intid);
    }
    outcome
}

fn acknowledge(want: u32) -> Result<Acknowledged, Failure> {
    match gic::acknowledge() {
        Some(acknowledged) if acknowledged.intid() == want => Ok(acknowledged),
        Some(acknowledged) => {
            gic::end(acknowledged);
            fail!("interrupt {} comes instead of {want}", acknowledged.intid())
        }
        None => fail!("interrupt {want} does not come"),
    }
}

fn take(want: u32) -> Outcome {
    gic::end(acknowledge(want)?);
    Ok(())
}

fn none() -> Outcome {
    ensure_eq!(gic::take(), None, "the interrupt that comes unasked");
    Ok(())
}

fn sgis() -> Outcome {
    for intid in 0..16 {
        with(&[(intid, PRIORITY)], || {
            gic::pend(intid);
            take(intid)?;
            none()
        })?;
    }
    Ok(())
}

fn spurious() -> Outcome {
    none()
}

fn order() -> Outcome {
    with(&[(1, 0xa0), (2, 0x40), (3, 0xc0), (4, 0x20)], || {
        for intid in 1..=4 {
            gic::pend(intid);
        }
        for intid in [4, 2, 1, 3] {
            take(intid)?;
        }
        none()
    })
}

fn mask() -> Outcome {
    with(&[(5, 0x80)], || {
        gic::set_priority_mask(0x80);
        gic::pend(5);
        none()?;
        gic::set_priority_mask(0x88);
        take(5)?;
        none()
    })
}

fn disabled() -> Outcome {
    gic::disable(6);
    gic::pend(6);
    none()?;
    with(&[(6, PRIORITY)], || {
        take(6)?;
        none()
    })
}

fn twice() -> Outcome {
    with(&[(7, PRIORITY)], || {
        gic::pend(7);
        gic::pend(7);
        take(7)?;
        none()
    })
}

fn in_handler() -> Outcome {
    with(&[(7, PRIORITY)], || {
        gic::pend(7);
        let first = acknowledge(7)?;
        gic::pend(7);
        let early = gic::take();
        gic::end(first);
        ensure_eq!(early, None, "the interrupt during its handler");
        take(7)?;
        none()
    })
}

fn preemption() -> Outcome {
    with(&[(1, 0x80), (2, 0x40), (3, 0xc0)], || {
        gic::pend(1);
        let outer = acknowledge(1)?;
        let running = gic::running_priority();
        gic::pend(3);
        let less_urgent = gic::take();
        gic::pend(2);
        let inner = take(2);
        gic::end(outer);
        ensure_eq!(running, 0x80, "running priority");
        ensure_eq!(less_urgent, None, "the less urgent one");
        inner?;
        take(3)?;
        ensure_eq!(gic::running_priority(), 0xff, "running priority after all");
        none()
    })
}

fn nested() -> Outcome {
    with(&[(1, 0x80), (2, 0x40)], || {
        let cpu = cpu::this();
        cpu.forget();
        gic::pend(1);
        let outer = acknowledge(1)?;
        cpu::with_irqs(|| {
            gic::pend(2);
            timer::wait_until(100_000, || cpu.taken(2) != 0);
        });
        gic::end(outer);
        ensure_eq!(cpu.taken(2), 1, "times the urgent one came");
        Ok(())
    })
}

fn split_end() -> Outcome {
    with(&[(8, PRIORITY)], || {
        gic::split_end(true);
        gic::pend(8);
        let outcome = dropped(8);
        gic::split_end(false);
        outcome?;
        take(8)?;
        none()
    })
}

/// After the priority drop the interrupt is still active and does not come again; after deactivation it does.
fn dropped(intid: u32) -> Outcome {
    let first = acknowledge(intid)?;
    gic::end(first);
    let running = gic::running_priority();
    gic::pend(intid);
    let early = gic::acknowledge();
    gic::deactivate(first);
    ensure_eq!(running, 0xff, "running priority after the drop");
    ensure!(early.is_none(), "it comes again while active");
    Ok(())
}

fn spi() -> Outcome {
    with(&[(spare(), PRIORITY)], || {
        gic::pend(spare());
        take(spare())?;
        none()?;
        gic::pend(spare());
        take(spare())?;
        none()
    })
}

fn spi_order() -> Outcome {
    let (first, second) = (spare() - 1, spare());
    with(&[(first, 0xb0), (second, 0x30), (2, 0x70)], || {
        for intid in [first, 2, second] {
            gic::pend(intid);
        }
        for intid in [second, 2, first] {
            take(intid)?;
        }
        none()
    })
}

/// Sixteen SGIs and some SPIs with priorities in another order than their numbers.
fn many() -> [(u32, u8); MANY] {
    core::array::from_fn(|index| {
        let intid = match index as u32 {
            index @ 0..16 => index,
            index => spare() - (index - 16),
        };
        (intid, 8 + (index * 7 % MANY) as u8 * 8)
    })
}

/// Makes all pending, then takes them with exceptions let in.
fn take_many(check: impl FnOnce(&'static cpu::Cpu) -> Outcome) -> Outcome {
    let interrupts = many();
    with(&interrupts, || {
        let cpu = cpu::this();
        cpu.forget();
        for (intid, _) in interrupts {
            gic::pend(intid);
        }
        cpu::with_irqs(|| timer::wait_until(200_000, || cpu.total() >= MANY as u32));
        cpu::with_irqs(|| timer::delay(1000));
        check(cpu)
    })
}

fn many_arrive() -> Outcome {
    take_many(|cpu| {
        for (intid, _) in many() {
            ensure_eq!(cpu.taken(intid), 1, "times interrupt {intid} came");
        }
        ensure_eq!(cpu.total(), MANY as u32, "all of them");
        Ok(())
    })
}

fn many_in_order() -> Outcome {
    take_many(|cpu| {
        let mut sorted = many();
        sorted.sort_unstable_by_key(|(_, priority)| *priority);
        for (at, ((want, _), is)) in sorted.into_iter().zip(cpu.order()).enumerate() {
            ensure_eq!(is, want, "number {at}");
        }
        Ok(())
    })
}

fn thousand() -> Outcome {
    with(&[(10, PRIORITY)], || {
        let cpu = cpu::this();
        cpu.forget();
        let me = cpu::number();
        barrier::unmask_irq();
        let all = (1..=1000).all(|count| {
            gic::send_sgi(10, me);
            timer::wait_until(100_000, || cpu.taken(10) == count)
        });
        barrier::mask_irq();
        ensure!(all, "{} of 1000 came", cpu.taken(10));
        Ok(())
    })
}
