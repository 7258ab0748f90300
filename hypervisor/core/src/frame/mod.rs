// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical memory: who owns each page, how many hold it, and which are free.
//!
//! Every page of every RAM bank has a 16-byte entry in the frame table, which [`Frames::new`]
//! carves out of the RAM it describes. Free pages are kept by a buddy allocator threaded through
//! that table (`buddy_system_allocator`'s frame allocator would need heap to free a page and
//! takes a page freed twice without a word).
//!
//! A page in use is the hypervisor's ([`Kind::Xen`]) or a domain's ([`Kind::Ram`],
//! [`Kind::XenShared`]). The latter are counted: their domain's allocation holds one reference
//! and every [`PageRef`] another; the last to go frees the page, whatever became of the domain.
//!
//! Ordering: an entry's kind, owner and count share one atomic word, so that a check and the
//! change it allows are one compare-and-swap. Giving a page an owner is a release, taking a
//! reference an acquire: who has a reference sees the page as its owner was given it. Dropping
//! one is a release and acquire, so that all uses of a page come before its being free. From
//! free to the next owner it goes through the lock of the free lists.

#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod buddy;
mod frames;
mod page;
mod page_ref;
mod promise;
mod setup;
mod spare;
#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
mod tests;

pub use buddy::MAX_ORDER;
pub use frames::{FrameError, Frames, Limits, Relinquished};
pub use page::{Kind, PageState};
pub(crate) use page_ref::PageList;
pub use page_ref::PageRef;
