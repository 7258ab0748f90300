// SPDX-License-Identifier: MIT OR Apache-2.0
//! A gigabyte of addresses mapped page by page, for pointers that are right up to a byte and wrong from there on.
//!
//! Page 0 is writable and page 1 is not mapped; page 2 is read-only and page 3 is not mapped; page 4 is writable and
//! page 5 read-only.

use core::sync::atomic::{AtomicU64, Ordering};

use super::mmu::{NORMAL_BLOCK, TABLE_OFFSET, set_table};
use crate::xen::page::Page;

/// Page, where [`NORMAL_BLOCK`] is a block.
const PAGE: u64 = NORMAL_BLOCK | 2;
/// AP\[2\]: nobody may write.
const READ_ONLY: u64 = 1 << 7;

#[repr(C, align(4096))]
struct Table([AtomicU64; 512]);

static LEVEL2: Table = Table([const { AtomicU64::new(0) }; 512]);
static LEVEL3: Table = Table([const { AtomicU64::new(0) }; 512]);
static PAGES: [Page; 4] = [const { Page::new() }; 4];

/// Where the window is.
const BASE: u64 = TABLE_OFFSET + (1 << 30);

/// Pages as they lie in the window.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// Writable, and nothing behind it.
    Writable = 0,
    /// Read-only, and nothing behind it.
    ReadOnly = 2,
    /// Writable, and a read-only page behind it.
    BeforeReadOnly = 4,
}

impl Place {
    fn page(self) -> &'static Page {
        match self {
            Self::Writable => &PAGES[0],
            Self::ReadOnly => &PAGES[1],
            Self::BeforeReadOnly => &PAGES[2],
        }
    }

    /// The page's address in the window, once its words are 0.
    pub(crate) fn clear(self) -> u64 {
        self.fill(&[])
    }

    /// The page's address in the window, once it begins with `words` and is 0 otherwise.
    pub(crate) fn fill(self, words: &[u64]) -> u64 {
        open();
        for (index, place) in self.page().0.iter().enumerate() {
            place.store(words.get(index).copied().unwrap_or(0), Ordering::SeqCst);
        }
        BASE + self as u64 * 4096
    }

    /// An address with `words` at it of which `bytes` are in the page.
    pub(crate) fn end(self, words: &[u64], bytes: u64) -> u64 {
        let start = self.clear();
        let first = 512 - (bytes as usize).div_ceil(8).min(512);
        if bytes.is_multiple_of(8) {
            for (place, word) in self.page().0[first..].iter().zip(words) {
                place.store(*word, Ordering::SeqCst);
            }
        }
        start + 4096 - bytes
    }
}

/// Maps the window.
fn open() {
    let level3 = &raw const LEVEL3 as u64;
    LEVEL2.0[0].store(level3 | 3, Ordering::SeqCst);
    for (index, page, rights) in [
        (0, &PAGES[0], 0),
        (2, &PAGES[1], READ_ONLY),
        (4, &PAGES[2], 0),
        (5, &PAGES[3], READ_ONLY),
    ] {
        LEVEL3.0[index].store(page.address() | PAGE | rights, Ordering::SeqCst);
    }
    set_table(BASE, &raw const LEVEL2 as u64);
}
