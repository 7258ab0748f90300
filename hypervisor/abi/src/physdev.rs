// SPDX-License-Identifier: MIT OR Apache-2.0
//! `physdev_op` (`xen/physdev.h`). x0 = sub-operation, x1 = structure.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// x86 only.
pub const PHYSDEVOP_IRQ_STATUS_QUERY: u32 = 5;
/// x86 only.
pub const PHYSDEVOP_EOI: u32 = 12;
/// x86 only.
pub const PHYSDEVOP_MAP_PIRQ: u32 = 13;
/// x86 only.
pub const PHYSDEVOP_UNMAP_PIRQ: u32 = 14;
/// PCI device appeared.
pub const PHYSDEVOP_MANAGE_PCI_ADD: u32 = 15;
/// PCI device disappeared.
pub const PHYSDEVOP_MANAGE_PCI_REMOVE: u32 = 16;
/// x86 only.
pub const PHYSDEVOP_RESTORE_MSI: u32 = 19;
/// PCI device appeared, with details.
pub const PHYSDEVOP_MANAGE_PCI_ADD_EXT: u32 = 20;
/// x86 only.
pub const PHYSDEVOP_SETUP_GSI: u32 = 21;
/// x86 only.
pub const PHYSDEVOP_GET_FREE_PIRQ: u32 = 23;
/// Configuration space is reserved.
pub const PHYSDEVOP_PCI_MMCFG_RESERVED: u32 = 24;
/// PCI device appeared, by segment.
pub const PHYSDEVOP_PCI_DEVICE_ADD: u32 = 25;
/// PCI device disappeared, by segment.
pub const PHYSDEVOP_PCI_DEVICE_REMOVE: u32 = 26;
/// x86 only.
pub const PHYSDEVOP_RESTORE_MSI_EXT: u32 = 27;
/// USB debug port.
pub const PHYSDEVOP_DBGP_OP: u32 = 29;
/// MSI-X resources are settled.
pub const PHYSDEVOP_PREPARE_MSIX: u32 = 30;
/// MSI-X resources may change.
pub const PHYSDEVOP_RELEASE_MSIX: u32 = 31;
/// PCI device was reset.
pub const PHYSDEVOP_PCI_DEVICE_RESET: u32 = 32;

/// `struct physdev_pci_device`: a PCI device by address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct PciDevice {
    /// Segment.
    pub seg: u16,
    /// Bus.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
}
