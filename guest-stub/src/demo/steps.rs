// SPDX-License-Identifier: MIT OR Apache-2.0
//! The steps: data to a disk and back, through pages of the domU's, and what goes wrong with the broken dispatch.
//!
//! What is where on a disk, in blocks of a page, `tests/src/demo.rs` knows too.

use guest_stub::dma::Dispatch;
use xen_abi::memory::{XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP};

use super::mailbox::{PAGES, Request, Set};
use super::peer::{self, Peer};
use super::{Problem, fail, pattern, report};
use crate::console::println;
use crate::drivers::{BLOCK, Disk, DiskError, Transfer};
use crate::machine::dma::Maintenance;
use crate::machine::{cache, pages};
use crate::text::Text;
use crate::xen::grant::Mapping;
use crate::xen::memory::reservation;

/// What the host has put on a disk.
const FROM_HOST: u64 = 0;
/// What the domU writes.
pub(super) const FROM_DOMU: u64 = 4;
/// What should be of the domU, and is not.
const FROM_BROKEN: u64 = 8;
/// What the domU writes at last.
pub(super) const FROM_DOMU_AGAIN: u64 = 12;

const ALL: usize = PAGES * BLOCK;

/// What people call a disk.
pub(super) type Name = Text<40>;

/// A disk and its name.
pub(super) struct Named<'d> {
    pub(super) disk: &'d mut dyn Disk,
    pub(super) name: Name,
}

impl<'d> Named<'d> {
    pub(super) fn new(disk: &'d mut dyn Disk, name: Name) -> Self {
        Self { disk, name }
    }

    fn transfer(
        &mut self,
        transfer: Transfer,
        block: u64,
        pages: &[Mapping],
    ) -> Result<(), Problem> {
        let mut addresses = [0; PAGES];
        for (address, page) in addresses.iter_mut().zip(pages) {
            *address = page.address;
        }
        let count = pages.len().min(PAGES);
        let done: Result<(), DiskError> =
            self.disk.transfer(transfer, block, &addresses[..count]);
        match done {
            Ok(()) => Ok(()),
            Err(error) => fail!("{}: {transfer:?} of block {block}: {error}", self.name),
        }
    }
}

/// Has the disk write the blocks from `block` on into the domU's pages: they must hold `seed`'s pattern.
fn read(peer: &Peer, disk: &mut Named<'_>, block: u64, seed: u64) -> Result<(), Problem> {
    peer.ask(Request::Fill(Set::In, pattern::OLD))?;
    disk.transfer(Transfer::Read, block, &peer.r#in)?;
    let seen = (0..PAGES)
        .map(|index| pattern::matching(peer.r#in[index].address, seed, index))
        .sum::<usize>();
    let seen_by_domu = peer.ask(Request::Count {
        set: Set::In,
        pages: PAGES,
        seed,
        from: 0,
    })?;
    println!("dom0:     of {ALL} bytes, I find {seen} right, domain 1 finds {seen_by_domu} right");
    if seen != ALL || seen_by_domu != ALL as u64 {
        fail!("{}: wrong data in domain 1's pages", disk.name);
    }
    Ok(())
}

/// From the host's file into the domU's pages.
pub(super) fn from_host(peer: &Peer, disk: &mut Named<'_>) -> Result<(), Problem> {
    println!("dom0:   disk -> pages \"in\": what the host has put on the disk");
    read(peer, disk, FROM_HOST, pattern::OF_HOST)
}

/// From the domU's pages to the disk, and back into other ones.
pub(super) fn there_and_back(
    peer: &Peer,
    disk: &mut Named<'_>,
    block: u64,
    seed: u64,
) -> Result<(), Problem> {
    peer.ask(Request::Fill(Set::Out, seed))?;
    println!("dom0:   pages \"out\" -> disk -> pages \"in\": what domain 1 has just written");
    disk.transfer(Transfer::Write, block, &peer.out)?;
    read(peer, disk, block, seed)
}

/// Judges the maintenance that was asked for while a disk moved data three times.
pub(super) fn judge_maintenance(disk: &Named<'_>, done: Maintenance) -> Result<(), Problem> {
    let is_coherent = disk.disk.device().is_dma_coherent();
    // A page read is invalidated before and after, a page written cleaned before.
    let expected = match is_coherent {
        true => (0, 0, 0),
        false => (5 * PAGES as u64, ALL as u64, 4 * ALL as u64),
    };
    let found = (done.calls, done.cleaned_by_call, done.invalidated_by_call);
    if found != expected {
        fail!("{}: cache maintenance {found:?}, not {expected:?}", disk.name);
    }
    Ok(())
}

/// The broken dispatch. The disk takes the address at which a page of the domU's is mapped for the machine's. There, in
/// the machine, is a page of dom0's own that is not in use: so nothing is harmed, and one can see what was done to it.
pub(super) fn broken(peer: &Peer, disk: &mut Named<'_>) -> Result<(), Problem> {
    let Some(page) = pages::allocate(1) else {
        fail!("no page to give up");
    };
    pattern::fill(page, pattern::OF_DOM0, 0);
    cache::clean(page, BLOCK as u64);
    peer.ask(Request::Fill(Set::In, pattern::OLD))?;
    expect_one("giving up", reservation(XENMEM_DECREASE_RESERVATION, page >> 12))?;
    let mapping = peer.map_first_at(page)?;
    println!(
        "dom0:   I give up my page at {page:#x} and map page \"in 0\" there. In the machine that one is at {:#x};",
        mapping.machine
    );
    println!("dom0:   at {page:#x} in the machine there is still my page, holding data of mine");

    // Both take the address for the machine's.
    disk.transfer(Transfer::Write, FROM_BROKEN, &[mapping])?;
    disk.transfer(Transfer::Read, FROM_HOST, &[mapping])?;
    report::maintenance();
    let untouched = peer.ask(Request::Count {
        set: Set::In,
        pages: 1,
        seed: pattern::OLD,
        from: 0,
    })?;

    peer::unmap(mapping)?;
    expect_one("taking back", reservation(XENMEM_POPULATE_PHYSMAP, page >> 12))?;
    cache::invalidate(page, BLOCK as u64);
    let stray = pattern::matching(page, pattern::OF_HOST, 0);
    println!("dom0:   disk -> page: the disk says that all went well. Domain 1 finds its {untouched} old bytes unchanged;");
    println!("dom0:     I take my page back: {stray} of {BLOCK} bytes in it are the disk's data");
    pages::free(page, 1);
    if untouched != BLOCK as u64 || stray != BLOCK {
        fail!("the stray data is not where it should be");
    }
    Ok(())
}

/// What the broken dispatch has written to the disk, read by one that is not broken.
pub(super) fn written_by_broken(peer: &Peer, disk: &mut Named<'_>) -> Result<(), Problem> {
    disk.transfer(Transfer::Read, FROM_BROKEN, &peer.r#in[..1])?;
    let leaked = pattern::matching(peer.r#in[0].address, pattern::OF_DOM0, 0);
    println!("dom0:   page -> disk: {leaked} of {BLOCK} bytes written to the disk are those of my page, not domain 1's");
    if leaked != BLOCK {
        fail!("{}: block {FROM_BROKEN} is not what lay in my page", disk.name);
    }
    Ok(())
}

fn expect_one(what: &str, done: i64) -> Result<(), Problem> {
    match done {
        1 => Ok(()),
        other => fail!("{what} a page: {other} pages done"),
    }
}

/// The line above what a dispatch does.
pub(super) fn headline(dispatch: Dispatch) {
    println!("dom0:");
    match dispatch {
        Dispatch::Archdata => {
            println!("dom0: == The fix: in the initial domain a device gets Xen's operations, which know where a foreign page is;");
            println!("dom0:    its own are kept in archdata.dev_dma_ops, for Xen's to call");
        }
        Dispatch::Broken => {
            println!("dom0: == The fault of 2017: get_dma_ops() takes the device's own operations first; Xen's are never asked,");
            println!("dom0:    and the disk is given the address at which I have mapped a page");
        }
        Dispatch::InitialDomainCheck => {
            println!("dom0: == The other way out: get_dma_ops() itself asks whether this is the initial domain");
        }
    }
}
