// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages of a domain's tables: reserved before they are needed, kept until the TLBs have
//! forgotten them.

use super::types::P2mError;
use crate::addr::{Mfn, Pa};
use crate::frame::{Frames, Limits, PageList};
use crate::hw::DirectMap;
use crate::sync::{Lock, rank};
use aarch64_paging::descriptor::{PhysicalAddress, Stage2Attributes};
use aarch64_paging::paging::{PageTable, Translation};
use alloc::sync::Arc;
use core::ptr::NonNull;

/// How many pages a domain's tables may take, the root not counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolLimit {
    /// As many as there are: the initial domain.
    Unlimited,
    /// This many.
    Pages(u64),
}

/// The lock of a pool, taken with the P2M's held.
pub(super) type SharedPool = Arc<Lock<Pool, { rank::P2M + 1 }>>;

pub(super) struct Pool {
    frames: &'static Frames,
    limit: PoolLimit,
    /// Zeroed, for tables to come.
    ready: PageList,
    /// Were tables, and may be in walk caches still.
    retired: PageList,
    /// Pages taken from the frame allocator, those in the lists included.
    used: u64,
}

impl Pool {
    pub(super) fn shared(
        frames: &'static Frames,
        limit: PoolLimit,
    ) -> Result<SharedPool, P2mError> {
        let mut pool = Self {
            frames,
            limit: PoolLimit::Pages(0),
            ready: PageList::EMPTY,
            retired: PageList::EMPTY,
            used: 0,
        };
        pool.set_limit(limit)?;
        Ok(Arc::new(Lock::new(pool)))
    }

    /// Sets aside what the tables may yet take, or gives back what they no longer may.
    pub(super) fn set_limit(&mut self, limit: PoolLimit) -> Result<(), P2mError> {
        let wanted = match limit {
            PoolLimit::Unlimited => 0,
            PoolLimit::Pages(pages) => pages.checked_sub(self.used).ok_or(P2mError::NoMemory)?,
        };
        let aside = self.aside();
        let more = self.frames.set_aside(wanted.saturating_sub(aside));
        more.map_err(|_| P2mError::NoMemory)?;
        self.frames.unset_aside(aside.saturating_sub(wanted));
        self.limit = limit;
        Ok(())
    }

    /// Its pages will not be used again.
    pub(super) fn close(&mut self) {
        self.frames.unset_aside(self.aside());
        self.limit = PoolLimit::Pages(self.used);
    }

    /// Pages that are set aside for it.
    fn aside(&self) -> u64 {
        match self.limit {
            PoolLimit::Unlimited => 0,
            PoolLimit::Pages(pages) => pages.saturating_sub(self.used),
        }
    }

    pub(super) fn usage(&self) -> (PoolLimit, u64) {
        (self.limit, self.used)
    }

    /// Sees to it that the next `nr` tables are there.
    pub(super) fn reserve(&mut self, nr: u64) -> Result<(), P2mError> {
        let missing = nr.saturating_sub(self.ready.len());
        let room = match self.limit {
            PoolLimit::Unlimited => self.frames.free_pages(),
            PoolLimit::Pages(_) => self.aside(),
        };
        if missing > room {
            return Err(P2mError::NoMemory);
        }
        for _ in 0..missing {
            let page = match self.limit {
                PoolLimit::Unlimited => self.frames.alloc(0, Limits::default()),
                PoolLimit::Pages(_) => self.frames.alloc_aside(),
            };
            let Ok(mfn) = page else {
                self.trim();
                return Err(P2mError::NoMemory);
            };
            self.used = self.used.saturating_add(1);
            self.ready.push(self.frames, mfn);
        }
        Ok(())
    }

    /// Adds a zeroed page that does not count, to be the very next table: a root.
    pub(super) fn add_root(&mut self, mfn: Mfn) {
        self.ready.push(self.frames, mfn);
    }

    /// Gives back what was reserved and not needed.
    pub(super) fn trim(&mut self) {
        while let Some(mfn) = self.ready.pop(self.frames) {
            self.give(mfn);
        }
    }

    /// Gives back what no longer is a table; all TLBs have been flushed.
    pub(super) fn release_retired(&mut self) {
        while let Some(mfn) = self.retired.pop(self.frames) {
            self.give(mfn);
        }
    }

    fn give(&mut self, mfn: Mfn) {
        // It was allocated as a page of the hypervisor, so this cannot fail (and would log).
        let _ = match (self.limit, self.used) {
            (PoolLimit::Unlimited, _) | (_, 0) => self.frames.free(mfn, 0),
            (PoolLimit::Pages(_), _) => self.frames.free_aside(mfn),
        };
        // A root does not count.
        self.used = self.used.saturating_sub(1);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

/// The pool as the paging crate wants it.
pub(super) struct Tables {
    pool: SharedPool,
    map: DirectMap,
}

impl Tables {
    pub(super) fn new(pool: SharedPool, map: DirectMap) -> Self {
        Self { pool, map }
    }

    /// Where the tables are visible.
    pub(super) fn map(&self) -> DirectMap {
        self.map
    }
}

impl Translation<Stage2Attributes> for Tables {
    fn allocate_table(&mut self) -> (NonNull<PageTable<Stage2Attributes>>, PhysicalAddress) {
        let mut pool = self.pool.lock();
        let frames = pool.frames;
        #[allow(
            clippy::unreachable,
            reason = "no way to fail; whoever maps has reserved"
        )]
        let Some(mfn) = pool.ready.pop(frames) else {
            unreachable!("a stage-2 table that was not reserved");
        };
        let pa = PhysicalAddress(mfn.base().0 as usize);
        (self.physical_to_virtual(pa), pa)
    }

    unsafe fn deallocate_table(&mut self, page_table: NonNull<PageTable<Stage2Attributes>>) {
        let mut pool = self.pool.lock();
        let frames = pool.frames;
        let mfn = self.map.pa(page_table.as_ptr().cast()).frame();
        pool.retired.push(frames, mfn);
    }

    fn physical_to_virtual(&self, pa: PhysicalAddress) -> NonNull<PageTable<Stage2Attributes>> {
        #[allow(
            clippy::unreachable,
            reason = "no way to fail; RAM is not at address 0"
        )]
        let Some(table) = NonNull::new(self.map.ptr(Pa(pa.0 as u64)).cast()) else {
            unreachable!("a stage-2 table at address 0");
        };
        table
    }
}
