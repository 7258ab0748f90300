// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grants between dom0 and another domain, and pages of another domain's that dom0 maps without.

use core::sync::atomic::Ordering;

use xen_abi::Handle;
use xen_abi::grant::{
    CacheFlush, GNTMAP_HOST_MAP, GNTMAP_READONLY, GNTTABOP_CACHE_FLUSH, GNTTABOP_MAP_GRANT_REF,
    GNTTABOP_UNMAP_GRANT_REF, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_WRITING,
    MapGrantRef, UnmapGrantRef,
};
use xen_abi::hypercall::{GRANT_TABLE_OP, MEMORY_OP, XEN_VERSION};
use xen_abi::memory::{AddToPhysmapBatch, XENMAPSPACE_GMFN_FOREIGN, XENMEM_ADD_TO_PHYSMAP_BATCH};
use xen_abi::xen::DOMID_SELF;

use super::call::{plain, with};
use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq};
use super::errno::{EFAULT, EINVAL};
use super::two::peer;
use crate::machine::exception::attempt;
use crate::machine::mmio::{read64, write64};
use crate::xen::gnttab::{
    Side, copy, copy_of, flags, fresh_window, map_table, map_with, operate, permit, revoke, unmap,
};
use crate::xen::mailbox::Command;
use crate::xen::memory::remove_from_physmap;
use crate::xen::page::Page;
use crate::xen::peer::Peer;

/// The peer's entry.
const REFERENCE: u32 = 20;
const READ: u32 = GNTMAP_HOST_MAP | GNTMAP_READONLY;

static PAGE: Page = Page::new();

/// A page of the peer's that dom0 has mapped.
struct Mapped {
    peer: Peer,
    /// Where the peer has it.
    theirs: u64,
    /// Where dom0 has it.
    own: u64,
    handle: u32,
    bus: u64,
}

/// Has the peer grant one of its pages to `domid`; where it has it.
fn grant(peer: Peer, entry: u16, domid: u16) -> u64 {
    let arguments = [REFERENCE.into(), entry.into(), domid.into(), 0];
    peer.ask(Command::Grant, &arguments) << 12
}

fn their_flags(peer: Peer) -> u64 {
    peer.ask(Command::Flags, &[REFERENCE.into()])
}

fn their_revoke(peer: Peer) -> u64 {
    peer.ask(Command::Revoke, &[REFERENCE.into()])
}

fn map(peer: Peer, map_flags: u32) -> MapGrantRef {
    let at = fresh_window();
    map_with(|map| {
        (map.host_addr, map.dom, map.r#ref, map.flags) = (at, peer.domid, REFERENCE, map_flags);
    })
}

/// Runs `body` with a page of the peer's mapped.
fn mapped(map_flags: u32, body: impl FnOnce(&Mapped) -> Outcome) -> Outcome {
    let peer = peer()?;
    let theirs = grant(peer, GTF_PERMIT_ACCESS, 0);
    let map = map(peer, map_flags);
    ensure_eq!(map.status, 0, "the status of mapping");
    let outcome = body(&Mapped {
        peer,
        theirs,
        own: map.host_addr,
        handle: map.handle,
        bus: map.dev_bus_addr,
    });
    let status = unmap(map.handle, map.host_addr);
    let busy = their_revoke(peer);
    outcome?;
    ensure_eq!(
        (status, busy),
        (0, 0),
        "the status of unmapping, bits of use"
    );
    Ok(())
}

/// The status of mapping an entry of the peer's with these flags, for this domain.
fn refused(entry: u16, domid: u16, map_flags: u32, want: i16) -> Outcome {
    let peer = peer()?;
    grant(peer, entry, domid);
    let map = map(peer, map_flags);
    if map.status == 0 {
        unmap(map.handle, map.host_addr);
    }
    their_revoke(peer);
    ensure_eq!(map.status, want, "the status");
    Ok(())
}

fn flush(a: u64) -> i64 {
    let flush = CacheFlush {
        a,
        offset: 0,
        length: 64,
        op: 3,
    };
    operate(GNTTABOP_CACHE_FLUSH, &mut [flush])
}

pub(super) const MAPPED: &[Check] = &[
    check("mapped: what the other domain writes is seen", || {
        mapped(GNTMAP_HOST_MAP, |m| {
            m.peer.write(m.theirs + 8, 0x1234_5678);
            ensure_eq!(read64(m.own + 8), 0x1234_5678, "a word");
            Ok(())
        })
    }),
    check("mapped: what dom0 writes is seen there", || {
        mapped(GNTMAP_HOST_MAP, |m| {
            write64(m.own + 16, 0x9abc_def0);
            ensure_eq!(m.peer.read(m.theirs + 16), Some(0x9abc_def0), "a word");
            Ok(())
        })
    }),
    check("mapped: the table there says reading and writing", || {
        mapped(GNTMAP_HOST_MAP, |m| {
            let want = GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING;
            ensure_eq!(their_flags(m.peer), want.into(), "flags");
            Ok(())
        })
    }),
    check("mapped read-only: the table there says reading", || {
        mapped(READ, |m| {
            let want = GTF_PERMIT_ACCESS | GTF_READING;
            ensure_eq!(their_flags(m.peer), want.into(), "flags");
            Ok(())
        })
    }),
    check(
        "mapped: the other domain cannot take the grant back",
        || {
            mapped(GNTMAP_HOST_MAP, |m| {
                ensure!(their_revoke(m.peer) != 0, "the entry is not in use");
                Ok(())
            })
        },
    ),
    check(
        "mapped: dev_bus_addr is a page's, and the same each time",
        || {
            mapped(GNTMAP_HOST_MAP, |m| {
                ensure_eq!(m.bus & 0xfff, 0, "dev_bus_addr within its page");
                ensure!(m.bus != 0, "dev_bus_addr is 0");
                let again = map(m.peer, GNTMAP_HOST_MAP);
                unmap(again.handle, again.host_addr);
                ensure_eq!(again.dev_bus_addr, m.bus, "dev_bus_addr the second time");
                Ok(())
            })
        },
    ),
    check("mapped: dev_bus_addr is none of dom0's own pages", || {
        mapped(GNTMAP_HOST_MAP, |m| {
            let image = crate::image_start() & !0xfff_ffff;
            ensure!(
                m.bus < image || m.bus >= image + 0x1000_0000,
                "dev_bus_addr is {:#x}",
                m.bus
            );
            Ok(())
        })
    }),
    check("mapped: no hypercall takes it for dom0's memory", || {
        mapped(GNTMAP_HOST_MAP, |m| {
            ensure_eq!(
                plain(XEN_VERSION, 1, m.own, 0),
                EFAULT,
                "XENVER_extraversion"
            );
            Ok(())
        })
    }),
    check("mapped: cache_flush by machine address", || {
        mapped(GNTMAP_HOST_MAP, |m| {
            ensure_eq!(flush(m.bus), 0, "cache_flush");
            Ok(())
        })
    }),
    check("mapped read-only: cache_flush by machine address", || {
        mapped(READ, |m| {
            ensure_eq!(flush(m.bus), 0, "cache_flush");
            Ok(())
        })
    }),
    check("unmapped: cache_flush is refused", || {
        let mut bus = 0;
        mapped(GNTMAP_HOST_MAP, |m| {
            bus = m.bus;
            Ok(())
        })?;
        ensure_eq!(flush(bus), EINVAL, "cache_flush");
        Ok(())
    }),
    check("unmapped: nothing is there", || {
        let mut own = 0;
        mapped(GNTMAP_HOST_MAP, |m| {
            own = m.own;
            Ok(())
        })?;
        ensure!(attempt(|| read64(own)).is_err(), "it can still be read");
        Ok(())
    }),
    check("mapped: its handle is dom0's alone", || {
        mapped(GNTMAP_HOST_MAP, |m| {
            let argument = UnmapGrantRef {
                host_addr: m.own,
                dev_bus_addr: 0,
                handle: m.handle,
                status: 99,
                _pad: 0,
            };
            let (_, unmap) = m
                .peer
                .with(GRANT_TABLE_OP, GNTTABOP_UNMAP_GRANT_REF, argument);
            ensure!(unmap.status != 0, "the other domain unmaps it");
            ensure!(attempt(|| read64(m.own)).is_ok(), "it is gone");
            Ok(())
        })
    }),
    check("a hundred mappings of one grant", || {
        let peer = peer()?;
        grant(peer, GTF_PERMIT_ACCESS, 0);
        let maps: [MapGrantRef; 100] = core::array::from_fn(|_| map(peer, GNTMAP_HOST_MAP));
        let good = maps.iter().filter(|map| map.status == 0).count();
        for map in maps.iter().filter(|map| map.status == 0) {
            unmap(map.handle, map.host_addr);
        }
        let busy = their_revoke(peer);
        ensure_eq!((good, busy), (100, 0), "mappings, bits of use");
        Ok(())
    }),
];

pub(super) const REFUSED: &[Check] = &[
    check("refused: an entry for another domain", || {
        refused(GTF_PERMIT_ACCESS, 5, GNTMAP_HOST_MAP, -1)
    }),
    check("refused: an entry for the granting domain itself", || {
        refused(GTF_PERMIT_ACCESS, 1, GNTMAP_HOST_MAP, -1)
    }),
    check("refused: an entry for DOMID_SELF", || {
        refused(GTF_PERMIT_ACCESS, DOMID_SELF, GNTMAP_HOST_MAP, -1)
    }),
    check("refused: writing a read-only grant", || {
        refused(GTF_PERMIT_ACCESS | GTF_READONLY, 0, GNTMAP_HOST_MAP, -1)
    }),
    check("granted: reading a read-only grant", || {
        refused(GTF_PERMIT_ACCESS | GTF_READONLY, 0, READ, 0)
    }),
    check("refused: an entry that is taken back", || {
        refused(0, 0, READ, -1)
    }),
    check("refused: a frame of another domain's in a copy", || {
        let peer = peer()?;
        let mut argument = copy_of(
            (Side::Frame(0x4_0000), 0),
            (Side::Frame(PAGE.frame()), 0),
            8,
        );
        argument.source.domid = peer.domid;
        ensure_eq!(copy(argument), -8, "the status");
        Ok(())
    }),
];

/// Copies eight bytes between the peer's granted page and dom0's; the status.
fn copy_between(peer: Peer, from_peer: bool) -> i16 {
    let theirs = (Side::Grant(peer.domid, REFERENCE), 8);
    let own = (Side::Frame(PAGE.frame()), 8);
    copy(if from_peer {
        copy_of(theirs, own, 8)
    } else {
        copy_of(own, theirs, 8)
    })
}

pub(super) const COPIES: &[Check] = &[
    check("copy: from another domain's grant", || {
        let peer = peer()?;
        let theirs = grant(peer, GTF_PERMIT_ACCESS, 0);
        peer.write(theirs + 8, 0x5151);
        let status = copy_between(peer, true);
        ensure_eq!((status, their_revoke(peer)), (0, 0), "status, bits of use");
        ensure_eq!(PAGE.0[1].load(Ordering::SeqCst), 0x5151, "a word");
        Ok(())
    }),
    check("copy: to another domain's grant", || {
        let peer = peer()?;
        let theirs = grant(peer, GTF_PERMIT_ACCESS, 0);
        PAGE.0[1].store(0x6262, Ordering::SeqCst);
        let status = copy_between(peer, false);
        ensure_eq!((status, their_revoke(peer)), (0, 0), "status, bits of use");
        ensure_eq!(peer.read(theirs + 8), Some(0x6262), "a word");
        Ok(())
    }),
    check("copy: from a read-only grant", || {
        let peer = peer()?;
        grant(peer, GTF_PERMIT_ACCESS | GTF_READONLY, 0);
        let status = copy_between(peer, true);
        their_revoke(peer);
        ensure_eq!(status, 0, "the status");
        Ok(())
    }),
    check("copy: to a read-only grant", || {
        let peer = peer()?;
        grant(peer, GTF_PERMIT_ACCESS | GTF_READONLY, 0);
        let status = copy_between(peer, false);
        their_revoke(peer);
        ensure_eq!(status, -1, "the status");
        Ok(())
    }),
    check("copy: from a grant for another domain", || {
        let peer = peer()?;
        grant(peer, GTF_PERMIT_ACCESS, 5);
        let status = copy_between(peer, true);
        their_revoke(peer);
        ensure_eq!(status, -1, "the status");
        Ok(())
    }),
];

/// Has the peer map entry 30 of dom0's, with these flags, at a free address of its own.
fn they_map(peer: Peer, map_flags: u32) -> MapGrantRef {
    let argument = MapGrantRef {
        host_addr: peer.ask(Command::Address, &[64]),
        flags: map_flags,
        r#ref: 30,
        dom: 0,
        status: 99,
        handle: 0,
        dev_bus_addr: 0,
    };
    peer.with(GRANT_TABLE_OP, GNTTABOP_MAP_GRANT_REF, argument)
        .1
}

fn they_unmap(peer: Peer, map: &MapGrantRef) -> i16 {
    let argument = UnmapGrantRef {
        host_addr: map.host_addr,
        dev_bus_addr: 0,
        handle: map.handle,
        status: 99,
        _pad: 0,
    };
    peer.with(GRANT_TABLE_OP, GNTTABOP_UNMAP_GRANT_REF, argument)
        .1
        .status
}

/// Runs `body` while the peer has dom0's page mapped.
fn they_have(map_flags: u32, body: impl FnOnce(Peer, &MapGrantRef) -> Outcome) -> Outcome {
    let peer = peer()?;
    let table = map_table();
    ensure!(matches!(table, 0 | -16), "mapping the table gives {table}");
    permit(30, peer.domid, PAGE.frame(), false);
    let map = they_map(peer, map_flags);
    ensure_eq!(map.status, 0, "the status of mapping");
    let outcome = body(peer, &map);
    let status = they_unmap(peer, &map);
    let busy = revoke(30);
    outcome?;
    ensure_eq!(
        (status, busy),
        (0, 0),
        "the status of unmapping, bits of use"
    );
    Ok(())
}

pub(super) const THEIRS: &[Check] = &[
    check("another domain maps dom0's page: it reads it", || {
        they_have(GNTMAP_HOST_MAP, |peer, map| {
            PAGE.0[4].store(0x4444, Ordering::SeqCst);
            ensure_eq!(peer.read(map.host_addr + 32), Some(0x4444), "a word");
            Ok(())
        })
    }),
    check("another domain maps dom0's page: it writes it", || {
        they_have(GNTMAP_HOST_MAP, |peer, map| {
            peer.write(map.host_addr + 40, 0x5555);
            ensure_eq!(PAGE.0[5].load(Ordering::SeqCst), 0x5555, "a word");
            Ok(())
        })
    }),
    check(
        "another domain maps dom0's page: dom0's table says so",
        || {
            they_have(READ, |_, _| {
                ensure_eq!(flags(30), GTF_PERMIT_ACCESS | GTF_READING, "flags");
                Ok(())
            })
        },
    ),
    check(
        "another domain maps dom0's page: dev_bus_addr is its machine address",
        || {
            they_have(GNTMAP_HOST_MAP, |_, map| {
                ensure_eq!(map.dev_bus_addr, PAGE.address(), "dev_bus_addr");
                Ok(())
            })
        },
    ),
    check(
        "another domain unmaps dom0's page: nothing is there",
        || {
            let mut at = 0;
            they_have(GNTMAP_HOST_MAP, |_, map| {
                at = map.host_addr;
                Ok(())
            })?;
            ensure_eq!(peer()?.read(at), None, "what it reads");
            Ok(())
        },
    ),
    check("another domain maps a grant for dom0 itself", || {
        let peer = peer()?;
        map_table();
        permit(30, 0, PAGE.frame(), false);
        let status = they_map(peer, GNTMAP_HOST_MAP).status;
        revoke(30);
        ensure_eq!(status, -1, "the status");
        Ok(())
    }),
];

/// Maps the page at `from` of the peer's by its frame; the entry's error and where.
fn foreign(peer: Peer, from: u64) -> Result<(i32, u64), Failure> {
    let at = fresh_window();
    let (idxs, gpfns, errs) = ([from >> 12], [at >> 12], [99_i32]);
    let argument = AddToPhysmapBatch {
        domid: DOMID_SELF,
        space: XENMAPSPACE_GMFN_FOREIGN as u16,
        size: 1,
        foreign_domid: peer.domid,
        idxs: Handle(&raw const idxs as u64),
        gpfns: Handle(&raw const gpfns as u64),
        errs: Handle(&raw const errs as u64),
    };
    let (answer, _) = with(MEMORY_OP, XENMEM_ADD_TO_PHYSMAP_BATCH, argument);
    ensure_eq!(answer, 0, "add_to_physmap_batch");
    Ok((core::hint::black_box(&errs)[0], at))
}

pub(super) const FOREIGN: &[Check] = &[
    check("foreign page: both see what is written", || {
        let peer = peer()?;
        let theirs = peer.ask(Command::Address, &[1]);
        let (error, own) = foreign(peer, theirs)?;
        ensure_eq!(error, 0, "the entry's error");
        peer.write(theirs, 0x7a7a);
        let read = read64(own);
        write64(own + 8, 0x8b8b);
        let removed = remove_from_physmap(own >> 12);
        ensure_eq!(read, 0x7a7a, "what dom0 reads");
        ensure_eq!(peer.read(theirs + 8), Some(0x8b8b), "what the other reads");
        ensure_eq!(removed, 0, "remove_from_physmap");
        Ok(())
    }),
    check("foreign page: gone once removed", || {
        let peer = peer()?;
        let (_, own) = foreign(peer, peer.ask(Command::Address, &[1]))?;
        remove_from_physmap(own >> 12);
        ensure!(attempt(|| read64(own)).is_err(), "it can still be read");
        Ok(())
    }),
    check(
        "foreign page: no hypercall takes it for dom0's memory",
        || {
            let peer = peer()?;
            let (_, own) = foreign(peer, peer.ask(Command::Address, &[1]))?;
            let answer = plain(XEN_VERSION, 1, own, 0);
            remove_from_physmap(own >> 12);
            ensure_eq!(answer, EFAULT, "XENVER_extraversion");
            Ok(())
        },
    ),
    check("foreign page: where the other domain has nothing", || {
        ensure_eq!(foreign(peer()?, 0x3a00_0000)?.0, -22, "the entry's error");
        Ok(())
    }),
    check(
        "foreign page: where the other domain has device registers",
        || {
            ensure_eq!(foreign(peer()?, 0x0300_1000)?.0, -22, "the entry's error");
            Ok(())
        },
    ),
];
