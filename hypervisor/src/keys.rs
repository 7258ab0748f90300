// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xenolith's own keys, after Ctrl-a was typed three times.

use crate::{console, heap, machine};
use alloc::sync::Arc;
use core::fmt::{self, Write};
use core::sync::atomic::Ordering;
use hv_core::addr::DomId;
use hv_core::domain::Domain;
use hv_core::domain::vcpu::Vcpu;
use hv_core::event::EventDomain;
use hv_core::keys::At;
use hv_core::sched::pause;
use hv_core::system::System;

/// Writes to the console and the log ring.
struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        console::write_own(text.as_bytes());
        Ok(())
    }
}

/// What is shown at once, and is not long.
type Whole = fn(&System, &mut Console) -> fmt::Result;
/// Shows a piece of what there is of a domain, not long either: the one with this number, the first
/// being 0. Returns the number of the next piece.
type Piece = fn(&System, &Domain, u32, &mut Console) -> Result<Option<u32>, fmt::Error>;

/// A key: what it shows, what of it comes first, and what for each domain then.
type Key = (u8, &'static str, Whole, Piece);

const KEYS: &[Key] = &[
    (b'h', "show this help", help, nothing),
    (b'0', "vCPU registers", begin, registers),
    (b'c', "cache maintenance for DMA", begin, cache_flushes),
    (b'd', "physical CPUs", cpus, nothing),
    (b'e', "event channels", begin, events),
    (
        b'g',
        "pages, ports and grants of the domains",
        free_pages,
        counts,
    ),
    (b'i', "interrupts of the domains", begin, interrupts),
    (b'm', "memory", memory, pages),
    (b'q', "domains and vCPUs", begin, domains),
    (b'R', "reboot the machine", reboot, nothing),
    (
        b'C',
        "crash Xenolith, to see what that looks like",
        crash,
        nothing,
    ),
];

/// Does what `key` says: what it shows from `from` on, or all, until something else waits for this
/// CPU. Returns where it goes on.
pub(crate) fn show(key: u8, from: Option<At>) -> Option<At> {
    let sys = machine::try_system()?;
    let known = KEYS.iter().find(|k| k.0 == key);
    let (_, what, whole, piece) = known.unwrap_or(&KEYS[0]);
    if from.is_none() {
        log::info!("'{}' pressed -> {what}", char::from(key));
        whole(sys, &mut Console).ok()?;
    }
    let mut at = from.unwrap_or_default();
    while let Some(domain) = sys.domains.at_or_after(DomId(at.domain)) {
        let same = domain.id.0 == at.domain;
        let item = if same { at.item } else { 0 };
        at = match piece(sys, &domain, item, &mut Console).ok()? {
            Some(item) => At {
                domain: domain.id.0,
                item,
            },
            None => At {
                domain: domain.id.0.checked_add(1)?,
                item: 0,
            },
        };
        if sys.hw.irq_pending() || sys.sched.wants_choice(sys.hw.this_cpu()) {
            return Some(at);
        }
    }
    None
}

fn begin(_: &System, _: &mut Console) -> fmt::Result {
    Ok(())
}

fn nothing(_: &System, _: &Domain, _: u32, _: &mut Console) -> Result<Option<u32>, fmt::Error> {
    Ok(None)
}

fn help(_: &System, out: &mut Console) -> fmt::Result {
    let line =
        |(key, what, _, _): &Key| writeln!(out, "(XL)  key '{}' => {what}", char::from(*key));
    KEYS.iter().try_for_each(line)
}

/// A vCPU a piece.
fn registers(
    _: &System,
    domain: &Domain,
    n: u32,
    out: &mut Console,
) -> Result<Option<u32>, fmt::Error> {
    let Some(vcpu) = domain.vcpu(n) else {
        return Ok(None);
    };
    // SAFETY: plain data read for a person; a running vCPU's may be old or torn.
    let context = unsafe { core::ptr::read_volatile(vcpu.context.get()) };
    let (regs, el1) = (&context.regs, &context.sys);
    writeln!(
        out,
        "(XL) {}v{} PC {:#018x} PSTATE {:#x} SP_EL1 {:#x} SP_EL0 {:#x}",
        domain.id, vcpu.id, regs.pc, regs.pstate, el1.sp_el1, el1.sp_el0
    )?;
    for (n, four) in regs.x.chunks(4).enumerate() {
        write!(out, "(XL)  X{:<2}", n * 4)?;
        four.iter().try_for_each(|x| write!(out, " {x:016x}"))?;
        writeln!(out)?;
    }
    writeln!(
        out,
        "(XL)  SCTLR {:#x} TCR {:#x} TTBR0 {:#x} TTBR1 {:#x} VBAR {:#x}",
        el1.sctlr_el1, el1.tcr_el1, el1.ttbr0_el1, el1.ttbr1_el1, el1.vbar_el1
    )?;
    Ok(n.checked_add(1))
}

fn cpus(sys: &System, out: &mut Console) -> fmt::Result {
    for cpu in sys.sched.online() {
        write!(
            out,
            "(XL) CPU {} MPIDR {:#x}:",
            cpu.0,
            machine::get().cpus.get(cpu.index()).copied().unwrap_or(0)
        )?;
        let mut nothing = " holds nothing";
        for domain in sys.domains.all() {
            let holds = |vcpu: &&Arc<Vcpu>| vcpu.sched.loaded_on() == Some(cpu);
            if let Some(vcpu) = domain.vcpus().iter().find(holds) {
                write!(out, " holds {}v{}", domain.id, vcpu.id)?;
                nothing = "";
            }
        }
        writeln!(out, "{nothing}, {} wait", sys.sched.waiting(cpu))?;
    }
    Ok(())
}

fn events(
    _: &System,
    domain: &Domain,
    from: u32,
    out: &mut Console,
) -> Result<Option<u32>, fmt::Error> {
    domain.events().dump(from, out)
}

/// Tests read these lines.
fn cache_flushes(
    _: &System,
    domain: &Domain,
    _: u32,
    out: &mut Console,
) -> Result<Option<u32>, fmt::Error> {
    let of = &domain.cache_flushes;
    let (own, foreign) = (
        of.own.load(Ordering::Relaxed),
        of.foreign.load(Ordering::Relaxed),
    );
    writeln!(
        out,
        "(XL) {}: cache_flush own {own} foreign {foreign}",
        domain.id
    )?;
    Ok(None)
}

/// Tests read this line.
fn free_pages(sys: &System, out: &mut Console) -> fmt::Result {
    writeln!(out, "(XL) free pages {}", sys.frames.free_pages())
}

/// Tests read these lines.
fn counts(
    sys: &System,
    domain: &Domain,
    _: u32,
    out: &mut Console,
) -> Result<Option<u32>, fmt::Error> {
    let (granted, mapped) = domain.grants.counts();
    writeln!(
        out,
        "(XL) {}: {:?} pages {} shared {} tables {} ports {} granted {granted} mapped {mapped}",
        domain.id,
        domain.stage(),
        sys.frames.tot_pages(domain.id),
        sys.frames.shared_pages(domain.id),
        domain.p2m.pool().1,
        domain.events().open_ports(),
    )?;
    Ok(None)
}

fn interrupts(
    _: &System,
    domain: &Domain,
    part: u32,
    out: &mut Console,
) -> Result<Option<u32>, fmt::Error> {
    if part == 0 {
        writeln!(out, "(XL) {}:", domain.id)?;
    }
    domain.vgic.dump(part, out)
}

fn memory(sys: &System, out: &mut Console) -> fmt::Result {
    let (used, total) = heap::usage();
    writeln!(
        out,
        "(XL) RAM {} MiB, free {} MiB",
        sys.frames.total_pages() >> 8,
        sys.frames.free_pages() >> 8
    )?;
    writeln!(out, "(XL) heap {} KiB of {} KiB", used >> 10, total >> 10)
}

fn pages(
    sys: &System,
    domain: &Domain,
    _: u32,
    out: &mut Console,
) -> Result<Option<u32>, fmt::Error> {
    writeln!(
        out,
        "(XL) {}: {} pages, {} shared with Xenolith",
        domain.id,
        sys.frames.tot_pages(domain.id),
        sys.frames.shared_pages(domain.id)
    )?;
    Ok(None)
}

/// The domain, then a vCPU a piece.
fn domains(
    sys: &System,
    domain: &Domain,
    n: u32,
    out: &mut Console,
) -> Result<Option<u32>, fmt::Error> {
    let Some(vcpu) = n.checked_sub(1) else {
        writeln!(
            out,
            "(XL) {}: {} vCPUs, {} pages, VTTBR {:#x}",
            domain.id,
            domain.vcpus().len(),
            sys.frames.tot_pages(domain.id),
            domain.p2m.vttbr()
        )?;
        return Ok(Some(1));
    };
    let Some(vcpu) = domain.vcpu(vcpu) else {
        return Ok(None);
    };
    let flags = vcpu.sched.flags();
    let names = [
        (pause::BLOCKED, " blocked"),
        (pause::DOWN, " down"),
        (pause::POLLING, " polling"),
        (pause::PAUSED, " paused"),
        (pause::SHUT_DOWN, " shut down"),
        (pause::DYING, " dying"),
        (pause::CAPPED, " capped"),
        (pause::MOVING | pause::HELD, " held"),
    ];
    write!(
        out,
        "(XL)  v{} on CPU {} {:?}",
        vcpu.id,
        vcpu.sched.home().0,
        vcpu.sched.place()
    )?;
    names
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .try_for_each(|(_, name)| out.write_str(name))?;
    writeln!(
        out,
        ", ran {} ms",
        sys.ticks_to_ns(vcpu.sched.run_ticks()) / 1_000_000
    )?;
    Ok(n.checked_add(1))
}

fn reboot(sys: &System, _: &mut Console) -> fmt::Result {
    sys.hw.system(hv_core::hw::SystemOp::Reset)
}

fn crash(_: &System, _: &mut Console) -> fmt::Result {
    panic!("asked to, by key 'C'")
}
