// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands of `domctl` and `sysctl` that Xen has for other machines or builds. Those of `domctl` name a domain that is:
//! the peer.

use xen_abi::domctl::XEN_DOMCTL_INTERFACE_VERSION;
use xen_abi::sysctl::XEN_SYSCTL_INTERFACE_VERSION;

use super::check::{Check, rows};
use super::control::{domctl, sysctl};
use super::errno::{ENOSYS, EOPNOTSUPP};
use super::two::{peer, peer_rows};

pub(super) const DOMCTLS: &[Check] = peer_rows! { peer, p;
    "XEN_DOMCTL_shadow_op (10) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 10, p.domid) => ENOSYS;
    "XEN_DOMCTL_ioport_permission (21) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 21, p.domid) => ENOSYS;
    "XEN_DOMCTL_hypercall_init (22) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 22, p.domid) => ENOSYS;
    "XEN_DOMCTL_sendtrigger (28) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 28, p.domid) => ENOSYS;
    "XEN_DOMCTL_gethvmcontext (33) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 33, p.domid) => ENOSYS;
    "XEN_DOMCTL_sethvmcontext (34) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 34, p.domid) => ENOSYS;
    "XEN_DOMCTL_get_address_size (36) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 36, p.domid) => ENOSYS;
    "XEN_DOMCTL_ioport_mapping (40) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 40, p.domid) => ENOSYS;
    "XEN_DOMCTL_set_ext_vcpucontext (42) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 42, p.domid) => ENOSYS;
    "XEN_DOMCTL_get_ext_vcpucontext (43) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 43, p.domid) => ENOSYS;
    "XEN_DOMCTL_debug_op (54) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 54, p.domid) => ENOSYS;
    "XEN_DOMCTL_gethvmcontext_partial (55) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 55, p.domid) => ENOSYS;
    "XEN_DOMCTL_vm_event_op (56) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 56, p.domid) => ENOSYS;
    "XEN_DOMCTL_mem_sharing_op (57) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 57, p.domid) => ENOSYS;
    "XEN_DOMCTL_gettscinfo (59) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 59, p.domid) => ENOSYS;
    "XEN_DOMCTL_settscinfo (60) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 60, p.domid) => ENOSYS;
    "XEN_DOMCTL_getpageframeinfo3 (61) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 61, p.domid) => ENOSYS;
    "XEN_DOMCTL_setvcpuextstate (62) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 62, p.domid) => ENOSYS;
    "XEN_DOMCTL_getvcpuextstate (63) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 63, p.domid) => ENOSYS;
    "XEN_DOMCTL_set_access_required (64) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 64, p.domid) => ENOSYS;
    "XEN_DOMCTL_audit_p2m (65) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 65, p.domid) => ENOSYS;
    "XEN_DOMCTL_set_broken_page_p2m (67) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 67, p.domid) => ENOSYS;
    "XEN_DOMCTL_get_vcpu_msrs (72) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 72, p.domid) => ENOSYS;
    "XEN_DOMCTL_set_vcpu_msrs (73) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 73, p.domid) => ENOSYS;
    "XEN_DOMCTL_psr_cmt_op (75) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 75, p.domid) => ENOSYS;
    "XEN_DOMCTL_psr_alloc (78) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 78, p.domid) => ENOSYS;
    "XEN_DOMCTL_get_cpu_policy (82) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 82, p.domid) => ENOSYS;
    "XEN_DOMCTL_set_cpu_policy (83) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 83, p.domid) => ENOSYS;
    "XEN_DOMCTL_vmtrace_op (84) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 84, p.domid) => ENOSYS;
    "XEN_DOMCTL_gsi_permission (88) is not for Arm", domctl(XEN_DOMCTL_INTERFACE_VERSION, 88, p.domid) => ENOSYS;
    "XEN_DOMCTL_assign_device (37) is not in this build", domctl(XEN_DOMCTL_INTERFACE_VERSION, 37, p.domid) => EOPNOTSUPP;
    "XEN_DOMCTL_test_assign_device (45) is not in this build", domctl(XEN_DOMCTL_INTERFACE_VERSION, 45, p.domid) => EOPNOTSUPP;
    "XEN_DOMCTL_deassign_device (47) is not in this build", domctl(XEN_DOMCTL_INTERFACE_VERSION, 47, p.domid) => EOPNOTSUPP;
    "XEN_DOMCTL_get_device_group (50) is not in this build", domctl(XEN_DOMCTL_INTERFACE_VERSION, 50, p.domid) => EOPNOTSUPP;
    "XEN_DOMCTL_monitor_op (77) is not in this build", domctl(XEN_DOMCTL_INTERFACE_VERSION, 77, p.domid) => EOPNOTSUPP;
    "XEN_DOMCTL_dt_overlay (87) is not in this build", domctl(XEN_DOMCTL_INTERFACE_VERSION, 87, p.domid) => EOPNOTSUPP;
    "XEN_DOMCTL_set_llc_colors (89) is not in this build", domctl(XEN_DOMCTL_INTERFACE_VERSION, 89, p.domid) => EOPNOTSUPP;
};

pub(super) const SYSCTLS: &[Check] = rows! {
    "XEN_SYSCTL_perfc_op (5) is not there", sysctl(XEN_SYSCTL_INTERFACE_VERSION, 5) => ENOSYS;
    "XEN_SYSCTL_get_pmstat (10) is not there", sysctl(XEN_SYSCTL_INTERFACE_VERSION, 10) => ENOSYS;
    "XEN_SYSCTL_pm_op (12) is not there", sysctl(XEN_SYSCTL_INTERFACE_VERSION, 12) => ENOSYS;
    "XEN_SYSCTL_lockprof_op (15) is not there", sysctl(XEN_SYSCTL_INTERFACE_VERSION, 15) => ENOSYS;
    "XEN_SYSCTL_psr_cmt_op (21) is not there", sysctl(XEN_SYSCTL_INTERFACE_VERSION, 21) => ENOSYS;
    "XEN_SYSCTL_pcitopoinfo (22) is not there", sysctl(XEN_SYSCTL_INTERFACE_VERSION, 22) => ENOSYS;
    "XEN_SYSCTL_psr_alloc (23) is not there", sysctl(XEN_SYSCTL_INTERFACE_VERSION, 23) => ENOSYS;
    "XEN_SYSCTL_get_cpu_levelling_caps (25) is not there", sysctl(XEN_SYSCTL_INTERFACE_VERSION, 25) => ENOSYS;
    "XEN_SYSCTL_get_cpu_featureset (26) is not there", sysctl(XEN_SYSCTL_INTERFACE_VERSION, 26) => ENOSYS;
    "XEN_SYSCTL_livepatch_op (27) is not there", sysctl(XEN_SYSCTL_INTERFACE_VERSION, 27) => ENOSYS;
    "XEN_SYSCTL_get_cpu_policy (29) is not there", sysctl(XEN_SYSCTL_INTERFACE_VERSION, 29) => ENOSYS;
    "XEN_SYSCTL_coverage_op (20) is not in this build", sysctl(XEN_SYSCTL_INTERFACE_VERSION, 20) => EOPNOTSUPP;
    "XEN_SYSCTL_dt_overlay (30) is not in this build", sysctl(XEN_SYSCTL_INTERFACE_VERSION, 30) => EOPNOTSUPP;
};
