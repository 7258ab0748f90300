// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0's part: it leads through the steps, and judges.

use guest_stub::dma::Dispatch;
use xen_abi::version::XENFEAT_DIRECT_MAPPED;

use super::disks::Disks;
use super::peer::Peer;
use super::{Problem, death, fail, report, steps, wait};
use crate::console::println;
use crate::drivers::environment;
use crate::xen::version::has_feature;

/// Goes through all steps, or through the one that `which` names: `fixed`, `broken`, `check`, or
/// `death`, which is not among all: it takes a disk that is slow.
pub(super) fn run(which: &str) -> Result<(), Problem> {
    if !has_feature(XENFEAT_DIRECT_MAPPED) {
        fail!("dom0 is not direct-mapped");
    }
    environment::start(true);
    let shared = wait::start();
    if shared != 0 {
        fail!("mapping the shared page gives {shared}");
    }
    report::introduction();
    let mut disks = Disks::find()?;
    let peer = Peer::connect()?;
    report::pages(&peer);
    let mut chosen = STEPS
        .iter()
        .filter(|(name, _)| which == *name || which.is_empty() && *name != "death")
        .peekable();
    if chosen.peek().is_none() {
        fail!("there is no step {which}: fixed, broken, check and death are");
    }
    for (_, step) in chosen {
        step(&peer, &mut disks)?;
    }
    peer.disconnect()?;
    println!("DEMO: passed");
    Ok(())
}

type Step = fn(&Peer, &mut Disks) -> Result<(), Problem>;

/// By name, in order.
const STEPS: [(&str, Step); 4] = [
    ("fixed", fixed),
    ("broken", broken),
    ("check", check),
    ("death", death),
];

/// With the fix, all disks do as they should.
fn fixed(peer: &Peer, disks: &mut Disks) -> Result<(), Problem> {
    start(Dispatch::Archdata);
    disks.last()?;
    for (number, mut disk) in (0..).zip(disks.all()) {
        steps::fixed(peer, &mut disk, number)?;
    }
    println!("DEMO fixed: ok");
    Ok(())
}

/// Without it, the last disk does not.
fn broken(peer: &Peer, disks: &mut Disks) -> Result<(), Problem> {
    start(Dispatch::Broken);
    steps::broken(peer, &mut disks.last()?)?;
    println!("DEMO broken: shown");
    Ok(())
}

/// The proposal that was not taken works, too.
fn check(peer: &Peer, disks: &mut Disks) -> Result<(), Problem> {
    start(Dispatch::InitialDomainCheck);
    steps::checked(peer, &mut disks.last()?)?;
    println!("DEMO check: ok");
    Ok(())
}

/// A domain dies under DMA.
fn death(_: &Peer, disks: &mut Disks) -> Result<(), Problem> {
    environment::choose(Dispatch::Archdata);
    death::show(&mut disks.last()?)
}

fn start(dispatch: Dispatch) {
    environment::choose(dispatch);
    report::headline(dispatch);
}
