// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stage-2 aborts and the device accesses behind them.
//!
//! Source: Arm ARM DDI 0487, ESR_EL2 "ISS encoding for an exception from a Data Abort" and
//! "… from an Instruction Abort", HPFAR_EL2.

use super::{bit, bits, sign_extend};
use crate::addr::{Ipa, PAGE_SIZE};

/// Why an access failed (DFSC or IFSC).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// An address beyond the size the tables allow.
    AddressSize {
        /// Level of the lookup.
        level: i8,
    },
    /// Not mapped.
    Translation {
        /// Level of the lookup.
        level: i8,
    },
    /// The access flag is clear.
    AccessFlag {
        /// Level of the lookup.
        level: i8,
    },
    /// Mapped, but not for this.
    Permission {
        /// Level of the lookup.
        level: i8,
    },
    /// The bus answered with an error, to the access itself or to a table walk; parity and ECC
    /// errors too.
    External,
    /// Not aligned.
    Alignment,
    /// Any other status.
    Other(u8),
}

impl Fault {
    /// Decodes six bits of fault status.
    const fn from_fsc(fsc: u8) -> Self {
        let level = (fsc & 3) as i8;
        match fsc {
            0x00..=0x03 => Self::AddressSize { level },
            0x04..=0x07 => Self::Translation { level },
            0x08..=0x0b => Self::AccessFlag { level },
            0x0c..=0x0f => Self::Permission { level },
            0x10 | 0x12..=0x18 | 0x1a..=0x1f => Self::External,
            0x21 => Self::Alignment,
            0x29 => Self::AddressSize { level: -1 },
            0x2b => Self::Translation { level: -1 },
            other => Self::Other(other),
        }
    }

    /// True if HPFAR_EL2 holds the faulting page when stage 2 caused this directly.
    const fn sets_hpfar(self) -> bool {
        matches!(
            self,
            Self::AddressSize { .. } | Self::Translation { .. } | Self::AccessFlag { .. }
        )
    }
}

/// The faulting address from HPFAR_EL2 and FAR_EL2.
const fn fault_ipa(hpfar: u64, far: u64, s1ptw: bool) -> Ipa {
    let page = bits(hpfar, 4, 40) << 12;
    // On a table walk, FAR_EL2 is the address being translated, not the table entry's.
    let offset = if s1ptw { 0 } else { far & (PAGE_SIZE - 1) };
    Ipa(page | offset)
}

/// ISS of a data abort from a lower EL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct DataAbort(pub u32);

impl DataAbort {
    const fn iss(self) -> u64 {
        self.0 as u64
    }
    /// The fault.
    pub const fn fault(self) -> Fault {
        Fault::from_fsc(bits(self.iss(), 0, 6) as u8)
    }
    /// WnR: a write. Also set for cache maintenance.
    pub const fn write(self) -> bool {
        bit(self.iss(), 6)
    }
    /// S1PTW: it was the guest's table walk that stage 2 refused.
    pub const fn s1ptw(self) -> bool {
        bit(self.iss(), 7)
    }
    /// CM: a cache maintenance or address translation instruction.
    pub const fn cache_maintenance(self) -> bool {
        bit(self.iss(), 8)
    }
    /// FnV: FAR_EL2 is not valid.
    pub const fn far_invalid(self) -> bool {
        bit(self.iss(), 10)
    }
    /// ISV: size, register and the like are known.
    pub const fn isv(self) -> bool {
        bit(self.iss(), 24)
    }
    /// True if [`Self::ipa`] can be relied on. It cannot for a permission fault: there the
    /// address in FAR_EL2 has to be translated.
    pub const fn ipa_valid(self) -> bool {
        self.s1ptw() || (self.fault().sets_hpfar() && !self.far_invalid())
    }
    /// The faulting address; of the page only, for a table walk.
    pub const fn ipa(self, hpfar: u64, far: u64) -> Ipa {
        fault_ipa(hpfar, far, self.s1ptw())
    }
    /// The access to emulate at `ipa`, if the syndrome says it (see [`super::insn`] if not).
    pub const fn mmio(self, ipa: Ipa) -> Option<MmioAccess> {
        if !self.isv() || self.s1ptw() || self.cache_maintenance() {
            return None;
        }
        Some(MmioAccess {
            ipa,
            size: 1 << bits(self.iss(), 22, 2),
            write: self.write(),
            reg: bits(self.iss(), 16, 5) as u8,
            sign_extend: bit(self.iss(), 21),
            sf: bit(self.iss(), 15),
        })
    }
}

/// ISS of an instruction abort from a lower EL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct InstrAbort(pub u32);

impl InstrAbort {
    /// The fault.
    pub const fn fault(self) -> Fault {
        Fault::from_fsc(bits(self.0 as u64, 0, 6) as u8)
    }
    /// S1PTW: it was the guest's table walk that stage 2 refused.
    pub const fn s1ptw(self) -> bool {
        bit(self.0 as u64, 7)
    }
    /// True if [`Self::ipa`] can be relied on.
    pub const fn ipa_valid(self) -> bool {
        self.s1ptw() || (self.fault().sets_hpfar() && !bit(self.0 as u64, 10))
    }
    /// The faulting address; of the page only, for a table walk.
    pub const fn ipa(self, hpfar: u64, far: u64) -> Ipa {
        fault_ipa(hpfar, far, self.s1ptw())
    }
}

/// One access to an emulated device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmioAccess {
    /// Where.
    pub ipa: Ipa,
    /// Bytes: 1, 2, 4 or 8. Nothing says that `ipa` is a multiple of it.
    pub size: u8,
    /// A store.
    pub write: bool,
    /// The register stored or loaded; 31 is XZR (see [`super::gpr`], [`super::set_gpr`]).
    pub reg: u8,
    /// A load that extends the sign.
    pub sign_extend: bool,
    /// The register is 64 bits wide.
    pub sf: bool,
}

impl MmioAccess {
    const fn width(&self) -> u32 {
        match self.size {
            1 => 8,
            2 => 16,
            4 => 32,
            _ => 64,
        }
    }

    /// What a store of register value `reg` writes.
    pub const fn store_value(&self, reg: u64) -> u64 {
        match self.width() {
            64 => reg,
            width => bits(reg, 0, width),
        }
    }

    /// What the register holds after the device answered `value` to a load.
    pub const fn complete_read(&self, value: u64) -> u64 {
        let value = self.store_value(value);
        let extended = if self.sign_extend {
            sign_extend(value, self.width()) as u64
        } else {
            value
        };
        if self.sf {
            extended
        } else {
            bits(extended, 0, 32)
        }
    }
}

#[cfg(test)]
mod tests;
