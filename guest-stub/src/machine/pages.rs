// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of the domain's memory that are not part of the image: for coherent memory, bounce buffers, and to give up.

use spin::Mutex;

use super::{cache, dt, mmu};

const PAGE: u64 = 4096;
/// Pages there are.
const PAGES: usize = 1024;
/// Where the pool may start: kernels are placed so, and a large block has no table to share with others.
const ALIGN: u64 = 2 << 20;

static POOL: Mutex<Pool> = Mutex::new(Pool {
    base: 0,
    used: [false; PAGES],
});

struct Pool {
    /// 0: not chosen yet.
    base: u64,
    used: [bool; PAGES],
}

impl Pool {
    /// Chooses memory that neither the image nor the device tree lies in.
    fn choose(&mut self) {
        let size = PAGES as u64 * PAGE;
        let facts = dt::facts();
        let image = crate::image_start()..crate::image_end();
        let tree = facts.tree.base..facts.tree.end();
        let is_free = |base: &u64| {
            [&image, &tree]
                .iter()
                .all(|taken| taken.end <= *base || base + size <= taken.start)
        };
        let base = facts
            .memory
            .iter()
            .flat_map(|region| {
                let last = region.end().saturating_sub(size);
                (region.base.next_multiple_of(ALIGN)..=last).step_by(ALIGN as usize)
            })
            .find(is_free);
        self.base = base.expect("no memory for pages");
        mmu::map_uncached(self.base);
        mmu::map_uncached(self.base + size - 1);
    }
}

/// `count` contiguous zeroed pages; their address. `None` when there are none.
pub(crate) fn allocate(count: usize) -> Option<u64> {
    let mut pool = POOL.lock();
    if pool.base == 0 {
        pool.choose();
    }
    let first = (0..=PAGES.checked_sub(count)?)
        .find(|first| pool.used[*first..first + count].iter().all(|used| !used))?;
    pool.used[first..first + count].fill(true);
    let address = pool.base + first as u64 * PAGE;
    let size = count * PAGE as usize;
    // SAFETY: the pages are memory of this domain that is mapped and, by the bitmap, nobody's.
    unsafe { core::ptr::write_bytes(address as *mut u8, 0, size) };
    Some(address)
}

/// The address at which pages are seen that are not cached; nothing of them is left in caches.
pub(crate) fn uncached(address: u64, count: usize) -> u64 {
    cache::clean_and_invalidate(address, count as u64 * PAGE);
    address + mmu::UNCACHED_OFFSET
}

/// Takes `count` pages back.
pub(crate) fn free(address: u64, count: usize) {
    let mut pool = POOL.lock();
    let first = (address.wrapping_sub(pool.base) / PAGE) as usize;
    if let Some(used) = pool.used.get_mut(first..first + count) {
        used.fill(false);
    }
}
