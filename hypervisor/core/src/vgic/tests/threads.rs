// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUs at work at the same time: every interrupt has one home at any moment, and finds it.

use super::machine::{Cpu, Physical};
use super::*;
use std::sync::atomic::AtomicU32;
use std::thread;

const SPIS: core::ops::Range<u32> = 32..40;

/// Nobody needs telling: every vCPU looks all the time.
struct Polling;

impl VcpuNotify for Polling {
    fn notify(&self, _: u32) {}
    fn cpu_of(&self, vcpu: u32) -> CpuId {
        CpuId(vcpu)
    }
}

/// A vCPU that takes what comes, until told to stop and nothing is left.
fn guest(vgic: &Vgic, vcpu: u32, stop: &AtomicBool, taken: &[AtomicU32]) {
    let mut cpu = Cpu::default();
    let mut none = Physical::new(FakeHw::leak(0, 0));
    loop {
        let last = stop.load(Ordering::SeqCst);
        while vgic.is_dirty(vcpu) || cpu.maintenance() {
            cpu.enter(vgic, vcpu, &Polling);
        }
        match cpu.ack() {
            Some((intid, _)) => {
                taken[intid as usize].fetch_add(1, Ordering::SeqCst);
                cpu.eoi(&mut none);
            }
            None if last && !vgic.is_dirty(vcpu) => break,
            None => thread::yield_now(),
        }
    }
    vgic.unload(vcpu, &mut cpu, (27, false), &Polling);
}

#[test]
fn routes_change_while_interrupts_come() {
    let (vgic, ..) = noted(Model::V3);
    let write = |offset, size, value| {
        let done = vgic.dist_access(0, offset, size, Access::Write(value), &Polling);
        assert_eq!(done, Ok(0));
    };
    write(0, 4, 2);
    write(0x104, 4, 0xffff_ffff);
    let taken: [AtomicU32; 64] = core::array::from_fn(|_| AtomicU32::new(0));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for vcpu in 0..3 {
            let (vgic, stop, taken) = (&vgic, &stop, &taken);
            scope.spawn(move || guest(vgic, vcpu, stop, taken));
        }
        for round in 0..3000u64 {
            for intid in SPIS {
                let before = taken[intid as usize].load(Ordering::SeqCst);
                vgic.pulse(None, intid, &Polling);
                write(
                    0x6000 + 8 * u64::from(intid),
                    8,
                    (round + u64::from(intid)) % 3,
                );
                if intid % 2 == 0 {
                    while taken[intid as usize].load(Ordering::SeqCst) == before {
                        thread::yield_now();
                    }
                }
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    // What moved to a vCPU that had stopped already.
    for vcpu in [0, 1, 2, 0, 1, 2] {
        guest(&vgic, vcpu, &stop, &taken);
    }
    for intid in SPIS {
        let taken = taken[intid as usize].load(Ordering::SeqCst);
        assert!((1..=3000).contains(&taken), "{intid}: {taken}");
        let irq = vgic.cell(0, intid).expect("interrupt").get();
        assert!(!irq.pending(), "{intid} left");
    }
}

/// More are listed than there are list registers, so that they are put in order, while another vCPU switches
/// their group.
#[test]
fn the_group_is_switched_while_interrupts_are_put_in_order() {
    let (vgic, ..) = noted(Model::V3);
    let dist = |offset, size, value| {
        let done = vgic.dist_access(1, offset, size, Access::Write(value), &Polling);
        assert_eq!(done, Ok(0));
    };
    dist(0x104, 4, 0xffff_ffff);
    dist(0x204, 4, 0xffff_ffff);
    thread::scope(|scope| {
        let sorter = scope.spawn(|| {
            let mut cpu = Cpu::default();
            for round in 0..200_000u64 {
                // Another order each time.
                let intid = 32 + round * 7 % 32;
                dist(0x400 + intid, 1, (round * 8) & 0xf8);
                cpu.enter(&vgic, 0, &Polling);
                let shown = cpu.shown().len();
                assert!(shown == 0 || shown == 4, "{shown} are shown");
            }
        });
        let mut groups = [2, 0].into_iter().cycle();
        while !sorter.is_finished() {
            groups.by_ref().take(2).for_each(|group| dist(0, 4, group));
        }
    });
}
