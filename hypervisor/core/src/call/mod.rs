// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls: the number finds the handler, the handler decodes, checks and performs.
//!
//! `HVC #0xEA1`, number in X16, arguments in X0 to X4, result in X0; nothing else changes. Long
//! calls give way to interrupts and go on: the arguments are rewritten and the HVC runs again.

#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod access;
mod console;
mod domctl;
mod event;
mod grant;
mod hvm;
mod hypfs;
mod memory;
mod multicall;
mod page;
mod platform;
mod sched;
mod sysctl;
#[cfg(any(test, feature = "fake"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod vcpu;
mod version;

use crate::current::Current;
use crate::guest::copy::GuestPtr;
use xen_abi::errno::Errno;
use xen_abi::hypercall;

/// Arguments: X0 to X4 (a multicall entry has a sixth that nobody uses).
pub type Args = [u64; 5];

/// How a hypercall ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// With this in X0.
    Return(i64),
    /// Not yet: it runs again, with these arguments, once interrupts were let in.
    Again(Args),
}

/// What a handler returns: the value of X0, or an error.
pub type CallResult = Result<Outcome, Errno>;

impl From<CallResult> for Outcome {
    fn from(result: CallResult) -> Self {
        result.unwrap_or_else(|errno| Self::Return(errno.into()))
    }
}

/// A successful end with `value`.
pub(crate) fn done(value: impl Into<i64>) -> CallResult {
    Ok(Outcome::Return(value.into()))
}

/// Success: 0 in X0.
pub(crate) const OK: CallResult = Ok(Outcome::Return(0));

/// Lets `act` work on a copy of the structure at `arg`, and copies it back if that succeeds.
fn update<T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable>(
    cur: &Current<'_>,
    arg: GuestPtr<T>,
    act: impl FnOnce(&mut T) -> Result<(), Errno>,
) -> CallResult {
    let mut value = arg.read(cur.memory())?;
    act(&mut value)?;
    arg.write(cur.memory(), &value)?;
    OK
}

/// The handler of a hypercall number; calls that Debian's Xen 4.20 lacks on Arm answer `ENOSYS`.
#[inline]
fn perform(cur: &mut Current<'_>, number: u64, args: Args) -> CallResult {
    match number {
        hypercall::MULTICALL => multicall::multicall(cur, args),
        _ => single(cur, number, args),
    }
}

/// The handler of a hypercall that may stand in a multicall.
fn single(cur: &mut Current<'_>, number: u64, args: Args) -> CallResult {
    match number {
        hypercall::PLATFORM_OP => platform::platform_op(cur, args),
        hypercall::MEMORY_OP => memory::memory_op(cur, args),
        hypercall::XEN_VERSION => version::xen_version(cur, args),
        hypercall::CONSOLE_IO => console::console_io(cur, args),
        hypercall::GRANT_TABLE_OP => grant::grant_table_op(cur, args),
        hypercall::VM_ASSIST => vcpu::vm_assist(cur, args),
        hypercall::VCPU_OP => vcpu::vcpu_op(cur, args),
        hypercall::SCHED_OP => sched::sched_op(cur, args),
        hypercall::EVENT_CHANNEL_OP => event::event_channel_op(cur, args),
        hypercall::HVM_OP => hvm::hvm_op(cur, args),
        hypercall::SYSCTL => sysctl::sysctl(cur, args),
        hypercall::DOMCTL => domctl::domctl(cur, args),
        hypercall::HYPFS_OP => hypfs::hypfs_op(cur, args),
        _ => Err(Errno::NoSys),
    }
}

/// Handles the hypercall that `cur` just made.
pub fn hypercall(cur: &mut Current<'_>) {
    let number = cur.regs.get(16);
    let [a0, a1, a2, a3, a4, ..] = cur.regs.x;
    let outcome = perform(cur, number, [a0, a1, a2, a3, a4]).into();
    if cur.sys.frames.take_abandoned() {
        cur.sys.bury_dead();
    }
    match outcome {
        Outcome::Return(value) => cur.regs.set(0, value as u64),
        Outcome::Again(args) => {
            for (n, arg) in (0u8..).zip(args) {
                cur.regs.set(n, arg);
            }
            cur.regs.rewind();
        }
    }
}
