// SPDX-License-Identifier: MIT OR Apache-2.0
//! System registers by name or by encoding (`S3_0_C12_C12_0`).

/// Reads a system register. One that traps and is refused reads as 0 under [`attempt`](super::exception::attempt).
macro_rules! read_sysreg {
    ($name:literal) => {{
        let mut value: u64 = 0;
        // SAFETY: reading a system register changes no memory; what it changes in the machine, the caller asks for.
        unsafe {
            core::arch::asm!(concat!("mrs {0}, ", $name), inout(reg) value, options(nostack));
        }
        value
    }};
}

/// Writes a system register.
macro_rules! write_sysreg {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: the registers written here (interrupt controller, timers, debug, identification) move no memory and
        // no code; the translation registers are written in head.S alone.
        unsafe {
            core::arch::asm!(concat!("msr ", $name, ", {0}"), in(reg) value, options(nostack));
        }
    }};
}

pub(crate) use {read_sysreg, write_sysreg};
