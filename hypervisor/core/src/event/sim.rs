// SPDX-License-Identifier: MIT OR Apache-2.0
//! Domains for tests, and an honest guest that takes its events as Linux does.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use super::{EventChannels, EventDomain, expand_array, init_control, register_vcpu_info};
use crate::addr::{DomId, Mfn, Pa};
use crate::guest::shared::SharedPage;
use crate::hw::DirectMap;
use crate::sync::Lock;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::sync::Mutex;
use xen_abi::errno::Errno;
use xen_abi::event::Status;

pub(super) const PENDING: u32 = 1 << 31;
pub(super) const MASKED: u32 = 1 << 30;
pub(super) const LINKED: u32 = 1 << 29;
const LINK: u32 = 0x1ffff;
pub(super) const VCPUS: u32 = 3;

#[repr(C, align(4096))]
struct Page([AtomicU8; 4096]);

impl Drop for Page {
    fn drop(&mut self) {
        assert_unlocked();
    }
}

/// A zeroed page that lives while it is used.
pub(super) fn page() -> SharedPage {
    let page = Arc::new(Page([const { AtomicU8::new(0) }; 4096]));
    let at = DirectMap::IDENTITY.pa(page.0.as_ptr().cast());
    let Pa(pa) = at;
    // SAFETY: the page is all atomics, and `page` keeps it.
    unsafe { SharedPage::new(DirectMap::IDENTITY, Mfn(pa >> 12), Some(page)) }
}

/// The rank checker objects if any lock is held.
fn assert_unlocked() {
    drop(Lock::<(), 1>::new(()).lock());
}

/// A domain that takes notes.
pub(super) struct TestDomain {
    events: EventChannels,
    pub(super) shared_info: SharedPage,
    pub(super) upcalls: Mutex<Vec<u32>>,
    pub(super) polled: Mutex<Vec<u32>>,
    pub(super) xen: Mutex<Vec<u32>>,
    pub(super) starved: AtomicBool,
    pub(super) may_grow: AtomicBool,
}

impl TestDomain {
    pub(super) fn new(id: u16, max_port: u32) -> Arc<Self> {
        let shared_info = page();
        Arc::new(Self {
            events: EventChannels::new(DomId(id), VCPUS, max_port, shared_info.clone()).unwrap(),
            shared_info,
            upcalls: Mutex::default(),
            polled: Mutex::default(),
            xen: Mutex::default(),
            starved: AtomicBool::new(false),
            may_grow: AtomicBool::new(true),
        })
    }

    pub(super) fn take_upcalls(&self) -> Vec<u32> {
        core::mem::take(&mut self.upcalls.lock().unwrap())
    }
}

impl EventDomain for TestDomain {
    fn events(&self) -> &EventChannels {
        &self.events
    }
    fn vcpu_exists(&self, vcpu: u32) -> bool {
        vcpu < VCPUS
    }
    fn upcall(&self, vcpu: u32) {
        assert_unlocked();
        self.upcalls.lock().unwrap().push(vcpu);
    }
    fn wake_pollers(&self, port: u32) {
        assert_unlocked();
        self.polled.lock().unwrap().push(port);
    }
    fn starved(&self) {
        self.starved.store(true, SeqCst);
    }
    fn may_grow(&self) -> bool {
        self.may_grow.load(SeqCst)
    }
    fn xen_event(&self, port: u32) {
        assert_unlocked();
        self.xen.lock().unwrap().push(port);
    }
}

impl Drop for TestDomain {
    fn drop(&mut self) {
        assert_unlocked();
    }
}

/// (status, vcpu, details) of a port.
pub(super) fn status(d: &dyn EventDomain, port: u32) -> Result<(u32, u32, [u32; 2]), Errno> {
    let mut out = Status {
        dom: 0,
        _pad: 0,
        port,
        status: 99,
        vcpu: 99,
        u: [99; 2],
    };
    super::status(d, port, &mut out)?;
    Ok((out.status, out.vcpu, out.u))
}

/// A vCPU's view of FIFO events.
pub(super) struct FifoCpu {
    pub(super) control: SharedPage,
    ready: u32,
    heads: [u32; 16],
}

/// The kernel in a domain.
pub(super) struct Guest {
    pub(super) domain: Arc<TestDomain>,
    pub(super) infos: Vec<Option<SharedPage>>,
    pub(super) array: Vec<SharedPage>,
    pub(super) cpus: Vec<FifoCpu>,
}

impl Guest {
    pub(super) fn new(id: u16, max_port: u32) -> Self {
        let domain = TestDomain::new(id, max_port);
        let mut infos = Vec::new();
        infos.resize_with(VCPUS as usize, || None);
        infos[0] = Some(domain.shared_info.clone());
        Self {
            domain,
            infos,
            array: Vec::new(),
            cpus: Vec::new(),
        }
    }

    pub(super) fn arc(&self) -> Arc<dyn EventDomain> {
        self.domain.clone()
    }

    pub(super) fn register(&mut self, vcpu: u32) -> Result<(), Errno> {
        let page = page();
        register_vcpu_info(&*self.domain, vcpu, 0, || Ok(page.clone()))?;
        self.infos[vcpu as usize] = Some(page);
        Ok(())
    }

    pub(super) fn is_fifo(&self) -> bool {
        !self.cpus.is_empty()
    }

    /// Switches to the FIFO ABI, on all vCPUs.
    pub(super) fn init_control(&mut self) {
        for vcpu in 0..VCPUS {
            let control = page();
            init_control(&*self.domain, vcpu, 0, || Ok(control.clone())).unwrap();
            self.cpus.push(FifoCpu {
                control,
                ready: 0,
                heads: [0; 16],
            });
        }
    }

    pub(super) fn expand(&mut self) {
        let page = page();
        expand_array(&*self.domain, || Ok(page.clone())).unwrap();
        self.array.push(page);
    }

    /// What a new kernel does after `EVTCHNOP_reset`.
    pub(super) fn forget_fifo(&mut self) {
        self.cpus.clear();
        self.array.clear();
    }

    pub(super) fn has_word(&self, port: u32) -> bool {
        !self.is_fifo() || self.array.len() > port as usize / 1024
    }

    pub(super) fn word(&self, port: u32) -> &core::sync::atomic::AtomicU32 {
        let page = &self.array[port as usize / 1024];
        page.atomic_u32(port as usize % 1024 * 4).unwrap()
    }

    pub(super) fn mask(&self, port: u32) {
        if self.is_fifo() {
            self.word(port).fetch_or(MASKED, SeqCst);
        } else {
            let mask = self
                .domain
                .shared_info
                .atomic_u64(560 + port as usize / 64 * 8);
            mask.unwrap().fetch_or(1 << (port % 64), SeqCst);
        }
    }

    /// The interrupt handler of `vcpu`, which handles at most `budget` FIFO events (and goes on
    /// next time). Returns the ports handled.
    pub(super) fn handle(&mut self, vcpu: u32, budget: usize) -> Vec<u32> {
        let Some(info) = self.infos[vcpu as usize].clone() else {
            return Vec::new();
        };
        let called = info.atomic_u8(0).unwrap().swap(0, SeqCst) != 0;
        if self.is_fifo() {
            return self.handle_fifo(vcpu, budget, called);
        }
        if !called {
            return Vec::new();
        }
        let shared = &self.domain.shared_info;
        let mut handled = Vec::new();
        let sel = info.atomic_u64(8).unwrap().swap(0, SeqCst);
        for word in (0..64usize).filter(|w| sel >> w & 1 != 0) {
            let pending = shared.atomic_u64(48 + word * 8).unwrap();
            let mask = shared.atomic_u64(560 + word * 8).unwrap().load(SeqCst);
            let taken = pending.fetch_and(mask, SeqCst) & !mask;
            let bits = (0..64).filter(|b| taken >> b & 1 != 0);
            handled.extend(bits.map(|b| word as u32 * 64 + b));
        }
        handled
    }

    fn handle_fifo(&mut self, vcpu: u32, budget: usize, called: bool) -> Vec<u32> {
        let mut handled = Vec::new();
        for _ in 0..budget {
            let cpu = &mut self.cpus[vcpu as usize];
            if called || cpu.ready != 0 {
                let ready = cpu.control.atomic_u32(0).unwrap();
                cpu.ready |= ready.swap(0, SeqCst);
            }
            if cpu.ready == 0 {
                break;
            }
            let queue = cpu.ready.trailing_zeros() as usize;
            let mut port = cpu.heads[queue];
            if port == 0 {
                let head = cpu.control.atomic_u32(8 + queue * 4).unwrap();
                port = head.load(SeqCst);
            }
            let old = self.word(port).fetch_and(!(LINKED | LINK), SeqCst);
            let cpu = &mut self.cpus[vcpu as usize];
            cpu.heads[queue] = old & LINK;
            if old & LINK == 0 {
                cpu.ready &= !(1 << queue);
            }
            if old & PENDING != 0 && old & MASKED == 0 {
                self.word(port).fetch_and(!PENDING, SeqCst);
                handled.push(port);
            }
        }
        handled
    }

    /// True if the kernel has FIFO events it has not come to.
    pub(super) fn has_work(&self) -> bool {
        self.cpus.iter().any(|c| c.ready != 0)
            || self
                .infos
                .iter()
                .flatten()
                .any(|i| i.atomic_u8(0).unwrap().load(SeqCst) != 0)
    }
}
