// SPDX-License-Identifier: MIT OR Apache-2.0
//! `domctl` (`xen/domctl.h`): a toolstack acts on one domain. x0 = [`Domctl`].
//!
//! The arguments of a command are one of the structures re-exported here, read and written
//! with [`Payload`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::payload::Payload;

mod args;

pub use args::*;

/// The version spoken here.
pub const XEN_DOMCTL_INTERFACE_VERSION: u32 = 0x17;

/// `struct xen_domctl`: header and arguments (144 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Domctl {
    /// `XEN_DOMCTL_*`.
    pub cmd: u32,
    /// [`XEN_DOMCTL_INTERFACE_VERSION`].
    pub interface_version: u32,
    /// Domain acted upon.
    pub domain: u16,
    /// Padding.
    pub _pad: [u16; 3],
    /// Arguments of `cmd`.
    pub u: Payload,
}

/// [`CreateDomain`]; the id comes back in [`Domctl::domain`].
pub const XEN_DOMCTL_CREATEDOMAIN: u32 = 1;
/// No arguments.
pub const XEN_DOMCTL_DESTROYDOMAIN: u32 = 2;
/// No arguments.
pub const XEN_DOMCTL_PAUSEDOMAIN: u32 = 3;
/// No arguments.
pub const XEN_DOMCTL_UNPAUSEDOMAIN: u32 = 4;
/// [`GetDomainInfo`].
pub const XEN_DOMCTL_GETDOMAININFO: u32 = 5;
/// [`VcpuAffinity`].
pub const XEN_DOMCTL_SETVCPUAFFINITY: u32 = 9;
/// x86 only.
pub const XEN_DOMCTL_SHADOW_OP: u32 = 10;
/// [`MaxMem`].
pub const XEN_DOMCTL_MAX_MEM: u32 = 11;
/// [`VcpuContext`].
pub const XEN_DOMCTL_SETVCPUCONTEXT: u32 = 12;
/// [`VcpuContext`].
pub const XEN_DOMCTL_GETVCPUCONTEXT: u32 = 13;
/// [`GetVcpuInfo`].
pub const XEN_DOMCTL_GETVCPUINFO: u32 = 14;
/// [`MaxVcpus`].
pub const XEN_DOMCTL_MAX_VCPUS: u32 = 15;
/// [`SchedulerOp`].
pub const XEN_DOMCTL_SCHEDULER_OP: u32 = 16;
/// [`SetDomainHandle`].
pub const XEN_DOMCTL_SETDOMAINHANDLE: u32 = 17;
/// [`SetDebugging`].
pub const XEN_DOMCTL_SETDEBUGGING: u32 = 18;
/// [`IrqPermission`].
pub const XEN_DOMCTL_IRQ_PERMISSION: u32 = 19;
/// [`IomemPermission`].
pub const XEN_DOMCTL_IOMEM_PERMISSION: u32 = 20;
/// x86 only.
pub const XEN_DOMCTL_IOPORT_PERMISSION: u32 = 21;
/// x86 only.
pub const XEN_DOMCTL_HYPERCALL_INIT: u32 = 22;
/// Continuation of a soft reset.
pub const XEN_DOMCTL_SOFT_RESET_CONT: u32 = 23;
/// [`SetTimeOffset`].
pub const XEN_DOMCTL_SETTIMEOFFSET: u32 = 24;
/// [`VcpuAffinity`].
pub const XEN_DOMCTL_GETVCPUAFFINITY: u32 = 25;
/// No arguments.
pub const XEN_DOMCTL_RESUMEDOMAIN: u32 = 27;
/// x86 only.
pub const XEN_DOMCTL_SENDTRIGGER: u32 = 28;
/// [`Subscribe`].
pub const XEN_DOMCTL_SUBSCRIBE: u32 = 29;
/// x86 only.
pub const XEN_DOMCTL_GETHVMCONTEXT: u32 = 33;
/// x86 only.
pub const XEN_DOMCTL_SETHVMCONTEXT: u32 = 34;
/// [`AddressSize`].
pub const XEN_DOMCTL_SET_ADDRESS_SIZE: u32 = 35;
/// x86 only.
pub const XEN_DOMCTL_GET_ADDRESS_SIZE: u32 = 36;
/// [`AssignDevice`].
pub const XEN_DOMCTL_ASSIGN_DEVICE: u32 = 37;
/// [`BindPtIrq`].
pub const XEN_DOMCTL_BIND_PT_IRQ: u32 = 38;
/// [`MemoryMapping`].
pub const XEN_DOMCTL_MEMORY_MAPPING: u32 = 39;
/// x86 only.
pub const XEN_DOMCTL_IOPORT_MAPPING: u32 = 40;
/// x86 only.
pub const XEN_DOMCTL_SET_EXT_VCPUCONTEXT: u32 = 42;
/// x86 only.
pub const XEN_DOMCTL_GET_EXT_VCPUCONTEXT: u32 = 43;
/// [`AssignDevice`].
pub const XEN_DOMCTL_TEST_ASSIGN_DEVICE: u32 = 45;
/// [`SetTarget`].
pub const XEN_DOMCTL_SET_TARGET: u32 = 46;
/// [`AssignDevice`].
pub const XEN_DOMCTL_DEASSIGN_DEVICE: u32 = 47;
/// [`BindPtIrq`].
pub const XEN_DOMCTL_UNBIND_PT_IRQ: u32 = 48;
/// PCI pass-through.
pub const XEN_DOMCTL_GET_DEVICE_GROUP: u32 = 50;
/// x86 only.
pub const XEN_DOMCTL_DEBUG_OP: u32 = 54;
/// x86 only.
pub const XEN_DOMCTL_GETHVMCONTEXT_PARTIAL: u32 = 55;
/// Introspection.
pub const XEN_DOMCTL_VM_EVENT_OP: u32 = 56;
/// x86 only.
pub const XEN_DOMCTL_MEM_SHARING_OP: u32 = 57;
/// x86 only.
pub const XEN_DOMCTL_GETTSCINFO: u32 = 59;
/// x86 only.
pub const XEN_DOMCTL_SETTSCINFO: u32 = 60;
/// x86 only.
pub const XEN_DOMCTL_GETPAGEFRAMEINFO3: u32 = 61;
/// x86 only.
pub const XEN_DOMCTL_SETVCPUEXTSTATE: u32 = 62;
/// x86 only.
pub const XEN_DOMCTL_GETVCPUEXTSTATE: u32 = 63;
/// Introspection.
pub const XEN_DOMCTL_SET_ACCESS_REQUIRED: u32 = 64;
/// x86 only.
pub const XEN_DOMCTL_AUDIT_P2M: u32 = 65;
/// [`SetVirqHandler`].
pub const XEN_DOMCTL_SET_VIRQ_HANDLER: u32 = 66;
/// x86 only.
pub const XEN_DOMCTL_SET_BROKEN_PAGE_P2M: u32 = 67;
/// [`NodeAffinity`].
pub const XEN_DOMCTL_SETNODEAFFINITY: u32 = 68;
/// [`NodeAffinity`].
pub const XEN_DOMCTL_GETNODEAFFINITY: u32 = 69;
/// [`CacheFlush`].
pub const XEN_DOMCTL_CACHEFLUSH: u32 = 71;
/// x86 only.
pub const XEN_DOMCTL_GET_VCPU_MSRS: u32 = 72;
/// x86 only.
pub const XEN_DOMCTL_SET_VCPU_MSRS: u32 = 73;
/// Virtual NUMA.
pub const XEN_DOMCTL_SETVNUMAINFO: u32 = 74;
/// x86 only.
pub const XEN_DOMCTL_PSR_CMT_OP: u32 = 75;
/// Introspection.
pub const XEN_DOMCTL_MONITOR_OP: u32 = 77;
/// x86 only.
pub const XEN_DOMCTL_PSR_ALLOC: u32 = 78;
/// No arguments.
pub const XEN_DOMCTL_SOFT_RESET: u32 = 79;
/// [`VuartOp`].
pub const XEN_DOMCTL_VUART_OP: u32 = 81;
/// x86 only.
pub const XEN_DOMCTL_GET_CPU_POLICY: u32 = 82;
/// x86 only.
pub const XEN_DOMCTL_SET_CPU_POLICY: u32 = 83;
/// x86 only.
pub const XEN_DOMCTL_VMTRACE_OP: u32 = 84;
/// [`PagingMempool`].
pub const XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE: u32 = 85;
/// [`PagingMempool`].
pub const XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE: u32 = 86;
/// Device tree overlays.
pub const XEN_DOMCTL_DT_OVERLAY: u32 = 87;
/// x86 only.
pub const XEN_DOMCTL_GSI_PERMISSION: u32 = 88;
/// [`SetLlcColors`].
pub const XEN_DOMCTL_SET_LLC_COLORS: u32 = 89;
/// x86 only.
pub const XEN_DOMCTL_GDBSX_GUESTMEMIO: u32 = 1000;
/// x86 only.
pub const XEN_DOMCTL_GDBSX_PAUSEVCPU: u32 = 1001;
/// x86 only.
pub const XEN_DOMCTL_GDBSX_UNPAUSEVCPU: u32 = 1002;
/// x86 only.
pub const XEN_DOMCTL_GDBSX_DOMSTATUS: u32 = 1003;

/// [`CreateDomain::flags`]: hardware virtualised.
pub const XEN_DOMCTL_CDF_HVM: u32 = 1 << 0;
/// [`CreateDomain::flags`]: uses stage 2.
pub const XEN_DOMCTL_CDF_HAP: u32 = 1 << 1;
/// [`CreateDomain::flags`]: x86.
pub const XEN_DOMCTL_CDF_S3_INTEGRITY: u32 = 1 << 2;
/// [`CreateDomain::flags`]: x86.
pub const XEN_DOMCTL_CDF_OOS_OFF: u32 = 1 << 3;
/// [`CreateDomain::flags`]: runs xenstored.
pub const XEN_DOMCTL_CDF_XS_DOMAIN: u32 = 1 << 4;
/// [`CreateDomain::flags`]: uses an I/O MMU.
pub const XEN_DOMCTL_CDF_IOMMU: u32 = 1 << 5;
/// [`CreateDomain::flags`]: may run guests.
pub const XEN_DOMCTL_CDF_NESTED_VIRT: u32 = 1 << 6;
/// [`CreateDomain::flags`]: has performance counters.
pub const XEN_DOMCTL_CDF_VPMU: u32 = 1 << 7;
/// [`CreateDomain::grant_opts`]: highest grant table version.
pub const XEN_DOMCTL_GRANT_VERSION_MASK: u32 = 0xf;

/// [`GetDomainInfo::flags`]: dead, but still referenced.
pub const XEN_DOMINF_DYING: u32 = 1 << 0;
/// [`GetDomainInfo::flags`]: hardware virtualised.
pub const XEN_DOMINF_HVM_GUEST: u32 = 1 << 1;
/// [`GetDomainInfo::flags`]: shut down; the reason is in the upper half.
pub const XEN_DOMINF_SHUTDOWN: u32 = 1 << 2;
/// [`GetDomainInfo::flags`]: paused by the toolstack.
pub const XEN_DOMINF_PAUSED: u32 = 1 << 3;
/// [`GetDomainInfo::flags`]: all vCPUs wait for events.
pub const XEN_DOMINF_BLOCKED: u32 = 1 << 4;
/// [`GetDomainInfo::flags`]: some vCPU runs.
pub const XEN_DOMINF_RUNNING: u32 = 1 << 5;
/// [`GetDomainInfo::flags`]: a debugger is attached.
pub const XEN_DOMINF_DEBUGGED: u32 = 1 << 6;
/// [`GetDomainInfo::flags`]: runs xenstored.
pub const XEN_DOMINF_XS_DOMAIN: u32 = 1 << 7;
/// [`GetDomainInfo::flags`]: uses stage 2.
pub const XEN_DOMINF_HAP: u32 = 1 << 8;
/// Bits of the shutdown reason, after shifting.
pub const XEN_DOMINF_SHUTDOWNMASK: u32 = 255;
/// Position of the shutdown reason.
pub const XEN_DOMINF_SHUTDOWNSHIFT: u32 = 16;
/// [`GetDomainInfo::max_vcpu_id`] of a domain without vCPUs.
pub const XEN_INVALID_MAX_VCPU_ID: u32 = u32::MAX;

/// [`VcpuAffinity::flags`]: where it may run.
pub const XEN_VCPUAFFINITY_HARD: u32 = 1 << 0;
/// [`VcpuAffinity::flags`]: where it prefers to run.
pub const XEN_VCPUAFFINITY_SOFT: u32 = 1 << 1;
/// [`VcpuAffinity::flags`]: override temporary pinning.
pub const XEN_VCPUAFFINITY_FORCE: u32 = 1 << 2;

/// Scheduler id.
pub const XEN_SCHEDULER_CREDIT: u32 = 5;
/// Scheduler id.
pub const XEN_SCHEDULER_CREDIT2: u32 = 6;
/// Scheduler id.
pub const XEN_SCHEDULER_ARINC653: u32 = 7;
/// Scheduler id.
pub const XEN_SCHEDULER_RTDS: u32 = 8;
/// Scheduler id.
pub const XEN_SCHEDULER_NULL: u32 = 9;
/// [`SchedulerOp::cmd`]: set the domain's parameters.
pub const XEN_DOMCTL_SCHEDOP_PUTINFO: u32 = 0;
/// [`SchedulerOp::cmd`]: read them.
pub const XEN_DOMCTL_SCHEDOP_GETINFO: u32 = 1;
/// [`SchedulerOp::cmd`]: set those of vCPUs.
pub const XEN_DOMCTL_SCHEDOP_PUTVCPUINFO: u32 = 2;
/// [`SchedulerOp::cmd`]: read those of vCPUs.
pub const XEN_DOMCTL_SCHEDOP_GETVCPUINFO: u32 = 3;

/// [`AssignDevice::dev`]: PCI device.
pub const XEN_DOMCTL_DEV_PCI: u32 = 0;
/// [`AssignDevice::dev`]: device tree node.
pub const XEN_DOMCTL_DEV_DT: u32 = 1;
/// [`BindPtIrq::irq_type`]: Arm shared peripheral interrupt.
pub const PT_IRQ_TYPE_SPI: u32 = 4;
/// [`MemoryMapping::add_mapping`]: unmap.
pub const DPCI_REMOVE_MAPPING: u32 = 0;
/// [`MemoryMapping::add_mapping`]: map.
pub const DPCI_ADD_MAPPING: u32 = 1;
/// [`VuartOp::cmd`]: create the UART.
pub const XEN_DOMCTL_VUART_OP_INIT: u32 = 0;
/// [`VuartOp`] `type`: SBSA UART.
pub const XEN_DOMCTL_VUART_TYPE_VPL011: u32 = 0;
