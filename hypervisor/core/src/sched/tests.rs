// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scheduler over several fake CPUs.
