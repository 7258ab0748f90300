// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a toolstack gives to a domain besides memory and vCPUs: devices of the machine, VIRQs, a debugger, a target.

use xen_abi::domctl::*;
use xen_abi::event::{AllocUnbound, BindVirq, EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_VIRQ};
use xen_abi::hypercall::EVENT_CHANNEL_OP;
use xen_abi::sysctl::{DebugKeys, XEN_SYSCTL_DEBUG_KEYS};
use xen_abi::xen::{DOMID_SELF, VIRQ_CON_RING, VIRQ_DOM_EXC};
use xen_abi::{Handle, Payload};

use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq, fail};
use super::domctl::Domu;
use super::errno::{E2BIG, EBUSY, EILSEQ, EINVAL, EOPNOTSUPP, EPERM, ESRCH};
use super::vuart::{bind, comes, window, with_spis};
use crate::machine::dt::facts;
use crate::machine::timer::wait_until;
use crate::xen::domctl::{BASE, NONE, PAGES, Program, domctl, info, load, sysctl};
use crate::xen::event::{close, map_shared_info};
use crate::xen::hypercall::operate;

/// A domain that does not exist.
const NOBODY: u16 = 77;

pub(super) const CHECKS: &[Check] = &[
    check("iomem_permission", registers),
    check("memory_mapping", mapping),
    check("irq_permission and bind_pt_irq", interrupts),
    check("set_virq_handler", virqs),
    check("a VIRQ goes to another domain and back", virq_moves),
    check("subscribe", subscribe),
    check("setdebugging", debugging),
    check("set_target", target),
    check("VIRQ_CON_RING", log_grows),
];

/// Frame of a device that dom0 has: the machine's clock (PL031).
fn clock() -> u64 {
    if facts().is_juno { 0x1_c170 } else { 0x9010 }
}

/// Its interrupt.
fn clock_irq() -> u32 {
    if facts().is_juno { 100 } else { 34 }
}

/// Frame of one that is Xen's: the console.
fn console() -> u64 {
    if facts().is_juno { 0x7_ff80 } else { 0x9000 }
}

fn permit(id: u16, first_mfn: u64, nr_mfns: u64, allow_access: u8) -> i64 {
    let op = IomemPermission {
        first_mfn,
        nr_mfns,
        allow_access,
        _pad: [0; 7],
    };
    domctl(XEN_DOMCTL_IOMEM_PERMISSION, id, &op)
}

fn registers() -> Outcome {
    let domain = Domu::new()?;
    let id = domain.0;
    for (what, first, nr, answer) in [
        ("the clock", clock(), 1, 0),
        ("the console", console(), 1, EPERM),
        ("the clock, and what is around it", clock() - 16, 32, EPERM),
        ("RAM", facts().memory[0].base >> 12, 1, EPERM),
        ("nothing", clock(), 0, EINVAL),
        ("around the end", u64::MAX, 2, EINVAL),
        ("more than there is", clock(), u64::MAX, EINVAL),
        ("the last frame", u64::MAX, 1, EPERM),
        ("an address that is too high", 1 << 45, 1, EPERM),
    ] {
        ensure_eq!(permit(id, first, nr, 1), answer, "{what}, allowed");
        ensure_eq!(permit(id, first, nr, 0), answer, "{what}, denied");
    }
    Ok(())
}

fn map(id: u16, first_gfn: u64, first_mfn: u64, nr_mfns: u64, add_mapping: u32) -> i64 {
    let op = MemoryMapping {
        first_gfn,
        first_mfn,
        nr_mfns,
        add_mapping,
        padding: 0,
    };
    domctl(XEN_DOMCTL_MEMORY_MAPPING, id, &op)
}

fn mapping() -> Outcome {
    let domain = Domu::new()?;
    let id = domain.0;
    ensure_eq!(map(id, clock(), clock(), 1, 1), EPERM, "without permission");
    ensure_eq!(permit(id, clock(), 1, 7), 0, "iomem_permission");
    for (what, gfn, mfn, nr, add, answer) in [
        ("the clock", clock(), clock(), 1, 1, 0),
        ("the clock again", clock(), clock(), 1, 1, 0),
        ("over RAM", BASE, clock(), 1, 1, 0),
        ("elsewhere too", clock() + 16, clock(), 1, 2, 0),
        ("more than is permitted", clock(), clock(), 64, 1, EPERM),
        ("65 frames", clock(), clock(), 65, 1, E2BIG),
        ("nothing", clock(), clock(), 0, 1, EINVAL),
        (
            "beyond the guest's addresses",
            1 << 40,
            clock(),
            1,
            1,
            EINVAL,
        ),
        ("around the end", u64::MAX, clock(), 2, 1, EINVAL),
        ("out: another's", clock(), console(), 1, 0, EPERM),
        ("out", clock(), clock(), 1, 0, 0),
        ("out again", clock(), clock(), 1, 0, 0),
    ] {
        ensure_eq!(map(id, gfn, mfn, nr, add), answer, "{what}");
    }
    ensure_eq!(info(id).map(|i| i.tot_pages), Ok(PAGES), "tot_pages");
    ensure_eq!(permit(id, clock(), 1, 0), 0, "iomem_permission");
    ensure_eq!(map(id, clock(), clock(), 1, 1), EPERM, "after it");
    ensure_eq!(map(0, clock(), clock(), 1, 1), 0, "dom0's own");
    Ok(())
}

fn interrupts() -> Outcome {
    let domain = with_spis(128)?;
    let id = domain.0;
    for pirq in [0, 27, clock_irq(), 1000] {
        for allow_access in [0, 1] {
            let op = IrqPermission {
                pirq,
                allow_access,
                pad: [0; 3],
            };
            let answer = domctl(XEN_DOMCTL_IRQ_PERMISSION, id, &op);
            ensure_eq!(answer, EILSEQ, "irq_permission of {pirq}");
        }
    }
    let ask = |cmd, machine_irq, irq_type, spi| {
        let op = BindPtIrq {
            machine_irq,
            irq_type,
            spi,
            _rest: [0; 7],
        };
        domctl(cmd, id, &op)
    };
    let (clock, line) = (clock_irq(), clock_irq() as u16);
    let spi = PT_IRQ_TYPE_SPI;
    for (what, cmd, irq, kind, number, answer) in [
        (
            "bind of PCI's",
            XEN_DOMCTL_BIND_PT_IRQ,
            clock,
            0,
            line,
            EOPNOTSUPP,
        ),
        (
            "bind of kind 5",
            XEN_DOMCTL_BIND_PT_IRQ,
            clock,
            5,
            line,
            EOPNOTSUPP,
        ),
        (
            "bind as another",
            XEN_DOMCTL_BIND_PT_IRQ,
            clock,
            spi,
            line + 1,
            EINVAL,
        ),
        ("bind of a PPI", XEN_DOMCTL_BIND_PT_IRQ, 27, spi, 27, EPERM),
        (
            "bind of what is not",
            XEN_DOMCTL_BIND_PT_IRQ,
            2000,
            spi,
            2000,
            EPERM,
        ),
        (
            "bind of dom0's",
            XEN_DOMCTL_BIND_PT_IRQ,
            clock,
            spi,
            line,
            EBUSY,
        ),
        (
            "unbind as another",
            XEN_DOMCTL_UNBIND_PT_IRQ,
            clock,
            spi,
            line + 1,
            EINVAL,
        ),
        (
            "unbind of dom0's",
            XEN_DOMCTL_UNBIND_PT_IRQ,
            clock,
            spi,
            line,
            EINVAL,
        ),
    ] {
        ensure_eq!(ask(cmd, irq, kind, number), answer, "{what}");
    }
    Ok(())
}

fn handler(id: u16, virq: u32) -> i64 {
    domctl(XEN_DOMCTL_SET_VIRQ_HANDLER, id, &SetVirqHandler { virq })
}

fn virqs() -> Outcome {
    let domain = Domu::new()?;
    for virq in 0..26 {
        let global = !matches!(virq, 0 | 1 | 7 | 13 | 24 | 25);
        let answer = if global { 0 } else { EINVAL };
        ensure_eq!(handler(domain.0, virq), answer, "VIRQ {virq}");
        ensure_eq!(handler(0, virq), answer, "VIRQ {virq}, back");
    }
    Ok(())
}

fn listen(virq: u32) -> Result<u32, Failure> {
    map_shared_info();
    let mut bind = BindVirq {
        virq,
        vcpu: 0,
        port: 0,
    };
    match operate(EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, &mut bind) {
        0 => Ok(bind.port),
        error => fail!("bind_virq says {error}"),
    }
}

/// Runs a domain that shuts down at once with `reason`.
fn shut_down(domain: &Domu, reason: u64) -> Outcome {
    let at = window()?;
    ensure_eq!(
        load(domain.0, Program::ShutDown, reason, at),
        0,
        "loading it"
    );
    let unpaused = domctl(XEN_DOMCTL_UNPAUSEDOMAIN, domain.0, &NONE);
    ensure_eq!(unpaused, 0, "unpause");
    let code = || info(domain.0).map_or(0, |i| i.flags >> 16);
    ensure!(
        wait_until(2_000_000, || code() == reason as u32),
        "it does not"
    );
    Ok(())
}

fn virq_moves() -> Outcome {
    let (other, first) = (Domu::new()?, Domu::new()?);
    let port = listen(VIRQ_DOM_EXC)?;
    // Of domains that went before.
    while comes(port, 1_000_000) {}
    ensure_eq!(handler(other.0, VIRQ_DOM_EXC), 0, "set_virq_handler");
    shut_down(&first, 1)?;
    ensure!(!comes(port, 100_000), "it comes to us");
    // Who had it dies: it is ours again.
    drop(other);
    while comes(port, 500_000) {}
    let second = Domu::new()?;
    shut_down(&second, 1)?;
    ensure!(comes(port, 500_000), "it does not come back");
    close(port);
    Ok(())
}

fn subscribe() -> Outcome {
    let domain = Domu::new()?;
    let id = domain.0;
    let ask = |port| domctl(XEN_DOMCTL_SUBSCRIBE, id, &Subscribe { port });
    for port in [u32::MAX, 2000, 0] {
        ensure_eq!(ask(port), 0, "port {port}");
    }
    let exceptions = listen(VIRQ_DOM_EXC)?;
    let mut unbound = AllocUnbound {
        dom: id,
        remote_dom: 0,
        port: 0,
    };
    let result = operate(EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, &mut unbound);
    ensure_eq!(result, 0, "alloc_unbound");
    ensure_eq!(ask(unbound.port), 0, "subscribe");
    let ours = bind(id, unbound.port)?;
    comes(ours, 0);
    while comes(exceptions, 1_000_000) {}
    shut_down(&domain, 2)?;
    ensure!(comes(ours, 500_000), "its suspension is not told");
    ensure!(!comes(exceptions, 100_000), "VIRQ_DOM_EXC comes");
    close(ours);
    close(exceptions);
    Ok(())
}

fn debugging() -> Outcome {
    let domain = Domu::new()?;
    let set = |id, enable| domctl(XEN_DOMCTL_SETDEBUGGING, id, &SetDebugging { enable });
    for (enable, flags) in [(1, 0xffff_014a), (0, 0xffff_010a), (7, 0xffff_014a)] {
        ensure_eq!(set(domain.0, enable), 0, "setdebugging");
        ensure_eq!(info(domain.0).map(|i| i.flags), Ok(flags), "flags");
    }
    ensure_eq!(set(0, 1), EINVAL, "of our own");
    Ok(())
}

fn target() -> Outcome {
    let (domain, other) = (Domu::new()?, Domu::new()?);
    let set = |target| domctl(XEN_DOMCTL_SET_TARGET, domain.0, &SetTarget { target });
    ensure_eq!(set(NOBODY), ESRCH, "nobody");
    ensure_eq!(set(DOMID_SELF), ESRCH, "DOMID_SELF");
    ensure_eq!(set(domain.0), EINVAL, "itself");
    ensure_eq!(set(other.0), 0, "another");
    ensure_eq!(set(other.0), EINVAL, "the same again");
    ensure_eq!(set(0), EINVAL, "dom0 instead");
    Ok(())
}

fn log_grows() -> Outcome {
    let port = listen(VIRQ_CON_RING)?;
    while comes(port, 100_000) {}
    let keys = *b"h";
    let op = DebugKeys {
        keys: Handle(keys.as_ptr() as u64),
        nr_keys: 1,
        _pad: 0,
    };
    let (result, _): (_, Payload) = sysctl(XEN_SYSCTL_DEBUG_KEYS, &op);
    ensure_eq!(result, 0, "debug_keys");
    ensure!(comes(port, 2_000_000), "it does not come");
    while comes(port, 100_000) {}
    ensure!(!comes(port, 200_000), "it comes without new text");
    close(port);
    Ok(())
}
