// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an entry can mean, and the answers of the tables.

use crate::addr::Mfn;
use aarch64_paging::descriptor::Stage2Attributes as Bits;
use core::fmt;
use xen_abi::errno::Errno;

/// What a guest frame is, kept in the software bits of its entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum P2mType {
    /// The domain's RAM.
    RamRw = 1,
    /// RAM it may only read.
    RamRo = 2,
    /// Device registers, Device-nGnRE whatever the guest says.
    MmioDevice = 3,
    /// Device memory, Normal non-cacheable at best.
    MmioNc = 4,
    /// Device memory whose attributes the guest's own tables decide: Normal write-back outer
    /// shareable here (Xen's `direct_c`), for the initial domain.
    MmioCached = 5,
    /// Another domain's page.
    ForeignRw = 6,
    /// Another domain's page, to read.
    ForeignRo = 7,
    /// A granted page.
    GrantRw = 8,
    /// A granted page, to read.
    GrantRo = 9,
}

/// What a guest does to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reads data.
    Read,
    /// Writes data.
    Write,
    /// Fetches an instruction.
    Execute,
}

impl P2mType {
    /// The entry's bits but for the address.
    pub(super) fn attributes(self) -> Bits {
        let write_back = Bits::MEMATTR_NORMAL_INNER_WB | Bits::MEMATTR_NORMAL_OUTER_WB;
        let ram = write_back | Bits::SH_INNER;
        let kind = match self {
            Self::RamRw => ram | Bits::S2AP_ACCESS_RW,
            Self::RamRo => ram | Bits::S2AP_ACCESS_RO,
            Self::MmioDevice => {
                Bits::MEMATTR_DEVICE_nGnRE | Bits::SH_OUTER | Bits::S2AP_ACCESS_RW | Bits::XN
            }
            Self::MmioNc => {
                Bits::MEMATTR_NORMAL_INNER_NC
                    | Bits::MEMATTR_NORMAL_OUTER_NC
                    | Bits::SH_OUTER
                    | Bits::S2AP_ACCESS_RW
                    | Bits::XN
            }
            Self::MmioCached => write_back | Bits::SH_OUTER | Bits::S2AP_ACCESS_RW | Bits::XN,
            Self::ForeignRw | Self::GrantRw => ram | Bits::S2AP_ACCESS_RW | Bits::XN,
            Self::ForeignRo | Self::GrantRo => ram | Bits::S2AP_ACCESS_RO | Bits::XN,
        };
        let software = Bits::from_bits_retain((self as usize) << SOFTWARE_SHIFT);
        Bits::VALID | Bits::ACCESS_FLAG | kind | software
    }

    /// The type in an entry's bits; `None` if the entry is not valid.
    pub(super) fn from_attributes(bits: Bits) -> Option<Self> {
        if !bits.contains(Bits::VALID) {
            return None;
        }
        Some(match bits.bits() >> SOFTWARE_SHIFT & 0xf {
            1 => Self::RamRw,
            2 => Self::RamRo,
            3 => Self::MmioDevice,
            4 => Self::MmioNc,
            5 => Self::MmioCached,
            6 => Self::ForeignRw,
            7 => Self::ForeignRo,
            8 => Self::GrantRw,
            9 => Self::GrantRo,
            _ => return None,
        })
    }

    /// True if each entry of this type has a reference to its page.
    pub const fn holds_reference(self) -> bool {
        matches!(
            self,
            Self::ForeignRw | Self::ForeignRo | Self::GrantRw | Self::GrantRo
        )
    }

    /// True if only the grant table may take it away.
    pub const fn is_grant(self) -> bool {
        matches!(self, Self::GrantRw | Self::GrantRo)
    }

    /// True if it is the domain's RAM.
    pub const fn is_ram(self) -> bool {
        matches!(self, Self::RamRw | Self::RamRo)
    }

    /// True if it is memory rather than a device.
    pub const fn is_memory(self) -> bool {
        self.is_ram() || self.holds_reference()
    }

    /// True if the guest may do this to it.
    pub const fn allows(self, access: Access) -> bool {
        match access {
            Access::Read => true,
            Access::Write => !matches!(self, Self::RamRo | Self::ForeignRo | Self::GrantRo),
            Access::Execute => self.is_ram(),
        }
    }
}

/// SWFLAG_0 to SWFLAG_3.
const SOFTWARE_SHIFT: u32 = 55;

/// What a frame number means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The page.
    pub mfn: Mfn,
    /// log2 of the pages in the entry that maps it: 0, 9 or 18.
    pub order: u32,
    /// What it is.
    pub ty: P2mType,
}

/// How many pages were mapped before, by kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Replaced {
    /// The domain's RAM, still owned by it.
    pub ram: u64,
    /// Foreign or granted; their references go with the next flush.
    pub references: u64,
    /// Devices.
    pub mmio: u64,
}

impl Replaced {
    /// Counts `nr` pages of this type.
    pub(super) fn add(&mut self, ty: P2mType, nr: u64) {
        let count = if ty.is_ram() {
            &mut self.ram
        } else if ty.holds_reference() {
            &mut self.references
        } else {
            &mut self.mmio
        };
        *count = count.saturating_add(nr);
    }
}

/// Why tables were not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum P2mError {
    /// An address is out of range, or a type is not for this call.
    Invalid,
    /// No page for a table, or none within the pool's limit.
    NoMemory,
    /// A granted page is in the way.
    Busy,
    /// What should be removed is not there.
    NotMapped,
    /// The domain is being destroyed.
    Dying,
}

impl fmt::Display for P2mError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "addresses out of range",
            Self::NoMemory => "no memory for tables",
            Self::Busy => "a granted page is in the way",
            Self::NotMapped => "nothing is mapped there",
            Self::Dying => "the domain is being destroyed",
        })
    }
}

impl From<P2mError> for Errno {
    fn from(error: P2mError) -> Self {
        match error {
            P2mError::Invalid | P2mError::Dying => Self::Inval,
            P2mError::NoMemory => Self::NoMem,
            P2mError::Busy => Self::Busy,
            P2mError::NotMapped => Self::NoEnt,
        }
    }
}

/// What a stage-2 fault was about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum FaultOutcome {
    /// The entry allows the access: it was being changed. Let the guest try again.
    Retry,
    /// Nothing is there.
    Unmapped,
    /// It is this, which does not allow the access.
    Denied(P2mType),
}

/// How far restartable work came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Progress {
    /// All is done.
    Done,
    /// Call again.
    More,
}
