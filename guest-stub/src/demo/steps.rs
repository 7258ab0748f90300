// SPDX-License-Identifier: MIT OR Apache-2.0
//! The steps: data to a disk and back, through pages of the domU's, and what goes wrong with the broken dispatch.
//!
//! What is where on a disk, in blocks of a page, `tests/src/demo.rs` knows too.

use xen_abi::memory::{XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP};

use super::mailbox::{PAGES, Request, Set};
use super::peer::{self, Peer};
use super::{Problem, fail, pattern, report};
use crate::console::println;
use crate::drivers::{BLOCK, Buffer, Disk, Transfer, environment};
use crate::machine::dma::{Maintenance, take_maintenance};
use crate::machine::{cache, pages};
use crate::text::Text;
use crate::xen::grant::Mapping;
use crate::xen::memory::reservation;
use guest_stub::dma::Dispatch;

/// What the host has put on a disk.
const FROM_HOST: u64 = 0;
/// What the domU writes.
const FROM_DOMU: u64 = 4;
/// What should be of the domU, and is not.
const FROM_BROKEN: u64 = 8;
/// What the domU writes at last.
const FROM_DOMU_AGAIN: u64 = 12;

/// Bytes of a set of pages.
const ALL: usize = PAGES * BLOCK;

/// What people call a disk.
pub(super) type Name = Text<40>;

/// A disk and its name.
pub(super) struct Named<'d> {
    pub(super) disk: &'d mut dyn Disk,
    pub(super) name: Name,
    /// Whether each transfer is shown. It is judged in any case, and shown if it is wrong.
    pub(super) is_shown: bool,
}

/// How the bytes of a transfer are to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Straight, the caches maintained by the hypervisor if the disk does not see them.
    Straight,
    /// By a bounce buffer.
    Bounced,
    /// Somewhere else: nobody knows that the pages are another domain's.
    Astray,
}

impl<'d> Named<'d> {
    pub(super) fn new(disk: &'d mut dyn Disk, name: Name) -> Self {
        Self {
            disk,
            name,
            is_shown: true,
        }
    }

    /// Moves data, shows what was done for it, and judges that.
    fn transfer(
        &mut self,
        transfer: Transfer,
        block: u64,
        buffers: &[Buffer],
        way: Way,
    ) -> Result<(), Problem> {
        take_maintenance();
        if let Err(error) = self.disk.transfer(transfer, block, buffers) {
            fail!("{}: {transfer:?} of block {block}: {error}", self.name);
        }
        let done = take_maintenance();
        let pages = buffers.iter().map(|buffer| buffer.pages).sum();
        let is_right = done == self.expected(transfer, pages, way);
        if self.is_shown || !is_right {
            report::transferred(transfer, pages, way, done);
        }
        if is_right {
            return Ok(());
        }
        fail!(
            "{}: {transfer:?}: not the right maintenance: {done:?}",
            self.name
        )
    }

    /// What is to be done for it: a page that a disk reads is cleaned before, one that it writes is invalidated before
    /// and after. A bounce buffer begins as a copy, which is cleaned in any case.
    fn expected(&self, transfer: Transfer, pages: usize, way: Way) -> Maintenance {
        let (pages, bytes) = (pages as u64, (pages * BLOCK) as u64);
        let nothing = Maintenance::default();
        let copies = match (way, transfer) {
            (Way::Bounced, Transfer::Read) => 2 * bytes,
            (Way::Bounced, Transfer::Write) => bytes,
            _ => 0,
        };
        let caches = match (way, transfer) {
            _ if self.disk.device().is_dma_coherent() => nothing,
            (Way::Straight, Transfer::Write) => Maintenance {
                calls: pages,
                cleaned_by_call: bytes,
                ..nothing
            },
            (Way::Straight, Transfer::Read) => Maintenance {
                calls: 2 * pages,
                invalidated_by_call: 2 * bytes,
                ..nothing
            },
            (Way::Bounced | Way::Astray, Transfer::Write) => Maintenance {
                cleaned: bytes,
                ..nothing
            },
            (Way::Bounced, Transfer::Read) => Maintenance {
                cleaned: bytes,
                invalidated: bytes,
                ..nothing
            },
            (Way::Astray, Transfer::Read) => Maintenance {
                invalidated: 2 * bytes,
                ..nothing
            },
        };
        Maintenance {
            copied: copies,
            ..caches
        }
    }
}

/// Pages, each a buffer.
fn each(mappings: &[Mapping; PAGES]) -> [Buffer; PAGES] {
    mappings.map(|mapping| Buffer {
        address: mapping.address,
        pages: 1,
    })
}

/// Pages that are mapped one behind the other, as one buffer.
fn one(mappings: &[Mapping; PAGES]) -> [Buffer; 1] {
    [Buffer {
        address: mappings[0].address,
        pages: PAGES,
    }]
}

/// Has the disk write its blocks from `block` on into the domU's pages: they must hold `seed`'s pattern then.
fn read(
    peer: &Peer,
    disk: &mut Named<'_>,
    (block, seed): (u64, u64),
    buffers: &[Buffer],
    way: Way,
) -> Result<(), Problem> {
    peer.ask(Request::Fill(Set::In, pattern::OLD))?;
    disk.transfer(Transfer::Read, block, buffers, way)?;
    let mine: usize = (0..)
        .zip(&peer.r#in)
        .map(|(index, page)| pattern::matching(page.address, seed, index))
        .sum();
    if disk.is_shown {
        println!("dom0:     I find {mine} of {ALL} bytes right");
    }
    let theirs = peer.count_in(PAGES, seed, disk.is_shown)?;
    if mine != ALL || theirs != ALL {
        fail!(
            "{}: wrong data in domain 1's pages: I find {mine} of {ALL} bytes right, it finds {theirs}",
            disk.name
        );
    }
    Ok(())
}

/// From the domU's pages to the disk, and back into other ones.
fn there_and_back(peer: &Peer, disk: &mut Named<'_>, block: u64, seed: u64) -> Result<(), Problem> {
    peer.ask(Request::Fill(Set::Out, seed))?;
    disk.transfer(Transfer::Write, block, &each(&peer.out), Way::Straight)?;
    read(peer, disk, (block, seed), &each(&peer.r#in), Way::Straight)
}

/// The fix, on disk `number`. Of the others than the first only the outcome is shown.
pub(super) fn fixed(peer: &Peer, disk: &mut Named<'_>, number: u64) -> Result<(), Problem> {
    disk.is_shown = number == 0;
    if disk.is_shown {
        report::disk(disk);
        println!(
            "dom0:   What the host put on the disk, into domain 1's pages; then domain 1's data to the disk and back:"
        );
    }
    let from_host = (FROM_HOST, pattern::OF_HOST);
    read(peer, disk, from_host, &each(&peer.r#in), Way::Straight)?;
    there_and_back(peer, disk, FROM_DOMU, pattern::OF_DOMU + number)?;
    if disk.is_shown {
        println!(
            "dom0:   The same with the pages as one buffer. They follow each other where I map them, not in the machine:"
        );
    }
    read(peer, disk, from_host, &one(&peer.r#in), Way::Bounced)?;
    if !disk.is_shown {
        report::the_same(disk);
    }
    Ok(())
}

/// The check in `get_dma_ops`.
pub(super) fn checked(peer: &Peer, disk: &mut Named<'_>) -> Result<(), Problem> {
    report::disk(disk);
    there_and_back(peer, disk, FROM_DOMU_AGAIN, pattern::OF_DOM0)
}

/// The broken dispatch. The disk takes the address at which a page of the domU's is mapped for the machine's. There, in
/// the machine, is a page of dom0's own that is not in use: so nothing is harmed, and one can see what was done to it.
pub(super) fn broken(peer: &Peer, disk: &mut Named<'_>) -> Result<(), Problem> {
    report::disk(disk);
    let Some(page) = pages::allocate(1) else {
        fail!("no page to give up");
    };
    pattern::fill(page, pattern::OF_DOM0, 0);
    cache::clean(page, BLOCK as u64);
    peer.ask(Request::Fill(Set::In, pattern::OLD))?;
    expect_one(
        "giving up",
        reservation(XENMEM_DECREASE_RESERVATION, page >> 12),
    )?;
    let mapping = peer.map_first_at(page)?;
    report::given_up(page, &mapping);

    let buffer = [Buffer {
        address: page,
        pages: 1,
    }];
    disk.transfer(Transfer::Write, FROM_BROKEN, &buffer, Way::Astray)?;
    disk.transfer(Transfer::Read, FROM_HOST, &buffer, Way::Astray)?;
    let right = peer.count_in(1, pattern::OF_HOST, true)?;
    let unchanged = peer.count_in(1, pattern::OLD, true)?;

    peer::unmap(mapping)?;
    expect_one(
        "taking back",
        reservation(XENMEM_POPULATE_PHYSMAP, page >> 12),
    )?;
    cache::invalidate(page, BLOCK as u64);
    let stray = pattern::matching(page, pattern::OF_HOST, 0);
    println!(
        "dom0:   I unmap it and take my own page back: {stray} of its {BLOCK} bytes are the disk's data."
    );
    pages::free(page, 1);
    if right != 0 || unchanged != BLOCK || stray != BLOCK {
        fail!("the stray data is not where it should be");
    }
    written_astray(peer, disk)
}

/// Shows what the broken dispatch has written to the disk, with one that is not broken.
fn written_astray(peer: &Peer, disk: &mut Named<'_>) -> Result<(), Problem> {
    environment::choose(Dispatch::Archdata);
    let page = peer.r#in[0].address;
    let buffer = [Buffer {
        address: page,
        pages: 1,
    }];
    println!("dom0:   And what is on the disk now? Again with the fix:");
    disk.transfer(Transfer::Read, FROM_BROKEN, &buffer, Way::Straight)?;
    let leaked = pattern::matching(page, pattern::OF_DOM0, 0);
    println!(
        "dom0:     {leaked} of {BLOCK} bytes are what my own page held, none is of domain 1's page"
    );
    if leaked != BLOCK {
        fail!(
            "{}: block {FROM_BROKEN} is not what lay in my page",
            disk.name
        );
    }
    Ok(())
}

fn expect_one(what: &str, done: i64) -> Result<(), Problem> {
    match done {
        1 => Ok(()),
        other => fail!("{what} a page: {other} pages done"),
    }
}
