// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the demonstration shows of pages, operations and caches.

use core::fmt;

use guest_stub::dma::{Device, Dispatch, DmaOps};

use super::mailbox::{DOMU, PAGES, Set};
use super::peer::Peer;
use super::steps::{Named, Way};
use crate::console::println;
use crate::drivers::environment::dma;
use crate::drivers::{BLOCK, Transfer};
use crate::machine::dma::Maintenance;
use crate::machine::dt;
use crate::xen::grant::Mapping;

/// Who this is.
pub(super) fn introduction() {
    println!(
        "dom0: I am the initial domain and have the machine's disks. They will move data straight into and out"
    );
    println!(
        "dom0: of pages that domain {DOMU} owns and grants to me. Each of us checks what is in them."
    );
    for memory in dt::facts().memory.iter().filter(|memory| memory.size != 0) {
        let (from, to) = (memory.base, memory.end());
        println!(
            "dom0: My own memory, {from:#x}-{to:#x}, has these same addresses in the machine. Theirs has not:"
        );
    }
}

/// Where the pages are, for each who has a say.
pub(super) fn pages(peer: &Peer) {
    println!(
        "dom0: Disks read from \"out\" pages, which domain {DOMU} fills, and write to \"in\" pages, which we both check."
    );
    println!(
        "dom0:   page   gfn of domain {DOMU}   gfn where I map it   machine address, which a disk needs"
    );
    let line = |name: &str, set: Set, mappings: &[Mapping; PAGES]| {
        for (index, mapping) in mappings.iter().enumerate() {
            println!(
                "dom0:   {name} {index}  {:#15x}   {:#18x}   {:#15x}",
                peer.frame(set, index),
                mapping.address >> 12,
                mapping.machine
            );
        }
    };
    line("out", Set::Out, &peer.out);
    line("in ", Set::In, &peer.r#in);
}

/// What a dispatch does.
pub(super) fn headline(dispatch: Dispatch) {
    println!("dom0:");
    match dispatch {
        Dispatch::Archdata => {
            println!(
                "dom0: == The fix. In the initial domain a device gets Xen's operations, which know the machine address of"
            );
            println!(
                "dom0:    a page that was mapped by grant. Its own are kept in archdata.dev_dma_ops, for Xen's to call."
            );
        }
        Dispatch::Broken => {
            println!(
                "dom0: == The fault of 2017. get_dma_ops() finds the device's own operations and never asks for Xen's, so"
            );
            println!(
                "dom0:    the disk is given the address where I map a page, as if that were its address in the machine."
            );
        }
        Dispatch::InitialDomainCheck => {
            println!(
                "dom0: == Way (a) of docs/dma.md, which was not taken. get_dma_ops() itself asks whether this is the initial"
            );
            println!("dom0:    domain, before it looks at the device.");
        }
    }
}

/// A disk, and the operations that serve it.
pub(super) fn disk(disk: &Named<'_>) {
    let device = disk.disk.device();
    println!("dom0: {} ({})", disk.name, sees(device));
    let name = |ops: Option<&'static dyn DmaOps>| ops.map_or("none", DmaOps::name);
    println!(
        "dom0:   dev->dma_ops: {}, archdata.dev_dma_ops: {}, get_dma_ops(dev): {}",
        name(device.dma_ops()),
        name(device.archdata().dev_dma_ops),
        dma().get_dma_ops(Some(device)).name()
    );
}

/// A disk of which nothing else was shown, since all was as with the first.
pub(super) fn the_same(disk: &Named<'_>) {
    let sees = sees(disk.disk.device());
    println!("dom0: {} ({sees}): the same, all right", disk.name);
}

fn sees(device: &Device) -> &'static str {
    match device.is_dma_coherent() {
        true => "coherent: it sees caches",
        false => "not coherent: it does not see caches",
    }
}

/// What was moved, and what was done to caches for it.
pub(super) fn transferred(transfer: Transfer, pages: usize, way: Way, done: Maintenance) {
    let direction = match (transfer, way) {
        (Transfer::Read, Way::Astray) => "disk -> page",
        (Transfer::Write, Way::Astray) => "page -> disk",
        (Transfer::Read, _) => "disk -> in",
        (Transfer::Write, _) => "out -> disk",
    };
    let bytes = pages * BLOCK;
    let shown = Shown {
        done,
        way,
        bytes: bytes as u64,
    };
    println!("dom0:   {direction}: {bytes} bytes; {shown}");
}

/// The page that is given up, and what is mapped in its place.
pub(super) fn given_up(page: u64, mapping: &Mapping) {
    let (gfn, machine) = (page >> 12, mapping.machine);
    println!(
        "dom0:   To do no harm, I give up a page of mine, gfn {gfn:#x}, and map page \"in 0\" there. Now gfn {gfn:#x}"
    );
    println!(
        "dom0:   is {machine:#x} in the machine, while at {page:#x} in the machine there is still my page."
    );
}

/// What was done for a transfer of so many bytes.
struct Shown {
    done: Maintenance,
    way: Way,
    bytes: u64,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = &self.done;
        let invalidated = match done.invalidated_by_call.max(done.invalidated) > self.bytes {
            true => " (each before and after)",
            false => "",
        };
        let cleaned = match self.way {
            Way::Bounced => " (the copy is cleaned first)",
            _ => "",
        };
        // Of what is bounced there is much to say.
        let join = match self.way {
            Way::Bounced => ",\ndom0:     ",
            _ => ", ",
        };
        let mut parts = 0;
        let mut part = |f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>| {
            parts += 1;
            f.write_str(if parts > 1 { join } else { "" })?;
            f.write_fmt(text)
        };
        if done.copied != 0 {
            let ways = match done.copied > self.bytes {
                true => " (there and back)",
                false => "",
            };
            let copied = done.copied;
            part(f, format_args!("bounced, {copied} bytes copied{ways}"))?;
        }
        if done.calls != 0 {
            part(f, format_args!("{} GNTTABOP_cache_flush", done.calls))?;
        }
        for (bytes, what, when) in [
            (done.cleaned_by_call, "cleaned", ""),
            (done.invalidated_by_call, "invalidated", invalidated),
            (done.cleaned, "cleaned by DC CVAC", cleaned),
            (done.invalidated, "invalidated by DC IVAC", invalidated),
        ] {
            if bytes != 0 {
                part(f, format_args!("{bytes} bytes {what}{when}"))?;
            }
        }
        if parts == 0 {
            f.write_str("no cache maintenance")?;
        }
        Ok(())
    }
}
