// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another domain's life, seen by the one that made it: it runs, pauses, shuts down, and is destroyed while we have its
//! pages, its grants and its events.

use core::sync::atomic::Ordering;

use xen_abi::Handle;
use xen_abi::domctl::{
    XEN_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_RESUMEDOMAIN,
    XEN_DOMCTL_UNPAUSEDOMAIN, XEN_DOMINF_BLOCKED, XEN_DOMINF_RUNNING,
};
use xen_abi::event::{
    AllocUnbound, BindInterdomain, BindVirq, EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN,
    EVTCHNOP_BIND_VIRQ, EVTCHNOP_STATUS, EVTCHNSTAT_INTERDOMAIN, EVTCHNSTAT_UNBOUND, Status,
};
use xen_abi::grant::{
    GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTMAP_HOST_MAP, GNTST_BAD_PAGE, GNTTABOP_COPY,
    GNTTABOP_MAP_GRANT_REF, GNTTABOP_UNMAP_GRANT_REF, GTF_PERMIT_ACCESS, GrantCopy, GrantCopyPtr,
    MapGrantRef, UnmapGrantRef,
};
use xen_abi::hypercall::{EVENT_CHANNEL_OP, GRANT_TABLE_OP, MEMORY_OP};
use xen_abi::memory::{AcquireResource, XENMEM_ACQUIRE_RESOURCE, XENMEM_RESOURCE_GRANT_TABLE};
use xen_abi::xen::{DOMID_SELF, VIRQ_DOM_EXC};

use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq, fail};
use super::domctl::Domu;
use super::errno::{EINVAL, ESRCH};
use crate::machine::dt::facts;
use crate::machine::mmio::{read64, write64};
use crate::machine::timer::{delay, wait_until};
use crate::xen::domctl::{
    BASE, DATA, NONE, PAGES, Program, domctl, free_pages, grant_to_us, info, load, map_foreign,
    word,
};
use crate::xen::event::{close, map_shared_info, send, shared_info};
use crate::xen::hypercall::{hypercall, operate};
use crate::xen::memory::remove_from_physmap;

/// A domain that is dead, was never shut down, nor paused, and is still referenced.
const DEAD: u32 = 0xffff_0103;
/// One that was paused.
const DEAD_PAUSED: u32 = 0xffff_010b;
/// A reference that is ours to use in the other's table.
const REFERENCE: u32 = 9;

pub(super) const CHECKS: &[Check] = &[
    check("it runs and pauses", runs),
    check("it waits", waits),
    check("it shuts down", shuts_down),
    check("it is destroyed while it runs", destroyed_running),
    check(
        "its page is mapped by a grant when it is destroyed",
        granted,
    ),
    check(
        "its page is mapped as foreign when it is destroyed",
        foreign,
    ),
    check("its grant table is mapped when it is destroyed", table),
    check("its event channel when it is destroyed", events),
    check("new uses of the dead one's grants", dead_granter),
    check("copies between two domains", copies),
    check("many domains, one after another", many),
];

/// Our frame number `n` that nothing is at.
fn window(n: u64) -> Result<u64, Failure> {
    let region = facts().extended_regions[0];
    if region.size == 0 {
        return Err(Failure::Skipped("no extended region in the device tree"));
    }
    Ok((region.base >> 12) + 0x100 + n)
}

/// Listens for `VIRQ_DOM_EXC`.
struct Exceptions(u32);

impl Exceptions {
    fn new() -> Result<Self, Failure> {
        map_shared_info();
        let mut bind = BindVirq {
            virq: VIRQ_DOM_EXC,
            vcpu: 0,
            port: 0,
        };
        match operate(EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, &mut bind) {
            0 => Ok(Self(bind.port)),
            error => fail!("bind_virq says {error}"),
        }
    }

    /// True if it comes within half a second, or came since this was last asked.
    fn comes(&self) -> bool {
        wait_until(500_000, || self.take())
    }

    fn take(&self) -> bool {
        let bit = 1 << (self.0 % 64);
        let word = &shared_info().pending[self.0 as usize / 64];
        word.fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }
}

impl Drop for Exceptions {
    fn drop(&mut self) {
        close(self.0);
    }
}

/// Looks, a hundredth of a second apart, that must find as many pages free.
const SETTLED: u32 = 30;

/// Pages that are free when nothing else frees some any more: a domain was made and destroyed, what we need to map
/// others' pages is there, and there was time.
fn settled_free_pages() -> Result<u64, Failure> {
    let domain = Domu::new()?;
    grant(&domain, window(1)?, REFERENCE, BASE + DATA)?;
    remove_from_physmap(window(1)?);
    let mapped = map(&domain, REFERENCE, window(2)?);
    ensure_eq!(mapped.status, 0, "mapping a grant");
    ensure_eq!(unmap(&mapped), 0, "unmapping it");
    drop(domain);
    let (mut free, mut since) = (free_pages(), 0);
    for _ in 0..200 {
        delay(10_000);
        let now = free_pages();
        since = if now == free { since + 1 } else { 0 };
        free = now;
        if since == SETTLED {
            return Ok(now);
        }
    }
    fail!("the number of free pages does not settle: {free}")
}

pub(super) fn start(domain: &Domu, program: Program, word: u64) -> Outcome {
    ensure_eq!(load(domain.0, program, word, window(0)?), 0, "loading it");
    ensure_eq!(
        domctl(XEN_DOMCTL_UNPAUSEDOMAIN, domain.0, &NONE),
        0,
        "unpause"
    );
    Ok(())
}

fn destroy(domain: &Domu) -> i64 {
    domctl(XEN_DOMCTL_DESTROYDOMAIN, domain.0, &NONE)
}

/// It is gone, and as many pages are free as before it was made: more, if those of one before it came back late.
fn gone(domain: &Domu, free: u64) -> Outcome {
    let id = domain.0;
    ensure!(
        wait_until(10_000_000, || info(id).is_err()),
        "it is still there: {:?}",
        info(id).map(|seen| (seen.flags, seen.tot_pages))
    );
    ensure_eq!(info(id).err(), Some(ESRCH), "getdomaininfo");
    ensure_eq!(destroy(domain), ESRCH, "destroying it again");
    ensure!(
        wait_until(10_000_000, || free_pages() >= free),
        "{} pages are free, not {free}",
        free_pages()
    );
    Ok(())
}

fn dead(domain: &Domu, flags: u32, pages: u64) -> Outcome {
    let seen = info(domain.0).map(|seen| (seen.flags, seen.tot_pages));
    ensure_eq!(seen, Ok((flags, pages)), "flags and tot_pages");
    Ok(())
}

fn runs() -> Outcome {
    let domain = Domu::new()?;
    let (id, at) = (domain.0, window(1)?);
    start(&domain, Program::Count, 5)?;
    ensure_eq!(map_foreign(id, BASE + DATA, at), 0, "mapping its page");
    ensure!(wait_until(2_000_000, || word(at) > 1000), "it does not run");
    ensure_eq!(domctl(XEN_DOMCTL_PAUSEDOMAIN, id, &NONE), 0, "pause");
    let stopped = word(at);
    ensure_eq!(info(id).map(|i| i.flags), Ok(0xffff_010a), "flags");
    delay(20_000);
    ensure_eq!(word(at), stopped, "its counter while it is paused");
    ensure!(info(id).is_ok_and(|i| i.cpu_time != 0), "it used no time");
    ensure_eq!(domctl(XEN_DOMCTL_UNPAUSEDOMAIN, id, &NONE), 0, "unpause");
    ensure!(
        wait_until(2_000_000, || word(at) > stopped + 1000),
        "it does not go on"
    );
    remove_from_physmap(at);
    Ok(())
}

fn waits() -> Outcome {
    let domain = Domu::new()?;
    start(&domain, Program::Sleep, 0)?;
    let blocked = || {
        info(domain.0).is_ok_and(|seen| {
            seen.flags & (XEN_DOMINF_BLOCKED | XEN_DOMINF_RUNNING) == XEN_DOMINF_BLOCKED
        })
    };
    ensure!(wait_until(2_000_000, blocked), "it is not blocked");
    ensure_eq!(info(domain.0).map(|i| i.flags), Ok(0xffff_0112), "flags");
    Ok(())
}

fn shuts_down() -> Outcome {
    let exceptions = Exceptions::new()?;
    let free = settled_free_pages()?;
    exceptions.take();
    let domain = Domu::new()?;
    start(&domain, Program::ShutDown, 1)?;
    ensure!(exceptions.comes(), "VIRQ_DOM_EXC did not come");
    // It may have been of a domain before.
    let flags = || info(domain.0).map(|i| i.flags);
    wait_until(10_000_000, || flags() == Ok(0x0001_0106));
    ensure_eq!(flags(), Ok(0x0001_0106), "flags");
    ensure_eq!(domctl(XEN_DOMCTL_PAUSEDOMAIN, domain.0, &NONE), 0, "pause");
    ensure_eq!(info(domain.0).map(|i| i.flags), Ok(0x0001_010e), "flags");
    ensure_eq!(
        domctl(XEN_DOMCTL_RESUMEDOMAIN, domain.0, &NONE),
        0,
        "resume"
    );
    ensure_eq!(info(domain.0).map(|i| i.flags), Ok(0xffff_010a), "flags");
    ensure_eq!(destroy(&domain), 0, "destroy");
    gone(&domain, free)
}

fn destroyed_running() -> Outcome {
    let exceptions = Exceptions::new()?;
    let free = settled_free_pages()?;
    exceptions.take();
    let domain = Domu::new()?;
    start(&domain, Program::Count, 0)?;
    delay(5_000);
    exceptions.take();
    ensure_eq!(destroy(&domain), 0, "destroy");
    ensure!(exceptions.comes(), "VIRQ_DOM_EXC did not come");
    gone(&domain, free)
}

/// Maps a domain's grant table at our frame `at`, and writes an entry for us.
fn grant(domain: &Domu, at: u64, reference: u32, gfn: u64) -> Outcome {
    let result = grant_to_us(domain.0, at, reference, gfn);
    ensure_eq!(result, 0, "acquiring its grant table");
    Ok(())
}

fn map(domain: &Domu, reference: u32, at: u64) -> MapGrantRef {
    let mut op = MapGrantRef {
        host_addr: at << 12,
        flags: GNTMAP_HOST_MAP,
        r#ref: reference,
        dom: domain.0,
        status: 99,
        handle: 0,
        dev_bus_addr: 0,
    };
    hypercall(
        GRANT_TABLE_OP,
        [GNTTABOP_MAP_GRANT_REF.into(), &raw mut op as u64, 1, 0, 0],
    );
    op
}

fn unmap(mapped: &MapGrantRef) -> i16 {
    let mut op = UnmapGrantRef {
        host_addr: mapped.host_addr,
        dev_bus_addr: 0,
        handle: mapped.handle,
        status: 99,
        _pad: 0,
    };
    hypercall(
        GRANT_TABLE_OP,
        [GNTTABOP_UNMAP_GRANT_REF.into(), &raw mut op as u64, 1, 0, 0],
    );
    op.status
}

fn granted() -> Outcome {
    let exceptions = Exceptions::new()?;
    let free = settled_free_pages()?;
    exceptions.take();
    let domain = Domu::new()?;
    let (entries, at) = (window(1)?, window(2)?);
    grant(&domain, entries, REFERENCE, BASE + DATA)?;
    remove_from_physmap(entries);
    start(&domain, Program::Count, 0)?;
    let mapped = map(&domain, REFERENCE, at);
    ensure_eq!(mapped.status, 0, "mapping the grant");
    ensure!(wait_until(2_000_000, || word(at) > 1000), "it does not run");
    exceptions.take();
    ensure_eq!(destroy(&domain), 0, "destroy");
    ensure!(exceptions.comes(), "VIRQ_DOM_EXC did not come");
    dead(&domain, DEAD, 1)?;
    ensure_eq!(destroy(&domain), 0, "destroying the dead one");
    exceptions.take();
    // The page is ours to use as long as it is mapped, and nobody else's.
    let last = word(at);
    write64((at << 12) + 8, 0x1234_5678);
    let other = Domu::new()?;
    delay(5_000);
    ensure_eq!(word(at), last, "the page after the death");
    ensure_eq!(read64((at << 12) + 8), 0x1234_5678, "what we wrote");
    drop(other);
    exceptions.take();
    ensure_eq!(unmap(&mapped), 0, "unmapping it");
    ensure!(exceptions.comes(), "VIRQ_DOM_EXC did not come again");
    gone(&domain, free)
}

fn foreign() -> Outcome {
    let exceptions = Exceptions::new()?;
    let free = settled_free_pages()?;
    exceptions.take();
    let domain = Domu::new()?;
    let (first, second) = (window(1)?, window(2)?);
    ensure_eq!(map_foreign(domain.0, BASE, first), 0, "mapping");
    ensure_eq!(map_foreign(domain.0, BASE + 1, second), 0, "mapping");
    ensure_eq!(
        map_foreign(domain.0, BASE + PAGES, window(3)?),
        EINVAL,
        "mapping what is not there"
    );
    write64(first << 12, 42);
    ensure_eq!(destroy(&domain), 0, "destroy");
    ensure!(exceptions.comes(), "VIRQ_DOM_EXC did not come");
    dead(&domain, DEAD_PAUSED, 2)?;
    ensure_eq!(
        map_foreign(domain.0, BASE, window(3)?),
        EINVAL,
        "mapping the dead one's"
    );
    ensure_eq!(read64(first << 12), 42, "the page");
    ensure_eq!(remove_from_physmap(second), 0, "unmapping the second");
    dead(&domain, DEAD_PAUSED, 1)?;
    ensure_eq!(remove_from_physmap(first), 0, "unmapping the first");
    ensure!(exceptions.comes(), "VIRQ_DOM_EXC did not come again");
    gone(&domain, free)
}

fn table() -> Outcome {
    let exceptions = Exceptions::new()?;
    let free = settled_free_pages()?;
    exceptions.take();
    let domain = Domu::new()?;
    let at = window(1)?;
    grant(&domain, at, REFERENCE, BASE)?;
    ensure_eq!(destroy(&domain), 0, "destroy");
    ensure!(exceptions.comes(), "VIRQ_DOM_EXC did not come");
    dead(&domain, DEAD_PAUSED, 0)?;
    ensure_eq!(remove_from_physmap(at), 0, "unmapping");
    ensure!(exceptions.comes(), "VIRQ_DOM_EXC did not come again");
    gone(&domain, free)
}

fn status(port: u32) -> (u32, u32) {
    let mut op = Status {
        dom: DOMID_SELF,
        _pad: 0,
        port,
        status: 99,
        vcpu: 0,
        u: [0; 2],
    };
    operate(EVENT_CHANNEL_OP, EVTCHNOP_STATUS, &mut op);
    (op.status, op.u[0] & 0xffff)
}

fn events() -> Outcome {
    let free = settled_free_pages()?;
    let domain = Domu::new()?;
    let mut alloc = AllocUnbound {
        dom: domain.0,
        remote_dom: DOMID_SELF,
        port: 0,
    };
    ensure_eq!(
        operate(EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, &mut alloc),
        0,
        "alloc_unbound"
    );
    let mut bind = BindInterdomain {
        remote_dom: domain.0,
        _pad: 0,
        remote_port: alloc.port,
        local_port: 0,
    };
    ensure_eq!(
        operate(EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, &mut bind),
        0,
        "bind_interdomain"
    );
    let port = bind.local_port;
    let id = u32::from(domain.0);
    ensure_eq!(status(port), (EVTCHNSTAT_INTERDOMAIN, id), "our port");
    ensure_eq!(destroy(&domain), 0, "destroy");
    ensure_eq!(status(port), (EVTCHNSTAT_UNBOUND, id), "our port after it");
    ensure_eq!(send(port), 0, "send");
    ensure_eq!(close(port), 0, "close");
    gone(&domain, free)
}

fn dead_granter() -> Outcome {
    let free = settled_free_pages()?;
    let domain = Domu::new()?;
    let (entries, at) = (window(1)?, window(2)?);
    grant(&domain, entries, REFERENCE, BASE + DATA)?;
    let other = BASE << 32 | u64::from(GTF_PERMIT_ACCESS);
    write64((entries << 12) + u64::from(REFERENCE + 1) * 8, other);
    remove_from_physmap(entries);
    let mapped = map(&domain, REFERENCE, at);
    ensure_eq!(mapped.status, 0, "mapping the grant");
    ensure_eq!(destroy(&domain), 0, "destroy");
    dead(&domain, DEAD_PAUSED, 1)?;
    let again = map(&domain, REFERENCE, window(3)?);
    ensure_eq!(again.status, 0, "a second mapping of what is mapped");
    ensure_eq!(unmap(&again), 0, "its end");
    let other = map(&domain, REFERENCE + 1, window(3)?);
    ensure_eq!(other.status, GNTST_BAD_PAGE, "a mapping of what is not");
    let mut acquire = AcquireResource {
        domid: domain.0,
        r#type: XENMEM_RESOURCE_GRANT_TABLE,
        id: 0,
        nr_frames: 1,
        pad: 0,
        frame: 0,
        frame_list: Handle(&raw const entries as u64),
    };
    let result = operate(MEMORY_OP, XENMEM_ACQUIRE_RESOURCE, &mut acquire);
    ensure_eq!(result, EINVAL, "acquiring its grant table");
    ensure_eq!(unmap(&mapped), 0, "unmapping it");
    gone(&domain, free)
}

fn copies() -> Outcome {
    let (first, second) = (Domu::new()?, Domu::new()?);
    for domain in [&first, &second] {
        grant(domain, window(1)?, REFERENCE, BASE + DATA)?;
        remove_from_physmap(window(1)?);
    }
    let side = |domain: &Domu| GrantCopyPtr {
        u: REFERENCE.into(),
        domid: domain.0,
        offset: 0,
        _pad: 0,
    };
    let mut op = GrantCopy {
        source: side(&first),
        dest: side(&second),
        len: 64,
        flags: GNTCOPY_SOURCE_GREF | GNTCOPY_DEST_GREF,
        status: 99,
        _pad: 0,
    };
    hypercall(
        GRANT_TABLE_OP,
        [GNTTABOP_COPY.into(), &raw mut op as u64, 1, 0, 0],
    );
    ensure_eq!(op.status, 0, "a copy that the control domain makes");
    Ok(())
}

/// As many as use each VMID of a machine with 8 bits of them more than once.
fn many() -> Outcome {
    let free = settled_free_pages()?;
    let mut last = 0;
    for _ in 0..300 {
        let domain = Domu::new()?;
        ensure!(domain.0 > last, "number {} comes after {last}", domain.0);
        last = domain.0;
        ensure_eq!(destroy(&domain), 0, "destroy");
    }
    ensure!(
        wait_until(10_000_000, || free_pages() >= free),
        "{} pages are free, not {free}",
        free_pages()
    );
    Ok(())
}
