// SPDX-License-Identifier: MIT OR Apache-2.0
//! Software interrupts, from injection to deactivation.

use super::machine::{Cpu, Physical};
use super::*;

struct Box1 {
    vgic: Vgic,
    hw: Physical,
    told: Told,
    cpu: Cpu,
}

impl Box1 {
    /// vCPU 0 on a CPU; everything enabled, all priorities 0xa0.
    fn new(model: Model) -> Self {
        let (vgic, hw, told) = noted(model);
        let hw = Physical::new(hw);
        let b = Self {
            vgic,
            hw,
            told,
            cpu: Cpu::default(),
        };
        b.dist(0, 3);
        for reg in 0..24 {
            b.dist(0x400 + 4 * reg, 0xa0a0_a0a0);
        }
        for reg in 0..3 {
            b.dist(0x100 + 4 * reg, 0xffff_ffff);
        }
        if model == Model::V3 {
            for vcpu in 0..4 {
                let frame = vcpu * 0x2_0000 + 0x1_0000;
                b.vgic
                    .redist_access(frame + 0x100, 4, Access::Write(0xffff_ffff), &b.told)
                    .expect("enable");
                for reg in 0..8 {
                    let at = frame + 0x400 + 4 * reg;
                    b.vgic
                        .redist_access(at, 4, Access::Write(0xa0a0_a0a0), &b.told)
                        .expect("priority");
                }
            }
        }
        b.told.take();
        b
    }
    fn dist(&self, offset: u64, value: u64) {
        self.vgic
            .dist_access(0, offset, 4, Access::Write(value), &self.told)
            .expect("write");
    }
    fn priority(&self, intid: u64, priority: u64) {
        self.vgic
            .dist_access(0, 0x400 + intid, 1, Access::Write(priority), &self.told)
            .expect("write");
    }
    fn read(&self, offset: u64) -> u64 {
        self.vgic
            .dist_access(0, offset, 4, Access::Read, &self.told)
            .expect("read")
    }
    fn exit(&mut self) {
        self.cpu.exit(&self.vgic, 0, &self.told);
    }
    fn ack(&mut self) -> Option<u32> {
        self.cpu.ack().map(|(intid, _)| intid)
    }
    fn eoi(&mut self) {
        self.cpu.eoi(&mut self.hw);
    }
}

#[test]
fn an_edge_is_taken_once() {
    let mut b = Box1::new(Model::V3);
    b.vgic.pulse(Some(0), 31, &b.told);
    assert_eq!(b.told.take(), [0]);
    assert!(b.vgic.is_dirty(0) && b.vgic.has_deliverable(0));
    b.vgic.pulse(Some(0), 31, &b.told);
    assert_eq!(b.told.take(), [], "told already");
    b.exit();
    assert!(!b.vgic.is_dirty(0));
    assert_eq!(b.ack(), Some(31));
    b.vgic.sync(0, &mut b.cpu);
    assert!(!b.vgic.has_deliverable(0), "it has it");
    b.eoi();
    b.exit();
    assert_eq!(b.ack(), None);
    assert!(
        !b.vgic.has_deliverable(0) || {
            b.vgic.sync(0, &mut b.cpu);
            !b.vgic.has_deliverable(0)
        }
    );
}

#[test]
fn an_edge_while_active_comes_again() {
    let mut b = Box1::new(Model::V3);
    b.vgic.pulse(Some(0), 31, &b.told);
    b.exit();
    assert_eq!(b.ack(), Some(31));
    b.vgic.pulse(Some(0), 31, &b.told);
    b.vgic.pulse(Some(0), 31, &b.told);
    b.exit();
    assert_eq!(b.cpu.lr(31).map(Lr::state), Some(LrState::PendingActive));
    assert!(!b.vgic.has_deliverable(0));
    b.eoi();
    assert_eq!(b.ack(), Some(31), "without an exit");
    b.eoi();
    b.exit();
    assert_eq!(b.ack(), None);
}

#[test]
fn edges_before_the_acknowledge_merge() {
    let mut b = Box1::new(Model::V3);
    b.vgic.pulse(Some(0), 31, &b.told);
    b.exit();
    b.vgic.pulse(Some(0), 31, &b.told);
    b.exit();
    assert_eq!(b.ack(), Some(31));
    b.eoi();
    b.exit();
    assert_eq!(b.ack(), None);
}

#[test]
fn a_level_comes_again_while_it_is_high() {
    let mut b = Box1::new(Model::V3);
    b.vgic.set_line(None, 40, true, &b.told);
    for _ in 0..3 {
        b.exit();
        assert_eq!(b.ack(), Some(40));
        assert!(!b.cpu.maintenance());
        b.eoi();
        assert!(b.cpu.maintenance(), "asked for by the EOI bit");
    }
    b.vgic.set_line(None, 40, false, &b.told);
    b.exit();
    assert_eq!(b.ack(), None);
    assert_eq!(b.cpu.shown(), []);
}

#[test]
fn a_level_that_falls_is_withdrawn() {
    let mut b = Box1::new(Model::V3);
    b.vgic.set_line(None, 40, true, &b.told);
    b.exit();
    b.told.take();
    b.vgic.set_line(None, 40, false, &b.told);
    assert_eq!(b.told.take(), [0]);
    b.exit();
    assert_eq!(b.ack(), None);
}

#[test]
fn an_edge_line_counts_its_rises() {
    let mut b = Box1::new(Model::V3);
    b.dist(0xc08, 0x2 << 16);
    for _ in 0..2 {
        b.vgic.set_line(None, 40, true, &b.told);
        b.vgic.set_line(None, 40, true, &b.told);
        b.exit();
        assert_eq!(b.ack(), Some(40));
        b.eoi();
        b.exit();
        assert_eq!(b.ack(), None);
        b.vgic.set_line(None, 40, false, &b.told);
    }
}

#[test]
fn disabled_ones_wait() {
    let mut b = Box1::new(Model::V3);
    b.vgic.pulse(None, 40, &b.told);
    b.exit();
    assert!(b.cpu.lr(40).is_some());
    b.dist(0x184, 1 << 8);
    b.exit();
    assert_eq!(b.cpu.shown(), []);
    b.vgic.pulse(None, 40, &b.told);
    assert!(!b.vgic.has_deliverable(0));
    b.exit();
    assert_eq!(b.cpu.shown(), []);
    b.dist(0x104, 1 << 8);
    b.exit();
    assert_eq!(b.cpu.shown().len(), 1, "never two for one");
    assert_eq!(b.ack(), Some(40));
}

#[test]
fn the_group_can_be_disabled() {
    let mut b = Box1::new(Model::V3);
    b.vgic.pulse(None, 40, &b.told);
    b.vgic.pulse(None, 41, &b.told);
    b.exit();
    assert_eq!(b.ack(), Some(40));
    b.dist(0, 0);
    b.vgic.pulse(None, 40, &b.told);
    b.exit();
    let shown: Vec<_> = b
        .cpu
        .shown()
        .iter()
        .map(|lr| (lr.vintid(), lr.state()))
        .collect();
    assert_eq!(shown, [(40, LrState::Active)]);
    assert!(!b.vgic.has_deliverable(0));
    b.eoi();
    b.dist(0, 2);
    b.exit();
    assert_eq!(b.ack(), Some(40));
    b.eoi();
    b.exit();
    assert_eq!(b.ack(), Some(41));
}

#[test]
fn more_than_fit_come_in_order() {
    let mut b = Box1::new(Model::V3);
    for intid in 40..60 {
        b.priority(intid, 0xf8 - 8 * (intid - 40));
        b.vgic.pulse(None, intid as u32, &b.told);
    }
    for intid in (40..60).rev() {
        b.exit();
        assert_eq!(b.ack(), Some(intid));
        b.exit();
        b.eoi();
    }
    b.exit();
    assert_eq!(b.ack(), None);
    assert_eq!(b.cpu.hcr, HcrBits::empty());
}

#[test]
fn an_urgent_one_replaces_a_pending_one() {
    let mut b = Box1::new(Model::V3);
    for intid in 40..44 {
        b.vgic.pulse(None, intid, &b.told);
    }
    b.exit();
    b.priority(50, 0x20);
    b.vgic.pulse(None, 50, &b.told);
    b.exit();
    assert_eq!(b.ack(), Some(50));
    let mut rest: Vec<_> = std::iter::from_fn(|| {
        b.eoi();
        b.exit();
        b.ack()
    })
    .collect();
    rest.sort_unstable();
    assert_eq!(rest, [40, 41, 42, 43]);
}

#[test]
fn deep_preemption_outgrows_the_list_registers() {
    let mut b = Box1::new(Model::V3);
    for depth in 0..10u32 {
        let intid = 40 + depth;
        b.priority(intid.into(), u64::from(0xf0 - 8 * depth));
        b.vgic.pulse(None, intid, &b.told);
        b.exit();
        assert_eq!(b.ack(), Some(intid));
        b.exit();
    }
    b.vgic.pulse(None, 70, &b.told); // less urgent than all but the outermost
    for _ in 0..10 {
        b.exit();
        b.eoi();
        b.exit();
    }
    assert_eq!(b.ack(), Some(70));
    b.eoi();
    b.vgic.sync(0, &mut b.cpu);
    assert_eq!(b.read(0x304) | b.read(0x308), 0, "nothing left active");
}

#[test]
fn an_spi_follows_its_route() {
    let mut b = Box1::new(Model::V3);
    let mut other = Cpu::default();
    b.vgic.pulse(None, 40, &b.told);
    b.exit();
    b.told.take();
    b.vgic
        .dist_access(0, 0x6000 + 8 * 40, 8, Access::Write(1), &b.told)
        .expect("route");
    assert_eq!(b.told.take(), [0], "it is in a list register there");
    b.exit();
    assert_eq!(b.told.take(), [1]);
    assert_eq!(b.ack(), None);
    other.exit(&b.vgic, 1, &b.told);
    assert_eq!(other.ack(), Some((40, 0)));
    b.vgic
        .dist_access(0, 0x6000 + 8 * 40, 8, Access::Write(0), &b.told)
        .expect("route");
    b.vgic.pulse(None, 40, &b.told);
    other.exit(&b.vgic, 1, &b.told);
    b.exit();
    assert_eq!(b.ack(), None, "active at the other");
    other.eoi(&mut b.hw);
    other.running.clear();
    let again = other.ack();
    assert_eq!(again, Some((40, 0)), "it was shown there already");
}

#[test]
fn what_waits_moves_at_once() {
    let b = Box1::new(Model::V3);
    b.vgic.pulse(None, 40, &b.told);
    b.told.take();
    b.vgic
        .dist_access(0, 0x6000 + 8 * 40, 8, Access::Write(2), &b.told)
        .expect("route");
    assert_eq!(b.told.take(), [2]);
    assert!(b.vgic.has_deliverable(2) && !b.vgic.has_deliverable(0));
}

#[test]
fn a_vcpu_takes_its_state_along() {
    let mut b = Box1::new(Model::V3);
    b.vgic.pulse(Some(0), 31, &b.told);
    b.vgic.pulse(Some(0), 30, &b.told);
    b.exit();
    assert_eq!(b.ack(), Some(31));
    b.vgic.unload(0, &mut b.cpu, (27, false), &b.told);
    assert_eq!(b.cpu.shown(), []);
    assert!(b.vgic.is_dirty(0));
    b.vgic.pulse(Some(0), 29, &b.told);
    let mut next = Cpu::default();
    next.running = std::mem::take(&mut b.cpu.running);
    next.exit(&b.vgic, 0, &b.told);
    assert_eq!(next.lr(31).map(Lr::state), Some(LrState::Active));
    next.eoi(&mut b.hw);
    let mut rest = Vec::new();
    while let Some((intid, _)) = next.ack() {
        rest.push(intid);
        next.eoi(&mut b.hw);
        next.exit(&b.vgic, 0, &b.told);
    }
    rest.sort_unstable();
    assert_eq!(rest, [29, 30]);
}

#[test]
fn sgis_of_a_v3() {
    let b = Box1::new(Model::V3);
    b.vgic.sgi1r(1, 1 << 40 | 3 << 24, &b.told);
    assert_eq!(b.told.take(), [0, 2, 3]);
    b.vgic.sgi1r(1, 4 << 24 | 0xffff, &b.told);
    assert_eq!(b.told.take(), [0, 1, 2, 3], "those that exist");
    b.vgic.sgi1r(1, 4 << 24 | 1 << 16 | 1, &b.told);
    b.vgic.sgi1r(1, 4 << 24 | 255 << 16 | 0xffff, &b.told);
    assert_eq!(b.told.take(), [], "no such cluster");
    let mut cpu = Cpu::default();
    cpu.exit(&b.vgic, 1, &b.told);
    assert_eq!(cpu.ack(), Some((4, 0)));
}

#[test]
fn sgis_of_a_v2_keep_their_sources() {
    let mut b = Box1::new(Model::V2);
    for from in [3, 1, 0] {
        let _ = b
            .vgic
            .dist_access(from, 0xf00, 4, Access::Write(1 << 16 | 5), &b.told);
    }
    for source in [0, 1, 3] {
        b.exit();
        assert_eq!(
            b.cpu.shown().len(),
            1,
            "one list register for one interrupt"
        );
        assert_eq!(b.cpu.ack(), Some((5, source)));
        b.eoi();
    }
    b.exit();
    assert_eq!(b.ack(), None);
    b.told.take();
    for (value, told) in [
        (1 << 24, vec![0, 2, 3]),
        (2 << 24, vec![1]),
        (3 << 24, vec![]),
        (0xfff0 << 16 & 0xff_0000, vec![]),
    ] {
        let _ = b
            .vgic
            .dist_access(1, 0xf00, 4, Access::Write(value | 6), &b.told);
        assert_eq!(b.told.take(), told);
    }
}

#[test]
fn a_v2_sgi_from_the_same_source_while_active() {
    let mut b = Box1::new(Model::V2);
    let send = |b: &Box1, from| {
        let _ = b
            .vgic
            .dist_access(from, 0xf00, 4, Access::Write(1 << 16 | 5), &b.told);
    };
    send(&b, 2);
    b.exit();
    assert_eq!(b.cpu.ack(), Some((5, 2)));
    send(&b, 2);
    send(&b, 1);
    b.exit();
    b.eoi();
    b.exit();
    assert_eq!(b.cpu.ack(), Some((5, 1)));
    b.eoi();
    b.exit();
    assert_eq!(b.cpu.ack(), Some((5, 2)));
}

#[test]
fn writes_reach_list_registers() {
    let mut b = Box1::new(Model::V3);
    b.vgic.pulse(None, 40, &b.told);
    b.exit();
    b.dist(0x284, 1 << 8);
    assert_eq!(b.read(0x204), 0);
    b.exit();
    assert_eq!(b.ack(), None);
    b.vgic.pulse(None, 40, &b.told);
    b.exit();
    assert_eq!(b.ack(), Some(40));
    b.vgic.sync(0, &mut b.cpu);
    assert_eq!((b.read(0x204), b.read(0x304)), (0, 1 << 8));
    b.dist(0x384, 1 << 8);
    assert_eq!(b.read(0x304), 0);
    b.exit();
    assert_eq!(b.cpu.shown(), []);
    b.dist(0x304, 1 << 8);
    b.exit();
    assert_eq!(b.cpu.lr(40).map(Lr::state), Some(LrState::Active));
    b.dist(0x204, 1 << 8);
    b.exit();
    b.dist(0x384, 1 << 8);
    b.exit();
    assert_eq!(b.cpu.lr(40).map(Lr::state), Some(LrState::Pending));
}

/// What Linux's `synchronize_irq` does.
#[test]
fn who_polls_for_the_end_of_a_handler_elsewhere_sees_it() {
    let mut b = Box1::new(Model::V3);
    b.vgic.pulse(None, 40, &b.told);
    b.exit();
    b.ack();
    b.vgic.pulse(Some(0), 3, &b.told);
    b.exit();
    b.eoi();
    b.told.take();
    assert_eq!(b.read(0x304), 1 << 8, "not known yet");
    assert_eq!(b.told.take(), [0]);
    b.exit();
    assert_eq!(b.read(0x304), 0);
    assert_eq!(b.told.take(), []);
}

#[test]
fn a_vcpu_starts_anew() {
    let mut b = Box1::new(Model::V3);
    b.vgic.pulse(Some(0), 3, &b.told);
    b.vgic.pulse(Some(0), 31, &b.told);
    b.vgic.pulse(None, 40, &b.told);
    b.exit();
    b.ack();
    b.vgic.unload(0, &mut b.cpu, (27, false), &b.told);
    b.vgic.reset_vcpu(0, &b.told);
    b.cpu.running.clear();
    b.exit();
    assert_eq!(b.ack(), Some(40), "an SPI still waits");
    assert_eq!(b.cpu.shown().len(), 1);
}
