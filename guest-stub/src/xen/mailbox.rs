// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the suite in dom0 and its peers in other domains agree on: a page that the peer grants to dom0 by entry
//! [`REFERENCE`] of its grant table, words of 64 bits each.

/// The entry that grants the page.
pub(crate) const REFERENCE: u32 = 8;
/// Holds [`MAGIC`] once the page is filled in.
pub(crate) const MAGIC_WORD: usize = 0;
/// `XLPEER`, version 1.
pub(crate) const MAGIC: u64 = 0x0152_4545_504c_5800;
/// The peer's event port that dom0 may bind to.
pub(crate) const PORT_WORD: usize = 1;
/// Number of the command, counted by dom0.
pub(crate) const ASKED_WORD: usize = 2;
/// Number of the latest command that was carried out.
pub(crate) const DONE_WORD: usize = 3;
/// What to do: [`Command`].
pub(crate) const COMMAND_WORD: usize = 4;
/// Its arguments.
pub(crate) const ARGUMENT_WORDS: core::ops::Range<usize> = 5..12;
/// Its result.
pub(crate) const RESULT_WORD: usize = 12;
/// 1: an access aborted.
pub(crate) const ABORTED_WORD: usize = 13;
/// Memory for structures of hypercalls, to the end of the page.
pub(crate) const SCRATCH_WORD: usize = 64;

/// What dom0 may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Command {
    /// Make a hypercall: number, x0-x4, and a bit for each of these that is an offset into the scratch memory.
    Hypercall = 1,
    /// Grant one of the pages set aside: reference, flags, domain, page. The result is the frame.
    Grant = 2,
    /// Take a grant back, unless it is in use: reference. The result is its bits of use.
    Revoke = 3,
    /// The flags of an entry: reference.
    Flags = 4,
    /// Address of one of the pages, or beyond them of a place where pages of others may be mapped: page.
    Address = 5,
    /// Read a word: address.
    Read = 6,
    /// Write a word: address, value.
    Write = 7,
    /// Whether a port is pending, which it no longer is: port.
    Pending = 8,
}

impl Command {
    /// The command of this number.
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        [
            Self::Hypercall,
            Self::Grant,
            Self::Revoke,
            Self::Flags,
            Self::Address,
            Self::Read,
            Self::Write,
            Self::Pending,
        ]
        .into_iter()
        .find(|command| *command as u64 == number)
    }
}
