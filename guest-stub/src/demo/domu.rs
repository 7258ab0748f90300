// SPDX-License-Identifier: MIT OR Apache-2.0
//! The domU's part: it grants pages, fills them, and says what it finds in them.

use super::mailbox::{DOM0, Mailbox, PAGES, PATIENCE, REFERENCE, Request, SETS, Set};
use super::{Problem, fail, pattern, wait};
use crate::console::println;
use crate::drivers::BLOCK;
use crate::xen::grant::{self, Access};
use crate::xen::page::Page;
use crate::xen::{event, version};

static MAILBOX: Mailbox = Mailbox::new();
static PAGES_OF_SETS: [Page; 2 * PAGES] = [const { Page::new() }; 2 * PAGES];

/// Page `index` of a set. The sets alternate and run downwards: no two pages of one are neighbours in memory.
fn page(set: Set, index: usize) -> &'static Page {
    &PAGES_OF_SETS[2 * (PAGES - 1 - index) + set as usize]
}

/// Reference of page `index` of a set.
fn reference(set: Set, index: usize) -> u32 {
    REFERENCE + 1 + (set as usize * PAGES + index) as u32
}

pub(super) fn run() -> Result<(), Problem> {
    if version::has_feature(xen_abi::version::XENFEAT_DIRECT_MAPPED) {
        println!("domU: I am direct-mapped: the demonstration will show little");
    }
    let (table, shared) = (grant::map_table(), wait::start());
    if table != 0 || shared != 0 {
        fail!("domU: mapping the grant table gives {table}, the shared page {shared}");
    }
    let port = match event::alloc_unbound_for(DOM0) {
        Ok(port) => port,
        Err(error) => fail!("domU: no event channel: {error}"),
    };
    grant_all();
    MAILBOX.open(port);
    let mailbox = &raw const MAILBOX as u64 >> 12;
    grant::grant_access(REFERENCE, DOM0, mailbox, Access::ReadWrite);
    println!(
        "domU: I grant {} pages to dom0, and one to talk through",
        2 * PAGES
    );
    serve(port)
}

fn grant_all() {
    for set in SETS {
        let access = match set {
            Set::Out => Access::ReadOnly,
            Set::In => Access::ReadWrite,
        };
        for index in 0..PAGES {
            let (reference, frame) = (reference(set, index), page(set, index).frame());
            grant::grant_access(reference, DOM0, frame, access);
            MAILBOX.name(set, index, reference, frame);
        }
    }
}

/// Does what dom0 asks for until that is to end.
fn serve(port: u32) -> Result<(), Problem> {
    loop {
        if !wait::until(PATIENCE, || MAILBOX.request().is_some()) {
            fail!("domU: dom0 asks for nothing");
        }
        let Some(request) = MAILBOX.request() else {
            continue;
        };
        let answer = match request {
            Request::Fill(set, seed) => fill(set, seed),
            Request::Count {
                set,
                pages,
                seed,
                is_shown,
            } => {
                let found = count(set, pages, seed);
                if is_shown {
                    show(found, pages * BLOCK, seed);
                }
                found
            }
            Request::End => {
                let outcome = end();
                MAILBOX.reply(0);
                event::send(port);
                return outcome;
            }
        };
        MAILBOX.reply(answer as u64);
        event::send(port);
    }
}

fn fill(set: Set, seed: u64) -> usize {
    for index in 0..PAGES {
        pattern::fill(page(set, index).address(), seed, index);
    }
    PAGES * BLOCK
}

fn count(set: Set, pages: usize, seed: u64) -> usize {
    (0..pages)
        .map(|index| pattern::matching(page(set, index).address(), seed, index))
        .sum()
}

fn show(found: usize, size: usize, seed: u64) {
    match seed {
        pattern::OLD => println!("domU:   I find {found} of {size} bytes unchanged"),
        _ => println!("domU:   I find {found} of {size} bytes right"),
    }
}

/// Takes all grants back: dom0 has unmapped what it had mapped, but for the mailbox.
fn end() -> Result<(), Problem> {
    let all = SETS
        .iter()
        .flat_map(|set| (0..PAGES).map(|index| reference(*set, index)));
    for reference in all {
        if !grant::end_access(reference) {
            fail!("domU: grant {reference} is still in use");
        }
    }
    println!("domU: My pages are mine alone again");
    Ok(())
}
