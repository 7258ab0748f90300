// SPDX-License-Identifier: MIT OR Apache-2.0
//! `hypfs_op` (public/hypfs.h): the version of a file system that has no files.

use super::{Args, CallResult, access, done};
use crate::current::Current;
use xen_abi::errno::Errno;
use xen_abi::hypfs::{
    XEN_HYPFS_OP_GET_VERSION, XEN_HYPFS_OP_READ, XEN_HYPFS_OP_WRITE_CONTENTS, XEN_HYPFS_VERSION,
};

pub(super) fn hypfs_op(
    cur: &mut Current<'_>,
    [op, path, length, buffer, size]: Args,
) -> CallResult {
    access::control(cur)?;
    match op as u32 {
        XEN_HYPFS_OP_GET_VERSION if [path, length, buffer, size] == [0; 4] => {
            done(XEN_HYPFS_VERSION)
        }
        XEN_HYPFS_OP_GET_VERSION => Err(Errno::Inval),
        XEN_HYPFS_OP_READ | XEN_HYPFS_OP_WRITE_CONTENTS => Err(Errno::NoSys),
        _ => Err(Errno::OpNotSupp),
    }
}
