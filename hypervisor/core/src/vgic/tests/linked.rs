// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts linked to physical ones: the physical side ends inactive, once.

use super::machine::{Cpu, Physical};
use super::*;

const SPI: u32 = 40;
const PINTID: u32 = 140;
const TIMER: u32 = 27;

struct Rig {
    vgic: Vgic,
    phys: Physical,
    told: Told,
    cpu: Cpu,
}

impl Rig {
    /// List registers that deactivate, and such that do not.
    fn both() -> impl Iterator<Item = Self> {
        [true, false].into_iter().map(Self::new)
    }
    /// SPI 40 is physical 140, PPI 27 the timer's; both enabled, at vCPU 0.
    fn new(lrs_deactivate: bool) -> Self {
        let (vgic, hw, told) = noted_with(VgicConfig {
            lrs_deactivate,
            ..config(Model::V3)
        });
        let phys = Physical::new(hw);
        assert!(vgic.link_hw(SPI, PINTID, &told));
        vgic.link_ppi(TIMER, &told);
        let mut rig = Self {
            vgic,
            phys,
            told,
            cpu: Cpu::default(),
        };
        rig.dist(0, 2);
        rig.dist(0x104, 1 << 8);
        rig.redist(0x100, 1 << TIMER);
        rig.phys.irq(TIMER).enabled = true;
        rig
    }
    fn dist(&self, offset: u64, value: u64) {
        let done = self
            .vgic
            .dist_access(0, offset, 4, Access::Write(value), &self.told);
        assert_eq!(done, Ok(0));
    }
    fn redist(&self, offset: u64, value: u64) {
        let offset = 0x1_0000 + offset;
        let done = self
            .vgic
            .redist_access(offset, 4, Access::Write(value), &self.told);
        assert_eq!(done, Ok(0));
    }
    /// The device raises an edge, and EL2 takes it if it is signalled.
    fn edge(&mut self) -> bool {
        self.phys.irq(PINTID).edge = true;
        self.take()
    }
    /// EL2 takes what is signalled.
    fn take(&mut self) -> bool {
        let spi = self.phys.ack(PINTID);
        if spi {
            assert!(self.vgic.hw_fired(SPI, None, &self.told));
        }
        let ppi = self.phys.ack(TIMER);
        if ppi {
            self.vgic.hw_fired(TIMER, Some(0), &self.told);
        }
        spi || ppi
    }
    fn exit(&mut self) {
        self.cpu.exit(&self.vgic, 0, &self.told);
    }
    fn ack(&mut self) -> Option<u32> {
        self.exit();
        self.cpu.ack().map(|(intid, _)| intid)
    }
    /// The guest ends it. If the list register does not, the maintenance interrupt comes at once.
    fn eoi(&mut self) {
        self.cpu.eoi(&mut self.phys);
        if !self.vgic.config.lrs_deactivate {
            self.exit();
        }
    }
    /// What a list register that stands for the physical interrupt names.
    fn linked(&self) -> Option<u32> {
        self.vgic.config.lrs_deactivate.then_some(PINTID)
    }
    fn active(&mut self) -> bool {
        self.phys.irq(PINTID).active
    }
}

#[test]
fn the_guests_eoi_deactivates() {
    for mut r in Rig::both() {
        for _ in 0..3 {
            assert!(r.edge());
            assert!(!r.edge(), "active");
            assert_eq!(r.ack(), Some(SPI));
            assert!(r.active());
            r.eoi();
            assert!(!r.active());
            assert!(r.take(), "the second edge");
            assert_eq!(r.ack(), Some(SPI));
            r.eoi();
            assert_eq!(r.ack(), None);
        }
    }
}

#[test]
fn fires_again_before_anyone_looked() {
    for mut r in Rig::both() {
        r.edge();
        assert_eq!(r.ack(), Some(SPI));
        r.eoi();
        assert!(r.edge(), "the list register still names the first");
        r.vgic.sync(0, &mut r.cpu);
        r.exit();
        assert_eq!(r.cpu.lr(SPI).and_then(Lr::hw), r.linked());
        assert_eq!(r.ack(), Some(SPI));
        r.eoi();
        assert!(!r.active());
    }
}

#[test]
fn dropped_by_a_write() {
    for mut r in Rig::both() {
        r.edge();
        r.dist(0x284, 1 << 8);
        assert!(!r.active(), "not in a list register: at once");
        assert_eq!(r.ack(), None);
        r.edge();
        r.exit();
        r.dist(0x284, 1 << 8);
        r.exit();
        assert!(!r.active());
        r.edge();
        assert_eq!(r.ack(), Some(SPI));
        r.dist(0x384, 1 << 8);
        r.exit();
        assert!(!r.active());
        assert_eq!(r.cpu.shown(), []);
    }
}

#[test]
fn deactivated_by_guest_and_write_at_once() {
    for mut r in Rig::both() {
        r.edge();
        assert_eq!(r.ack(), Some(SPI));
        r.dist(0x384, 1 << 8);
        r.eoi(); // before the vCPU exits
        r.exit();
        assert!(!r.active());
    }
}

#[test]
fn disabled_while_it_waits() {
    for mut r in Rig::both() {
        r.edge();
        r.exit();
        r.dist(0x184, 1 << 8);
        assert!(!r.phys.irq(PINTID).enabled);
        assert_eq!(r.ack(), None);
        r.dist(0x104, 1 << 8);
        assert_eq!(r.ack(), Some(SPI));
        r.eoi();
        assert!(!r.active());
    }
}

#[test]
fn fires_while_disabled() {
    for mut r in Rig::both() {
        r.phys.irq(PINTID).edge = true;
        assert!(r.phys.ack(PINTID));
        r.dist(0x184, 1 << 8);
        r.vgic.hw_fired(SPI, None, &r.told); // EL2 had it already
        assert_eq!(r.ack(), None);
        r.dist(0x104, 1 << 8);
        assert_eq!(r.ack(), Some(SPI));
        r.eoi();
        assert!(!r.active());
    }
}

#[test]
fn made_pending_by_software_too() {
    for mut r in Rig::both() {
        r.dist(0x204, 1 << 8);
        assert_eq!(r.ack(), Some(SPI), "no device needed");
        assert_eq!(r.cpu.lr(SPI).and_then(Lr::hw), None);
        r.edge();
        r.exit();
        r.eoi();
        assert_eq!(r.ack(), Some(SPI), "now the device's");
        r.dist(0x204, 1 << 8);
        r.exit();
        r.eoi();
        assert!(r.active(), "an instance more");
        assert_eq!(r.ack(), Some(SPI));
        r.eoi();
        assert!(!r.active());
        assert_eq!(r.ack(), None);
    }
}

#[test]
fn evicted_and_counted() {
    for mut r in Rig::both() {
        r.dist(0x404 + 36, 0xf0f0_f0f0);
        r.edge();
        assert_eq!(r.ack(), Some(SPI));
        for depth in 0..6u32 {
            let intid = 50 + depth;
            let priority = Access::Write((0xe0 - 8 * depth).into());
            let _ = r
                .vgic
                .dist_access(0, 0x400 + u64::from(intid), 1, priority, &r.told);
            r.dist(0x104, 1 << (intid - 32));
            r.vgic.pulse(None, intid, &r.told);
            assert_eq!(r.ack(), Some(intid));
            r.exit();
        }
        for _ in 0..7 {
            r.exit();
            r.eoi();
        }
        r.exit();
        assert!(!r.active());
    }
}

#[test]
fn unlinked_while_active() {
    for mut r in Rig::both() {
        r.edge();
        assert_eq!(r.ack(), Some(SPI));
        r.vgic.unload(0, &mut r.cpu, (TIMER, false), &r.told);
        r.vgic.unlink_all(&r.told);
        let line = *r.phys.irq(PINTID);
        assert!(!line.active && !line.enabled);
        r.exit();
        r.eoi();
        // It came too late for the link: who took it is told to deactivate it.
        assert!(!r.vgic.hw_fired(SPI, None, &r.told));
        assert_eq!(r.ack(), None);
    }
}

#[test]
fn the_timer_follows_its_vcpu() {
    for mut r in Rig::both() {
        r.phys.irq(TIMER).level = true;
        assert!(r.take());
        assert_eq!(r.ack(), Some(TIMER));
        r.vgic.unload(0, &mut r.cpu, (TIMER, false), &r.told);
        assert!(r.vgic.ppi_hw_active(0, TIMER));
        *r.phys.irq(TIMER) = Default::default(); // the switch clears it
        r.phys.on_cpu(1);
        r.exit();
        r.phys.irq(TIMER).active = r.vgic.ppi_hw_active(0, TIMER);
        r.phys.irq(TIMER).enabled = true;
        r.phys.irq(TIMER).level = true;
        assert!(!r.take(), "active");
        r.eoi();
        assert!(r.take(), "still high");
        assert_eq!(r.ack(), Some(TIMER));
        r.phys.irq(TIMER).level = false;
        r.eoi();
        assert!(!r.take());
        assert_eq!(r.ack(), None);
    }
}

#[test]
fn the_timer_withdraws() {
    for mut r in Rig::both() {
        r.phys.irq(TIMER).level = true;
        assert!(r.take());
        r.vgic.unload(0, &mut r.cpu, (TIMER, false), &r.told);
        assert!(r.vgic.ppi_hw_active(0, TIMER), "it waits for its vCPU");
        r.exit();
        r.phys.irq(TIMER).level = false;
        r.vgic.unload(0, &mut r.cpu, (TIMER, true), &r.told);
        assert!(!r.vgic.ppi_hw_active(0, TIMER));
        assert!(!r.vgic.has_deliverable(0));
        r.phys.irq(TIMER).level = true;
        assert!(r.take(), "the CPU's next vCPU gets its own");
    }
}

#[test]
fn a_timer_that_was_acknowledged_does_not_withdraw() {
    for mut r in Rig::both() {
        r.phys.irq(TIMER).level = true;
        assert!(r.take());
        assert_eq!(r.ack(), Some(TIMER));
        r.phys.irq(TIMER).level = false;
        r.vgic.unload(0, &mut r.cpu, (TIMER, true), &r.told);
        assert!(r.vgic.ppi_hw_active(0, TIMER) && r.phys.irq(TIMER).active);
        r.exit();
        r.eoi();
        assert!(!r.phys.irq(TIMER).active);
    }
}

/// One that the guest was not shown: the CPU must learn of it nevertheless, or its timer never fires
/// again.
#[test]
fn a_private_one_that_is_hidden_is_released_soon() {
    let hide: [fn(&Rig); 2] = [|r| r.redist(0x180, 1 << TIMER), |r| r.dist(0, 0)];
    for hide in hide {
        for mut r in Rig::both() {
            hide(&r);
            r.phys.irq(TIMER).level = true;
            assert!(r.take());
            r.exit();
            assert!(!r.vgic.is_dirty(0));
            r.redist(0x280, 1 << TIMER);
            assert!(r.vgic.is_dirty(0));
            r.exit();
            assert!(!r.phys.irq(TIMER).active);
        }
    }
}

#[test]
fn a_private_one_is_released_on_its_cpu() {
    for mut r in Rig::both() {
        r.exit();
        r.phys.irq(TIMER).level = true;
        assert!(r.take());
        r.phys.on_cpu(1); // another vCPU writes
        r.redist(0x280, 1 << TIMER);
        r.phys.on_cpu(0);
        assert!(r.phys.irq(TIMER).active);
        r.exit();
        assert!(!r.phys.irq(TIMER).active);
        assert!(r.take(), "a level fires again");
        assert_eq!(r.ack(), Some(TIMER));
        r.phys.irq(TIMER).level = false;
        r.eoi();
    }
}
