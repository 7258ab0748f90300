// SPDX-License-Identifier: MIT OR Apache-2.0
//! `hvm_op` (`xen/hvm/hvm_op.h`, `xen/hvm/params.h`). x0 = sub-operation, x1 = structure.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`HvmParam`].
pub const HVMOP_SET_PARAM: u32 = 0;
/// [`HvmParam`].
pub const HVMOP_GET_PARAM: u32 = 1;
/// x86 only.
pub const HVMOP_FLUSH_TLBS: u32 = 5;
/// x86 only.
pub const HVMOP_PAGETABLE_DYING: u32 = 9;
/// x86 only.
pub const HVMOP_GET_TIME: u32 = 10;
/// x86 only.
pub const HVMOP_XENTRACE: u32 = 11;
/// x86 only.
pub const HVMOP_SET_MEM_ACCESS: u32 = 12;
/// x86 only.
pub const HVMOP_GET_MEM_ACCESS: u32 = 13;
/// x86 only.
pub const HVMOP_GET_MEM_TYPE: u32 = 15;
/// x86 only.
pub const HVMOP_SET_EVTCHN_UPCALL_VECTOR: u32 = 23;
/// Tell a monitor; no argument.
pub const HVMOP_GUEST_REQUEST_VM_EVENT: u32 = 24;
/// x86 only.
pub const HVMOP_ALTP2M: u32 = 25;

/// How events interrupt: type in bits 63:56.
pub const HVM_PARAM_CALLBACK_IRQ: u32 = 0;
/// Guest frame of the xenstore ring.
pub const HVM_PARAM_STORE_PFN: u32 = 1;
/// Port of the xenstore ring.
pub const HVM_PARAM_STORE_EVTCHN: u32 = 2;
/// Guest frame of the console ring.
pub const HVM_PARAM_CONSOLE_PFN: u32 = 17;
/// Port of the console ring.
pub const HVM_PARAM_CONSOLE_EVTCHN: u32 = 18;
/// Guest frame of the paging ring.
pub const HVM_PARAM_PAGING_RING_PFN: u32 = 27;
/// Guest frame of the monitor ring.
pub const HVM_PARAM_MONITOR_RING_PFN: u32 = 28;
/// Guest frame of the sharing ring.
pub const HVM_PARAM_SHARING_RING_PFN: u32 = 29;
/// Parameters are below this.
pub const HVM_NR_PARAMS: u32 = 39;

/// `CALLBACK_IRQ`: the type is the bits from here up.
pub const HVM_PARAM_CALLBACK_TYPE_SHIFT: u32 = 56;
/// `CALLBACK_IRQ` type: PPI in bits 7:0, flags in 15:8.
pub const HVM_PARAM_CALLBACK_TYPE_PPI: u64 = 2;
/// Flags of a PPI.
pub const HVM_PARAM_CALLBACK_TYPE_PPI_FLAG_MASK: u64 = 0xff00;
/// Flag of a PPI (shifted by 8): active low level.
pub const HVM_PARAM_CALLBACK_TYPE_PPI_FLAG_LOW_LEVEL: u64 = 2;

/// `struct xen_hvm_param`: one parameter of a domain.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct HvmParam {
    /// The domain.
    pub domid: u16,
    /// Ignored.
    pub pad: u16,
    /// `HVM_PARAM_*`.
    pub index: u32,
    /// In or out: its value.
    pub value: u64,
}
