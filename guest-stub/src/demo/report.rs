// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the demonstration shows of pages, operations and caches.

use guest_stub::dma::{Device, DmaOps};

use super::mailbox::{PAGES, Set};
use super::peer::Peer;
use crate::console::println;
use crate::drivers::environment::dma;
use crate::machine::dma::{Maintenance, take_maintenance};
use crate::machine::dt;
use crate::text::Text;
use crate::xen::grant::Mapping;

/// Who this is.
pub(super) fn introduction() {
    println!("dom0: I am the initial domain and have the machine's disks. Domain 1 owns the pages that they will");
    println!("dom0: move data into and out of, without a copy: it grants them to me, and I map them.");
    for memory in dt::facts().memory.iter().filter(|memory| memory.size != 0) {
        println!(
            "dom0: my own memory, {:#x}-{:#x}, is at these same addresses in the machine",
            memory.base,
            memory.end()
        );
    }
}

/// Where the pages are, for each who has a say.
pub(super) fn pages(peer: &Peer) {
    println!("dom0: the same pages have three addresses; a disk understands only those of the machine:");
    println!("dom0:   page    of domain 1  where I map it  in the machine");
    let line = |name: &str, set: Set, mappings: &[Mapping; PAGES]| {
        for (index, mapping) in mappings.iter().enumerate() {
            let own = peer.frame(set, index) << 12;
            println!(
                "dom0:   {name} {index}  {own:#12x}  {:#14x}  {:#14x}",
                mapping.address,
                mapping.machine
            );
        }
    };
    line("out", Set::Out, &peer.out);
    line("in ", Set::In, &peer.r#in);
}

/// Which operations serve a device, and which are behind them.
pub(super) fn operations(device: &Device) -> Text<80> {
    let used = dma().get_dma_ops(Some(device)).name();
    let kept = device.archdata().dev_dma_ops.map(DmaOps::name);
    match kept {
        Some(kept) => Text::format(format_args!(
            "dev->dma_ops = {used}, archdata.dev_dma_ops = {kept}"
        )),
        None => {
            let own = device.dma_ops().map_or("none", DmaOps::name);
            Text::format(format_args!(
                "dev->dma_ops = {own}, get_dma_ops(dev) = {used}"
            ))
        }
    }
}

/// What was done for caches since this was asked last.
pub(super) fn maintenance() -> Maintenance {
    let done = take_maintenance();
    if done == Maintenance::default() {
        println!("dom0:   cache maintenance: none, the device sees caches");
        return done;
    }
    println!(
        "dom0:   cache maintenance: {} GNTTABOP_cache_flush (clean {} bytes, invalidate {}) for domain 1's pages",
        done.calls, done.cleaned_by_call, done.invalidated_by_call
    );
    done
}
