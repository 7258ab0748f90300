// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random hypercalls on random memory: nothing panics, locks are taken in order, every call ends,
//! and no page is lost.

use super::super::testing::RAM;
use super::*;
use crate::addr::{Gva, Mfn};
use crate::frame::Kind;
use crate::guest::copy::GuestMemory;
use core::sync::atomic::Ordering;
use proptest::prelude::*;
use std::sync::LazyLock;
use std::vec::Vec;

/// A call: who, which, on what memory, interrupted or not.
#[derive(Clone, Debug)]
struct Random {
    who: usize,
    number: u64,
    args: [u64; 5],
    words: Vec<u64>,
    irq: bool,
}

/// The guest's own page `page`, word `n`.
fn address(page: u64, n: u64) -> u64 {
    0xfff0_0000 + page * 4096 + n * 8
}

fn domid() -> impl Strategy<Value = u64> {
    prop::sample::select(std::vec![0u64, 1, 1, 2, 0x7ff0, 0x7ff0, 0x7ff0, 77])
}

/// A frame number: of a domU, of the machine, or of nothing.
fn gfn() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0u64..24).prop_map(|n| DOMU_GFN + n),
        4 => (0u64..0x1000).prop_map(|n| 0x40000 + n),
        2 => 0u64..24,
        1 => any::<u64>(),
    ]
}

/// What a guest might say: small numbers, domains, frames, its own addresses, anything.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0u64..16,
        2 => domid(),
        3 => gfn(),
        3 => (0u64..8, 0u64..64).prop_map(|(page, n)| address(page, n)),
        1 => any::<u64>(),
    ]
}

/// Any number with anything.
fn wild() -> impl Strategy<Value = (u64, [u64; 5], Vec<u64>)> {
    let numbers = prop_oneof![
        8 => prop::sample::select(std::vec![7u64, 12, 13, 17, 18, 20, 21, 24, 29, 32, 32, 34]),
        1 => any::<u64>(),
    ];
    let args = prop::array::uniform4(word());
    let words = prop::collection::vec(word(), 16);
    (numbers, 0u64..64, args, words)
        .prop_map(|(number, op, [a, b, c, d], words)| (number, [op, a, b, c, d], words))
}

/// A memory operation that is nearly right: lists are at words 8 and 12.
fn memory() -> impl Strategy<Value = (u64, [u64; 5], Vec<u64>)> {
    let list = prop::collection::vec(gfn(), 8);
    let structure = prop_oneof![
        (
            prop::sample::select(std::vec![0u64, 1, 1, 6, 6]),
            0u64..6,
            domid(),
            prop::sample::select(std::vec![0u64, 0, 0, 1, 9])
        )
            .prop_map(|(op, nr, dom, order)| (op, [address(0, 8), nr, order, dom])),
        (domid(), 0u64..6, gfn(), gfn())
            .prop_map(|(dom, space, idx, gpfn)| (7, [dom | space << 32, idx % 70, gpfn, 0])),
        (domid(), 0u64..6, domid(), 0u64..4).prop_map(|(dom, space, foreign, nr)| {
            let head = dom | space << 16 | nr << 32 | foreign << 48;
            (23, [head, address(0, 8), address(0, 12), address(1, 0)])
        }),
        (domid(), gfn()).prop_map(|(dom, gpfn)| (15, [dom, gpfn, 0, 0])),
        (domid(), 0u64..4).prop_map(|(dom, nr)| (28, [dom | 1 << 16, nr, 0, address(0, 12)])),
    ];
    (structure, list).prop_map(|((op, head), list)| {
        let words = [head.to_vec(), std::vec![0; 4], list].concat();
        (MEMORY_OP, [op, address(0, 0), 0, 0, 0], words)
    })
}

fn random() -> impl Strategy<Value = Random> {
    let call = prop_oneof![wild(), memory()];
    (0usize..3, call, any::<bool>()).prop_map(|(who, (number, args, words), irq)| Random {
        who,
        number,
        args,
        words,
        irq,
    })
}

/// `0xfff0_0000` stands for the guest's own memory.
fn own(guest: &Guest, word: u64) -> u64 {
    match word >> 16 {
        0xfff0 => guest.page(0) + (word & 0xffff),
        _ => word,
    }
}

fn perform(machine: &mut Machine, random: &Random) {
    machine.hw.irq.store(random.irq, Ordering::Relaxed);
    let sys = machine.sys;
    let guest = &mut machine.guests[random.who];
    // The machine would go down, which is not a panic of ours.
    let shutdown = random.number == SCHED_OP || random.number == MULTICALL;
    if shutdown && guest.domain.role.hardware {
        return;
    }
    let words = random.words.iter().cycle().take(64);
    let bytes: Vec<u8> = words.flat_map(|&w| own(guest, w).to_le_bytes()).collect();
    let memory = GuestMemory::new(sys, guest.domain.id);
    // Gone if the guest gave the page away.
    for page in 0..8 {
        let _ = memory.write_bytes(Gva(guest.page(page)), &bytes);
    }
    let args = random.args.map(|a| own(guest, a));
    guest.call(random.number, &args);
}

/// Every page is free, the hypervisor's, or counted as a domain's.
fn check_pages(machine: &Machine) {
    let frames = machine.sys.frames;
    let mut ram = [0u32; 3];
    let mut free = 0;
    for mfn in RAM.start.frame().0..RAM.end.frame().0 {
        let state = frames.state(Mfn(mfn)).unwrap();
        match (state.kind(), state.owner()) {
            (Kind::Free, _) => free += 1,
            (Kind::Ram, Some(owner)) => ram[usize::from(owner.0)] += 1,
            _ => {}
        }
    }
    assert_eq!(free, frames.free_pages());
    for (guest, counted) in machine.guests.iter().zip(ram) {
        assert_eq!(guest.tot_pages(), counted);
        assert!(counted <= guest.domain.max_pages.load(Ordering::Relaxed));
    }
}

/// Takes everything from the domains. Returns how many pages are free then, or were but for the
/// domains' Xen pages.
fn end(machine: &Machine) -> u64 {
    let frames = machine.sys.frames;
    for guest in &machine.guests {
        while guest.domain.p2m.relinquish(u32::MAX) != crate::p2m::Progress::Done {}
        while crate::event::close_all(&*guest.domain, u32::MAX) != crate::event::Progress::Done {}
    }
    for guest in &machine.guests {
        let all = frames.relinquish(guest.domain.id, Mfn(0), u32::MAX);
        assert_eq!(all, crate::frame::Relinquished::Done);
    }
    let (start, end) = (RAM.start.frame(), RAM.end.frame());
    let states = (start.0..end.0).filter_map(|mfn| frames.state(Mfn(mfn)));
    let owned: Vec<_> = states.filter(|s| s.owner().is_some()).collect();
    // Only the domains' own Xen pages, which live as long as they, and nobody else holds those.
    assert!(
        owned
            .iter()
            .all(|s| s.kind() == Kind::XenShared && s.references() == 1)
    );
    frames.free_pages() + owned.len() as u64
}

/// What [`end`] says when nothing was done.
static UNTOUCHED: LazyLock<u64> = LazyLock::new(|| end(&Machine::new()));

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn random_calls_do_no_harm(calls in prop::collection::vec(random(), 1..300)) {
        let mut machine = Machine::new();
        for call in &calls {
            perform(&mut machine, call);
        }
        check_pages(&machine);
        prop_assert_eq!(end(&machine), *UNTOUCHED);
    }
}
