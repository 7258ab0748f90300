// SPDX-License-Identifier: MIT OR Apache-2.0
//! `grant_table_op` (`xen/grant_table.h`). x0 = sub-operation, x1 = array, x2 = its length.
//!
//! The call fails as a whole only for an unreadable array or an unknown sub-operation; each
//! element has its own `status`, one of `GNTST_*`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::xen::Handle;

/// [`MapGrantRef`].
pub const GNTTABOP_MAP_GRANT_REF: u32 = 0;
/// [`UnmapGrantRef`].
pub const GNTTABOP_UNMAP_GRANT_REF: u32 = 1;
/// [`SetupTable`].
pub const GNTTABOP_SETUP_TABLE: u32 = 2;
/// Debugging.
pub const GNTTABOP_DUMP_TABLE: u32 = 3;
/// Give a page away.
pub const GNTTABOP_TRANSFER: u32 = 4;
/// [`GrantCopy`].
pub const GNTTABOP_COPY: u32 = 5;
/// [`QuerySize`].
pub const GNTTABOP_QUERY_SIZE: u32 = 6;
/// x86 PV.
pub const GNTTABOP_UNMAP_AND_REPLACE: u32 = 7;
/// [`SetVersion`].
pub const GNTTABOP_SET_VERSION: u32 = 8;
/// [`GetStatusFrames`]; table v2.
pub const GNTTABOP_GET_STATUS_FRAMES: u32 = 9;
/// [`GetVersion`].
pub const GNTTABOP_GET_VERSION: u32 = 10;
/// [`SwapGrantRef`].
pub const GNTTABOP_SWAP_GRANT_REF: u32 = 11;
/// [`CacheFlush`].
pub const GNTTABOP_CACHE_FLUSH: u32 = 12;
/// Bits of x0 that hold the sub-operation; the others belong to continuations.
pub const GNTTABOP_CMD_MASK: u32 = 0xfff;

/// Entry type: no access.
pub const GTF_INVALID: u16 = 0;
/// Entry type: `domid` may map or copy `frame`.
pub const GTF_PERMIT_ACCESS: u16 = 1;
/// Entry type: `domid` may transfer a page here.
pub const GTF_ACCEPT_TRANSFER: u16 = 2;
/// Entry type: refers to another grant (v2).
pub const GTF_TRANSITIVE: u16 = 3;
/// Bits of the type.
pub const GTF_TYPE_MASK: u16 = 3;
/// Only reading is permitted.
pub const GTF_READONLY: u16 = 1 << 2;
/// Set by Xen: in use for reading.
pub const GTF_READING: u16 = 1 << 3;
/// Set by Xen: in use for writing.
pub const GTF_WRITING: u16 = 1 << 4;
/// x86 cache attribute.
pub const GTF_PWT: u16 = 1 << 5;
/// x86 cache attribute.
pub const GTF_PCD: u16 = 1 << 6;
/// x86 cache attribute.
pub const GTF_PAT: u16 = 1 << 7;
/// Only part of the page (v2).
pub const GTF_SUB_PAGE: u16 = 1 << 8;
/// Of a transfer: started.
pub const GTF_TRANSFER_COMMITTED: u16 = 1 << 2;
/// Of a transfer: done.
pub const GTF_TRANSFER_COMPLETED: u16 = 1 << 3;

/// References the toolstack may fill in.
pub const GNTTAB_NR_RESERVED_ENTRIES: u32 = 8;
/// Reference of the console ring.
pub const GNTTAB_RESERVED_CONSOLE: u32 = 0;
/// Reference of the xenstore ring.
pub const GNTTAB_RESERVED_XENSTORE: u32 = 1;
/// Entries of table v1 in one page.
pub const GRANT_ENTRIES_PER_FRAME: u32 = 512;

/// Map for devices.
pub const GNTMAP_DEVICE_MAP: u32 = 1 << 0;
/// Map for CPUs.
pub const GNTMAP_HOST_MAP: u32 = 1 << 1;
/// Map for reading.
pub const GNTMAP_READONLY: u32 = 1 << 2;
/// x86 PV.
pub const GNTMAP_APPLICATION_MAP: u32 = 1 << 3;
/// x86 PV.
pub const GNTMAP_CONTAINS_PTE: u32 = 1 << 4;
/// Bits the guest may use as it likes.
pub const GNTMAP_GUEST_AVAIL_MASK: u32 = 0xffff_0000;

/// [`GrantCopy::source`] is a grant reference.
pub const GNTCOPY_SOURCE_GREF: u16 = 1 << 0;
/// [`GrantCopy::dest`] is a grant reference.
pub const GNTCOPY_DEST_GREF: u16 = 1 << 1;

/// Clean.
pub const GNTTAB_CACHE_CLEAN: u32 = 1 << 0;
/// Invalidate.
pub const GNTTAB_CACHE_INVAL: u32 = 1 << 1;
/// [`CacheFlush::a`] is a grant reference.
pub const GNTTAB_CACHE_SOURCE_GREF: u32 = 1 << 31;

/// Done.
pub const GNTST_OKAY: i16 = 0;
/// Undefined error.
pub const GNTST_GENERAL_ERROR: i16 = -1;
/// No such domain.
pub const GNTST_BAD_DOMAIN: i16 = -2;
/// No such or wrong reference.
pub const GNTST_BAD_GNTREF: i16 = -3;
/// No such or wrong handle.
pub const GNTST_BAD_HANDLE: i16 = -4;
/// Wrong virtual address.
pub const GNTST_BAD_VIRT_ADDR: i16 = -5;
/// Wrong device address.
pub const GNTST_BAD_DEV_ADDR: i16 = -6;
/// No space in the I/O MMU.
pub const GNTST_NO_DEVICE_SPACE: i16 = -7;
/// Not privileged enough.
pub const GNTST_PERMISSION_DENIED: i16 = -8;
/// The page cannot be used so.
pub const GNTST_BAD_PAGE: i16 = -9;
/// A copy crosses a page boundary.
pub const GNTST_BAD_COPY_ARG: i16 = -10;
/// The page's address is too large.
pub const GNTST_ADDRESS_TOO_BIG: i16 = -11;
/// Not done; try again.
pub const GNTST_EAGAIN: i16 = -12;
/// Out of handles or frames.
pub const GNTST_NO_SPACE: i16 = -13;

/// `struct grant_entry_v1`: one entry of the table a domain shares with Xen (8 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct GrantEntryV1 {
    /// `GTF_*`.
    pub flags: u16,
    /// Domain granted to.
    pub domid: u16,
    /// Guest frame granted.
    pub frame: u32,
}

/// `struct gnttab_map_grant_ref`: map a page granted to the caller.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct MapGrantRef {
    /// Guest physical address to map at.
    pub host_addr: u64,
    /// `GNTMAP_*`.
    pub flags: u32,
    /// Reference in `dom`'s table.
    pub r#ref: u32,
    /// Granting domain.
    pub dom: u16,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Out: names the mapping.
    pub handle: u32,
    /// Out: machine address of the page.
    pub dev_bus_addr: u64,
}

/// `struct gnttab_unmap_grant_ref`: undo a mapping.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct UnmapGrantRef {
    /// Where it was mapped.
    pub host_addr: u64,
    /// Device mapping to undo, or 0.
    pub dev_bus_addr: u64,
    /// The mapping.
    pub handle: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub _pad: u16,
}

/// `struct gnttab_setup_table`: grow the table and list its frames.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SetupTable {
    /// Whose table.
    pub dom: u16,
    /// Padding.
    pub _pad0: u16,
    /// Frames wanted.
    pub nr_frames: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub _pad1: [u8; 6],
    /// Out: array of `u64` frame numbers.
    pub frame_list: Handle,
}

/// `struct gnttab_copy_ptr`: one side of a [`GrantCopy`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct GrantCopyPtr {
    /// Grant reference (low 32 bits) or guest frame, by [`GrantCopy::flags`].
    pub u: u64,
    /// Granting domain; `DOMID_SELF` for a frame.
    pub domid: u16,
    /// Byte offset in the page.
    pub offset: u16,
    /// Padding.
    pub _pad: u32,
}

impl GrantCopyPtr {
    /// The union as a grant reference.
    #[must_use]
    pub const fn gref(&self) -> u32 {
        (self.u & 0xffff_ffff) as u32
    }

    /// The union as a guest frame number.
    #[must_use]
    pub const fn gmfn(&self) -> u64 {
        self.u
    }
}

/// `struct gnttab_copy`: copy within one page.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct GrantCopy {
    /// From.
    pub source: GrantCopyPtr,
    /// To.
    pub dest: GrantCopyPtr,
    /// Bytes.
    pub len: u16,
    /// `GNTCOPY_*`.
    pub flags: u16,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub _pad: u16,
}

/// `struct gnttab_query_size`: size of a table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct QuerySize {
    /// Whose table.
    pub dom: u16,
    /// Padding.
    pub _pad0: u16,
    /// Out: frames it has.
    pub nr_frames: u32,
    /// Out: frames it may have.
    pub max_nr_frames: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub _pad1: u16,
}

/// `struct gnttab_set_version`: choose the format of the caller's table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SetVersion {
    /// In: version wanted. Out: version in use.
    pub version: u32,
}

/// `struct gnttab_get_status_frames`: frames of the status table (v2).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct GetStatusFrames {
    /// Frames wanted.
    pub nr_frames: u32,
    /// Whose table.
    pub dom: u16,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Out: array of `u64` frame numbers.
    pub frame_list: Handle,
}

/// `struct gnttab_get_version`: format of a table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct GetVersion {
    /// Whose table.
    pub dom: u16,
    /// Padding.
    pub _pad: u16,
    /// Out: version in use.
    pub version: u32,
}

/// `struct gnttab_swap_grant_ref`: exchange two entries of the caller.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SwapGrantRef {
    /// One reference.
    pub ref_a: u32,
    /// The other.
    pub ref_b: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub _pad: u16,
}

/// `struct gnttab_cache_flush`: maintain the data cache over part of one page.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct CacheFlush {
    /// Machine address (low 12 bits ignored), or a grant reference in the low 32 bits.
    pub a: u64,
    /// First byte in the page.
    pub offset: u16,
    /// Bytes.
    pub length: u16,
    /// `GNTTAB_CACHE_*`.
    pub op: u32,
}
