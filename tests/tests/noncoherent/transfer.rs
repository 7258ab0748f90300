// SPDX-License-Identifier: MIT OR Apache-2.0
//! One transfer from beginning to end. The truth is kept beside the machine: what each byte of the pages must be.

use crate::kernel::Phase;
use crate::world::{DISKS, FOREIGN, WINDOW, World};
use guest_stub::dma::{Direction, DmaError, PAGE_SIZE, Phys, Scatterlist};
use std::collections::BTreeMap;
use std::ops::Range;

/// Where a piece is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// dom0's own pages.
    Own,
    /// d1's pages in a row.
    Foreign,
    /// d1's pages, none after its neighbour.
    Scattered,
    /// Begins in dom0's own page and goes on in d1's.
    Mixed,
}

/// Some memory.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) place: Place,
    /// From the start of its pages.
    pub(crate) offset: usize,
    pub(crate) size: usize,
}

/// Part of a piece: from 0 (begin) to 1000 (end).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) from: usize,
    pub(crate) to: usize,
}

impl Part {
    /// Of `size` bytes; not empty.
    fn of(self, size: usize) -> Range<usize> {
        let at = |permille: usize| size * permille / 1000;
        let start = at(self.from).min(size - 1);
        start..at(self.to).clamp(start + 1, size)
    }
}

/// What happens while the device has the memory.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// What the device writes of each piece, if it may.
    pub(crate) device_writes: Part,
    /// Then the CPU looks at this part of one piece, by number, or at all of all.
    pub(crate) sync: Option<(usize, Part)>,
    pub(crate) sync_all: bool,
    /// And changes it.
    pub(crate) cpu_writes: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    /// Which device, of [`DISKS`].
    pub(crate) disk: usize,
    pub(crate) direction: Direction,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) steps: Vec<Step>,
    /// A single piece is mapped as a list of one, too.
    pub(crate) as_list: bool,
    /// What a device needs of a bounce buffer's address.
    pub(crate) min_align_mask: u64,
    /// The hypervisor's caches.
    pub(crate) invalidate_discards: bool,
    /// How busy caches are.
    pub(crate) noise: usize,
    pub(crate) seed: u64,
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// A byte, of this machine address.
    Data {
        who: &'static str,
        at: u64,
        expected: u8,
        found: u8,
    },
    /// The device was given an address where nothing is.
    BusFault(u64),
    /// The kernel's DMA failed.
    Dma(DmaError),
}

impl From<DmaError> for Failure {
    fn from(error: DmaError) -> Self {
        Self::Dma(error)
    }
}

/// What bytes must be, by machine page; `None`: anything.
type Truth = BTreeMap<u64, Vec<Option<u8>>>;

/// A transfer under way.
struct Run<'a> {
    world: &'a World,
    transfer: &'a Transfer,
    truth: Truth,
    list: Vec<Scatterlist>,
    /// Machine addresses of each piece's bytes, in runs.
    machine: Vec<Vec<(u64, usize)>>,
}

/// Performs a transfer.
///
/// # Errors
/// What went wrong; the world must be restarted.
pub(crate) fn perform(world: &mut World, transfer: &Transfer) -> Result<(), Failure> {
    let readonly = transfer.direction == Direction::ToDevice && transfer.seed & 1 == 0;
    let mut guest_frames = Vec::new();
    for (i, piece) in (0..).zip(&transfer.pieces) {
        let order = match piece.place {
            Place::Own => continue,
            Place::Foreign | Place::Mixed => [0, 1, 2],
            Place::Scattered => [2, 0, 1],
        };
        world.map_grants(i, order, readonly && !needs_writing(transfer));
        for (n, page) in (1..).zip(order) {
            guest_frames.push((world.window(i) + n, world.granted(i, page).1));
        }
    }
    world.kernel.set_guest_frames(guest_frames);
    world.disks[transfer.disk]
        .device
        .set_min_align_mask(transfer.min_align_mask);
    Run::new(world, transfer).run()?;
    world.unmap_grants();
    assert_eq!(world.dma.swiotlb.in_use(), 0, "bounce buffers are left");
    assert!(world.nothing_is_translated(), "translations are left");
    Ok(())
}

/// True if dom0's CPU itself writes to the pages.
fn needs_writing(transfer: &Transfer) -> bool {
    transfer.steps.iter().any(|step| step.cpu_writes)
}

impl<'a> Run<'a> {
    fn new(world: &'a World, transfer: &'a Transfer) -> Self {
        let list: Vec<_> = (0..)
            .zip(&transfer.pieces)
            .map(|(i, piece)| {
                let first = match piece.place {
                    Place::Own => world.own_frame(i),
                    Place::Foreign | Place::Scattered => world.window(i) + 1,
                    Place::Mixed => world.window(i),
                };
                Scatterlist::new(Phys(first * PAGE_SIZE + piece.offset as u64), piece.size)
            })
            .collect();
        let machine = list
            .iter()
            .map(|element| world.kernel.pieces(0, element.phys.0, element.size))
            .collect();
        Self {
            world,
            transfer,
            truth: Truth::new(),
            list,
            machine,
        }
    }

    fn run(mut self) -> Result<(), Failure> {
        self.begin();
        self.map()?;
        for step in &self.transfer.steps {
            self.device_reads()?;
            self.device_writes(step.device_writes)?;
            self.noise();
            self.sync(step)?;
        }
        self.device_reads()?;
        self.noise();
        self.unmap()?;
        self.noise();
        self.owners_read()
    }

    /// Each owner writes all of its pages, so that caches are full of what RAM does not know.
    fn begin(&mut self) {
        {
            let mut caches = self.world.caches.lock().unwrap();
            caches.random = crate::random::Random::new(self.transfer.seed);
            caches.invalidate_discards = self.transfer.invalidate_discards;
        }
        let mut hot = vec![];
        let pool = self.world.pool();
        for (id, gfn, machine) in self.pages() {
            let mut bytes = vec![0; PAGE_SIZE as usize];
            self.world.caches.lock().unwrap().random.fill(&mut bytes);
            self.world.kernel.write(id, gfn * PAGE_SIZE, &bytes);
            let bytes = bytes.into_iter().map(Some).collect();
            self.truth.insert(machine, bytes);
        }
        for (start, size) in self.machine.iter().flatten() {
            hot.push(start.saturating_sub(64)..start + *size as u64 + 64);
        }
        hot.push(pool.start..pool.start + 0x2000);
        self.world.caches.lock().unwrap().set_hot(&hot);
        self.noise();
    }

    /// All pages that pieces touch: whose, its frame, the machine's.
    fn pages(&self) -> Vec<(usize, u64, u64)> {
        let mut pages = Vec::new();
        for (i, (piece, element)) in (0..).zip(self.transfer.pieces.iter().zip(&self.list)) {
            let end = element.phys.0 + element.size as u64;
            for gfn in element.phys.0 / PAGE_SIZE..end.div_ceil(PAGE_SIZE) {
                let machine = self.world.machine_page(0, gfn);
                let own = piece.place == Place::Own || gfn == self.world.window(i);
                let granted = (0..FOREIGN).map(|n| self.world.granted(i, n));
                match own {
                    true => pages.push((0, gfn, machine)),
                    false => {
                        let (gfn, _) = granted.clone().find(|page| page.1 == machine).unwrap();
                        pages.push((1, gfn, machine));
                    }
                }
            }
            assert!(end.div_ceil(PAGE_SIZE) - element.phys.0 / PAGE_SIZE <= WINDOW);
        }
        pages
    }

    fn noise(&self) {
        self.world.caches.lock().unwrap().noise(self.transfer.noise);
    }

    fn device(&self) -> &guest_stub::dma::Device {
        &self.world.disks[self.transfer.disk].device
    }

    fn is_list(&self) -> bool {
        self.transfer.as_list || self.list.len() > 1
    }

    fn map(&mut self) -> Result<(), Failure> {
        self.world.kernel.begin(Phase::Map);
        let (dma, direction) = (&self.world.dma, self.transfer.direction);
        if self.is_list() {
            let mut list = std::mem::take(&mut self.list);
            dma.map_sg(self.device(), &mut list, direction)?;
            self.list = list;
        } else {
            let Scatterlist { phys, size, .. } = self.list[0];
            self.list[0].addr = dma.map_page(self.device(), phys, size, direction)?;
        }
        if direction == Direction::FromDevice {
            // What the device does not write may be anything, unless a bounce buffer stands for it.
            for i in 0..self.list.len() {
                let Scatterlist { addr, size, .. } = self.list[i];
                if !self.world.is_bounced(self.transfer.disk, addr.0) {
                    self.know(i, 0..size, None);
                }
            }
        }
        self.noise();
        Ok(())
    }

    fn unmap(&mut self) -> Result<(), Failure> {
        self.world.kernel.begin(Phase::Unmap);
        let (dma, direction) = (&self.world.dma, self.transfer.direction);
        if self.is_list() {
            dma.unmap_sg(self.device(), &self.list, direction)?;
        } else {
            let Scatterlist { addr, size, .. } = self.list[0];
            dma.unmap_page(self.device(), addr, size, direction)?;
        }
        Ok(())
    }

    /// Bytes of a range of piece `i` are these from now on.
    fn know(&mut self, i: usize, range: Range<usize>, bytes: Option<&[u8]>) {
        let mut first = 0;
        for &(start, size) in &self.machine[i] {
            let here = range.start.max(first)..range.end.min(first + size);
            for n in here {
                let at = start + (n - first) as u64;
                let page = self.truth.get_mut(&(at / PAGE_SIZE)).unwrap();
                page[(at % PAGE_SIZE) as usize] = bytes.map(|bytes| bytes[n - range.start]);
            }
            first += size;
        }
    }

    /// Compares bytes of piece `i` from `offset` with what they must be.
    fn check(
        &self,
        who: &'static str,
        i: usize,
        offset: usize,
        found: &[u8],
    ) -> Result<(), Failure> {
        let mut first = 0;
        for &(start, size) in &self.machine[i] {
            for n in offset.max(first)..(offset + found.len()).min(first + size) {
                self.check_byte(who, start + (n - first) as u64, found[n - offset])?;
            }
            first += size;
        }
        Ok(())
    }

    fn check_byte(&self, who: &'static str, at: u64, found: u8) -> Result<(), Failure> {
        let page = &self.truth[&(at / PAGE_SIZE)];
        match page[(at % PAGE_SIZE) as usize] {
            Some(expected) if expected != found => Err(Failure::Data {
                who,
                at,
                expected,
                found,
            }),
            _ => Ok(()),
        }
    }

    fn device_reads(&self) -> Result<(), Failure> {
        if !self.transfer.direction.is_to_device() {
            return Ok(());
        }
        for (i, element) in self.list.iter().enumerate() {
            let bytes = self
                .world
                .device_read(self.transfer.disk, element.addr.0, element.size)
                .map_err(Failure::BusFault)?;
            self.check(DISKS[self.transfer.disk].0, i, 0, &bytes)?;
        }
        Ok(())
    }

    fn device_writes(&mut self, part: Part) -> Result<(), Failure> {
        if !self.transfer.direction.is_from_device() {
            return Ok(());
        }
        for i in 0..self.list.len() {
            let Scatterlist { addr, size, .. } = self.list[i];
            let range = part.of(size);
            let bytes = self.random_bytes(range.len());
            self.world
                .device_write(self.transfer.disk, addr.0 + range.start as u64, &bytes)
                .map_err(Failure::BusFault)?;
            self.know(i, range, Some(&bytes));
        }
        Ok(())
    }

    fn random_bytes(&self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.world.caches.lock().unwrap().random.fill(&mut bytes);
        bytes
    }

    /// The CPU looks at part of what the device has, and may change it.
    fn sync(&mut self, step: &Step) -> Result<(), Failure> {
        let Some((piece, part)) = step.sync else {
            return Ok(());
        };
        let (dma, direction) = (&self.world.dma, self.transfer.direction);
        let all = step.sync_all && self.is_list();
        let i = piece % self.list.len();
        let range = part.of(self.list[i].size);
        let addr = guest_stub::dma::DmaAddr(self.list[i].addr.0 + range.start as u64);
        self.world.kernel.begin(Phase::SyncForCpu);
        match all {
            true => dma.sync_sg_for_cpu(self.device(), &self.list, direction)?,
            false => dma.sync_single_for_cpu(self.device(), addr, range.len(), direction)?,
        }
        self.noise();
        let synced = match all {
            true => (0..self.list.len())
                .map(|i| (i, 0..self.list[i].size))
                .collect(),
            false => vec![(i, range.clone())],
        };
        for (i, range) in synced {
            self.cpu_looks(i, range, step.cpu_writes)?;
        }
        self.noise();
        self.world.kernel.begin(Phase::SyncForDevice);
        let dma = &self.world.dma;
        match all {
            true => dma.sync_sg_for_device(self.device(), &self.list, direction)?,
            false => dma.sync_single_for_device(self.device(), addr, range.len(), direction)?,
        }
        self.noise();
        Ok(())
    }

    fn cpu_looks(&mut self, i: usize, range: Range<usize>, writes: bool) -> Result<(), Failure> {
        let start = self.list[i].phys.0 + range.start as u64;
        let mut bytes = vec![0; range.len()];
        self.world.kernel.read(0, start, &mut bytes);
        self.check("the CPU, at a sync", i, range.start, &bytes)?;
        if writes {
            let bytes = self.random_bytes(range.len());
            self.world.kernel.write(0, start, &bytes);
            // Until the device writes them, if it does.
            let known = self.transfer.direction.is_to_device();
            self.know(i, range, known.then_some(&bytes));
        }
        Ok(())
    }

    /// In the end each owner finds in its pages what must be there, those bytes included that are nobody's affair.
    fn owners_read(&self) -> Result<(), Failure> {
        for (id, gfn, machine) in self.pages() {
            let mut bytes = vec![0; PAGE_SIZE as usize];
            self.world.kernel.read(id, gfn * PAGE_SIZE, &mut bytes);
            for (at, byte) in (machine * PAGE_SIZE..).zip(bytes) {
                self.check_byte("the owner", at, byte)?;
            }
        }
        Ok(())
    }
}
