// SPDX-License-Identifier: MIT OR Apache-2.0
//! Translation: flat, 39 bits, 1 GiB blocks, or 2 MiB ones where devices and memory share a gigabyte. Virtual and
//! intermediate physical addresses are the same, so a hypercall buffer is translated as any kernel's is, and what is
//! not mapped here is known not to have reached the hypervisor. Memory for devices that are not coherent is seen at a
//! second address, not cached.

use core::sync::atomic::{AtomicU64, Ordering};

use super::barrier;

/// Attribute 0 Device-nGnRE, 1 Normal write-back, 2 Normal non-cacheable.
pub(crate) const MAIR: u64 = 0x44 << 16 | 0xff << 8 | 0x04;
/// T0SZ 25, walks write-back inner shareable, no TTBR1; head.S adds IPS.
pub(crate) const TCR: u64 = 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | 25;
/// M, C, I and the bits that are one in Armv8.0.
pub(crate) const SCTLR: u64 = 0x30d0_1805;
/// Block, accessed, inner shareable, attribute 1.
pub(crate) const NORMAL_BLOCK: u64 = 1 << 10 | 3 << 8 | 1 << 2 | 1;
/// Block, accessed, never executable, attribute 0.
const DEVICE_BLOCK: u64 = 1 << 54 | 1 << 53 | 1 << 10 | 1;

const GIB: u64 = 1 << 30;
const BLOCK: u64 = 2 << 20;

unsafe extern "C" {
    #[link_name = "_translation_table"]
    static TABLE: [AtomicU64; 512];
}

/// What lies in a gigabyte.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Memory,
    Device,
}

/// Block of memory or of device registers, of either size.
fn block(kind: Kind) -> u64 {
    match kind {
        Kind::Memory => NORMAL_BLOCK,
        Kind::Device => DEVICE_BLOCK,
    }
}

/// A table of 2 MiB blocks.
#[repr(C, align(4096))]
struct Level2([AtomicU64; 512]);

/// Gigabytes that may be split.
static SPLIT: [Level2; 2] = [const { Level2([const { AtomicU64::new(0) }; 512]) }; 2];

/// Maps the gigabytes that `size` bytes at `base` lie in; those mapped before stay as they are, but memory in a
/// gigabyte of devices gets the 2 MiB blocks it lies in.
pub(crate) fn map(base: u64, size: u64, kind: Kind) {
    let last = base.saturating_add(size.saturating_sub(1));
    // SAFETY: link.ld sets the page aside for this table; its entries are atomics.
    let table = unsafe { &TABLE };
    for (index, entry) in (0_u64..).zip(table) {
        if index < base / GIB || index > last / GIB {
            continue;
        }
        match (entry.load(Ordering::Relaxed), kind) {
            (0, _) => entry.store((index * GIB) | block(kind), Ordering::Relaxed),
            (old, Kind::Memory) if old == (index * GIB) | DEVICE_BLOCK => split(index),
            _ => {}
        }
        map_in_split(index, base, last, kind);
    }
    barrier::dsb();
    barrier::isb();
}

/// Makes gigabyte `index`, of devices, a table. Nobody uses its devices meanwhile.
fn split(index: u64) {
    let unused = |level2: &&Level2| level2.0[0].load(Ordering::Relaxed) == 0;
    let level2 = SPLIT.iter().find(unused).expect("no table is left");
    for (block, entry) in (0_u64..).zip(&level2.0) {
        entry.store(
            (index * GIB + block * BLOCK) | DEVICE_BLOCK,
            Ordering::Relaxed,
        );
    }
    set_entry(index * GIB, 0);
    set_entry(index * GIB, &raw const *level2 as u64 | NEXT_TABLE);
}

/// Gives the blocks of `base..=last` that lie in gigabyte `index` their kind, if it was split.
fn map_in_split(index: u64, base: u64, last: u64, kind: Kind) {
    let first_of = |level2: &&Level2| level2.0[0].load(Ordering::Relaxed) & !(GIB - 1);
    let is_split = |level2: &&Level2| {
        level2.0[0].load(Ordering::Relaxed) != 0 && first_of(level2) == index * GIB
    };
    let Some(level2) = SPLIT.iter().find(is_split) else {
        return;
    };
    for (block_index, entry) in (0_u64..).zip(&level2.0) {
        let start = index * GIB + block_index * BLOCK;
        if start + BLOCK > base && start <= last {
            entry.store(start | block(kind), Ordering::Relaxed);
        }
    }
    set_entry(index * GIB, &raw const *level2 as u64 | NEXT_TABLE);
}

/// Offset at which [`map_for_el0`] shows memory to EL0.
pub(crate) const EL0_OFFSET: u64 = 256 * GIB;
/// AP\[1\]: EL0 may read and write; PXN: EL1 may not execute.
const EL0_BLOCK: u64 = 1 << 53 | 1 << 6 | NORMAL_BLOCK;

/// Maps the gigabyte of `address` for EL0, at [`EL0_OFFSET`] from where it is.
pub(crate) fn map_for_el0(address: u64) {
    // SAFETY: link.ld sets the page aside for this table; its entries are atomics.
    let table = unsafe { &TABLE };
    let gib = address / GIB;
    if let Some(entry) = table.get((gib + EL0_OFFSET / GIB) as usize) {
        entry.store((gib * GIB) | EL0_BLOCK, Ordering::Relaxed);
    }
    barrier::dsb();
    barrier::isb();
}

/// Offset at which [`map_uncached`] shows memory.
pub(crate) const UNCACHED_OFFSET: u64 = 384 * GIB;
/// Block, accessed, never executable, attribute 2.
const UNCACHED_BLOCK: u64 = 1 << 54 | 1 << 53 | 1 << 10 | 2 << 2 | 1;

/// Maps the gigabyte of `address` once more, not cached, at [`UNCACHED_OFFSET`] from where it is. Whoever uses a page
/// there cleans and invalidates it first and leaves its other address alone.
pub(crate) fn map_uncached(address: u64) {
    let gib = address / GIB;
    assert!(
        gib < 512 - UNCACHED_OFFSET / GIB,
        "memory is too high for its second address"
    );
    set_entry(UNCACHED_OFFSET + gib * GIB, (gib * GIB) | UNCACHED_BLOCK);
}

/// Where [`with_table`] has its gigabyte.
pub(crate) const TABLE_OFFSET: u64 = 200 * GIB;
/// Table descriptor.
const NEXT_TABLE: u64 = 3;

/// Runs `body` while the gigabyte at [`TABLE_OFFSET`] is translated by what lies at `table`.
pub(crate) fn with_table<R>(table: u64, body: impl FnOnce() -> R) -> R {
    set_entry(TABLE_OFFSET, table | NEXT_TABLE);
    let result = body();
    set_entry(TABLE_OFFSET, 0);
    result
}

/// Has the gigabyte at `address` translated by the table at `table` from then on.
pub(super) fn set_table(address: u64, table: u64) {
    set_entry(address, table | NEXT_TABLE);
}

/// Changes the entry of a gigabyte that nobody else uses.
fn set_entry(address: u64, entry: u64) {
    // SAFETY: link.ld sets the page aside for this table; its entries are atomics.
    let table = unsafe { &TABLE };
    if let Some(place) = table.get((address / GIB) as usize) {
        place.store(entry, Ordering::Relaxed);
    }
    barrier::dsb();
    // SAFETY: forgetting translations changes no memory; those in use are walked again.
    unsafe { core::arch::asm!("tlbi vmalle1is", options(nostack, preserves_flags)) };
    barrier::dsb();
    barrier::isb();
}
