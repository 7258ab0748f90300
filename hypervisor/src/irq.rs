// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical interrupts, taken one after another when a guest was left for one or a CPU idles.

use crate::{console, machine, panic, percpu};
use hv_core::addr::DomId;
use hv_core::console::{Input, Target};
use hv_core::current::Current;
use hv_core::domain::{Domain, PPI_VIRT_TIMER};
use hv_core::timer;
use platform::gic::Ack;
use xen_abi::xen::VIRQ_CONSOLE;

/// Leave the guest, or the idle wait.
pub(crate) const SGI_KICK: u32 = 0;
/// Stop: another CPU panics.
pub(crate) const SGI_HALT: u32 = 1;

/// ICH_HCR_EL2.En, GICH_HCR.En.
pub(crate) const ICH_HCR_EN: u32 = 1;
/// Interrupts taken before the guest has another turn: a storm does not starve it.
const BURST: usize = 32;

/// What the caller has to do after.
#[derive(Clone, Copy, Default)]
pub(crate) struct Handled {
    /// The list registers want to be looked at.
    pub(crate) maintenance: bool,
}

/// Takes the interrupts that are pending. `loaded` is the vCPU whose state is in the CPU.
pub(crate) fn handle(loaded: Option<(&Domain, u32)>) -> Handled {
    let mut handled = Handled::default();
    let gic = &machine::get().gic;
    for _ in 0..BURST {
        let Some(ack) = gic.acknowledge() else { break };
        dispatch(&ack, loaded, &mut handled);
        if !gic.has_pending() {
            break;
        }
    }
    handled
}

fn dispatch(ack: &Ack, loaded: Option<(&Domain, u32)>, handled: &mut Handled) {
    let machine = machine::get();
    let (gic, irqs) = (&machine.gic, &machine.irqs);
    gic.drop_priority(ack);
    match ack.intid() {
        SGI_KICK => {}
        SGI_HALT => panic::halt(),
        n if n == irqs.hyp_timer => {
            percpu::this().deadline.set(None);
            platform::timer::disable();
            // Before what is due, which asks whether something else waits, the next deadline too.
            gic.deactivate_ack(ack);
            return timer::run_expired(machine::system());
        }
        n if n == irqs.maintenance => {
            // Quiet until the list registers were seen to; EOIcount stays.
            gic.write_hcr(gic.read_hcr() & !ICH_HCR_EN);
            handled.maintenance = true;
        }
        n if n == irqs.virt_timer => {
            // Stays active until the guest ends it.
            if let Some((domain, vcpu)) = loaded {
                percpu::this().vtimer_active.set(true);
                domain.vgic.hw_fired(PPI_VIRT_TIMER, Some(vcpu), domain);
                return;
            }
        }
        n if Some(n) == irqs.uart => {
            if !console_input() {
                gic.set_pending(n, true);
            }
        }
        n if n >= 32 => return device(n),
        n => log::warn!("unexpected interrupt {n}"),
    }
    gic.deactivate_ack(ack);
}

/// A device's interrupt: its domain's, which deactivates it.
fn device(intid: u32) {
    let mut taken = false;
    let owned = machine::try_system().is_some_and(|sys| {
        sys.with_irq_owner(intid, |domain| {
            taken = domain.vgic.hw_fired(intid, None, &**domain);
        })
    });
    let gic = &machine::get().gic;
    if !owned {
        gic.disable(intid);
    }
    if !taken {
        gic.set_active(intid, false);
    }
}

/// False if there is more input than was taken.
fn console_input() -> bool {
    let mut for_dom0 = false;
    let all = console::receive(&mut |input| match input {
        Input::Dom0 => for_dom0 = true,
        Input::Domain { to, held, byte } => type_to(to, held, byte),
        Input::Key(key) => {
            if let Some(sys) = machine::try_system() {
                sys.type_key(key);
            }
        }
        Input::Switch => switch_input(),
        Input::Nothing => {}
    });
    if for_dom0 && let Some(sys) = machine::try_system() {
        sys.raise_virq(VIRQ_CONSOLE);
    }
    all
}

/// Gives the console's input to who comes next: dom0, the domains with a UART, Xenolith's keys.
pub(crate) fn switch_input() {
    let Some(sys) = machine::try_system() else {
        return;
    };
    let now = match console::input_target() {
        Target::Xenolith => None,
        Target::Domain(domain) => Some(domain),
    };
    let Some(next) = sys.domains.next_on_console(now) else {
        return turn_input_to(Target::Xenolith);
    };
    turn_input_to(Target::Domain(next));
    // Either it sees that it has the input when it dies, or this sees that it does.
    if sys.domains.get(next).is_none_or(|domain| domain.is_dying()) {
        leave_input(next);
    }
}

/// `domain`, which has the console's input, dies: it goes to the next domain, or else to the first.
/// Not to Xenolith's keys if there is one: who types goes on typing, and a key may reboot the machine.
pub(crate) fn leave_input(domain: DomId) {
    let Some(sys) = machine::try_system() else {
        return;
    };
    let next = sys.domains.next_on_console(Some(domain));
    let next = next.or_else(|| sys.domains.next_on_console(None));
    turn_input_to(next.map_or(Target::Xenolith, Target::Domain));
}

/// Gives the console's input to `target`, and says so.
pub(crate) fn turn_input_to(target: Target) {
    console::turn_input_to(target);
    match target {
        Target::Xenolith => say(format_args!("Xenolith")),
        Target::Domain(domain) => {
            say(format_args!("DOM{}", domain.0));
            let domain = machine::try_system().and_then(|sys| sys.domains.get(domain));
            if let Some(uart) = domain.as_ref().and_then(|domain| domain.uart.get()) {
                uart.show_unfinished();
            }
        }
    }
}

fn say(to: core::fmt::Arguments<'_>) {
    match console::switch_key() {
        Some(key) => log::info!(
            "*** Serial input to {to} (type 'CTRL-{}' three times to switch input)",
            char::from(key | 0x60)
        ),
        None => log::info!("*** Serial input to {to}"),
    }
    console::settle();
}

/// `byte` was typed to a domain with a UART, after `held` switch characters.
fn type_to(to: DomId, held: u8, byte: u8) {
    let Some(domain) = machine::try_system().and_then(|sys| sys.domains.get(to)) else {
        return;
    };
    let key = console::switch_key().unwrap_or(0);
    let held = core::iter::repeat_n(key, held.into());
    if let Some(uart) = domain.uart.get() {
        held.chain([byte])
            .for_each(|byte| uart.receive(byte, &domain.vgic, &*domain));
    }
}

/// As [`handle`], for the vCPU that runs.
pub(crate) fn handle_for(cur: &Current<'_>) -> Handled {
    handle(Some((cur.domain, cur.vcpu.id)))
}
