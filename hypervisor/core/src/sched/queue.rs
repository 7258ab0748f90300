// SPDX-License-Identifier: MIT OR Apache-2.0
//! One CPU's run queue.

use super::Place;
use crate::addr::CpuId;
use crate::domain::vcpu::Vcpu;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

/// The vCPUs that are ready, the one that runs, and the one whose registers are in the CPU.
#[derive(Default)]
pub(super) struct RunQueue {
    ready: Vec<Arc<Vcpu>>,
    current: Option<Arc<Vcpu>>,
    loaded: Option<Arc<Vcpu>>,
    /// Weighted time that never runs backwards: new ones start here.
    min_vruntime: u64,
    started: u64,
}

impl RunQueue {
    pub(super) fn waiting(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn ready(&self) -> &[Arc<Vcpu>] {
        &self.ready
    }

    pub(super) fn loaded(&self) -> Option<Arc<Vcpu>> {
        self.loaded.clone()
    }

    pub(super) fn set_loaded(&mut self, vcpu: Option<Arc<Vcpu>>) {
        self.loaded = vcpu;
    }

    pub(super) fn is_loaded(&self, vcpu: &Arc<Vcpu>) -> bool {
        self.loaded.as_ref().is_some_and(|l| Arc::ptr_eq(l, vcpu))
    }

    /// Takes in a vCPU that was out. It may not have saved up more than half a slice, nor be
    /// behind by more than a slice of its own.
    pub(super) fn admit(&mut self, vcpu: &Arc<Vcpu>, slice: u64) {
        let floor = self.min_vruntime.saturating_sub(slice / 2);
        let behind = slice.max(vcpu.sched.weighted(slice));
        let ceiling = self.min_vruntime.saturating_add(behind);
        let vruntime = vcpu.sched.vruntime.load(Ordering::Relaxed);
        vcpu.sched
            .vruntime
            .store(vruntime.clamp(floor, ceiling), Ordering::Relaxed);
        vcpu.sched.set_place(Place::Ready);
        self.ready.push(vcpu.clone());
    }

    /// True if `vcpu`, just admitted, should not wait for the slice of the one that runs.
    pub(super) fn preempts(&self, vcpu: &Vcpu, now: u64, margin: u64) -> bool {
        let Some(current) = &self.current else {
            return true;
        };
        let ran = current.sched.weighted(now.saturating_sub(self.started));
        let current = current
            .sched
            .vruntime
            .load(Ordering::Relaxed)
            .saturating_add(ran);
        vcpu.sched
            .vruntime
            .load(Ordering::Relaxed)
            .saturating_add(margin)
            < current
    }

    /// Accounts the current vCPU and puts it back among the ready, or out if it may not run.
    pub(super) fn stop_current(&mut self, now: u64, slice: u64) {
        let Some(vcpu) = self.current.take() else {
            return;
        };
        let ran = now.saturating_sub(self.started);
        vcpu.sched.run_ticks.fetch_add(ran, Ordering::Relaxed);
        let weighted = vcpu.sched.weighted(ran);
        let vruntime = vcpu
            .sched
            .vruntime
            .fetch_add(weighted, Ordering::Relaxed)
            .saturating_add(weighted);
        let least = self
            .ready
            .iter()
            .map(|v| v.sched.vruntime.load(Ordering::Relaxed))
            .min();
        let reached = least.map_or(vruntime, |l| l.min(vruntime));
        self.min_vruntime = self.min_vruntime.max(reached);
        if vcpu.sched.flags() == 0 {
            self.admit(&vcpu, slice);
        } else {
            vcpu.sched.set_place(Place::Out);
        }
    }

    /// Makes the ready vCPU that has run least the current one.
    pub(super) fn start_first(&mut self, now: u64) -> Option<Arc<Vcpu>> {
        let key = |v: &Arc<Vcpu>| v.sched.vruntime.load(Ordering::Relaxed);
        loop {
            let (at, _) = self.ready.iter().enumerate().min_by_key(|(_, v)| key(v))?;
            let vcpu = self.ready.swap_remove(at);
            if vcpu.sched.flags() != 0 {
                vcpu.sched.set_place(Place::Out);
                continue;
            }
            vcpu.sched.set_place(Place::Running);
            self.started = now;
            self.current = Some(vcpu.clone());
            return Some(vcpu);
        }
    }

    /// Lets the current vCPU pass for one that has run longest.
    pub(super) fn yield_current(&mut self) {
        let most = self
            .ready
            .iter()
            .map(|v| v.sched.vruntime.load(Ordering::Relaxed))
            .max();
        if let (Some(current), Some(most)) = (&self.current, most) {
            current
                .sched
                .vruntime
                .fetch_max(most.saturating_add(1), Ordering::Relaxed);
        }
    }

    /// Takes `vcpu` out if it is among the ready.
    pub(super) fn take_out(&mut self, vcpu: &Arc<Vcpu>) -> Option<Arc<Vcpu>> {
        let at = self.ready.iter().position(|v| Arc::ptr_eq(v, vcpu))?;
        vcpu.sched.set_place(Place::Out);
        Some(self.ready.swap_remove(at))
    }

    /// Takes out a ready vCPU that may run on CPU `to`, its registers saved.
    pub(super) fn give_away(&mut self, to: CpuId) -> Option<Arc<Vcpu>> {
        let free = |v: &Arc<Vcpu>| !self.is_loaded(v) && v.sched.affinity.contains(to);
        let at = self.ready.iter().position(free)?;
        Some(self.ready.swap_remove(at))
    }
}
