// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data cache maintenance by address, to the point of coherency: what this CPU's own memory needs for devices that do
//! not see its caches.

use core::arch::asm;

use super::barrier;
use super::sysreg::read_sysreg;

/// Bytes of the smallest line of all data caches (`CTR_EL0.DminLine`).
fn line() -> u64 {
    4 << (read_sysreg!("ctr_el0") >> 16 & 0xf)
}

macro_rules! maintain {
    ($operation:literal, $address:expr) => {{
        let address: u64 = $address;
        // SAFETY: cleaning changes no memory as this CPU sees it; invalidating is asked for by the caller, about
        // bytes that a device has written.
        unsafe { asm!(concat!("dc ", $operation, ", {0}"), in(reg) address, options(nostack, preserves_flags)) };
    }};
}

/// Writes what is dirty of `size` bytes at `start` back to memory.
pub(crate) fn clean(start: u64, size: u64) {
    let line = line();
    barrier::dsb();
    for address in (start & !(line - 1)..start + size).step_by(line as usize) {
        maintain!("cvac", address);
    }
    barrier::dsb();
}

/// Has the CPU read `size` bytes at `start` from memory again. Bytes beside them in the same lines are written back
/// first.
pub(crate) fn invalidate(start: u64, size: u64) {
    let line = line();
    let end = start + size;
    barrier::dsb();
    for address in (start & !(line - 1)..end).step_by(line as usize) {
        if address < start || address + line > end {
            maintain!("civac", address);
        } else {
            maintain!("ivac", address);
        }
    }
    barrier::dsb();
}

/// Writes `size` bytes at `start` back and forgets them.
pub(crate) fn clean_and_invalidate(start: u64, size: u64) {
    let line = line();
    barrier::dsb();
    for address in (start & !(line - 1)..start + size).step_by(line as usize) {
        maintain!("civac", address);
    }
    barrier::dsb();
}
