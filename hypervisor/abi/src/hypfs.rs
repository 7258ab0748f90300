// SPDX-License-Identifier: MIT OR Apache-2.0
//! `hypfs_op` (`xen/hypfs.h`). x0 = command, x1 = path, x2 = its length with NUL, x3 = buffer,
//! x4 = its size.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Returns [`XEN_HYPFS_VERSION`].
pub const XEN_HYPFS_OP_GET_VERSION: u32 = 0;
/// Reads an entry: a [`DirEntry`] and its contents.
pub const XEN_HYPFS_OP_READ: u32 = 1;
/// Writes an entry.
pub const XEN_HYPFS_OP_WRITE_CONTENTS: u32 = 2;
/// [`DirEntry`] `type`: a directory, of [`DirListEntry`].
pub const XEN_HYPFS_TYPE_DIR: u8 = 0;
/// [`DirEntry`] `type`: text, with NUL.
pub const XEN_HYPFS_TYPE_STRING: u8 = 2;
/// [`DirEntry`] `type`: an unsigned number.
pub const XEN_HYPFS_TYPE_UINT: u8 = 3;
/// Interface version.
pub const XEN_HYPFS_VERSION: u32 = 1;
/// Longest path.
pub const XEN_HYPFS_MAX_PATHLEN: u32 = 1024;

/// `struct xen_hypfs_direntry`: what an entry is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct DirEntry {
    /// `XEN_HYPFS_TYPE_*`.
    pub r#type: u8,
    /// 0: plain.
    pub encoding: u8,
    /// 0.
    pub pad: u16,
    /// Bytes of its contents.
    pub content_len: u32,
    /// Most bytes that can be written, 0 if it is read-only.
    pub max_write_len: u32,
}

/// `struct xen_hypfs_dirlistentry`: an entry in a directory, before its name, which ends with NUL. Not
/// aligned.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct DirListEntry {
    /// The bytes of a [`DirEntry`].
    pub entry: [u8; 12],
    /// 16 bits: bytes from this entry to the next, 0 for the last.
    pub off_next: [u8; 2],
}
