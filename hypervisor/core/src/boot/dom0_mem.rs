// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where dom0's memory, kernel, device tree and ramdisk go, and what it may use as mere addresses.
//!
//! Dom0's memory is where it is in the machine (`gfn == mfn`), so its banks are what the frame
//! allocator has in big blocks.

use super::host_dt::{Gic, Timer};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, Pa, PaRange};
use alloc::vec::Vec;
use core::fmt;

const MIB: u64 = 1 << 20;
/// The unit of placement and of extended regions.
const BLOCK: u64 = 2 * MIB;
/// Dom0's first bank has at least this, or all if dom0 has less.
const MIN_FIRST_BANK: u64 = 128 * MIB;
/// Its other banks have at least this, but for what is left in the end.
const MIN_BANK: u64 = 4 * MIB;
/// Below this is memory any device can reach.
pub const LOW: Pa = Pa(4 << 30);
/// Where modules go in the first bank, if there is room.
const MODULES_AT: u64 = 128 * MIB;
/// Smallest extended region worth giving.
const MIN_REGION: u64 = 64 * MIB;
/// Most extended regions given.
const MAX_REGIONS: usize = 64;
/// Most banks a dom0 may have.
const MAX_BANKS: usize = 256;

/// Why dom0's memory cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlaceError {
    /// Not this much memory is free: bytes missing.
    NoMemory(u64),
    /// No block is free that is as big as the first one must be.
    NoBlock {
        /// Bytes wanted in all.
        all: u64,
        /// Bytes of the block, a power of two to which it is aligned.
        block: u64,
    },
    /// Kernel, device tree and ramdisk do not fit any bank.
    NoRoom,
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory(missing) => {
                write!(f, "dom0: {} KiB of its memory are not free", missing >> 10)
            }
            Self::NoBlock { all, block } => write!(
                f,
                "dom0: of its {} KiB, {} KiB in one piece, aligned to that, are not free: give it less \
                 (dom0_mem=), or put the boot modules elsewhere",
                all >> 10,
                block >> 10
            ),
            Self::NoRoom => write!(f, "dom0: kernel and modules do not fit any of its banks"),
        }
    }
}

/// The source of dom0's memory.
pub trait BankAllocator {
    /// Takes 2^`order` pages aligned to their size, at the lowest address it can, all below
    /// `below` if given.
    fn alloc(&mut self, order: u32, below: Option<Pa>) -> Option<Pa>;
}

/// Takes `size` bytes (rounded up to pages) for dom0, in banks sorted by address. What was taken
/// before a failure stays taken, since a machine without dom0 stops.
pub fn choose_banks(
    allocator: &mut impl BankAllocator,
    size: u64,
) -> Result<Vec<PaRange>, PlaceError> {
    let mut missing = size.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX);
    let mut banks = Vec::new();
    let mut smallest = MIN_FIRST_BANK;
    while missing != 0 && banks.len() < MAX_BANKS {
        let bank = take(allocator, missing, smallest, Some(LOW))
            .or_else(|| take(allocator, missing, smallest, None));
        let bank = bank.ok_or_else(|| match banks.is_empty() {
            true => PlaceError::NoBlock {
                all: missing,
                block: block(missing.min(smallest)),
            },
            false => PlaceError::NoMemory(missing),
        })?;
        missing -= bank.size();
        banks.push(bank);
        smallest = MIN_BANK;
    }
    if missing != 0 {
        return Err(PlaceError::NoMemory(missing));
    }
    Ok(merged(banks))
}

/// The biggest block of at most `most` bytes.
fn block(most: u64) -> u64 {
    most.checked_ilog2().map_or(0, |order| 1 << order)
}

/// The biggest block there is of at most `most` bytes and at least `least` (or all of `most`).
fn take(
    allocator: &mut impl BankAllocator,
    most: u64,
    least: u64,
    below: Option<Pa>,
) -> Option<PaRange> {
    let largest = (most >> PAGE_SHIFT).checked_ilog2()?;
    let smallest = (least >> PAGE_SHIFT).checked_ilog2()?.min(largest);
    (smallest..=largest).rev().find_map(|order| {
        let start = allocator.alloc(order, below)?;
        PaRange::new(start, PAGE_SIZE << order)
    })
}

/// `ranges` sorted, those that touch or overlap made one, empty ones dropped.
pub fn merged(mut ranges: Vec<PaRange>) -> Vec<PaRange> {
    ranges.retain(|r| !r.is_empty());
    ranges.sort_unstable_by_key(|r| r.start);
    ranges.dedup_by(|next, last| {
        let touch = next.start <= last.end;
        if touch {
            last.end = last.end.max(next.end);
        }
        touch
    });
    ranges
}

/// What of `ranges` is not in `taken`, sorted and merged.
pub fn without(ranges: &[PaRange], taken: &[PaRange]) -> Vec<PaRange> {
    let taken = merged(taken.to_vec());
    let mut left = Vec::new();
    for range in merged(ranges.to_vec()) {
        let mut start = range.start;
        for hole in taken.iter().filter(|hole| hole.overlaps(&range)) {
            left.push(PaRange {
                start,
                end: hole.start,
            });
            start = hole.end;
        }
        left.push(PaRange {
            start,
            end: range.end,
        });
    }
    left.retain(|r| !r.is_empty());
    left
}

/// Sizes of what is put into dom0's first bank, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    /// The kernel's distance from the start of the bank.
    pub text_offset: u64,
    /// The kernel in memory, its zeroed data included.
    pub kernel: u64,
    /// The device tree.
    pub dtb: u64,
    /// The ramdisk; 0 without one.
    pub ramdisk: u64,
}

/// Where it is put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    /// The kernel, whose first byte is its entry.
    pub kernel: Pa,
    /// The device tree.
    pub dtb: Pa,
    /// The ramdisk (if it has a size).
    pub ramdisk: Pa,
}

/// Places a payload in the first bank that has room: the kernel at its start, the device tree and
/// then the ramdisk 128 MiB further, or else at the bank's end, or else below the kernel.
pub fn place(banks: &[PaRange], payload: Payload) -> Result<Placement, PlaceError> {
    let mut places = banks.iter().filter_map(|bank| find_place(*bank, payload));
    places.next().ok_or(PlaceError::NoRoom)
}

fn find_place(bank: PaRange, payload: Payload) -> Option<Placement> {
    let dtb_space = payload.dtb.checked_next_multiple_of(BLOCK)?;
    let ramdisk_space = payload.ramdisk.checked_next_multiple_of(BLOCK)?;
    let space = dtb_space.checked_add(ramdisk_space)?;
    let (start, end) = (bank.start.0, bank.end.0);
    let kernel = start.checked_add(payload.text_offset)?;
    let kernel_end = kernel.checked_add(payload.kernel)?;
    let kernel_space = kernel_end.checked_next_multiple_of(BLOCK)?;
    let usual = start.checked_add(MODULES_AT)?;
    let last = end.checked_sub(space).filter(|_| kernel_end <= end)?;
    let dtb = if kernel_end < usual && usual <= last {
        usual
    } else if kernel_space <= last {
        last
    } else {
        kernel.checked_sub(space).filter(|&at| start <= at)?
    };
    Some(Placement {
        kernel: Pa(kernel),
        dtb: Pa(dtb),
        ramdisk: Pa(dtb + dtb_space),
    })
}

/// The extended regions: addresses of `ram` that dom0 will never see memory at, for it to map
/// other domains' pages at. `used` is dom0's memory, reservations and the grant region.
///
/// As Xen, a region that would end with its range ends one block earlier.
pub fn extended_regions(ram: &[PaRange], used: &[PaRange]) -> Vec<PaRange> {
    let block = |r: &PaRange| {
        Some(PaRange {
            start: Pa(r.start.0.checked_next_multiple_of(BLOCK)?),
            end: Pa((r.end.0.checked_sub(PAGE_SIZE)?) & !(BLOCK - 1)),
        })
    };
    let free = without(ram, used);
    let big = free.iter().filter_map(block);
    big.filter(|r| r.size() >= MIN_REGION)
        .take(MAX_REGIONS)
        .collect()
}

/// The PPI that tells dom0 of events: the lowest that neither timer nor GIC uses.
pub fn event_ppi(timer: &Timer, gic: &Gic) -> Option<u32> {
    let used = [
        timer.secure_physical,
        Some(timer.physical),
        Some(timer.virtual_),
        Some(timer.hypervisor),
        gic.maintenance,
    ];
    (16..32).find(|&ppi| used.iter().flatten().all(|irq| irq.intid != ppi))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Free memory, kept as ranges.
    struct Free(Vec<PaRange>);

    impl BankAllocator for Free {
        fn alloc(&mut self, order: u32, below: Option<Pa>) -> Option<Pa> {
            let size = PAGE_SIZE << order;
            let limit = below.unwrap_or(Pa(u64::MAX));
            let fit = |r: &PaRange| {
                let start = Pa(r.start.0.checked_next_multiple_of(size)?);
                let end = start.checked_add(size)?;
                (end <= r.end && end <= limit).then_some(PaRange { start, end })
            };
            let block = self.0.iter().find_map(fit)?;
            self.0 = without(&self.0, &[block]);
            Some(block.start)
        }
    }

    fn range(start: u64, end: u64) -> PaRange {
        PaRange {
            start: Pa(start),
            end: Pa(end),
        }
    }

    #[test]
    fn banks_are_where_xen_puts_them() {
        let free = || Free(alloc::vec![range(0x4034_4000, 0x1_0000_0000)]);
        let banks = choose_banks(&mut free(), 1 << 30).unwrap();
        assert_eq!(banks, [range(0x8000_0000, 0xc000_0000)]);
        let banks = choose_banks(&mut free(), 768 * MIB).unwrap();
        assert_eq!(banks, [range(0x5000_0000, 0x8000_0000)]);
        let error = choose_banks(&mut free(), 4 << 30).unwrap_err();
        assert_eq!(error, PlaceError::NoMemory((4 << 30) - 0xbfc0_0000));
    }

    #[test]
    fn the_first_bank_is_low_and_big() {
        let high = range(0x8_8000_0000, 0x9_0000_0000);
        let mut free = Free(alloc::vec![range(0x8000_0000, 0x9000_0000), high]);
        let banks = choose_banks(&mut free, 512 * MIB).unwrap();
        let other = range(0x8_8000_0000, 0x8_9000_0000);
        assert_eq!(banks, [range(0x8000_0000, 0x9000_0000), other]);
        // A machine whose low memory is too small for it, or that has none.
        for low in [range(0x8000_0000, 0x8400_0000), range(0, 0)] {
            let mut free = Free(alloc::vec![low, high]);
            let banks = choose_banks(&mut free, 512 * MIB).unwrap();
            assert_eq!(banks, [range(0x8_8000_0000, 0x8_a000_0000)]);
        }
        let mut crumbs = Free(alloc::vec![range(0x8000_0000, 0x8400_0000)]);
        let error = choose_banks(&mut crumbs, 512 * MIB).unwrap_err();
        let (all, block) = (512 * MIB, 128 * MIB);
        assert_eq!(error, PlaceError::NoBlock { all, block });
        assert!(choose_banks(&mut crumbs, 64 * MIB).is_ok());
    }

    #[test]
    fn the_payload_is_where_xen_puts_it() {
        let payload = Payload {
            text_offset: 0,
            kernel: 0x24f_0000,
            dtb: 0x3000,
            ramdisk: 0x123_4567,
        };
        let usual = place(&[range(0x8000_0000, 0xc000_0000)], payload).unwrap();
        assert_eq!(
            (usual.kernel, usual.dtb),
            (Pa(0x8000_0000), Pa(0x8800_0000))
        );
        assert_eq!(usual.ramdisk, Pa(0x8820_0000));
        let small = place(&[range(0x8000_0000, 0x8400_0000)], payload).unwrap();
        assert_eq!(
            (small.dtb, small.ramdisk),
            (Pa(0x82a0_0000), Pa(0x82c0_0000))
        );
        let below = Payload {
            text_offset: 0x180_0000,
            ..payload
        };
        let below = place(&[range(0x8000_0000, 0x8400_0000)], below).unwrap();
        assert_eq!(below.dtb, Pa(0x8180_0000 - 0x160_0000));
        let tight = place(&[range(0x8000_0000, 0x8200_0000)], payload);
        assert_eq!(tight, Err(PlaceError::NoRoom));
    }

    fn ranges() -> impl Strategy<Value = Vec<PaRange>> {
        let one = (0u64..64, 0u64..16).prop_map(|(at, n)| range(at * MIB, (at + n) * MIB));
        proptest::collection::vec(one, 0..8)
    }

    proptest! {
        #[test]
        fn without_takes_out_exactly(from in ranges(), taken in ranges()) {
            let left = without(&from, &taken);
            let has = |list: &[PaRange], at| list.iter().any(|r| r.contains(at));
            for at in (0..80).map(|n| Pa(n * MIB + MIB / 2)) {
                prop_assert_eq!(has(&left, at), has(&from, at) && !has(&taken, at));
            }
            prop_assert!(left.windows(2).all(|w| w[0].end <= w[1].start));
        }

        #[test]
        fn what_is_placed_fits(
            size in 1u64..512, text_offset in 0u64..64, kernel in 1u64..256, dtb in 1u64..3, ramdisk in 0u64..256
        ) {
            let bank = range(0x4000_0000, 0x4000_0000 + size * MIB);
            let payload = Payload {
                text_offset: text_offset * MIB,
                kernel: kernel * MIB,
                dtb: dtb * MIB,
                ramdisk: ramdisk * MIB,
            };
            if let Ok(placed) = place(&[bank], payload) {
                let parts = [(placed.kernel, kernel), (placed.dtb, dtb), (placed.ramdisk, ramdisk)]
                    .map(|(at, n)| PaRange::new(at, n * MIB).unwrap());
                for (i, part) in parts.iter().enumerate() {
                    prop_assert!(bank.start <= part.start && part.end <= bank.end);
                    prop_assert!(parts[..i].iter().all(|other| !other.overlaps(part)));
                }
            }
        }

        #[test]
        fn banks_add_up(holes in ranges(), size in 1u64..96) {
            let free = without(&[range(0, 80 * MIB)], &holes);
            if let Ok(banks) = choose_banks(&mut Free(free.clone()), size * MIB) {
                prop_assert_eq!(banks.iter().map(PaRange::size).sum::<u64>(), size * MIB);
                prop_assert_eq!(without(&banks, &free), []);
            }
        }
    }
}
