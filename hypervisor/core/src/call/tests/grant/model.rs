// SPDX-License-Identifier: MIT OR Apache-2.0
//! Three domains that grant, scribble, map, unmap, copy, give up and take pages at random, beside
//! a model of who uses what. Every reference and mark is accounted for at each step.

use super::*;
use crate::addr::PAGE_SIZE;
use crate::grant::map::relinquish;
use crate::p2m::Progress;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Pages and references that take part: few, so that they meet.
const PAGES: u64 = 4;
const FIRST_PAGE: u64 = 12;
const FIRST_REF: u32 = 8;

#[derive(Clone, Debug)]
enum Step {
    /// Domain, reference, entry: flags, domain, page.
    Write(usize, u32, u16, u16, u64),
    /// Mapper, granter, reference, window, read only.
    Map(usize, u16, u32, u64, bool),
    /// Mapper, which of its mappings, and whether the right address is said.
    Unmap(usize, usize, bool),
    /// dom0 copies from granter's reference, to its own page or to another's reference.
    Copy(u16, u32, Option<u32>),
    Decrease(usize, u64),
    Populate(usize, u64),
    Swap(usize, u32, u32),
    Flush(u16, u64),
}

fn reference() -> impl Strategy<Value = u32> {
    FIRST_REF..FIRST_REF + 4
}

fn page() -> impl Strategy<Value = u64> {
    FIRST_PAGE..FIRST_PAGE + PAGES
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![
        6 => Just(GTF_PERMIT_ACCESS),
        2 => Just(GTF_PERMIT_ACCESS | GTF_READONLY),
        1 => any::<u16>(),
    ];
    prop_oneof![
        4 => (0usize..3, reference(), flags, 0u16..3, page())
            .prop_map(|(id, r, f, d, p)| Step::Write(id, r, f, d, p)),
        6 => (0usize..3, 0u16..4, reference(), 0u64..8, any::<bool>())
            .prop_map(|(m, d, r, w, ro)| Step::Map(m, d, r, w, ro)),
        4 => (0usize..3, any::<usize>(), prop::bool::weighted(0.8))
            .prop_map(|(m, n, ok)| Step::Unmap(m, n, ok)),
        3 => (0u16..3, reference(), prop::option::of(reference()))
            .prop_map(|(d, r, to)| Step::Copy(d, r, to)),
        1 => (1usize..3, page()).prop_map(|(id, p)| Step::Decrease(id, p)),
        1 => (1usize..3, page()).prop_map(|(id, p)| Step::Populate(id, p)),
        1 => (0usize..3, reference(), reference()).prop_map(|(id, a, b)| Step::Swap(id, a, b)),
        1 => (0u16..3, page()).prop_map(|(d, p)| Step::Flush(d, p)),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Mapped {
    owner: usize,
    reference: u32,
    mfn: u64,
    gfn: u64,
    readonly: bool,
}

struct Model {
    machine: Machine,
    /// By mapper and handle.
    mapped: BTreeMap<(usize, u32), Mapped>,
    /// RAM pages of all domains together.
    pages: u64,
}

impl Model {
    fn new() -> Self {
        let machine = Machine::new();
        let mut model = Self {
            machine,
            mapped: BTreeMap::new(),
            pages: 0,
        };
        model.pages = model.total();
        model
    }

    fn total(&self) -> u64 {
        (0..3)
            .map(|id| u64::from(self.machine.guests[id].tot_pages()))
            .sum()
    }

    fn entry(&self, id: usize, reference: u32) -> u64 {
        let page = table_page(&self.machine, id);
        page.atomic_u64(reference as usize * 8)
            .unwrap()
            .load(Ordering::SeqCst)
    }

    /// Mappings of a grant.
    fn uses(&self, owner: usize, reference: u32) -> impl Iterator<Item = (usize, &Mapped)> {
        let of = move |m: &Mapped| m.owner == owner && m.reference == reference;
        self.mapped
            .iter()
            .filter(move |(_, m)| of(m))
            .map(|(&(mapper, _), m)| (mapper, m))
    }

    /// What a claim must answer, and the page it must be of.
    fn expected(
        &self,
        by: usize,
        owner: usize,
        reference: u32,
        write: bool,
        map: bool,
    ) -> Result<u64, i16> {
        let entry = self.entry(owner, reference);
        let (flags, domid, gfn) = (entry as u16, (entry >> 16) as u16, entry >> 32);
        let mut uses = self.uses(owner, reference).peekable();
        let first = uses.peek().map(|(mapper, m)| (*mapper, m.mfn));
        let written = uses.any(|(_, m)| !m.readonly);
        if first.is_some_and(|(mapper, _)| mapper != by) {
            return Err(GNTST_GENERAL_ERROR);
        }
        if first.is_none() || (write && !written) {
            let sub_page = map && flags & GTF_SUB_PAGE != 0;
            let readonly = write && flags & GTF_READONLY != 0;
            if flags & 3 != GTF_PERMIT_ACCESS || sub_page || readonly || domid as usize != by {
                return Err(GNTST_GENERAL_ERROR);
            }
        }
        match first {
            Some((_, mfn)) => Ok(mfn),
            None => match self.machine.mapped(owner, gfn) {
                Some((mfn, P2mType::RamRw)) => Ok(mfn),
                _ => Err(GNTST_BAD_PAGE),
            },
        }
    }

    fn map(&mut self, by: usize, dom: u16, reference: u32, window: u64, readonly: bool) {
        let gfn = WINDOW + window;
        let flags = GNTMAP_HOST_MAP | if readonly { GNTMAP_READONLY } else { 0 };
        let owner = usize::from(dom);
        let expected = match owner {
            3.. => Err(GNTST_BAD_DOMAIN),
            _ if owner != by && owner != 0 && by != 0 => Err(GNTST_PERMISSION_DENIED),
            _ => self.expected(by, owner, reference, !readonly, true),
        };
        let taken = self.machine.mapped(by, gfn).is_some();
        let expected = expected.and_then(|mfn| match taken {
            true => Err(GNTST_GENERAL_ERROR),
            false => Ok(mfn),
        });
        let op = self.machine.map(by, dom, reference, gfn, flags);
        match expected {
            Ok(mfn) => {
                assert_eq!((op.status, op.dev_bus_addr), (GNTST_OKAY, mfn << 12));
                let mapped = Mapped {
                    owner,
                    reference,
                    mfn,
                    gfn,
                    readonly,
                };
                assert!(self.mapped.insert((by, op.handle), mapped).is_none());
            }
            Err(status) => assert_eq!(op.status, status),
        }
    }

    fn unmap(&mut self, by: usize, nth: usize, right: bool) {
        let handles: Vec<_> = self.mapped.keys().filter(|k| k.0 == by).copied().collect();
        let Some(&key) = handles.get(nth % handles.len().max(1)) else {
            assert_eq!(self.machine.unmap(by, nth as u32, WINDOW), GNTST_BAD_HANDLE);
            return;
        };
        let gfn = self.mapped[&key].gfn;
        if !right {
            assert_eq!(self.machine.unmap(by, key.1, gfn ^ 1), GNTST_GENERAL_ERROR);
            return;
        }
        assert_eq!(self.machine.unmap(by, key.1, gfn), GNTST_OKAY);
        self.mapped.remove(&key);
    }

    fn copy(&mut self, dom: u16, reference: u32, to: Option<u32>) {
        let from = usize::from(dom);
        let expected = self.expected(0, from, reference, false, false);
        let dest = to.map(|to| self.expected(0, 1, to, true, false));
        let same = to == Some(reference) && from == 1;
        let source = GrantCopyPtr {
            u: reference.into(),
            domid: dom,
            offset: 8,
            _pad: 0,
        };
        let own = GrantCopyPtr {
            u: self.machine.guests[0].gfn(6),
            domid: SELF,
            offset: 0,
            _pad: 0,
        };
        let (dest_ptr, flags) = match to {
            None => (own, GNTCOPY_SOURCE_GREF),
            Some(to) => (
                GrantCopyPtr {
                    u: to.into(),
                    domid: 1,
                    offset: 0,
                    _pad: 0,
                },
                GNTCOPY_SOURCE_GREF | GNTCOPY_DEST_GREF,
            ),
        };
        let op = GrantCopy {
            source,
            dest: dest_ptr,
            len: 64,
            flags,
            status: 9,
            _pad: 0,
        };
        let status = self.machine.batch(0, 5, &[op])[0].status;
        let wanted = match (expected, dest) {
            (Err(status), _) => status,
            (_, Some(Err(_))) if same => status,
            (_, Some(Err(status))) => status,
            _ => GNTST_OKAY,
        };
        assert_eq!(status, wanted);
    }

    fn change(&mut self, id: usize, op: u64, page: u64) {
        let guest = &mut self.machine.guests[id];
        let extent_start = Handle(guest.put(&guest.gfn(page)));
        let request = xen_abi::memory::MemoryReservation {
            extent_start,
            nr_extents: 1,
            extent_order: 0,
            mem_flags: 0,
            domid: SELF,
            _pad: [0; 6],
        };
        guest.op(MEMORY_OP, op, request);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write(id, reference, flags, to, page) => {
                self.machine.grant(id, reference, to, page, flags);
            }
            Step::Map(by, dom, reference, window, readonly) => {
                self.map(by, dom, reference, window, readonly);
            }
            Step::Unmap(by, nth, right) => self.unmap(by, nth, right),
            Step::Copy(dom, reference, to) => self.copy(dom, reference, to),
            Step::Decrease(id, page) => self.change(id, 1, page),
            Step::Populate(id, page) => {
                if self
                    .machine
                    .mapped(id, self.machine.guests[id].gfn(page))
                    .is_none()
                {
                    self.change(id, 6, page);
                }
            }
            Step::Swap(id, a, b) => {
                let used = |r| self.uses(id, r).next().is_some();
                let busy = a != b && (used(a) || used(b));
                let wanted = if busy { GNTST_EAGAIN } else { GNTST_OKAY };
                assert_eq!(self.machine.swap(id, a, b), wanted);
            }
            Step::Flush(dom, page) => {
                let mfn = self.machine.guests[usize::from(dom)].mfn.0 + page;
                let owner = self.machine.sys.frames.state(Mfn(mfn)).unwrap().owner();
                let mapped = self
                    .mapped
                    .iter()
                    .any(|((by, _), m)| *by == 0 && m.mfn == mfn);
                let answer = match owner {
                    Some(DomId(0)) => 0,
                    _ if mapped => 0,
                    None => EPERM,
                    _ => EINVAL,
                };
                assert_eq!(
                    cache(&mut self.machine, mfn << 12, 0, PAGE_SIZE as u16, 1),
                    answer
                );
            }
        }
        self.check();
    }

    /// Each page has the references that its allocation, its mappings and its pins make; a
    /// grant in use is marked as used, unless its granter wrote over that.
    fn check(&self) {
        let mut wanted: BTreeMap<u64, u32> = BTreeMap::new();
        let mut pins: BTreeMap<(usize, u32), u64> = BTreeMap::new();
        for (&(by, _), m) in &self.mapped {
            *wanted.entry(m.mfn).or_default() += 1;
            pins.insert((m.owner, m.reference), m.mfn);
            let ty = if m.readonly {
                P2mType::GrantRo
            } else {
                P2mType::GrantRw
            };
            assert_eq!(self.machine.mapped(by, m.gfn), Some((m.mfn, ty)));
        }
        for mfn in pins.values() {
            *wanted.entry(*mfn).or_default() += 1;
        }
        for (mfn, uses) in wanted {
            let state = self.machine.sys.frames.state(Mfn(mfn)).unwrap();
            let allocation = u32::from(state.is_allocated());
            assert_eq!(state.references(), uses + allocation, "{mfn:#x}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn every_reference_is_accounted_for(
        steps in prop::collection::vec(step(), 1..80),
        death in prop::bool::ANY,
    ) {
        let mut model = Model::new();
        for id in 0..3 {
            for n in 0..4 {
                let to = if id == 0 { 1 } else { 0 };
                model.machine.grant(id, FIRST_REF + n, to, FIRST_PAGE + u64::from(n), GTF_PERMIT_ACCESS);
            }
        }
        for step in &steps {
            model.step(step);
        }
        let granted = model.mapped.values().map(|m| m.mfn).collect::<Vec<_>>();
        if death {
            // Both domUs are destroyed while dom0 has their pages; then dom0 lets go.
            for id in 1..3 {
                let domain = model.machine.guests[id].domain.clone();
                while domain.destroy() == Progress::More {}
            }
            for ((by, _), m) in &model.mapped {
                let state = model.machine.sys.frames.state(Mfn(m.mfn)).unwrap();
                prop_assert!(*by != 0 || state.owner() == Some(DomId(m.owner as u16)));
            }
            let dom0 = model.machine.guests[0].domain.clone();
            while relinquish(&dom0, 7) == Progress::More {}
            model.machine.sys.bury_dead();
            prop_assert_eq!(model.machine.sys.domains.count(), 1);
        } else {
            for ((by, handle), m) in core::mem::take(&mut model.mapped) {
                prop_assert_eq!(model.machine.unmap(by, handle, m.gfn), GNTST_OKAY);
            }
        }
        for mfn in granted {
            let state = model.machine.sys.frames.state(Mfn(mfn)).unwrap();
            prop_assert_eq!(state.references(), u32::from(state.is_allocated()));
        }
        for id in 0..3 {
            let marks = GTF_READING | GTF_WRITING;
            for reference in FIRST_REF..FIRST_REF + 4 {
                let flags = model.machine.flags(id, reference);
                let scribbled = steps.iter().any(|s| matches!(s, Step::Write(..)));
                prop_assert!(scribbled || flags & marks == 0);
            }
        }
        let owned = model.total();
        let free = model.machine.sys.frames.free_pages();
        prop_assert!(owned <= model.pages + 16 && free > 0);
    }
}
