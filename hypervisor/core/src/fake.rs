// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine for host tests: RAM in a host buffer, a processor that only takes notes.

use crate::addr::{CpuId, DomId, Gva, Ipa, Pa, PaRange};
use crate::boot::cmdline::Params;
use crate::hw::{CacheOp, DirectMap, El1Reg, Hw, SystemOp};
use crate::keys;
use std::boxed::Box;
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::vec;
use std::vec::Vec;

/// What a [`FakeHw`] was asked to do, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// [`Hw::flush_stage2`].
    FlushStage2(u64),
    /// [`Hw::cache`].
    Cache(PaRange, CacheOp),
    /// [`Hw::scrub`].
    Scrub(PaRange),
    /// [`Hw::kick`].
    Kick(CpuId),
    /// [`Hw::irq_enable`].
    IrqEnable(u32, bool),
    /// [`Hw::irq_route`].
    IrqRoute(u32, CpuId),
    /// [`Hw::irq_set_active`].
    IrqSetActive(u32, bool),
    /// [`Hw::trap_vm_writes`].
    TrapVmWrites(bool),
    /// [`Hw::inject_serror`].
    SError,
    /// [`Hw::debug_key`].
    DebugKey(u8, Option<keys::At>),
    /// [`Hw::set_deadline`].
    Deadline(Option<u64>),
}

/// Fake RAM of `size` bytes that claims to start at machine address `base`. Leaked: tests are short.
pub struct FakeRam {
    /// Where it is.
    pub range: PaRange,
    /// How to reach it.
    pub map: DirectMap,
}

impl FakeRam {
    /// `size` bytes from `base`, both multiples of 2 MiB; filled with 0xa5 (nobody may rely on zeroes).
    pub fn new(base: u64, size: u64) -> Self {
        const ALIGN: usize = 2 << 20;
        let buffer: &'static mut [u8] =
            Box::leak(vec![0xa5u8; size as usize + ALIGN].into_boxed_slice());
        let start = buffer
            .as_mut_ptr()
            .expose_provenance()
            .next_multiple_of(ALIGN);
        Self {
            range: PaRange::new(Pa(base), size).expect("range"),
            map: DirectMap::at(start.wrapping_sub(base as usize)),
        }
    }
}

impl FakeRam {
    /// Fills `buffer` from `start`.
    ///
    /// # Panics
    /// If not all of that is RAM.
    pub fn read(&self, start: Pa, buffer: &mut [u8]) {
        let from = self.checked_ptr(start, buffer.len());
        // SAFETY: the bytes lie in the leaked buffer; what others write to it meanwhile is a test's own affair.
        unsafe { from.copy_to(buffer.as_mut_ptr(), buffer.len()) };
    }

    /// Copies `bytes` to `start`.
    ///
    /// # Panics
    /// As [`Self::read`].
    pub fn write(&self, start: Pa, bytes: &[u8]) {
        let to = self.checked_ptr(start, bytes.len());
        // SAFETY: as in `read`.
        unsafe { to.copy_from(bytes.as_ptr(), bytes.len()) };
    }

    fn checked_ptr(&self, start: Pa, size: usize) -> *mut u8 {
        let range = PaRange::new(start, size as u64).expect("range");
        assert!(self.range.start <= range.start && range.end <= self.range.end);
        self.map.ptr(start)
    }
}

/// Caches between the processor and RAM, for tests in which they matter.
pub trait Caches: Send {
    /// [`Hw::cache`].
    fn maintain(&mut self, range: PaRange, op: CacheOp);
    /// Writes zeroes as any data are written; RAM may not see them yet.
    fn write_zeroes(&mut self, range: PaRange);
}

/// CPUs there may be.
pub const MAX_CPUS: usize = 8;

std::thread_local! {
    static THIS_CPU: Cell<CpuId> = const { Cell::new(CpuId(0)) };
}

/// Makes the calling thread CPU `cpu` of every fake machine; at first a thread is CPU 0.
pub fn set_this_cpu(cpu: CpuId) {
    THIS_CPU.set(cpu);
}

/// What a test does at a flush of stage 2.
pub type FlushHook = Box<dyn FnMut() + Send>;

/// The note-taking processor.
pub struct FakeHw {
    /// Its RAM.
    pub ram: FakeRam,
    /// What was asked.
    pub events: Mutex<Vec<Event>>,
    /// What `now` says.
    pub time: AtomicU64,
    /// What `irq_pending` says.
    pub irq: AtomicBool,
    /// The CPUs that were kicked since a test last cleared this.
    pub kicked: [AtomicBool; MAX_CPUS],
    /// The running vCPU's EL1 registers that were written.
    pub el1: Mutex<Vec<(El1Reg, u64)>>,
    /// What was written to the console.
    pub console: Mutex<Vec<u8>>,
    /// In how many pieces `debug_key` shows what each key is for.
    pub key_pieces: AtomicU32,
    /// What `console_input_of` says.
    pub input_of: Mutex<Option<DomId>>,
    /// Guest virtual pages: (gva page, pa page, writable).
    pub mappings: Mutex<Vec<(u64, u64, bool)>>,
    /// Runs at each [`Hw::flush_stage2`], before the TLBs forget.
    pub on_flush: Mutex<Option<FlushHook>>,
    /// What is between the processor and RAM; `None`: nothing. What this machine itself reads and writes of guests'
    /// memory, as hypercalls do, passes it by.
    pub caches: Mutex<Option<Box<dyn Caches>>>,
}

impl FakeHw {
    /// A machine with RAM as [`FakeRam::new`]; leaked, so that it can be shared freely.
    pub fn leak(base: u64, size: u64) -> &'static Self {
        Box::leak(Box::new(Self {
            ram: FakeRam::new(base, size),
            events: Mutex::default(),
            time: AtomicU64::new(1),
            irq: false.into(),
            kicked: Default::default(),
            el1: Mutex::default(),
            console: Mutex::default(),
            key_pieces: AtomicU32::new(1),
            input_of: Mutex::default(),
            mappings: Mutex::default(),
            on_flush: Mutex::default(),
            caches: Mutex::default(),
        }))
    }

    /// Takes the notes so far.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().expect("events"))
    }

    fn note(&self, event: Event) {
        self.events.lock().expect("events").push(event);
    }
}

impl Hw for FakeHw {
    fn flush_stage2(&self, vttbr: u64) {
        if let Some(hook) = self.on_flush.lock().expect("hook").as_mut() {
            hook();
        }
        self.note(Event::FlushStage2(vttbr));
    }
    fn cache(&self, range: PaRange, op: CacheOp) {
        if let Some(caches) = self.caches.lock().expect("caches").as_mut() {
            caches.maintain(range, op);
        }
        self.note(Event::Cache(range, op));
    }
    fn icache_invalidate_all(&self) {}
    fn scrub(&self, range: PaRange) {
        if let Some(caches) = self.caches.lock().expect("caches").as_mut() {
            caches.write_zeroes(range);
            caches.maintain(range, CacheOp::Clean);
        } else {
            self.ram.write(range.start, &vec![0; range.size() as usize]);
        }
        self.note(Event::Scrub(range));
    }
    fn gva_to_pa(&self, gva: Gva, write: bool) -> Option<Pa> {
        let pages = self.mappings.lock().expect("mappings");
        let &(_, pa, writable) = pages.iter().find(|p| p.0 == gva.0 & !0xfff)?;
        (writable || !write).then_some(Pa(pa | gva.page_offset()))
    }
    fn gva_to_ipa(&self, gva: Gva, write: bool) -> Option<Ipa> {
        // What the tests map has one address at both stages.
        self.gva_to_pa(gva, write).map(|pa| Ipa(pa.0))
    }
    fn read_el1(&self, reg: El1Reg) -> u64 {
        let regs = self.el1.lock().expect("el1");
        regs.iter().find(|r| r.0 == reg).map_or(0, |r| r.1)
    }
    fn write_el1(&self, reg: El1Reg, value: u64) {
        let mut regs = self.el1.lock().expect("el1");
        regs.retain(|r| r.0 != reg);
        regs.push((reg, value));
    }
    fn trap_vm_writes(&self, on: bool) {
        self.note(Event::TrapVmWrites(on));
    }
    fn inject_serror(&self) {
        self.note(Event::SError);
    }
    fn this_cpu(&self) -> CpuId {
        THIS_CPU.get()
    }
    fn kick(&self, cpu: CpuId) {
        if let Some(kicked) = self.kicked.get(cpu.index()) {
            kicked.store(true, Ordering::SeqCst);
        }
        self.note(Event::Kick(cpu));
    }
    fn irq_pending(&self) -> bool {
        self.irq.load(Ordering::Relaxed)
    }
    fn now(&self) -> u64 {
        self.time.load(Ordering::Relaxed)
    }
    fn frequency(&self) -> u64 {
        62_500_000
    }
    fn set_deadline(&self, deadline: Option<u64>) {
        self.note(Event::Deadline(deadline));
    }
    fn irq_enable(&self, intid: u32, on: bool) {
        self.note(Event::IrqEnable(intid, on));
    }
    fn irq_route(&self, intid: u32, cpu: CpuId) {
        self.note(Event::IrqRoute(intid, cpu));
    }
    fn irq_set_active(&self, intid: u32, active: bool) {
        self.note(Event::IrqSetActive(intid, active));
    }
    fn console_settle(&self) {}
    fn set_params(&self, _: &Params) {}
    fn console_write(&self, _: DomId, bytes: &[u8]) {
        self.console
            .lock()
            .expect("console")
            .extend_from_slice(bytes);
    }
    fn console_line(&self, from: DomId, line: &[u8]) {
        let mut console = self.console.lock().expect("console");
        console.extend_from_slice(std::format!("({from}) ").as_bytes());
        console.extend_from_slice(line);
        console.push(b'\n');
    }
    fn console_input_of(&self) -> Option<DomId> {
        *self.input_of.lock().expect("input_of")
    }
    fn console_leave(&self, domain: DomId) {
        let mut input_of = self.input_of.lock().expect("input_of");
        *input_of = input_of.filter(|&id| id != domain);
    }
    fn console_read(&self, _: &mut [u8]) -> usize {
        0
    }
    fn read_log(&self, from: Option<u32>, buffer: &mut [u8]) -> (usize, u32) {
        let log = self.console.lock().expect("console");
        let start = (from.unwrap_or(0) as usize).min(log.len());
        let len = buffer.len().min(log.len() - start);
        buffer[..len].copy_from_slice(&log[start..start + len]);
        (len, (start + len) as u32)
    }
    fn clear_log(&self) {
        self.console.lock().expect("console").clear();
    }
    fn debug_key(&self, key: u8, from: Option<keys::At>) -> Option<keys::At> {
        self.note(Event::DebugKey(key, from));
        let next = from.map_or(0, |at| at.item).saturating_add(1);
        let domain = 0;
        (next < self.key_pieces.load(Ordering::Relaxed)).then_some(keys::At { domain, item: next })
    }
    fn system(&self, op: SystemOp) -> ! {
        // Without the noise of a panic: some tests get here often.
        std::panic::resume_unwind(Box::new(std::format!("system: {op:?}")))
    }
    fn halt(&self) -> ! {
        std::panic::resume_unwind(Box::new(std::string::String::from("halt")))
    }
}
