// SPDX-License-Identifier: MIT OR Apache-2.0
//! `multicall` (public/xen.h): hypercalls from a list.

use super::{Args, CallResult, OK, Outcome, single};
use crate::current::Current;
use crate::guest::copy::GuestPtr;
use core::mem::offset_of;
use xen_abi::errno::Errno;
use xen_abi::hypercall::MULTICALL;
use xen_abi::xen::MulticallEntry;

/// Performs the calls one by one. What gives way to an interrupt goes on with its arguments in
/// the list rewritten, and the list shortened by what is done.
pub(super) fn multicall(cur: &mut Current<'_>, [list, count, ..]: Args) -> CallResult {
    let list = GuestPtr::<MulticallEntry>::new(list);
    let count = u64::from(count as u32);
    let from = |done: u64| -> CallResult {
        let rest = list.at(done)?.gva().0;
        Ok(Outcome::Again([rest, count.saturating_sub(done), 0, 0, 0]))
    };
    for n in 0..count {
        if n > 0 && cur.must_give_way() {
            return from(n);
        }
        let entry = list.at(n)?;
        let call = entry.read(cur.memory())?;
        match one(cur, &call) {
            Outcome::Return(value) => {
                field(entry, offset_of!(MulticallEntry, result))?.write(cur.memory(), &value)?;
            }
            Outcome::Again(args) => {
                field(entry, offset_of!(MulticallEntry, args))?.write(cur.memory(), &args)?;
                return from(n);
            }
        }
    }
    OK
}

/// One call; a list in a list is refused.
fn one(cur: &mut Current<'_>, call: &MulticallEntry) -> Outcome {
    let [a0, a1, a2, a3, a4, _] = call.args;
    match call.op {
        MULTICALL => Err(Errno::Inval).into(),
        op => single(cur, op, [a0, a1, a2, a3, a4]).into(),
    }
}

/// The part of an entry at `offset`.
fn field<T>(entry: GuestPtr<MulticallEntry>, offset: usize) -> Result<GuestPtr<T>, Errno> {
    let at = entry.gva().checked_add(offset as u64).ok_or(Errno::Fault)?;
    Ok(GuestPtr::new(at.0))
}
