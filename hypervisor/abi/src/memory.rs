// SPDX-License-Identifier: MIT OR Apache-2.0
//! `memory_op` (`xen/memory.h`). x0 = sub-operation, x1 = structure.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::physdev::PciDevice;
use crate::xen::Handle;

/// Bits of x0 that hold the sub-operation (`MEMOP_EXTENT_SHIFT` low bits).
pub const MEMOP_CMD_MASK: u32 = 0x3f;
/// Bits of x0 from here up: first extent not yet done (continuations).
pub const MEMOP_EXTENT_SHIFT: u32 = 6;

/// [`MemoryReservation`]: returns extents done.
pub const XENMEM_INCREASE_RESERVATION: u32 = 0;
/// [`MemoryReservation`]: returns extents done.
pub const XENMEM_DECREASE_RESERVATION: u32 = 1;
/// Returns the highest machine frame number.
pub const XENMEM_MAXIMUM_RAM_PAGE: u32 = 2;
/// [`DomidArg`]: returns pages owned.
pub const XENMEM_CURRENT_RESERVATION: u32 = 3;
/// [`DomidArg`]: returns the page limit.
pub const XENMEM_MAXIMUM_RESERVATION: u32 = 4;
/// x86 only.
pub const XENMEM_MACHPHYS_MFN_LIST: u32 = 5;
/// [`MemoryReservation`]: returns extents done.
pub const XENMEM_POPULATE_PHYSMAP: u32 = 6;
/// [`AddToPhysmap`].
pub const XENMEM_ADD_TO_PHYSMAP: u32 = 7;
/// x86 only.
pub const XENMEM_MEMORY_MAP: u32 = 9;
/// x86 only.
pub const XENMEM_MACHINE_MEMORY_MAP: u32 = 10;
/// [`MemoryExchange`].
pub const XENMEM_EXCHANGE: u32 = 11;
/// x86 only.
pub const XENMEM_MACHPHYS_MAPPING: u32 = 12;
/// x86 only.
pub const XENMEM_SET_MEMORY_MAP: u32 = 13;
/// [`DomidArg`]: returns the highest mapped guest frame.
pub const XENMEM_MAXIMUM_GPFN: u32 = 14;
/// [`RemoveFromPhysmap`].
pub const XENMEM_REMOVE_FROM_PHYSMAP: u32 = 15;
/// x86 only.
pub const XENMEM_SET_POD_TARGET: u32 = 16;
/// x86 only.
pub const XENMEM_GET_POD_TARGET: u32 = 17;
/// Returns pages saved by sharing.
pub const XENMEM_GET_SHARING_FREED_PAGES: u32 = 18;
/// Returns pages shared.
pub const XENMEM_GET_SHARING_SHARED_PAGES: u32 = 19;
/// x86 only.
pub const XENMEM_PAGING_OP: u32 = 20;
/// Memory access restrictions for introspection.
pub const XENMEM_ACCESS_OP: u32 = 21;
/// x86 only.
pub const XENMEM_SHARING_OP: u32 = 22;
/// [`AddToPhysmapBatch`].
pub const XENMEM_ADD_TO_PHYSMAP_BATCH: u32 = 23;
/// [`MemoryReservation`]: reserve pages for a domain.
pub const XENMEM_CLAIM_PAGES: u32 = 24;
/// x86 only.
pub const XENMEM_MACHPHYS_COMPAT_MFN_LIST: u32 = 25;
/// Virtual NUMA topology.
pub const XENMEM_GET_VNUMAINFO: u32 = 26;
/// [`ReservedDeviceMemoryMap`].
pub const XENMEM_RESERVED_DEVICE_MEMORY_MAP: u32 = 27;
/// [`AcquireResource`].
pub const XENMEM_ACQUIRE_RESOURCE: u32 = 28;

/// `mem_flags`: width limit of machine addresses, 0 for none.
pub const XENMEMF_ADDRESS_BITS_MASK: u32 = 0xff;
/// `mem_flags`: bits 15:8 are the NUMA node plus one.
pub const XENMEMF_NODE_SHIFT: u32 = 8;
/// `mem_flags`: populate on demand (x86).
pub const XENMEMF_POPULATE_ON_DEMAND: u32 = 1 << 16;
/// `mem_flags`: only from the node given.
pub const XENMEMF_EXACT_NODE_REQUEST: u32 = 1 << 17;
/// `mem_flags`: the node is virtual.
pub const XENMEMF_VNODE: u32 = 1 << 18;

/// The shared info page; `idx` is 0.
pub const XENMAPSPACE_SHARED_INFO: u32 = 0;
/// Frame `idx` of the grant table.
pub const XENMAPSPACE_GRANT_TABLE: u32 = 1;
/// x86 only.
pub const XENMAPSPACE_GMFN: u32 = 2;
/// x86 only.
pub const XENMAPSPACE_GMFN_RANGE: u32 = 3;
/// Frame `idx` of another domain; batch call only.
pub const XENMAPSPACE_GMFN_FOREIGN: u32 = 4;
/// Device memory; `idx` is a machine frame.
pub const XENMAPSPACE_DEV_MMIO: u32 = 5;
/// `idx` bit: status frames of grant table v2.
pub const XENMAPIDX_GRANT_TABLE_STATUS: u64 = 0x8000_0000;

/// `flags`: all regions, whatever the device.
pub const XENMEM_RDM_ALL: u32 = 1;

/// `type`: pages of an ioreq server.
pub const XENMEM_RESOURCE_IOREQ_SERVER: u16 = 0;
/// `type`: grant table frames.
pub const XENMEM_RESOURCE_GRANT_TABLE: u16 = 1;
/// `type`: trace buffer.
pub const XENMEM_RESOURCE_VMTRACE_BUF: u16 = 2;
/// `id`: shared entries.
pub const XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED: u32 = 0;
/// `id`: status entries (v2).
pub const XENMEM_RESOURCE_GRANT_TABLE_ID_STATUS: u32 = 1;

/// `struct xen_memory_reservation`: extents of `2^extent_order` pages each.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct MemoryReservation {
    /// Array of `u64` first frame numbers.
    pub extent_start: Handle,
    /// Length of the array.
    pub nr_extents: u64,
    /// Log2 of the pages in one extent.
    pub extent_order: u32,
    /// `XENMEMF_*`.
    pub mem_flags: u32,
    /// Domain acted upon.
    pub domid: u16,
    /// Padding.
    pub _pad: [u8; 6],
}

/// The argument of operations that take only a domain (`domid_t`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct DomidArg {
    /// Domain asked about.
    pub domid: u16,
}

/// `struct xen_memory_exchange`: give `input` extents, get `out` extents.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct MemoryExchange {
    /// Extents given up (C name `in`).
    pub input: MemoryReservation,
    /// Extents wanted.
    pub out: MemoryReservation,
    /// In, out: input extents done.
    pub nr_exchanged: u64,
}

/// `struct xen_add_to_physmap`: map one page of a special kind.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct AddToPhysmap {
    /// Whose physmap.
    pub domid: u16,
    /// Pages, for `XENMAPSPACE_gmfn_range`.
    pub size: u16,
    /// `XENMAPSPACE_*`.
    pub space: u32,
    /// Index into the space.
    pub idx: u64,
    /// Guest frame to map at.
    pub gpfn: u64,
}

/// `struct xen_add_to_physmap_batch`: the same for several pages.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct AddToPhysmapBatch {
    /// Whose physmap.
    pub domid: u16,
    /// `XENMAPSPACE_*`.
    pub space: u16,
    /// Pages.
    pub size: u16,
    /// Owner of the pages; zero except for `XENMAPSPACE_gmfn_foreign` (union `u` with `res0`).
    pub foreign_domid: u16,
    /// Array of `u64` indices.
    pub idxs: Handle,
    /// Array of `u64` guest frames.
    pub gpfns: Handle,
    /// Out: array of `s32` results.
    pub errs: Handle,
}

/// `struct xen_remove_from_physmap`: unmap one page.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct RemoveFromPhysmap {
    /// Whose physmap.
    pub domid: u16,
    /// Padding.
    pub _pad: [u8; 6],
    /// Guest frame.
    pub gpfn: u64,
}

/// `struct xen_mem_acquire_resource`: map pages of another domain's resource.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct AcquireResource {
    /// Owner of the resource.
    pub domid: u16,
    /// `XENMEM_RESOURCE_*`.
    pub r#type: u16,
    /// Which one of that type.
    pub id: u32,
    /// In: frames wanted. Out, if 0 with a null list: size of the resource.
    pub nr_frames: u32,
    /// Must be zero.
    pub pad: u32,
    /// First frame of the resource.
    pub frame: u64,
    /// Array of `u64` caller's guest frames to map at.
    pub frame_list: Handle,
}

/// `struct xen_reserved_device_memory_map`: memory reserved for devices.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ReservedDeviceMemoryMap {
    /// `XENMEM_RDM_*`.
    pub flags: u32,
    /// In: room in `buffer`. Out: entries needed.
    pub nr_entries: u32,
    /// Out: array of {start frame, pages}, two `u64` each.
    pub buffer: Handle,
    /// The device, unless all regions are asked for.
    pub dev: PciDevice,
    /// Padding.
    pub _pad: u32,
}
