// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0's part: it finds the disks, leads through the steps, and judges.

use guest_stub::dma::Dispatch;
use xen_abi::version::XENFEAT_DIRECT_MAPPED;

use super::peer::Peer;
use super::steps::{self, Name, Named};
use super::{Problem, fail, pattern, report, wait};
use crate::console::println;
use crate::drivers::nvme::{self, Nvme};
use crate::drivers::virtio::{self, MmioDisk, PciDisk};
use crate::drivers::{DiskError, environment, pci};
use crate::machine::dma::take_maintenance;
use crate::machine::dt;
use crate::xen::version::has_feature;

/// The disks of the machine, one of a kind, with their names.
#[derive(Default)]
struct Disks {
    mmio: Option<(MmioDisk, Name)>,
    pci: Option<(PciDisk, Name)>,
    nvme: Option<(Nvme, Name)>,
}

pub(super) fn run() -> Result<(), Problem> {
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
    fixed(&peer, &mut disks)?;
    broken(&peer, &mut disks)?;
    other_way(&peer, &mut disks)?;
    peer.disconnect()?;
    println!("DEMO: passed");
    Ok(())
}

impl Disks {
    fn find(&mut self) -> Result<(), DiskError> {
        self.mmio = virtio::find_mmio()?.map(|(disk, registers)| {
            let name = format_args!("virtio-blk, registers at {registers:#x}");
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
            let name = |kind| Name::format(format_args!("{kind}, PCI {}", function.address));
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
        let mmio = self.mmio.as_mut().map(|(disk, name)| Named::new(disk, *name));
        let pci = self.pci.as_mut().map(|(disk, name)| Named::new(disk, *name));
        let nvme = self.nvme.as_mut().map(|(disk, name)| Named::new(disk, *name));
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

fn introduce(disk: &Named<'_>) {
    let device = disk.disk.device();
    let sees = match device.is_dma_coherent() {
        true => "coherent: it sees caches",
        false => "not coherent: it sees memory alone",
    };
    println!("dom0: {} ({sees})", disk.name);
    println!("dom0:   {}", report::operations(device));
}

/// With the fix, all disks do as they should.
fn fixed(peer: &Peer, disks: &mut Disks) -> Result<(), Problem> {
    steps::headline(Dispatch::Archdata);
    disks.last()?;
    for (number, mut disk) in (0..).zip(disks.all()) {
        introduce(&disk);
        take_maintenance();
        steps::from_host(peer, &mut disk)?;
        let seed = pattern::OF_DOMU + number;
        steps::there_and_back(peer, &mut disk, steps::FROM_DOMU, seed)?;
        steps::judge_maintenance(&disk, report::maintenance())?;
    }
    println!("DEMO fixed: ok");
    Ok(())
}

/// Without it, the last disk does not.
fn broken(peer: &Peer, disks: &mut Disks) -> Result<(), Problem> {
    environment::choose(Dispatch::Broken);
    steps::headline(Dispatch::Broken);
    let mut disk = disks.last()?;
    introduce(&disk);
    steps::broken(peer, &mut disk)?;
    environment::choose(Dispatch::Archdata);
    steps::written_by_broken(peer, &mut disk)?;
    println!("DEMO broken: shown");
    Ok(())
}

/// The proposal that was not taken works, too.
fn other_way(peer: &Peer, disks: &mut Disks) -> Result<(), Problem> {
    environment::choose(Dispatch::InitialDomainCheck);
    steps::headline(Dispatch::InitialDomainCheck);
    let mut disk = disks.last()?;
    introduce(&disk);
    take_maintenance();
    steps::there_and_back(peer, &mut disk, steps::FROM_DOMU_AGAIN, pattern::OF_DOM0)?;
    report::maintenance();
    println!("DEMO other way: ok");
    Ok(())
}
