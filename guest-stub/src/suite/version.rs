// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xen_version`.

use xen_abi::hypercall::XEN_VERSION;
use xen_abi::version::{
    FeatureInfo, XENVER_BUILD_ID, XENVER_CAPABILITIES, XENVER_CAPABILITIES2, XENVER_CHANGESET,
    XENVER_CHANGESET2, XENVER_COMMANDLINE, XENVER_COMMANDLINE2, XENVER_COMPILE_INFO,
    XENVER_EXTRAVERSION, XENVER_EXTRAVERSION2, XENVER_GET_FEATURES, XENVER_GUEST_HANDLE,
    XENVER_PAGESIZE, XENVER_PLATFORM_PARAMETERS, XENVER_VERSION,
};

use super::call::{answer, plain, with};
use super::check::{Check, Outcome, check, ensure, ensure_eq, rows};
use super::errno::{EINVAL, ENOBUFS, ENOSYS};

/// Calls with an address.
fn version(command: u32, address: u64) -> i64 {
    plain(XEN_VERSION, command.into(), address, 0)
}

/// Bytes of a command that fills a structure, behind which none must change: all that begins as 0xaa.
fn filled<const N: usize>(command: u32) -> (i64, [u8; N]) {
    with(XEN_VERSION, command, [0xaa; N])
}

/// Feature `bit` of dom0.
fn feature(bit: u32) -> u32 {
    let info = FeatureInfo {
        submap_idx: 0,
        submap: 0,
    };
    with(XEN_VERSION, XENVER_GET_FEATURES, info).1.submap >> bit & 1
}

fn submap(submap_idx: u32) -> i64 {
    let info = FeatureInfo {
        submap_idx,
        submap: 0,
    };
    answer(XEN_VERSION, XENVER_GET_FEATURES, info)
}

/// `xen_varbuf`.
#[repr(C)]
struct VarBuf {
    len: u32,
    bytes: [u8; 1020],
}

fn varbuf(command: u32, len: u32) -> (i64, VarBuf) {
    let buffer = VarBuf {
        len,
        bytes: [0xaa; 1020],
    };
    with(XEN_VERSION, command, buffer)
}

/// The length of a text, asked for with a null pointer.
fn length(command: u32) -> u32 {
    version(command, 0).max(0) as u32
}

/// Whether a text in a buffer of just its length is given whole, and nothing behind it changes.
fn exact(command: u32) -> Outcome {
    let len = length(command);
    let (answer, buffer) = varbuf(command, len);
    ensure_eq!(answer, i64::from(len), "the answer");
    let after = buffer.bytes.get(len as usize..).unwrap_or(&[]);
    ensure!(
        after.iter().all(|byte| *byte == 0xaa),
        "bytes behind the text change"
    );
    Ok(())
}

/// The text of a fixed structure, without the NUL.
fn text<const N: usize>(command: u32) -> ([u8; N], usize) {
    let (_, bytes) = filled::<N>(command);
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(N);
    (bytes, end)
}

/// Whether the text of a fixed structure and that of the variable one are the same.
fn same_text<const N: usize>(fixed: u32, variable: u32) -> Outcome {
    let (bytes, end) = text::<N>(fixed);
    ensure!(end < N, "the text does not end in NUL");
    ensure_eq!(length(variable) as usize, end, "the length");
    let (_, buffer) = varbuf(variable, 1020);
    ensure!(
        buffer.bytes.starts_with(&bytes[..end]),
        "the texts are not the same"
    );
    Ok(())
}

fn holds<const N: usize>(command: u32, part: &str) -> Outcome {
    let (bytes, end) = text::<N>(command);
    let part = part.as_bytes();
    ensure!(
        bytes[..end].windows(part.len()).any(|w| w == part),
        "the text lacks it"
    );
    Ok(())
}

pub(super) const NUMBERS: &[Check] = rows! {
    "XENVER_version is 4.20", version(XENVER_VERSION, 0) => 0x4_0014;
    "XENVER_version ignores its argument", version(XENVER_VERSION, 8) => 0x4_0014;
    "XENVER_pagesize is 4096", version(XENVER_PAGESIZE, 0) => 4096;
    "XENVER_pagesize takes no argument", version(XENVER_PAGESIZE, 0x1000) => EINVAL;
    "XENVER_extraversion answers 0", filled::<16>(XENVER_EXTRAVERSION).0 => 0;
    "XENVER_extraversion begins with a dot", filled::<16>(XENVER_EXTRAVERSION).1[0] => b'.';
    "XENVER_compile_info answers 0", filled::<144>(XENVER_COMPILE_INFO).0 => 0;
    "XENVER_capabilities answers 0", filled::<1024>(XENVER_CAPABILITIES).0 => 0;
    "XENVER_changeset answers 0", filled::<64>(XENVER_CHANGESET).0 => 0;
    "XENVER_platform_parameters: virt_start is 0", filled::<8>(XENVER_PLATFORM_PARAMETERS) => (0, [0; 8]);
    "XENVER_guest_handle of dom0 is all zero", filled::<16>(XENVER_GUEST_HANDLE) => (0, [0; 16]);
    "XENVER_commandline answers 0", filled::<1024>(XENVER_COMMANDLINE).0 => 0;
    "XENVER_get_features of submap 0", submap(0) => 0;
    "XENVER_get_features of submap 1", submap(1) => EINVAL;
    "XENVER_get_features of submap ~0", submap(u32::MAX) => EINVAL;
    "XENFEAT_writable_page_tables", feature(0) => 1;
    "XENFEAT_writable_descriptor_tables is clear", feature(1) => 0;
    "XENFEAT_auto_translated_physmap", feature(2) => 1;
    "XENFEAT_supervisor_mode_kernel is clear", feature(3) => 0;
    "XENFEAT_pae_pgdir_above_4gb is clear", feature(4) => 0;
    "XENFEAT_mmu_pt_update_preserve_ad is clear", feature(5) => 0;
    "XENFEAT_highmem_assist is clear", feature(6) => 0;
    "XENFEAT_gnttab_map_avail_bits is clear", feature(7) => 0;
    "XENFEAT_hvm_callback_vector is clear", feature(8) => 0;
    "XENFEAT_hvm_safe_pvclock is clear", feature(9) => 0;
    "XENFEAT_hvm_pirqs is clear", feature(10) => 0;
    "XENFEAT_dom0 of dom0", feature(11) => 1;
    "XENFEAT_grant_map_identity is clear", feature(12) => 0;
    "XENFEAT_memory_op_vnode_supported", feature(13) => 1;
    "XENFEAT_ARM_SMCCC_supported", feature(14) => 1;
    "XENFEAT_linux_rsdp_unrestricted is clear", feature(15) => 0;
    "XENFEAT_not_direct_mapped of dom0 is clear", feature(16) => 0;
    "XENFEAT_direct_mapped of dom0", feature(17) => 1;
    "XENFEAT_runstate_phys_area", feature(18) => 1;
    "XENFEAT_vcpu_time_phys_area is clear", feature(19) => 0;
    "features 20 to 31 are clear", (20..32).map(feature).sum::<u32>() => 0;
    "XENVER_build_id has 20 bytes", version(XENVER_BUILD_ID, 0) => 20;
    "XENVER_build_id in a buffer of 19 bytes", varbuf(XENVER_BUILD_ID, 19).0 => ENOBUFS;
    "XENVER_build_id in a buffer of no bytes", varbuf(XENVER_BUILD_ID, 0).0 => ENOBUFS;
    "XENVER_extraversion2 in a buffer of no bytes", varbuf(XENVER_EXTRAVERSION2, 0).0 => ENOBUFS;
    "XENVER_capabilities2 in a buffer of no bytes", varbuf(XENVER_CAPABILITIES2, 0).0 => ENOBUFS;
    "XENVER_commandline2 in a buffer of no bytes", varbuf(XENVER_COMMANDLINE2, 0).0 => ENOBUFS;
    "XENVER_extraversion2 in a buffer one byte short",
        varbuf(XENVER_EXTRAVERSION2, length(XENVER_EXTRAVERSION2) - 1).0 => ENOBUFS;
    "XENVER_capabilities2 in a buffer one byte short",
        varbuf(XENVER_CAPABILITIES2, length(XENVER_CAPABILITIES2) - 1).0 => ENOBUFS;
    "XENVER_commandline2 in a buffer one byte short",
        varbuf(XENVER_COMMANDLINE2, length(XENVER_COMMANDLINE2) - 1).0 => ENOBUFS;
    "XENVER_changeset2 with a null pointer is a length", version(XENVER_CHANGESET2, 0) >= 0 => true;
    "command 15 is not there", version(15, 0) => ENOSYS;
    "command 16 is not there", version(16, 0) => ENOSYS;
    "command ~0 is not there", version(u32::MAX, 0) => ENOSYS;
};

pub(super) const TEXTS: &[Check] = &[
    check("XENVER_build_id fills just its length", || {
        exact(XENVER_BUILD_ID)
    }),
    check("XENVER_extraversion2 fills just its length", || {
        exact(XENVER_EXTRAVERSION2)
    }),
    check("XENVER_capabilities2 fills just its length", || {
        exact(XENVER_CAPABILITIES2)
    }),
    check("XENVER_commandline2 fills just its length", || {
        exact(XENVER_COMMANDLINE2)
    }),
    check("XENVER_extraversion and extraversion2 are the same", || {
        same_text::<16>(XENVER_EXTRAVERSION, XENVER_EXTRAVERSION2)
    }),
    check("XENVER_capabilities and capabilities2 are the same", || {
        same_text::<1024>(XENVER_CAPABILITIES, XENVER_CAPABILITIES2)
    }),
    check("XENVER_changeset and changeset2 are the same", || {
        same_text::<64>(XENVER_CHANGESET, XENVER_CHANGESET2)
    }),
    check("XENVER_commandline and commandline2 are the same", || {
        same_text::<1024>(XENVER_COMMANDLINE, XENVER_COMMANDLINE2)
    }),
    check("XENVER_capabilities has xen-3.0-aarch64", || {
        holds::<1024>(XENVER_CAPABILITIES, "xen-3.0-aarch64 ")
    }),
    check("XENVER_capabilities has xen-3.0-armv7l", || {
        holds::<1024>(XENVER_CAPABILITIES, "xen-3.0-armv7l ")
    })
    .unlike_xen("guests are AArch64 only"),
    check("XENVER_commandline is the hypervisor's", || {
        holds::<1024>(XENVER_COMMANDLINE, "dom0_mem=")
    }),
    check("XENVER_build_id is the same each time", || {
        let [first, second] = [0, 1].map(|_| varbuf(XENVER_BUILD_ID, 20).1.bytes);
        ensure!(first[..20] == second[..20], "it changes");
        Ok(())
    }),
];
