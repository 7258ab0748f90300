// SPDX-License-Identifier: MIT OR Apache-2.0
//! The answers real Xen gives, one by one.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use super::port::Ports;
use super::sim::{Guest, LINKED, PENDING, TestDomain, page, status};
use super::*;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::SeqCst;
use xen_abi::xen::{VIRQ_CON_RING, VIRQ_DEBUG, VIRQ_DOM_EXC, VIRQ_TIMER};

const D1: DomId = DomId(1);
const D2: DomId = DomId(2);

fn pair() -> (Guest, Guest) {
    (Guest::new(1, 1023), Guest::new(2, 1023))
}

fn connect(a: &Guest, b: &Guest) -> (u32, u32) {
    let far = alloc_unbound(&*b.domain, a.domain.events().id()).unwrap();
    (bind_interdomain(&a.arc(), &b.arc(), far).unwrap(), far)
}

fn pending(g: &Guest, port: u32) -> bool {
    is_pending(&*g.domain, port) == Ok(true)
}

#[test]
fn status_of_ports_nobody_has() {
    let (a, _) = pair();
    assert_eq!(status(&*a.domain, 0), Err(Errno::Inval));
    alloc_unbound(&*a.domain, D2).unwrap();
    assert_eq!(status(&*a.domain, 0), Ok((0, 0, [0, 0])));
    assert_eq!(status(&*a.domain, 63), Ok((0, 0, [0, 0])));
    assert_eq!(status(&*a.domain, 1023), Err(Errno::Inval));
    assert_eq!(status(&*a.domain, u32::MAX), Err(Errno::Inval));
}

#[test]
fn port_zero_is_never_valid() {
    let (a, _) = pair();
    assert_eq!(alloc_unbound(&*a.domain, D2), Ok(1));
    assert_eq!(send(&*a.domain, 0), Err(Errno::Inval));
    assert_eq!(close(&*a.domain, 0), Err(Errno::Inval));
    assert_eq!(bind_vcpu(&*a.domain, 0, 0), Err(Errno::Inval));
    assert_eq!(unmask(&*a.domain, 0), Ok(()));
    assert_eq!(is_pending(&*a.domain, 0), Err(Errno::Inval));
}

#[test]
fn virq_errors() {
    let (a, _) = pair();
    let d = &*a.domain;
    let port = bind_virq(d, VIRQ_DOM_EXC, 0).unwrap();
    assert_eq!(bind_virq(d, VIRQ_DOM_EXC, 0), Err(Errno::Exist));
    assert_eq!(bind_virq(d, 24, 0), Err(Errno::Inval));
    assert_eq!(bind_virq(d, VIRQ_CON_RING, 1), Err(Errno::Inval));
    assert_eq!(bind_virq(d, VIRQ_TIMER, 99), Err(Errno::NoEnt));
    // A failed bind leaves the binding alone.
    raise_virq(d, VIRQ_DOM_EXC);
    assert!(pending(&a, port));
    assert_eq!(send(d, port), Err(Errno::Inval));
}

#[test]
fn virqs_follow_their_binding() {
    let (a, _) = pair();
    let d = &*a.domain;
    let global = bind_virq(d, VIRQ_DOM_EXC, 0).unwrap();
    let own = bind_virq(d, VIRQ_DEBUG, 2).unwrap();
    assert_eq!(bind_vcpu(d, global, 1), Ok(()));
    assert_eq!(bind_vcpu(d, own, 1), Err(Errno::Inval));
    assert_eq!(status(d, global), Ok((4, 1, [3, 0])));
    assert_eq!(status(d, own), Ok((4, 2, [1, 0])));
    raise_vcpu_virq(d, 1, VIRQ_DEBUG);
    assert!(!pending(&a, own));
    raise_vcpu_virq(d, 2, VIRQ_DEBUG);
    assert!(pending(&a, own));
    assert_eq!(close(d, global), Ok(()));
    raise_virq(d, VIRQ_DOM_EXC);
    assert!(!pending(&a, global));
    assert_eq!(bind_virq(d, VIRQ_DOM_EXC, 0), Ok(global));
}

#[test]
fn send_by_state() {
    let (a, b) = pair();
    let unbound = alloc_unbound(&*a.domain, D2).unwrap();
    assert_eq!(send(&*a.domain, unbound), Ok(()));
    assert_eq!(send(&*a.domain, unbound + 1), Err(Errno::Inval));
    let (near, far) = connect(&a, &b);
    assert_eq!(send(&*a.domain, near), Ok(()));
    assert!(pending(&b, far));
    let ipi = bind_ipi(&*a.domain, 1).unwrap();
    assert_eq!(send(&*a.domain, ipi), Ok(()));
    assert!(pending(&a, ipi));
    assert_eq!(bind_ipi(&*a.domain, 99), Err(Errno::NoEnt));
    assert_eq!(bind_vcpu(&*a.domain, ipi, 0), Err(Errno::Inval));
}

#[test]
fn bind_interdomain_connects_once() {
    let (a, b) = pair();
    let (near, far) = connect(&a, &b);
    assert!(pending(&a, near), "a lost notification is made up for");
    assert!(!pending(&b, far));
    assert_eq!(status(&*a.domain, near), Ok((2, 0, [2, far])));
    assert_eq!(status(&*b.domain, far), Ok((2, 0, [1, near])));
    let again = bind_interdomain(&a.arc(), &b.arc(), far);
    assert_eq!(again, Err(Errno::Inval));
    let for_other = alloc_unbound(&*b.domain, DomId(7)).unwrap();
    let stolen = bind_interdomain(&a.arc(), &b.arc(), for_other);
    assert_eq!(stolen, Err(Errno::Inval));
    assert_eq!(status(&*a.domain, near + 1), Ok((0, 0, [0, 0])));
}

#[test]
fn a_domain_connects_to_itself() {
    let (a, _) = pair();
    let (x, y) = connect(&a, &a);
    assert_ne!(x, y);
    a.domain
        .shared_info
        .atomic_u64(48)
        .unwrap()
        .store(0, SeqCst);
    send(&*a.domain, x).unwrap();
    assert!(pending(&a, y) && !pending(&a, x));
    close(&*a.domain, x).unwrap();
    assert_eq!(status(&*a.domain, y), Ok((1, 0, [1, 0])));
    assert_eq!(Arc::strong_count(&a.domain), 1);
}

#[test]
fn close_leaves_the_peer_unbound() {
    let (a, b) = pair();
    let (near, far) = connect(&a, &b);
    bind_vcpu(&*a.domain, near, 2).unwrap();
    assert_eq!(close(&*a.domain, near), Ok(()));
    assert!(!pending(&a, near));
    assert_eq!(status(&*a.domain, near), Ok((0, 0, [0, 0])));
    assert_eq!(status(&*b.domain, far), Ok((1, 0, [1, 0])));
    assert_eq!(close(&*a.domain, near), Err(Errno::Inval));
    assert_eq!(send(&*b.domain, far), Ok(()));
    assert_eq!(Arc::strong_count(&a.domain), 1);
    assert_eq!(Arc::strong_count(&b.domain), 1);
    assert!(bind_interdomain(&a.arc(), &b.arc(), far).is_ok());
}

#[test]
fn port_numbers_run_out() {
    let d = TestDomain::new(1, 100);
    for port in 1..=100 {
        assert_eq!(alloc_unbound(&*d, D2), Ok(port));
    }
    assert_eq!(alloc_unbound(&*d, D2), Err(Errno::NoSpc));
    close(&*d, 40).unwrap();
    close(&*d, 7).unwrap();
    assert_eq!(alloc_unbound(&*d, D2), Ok(7));
    assert_eq!(alloc_unbound(&*d, D2), Ok(40));
    assert_eq!(alloc_unbound(&*d, D2), Err(Errno::NoSpc));
}

#[test]
fn the_abi_limits_port_numbers() {
    let mut g = Guest::new(1, u32::MAX);
    while let Ok(port) = alloc_unbound(&*g.domain, D2) {
        assert!(port < 4096);
    }
    g.init_control();
    assert_eq!(alloc_unbound(&*g.domain, D2), Ok(4096));
    assert_eq!(status(&*g.domain, 4096), Ok((1, 0, [2, 0])));
    let xen = alloc_xen(&*g.domain, D2).unwrap();
    while reset(&*g.domain, 1000).unwrap() == Progress::More {}
    assert_eq!(status(&*g.domain, 4096), Err(Errno::Inval));
    for op in [send, close, unmask] {
        assert_eq!(op(&*g.domain, 4096), Err(Errno::Inval));
    }
    assert_eq!(is_pending(&*g.domain, 4096), Err(Errno::Inval));
    notify_xen(&*g.domain, xen);
    assert_eq!(close_xen(&*g.domain, xen), Ok(()));
}

#[test]
fn bind_vcpu_wants_a_vcpu_first() {
    let (a, _) = pair();
    assert_eq!(bind_vcpu(&*a.domain, 9999, 99), Err(Errno::NoEnt));
    assert_eq!(bind_vcpu(&*a.domain, 9999, 0), Err(Errno::Inval));
}

#[test]
fn fifo_set_up_errors() {
    let (a, _) = pair();
    let d = &*a.domain;
    let fresh = || Ok(page());
    assert_eq!(expand_array(d, fresh), Err(Errno::OpNotSupp));
    let port = alloc_unbound(d, D2).unwrap();
    assert_eq!(set_priority(d, port, 3), Err(Errno::NoSys));
    assert_eq!(set_priority(d, 5000, 3), Err(Errno::Inval));
    assert_eq!(init_control(d, 9, 0, fresh), Err(Errno::NoEnt));
    for offset in [4, 4096 - 64, u32::MAX - 7] {
        assert_eq!(init_control(d, 0, offset, fresh), Err(Errno::Inval));
    }
    let unmapped = || Err(Errno::Inval);
    assert_eq!(init_control(d, 0, 0, unmapped), Err(Errno::Inval));
    assert_eq!(expand_array(d, fresh), Err(Errno::OpNotSupp));
    assert_eq!(init_control(d, 0, 4096 - 72, fresh), Ok(()));
    assert_eq!(init_control(d, 0, 0, fresh), Err(Errno::Inval));
    assert_eq!(init_control(d, 1, 0, fresh), Ok(()));
    assert_eq!(set_priority(d, port, 15), Ok(()));
    assert_eq!(set_priority(d, port, 16), Err(Errno::Inval));
    assert_eq!(expand_array(d, unmapped), Err(Errno::Inval));
    for _ in 0..128 {
        assert_eq!(expand_array(d, fresh), Ok(()));
    }
    assert_eq!(expand_array(d, fresh), Err(Errno::NoSpc));
}

#[test]
fn expanding_after_a_reset_in_between() {
    let mut g = Guest::new(1, 1023);
    g.init_control();
    let d = &*g.domain;
    let result = expand_array(d, || {
        assert_eq!(reset(d, 10), Ok(Progress::Done));
        Ok(page())
    });
    assert_eq!(result, Err(Errno::OpNotSupp));
}

#[test]
fn two_level_delivery() {
    let (a, b) = pair();
    let (near, far) = connect(&a, &b);
    let info = &b.domain.shared_info;
    send(&*a.domain, near).unwrap();
    assert_eq!(info.atomic_u64(48).unwrap().load(SeqCst), 1 << far);
    assert_eq!(info.atomic_u64(8).unwrap().load(SeqCst), 1);
    assert_eq!(info.atomic_u8(0).unwrap().load(SeqCst), 1);
    assert!(b.domain.events().upcall_pending(0));
    assert_eq!(b.domain.take_upcalls(), [0]);
    send(&*a.domain, near).unwrap();
    assert_eq!(b.domain.take_upcalls(), []);
    assert_eq!(*b.domain.polled.lock().unwrap(), [far]);
}

#[test]
fn masked_events_wait_for_unmask() {
    for fifo in [false, true] {
        let (a, mut b) = pair();
        let (near, far) = connect(&a, &b);
        if fifo {
            b.init_control();
            b.expand();
        }
        b.mask(far);
        send(&*a.domain, near).unwrap();
        assert_eq!(b.domain.take_upcalls(), []);
        assert_eq!(
            *b.domain.polled.lock().unwrap(),
            [far],
            "polling ignores masks"
        );
        unmask(&*b.domain, far).unwrap();
        assert_eq!(b.domain.take_upcalls(), [0]);
        assert_eq!(b.handle(0, 9), [far]);
    }
}

#[test]
fn fifo_delivery_in_order_of_priority() {
    let (a, mut b) = pair();
    b.init_control();
    b.expand();
    let ports: Vec<_> = (0..4).map(|_| connect(&a, &b)).collect();
    set_priority(&*b.domain, ports[2].1, 0).unwrap();
    for (near, _) in &ports {
        send(&*a.domain, *near).unwrap();
    }
    let control = &b.cpus[0].control;
    assert_eq!(control.atomic_u32(0).unwrap().load(SeqCst), 1 << 7 | 1);
    assert_eq!(control.atomic_u32(8 + 28).unwrap().load(SeqCst), ports[0].1);
    let first = b.word(ports[0].1).load(SeqCst);
    assert_eq!(first, PENDING | LINKED | ports[1].1);
    assert_eq!(b.domain.take_upcalls(), [0]);
    let order = [2, 0, 1, 3].map(|i: usize| ports[i].1);
    assert_eq!(b.handle(0, 9), order);
}

#[test]
fn a_queued_event_stays_on_its_queue() {
    let (a, mut b) = pair();
    b.init_control();
    b.expand();
    b.register(1).unwrap();
    let (near, far) = connect(&a, &b);
    b.mask(far);
    send(&*a.domain, near).unwrap();
    unmask(&*b.domain, far).unwrap();
    bind_vcpu(&*b.domain, far, 1).unwrap();
    send(&*a.domain, near).unwrap();
    assert_eq!(b.handle(1, 9), []);
    assert_eq!(b.handle(0, 9), [far]);
    send(&*a.domain, near).unwrap();
    // vCPU 0's queue ended with the port; what comes next there must not follow it to vCPU 1.
    let (near2, far2) = connect(&a, &b);
    send(&*a.domain, near2).unwrap();
    assert_eq!(b.handle(0, 9), [far2]);
    assert_eq!(b.handle(1, 9), [far]);
}

#[test]
fn a_port_on_a_queue_is_not_reused() {
    let (a, mut b) = pair();
    b.init_control();
    b.expand();
    let (near, far) = connect(&a, &b);
    send(&*a.domain, near).unwrap();
    close(&*b.domain, far).unwrap();
    assert_eq!(alloc_unbound(&*b.domain, D1), Ok(far + 1));
    assert_eq!(b.handle(0, 9), []);
    assert_eq!(alloc_unbound(&*b.domain, D1), Ok(far));
}

#[test]
fn events_survive_the_switch_to_fifo() {
    let (a, mut b) = pair();
    let (near, far) = connect(&a, &b);
    let (near2, far2) = connect(&a, &b);
    send(&*a.domain, near).unwrap();
    b.init_control();
    assert!(pending(&b, far) && !pending(&b, far2));
    send(&*a.domain, near2).unwrap();
    assert!(pending(&b, far2));
    assert_eq!(b.handle(0, 9), []);
    b.expand();
    assert_eq!(b.handle(0, 9), [far, far2]);
}

#[test]
fn an_event_for_a_vcpu_without_queues_stays_pending() {
    let (a, mut b) = pair();
    init_control(&*b.domain, 0, 0, || Ok(page())).unwrap();
    b.expand();
    let (near, far) = connect(&a, &b);
    bind_vcpu(&*b.domain, far, 1).unwrap();
    send(&*a.domain, near).unwrap();
    assert_eq!(b.word(far).load(SeqCst), PENDING);
    bind_vcpu(&*b.domain, far, 0).unwrap();
    unmask(&*b.domain, far).unwrap();
    assert_eq!(b.word(far).load(SeqCst), PENDING | LINKED);
}

#[test]
fn vcpu_info_can_be_moved_once() {
    let (a, mut b) = pair();
    let d = &*b.domain;
    let fresh = || Ok(page());
    assert_eq!(register_vcpu_info(d, 9, 0, fresh), Err(Errno::NoEnt));
    for offset in [4, 4056, !7] {
        assert_eq!(register_vcpu_info(d, 0, offset, fresh), Err(Errno::NXIO));
    }
    let unmapped = || Err(Errno::Inval);
    assert_eq!(register_vcpu_info(d, 0, 4048, unmapped), Err(Errno::Inval));
    let (near, far) = connect(&a, &b);
    bind_vcpu(&*b.domain, far, 1).unwrap();
    send(&*a.domain, near).unwrap();
    assert_eq!(b.domain.take_upcalls(), [], "vCPU 1 has no vcpu_info");
    b.register(1).unwrap();
    assert_eq!(b.domain.take_upcalls(), [1]);
    let info = b.infos[1].as_ref().unwrap();
    assert_eq!(info.atomic_u64(8).unwrap().load(SeqCst), !0);
    assert_eq!(b.handle(1, 9), [far]);
    assert_eq!(b.register(1), Err(Errno::Busy));
}

#[test]
fn vcpu_info_moves_with_its_content() {
    let (_, b) = pair();
    let time = b.domain.shared_info.atomic_u64(32).unwrap();
    time.store(0x1234, SeqCst);
    let page = page();
    register_vcpu_info(&*b.domain, 0, 0xc40, || Ok(page.clone())).unwrap();
    assert_eq!(page.atomic_u64(0xc60).unwrap().load(SeqCst), 0x1234);
    assert_eq!(page.atomic_u8(0xc40).unwrap().load(SeqCst), 1);
}

#[test]
fn the_hypervisors_ports_are_not_the_guests() {
    let (a, b) = pair();
    let d = &*a.domain;
    let port = alloc_xen(d, D2).unwrap();
    assert_eq!(
        status(d, port).unwrap().0,
        xen_abi::event::EVTCHNSTAT_UNBOUND
    );
    assert_eq!(send(d, port), Err(Errno::Inval));
    assert_eq!(close(d, port), Err(Errno::Inval));
    assert_eq!(bind_vcpu(d, port, 0), Err(Errno::Inval));
    notify_xen(d, port);
    let far = bind_interdomain(&b.arc(), &a.arc(), port).unwrap();
    b.domain
        .shared_info
        .atomic_u64(48)
        .unwrap()
        .store(0, SeqCst);
    notify_xen(d, port);
    assert!(pending(&b, far));
    send(&*b.domain, far).unwrap();
    assert_eq!(*a.domain.xen.lock().unwrap(), [port]);
    assert_eq!(is_pending(d, port), Ok(false));
    assert_eq!(reset(d, 100), Ok(Progress::Done));
    send(&*b.domain, far).unwrap();
    assert_eq!(a.domain.xen.lock().unwrap().len(), 2);
    assert_eq!(close_xen(d, port), Ok(()));
    assert_eq!(status(&*b.domain, far), Ok((1, 0, [1, 0])));
}

#[test]
fn reset_goes_in_slices_and_back_to_two_levels() {
    let (a, mut b) = pair();
    b.init_control();
    b.expand();
    let ports: Vec<_> = (0..150).map(|_| connect(&a, &b)).collect();
    let mut calls = 1;
    while reset(&*b.domain, 10).unwrap() == Progress::More {
        calls += 1;
    }
    assert_eq!(calls, 16);
    for (near, _) in &ports {
        assert_eq!(status(&*a.domain, *near), Ok((1, 0, [2, 0])));
    }
    let port = alloc_unbound(&*b.domain, D1).unwrap();
    assert_eq!(port, 1);
    assert_eq!(set_priority(&*b.domain, port, 3), Err(Errno::NoSys));
    b.forget_fifo();
    let near = bind_interdomain(&a.arc(), &b.arc(), port).unwrap();
    b.domain.take_upcalls();
    send(&*a.domain, near).unwrap();
    assert!(pending(&b, port));
}

#[test]
fn ports_opened_during_a_reset_make_it_fail() {
    let (a, _) = pair();
    alloc_unbound(&*a.domain, D2).unwrap();
    alloc_unbound(&*a.domain, D2).unwrap();
    assert_eq!(reset(&*a.domain, 1), Ok(Progress::More));
    assert_eq!(alloc_unbound(&*a.domain, D2), Ok(1));
    assert_eq!(reset(&*a.domain, 9), Err(Errno::Again));
    assert_eq!(reset(&*a.domain, 9), Ok(Progress::Done));
}

#[test]
fn destruction_frees_everything() {
    let (a, mut b) = pair();
    b.init_control();
    b.expand();
    b.register(1).unwrap();
    let (near, far) = connect(&a, &b);
    let xen = alloc_xen(&*b.domain, D1).unwrap();
    let unbound = alloc_unbound(&*b.domain, D1).unwrap();
    bind_interdomain(&a.arc(), &b.arc(), xen).unwrap();
    assert_eq!(close_all(&*b.domain, 1), Progress::More);
    assert_eq!(alloc_unbound(&*b.domain, D1), Err(Errno::Inval));
    let late = bind_interdomain(&a.arc(), &b.arc(), unbound);
    assert_eq!(late, Err(Errno::Inval));
    while close_all(&*b.domain, 1) == Progress::More {}
    assert_eq!(status(&*b.domain, far), Ok((0, 0, [0, 0])));
    assert_eq!(status(&*a.domain, near), Ok((1, 0, [2, 0])));
    send(&*a.domain, near).unwrap();
    raise_virq(&*b.domain, VIRQ_DOM_EXC);
    assert_eq!(b.register(2), Err(Errno::NoEnt));
    let control = init_control(&*b.domain, 0, 0, || Ok(page()));
    assert_eq!(control, Err(Errno::Inval));
    assert_eq!(Arc::strong_count(&a.domain), 1);
    assert_eq!(Arc::strong_count(&b.domain), 1);
}

fn dump(events: &EventChannels, out: &mut dyn core::fmt::Write) {
    let mut next = Some(0);
    while let Some(from) = next {
        next = events.dump(from, out).unwrap();
    }
}

#[test]
fn dump_lists_open_ports() {
    let (a, b) = pair();
    connect(&a, &b);
    bind_virq(&*a.domain, VIRQ_DOM_EXC, 0).unwrap();
    alloc_xen(&*a.domain, D2).unwrap();
    let mut out = String::new();
    dump(a.domain.events(), &mut out);
    let expected = "d1 events: 2 open, 2-level
     1 [p1/m0] interdomain d2 port 1, vcpu 0 prio 7
     2 [p0/m0] virq 3, vcpu 0 prio 7
     3 [p0/m0] unbound d2, vcpu 0 prio 7, xen
";
    assert_eq!(out, expected);
}

/// A console is slow: nobody waits for it with the lock held.
#[test]
fn dump_writes_with_the_lock_free() {
    struct Out<'a>(&'a EventChannels, u32);
    impl core::fmt::Write for Out<'_> {
        fn write_str(&mut self, _: &str) -> core::fmt::Result {
            // The rank checker objects if it is held.
            self.1 += u32::from(self.0.open_ports() == 2);
            Ok(())
        }
    }
    let (a, b) = pair();
    connect(&a, &b);
    bind_virq(&*a.domain, VIRQ_DOM_EXC, 0).unwrap();
    let mut out = Out(a.domain.events(), 0);
    dump(a.domain.events(), &mut out);
    assert!(out.1 >= 3);
}

/// Ports take memory of the hypervisor's: a guest gets no more of it when it is short.
#[test]
fn no_more_ports_without_memory_to_spare() {
    let (a, _) = pair();
    let d = &*a.domain;
    assert_eq!(alloc_unbound(d, D2), Ok(1));
    d.may_grow.store(false, SeqCst);
    assert!((2..64).all(|n| alloc_unbound(d, D2) == Ok(n)));
    assert_eq!(alloc_unbound(d, D2), Err(Errno::NoMem));
    assert_eq!(bind_ipi(d, 0), Err(Errno::NoMem));
    assert_eq!(bind_virq(d, VIRQ_DOM_EXC, 0), Err(Errno::NoMem));
    d.may_grow.store(true, SeqCst);
    assert_eq!(bind_virq(d, VIRQ_DOM_EXC, 0), Ok(64));
}

#[test]
fn allocation_passes_over_busy_numbers() {
    let mut ports = Ports::new(130);
    assert_eq!(ports.next_free(4096, |_| false, || true), Ok(1));
    assert_eq!(ports.next_free(4096, |p| p < 70, || true), Ok(64));
    assert_eq!(ports.next_free(4096, |p| p < 70, || true), Ok(70));
    assert_eq!(ports.next_free(64, |p| p < 64, || true), Err(Errno::NoSpc));
    assert_eq!(ports.next_free(4096, |_| true, || false), Err(Errno::NoMem));
    assert_eq!(ports.next_free(4096, |_| true, || true), Ok(128));
    assert_eq!(ports.next_free(4096, |_| true, || true), Err(Errno::NoSpc));
    assert_eq!(ports.count(), 192);
}

/// A guest may leave all its ports linked: that costs it numbers, not the hypervisor time.
#[test]
fn allocation_looks_at_few_busy_numbers() {
    use super::port::{Consumer, Ports, State};
    use core::cell::Cell;
    let mut ports = Ports::new(131_071);
    let open = |ports: &mut Ports, busy: &dyn Fn(u32) -> bool| {
        let port = ports.next_free(131_072, busy, || true).unwrap();
        ports.open_as(port, State::Ipi, 0, Consumer::Guest);
        port
    };
    for _ in 0..10_000 {
        open(&mut ports, &|_| false);
    }
    (1..=10_000).for_each(|port| ports.release(port));
    let looked = Cell::new(0);
    let linked = |port: u32| {
        looked.set(looked.get() + 1);
        port <= 10_000
    };
    for _ in 0..200 {
        let before = looked.get();
        assert!(open(&mut ports, &linked) > 10_000);
        assert!(looked.get() - before <= 130, "{}", looked.get() - before);
    }
    // All of them are found again when they are no longer linked.
    let mut found = Vec::new();
    for _ in 0..10_000 {
        found.push(open(&mut ports, &|_| false));
    }
    found.sort_unstable();
    assert!(found.iter().filter(|&&port| port <= 10_000).count() > 9_500);
    let open_ports = ports.open();
    assert_eq!(open_ports, 10_200);
}
