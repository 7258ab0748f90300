// SPDX-License-Identifier: MIT OR Apache-2.0
//! An entry of the table that the granter shares (`struct grant_entry_v1`), as one 64-bit word:
//! flags in bits 0-15, domain in 16-31, frame in 32-63. The guest may write it at any time, so
//! it is read once and changed by exchanges of the whole word, boundedly many.

use super::GrantError;
use crate::addr::{DomId, Gfn};
use crate::guest::shared::GuestAtomic;
use core::sync::atomic::AtomicU64;
use xen_abi::grant::{
    GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_SUB_PAGE, GTF_TYPE_MASK, GTF_WRITING,
};

const DOMAIN_SHIFT: u32 = 16;
const FRAME_SHIFT: u32 = 32;

/// What somebody wants of a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    /// Who.
    pub(super) by: DomId,
    /// To write, too.
    pub(super) write: bool,
    /// To map it rather than copy.
    pub(super) map: bool,
}

impl Claim {
    /// True if the entry `word` grants that.
    fn is_granted(self, word: u64) -> bool {
        let flags = word as u16;
        let mask = match self.map {
            true => GTF_TYPE_MASK | GTF_SUB_PAGE,
            false => GTF_TYPE_MASK,
        };
        flags & mask == GTF_PERMIT_ACCESS
            && (word >> DOMAIN_SHIFT) as u16 == self.by.0
            && !(self.write && flags & GTF_READONLY != 0)
    }

    /// How the entry tells the granter.
    fn marks(self) -> u16 {
        match self.write {
            true => GTF_READING | GTF_WRITING,
            false => GTF_READING,
        }
    }
}

/// The shared entry.
#[derive(Clone, Copy)]
pub(super) struct SharedEntry<'a>(pub(super) &'a AtomicU64);

impl SharedEntry<'_> {
    /// Marks the entry as used by `claim`, if it grants that. Returns the frame it is about.
    ///
    /// # Errors
    /// `General` if it does not, or does not stay the same for long enough.
    pub(super) fn claim(self, claim: Claim) -> Result<Gfn, GrantError> {
        let marks = u64::from(claim.marks());
        let marked = |word| claim.is_granted(word).then_some(word | marks);
        let word = self.0.change(marked).map_err(|_| GrantError::General)?;
        if !claim.is_granted(word) {
            return Err(GrantError::General);
        }
        Ok(Gfn(word >> FRAME_SHIFT))
    }

    /// Takes `marks` back. A granter that prevents it by writing the entry over and over only
    /// deceives itself.
    pub(super) fn unmark(self, marks: u16) {
        let marks = u64::from(marks);
        let _ = self
            .0
            .change(|word| (word & marks != 0).then_some(word & !marks));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering;

    const READ: Claim = Claim {
        by: DomId(3),
        write: false,
        map: true,
    };
    const WRITE: Claim = Claim {
        write: true,
        ..READ
    };
    const COPY: Claim = Claim { map: false, ..READ };

    fn word(flags: u16) -> AtomicU64 {
        AtomicU64::new(0x1234_0003_0000 | u64::from(flags) | 0x8765_0000_0000_0000)
    }

    #[test]
    fn marks_come_and_go() {
        let entry = word(GTF_PERMIT_ACCESS);
        assert_eq!(SharedEntry(&entry).claim(WRITE), Ok(Gfn(0x8765_1234)));
        let flags = entry.load(Ordering::Relaxed) as u16;
        assert_eq!(flags, GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING);
        SharedEntry(&entry).unmark(GTF_WRITING);
        assert_eq!(
            entry.load(Ordering::Relaxed) as u16,
            GTF_PERMIT_ACCESS | GTF_READING
        );
    }

    #[test]
    fn only_what_is_granted() {
        for (flags, claim, fine) in [
            (0, READ, false),
            (2, READ, false),
            (3, READ, false),
            (GTF_PERMIT_ACCESS | GTF_READONLY, READ, true),
            (GTF_PERMIT_ACCESS | GTF_READONLY, WRITE, false),
            (GTF_PERMIT_ACCESS | GTF_SUB_PAGE, READ, false),
            (GTF_PERMIT_ACCESS | GTF_SUB_PAGE, COPY, true),
            (
                GTF_PERMIT_ACCESS,
                Claim {
                    by: DomId(4),
                    ..READ
                },
                false,
            ),
        ] {
            let entry = word(flags);
            let got = SharedEntry(&entry).claim(claim);
            assert_eq!(got.is_ok(), fine, "{flags:#x} {claim:?}");
            assert_eq!(
                fine,
                entry.load(Ordering::Relaxed) as u16 & GTF_READING != 0
            );
        }
    }
}
