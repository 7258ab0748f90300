// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disks of the machine, in the order in which they are found. A further kind is a variant and a place to look.

use super::Problem;
use super::fail;
use super::pattern::{self, OF_HOST};
use super::steps::{Name, Named};
use crate::drivers::nvme::{self, Nvme};
use crate::drivers::pl330::{self, Pl330};
use crate::drivers::virtio::{self, MmioDisk, PciDisk};
use crate::drivers::{Disk, DiskError, pci};
use crate::machine::dt;

/// Disks there may be.
const MOST: usize = 8;

/// A disk of any kind.
enum Kind {
    VirtioMmio(MmioDisk),
    Pl330(Pl330),
    VirtioPci(PciDisk),
    Nvme(Nvme),
}

impl Kind {
    fn disk(&mut self) -> &mut dyn Disk {
        match self {
            Self::VirtioMmio(disk) => disk,
            Self::Pl330(disk) => disk,
            Self::VirtioPci(disk) => disk,
            Self::Nvme(disk) => disk,
        }
    }
}

/// All disks, the empty places at the end.
#[derive(Default)]
pub(super) struct Disks([Option<(Kind, Name)>; MOST]);

impl Disks {
    /// Looks for them.
    pub(super) fn find() -> Result<Self, Problem> {
        let mut disks = Self::default();
        let found = disks
            .find_virtio()
            .and_then(|()| disks.find_pl330())
            .and_then(|()| disks.find_on_pci());
        if let Err(error) = found {
            fail!("looking for disks: {error}");
        }
        Ok(disks)
    }

    fn add(&mut self, kind: Kind, name: Name) {
        if let Some(place) = self.0.iter_mut().find(|place| place.is_none()) {
            *place = Some((kind, name));
        }
    }

    fn find_virtio(&mut self) -> Result<(), DiskError> {
        if let Some((disk, registers)) = virtio::find_mmio()? {
            let name = Name::format(format_args!("virtio-blk on MMIO at {registers:#x}"));
            self.add(Kind::VirtioMmio(disk), name);
        }
        Ok(())
    }

    /// Its disk is memory, on which is what the host puts on disks.
    fn find_pl330(&mut self) -> Result<(), DiskError> {
        if let Some((disk, registers)) = pl330::find()? {
            for (number, block) in disk.blocks().enumerate() {
                pattern::fill(block, OF_HOST, number);
            }
            let name = Name::format(format_args!("memory by a PL330 at {registers:#x}"));
            self.add(Kind::Pl330(disk), name);
        }
        Ok(())
    }

    fn find_on_pci(&mut self) -> Result<(), DiskError> {
        let Some(host) = dt::facts().pci else {
            return Ok(());
        };
        let Some(mut bus) = pci::Bus::new(&host) else {
            return Ok(());
        };
        let is_coherent = host.node.is_coherent;
        for function in bus.functions().iter().flatten() {
            let name = |kind| Name::format(format_args!("{kind} on PCI at {}", function.address));
            if let Some(disk) = virtio::find_pci(&mut bus, function, is_coherent)? {
                self.add(Kind::VirtioPci(disk), name("virtio-blk"));
            } else if let Some(disk) = nvme::find(&mut bus, function, is_coherent)? {
                self.add(Kind::Nvme(disk), name("NVMe"));
            }
        }
        Ok(())
    }

    /// All there are.
    pub(super) fn all(&mut self) -> impl Iterator<Item = Named<'_>> {
        self.0
            .iter_mut()
            .flatten()
            .map(|(kind, name)| Named::new(kind.disk(), *name))
    }

    /// The one found last.
    pub(super) fn last(&mut self) -> Result<Named<'_>, Problem> {
        match self.all().last() {
            Some(disk) => Ok(disk),
            None => fail!("there is no disk"),
        }
    }
}
