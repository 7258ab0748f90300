// SPDX-License-Identifier: MIT OR Apache-2.0
//! Accesses to addresses where this domain has nothing.

use core::arch::asm;

use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq, fail, fault};
use crate::machine::dt::facts;
use crate::machine::exception::{Fault, attempt};
use crate::machine::mmio::{read32, read64, write8, write64};

pub(super) const CHECKS: &[Check] = &[
    check("a load from nowhere aborts", load),
    check("a store to nowhere aborts", store),
    check("a jump to nowhere aborts", jump),
    check("every kind of access to nowhere aborts", kinds),
    check("the hypervisor's memory aborts", hypervisor),
    check("an abort is a synchronous external abort", status)
        .differs("Xen reports an empty syndrome, which means address size fault"),
    check("the last address aborts", last_address),
];

/// An address without anything behind it, mapped in the stub's own table.
fn nowhere() -> Result<u64, Failure> {
    let region = facts().extended_regions[0];
    if region.size < 0x20_0000 {
        return Err(Failure::Skipped("no extended region in the device tree"));
    }
    Ok(region.base + 0x10_0040)
}

fn aborts_at<R>(attempted: Result<R, Fault>, address: u64, what: &str) -> Outcome {
    let fault = fault(attempted, what)?;
    ensure!(fault.is_data_abort(), "{what} gives {fault:?}");
    ensure_eq!(fault.far, address, "FAR of {what}");
    Ok(())
}

fn load() -> Outcome {
    let address = nowhere()?;
    aborts_at(attempt(|| read64(address)), address, "a load")
}

fn store() -> Outcome {
    let address = nowhere()?;
    aborts_at(attempt(|| write64(address, 1)), address, "a store")?;
    aborts_at(
        attempt(|| write8(address + 1, 1)),
        address + 1,
        "a byte store",
    )
}

fn jump() -> Outcome {
    let address = nowhere()?;
    let attempted = attempt(|| {
        // SAFETY: the fetch faults and the fault handler returns to the link register; a hypervisor that has memory
        // there fails the check in whatever way that memory's content leads to.
        unsafe { asm!("blr x20", in("x20") address, clobber_abi("C")) };
    });
    let fault = fault(attempted, "a jump")?;
    ensure!(fault.is_instruction_abort(), "a jump gives {fault:?}");
    ensure_eq!(fault.far, address, "FAR");
    ensure_eq!(fault.elr, address, "ELR");
    Ok(())
}

/// Fails unless this instruction, with the address in x1, aborts.
macro_rules! must_abort {
    ($address:expr, $instruction:literal) => {{
        let address: u64 = $address;
        let attempted = attempt(|| {
            // SAFETY: nothing is at the address, so nothing is read or written.
            unsafe {
                asm!($instruction, inout("x1") address => _, inout("x2") 0_u64 => _, inout("x3") 0_u64 => _,
                    inout("x4") 0_u64 => _, options(nostack));
            }
        });
        let fault = fault(attempted, $instruction)?;
        ensure!(fault.is_data_abort(), "{} gives {fault:?}", $instruction);
    }};
}

fn kinds() -> Outcome {
    let address = nowhere()?;
    must_abort!(address, "ldr x2, [x1], #8");
    must_abort!(address, "ldr x2, [x1, #8]!");
    must_abort!(address, "str x2, [x1], #8");
    must_abort!(address, "str x2, [x1, #-8]!");
    must_abort!(address, "ldp x2, x3, [x1]");
    must_abort!(address, "stp x2, x3, [x1], #16");
    must_abort!(address, "ldxr x2, [x1]");
    must_abort!(address, "ldaxp x2, x3, [x1]");
    must_abort!(address, "ldar x2, [x1]");
    must_abort!(address, "stlr x2, [x1]");
    must_abort!(address, "dc zva, x1");
    must_abort!(address + 1, "ldr x2, [x1]");
    must_abort!(address + 0xfbe, "str x2, [x1]");
    Ok(())
}

fn hypervisor() -> Outcome {
    let region = facts().grant_region;
    for offset in [0, 0x800, region.size / 2, region.size - 8] {
        let address = region.base + offset;
        aborts_at(attempt(|| read64(address)), address, "reading it")?;
        aborts_at(attempt(|| write64(address, 0)), address, "writing it")?;
    }
    Ok(())
}

fn status() -> Outcome {
    let address = nowhere()?;
    match attempt(|| read32(address)) {
        Ok(_) => fail!("no abort"),
        Err(fault) => ensure_eq!(fault.status(), 0x10, "fault status"),
    }
    Ok(())
}

/// The end of what the stub's table can map.
fn last_address() -> Outcome {
    let address = (1 << 39) - 8;
    crate::machine::mmu::map(address, 8, crate::machine::mmu::Kind::Device);
    aborts_at(attempt(|| read64(address)), address, "a load")
}
