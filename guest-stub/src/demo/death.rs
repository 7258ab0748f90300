// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain dies while a disk still writes into one of its pages, which dom0 has mapped by grant. Its page must stay
//! where it is until dom0 lets go: nobody else may get it, however much memory is asked for meanwhile.

use xen_abi::Handle;
use xen_abi::domctl::{XEN_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_MAX_MEM};
use xen_abi::event::{
    AllocUnbound, BindInterdomain, EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN,
};
use xen_abi::hypercall::EVENT_CHANNEL_OP;
use xen_abi::sysctl::{DebugKeys, XEN_SYSCTL_DEBUG_KEYS};

use super::mailbox::DOM0;
use super::steps::Named;
use super::{Problem, fail, pattern};
use crate::console::println;
use crate::drivers::{BLOCK, Buffer, Transfer, environment};
use crate::machine::dt::facts;
use crate::machine::mmio::{read64, write64};
use crate::machine::timer::{delay, wait_until};
use crate::xen::domctl::{
    BASE, DATA, NONE, PAGES, build, domctl, free_pages, grant_to_us, info, map_foreign, populate,
    sysctl,
};
use crate::xen::event::close;
use crate::xen::grant::{self, Access};
use crate::xen::hypercall::operate;
use crate::xen::memory::remove_from_physmap;
use crate::xen::page::Page;

/// Reference in the dying domain's table.
const REFERENCE: u32 = 9;
/// Pages of 2 MiB that the next domain is given, and their order.
const EXTENTS: u64 = 32;
const ORDER: u32 = 9;
/// Its pages in all.
const NEXT_PAGES: u64 = EXTENTS << ORDER;
/// `XEN_DOMINF_dying`.
const DYING: u32 = 1;
/// Microseconds that the disk, the hypervisor's freeing and the like may take.
const PATIENCE: u64 = 20_000_000;
/// `ESRCH`.
const GONE: i64 = -3;

/// A page of ours.
static OWN: Page = Page::new();

/// Our frame number `n` that nothing is at, beside where the demonstration maps pages.
fn window(n: u64) -> u64 {
    (facts().extended_regions[0].base >> 12) + 0x200 + n
}

/// A domain made for this, with one event channel to us.
struct Victim {
    id: u16,
    port: u32,
}

impl Victim {
    fn new() -> Result<Self, Problem> {
        let id = match build() {
            Ok(id) => id,
            Err((step, error)) => fail!("making a domain: {step} gives {error}"),
        };
        let mut theirs = AllocUnbound {
            dom: id,
            remote_dom: DOM0,
            port: 0,
        };
        let allocated = operate(EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, &mut theirs);
        let mut ours = BindInterdomain {
            remote_dom: id,
            _pad: 0,
            remote_port: theirs.port,
            local_port: 0,
        };
        let bound = operate(EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, &mut ours);
        if allocated != 0 || bound != 0 {
            fail!("an event channel with domain {id}: {allocated}, {bound}");
        }
        let granted = grant_to_us(id, window(0), REFERENCE, BASE + DATA);
        remove_from_physmap(window(0));
        if granted != 0 {
            fail!("writing into domain {id}'s grant table: {granted}");
        }
        Ok(Self {
            id,
            port: ours.local_port,
        })
    }

    fn destroy(&self) -> i64 {
        domctl(XEN_DOMCTL_DESTROYDOMAIN, self.id, &NONE)
    }

    /// It is known no more.
    fn is_gone(&self) -> bool {
        wait_until(PATIENCE, || info(self.id).err() == Some(GONE))
    }
}

/// What was seen while the disk was at work.
#[derive(Clone, Copy, Default)]
struct Seen {
    destroyed: i64,
    /// Flags and pages of the dead domain.
    dead: Option<(u32, u64)>,
    /// Bytes that the disk had not written when the domain was dead.
    unwritten: usize,
    /// The domain that was made then.
    next: Option<u16>,
}

/// Shows it.
pub(super) fn show(disk: &mut Named<'_>) -> Result<(), Problem> {
    println!("dom0:");
    println!(
        "dom0: == A domain dies under DMA. I have one of its pages mapped, and the disk writes to it."
    );
    // What is there for good after the first time: tables, handles, frames of the grant table.
    cycle(None)?;
    let free = settled();
    press_g();
    cycle(Some(disk))?;
    if !wait_until(PATIENCE, || free_pages() >= free) {
        fail!("{} pages are free, and {free} were before", free_pages());
    }
    press_g();
    println!("dom0:   It is gone, and as much is free as before it was made: {free} pages");
    println!("DEMO death: ok");
    Ok(())
}

/// A domain's life, with a disk that writes to its page when it ends.
fn cycle(disk: Option<&mut Named<'_>>) -> Result<(), Problem> {
    let victim = Victim::new()?;
    let address = window(1) << 12;
    let mapping = match grant::map(victim.id, REFERENCE, address, Access::ReadWrite) {
        Ok(mapping) => mapping,
        Err(status) => fail!("mapping the page of domain {}: {status}", victim.id),
    };
    let mut seen = Seen::default();
    let outcome = match disk {
        Some(disk) => {
            if environment::note_foreign(window(1), mapping.machine >> 12).is_err() {
                fail!("noting where {address:#x} is in the machine");
            }
            pattern::fill(address, pattern::OLD, 0);
            let outcome = under_dma(&victim, disk, address, &mut seen);
            environment::forget_foreign(window(1));
            outcome
        }
        None => {
            seen.destroyed = victim.destroy();
            Ok(())
        }
    };
    close(victim.port);
    if let Err(status) = grant::unmap(mapping) {
        fail!("unmapping the dead domain's page: {status}");
    }
    outcome?;
    if seen.destroyed != 0 || !victim.is_gone() {
        fail!(
            "destroying gives {}; domain {} is {:?}",
            seen.destroyed,
            victim.id,
            info(victim.id).map(|seen| (seen.flags, seen.tot_pages))
        );
    }
    Ok(())
}

fn under_dma(
    victim: &Victim,
    disk: &mut Named<'_>,
    address: u64,
    seen: &mut Seen,
) -> Result<(), Problem> {
    let buffers = [Buffer { address, pages: 1 }];
    let mut die = || {
        seen.destroyed = victim.destroy();
        let dead =
            |seen: &xen_abi::domctl::GetDomainInfo| seen.flags & DYING != 0 && seen.tot_pages == 1;
        wait_until(PATIENCE, || info(victim.id).is_ok_and(|seen| dead(&seen)));
        seen.dead = info(victim.id)
            .ok()
            .map(|seen| (seen.flags, seen.tot_pages));
        seen.next = next();
        seen.unwritten = pattern::matching(address, pattern::OLD, 0);
    };
    let name = disk.name;
    // The harness has made the disk slow: after this one, the next transfer takes seconds.
    let own = Buffer {
        address: OWN.address(),
        pages: 1,
    };
    if let Err(error) = disk.disk.transfer(Transfer::Read, 1, &[own]) {
        fail!("{name}: {error}");
    }
    if let Err(error) = disk
        .disk
        .transfer_while(Transfer::Read, 0, &buffers, &mut die)
    {
        fail!("{name}: {error}");
    }
    let arrived = pattern::matching(address, pattern::OF_HOST, 0);
    let Some((flags, pages)) = seen.dead else {
        fail!("domain {} is gone while its page is mapped", victim.id);
    };
    let Some(next) = seen.next else {
        fail!("no second domain could be made");
    };
    let untouched = check_next(next);
    domctl(XEN_DOMCTL_DESTROYDOMAIN, next, &NONE);
    println!(
        "dom0:   {name} was told to write to the page; then I destroyed domain {}.",
        victim.id
    );
    println!(
        "dom0:   It is dying (flags {flags:#x}) and has {pages} page yet, the one I have mapped, with {} of {BLOCK} old bytes.",
        seen.unwritten
    );
    println!(
        "dom0:   Domain {next} was made then, of {NEXT_PAGES} pages. The disk's data came: {arrived} of {BLOCK} bytes are in the dead"
    );
    println!(
        "dom0:   one's page, and {untouched} of {NEXT_PAGES} pages of the new one are as they were"
    );
    if flags & DYING == 0 || pages != 1 || arrived != BLOCK || untouched != NEXT_PAGES {
        fail!("the dead domain's page did not stay its own");
    }
    if seen.unwritten != BLOCK {
        fail!("the disk was too quick: it had written before the domain was dead");
    }
    Ok(())
}

/// Words of a page.
const WORDS: u64 = 512;

/// What word `index` of page `n` of the next domain is to be.
fn mark(n: u64, index: u64) -> u64 {
    pattern::OLD << 32 | n << 9 | index
}

/// A domain that takes much memory, each word with its own mark.
fn next() -> Option<u16> {
    let id = build().ok()?;
    let max_memkb = (NEXT_PAGES + PAGES + 16) * 4;
    let limit = xen_abi::domctl::MaxMem { max_memkb };
    let limited = domctl(XEN_DOMCTL_MAX_MEM, id, &limit);
    let first = BASE + (1 << ORDER);
    let populated = populate(id, first, EXTENTS, ORDER);
    (limited == 0 && populated == EXTENTS as i64).then_some(())?;
    for n in 0..NEXT_PAGES {
        (map_foreign(id, first + n, window(2)) == 0).then_some(())?;
        (0..WORDS).for_each(|index| write64((window(2) << 12) + index * 8, mark(n, index)));
        remove_from_physmap(window(2));
    }
    Some(id)
}

/// How many pages have their marks.
fn check_next(id: u16) -> u64 {
    let first = BASE + (1 << ORDER);
    let word = |index: u64| read64((window(2) << 12) + index * 8);
    let intact = |n: u64| {
        let mapped = map_foreign(id, first + n, window(2)) == 0;
        let intact = mapped && (0..WORDS).all(|index| word(index) == mark(n, index));
        remove_from_physmap(window(2));
        intact
    };
    (0..NEXT_PAGES).filter(|n| intact(*n)).count() as u64
}

/// Pages that are free when no more become free by themselves: Xen frees late.
fn settled() -> u64 {
    let mut free = free_pages();
    for _ in 0..100 {
        delay(20_000);
        free = free.max(free_pages());
    }
    free
}

/// Has the hypervisor show its counters (Xenolith) or grants (Xen).
fn press_g() {
    let key = b'g';
    let argument = DebugKeys {
        keys: Handle(&raw const key as u64),
        nr_keys: 1,
        _pad: 0,
    };
    let _: (i64, DebugKeys) = sysctl(XEN_SYSCTL_DEBUG_KEYS, &argument);
}
