// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arguments of the commands.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::arch_arm::ArchDomainConfig;
use crate::xen::Handle;

/// `struct xenctl_bitmap`: bits in guest memory, lowest first, in whole bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Bitmap {
    /// The bytes.
    pub bitmap: Handle,
    /// Bits there.
    pub nr_bits: u32,
    /// Padding.
    pub _pad: u32,
}

/// `struct xen_domctl_createdomain`: a new domain's fixed properties.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct CreateDomain {
    /// Security label.
    pub ssidref: u32,
    /// UUID.
    pub handle: [u8; 16],
    /// `XEN_DOMCTL_CDF_*`.
    pub flags: u32,
    /// `XEN_DOMCTL_IOMMU_*`.
    pub iommu_opts: u32,
    /// vCPUs it may have.
    pub max_vcpus: u32,
    /// Highest event channel port.
    pub max_evtchn_port: u32,
    /// Grant table frames; negative for the default.
    pub max_grant_frames: i32,
    /// Frames of its grant mapping table; negative for the default.
    pub max_maptrack_frames: i32,
    /// `XEN_DOMCTL_GRANT_*`.
    pub grant_opts: u32,
    /// x86 only; 0.
    pub altp2m_opts: u32,
    /// x86 only; 0.
    pub vmtrace_size: u32,
    /// CPU pool to run in.
    pub cpupool_id: u32,
    /// Arm part; in and out.
    pub arch: ArchDomainConfig,
}

/// `struct xen_domctl_getdomaininfo`: what the toolstack sees of a domain (120 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct GetDomainInfo {
    /// Its id.
    pub domain: u16,
    /// Zero.
    pub pad1: u16,
    /// `XEN_DOMINF_*`.
    pub flags: u32,
    /// Pages owned.
    pub tot_pages: u64,
    /// Limit of them.
    pub max_pages: u64,
    /// Pages claimed, not yet allocated.
    pub outstanding_pages: u64,
    /// Shared pages.
    pub shr_pages: u64,
    /// Paged-out pages.
    pub paged_pages: u64,
    /// Machine frame of the shared info page.
    pub shared_info_frame: u64,
    /// CPU time used, in ns.
    pub cpu_time: u64,
    /// vCPUs started.
    pub nr_online_vcpus: u32,
    /// Highest vCPU id.
    pub max_vcpu_id: u32,
    /// Security label.
    pub ssidref: u32,
    /// UUID.
    pub handle: [u8; 16],
    /// CPU pool.
    pub cpupool: u32,
    /// Width of its physical addresses.
    pub gpaddr_bits: u8,
    /// Zero.
    pub pad2: [u8; 7],
    /// Arm part.
    pub arch_config: ArchDomainConfig,
    /// Padding.
    pub _pad: u32,
}

/// `struct xen_domctl_nodeaffinity`: NUMA nodes to allocate from.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct NodeAffinity {
    /// Nodes.
    pub nodemap: Bitmap,
}

/// `struct xen_domctl_vcpuaffinity`: physical CPUs for a vCPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct VcpuAffinity {
    /// vCPU.
    pub vcpu: u32,
    /// `XEN_VCPUAFFINITY_*`.
    pub flags: u32,
    /// In, out: CPUs it may run on.
    pub cpumap_hard: Bitmap,
    /// In, out: CPUs it prefers.
    pub cpumap_soft: Bitmap,
}

/// `struct xen_domctl_max_mem`: limit of memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct MaxMem {
    /// KiB.
    pub max_memkb: u64,
}

/// `struct xen_domctl_vcpucontext`: register state of a vCPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct VcpuContext {
    /// vCPU.
    pub vcpu: u32,
    /// Padding.
    pub _pad: u32,
    /// A [`VcpuGuestContext`](crate::arch_arm::VcpuGuestContext).
    pub ctxt: Handle,
}

/// `struct xen_domctl_getvcpuinfo`: scheduling state of a vCPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct GetVcpuInfo {
    /// vCPU.
    pub vcpu: u32,
    /// Out: 1 if started.
    pub online: u8,
    /// Out: 1 if it waits for an event.
    pub blocked: u8,
    /// Out: 1 if on a physical CPU.
    pub running: u8,
    /// Padding.
    pub _pad0: u8,
    /// Out: CPU time used, in ns.
    pub cpu_time: u64,
    /// Out: physical CPU.
    pub cpu: u32,
    /// Padding.
    pub _pad1: u32,
}

/// `struct xen_domctl_max_vcpus`: number of vCPUs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct MaxVcpus {
    /// vCPUs.
    pub max: u32,
}

/// `struct xen_domctl_scheduler_op`: scheduling parameters; the union as credit and credit2 use it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SchedulerOp {
    /// `XEN_SCHEDULER_*`.
    pub sched_id: u32,
    /// `XEN_DOMCTL_SCHEDOP_*`.
    pub cmd: u32,
    /// In, out: share of CPU time.
    pub weight: u16,
    /// In, out: limit in percent of one CPU, 0 for none.
    pub cap: u16,
    /// Rest of the union.
    pub _rest: [u32; 3],
}

/// `struct xen_domctl_setdomainhandle`: change the UUID.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SetDomainHandle {
    /// UUID.
    pub handle: [u8; 16],
}

/// `struct xen_domctl_setdebugging`: attach or detach a debugger.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SetDebugging {
    /// 1 attaches.
    pub enable: u8,
}

/// `struct xen_domctl_irq_permission`: let a domain use an interrupt.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct IrqPermission {
    /// Interrupt.
    pub pirq: u32,
    /// 1 allows.
    pub allow_access: u8,
    /// Ignored.
    pub pad: [u8; 3],
}

/// `struct xen_domctl_iomem_permission`: let a domain use device memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct IomemPermission {
    /// First machine frame.
    pub first_mfn: u64,
    /// Frames.
    pub nr_mfns: u64,
    /// 1 allows.
    pub allow_access: u8,
    /// Padding.
    pub _pad: [u8; 7],
}

/// `struct xen_domctl_settimeoffset`: shift the domain's wall clock.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SetTimeOffset {
    /// Seconds.
    pub time_offset_seconds: i64,
}

/// `struct xen_domctl_address_size`: execution state of the domain.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct AddressSize {
    /// 32 or 64 bits.
    pub size: u32,
}

/// `struct xen_domctl_assign_device`: give a device to the domain.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct AssignDevice {
    /// `XEN_DOMCTL_DEV_*`.
    pub dev: u32,
    /// `XEN_DOMCTL_DEV_RDM_*`.
    pub flags: u32,
    /// Length of `path`, or the PCI address (union `u`).
    pub size: u32,
    /// Padding.
    pub _pad: u32,
    /// Device tree path, without NUL.
    pub path: Handle,
}

/// `struct xen_domctl_bind_pt_irq`: route a physical interrupt to the domain.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct BindPtIrq {
    /// Physical interrupt.
    pub machine_irq: u32,
    /// `PT_IRQ_TYPE_*`.
    pub irq_type: u32,
    /// Virtual interrupt (union `u`).
    pub spi: u16,
    /// Rest of the union.
    pub _rest: [u16; 7],
}

/// `struct xen_domctl_memory_mapping`: map device memory to the domain.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct MemoryMapping {
    /// First guest frame.
    pub first_gfn: u64,
    /// First machine frame.
    pub first_mfn: u64,
    /// Frames.
    pub nr_mfns: u64,
    /// `DPCI_*_MAPPING`.
    pub add_mapping: u32,
    /// Ignored.
    pub padding: u32,
}

/// `struct xen_domctl_set_target`: let the domain act for another.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SetTarget {
    /// The other.
    pub target: u16,
}

/// `struct xen_domctl_subscribe`: tell the domain's suspension by event.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Subscribe {
    /// Port of the domain.
    pub port: u32,
}

/// `struct xen_domctl_set_virq_handler`: deliver a global VIRQ to the domain.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SetVirqHandler {
    /// `VIRQ_*`.
    pub virq: u32,
}

/// `struct xen_domctl_cacheflush`: clean and invalidate guest memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct CacheFlush {
    /// First guest frame.
    pub start_pfn: u64,
    /// Frames.
    pub nr_pfns: u64,
}

/// `struct xen_domctl_vuart_op`: emulated UART.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct VuartOp {
    /// `XEN_DOMCTL_VUART_OP_*`.
    pub cmd: u32,
    /// `XEN_DOMCTL_VUART_TYPE_*`.
    pub r#type: u32,
    /// Guest frame of its [ring](crate::console::XenconsInterface).
    pub gfn: u64,
    /// Domain that serves the ring.
    pub console_domid: u16,
    /// Ignored.
    pub pad: [u8; 2],
    /// Out: port for the server to bind to.
    pub evtchn: u32,
}

/// `struct xen_domctl_paging_mempool`: memory for stage 2 tables.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct PagingMempool {
    /// Bytes, in whole pages.
    pub size: u64,
}

/// `struct xen_domctl_set_llc_colors`: cache colours.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SetLlcColors {
    /// Number of colours.
    pub num_llc_colors: u32,
    /// Zero.
    pub pad: u32,
    /// Array of `u32` colours.
    pub llc_colors: Handle,
}
