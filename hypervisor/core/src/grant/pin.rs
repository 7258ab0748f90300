// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grants in use. The first use finds and holds the page, and all go on with that one, whatever
//! the granter writes to its entry meanwhile (XSA-500).

use super::GrantError;
use super::entry::{Claim, SharedEntry};
use crate::addr::{DomId, Gfn, Mfn};
use crate::domain::Domain;
use crate::frame::PageRef;
use crate::p2m::Access;
use core::sync::atomic::Ordering;
use xen_abi::grant::{GTF_READING, GTF_WRITING};

/// Uses of one kind that a grant may have. Xen refuses once bit 7 of its counter is set.
const MAX_USES: u8 = 0x80;

/// How a grant is used at present.
pub(super) struct Active {
    /// Its page while it is.
    page: Option<PageRef>,
    /// By whom: all uses are one domain's.
    by: DomId,
    readers: u8,
    writers: u8,
}

impl Active {
    /// Not at all.
    pub(super) const UNUSED: Self = Self {
        page: None,
        by: DomId(0),
        readers: 0,
        writers: 0,
    };

    pub(super) fn is_used(&self) -> bool {
        self.page.is_some()
    }

    /// Counts one more use; returns the page.
    fn add(
        &mut self,
        owner: &Domain,
        entry: SharedEntry<'_>,
        claim: Claim,
    ) -> Result<Mfn, GrantError> {
        let uses = if claim.write {
            self.writers
        } else {
            self.readers
        };
        if self.is_used() && (self.by != claim.by || uses >= MAX_USES) {
            return Err(GrantError::General);
        }
        let mfn = match &self.page {
            Some(page) => {
                if claim.write && self.writers == 0 {
                    entry.claim(claim)?;
                }
                page.mfn()
            }
            None if owner.is_dying() => return Err(GrantError::BadPage),
            None => {
                let gfn = entry.claim(claim)?;
                let Some(page) = own_page(owner, gfn, claim.write) else {
                    entry.unmark(GTF_READING | GTF_WRITING);
                    return Err(GrantError::BadPage);
                };
                self.by = claim.by;
                owner.grants.in_use.fetch_add(1, Ordering::Relaxed);
                self.page.insert(page).mfn()
            }
        };
        let uses = if claim.write {
            &mut self.writers
        } else {
            &mut self.readers
        };
        *uses = uses.saturating_add(1);
        Ok(mfn)
    }

    /// Counts one use less. Returns the page after the last.
    fn remove(&mut self, entry: SharedEntry<'_>, write: bool) -> Option<PageRef> {
        let uses = if write {
            &mut self.writers
        } else {
            &mut self.readers
        };
        *uses = uses.saturating_sub(1);
        match (self.readers, self.writers) {
            (0, 0) => {
                entry.unmark(GTF_READING | GTF_WRITING);
                self.page.take()
            }
            (_, 0) if write => {
                entry.unmark(GTF_WRITING);
                None
            }
            _ => None,
        }
    }
}

/// The page at `gfn` if it is memory of `domain`'s own, be it by a grant to itself.
pub(super) fn own_page(domain: &Domain, gfn: Gfn, write: bool) -> Option<PageRef> {
    let access = if write { Access::Write } else { Access::Read };
    let (page, _) = domain.p2m.page(gfn, access)?;
    (page.state().owner() == Some(domain.id)).then_some(page)
}

/// One use of a grant, which ends when it is dropped. The page stays until then.
#[must_use]
pub(super) struct Pin<'a> {
    owner: &'a Domain,
    reference: u32,
    write: bool,
    mfn: Mfn,
}

impl<'a> Pin<'a> {
    /// Uses grant `reference` of `owner`.
    ///
    /// # Errors
    /// `BadReference`; `BadPage` if the page is none of the owner's, or the owner dies and the
    /// grant is not in use; `General` if it is not granted, or in use by others or too often.
    pub(super) fn new(owner: &'a Domain, reference: u32, claim: Claim) -> Result<Self, GrantError> {
        let mut table = owner.grants.table.lock();
        let (entry, active) = table.entry(reference).ok_or(GrantError::BadReference)?;
        let mfn = active.add(owner, entry, claim)?;
        Ok(Self {
            owner,
            reference,
            write: claim.write,
            mfn,
        })
    }

    /// The page.
    pub(super) fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// Lets the use go on, until [`unpin`].
    pub(super) fn keep(self) {
        core::mem::forget(self);
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        unpin(self.owner, self.reference, self.write);
    }
}

/// Ends a use that was [kept](Pin::keep).
pub(super) fn unpin(owner: &Domain, reference: u32, write: bool) {
    let mut table = owner.grants.table.lock();
    let page = table
        .entry(reference)
        .and_then(|(entry, active)| active.remove(entry, write));
    drop(table);
    if page.is_some() {
        owner.grants.in_use.fetch_sub(1, Ordering::Relaxed);
    }
    drop(page);
}
