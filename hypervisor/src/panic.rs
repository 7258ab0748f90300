// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end: what is printed when Xenolith itself breaks, and what happens then.

use crate::console::LastWords;
use crate::sysreg::mrs;
use crate::{el2, mmu, percpu};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

/// What `fatal` in vectors.S saved.
#[repr(C)]
pub(crate) struct FatalFrame {
    x: [u64; 31],
    sp: u64,
    vector: u64,
    esr: u64,
    far: u64,
    elr: u64,
    spsr: u64,
}

/// Bytes of it on the stack, a multiple of 16.
pub(crate) const FATAL_SIZE: usize = size_of::<FatalFrame>().next_multiple_of(16);

static PANICKING: AtomicBool = AtomicBool::new(false);
/// `noreboot`: halt instead.
pub(crate) static NOREBOOT: AtomicBool = AtomicBool::new(false);

macro_rules! print {
    ($($arg:tt)*) => {{ let _ = core::fmt::Write::write_fmt(&mut LastWords, format_args!($($arg)*)); }};
}

unsafe extern "C" {
    fn probe_read(addr: usize) -> u64;
    fn probe_read_fixup();
    fn translate(gva: u64, how: u64) -> u64;
    fn translate_fixup();
}

/// PAR_EL1 after `AT S12E1R` or `AT S12E1W` of `gva`, or `AT S1E1R` or `AT S1E1W`; all ones, which says "failed", if the bus
/// refused the walk. PAR_EL1 itself stays the guest's.
#[inline]
pub(crate) fn translate_gva(gva: u64, write: bool, stage1_only: bool) -> u64 {
    let how = u64::from(write) | u64::from(stage1_only) << 1;
    // SAFETY: an abort in it has a fixup.
    unsafe { translate(gva, how) }
}

/// Where to go on after a fault at `pc`, if that is foreseen.
fn fixup(pc: u64) -> Option<u64> {
    let at = |f: unsafe extern "C" fn()| (f as *const ()).expose_provenance() as u64;
    let probe = (probe_read as *const ()).expose_provenance() as u64;
    let translate = (translate as *const ()).expose_provenance() as u64;
    let (probe_end, translate_end) = (at(probe_read_fixup), at(translate_fixup));
    if (probe..probe_end).contains(&pc) {
        Some(probe_end)
    } else if (translate..translate_end).contains(&pc) {
        Some(translate_end)
    } else {
        None
    }
}

/// Reads 32 bits of a device that may not be there.
pub(crate) fn try_read(addr: usize) -> Option<u32> {
    // SAFETY: an abort in probe_read makes it return all ones.
    let value = unsafe { probe_read(addr) };
    u32::try_from(value).ok()
}

/// An exception taken from EL2. Returns only if it has a fixup.
#[unsafe(no_mangle)]
extern "C" fn fatal_exception(frame: &mut FatalFrame) {
    if let Some(resume) = fixup(frame.elr) {
        // SAFETY: the fixup expects what the fault left.
        unsafe { crate::sysreg::msr!("elr_el2", resume) };
        return;
    }
    begin();
    let base = mmu::image().text.start.0;
    print!(
        "\n(XL) **** Unexpected exception in Xenolith: {}\n",
        describe(frame)
    );
    print!(
        "(XL) PC   {:#018x} (+{:#x})\n",
        frame.elr,
        frame.elr.wrapping_sub(base)
    );
    print!(
        "(XL) SP   {:#018x}  SPSR {:#x}  ESR {:#010x}  FAR {:#018x}\n",
        frame.sp, frame.spsr, frame.esr, frame.far
    );
    for (n, pair) in frame.x.chunks(2).enumerate() {
        print!("(XL) X{:<3} {:#018x}", n * 2, pair[0]);
        if let Some(second) = pair.get(1) {
            print!("  X{:<3} {:#018x}", n * 2 + 1, second);
        }
        print!("\n");
    }
    backtrace(frame.x[29], &[frame.elr, frame.x[30].wrapping_sub(4)]);
    end()
}

fn describe(frame: &FatalFrame) -> &'static str {
    match (frame.vector, frame.esr >> 26) {
        (4, 0x25) => "data abort (a guard page is below each stack)",
        (4, 0x21) => "instruction abort",
        (4, 0x22) => "PC alignment fault",
        (4, 0x26) => "SP alignment fault",
        (4, 0x00) => "undefined instruction",
        (4, _) => "synchronous exception",
        (0..=3, _) => "exception with SP_EL0",
        _ => "interrupt taken at EL2",
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    begin();
    print!("\n(XL) **** Panic: {}\n", info.message());
    if let Some(location) = info.location() {
        print!("(XL) at {location}\n");
    }
    let fp: u64;
    // SAFETY: reads the frame pointer.
    unsafe { core::arch::asm!("mov {}, x29", out(reg) fp, options(nomem, nostack)) };
    backtrace(fp, &[]);
    end()
}

/// A refusal to go on: the message alone, no backtrace.
pub(crate) fn refuse(args: core::fmt::Arguments<'_>) -> ! {
    begin();
    print!("\n(XL) **** Xenolith cannot start: {args}\n");
    el2::wait_ms(2000); // for a person to read it
    end()
}

/// An SError at EL2: what a guest left behind ([`el2::take_serror`]), or memory that told of an
/// error we cannot attribute.
#[unsafe(no_mangle)]
extern "C" fn serror_at_el2() {
    let esr = mrs!("esr_el2");
    if PANICKING.load(Ordering::Relaxed) {
        return;
    }
    if let Some(cpu) = percpu::try_this().filter(|cpu| cpu.serror_expected.get()) {
        cpu.serror.set(esr);
        return;
    }
    panic!("SError at EL2, ESR {esr:#x}");
}

/// The first CPU that breaks goes on alone; the others, and one that breaks twice, stop.
fn begin() {
    let again = percpu::try_this().is_some_and(|cpu| cpu.panicking.replace(true));
    if again || PANICKING.swap(true, Ordering::SeqCst) {
        halt();
    }
    el2::stop_other_cpus();
    let id = percpu::try_this().map_or(0, |cpu| cpu.id.0);
    print!("\n(XL) on CPU {id}");
    if let Some(running) = percpu::try_this()
        .map(|cpu| cpu.running.get())
        .filter(|&r| r != u32::MAX)
    {
        print!(", running d{}v{}", running >> 16, running & 0xffff);
    }
}

/// Return addresses, as offsets into the image for `make symbolize`.
fn backtrace(mut fp: u64, first: &[u64]) {
    let image = mmu::image();
    let base = image.text.start.0;
    print!("(XL) Backtrace (`make symbolize` names the functions):\n");
    // The call is before where it returns to.
    let show = |address: u64| {
        if image.text.contains(hv_core::addr::Pa(address)) {
            print!("(XL)   +{:#x}\n", address - base);
        }
    };
    first.iter().copied().for_each(show);
    for _ in 0..32 {
        if fp == 0 || !fp.is_multiple_of(16) {
            break;
        }
        let (Some(low), Some(high)) = (try_read_u64(fp), try_read_u64(fp + 8)) else {
            break;
        };
        show(high.wrapping_sub(4));
        if low <= fp {
            break;
        }
        fp = low;
    }
}

fn try_read_u64(addr: u64) -> Option<u64> {
    let low = try_read(addr as usize)?;
    let high = try_read(addr as usize + 4)?;
    Some(u64::from(high) << 32 | u64::from(low))
}

fn end() -> ! {
    if NOREBOOT.load(Ordering::Relaxed) {
        print!("(XL) noreboot: halted\n");
        halt();
    }
    if !el2::can_reset() {
        print!("(XL) halted: there is no PSCI yet to reboot with\n");
        halt();
    }
    print!("(XL) Rebooting\n");
    el2::wait_ms(20); // for the UART's FIFO
    el2::reset_after_panic();
    halt()
}

/// Stops this CPU for good.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: waits, with interrupts masked.
        unsafe { core::arch::asm!("wfi", options(nomem, nostack)) };
    }
}
