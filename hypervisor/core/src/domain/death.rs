// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's destruction, in slices: its vCPUs leave the CPUs, and then it lets go of what it
//! holds of others, of its events, its tables and its pages.
//!
//! It is dead after that, but known by its number as long as others hold pages of it, mapped by
//! a grant or as foreign memory ([`System::bury_dead`]). Such a page keeps its owner and its
//! content, and is free only after the TLBs of all who had it mapped have forgotten it.

use super::Domain;
use super::life::Stage;
use crate::addr::Mfn;
use crate::event;
use crate::frame::Relinquished;
use crate::grant;
use crate::p2m::Progress;
use crate::sched::pause;
use crate::system::System;
use alloc::sync::Arc;
use core::sync::atomic::{Ordering, fence};

/// Where a destruction stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// CPUs may still have its vCPUs.
    Vcpus,
    /// What it has mapped of others' grants.
    Grants,
    /// Its event channels.
    Events,
    /// Its stage-2 tables, with what they hold of others.
    Tables,
    /// Its pages, from this one on.
    Pages(Mfn),
    /// It is dead.
    Over,
}

impl Step {
    pub(super) const FIRST: Self = Self::Vcpus;
}

/// Handles looked at in a slice.
const GRANTS: u32 = 64;
/// Ports closed in a slice.
const PORTS: u32 = 32;
/// Entries of tables looked at in a slice.
const ENTRIES: u32 = 512;
/// Pages looked at in a slice.
const PAGES: u32 = 1024;

impl Domain {
    /// How far its life has gone.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::SeqCst) {
            0 => Stage::Alive,
            1 => Stage::Dying,
            _ => Stage::Dead,
        }
    }

    /// True from when it begins to be destroyed. Who gives it something looks again after it has:
    /// either that look or the destruction sees the other.
    pub fn is_dying(&self) -> bool {
        fence(Ordering::SeqCst);
        self.stage() != Stage::Alive
    }

    fn reach(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// A slice of its destruction. Call it, with no lock held, until it is done; after that the
    /// domain is dead.
    pub fn destroy(self: &Arc<Self>) -> Progress {
        let step = self.life.lock().death;
        let next = match step {
            Step::Vcpus => self.retire_vcpus(),
            Step::Grants => match grant::map::relinquish(self, GRANTS) {
                Progress::More => step,
                Progress::Done => Step::Events,
            },
            Step::Events => match event::close_all(&**self, PORTS) {
                event::Progress::More => step,
                event::Progress::Done => Step::Tables,
            },
            Step::Tables => match self.p2m.relinquish(ENTRIES) {
                Progress::More => step,
                Progress::Done => Step::Pages(Mfn(0)),
            },
            Step::Pages(from) => match self.sys.frames.relinquish(self.id, from, PAGES) {
                Relinquished::More(from) => Step::Pages(from),
                Relinquished::Done => Step::Over,
            },
            Step::Over => Step::Over,
        };
        self.life.lock().death = next;
        if !matches!(next, Step::Over) {
            return Progress::More;
        }
        if !matches!(step, Step::Over) {
            self.sys.frames.note_dead();
            self.reach(Stage::Dead);
            self.sys.tell_dom_exc();
            self.sys.bury_dead();
        }
        Progress::Done
    }

    /// Stops the vCPUs; once no CPU has them, nothing leads back to them.
    fn retire_vcpus(self: &Arc<Self>) -> Step {
        if self.stage() == Stage::Alive {
            self.reach(Stage::Dying);
            self.stop_vcpus(pause::DYING);
        }
        if !self.is_settled() {
            return Step::Vcpus;
        }
        for vcpu in &self.all_vcpus {
            self.sys.sched.take_out(vcpu);
        }
        // Its own pool need not stay for it. The first one can always be had.
        let _ = self.move_to_pool(0);
        self.sys.hw.console_leave(self.id);
        self.sys.timers.forget(self);
        self.vgic.unlink_all(&**self);
        self.sys.irq_owners.take_back(self.id);
        self.sys.virqs.take_back(self.id);
        if let Some(uart) = self.uart.get() {
            uart.disconnect();
        }
        let _ = self.sys.frames.claim(self.id, 0);
        Step::Grants
    }

    /// True if it is dead and nobody holds a page of it.
    fn is_gone(&self) -> bool {
        let frames = self.sys.frames;
        let unheld = |mfn| frames.state(mfn).is_none_or(|s| s.references() <= 1);
        self.stage() == Stage::Dead
            && frames.tot_pages(self.id) == 0
            && unheld(self.shared_info.mfn())
            && self.grants.all_frames(unheld)
    }
}

impl System {
    /// Forgets the dead of whom nobody holds a page any more, and tells the toolstack. To be
    /// called, with no lock held, after [`take_abandoned`](crate::frame::Frames::take_abandoned)
    /// said that there may be one.
    pub fn bury_dead(&self) {
        while let Some(domain) = self.domains.remove_first(Domain::is_gone) {
            log::debug!("{} is gone", domain.id);
            drop(domain);
            self.frames.note_gone();
            self.tell_dom_exc();
        }
    }
}
