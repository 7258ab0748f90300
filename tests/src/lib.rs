// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds images, boots them under QEMU on Xenolith or on real Xen, and judges what happens.
//!
//! - [`debian`] fetches the pinned packages by [`apt`]; [`module`], [`cpio`] and [`initramfs`] make dom0's initramfs of
//!   them, [`rootfs`] the disk with Debian's Xen tools.
//! - [`machine`] describes a machine, [`trampoline`] and [`device_tree`] what is unusual about it; [`console`] runs it;
//!   [`dom0`] talks to a booted dom0; [`domu`] adds domains of the device tree, [`guest`] those that xl starts; [`fields`] reads what its tools print.
//! - [`juno`] is a model of a board, [`uboot`] what U-Boot starts Xenolith from.
//! - [`demo`] runs and judges the demonstration.
//! - [`scenario`] holds the tests proper, with [`pairwise`] choosing the machines; [`runner`] selects, runs and counts;
//!   [`tap`] reads what the guest stub printed.
//! - [`conformance`] runs the guest stub's suite and reports it for both hypervisors.
//! - [`bench`] compares costs with Xen's, [`bench_xl`] what a guest gets by the clock; [`symbolize`] reads backtraces.

pub mod apt;
pub mod bench;
pub mod bench_xl;
pub mod conformance;
pub mod console;
pub mod cpio;
pub mod debian;
pub mod demo;
pub mod device_tree;
pub mod dom0;
pub mod domu;
pub mod error;
pub mod fields;
pub mod guest;
pub mod initramfs;
pub mod juno;
pub mod machine;
pub mod module;
pub mod noise;
pub mod pairwise;
pub mod rootfs;
pub mod runner;
pub mod scenario;
pub mod symbolize;
pub mod tap;
pub mod toolstack;
pub mod trampoline;
pub mod uboot;
pub mod workspace;
