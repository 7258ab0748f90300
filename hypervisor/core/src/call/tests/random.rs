// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random hypercalls on random memory: nothing panics, locks are taken in order, every call ends,
//! and no page is lost.

use super::*;
use crate::addr::{Gva, Mfn};
use crate::frame::Kind;
use crate::guest::copy::GuestMemory;
use core::sync::atomic::Ordering;
use proptest::prelude::*;
use std::vec::Vec;

/// A call: who, which, on what bytes, interrupted or not.
#[derive(Clone, Debug)]
struct Random {
    who: usize,
    number: u64,
    args: [u64; 5],
    words: Vec<u64>,
    irq: bool,
}

/// What a guest might say: small numbers, domains, frames, its own addresses, anything.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0u64..16,
        2 => prop::sample::select(std::vec![0x7ff0u64, 0x7ff0_0000, 0x1_0000_0001, 0x7ff1]),
        3 => (0u64..24).prop_map(|n| DOMU_GFN + n),
        3 => (0u64..0x1000).prop_map(|n| 0x40000 + n),
        3 => (0u64..8, 0u64..64).prop_map(|(page, n)| 0xfff0_0000 + page * 4096 + n * 8),
        1 => any::<u64>(),
    ]
}

fn random() -> impl Strategy<Value = Random> {
    let numbers = prop_oneof![
        8 => prop::sample::select(std::vec![7u64, 12, 12, 12, 13, 17, 18, 20, 21, 24, 29, 32, 32, 34]),
        1 => any::<u64>(),
    ];
    let args = prop::array::uniform4(word());
    let words = prop::collection::vec(word(), 16);
    (0usize..3, numbers, 0u64..64, args, words, any::<bool>()).prop_map(
        |(who, number, op, [a, b, c, d], words, irq)| Random {
            who,
            number,
            args: [op, a, b, c, d],
            words,
            irq,
        },
    )
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
    let bytes: Vec<u8> = random.words.iter().flat_map(|&w| own(guest, w).to_le_bytes()).collect();
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
    let (start, end) = (super::super::testing::RAM.start, super::super::testing::RAM.end);
    for mfn in start.frame().0..end.frame().0 {
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

/// Without its domains the machine has all its pages back.
fn check_end(machine: Machine, free: u64) {
    let frames = machine.sys.frames;
    for guest in &machine.guests {
        while guest.domain.p2m.relinquish(u32::MAX) != crate::p2m::Progress::Done {}
        while crate::event::close_all(&*guest.domain, u32::MAX) != crate::event::Progress::Done {}
    }
    for guest in &machine.guests {
        let all = frames.relinquish(guest.domain.id, Mfn(0), u32::MAX);
        assert_eq!(all, crate::frame::Relinquished::Done);
    }
    for guest in &machine.guests {
        assert_eq!(guest.tot_pages(), 0);
        assert_eq!(frames.shared_pages(guest.domain.id), 0);
    }
    assert_eq!(frames.free_pages(), free);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_calls_do_no_harm(calls in prop::collection::vec(random(), 1..120)) {
        let mut machine = Machine::new();
        let free = machine.initial_free;
        for call in &calls {
            perform(&mut machine, call);
        }
        check_pages(&machine);
        check_end(machine, free);
    }
}
