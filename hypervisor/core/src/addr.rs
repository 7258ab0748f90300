// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses and frame numbers, one type for each space, so that they cannot be mixed up.

use core::fmt;

/// log2 of the page size, the 4 KiB granule at both stages.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a page.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

macro_rules! address {
    ($(#[$doc:meta])* $addr:ident $(, $(#[$fdoc:meta])* $frame:ident)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $addr(pub u64);

        impl $addr {
            /// The offset within the page.
            pub const fn page_offset(self) -> u64 {
                self.0 & (PAGE_SIZE - 1)
            }
            /// `self + bytes`, unless it wraps.
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(v) => Some(Self(v)),
                    None => None,
                }
            }
            /// True if a multiple of `align`, a power of two.
            pub const fn is_aligned(self, align: u64) -> bool {
                self.0 & align.wrapping_sub(1) == 0
            }
            $(
                /// The frame that holds this address.
                pub const fn frame(self) -> $frame {
                    $frame(self.0 >> PAGE_SHIFT)
                }
            )?
        }

        impl fmt::Debug for $addr {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($addr), "({:#x})"), self.0)
            }
        }
        impl fmt::Display for $addr {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        $(
            $(#[$fdoc])*
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
            #[repr(transparent)]
            pub struct $frame(pub u64);

            impl $frame {
                /// The frame's first address. The number must be one of a real frame
                /// (the bits that do not fit are lost).
                pub const fn base(self) -> $addr {
                    $addr(self.0 << PAGE_SHIFT)
                }
                /// The frame `n` further, unless it wraps.
                pub const fn checked_add(self, n: u64) -> Option<Self> {
                    match self.0.checked_add(n) {
                        Some(v) => Some(Self(v)),
                        None => None,
                    }
                }
                /// True if a multiple of 2^`order` frames.
                pub const fn is_aligned(self, order: u32) -> bool {
                    order < 64 && self.0 >> order << order == self.0
                }
            }

            impl fmt::Debug for $frame {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, concat!(stringify!($frame), "({:#x})"), self.0)
                }
            }
            impl fmt::Display for $frame {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, "{:#x}", self.0)
                }
            }
        )?
    };
}

address!(
    /// A machine (physical) address.
    Pa,
    /// A machine frame number: `Pa >> 12`.
    Mfn
);
address!(
    /// A guest physical address, which stage 2 translates.
    Ipa,
    /// A guest frame number: `Ipa >> 12`.
    Gfn
);
address!(
    /// A guest virtual address in the EL1&0 regime of the vCPU that named it.
    Gva
);

/// A domain's number (`domid_t`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct DomId(pub u16);

impl fmt::Debug for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}", self.0)
    }
}
impl fmt::Display for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}", self.0)
    }
}

/// A physical CPU's index: its place in the device tree, 0 the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct CpuId(pub u32);

impl CpuId {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A range of machine addresses, `start` to `end` (exclusive).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PaRange {
    /// First address.
    pub start: Pa,
    /// First address after the range.
    pub end: Pa,
}

impl fmt::Display for PaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

impl PaRange {
    /// `size` bytes from `start`; `None` if that wraps.
    pub const fn new(start: Pa, size: u64) -> Option<Self> {
        match start.checked_add(size) {
            Some(end) => Some(Self { start, end }),
            None => None,
        }
    }
    /// Length in bytes.
    pub const fn size(&self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }
    /// True if it holds no address.
    pub const fn is_empty(&self) -> bool {
        self.end.0 <= self.start.0
    }
    /// True if `pa` lies in it.
    pub const fn contains(&self, pa: Pa) -> bool {
        self.start.0 <= pa.0 && pa.0 < self.end.0
    }
    /// True if the two share an address.
    pub const fn overlaps(&self, other: &Self) -> bool {
        !self.is_empty()
            && !other.is_empty()
            && self.start.0 < other.end.0
            && other.start.0 < self.end.0
    }
    /// Grown to whole pages.
    pub const fn page_aligned(&self) -> Self {
        Self {
            start: Pa(self.start.0 & !(PAGE_SIZE - 1)),
            end: Pa(self.end.0.saturating_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1)),
        }
    }
}
