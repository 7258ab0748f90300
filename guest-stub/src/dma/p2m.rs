// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machine frames of the pages that others granted, by the guest frame they are mapped at. Guest frames that are not
//! here are the domain's own: the same in the machine.

use super::DmaError;
use spin::Mutex;

/// Foreign pages there may be at a time.
const MAX: usize = 1024;

/// The table. Whoever maps and unmaps grants keeps it (Linux: `set_foreign_p2m_mapping`).
pub struct P2m(Mutex<Entries>);

/// By rising guest frame: guest frame, machine frame.
struct Entries {
    all: [(u64, u64); MAX],
    nr: usize,
}

impl Entries {
    fn used(&self) -> &[(u64, u64)] {
        &self.all[..self.nr]
    }

    fn find(&self, gfn: u64) -> Result<usize, usize> {
        self.used().binary_search_by_key(&gfn, |entry| entry.0)
    }
}

impl P2m {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Entries {
            all: [(0, 0); MAX],
            nr: 0,
        }))
    }

    /// Guest frame `gfn` is machine frame `mfn` (`dev_bus_addr` of the mapping, in pages) from now on.
    ///
    /// # Errors
    /// `Exists`, `TableFull`.
    pub fn insert(&self, gfn: u64, mfn: u64) -> Result<(), DmaError> {
        let mut entries = self.0.lock();
        let Err(at) = entries.find(gfn) else {
            return Err(DmaError::Exists);
        };
        let nr = entries.nr;
        if nr == MAX {
            return Err(DmaError::TableFull);
        }
        entries.all.copy_within(at..nr, at + 1);
        entries.all[at] = (gfn, mfn);
        entries.nr += 1;
        Ok(())
    }

    /// Guest frame `gfn` is the domain's own again, or nothing. Returns the machine frame it was.
    pub fn remove(&self, gfn: u64) -> Option<u64> {
        let mut entries = self.0.lock();
        let at = entries.find(gfn).ok()?;
        let (_, mfn) = entries.all[at];
        let nr = entries.nr;
        entries.all.copy_within(at + 1..nr, at);
        entries.nr -= 1;
        Some(mfn)
    }

    /// The machine frame of `gfn`, if that is foreign.
    #[must_use]
    pub fn lookup(&self, gfn: u64) -> Option<u64> {
        let entries = self.0.lock();
        let at = entries.find(gfn).ok()?;
        entries.used().get(at).map(|entry| entry.1)
    }
}

impl Default for P2m {
    fn default() -> Self {
        Self::new()
    }
}
