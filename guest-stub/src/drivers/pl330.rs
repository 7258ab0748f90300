// SPDX-License-Identifier: MIT OR Apache-2.0
//! The DMA controller PL330 (DMA-330), which copies memory by programs: here between memory of dom0's, which stands for
//! a disk, and the pages of a transfer. One channel, polled.
//!
//! Registers and instructions are those of Arm's DMA-330 Technical Reference Manual (DDI 0424).

use guest_stub::dma::{Bus, Coherent, Device, Direction, DmaAddr, Phys, Scatterlist};

use super::environment::{self, dma};
use super::{BLOCK, Buffer, Disk, DiskError, Transfer};
use crate::machine::mmio::{read32, write8, write32};
use crate::machine::{barrier, dt, timer};

static DEVICE: Device = Device::new("PL330", Bus::Platform);

/// Channel 0's status, and why it stopped.
const CSR0: u64 = 0x100;
const FTR0: u64 = 0x040;
const DBGSTATUS: u64 = 0xd00;
const DBGCMD: u64 = 0xd04;
const DBGINST0: u64 = 0xd08;
const DBGINST1: u64 = 0xd0c;

/// CSR's and DBGSTATUS's field of the state.
const STATE: u32 = 0xf;
const STOPPED: u32 = 0;
const FAULTING: [u32; 2] = [0xe, 0xf];
const BUSY: u32 = 1;

/// `DMAGO` for channel 0 in the Non-secure state, as the manager's debug instruction.
const GO: u32 = 0xa2 << 16;
const MOV: u8 = 0xbc;
const SAR: u8 = 0;
const CCR: u8 = 1;
const DAR: u8 = 2;
const LP: u8 = 0x20;
const LD: u8 = 0x04;
const ST: u8 = 0x08;
const LPEND: u8 = 0x38;
const WMB: u8 = 0x13;
const END: u8 = 0x00;

/// Bytes of a burst: 16 words.
const BURST: usize = 64;
/// CCR for that: both addresses count up, words of 4 bytes, 16 of them, Non-secure.
const BURSTS: u32 = {
    let end = 1 | 2 << 1 | 15 << 4 | 2 << 8;
    end | end << 14
};

/// Blocks of the memory that stands for a disk.
pub(crate) const BLOCKS: usize = 32;
/// Most pages of a transfer: their part of the program is 18 bytes each.
const MOST_PAGES: usize = 32;
/// Microseconds after which the device is taken for dead.
const PATIENCE: u64 = 5_000_000;

/// The controller, and the memory.
pub(crate) struct Pl330 {
    registers: u64,
    program: Coherent,
    store: Coherent,
}

/// The machine's, and where it is; `None` if there is none.
///
/// # Errors
/// When it cannot be driven.
pub(crate) fn find() -> Result<Option<(Pl330, u64)>, DiskError> {
    let Some(node) = dt::facts().pl330 else {
        return Ok(None);
    };
    environment::set_up(&DEVICE, node.is_coherent);
    if !dma().set_mask(&DEVICE, u32::MAX.into()) {
        return Err(DiskError::Unsupported("a PL330 reaches 4 GiB"));
    }
    let registers = node.registers.base;
    let controller = Pl330 {
        registers,
        program: dma().alloc_coherent(&DEVICE, BLOCK)?,
        store: dma().alloc_coherent(&DEVICE, BLOCKS * BLOCK)?,
    };
    Ok(Some((controller, registers)))
}

impl Pl330 {
    /// The memory's blocks, as the CPU sees them.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = u64> {
        (self.store.virt as u64..).step_by(BLOCK).take(BLOCKS)
    }

    /// Copies pages, each from and to these addresses.
    fn copy(&mut self, pages: impl Iterator<Item = (DmaAddr, DmaAddr)>) -> Result<(), DiskError> {
        let mut program = Program {
            next: self.program.virt as u64,
        };
        program.mov(CCR, BURSTS);
        for (from, to) in pages {
            program.mov(SAR, from.0 as u32);
            program.mov(DAR, to.0 as u32);
            // The loop's first instruction is two bytes before its end.
            program.add(&[LP, (BLOCK / BURST - 1) as u8, LD, ST, LPEND, 2]);
        }
        program.add(&[WMB, END]);
        barrier::dsb();
        self.run()
    }

    /// Has channel 0 run the program, and waits for its end.
    fn run(&mut self) -> Result<(), DiskError> {
        let register = |offset| self.registers + offset;
        let is_idle = || read32(register(DBGSTATUS)) & BUSY == 0;
        if !timer::wait_until(PATIENCE, is_idle) {
            return Err(DiskError::Timeout);
        }
        write32(register(DBGINST0), GO);
        write32(register(DBGINST1), self.program.dma.0 as u32);
        write32(register(DBGCMD), 0);
        let state = || read32(register(CSR0)) & STATE;
        let has_ended = || is_idle() && (state() == STOPPED || FAULTING.contains(&state()));
        if !timer::wait_until(PATIENCE, has_ended) {
            return Err(DiskError::Timeout);
        }
        barrier::dsb();
        match state() {
            STOPPED => Ok(()),
            _ => Err(DiskError::Pl330(read32(register(FTR0)))),
        }
    }
}

impl Disk for Pl330 {
    fn device(&self) -> &'static Device {
        &DEVICE
    }

    fn transfer(
        &mut self,
        transfer: Transfer,
        block: u64,
        buffers: &[Buffer],
    ) -> Result<(), DiskError> {
        let pages: usize = buffers.iter().map(|buffer| buffer.pages).sum();
        let mut list = [Scatterlist::new(Phys(0), 0); MOST_PAGES];
        let fits = pages <= MOST_PAGES && block as usize + pages <= BLOCKS;
        let Some(list) = list.get_mut(..buffers.len()).filter(|_| fits) else {
            return Err(DiskError::Unsupported("more pages than there are"));
        };
        for (element, buffer) in list.iter_mut().zip(buffers) {
            *element = Scatterlist::new(Phys(buffer.address), buffer.size());
        }
        let direction = match transfer {
            Transfer::Read => Direction::FromDevice,
            Transfer::Write => Direction::ToDevice,
        };
        dma().map_sg(&DEVICE, list, direction)?;
        let first = self.store.dma.0 + block * BLOCK as u64;
        let ours = (first..).step_by(BLOCK).map(DmaAddr);
        let theirs = list.iter().flat_map(|element| {
            let end = element.addr.0 + element.size as u64;
            (element.addr.0..end).step_by(BLOCK).map(DmaAddr)
        });
        let both = ours.zip(theirs);
        let done = self.copy(both.map(|(ours, theirs)| match transfer {
            Transfer::Read => (ours, theirs),
            Transfer::Write => (theirs, ours),
        }));
        dma().unmap_sg(&DEVICE, list, direction)?;
        done
    }
}

/// A program that is being written.
struct Program {
    next: u64,
}

impl Program {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            write8(self.next, *byte);
            self.next += 1;
        }
    }

    /// `DMAMOV`: writes a register of the channel's.
    fn mov(&mut self, register: u8, value: u32) {
        self.add(&[MOV, register]);
        self.add(&value.to_le_bytes());
    }
}
