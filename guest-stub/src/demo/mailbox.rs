// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page through which the two domains talk, and what they agree on.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{Problem, fail};

/// Reference under which the domU grants the mailbox: the first that is no toolstack's.
pub(super) const REFERENCE: u32 = 8;
/// The domU.
pub(super) const DOMU: u16 = 1;
/// The initial domain.
pub(super) const DOM0: u16 = 0;
/// Pages of a set.
pub(super) const PAGES: usize = 4;
/// Microseconds after which the other domain is taken for dead.
pub(super) const PATIENCE: u64 = 20_000_000;

/// "demo", version 1.
const MAGIC: u64 = 0x6f6d_6564_0000_0001;

/// Pages the domU grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// What disks read from: granted for reading alone.
    Out = 0,
    /// What disks write to.
    In = 1,
}

pub(super) const SETS: [Set; 2] = [Set::Out, Set::In];

/// What dom0 asks of the domU.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request {
    /// Fill pages of a set with a pattern.
    Fill(Set, u64),
    /// Count the bytes of a set's first pages that are those of a pattern, and show how many, or not.
    Count {
        set: Set,
        pages: usize,
        seed: u64,
        is_shown: bool,
    },
    /// End the grants, which nobody has mapped any more, and power off.
    End,
}

const FILL: u32 = 1;
const COUNT: u32 = 2;
const COUNT_AND_SHOW: u32 = 3;
const END: u32 = 4;

/// One page of a set.
#[repr(C)]
pub(super) struct Granted {
    reference: AtomicU32,
    _pad: u32,
    frame: AtomicU64,
}

/// The page. The domU writes the first part before it grants it, then each side only what is its own.
#[repr(C, align(4096))]
pub(super) struct Mailbox {
    magic: AtomicU64,
    /// The domU's event channel, which dom0 may connect to.
    port: AtomicU32,
    _pad: u32,
    granted: [[Granted; PAGES]; 2],
    // Of dom0: a request, complete when its number rises.
    requests: AtomicU32,
    command: AtomicU32,
    set: AtomicU32,
    pages: AtomicU32,
    seed: AtomicU64,
    // Of the domU: its answer, complete when the number does.
    answers: AtomicU32,
    _pad2: u32,
    answer: AtomicU64,
}

impl Granted {
    const fn new() -> Self {
        Self {
            reference: AtomicU32::new(0),
            _pad: 0,
            frame: AtomicU64::new(0),
        }
    }
}

impl Mailbox {
    pub(super) const fn new() -> Self {
        Self {
            magic: AtomicU64::new(0),
            port: AtomicU32::new(0),
            _pad: 0,
            granted: [const { [const { Granted::new() }; PAGES] }; 2],
            requests: AtomicU32::new(0),
            command: AtomicU32::new(0),
            set: AtomicU32::new(0),
            pages: AtomicU32::new(0),
            seed: AtomicU64::new(0),
            answers: AtomicU32::new(0),
            _pad2: 0,
            answer: AtomicU64::new(0),
        }
    }

    /// Names page `index` of a set.
    pub(super) fn name(&self, set: Set, index: usize, reference: u32, frame: u64) {
        let granted = &self.granted[set as usize][index];
        granted.reference.store(reference, Ordering::Relaxed);
        granted.frame.store(frame, Ordering::Relaxed);
    }

    /// Reference and the domU's frame of page `index` of a set.
    pub(super) fn page(&self, set: Set, index: usize) -> (u32, u64) {
        let granted = &self.granted[set as usize][index];
        let frame = granted.frame.load(Ordering::Relaxed);
        (granted.reference.load(Ordering::Relaxed), frame)
    }

    /// Says that the pages are named and that events come in on `port`.
    pub(super) fn open(&self, port: u32) {
        self.port.store(port, Ordering::Relaxed);
        self.magic.store(MAGIC, Ordering::Release);
    }

    /// The domU's port.
    ///
    /// # Errors
    /// When this is not a mailbox.
    pub(super) fn port(&self) -> Result<u32, Problem> {
        match self.magic.load(Ordering::Acquire) {
            MAGIC => Ok(self.port.load(Ordering::Relaxed)),
            other => fail!("the domU's page is no mailbox: it begins with {other:#x}"),
        }
    }

    /// Asks; the domU has answered when [`Self::answer`] is not `None`.
    pub(super) fn ask(&self, request: Request) {
        let (command, set, pages, seed) = match request {
            Request::Fill(set, seed) => (FILL, set, PAGES, seed),
            Request::Count {
                set,
                pages,
                seed,
                is_shown: false,
            } => (COUNT, set, pages, seed),
            Request::Count {
                set, pages, seed, ..
            } => (COUNT_AND_SHOW, set, pages, seed),
            Request::End => (END, Set::Out, 0, 0),
        };
        self.command.store(command, Ordering::Relaxed);
        self.set.store(set as u32, Ordering::Relaxed);
        self.pages.store(pages as u32, Ordering::Relaxed);
        self.seed.store(seed, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Release);
    }

    /// The answer to the latest request.
    pub(super) fn answer(&self) -> Option<u64> {
        let asked = self.requests.load(Ordering::Relaxed);
        let is_answered = self.answers.load(Ordering::Acquire) == asked;
        is_answered.then(|| self.answer.load(Ordering::Relaxed))
    }

    /// The request that waits for an answer.
    pub(super) fn request(&self) -> Option<Request> {
        let asked = self.requests.load(Ordering::Acquire);
        if asked == self.answers.load(Ordering::Relaxed) {
            return None;
        }
        let set = match self.set.load(Ordering::Relaxed) {
            0 => Set::Out,
            _ => Set::In,
        };
        let seed = self.seed.load(Ordering::Relaxed);
        let command = self.command.load(Ordering::Relaxed);
        Some(match command {
            FILL => Request::Fill(set, seed),
            COUNT | COUNT_AND_SHOW => Request::Count {
                set,
                pages: (self.pages.load(Ordering::Relaxed) as usize).min(PAGES),
                seed,
                is_shown: command == COUNT_AND_SHOW,
            },
            _ => Request::End,
        })
    }

    /// Answers it.
    pub(super) fn reply(&self, answer: u64) {
        self.answer.store(answer, Ordering::Relaxed);
        self.answers.fetch_add(1, Ordering::Release);
    }
}
