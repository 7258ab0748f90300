// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values of properties: lists of strings, numbers of cells, entries of `ranges`.

/// The strings of a list of them.
pub(crate) fn strings(value: &[u8]) -> impl Iterator<Item = &str> {
    let value = value.strip_suffix(&[0]).unwrap_or(value);
    let list = core::str::from_utf8(value).ok().filter(|s| !s.is_empty());
    list.into_iter().flat_map(|list| list.split('\0'))
}

/// An entry of `ranges`.
#[derive(Clone, Copy, Debug)]
pub struct BusRange {
    /// Address on the bus itself (its low 64 bits, if it has three cells).
    pub child: u64,
    /// Address on the bus above.
    pub parent: u64,
    /// Bytes.
    pub size: u64,
}

impl BusRange {
    /// Where `size` bytes at `address` are on the bus above.
    pub(crate) fn forward(self, address: u64, size: u64) -> Option<u64> {
        let offset = address.checked_sub(self.child)?;
        (offset < self.size && size <= self.size - offset)
            .then(|| self.parent.checked_add(offset))?
    }
}

/// Reads a property cell by cell.
#[derive(Clone, Copy)]
pub(crate) struct Cells<'a>(pub &'a [u8]);

impl<'a> Cells<'a> {
    /// The next cell.
    pub(crate) fn next(&mut self) -> Option<u32> {
        let (cell, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*cell))
    }

    /// A number of `n` cells, of which it keeps the last two.
    pub(crate) fn take_number(&mut self, n: usize) -> Option<u64> {
        self.take(n)?.chunks_exact(4).try_fold(0u64, |sum, cell| {
            Some(sum << 32 | u64::from(Cells(cell).next()?))
        })
    }

    /// The next `n` cells as bytes.
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n.checked_mul(4)?)?;
        self.0 = rest;
        Some(head)
    }
}
