// SPDX-License-Identifier: MIT OR Apache-2.0
//! `multicall`: a list of hypercalls in one.

use xen_abi::hypercall::{DOMCTL, EVENT_CHANNEL_OP, MEMORY_OP, MULTICALL, SCHED_OP, XEN_VERSION};
use xen_abi::xen::MulticallEntry;

use super::call::{UNMAPPED, plain};
use super::check::{Check, Outcome, check, ensure, ensure_eq, rows};
use super::errno::{EFAULT, EINVAL, ENOSYS};
use crate::machine::dt::facts;
use crate::machine::window::Place;

fn entry(op: u64, args: [u64; 2]) -> MulticallEntry {
    let [x0, x1] = args;
    MulticallEntry {
        op,
        result: 0x55,
        args: [x0, x1, 0, 0, 0, 0],
    }
}

/// Makes a list of calls; the answer, and theirs.
fn list<const N: usize>(calls: [(u64, [u64; 2]); N]) -> (i64, [i64; N]) {
    let mut entries = calls.map(|(op, args)| entry(op, args));
    let answer = call(&raw mut entries as u64, N as u64);
    (answer, entries.map(|entry| entry.result as i64))
}

fn call(address: u64, count: u64) -> i64 {
    plain(MULTICALL, address, count, 0)
}

pub(super) const ANSWERS: &[Check] = rows! {
    "an empty list", list([]) => (0, []);
    "an empty list nowhere", call(UNMAPPED, 0) => 0;
    "a list nowhere", call(UNMAPPED, 1) => EFAULT;
    "a list at a null pointer", call(0, 1) => EFAULT;
    "a list in device registers", call(facts().gic.distributor(), 1) => EFAULT;
    "an entry that ends nowhere", call(Place::Writable.end(&[], 32), 1) => EFAULT;
    "an entry on a read-only page", call(Place::ReadOnly.fill(&[XEN_VERSION]), 1) => EFAULT;
    "one call", list([(XEN_VERSION, [0, 0])]) => (0, [0x4_0014]);
    "an unknown number fails alone", list([(63, [0, 0]), (XEN_VERSION, [0, 0])]) => (0, [ENOSYS, 0x4_0014]);
    "number ~0 fails alone", list([(u64::MAX, [0, 0]), (XEN_VERSION, [0, 0])]) => (0, [ENOSYS, 0x4_0014]);
    "a bad pointer fails alone", list([(XEN_VERSION, [1, 0]), (XEN_VERSION, [7, 0])]) => (0, [EFAULT, 4096]);
    "calls of different kinds",
        list([(SCHED_OP, [0, 0]), (MEMORY_OP, [18, 0]), (EVENT_CHANNEL_OP, [4, 0]), (DOMCTL, [0, 0])])
            => (0, [0, 0, EFAULT, EFAULT]);
    "a list in a list", list([(MULTICALL, [0, 0])]) => (0, [EINVAL]);
};

pub(super) const LISTS: &[Check] = &[
    check("three hundred calls", long),
    check(
        "calls before one that cannot be read are done",
        before_the_end,
    ),
    check("an entry keeps its number and arguments", keeps),
    check("an entry over two pages", crossing),
];

fn long() -> Outcome {
    const MANY: usize = 300;
    let mut entries = [entry(XEN_VERSION, [0, 0]); MANY];
    ensure_eq!(call(&raw mut entries as u64, MANY as u64), 0, "multicall");
    let done = entries
        .iter()
        .filter(|entry| entry.result == 0x4_0014)
        .count();
    ensure_eq!(done, MANY, "entries done");
    Ok(())
}

fn before_the_end() -> Outcome {
    let one = [XEN_VERSION, 0x55, 0, 0, 0, 0, 0, 0];
    let at = Place::Writable.end(&one, 64);
    ensure_eq!(call(at, 2), EFAULT, "multicall");
    // SAFETY: the entry is in the window's writable page, which the hypervisor has written.
    let result = unsafe { (at as *const u64).add(1).read_volatile() };
    ensure_eq!(result, 0x4_0014, "the first entry's result");
    Ok(())
}

fn keeps() -> Outcome {
    let mut entries = [entry(XEN_VERSION, [0, 0x77])];
    entries[0].args[5] = 0x99;
    ensure_eq!(call(&raw mut entries as u64, 1), 0, "multicall");
    ensure_eq!(entries[0].op, XEN_VERSION, "op");
    ensure_eq!(entries[0].args, [0, 0x77, 0, 0, 0, 0x99], "args");
    Ok(())
}

fn crossing() -> Outcome {
    #[repr(C, align(4096))]
    struct Two([u64; 1024]);
    let mut two = Two([0; 1024]);
    two.0[508] = XEN_VERSION;
    let at = &raw mut two.0[508] as u64;
    ensure_eq!(call(at, 1), 0, "multicall");
    ensure!(two.0[509] == 0x4_0014, "the result is {:#x}", two.0[509]);
    Ok(())
}
