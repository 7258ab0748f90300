// SPDX-License-Identifier: MIT OR Apache-2.0
//! The UART a domain may have: an SBSA generic UART, the subset of a PL011 that needs no clock and
//! no line to be set up (Arm DEN 0029, appendix B; registers and bits as in DDI 0183).
//!
//! What the guest writes goes to the hypervisor's console, and then the transmitter is always empty,
//! or into a ring that another domain serves. Interrupts are levels: the line is high while an
//! interrupt is raised and not masked.

use super::line::{LINE, Line, Shown};
use super::ring::ConsoleRing;
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

/// FR: the receive FIFO is empty; the transmit FIFO is full; the receive FIFO is full; the transmit
/// FIFO is empty.
const RXFE: u32 = 1 << 4;
const TXFF: u32 = 1 << 5;
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
/// The hardware's half of its FIFO: a driver may write as many bytes as this for each interrupt.
const HALF: u32 = 16;

/// Where what the guest writes goes to, and what it reads comes from.
pub enum Backend {
    /// The hypervisor's own console, line by line.
    Console,
    /// A ring, and the port to tell its server on.
    Ring(ConsoleRing, u32),
}

/// What a UART needs of its domain.
pub trait Owner: VcpuNotify {
    /// Sends on `port`, which the hypervisor has for the domain. Called with no lock held.
    fn send(&self, port: u32);
}

/// The UART.
pub struct Vpl011 {
    hw: &'static dyn Hw,
    owner: DomId,
    /// The port to tell the ring's server on, if there is a ring.
    port: Option<u32>,
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
    end: End,
}

/// The other end of the line.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for a domain, at most"
)]
enum End {
    Console(Terminal),
    Ring(ConsoleRing),
    /// The domain dies: nothing comes, and what is written is lost.
    Nothing,
}

/// Input that waits for the guest, and its unfinished line.
struct Terminal {
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
    /// The ring's server is to look.
    told: bool,
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
        let (end, port) = match backend {
            Backend::Console => (End::Console(Terminal::EMPTY), None),
            Backend::Ring(ring, port) => (End::Ring(ring), Some(port)),
        };
        let state = State {
            ris: 0,
            imsc: 0,
            level: false,
            end,
        };
        Self {
            hw,
            owner,
            port,
            range,
            spi,
            state: Lock::new(state),
        }
    }

    /// True if what the guest writes is shown on the hypervisor's console.
    pub fn is_on_console(&self) -> bool {
        self.port.is_none()
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
        owner: &dyn Owner,
    ) -> Option<u64> {
        let within = (offset & 3) as u32;
        if !matches!(size, 1 | 2 | 4) || within.saturating_add(size) > 4 {
            return None;
        }
        let (register, shift) = (offset & !3, within.wrapping_mul(8));
        let mask = u32::MAX.wrapping_shr(32u32.wrapping_sub(size.wrapping_mul(8)));
        match access {
            Access::Read => {
                let mut output = Output::new();
                let value = self.change(vgic, owner, |state| state.read(register, &mut output))?;
                self.show(&output, owner);
                Some(u64::from(value.wrapping_shr(shift) & mask))
            }
            Access::Write(value) => {
                let value = (value as u32 & mask).wrapping_shl(shift);
                self.write(register, value, mask.wrapping_shl(shift), vgic, owner);
                Some(0)
            }
        }
    }

    /// `byte` was typed. Lost if the guest leaves too much unread.
    pub fn receive(&self, byte: u8, vgic: &Vgic, notify: &dyn VcpuNotify) {
        self.change(vgic, notify, |state| {
            if let End::Console(terminal) = &mut state.end {
                state.ris |= terminal.push(byte);
            }
        });
    }

    /// An event came on `port`: the ring's server has written or read.
    pub fn served(&self, port: u32, vgic: &Vgic, notify: &dyn VcpuNotify) {
        if self.port == Some(port) {
            self.change(vgic, notify, State::follow_ring);
        }
    }

    /// The domain dies: the ring's page is let go of.
    pub fn disconnect(&self) {
        if self.port.is_some() {
            let end = core::mem::replace(&mut self.state.lock().end, End::Nothing);
            drop(end);
        }
    }

    /// The domain got the console's input: shows what it has written of its line.
    pub fn show_unfinished(&self) {
        let mut output = Output::new();
        if let End::Console(terminal) = &mut self.state.lock().end {
            output.take(&mut terminal.output, Shown::Raw);
        }
        self.show_text(&output);
    }

    fn write(&self, register: u64, value: u32, mask: u32, vgic: &Vgic, owner: &dyn Owner) {
        let direct =
            register == DR && self.port.is_none() && self.hw.console_input_of() == Some(self.owner);
        let output = self.change(vgic, owner, |state| {
            let mut output = Output::new();
            match register {
                DR if mask & 0xff != 0 => state.transmit(value as u8, direct, &mut output),
                IMSC => state.imsc = (state.imsc & !mask | value) & INTERRUPTS,
                ICR => state.ris &= !value,
                _ => {}
            }
            output
        });
        self.show(&output, owner);
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

    /// With no lock held: the console may be slow, and the server's domain has locks of its own.
    fn show(&self, output: &Output, owner: &dyn Owner) {
        self.show_text(output);
        if let Some(port) = self.port.filter(|_| output.told) {
            owner.send(port);
        }
    }

    fn show_text(&self, output: &Output) {
        let text = output.text.get(..output.len).unwrap_or_default();
        match output.shown {
            Shown::Nothing => {}
            Shown::Line => self.hw.console_line(self.owner, text),
            Shown::Raw => self.hw.console_write(self.owner, text),
        }
    }
}

impl Output {
    fn new() -> Self {
        Self {
            shown: Shown::Nothing,
            text: [0; LINE],
            len: 0,
            told: false,
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
    fn read(&mut self, register: u64, output: &mut Output) -> Option<u32> {
        Some(match register {
            DR => self.receive(output),
            FR => self.flags(),
            IMSC => self.imsc,
            RIS => self.ris,
            MIS => self.ris & self.imsc,
            ICR => return None,
            _ => 0,
        })
    }

    fn flags(&self) -> u32 {
        let set = |flag, is| if is { flag } else { 0 };
        match &self.end {
            End::Console(terminal) => {
                TXFE | set(RXFE, terminal.waiting == 0) | set(RXFF, terminal.waiting == FIFO)
            }
            End::Ring(ring) => {
                let input = set(RXFE, ring.waiting() == 0) | set(RXFF, ring.is_full());
                input | set(TXFF, ring.room() == 0) | set(TXFE, ring.is_drained())
            }
            End::Nothing => TXFE | RXFE,
        }
    }

    /// The guest writes a byte.
    fn transmit(&mut self, byte: u8, direct: bool, output: &mut Output) {
        match &mut self.end {
            End::Console(terminal) => {
                let shown = terminal.output.write(byte, direct);
                output.take(&mut terminal.output, shown);
                self.ris |= TXI;
            }
            End::Ring(ring) => {
                output.told = ring.put(byte);
                self.follow_ring();
            }
            End::Nothing => self.ris |= TXI,
        }
    }

    /// The guest reads a byte: 0 if there is none.
    fn receive(&mut self, output: &mut Output) -> u32 {
        match &mut self.end {
            End::Console(terminal) => {
                let byte = terminal.pop();
                if terminal.waiting < HALF as usize {
                    self.ris &= !RXI;
                }
                if terminal.waiting == 0 {
                    self.ris &= !RTI;
                }
                u32::from(byte)
            }
            End::Ring(ring) => {
                let byte = ring.take();
                // Its server may wait for room; it has all of it by the last byte.
                output.told = byte.is_some() && ring.waiting() == 0;
                self.follow_ring();
                u32::from(byte.unwrap_or(0))
            }
            End::Nothing => 0,
        }
    }

    /// The interrupts as they follow from what is in the ring.
    fn follow_ring(&mut self) {
        let End::Ring(ring) = &self.end else { return };
        let waiting = ring.waiting();
        for (interrupt, is) in [
            (RXI, waiting >= HALF),
            (RTI, waiting != 0),
            (TXI, ring.room() >= HALF),
        ] {
            match is {
                true => self.ris |= interrupt,
                false => self.ris &= !interrupt,
            }
        }
    }
}

impl Terminal {
    const EMPTY: Self = Self {
        input: [0; FIFO],
        first: 0,
        waiting: 0,
        output: Line::EMPTY,
    };

    /// A byte of input; the interrupts that it raises.
    fn push(&mut self, byte: u8) -> u32 {
        if self.waiting == FIFO {
            return 0;
        }
        let at = self.first.saturating_add(self.waiting) % FIFO;
        if let Some(slot) = self.input.get_mut(at) {
            *slot = byte;
        }
        self.waiting = self.waiting.saturating_add(1);
        match self.waiting >= HALF as usize {
            true => RTI | RXI,
            false => RTI,
        }
    }

    /// The oldest byte of input, 0 if there is none.
    fn pop(&mut self) -> u8 {
        if self.waiting == 0 {
            return 0;
        }
        let byte = self.input.get(self.first).copied().unwrap_or(0);
        self.first = self.first.saturating_add(1) % FIFO;
        self.waiting = self.waiting.saturating_sub(1);
        byte
    }
}

#[cfg(test)]
mod tests;
