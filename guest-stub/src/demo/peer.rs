// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0's view of the domU: its pages, mapped, and requests to it.

use super::mailbox::{DOMU, Mailbox, PAGES, PATIENCE, REFERENCE, Request, Set};
use super::{Problem, fail, wait};
use crate::drivers::environment;
use crate::machine::dt;
use crate::xen::event;
use crate::xen::grant::{self, Access, Mapping};

/// The domU.
pub(super) struct Peer {
    mailbox: &'static Mailbox,
    mailbox_mapping: Mapping,
    port: u32,
    /// Its pages of [`Set::Out`].
    pub(super) out: [Mapping; PAGES],
    /// Its pages of [`Set::In`].
    pub(super) r#in: [Mapping; PAGES],
}

/// Where page `index` of what is mapped goes: addresses that are set aside for that.
fn place(index: usize) -> u64 {
    dt::facts().extended_regions[0].base + index as u64 * 4096
}

impl Peer {
    /// Waits for the domU and maps what it grants.
    pub(super) fn connect() -> Result<Self, Problem> {
        if dt::facts().extended_regions[0].size < 64 * 4096 {
            fail!("the device tree names no addresses to map pages of others at");
        }
        let mut status = 0;
        let mut mapped = None;
        wait::until(PATIENCE, || {
            match grant::map(DOMU, REFERENCE, place(0), Access::ReadWrite) {
                Ok(mapping) => mapped = Some(mapping),
                Err(error) => status = error,
            }
            mapped.is_some()
        });
        let Some(mailbox_mapping) = mapped else {
            fail!("domain {DOMU} does not grant its mailbox: mapping it gives {status}");
        };
        // SAFETY: the page is mapped until `disconnect`, and both sides see it as atomics.
        let mailbox = unsafe { &*(mailbox_mapping.address as *const Mailbox) };
        let port = match event::bind_interdomain(DOMU, mailbox.port()?) {
            Ok(port) => port,
            Err(error) => fail!("connecting to the domU's event channel: {error}"),
        };
        event::set_masked(port, false);
        Ok(Self {
            mailbox,
            mailbox_mapping,
            port,
            out: map_set(mailbox, Set::Out)?,
            r#in: map_set(mailbox, Set::In)?,
        })
    }

    /// The domU's own frame of page `index` of a set.
    pub(super) fn frame(&self, set: Set, index: usize) -> u64 {
        self.mailbox.page(set, index).1
    }

    /// Maps page 0 of [`Set::In`] once more, at `address`.
    pub(super) fn map_first_at(&self, address: u64) -> Result<Mapping, Problem> {
        map_page(self.mailbox, Set::In, 0, address)
    }

    /// Asks the domU and waits for its answer.
    pub(super) fn ask(&self, request: Request) -> Result<u64, Problem> {
        self.mailbox.ask(request);
        event::send(self.port);
        let mut answer = None;
        wait::until(PATIENCE, || {
            answer = self.mailbox.answer();
            answer.is_some()
        });
        match answer {
            Some(answer) => Ok(answer),
            None => fail!("the domU does not answer to {request:?}"),
        }
    }

    /// How many bytes of the first `pages` pages of [`Set::In`] the domU finds to be those of a pattern; it
    /// shows that, or not.
    pub(super) fn count_in(
        &self,
        pages: usize,
        seed: u64,
        is_shown: bool,
    ) -> Result<usize, Problem> {
        let request = Request::Count {
            set: Set::In,
            pages,
            seed,
            is_shown,
        };
        self.ask(request).map(|count| count as usize)
    }

    /// Unmaps everything and sends the domU off.
    pub(super) fn disconnect(self) -> Result<(), Problem> {
        for mapping in self.out.into_iter().chain(self.r#in) {
            unmap(mapping)?;
        }
        self.ask(Request::End)?;
        match grant::unmap(self.mailbox_mapping) {
            Ok(()) => Ok(()),
            Err(status) => fail!("unmapping the mailbox gives {status}"),
        }
    }
}

fn map_set(mailbox: &Mailbox, set: Set) -> Result<[Mapping; PAGES], Problem> {
    let map = |index| {
        let place = place(1 + set as usize * PAGES + index);
        map_page(mailbox, set, index, place)
    };
    Ok([map(0)?, map(1)?, map(2)?, map(3)?])
}

/// Maps a page, and notes where it is in the machine, as whoever maps grants does in Linux.
fn map_page(mailbox: &Mailbox, set: Set, index: usize, address: u64) -> Result<Mapping, Problem> {
    let (reference, _) = mailbox.page(set, index);
    let access = match set {
        Set::Out => Access::ReadOnly,
        Set::In => Access::ReadWrite,
    };
    let mapping = match grant::map(DOMU, reference, address, access) {
        Ok(mapping) => mapping,
        Err(status) => fail!("mapping grant {reference} of domain {DOMU} gives {status}"),
    };
    match environment::note_foreign(address >> 12, mapping.machine >> 12) {
        Ok(()) => Ok(mapping),
        Err(error) => fail!("noting where {address:#x} is in the machine: {error}"),
    }
}

/// Undoes that.
pub(super) fn unmap(mapping: Mapping) -> Result<(), Problem> {
    environment::forget_foreign(mapping.address >> 12);
    match grant::unmap(mapping) {
        Ok(()) => Ok(()),
        Err(status) => fail!("unmapping {:#x} gives {status}", mapping.address),
    }
}
