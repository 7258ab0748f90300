// SPDX-License-Identifier: MIT OR Apache-2.0
//! The UART that a toolstack gives to a domain, whose other end is a console ring.

use core::sync::atomic::Ordering;

use xen_abi::domctl::*;
use xen_abi::event::{
    BindInterdomain, EVTCHNOP_BIND_INTERDOMAIN, EVTCHNOP_STATUS, EVTCHNSTAT_INTERDOMAIN,
    EVTCHNSTAT_UNBOUND, Status,
};
use xen_abi::hypercall::EVENT_CHANNEL_OP;
use xen_abi::zerocopy::FromZeros;

use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq, fail};
use super::domctl::Domu;
use super::errno::{EINVAL, EOPNOTSUPP, EPERM, ESRCH};
use crate::machine::dt::facts;
use crate::machine::mmio::{read8, read32, write8, write32};
use crate::machine::timer::wait_until;
use crate::xen::domctl::{
    BASE, NONE, PAGES, Program, build_as, command, domctl, info, load, map_foreign, plain,
};
use crate::xen::event::{close, map_shared_info, send, shared_info};
use crate::xen::hypercall::operate;
use crate::xen::memory::remove_from_physmap;

/// A domain that does not exist.
const NOBODY: u16 = 77;

pub(super) const CHECKS: &[Check] = &[
    check("vuart_op", vuart),
    check("vuart_op refuses", no_vuart),
    check("a UART's ring", ring),
];

/// Our frame that others' pages are mapped at.
pub(super) fn window() -> Result<u64, Failure> {
    let region = facts().extended_regions[0];
    if region.size == 0 {
        return Err(Failure::Skipped("no extended region in the device tree"));
    }
    Ok((region.base >> 12) + 0x120)
}

/// A built domain with that many SPIs.
pub(super) fn with_spis(nr_spis: u32) -> Result<Domu, Failure> {
    let mut config = plain();
    config.arch.nr_spis = nr_spis;
    match build_as(&config) {
        Ok(id) => Ok(Domu(id)),
        Err((step, error)) => fail!("{step} says {error}"),
    }
}

/// Frame of a built domain's console ring.
const RING: u64 = BASE + PAGES - 1;

fn uart(gfn: u64) -> VuartOp {
    VuartOp {
        cmd: XEN_DOMCTL_VUART_OP_INIT,
        r#type: XEN_DOMCTL_VUART_TYPE_VPL011,
        gfn,
        console_domid: 0,
        pad: [0; 2],
        evtchn: 0,
    }
}

/// What is said, and the port.
fn give(id: u16, op: &VuartOp) -> (i64, u32) {
    let (result, op) = command(XEN_DOMCTL_VUART_OP, id, op);
    (result, op.u.get::<VuartOp>().evtchn)
}

fn state(dom: u16, port: u32) -> (i64, u32) {
    let mut status = Status::new_zeroed();
    (status.dom, status.port) = (dom, port);
    let result = operate(EVENT_CHANNEL_OP, EVTCHNOP_STATUS, &mut status);
    (result, status.status)
}

pub(super) fn bind(remote_dom: u16, remote_port: u32) -> Result<u32, Failure> {
    let mut bind = BindInterdomain::new_zeroed();
    (bind.remote_dom, bind.remote_port) = (remote_dom, remote_port);
    match operate(EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, &mut bind) {
        0 => Ok(bind.local_port),
        error => fail!("bind_interdomain says {error}"),
    }
}

/// True if an event of our port comes, or came since this was last asked.
pub(super) fn comes(port: u32, within: u64) -> bool {
    let bit = 1 << (port % 64);
    let word = &shared_info().pending[port as usize / 64];
    wait_until(within, || word.fetch_and(!bit, Ordering::SeqCst) & bit != 0)
}

fn vuart() -> Outcome {
    let domain = with_spis(1)?;
    let id = domain.0;
    let (result, port) = give(id, &uart(RING));
    ensure_eq!(result, 0, "vuart_op");
    ensure_eq!(state(id, port), (0, EVTCHNSTAT_UNBOUND), "its port");
    ensure_eq!(info(id).map(|i| i.tot_pages), Ok(PAGES), "tot_pages");
    ensure_eq!(give(id, &uart(RING)).0, EINVAL, "a second one");
    let ours = bind(id, port)?;
    ensure_eq!(state(id, port), (0, EVTCHNSTAT_INTERDOMAIN), "its port");
    close(ours);
    ensure_eq!(
        state(id, port),
        (0, EVTCHNSTAT_UNBOUND),
        "its port, closed here"
    );
    ensure_eq!(domctl(XEN_DOMCTL_UNPAUSEDOMAIN, id, &NONE), 0, "unpause");
    ensure_eq!(give(id, &uart(RING)).0, EPERM, "one that runs");
    Ok(())
}

fn no_vuart() -> Outcome {
    let without = Domu::new()?;
    ensure_eq!(give(without.0, &uart(RING)).0, EINVAL, "without SPIs");
    ensure_eq!(give(0, &uart(BASE)).0, EPERM, "for dom0");
    let domain = with_spis(1)?;
    type Change = fn(&mut VuartOp);
    let refused: [(&str, i64, Change); 6] = [
        ("command 1", EINVAL, |op| op.cmd = 1),
        ("type 1", EOPNOTSUPP, |op| op.r#type = 1),
        ("padding", EINVAL, |op| op.pad[0] = 1),
        ("a hole", EINVAL, |op| op.gfn = BASE + 1000),
        ("frame ~0", EINVAL, |op| op.gfn = u64::MAX),
        ("served by nobody", ESRCH, |op| op.console_domid = NOBODY),
    ];
    for (what, errno, change) in refused {
        let mut op = uart(RING);
        change(&mut op);
        ensure_eq!(give(domain.0, &op).0, errno, "{what}");
    }
    ensure_eq!(give(domain.0, &uart(RING)).0, 0, "what is right");
    Ok(())
}

/// Offsets of the ring (`struct xencons_interface`).
const OUT: u64 = 1024;
const IN_CONS: u64 = 3072;
const IN_PROD: u64 = 3076;
const OUT_CONS: u64 = 3080;
const OUT_PROD: u64 = 3084;

/// The domain writes the first byte of its word, and then each that comes to it, plus one.
fn ring() -> Outcome {
    map_shared_info();
    let domain = with_spis(1)?;
    let (id, at) = (domain.0, window()?);
    let (result, port) = give(id, &uart(RING));
    ensure_eq!(result, 0, "vuart_op");
    ensure_eq!(
        load(id, Program::Echo, u64::from(b'X'), at),
        0,
        "loading it"
    );
    ensure_eq!(map_foreign(id, RING, at), 0, "mapping its ring");
    let page = at << 12;
    for offset in (0..4096).step_by(4) {
        write32(page + offset, 0);
    }
    let ours = bind(id, port)?;
    comes(ours, 0);
    ensure_eq!(domctl(XEN_DOMCTL_UNPAUSEDOMAIN, id, &NONE), 0, "unpause");
    ensure!(comes(ours, 2_000_000), "no event of what it wrote");
    ensure_eq!(read32(page + OUT_PROD), 1, "out_prod");
    ensure_eq!(read8(page + OUT), b'X', "what it wrote");
    write32(page + OUT_CONS, 1);
    for (n, byte) in (0..2000_u32).map(|n| (n, n as u8)) {
        write8(page + u64::from(n % 1024), byte);
        write32(page + IN_PROD, n + 1);
        send(ours);
        let echoed = || read32(page + OUT_PROD) == n + 2;
        ensure!(wait_until(2_000_000, echoed), "no answer to byte {n}");
        let there = page + OUT + u64::from((n + 1) % 2048);
        ensure_eq!(read8(there), byte.wrapping_add(1), "its answer");
        write32(page + OUT_CONS, n + 2);
    }
    ensure_eq!(read32(page + IN_CONS), 2000, "in_cons");
    // Indexes that make no sense hurt nobody but the domain.
    for offset in [IN_CONS, IN_PROD, OUT_CONS, OUT_PROD] {
        write32(page + offset, 0x8000_0000 + offset as u32 * 7919);
        send(ours);
    }
    remove_from_physmap(at);
    close(ours);
    Ok(())
}
