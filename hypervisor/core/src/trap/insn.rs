// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loads and stores whose abort comes without a syndrome (ISV = 0): those with writeback,
//! and pairs. Source: Arm ARM DDI 0487, C4.1 "Loads and Stores".

use super::abort::MmioAccess;
use super::{bit, bits, sign_extend};
use crate::addr::{Ipa, PAGE_SIZE};

/// Where the address comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offset {
    /// A constant, in bytes.
    Immediate(i64),
    /// A register, extended and shifted.
    Register {
        /// The number of the register; 31 is XZR.
        reg: u8,
        /// `option`: 2 UXTW, 3 LSL, 6 SXTW, 7 SXTX.
        extend: u8,
        /// Bits to shift left, 0 to 3.
        shift: u8,
    },
}

/// When the base register changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Index {
    /// Never: the address is base + offset.
    Offset,
    /// Before: the address is base + offset, which the base becomes.
    Pre,
    /// After: the address is the base, which then becomes base + offset.
    Post,
}

/// A load or store of one or two general registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadStore {
    /// The register transferred; 31 is XZR.
    pub reg: u8,
    /// The second register of a pair.
    pub reg2: Option<u8>,
    /// The base register; 31 is SP.
    pub base: u8,
    /// What is added to the base.
    pub offset: Offset,
    /// When it is.
    pub index: Index,
    /// Bytes of each register in memory.
    pub size: u8,
    /// A store.
    pub write: bool,
    /// A load that extends the sign.
    pub sign_extend: bool,
    /// The registers are 64 bits wide.
    pub sf: bool,
}

/// How to perform a [`LoadStore`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The first (or only) access.
    pub first: MmioAccess,
    /// The second access of a pair.
    pub second: Option<MmioAccess>,
    /// The base register (31 is SP) and its new value, to be written after the accesses.
    pub writeback: Option<(u8, u64)>,
}

/// Decodes an A64 instruction. `None` for what has no emulation: SIMD, exclusives, atomics,
/// literals, prefetches, and forms that are CONSTRAINED UNPREDICTABLE.
pub fn decode(insn: u32) -> Option<LoadStore> {
    let insn = u64::from(insn);
    match (bits(insn, 27, 3), bit(insn, 26)) {
        (0b111, false) => decode_single(insn),
        (0b101, false) => decode_pair(insn),
        (0b001, false) => decode_ordered(insn),
        _ => None,
    }
    .filter(LoadStore::is_predictable)
}

/// Load/store register: all addressing forms.
fn decode_single(insn: u64) -> Option<LoadStore> {
    let scale = bits(insn, 30, 2) as u8;
    let (write, sign_extend, sf) = match (bits(insn, 22, 2), scale) {
        (0, _) => (true, false, scale == 3),
        (1, _) => (false, false, scale == 3),
        (2, 0..=2) => (false, true, true),
        (3, 0 | 1) => (false, true, false),
        _ => return None,
    };
    let (offset, index) = single_address(insn, scale)?;
    Some(LoadStore {
        reg: bits(insn, 0, 5) as u8,
        reg2: None,
        base: bits(insn, 5, 5) as u8,
        offset,
        index,
        size: 1 << scale,
        write,
        sign_extend,
        sf,
    })
}

fn single_address(insn: u64, scale: u8) -> Option<(Offset, Index)> {
    let imm9 = Offset::Immediate(sign_extend(bits(insn, 12, 9), 9));
    Some(
        match (bits(insn, 24, 2), bit(insn, 21), bits(insn, 10, 2)) {
            (0b01, _, _) => {
                let imm12 = bits(insn, 10, 12) << scale;
                (Offset::Immediate(imm12 as i64), Index::Offset)
            }
            // Unscaled, and unprivileged: the access rights have been checked by the processor.
            (0b00, false, 0b00 | 0b10) => (imm9, Index::Offset),
            (0b00, false, 0b01) => (imm9, Index::Post),
            (0b00, false, 0b11) => (imm9, Index::Pre),
            (0b00, true, 0b10) => (register_offset(insn, scale)?, Index::Offset),
            _ => return None,
        },
    )
}

fn register_offset(insn: u64, scale: u8) -> Option<Offset> {
    let extend = bits(insn, 13, 3) as u8;
    // UXTW, LSL, SXTW, SXTX; the others are unallocated.
    (extend & 2 != 0).then_some(Offset::Register {
        reg: bits(insn, 16, 5) as u8,
        extend,
        shift: if bit(insn, 12) { scale } else { 0 },
    })
}

/// Load/store pair: offset, non-temporal, pre-indexed, post-indexed.
fn decode_pair(insn: u64) -> Option<LoadStore> {
    let load = bit(insn, 22);
    let index = match bits(insn, 23, 3) {
        0 | 2 => Index::Offset,
        1 => Index::Post,
        3 => Index::Pre,
        _ => return None,
    };
    let (scale, sign_extend, sf) = match bits(insn, 30, 2) {
        0 => (2, false, false),
        // LDPSW; the store is STGP, the non-temporal form is unallocated.
        1 if load && bits(insn, 23, 3) != 0 => (2, true, true),
        2 => (3, false, true),
        _ => return None,
    };
    Some(LoadStore {
        reg: bits(insn, 0, 5) as u8,
        reg2: Some(bits(insn, 10, 5) as u8),
        base: bits(insn, 5, 5) as u8,
        offset: Offset::Immediate(self::sign_extend(bits(insn, 15, 7), 7) << scale),
        index,
        size: 1 << scale,
        write: !load,
        sign_extend,
        sf,
    })
}

/// LDAR, STLR, LDLAR, STLLR of all sizes.
fn decode_ordered(insn: u64) -> Option<LoadStore> {
    const FORM: u64 = 0x3fbf_7c00;
    const LDLAR_STLLR: u64 = 0x089f_7c00;
    if insn & FORM != LDLAR_STLLR {
        return None;
    }
    let scale = bits(insn, 30, 2);
    Some(LoadStore {
        reg: bits(insn, 0, 5) as u8,
        reg2: None,
        base: bits(insn, 5, 5) as u8,
        offset: Offset::Immediate(0),
        index: Index::Offset,
        size: 1 << scale,
        write: !bit(insn, 22),
        sign_extend: false,
        sf: scale == 3,
    })
}

impl LoadStore {
    /// False if writeback and a transfer meet in one register, or two loads do.
    fn is_predictable(&self) -> bool {
        let transfers_base = self.reg == self.base || self.reg2 == Some(self.base);
        let clash = self.index != Index::Offset && self.base != 31 && transfers_base;
        let double_load = !self.write && self.reg2 == Some(self.reg);
        !clash && !double_load
    }

    /// How to perform it. `reg(n)` is general register `n`, `base` the value of [`Self::base`];
    /// `far` is the address that faulted and `ipa` what it is translated to.
    ///
    /// `None` if the fault was not at the first byte, or a pair leaves the page: part of it may
    /// be in memory.
    pub fn plan(&self, reg: impl Fn(u8) -> u64, base: u64, far: u64, ipa: Ipa) -> Option<Plan> {
        let moved = base.wrapping_add(self.offset_value(reg));
        let address = match self.index {
            Index::Post => base,
            _ => moved,
        };
        // The top byte may be a tag.
        if (address ^ far) << 8 != 0 {
            return None;
        }
        let first = self.access(self.reg, ipa);
        let second = match self.reg2 {
            Some(reg2) => {
                let size = u64::from(self.size);
                let bytes = size.saturating_add(size);
                if ipa.page_offset().saturating_add(bytes) > PAGE_SIZE {
                    return None;
                }
                Some(self.access(reg2, ipa.checked_add(size)?))
            }
            None => None,
        };
        let writeback = (self.index != Index::Offset).then_some((self.base, moved));
        Some(Plan {
            first,
            second,
            writeback,
        })
    }

    fn offset_value(&self, value_of: impl Fn(u8) -> u64) -> u64 {
        match self.offset {
            Offset::Immediate(offset) => offset as u64,
            Offset::Register { reg, extend, shift } => {
                let value = if reg == 31 { 0 } else { value_of(reg) };
                let extended = match extend {
                    2 => bits(value, 0, 32),
                    6 => sign_extend(value, 32) as u64,
                    _ => value,
                };
                extended << (shift & 3)
            }
        }
    }

    fn access(&self, reg: u8, ipa: Ipa) -> MmioAccess {
        MmioAccess {
            ipa,
            size: self.size,
            write: self.write,
            reg,
            sign_extend: self.sign_extend,
            sf: self.sf,
        }
    }
}

#[cfg(test)]
mod tests;
