// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random hypercalls on random memory, and domains that are made, tied to dom0 and destroyed in
//! between: nothing panics, locks are taken in order, every call ends, no page is lost, and none is
//! another's while somebody has it mapped.

use super::super::testing::RAM;
use super::domctl::*;
use super::grant::WINDOW;
use super::*;
use crate::addr::{DomId, Gfn, Gva, Mfn};
use crate::domain::Domain;
use crate::frame::Kind;
use crate::guest::copy::GuestMemory;
use crate::p2m::{PoolLimit, Progress, RamScan};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::vec::Vec;
use xen_abi::domctl::{
    MaxMem, MaxVcpus, PagingMempool, XEN_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_MAX_MEM,
    XEN_DOMCTL_MAX_VCPUS, XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE,
};

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
    prop::sample::select(std::vec![
        0u64, 1, 1, 2, 3, 3, 4, 5, 0x7ff0, 0x7ff0, 0x7ff0, 77
    ])
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
        8 => prop::sample::select(std::vec![7u64, 12, 13, 17, 18, 20, 21, 24, 29, 32, 32, 34, 35, 36]),
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

/// A toolstack's command that is nearly right.
fn toolstack() -> impl Strategy<Value = (u64, [u64; 5], Vec<u64>)> {
    let domctl = (
        prop::sample::select(std::vec![
            1u64, 3, 4, 5, 9, 11, 12, 13, 14, 15, 16, 25, 27, 35, 71, 85, 86
        ]),
        domid(),
        prop::collection::vec(word(), 14),
    )
        .prop_map(|(cmd, dom, words)| {
            let head = [cmd | 0x17 << 32, dom];
            (
                DOMCTL,
                [address(0, 0), 0, 0, 0, 0],
                [head.to_vec(), words].concat(),
            )
        });
    let sysctl = (
        prop::sample::select(std::vec![1u64, 3, 4, 6, 7, 8, 9, 16, 17, 18, 19]),
        prop::collection::vec(word(), 14),
    )
        .prop_map(|(cmd, words)| {
            let head = [cmd | 0x15 << 32];
            (
                SYSCTL,
                [address(0, 0), 0, 0, 0, 0],
                [head.to_vec(), words].concat(),
            )
        });
    prop_oneof![3 => domctl, 1 => sysctl]
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Call(Random),
    /// dom0 makes a domain with some pages.
    Build,
    /// A domain grants a page to dom0, which maps it at a place.
    Tie(u16, u64, u64),
    /// dom0 destroys a domain, interrupted or not.
    Destroy(u16, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => random().prop_map(Step::Call),
        1 => Just(Step::Build),
        2 => (1u16..7, 0..8u64, 0..8u64).prop_map(|(id, page, at)| Step::Tie(id, page, at)),
        1 => (1u16..7, any::<bool>()).prop_map(|(id, irq)| Step::Destroy(id, irq)),
    ]
}

fn random() -> impl Strategy<Value = Random> {
    let call = prop_oneof![wild(), memory(), toolstack()];
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
    if guest.domain.is_dying() {
        return;
    }
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

fn take(machine: &mut Machine, step: &Step) {
    match *step {
        Step::Call(ref call) => perform(machine, call),
        Step::Build => {
            if let Ok(id) = create(machine, &plain()) {
                let (size, max_memkb) = (64 << 12, 256);
                says(machine, XEN_DOMCTL_MAX_VCPUS, id, &MaxVcpus { max: 1 });
                says(machine, XEN_DOMCTL_MAX_MEM, id, &MaxMem { max_memkb });
                says(
                    machine,
                    XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE,
                    id,
                    &PagingMempool { size },
                );
                let gfns: Vec<u64> = (BASE..BASE + NR).collect();
                memory::change(machine.dom0(), 6, id, &gfns, 0);
            }
        }
        Step::Tie(id, page, at) => {
            let Some(domain) = machine.sys.domains.get(DomId(id)) else {
                return;
            };
            let frame = domain.grants.frame(0).unwrap().mfn();
            let table = machine.sys.frames.get(frame, domain.id).unwrap();
            let table = crate::call::page::share(machine.sys.map, table);
            let word = (BASE + page) << 32 | 1;
            table
                .atomic_u64((8 + page as usize) * 8)
                .unwrap()
                .store(word, Ordering::SeqCst);
            drop((table, domain));
            machine.map(0, id, 8 + page as u32, WINDOW + at, 2);
        }
        Step::Destroy(id, irq) => {
            machine.hw.irq.store(irq, Ordering::Relaxed);
            says(machine, XEN_DOMCTL_DESTROYDOMAIN, id, &NONE);
        }
    }
}

/// Every page is free, the hypervisor's, or counted as a domain's that there is. Whoever has one
/// of another's mapped, it is still that one's.
fn check_pages(machine: &Machine) {
    let frames = machine.sys.frames;
    let mut ram: BTreeMap<DomId, u32> = BTreeMap::new();
    let mut free = 0;
    for mfn in RAM.start.frame().0..RAM.end.frame().0 {
        let state = frames.state(Mfn(mfn)).unwrap();
        match (state.kind(), state.owner()) {
            (Kind::Free, _) => free += 1,
            (Kind::Ram, Some(owner)) => *ram.entry(owner).or_default() += 1,
            _ => {}
        }
    }
    let aside = |domain: &Arc<Domain>| match domain.p2m.pool() {
        (PoolLimit::Pages(limit), used) => limit - used,
        (PoolLimit::Unlimited, _) => 0,
    };
    let aside: u64 = machine.sys.domains.all().iter().map(aside).sum();
    assert_eq!(free, frames.free_pages() + aside);
    for domain in machine.sys.domains.all() {
        let counted = ram.remove(&domain.id).unwrap_or(0);
        assert_eq!(frames.tot_pages(domain.id), counted);
        let mut at = Gfn(0);
        loop {
            let (gfn, mfn, nr) = match domain.p2m.next_ram(at) {
                RamScan::Run { gfn, mfn, nr } => (gfn, mfn, nr),
                RamScan::Resume(next) => {
                    at = next;
                    continue;
                }
                RamScan::End => break,
            };
            for n in 0..nr {
                let state = frames.state(Mfn(mfn.0 + n)).unwrap();
                assert!(state.owner().is_some(), "{gfn:?}+{n} of {}", domain.id);
                let ty = domain.p2m.lookup(Gfn(gfn.0 + n)).unwrap().ty;
                assert_eq!(
                    ty.is_ram(),
                    state.owner() == Some(domain.id) && !ty.is_grant()
                );
            }
            at = Gfn(gfn.0 + nr);
        }
    }
    assert_eq!(ram.len(), 0, "pages of domains that there are not: {ram:?}");
}

/// Takes everything from the domains. Returns how many pages are free then, or were but for the
/// domains' Xen pages.
fn end(machine: &Machine) -> u64 {
    let (frames, domains) = (machine.sys.frames, &machine.sys.domains);
    let dom0 = &machine.guests[0].domain;
    while crate::grant::map::relinquish(dom0, u32::MAX) != Progress::Done {}
    while dom0.p2m.relinquish(u32::MAX) != Progress::Done {}
    while crate::event::close_all(&**dom0, u32::MAX) != crate::event::Progress::Done {}
    for domain in domains.all().iter().filter(|d| d.id != dom0.id) {
        while domain.destroy() != Progress::Done {}
    }
    machine.sys.bury_dead();
    assert_eq!(domains.count(), 1);
    let all = frames.relinquish(dom0.id, Mfn(0), u32::MAX);
    assert_eq!(all, crate::frame::Relinquished::Done);
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
    fn random_calls_do_no_harm(steps in prop::collection::vec(step(), 1..300)) {
        let mut machine = Machine::new();
        for (n, step) in steps.iter().enumerate() {
            take(&mut machine, step);
            if n % 64 == 0 {
                check_pages(&machine);
            }
        }
        check_pages(&machine);
        prop_assert_eq!(end(&machine), *UNTOUCHED);
    }
}
