// SPDX-License-Identifier: MIT OR Apache-2.0
//! `Hw` by registers: the processor this runs on.

use crate::sysreg::{dsb_sy, isb, mrs, msr};
use crate::{console, cpufeature, irq, keys, machine, panic, percpu};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use hv_core::addr::{CpuId, DomId, Gva, Ipa, Pa, PaRange};
use hv_core::boot::cmdline::Params;
use hv_core::cpu::errata::{self, Workarounds};
use hv_core::cpu::midr::Midr;
use hv_core::cpu::speculation::{self, Plan};
use hv_core::hw::{CacheOp, El1Reg, Hw, SystemOp};
use hv_core::keys::At;
use hv_core::trap::smccc::{Mitigation, Mitigations};
use platform::psci::{Psci, Workaround};

/// The processor. All state is in its registers.
pub(crate) struct El2;

/// The one.
pub(crate) static EL2: El2 = El2;

/// PAR_EL1.PA.
const PAR_PA: u64 = 0x000f_ffff_ffff_f000;
/// HCR_EL2.TVM and VSE.
const HCR_TVM: u64 = 1 << 26;
const HCR_VSE: u64 = 1 << 8;

/// TCR_EL1.EPD0 and EPD1, SCTLR_EL1.M.
const TCR_EPD: u64 = 1 << 7 | 1 << 23;
const SCTLR_M: u64 = 1 << 0;

/// Bytes of the smallest data cache line of the CPUs that have started.
static DCACHE_LINE: AtomicU64 = AtomicU64::new(u64::MAX);

/// Bytes of the smallest data cache line of this CPU.
fn own_dcache_line() -> u64 {
    4 << (mrs!("ctr_el0") >> 16 & 0xf)
}

/// Bytes of the smallest data cache line of any CPU: all of them look at what is maintained.
#[inline]
fn dcache_line() -> u64 {
    match DCACHE_LINE.load(Ordering::Relaxed) {
        u64::MAX => own_dcache_line(),
        line => line,
    }
}

/// True if this CPU has errata that want `workaround`, or that is not known yet and it does no harm.
#[inline]
fn wants(workaround: Workarounds) -> bool {
    match percpu::try_this() {
        Some(cpu) => cpu.workarounds.get().contains(workaround),
        None => workaround == Workarounds::CLEAN_INVALIDATES,
    }
}

/// Bytes that DC ZVA clears, if it may be used.
fn zva_size() -> Option<u64> {
    let dczid = mrs!("dczid_el0");
    (dczid & 1 << 4 == 0).then(|| 4 << (dczid & 0xf))
}

macro_rules! by_line {
    ($op:literal, $range:expr) => {{
        let line = dcache_line();
        let mut at = $range.start.0 & !(line - 1);
        while at < $range.end.0 {
            // SAFETY: maintains lines of mapped memory without changing what it holds.
            unsafe { asm!(concat!("dc ", $op, ", {}"), in(reg) at, options(nostack, preserves_flags)) };
            at += line;
        }
    }};
}

impl Hw for El2 {
    fn flush_stage2(&self, vttbr: u64) {
        let current = mrs!("vttbr_el2");
        let stage1 =
            (current != vttbr && wants(Workarounds::NO_OUT_OF_CONTEXT_AT)).then(close_stage1);
        // SAFETY: EL2 does not use the EL1&0 regime, so its VTTBR can be another's for a moment.
        unsafe {
            asm!("dsb ishst", options(nostack, preserves_flags));
            if current != vttbr {
                msr!("vttbr_el2", vttbr);
                isb();
            }
            asm!(
                "tlbi vmalls12e1is",
                "dsb ish",
                "isb",
                options(nostack, preserves_flags)
            );
            if current != vttbr {
                msr!("vttbr_el2", current);
                isb();
            }
        }
        if let Some(stage1) = stage1 {
            open_stage1(stage1);
        }
    }

    fn cache(&self, range: PaRange, op: CacheOp) {
        // What other CPUs were seen to have written is maintained, too: acquiring it does not order `DC`.
        // SAFETY: orders accesses and changes nothing.
        unsafe { asm!("dmb sy", options(nostack, preserves_flags)) };
        match op {
            CacheOp::Clean if !wants(Workarounds::CLEAN_INVALIDATES) => by_line!("cvac", range),
            // To invalidate alone could discard what somebody else wrote: in the rest of a line,
            // or, by one who may only read it, anywhere.
            CacheOp::Clean | CacheOp::CleanInvalidate | CacheOp::Invalidate => {
                by_line!("civac", range)
            }
        }
        dsb_sy();
    }

    fn icache_invalidate_all(&self) {
        // SAFETY: forgets instructions that will be fetched again.
        unsafe {
            asm!(
                "ic ialluis",
                "dsb ish",
                "isb",
                options(nostack, preserves_flags)
            )
        };
    }

    fn scrub(&self, range: PaRange) {
        match zva_size() {
            Some(size) if range.start.is_aligned(size) && range.end.is_aligned(size) => {
                let mut at = range.start.0;
                while at < range.end.0 {
                    // SAFETY: the range is free memory that the frame allocator owns.
                    unsafe { asm!("dc zva, {}", in(reg) at, options(nostack, preserves_flags)) };
                    at += size;
                }
            }
            _ => {
                let start: *mut u8 = core::ptr::with_exposed_provenance_mut(range.start.0 as usize);
                // SAFETY: as above.
                unsafe { start.write_bytes(0, range.size() as usize) };
            }
        }
        self.cache(range, CacheOp::Clean);
    }

    fn gva_to_pa(&self, gva: Gva, write: bool) -> Option<Pa> {
        let par = panic::translate_gva(gva.0, write, false);
        (par & 1 == 0).then_some(Pa(par & PAR_PA | gva.page_offset()))
    }

    fn gva_to_ipa(&self, gva: Gva, write: bool) -> Option<Ipa> {
        let par = panic::translate_gva(gva.0, write, true);
        (par & 1 == 0).then_some(Ipa(par & PAR_PA | gva.page_offset()))
    }

    fn read_el1(&self, reg: El1Reg) -> u64 {
        match reg {
            El1Reg::Sctlr => mrs!("sctlr_el1"),
            El1Reg::Actlr => mrs!("actlr_el1"),
            El1Reg::Ttbr0 => mrs!("ttbr0_el1"),
            El1Reg::Ttbr1 => mrs!("ttbr1_el1"),
            El1Reg::Tcr => mrs!("tcr_el1"),
            El1Reg::Afsr0 => mrs!("afsr0_el1"),
            El1Reg::Afsr1 => mrs!("afsr1_el1"),
            El1Reg::Esr => mrs!("esr_el1"),
            El1Reg::Far => mrs!("far_el1"),
            El1Reg::Mair => mrs!("mair_el1"),
            El1Reg::Amair => mrs!("amair_el1"),
            El1Reg::Contextidr => mrs!("contextidr_el1"),
            El1Reg::Vbar => mrs!("vbar_el1"),
            El1Reg::Elr => mrs!("elr_el1"),
            El1Reg::Spsr => mrs!("spsr_el1"),
            El1Reg::SpEl0 => mrs!("sp_el0"),
            El1Reg::SpEl1 => mrs!("sp_el1"),
            El1Reg::Cntkctl => mrs!("cntkctl_el1"),
        }
    }

    fn write_el1(&self, reg: El1Reg, value: u64) {
        // SAFETY: EL1 registers of the guest, without effect at EL2.
        unsafe {
            match reg {
                El1Reg::Sctlr => msr!("sctlr_el1", value),
                El1Reg::Actlr => msr!("actlr_el1", value),
                El1Reg::Ttbr0 => msr!("ttbr0_el1", value),
                El1Reg::Ttbr1 => msr!("ttbr1_el1", value),
                El1Reg::Tcr => msr!("tcr_el1", value),
                El1Reg::Afsr0 => msr!("afsr0_el1", value),
                El1Reg::Afsr1 => msr!("afsr1_el1", value),
                El1Reg::Esr => msr!("esr_el1", value),
                El1Reg::Far => msr!("far_el1", value),
                El1Reg::Mair => msr!("mair_el1", value),
                El1Reg::Amair => msr!("amair_el1", value),
                El1Reg::Contextidr => msr!("contextidr_el1", value),
                El1Reg::Vbar => msr!("vbar_el1", value),
                El1Reg::Elr => msr!("elr_el1", value),
                El1Reg::Spsr => msr!("spsr_el1", value),
                El1Reg::SpEl0 => msr!("sp_el0", value),
                El1Reg::SpEl1 => msr!("sp_el1", value),
                El1Reg::Cntkctl => msr!("cntkctl_el1", value),
            }
        }
    }

    fn trap_vm_writes(&self, on: bool) {
        let hcr = mrs!("hcr_el2");
        let hcr = if on { hcr | HCR_TVM } else { hcr & !HCR_TVM };
        // SAFETY: changes only what the guest's writes trap.
        unsafe { msr!("hcr_el2", hcr) };
    }

    fn inject_serror(&self) {
        // SAFETY: the guest's own SError, taken when it unmasks them.
        unsafe { msr!("hcr_el2", mrs!("hcr_el2") | HCR_VSE) };
    }

    #[inline]
    fn this_cpu(&self) -> CpuId {
        percpu::this().id
    }

    fn kick(&self, cpu: CpuId) {
        if let Some(&mpidr) = machine::get().cpus.get(cpu.index()) {
            machine::get().gic.send_sgi(irq::SGI_KICK, mpidr);
        }
    }

    #[inline]
    fn irq_pending(&self) -> bool {
        machine::get().gic.has_pending()
    }

    #[inline]
    fn now(&self) -> u64 {
        platform::timer::now()
    }

    fn frequency(&self) -> u64 {
        machine::get().frequency
    }

    fn set_deadline(&self, deadline: Option<u64>) {
        let cpu = percpu::this();
        if cpu.deadline.replace(deadline) == deadline {
            return;
        }
        match deadline {
            Some(at) => platform::timer::set_deadline(at),
            None => platform::timer::disable(),
        }
    }

    fn irq_enable(&self, intid: u32, on: bool) {
        let gic = &machine::get().gic;
        if on {
            gic.enable(intid)
        } else {
            gic.disable(intid)
        }
    }

    fn irq_route(&self, intid: u32, cpu: CpuId) {
        if let Some(&mpidr) = machine::get().cpus.get(cpu.index()) {
            machine::get().gic.route(intid, mpidr);
        }
    }

    fn irq_set_active(&self, intid: u32, active: bool) {
        machine::get().gic.set_active(intid, active);
    }

    fn console_write(&self, from: DomId, bytes: &[u8]) {
        console::write_direct(from, bytes);
    }

    fn set_params(&self, params: &Params) {
        console::set_params(params);
    }

    fn console_settle(&self) {
        console::settle();
    }

    fn console_line(&self, from: DomId, line: &[u8]) {
        console::write_line(from, line);
    }

    fn console_input_of(&self) -> Option<DomId> {
        console::input_of()
    }

    fn console_leave(&self, domain: DomId) {
        if console::input_of() == Some(domain) {
            irq::leave_input(domain);
        }
    }

    fn console_read(&self, buffer: &mut [u8]) -> usize {
        console::read_input(buffer)
    }

    fn read_log(&self, from: Option<u32>, buffer: &mut [u8]) -> (usize, u32) {
        console::read_log(from, buffer)
    }

    fn clear_log(&self) {
        console::clear_log();
    }

    fn debug_key(&self, key: u8, from: Option<At>) -> Option<At> {
        keys::show(key, from)
    }

    fn system(&self, op: SystemOp) -> ! {
        console::flush();
        if let Some(psci) = &machine::get().psci {
            system_call(psci, op);
        }
        log::error!("firmware did not perform {op:?}: halted");
        panic::halt()
    }

    fn halt(&self) -> ! {
        console::flush();
        panic::halt()
    }
}

fn system_call(psci: &Psci, op: SystemOp) {
    let failed = match op {
        SystemOp::Off => psci.system_off(),
        SystemOp::Reset => psci.system_reset(),
    };
    log::error!("PSCI: {op:?}: {failed:?}");
}

/// For a panic: tells the other CPUs to stop, and gives them a moment.
pub(crate) fn stop_other_cpus() {
    let (Some(machine), Some(this)) = (machine::try_get(), percpu::try_this()) else {
        return;
    };
    for (n, &mpidr) in machine.cpus.iter().enumerate() {
        if n != this.id.index() {
            machine.gic.send_sgi(irq::SGI_HALT, mpidr);
        }
    }
    wait_ms(10);
}

/// Waits.
pub(crate) fn wait_ms(ms: u64) {
    let until = platform::timer::now() + platform::timer::cntfrq() * ms / 1000;
    while platform::timer::now() < until {
        core::hint::spin_loop();
    }
}

/// True once it is known how to reset the machine.
pub(crate) fn can_reset() -> bool {
    machine::try_get().is_some_and(|m| m.psci.is_some())
}

/// The last thing a panic does, if it may.
pub(crate) fn reset_after_panic() {
    if let Some(psci) = machine::try_get().and_then(|m| m.psci.as_ref()) {
        let _ = psci.system_reset();
    }
}

/// Sets the form of stage 2, which all CPUs share.
pub(crate) fn set_vtcr() {
    // SAFETY: no guest has run here.
    unsafe { msr!("vtcr_el2", machine::vtcr()) };
    leave_stage2();
}

/// HCR_EL2 bits that trap what guests do not have, on CPUs that have it: TLOR (limited ordering
/// regions) and TERR (RAS error records).
pub(crate) fn hcr_by_feature() -> u64 {
    let has_lor = mrs!("id_aa64mmfr1_el1") >> 16 & 0xf != 0;
    let has_ras = mrs!("id_aa64pfr0_el1") >> 28 & 0xf != 0;
    u64::from(has_lor) << 35 | u64::from(has_ras) << 36
}

/// Lets no stage-1 translation of the loaded guest's succeed: all fault at level 0. Returns what
/// [`open_stage1`] wants.
fn close_stage1() -> (u64, u64) {
    let (tcr, sctlr) = (mrs!("tcr_el1"), mrs!("sctlr_el1"));
    // SAFETY: registers of the guest's, which get their values back before it runs.
    unsafe {
        msr!("tcr_el1", tcr | TCR_EPD);
        isb();
        msr!("sctlr_el1", sctlr | SCTLR_M);
    }
    isb();
    (tcr, sctlr)
}

/// Gives the guest its registers back.
fn open_stage1((tcr, sctlr): (u64, u64)) {
    // SAFETY: the guest's own values, in the opposite order.
    unsafe {
        msr!("sctlr_el1", sctlr);
        isb();
        msr!("tcr_el1", tcr);
    }
    isb();
}

/// Finds out what firmware mitigates on this CPU, turns on what can stay on, and notes what is to
/// be done whenever a guest was left. Returns what guests are told, and the whole.
pub(crate) fn init_mitigations(midr: Midr) -> (Mitigations, Plan) {
    let psci = machine::get().psci.as_ref();
    let told = |workaround| match workaround {
        Workaround::Required => Mitigation::Required,
        Workaround::NotRequired => Mitigation::NotRequired,
        Workaround::Unknown => Mitigation::NotSupported,
    };
    let firmware = psci.map_or(Mitigations::default(), |psci| {
        let features = psci.arch_features();
        Mitigations {
            wa1: told(features.workaround_1),
            wa2: told(features.workaround_2),
            wa3: told(features.workaround_3),
        }
    });
    let csv2 = mrs!("id_aa64pfr0_el1") >> 56 & 0xf;
    let plan = speculation::plan(midr, csv2 as u8, &firmware);
    let after_guest = u64::from(plan.branches) << 32 | u64::from(plan.call);
    percpu::this().after_guest.set(after_guest);
    if let Some(psci) = psci
        && firmware.wa2 == Mitigation::Required
        && let Err(error) = psci.enable_workaround_2()
    {
        log::warn!("SMCCC_ARCH_WORKAROUND_2: {error:?}");
    }
    let told = Mitigations {
        // On where it is needed. Firmware before SMCCC 1.1 has none to call: were guests told
        // anything else, Linux would make the call at every entry of its kernel.
        wa2: Mitigation::NotRequired,
        ..firmware
    };
    (told, plan)
}

/// Stage-2 tables of no guest, in which nothing is mapped: as many root tables in a row as there
/// may be.
#[repr(C, align(0x8000))]
struct NoTables(core::cell::UnsafeCell<[u64; 0x1000]>);

// SAFETY: nobody writes it.
unsafe impl Sync for NoTables {}

static NO_TABLES: NoTables = NoTables(core::cell::UnsafeCell::new([0; 0x1000]));

/// Takes the tables of the guest that was loaded out of this CPU: it looks at them no more, not
/// even by speculation.
pub(crate) fn leave_stage2() {
    // SAFETY: no guest is loaded. EL2's memory is mapped where it is; VMID 0 is no guest's.
    unsafe { msr!("vttbr_el2", NO_TABLES.0.get() as u64) };
    isb();
}

/// Forgets the stage-1 translations of the VMID in VTTBR_EL2 on this CPU: those of another vCPU
/// of the same domain, whose ASIDs need not mean the same.
pub(crate) fn flush_stage1_local() {
    // SAFETY: translations are looked up again.
    unsafe { asm!("tlbi vmalle1", "dsb nsh", options(nostack, preserves_flags)) };
}

/// Takes the guest's deferred SError out of VDISR_EL2 into `old` and puts `new` there, on a CPU that
/// has the register (RAS).
pub(crate) fn switch_vdisr(old: &mut u64, new: u64) {
    if mrs!("id_aa64pfr0_el1") >> 28 & 0xf != 0 {
        *old = mrs!("s3_4_c12_c1_1");
        // SAFETY: state of the guest alone.
        unsafe { msr!("s3_4_c12_c1_1", new) };
    }
}

/// Lets in the SError that the loaded vCPU may have caused, before it is another's turn; its
/// syndrome, if there was one.
pub(crate) fn take_serror() -> Option<u64> {
    let cpu = percpu::this();
    cpu.serror_expected.set(true);
    // SAFETY: unmasks SErrors for a moment; serror_at_el2 notes one.
    unsafe { asm!("dsb sy", "isb", "msr daifclr, #4", "isb", "msr daifset, #4") };
    cpu.serror_expected.set(false);
    Some(cpu.serror.replace(0)).filter(|&esr| esr != 0)
}

/// What every CPU sets before it runs a guest.
pub(crate) fn init_cpu() {
    let workarounds = errata::workarounds(cpufeature::midr());
    percpu::this().workarounds.set(workarounds);
    if workarounds.contains(Workarounds::DEVICE_LOADS_ACQUIRE) {
        platform::mmio::make_loads_acquire();
    }
    DCACHE_LINE.fetch_min(own_dcache_line(), Ordering::Relaxed);
    let has_fgt = mrs!("id_aa64mmfr0_el1") >> 56 & 0xf != 0;
    let has_hcx = mrs!("id_aa64mmfr1_el1") >> 40 & 0xf != 0;
    let has_fgt2 = mrs!("id_aa64mmfr0_el1") >> 56 & 0xf >= 2;
    let has_mpam =
        mrs!("id_aa64pfr0_el1") >> 40 & 0xf != 0 || mrs!("id_aa64pfr1_el1") >> 16 & 0xf != 0;
    let has_ras = mrs!("id_aa64pfr0_el1") >> 28 & 0xf != 0;
    let has_spe = mrs!("id_aa64dfr0_el1") >> 32 & 0xf != 0;
    let has_trf = mrs!("id_aa64dfr0_el1") >> 40 & 0xf != 0;
    let has_pmu = !matches!(mrs!("id_aa64dfr0_el1") >> 8 & 0xf, 0 | 0xf);
    // HPMN: all the counters, since 0 is reserved; nobody reaches one.
    let hpmn = if has_pmu {
        mrs!("pmcr_el0") >> 11 & 0x1f
    } else {
        0
    };
    let mdcr = 0xe60 | hpmn | u64::from(has_spe) << 14 | u64::from(has_trf) << 19;
    // SAFETY: EL2 control registers; no guest runs yet. Values: HCR as a guest's less stage 2, so
    // that interrupts arrive at EL2; CPTR traps TAM, TTA, SVE, SME but not FP; MDCR traps debug,
    // OS lock, PMU, profiling and trace filters; HSTR traps CP15 c15; CNTHCTL lets EL1 read the physical counter alone.
    unsafe {
        msr!("hcr_el2", hv_core::domain::context::HCR_GUEST & !1);
        msr!("cptr_el2", 0x4010_33ff);
        msr!("mdcr_el2", mdcr);
        msr!("hstr_el2", 1 << 15);
        msr!("cnthctl_el2", 1);
        msr!("vpidr_el2", mrs!("midr_el1"));
        msr!("cntv_ctl_el0", 0);
        msr!("cntp_ctl_el0", 0);
        if has_fgt {
            // HFGRTR, HFGWTR, HFGITR, HDFGRTR, HDFGWTR: nothing beyond the coarse traps.
            msr!("s3_4_c1_c1_4", 0);
            msr!("s3_4_c1_c1_5", 0);
            msr!("s3_4_c1_c1_6", 0);
            msr!("s3_4_c3_c1_4", 0);
            msr!("s3_4_c3_c1_5", 0);
        }
        if has_fgt2 {
            // HFGRTR2, HFGWTR2, HFGITR2, HDFGRTR2, HDFGWTR2.
            msr!("s3_4_c3_c1_2", 0);
            msr!("s3_4_c3_c1_3", 0);
            msr!("s3_4_c3_c1_7", 0);
            msr!("s3_4_c3_c1_0", 0);
            msr!("s3_4_c3_c1_1", 0);
        }
        if has_mpam {
            msr!("s3_4_c10_c5_0", 3 << 48); // MPAM2_EL2: TRAPMPAM0EL1, TRAPMPAM1EL1
        }
        if has_ras {
            msr!("s3_4_c5_c2_3", 0); // VSESR_EL2: what an injected SError says
        }
        msr!("mdscr_el1", 0);
        if has_hcx {
            msr!("s3_4_c1_c2_2", 0); // HCRX_EL2
        }
    }
    // SAFETY: forgets translations of guests, of which firmware may have left some.
    unsafe {
        asm!(
            "isb",
            "tlbi alle1",
            "dsb nsh",
            "isb",
            options(nostack, preserves_flags)
        )
    };
}
