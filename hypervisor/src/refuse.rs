// SPDX-License-Identifier: MIT OR Apache-2.0
//! Refusals so early that there is no console yet.

use crate::{mmu, panic};
use fdt::Fdt;
use hv_core::boot::validate::MAGIC;
use platform::board::WELL_KNOWN;
use platform::uart::{EarlyUart, Uart, probe_pl011};

/// Entered at another exception level than EL2, with the MMU off: nothing works but a plain write
/// to the UART that the device tree names.
#[unsafe(no_mangle)]
extern "C" fn refuse_entry(dtb: u64, el: u64) -> ! {
    if let Some(uart) = early_uart(dtb) {
        uart.write_bytes(b"\r\n(XL) **** Xenolith cannot start: entered at EL");
        uart.write_bytes(&[b'0' + (el & 3) as u8]);
        uart.write_bytes(b", but a hypervisor needs EL2 (QEMU: -machine virtualization=on)\r\n");
    }
    panic::halt()
}

fn early_uart(dtb: u64) -> Option<EarlyUart> {
    if dtb == 0 || !dtb.is_multiple_of(8) {
        return None;
    }
    let blob: *const u32 = core::ptr::with_exposed_provenance(dtb as usize);
    // SAFETY: the boot protocol says that x0 is a device tree's address; only its magic is read.
    if u32::from_be(unsafe { blob.read() }) != MAGIC {
        return None;
    }
    // SAFETY: it says that it is a device tree. Who reads it can do no harm but to panic, which ends
    // as this ends: the machine stands still.
    let fdt = unsafe { Fdt::from_ptr(blob.cast()) }.ok()?;
    let stdout = fdt
        .find_node("/chosen")?
        .property("stdout-path")?
        .as_str()?;
    let path = stdout.split(':').next()?;
    let node = fdt.find_node(path)?;
    let driven = |name| matches!(name, "arm,pl011" | "arm,sbsa-uart");
    if !node.compatible()?.all().any(driven) {
        return None;
    }
    let reg = node.reg()?.next()?;
    // SAFETY: the tree says a PL011 is there; it is not in use.
    Some(unsafe { EarlyUart::new(reg.starting_address.addr()) })
}

/// The console of last resort, when there is no device tree to name one: a PL011 where a known
/// board has it, if it answers with its identification.
pub(crate) fn last_resort_uart() -> Option<Uart> {
    let found = WELL_KNOWN.iter().find(|board| {
        mmu::early_device(board.pl011 as u64);
        probe_pl011(board.pl011, panic::try_read)
    })?;
    // SAFETY: it identified itself as a PL011, and nobody uses it.
    Some(unsafe { Uart::new(found.pl011) })
}
