// SPDX-License-Identifier: MIT OR Apache-2.0
//! `grant_table_op`.

use super::*;
use crate::addr::{Mfn, Pa, PaRange};
use crate::fake::Event;
use crate::hw::CacheOp;
use core::sync::atomic::Ordering;
use std::vec::Vec;
use xen_abi::Handle;
use xen_abi::grant::*;

/// Performs `cmd` on one structure.
fn one<T>(guest: &mut Guest, cmd: u32, value: T) -> (i64, T)
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
{
    let at = guest.put(&value);
    let result = guest.call(GRANT_TABLE_OP, &[cmd.into(), at, 1]);
    (result, guest.get(at))
}

#[test]
fn counts_and_commands() {
    let mut machine = Machine::new();
    let guest = machine.dom0();
    for cmd in [0, 1, 3, 5, 7, 13] {
        let answer = guest.call(GRANT_TABLE_OP, &[cmd, NOWHERE, 1]);
        assert!([EFAULT, ENOSYS].contains(&answer), "{cmd}: {answer}");
    }
    for cmd in [3, 13] {
        assert_eq!(guest.call(GRANT_TABLE_OP, &[cmd, 0, 1]), ENOSYS);
    }
    assert_eq!(guest.call(GRANT_TABLE_OP, &[4, 0, 1]), EOPNOTSUPP);
    for cmd in [2, 6, 8, 9] {
        assert_eq!(guest.call(GRANT_TABLE_OP, &[cmd, 0, 0]), EINVAL);
        assert_eq!(guest.call(GRANT_TABLE_OP, &[cmd, 0, 1]), EFAULT);
    }
    for cmd in [0, 1, 5, 11, 12] {
        assert_eq!(guest.call(GRANT_TABLE_OP, &[cmd, 0, 0]), 0);
    }
    assert_eq!(guest.call(GRANT_TABLE_OP, &[12, 0, 1 << 31]), EINVAL);
    assert_eq!(guest.call(GRANT_TABLE_OP, &[6 | 1 << 12, 0, 1]), EINVAL);
}

#[test]
fn size_and_version() {
    let mut machine = Machine::new();
    let size = |dom| QuerySize {
        dom,
        _pad0: 0,
        nr_frames: 0,
        max_nr_frames: 0,
        status: 9,
        _pad1: 0,
    };
    let (result, op) = one(machine.domu(), 6, size(SELF));
    assert_eq!(
        (result, op.status, op.nr_frames, op.max_nr_frames),
        (0, 0, 1, 64)
    );
    assert_eq!(
        one(machine.domu(), 6, size(NOBODY)).1.status,
        GNTST_BAD_DOMAIN
    );
    assert_eq!(
        one(machine.domu(), 6, size(0)).1.status,
        GNTST_PERMISSION_DENIED
    );
    for (version, answer) in [(1, 0), (2, ENOSYS), (3, EINVAL)] {
        assert_eq!(one(machine.domu(), 8, SetVersion { version }).0, answer);
    }
    let (result, op) = one(
        machine.domu(),
        10,
        GetVersion {
            dom: SELF,
            _pad: 0,
            version: 0,
        },
    );
    assert_eq!((result, op.version), (0, 1));
}

#[test]
fn setup() {
    let mut machine = Machine::new();
    let guest = machine.domu();
    let list = guest.put(&[0u64; 3]);
    let setup = |nr_frames, list| SetupTable {
        dom: SELF,
        _pad0: 0,
        nr_frames,
        status: 9,
        _pad1: [0; 6],
        frame_list: Handle(list),
    };
    assert_eq!(one(guest, 2, setup(65, list)).1.status, GNTST_GENERAL_ERROR);
    assert_eq!(
        one(guest, 2, setup(3, NOWHERE)).1.status,
        GNTST_BAD_VIRT_ADDR
    );
    assert_eq!(guest.call(GRANT_TABLE_OP, &[2, list, 2]), EINVAL);
    guest
        .domain
        .grants
        .map(&guest.domain, 1, crate::addr::Gfn(0x38001))
        .unwrap();
    assert_eq!(one(guest, 2, setup(3, list)).1.status, GNTST_OKAY);
    assert_eq!(guest.get::<[u64; 3]>(list), [u64::MAX, 0x38001, u64::MAX]);
}

#[test]
fn swapping() {
    let mut machine = Machine::new();
    let sys = machine.sys;
    let guest = machine.domu();
    let frame = guest.domain.grants.frame(0).unwrap().mfn();
    let page = sys.frames.get(frame, guest.domain.id).unwrap();
    let page = crate::call::page::share(sys.map, page);
    page.atomic_u64(8 * 8).unwrap().store(11, Ordering::Relaxed);
    let swap = |ref_a, ref_b| SwapGrantRef {
        ref_a,
        ref_b,
        status: 9,
        _pad: 0,
    };
    assert_eq!(one(guest, 11, swap(8, 511)).1.status, GNTST_OKAY);
    assert_eq!(
        page.atomic_u64(511 * 8).unwrap().load(Ordering::Relaxed),
        11
    );
    assert_eq!(page.atomic_u64(8 * 8).unwrap().load(Ordering::Relaxed), 0);
    assert_eq!(one(guest, 11, swap(8, 512)).1.status, GNTST_BAD_GNTREF);
}

fn cache(machine: &mut Machine, a: u64, offset: u16, length: u16, op: u32) -> i64 {
    one(
        machine.dom0(),
        12,
        CacheFlush {
            a,
            offset,
            length,
            op,
        },
    )
    .0
}

#[test]
fn cache_flush() {
    let mut machine = Machine::new();
    let own = Mfn(machine.dom0().mfn.0 + 3).base().0;
    let foreign = machine.domu().mfn.base().0;
    for (a, offset, length, op, answer) in [
        (own, 0, 0, 4, EINVAL),
        (own, 0, 4097, 1, EINVAL),
        (own, 4096, 0, 1, EINVAL),
        (own, 4000, 97, 1, EINVAL),
        (0, 0, 64, 1, EINVAL),
        (0x900_0000, 0, 64, 1, EINVAL),
        (u64::MAX, 0, 64, 1, EINVAL),
        (own, 0, 64, 0x8000_0001, EINVAL),
        (foreign, 0, 64, 1, EINVAL),
        (0, 0, 0, 1, 0),
        (0, 0, 64, 0, 0),
    ] {
        assert_eq!(cache(&mut machine, a, offset, length, op), answer);
    }
    let free = machine
        .sys
        .frames
        .alloc(0, crate::frame::Limits::default())
        .unwrap();
    assert_eq!(cache(&mut machine, free.base().0, 0, 1, 1), EPERM);
    machine.hw.take_events();
    for (op, how) in [
        (1, CacheOp::Clean),
        (2, CacheOp::Invalidate),
        (3, CacheOp::CleanInvalidate),
    ] {
        assert_eq!(cache(&mut machine, own | 0x123, 0xf80, 0x80, op), 0);
        let range = PaRange::new(Pa(own + 0xf80), 0x80).unwrap();
        assert_eq!(machine.hw.take_events(), [Event::Cache(range, how)]);
    }
}

#[test]
fn arrays_go_on_where_they_were_interrupted() {
    let mut machine = Machine::new();
    machine.hw.irq.store(true, Ordering::Relaxed);
    let hw = machine.hw;
    let guest = machine.dom0();
    let a = guest.mfn.base().0;
    let ops = [1u16, 2, 3].map(|length| CacheFlush {
        a,
        offset: 0,
        length,
        op: 1,
    });
    let at = guest.put(&ops);
    hw.take_events();
    assert_eq!(guest.call(GRANT_TABLE_OP, &[12, at, 3]), 0);
    assert_eq!(guest.restarts, 2);
    let lengths: Vec<_> = hw
        .take_events()
        .iter()
        .map(|e| match e {
            Event::Cache(range, _) => range.size(),
            _ => 0,
        })
        .collect();
    assert_eq!(lengths, [1, 2, 3]);
}
