// SPDX-License-Identifier: MIT OR Apache-2.0
//! The suite's peers: other domains that run this kernel and do what dom0 asks (`crate::peer`).

use core::mem::{size_of, size_of_val};
use core::sync::atomic::{AtomicU64, Ordering};

use xen_abi::event::{BindInterdomain, EVTCHNOP_BIND_INTERDOMAIN};
use xen_abi::hypercall::{EVENT_CHANNEL_OP, SCHED_OP};
use xen_abi::sched::SCHEDOP_YIELD;

use super::event::send;
use super::gnttab::{fresh_window, map_with};
use super::hypercall::{hypercall, operate};
use super::mailbox::{
    ABORTED_WORD, ARGUMENT_WORDS, ASKED_WORD, COMMAND_WORD, Command, DONE_WORD, MAGIC, MAGIC_WORD,
    PORT_WORD, REFERENCE, RESULT_WORD, SCRATCH_WORD,
};
use crate::machine::mmio::{read64, write64};
use crate::machine::timer;

/// Microseconds within which a peer offers its mailbox, and answers.
const PATIENCE: u64 = 10_000_000;

/// Another domain that serves.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    /// Its number.
    pub(crate) domid: u16,
    /// Where its mailbox is mapped.
    mailbox: u64,
    /// The port that it waits at, this domain's end.
    port: u32,
}

/// Mailbox and port of domains 1 and 2; 0: not looked for, 1: not there.
static MAILBOXES: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static PORTS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Domain 1 or 2, if it is there and serves.
pub(crate) fn find(domid: u16) -> Option<Peer> {
    let index = usize::from(domid).checked_sub(1)?;
    let (mailbox, port) = (MAILBOXES.get(index)?, PORTS.get(index)?);
    if mailbox.load(Ordering::SeqCst) == 0 {
        let found = connect(domid);
        port.store(found.map_or(0, |peer| peer.port.into()), Ordering::SeqCst);
        mailbox.store(found.map_or(1, |peer| peer.mailbox), Ordering::SeqCst);
    }
    match mailbox.load(Ordering::SeqCst) {
        0 | 1 => None,
        mailbox => Some(Peer {
            domid,
            mailbox,
            port: port.load(Ordering::SeqCst) as u32,
        }),
    }
}

/// Maps the mailbox and binds to the port.
fn connect(domid: u16) -> Option<Peer> {
    const BAD_DOMAIN: i16 = -2;
    let at = fresh_window();
    let map =
        || map_with(|map| (map.host_addr, map.dom, map.r#ref) = (at, domid, REFERENCE)).status;
    let mut status = map();
    if status == BAD_DOMAIN {
        return None;
    }
    let there = timer::wait_until(PATIENCE, || {
        if status != 0 {
            give_way();
            status = map();
        }
        status == 0
    });
    if !there || read64(at + MAGIC_WORD as u64 * 8) != MAGIC {
        return None;
    }
    let mut bind = BindInterdomain {
        remote_dom: domid,
        _pad: 0,
        remote_port: read64(at + PORT_WORD as u64 * 8) as u32,
        local_port: 0,
    };
    let answer = operate(EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, &mut bind);
    (answer == 0).then_some(Peer {
        domid,
        mailbox: at,
        port: bind.local_port,
    })
}

/// Lets other domains run.
fn give_way() {
    hypercall(SCHED_OP, [SCHEDOP_YIELD.into(), 0, 0, 0, 0]);
}

impl Peer {
    fn word(self, index: usize) -> u64 {
        read64(self.mailbox + index as u64 * 8)
    }

    fn set_word(self, index: usize, value: u64) {
        write64(self.mailbox + index as u64 * 8, value);
    }

    /// Has a command carried out; its result. Panics if the peer no longer answers.
    pub(crate) fn ask(self, command: Command, arguments: &[u64]) -> u64 {
        for (index, argument) in ARGUMENT_WORDS.zip(arguments) {
            self.set_word(index, *argument);
        }
        self.set_word(COMMAND_WORD, command as u64);
        let number = self.word(ASKED_WORD) + 1;
        crate::machine::barrier::dsb();
        self.set_word(ASKED_WORD, number);
        crate::machine::barrier::dsb();
        send(self.port);
        let done = timer::wait_until(PATIENCE, || {
            let done = self.word(DONE_WORD) == number;
            if !done {
                give_way();
            }
            done
        });
        assert!(done, "domain {} does not answer {command:?}", self.domid);
        crate::machine::barrier::dsb();
        self.word(RESULT_WORD)
    }

    /// Makes a hypercall there, with numbers for arguments.
    pub(crate) fn plain(self, number: u64, [x0, x1, x2]: [u64; 3]) -> i64 {
        self.ask(Command::Hypercall, &[number, x0, x1, x2, 0, 0, 0]) as i64
    }

    /// Makes a hypercall there whose argument `place` is the address of a structure; the answer, and the structure as
    /// it comes back.
    pub(crate) fn with_at<T: Copy>(
        self,
        number: u64,
        mut arguments: [u64; 3],
        place: usize,
        argument: T,
    ) -> (i64, T) {
        let words = size_of::<T>().div_ceil(8);
        let mut copy = [0_u64; 64];
        assert!(
            size_of::<T>() <= size_of_val(&copy),
            "a structure too large"
        );
        // SAFETY: `copy` is as large as the structure at least.
        unsafe { copy.as_mut_ptr().cast::<T>().write_unaligned(argument) };
        for (index, word) in copy.iter().enumerate().take(words) {
            self.set_word(SCRATCH_WORD + index, *word);
        }
        arguments[place] = 0;
        let [x0, x1, x2] = arguments;
        let answer = self.ask(Command::Hypercall, &[number, x0, x1, x2, 0, 0, 1 << place]);
        for (index, word) in copy.iter_mut().enumerate().take(words) {
            *word = self.word(SCRATCH_WORD + index);
        }
        // SAFETY: the words are those of the structure, which is plain data.
        let argument = unsafe { copy.as_ptr().cast::<T>().read_unaligned() };
        (answer as i64, argument)
    }

    /// Makes a hypercall there of a sub-operation and a structure.
    pub(crate) fn with<T: Copy>(self, number: u64, operation: u32, argument: T) -> (i64, T) {
        self.with_at(number, [operation.into(), 0, 1], 1, argument)
    }

    /// The same; its answer alone.
    pub(crate) fn answer<T: Copy>(self, number: u64, operation: u32, argument: T) -> i64 {
        self.with(number, operation, argument).0
    }

    /// Reads a word there; `None` if that aborts.
    pub(crate) fn read(self, address: u64) -> Option<u64> {
        let value = self.ask(Command::Read, &[address]);
        (self.word(ABORTED_WORD) == 0).then_some(value)
    }

    /// Writes a word there; `None` if that aborts.
    pub(crate) fn write(self, address: u64, value: u64) -> Option<()> {
        self.ask(Command::Write, &[address, value]);
        (self.word(ABORTED_WORD) == 0).then_some(())
    }
}
