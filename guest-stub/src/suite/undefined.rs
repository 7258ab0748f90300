// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls with immediates that mean nothing.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use super::check::{Check, Outcome, check, ensure_eq, undefined};
use crate::machine::exception::attempt;
use crate::machine::psci;

pub(super) const CHECKS: &[Check] = &[
    check("hvc with an unknown immediate is undefined", hvc),
    check("smc with an immediate is undefined", smc),
    check(
        "an undefined hvc is reported at its own address",
        hvc_address,
    )
    .differs("Xen reports the instruction after it"),
    check(
        "an undefined smc is reported at its own address",
        smc_address,
    ),
    check("smc #0 is a firmware call", firmware_call),
];

/// Distance of the address that the latest exception reported from that of its instruction.
static OFF: AtomicU64 = AtomicU64::new(0);

/// Fails unless this instruction is undefined; leaves how far the address reported was off.
macro_rules! must_be_undefined {
    ($elr:expr, $instruction:literal) => {{
        let mut address: u64 = 0;
        let attempted = attempt(|| {
            // SAFETY: an undefined instruction does nothing; a call that is not must at most answer in x0-x17.
            unsafe {
                asm!("adr x20, 2f", "2:", $instruction, "nop", out("x20") address, clobber_abi("C"));
            }
        });
        if let Err(fault) = &attempted {
            // The handler steps over one instruction: it must be this one.
            $elr.store(fault.elr.wrapping_sub(address), Ordering::Relaxed);
        }
        undefined(attempted, $instruction)?;
    }};
}

fn hvc() -> Outcome {
    must_be_undefined!(OFF, "hvc #1");
    must_be_undefined!(OFF, "hvc #0xea0");
    must_be_undefined!(OFF, "hvc #0xea2");
    must_be_undefined!(OFF, "hvc #0xfffe");
    must_be_undefined!(OFF, "hvc #0xffff");
    Ok(())
}

fn smc() -> Outcome {
    must_be_undefined!(OFF, "smc #1");
    must_be_undefined!(OFF, "smc #0xea1");
    must_be_undefined!(OFF, "smc #0xffff");
    Ok(())
}

fn hvc_address() -> Outcome {
    must_be_undefined!(OFF, "hvc #1");
    ensure_eq!(OFF.load(Ordering::Relaxed), 0, "distance");
    Ok(())
}

fn smc_address() -> Outcome {
    must_be_undefined!(OFF, "smc #1");
    ensure_eq!(OFF.load(Ordering::Relaxed), 0, "distance");
    Ok(())
}

fn firmware_call() -> Outcome {
    let [version, ..] = psci::smc(psci::VERSION, [0; 3]);
    ensure_eq!(version, 0x1_0001, "PSCI version by smc");
    Ok(())
}
