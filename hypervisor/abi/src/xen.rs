// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every interface shares (`xen/xen.h`): guest handles, domain ids, VIRQs, the shared
//! info page, multicalls and vm_assist.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `XEN_GUEST_HANDLE`: a virtual address of the calling guest, translated by its own stage 1.
#[repr(transparent)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
)]
pub struct Handle(pub u64);

impl Handle {
    /// The null handle: "no buffer".
    pub const NULL: Self = Self(0);

    /// Whether this is the null handle.
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The handle `bytes` further on, or `None` past the end of the address space.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(address) => Some(Self(address)),
            None => None,
        }
    }
}

/// Ordinary domains have smaller ids.
pub const DOMID_FIRST_RESERVED: u16 = 0x7FF0;
/// The calling domain.
pub const DOMID_SELF: u16 = 0x7FF0;
/// Owner of I/O memory.
pub const DOMID_IO: u16 = 0x7FF1;
/// Owner of pages Xen shares.
pub const DOMID_XEN: u16 = 0x7FF2;
/// Owner of copy-on-write pages.
pub const DOMID_COW: u16 = 0x7FF3;
/// No domain.
pub const DOMID_INVALID: u16 = 0x7FF4;
/// The idle domain.
pub const DOMID_IDLE: u16 = 0x7FFF;
/// Bits of a valid id.
pub const DOMID_MASK: u16 = 0x7FFF;

/// Per vCPU: a timeout asked for has passed.
pub const VIRQ_TIMER: u32 = 0;
/// Per vCPU: the guest should dump its state.
pub const VIRQ_DEBUG: u32 = 1;
/// Global: bytes received on the emergency console.
pub const VIRQ_CONSOLE: u32 = 2;
/// Global: some domain shut down, crashed or died.
pub const VIRQ_DOM_EXC: u32 = 3;
/// Global: trace records available.
pub const VIRQ_TBUF: u32 = 4;
/// Global: a domain paused for debugging.
pub const VIRQ_DEBUGGER: u32 = 6;
/// Per vCPU: profiling sample.
pub const VIRQ_XENOPROF: u32 = 7;
/// Global: the console ring has new bytes.
pub const VIRQ_CON_RING: u32 = 8;
/// Global: a physical CPU changed state.
pub const VIRQ_PCPU_STATE: u32 = 9;
/// Global: memory event.
pub const VIRQ_MEM_EVENT: u32 = 10;
/// Global: Argo message.
pub const VIRQ_ARGO: u32 = 11;
/// Global: the heap runs low.
pub const VIRQ_ENOMEM: u32 = 12;
/// Per vCPU: performance counter overflow.
pub const VIRQ_XENPMU: u32 = 13;
/// First of eight architecture VIRQs.
pub const VIRQ_ARCH_0: u32 = 16;
/// VIRQ numbers are below this.
pub const NR_VIRQS: u32 = 24;

/// `vm_assist`: turn the type on.
pub const VMASST_CMD_ENABLE: u32 = 0;
/// `vm_assist`: turn the type off.
pub const VMASST_CMD_DISABLE: u32 = 1;
/// Flag updates, [`XEN_RUNSTATE_UPDATE`](crate::vcpu::XEN_RUNSTATE_UPDATE).
pub const VMASST_TYPE_RUNSTATE_UPDATE_FLAG: u32 = 5;

/// `struct multicall_entry`: one hypercall of a list (64 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct MulticallEntry {
    /// Hypercall number.
    pub op: u64,
    /// Out: what the hypercall left in x0.
    pub result: u64,
    /// Arguments x0-x5.
    pub args: [u64; 6],
}

/// `struct vcpu_time_info`: paravirtual clock; not maintained on Arm.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct VcpuTimeInfo {
    /// Odd during an update.
    pub version: u32,
    /// Padding.
    pub _pad0: u32,
    /// Counter at the last update.
    pub tsc_timestamp: u64,
    /// Nanoseconds since boot at the last update.
    pub system_time: u64,
    /// Scale, 32-bit fraction.
    pub tsc_to_system_mul: u32,
    /// Shift before the multiplication.
    pub tsc_shift: i8,
    /// `XEN_PVCLOCK_*`.
    pub flags: u8,
    /// Padding.
    pub _pad1: [u8; 2],
}

/// `struct vcpu_info`: event state of one vCPU (48 bytes), shared with the guest.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct VcpuInfo {
    /// Non-zero: events wait. Set by Xen, cleared by the guest.
    pub evtchn_upcall_pending: u8,
    /// The upcall mask of x86; unused on Arm.
    pub _pad0: u8,
    /// Padding.
    pub _pad1: [u8; 6],
    /// Bit per word of [`SharedInfo::evtchn_pending`] that has pending bits.
    pub evtchn_pending_sel: u64,
    /// Clock.
    pub time: VcpuTimeInfo,
}

/// `struct shared_info`: the page shared between Xen and a domain; 1088 bytes used.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SharedInfo {
    /// Legacy slot of vCPU 0 (`XEN_LEGACY_MAX_VCPUS` is 1).
    pub vcpu_info: VcpuInfo,
    /// 2-level ABI: pending bit per port.
    pub evtchn_pending: [u64; 64],
    /// 2-level ABI: mask bit per port; set by the guest.
    pub evtchn_mask: [u64; 64],
    /// Wall clock sequence number; odd during an update.
    pub wc_version: u32,
    /// Low half of the seconds since 1970 at which the domain's counter was 0.
    pub wc_sec: u32,
    /// Nanoseconds of that instant.
    pub wc_nsec: u32,
    /// High half of the seconds.
    pub wc_sec_hi: u32,
}
