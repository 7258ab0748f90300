// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xen_version` (`xen/version.h`, `xen/features.h`). x0 = command, x1 = buffer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Returns major << 16 | minor; no buffer.
pub const XENVER_VERSION: u32 = 0;
/// Fills `char[16]`.
pub const XENVER_EXTRAVERSION: u32 = 1;
/// Fills [`CompileInfo`].
pub const XENVER_COMPILE_INFO: u32 = 2;
/// Fills `char[1024]`.
pub const XENVER_CAPABILITIES: u32 = 3;
/// Fills `char[64]`.
pub const XENVER_CHANGESET: u32 = 4;
/// Fills [`PlatformParameters`].
pub const XENVER_PLATFORM_PARAMETERS: u32 = 5;
/// Fills [`FeatureInfo`].
pub const XENVER_GET_FEATURES: u32 = 6;
/// Returns the page size in bytes; no buffer.
pub const XENVER_PAGESIZE: u32 = 7;
/// Fills the caller's UUID, `u8[16]`.
pub const XENVER_GUEST_HANDLE: u32 = 8;
/// Fills `char[1024]`.
pub const XENVER_COMMANDLINE: u32 = 9;
/// Fills a [`VarBuf`].
pub const XENVER_BUILD_ID: u32 = 10;
/// Fills a [`VarBuf`].
pub const XENVER_EXTRAVERSION2: u32 = 11;
/// Fills a [`VarBuf`].
pub const XENVER_CAPABILITIES2: u32 = 12;
/// Fills a [`VarBuf`].
pub const XENVER_CHANGESET2: u32 = 13;
/// Fills a [`VarBuf`].
pub const XENVER_COMMANDLINE2: u32 = 14;

/// `sizeof(xen_extraversion_t)`.
pub const XEN_EXTRAVERSION_LEN: usize = 16;
/// `sizeof(xen_capabilities_info_t)`.
pub const XEN_CAPABILITIES_INFO_LEN: usize = 1024;
/// `sizeof(xen_changeset_info_t)`.
pub const XEN_CHANGESET_INFO_LEN: usize = 64;
/// `sizeof(xen_commandline_t)`.
pub const XEN_COMMANDLINE_LEN: usize = 1024;
/// `sizeof(xen_domain_handle_t)`: a UUID.
pub const XEN_DOMAIN_HANDLE_LEN: usize = 16;

/// Bit: the guest writes its own page tables.
pub const XENFEAT_WRITABLE_PAGE_TABLES: u32 = 0;
/// Bit: Xen translates frame numbers (stage 2).
pub const XENFEAT_AUTO_TRANSLATED_PHYSMAP: u32 = 2;
/// Bit: x86 only.
pub const XENFEAT_GNTTAB_MAP_AVAIL_BITS: u32 = 7;
/// Bit: x86 only.
pub const XENFEAT_HVM_CALLBACK_VECTOR: u32 = 8;
/// Bit: the caller is the hardware domain.
pub const XENFEAT_DOM0: u32 = 11;
/// Bit: `XENMEMF_vnode` understood.
pub const XENFEAT_MEMORY_OP_VNODE_SUPPORTED: u32 = 13;
/// Bit: `hvc #0` is an SMCCC conduit.
pub const XENFEAT_ARM_SMCCC_SUPPORTED: u32 = 14;
/// Bit: guest frames differ from machine frames.
pub const XENFEAT_NOT_DIRECT_MAPPED: u32 = 16;
/// Bit: guest frames equal machine frames.
pub const XENFEAT_DIRECT_MAPPED: u32 = 17;
/// Bit: `VCPUOP_register_runstate_phys_area` advertised.
pub const XENFEAT_RUNSTATE_PHYS_AREA: u32 = 18;
/// Bit: x86 only.
pub const XENFEAT_VCPU_TIME_PHYS_AREA: u32 = 19;
/// Number of 32-bit feature words.
pub const XENFEAT_NR_SUBMAPS: u32 = 1;

/// `struct xen_compile_info`: who built the hypervisor (144 bytes, NUL-terminated strings).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct CompileInfo {
    /// Compiler version.
    pub compiler: [u8; 64],
    /// Builder.
    pub compile_by: [u8; 16],
    /// Builder's domain.
    pub compile_domain: [u8; 32],
    /// Build date.
    pub compile_date: [u8; 32],
}

/// `struct xen_platform_parameters`: start of Xen's virtual space; 0 on Arm.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct PlatformParameters {
    /// Virtual address.
    pub virt_start: u64,
}

/// `struct xen_feature_info`: one word of feature bits.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct FeatureInfo {
    /// In: word index.
    pub submap_idx: u32,
    /// Out: `1 << XENFEAT_*` bits.
    pub submap: u32,
}

/// `struct xen_varbuf`: header of a buffer of variable length; `len` bytes follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct VarBuf {
    /// In: size of the buffer that follows.
    pub len: u32,
}
