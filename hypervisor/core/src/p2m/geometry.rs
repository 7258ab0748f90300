// SPDX-License-Identifier: MIT OR Apache-2.0
//! How large stage 2 is and how its tables begin.

use super::types::P2mError;
use crate::addr::{Gfn, Mfn, PAGE_SHIFT};

/// Size and root of stage-2 tables with 4 KiB pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stage2Geometry {
    ipa_bits: u32,
    /// VTCR_EL2.PS, as ID_AA64MMFR0_EL1.PARange.
    ps: u8,
    root_level: u8,
    /// log2 of how many tables in a row the root is made of.
    root_order: u8,
}

impl Stage2Geometry {
    /// For a machine whose ID_AA64MMFR0_EL1.PARange is `parange`: intermediate addresses as wide
    /// as physical ones, but no wider than 48 bits. `None` for a reserved value.
    pub const fn for_pa_range(parange: u8) -> Option<Self> {
        // (bits, level and log2 of the number of root tables): DDI 0487, concatenation.
        let (ipa_bits, root_level, root_order) = match parange {
            0 => (32, 1, 0),
            1 => (36, 1, 0),
            2 => (40, 1, 1),
            3 => (42, 1, 3),
            4 => (44, 0, 0),
            5..=7 => (48, 0, 0),
            _ => return None,
        };
        let ps = if parange > 5 { 5 } else { parange };
        Some(Self {
            ipa_bits,
            ps,
            root_level,
            root_order,
        })
    }

    /// Width of an intermediate physical address.
    pub const fn ipa_bits(self) -> u32 {
        self.ipa_bits
    }

    /// VTCR_EL2: walks are Normal write-back inner shareable; `vmid16` for 16-bit VMIDs, where
    /// the processor has them.
    pub const fn vtcr(self, vmid16: bool) -> u64 {
        const RES1: u64 = 1 << 31;
        const WBWA_INNER_SHAREABLE: u64 = 1 << 8 | 1 << 10 | 3 << 12;
        let t0sz = 64u64.saturating_sub(self.ipa_bits as u64);
        let sl0 = 2u64.saturating_sub(self.root_level as u64);
        RES1 | (vmid16 as u64) << 19
            | (self.ps as u64) << 16
            | WBWA_INNER_SHAREABLE
            | sl0 << 6
            | t0sz
    }

    /// The first level of the walk.
    pub(super) const fn root_level(self) -> u8 {
        self.root_level
    }

    /// log2 of the number of root tables.
    pub(super) const fn root_order(self) -> u32 {
        self.root_order as u32
    }

    /// log2 of the pages that one root table maps.
    pub(super) const fn root_shift(self) -> u32 {
        if self.root_level == 0 { 36 } else { 27 }
    }

    /// log2 of the pages that an entry of a root table maps.
    pub(super) const fn root_entry_order(self) -> u32 {
        if self.root_level == 0 { 27 } else { 18 }
    }

    /// The first frame number there is not.
    pub(super) const fn end(self) -> Gfn {
        Gfn(1u64.wrapping_shl(self.ipa_bits) >> PAGE_SHIFT)
    }

    pub(super) const fn contains(self, gfn: Gfn) -> bool {
        gfn.0 < self.end().0
    }

    /// Fails unless all `nr` pages from `mfn` have a physical address.
    pub(super) fn check_output(self, mfn: Mfn, nr: u64) -> Result<(), P2mError> {
        match mfn.checked_add(nr) {
            Some(end) if end.0 <= self.end().0 => Ok(()),
            _ => Err(P2mError::Invalid),
        }
    }
}
