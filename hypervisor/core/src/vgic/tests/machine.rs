// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hardware to play against: the virtual CPU interface of one CPU, as a guest drives it, and a
//! physical GIC that knows what is active.

use super::*;
use crate::fake::Event;
use std::collections::BTreeMap;

/// List registers and active priorities of a CPU; the guest works with EOImode 0.
#[derive(Default)]
pub(super) struct Cpu {
    pub(super) lrs: [u64; 16],
    eoi_count: u32,
    /// INTID, source, priority of what the guest has acknowledged, innermost last.
    pub(super) running: Vec<(u32, u32, u32)>,
    pub(super) hcr: HcrBits,
}

impl ListRegisters for Cpu {
    fn read(&mut self, n: u32) -> u64 {
        self.lrs[n as usize]
    }
    fn write(&mut self, n: u32, value: u64) {
        let lr = Lr(value);
        let both = lr.state() == LrState::PendingActive;
        assert!(!(both && lr.hw().is_some()), "pending and active with HW");
        self.lrs[n as usize] = value;
    }
    fn eoi_count(&mut self) -> u32 {
        self.eoi_count
    }
}

impl Cpu {
    /// What stands in valid list registers.
    pub(super) fn shown(&self) -> Vec<Lr> {
        let lrs = self.lrs.iter().map(|&lr| Lr(lr));
        lrs.filter(|lr| lr.state() != LrState::Invalid).collect()
    }

    /// The valid list register of an interrupt.
    pub(super) fn lr(&self, intid: u32) -> Option<Lr> {
        self.shown().into_iter().find(|lr| lr.vintid() == intid)
    }

    /// Reads IAR: INTID and source.
    pub(super) fn ack(&mut self) -> Option<(u32, u32)> {
        let running = self.running.last().map_or(0x100, |r| r.2);
        let pending = |lr: &&mut u64| Lr(**lr).state().pending() && !Lr(**lr).state().active();
        let best = self
            .lrs
            .iter_mut()
            .filter(pending)
            .min_by_key(|lr| Lr(**lr).priority())?;
        let lr = Lr(*best);
        if lr.priority() >= running {
            return None;
        }
        *best = lr.with_state(LrState::Active).0;
        self.running.push((lr.vintid(), lr.source(), lr.priority()));
        Some((lr.vintid(), lr.source()))
    }

    /// Writes EOIR for the innermost interrupt.
    pub(super) fn eoi(&mut self, hw: &mut Physical) {
        let (intid, source, _) = self.running.pop().expect("something to end");
        let active = |lr: &&mut u64| {
            let lr = Lr(**lr);
            lr.vintid() == intid
                && lr.state().active()
                && (lr.hw().is_some() || lr.source() == source)
        };
        let Some(place) = self.lrs.iter_mut().find(active) else {
            self.eoi_count += 1;
            return;
        };
        let lr = Lr(*place);
        *place = lr.with_state(LrState::new(lr.state().pending(), false)).0;
        if let Some(pintid) = lr.hw() {
            hw.deactivate(pintid);
        }
    }

    /// The maintenance interrupt is asserted.
    pub(super) fn maintenance(&self) -> bool {
        let lrs = self.lrs.iter().map(|&lr| Lr(lr));
        let ended = lrs
            .clone()
            .any(|lr| lr.eoi() && lr.state() == LrState::Invalid);
        let none = !lrs.clone().any(|lr| lr.state().pending());
        ended
            || none && self.hcr.contains(HcrBits::NPIE)
            || self.eoi_count != 0 && self.hcr.contains(HcrBits::LRENPIE)
    }

    /// Has the list registers brought up to date.
    pub(super) fn enter(&mut self, vgic: &Vgic, vcpu: u32, notify: &impl VcpuNotify) {
        self.hcr = vgic.enter(vcpu, self, notify);
        self.eoi_count = 0;
    }

    /// Exits for whatever reason there is, and enters again. True if there was one.
    pub(super) fn exit(&mut self, vgic: &Vgic, vcpu: u32, told: &Told) -> bool {
        let mut entered = false;
        while vgic.is_dirty(vcpu) || self.maintenance() {
            self.enter(vgic, vcpu, told);
            entered = true;
        }
        entered
    }
}

/// A physical interrupt.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Line {
    pub(super) enabled: bool,
    pub(super) active: bool,
    /// An edge waits.
    pub(super) edge: bool,
    /// A level is asserted.
    pub(super) level: bool,
}

/// The physical GIC. PPIs of CPU `c` have the key `c << 16 | INTID`.
pub(super) struct Physical {
    hw: &'static FakeHw,
    lines: BTreeMap<u32, Line>,
    cpu: u32,
}

impl Physical {
    pub(super) fn new(hw: &'static FakeHw) -> Self {
        hw.take_events();
        Self {
            hw,
            lines: BTreeMap::new(),
            cpu: 0,
        }
    }

    /// Does what was asked of the machine since.
    fn obey(&mut self) {
        for event in self.hw.take_events() {
            match event {
                Event::IrqEnable(intid, on) => self.line(intid).enabled = on,
                // A private one may have been seen to when its vCPU was switched out.
                Event::IrqSetActive(intid @ 0..32, false) => self.line(intid).active = false,
                Event::IrqSetActive(intid, false) => self.end(intid),
                Event::IrqRoute(..) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn line(&mut self, intid: u32) -> &mut Line {
        let bank = if intid < 32 { self.cpu << 16 } else { 0 };
        self.lines.entry(bank | intid).or_default()
    }

    fn end(&mut self, intid: u32) {
        let line = self.line(intid);
        assert!(line.active, "interrupt {intid} deactivated twice");
        line.active = false;
    }

    /// Who calls from now on.
    pub(super) fn on_cpu(&mut self, cpu: u32) {
        self.obey();
        self.cpu = cpu;
    }

    /// An interrupt as it is now.
    pub(super) fn irq(&mut self, intid: u32) -> &mut Line {
        self.obey();
        self.line(intid)
    }

    /// Acknowledges it, if it is signalled.
    pub(super) fn ack(&mut self, intid: u32) -> bool {
        let line = self.irq(intid);
        let fires = line.enabled && !line.active && (line.edge || line.level);
        if fires {
            (line.active, line.edge) = (true, false);
        }
        fires
    }

    /// A list register's deactivation reaches it.
    pub(super) fn deactivate(&mut self, intid: u32) {
        self.obey();
        self.end(intid);
    }
}
