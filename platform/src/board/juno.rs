// SPDX-License-Identifier: MIT OR Apache-2.0

//! Arm's Juno, r0 to r2. Its tree says the rest: GIC-400 with GICv2m, two kinds of CPU, two banks of
//! RAM, PSCI by SMC.

use super::Board;

pub(super) const BOARD: Board = Board {
    name: "Arm Juno",
    compatible: "arm,juno",
    pl011: 0x7ff8_0000,
    hidden: &[],
};
