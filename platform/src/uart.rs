// SPDX-License-Identifier: MIT OR Apache-2.0

//! The console UART. Firmware has set the line up; baud rate and format are never touched.

use arm_pl011_uart::{Interrupts, PL011Registers, Uart as Pl011, UniqueMmioPointer};
use core::ptr::{self, NonNull};
use spin::mutex::TicketMutex;

/// Reads of the flag register to wait for room in the FIFO: over 100 ms on hardware, where one
/// character takes 1 ms even at 9,600 baud.
const POLLS: u32 = if cfg!(test) { 1_000 } else { 1_000_000 };

/// Depth of the receive FIFO.
const FIFO_DEPTH: usize = 32;

/// A console UART. More kinds become more variants.
pub enum Uart {
    /// Arm PrimeCell PL011 or the SBSA generic UART, its subset.
    Pl011(Pl011Console),
}

/// A PL011 in use as console.
pub struct Pl011Console {
    base: usize,
    state: TicketMutex<State>,
}

struct State {
    uart: Pl011<'static>,
    /// The transmitter once made no progress: do not wait for it again until it does.
    stuck: bool,
}

impl Uart {
    /// The PL011 whose registers are at `base`.
    ///
    /// # Safety
    ///
    /// `base` must be the 4 KiB-aligned address of the registers of a PL011 (or SBSA UART), mapped as
    /// device memory for ever, and no other driver may use them, [`EarlyUart`] excepted.
    ///
    /// # Panics
    ///
    /// If `base` is 0.
    pub unsafe fn new(base: usize) -> Self {
        let registers = NonNull::new(ptr::with_exposed_provenance_mut::<PL011Registers>(base));
        let registers = registers.expect("a UART at address 0");
        // SAFETY: the caller promises mapped registers that nobody else drives.
        let registers = unsafe { UniqueMmioPointer::new(registers) };
        Self::Pl011(Pl011Console {
            base,
            state: TicketMutex::new(State {
                uart: Pl011::new(registers),
                stuck: false,
            }),
        })
    }

    /// Sends `bytes`. What a UART that has stopped sending cannot take within a bounded time is lost.
    pub fn write_bytes(&self, bytes: &[u8]) {
        let Self::Pl011(console) = self;
        let state = &mut *console.state.lock();
        for &byte in bytes {
            let polls = if state.stuck { 1 } else { POLLS };
            state.stuck = !(0..polls).any(|_| !state.uart.is_tx_fifo_full());
            if state.stuck {
                return;
            }
            state.uart.write_word(byte);
        }
    }

    /// Takes one received byte, if there is one. Bytes received with a line error are skipped.
    pub fn read_byte(&self) -> Option<u8> {
        let Self::Pl011(console) = self;
        let state = &mut *console.state.lock();
        (0..FIFO_DEPTH)
            .find_map(|_| state.uart.read_word().ok())
            .flatten()
    }

    /// Lets received bytes raise the UART's (level-sensitive) interrupt: at the FIFO's level, or a
    /// little after the last byte. All other causes are masked.
    pub fn enable_rx_interrupt(&self) {
        let Self::Pl011(console) = self;
        let state = &mut *console.state.lock();
        state.uart.clear_interrupts(Interrupts::all());
        state
            .uart
            .set_interrupt_masks(Interrupts::RXI | Interrupts::RTI);
    }

    /// Clears every interrupt cause. Call it before taking the bytes out, so that one arriving
    /// meanwhile raises the interrupt again.
    pub fn clear_interrupts(&self) {
        let Self::Pl011(console) = self;
        console
            .state
            .lock()
            .uart
            .clear_interrupts(Interrupts::all());
    }

    /// Waits, within a bound, until everything has left the wire.
    pub fn flush(&self) {
        let Self::Pl011(console) = self;
        let state = &mut *console.state.lock();
        let polls = if state.stuck { 1 } else { POLLS };
        state.stuck = !(0..polls).any(|_| !state.uart.is_busy());
    }

    /// A lock-free way to the same UART, for a panic that may have struck while its lock was held.
    pub fn early(&self) -> EarlyUart {
        let Self::Pl011(console) = self;
        EarlyUart { base: console.base }
    }
}

/// A PL011 driven with nothing but aligned loads and stores: it works before the MMU is on (where
/// atomics do not) and whatever state locks are in.
#[derive(Clone, Copy, Debug)]
pub struct EarlyUart {
    base: usize,
}

impl EarlyUart {
    const UARTDR: usize = 0x00;
    const UARTFR: usize = 0x18;
    const FR_TXFF: u32 = 1 << 5;

    /// The PL011 at physical address `base`.
    ///
    /// # Safety
    ///
    /// `base` must be the 4 KiB-aligned address of the registers of a PL011, accessible as device
    /// memory whenever the value is used.
    pub const unsafe fn new(base: usize) -> Self {
        Self { base }
    }

    /// Sends `bytes`; gives up at the first that a bounded wait does not get rid of.
    pub fn write_bytes(&self, bytes: &[u8]) {
        let flags = ptr::with_exposed_provenance::<u32>(self.base + Self::UARTFR);
        let data = ptr::with_exposed_provenance_mut::<u32>(self.base + Self::UARTDR);
        for &byte in bytes {
            // SAFETY: the maker of `self` promised accessible registers of a PL011 at `base`.
            let full = || unsafe { flags.read_volatile() } & Self::FR_TXFF != 0;
            if !(0..POLLS).any(|_| !full()) {
                return;
            }
            // SAFETY: as above; writing the data register sends a byte.
            unsafe { data.write_volatile(byte.into()) };
        }
    }
}

/// Whether the device at `base` says it is a PL011 by its PrimeCell identification registers.
///
/// `read` reads the 32-bit register at a physical address, or returns `None` if that faults.
pub fn probe_pl011(base: usize, read: impl Fn(usize) -> Option<u32>) -> bool {
    // UARTPeriphID0-2 hold part number 0x011 and designer 0x41; UARTPCellID0-3 are fixed.
    const IDENTITY: [(usize, u32, u32); 7] = [
        (0xfe0, 0xff, 0x11),
        (0xfe4, 0xff, 0x10),
        (0xfe8, 0x0f, 0x04),
        (0xff0, 0xff, 0x0d),
        (0xff4, 0xff, 0xf0),
        (0xff8, 0xff, 0x05),
        (0xffc, 0xff, 0xb1),
    ];
    IDENTITY.iter().all(|&(offset, mask, expected)| {
        base.checked_add(offset)
            .and_then(&read)
            .is_some_and(|value| value & mask == expected)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake::FakeRegisters;

    const UARTFR: usize = 0x18;
    const TXFF: u32 = 1 << 5;
    const RXFE: u32 = 1 << 4;

    fn fake() -> (FakeRegisters, Uart) {
        let memory = FakeRegisters::new(0x1000);
        // SAFETY: the memory lives as long as the test uses the driver.
        let uart = unsafe { Uart::new(memory.base()) };
        (memory, uart)
    }

    #[test]
    fn bytes_are_written_and_a_dead_uart_does_not_hang() {
        let (memory, uart) = fake();
        uart.write_bytes(b"ab");
        assert_eq!(memory.mmio().read32(0), u32::from(b'b'));
        memory.mmio().write32(UARTFR, TXFF);
        uart.write_bytes(b"cd");
        uart.early().write_bytes(b"e");
        assert_eq!(memory.mmio().read32(0), u32::from(b'b'));
        memory.mmio().write32(UARTFR, 0);
        uart.write_bytes(b"f");
        assert_eq!(memory.mmio().read32(0), u32::from(b'f'));
        uart.early().write_bytes(b"g");
        assert_eq!(memory.mmio().read32(0), u32::from(b'g'));
    }

    #[test]
    fn nothing_is_read_from_an_empty_fifo_nor_bytes_with_errors() {
        let (memory, uart) = fake();
        memory.mmio().write32(UARTFR, RXFE);
        assert_eq!(uart.read_byte(), None);
        memory.mmio().write32(UARTFR, 0);
        memory.mmio().write32(0, u32::from(b'x'));
        assert_eq!(uart.read_byte(), Some(b'x'));
        memory.mmio().write32(0, 1 << 10 | u32::from(b'x'));
        assert_eq!(uart.read_byte(), None);
    }

    #[test]
    fn only_receive_interrupts_are_enabled() {
        let (memory, uart) = fake();
        uart.enable_rx_interrupt();
        assert_eq!(memory.mmio().read32(0x38), 1 << 4 | 1 << 6);
    }

    #[test]
    fn probe_wants_every_register() {
        let id = |address: usize| match address - 0x1000 {
            0xfe0 => Some(0x11),
            0xfe4 => Some(0x10),
            0xfe8 => Some(0x34),
            0xff0 => Some(0x0d),
            0xff4 => Some(0xf0),
            0xff8 => Some(0x05),
            0xffc => Some(0xb1),
            _ => None,
        };
        assert!(probe_pl011(0x1000, id));
        assert!(!probe_pl011(0x1000, |a| id(a).filter(|&v| v != 0xb1)));
        assert!(!probe_pl011(0x1000, |a| id(a).map(|v| v ^ 1)));
        assert!(!probe_pl011(usize::MAX - 0x10, |_| Some(0)));
    }
}
