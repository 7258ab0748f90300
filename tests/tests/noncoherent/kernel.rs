// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0's kernel: what the stub's DMA asks of its platform, done with the simulated CPUs and by hypercalls. A test can
//! break any of it.

use crate::caches::Caches;
use guest_stub::dma::{CpuPages, PAGE_SIZE, Phys, Platform};
use hv_core::addr::Gfn;
use hv_core::call::testing::Machine;
use hv_core::hw::CacheOp;
use hv_core::p2m::Access;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use xen_abi::Errno;
use xen_abi::grant::{CacheFlush, GNTTAB_CACHE_CLEAN, GNTTAB_CACHE_INVAL, GNTTABOP_CACHE_FLUSH};
use xen_abi::hypercall::GRANT_TABLE_OP;

/// What the kernel is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Map,
    SyncForCpu,
    SyncForDevice,
    Unmap,
}

/// Who maintains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// The CPU's instructions.
    Cpu,
    /// The hypercall.
    Hypercall,
}

/// What is wrong with a piece of maintenance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrong {
    /// It is not done.
    Missing,
    /// It is done when the next phase begins.
    Late,
    /// The last byte is left out.
    OneByteShort,
    /// It begins with the second line.
    FirstLineMissed,
    /// Only the first page is done.
    FirstPageOnly,
    /// The other operation is done.
    OtherOperation,
    /// The guest's frame is given for the machine's (hypercalls only).
    GuestFrame,
}

/// One break of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) phase: Phase,
    pub(crate) by: By,
    /// Breaks only this operation.
    pub(crate) op: CacheOp,
    pub(crate) wrong: Wrong,
}

pub(crate) struct Kernel {
    pub(crate) machine: Mutex<Machine>,
    pub(crate) caches: Arc<Mutex<Caches>>,
    /// Machine frames of dom0's memory.
    local: Range<u64>,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    fault: Option<Fault>,
    late: Vec<Maintenance>,
    /// Maintained in this phase so far, for [`Wrong::FirstPageOnly`].
    pieces: usize,
    /// Guest frames of foreign pages, for [`Wrong::GuestFrame`].
    guest_frames: Vec<(u64, u64)>,
    /// Hypercalls that asked for maintenance.
    flushes: usize,
}

#[derive(Clone, Copy, Debug)]
enum Maintenance {
    Cpu(u64, usize, CacheOp),
    Hypercall(CacheFlush),
}

impl Kernel {
    pub(crate) fn new(machine: Machine, caches: Arc<Mutex<Caches>>, local: Range<u64>) -> Self {
        Self {
            machine: Mutex::new(machine),
            caches,
            local,
            state: Mutex::new(State {
                phase: Phase::Map,
                fault: None,
                late: Vec::new(),
                pieces: 0,
                guest_frames: Vec::new(),
                flushes: 0,
            }),
        }
    }

    pub(crate) fn break_by(&self, fault: Option<Fault>) {
        self.state.lock().unwrap().fault = fault;
    }

    /// The kernel begins to do something else.
    pub(crate) fn begin(&self, phase: Phase) {
        let mut state = self.state.lock().unwrap();
        state.phase = phase;
        state.pieces = 0;
        let late = std::mem::take(&mut state.late);
        drop(state);
        for maintenance in late {
            // Too late to tell anyone.
            let _ = self.perform(maintenance);
        }
    }

    pub(crate) fn set_guest_frames(&self, frames: Vec<(u64, u64)>) {
        self.state.lock().unwrap().guest_frames = frames;
    }

    pub(crate) fn take_flushes(&self) -> usize {
        std::mem::take(&mut self.state.lock().unwrap().flushes)
    }

    /// Domain `id` reads by its mapping of `phys`, on some CPU.
    pub(crate) fn read(&self, id: usize, phys: u64, buffer: &mut [u8]) {
        let mut done = 0;
        for (machine, size) in self.pieces(id, phys, buffer.len()) {
            let mut caches = self.caches.lock().unwrap();
            let cpu = caches.any_cpu();
            caches.read(cpu, machine, &mut buffer[done..done + size]);
            done += size;
        }
    }

    /// Domain `id` writes by its mapping of `phys`, on some CPU.
    pub(crate) fn write(&self, id: usize, phys: u64, bytes: &[u8]) {
        let mut done = 0;
        for (machine, size) in self.pieces(id, phys, bytes.len()) {
            let mut caches = self.caches.lock().unwrap();
            let cpu = caches.any_cpu();
            caches.write(cpu, machine, &bytes[done..done + size]);
            done += size;
        }
    }

    /// Where stage 2 of domain `id` has `size` bytes from `phys`, page by page.
    pub(crate) fn pieces(&self, id: usize, phys: u64, size: usize) -> Vec<(u64, usize)> {
        let domain = self.machine.lock().unwrap().guests[id].domain.clone();
        let end = phys + size as u64;
        let pages = (phys / PAGE_SIZE..end.div_ceil(PAGE_SIZE)).map(|gfn| {
            let (page, _) = domain
                .p2m
                .page(Gfn(gfn), Access::Read)
                .unwrap_or_else(|| panic!("d{id} has nothing at frame {gfn:#x}"));
            let start = phys.max(gfn * PAGE_SIZE);
            let size = end.min((gfn + 1) * PAGE_SIZE) - start;
            (page.pa().0 + start % PAGE_SIZE, size as usize)
        });
        pages.collect()
    }

    /// Does one piece of maintenance, or what is left of it.
    fn maintain(&self, maintenance: Maintenance) -> Result<(), Errno> {
        let mut state = self.state.lock().unwrap();
        let (by, op) = match maintenance {
            Maintenance::Cpu(.., op) => (By::Cpu, op),
            Maintenance::Hypercall(flush) => {
                state.flushes += 1;
                (By::Hypercall, operation(flush.op))
            }
        };
        let applies =
            |fault: &Fault| fault.phase == state.phase && fault.by == by && fault.op == op;
        let Some(fault) = state.fault.filter(applies) else {
            drop(state);
            return self.perform(maintenance);
        };
        state.pieces += 1;
        let broken = match fault.wrong {
            Wrong::Missing => None,
            Wrong::Late => {
                state.late.push(maintenance);
                None
            }
            Wrong::FirstPageOnly => maintenance.within_first_page(state.pieces),
            Wrong::OneByteShort => maintenance.cut(0, 1),
            Wrong::FirstLineMissed => maintenance.without_first_line(),
            Wrong::OtherOperation => Some(maintenance.other_operation()),
            Wrong::GuestFrame => Some(maintenance.at_guest_frame(&state.guest_frames)),
        };
        drop(state);
        broken.map_or(Ok(()), |maintenance| self.perform(maintenance))
    }

    fn perform(&self, maintenance: Maintenance) -> Result<(), Errno> {
        match maintenance {
            Maintenance::Cpu(start, size, op) => {
                for (machine, size) in self.pieces(0, start, size) {
                    let mut caches = self.caches.lock().unwrap();
                    caches.maintain_by_guest(machine, size, op);
                }
                Ok(())
            }
            Maintenance::Hypercall(flush) => {
                let mut machine = self.machine.lock().unwrap();
                let at = machine.dom0().put(&flush);
                let args = [GNTTABOP_CACHE_FLUSH.into(), at, 1];
                match machine.dom0().call(GRANT_TABLE_OP, &args) {
                    0 => Ok(()),
                    error => Err(Errno::from_code(-error as i32).unwrap_or(Errno::Inval)),
                }
            }
        }
    }
}

impl Maintenance {
    /// Without `first` bytes at the beginning and `last` at the end.
    fn cut(self, first: usize, last: usize) -> Option<Self> {
        let left = |size: usize| size.checked_sub(first + last).filter(|&size| size != 0);
        Some(match self {
            Self::Cpu(start, size, op) => Self::Cpu(start + first as u64, left(size)?, op),
            Self::Hypercall(flush) => Self::Hypercall(CacheFlush {
                offset: flush.offset + first as u16,
                length: left(flush.length.into())? as u16,
                ..flush
            }),
        })
    }

    fn start(self) -> u64 {
        match self {
            Self::Cpu(start, ..) => start,
            Self::Hypercall(flush) => flush.offset.into(),
        }
    }

    fn without_first_line(self) -> Option<Self> {
        let line = crate::caches::LINE;
        self.cut((line - self.start() % line) as usize, 0)
    }

    /// What is left if only the first page is done, of this piece, number `n` from 1.
    fn within_first_page(self, n: usize) -> Option<Self> {
        match self {
            Self::Cpu(start, size, op) => {
                let in_page = (PAGE_SIZE - start % PAGE_SIZE) as usize;
                Some(Self::Cpu(start, size.min(in_page), op))
            }
            Self::Hypercall(_) => (n == 1).then_some(self),
        }
    }

    fn other_operation(self) -> Self {
        match self {
            Self::Cpu(start, size, CacheOp::Clean) => Self::Cpu(start, size, CacheOp::Invalidate),
            Self::Cpu(start, size, _) => Self::Cpu(start, size, CacheOp::Clean),
            Self::Hypercall(flush) => Self::Hypercall(CacheFlush {
                op: flush.op ^ GNTTAB_CACHE_CLEAN ^ GNTTAB_CACHE_INVAL,
                ..flush
            }),
        }
    }

    fn at_guest_frame(self, frames: &[(u64, u64)]) -> Self {
        let Self::Hypercall(flush) = self else {
            return self;
        };
        let machine = flush.a / PAGE_SIZE;
        let guest = frames.iter().find(|frame| frame.1 == machine);
        let a = guest.map_or(flush.a, |frame| frame.0 * PAGE_SIZE);
        Self::Hypercall(CacheFlush { a, ..flush })
    }
}

fn operation(op: u32) -> CacheOp {
    match op {
        GNTTAB_CACHE_CLEAN => CacheOp::Clean,
        _ => CacheOp::Invalidate,
    }
}

impl Platform for Kernel {
    fn copy(&self, to: Phys, from: Phys, size: usize) {
        let mut buffer = vec![0; size];
        self.read(0, from.0, &mut buffer);
        self.write(0, to.0, &buffer);
    }
    fn clean(&self, start: Phys, size: usize) {
        let done = self.maintain(Maintenance::Cpu(start.0, size, CacheOp::Clean));
        assert_eq!(done, Ok(()));
    }
    fn invalidate(&self, start: Phys, size: usize) {
        let done = self.maintain(Maintenance::Cpu(start.0, size, CacheOp::Invalidate));
        assert_eq!(done, Ok(()));
    }
    fn is_local(&self, frame: u64) -> bool {
        self.local.contains(&frame)
    }
    fn grant_cache_flush(&self, flush: &CacheFlush) -> Result<(), Errno> {
        self.maintain(Maintenance::Hypercall(*flush))
    }
    fn alloc_pages(&self, _: usize, _: u64, _: bool) -> Option<CpuPages> {
        None
    }
    fn free_pages(&self, _: CpuPages, _: usize) {}
}
