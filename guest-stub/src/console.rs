// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines on the hypervisor's console.

use core::fmt::{self, Write};

use xen_abi::console::CONSOLEIO_WRITE;
use xen_abi::hypercall::CONSOLE_IO;

use crate::text::Text;
use crate::xen::hypercall::hypercall;

/// Bytes of a line; more are cut off.
const LINE: usize = 400;

/// Prints a line.
macro_rules! println {
    ($($argument:tt)*) => { $crate::console::line(format_args!($($argument)*)) };
}

pub(crate) use println;

/// Writes one line in one hypercall, so that those of several CPUs do not mix.
pub(crate) fn line(arguments: fmt::Arguments<'_>) {
    let mut line = Text::<LINE>::new();
    let _ = line.write_fmt(arguments);
    line.end_line();
    let bytes = line.as_bytes();
    let (length, address) = (bytes.len() as u64, bytes.as_ptr() as u64);
    hypercall(CONSOLE_IO, [CONSOLEIO_WRITE.into(), length, address, 0, 0]);
}
