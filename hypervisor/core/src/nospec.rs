// SPDX-License-Identifier: MIT OR Apache-2.0
//! Indexes that a guest chose, safe from speculation past their check (Spectre v1).
//!
//! A processor may run on as if a bounds check had passed, load from beyond the end, and leave a
//! trace of what it read in the caches. So where the index is a guest's, what is used after the
//! check is made of it without a branch: itself inside the bounds, 0 outside, on the wrong path too.
//! The compiler must not see that the check implies it, or it would remove it: `black_box` hides
//! where the index comes from. A value that is taken modulo a constant needs none of this.
//!
//! It costs some instructions, so a number is confined once, where a guest's becomes one that is known.

use core::hint::black_box;

/// `index` if it is less than `len`, else 0, without a branch.
#[inline(always)]
pub fn confine(index: usize, len: usize) -> usize {
    let index = black_box(index);
    // The sign bit of each: set when it is less than `len`, which is no slice's if it has that bit,
    // and when `index` has none itself.
    let inside = index.wrapping_sub(len) & !index;
    let mask = (inside as isize).wrapping_shr(usize::BITS.wrapping_sub(1)) as usize;
    index & mask
}

/// `slice.get(index)`.
#[inline(always)]
pub fn get<T>(slice: &[T], index: usize) -> Option<&T> {
    if index >= slice.len() {
        return None;
    }
    slice.get(confine(index, slice.len()))
}

/// `slice.get_mut(index)`.
#[inline(always)]
pub fn get_mut<T>(slice: &mut [T], index: usize) -> Option<&mut T> {
    if index >= slice.len() {
        return None;
    }
    let index = confine(index, slice.len());
    slice.get_mut(index)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    #[test]
    fn inside_is_itself_outside_is_zero() {
        const LONGEST: usize = isize::MAX as usize;
        for len in [0, 1, 2, 63, 64, 1 << 20, LONGEST - 1, LONGEST] {
            for index in [0, 1, 2, 62, 63, 64, 65, 1 << 20, LONGEST - 1, LONGEST] {
                let confined = if index < len { index } else { 0 };
                assert_eq!(confine(index, len), confined, "{index} of {len}");
                // Above half of the range there is nothing.
                assert_eq!(confine(index + LONGEST + 1, len), 0);
            }
            assert_eq!(confine(usize::MAX, len), 0);
        }
    }

    #[test]
    fn slices_answer_as_ever() {
        let mut slice = [1, 2, 3];
        for index in [0, 1, 2, 3, 4, usize::MAX] {
            assert_eq!(get(&slice, index), slice.get(index));
            let mut copy = slice;
            assert_eq!(get_mut(&mut slice, index), copy.get_mut(index));
        }
        assert_eq!(get::<u8>(&[], 0), None);
    }
}
