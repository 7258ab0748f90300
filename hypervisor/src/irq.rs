// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical interrupts, taken one after another when a guest was left for one or a CPU idles.

use crate::{console, keys, machine, panic, percpu};
use hv_core::console::Input;
use hv_core::current::Current;
use hv_core::domain::{Domain, PPI_VIRT_TIMER};
use hv_core::{event, timer};
use platform::gic::Ack;
use xen_abi::xen::VIRQ_CONSOLE;

/// Leave the guest, or the idle wait.
pub(crate) const SGI_KICK: u32 = 0;
/// Stop: another CPU panics.
pub(crate) const SGI_HALT: u32 = 1;

/// ICH_HCR_EL2.En.
pub(crate) const HCR_EN: u32 = 1;
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
            timer::run_expired(machine::system());
        }
        n if n == irqs.maintenance => {
            // Quiet until the list registers were seen to; EOIcount stays.
            gic.write_hcr(gic.read_hcr() & !HCR_EN);
            handled.maintenance = true;
        }
        n if n == irqs.virt_timer => {
            // Stays active: the guest deactivates it through its list register.
            if let Some((domain, vcpu)) = loaded {
                percpu::this().vtimer_active.set(true);
                return domain.vgic.hw_fired(PPI_VIRT_TIMER, Some(vcpu), domain);
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
    let domain = machine::try_system().and_then(|sys| sys.domains.hardware());
    match domain {
        Some(domain) => domain.vgic.hw_fired(intid, None, &*domain),
        None => machine::get().gic.disable(intid),
    }
}

/// False if there is more input than was taken.
fn console_input() -> bool {
    let mut for_dom0 = false;
    let all = console::receive(&mut |input| match input {
        Input::Dom0(_) => for_dom0 = true,
        Input::Key(key) => keys::handle(key),
        Input::Switched(to_dom0) => {
            let to = if to_dom0 { "DOM0" } else { "Xenolith" };
            log::info!("*** Serial input to {to} (type 'CTRL-a' three times to switch input)");
        }
        Input::Nothing => {}
    });
    if for_dom0 && let Some(domain) = machine::try_system().and_then(|sys| sys.domains.hardware()) {
        event::raise_virq(&*domain, VIRQ_CONSOLE);
    }
    all
}

/// As [`handle`], for the vCPU that runs.
pub(crate) fn handle_for(cur: &Current<'_>) -> Handled {
    handle(Some((cur.domain, cur.vcpu.id)))
}
