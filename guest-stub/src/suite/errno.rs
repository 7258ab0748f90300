// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen's error numbers as hypercalls answer them: negated.

pub(super) const EPERM: i64 = -1;
pub(super) const ENOENT: i64 = -2;
pub(super) const ESRCH: i64 = -3;
pub(super) const ENXIO: i64 = -6;
pub(super) const E2BIG: i64 = -7;
pub(super) const EAGAIN: i64 = -11;
pub(super) const ENOMEM: i64 = -12;
pub(super) const EACCES: i64 = -13;
pub(super) const EFAULT: i64 = -14;
pub(super) const EBUSY: i64 = -16;
pub(super) const EEXIST: i64 = -17;
pub(super) const ENODEV: i64 = -19;
pub(super) const EINVAL: i64 = -22;
pub(super) const ENOSPC: i64 = -28;
pub(super) const EDOM: i64 = -33;
pub(super) const ENOSYS: i64 = -38;
pub(super) const ENODATA: i64 = -61;
pub(super) const EILSEQ: i64 = -84;
pub(super) const EOPNOTSUPP: i64 = -95;
pub(super) const EADDRNOTAVAIL: i64 = -99;
pub(super) const ENOBUFS: i64 = -105;
