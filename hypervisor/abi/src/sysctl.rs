// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sysctl` (`xen/sysctl.h`): the toolstack and the machine. x0 = [`Sysctl`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::domctl::Bitmap;
use crate::payload::Payload;
use crate::xen::Handle;

/// The version spoken here.
pub const XEN_SYSCTL_INTERFACE_VERSION: u32 = 0x15;

/// `struct xen_sysctl`: header and arguments (136 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Sysctl {
    /// `XEN_SYSCTL_*`.
    pub cmd: u32,
    /// [`XEN_SYSCTL_INTERFACE_VERSION`].
    pub interface_version: u32,
    /// Arguments of `cmd`.
    pub u: Payload,
}

/// [`ReadConsole`].
pub const XEN_SYSCTL_READCONSOLE: u32 = 1;
/// Trace buffers.
pub const XEN_SYSCTL_TBUF_OP: u32 = 2;
/// [`PhysInfo`].
pub const XEN_SYSCTL_PHYSINFO: u32 = 3;
/// [`SchedId`].
pub const XEN_SYSCTL_SCHED_ID: u32 = 4;
/// Hypervisor counters.
pub const XEN_SYSCTL_PERFC_OP: u32 = 5;
/// [`GetDomainInfoList`].
pub const XEN_SYSCTL_GETDOMAININFOLIST: u32 = 6;
/// [`DebugKeys`].
pub const XEN_SYSCTL_DEBUG_KEYS: u32 = 7;
/// [`GetCpuInfo`].
pub const XEN_SYSCTL_GETCPUINFO: u32 = 8;
/// [`AvailHeap`].
pub const XEN_SYSCTL_AVAILHEAP: u32 = 9;
/// Power management statistics.
pub const XEN_SYSCTL_GET_PMSTAT: u32 = 10;
/// x86 only.
pub const XEN_SYSCTL_CPU_HOTPLUG: u32 = 11;
/// Power management.
pub const XEN_SYSCTL_PM_OP: u32 = 12;
/// Bad pages.
pub const XEN_SYSCTL_PAGE_OFFLINE_OP: u32 = 14;
/// Lock profiling.
pub const XEN_SYSCTL_LOCKPROF_OP: u32 = 15;
/// [`CpuTopoInfo`].
pub const XEN_SYSCTL_CPUTOPOINFO: u32 = 16;
/// [`NumaInfo`].
pub const XEN_SYSCTL_NUMAINFO: u32 = 17;
/// [`CpupoolOp`].
pub const XEN_SYSCTL_CPUPOOL_OP: u32 = 18;
/// [`SchedulerOp`].
pub const XEN_SYSCTL_SCHEDULER_OP: u32 = 19;
/// Coverage data.
pub const XEN_SYSCTL_COVERAGE_OP: u32 = 20;
/// x86 only.
pub const XEN_SYSCTL_PSR_CMT_OP: u32 = 21;
/// PCI topology.
pub const XEN_SYSCTL_PCITOPOINFO: u32 = 22;
/// x86 only.
pub const XEN_SYSCTL_PSR_ALLOC: u32 = 23;
/// x86 only.
pub const XEN_SYSCTL_GET_CPU_LEVELLING_CAPS: u32 = 25;
/// x86 only.
pub const XEN_SYSCTL_GET_CPU_FEATURESET: u32 = 26;
/// Live patches.
pub const XEN_SYSCTL_LIVEPATCH_OP: u32 = 27;
/// x86 only.
pub const XEN_SYSCTL_GET_CPU_POLICY: u32 = 29;
/// Device tree overlays.
pub const XEN_SYSCTL_DT_OVERLAY: u32 = 30;

/// [`PhysInfo::capabilities`]: hardware virtualisation.
pub const XEN_SYSCTL_PHYSCAP_HVM: u32 = 1 << 0;
/// [`PhysInfo::capabilities`]: paravirtual guests.
pub const XEN_SYSCTL_PHYSCAP_PV: u32 = 1 << 1;
/// [`PhysInfo::capabilities`]: device pass-through.
pub const XEN_SYSCTL_PHYSCAP_DIRECTIO: u32 = 1 << 2;
/// [`PhysInfo::capabilities`]: stage 2 tables.
pub const XEN_SYSCTL_PHYSCAP_HAP: u32 = 1 << 3;
/// [`PhysInfo::capabilities`]: shadow tables.
pub const XEN_SYSCTL_PHYSCAP_SHADOW: u32 = 1 << 4;
/// [`PhysInfo::capabilities`]: the I/O MMU shares stage 2.
pub const XEN_SYSCTL_PHYSCAP_IOMMU_HAP_PT_SHARE: u32 = 1 << 5;
/// [`PhysInfo::capabilities`]: processor trace.
pub const XEN_SYSCTL_PHYSCAP_VMTRACE: u32 = 1 << 6;
/// [`PhysInfo::capabilities`]: virtual performance counters.
pub const XEN_SYSCTL_PHYSCAP_VPMU: u32 = 1 << 7;
/// [`PhysInfo::capabilities`]: grant table v1.
pub const XEN_SYSCTL_PHYSCAP_GNTTAB_V1: u32 = 1 << 8;
/// [`PhysInfo::capabilities`]: grant table v2.
pub const XEN_SYSCTL_PHYSCAP_GNTTAB_V2: u32 = 1 << 9;
/// [`PhysInfo::arch_capabilities`]: SVE vector length / 128.
pub const XEN_SYSCTL_PHYSCAP_ARM_SVE_MASK: u32 = 0x1f;

/// [`CpupoolOp::op`]: new pool.
pub const XEN_SYSCTL_CPUPOOL_OP_CREATE: u32 = 1;
/// [`CpupoolOp::op`]: remove a pool.
pub const XEN_SYSCTL_CPUPOOL_OP_DESTROY: u32 = 2;
/// [`CpupoolOp::op`]: describe the first pool from an id on.
pub const XEN_SYSCTL_CPUPOOL_OP_INFO: u32 = 3;
/// [`CpupoolOp::op`]: add a CPU.
pub const XEN_SYSCTL_CPUPOOL_OP_ADDCPU: u32 = 4;
/// [`CpupoolOp::op`]: take a CPU.
pub const XEN_SYSCTL_CPUPOOL_OP_RMCPU: u32 = 5;
/// [`CpupoolOp::op`]: move a domain.
pub const XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN: u32 = 6;
/// [`CpupoolOp::op`]: list CPUs in no pool.
pub const XEN_SYSCTL_CPUPOOL_OP_FREEINFO: u32 = 7;
/// Pool id or CPU: any.
pub const XEN_SYSCTL_CPUPOOL_PAR_ANY: u32 = u32::MAX;
/// [`SchedulerOp::cmd`]: set.
pub const XEN_SYSCTL_SCHEDOP_PUTINFO: u32 = 0;
/// [`SchedulerOp::cmd`]: read.
pub const XEN_SYSCTL_SCHEDOP_GETINFO: u32 = 1;
/// Largest rate limit, in us.
pub const XEN_SYSCTL_SCHED_RATELIMIT_MAX: u32 = 500_000;
/// Smallest rate limit but 0, in us.
pub const XEN_SYSCTL_SCHED_RATELIMIT_MIN: u32 = 100;
/// [`CpuTopo::core`] of an offline CPU.
pub const XEN_INVALID_CORE_ID: u32 = u32::MAX;
/// [`CpuTopo::socket`] of an offline CPU.
pub const XEN_INVALID_SOCKET_ID: u32 = u32::MAX;
/// [`CpuTopo::node`] of an offline CPU.
pub const XEN_INVALID_NODE_ID: u32 = u32::MAX;
/// [`MemInfo`] sizes of an offline node.
pub const XEN_INVALID_MEM_SZ: u64 = 0xffff_ffff;
/// Distance to an offline node.
pub const XEN_INVALID_NODE_DIST: u32 = u32::MAX;

/// `struct xen_sysctl_readconsole`: read the hypervisor's console ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ReadConsole {
    /// 1 empties the ring.
    pub clear: u8,
    /// 1 starts at `index`.
    pub incremental: u8,
    /// Ignored.
    pub pad0: u8,
    /// Ignored.
    pub pad1: u8,
    /// In: where to start. Out: where to go on.
    pub index: u32,
    /// Out: bytes.
    pub buffer: Handle,
    /// In: room. Out: bytes read.
    pub count: u32,
    /// Padding.
    pub _pad: u32,
}

/// `struct xen_sysctl_physinfo`: the machine (112 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct PhysInfo {
    /// Threads of a core.
    pub threads_per_core: u32,
    /// Cores of a socket.
    pub cores_per_socket: u32,
    /// CPUs online.
    pub nr_cpus: u32,
    /// Highest CPU number.
    pub max_cpu_id: u32,
    /// NUMA nodes online.
    pub nr_nodes: u32,
    /// Highest node number.
    pub max_node_id: u32,
    /// Counter frequency in kHz.
    pub cpu_khz: u32,
    /// `XEN_SYSCTL_PHYSCAP_*`.
    pub capabilities: u32,
    /// `XEN_SYSCTL_PHYSCAP_ARM_*`.
    pub arch_capabilities: u32,
    /// Zero.
    pub pad: u32,
    /// Pages of RAM.
    pub total_pages: u64,
    /// Pages free.
    pub free_pages: u64,
    /// Pages free, not yet scrubbed.
    pub scrub_pages: u64,
    /// Pages claimed, not yet allocated.
    pub outstanding_pages: u64,
    /// Highest machine frame.
    pub max_mfn: u64,
    /// CPUID words; 0 on Arm.
    pub hw_cap: [u32; 8],
}

/// `struct xen_sysctl_sched_id`: scheduler of the default pool.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SchedId {
    /// `XEN_SCHEDULER_*`.
    pub sched_id: u32,
}

/// `struct xen_sysctl_getdomaininfolist`: domains in ascending order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct GetDomainInfoList {
    /// Lowest id wanted.
    pub first_domain: u16,
    /// Padding.
    pub _pad0: u16,
    /// Room in `buffer`.
    pub max_domains: u32,
    /// Out: array of [`GetDomainInfo`](crate::domctl::GetDomainInfo).
    pub buffer: Handle,
    /// Out: entries written.
    pub num_domains: u32,
    /// Padding.
    pub _pad1: u32,
}

/// `struct xen_sysctl_debug_keys`: act as if the keys were typed on the console.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct DebugKeys {
    /// Characters.
    pub keys: Handle,
    /// How many.
    pub nr_keys: u32,
    /// Padding.
    pub _pad: u32,
}

/// `struct xen_sysctl_cpuinfo`: load of one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct CpuInfo {
    /// Time idle, in ns.
    pub idletime: u64,
}

/// `struct xen_sysctl_getcpuinfo`: load of all CPUs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct GetCpuInfo {
    /// Room in `info`.
    pub max_cpus: u32,
    /// Padding.
    pub _pad0: u32,
    /// Out: array of [`CpuInfo`].
    pub info: Handle,
    /// Out: entries written.
    pub nr_cpus: u32,
    /// Padding.
    pub _pad1: u32,
}

/// `struct xen_sysctl_availheap`: free memory by address width and node.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct AvailHeap {
    /// Lowest width, 0 for any.
    pub min_bitwidth: u32,
    /// Highest width, 0 for any.
    pub max_bitwidth: u32,
    /// NUMA node, -1 for all.
    pub node: i32,
    /// Padding.
    pub _pad: u32,
    /// Out: bytes free.
    pub avail_bytes: u64,
}

/// `struct xen_sysctl_cputopo`: where a CPU is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct CpuTopo {
    /// Core.
    pub core: u32,
    /// Socket.
    pub socket: u32,
    /// NUMA node.
    pub node: u32,
}

/// `struct xen_sysctl_cputopoinfo`: where all CPUs are.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct CpuTopoInfo {
    /// In: room. Out: CPUs.
    pub num_cpus: u32,
    /// Padding.
    pub _pad: u32,
    /// Out: array of [`CpuTopo`]; null asks for the number only.
    pub cputopo: Handle,
}

/// `struct xen_sysctl_meminfo`: memory of a NUMA node.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct MemInfo {
    /// Bytes.
    pub memsize: u64,
    /// Bytes free.
    pub memfree: u64,
}

/// `struct xen_sysctl_numainfo`: NUMA nodes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct NumaInfo {
    /// In: room. Out: nodes.
    pub num_nodes: u32,
    /// Padding.
    pub _pad: u32,
    /// Out: array of [`MemInfo`].
    pub meminfo: Handle,
    /// Out: square array of `u32` distances.
    pub distance: Handle,
}

/// `struct xen_sysctl_cpupool_op`: CPU pools.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct CpupoolOp {
    /// `XEN_SYSCTL_CPUPOOL_OP_*`.
    pub op: u32,
    /// In, out: pool.
    pub cpupool_id: u32,
    /// In, out: `XEN_SCHEDULER_*`.
    pub sched_id: u32,
    /// Domain to move.
    pub domid: u32,
    /// CPU to add or take.
    pub cpu: u32,
    /// Out: domains in the pool.
    pub n_dom: u32,
    /// Out: CPUs of the pool.
    pub cpumap: Bitmap,
}

/// `struct xen_sysctl_scheduler_op`: scheduler parameters; the union as credit2 uses it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SchedulerOp {
    /// Pool.
    pub cpupool_id: u32,
    /// `XEN_SCHEDULER_*`.
    pub sched_id: u32,
    /// `XEN_SYSCTL_SCHEDOP_*`.
    pub cmd: u32,
    /// Padding.
    pub _pad: u32,
    /// In, out: least time between preemptions, in us.
    pub ratelimit_us: u32,
    /// Rest of the union.
    pub _rest: [u32; 3],
}
