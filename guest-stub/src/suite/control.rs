// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only the control domain may ask: headers of `domctl`, `sysctl` and `platform_op`; `physdev_op`.

use xen_abi::domctl::{
    Domctl, XEN_DOMCTL_GETDOMAININFO, XEN_DOMCTL_INTERFACE_VERSION, XEN_DOMCTL_PAUSEDOMAIN,
};
use xen_abi::hypercall::{DOMCTL, PHYSDEV_OP, PLATFORM_OP, SYSCTL};
use xen_abi::platform::{XENPF_INTERFACE_VERSION, XENPF_SETTIME64};
use xen_abi::sysctl::XEN_SYSCTL_INTERFACE_VERSION;
use xen_abi::xen::{DOMID_IO, DOMID_SELF, DOMID_XEN};

use super::call::{NOBODY, UNMAPPED, plain};
use super::check::{Check, rows};
use super::errno::{EACCES, EFAULT, EINVAL, ENOSYS, ESRCH};

/// `domctl` without arguments.
pub(super) fn domctl(version: u32, command: u32, domain: u16) -> i64 {
    // Rather the bytes than the structure: what is not set must not matter.
    let mut buffer = [0_u64; size_of::<Domctl>() / 8];
    buffer[0] = u64::from(version) << 32 | u64::from(command);
    buffer[1] = domain.into();
    plain(DOMCTL, &raw mut buffer as u64, 0, 0)
}

fn domctl_of(domain: u16) -> i64 {
    domctl(XEN_DOMCTL_INTERFACE_VERSION, XEN_DOMCTL_PAUSEDOMAIN, domain)
}

pub(super) const DOMCTLS: &[Check] = rows! {
    "interface version 0", domctl(0, XEN_DOMCTL_GETDOMAININFO, 0) => EACCES;
    "interface version of Xen 4.19", domctl(0x16, XEN_DOMCTL_GETDOMAININFO, 0) => EACCES;
    "interface version of Xen 4.21", domctl(0x18, XEN_DOMCTL_GETDOMAININFO, 0) => EACCES;
    "interface version ~0", domctl(u32::MAX, XEN_DOMCTL_GETDOMAININFO, 0) => EACCES;
    "the version comes before the domain", domctl(0, XEN_DOMCTL_GETDOMAININFO, NOBODY) => EACCES;
    "the domain comes before the command", domctl(XEN_DOMCTL_INTERFACE_VERSION, 9999, NOBODY) => ESRCH;
    "a domain that is not", domctl_of(NOBODY) => ESRCH;
    "DOMID_SELF is not a domain's number", domctl_of(DOMID_SELF) => ESRCH;
    "DOMID_IO is not a domain's number", domctl_of(DOMID_IO) => ESRCH;
    "DOMID_XEN is not a domain's number", domctl_of(DOMID_XEN) => ESRCH;
    "domain 0xffff", domctl_of(0xffff) => ESRCH;
    "command 0 is not there", domctl(XEN_DOMCTL_INTERFACE_VERSION, 0, 0) => ENOSYS;
    "command 9999 is not there", domctl(XEN_DOMCTL_INTERFACE_VERSION, 9999, 0) => ENOSYS;
    "command ~0 is not there", domctl(XEN_DOMCTL_INTERFACE_VERSION, u32::MAX, 0) => ENOSYS;
    "the structure is in x0, not x1", plain(DOMCTL, 0, UNMAPPED, 0) => EFAULT;
};

/// `sysctl` without arguments.
pub(super) fn sysctl(version: u32, command: u32) -> i64 {
    let mut buffer = [0_u64; 17];
    buffer[0] = u64::from(version) << 32 | u64::from(command);
    plain(SYSCTL, &raw mut buffer as u64, 0, 0)
}

pub(super) const SYSCTLS: &[Check] = rows! {
    "interface version 0", sysctl(0, 3) => EACCES;
    "interface version 0x14", sysctl(0x14, 3) => EACCES;
    "interface version 0x16", sysctl(0x16, 3) => EACCES;
    "interface version ~0", sysctl(u32::MAX, 3) => EACCES;
    "command 0 is not there", sysctl(XEN_SYSCTL_INTERFACE_VERSION, 0) => ENOSYS;
    "command 9999 is not there", sysctl(XEN_SYSCTL_INTERFACE_VERSION, 9999) => ENOSYS;
    "command ~0 is not there", sysctl(XEN_SYSCTL_INTERFACE_VERSION, u32::MAX) => ENOSYS;
    "the structure is in x0, not x1", plain(SYSCTL, 0, UNMAPPED, 0) => EFAULT;
};

/// `platform_op` with these words as arguments.
fn platform_of(version: u32, command: u32, words: [u64; 3]) -> i64 {
    let mut buffer = [0_u64; 17];
    buffer[0] = u64::from(version) << 32 | u64::from(command);
    buffer[1..4].copy_from_slice(&words);
    plain(PLATFORM_OP, &raw mut buffer as u64, 0, 0)
}

fn platform(command: u32) -> i64 {
    platform_of(XENPF_INTERFACE_VERSION, command, [0; 3])
}

pub(super) const PLATFORM: &[Check] = rows! {
    "interface version 0", platform_of(0, XENPF_SETTIME64, [0; 3]) => EACCES;
    "interface version 0x03000000", platform_of(0x0300_0000, XENPF_SETTIME64, [0; 3]) => EACCES;
    "interface version ~0", platform_of(u32::MAX, XENPF_SETTIME64, [0; 3]) => EACCES;
    "XENPF_settime64", platform_of(XENPF_INTERFACE_VERSION, XENPF_SETTIME64, [1_700_000_000, 0, 0]) => 0;
    "XENPF_settime64: mbz must be zero",
        platform_of(XENPF_INTERFACE_VERSION, XENPF_SETTIME64, [1_700_000_000, 1 << 32, 0]) => EINVAL;
    "XENPF_settime32 (17) is not for Arm", platform(17) => ENOSYS;
    "XENPF_add_memtype (31) is not for Arm", platform(31) => ENOSYS;
    "XENPF_del_memtype (32) is not for Arm", platform(32) => ENOSYS;
    "XENPF_read_memtype (33) is not for Arm", platform(33) => ENOSYS;
    "XENPF_microcode_update (35) is not for Arm", platform(35) => ENOSYS;
    "XENPF_platform_quirk (39) is not for Arm", platform(39) => ENOSYS;
    "XENPF_get_cpu_version (48) is not for Arm", platform(48) => ENOSYS;
    "XENPF_efi_runtime_call (49) is not for Arm", platform(49) => ENOSYS;
    "XENPF_firmware_info (50) is not for Arm", platform(50) => ENOSYS;
    "XENPF_enter_acpi_sleep (51) is not for Arm", platform(51) => ENOSYS;
    "XENPF_change_freq (52) is not for Arm", platform(52) => ENOSYS;
    "XENPF_getidletime (53) is not for Arm", platform(53) => ENOSYS;
    "XENPF_set_processor_pminfo (54) is not for Arm", platform(54) => ENOSYS;
    "XENPF_get_cpuinfo (55) is not for Arm", platform(55) => ENOSYS;
    "XENPF_cpu_online (56) is not for Arm", platform(56) => ENOSYS;
    "XENPF_cpu_offline (57) is not for Arm", platform(57) => ENOSYS;
    "XENPF_cpu_hotadd (58) is not for Arm", platform(58) => ENOSYS;
    "XENPF_mem_hotadd (59) is not for Arm", platform(59) => ENOSYS;
    "XENPF_core_parking (60) is not for Arm", platform(60) => ENOSYS;
    "XENPF_resource_op (61) is not for Arm", platform(61) => ENOSYS;
    "XENPF_get_symbol (63) is not for Arm", platform(63) => ENOSYS;
    "XENPF_get_dom0_console (64) is not for Arm", platform(64) => ENOSYS;
    "XENPF_get_ucode_revision (65) is not for Arm", platform(65) => ENOSYS;
    "XENPF_microcode_update2 (66) is not for Arm", platform(66) => ENOSYS;
    "command ~0 is not there", platform(u32::MAX) => ENOSYS;
};

fn physdev(operation: u64) -> i64 {
    let mut buffer = [0_u64; 8];
    plain(PHYSDEV_OP, operation, &raw mut buffer as u64, 0)
}

pub(super) const PHYSDEV: &[Check] = rows! {
    "PHYSDEVOP_irq_eoi_notify (4) is not there", physdev(4) => ENOSYS;
    "PHYSDEVOP_irq_status_query (5) is not there", physdev(5) => ENOSYS;
    "PHYSDEVOP_set_iopl (6) is not there", physdev(6) => ENOSYS;
    "PHYSDEVOP_eoi (12) is not there", physdev(12) => ENOSYS;
    "PHYSDEVOP_map_pirq (13) is not there", physdev(13) => ENOSYS;
    "PHYSDEVOP_unmap_pirq (14) is not there", physdev(14) => ENOSYS;
    "PHYSDEVOP_manage_pci_add (15) is not there", physdev(15) => ENOSYS;
    "PHYSDEVOP_manage_pci_remove (16) is not there", physdev(16) => ENOSYS;
    "PHYSDEVOP_pirq_eoi_gmfn_v1 (17) is not there", physdev(17) => ENOSYS;
    "PHYSDEVOP_restore_msi (19) is not there", physdev(19) => ENOSYS;
    "PHYSDEVOP_manage_pci_add_ext (20) is not there", physdev(20) => ENOSYS;
    "PHYSDEVOP_setup_gsi (21) is not there", physdev(21) => ENOSYS;
    "PHYSDEVOP_get_free_pirq (23) is not there", physdev(23) => ENOSYS;
    "PHYSDEVOP_pci_mmcfg_reserved (24) is not there", physdev(24) => ENOSYS;
    "PHYSDEVOP_pci_device_add (25) is not there", physdev(25) => ENOSYS;
    "PHYSDEVOP_pci_device_remove (26) is not there", physdev(26) => ENOSYS;
    "PHYSDEVOP_restore_msi_ext (27) is not there", physdev(27) => ENOSYS;
    "PHYSDEVOP_dbgp_op (29) is not there", physdev(29) => ENOSYS;
    "PHYSDEVOP_prepare_msix (30) is not there", physdev(30) => ENOSYS;
    "PHYSDEVOP_release_msix (31) is not there", physdev(31) => ENOSYS;
    "PHYSDEVOP_pci_device_reset (32) is not there", physdev(32) => ENOSYS;
    "operation ~0 is not there", physdev(0xffff_ffff) => ENOSYS;
};
