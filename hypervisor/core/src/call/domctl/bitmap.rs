// SPDX-License-Identifier: MIT OR Apache-2.0
//! `struct xenctl_bitmap`: sets of CPUs or nodes, as bytes in the guest's memory.

use crate::current::Current;
use crate::guest::copy::GuestPtr;
use xen_abi::domctl::Bitmap;
use xen_abi::errno::Errno;

/// Bytes of the largest set that means anything: 128 CPUs.
const BYTES: usize = size_of::<u128>();
/// Bytes of a guest's set that are written at most.
const MOST: u32 = 512;

/// The set that a guest gives.
///
/// # Errors
/// `EFAULT`.
pub(in crate::call) fn read(cur: &Current<'_>, from: Bitmap) -> Result<u128, Errno> {
    let mut bytes = [0; BYTES];
    let len = (from.nr_bits.div_ceil(8) as usize).min(BYTES);
    let piece = bytes.get_mut(..len).unwrap_or_default();
    let at = GuestPtr::<u8>::from(from.bitmap).gva();
    cur.memory().read_bytes(at, piece)?;
    let known = u128::MAX.checked_shl(from.nr_bits).unwrap_or(0);
    Ok(u128::from_le_bytes(bytes) & !known)
}

/// Gives a guest `set`, as far as there is room for it, and zeroes after that.
///
/// # Errors
/// `EFAULT`.
pub(in crate::call) fn write(cur: &Current<'_>, to: Bitmap, set: u128) -> Result<(), Errno> {
    let known = u128::MAX.checked_shl(to.nr_bits).unwrap_or(0);
    let bytes = (set & !known).to_le_bytes();
    let list = GuestPtr::<u8>::from(to.bitmap);
    for n in 0..to.nr_bits.div_ceil(8).min(MOST) {
        let byte = bytes.get(n as usize).copied().unwrap_or(0);
        list.at(n.into())?.write(cur.memory(), &byte)?;
    }
    Ok(())
}
