// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several CPUs. The first one drives; the second one does what it is told.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use xen_abi::hypercall::XEN_VERSION;

use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq};
use super::gicd::spare;
use crate::machine::dt::facts;
use crate::machine::exception::attempt;
use crate::machine::gic::{self, Gic, IROUTER, ISENABLER, ITARGETSR};
use crate::machine::mmio::{read32, read64, write8, write32, write64};
use crate::machine::timer::{self, Timer, wait_until};
use crate::machine::{barrier, cpu, psci, smp};
use crate::xen::hypercall::hypercall;

const OTHER: usize = 1;
const PRIORITY: u8 = 0xa0;
const LATE: u64 = 10_000_000;
/// SGI that asks.
const PING: u32 = 1;
/// SGI that answers.
const PONG: u32 = 2;

pub(super) const CHECKS: &[Check] = &[
    check("a CPU starts", start),
    check("a CPU that runs cannot be started", start_again),
    check("all CPUs start", start_all),
    check("an SGI reaches the other CPU", to_other),
    check("an SGI wakes the other CPU from wfi", wakes),
    check("SGIs there and back, a thousand times", ping_pong),
    check("an SGI to the others does not come back", to_others),
    check("the other CPU's timers fire there", timers),
    check("an SPI follows its target", spi_target),
    check("one CPU sets another one's interrupts", other_redistributor),
    check("faults of the other CPU are its own", faults),
    check("set and way on the other CPU", set_way),
    check("hypercalls on two CPUs at once", hypercalls),
    check("a CPU stops, and starts again", stop_and_start),
    check("an SGI to a CPU that is off is lost", sgi_to_off),
    check("a CPU stops and starts a hundred times", many_starts),
];

/// The second CPU, running.
fn other() -> Result<usize, Failure> {
    if facts().cpus < 2 {
        return Err(Failure::Skipped("one CPU"));
    }
    ensure!(smp::ensure_running(OTHER), "CPU 1 does not run");
    Ok(OTHER)
}

fn done(number: usize, job: fn()) -> Outcome {
    ensure!(smp::run(number, job), "CPU {number} does not do its job");
    Ok(())
}

static SEEN: AtomicU64 = AtomicU64::new(0);

fn start() -> Outcome {
    let other = other()?;
    done(other, || SEEN.store(cpu::affinity(), Ordering::SeqCst))?;
    ensure_eq!(
        SEEN.load(Ordering::SeqCst),
        smp::affinity(other),
        "its affinity"
    );
    Ok(())
}

fn start_again() -> Outcome {
    let other = other()?;
    let before = smp::starts(other);
    ensure_eq!(
        psci::call(psci::CPU_ON, [smp::affinity(other), 0x1000, 0]),
        -4,
        "CPU_ON"
    );
    timer::delay(1000);
    ensure_eq!(smp::starts(other), before, "times it came up");
    ensure_eq!(
        psci::call(psci::AFFINITY_INFO, [smp::affinity(other), 0, 0]),
        0,
        "AFFINITY_INFO"
    );
    Ok(())
}

fn start_all() -> Outcome {
    other()?;
    for number in 1..facts().cpus.min(cpu::MAX_CPUS) {
        ensure!(smp::ensure_running(number), "CPU {number} does not run");
    }
    Ok(())
}

/// Job: takes interrupts, not sleeping, until PING came.
fn wait_for_ping() {
    gic::enable(PING, PRIORITY);
    cpu::with_irqs(|| wait_until(LATE, || cpu::this().taken(PING) != 0));
    gic::disable(PING);
}

fn to_other() -> Outcome {
    let other = other()?;
    let record = cpu::record(other);
    record.forget();
    smp::post(other, wait_for_ping);
    gic::send_sgi(PING, other);
    ensure!(smp::finished(other), "CPU 1 does not come back");
    ensure_eq!(record.taken(PING), 1, "SGIs");
    Ok(())
}

/// Job: sleeps until PING came.
fn sleep_until_ping() {
    gic::enable(PING, PRIORITY);
    while cpu::this().taken(PING) == 0 {
        barrier::wfi();
        cpu::with_irqs(barrier::isb);
    }
    gic::disable(PING);
}

fn wakes() -> Outcome {
    let other = other()?;
    cpu::record(other).forget();
    smp::post(other, sleep_until_ping);
    timer::delay(10_000);
    gic::send_sgi(PING, other);
    ensure!(smp::finished(other), "CPU 1 does not wake");
    Ok(())
}

const ROUNDS: u32 = 1000;

/// Job: answers each PING with a PONG.
fn answer() {
    gic::enable(PING, PRIORITY);
    for round in 1..=ROUNDS {
        if !cpu::with_irqs(|| wait_until(LATE, || cpu::this().taken(PING) >= round)) {
            break;
        }
        gic::send_sgi(PONG, 0);
    }
    gic::disable(PING);
}

fn ping_pong() -> Outcome {
    let other = other()?;
    cpu::record(other).forget();
    cpu::this().forget();
    gic::enable(PONG, PRIORITY);
    smp::post(other, answer);
    let mut answered = 0;
    while answered < ROUNDS {
        gic::send_sgi(PING, other);
        if !cpu::with_irqs(|| wait_until(LATE, || cpu::this().taken(PONG) > answered)) {
            break;
        }
        answered += 1;
    }
    gic::disable(PONG);
    ensure_eq!(answered, ROUNDS, "answers");
    ensure!(smp::finished(other), "CPU 1 does not come back");
    Ok(())
}

fn to_others() -> Outcome {
    let other = other()?;
    let record = cpu::record(other);
    record.forget();
    gic::enable(PING, PRIORITY);
    smp::post(other, wait_for_ping);
    gic::send_sgi_to_others(PING);
    let back = smp::finished(other);
    let own = gic::take();
    gic::disable(PING);
    ensure!(back, "CPU 1 does not come back");
    ensure_eq!(record.taken(PING), 1, "SGIs of CPU 1");
    ensure_eq!(own, None, "the sender's interrupt");
    Ok(())
}

/// Job: both timers, once each.
fn fire_timers() {
    for (timer, intid) in [
        (Timer::Virtual, facts().virtual_timer),
        (Timer::Physical, facts().physical_timer),
    ] {
        gic::enable(intid, PRIORITY);
        timer.set_compare(timer.now() + timer::microseconds(1000));
        timer.set_control(timer::ENABLE);
        cpu::with_irqs(|| wait_until(LATE, || cpu::this().taken(intid) != 0));
        timer.set_control(0);
        gic::disable(intid);
    }
}

fn timers() -> Outcome {
    let other = other()?;
    let record = cpu::record(other);
    record.forget();
    cpu::this().forget();
    done(other, fire_timers)?;
    ensure_eq!(
        record.taken(facts().virtual_timer),
        1,
        "the virtual timer's interrupts"
    );
    ensure_eq!(
        record.taken(facts().physical_timer),
        1,
        "the physical timer's interrupts"
    );
    ensure_eq!(cpu::this().total(), 0, "interrupts of CPU 0");
    Ok(())
}

/// Makes CPU `number` the target of an SPI.
fn set_target(intid: u32, number: usize) {
    let distributor = facts().gic.distributor();
    match facts().gic {
        Gic::V2 { .. } => write8(distributor + ITARGETSR + u64::from(intid), 1 << number),
        Gic::V3 { .. } => write64(
            distributor + IROUTER + u64::from(intid) * 8,
            smp::affinity(number),
        ),
    }
}

/// Job: takes interrupts for a while, or until there is one. Ends with a hypercall: a hypervisor need not know that an
/// interrupt has ended before its CPU comes to it.
fn take_one() {
    cpu::with_irqs(|| wait_until(LATE, || cpu::this().total() != 0));
    hypercall(XEN_VERSION, [0; 5]);
}

fn spi_target() -> Outcome {
    let other = other()?;
    let record = cpu::record(other);
    for round in 0..2 {
        record.forget();
        set_target(spare(), other);
        gic::enable(spare(), PRIORITY);
        smp::post(other, take_one);
        gic::pend(spare());
        let back = smp::finished(other);
        set_target(spare(), 0);
        gic::pend(spare());
        let mut own = None;
        wait_until(LATE, || {
            own = gic::take();
            own.is_some()
        });
        gic::disable(spare());
        ensure!(back, "CPU 1 does not come back in round {round}");
        ensure_eq!(
            record.taken(spare()),
            1,
            "interrupts of CPU 1 in round {round}"
        );
        ensure_eq!(own, Some(spare()), "the interrupt of CPU 0");
    }
    Ok(())
}

fn other_redistributor() -> Outcome {
    let other = other()?;
    if !facts().gic.is_v3() {
        return Err(Failure::Skipped("GICv3 only"));
    }
    let register = facts().gic.private(other) + ISENABLER;
    gic::disable(12);
    write32(register, 1 << 12);
    ensure!(
        read32(register) >> 12 & 1 != 0,
        "ISENABLER0 of CPU 1 is 0 once set"
    );
    ensure!(!gic::bit(ISENABLER, 12), "ISENABLER0 of CPU 0 is set too");
    let record = cpu::record(other);
    record.forget();
    smp::post(other, take_one);
    gic::send_sgi(12, other);
    let back = smp::finished(other);
    write32(facts().gic.private(other) + gic::ICENABLER, 1 << 12);
    ensure!(back, "CPU 1 does not come back");
    ensure_eq!(record.taken(12), 1, "SGIs of CPU 1");
    Ok(())
}

fn faults() -> Outcome {
    let other = other()?;
    SEEN.store(0, Ordering::SeqCst);
    done(other, || {
        let address = facts().grant_region.base;
        if let Err(fault) = attempt(|| read64(address)) {
            SEEN.store(fault.far, Ordering::SeqCst);
        }
    })?;
    ensure_eq!(
        SEEN.load(Ordering::SeqCst),
        facts().grant_region.base,
        "FAR"
    );
    Ok(())
}

fn set_way() -> Outcome {
    let other = other()?;
    done(other, || {
        // SAFETY: cleaning changes no memory as the CPUs see it.
        unsafe { core::arch::asm!("dc cisw, xzr", "dsb sy", options(nostack)) };
    })
}

static CALLS: AtomicU32 = AtomicU32::new(0);

fn call_often() {
    for _ in 0..2000 {
        if hypercall(XEN_VERSION, [0; 5]) == 0x4_0014 {
            CALLS.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn hypercalls() -> Outcome {
    let other = other()?;
    CALLS.store(0, Ordering::SeqCst);
    smp::post(other, call_often);
    call_often();
    ensure!(smp::finished(other), "CPU 1 does not come back");
    ensure_eq!(CALLS.load(Ordering::SeqCst), 4000, "calls that answer");
    Ok(())
}

fn stop_and_start() -> Outcome {
    let other = other()?;
    let before = smp::starts(other);
    ensure!(smp::stop(other), "CPU 1 does not stop");
    ensure_eq!(smp::start(other), 0, "CPU_ON");
    ensure!(
        wait_until(LATE, || smp::starts(other) == before + 1),
        "CPU 1 does not come up"
    );
    done(other, || SEEN.store(cpu::affinity(), Ordering::SeqCst))
}

fn sgi_to_off() -> Outcome {
    let other = other()?;
    ensure!(smp::stop(other), "CPU 1 does not stop");
    gic::send_sgi(PING, other);
    gic::send_sgi_to_others(PING);
    self::other()?;
    cpu::record(other).forget();
    done(other, || {
        gic::enable(PING, PRIORITY);
        cpu::with_irqs(|| timer::delay(1000));
        gic::disable(PING);
    })?;
    ensure_eq!(
        cpu::record(other).taken(PING),
        0,
        "SGIs sent while it was off"
    );
    Ok(())
}

fn many_starts() -> Outcome {
    let other = other()?;
    for round in 0..100 {
        ensure!(smp::stop(other), "CPU 1 does not stop in round {round}");
        ensure!(
            smp::ensure_running(other),
            "CPU 1 does not start in round {round}"
        );
    }
    Ok(())
}
