// SPDX-License-Identifier: MIT OR Apache-2.0
//! `hypfs_op` (`xen/hypfs.h`). x0 = command, x1 = path, x2 = its length with NUL, x3 = buffer,
//! x4 = its size.

/// Returns [`XEN_HYPFS_VERSION`].
pub const XEN_HYPFS_OP_GET_VERSION: u32 = 0;
/// Reads an entry.
pub const XEN_HYPFS_OP_READ: u32 = 1;
/// Writes an entry.
pub const XEN_HYPFS_OP_WRITE_CONTENTS: u32 = 2;
/// Interface version.
pub const XEN_HYPFS_VERSION: u32 = 1;
/// Longest path.
pub const XEN_HYPFS_MAX_PATHLEN: u32 = 1024;
