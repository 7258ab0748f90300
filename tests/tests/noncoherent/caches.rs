// SPDX-License-Identifier: MIT OR Apache-2.0
//! A write-back data cache for each CPU, coherent among them, over RAM.

use crate::random::Random;
use hv_core::addr::{Pa, PaRange};
use hv_core::fake::FakeRam;
use hv_core::hw::CacheOp;
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of a line.
pub(crate) const LINE: u64 = 64;
/// CPUs, each with a cache.
pub(crate) const CPUS: usize = 3;

type Bytes = [u8; LINE as usize];

#[derive(Clone)]
struct Line {
    bytes: Bytes,
    dirty: bool,
}

/// How the hypervisor's maintenance is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HypervisorFault {
    /// It does nothing.
    Nothing,
    /// The end is rounded down to a line.
    EndRoundedDown,
    /// The start is rounded up to a line.
    StartRoundedUp,
    /// To invalidate discards lines that are partly outside the range.
    DiscardsPartialLines,
    /// To invalidate only cleans.
    OnlyCleans,
    /// To clean discards.
    CleanDiscards,
    /// Only the cache of one CPU is maintained.
    OneCpuOnly,
    /// Memory of a new guest is zeroed but not cleaned.
    ScrubDoesNotClean,
}

pub(crate) struct Caches {
    ram: &'static FakeRam,
    cpus: [BTreeMap<u64, Line>; CPUS],
    pub(crate) random: Random,
    /// Lines that come and go of themselves.
    hot: Vec<u64>,
    pub(crate) fault: Option<HypervisorFault>,
    /// The hypervisor's `Invalidate` discards what is dirty in whole lines, as Xen's does, rather than clean it first.
    pub(crate) invalidate_discards: bool,
}

impl Caches {
    pub(crate) fn new(ram: &'static FakeRam) -> Self {
        Self {
            ram,
            cpus: Default::default(),
            random: Random::new(0),
            hot: Vec::new(),
            fault: None,
            invalidate_discards: false,
        }
    }

    /// Forgets all lines: RAM is as it is.
    pub(crate) fn drop_all(&mut self) {
        self.cpus = Default::default();
    }

    /// From now on lines of these ranges come and go.
    pub(crate) fn set_hot(&mut self, ranges: &[Range<u64>]) {
        self.hot = ranges
            .iter()
            .flat_map(|range| (range.start & !(LINE - 1)..range.end).step_by(LINE as usize))
            .collect();
    }

    /// Any CPU.
    pub(crate) fn any_cpu(&mut self) -> usize {
        self.random.below(CPUS as u64) as usize
    }

    // --- what CPUs do -----------------------------------------------------------------------

    /// CPU `cpu` reads.
    pub(crate) fn read(&mut self, cpu: usize, start: u64, buffer: &mut [u8]) {
        for (line, part, at) in pieces(start, buffer.len()) {
            self.fill(cpu, line);
            let bytes = &self.cpus[cpu][&line].bytes;
            buffer[at.clone()].copy_from_slice(&bytes[part]);
        }
    }

    /// CPU `cpu` writes.
    pub(crate) fn write(&mut self, cpu: usize, start: u64, bytes: &[u8]) {
        for (line, part, at) in pieces(start, bytes.len()) {
            self.fill(cpu, line);
            for other in (0..CPUS).filter(|&other| other != cpu) {
                self.cpus[other].remove(&line);
            }
            let line = self.cpus[cpu].get_mut(&line).unwrap();
            line.bytes[part].copy_from_slice(&bytes[at]);
            line.dirty = true;
        }
    }

    /// Fetches a line into a CPU's cache: from another that has it, else from RAM.
    fn fill(&mut self, cpu: usize, at: u64) {
        if self.cpus[cpu].contains_key(&at) {
            return;
        }
        let bytes = match self.find(at) {
            Some(line) => line.bytes,
            None => self.ram_line(at),
        };
        if self.random.chance(1, 2) {
            self.write_back(at);
        }
        let dirty = false;
        self.cpus[cpu].insert(at, Line { bytes, dirty });
    }

    /// A line in any cache: a dirty one, if there is.
    fn find(&self, at: u64) -> Option<&Line> {
        let lines = || self.cpus.iter().filter_map(|lines| lines.get(&at));
        lines().find(|line| line.dirty).or_else(|| lines().next())
    }

    fn ram_line(&self, at: u64) -> Bytes {
        let mut bytes = [0; LINE as usize];
        self.ram.read(Pa(at), &mut bytes);
        bytes
    }

    /// Cleans a line in all caches.
    fn write_back(&mut self, at: u64) {
        for cpu in 0..CPUS {
            self.write_back_of(cpu, at);
        }
    }

    fn write_back_of(&mut self, cpu: usize, at: u64) {
        if let Some(line) = self.cpus[cpu].get_mut(&at)
            && line.dirty
        {
            line.dirty = false;
            self.ram.write(Pa(at), &line.bytes);
        }
    }

    fn drop_line(&mut self, at: u64) {
        for lines in &mut self.cpus {
            lines.remove(&at);
        }
    }

    // --- what nobody asked for --------------------------------------------------------------

    /// `times` hot lines are fetched by speculation, written back or evicted.
    pub(crate) fn noise(&mut self, times: usize) {
        if self.hot.is_empty() {
            return;
        }
        for _ in 0..times {
            let at = self.hot[self.random.below(self.hot.len() as u64) as usize];
            let cpu = self.any_cpu();
            match self.random.below(8) {
                0..=3 => self.fill(cpu, at),
                4 => self.write_back(at),
                _ => self.evict(cpu, at),
            }
        }
    }

    fn evict(&mut self, cpu: usize, at: u64) {
        self.write_back_of(cpu, at);
        self.cpus[cpu].remove(&at);
    }

    // --- maintenance ------------------------------------------------------------------------

    /// dom0's own `DC CVAC` or `DC IVAC`, which reach all CPUs' caches. Whole lines that are invalidated may be cleaned
    /// before or not.
    pub(crate) fn maintain_by_guest(&mut self, start: u64, size: usize, op: CacheOp) {
        let discards = self.random.chance(1, 2);
        self.maintain_lines(start..start + size as u64, op, discards, true);
    }

    fn maintain_lines(
        &mut self,
        range: Range<u64>,
        op: CacheOp,
        discards: bool,
        keeps_partial: bool,
    ) {
        for at in (range.start & !(LINE - 1)..range.end).step_by(LINE as usize) {
            let whole = range.start <= at && at + LINE <= range.end;
            let discard = op == CacheOp::Invalidate && (discards && whole || !keeps_partial);
            if !discard {
                self.write_back(at);
            }
            if op != CacheOp::Clean {
                self.drop_line(at);
            }
        }
    }

    // --- devices ----------------------------------------------------------------------------

    /// A device reads: RAM, or what is in caches if it is coherent.
    pub(crate) fn device_read(&mut self, coherent: bool, start: u64, buffer: &mut [u8]) {
        for (line, part, at) in pieces(start, buffer.len()) {
            let bytes = match self.find(line) {
                Some(line) if coherent => line.bytes,
                _ => self.ram_line(line),
            };
            buffer[at].copy_from_slice(&bytes[part]);
        }
    }

    /// A device writes: RAM, and caches if it is coherent.
    pub(crate) fn device_write(&mut self, coherent: bool, start: u64, bytes: &[u8]) {
        if coherent {
            for (line, ..) in pieces(start, bytes.len()) {
                self.write_back(line);
                self.drop_line(line);
            }
        }
        self.ram.write(Pa(start), bytes);
    }
}

/// What the hypervisor asks for.
impl hv_core::fake::Caches for Caches {
    fn maintain(&mut self, range: PaRange, op: CacheOp) {
        let (mut start, mut end, mut op) = (range.start.0, range.end.0, op);
        let mut keeps_partial = true;
        match self.fault {
            Some(HypervisorFault::Nothing) => return,
            Some(HypervisorFault::EndRoundedDown) => end &= !(LINE - 1),
            Some(HypervisorFault::StartRoundedUp) => start = start.next_multiple_of(LINE),
            Some(HypervisorFault::DiscardsPartialLines) => keeps_partial = false,
            Some(HypervisorFault::OnlyCleans) => op = CacheOp::Clean,
            Some(HypervisorFault::CleanDiscards) if op == CacheOp::Clean => {
                op = CacheOp::Invalidate;
                keeps_partial = false;
            }
            Some(HypervisorFault::OneCpuOnly) => {
                let cpu = self.any_cpu();
                for at in (start & !(LINE - 1)..end).step_by(LINE as usize) {
                    self.write_back_of(cpu, at);
                    if op != CacheOp::Clean {
                        self.cpus[cpu].remove(&at);
                    }
                }
                return;
            }
            Some(HypervisorFault::ScrubDoesNotClean) if op == CacheOp::Clean => return,
            _ => {}
        }
        self.maintain_lines(start..end, op, self.invalidate_discards, keeps_partial);
    }

    fn write_zeroes(&mut self, range: PaRange) {
        let cpu = self.any_cpu();
        self.write(cpu, range.start.0, &vec![0; range.size() as usize]);
    }
}

/// The lines of `size` bytes from `start`: address, part of the line, part of the bytes.
fn pieces(start: u64, size: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let end = start + size as u64;
    (start & !(LINE - 1)..end)
        .step_by(LINE as usize)
        .map(move |line| {
            let (from, to) = (start.max(line), end.min(line + LINE));
            let part = (from - line) as usize..(to - line) as usize;
            (line, part, (from - start) as usize..(to - start) as usize)
        })
}
