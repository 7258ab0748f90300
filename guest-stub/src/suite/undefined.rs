// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls with immediates that mean nothing.

use core::arch::asm;

use super::check::{Check, Outcome, check, ensure_eq, undefined};
use crate::machine::exception::attempt;
use crate::machine::psci;

pub(super) const CHECKS: &[Check] = &[
    check("hvc with an unknown immediate is undefined", hvc),
    check("smc with an immediate is undefined", smc),
    check("smc #0 is a firmware call", firmware_call),
];

/// Fails unless this instruction is undefined, and reported at its own address.
macro_rules! must_be_undefined {
    ($instruction:literal) => {{
        let mut address: u64 = 0;
        let attempted = attempt(|| {
            // SAFETY: an undefined instruction does nothing; a call that is not must at most answer in x0-x17.
            unsafe {
                asm!("adr x20, 2f", "2:", $instruction, "nop", out("x20") address, clobber_abi("C"));
            }
        });
        if let Err(fault) = &attempted {
            ensure_eq!(fault.elr, address, "ELR of {}", $instruction);
        }
        undefined(attempted, $instruction)?;
    }};
}

fn hvc() -> Outcome {
    must_be_undefined!("hvc #1");
    must_be_undefined!("hvc #0xea0");
    must_be_undefined!("hvc #0xea2");
    must_be_undefined!("hvc #0xfffe");
    must_be_undefined!("hvc #0xffff");
    Ok(())
}

fn smc() -> Outcome {
    must_be_undefined!("smc #1");
    must_be_undefined!("smc #0xea1");
    must_be_undefined!("smc #0xffff");
    Ok(())
}

fn firmware_call() -> Outcome {
    let [version, ..] = psci::smc(psci::VERSION, [0; 3]);
    ensure_eq!(version, 0x1_0001, "PSCI version by smc");
    Ok(())
}
