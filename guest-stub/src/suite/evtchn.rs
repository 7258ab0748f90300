// SPDX-License-Identifier: MIT OR Apache-2.0
//! `event_channel_op`: states and errors of every operation. Delivery is in `event.rs`.

use xen_abi::event::{
    AllocUnbound, BindInterdomain, BindIpi, BindVcpu, BindVirq, EVTCHNOP_ALLOC_UNBOUND,
    EVTCHNOP_BIND_INTERDOMAIN, EVTCHNOP_BIND_IPI, EVTCHNOP_BIND_PIRQ, EVTCHNOP_BIND_VCPU,
    EVTCHNOP_BIND_VIRQ, EVTCHNOP_EXPAND_ARRAY, EVTCHNOP_INIT_CONTROL, EVTCHNOP_RESET,
    EVTCHNOP_SET_PRIORITY, EVTCHNOP_STATUS, EVTCHNOP_UNMASK, ExpandArray, InitControl, Port, Reset,
    SetPriority, Status,
};
use xen_abi::hypercall::EVENT_CHANNEL_OP;
use xen_abi::xen::{
    DOMID_IO, DOMID_SELF, VIRQ_ARGO, VIRQ_CON_RING, VIRQ_CONSOLE, VIRQ_DEBUG, VIRQ_DEBUGGER,
    VIRQ_DOM_EXC, VIRQ_ENOMEM, VIRQ_MEM_EVENT, VIRQ_PCPU_STATE, VIRQ_TBUF, VIRQ_TIMER,
    VIRQ_XENOPROF, VIRQ_XENPMU,
};

use super::call::{NOBODY, answer, with};
use super::check::{Check, Failure, Outcome, check, ensure_eq, fail, rows};
use super::errno::{EEXIST, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, ESRCH};
use crate::machine::dt::facts;
use crate::xen::event::{alloc_unbound, close, connected_pair, send, unmask};

fn alloc(dom: u16, remote_dom: u16) -> (i64, u32) {
    let argument = AllocUnbound {
        dom,
        remote_dom,
        port: 0,
    };
    let (answer, alloc) = with(EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, argument);
    (answer, alloc.port)
}

/// The answer alone; a port that was made is closed.
fn alloc_answer(dom: u16, remote_dom: u16) -> i64 {
    let (answer, port) = alloc(dom, remote_dom);
    if answer == 0 {
        close(port);
    }
    answer
}

fn interdomain(remote_dom: u16, remote_port: u32) -> i64 {
    let argument = BindInterdomain {
        remote_dom,
        _pad: 0,
        remote_port,
        local_port: 0,
    };
    answer(EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, argument)
}

fn virq(virq: u32, vcpu: u32) -> (i64, u32) {
    let argument = BindVirq {
        virq,
        vcpu,
        port: 0,
    };
    let (answer, bind) = with(EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, argument);
    (answer, bind.port)
}

/// The answer to binding a VIRQ alone, and to binding it twice; what was bound is closed.
fn virq_twice(number: u32, vcpu: u32) -> (i64, i64) {
    let (first, port) = virq(number, vcpu);
    let (second, _) = virq(number, vcpu);
    if first == 0 {
        close(port);
    }
    (first, second)
}

fn ipi(vcpu: u32) -> (i64, u32) {
    let (answer, bind) = with(
        EVENT_CHANNEL_OP,
        EVTCHNOP_BIND_IPI,
        BindIpi { vcpu, port: 0 },
    );
    (answer, bind.port)
}

fn to_vcpu(port: u32, vcpu: u32) -> i64 {
    answer(
        EVENT_CHANNEL_OP,
        EVTCHNOP_BIND_VCPU,
        BindVcpu { port, vcpu },
    )
}

fn status_of(dom: u16, port: u32) -> (i64, Status) {
    let argument = Status {
        dom,
        _pad: 0,
        port,
        status: 99,
        vcpu: 99,
        u: [0; 2],
    };
    with(EVENT_CHANNEL_OP, EVTCHNOP_STATUS, argument)
}

/// Answer, status, vCPU of one of dom0's ports.
fn status(port: u32) -> (i64, u32, u32) {
    let (answer, status) = status_of(DOMID_SELF, port);
    (answer, status.status, status.vcpu)
}

fn priority(port: u32, priority: u32) -> i64 {
    answer(
        EVENT_CHANNEL_OP,
        EVTCHNOP_SET_PRIORITY,
        SetPriority { port, priority },
    )
}

fn control(vcpu: u32, offset: u32, control_gfn: u64) -> i64 {
    let argument = InitControl {
        control_gfn,
        offset,
        vcpu,
        link_bits: 0,
        _pad: [0; 7],
    };
    answer(EVENT_CHANNEL_OP, EVTCHNOP_INIT_CONTROL, argument)
}

fn reset(dom: u16) -> i64 {
    answer(EVENT_CHANNEL_OP, EVTCHNOP_RESET, Reset { dom })
}

const BEYOND: u32 = 1 << 17;

pub(super) const ANSWERS: &[Check] = rows! {
    "operation 15 is not there", answer(EVENT_CHANNEL_OP, 15, [0_u64; 4]) => ENOSYS;
    "operation ~0 is not there", answer(EVENT_CHANNEL_OP, u32::MAX, [0_u64; 4]) => ENOSYS;
    "EVTCHNOP_bind_pirq is not for Arm", answer(EVENT_CHANNEL_OP, EVTCHNOP_BIND_PIRQ, [0_u32; 3]) => EOPNOTSUPP;
    "EVTCHNOP_alloc_unbound for DOMID_SELF by DOMID_SELF", alloc_answer(DOMID_SELF, DOMID_SELF) => 0;
    "EVTCHNOP_alloc_unbound by number", alloc_answer(0, 0) => 0;
    "EVTCHNOP_alloc_unbound for a remote domain that is not", alloc_answer(DOMID_SELF, NOBODY) => ESRCH;
    "EVTCHNOP_alloc_unbound in a domain that is not", alloc_answer(NOBODY, DOMID_SELF) => ESRCH;
    "EVTCHNOP_alloc_unbound in DOMID_IO", alloc_answer(DOMID_IO, DOMID_SELF) => ESRCH;
    "EVTCHNOP_alloc_unbound: the first port is not 0", alloc_first() == 0 => false;
    "EVTCHNOP_bind_interdomain to a domain that is not", interdomain(NOBODY, 1) => ESRCH;
    "EVTCHNOP_bind_interdomain to port 0", interdomain(DOMID_SELF, 0) => EINVAL;
    "EVTCHNOP_bind_interdomain to a port beyond all", interdomain(DOMID_SELF, BEYOND) => EINVAL;
    "EVTCHNOP_bind_interdomain to port ~0", interdomain(DOMID_SELF, u32::MAX) => EINVAL;
    "EVTCHNOP_bind_virq of VIRQ_TIMER, a second time", virq_twice(VIRQ_TIMER, 0) => (0, EEXIST);
    "EVTCHNOP_bind_virq of VIRQ_DEBUG, a second time", virq_twice(VIRQ_DEBUG, 0) => (0, EEXIST);
    "EVTCHNOP_bind_virq of VIRQ_CONSOLE, a second time", virq_twice(VIRQ_CONSOLE, 0) => (0, EEXIST);
    "EVTCHNOP_bind_virq of VIRQ_DOM_EXC, a second time", virq_twice(VIRQ_DOM_EXC, 0) => (0, EEXIST);
    "EVTCHNOP_bind_virq of VIRQ_TBUF, a second time", virq_twice(VIRQ_TBUF, 0) => (0, EEXIST);
    "EVTCHNOP_bind_virq of VIRQ_DEBUGGER, a second time", virq_twice(VIRQ_DEBUGGER, 0) => (0, EEXIST);
    "EVTCHNOP_bind_virq of VIRQ_XENOPROF, a second time", virq_twice(VIRQ_XENOPROF, 0) => (0, EEXIST);
    "EVTCHNOP_bind_virq of VIRQ_CON_RING, a second time", virq_twice(VIRQ_CON_RING, 0) => (0, EEXIST);
    "EVTCHNOP_bind_virq of VIRQ_PCPU_STATE, a second time", virq_twice(VIRQ_PCPU_STATE, 0) => (0, EEXIST);
    "EVTCHNOP_bind_virq of VIRQ_MEM_EVENT, a second time", virq_twice(VIRQ_MEM_EVENT, 0) => (0, EEXIST);
    "EVTCHNOP_bind_virq of VIRQ_ARGO, a second time", virq_twice(VIRQ_ARGO, 0) => (0, EEXIST);
    "EVTCHNOP_bind_virq of VIRQ_ENOMEM, a second time", virq_twice(VIRQ_ENOMEM, 0) => (0, EEXIST);
    "EVTCHNOP_bind_virq of VIRQ_XENPMU, a second time", virq_twice(VIRQ_XENPMU, 0) => (0, EEXIST);
    "EVTCHNOP_bind_virq of the last VIRQ, 23", virq_twice(23, 0).0 => 0;
    "EVTCHNOP_bind_virq of VIRQ 24", virq(24, 0).0 => EINVAL;
    "EVTCHNOP_bind_virq of VIRQ ~0", virq(u32::MAX, 0).0 => EINVAL;
    "EVTCHNOP_bind_virq for a vCPU that is not", virq(VIRQ_DEBUG, 99).0 => ENOENT;
    "EVTCHNOP_bind_virq for vCPU ~0", virq(VIRQ_DEBUG, u32::MAX).0 => ENOENT;
    "EVTCHNOP_bind_virq of a global VIRQ for a vCPU that is not 0", virq(VIRQ_CONSOLE, 1).0 => EINVAL;
    "EVTCHNOP_bind_ipi for a vCPU that is not", ipi(99).0 => ENOENT;
    "EVTCHNOP_bind_ipi for vCPU ~0", ipi(u32::MAX).0 => ENOENT;
    "EVTCHNOP_close of port 0", close(0) => EINVAL;
    "EVTCHNOP_close of a port beyond all", close(BEYOND) => EINVAL;
    "EVTCHNOP_close of port ~0", close(u32::MAX) => EINVAL;
    "EVTCHNOP_send to port 0", send(0) => EINVAL;
    "EVTCHNOP_send to a port beyond all", send(BEYOND) => EINVAL;
    "EVTCHNOP_send to port ~0", send(u32::MAX) => EINVAL;
    "EVTCHNOP_unmask of a port beyond all", unmask(BEYOND) => EINVAL;
    "EVTCHNOP_unmask of port ~0", unmask(u32::MAX) => EINVAL;
    "EVTCHNOP_bind_vcpu of port 0", to_vcpu(0, 0) => EINVAL;
    "EVTCHNOP_bind_vcpu of a port beyond all", to_vcpu(BEYOND, 0) => EINVAL;
    "EVTCHNOP_bind_vcpu to a vCPU that is not", to_vcpu(1, 99) => ENOENT;
    "EVTCHNOP_status of port 0 is closed", (status(0).0, status(0).1) => (0, 0);
    "EVTCHNOP_status of a port beyond all", status(BEYOND).0 => EINVAL;
    "EVTCHNOP_status of port ~0", status(u32::MAX).0 => EINVAL;
    "EVTCHNOP_status in a domain that is not", status_of(NOBODY, 1).0 => ESRCH;
    "EVTCHNOP_status in DOMID_IO", status_of(DOMID_IO, 1).0 => ESRCH;
    "EVTCHNOP_reset of a domain that is not", reset(NOBODY) => ESRCH;
    "EVTCHNOP_reset of DOMID_IO", reset(DOMID_IO) => ESRCH;
    "EVTCHNOP_set_priority is of the FIFO ABI", two_level_priority() => ENOSYS;
    "EVTCHNOP_set_priority of a port beyond all", priority(BEYOND, 7) => EINVAL;
    "EVTCHNOP_init_control for a vCPU that is not", control(99, 0, 0) => ENOENT;
    "EVTCHNOP_init_control at an offset that is not aligned", control(0, 4, 0) => EINVAL;
    "EVTCHNOP_init_control at an offset too large", control(0, 4096 - 64, 0) => EINVAL;
    "EVTCHNOP_init_control at offset ~0", control(0, u32::MAX, 0) => EINVAL;
    "EVTCHNOP_init_control at a frame that is not there", control(0, 0, facts().grant_region.base >> 12) => EINVAL;
    "EVTCHNOP_init_control at device registers", control(0, 0, facts().gic.distributor() >> 12) => EINVAL;
    "EVTCHNOP_init_control at frame ~0", control(0, 0, u64::MAX) => EINVAL;
    "EVTCHNOP_expand_array before EVTCHNOP_init_control",
        answer(EVENT_CHANNEL_OP, EVTCHNOP_EXPAND_ARRAY, ExpandArray { array_gfn: 0 }) => EOPNOTSUPP;
};

fn alloc_first() -> u32 {
    let port = alloc_unbound().unwrap_or(0);
    close(port);
    port
}

fn two_level_priority() -> i64 {
    let port = alloc_unbound().unwrap_or(0);
    let answer = priority(port, 7);
    close(port);
    answer
}

pub(super) const STATES: &[Check] = &[
    check("closed: send, close and unmask", closed),
    check("unbound: its status names the remote domain", || {
        with_unbound(|port| {
            let (answer, status) = status_of(DOMID_SELF, port);
            ensure_eq!((answer, status.status, status.u[0]), (0, 1, 0), "status");
            Ok(())
        })
    }),
    check("unbound: its status by the domain's number", || {
        with_unbound(|port| {
            ensure_eq!(status_of(0, port).1.status, 1, "status");
            Ok(())
        })
    }),
    check("unbound: an event goes nowhere", || {
        with_unbound(|port| {
            ensure_eq!(send(port), 0, "send");
            Ok(())
        })
    }),
    check("unbound: it may be unmasked", || {
        with_unbound(|port| {
            ensure_eq!(unmask(port), 0, "unmask");
            Ok(())
        })
    }),
    check("unbound: it may move to a vCPU", || {
        with_unbound(|port| {
            ensure_eq!(to_vcpu(port, 0), 0, "bind_vcpu");
            ensure_eq!(to_vcpu(port, 99), ENOENT, "bind_vcpu to no vCPU");
            Ok(())
        })
    }),
    check("unbound: it closes once", || {
        let Ok(port) = alloc_unbound() else {
            fail!("no port");
        };
        ensure_eq!([close(port), close(port)], [0, EINVAL], "close, twice");
        Ok(())
    }),
    check("interdomain: it is bound once", || {
        with_pair(|from, to| {
            ensure_eq!(
                [interdomain(DOMID_SELF, from), interdomain(DOMID_SELF, to)],
                [EINVAL; 2],
                "binding an end again"
            );
            Ok(())
        })
    }),
    check("interdomain: each end's status names the other", || {
        with_pair(|from, to| {
            let ends = [from, to].map(|port| status_of(DOMID_SELF, port).1);
            ensure_eq!(ends.map(|end| end.status), [2; 2], "status");
            ensure_eq!(ends.map(|end| end.u), [[0, to], [0, from]], "the other end");
            Ok(())
        })
    }),
    check(
        "interdomain: the end that stays is unbound for the one that closed",
        || {
            with_pair(|from, to| {
                ensure_eq!(close(from), 0, "close");
                let (answer, left) = status_of(DOMID_SELF, to);
                ensure_eq!((answer, left.status, left.u[0]), (0, 1, 0), "status");
                ensure_eq!(send(to), 0, "send from the end that stays");
                Ok(())
            })
        },
    ),
    check("interdomain: an end that stayed can be bound again", || {
        with_pair(|from, to| {
            close(from);
            ensure_eq!(interdomain(DOMID_SELF, to), 0, "bind_interdomain");
            Ok(())
        })
    }),
    check("virq: its status names the VIRQ and vCPU", || {
        with_port(virq(VIRQ_DEBUG, 0), |port| {
            ensure_eq!(status(port), (0, 4, 0), "status");
            ensure_eq!(status_of(DOMID_SELF, port).1.u[0], VIRQ_DEBUG, "VIRQ");
            Ok(())
        })
    }),
    check("virq: nothing can be sent to it", || {
        with_port(virq(VIRQ_DEBUG, 0), |port| {
            ensure_eq!(send(port), EINVAL, "send");
            Ok(())
        })
    }),
    check("virq: one of a vCPU does not move", || {
        with_port(virq(VIRQ_DEBUG, 0), |port| {
            ensure_eq!(to_vcpu(port, 0), EINVAL, "bind_vcpu");
            Ok(())
        })
    }),
    check("virq: a global one moves", || {
        with_port(virq(VIRQ_CON_RING, 0), |port| {
            ensure_eq!(to_vcpu(port, 0), 0, "bind_vcpu");
            Ok(())
        })
    }),
    check("virq: closed, it can be bound again", || {
        with_port(virq(VIRQ_DEBUG, 0), |_| Ok(()))?;
        with_port(virq(VIRQ_DEBUG, 0), |_| Ok(()))
    }),
    check("ipi: its status names the vCPU", || {
        with_port(ipi(0), |port| {
            ensure_eq!(status(port), (0, 5, 0), "status");
            Ok(())
        })
    }),
    check("ipi: a vCPU may have several", || {
        with_port(ipi(0), |_| with_port(ipi(0), |_| Ok(())))
    }),
    check("ipi: it can be sent to", || {
        with_port(ipi(0), |port| {
            ensure_eq!(send(port), 0, "send");
            Ok(())
        })
    }),
    check("ipi: it does not move", || {
        with_port(ipi(0), |port| {
            ensure_eq!(to_vcpu(port, 0), EINVAL, "bind_vcpu");
            Ok(())
        })
    }),
    check(
        "a closed port's number is used again, the lowest first",
        || {
            with_unbound(|first| {
                with_unbound(|_| {
                    close(first);
                    let Ok(again) = alloc_unbound() else {
                        fail!("no port");
                    };
                    ensure_eq!(again, first, "the next port");
                    Ok(())
                })
            })
        },
    ),
    check("EVTCHNOP_reset closes every port", || {
        with_pair(|from, to| {
            ensure_eq!(reset(DOMID_SELF), 0, "reset");
            ensure_eq!(
                [status(from).1, status(to).1],
                [0; 2],
                "status of both ends"
            );
            Ok(())
        })
    }),
    check("EVTCHNOP_reset by number", || {
        ensure_eq!(reset(0), 0, "reset");
        Ok(())
    }),
];

fn with_port(made: (i64, u32), body: impl FnOnce(u32) -> Outcome) -> Outcome {
    let (answer, port) = made;
    ensure_eq!(answer, 0, "making the port");
    let outcome = body(port);
    close(port);
    outcome
}

fn with_unbound(body: impl FnOnce(u32) -> Outcome) -> Outcome {
    with_port(alloc(DOMID_SELF, DOMID_SELF), body)
}

fn with_pair(body: impl FnOnce(u32, u32) -> Outcome) -> Outcome {
    let Ok((from, to)) = connected_pair() else {
        return Err(Failure::Failed(crate::text::Text::format(format_args!(
            "no pair"
        ))));
    };
    let outcome = body(from, to);
    close(from);
    close(to);
    outcome
}

fn closed() -> Outcome {
    let port = alloc_first();
    ensure_eq!(
        [send(port), close(port), to_vcpu(port, 0)],
        [EINVAL; 3],
        "send, close, bind_vcpu"
    );
    let unmasked = answer(EVENT_CHANNEL_OP, EVTCHNOP_UNMASK, Port { port });
    ensure_eq!(unmasked, 0, "unmask");
    Ok(())
}
