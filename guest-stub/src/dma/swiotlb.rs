// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounce buffers: memory that every device reaches, to copy through what it does not.

use super::{Device, Direction, Dma, DmaError, Machine, Phys};
use spin::Mutex;

/// Bytes of a slot.
const SLOT_SIZE: u64 = 2048;
/// Slots there may be: 1 MiB.
const MAX_SLOTS: usize = 512;

/// What a mapping's first slot knows of it; the others know the first.
#[derive(Clone, Copy)]
struct Slot {
    used: bool,
    first: usize,
    /// What it stands for.
    phys: u64,
    /// Where its bytes begin and how many they are.
    start: u64,
    size: usize,
}

const FREE: Slot = Slot {
    used: false,
    first: 0,
    phys: 0,
    start: 0,
    size: 0,
};

struct Slots {
    all: [Slot; MAX_SLOTS],
    /// Where the search begins: after what was found last, so that a buffer rests before it is used again.
    next: usize,
}

/// A pool of bounce buffers in memory of the domain's own.
pub struct Swiotlb {
    start: u64,
    nr_slots: usize,
    slots: Mutex<Slots>,
}

impl Swiotlb {
    /// The pool in `size` bytes (0: none) at `start`, which is aligned to a page and nobody else uses: a MiB at most
    /// is used.
    #[must_use]
    pub const fn new(start: Phys, size: usize) -> Self {
        let slots = size / SLOT_SIZE as usize;
        Self {
            start: start.0,
            nr_slots: if slots < MAX_SLOTS { slots } else { MAX_SLOTS },
            slots: Mutex::new(Slots {
                all: [FREE; MAX_SLOTS],
                next: 0,
            }),
        }
    }

    /// True if `memory` is in the pool.
    #[must_use]
    pub fn contains(&self, memory: Machine) -> bool {
        self.slot_of(memory).is_some()
    }

    /// Slots in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        let slots = self.slots.lock();
        slots.all.iter().filter(|slot| slot.used).count()
    }

    /// True if a device with that mask reaches all of it.
    pub(super) fn is_reachable(&self, mask: u64) -> bool {
        let size = self.nr_slots as u64 * SLOT_SIZE;
        size == 0 || self.start + (size - 1) <= mask
    }

    /// A buffer for `size` bytes at `phys`, with a copy of them: the device need not write them all.
    ///
    /// # Errors
    /// `NoBounceBuffer`.
    pub(super) fn map(
        &self,
        dma: &Dma,
        dev: &Device,
        phys: Phys,
        size: usize,
    ) -> Result<Machine, DmaError> {
        let kept = phys.0 & dev.min_align_mask();
        let (phase, offset) = (kept / SLOT_SIZE, kept % SLOT_SIZE);
        let nr = (offset as usize)
            .checked_add(size)
            .ok_or(DmaError::NoBounceBuffer)?
            .div_ceil(SLOT_SIZE as usize);
        // In a page's bits that count, the slot is where the bytes are.
        let step = match dev.min_align_mask() >= SLOT_SIZE {
            true => 2,
            false => 1,
        };
        let mut slots = self.slots.lock();
        let first = slots
            .find(self.nr_slots, nr, phase as usize, step)
            .ok_or(DmaError::NoBounceBuffer)?;
        let start = self.start + first as u64 * SLOT_SIZE + offset;
        let slot = Slot {
            used: true,
            first,
            phys: phys.0,
            start,
            size,
        };
        slots.all[first..first + nr].fill(slot);
        slots.next = first + nr;
        drop(slots);
        dma.platform.copy(Phys(start), phys, size);
        Ok(Machine(start))
    }

    /// Frees the buffer that `memory` is in.
    pub(super) fn release(&self, memory: Machine) {
        let Some(index) = self.slot_of(memory) else {
            return;
        };
        let mut slots = self.slots.lock();
        let Slot { used, first, .. } = slots.all[index];
        if used {
            let mine = |slot: &&mut Slot| slot.used && slot.first == first;
            for slot in slots.all[first..].iter_mut().take_while(mine) {
                *slot = FREE;
            }
        }
    }

    /// Copies `size` bytes from a buffer to what it stands for, if the device may have written them.
    ///
    /// # Errors
    /// As [`Self::stands_for`].
    pub(super) fn copy_back(
        &self,
        dma: &Dma,
        memory: Machine,
        size: usize,
        direction: Direction,
    ) -> Result<(), DmaError> {
        let phys = self.stands_for(memory, size)?;
        if direction.is_from_device() {
            dma.platform.copy(phys, Phys(memory.0), size);
        }
        Ok(())
    }

    /// Copies `size` bytes into a buffer from what it stands for, if the device may read them.
    ///
    /// # Errors
    /// As [`Self::stands_for`].
    pub(super) fn copy_in(
        &self,
        dma: &Dma,
        memory: Machine,
        size: usize,
        direction: Direction,
    ) -> Result<(), DmaError> {
        let phys = self.stands_for(memory, size)?;
        if direction.is_to_device() {
            dma.platform.copy(Phys(memory.0), phys, size);
        }
        Ok(())
    }

    /// What `size` bytes of a buffer stand for.
    ///
    /// # Errors
    /// `NotMapped` unless all are in one mapping.
    pub(super) fn stands_for(&self, memory: Machine, size: usize) -> Result<Phys, DmaError> {
        let index = self.slot_of(memory).ok_or(DmaError::NotMapped)?;
        let slot = self.slots.lock().all[index];
        let before = memory.0.checked_sub(slot.start);
        match before {
            Some(before) if slot.used && before as usize + size <= slot.size => {
                Ok(Phys(slot.phys + before))
            }
            _ => Err(DmaError::NotMapped),
        }
    }

    /// The number of the slot that `memory` is in.
    fn slot_of(&self, memory: Machine) -> Option<usize> {
        let index = (memory.0.checked_sub(self.start)? / SLOT_SIZE) as usize;
        (index < self.nr_slots).then_some(index)
    }
}

impl Slots {
    /// The first of `nr` free slots in a row among `all`, at `phase` of a multiple of `step`.
    fn find(&self, all: usize, nr: usize, phase: usize, step: usize) -> Option<usize> {
        let last = all.checked_sub(nr)?;
        let fits = |first: &usize| {
            first % step == phase % step
                && !self.all[*first..*first + nr].iter().any(|slot| slot.used)
        };
        let from = self.next.min(last + 1);
        (from..=last).chain(0..from).find(fits)
    }
}
