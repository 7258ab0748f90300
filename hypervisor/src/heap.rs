// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypervisor's heap: buddy_system_allocator behind our lock, first in .bss, then grown from
//! the frame allocator.

use buddy_system_allocator::Heap;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use hv_core::addr::{PAGE_SHIFT, PAGE_SIZE, PaRange};
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
        if !grow_for(layout) {
            return ptr::null_mut();
        }
        self.0
            .lock()
            .alloc(layout)
            .map_or(ptr::null_mut(), NonNull::as_ptr)
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

/// Takes memory from the frame allocator for a block of `layout`. False before there is one, or
/// when RAM is short.
#[cold]
fn grow_for(layout: Layout) -> bool {
    let Some(frames) = crate::machine::frames() else {
        return false;
    };
    let needed = layout
        .size()
        .max(layout.align())
        .max(PAGE_SIZE as usize)
        .next_power_of_two();
    let order = |bytes: usize| (bytes >> PAGE_SHIFT).trailing_zeros();
    let chunk = order(needed.max(CHUNK));
    let block = match frames.alloc(chunk, Limits::default()) {
        Ok(mfn) => Some((mfn, chunk)),
        Err(_) => frames.alloc_for_heap(order(needed)),
    };
    let range = block.and_then(|(mfn, order)| PaRange::new(mfn.base(), PAGE_SIZE << order));
    range.inspect(|&range| grow(range)).is_some()
}

/// Adds memory that is mapped and used for nothing else, ever.
fn grow(range: PaRange) {
    // SAFETY: the caller gives the memory away for good.
    unsafe {
        HEAP.0
            .lock()
            .add_to_heap(range.start.0 as usize, range.end.0 as usize)
    };
}

/// Bytes: asked for by users, and in the heap.
pub(crate) fn usage() -> (usize, usize) {
    let heap = HEAP.0.lock();
    (heap.stats_alloc_user(), heap.stats_total_bytes())
}
