// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one door to the machine. The binary implements [`Hw`] with registers, tests with a fake.
//!
//! All methods take `&self` and none returns an error a guest could cause. Physical memory is
//! not behind it but in a [`DirectMap`], since it is touched on every path.

use crate::addr::{CpuId, DomId, Gva, Ipa, Pa, PaRange};
use crate::boot::cmdline::Params;
use crate::keys;

/// Cache maintenance by address, to the point of coherency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheOp {
    /// `DC CVAC`.
    Clean,
    /// What was cached is forgotten; it may be cleaned first (`DC CIVAC`), so that nobody's data are lost.
    Invalidate,
    /// `DC CIVAC`.
    CleanInvalidate,
}

/// What ends the machine's run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SystemOp {
    /// PSCI `SYSTEM_OFF`.
    Off,
    /// PSCI `SYSTEM_RESET`.
    Reset,
}

/// EL1 registers of the vCPU that runs: they stay in the processor while it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are the Arm ARM's")]
pub enum El1Reg {
    Sctlr,
    Actlr,
    Ttbr0,
    Ttbr1,
    Tcr,
    Afsr0,
    Afsr1,
    Esr,
    Far,
    Mair,
    Amair,
    Contextidr,
    Vbar,
    Elr,
    Spsr,
    SpEl0,
    SpEl1,
    Cntkctl,
}

/// The machine, as policy sees it.
pub trait Hw: Sync {
    /// Forgets every stage-1 and stage-2 translation of the VMID in `vttbr` (a VTTBR_EL2 value),
    /// on all CPUs; complete on return.
    fn flush_stage2(&self, vttbr: u64);
    /// Maintains the data cache over `range`; complete on return.
    fn cache(&self, range: PaRange, op: CacheOp);
    /// Makes instruction fetches of all CPUs see memory as it is.
    fn icache_invalidate_all(&self);
    /// Fills `range` (whole pages) with zeroes, clean to the point of coherency.
    fn scrub(&self, range: PaRange);
    /// Translates with the running vCPU's stage 1 and stage 2 as EL1 would (`AT S12E1R`/`W`).
    fn gva_to_pa(&self, gva: Gva, write: bool) -> Option<Pa>;
    /// Translates with the running vCPU's stage 1 alone (`AT S1E1R`/`W`).
    fn gva_to_ipa(&self, gva: Gva, write: bool) -> Option<Ipa>;
    /// Reads a register of the running vCPU.
    fn read_el1(&self, reg: El1Reg) -> u64;
    /// Writes a register of the running vCPU.
    fn write_el1(&self, reg: El1Reg, value: u64);
    /// Traps the running vCPU's writes of its VM registers, or no longer (HCR_EL2.TVM).
    fn trap_vm_writes(&self, on: bool);
    /// Makes an SError pending for the running vCPU (HCR_EL2.VSE).
    fn inject_serror(&self);
    /// The CPU this runs on.
    fn this_cpu(&self) -> CpuId;
    /// Makes `cpu` leave its guest or its idle wait soon.
    fn kick(&self, cpu: CpuId);
    /// True if an interrupt waits for this CPU: time for long work to pause.
    fn irq_pending(&self) -> bool;
    /// `CNTPCT_EL0`, in ticks.
    fn now(&self) -> u64;
    /// Ticks a second (`CNTFRQ_EL0`).
    fn frequency(&self) -> u64;
    /// Programs (or stops) this CPU's EL2 timer.
    fn set_deadline(&self, deadline: Option<u64>);
    /// Lets a physical interrupt in or keeps it out. A PPI is this CPU's.
    fn irq_enable(&self, intid: u32, on: bool);
    /// Sends a physical SPI to `cpu`.
    fn irq_route(&self, intid: u32, cpu: CpuId);
    /// Sets or clears the active state of a physical interrupt (clearing = deactivating).
    fn irq_set_active(&self, intid: u32, active: bool);
    /// Writes bytes to the console for who has its input, or for dom0.
    fn console_write(&self, from: DomId, bytes: &[u8]);
    /// Shows what waits for the end of another's line.
    fn console_settle(&self);
    /// Writes a line to the console that domain `from` has written, whole and with its name.
    fn console_line(&self, from: DomId, line: &[u8]);
    /// The domain that the console's input goes to now, if it goes to one.
    fn console_input_of(&self) -> Option<DomId>;
    /// `domain` takes no input any more: what comes goes to the next if it had it.
    fn console_leave(&self, domain: DomId);
    /// Takes input for dom0 from the console; returns how many bytes.
    fn console_read(&self, buffer: &mut [u8]) -> usize;
    /// Makes the console and the log as `params` has them.
    fn set_params(&self, params: &Params);
    /// Reads the log ring: from byte number `from` on, or from the oldest; returns how many bytes
    /// there were room for and the number of the next.
    fn read_log(&self, from: Option<u32>, buffer: &mut [u8]) -> (usize, u32);
    /// Forgets what is in the log ring.
    fn clear_log(&self);
    /// Does what `key` is for, which was typed on the console or as if it were, and shows what there
    /// is to show, from `from` on (`None`: all), until something else waits for this CPU. Returns
    /// where it goes on then.
    fn debug_key(&self, key: u8, from: Option<keys::At>) -> Option<keys::At>;
    /// Powers off or resets the machine.
    fn system(&self, op: SystemOp) -> !;
    /// Stops the machine where it is.
    fn halt(&self) -> !;
}

/// Where physical memory is visible: machine address `pa` at `pa + offset`.
#[derive(Clone, Copy, Debug)]
pub struct DirectMap {
    offset: usize,
}

impl DirectMap {
    /// EL2's own: everything is mapped where it is.
    pub const IDENTITY: Self = Self { offset: 0 };

    /// A map at `offset` (wrapping).
    pub const fn at(offset: usize) -> Self {
        Self { offset }
    }

    /// Where `pa` is visible. Says nothing about whether it may be touched.
    #[inline]
    pub fn ptr(self, pa: Pa) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut((pa.0 as usize).wrapping_add(self.offset))
    }

    /// The machine address seen at `ptr`.
    #[inline]
    pub fn pa(self, ptr: *const u8) -> Pa {
        Pa(ptr.expose_provenance().wrapping_sub(self.offset) as u64)
    }
}
