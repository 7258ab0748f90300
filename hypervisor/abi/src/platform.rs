// SPDX-License-Identifier: MIT OR Apache-2.0
//! `platform_op` (`xen/platform.h`). x0 = [`PlatformOp`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::payload::Payload;

/// The version spoken here.
pub const XENPF_INTERFACE_VERSION: u32 = 0x0300_0001;

/// Old form of [`XENPF_SETTIME64`].
pub const XENPF_SETTIME32: u32 = 17;
/// x86 only.
pub const XENPF_ADD_MEMTYPE: u32 = 31;
/// x86 only.
pub const XENPF_DEL_MEMTYPE: u32 = 32;
/// x86 only.
pub const XENPF_READ_MEMTYPE: u32 = 33;
/// x86 only.
pub const XENPF_MICROCODE_UPDATE: u32 = 35;
/// x86 only.
pub const XENPF_PLATFORM_QUIRK: u32 = 39;
/// x86 only.
pub const XENPF_GET_CPU_VERSION: u32 = 48;
/// x86 only.
pub const XENPF_EFI_RUNTIME_CALL: u32 = 49;
/// x86 only.
pub const XENPF_FIRMWARE_INFO: u32 = 50;
/// x86 only.
pub const XENPF_ENTER_ACPI_SLEEP: u32 = 51;
/// x86 only.
pub const XENPF_CHANGE_FREQ: u32 = 52;
/// x86 only.
pub const XENPF_GETIDLETIME: u32 = 53;
/// x86 only.
pub const XENPF_SET_PROCESSOR_PMINFO: u32 = 54;
/// x86 only.
pub const XENPF_GET_CPUINFO: u32 = 55;
/// x86 only.
pub const XENPF_CPU_ONLINE: u32 = 56;
/// x86 only.
pub const XENPF_CPU_OFFLINE: u32 = 57;
/// x86 only.
pub const XENPF_CPU_HOTADD: u32 = 58;
/// x86 only.
pub const XENPF_MEM_HOTADD: u32 = 59;
/// x86 only.
pub const XENPF_CORE_PARKING: u32 = 60;
/// x86 only.
pub const XENPF_RESOURCE_OP: u32 = 61;
/// [`SetTime64`]: set the wall clock.
pub const XENPF_SETTIME64: u32 = 62;
/// x86 only.
pub const XENPF_GET_SYMBOL: u32 = 63;
/// x86 only.
pub const XENPF_GET_DOM0_CONSOLE: u32 = 64;
/// x86 only.
pub const XENPF_GET_UCODE_REVISION: u32 = 65;
/// x86 only.
pub const XENPF_MICROCODE_UPDATE2: u32 = 66;

/// `struct xen_platform_op`: header and arguments (136 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct PlatformOp {
    /// `XENPF_*`.
    pub cmd: u32,
    /// [`XENPF_INTERFACE_VERSION`].
    pub interface_version: u32,
    /// Arguments of `cmd`.
    pub u: Payload,
}

/// `struct xenpf_settime64`: wall clock time at a system time.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SetTime64 {
    /// Seconds since 1970.
    pub secs: u64,
    /// Nanoseconds.
    pub nsecs: u32,
    /// Must be zero.
    pub mbz: u32,
    /// System time of that instant, in ns.
    pub system_time: u64,
}
