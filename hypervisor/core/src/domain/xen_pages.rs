// SPDX-License-Identifier: MIT OR Apache-2.0
//! A page of the hypervisor's that its domain may map: `shared_info`, grant table frames.

use super::Domain;
use crate::addr::{DomId, Gfn, Mfn};
use crate::p2m::P2mType;
use crate::sync::{Lock, rank};
use crate::system::System;
use xen_abi::errno::Errno;

/// Such a page, and where the domain has mapped it: in one place at most.
pub struct XenPage {
    sys: &'static System,
    owner: DomId,
    mfn: Mfn,
    gfn: Lock<Option<Gfn>, { rank::GRANT }>,
}

impl XenPage {
    /// A new page of zeroes.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(sys: &'static System, owner: DomId) -> Result<Self, Errno> {
        let mfn = sys.frames.alloc_shared(owner).map_err(|_| Errno::NoMem)?;
        Ok(Self {
            sys,
            owner,
            mfn,
            gfn: Lock::new(None),
        })
    }

    /// The page.
    pub fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// Where the domain has mapped it.
    pub fn gfn(&self) -> Option<Gfn> {
        *self.gfn.lock()
    }

    /// Maps it at `gfn`, replacing what is there.
    ///
    /// # Errors
    /// `EBUSY` if it is mapped already; what the p2m says.
    pub fn map(&self, domain: &Domain, gfn: Gfn) -> Result<(), Errno> {
        let mut at = self.gfn.lock();
        if at.is_some() {
            return Err(Errno::Busy);
        }
        let replaced = domain.p2m.insert(gfn, self.mfn, 1, P2mType::RamRw)?;
        *at = Some(gfn);
        drop(at);
        if replaced.ram != 0 {
            domain.xen_pages_unmapped(gfn, 1);
        }
        Ok(())
    }

    /// Looks whether it is still mapped, if that was at one of `nr` frames from `gfn`.
    pub fn unmapped(&self, domain: &Domain, gfn: Gfn, nr: u64) {
        let mut at = self.gfn.lock();
        let Some(was) = at.filter(|at| at.0.wrapping_sub(gfn.0) < nr) else {
            return;
        };
        if domain.p2m.lookup(was).is_none_or(|m| m.mfn != self.mfn) {
            *at = None;
        }
    }
}

impl Drop for XenPage {
    fn drop(&mut self) {
        self.sys.frames.release_shared(self.mfn, self.owner);
    }
}
