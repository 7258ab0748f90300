// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event channels, from the sender to the handler.

use core::sync::atomic::{AtomicU64, Ordering};

use xen_abi::Handle;
use xen_abi::event::{
    AllocUnbound, BindInterdomain, BindVcpu, BindVirq, EVTCHNOP_ALLOC_UNBOUND,
    EVTCHNOP_BIND_INTERDOMAIN, EVTCHNOP_BIND_VCPU, EVTCHNOP_BIND_VIRQ, EVTCHNOP_RESET,
    EVTCHNOP_SET_PRIORITY, EVTCHNOP_STATUS, Reset, SetPriority, Status,
};
use xen_abi::hypercall::SCHED_OP;
use xen_abi::sched::{Poll, SCHEDOP_POLL};
use xen_abi::xen::{DOMID_SELF, VIRQ_DEBUG};

use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq, fail};
use super::errno::EINVAL;
use crate::machine::dt::facts;
use crate::machine::timer::{self, wait_until};
use crate::machine::{cpu, gic, smp};
use crate::xen::event::{
    alloc_unbound, call, close, connected_pair, map_shared_info, order, received,
    register_vcpu_info, send, set_masked, shared_info, unmask,
};
use crate::xen::fifo;
use crate::xen::hypercall::operate;

const LATE: u64 = 1_000_000;
const PRIORITY: u8 = 0xa0;
const MANY: usize = 100;

pub(super) const CHECKS: &[Check] = &[
    check("the shared info page is mapped once", shared_page),
    check("an event calls the handler", delivery),
    check("a masked event waits for its unmasking", masking),
    check(
        "an event waits for its interrupt's enabling",
        interrupt_masking,
    ),
    check("a hundred events come once each", many),
    check("states of a port", states),
    check("wrong ports", wrong_ports),
    check("VIRQs", virqs),
    check("poll returns for an event that waits", poll_pending),
    check("poll gives up at its time", poll_timeout),
    check("poll refuses what is wrong", poll_wrong),
    check("the other CPU gets its events", other_cpu),
    check("FIFO: control block and array", fifo_setup),
    check("FIFO: an event calls the handler", delivery),
    check("FIFO: a masked event waits for its unmasking", fifo_masking),
    check("FIFO: a hundred events come once each", many),
    check("FIFO: the more urgent queue goes first", fifo_priority),
    check("FIFO: the other CPU gets its events", other_cpu),
    check("FIFO: reset goes back to two levels", reset),
    check("two levels again: an event calls the handler", delivery),
];

fn pair() -> Result<(u32, u32), Failure> {
    match connected_pair() {
        Ok(ports) => Ok(ports),
        Err(error) => fail!("making a channel gives {error}"),
    }
}

/// A channel whose end `to` has had the event that comes with binding.
fn quiet_pair() -> Result<(u32, u32), Failure> {
    let ports = pair()?;
    with_upcalls(|| timer::delay(100));
    Ok(ports)
}

fn close_all(ports: &[u32]) -> Outcome {
    for port in ports {
        ensure_eq!(close(*port), 0, "closing {port}");
    }
    Ok(())
}

/// Runs `body` with the event interrupt enabled and let in.
fn with_upcalls<R>(body: impl FnOnce() -> R) -> R {
    gic::enable(facts().event_interrupt, PRIORITY);
    let result = cpu::with_irqs(body);
    gic::disable(facts().event_interrupt);
    result
}

fn arrives(port: u32, times: u32) -> bool {
    with_upcalls(|| wait_until(LATE, || received(port) == times))
}

fn shared_page() -> Outcome {
    ensure_eq!(map_shared_info(), 0, "the first time");
    ensure_eq!(map_shared_info(), -16, "the second time");
    Ok(())
}

fn delivery() -> Outcome {
    let (from, to) = quiet_pair()?;
    for _ in 0..20 {
        let before = received(to);
        ensure_eq!(send(from), 0, "send");
        ensure!(arrives(to, before + 1), "the event does not come");
    }
    let before = received(from);
    ensure_eq!(send(to), 0, "send, the other way");
    ensure!(
        arrives(from, before + 1),
        "the event does not come the other way"
    );
    close_all(&[from, to])
}

fn masking() -> Outcome {
    let (from, to) = quiet_pair()?;
    let before = received(to);
    set_masked(to, true);
    send(from);
    with_upcalls(|| timer::delay(500));
    ensure_eq!(received(to), before, "events while masked");
    let word = shared_info().pending[to as usize / 64].load(Ordering::SeqCst);
    ensure!(word >> (to % 64) & 1 != 0, "the pending bit is 0");
    ensure_eq!(unmask(to), 0, "unmask");
    ensure!(
        arrives(to, before + 1),
        "the event does not come once unmasked"
    );
    ensure_eq!(unmask(to), 0, "unmask again");
    with_upcalls(|| timer::delay(500));
    ensure_eq!(received(to), before + 1, "events after all");
    close_all(&[from, to])
}

fn interrupt_masking() -> Outcome {
    let (from, to) = quiet_pair()?;
    let before = received(to);
    send(from);
    send(from);
    cpu::with_irqs(|| timer::delay(500));
    ensure_eq!(
        received(to),
        before,
        "events while the interrupt is disabled"
    );
    ensure!(arrives(to, before + 1), "the event does not come");
    close_all(&[from, to])
}

fn many() -> Outcome {
    let mut ports = [(0, 0); MANY];
    for pair in &mut ports {
        *pair = self::pair()?;
    }
    with_upcalls(|| timer::delay(1000));
    let before = ports.map(|(_, to)| received(to));
    for (from, _) in ports.iter().rev() {
        ensure_eq!(send(*from), 0, "send");
    }
    with_upcalls(|| timer::delay(5000));
    for ((from, to), before) in ports.into_iter().zip(before) {
        ensure_eq!(received(to) - before, 1, "events of port {to}");
        close_all(&[from, to])?;
    }
    Ok(())
}

fn status(port: u32) -> (i64, u32, [u32; 2]) {
    let mut status = Status {
        dom: DOMID_SELF,
        _pad: 0,
        port,
        status: 99,
        vcpu: 0,
        u: [0; 2],
    };
    let answer = call(EVTCHNOP_STATUS, &mut status);
    (answer, status.status, status.u)
}

fn states() -> Outcome {
    let Ok(unbound) = alloc_unbound() else {
        fail!("alloc_unbound fails");
    };
    ensure_eq!(status(unbound).1, 1, "a new port");
    ensure_eq!(send(unbound), 0, "sending to it");
    close_all(&[unbound])?;
    ensure_eq!(status(unbound).1, 0, "a closed port");
    let (from, to) = quiet_pair()?;
    ensure_eq!(status(from), (0, 2, [0, to]), "a connected port");
    ensure_eq!(status(to), (0, 2, [0, from]), "its peer");
    let mut bind = BindInterdomain {
        remote_dom: DOMID_SELF,
        _pad: 0,
        remote_port: to,
        local_port: 0,
    };
    ensure_eq!(
        call(EVTCHNOP_BIND_INTERDOMAIN, &mut bind),
        EINVAL,
        "binding it again"
    );
    close_all(&[from])?;
    ensure_eq!(status(to), (0, 1, [0, 0]), "the peer of a closed one");
    ensure_eq!(send(from), EINVAL, "sending from a closed one");
    ensure_eq!(close(from), EINVAL, "closing twice");
    close_all(&[to])
}

fn wrong_ports() -> Outcome {
    for port in [0, 1 << 17, u32::MAX] {
        ensure_eq!(send(port), EINVAL, "send({port})");
        ensure_eq!(close(port), EINVAL, "close({port})");
    }
    ensure_eq!(unmask(1 << 17), EINVAL, "unmask of a port too large");
    let mut alloc = AllocUnbound {
        dom: DOMID_SELF,
        remote_dom: 77,
        port: 0,
    };
    ensure_eq!(
        call(EVTCHNOP_ALLOC_UNBOUND, &mut alloc),
        -3,
        "alloc_unbound for nobody"
    );
    let mut bind = BindVcpu { port: 0, vcpu: 0 };
    ensure_eq!(
        call(EVTCHNOP_BIND_VCPU, &mut bind),
        EINVAL,
        "bind_vcpu of port 0"
    );
    Ok(())
}

fn virqs() -> Outcome {
    let bind = |virq, vcpu| {
        let mut bind = BindVirq {
            virq,
            vcpu,
            port: 0,
        };
        (call(EVTCHNOP_BIND_VIRQ, &mut bind), bind.port)
    };
    let (answer, port) = bind(VIRQ_DEBUG, 0);
    ensure_eq!(answer, 0, "VIRQ_DEBUG");
    ensure_eq!(bind(VIRQ_DEBUG, 0).0, -17, "VIRQ_DEBUG again");
    ensure_eq!(status(port), (0, 4, [VIRQ_DEBUG, 0]), "its port");
    ensure_eq!(send(port), EINVAL, "sending to it");
    ensure_eq!(bind(24, 0).0, EINVAL, "VIRQ 24");
    ensure_eq!(bind(u32::MAX, 0).0, EINVAL, "VIRQ ~0");
    ensure_eq!(bind(VIRQ_DEBUG, 99).0, -2, "vCPU 99");
    close_all(&[port])
}

/// `SCHEDOP_poll` of one port until system time `timeout`.
fn poll(port: u32, timeout: u64) -> i64 {
    let ports = [port];
    let mut argument = Poll {
        ports: Handle(&raw const ports as u64),
        nr_ports: 1,
        _pad: 0,
        timeout,
    };
    operate(SCHED_OP, SCHEDOP_POLL, &mut argument)
}

fn poll_pending() -> Outcome {
    let (from, to) = quiet_pair()?;
    set_masked(to, true);
    send(from);
    ensure_eq!(poll(to, 0), 0, "poll");
    shared_info().pending[to as usize / 64].store(0, Ordering::SeqCst);
    set_masked(to, false);
    close_all(&[from, to])
}

fn poll_timeout() -> Outcome {
    let (from, to) = quiet_pair()?;
    set_masked(to, true);
    ensure_eq!(poll(to, 1), 0, "poll until long ago");
    // System time counts from the hypervisor's start, which was before the counter was what it is now.
    let start = timer::count();
    let soon = timer::nanoseconds(timer::count()) + 1;
    ensure_eq!(poll(to, soon), 0, "poll until about now");
    ensure!(
        timer::count() - start < timer::frequency() * 10,
        "it takes too long"
    );
    set_masked(to, false);
    close_all(&[from, to])
}

fn poll_wrong() -> Outcome {
    ensure_eq!(poll(0, 1), EINVAL, "port 0");
    ensure_eq!(poll(1 << 20, 1), EINVAL, "a port too large");
    let (from, to) = quiet_pair()?;
    close_all(&[from, to])?;
    ensure_eq!(poll(to, 1), EINVAL, "a closed port");
    let mut argument = Poll {
        ports: Handle(8),
        nr_ports: 1,
        _pad: 0,
        timeout: 1,
    };
    ensure_eq!(
        operate(SCHED_OP, SCHEDOP_POLL, &mut argument),
        -14,
        "ports nowhere"
    );
    argument.nr_ports = 129;
    ensure_eq!(
        operate(SCHED_OP, SCHEDOP_POLL, &mut argument),
        EINVAL,
        "129 ports"
    );
    Ok(())
}

/// The event that [`other_cpu`] sends, and how many it got: port in the upper half.
static WANTED: AtomicU64 = AtomicU64::new(0);

fn wait_for_event() {
    let wanted = WANTED.load(Ordering::SeqCst);
    let (port, times) = ((wanted >> 32) as u32, wanted as u32);
    arrives(port, times);
}

fn other_cpu() -> Outcome {
    if facts().cpus < 2 {
        return Err(Failure::Skipped("one CPU"));
    }
    ensure!(smp::ensure_running(1), "CPU 1 does not run");
    let registered = register_vcpu_info(1);
    ensure!(
        matches!(registered, 0 | -16),
        "register_vcpu_info gives {registered}"
    );
    if fifo::is_on() {
        ensure!(
            matches!(fifo::init_control(1, 0).0, 0 | EINVAL),
            "init_control for CPU 1"
        );
    }
    let (from, to) = quiet_pair()?;
    ensure_eq!(
        call(EVTCHNOP_BIND_VCPU, &mut BindVcpu { port: to, vcpu: 99 }),
        -2,
        "bind_vcpu 99"
    );
    ensure_eq!(
        call(EVTCHNOP_BIND_VCPU, &mut BindVcpu { port: to, vcpu: 1 }),
        0,
        "bind_vcpu 1"
    );
    let record = cpu::record(1);
    record.forget();
    let times = received(to) + 1;
    WANTED.store(u64::from(to) << 32 | u64::from(times), Ordering::SeqCst);
    smp::post(1, wait_for_event);
    ensure_eq!(send(from), 0, "send");
    ensure!(smp::finished(1), "CPU 1 does not come back");
    ensure_eq!(received(to), times, "events");
    ensure!(
        record.taken(facts().event_interrupt) >= 1,
        "CPU 1 took no interrupt"
    );
    close_all(&[from, to])
}

fn fifo_setup() -> Outcome {
    ensure_eq!(
        fifo::expand_array(),
        -95,
        "expand_array before init_control"
    );
    ensure_eq!(
        fifo::init_control(0, 4).0,
        EINVAL,
        "an offset that is not aligned"
    );
    ensure_eq!(
        fifo::init_control(0, 4096 - 64).0,
        EINVAL,
        "an offset too large"
    );
    ensure_eq!(fifo::init_control(99, 0).0, -2, "vCPU 99");
    ensure_eq!(
        fifo::init_control(0, 0),
        (0, 17),
        "init_control and its link bits"
    );
    fifo::set_on(true);
    ensure_eq!(fifo::init_control(0, 0).0, EINVAL, "init_control again");
    ensure_eq!(fifo::expand_array(), 0, "expand_array");
    Ok(())
}

fn fifo_masking() -> Outcome {
    let (from, to) = quiet_pair()?;
    let before = received(to);
    fifo::set_masked(to, true);
    send(from);
    with_upcalls(|| timer::delay(500));
    ensure_eq!(received(to), before, "events while masked");
    ensure!(fifo::is_pending(to), "the pending bit is 0");
    fifo::set_masked(to, false);
    ensure_eq!(unmask(to), 0, "unmask");
    ensure!(
        arrives(to, before + 1),
        "the event does not come once unmasked"
    );
    close_all(&[from, to])
}

fn fifo_priority() -> Outcome {
    let (late, early) = (quiet_pair()?, quiet_pair()?);
    for (port, priority) in [(late.1, 12), (early.1, 1)] {
        ensure_eq!(
            call(EVTCHNOP_SET_PRIORITY, &mut SetPriority { port, priority }),
            0,
            "set_priority"
        );
    }
    ensure_eq!(
        call(
            EVTCHNOP_SET_PRIORITY,
            &mut SetPriority {
                port: early.1,
                priority: 16
            }
        ),
        EINVAL,
        "priority 16"
    );
    let before = received(late.1);
    send(late.0);
    send(early.0);
    ensure!(
        arrives(late.1, before + 1),
        "the less urgent one does not come"
    );
    ensure!(
        order(early.1) < order(late.1),
        "the less urgent one comes first"
    );
    close_all(&[late.0, late.1, early.0, early.1])
}

fn reset() -> Outcome {
    let (from, to) = quiet_pair()?;
    ensure_eq!(
        call(EVTCHNOP_RESET, &mut Reset { dom: DOMID_SELF }),
        0,
        "reset"
    );
    fifo::set_on(false);
    ensure_eq!(send(from), EINVAL, "sending after it");
    ensure_eq!(close(to), EINVAL, "closing after it");
    Ok(())
}
