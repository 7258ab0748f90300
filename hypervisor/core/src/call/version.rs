// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xen_version` (public/version.h): who the hypervisor is and what it can do.

use super::{Args, CallResult, OK, access, done, update};
use crate::addr::{Gva, PAGE_SIZE};
use crate::current::Current;
use crate::guest::copy::GuestPtr;
use xen_abi::errno::Errno;
use xen_abi::version::{
    CompileInfo, FeatureInfo, PlatformParameters, VarBuf, XEN_CAPABILITIES_INFO_LEN,
    XEN_CHANGESET_INFO_LEN, XEN_COMMANDLINE_LEN, XEN_EXTRAVERSION_LEN, XENFEAT_ARM_SMCCC_SUPPORTED,
    XENFEAT_AUTO_TRANSLATED_PHYSMAP, XENFEAT_DIRECT_MAPPED, XENFEAT_DOM0,
    XENFEAT_MEMORY_OP_VNODE_SUPPORTED, XENFEAT_NOT_DIRECT_MAPPED, XENFEAT_RUNSTATE_PHYS_AREA,
    XENFEAT_WRITABLE_PAGE_TABLES, XENVER_BUILD_ID, XENVER_CAPABILITIES, XENVER_CAPABILITIES2,
    XENVER_CHANGESET, XENVER_CHANGESET2, XENVER_COMMANDLINE, XENVER_COMMANDLINE2,
    XENVER_COMPILE_INFO, XENVER_EXTRAVERSION, XENVER_EXTRAVERSION2, XENVER_GET_FEATURES,
    XENVER_GUEST_HANDLE, XENVER_PAGESIZE, XENVER_PLATFORM_PARAMETERS, XENVER_VERSION,
};

/// Version 4.20, as reported.
pub(crate) const VERSION: (u32, u32) = (4, 20);
/// What follows the version: the hypervisor says who it is.
pub(crate) const EXTRAVERSION: &str = ".4-xenolith";
/// Guests that can run: AArch64 only.
const CAPABILITIES: &str = "xen-3.0-aarch64 ";
/// The source revision, if the build knew it.
pub(crate) const CHANGESET: &str = match option_env!("XENOLITH_CHANGESET") {
    Some(text) => text,
    None => "",
};
/// What a domain sees that may not see the command line.
const DENIED: &str = "<denied>";
/// What names this build: 20 bytes as long as a SHA-1, but only a mix of version and changeset.
const BUILD_ID: [u8; 20] = build_id();

pub(super) fn xen_version(cur: &mut Current<'_>, [cmd, arg, ..]: Args) -> CallResult {
    let at = Gva(arg);
    match cmd as u32 {
        XENVER_VERSION => done(VERSION.0 << 16 | VERSION.1),
        XENVER_EXTRAVERSION => text::<XEN_EXTRAVERSION_LEN>(cur, at, EXTRAVERSION),
        XENVER_COMPILE_INFO => compile_info(cur, GuestPtr::new(arg)),
        XENVER_CAPABILITIES => text::<XEN_CAPABILITIES_INFO_LEN>(cur, at, CAPABILITIES),
        XENVER_CHANGESET => text::<XEN_CHANGESET_INFO_LEN>(cur, at, CHANGESET),
        XENVER_PLATFORM_PARAMETERS => {
            GuestPtr::new(arg).write(cur.memory(), &PlatformParameters { virt_start: 0 })?;
            OK
        }
        XENVER_GET_FEATURES => update(cur, GuestPtr::new(arg), |info| features(cur, info)),
        XENVER_PAGESIZE if arg == 0 => done(PAGE_SIZE as u32),
        XENVER_PAGESIZE => Err(Errno::Inval),
        XENVER_GUEST_HANDLE => {
            let handle = *cur.domain.handle.lock();
            cur.memory().write_bytes(at, &handle)?;
            OK
        }
        XENVER_COMMANDLINE if cur.domain.role.control => {
            text::<XEN_COMMANDLINE_LEN>(cur, at, cur.sys.options.line)
        }
        XENVER_COMMANDLINE => text::<{ DENIED.len().wrapping_add(1) }>(cur, at, DENIED),
        XENVER_BUILD_ID => {
            access::control(cur)?;
            variable(cur, arg, &BUILD_ID, true)
        }
        XENVER_EXTRAVERSION2 => variable(cur, arg, EXTRAVERSION.as_bytes(), false),
        XENVER_CAPABILITIES2 => variable(cur, arg, CAPABILITIES.as_bytes(), false),
        XENVER_CHANGESET2 => variable(cur, arg, CHANGESET.as_bytes(), false),
        XENVER_COMMANDLINE2 => {
            access::control(cur)?;
            variable(cur, arg, cur.sys.options.line.as_bytes(), false)
        }
        _ => Err(Errno::NoSys),
    }
}

/// `XENVER_get_features`: the bits of submap 0.
fn features(cur: &Current<'_>, info: &mut FeatureInfo) -> Result<(), Errno> {
    const COMMON: u32 = 1 << XENFEAT_WRITABLE_PAGE_TABLES
        | 1 << XENFEAT_AUTO_TRANSLATED_PHYSMAP
        | 1 << XENFEAT_MEMORY_OP_VNODE_SUPPORTED
        | 1 << XENFEAT_ARM_SMCCC_SUPPORTED
        | 1 << XENFEAT_RUNSTATE_PHYS_AREA;
    if info.submap_idx != 0 {
        return Err(Errno::Inval);
    }
    let role = cur.domain.role;
    let initial = u32::from(role.hardware) << XENFEAT_DOM0;
    let mapped = match role.direct_mapped {
        true => 1 << XENFEAT_DIRECT_MAPPED,
        false => 1 << XENFEAT_NOT_DIRECT_MAPPED,
    };
    info.submap = COMMON | initial | mapped;
    Ok(())
}

/// Writes `text` into a field of `N` bytes, cut to leave a NUL.
fn text<const N: usize>(cur: &Current<'_>, at: Gva, text: &str) -> CallResult {
    cur.memory().write_bytes(at, &field::<N>(text))?;
    OK
}

const fn field<const N: usize>(text: &str) -> [u8; N] {
    let mut out = [0; N];
    let (mut from, mut to) = (text.as_bytes(), out.as_mut_slice());
    while let ([byte, rest @ ..], [slot, left @ ..]) = (from, to) {
        if left.is_empty() {
            break;
        }
        *slot = *byte;
        (from, to) = (rest, left);
    }
    out
}

/// Writes `bytes` behind a [`VarBuf`] and returns how many; just returns it for a null pointer.
/// With `header` the length is written too.
fn variable(cur: &Current<'_>, arg: u64, bytes: &[u8], header: bool) -> CallResult {
    let buffer = GuestPtr::<VarBuf>::new(arg);
    let len = bytes.len() as u32;
    if !buffer.is_null() {
        let room = buffer.read(cur.memory())?.len;
        if room < len {
            return Err(Errno::NoBufs);
        }
        if header {
            buffer.write(cur.memory(), &VarBuf { len })?;
        }
        let text = buffer.at(1)?;
        cur.memory().write_bytes(text.gva(), bytes)?;
    }
    done(len)
}

fn compile_info(cur: &Current<'_>, arg: GuestPtr<CompileInfo>) -> CallResult {
    const INFO: CompileInfo = CompileInfo {
        compiler: field(compiled().compiler),
        compile_by: field(compiled().by),
        compile_domain: field(compiled().domain),
        compile_date: field(compiled().date),
    };
    arg.write(cur.memory(), &INFO)?;
    OK
}

/// How the hypervisor was built.
pub(crate) struct Compiled {
    pub(crate) compiler: &'static str,
    pub(crate) by: &'static str,
    pub(crate) domain: &'static str,
    pub(crate) date: &'static str,
}

pub(crate) const fn compiled() -> Compiled {
    Compiled {
        compiler: concat!("rustc ", env!("CARGO_PKG_RUST_VERSION")),
        by: built("xenolith", option_env!("XENOLITH_COMPILE_BY")),
        domain: built("", option_env!("XENOLITH_COMPILE_DOMAIN")),
        date: built("", option_env!("XENOLITH_COMPILE_DATE")),
    }
}

/// What the build was told, or else `default`.
const fn built(default: &'static str, told: Option<&'static str>) -> &'static str {
    match told {
        Some(text) => text,
        None => default,
    }
}

/// FNV-1a of what tells builds apart, a byte a round.
const fn build_id() -> [u8; 20] {
    const PRIME: u64 = 0x100_0000_01b3;
    let mut hash = mix(0xcbf2_9ce4_8422_2325, env!("CARGO_PKG_VERSION"));
    hash = mix(hash, CHANGESET);
    hash = mix(hash, built("", option_env!("XENOLITH_COMPILE_DATE")));
    let mut id = [0; 20];
    let mut left = id.as_mut_slice();
    while let [byte, rest @ ..] = left {
        hash = (hash ^ 0xff).wrapping_mul(PRIME);
        *byte = (hash >> 32) as u8;
        left = rest;
    }
    id
}

const fn mix(mut hash: u64, text: &str) -> u64 {
    let mut bytes = text.as_bytes();
    while let [byte, rest @ ..] = bytes {
        hash = (hash ^ *byte as u64).wrapping_mul(0x100_0000_01b3);
        bytes = rest;
    }
    hash
}
