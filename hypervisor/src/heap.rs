// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypervisor's heap: buddy_system_allocator behind our lock, first in .bss, then grown from
//! the frame allocator.

use buddy_system_allocator::Heap;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use hv_core::addr::{Mfn, PAGE_SHIFT, PAGE_SIZE};
use hv_core::frame::Limits;
use hv_core::sync::{Lock, rank};

/// Largest block: 2^(ORDER-1) bytes.
const ORDER: usize = 25;
/// What boot has before the frame allocator is there.
const BOOT_HEAP: usize = 1 << 20;
/// What it grows by, if RAM is not short.
const CHUNK: usize = 1 << 20;
/// Pages that no domain gets, so that it can always grow: 8 MiB.
pub(crate) const RESERVE: u64 = 2048;

struct LockedHeap(Lock<Heap<ORDER>, { rank::HEAP }>);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(Lock::new(Heap::empty()));

#[repr(C, align(4096))]
struct BootHeap([u8; BOOT_HEAP]);

static mut BOOT: BootHeap = BootHeap([0; BOOT_HEAP]);

// SAFETY: `Heap` hands out blocks of its own that fit the layout and do not overlap.
unsafe impl GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Ok(block) = self.0.lock().alloc(layout) {
            return block.as_ptr();
        }
        let bytes = (layout.size().max(layout.align()))
            .max(PAGE_SIZE as usize)
            .next_power_of_two();
        grow_for(bytes);
        let mut heap = self.0.lock();
        // Looked at and added to under one lock, so that nobody finds neither the block nor its memory.
        let block = heap.alloc(layout).or_else(|error| {
            let spare = crate::machine::frames().and_then(|frames| frames.take_spare(order(bytes)));
            let (mfn, spare_order) = spare.ok_or(error)?;
            let start = mfn.base().0 as usize;
            // SAFETY: it is mapped, and given to the heap for good.
            unsafe { heap.add_to_heap(start, start + ((PAGE_SIZE as usize) << spare_order)) };
            heap.alloc(layout)
        });
        block.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(ptr) {
            // SAFETY: the caller got the block from `alloc` with this layout.
            unsafe { self.0.lock().dealloc(block, layout) };
        }
    }
}

/// Gives the heap its first memory. Once, on the boot CPU.
pub(crate) fn init() {
    let start = (&raw mut BOOT).expose_provenance();
    // SAFETY: nobody else uses BOOT.
    unsafe { HEAP.0.lock().add_to_heap(start, start + BOOT_HEAP) };
}

/// Takes memory from the frame allocator for a block of `needed` bytes, if there is one and RAM is not short.
#[cold]
fn grow_for(needed: usize) {
    let Some(frames) = crate::machine::frames() else {
        return;
    };
    for bytes in [needed.max(CHUNK), needed] {
        if let Ok(mfn) = frames.alloc(order(bytes), Limits::default()) {
            return grow(mfn, bytes);
        }
    }
}

/// log2 of the pages in a block of `bytes`, a power of two.
fn order(bytes: usize) -> u32 {
    (bytes >> PAGE_SHIFT).trailing_zeros()
}

/// Adds memory that is mapped and used for nothing else, ever.
fn grow(mfn: Mfn, bytes: usize) {
    let start = mfn.base().0 as usize;
    // SAFETY: the caller gives the memory away for good.
    unsafe { HEAP.0.lock().add_to_heap(start, start + bytes) };
}

/// Bytes: asked for by users, and in the heap.
pub(crate) fn usage() -> (usize, usize) {
    let heap = HEAP.0.lock();
    (heap.stats_alloc_user(), heap.stats_total_bytes())
}
