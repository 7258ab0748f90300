// SPDX-License-Identifier: MIT OR Apache-2.0

//! QEMU's `virt` machine.

use super::Board;

pub(super) const BOARD: Board = Board {
    name: "QEMU virt",
    compatible: "linux,dummy-virt",
    pl011: 0x0900_0000,
    hidden: &[],
};
