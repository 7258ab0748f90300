// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grants: pages that a domain lets another one map or copy (public/grant_table.h, version 1).
//!
//! Two sides, each with its own lock, never held both:
//!
//! - The granter's [table](GrantTable): what it shares with the guest, an entry a grant, and
//!   beside each what the hypervisor knows of its use ([`pin`]). A grant in use is *pinned*: its
//!   page is held, and the entry says so to the granter.
//! - The mapper's [`maptrack`]: what it has mapped, by handle and by page.
//!
//! A page is let go in this order: its p2m entry goes, the TLBs forget it, then the references
//! drop and the granter's entry is marked unused ([`map::finish`]).

#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

pub mod copy;
mod entry;
pub mod map;
mod maptrack;
mod pin;
mod table;

pub use maptrack::{MAPTRACK_PER_FRAME, Mapping};
pub use table::GrantTable;

use xen_abi::grant::{
    GNTST_BAD_COPY_ARG, GNTST_BAD_DOMAIN, GNTST_BAD_GNTREF, GNTST_BAD_HANDLE, GNTST_BAD_PAGE,
    GNTST_EAGAIN, GNTST_GENERAL_ERROR, GNTST_NO_SPACE, GNTST_PERMISSION_DENIED,
};

/// Why an operation on a grant failed: the `GNTST_*` of that name. As wide as a register: where it
/// is a byte, what may be in its place of a `Result` is moved byte by byte, by calls of `memcpy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum GrantError {
    /// Anything without a name.
    General,
    /// No such domain.
    BadDomain,
    /// No such reference.
    BadReference,
    /// No such mapping.
    BadHandle,
    /// The two domains may not talk, or a frame is not the caller's.
    Denied,
    /// The frame is not the granter's RAM.
    BadPage,
    /// A copy leaves its page.
    BadCopy,
    /// In use; try again.
    Again,
    /// No handle is free.
    NoSpace,
}

impl From<GrantError> for i16 {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::General => GNTST_GENERAL_ERROR,
            GrantError::BadDomain => GNTST_BAD_DOMAIN,
            GrantError::BadReference => GNTST_BAD_GNTREF,
            GrantError::BadHandle => GNTST_BAD_HANDLE,
            GrantError::Denied => GNTST_PERMISSION_DENIED,
            GrantError::BadPage => GNTST_BAD_PAGE,
            GrantError::BadCopy => GNTST_BAD_COPY_ARG,
            GrantError::Again => GNTST_EAGAIN,
            GrantError::NoSpace => GNTST_NO_SPACE,
        }
    }
}
