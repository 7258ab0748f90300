// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vcpu_op` (`xen/vcpu.h`). x0 = sub-operation, x1 = vCPU id, x2 = structure.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::xen::Handle;

/// x86 only.
pub const VCPUOP_INITIALISE: u32 = 0;
/// x86 only.
pub const VCPUOP_UP: u32 = 1;
/// x86 only.
pub const VCPUOP_DOWN: u32 = 2;
/// x86 only.
pub const VCPUOP_IS_UP: u32 = 3;
/// x86 only.
pub const VCPUOP_GET_RUNSTATE_INFO: u32 = 4;
/// [`RegisterRunstateMemoryArea`].
pub const VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA: u32 = 5;
/// x86 only.
pub const VCPUOP_SET_PERIODIC_TIMER: u32 = 6;
/// x86 only.
pub const VCPUOP_STOP_PERIODIC_TIMER: u32 = 7;
/// x86 only.
pub const VCPUOP_SET_SINGLESHOT_TIMER: u32 = 8;
/// x86 only.
pub const VCPUOP_STOP_SINGLESHOT_TIMER: u32 = 9;
/// [`RegisterVcpuInfo`].
pub const VCPUOP_REGISTER_VCPU_INFO: u32 = 10;
/// x86 only.
pub const VCPUOP_SEND_NMI: u32 = 11;
/// x86 only.
pub const VCPUOP_GET_PHYSID: u32 = 12;
/// x86 only.
pub const VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA: u32 = 13;
/// x86 only.
pub const VCPUOP_REGISTER_RUNSTATE_PHYS_AREA: u32 = 14;
/// x86 only.
pub const VCPUOP_REGISTER_VCPU_TIME_PHYS_AREA: u32 = 15;

/// On a physical CPU.
pub const RUNSTATE_RUNNING: u32 = 0;
/// Waits for a physical CPU.
pub const RUNSTATE_RUNNABLE: u32 = 1;
/// Waits for an event.
pub const RUNSTATE_BLOCKED: u32 = 2;
/// Paused or not started.
pub const RUNSTATE_OFFLINE: u32 = 3;
/// Bit of `state_entry_time` set during an update.
pub const XEN_RUNSTATE_UPDATE: u64 = 1 << 63;

/// `struct vcpu_runstate_info`: how long a vCPU was in each state (48 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct RunstateInfo {
    /// `RUNSTATE_*`.
    pub state: u32,
    /// Padding.
    pub _pad: u32,
    /// System time the state was entered, in ns.
    pub state_entry_time: u64,
    /// Nanoseconds spent in each state.
    pub time: [u64; 4],
}

/// `struct vcpu_register_runstate_memory_area`: where to keep a [`RunstateInfo`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct RegisterRunstateMemoryArea {
    /// Guest virtual address (union `addr`, member `h`).
    pub addr: Handle,
}

/// `struct vcpu_register_vcpu_info`: where to keep a [`VcpuInfo`](crate::xen::VcpuInfo).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct RegisterVcpuInfo {
    /// Guest frame.
    pub mfn: u64,
    /// Byte offset in the frame; the structure may not cross its end.
    pub offset: u32,
    /// Unused.
    pub rsvd: u32,
}
