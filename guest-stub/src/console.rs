// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines on the console: the hypervisor's, or a UART where the hypervisor's is another domain's.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use xen_abi::console::CONSOLEIO_WRITE;
use xen_abi::hypercall::CONSOLE_IO;

use crate::machine::barrier;
use crate::machine::mmio::{read32, write32};
use crate::text::Text;
use crate::xen::hypercall::hypercall;

/// Bytes of a line; more are cut off.
const LINE: usize = 400;

/// Prints a line.
macro_rules! println {
    ($($argument:tt)*) => { $crate::console::line(format_args!($($argument)*)) };
}

pub(crate) use println;

/// Registers of the UART that lines go to; 0: the hypervisor's console.
static UART: AtomicU64 = AtomicU64::new(0);
/// A CPU writes a line to the UART.
static BUSY: AtomicBool = AtomicBool::new(false);

/// `UARTDR`, of an Arm SBSA generic UART.
const DR: u64 = 0x00;
/// `UARTFR`.
const FR: u64 = 0x18;
/// `UARTFR.TXFF`: the transmit FIFO is full.
const TXFF: u32 = 1 << 5;

/// From now on lines go to the UART at `base`, which is mapped.
pub(crate) fn use_uart(base: u64) {
    UART.store(base, Ordering::SeqCst);
}

/// Registers of the UART that lines go to, if they go to one.
pub(crate) fn uart() -> Option<u64> {
    Some(UART.load(Ordering::SeqCst)).filter(|&base| base != 0)
}

/// Writes one line in one hypercall, or holding the UART, so that those of several CPUs do not mix.
pub(crate) fn line(arguments: fmt::Arguments<'_>) {
    let mut line = Text::<LINE>::new();
    let _ = line.write_fmt(arguments);
    line.end_line();
    let bytes = line.as_bytes();
    let uart = UART.load(Ordering::SeqCst);
    if uart != 0 {
        return write_uart(uart, bytes);
    }
    let (length, address) = (bytes.len() as u64, bytes.as_ptr() as u64);
    hypercall(CONSOLE_IO, [CONSOLEIO_WRITE.into(), length, address, 0, 0]);
}

fn write_uart(base: u64, bytes: &[u8]) {
    while BUSY.swap(true, Ordering::Acquire) {
        barrier::relax();
    }
    for byte in bytes {
        while read32(base + FR) & TXFF != 0 {
            barrier::relax();
        }
        write32(base + DR, u32::from(*byte));
    }
    BUSY.store(false, Ordering::Release);
}
