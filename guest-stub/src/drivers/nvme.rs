// SPDX-License-Identifier: MIT OR Apache-2.0
//! NVM Express: one admin queue, one I/O queue, polled. The device is told plain addresses of pages (PRPs).
//!
//! Numbers are those of the NVM Express Base Specification 1.4.

use guest_stub::dma::{Bus, Coherent, Device, Direction, Phys, Scatterlist};

use super::environment::{self, dma};
use super::{BLOCK, Buffer, Disk, DiskError, Transfer, pci};
use crate::machine::mmio::{read8, read32, read64, write32, write64};
use crate::machine::{barrier, timer};

static DEVICE: Device = Device::new("NVMe", Bus::Pci);

/// Mass storage, non-volatile memory, NVMe.
const CLASS: (u8, u8, u8) = (1, 8, 2);

const CAP: u64 = 0x00;
const CC: u64 = 0x14;
const CSTS: u64 = 0x1c;
const AQA: u64 = 0x24;
const ASQ: u64 = 0x28;
const ACQ: u64 = 0x30;
const DOORBELLS: u64 = 0x1000;

/// CC: entries of 64 and 16 bytes, pages of 4 KiB, enabled.
const CC_ENABLE: u32 = 4 << 20 | 6 << 16 | 1;
/// CSTS.RDY.
const READY: u32 = 1;

const CREATE_SUBMISSION_QUEUE: u32 = 1;
const CREATE_COMPLETION_QUEUE: u32 = 5;
const IDENTIFY: u32 = 6;
const WRITE: u32 = 1;
const READ: u32 = 2;
/// The namespace that is used.
const NAMESPACE: u32 = 1;

/// Entries of a queue: its submission entries fill a page.
const ENTRIES: u64 = 64;
/// Most pages of one command: fewer than a list of one page names, and no more than any device takes (128 KiB).
const MOST_PAGES: usize = 32;
/// Most buffers of one command.
const MOST_BUFFERS: usize = MOST_PAGES;
/// Microseconds after which the device is taken for dead.
const PATIENCE: u64 = 5_000_000;

/// A submission queue with its completion queue.
struct Queue {
    number: u64,
    submission: Coherent,
    completion: Coherent,
    tail: u64,
    head: u64,
    /// Bit of a completion entry that is new.
    phase: u32,
}

impl Queue {
    fn new(number: u64) -> Result<Self, DiskError> {
        Ok(Self {
            number,
            submission: dma().alloc_coherent(&DEVICE, BLOCK)?,
            completion: dma().alloc_coherent(&DEVICE, BLOCK)?,
            tail: 0,
            head: 0,
            phase: 1,
        })
    }
}

/// A controller with its first namespace.
pub(crate) struct Nvme {
    registers: u64,
    /// Bytes between doorbells.
    stride: u64,
    admin: Queue,
    io: Queue,
    /// Page of addresses.
    list: Coherent,
    /// Logical blocks in a block as we count them.
    per_block: u64,
}

/// The disk that is function `function` of `bus`; `None` if that is none, or there was one before.
///
/// # Errors
/// When it is one that cannot be driven.
pub(crate) fn find(
    bus: &mut pci::Bus,
    function: &pci::Function,
    is_coherent: bool,
) -> Result<Option<Nvme>, DiskError> {
    if function.class() != CLASS || environment::is_set_up(&DEVICE) {
        return Ok(None);
    }
    let registers = bus
        .bar(function.address, 0)
        .ok_or(DiskError::Unsupported("an NVMe controller without BAR 0"))?;
    environment::set_up(&DEVICE, is_coherent);
    DEVICE.set_min_align_mask(BLOCK as u64 - 1);
    Nvme::start(registers).map(Some)
}

impl Nvme {
    fn start(registers: u64) -> Result<Self, DiskError> {
        let capabilities = read64(registers + CAP);
        let mut disk = Self {
            registers,
            stride: 4 << (capabilities >> 32 & 0xf),
            admin: Queue::new(0)?,
            io: Queue::new(1)?,
            list: dma().alloc_coherent(&DEVICE, BLOCK)?,
            per_block: 0,
        };
        write32(registers + CC, 0);
        disk.wait_ready(0)?;
        write32(
            registers + AQA,
            ((ENTRIES - 1) << 16 | (ENTRIES - 1)) as u32,
        );
        write64(registers + ASQ, disk.admin.submission.dma.0);
        write64(registers + ACQ, disk.admin.completion.dma.0);
        write32(registers + CC, CC_ENABLE);
        disk.wait_ready(READY)?;
        disk.create_io_queue()?;
        disk.identify()?;
        Ok(disk)
    }

    fn wait_ready(&self, wanted: u32) -> Result<(), DiskError> {
        let is_there = || read32(self.registers + CSTS) & READY == wanted;
        match timer::wait_until(PATIENCE, is_there) {
            true => Ok(()),
            false => Err(DiskError::Timeout),
        }
    }

    fn create_io_queue(&mut self) -> Result<(), DiskError> {
        let size = (ENTRIES - 1) << 16 | self.io.number;
        let completion = self.io.completion.dma.0;
        let submission = self.io.submission.dma.0;
        let contiguous = 1;
        let command = Command::new(CREATE_COMPLETION_QUEUE)
            .pages(completion, 0)
            .words(size as u32, contiguous);
        self.submit_admin(&command)?;
        let command = Command::new(CREATE_SUBMISSION_QUEUE)
            .pages(submission, 0)
            .words(size as u32, (self.io.number as u32) << 16 | contiguous);
        self.submit_admin(&command)
    }

    /// Learns the size of a logical block.
    fn identify(&mut self) -> Result<(), DiskError> {
        let command = Command::new(IDENTIFY)
            .namespace(NAMESPACE)
            .pages(self.list.dma.0, 0);
        self.submit_admin(&command)?;
        let data = self.list.virt as u64;
        let format = u64::from(read8(data + 26) & 0xf);
        let shift = read8(data + 128 + format * 4 + 2);
        if !(9..=12).contains(&shift) {
            return Err(DiskError::Unsupported("NVMe blocks of more than a page"));
        }
        self.per_block = BLOCK as u64 >> shift;
        Ok(())
    }

    fn submit_admin(&mut self, command: &Command) -> Result<(), DiskError> {
        let (registers, stride) = (self.registers, self.stride);
        submit(registers, stride, &mut self.admin, command, &mut || ())
    }

    /// One command for all pages, whose addresses the device is given: the first and the second in the command, or the
    /// first there and the others in a list.
    fn command(
        &mut self,
        transfer: Transfer,
        block: u64,
        buffers: &[Scatterlist],
        act: &mut dyn FnMut(),
    ) -> Result<(), DiskError> {
        let opcode = match transfer {
            Transfer::Read => READ,
            Transfer::Write => WRITE,
        };
        let pages = |buffer: &Scatterlist| {
            let end = buffer.addr.0 + buffer.size as u64;
            (buffer.addr.0..end).step_by(BLOCK)
        };
        let count = buffers.iter().flat_map(pages).count();
        let mut addresses = buffers.iter().flat_map(pages);
        let Some(first) = addresses.next() else {
            return Ok(());
        };
        let second = match count {
            1 | 2 => addresses.next().unwrap_or(0),
            3..=MOST_PAGES => {
                for (place, address) in (self.list.virt as u64..).step_by(8).zip(addresses) {
                    write64(place, address);
                }
                self.list.dma.0
            }
            _ => return Err(DiskError::Unsupported("more pages than a command takes")),
        };
        let start = block * self.per_block;
        let blocks = count as u64 * self.per_block;
        let command = Command::new(opcode)
            .namespace(NAMESPACE)
            .pages(first, second)
            .words(start as u32, (start >> 32) as u32)
            .word_12(blocks as u32 - 1);
        submit(self.registers, self.stride, &mut self.io, &command, act)
    }
}

impl Disk for Nvme {
    fn device(&self) -> &'static Device {
        &DEVICE
    }

    fn transfer(
        &mut self,
        transfer: Transfer,
        block: u64,
        buffers: &[Buffer],
    ) -> Result<(), DiskError> {
        self.transfer_while(transfer, block, buffers, &mut || ())
    }

    fn transfer_while(
        &mut self,
        transfer: Transfer,
        block: u64,
        buffers: &[Buffer],
        act: &mut dyn FnMut(),
    ) -> Result<(), DiskError> {
        let mut list = [Scatterlist::new(Phys(0), 0); MOST_BUFFERS];
        let Some(list) = list.get_mut(..buffers.len()) else {
            return Err(DiskError::Unsupported("more buffers than a command takes"));
        };
        for (element, buffer) in list.iter_mut().zip(buffers) {
            *element = Scatterlist::new(Phys(buffer.address), buffer.size());
        }
        let direction = match transfer {
            Transfer::Read => Direction::FromDevice,
            Transfer::Write => Direction::ToDevice,
        };
        dma().map_sg(&DEVICE, list, direction)?;
        let done = self.command(transfer, block, list, act);
        dma().unmap_sg(&DEVICE, list, direction)?;
        done
    }
}

/// A submission queue entry.
struct Command([u32; 16]);

impl Command {
    fn new(opcode: u32) -> Self {
        let mut words = [0; 16];
        words[0] = opcode;
        Self(words)
    }

    fn namespace(mut self, namespace: u32) -> Self {
        self.0[1] = namespace;
        self
    }

    /// PRP1 and PRP2.
    fn pages(mut self, first: u64, second: u64) -> Self {
        let halves = |address: u64| [address as u32, (address >> 32) as u32];
        self.0[6..8].copy_from_slice(&halves(first));
        self.0[8..10].copy_from_slice(&halves(second));
        self
    }

    /// Words 10 and 11.
    fn words(mut self, word_10: u32, word_11: u32) -> Self {
        self.0[10] = word_10;
        self.0[11] = word_11;
        self
    }

    fn word_12(mut self, word: u32) -> Self {
        self.0[12] = word;
        self
    }
}

/// Gives the device a command, lets `act` do something, and waits until the command is done.
fn submit(
    registers: u64,
    stride: u64,
    queue: &mut Queue,
    command: &Command,
    act: &mut dyn FnMut(),
) -> Result<(), DiskError> {
    let entry = queue.submission.virt as u64 + queue.tail * 64;
    for (place, word) in (entry..).step_by(4).zip(command.0) {
        write32(place, word);
    }
    queue.tail = (queue.tail + 1) % ENTRIES;
    barrier::dsb();
    let doorbell = registers + DOORBELLS + 2 * queue.number * stride;
    write32(doorbell, queue.tail as u32);
    act();

    let entry = queue.completion.virt as u64 + queue.head * 16;
    let is_new = || read32(entry + 12) >> 16 & 1 == queue.phase;
    if !timer::wait_until(PATIENCE, is_new) {
        return Err(DiskError::Timeout);
    }
    barrier::dsb();
    let status = (read32(entry + 12) >> 17) as u16;
    queue.head = (queue.head + 1) % ENTRIES;
    if queue.head == 0 {
        queue.phase ^= 1;
    }
    write32(doorbell + stride, queue.head as u32);
    match status & 0x7ff {
        0 => Ok(()),
        _ => Err(DiskError::Nvme(status)),
    }
}
