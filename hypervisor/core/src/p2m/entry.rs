// SPDX-License-Identifier: MIT OR Apache-2.0
//! The entry of one page, found by a walk of its own: most lookups and changes are of one page,
//! and the paging crate's walks and changes of ranges cost several times as much.

use super::table::{Extent, Span, Table};
use super::types::{Mapping, P2mType};
use crate::addr::{Mfn, PAGE_SHIFT, Pa};
use crate::hw::DirectMap;
use aarch64_paging::descriptor::Stage2Attributes as Bits;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The address in a descriptor.
const ADDRESS: usize = 0xffff_ffff_f000;

/// Where the walk to a page ended: a page, a block, or a hole.
pub(super) struct Entry<'a> {
    descriptor: &'a AtomicUsize,
    /// log2 of the pages it is about.
    pub(super) order: u32,
}

impl Entry<'_> {
    /// What it maps, as the entry for `gfn`.
    #[inline]
    pub(super) fn leaf(&self, gfn: u64) -> Option<Extent> {
        let bits = self.descriptor.load(Ordering::Relaxed);
        let ty = P2mType::from_attributes(Bits::from_bits_retain(bits))?;
        let start = gfn >> self.order << self.order;
        let span = Span {
            start,
            end: start.saturating_add(1 << self.order),
        };
        let mfn = Pa((bits & ADDRESS) as u64).frame();
        Some(Extent { span, mfn, ty })
    }

    /// What it maps `gfn` to.
    #[inline]
    pub(super) fn mapping(&self, gfn: u64) -> Option<Mapping> {
        let leaf = self.leaf(gfn)?;
        Some(Mapping {
            mfn: leaf.mfn.checked_add(gfn.saturating_sub(leaf.span.start))?,
            order: self.order,
            ty: leaf.ty,
        })
    }

    /// Maps a page; its entry was invalid, and no TLB has it.
    #[inline]
    pub(super) fn set_page(&self, mfn: Mfn, ty: P2mType) {
        let bits = ty.attributes() | Bits::TABLE_OR_PAGE;
        let pa = mfn.base().0 as usize & ADDRESS;
        self.descriptor.store(pa | bits.bits(), Ordering::Release);
    }

    /// Makes the entry invalid.
    #[inline]
    pub(super) fn clear(&self) {
        self.descriptor.store(0, Ordering::Release);
    }
}

impl Table {
    /// The last entry on the way to `gfn`, which is in range.
    #[inline]
    pub(super) fn entry(&self, gfn: u64) -> Option<Entry<'_>> {
        let (root, mut order) = self.root(gfn)?;
        let mut table = root.to_physical().0;
        loop {
            let index = (gfn >> order) as usize & 511;
            let descriptor = descriptor(root.translation().map(), table, index);
            let bits = descriptor.load(Ordering::Relaxed);
            let is_table = Bits::from_bits_retain(bits).contains(Bits::VALID | Bits::TABLE_OR_PAGE);
            if order == 0 || !is_table {
                return Some(Entry { descriptor, order });
            }
            table = bits & ADDRESS;
            order = order.saturating_sub(9);
        }
    }

    /// The entry of the page `gfn`, if the table is there that it is in.
    #[inline]
    pub(super) fn page_entry(&self, gfn: u64) -> Option<Entry<'_>> {
        self.entry(gfn).filter(|entry| entry.order == 0)
    }
}

#[inline]
fn descriptor<'a>(map: DirectMap, table: usize, index: usize) -> &'a AtomicUsize {
    let table = map.ptr(Pa(table as u64)).cast::<usize>();
    // SAFETY: `table` is a table of the tree, a page of 512 descriptors that is mapped for as long
    // as the caller borrows the tree. Who else changes it does so through a borrow of the tree too.
    unsafe { AtomicUsize::from_ptr(table.wrapping_add(index & 511)) }
}

const _: () = assert!(ADDRESS == (1 << 48) - (1 << PAGE_SHIFT));
