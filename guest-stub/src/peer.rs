// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel as another domain (`peer` on its command line): does what the suite in dom0 asks of it, for ever.

use core::sync::atomic::Ordering;

use xen_abi::Handle;
use xen_abi::event::{AllocUnbound, EVTCHNOP_ALLOC_UNBOUND};
use xen_abi::hypercall::{EVENT_CHANNEL_OP, SCHED_OP};
use xen_abi::sched::{Poll, SCHEDOP_POLL};
use xen_abi::xen::DOMID_SELF;

use crate::machine::exception::attempt;
use crate::machine::mmio::{read64, write64};
use crate::machine::timer;
use crate::xen::event::{map_shared_info, set_masked, shared_info};
use crate::xen::gnttab::{flags, map_table, permit, revoke, window, write_entry};
use crate::xen::hypercall::{hypercall, operate};
use crate::xen::mailbox::{
    ABORTED_WORD, ARGUMENT_WORDS, ASKED_WORD, COMMAND_WORD, Command, DONE_WORD, MAGIC, MAGIC_WORD,
    PORT_WORD, REFERENCE, RESULT_WORD, SCRATCH_WORD,
};
use crate::xen::page::Page;

/// The domain that asks.
const DOM0: u16 = 0;
/// Longest sleep, nanoseconds: an event that is missed costs no more.
const NAP: u64 = 20_000_000;

static MAILBOX: Page = Page::new();
/// Pages that are granted.
static PAGES: [Page; 4] = [const { Page::new() }; 4];

/// Serves. It says nothing: its lines would come among dom0's.
pub(crate) fn run() -> ! {
    let port = match start() {
        Ok(port) => port,
        Err((what, error)) => panic!("{what} gives {error}"),
    };
    loop {
        let asked = word(ASKED_WORD);
        if asked == word(DONE_WORD) {
            sleep(port);
            continue;
        }
        let (result, aborted) = serve();
        set_word(RESULT_WORD, result);
        set_word(ABORTED_WORD, aborted.into());
        set_word(DONE_WORD, asked);
    }
}

fn word(index: usize) -> u64 {
    MAILBOX.0[index].load(Ordering::SeqCst)
}

fn set_word(index: usize, value: u64) {
    MAILBOX.0[index].store(value, Ordering::SeqCst);
}

/// Offers the mailbox; the port that dom0 may bind to.
fn start() -> Result<u32, (&'static str, i64)> {
    let must = |what, answer| {
        if answer == 0 {
            Ok(())
        } else {
            Err((what, answer))
        }
    };
    must("mapping the shared info page", map_shared_info())?;
    must("mapping the grant table", map_table())?;
    let mut alloc = AllocUnbound {
        dom: DOMID_SELF,
        remote_dom: DOM0,
        port: 0,
    };
    let answer = operate(EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, &mut alloc);
    must("alloc_unbound", answer)?;
    set_masked(alloc.port, true);
    set_word(PORT_WORD, alloc.port.into());
    set_word(MAGIC_WORD, MAGIC);
    permit(REFERENCE, DOM0, MAILBOX.frame(), false);
    Ok(alloc.port)
}

/// Waits for dom0's event, which is masked: nothing interrupts.
fn sleep(port: u32) {
    let ports = [port];
    let mut argument = Poll {
        ports: Handle(&raw const ports as u64),
        nr_ports: 1,
        _pad: 0,
        timeout: timer::nanoseconds(timer::physical_count()) + NAP,
    };
    operate(SCHED_OP, SCHEDOP_POLL, &mut argument);
    pending(port);
}

/// Whether a port is pending; it is not afterwards.
fn pending(port: u32) -> bool {
    let bit = 1 << (port % 64);
    let word = &shared_info().pending[port as usize / 64 % 64];
    word.fetch_and(!bit, Ordering::SeqCst) & bit != 0
}

/// Carries out the command; its result, and whether an access aborted.
fn serve() -> (u64, bool) {
    let arguments: [u64; 7] = core::array::from_fn(|n| word(ARGUMENT_WORDS.start + n));
    let [a, b, c, d, ..] = arguments;
    let Some(command) = Command::from_number(word(COMMAND_WORD)) else {
        return (u64::MAX, false);
    };
    let page = |index: u64| &PAGES[index as usize % PAGES.len()];
    let result = match command {
        Command::Hypercall => call(arguments),
        Command::Grant => {
            let frame = page(d).frame();
            write_entry(a as u32, b as u16, c as u16, frame);
            frame
        }
        Command::Revoke => revoke(a as u32).into(),
        Command::Flags => flags(a as u32).into(),
        Command::Address if a >= PAGES.len() as u64 => window(a),
        Command::Address => page(a).address(),
        Command::Read => return accessed(attempt(|| read64(a)).ok()),
        Command::Write => return accessed(attempt(|| write64(a, b)).ok().map(|()| 0)),
        Command::Pending => pending(a as u32).into(),
    };
    (result, false)
}

fn accessed(value: Option<u64>) -> (u64, bool) {
    (value.unwrap_or(0), value.is_none())
}

fn call([number, x0, x1, x2, x3, x4, offsets]: [u64; 7]) -> u64 {
    let scratch = MAILBOX.address() + SCRATCH_WORD as u64 * 8;
    let mut arguments = [x0, x1, x2, x3, x4];
    for (index, argument) in arguments.iter_mut().enumerate() {
        if offsets >> index & 1 != 0 {
            *argument += scratch;
        }
    }
    hypercall(number, arguments) as u64
}
