// SPDX-License-Identifier: MIT OR Apache-2.0
//! The UART a domain may have: an SBSA generic UART, the subset of a PL011 that needs no clock and
//! no line to be set up (Arm DEN 0029, appendix B; registers and bits as in DDI 0183).
//!
//! The transmitter is always empty. Interrupts are levels: the line is high while an interrupt is
//! raised and not masked.

use super::line::{LINE, Line, Shown};
use crate::addr::{DomId, Ipa};
use crate::hw::Hw;
use crate::sync::{Lock, rank};
use crate::vgic::{Access, VcpuNotify, Vgic};

const DR: u64 = 0x00;
const FR: u64 = 0x18;
const IMSC: u64 = 0x38;
const RIS: u64 = 0x3c;
const MIS: u64 = 0x40;
const ICR: u64 = 0x44;

/// FR: the receive FIFO is empty, is full; the transmit FIFO is empty.
const RXFE: u32 = 1 << 4;
const RXFF: u32 = 1 << 6;
const TXFE: u32 = 1 << 7;

/// Interrupts: the receive FIFO is half full, the transmit FIFO has room, something waits in the
/// receive FIFO.
const RXI: u32 = 1 << 4;
const TXI: u32 = 1 << 5;
const RTI: u32 = 1 << 6;
/// All there are.
const INTERRUPTS: u32 = 0x7ff;

/// Bytes that may wait for the guest: more than the 32 of the hardware, for what is pasted.
const FIFO: usize = 256;
/// The hardware's half of its FIFO.
const HALF: usize = 16;

/// Where what the guest writes goes to, and what it reads comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// The hypervisor's own console, line by line.
    Console,
}

/// The UART.
pub struct Vpl011 {
    hw: &'static dyn Hw,
    owner: DomId,
    backend: Backend,
    /// Its registers: first address, bytes.
    pub range: (Ipa, u64),
    /// The INTID of its interrupt.
    pub spi: u32,
    state: Lock<State, { rank::VGIC_DIST }>,
}

struct State {
    ris: u32,
    imsc: u32,
    /// The interrupt's line.
    level: bool,
    input: [u8; FIFO],
    /// Where the oldest byte of input is, and how many there are.
    first: usize,
    waiting: usize,
    output: Line,
}

/// What an access has to do once the lock is free.
struct Output {
    shown: Shown,
    text: [u8; LINE],
    len: usize,
}

impl Vpl011 {
    /// A UART of `owner` as after reset.
    pub fn new(
        hw: &'static dyn Hw,
        owner: DomId,
        range: (Ipa, u64),
        spi: u32,
        backend: Backend,
    ) -> Self {
        let state = State {
            ris: 0,
            imsc: 0,
            level: false,
            input: [0; FIFO],
            first: 0,
            waiting: 0,
            output: Line::EMPTY,
        };
        Self {
            hw,
            owner,
            backend,
            range,
            spi,
            state: Lock::new(state),
        }
    }

    /// True if what the guest writes is shown on the hypervisor's console.
    pub fn is_on_console(&self) -> bool {
        self.backend == Backend::Console
    }

    /// The offset of `ipa` in its registers.
    pub fn offset(&self, ipa: Ipa) -> Option<u64> {
        let offset = ipa.0.wrapping_sub(self.range.0.0);
        (offset < self.range.1).then_some(offset)
    }

    /// An access of `size` bytes at `offset`: the value read. `None` for what must abort: 64 bits,
    /// across registers, a read of what can only be written.
    pub fn access(
        &self,
        offset: u64,
        size: u32,
        access: Access,
        vgic: &Vgic,
        notify: &dyn VcpuNotify,
    ) -> Option<u64> {
        let within = (offset & 3) as u32;
        if !matches!(size, 1 | 2 | 4) || within.saturating_add(size) > 4 {
            return None;
        }
        let (register, shift) = (offset & !3, within.wrapping_mul(8));
        let mask = u32::MAX.wrapping_shr(32u32.wrapping_sub(size.wrapping_mul(8)));
        match access {
            Access::Read => {
                let value = self.change(vgic, notify, |state| state.read(register))?;
                Some(u64::from(value.wrapping_shr(shift) & mask))
            }
            Access::Write(value) => {
                let value = (value as u32 & mask).wrapping_shl(shift);
                self.write(register, value, mask.wrapping_shl(shift), vgic, notify);
                Some(0)
            }
        }
    }

    /// `byte` was typed. Lost if the guest leaves too much unread.
    pub fn receive(&self, byte: u8, vgic: &Vgic, notify: &dyn VcpuNotify) {
        self.change(vgic, notify, |state| state.push(byte));
    }

    /// The domain got the console's input: shows what it has written of its line.
    pub fn show_unfinished(&self) {
        let mut output = Output::new();
        output.take(&mut self.state.lock().output, Shown::Raw);
        self.show(&output);
    }

    fn write(&self, register: u64, value: u32, mask: u32, vgic: &Vgic, notify: &dyn VcpuNotify) {
        let direct = register == DR && self.hw.console_input_of() == Some(self.owner);
        let output = self.change(vgic, notify, |state| {
            let mut output = Output::new();
            match register {
                DR if mask & 0xff != 0 => {
                    let shown = state.output.write(value as u8, direct);
                    output.take(&mut state.output, shown);
                    state.ris |= TXI;
                }
                IMSC => state.imsc = (state.imsc & !mask | value) & INTERRUPTS,
                ICR => state.ris &= !value,
                _ => {}
            }
            output
        });
        self.show(&output);
    }

    /// Changes the state, and the interrupt's line as follows from it. Two vCPUs may do this at
    /// once, so the lock is held until the line is right.
    fn change<R>(
        &self,
        vgic: &Vgic,
        notify: &dyn VcpuNotify,
        f: impl FnOnce(&mut State) -> R,
    ) -> R {
        let mut state = self.state.lock();
        let result = f(&mut state);
        let level = state.ris & state.imsc != 0;
        if level != state.level {
            state.level = level;
            vgic.set_line(None, self.spi, level, notify);
        }
        result
    }

    /// With no lock held: the console may be slow.
    fn show(&self, output: &Output) {
        let text = output.text.get(..output.len).unwrap_or_default();
        match (self.backend, output.shown) {
            (_, Shown::Nothing) => {}
            (Backend::Console, Shown::Line) => self.hw.console_line(self.owner, text),
            (Backend::Console, Shown::Raw) => self.hw.console_write(self.owner, text),
        }
    }
}

impl Output {
    fn new() -> Self {
        Self {
            shown: Shown::Nothing,
            text: [0; LINE],
            len: 0,
        }
    }

    fn take(&mut self, line: &mut Line, shown: Shown) {
        self.shown = shown;
        if shown != Shown::Nothing {
            self.len = line.take(&mut self.text);
        }
    }
}

impl State {
    fn read(&mut self, register: u64) -> Option<u32> {
        Some(match register {
            DR => self.pop(),
            FR => self.flags(),
            IMSC => self.imsc,
            RIS => self.ris,
            MIS => self.ris & self.imsc,
            ICR => return None,
            _ => 0,
        })
    }

    fn flags(&self) -> u32 {
        let input = match self.waiting {
            0 => RXFE,
            FIFO => RXFF,
            _ => 0,
        };
        TXFE | input
    }

    fn push(&mut self, byte: u8) {
        if self.waiting == FIFO {
            return;
        }
        let at = self.first.saturating_add(self.waiting) % FIFO;
        if let Some(slot) = self.input.get_mut(at) {
            *slot = byte;
        }
        self.waiting = self.waiting.saturating_add(1);
        self.ris |= RTI;
        if self.waiting >= HALF {
            self.ris |= RXI;
        }
    }

    fn pop(&mut self) -> u32 {
        if self.waiting == 0 {
            return 0;
        }
        let byte = self.input.get(self.first).copied().unwrap_or(0);
        self.first = self.first.saturating_add(1) % FIFO;
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting < HALF {
            self.ris &= !RXI;
        }
        if self.waiting == 0 {
            self.ris &= !RTI;
        }
        u32::from(byte)
    }
}

#[cfg(test)]
mod tests;
