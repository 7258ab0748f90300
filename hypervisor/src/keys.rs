// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xenolith's own keys, after Ctrl-a was typed three times.

use crate::{console, heap, machine};
use alloc::sync::Arc;
use core::fmt::{self, Write};
use core::sync::atomic::Ordering;
use hv_core::domain::vcpu::Vcpu;
use hv_core::event::EventDomain;
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

/// A key: what it shows, and how.
type Key = (u8, &'static str, fn(&System, &mut Console) -> fmt::Result);

const KEYS: &[Key] = &[
    (b'h', "show this help", help),
    (b'0', "vCPU registers", registers),
    (b'c', "cache maintenance for DMA", cache_flushes),
    (b'd', "physical CPUs", cpus),
    (b'e', "event channels", events),
    (b'g', "pages, ports and grants of the domains", counts),
    (b'i', "interrupts of the domains", interrupts),
    (b'm', "memory", memory),
    (b'q', "domains and vCPUs", domains),
    (b'R', "reboot the machine", reboot),
    (b'C', "crash Xenolith, to see what that looks like", crash),
];

/// Does what `key` says.
pub(crate) fn handle(key: u8) {
    let Some(sys) = machine::try_system() else {
        return;
    };
    let known = KEYS.iter().find(|k| k.0 == key);
    let (_, what, act) = known.unwrap_or(&KEYS[0]);
    log::info!("'{}' pressed -> {what}", char::from(key));
    let _ = act(sys, &mut Console);
}

fn help(_: &System, out: &mut Console) -> fmt::Result {
    KEYS.iter()
        .try_for_each(|(key, what, _)| writeln!(out, "(XL)  key '{}' => {what}", char::from(*key)))
}

fn registers(sys: &System, out: &mut Console) -> fmt::Result {
    for domain in sys.domains.all() {
        for vcpu in domain.vcpus() {
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
        }
    }
    Ok(())
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

fn events(sys: &System, out: &mut Console) -> fmt::Result {
    sys.domains
        .all()
        .iter()
        .try_for_each(|d| d.events().dump(out))
}

/// Tests read these lines.
fn cache_flushes(sys: &System, out: &mut Console) -> fmt::Result {
    sys.domains.all().iter().try_for_each(|d| {
        let of = &d.cache_flushes;
        let (own, foreign) = (
            of.own.load(Ordering::Relaxed),
            of.foreign.load(Ordering::Relaxed),
        );
        writeln!(
            out,
            "(XL) {}: cache_flush own {own} foreign {foreign}",
            d.id
        )
    })
}

/// Tests read these lines.
fn counts(sys: &System, out: &mut Console) -> fmt::Result {
    writeln!(out, "(XL) free pages {}", sys.frames.free_pages())?;
    sys.domains.all().iter().try_for_each(|d| {
        let (granted, mapped) = d.grants.counts();
        writeln!(
            out,
            "(XL) {}: {:?} pages {} shared {} tables {} ports {} granted {granted} mapped {mapped}",
            d.id,
            d.stage(),
            sys.frames.tot_pages(d.id),
            sys.frames.shared_pages(d.id),
            d.p2m.pool().1,
            d.events().open_ports(),
        )
    })
}

fn interrupts(sys: &System, out: &mut Console) -> fmt::Result {
    sys.domains.all().iter().try_for_each(|d| {
        writeln!(out, "(XL) {}:", d.id)?;
        d.vgic.dump(out)
    })
}

fn memory(sys: &System, out: &mut Console) -> fmt::Result {
    let (used, total) = heap::usage();
    writeln!(
        out,
        "(XL) RAM {} MiB, free {} MiB",
        sys.frames.total_pages() >> 8,
        sys.frames.free_pages() >> 8
    )?;
    writeln!(out, "(XL) heap {} KiB of {} KiB", used >> 10, total >> 10)?;
    sys.domains.all().iter().try_for_each(|d| {
        writeln!(
            out,
            "(XL) {}: {} pages, {} shared with Xenolith",
            d.id,
            sys.frames.tot_pages(d.id),
            sys.frames.shared_pages(d.id)
        )
    })
}

fn domains(sys: &System, out: &mut Console) -> fmt::Result {
    for domain in sys.domains.all() {
        writeln!(
            out,
            "(XL) {}: {} vCPUs, {} pages, VTTBR {:#x}",
            domain.id,
            domain.vcpus().len(),
            sys.frames.tot_pages(domain.id),
            domain.p2m.vttbr()
        )?;
        for vcpu in domain.vcpus() {
            let flags = vcpu.sched.flags();
            let names = [
                (pause::BLOCKED, " blocked"),
                (pause::DOWN, " down"),
                (pause::POLLING, " polling"),
                (pause::PAUSED, " paused"),
                (pause::SHUT_DOWN, " shut down"),
                (pause::DYING, " dying"),
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
        }
    }
    Ok(())
}

fn reboot(sys: &System, _: &mut Console) -> fmt::Result {
    sys.hw.system(hv_core::hw::SystemOp::Reset)
}

fn crash(_: &System, _: &mut Console) -> fmt::Result {
    panic!("asked to, by key 'C'")
}
