// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypercall instruction and the hypercall numbers (`xen/xen.h`, `xen/arch-arm.h`).
//!
//! A guest executes `hvc #0xEA1` with the number in x16 and arguments in x0-x4;
//! the result or a negated [`Errno`](crate::errno::Errno) comes back in x0.

/// `XEN_HYPERCALL_TAG`: immediate of the HVC instruction.
pub const HYPERCALL_TAG: u16 = 0xEA1;

/// `__HYPERVISOR_platform_op`, see [`platform`](crate::platform).
pub const PLATFORM_OP: u64 = 7;
/// `__HYPERVISOR_memory_op`, see [`memory`](crate::memory).
pub const MEMORY_OP: u64 = 12;
/// `__HYPERVISOR_multicall`: list of [`MulticallEntry`](crate::xen::MulticallEntry), count.
pub const MULTICALL: u64 = 13;
/// `__HYPERVISOR_xen_version`, see [`version`](crate::version).
pub const XEN_VERSION: u64 = 17;
/// `__HYPERVISOR_console_io`, see [`console`](crate::console).
pub const CONSOLE_IO: u64 = 18;
/// `__HYPERVISOR_grant_table_op`, see [`grant`](crate::grant).
pub const GRANT_TABLE_OP: u64 = 20;
/// `__HYPERVISOR_vm_assist`: command and type (`VMASST_*` of [`xen`](crate::xen)).
pub const VM_ASSIST: u64 = 21;
/// `__HYPERVISOR_vcpu_op`, see [`vcpu`](crate::vcpu).
pub const VCPU_OP: u64 = 24;
/// `__HYPERVISOR_xsm_op`: security module (FLASK).
pub const XSM_OP: u64 = 27;
/// `__HYPERVISOR_sched_op`, see [`sched`](crate::sched).
pub const SCHED_OP: u64 = 29;
/// `__HYPERVISOR_callback_op`: x86 PV.
pub const CALLBACK_OP: u64 = 30;
/// `__HYPERVISOR_xenoprof_op`: profiling.
pub const XENOPROF_OP: u64 = 31;
/// `__HYPERVISOR_event_channel_op`, see [`event`](crate::event).
pub const EVENT_CHANNEL_OP: u64 = 32;
/// `__HYPERVISOR_physdev_op`, see [`physdev`](crate::physdev).
pub const PHYSDEV_OP: u64 = 33;
/// `__HYPERVISOR_hvm_op`, see [`hvm`](crate::hvm).
pub const HVM_OP: u64 = 34;
/// `__HYPERVISOR_sysctl`, see [`sysctl`](crate::sysctl).
pub const SYSCTL: u64 = 35;
/// `__HYPERVISOR_domctl`, see [`domctl`](crate::domctl).
pub const DOMCTL: u64 = 36;
/// `__HYPERVISOR_kexec_op`: crash kernels.
pub const KEXEC_OP: u64 = 37;
/// `__HYPERVISOR_tmem_op`: removed.
pub const TMEM_OP: u64 = 38;
/// `__HYPERVISOR_argo_op`: inter-domain messages.
pub const ARGO_OP: u64 = 39;
/// `__HYPERVISOR_xenpmu_op`: performance counters.
pub const XENPMU_OP: u64 = 40;
/// `__HYPERVISOR_dm_op`: device models.
pub const DM_OP: u64 = 41;
/// `__HYPERVISOR_hypfs_op`, see [`hypfs`](crate::hypfs).
pub const HYPFS_OP: u64 = 42;
