// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine whose TLBs remember: all that was valid since the last flush may still be used.

use crate::addr::{DomId, Mfn, Pa};
use crate::fake::FakeHw;
use crate::frame::{Frames, Kind, Limits};
use crate::hw::DirectMap;
use crate::p2m::{P2m, PoolLimit, Stage2Geometry};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

/// Pages in 2 MiB and 1 GiB.
pub(super) const M2: u64 = 512;
pub(super) const G1: u64 = M2 * 512;

/// Where the tables and the pages of others are: beyond what the tests name as RAM.
const BASE: u64 = 0xf0_0000_0000;
const ADDRESS: u64 = 0xffff_ffff_f000;

/// Valid descriptors by first frame number and order.
type Descriptors = BTreeMap<(u64, u32), u64>;

/// A walker of its own, which knows nothing of the code under test.
pub(super) struct Walker {
    map: DirectMap,
    root: u64,
    nr_roots: u64,
    root_order: u32,
}

impl Walker {
    fn new(map: DirectMap, p2m: &P2m) -> Self {
        let vtcr = p2m.geometry().vtcr(false);
        let bits = 64 - (vtcr & 63) as u32;
        let root_order = if vtcr >> 6 & 3 == 2 { 27 } else { 18 };
        let pages = 1_u64 << (bits - 12);
        Self {
            map,
            root: p2m.vttbr() & ADDRESS,
            nr_roots: pages.div_ceil(512 << root_order),
            root_order,
        }
    }

    pub(super) fn all(&self) -> Descriptors {
        let mut found = Descriptors::new();
        for n in 0..self.nr_roots {
            let first = n * (512 << self.root_order);
            self.table(self.root + n * 4096, first, self.root_order, &mut found);
        }
        found
    }

    fn table(&self, table: u64, first: u64, order: u32, found: &mut Descriptors) {
        let entries = self.map.ptr(Pa(table)).cast::<u64>();
        for n in 0..512 {
            // SAFETY: tables are whole pages of the fake RAM, and the lock is held or unneeded.
            let descriptor = unsafe { entries.add(n).read_volatile() };
            let first = first + ((n as u64) << order);
            if descriptor & 1 == 0 {
                continue;
            }
            found.insert((first, order), descriptor);
            if order > 0 && descriptor & 2 != 0 {
                self.table(descriptor & ADDRESS, first, order - 9, found);
            }
        }
    }
}

fn is_table(order: u32, descriptor: u64) -> bool {
    order > 0 && descriptor & 2 != 0
}

/// What walks since the last flush can have cached.
struct Tlb {
    walker: Walker,
    frames: &'static Frames,
    cached: Descriptors,
}

impl Tlb {
    /// Caches all there is now, and checks that nothing cached is in conflict with it or leads to
    /// a page that has been freed.
    fn observe(&mut self) -> Descriptors {
        let now = self.walker.all();
        for (&key, &descriptor) in &now {
            let before = self.cached.insert(key, descriptor);
            assert!(
                before.is_none_or(|b| b == descriptor),
                "{key:x?}: {before:x?} became {descriptor:x} without a flush"
            );
        }
        for (key, descriptor) in &self.cached {
            let page = Pa(descriptor & ADDRESS).frame();
            let kind = self.frames.state(page).map(|s| s.kind());
            assert!(kind != Some(Kind::Free), "{key:x?} leads to free {page}");
        }
        now
    }

    fn flush(&mut self) {
        self.cached = self.observe();
    }
}

pub(super) struct Machine {
    pub(super) hw: &'static FakeHw,
    pub(super) frames: &'static Frames,
    pub(super) p2m: P2m,
    tlb: Arc<Mutex<Tlb>>,
    free: u64,
}

impl Machine {
    pub(super) fn new(parange: u8, limit: PoolLimit) -> Self {
        let hw = FakeHw::leak(BASE, 8 << 20);
        let frames = Frames::new(hw.ram.map, hw, &[hw.ram.range], &[]).unwrap();
        let frames: &'static Frames = Box::leak(Box::new(frames));
        let free = frames.free_pages();
        let geometry = Stage2Geometry::for_pa_range(parange).unwrap();
        let p2m = P2m::new(frames, hw, geometry, 7, limit).unwrap();
        let tlb = Arc::new(Mutex::new(Tlb {
            walker: Walker::new(hw.ram.map, &p2m),
            frames,
            cached: Descriptors::new(),
        }));
        let hook = tlb.clone();
        *hw.on_flush.lock().unwrap() = Some(Box::new(move || {
            // Poisoned: the test has failed already.
            if let Ok(mut tlb) = hook.lock() {
                tlb.flush();
            }
        }));
        hw.take_events();
        Self {
            hw,
            frames,
            p2m,
            tlb,
            free,
        }
    }

    /// A page of RAM of `dom`.
    pub(super) fn page(&self, dom: DomId) -> Mfn {
        self.frames.alloc_ram(dom, 0, Limits::default()).unwrap()
    }

    pub(super) fn references(&self, mfn: Mfn) -> u32 {
        self.frames.state(mfn).unwrap().references()
    }

    /// Checks the rules of change, and that the pool is no larger than it must be. Returns the
    /// entries that map something: first frame number, order, descriptor.
    pub(super) fn check(&self) -> Vec<(u64, u32, u64)> {
        let now = self.tlb.lock().unwrap().observe();
        let tables = now.iter().filter(|(k, d)| is_table(k.1, **d)).count() as u64;
        let (limit, used) = self.p2m.pool();
        assert!(used >= tables, "{used} of {tables} tables");
        if let PoolLimit::Pages(pages) = limit {
            assert!(used <= pages);
        }
        if self.p2m.is_flushed() {
            assert_eq!(used, tables);
        }
        now.into_iter()
            .filter(|((_, order), d)| !is_table(*order, *d))
            .map(|((gfn, order), d)| (gfn, order, d))
            .collect()
    }

    /// Drops the tables: all is free again but `pages`, which have one reference each.
    pub(super) fn end(self, pages: &[Mfn]) {
        let Self {
            hw,
            frames,
            p2m,
            free,
            ..
        } = self;
        drop(p2m);
        *hw.on_flush.lock().unwrap() = None;
        for mfn in pages {
            assert_eq!(frames.state(*mfn).unwrap().references(), 1);
        }
        assert_eq!(frames.free_pages() + pages.len() as u64, free);
    }
}
