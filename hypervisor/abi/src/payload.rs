// SPDX-License-Identifier: MIT OR Apache-2.0
//! The 128-byte union after the header of domctl, sysctl and platform_op.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of the union.
const SIZE: usize = 128;

/// The union of sub-operation arguments: 128 bytes, 8-byte aligned.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Payload([u64; SIZE / 8]);

impl Payload {
    /// A union of zeros.
    pub const ZERO: Self = Self([0; SIZE / 8]);

    /// Reads the union as `T`.
    #[must_use]
    pub fn get<T: FromBytes + IntoBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= SIZE) };
        let mut value = T::new_zeroed();
        copy(value.as_mut_bytes(), self.0.as_bytes());
        value
    }

    /// Overwrites the first bytes of the union with `value`; the others keep theirs.
    pub fn set<T: IntoBytes + Immutable>(&mut self, value: &T) {
        const { assert!(size_of::<T>() <= SIZE) };
        copy(self.0.as_mut_bytes(), value.as_bytes());
    }
}

/// Copies as many bytes as both slices have.
fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::Payload;

    #[test]
    fn set_keeps_the_rest() {
        let mut payload = Payload::ZERO;
        payload.set(&[7u64, 9u64]);
        payload.set(&5u32);
        assert_eq!(payload.get::<[u64; 3]>(), [5, 9, 0]);
    }
}
