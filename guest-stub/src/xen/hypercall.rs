// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypercall instruction.

use core::arch::asm;

/// Makes hypercall `number`; what comes back in x0.
///
/// Buffers that the arguments point to may be written; memory other than them changes only where the operation says
/// so, which is the caller's to know.
#[inline(always)]
pub(crate) fn hypercall(number: u64, arguments: [u64; 5]) -> i64 {
    let result: u64;
    let [x0, x1, x2, x3, x4] = arguments;
    // SAFETY: the hypervisor touches the buffers given and x0-x4 and x16, all declared; without `nomem` the compiler
    // takes all memory it has given away as written.
    unsafe {
        asm!("hvc #0xea1", in("x16") number, inout("x0") x0 => result, inout("x1") x1 => _, inout("x2") x2 => _,
            inout("x3") x3 => _, inout("x4") x4 => _, options(nostack));
    }
    result as i64
}

/// Makes a hypercall of a sub-operation and one structure.
#[inline(always)]
pub(crate) fn operate<T>(number: u64, operation: u32, argument: &mut T) -> i64 {
    hypercall(
        number,
        [operation.into(), &raw mut *argument as u64, 0, 0, 0],
    )
}
