// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random sequences of operations against a model, with guests that follow the protocol, guests
//! that scribble on the shared pages, and several at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use super::bind::is_per_vcpu;
use super::sim::{Guest, VCPUS, status};
use super::*;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use proptest::prelude::*;

#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    Unbound(usize),
    Peer(usize, u32),
    Virq(u32),
    Ipi,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    end: End,
    vcpu: u32,
    pending: bool,
}

/// An operation; `pick` chooses among the ports of `d`.
#[derive(Clone, Debug)]
enum Op {
    Alloc(usize, usize),
    Bind(usize, usize, usize),
    Virq(usize, u32, u32),
    Ipi(usize, u32),
    Close(usize, usize),
    Send(usize, usize),
    Raise(usize, u32, u32),
    Mask(usize, usize),
    Unmask(usize, usize),
    Vcpu(usize, usize, u32),
    Priority(usize, usize, u32),
    Fifo(usize),
    Expand(usize),
    Register(usize, u32),
    Handle(usize, u32, usize),
    Reset(usize),
    Scribble(usize, usize, usize, u32),
}

const DOMAINS: usize = 3;

fn op() -> impl Strategy<Value = Op> {
    let d = 0..DOMAINS;
    let pick = 0..64usize;
    let vcpu = 0..VCPUS;
    let virq = prop_oneof![Just(1u32), Just(3), Just(8)];
    prop_oneof![
        4 => (d.clone(), d.clone()).prop_map(|(d, r)| Op::Alloc(d, r)),
        4 => (d.clone(), d.clone(), pick.clone()).prop_map(|(d, r, p)| Op::Bind(d, r, p)),
        1 => (d.clone(), virq.clone(), vcpu.clone()).prop_map(|(d, q, v)| Op::Virq(d, q, v)),
        1 => (d.clone(), vcpu.clone()).prop_map(|(d, v)| Op::Ipi(d, v)),
        2 => (d.clone(), pick.clone()).prop_map(|(d, p)| Op::Close(d, p)),
        12 => (d.clone(), pick.clone()).prop_map(|(d, p)| Op::Send(d, p)),
        2 => (d.clone(), virq, vcpu.clone()).prop_map(|(d, q, v)| Op::Raise(d, q, v)),
        2 => (d.clone(), pick.clone()).prop_map(|(d, p)| Op::Mask(d, p)),
        2 => (d.clone(), pick.clone()).prop_map(|(d, p)| Op::Unmask(d, p)),
        3 => (d.clone(), pick.clone(), vcpu.clone()).prop_map(|(d, p, v)| Op::Vcpu(d, p, v)),
        3 => (d.clone(), pick.clone(), 0..16u32).prop_map(|(d, p, q)| Op::Priority(d, p, q)),
        1 => d.clone().prop_map(Op::Fifo),
        1 => d.clone().prop_map(Op::Expand),
        1 => (d.clone(), vcpu.clone()).prop_map(|(d, v)| Op::Register(d, v)),
        6 => (d.clone(), vcpu, 1..4usize).prop_map(|(d, v, n)| Op::Handle(d, v, n)),
        // Rare: it wipes out what the others built.
        1 => (d, 0..4u32).prop_map(|(d, n)| if n == 0 { Op::Reset(d) } else { Op::Handle(d, 0, 9) }),
    ]
}

fn hostile_op() -> impl Strategy<Value = Op> {
    let value = prop_oneof![
        any::<u32>(),
        Just(0),
        Just(!0),
        (0..64u32).prop_map(|link| 1 << 29 | link),
        (0..64u32).prop_map(|link| 0xf000_0000 | link),
    ];
    let offset = prop_oneof![0..1024usize, 0..64usize];
    let scribble = (0..DOMAINS, 0..9usize, offset, value)
        .prop_map(|(d, page, at, value)| Op::Scribble(d, page, at, value));
    prop_oneof![1 => op(), 1 => scribble]
}

struct World {
    guests: Vec<Guest>,
    model: [BTreeMap<u32, Entry>; DOMAINS],
    hostile: bool,
}

impl World {
    fn new(hostile: bool) -> Self {
        Self {
            guests: (0..DOMAINS).map(|d| Guest::new(d as u16, 90)).collect(),
            model: Default::default(),
            hostile,
        }
    }

    fn domain(&self, d: usize) -> Arc<dyn EventDomain> {
        self.guests[d].arc()
    }

    fn pick(&self, d: usize, pick: usize) -> Option<u32> {
        let ports = &self.model[d];
        let index = pick.checked_rem(ports.len())?;
        ports.keys().nth(index).copied()
    }

    fn open(&mut self, d: usize, port: u32, end: End, vcpu: u32) {
        let entry = Entry {
            end,
            vcpu,
            pending: false,
        };
        assert_ne!(port, 0);
        assert!(self.model[d].insert(port, entry).is_none());
    }

    fn raise(&mut self, d: usize, port: u32) {
        self.model[d].get_mut(&port).unwrap().pending = true;
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Alloc(d, r) => {
                if let Ok(port) = alloc_unbound(&*self.domain(d), DomId(r as u16)) {
                    self.open(d, port, End::Unbound(r), 0);
                }
            }
            Op::Bind(d, r, pick) => self.bind(d, r, pick),
            Op::Virq(d, virq, vcpu) => self.bind_virq(d, virq, vcpu),
            Op::Ipi(d, vcpu) => {
                if let Ok(port) = bind_ipi(&*self.domain(d), vcpu) {
                    self.open(d, port, End::Ipi, vcpu);
                }
            }
            Op::Reset(d) => self.reset(d),
            Op::Raise(d, virq, vcpu) => self.raise_virq(d, virq, vcpu),
            Op::Fifo(d) if !self.guests[d].is_fifo() => self.guests[d].init_control(),
            Op::Expand(d) if self.guests[d].is_fifo() && self.guests[d].array.len() < 2 => {
                self.guests[d].expand();
            }
            Op::Register(d, vcpu) => drop(self.guests[d].register(vcpu)),
            Op::Handle(d, vcpu, budget) if !self.hostile => self.handle(d, vcpu, budget),
            Op::Scribble(d, page, at, value) => self.scribble(d, page, at, value),
            _ => self.apply_to_port(op),
        }
    }

    fn apply_to_port(&mut self, op: &Op) {
        match *op {
            Op::Close(d, pick) => {
                if let Some(port) = self.pick(d, pick) {
                    close(&*self.domain(d), port).unwrap();
                    self.closed(d, port);
                }
            }
            Op::Send(d, pick) => self.send(d, pick),
            Op::Mask(d, pick) => {
                if let Some(port) = self.pick(d, pick).filter(|&p| self.guests[d].has_word(p)) {
                    self.guests[d].mask(port);
                }
            }
            Op::Unmask(d, pick) => {
                if let Some(port) = self.pick(d, pick) {
                    unmask(&*self.domain(d), port).unwrap();
                }
            }
            Op::Vcpu(d, pick, vcpu) => {
                if let Some(port) = self.pick(d, pick) {
                    let entry = self.model[d].get_mut(&port).unwrap();
                    let fixed = match entry.end {
                        End::Virq(virq) => is_per_vcpu(virq),
                        End::Ipi => true,
                        End::Unbound(_) | End::Peer(..) => false,
                    };
                    let expected = if fixed { Err(Errno::Inval) } else { Ok(()) };
                    entry.vcpu = if fixed { entry.vcpu } else { vcpu };
                    assert_eq!(bind_vcpu(&*self.domain(d), port, vcpu), expected);
                }
            }
            Op::Priority(d, pick, priority) => {
                if let Some(port) = self.pick(d, pick) {
                    let fifo = self.guests[d].is_fifo();
                    let expected = if fifo { Ok(()) } else { Err(Errno::NoSys) };
                    assert_eq!(set_priority(&*self.domain(d), port, priority), expected);
                }
            }
            _ => {}
        }
    }

    fn bind(&mut self, d: usize, r: usize, pick: usize) {
        let Some(far) = self.pick(r, pick) else {
            return;
        };
        let allowed = self.model[r][&far].end == End::Unbound(d);
        match bind_interdomain(&self.domain(d), &self.domain(r), far) {
            Ok(near) => {
                assert!(allowed);
                self.open(d, near, End::Peer(r, far), 0);
                self.raise(d, near);
                self.model[r].get_mut(&far).unwrap().end = End::Peer(d, near);
            }
            Err(errno) => assert!(!allowed || errno == Errno::NoSpc),
        }
    }

    fn find_virq(&self, d: usize, virq: u32, vcpu: u32) -> Option<u32> {
        let found = self.model[d]
            .iter()
            .find(|(_, e)| e.end == End::Virq(virq) && (!is_per_vcpu(virq) || e.vcpu == vcpu));
        found.map(|(port, _)| *port)
    }

    fn bind_virq(&mut self, d: usize, virq: u32, vcpu: u32) {
        let bound = self.find_virq(d, virq, vcpu).is_some();
        match bind_virq(&*self.domain(d), virq, vcpu) {
            Ok(port) => {
                assert!(!bound);
                self.open(d, port, End::Virq(virq), vcpu);
            }
            Err(Errno::Exist) => assert!(bound),
            Err(Errno::Inval) => assert!(!is_per_vcpu(virq) && vcpu != 0),
            Err(errno) => assert_eq!(errno, Errno::NoSpc),
        }
    }

    fn raise_virq(&mut self, d: usize, virq: u32, vcpu: u32) {
        let vcpu = if is_per_vcpu(virq) { vcpu } else { 0 };
        raise_vcpu_virq(&*self.domain(d), vcpu, virq);
        if let Some(port) = self.find_virq(d, virq, vcpu) {
            self.raise(d, port);
        }
    }

    fn send(&mut self, d: usize, pick: usize) {
        let Some(port) = self.pick(d, pick) else {
            return;
        };
        let sent = send(&*self.domain(d), port);
        match self.model[d][&port].end {
            End::Peer(r, far) => self.raise(r, far),
            End::Ipi => self.raise(d, port),
            End::Unbound(_) => {}
            End::Virq(_) => return assert_eq!(sent, Err(Errno::Inval)),
        }
        assert_eq!(sent, Ok(()));
    }

    fn closed(&mut self, d: usize, port: u32) {
        let entry = self.model[d].remove(&port).unwrap();
        if let End::Peer(r, far) = entry.end {
            self.model[r].get_mut(&far).unwrap().end = End::Unbound(d);
        }
    }

    fn reset(&mut self, d: usize) {
        while reset(&*self.domain(d), 3).unwrap() == Progress::More {}
        while let Some((&port, _)) = self.model[d].first_key_value() {
            self.closed(d, port);
        }
        self.guests[d].forget_fifo();
        self.guests[d].domain.take_upcalls();
    }

    fn handle(&mut self, d: usize, vcpu: u32, budget: usize) {
        let guest = &mut self.guests[d];
        let called = guest.domain.events().upcall_pending(vcpu);
        let mut upcalls = guest.domain.upcalls.lock().unwrap();
        assert_eq!(called, upcalls.contains(&vcpu));
        upcalls.retain(|&v| v != vcpu);
        drop(upcalls);
        for port in guest.handle(vcpu, budget) {
            let entry = self.model[d]
                .get_mut(&port)
                .expect("event on a closed port");
            assert!(core::mem::take(&mut entry.pending), "event nobody sent");
        }
    }

    fn scribble(&self, d: usize, page: usize, at: usize, value: u32) {
        let guest = &self.guests[d];
        let controls = guest.cpus.iter().map(|c| &c.control);
        let infos = guest.infos.iter().flatten();
        let mut pages = guest.array.iter().chain(controls).chain(infos);
        if let Some(page) = pages.nth(page) {
            page.atomic_u32(at * 4).unwrap().store(value, SeqCst);
        }
    }

    fn check(&self) {
        for (d, ports) in self.model.iter().enumerate() {
            let domain = self.domain(d);
            for port in 0..91 {
                let Ok(seen) = status(&*domain, port) else {
                    assert!(!ports.contains_key(&port));
                    continue;
                };
                let expected = ports.get(&port).map_or((0, 0, [0, 0]), |e| match e.end {
                    End::Unbound(r) => (1, e.vcpu, [r as u32, 0]),
                    End::Peer(r, far) => (2, e.vcpu, [r as u32, far]),
                    End::Virq(virq) => (4, e.vcpu, [virq, 0]),
                    End::Ipi => (5, e.vcpu, [0, 0]),
                });
                assert_eq!(seen, expected);
                if !self.hostile {
                    let pending = ports.get(&port).map(|e| e.pending);
                    assert_eq!(is_pending(&*domain, port), pending.ok_or(Errno::Inval));
                }
            }
        }
    }

    /// Lets the guests catch up; then no event may be left.
    fn drain(&mut self) {
        for d in 0..DOMAINS {
            for vcpu in 0..VCPUS {
                let _ = self.guests[d].register(vcpu);
            }
            if self.guests[d].is_fifo() && self.guests[d].array.is_empty() {
                self.guests[d].expand();
            }
            for &port in self.model[d].keys() {
                unmask(&*self.domain(d), port).unwrap();
            }
            while self.guests[d].has_work() {
                (0..VCPUS).for_each(|vcpu| self.handle(d, vcpu, 2));
            }
            for (port, entry) in &self.model[d] {
                assert!(!entry.pending, "d{d} port {port}: event lost");
            }
        }
    }

    fn destroy(self) {
        for guest in &self.guests {
            while close_all(&*guest.domain, 2) == Progress::More {}
        }
        for guest in &self.guests {
            assert_eq!(Arc::strong_count(&guest.domain), 1);
        }
    }
}

proptest! {
    #[test]
    fn no_event_is_lost_or_misdelivered(ops in prop::collection::vec(op(), 1..250)) {
        let mut world = World::new(false);
        for ops in ops.chunks(4) {
            ops.iter().for_each(|op| world.apply(op));
            world.check();
        }
        world.drain();
        world.check();
        world.destroy();
    }

    #[test]
    fn scribbling_guests_harm_only_themselves(ops in prop::collection::vec(hostile_op(), 1..250)) {
        let mut world = World::new(true);
        for op in &ops {
            world.apply(op);
        }
        world.check();
        world.destroy();
    }
}

/// A sender and a guest on two CPUs: after each send the guest comes to see what was written
/// before it.
#[test]
fn no_event_is_lost_between_cpus() {
    for fifo in [false, true] {
        let (a, mut b) = (Guest::new(1, 90), Guest::new(2, 90));
        if fifo {
            b.init_control();
            b.expand();
        }
        let ports: Vec<_> = (0..4)
            .map(|_| {
                let far = alloc_unbound(&*b.domain, DomId(1)).unwrap();
                (bind_interdomain(&a.arc(), &b.arc(), far).unwrap(), far)
            })
            .collect();
        let data: [AtomicU32; 8] = Default::default();
        let done = AtomicBool::new(false);
        let mut seen = [0; 8];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=1_000 {
                    for (near, far) in &ports {
                        data[*far as usize].store(n, SeqCst);
                        send(&*a.domain, *near).unwrap();
                    }
                }
                done.store(true, SeqCst);
            });
            loop {
                let last = done.load(SeqCst);
                for port in b.handle(0, 3) {
                    seen[port as usize] = data[port as usize].load(SeqCst);
                    b.mask(port);
                    unmask(&*b.domain, port).unwrap();
                }
                if last && !b.has_work() {
                    break;
                }
            }
        });
        for (_, far) in &ports {
            assert_eq!(seen[*far as usize], 1_000);
        }
    }
}

/// Both ends of channels are opened, closed and reset at once.
#[test]
fn ends_stay_consistent_between_cpus() {
    let (a, b) = (Guest::new(1, 90), Guest::new(2, 90));
    let work = |near: &Guest, far: &Guest| {
        for n in 0..3_000u32 {
            let _ = alloc_unbound(&*near.domain, far.domain.events().id());
            let port = n % 7 + 1;
            if let Ok(bound) = bind_interdomain(&near.arc(), &far.arc(), port) {
                send(&*near.domain, bound).unwrap();
            }
            let _ = close(&*near.domain, n % 11 + 1);
            if n % 97 == 0 {
                while reset(&*near.domain, 9).is_ok_and(|p| p == Progress::More) {}
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| work(&a, &b));
        scope.spawn(|| work(&b, &a));
    });
    for (near, far) in [(&a, &b), (&b, &a)] {
        for port in 1..64 {
            let Ok((2, _, [_, peer])) = status(&*near.domain, port) else {
                continue;
            };
            let me = u32::from(near.domain.events().id().0);
            assert_eq!(status(&*far.domain, peer).unwrap().2, [me, port]);
        }
    }
    for guest in [&a, &b] {
        while close_all(&*guest.domain, 9) == Progress::More {}
    }
    assert_eq!(Arc::strong_count(&a.domain), 1);
    assert_eq!(Arc::strong_count(&b.domain), 1);
}
