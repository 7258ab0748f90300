// SPDX-License-Identifier: MIT OR Apache-2.0
//! Error numbers (`xen/errno.h`).
//!
//! A hypercall returns the negated number in x0: `i64::from(Errno::Inval) == -22`.

use core::fmt;

macro_rules! errnos {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal,)*) => {
        /// A hypercall error. The discriminant is the positive number of `xen/errno.h`.
        #[repr(i32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Errno {
            $($(#[doc = $doc])* $name = $code,)*
        }

        /// Its name and what it means.
        impl fmt::Display for Errno {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let documentation = match self {
                    $(Self::$name => concat!($($doc),*),)*
                };
                let text = documentation.trim().trim_end_matches('.');
                text.split('`').try_for_each(|piece| f.write_str(piece))
            }
        }

        impl Errno {
            /// The error with the positive number `code`, if Xen has one.
            #[must_use]
            pub const fn from_code(code: i32) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    /// `EPERM`: operation not permitted.
    Perm = 1,
    /// `ENOENT`: no such entry.
    NoEnt = 2,
    /// `ESRCH`: no such domain.
    Srch = 3,
    /// `EIO`: I/O error.
    Io = 5,
    /// `ENXIO`: no such device or address.
    NXIO = 6,
    /// `E2BIG`: argument list too long.
    TooBig = 7,
    /// `EBADF`: bad file number.
    BadF = 9,
    /// `EAGAIN`: try again.
    Again = 11,
    /// `ENOMEM`: out of memory.
    NoMem = 12,
    /// `EACCES`: permission denied; also a wrong interface version.
    Acces = 13,
    /// `EFAULT`: bad guest address.
    Fault = 14,
    /// `EBUSY`: resource busy.
    Busy = 16,
    /// `EEXIST`: exists already.
    Exist = 17,
    /// `EXDEV`: cross-device link.
    XDev = 18,
    /// `ENODEV`: no such device.
    NoDev = 19,
    /// `EINVAL`: invalid argument.
    Inval = 22,
    /// `ENOSPC`: no space left.
    NoSpc = 28,
    /// `EROFS`: read-only.
    RoFs = 30,
    /// `EDOM`: argument out of domain.
    Dom = 33,
    /// `ERANGE`: result not representable.
    Range = 34,
    /// `EDEADLK`: would deadlock.
    DeadLk = 35,
    /// `ENAMETOOLONG`: name too long.
    NameTooLong = 36,
    /// `ENOSYS`: function not implemented.
    NoSys = 38,
    /// `ENODATA`: no data available.
    NoData = 61,
    /// `EOVERFLOW`: value too large for its type.
    Overflow = 75,
    /// `EILSEQ`: illegal sequence.
    IlSeq = 84,
    /// `ERESTART`: create a continuation. Internal to the hypervisor; never returned to a guest.
    Restart = 85,
    /// `EMSGSIZE`: message too large.
    MsgSize = 90,
    /// `EOPNOTSUPP`: operation not supported.
    OpNotSupp = 95,
    /// `EADDRINUSE`: address in use.
    AddrInUse = 98,
    /// Address not available.
    AddrNotAvail = 99,
    /// `ENOBUFS`: no buffer space available.
    NoBufs = 105,
    /// `ENOTCONN`: not connected.
    NotConn = 107,
    /// `ETIMEDOUT`: timed out.
    TimedOut = 110,
}

impl Errno {
    /// The positive number, as in `xen/errno.h`.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }
}

impl From<Errno> for i32 {
    /// The negated number, as stored in 32-bit result fields.
    fn from(errno: Errno) -> Self {
        errno.code().wrapping_neg()
    }
}

impl From<Errno> for i64 {
    /// The negated number, as returned in x0.
    fn from(errno: Errno) -> Self {
        Self::from(i32::from(errno))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::Errno;

    #[test]
    fn conversions_round_trip() {
        assert_eq!(i64::from(Errno::NoSys), -38);
        assert_eq!(i32::from(Errno::Perm), -1);
        assert_eq!(Errno::from_code(105), Some(Errno::NoBufs));
        assert_eq!(Errno::from_code(0), None);
        assert_eq!(Errno::from_code(-22), None);
        assert_eq!(std::format!("{}", Errno::NoMem), "ENOMEM: out of memory");
    }
}
