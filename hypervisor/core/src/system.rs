// SPDX-License-Identifier: MIT OR Apache-2.0
//! The whole: what every path needs to reach.

use crate::addr::DomId;
use crate::boot::cmdline::{Options, Params};
use crate::cpu::kind::Kinds;
use crate::domain::create::GuestHardware;
use crate::domain::{Domain, LogBudget};
use crate::frame::Frames;
use crate::hw::{DirectMap, Hw};
use crate::keys::Showing;
use crate::sched::Scheduler;
use crate::sync::{Lock, rank};
use crate::timer::Timers;
use crate::vdev::vpl011::Vpl011;
use crate::vgic::{MAX_SPIS, NR_PRIVATE};
use crate::virq::GlobalVirqs;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use spin::Once;
use xen_abi::xen::DOMID_FIRST_RESERVED;

/// Everything. One in the binary, one a test on the host.
pub struct System {
    /// The machine.
    pub hw: &'static dyn Hw,
    /// How physical memory is seen.
    pub map: DirectMap,
    /// Every page of RAM.
    pub frames: &'static Frames,
    /// What the machine has for guests.
    pub guest_hw: GuestHardware,
    /// The domains, by number.
    pub domains: Domains,
    /// Whose the machine's interrupts are.
    pub irq_owners: IrqOwners,
    /// Whose the global VIRQs are.
    pub virqs: GlobalVirqs,
    /// Run queues.
    pub sched: Scheduler,
    /// Deadlines.
    pub timers: Timers,
    /// What a key that was typed shows.
    pub typed: Showing,
    /// What domains but the initial one may log.
    pub log_budget: LogBudget,
    /// Options that can change.
    pub params: Lock<Params, { rank::DOMAIN }>,
    /// The command line's options.
    pub options: Options<'static>,
    /// Kinds of CPU.
    pub kinds: Kinds,
    /// When Xenolith started, in ticks.
    pub boot_ticks: u64,
}

impl System {
    /// Nanoseconds since boot: Xen's system time.
    pub fn now_ns(&self) -> u64 {
        self.ticks_to_ns(self.hw.now().saturating_sub(self.boot_ticks))
    }

    /// Runs `f` with the domain that has the SPI `intid`. False if none has.
    pub fn with_irq_owner(&self, intid: u32, f: impl FnOnce(&Arc<Domain>)) -> bool {
        let owner = self.irq_owners.of(intid);
        let hardware = self.domains.hardware.get().filter(|d| owner == Some(d.id));
        if let Some(domain) = hardware {
            f(domain);
            return true;
        }
        let domain = owner.and_then(|id| self.domains.get(id));
        domain.as_ref().map(f).is_some()
    }

    /// A span of ticks in nanoseconds.
    pub fn ticks_to_ns(&self, ticks: u64) -> u64 {
        scale(ticks, 1_000_000_000, self.hw.frequency())
    }

    /// Nanoseconds since boot as a count of CNTPCT_EL0.
    pub fn ns_to_deadline(&self, ns: u64) -> u64 {
        let ticks = scale(ns, self.hw.frequency(), 1_000_000_000);
        self.boot_ticks.saturating_add(ticks)
    }
}

/// `value * multiplier / divisor`, at most `u64::MAX`.
fn scale(value: u64, multiplier: u64, divisor: u64) -> u64 {
    let product = u128::from(value).saturating_mul(multiplier.into());
    let scaled = product.checked_div(divisor.into()).unwrap_or(product);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Which domain has each SPI of the machine. At first all are the hardware domain's, 0.
pub struct IrqOwners(Box<[AtomicU16]>);

impl IrqOwners {
    /// All the hardware domain's.
    pub fn new() -> Self {
        Self((0..MAX_SPIS).map(|_| AtomicU16::new(0)).collect())
    }

    fn slot(&self, intid: u32) -> Option<&AtomicU16> {
        self.0.get(intid.checked_sub(NR_PRIVATE)? as usize)
    }

    /// The domain that has `intid`; `None` if that is no SPI.
    fn of(&self, intid: u32) -> Option<DomId> {
        Some(DomId(self.slot(intid)?.load(Ordering::Relaxed)))
    }

    /// Gives `intid` to `domain`; false if another but the hardware domain has it, or it is no SPI.
    pub fn give(&self, intid: u32, domain: DomId) -> bool {
        let relaxed = Ordering::Relaxed;
        self.slot(intid).is_some_and(|slot| {
            let was = slot.compare_exchange(0, domain.0, relaxed, relaxed);
            was.is_ok() || was == Err(domain.0)
        })
    }

    /// Gives `intid`, which `domain` has, back to the hardware domain.
    pub fn return_one(&self, intid: u32, domain: DomId) {
        if let Some(slot) = self.slot(intid) {
            let relaxed = Ordering::Relaxed;
            let _ = slot.compare_exchange(domain.0, 0, relaxed, relaxed);
        }
    }

    /// Gives all that `domain` has back to the hardware domain.
    pub fn take_back(&self, domain: DomId) {
        for slot in &self.0 {
            let relaxed = Ordering::Relaxed;
            let _ = slot.compare_exchange(domain.0, 0, relaxed, relaxed);
        }
    }
}

impl Default for IrqOwners {
    fn default() -> Self {
        Self::new()
    }
}

/// The domains that exist.
pub struct Domains {
    table: Lock<BTreeMap<DomId, Arc<Domain>>, { rank::DOMAINS }>,
    /// The domain that has the machine's devices. Its end is the machine's.
    hardware: Once<Arc<Domain>>,
    managed: AtomicBool,
    /// The number given last, so that the next is one that was not in use for long.
    rover: AtomicU16,
}

/// Nobody else creates, changes or destroys a domain until this is dropped.
#[must_use]
pub struct Managing<'a>(&'a AtomicBool);

impl Drop for Managing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Domains {
    /// None yet.
    pub const fn new() -> Self {
        Self {
            table: Lock::new(BTreeMap::new()),
            hardware: Once::new(),
            managed: AtomicBool::new(false),
            rover: AtomicU16::new(0),
        }
    }

    /// The right to create, change or destroy a domain, unless somebody has it.
    pub fn manage(&self) -> Option<Managing<'_>> {
        let free = !self.managed.swap(true, Ordering::Acquire);
        free.then(|| Managing(&self.managed))
    }

    /// A number for a new domain: the next that is `free`, after the one that was given last.
    pub(crate) fn next_number(&self, free: impl Fn(DomId) -> bool) -> Option<DomId> {
        let last = self.rover.load(Ordering::Relaxed);
        let after = last.saturating_add(1)..DOMID_FIRST_RESERVED;
        after.chain(1..=last).map(DomId).find(|&id| free(id))
    }

    /// Adds a domain with such a number.
    pub(crate) fn insert_new(&self, domain: Arc<Domain>) {
        self.rover.store(domain.id.0, Ordering::Relaxed);
        self.insert(domain);
    }

    /// Adds a domain.
    pub fn insert(&self, domain: Arc<Domain>) {
        if domain.role.hardware {
            self.hardware.call_once(|| domain.clone());
        }
        self.table.lock().insert(domain.id, domain);
    }

    /// Domain `id`.
    pub fn get(&self, id: DomId) -> Option<Arc<Domain>> {
        self.table.lock().get(&id).cloned()
    }

    /// The domain that has the machine's devices.
    pub fn hardware(&self) -> Option<Arc<Domain>> {
        self.hardware.get().cloned()
    }

    /// Takes out the first that is `wanted`.
    pub(crate) fn remove_first(&self, wanted: impl Fn(&Domain) -> bool) -> Option<Arc<Domain>> {
        let mut domains = self.table.lock();
        let id = domains.values().find(|d| wanted(d))?.id;
        domains.remove(&id)
    }

    /// Domain `id`, or else the first with a higher number.
    pub fn at_or_after(&self, id: DomId) -> Option<Arc<Domain>> {
        self.table.lock().range(id..).next().map(|(_, d)| d.clone())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.table.lock().len()
    }

    /// The first domain after number `after` (or of all) that the console's input can go to.
    pub fn next_on_console(&self, after: Option<DomId>) -> Option<DomId> {
        let domains = self.table.lock();
        let mut on_console = domains
            .values()
            .filter(|d| !d.is_dying())
            .filter(|d| d.role.console || d.uart.get().is_some_and(Vpl011::is_on_console));
        on_console.find(|d| after < Some(d.id)).map(|d| d.id)
    }

    /// All, in the order of their numbers.
    pub fn all(&self) -> Vec<Arc<Domain>> {
        self.table.lock().values().cloned().collect()
    }
}

impl Default for Domains {
    fn default() -> Self {
        Self::new()
    }
}
