// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xen_version`: who the hypervisor is and what it lets this domain do.

use core::ffi::CStr;

use xen_abi::hypercall::XEN_VERSION;
use xen_abi::version::{
    FeatureInfo, XEN_EXTRAVERSION_LEN, XENVER_EXTRAVERSION, XENVER_GET_FEATURES,
};

use super::hypercall::operate;

/// Whether the hypervisor is Xen itself: Xenolith says its name in the version.
pub(crate) fn is_xen() -> bool {
    let mut version = [0_u8; XEN_EXTRAVERSION_LEN];
    operate(XEN_VERSION, XENVER_EXTRAVERSION, &mut version);
    let version = CStr::from_bytes_until_nul(&version).unwrap_or_default();
    !version.to_bytes().windows(5).any(|part| part == b"xenol")
}

/// Whether this domain has feature `bit`, one of `XENFEAT_*`.
pub(crate) fn has_feature(bit: u32) -> bool {
    let mut info = FeatureInfo {
        submap_idx: 0,
        submap: 0,
    };
    operate(XEN_VERSION, XENVER_GET_FEATURES, &mut info) == 0 && info.submap >> bit & 1 != 0
}
