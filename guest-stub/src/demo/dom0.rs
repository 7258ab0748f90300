// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0's part: it finds the disks, leads through the steps, and judges.

use guest_stub::dma::Dispatch;
use xen_abi::version::XENFEAT_DIRECT_MAPPED;

use super::peer::Peer;
use super::steps::{self, Name, Named};
use super::{Problem, fail, report, wait};
use crate::console::println;
use crate::drivers::nvme::{self, Nvme};
use crate::drivers::virtio::{self, MmioDisk, PciDisk};
use crate::drivers::{DiskError, environment, pci};
use crate::machine::dt;
use crate::xen::version::has_feature;

/// The disks of the machine, one of a kind, with their names.
#[derive(Default)]
struct Disks {
    mmio: Option<(MmioDisk, Name)>,
    pci: Option<(PciDisk, Name)>,
    nvme: Option<(Nvme, Name)>,
}

/// Goes through all steps, or through the one that `which` names: `fixed`, `broken` or `check`.
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
    let mut disks = Disks::default();
    if let Err(error) = disks.find() {
        fail!("looking for disks: {error}");
    }
    let peer = Peer::connect()?;
    report::pages(&peer);
    let steps: [(&str, Step); 3] = [("fixed", fixed), ("broken", broken), ("check", check)];
    for (name, step) in steps {
        if which.is_empty() || which == name {
            step(&peer, &mut disks)?;
        }
    }
    peer.disconnect()?;
    println!("DEMO: passed");
    Ok(())
}

type Step = fn(&Peer, &mut Disks) -> Result<(), Problem>;

impl Disks {
    fn find(&mut self) -> Result<(), DiskError> {
        self.mmio = virtio::find_mmio()?.map(|(disk, registers)| {
            let name = format_args!("virtio-blk on MMIO at {registers:#x}");
            (disk, Name::format(name))
        });
        let Some(host) = dt::facts().pci else {
            return Ok(());
        };
        let Some(mut bus) = pci::Bus::new(&host) else {
            return Ok(());
        };
        let is_coherent = host.node.is_coherent;
        for function in bus.functions().iter().flatten() {
            let name = |kind| Name::format(format_args!("{kind} on PCI at {}", function.address));
            if self.pci.is_none() {
                let disk = virtio::find_pci(&mut bus, function, is_coherent)?;
                self.pci = disk.map(|disk| (disk, name("virtio-blk")));
            }
            if self.nvme.is_none() {
                let disk = nvme::find(&mut bus, function, is_coherent)?;
                self.nvme = disk.map(|disk| (disk, name("NVMe")));
            }
        }
        Ok(())
    }

    /// All there are.
    fn all(&mut self) -> impl Iterator<Item = Named<'_>> {
        let mmio = self
            .mmio
            .as_mut()
            .map(|(disk, name)| Named::new(disk, *name));
        let pci = self
            .pci
            .as_mut()
            .map(|(disk, name)| Named::new(disk, *name));
        let nvme = self
            .nvme
            .as_mut()
            .map(|(disk, name)| Named::new(disk, *name));
        [mmio, pci, nvme].into_iter().flatten()
    }

    /// The one that says least about itself: it is given plain addresses.
    fn last(&mut self) -> Result<Named<'_>, Problem> {
        match self.all().last() {
            Some(disk) => Ok(disk),
            None => fail!("there is no disk"),
        }
    }
}

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

fn start(dispatch: Dispatch) {
    environment::choose(dispatch);
    report::headline(dispatch);
}
