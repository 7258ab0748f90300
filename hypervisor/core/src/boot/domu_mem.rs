// SPDX-License-Identifier: MIT OR Apache-2.0
//! A domain's RAM at boot: where it is for the domain, where in the machine, what goes where in it.

use super::dom0_mem::{self, BankAllocator, PlaceError};
use crate::addr::{Gfn, Mfn, PAGE_SHIFT, PAGE_SIZE, Pa, PaRange};
use crate::domain::Domain;
use crate::frame::{FrameError, Frames, Limits};
use crate::p2m::{P2mError, P2mType};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;
use xen_abi::arch_arm::{GUEST_RAM_BANK_BASES, GUEST_RAM_BANK_SIZES};

/// Largest block taken at once, as log2 of pages: what one entry of stage 2 maps.
const MAX_ORDER: u32 = 18;
/// The unit of extended regions, and the smallest.
const BLOCK: u64 = 2 << 20;
const MIN_REGION: u64 = 64 << 20;

/// Why a domain's RAM cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryError {
    /// This many bytes are missing.
    NoMemory(u64),
    /// No block is free that is as big as its first one must be, aligned to that: so many bytes.
    NoBlock(u64),
    /// It is more than a domain has addresses for: so many bytes.
    TooMuch(u64),
    /// Its tables cannot be made.
    Tables(P2mError),
    /// The frame table says otherwise.
    Frames(FrameError),
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory(missing) => {
                write!(f, "{} KiB of its memory are not free", missing >> 10)
            }
            Self::NoBlock(size) => write!(
                f,
                "{} KiB of memory in one piece, aligned to that, are not free",
                size >> 10
            ),
            Self::TooMuch(most) => write!(f, "memory: {} KiB at most are possible", most >> 10),
            Self::Tables(P2mError::NoMemory) => write!(
                f,
                "its stage-2 tables need more memory: give it xen,domain-p2m-mem-mb"
            ),
            Self::Tables(error) => write!(f, "its stage-2 tables: {error}"),
            Self::Frames(error) => write!(f, "its memory: {error}"),
        }
    }
}

/// The addresses at which a domain sees `size` bytes of RAM, with addresses of `ipa_bits`.
///
/// # Errors
/// `TooMuch`.
pub fn banks(size: u64, ipa_bits: u32) -> Result<Vec<PaRange>, MemoryError> {
    let mut left = size;
    let mut banks = Vec::new();
    for room in bank_room(ipa_bits) {
        let size = left.min(room.size());
        banks.extend(PaRange::new(room.start, size).filter(|bank| !bank.is_empty()));
        left -= size;
    }
    match left {
        0 => Ok(banks),
        _ => Err(MemoryError::TooMuch(size - left)),
    }
}

/// Where a domain may have RAM.
fn bank_room(ipa_bits: u32) -> impl Iterator<Item = PaRange> {
    let end = 1u64.checked_shl(ipa_bits).unwrap_or(u64::MAX);
    let all = GUEST_RAM_BANK_BASES.into_iter().zip(GUEST_RAM_BANK_SIZES);
    all.map(move |(start, size)| PaRange {
        start: Pa(start),
        end: Pa((start + size).min(end).max(start)),
    })
}

/// The addresses after its RAM, for a domain to map others' pages at: what is left of each bank.
pub fn extended_regions(banks: &[PaRange], ipa_bits: u32) -> Vec<PaRange> {
    let regions = bank_room(ipa_bits).filter_map(|room| {
        let used = banks.iter().find(|bank| bank.start == room.start);
        let start = used.map_or(room.start.0, |bank| bank.end.0);
        Some(PaRange {
            start: Pa(start.checked_next_multiple_of(BLOCK)?),
            end: room.end,
        })
    });
    regions.filter(|r| r.size() >= MIN_REGION).collect()
}

/// A domain's RAM: what it sees where, and where that is.
pub struct GuestRam {
    /// As the domain sees it, in banks.
    pub banks: Vec<PaRange>,
    runs: Vec<Run>,
}

/// A part that is in one piece in the machine.
#[derive(Clone, Copy)]
struct Run {
    guest: PaRange,
    machine: Pa,
}

impl GuestRam {
    /// Takes RAM for `domain` wherever it is, in the largest blocks there are, zeroed, and maps it as
    /// `banks`.
    ///
    /// # Errors
    /// Without enough of it, or of tables. What was taken belongs to the domain.
    pub fn anywhere(domain: &Domain, banks: Vec<PaRange>) -> Result<Self, MemoryError> {
        let mut ram = Self {
            banks: banks.clone(),
            runs: Vec::new(),
        };
        let mut order = MAX_ORDER;
        for bank in &banks {
            let mut at = bank.start;
            while at < bank.end {
                let left = PaRange {
                    start: at,
                    end: bank.end,
                };
                let (mfn, found) = take(domain, largest(left).min(order))
                    .ok_or(MemoryError::NoMemory(left.size()))?;
                // Larger ones are used up, if it took a smaller one than could be used.
                order = if found < largest(left) { found } else { order };
                at = ram.add(domain, at, mfn, PAGE_SIZE << found)?;
            }
        }
        ram.set_limit(domain);
        Ok(ram)
    }

    /// Takes `size` bytes of RAM for `domain`, zeroed, and maps it where it is.
    ///
    /// # Errors
    /// Without enough of it, or of tables.
    pub fn in_place(domain: &Domain, size: u64) -> Result<Self, MemoryError> {
        let frames = domain.sys.frames;
        let banks = dom0_mem::choose_banks(&mut InPlace(frames), size);
        let banks = banks.map_err(|error| match error {
            PlaceError::NoMemory(missing) => MemoryError::NoMemory(missing),
            PlaceError::NoBlock { block, .. } => MemoryError::NoBlock(block),
            PlaceError::NoRoom => MemoryError::NoMemory(size),
        })?;
        let mut ram = Self {
            banks: banks.clone(),
            runs: Vec::new(),
        };
        for bank in &banks {
            let mfn = bank.start.frame();
            frames
                .assign(mfn, bank.size() >> PAGE_SHIFT, domain.id)
                .map_err(MemoryError::Frames)?;
            ram.add(domain, bank.start, mfn, bank.size())?;
        }
        ram.set_limit(domain);
        Ok(ram)
    }

    /// The machine's memory behind `range`, which must all be RAM, in order.
    pub fn pieces(&self, range: PaRange) -> Option<Vec<PaRange>> {
        let mut pieces = Vec::new();
        let mut at = range.start;
        for run in self.runs.iter().filter(|run| run.guest.overlaps(&range)) {
            if run.guest.start > at {
                return None;
            }
            let end = run.guest.end.min(range.end);
            let offset = at.0 - run.guest.start.0;
            pieces.extend(PaRange::new(Pa(run.machine.0 + offset), end.0 - at.0));
            at = end;
        }
        (at == range.end).then_some(pieces)
    }

    /// Maps `size` bytes from `mfn` at `at`; returns the address after them.
    fn add(&mut self, domain: &Domain, at: Pa, mfn: Mfn, size: u64) -> Result<Pa, MemoryError> {
        let gfn = Gfn(at.frame().0);
        domain
            .p2m
            .insert(gfn, mfn, size >> PAGE_SHIFT, P2mType::RamRw)
            .map_err(MemoryError::Tables)?;
        let end = Pa(at.0 + size);
        match self.runs.last_mut() {
            Some(last)
                if last.guest.end == at && last.machine.0 + last.guest.size() == mfn.base().0 =>
            {
                last.guest.end = end;
            }
            _ => self.runs.push(Run {
                guest: PaRange { start: at, end },
                machine: mfn.base(),
            }),
        }
        Ok(end)
    }

    /// The domain may have what it has, and no more.
    fn set_limit(&self, domain: &Domain) {
        let pages = self.banks.iter().map(PaRange::size).sum::<u64>() >> PAGE_SHIFT;
        let pages = u32::try_from(pages).unwrap_or(u32::MAX);
        domain.max_pages.store(pages, Ordering::Relaxed);
    }
}

/// log2 of the pages of the largest block that `range` can start with.
fn largest(range: PaRange) -> u32 {
    let pages = range.size() >> PAGE_SHIFT;
    let aligned = range.start.frame().0.trailing_zeros();
    pages.checked_ilog2().unwrap_or(0).min(aligned)
}

/// A block of at most 2^`order` pages, the largest there is.
fn take(domain: &Domain, order: u32) -> Option<(Mfn, u32)> {
    let frames = domain.sys.frames;
    (0..=order).rev().find_map(|order| {
        let mfn = frames.alloc_ram(domain.id, order, Limits::default());
        Some((mfn.ok()?, order))
    })
}

/// Blocks at low addresses, zeroed.
struct InPlace(&'static Frames);

impl BankAllocator for InPlace {
    fn alloc(&mut self, order: u32, below: Option<Pa>) -> Option<Pa> {
        let limits = Limits {
            below,
            lowest: true,
            dirty: false,
        };
        self.0.alloc(order, limits).ok().map(|mfn| mfn.base())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::DomId;
    use crate::domain::create::{CreateConfig, domu};
    use crate::testing;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;
    const RAM: PaRange = PaRange {
        start: Pa(0x4000_0000),
        end: Pa(0x4200_0000),
    };

    fn range(start: u64, end: u64) -> PaRange {
        PaRange {
            start: Pa(start),
            end: Pa(end),
        }
    }

    #[test]
    fn banks_are_where_guests_expect_them() {
        let bank = |size| banks(size, 44).unwrap();
        assert_eq!(bank(64 * MIB), [range(0x4000_0000, 0x4400_0000)]);
        assert_eq!(bank(3 << 30), [range(0x4000_0000, 0x1_0000_0000)]);
        let two = [
            range(0x4000_0000, 0x1_0000_0000),
            range(0x2_0000_0000, 0x2_4000_0000),
        ];
        assert_eq!(bank(4 << 30), two);
        assert_eq!(banks(4 << 30, 32), Err(MemoryError::TooMuch(3 << 30)));
        assert_eq!(banks(1 << 50, 48), Err(MemoryError::TooMuch(1019 << 30)));
    }

    #[test]
    fn extended_regions_are_what_xen_gives() {
        let of = |size: u64, bits| extended_regions(&banks(size, bits).unwrap(), bits);
        let high = range(0x2_0000_0000, 0x100_0000_0000);
        assert_eq!(of(192 * MIB, 44), [range(0x4c00_0000, 0x1_0000_0000), high]);
        assert_eq!(of(3 << 30, 44), [high]);
        assert_eq!(of(4 << 30, 44), [range(0x2_4000_0000, 0x100_0000_0000)]);
        assert_eq!(of(64 * MIB, 32), [range(0x4400_0000, 0x1_0000_0000)]);
    }

    #[test]
    fn memory_is_found_in_pieces() {
        let (hw, sys) = testing::system(RAM, 1);
        let domain = domu(sys, DomId(1), &CreateConfig::new(sys, 1)).unwrap();
        // Every other page of some memory is in use.
        let holes: Vec<_> = (0..64)
            .map(|_| sys.frames.alloc(0, Limits::default()).unwrap())
            .collect();
        for mfn in holes.iter().step_by(2) {
            sys.frames.free(*mfn, 0).unwrap();
        }
        let free = sys.frames.free_pages();
        hw.take_events();
        let most = (free - 40) * PAGE_SIZE;
        let ram = GuestRam::anywhere(&domain, banks(most, 44).unwrap()).unwrap();
        assert_eq!(u64::from(sys.frames.tot_pages(DomId(1))), free - 40);
        assert_eq!(
            u64::from(domain.max_pages.load(Ordering::Relaxed)),
            free - 40
        );
        let pieces = ram.pieces(ram.banks[0]).unwrap();
        assert!(pieces.len() > 1);
        assert_eq!(pieces.iter().map(PaRange::size).sum::<u64>(), most);
        let scrubbed = hw.take_events().into_iter().filter_map(|e| match e {
            crate::fake::Event::Scrub(range) => Some(range.size()),
            _ => None,
        });
        // And tables.
        assert!(scrubbed.sum::<u64>() >= most);
        let mut at = ram.banks[0].start;
        for piece in pieces {
            for page in 0..piece.size() >> PAGE_SHIFT {
                let found = domain.p2m.lookup(Gfn(at.frame().0 + page)).unwrap();
                assert_eq!(found.mfn.0, piece.start.frame().0 + page);
                assert_eq!(found.ty, P2mType::RamRw);
            }
            at = Pa(at.0 + piece.size());
        }
        let beyond = range(at.0 - PAGE_SIZE, at.0 + PAGE_SIZE);
        assert_eq!(ram.pieces(beyond), None);
        assert_eq!(ram.pieces(range(0x3fff_f000, 0x4000_1000)), None);
    }

    #[test]
    fn too_much_fails() {
        let (_, sys) = testing::system(RAM, 1);
        let domain = domu(sys, DomId(1), &CreateConfig::new(sys, 1)).unwrap();
        let ram = GuestRam::anywhere(&domain, banks(64 * MIB, 44).unwrap());
        assert!(matches!(ram, Err(MemoryError::NoMemory(_))));
    }

    #[test]
    fn in_place_is_in_place() {
        let (_, sys) = testing::system(RAM, 1);
        let mut config = CreateConfig::new(sys, 1);
        config.direct_mapped = Some(sys.guest_hw.gic.layout(1));
        let domain = domu(sys, DomId(1), &config).unwrap();
        let ram = GuestRam::in_place(&domain, 12 * MIB).unwrap();
        assert_eq!(ram.banks.iter().map(PaRange::size).sum::<u64>(), 12 * MIB);
        for bank in &ram.banks {
            assert_eq!(ram.pieces(*bank).unwrap(), [*bank]);
            let found = domain.p2m.lookup(Gfn(bank.start.frame().0)).unwrap();
            assert_eq!(found.mfn, bank.start.frame());
        }
    }

    proptest! {
        // Each has a machine of its own.
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn pieces_cover_what_they_should(size in 1u64..4096, from in 0u64..4096, len in 1u64..4096) {
            let (_, sys) = testing::system(RAM, 1);
            let domain = domu(sys, DomId(1), &CreateConfig::new(sys, 1)).unwrap();
            let ram = GuestRam::anywhere(&domain, banks(size * PAGE_SIZE, 44).unwrap()).unwrap();
            let base = ram.banks[0].start.0;
            let wanted = range(base + from * 512, base + from * 512 + len * 999);
            match ram.pieces(wanted) {
                Some(pieces) => {
                    prop_assert!(wanted.end.0 <= ram.banks[0].end.0);
                    prop_assert_eq!(pieces.iter().map(PaRange::size).sum::<u64>(), wanted.size());
                }
                None => prop_assert!(wanted.end.0 > ram.banks[0].end.0),
            }
        }
    }
}
