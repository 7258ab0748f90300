// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's grant table: its frames, grown as the domain asks (public/grant_table.h, version 1).

use super::Domain;
use super::xen_pages::XenPage;
use crate::addr::{DomId, Gfn};
use crate::sync::{Lock, rank};
use crate::system::System;
use alloc::sync::Arc;
use alloc::vec::Vec;
use xen_abi::errno::Errno;

/// The table.
pub struct GrantTable {
    sys: &'static System,
    owner: DomId,
    max_frames: u32,
    frames: Lock<Vec<Arc<XenPage>>, { rank::DOMAIN }>,
}

impl GrantTable {
    /// A table of no frames yet, of `max_frames` at most.
    pub fn new(sys: &'static System, owner: DomId, max_frames: u32) -> Self {
        Self { sys, owner, max_frames, frames: Lock::new(Vec::new()) }
    }

    /// Frames there are (at least one is promised), and how many there can be.
    pub fn size(&self) -> (u32, u32) {
        let frames = self.frames.lock().len() as u32;
        (frames.max(1), self.max_frames)
    }

    /// Frame `index`; the table grows to have it.
    ///
    /// # Errors
    /// `EINVAL` beyond the limit, `ENOMEM`.
    pub fn frame(&self, index: u32) -> Result<Arc<XenPage>, Errno> {
        if index >= self.max_frames {
            return Err(Errno::Inval);
        }
        let mut frames = self.frames.lock();
        while frames.len() <= index as usize {
            frames.try_reserve(1).map_err(|_| Errno::NoMem)?;
            frames.push(Arc::new(XenPage::new(self.sys, self.owner)?));
        }
        frames.get(index as usize).cloned().ok_or(Errno::Inval)
    }

    /// Maps frame `index` at `gfn`.
    ///
    /// # Errors
    /// As [`GrantTable::frame`] and [`XenPage::map`].
    pub fn map(&self, domain: &Domain, index: u32, gfn: Gfn) -> Result<(), Errno> {
        self.frame(index)?.map(domain, gfn)
    }

    /// [`XenPage::unmapped`] for all frames.
    pub fn unmapped(&self, domain: &Domain, gfn: Gfn, nr: u64) {
        for frame in self.frames.lock().iter() {
            frame.unmapped(domain, gfn, nr);
        }
    }
}
