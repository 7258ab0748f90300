// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen 4.20's public ABI on arm64: numbers, structures and errors.
//!
//! One module a public header, with Xen's names: a constant `XENMEM_populate_physmap` is
//! [`memory::XENMEM_POPULATE_PHYSMAP`], `struct xen_memory_reservation` is
//! [`memory::MemoryReservation`], and fields keep their C names.
//!
//! Structures are `#[repr(C)]`, little-endian LP64, free of implicit padding (holes are the
//! fields `_pad*`, ignored on input and zero on output) and valid for every bit pattern, so
//! guest bytes convert without checks and no hypervisor memory leaks through holes. Values a
//! guest chooses stay plain integers; deciding what they mean is the reader's work.
//!
//! Unless a field says otherwise: frame numbers count 4 KiB pages, sizes are bytes, times are
//! nanoseconds, sub-operation numbers are `u32`.

#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod arch_arm;
pub mod console;
pub mod domctl;
pub mod errno;
pub mod event;
pub mod grant;
pub mod hvm;
pub mod hypercall;
pub mod hypfs;
pub mod memory;
mod payload;
pub mod physdev;
pub mod platform;
pub mod sched;
pub mod sysctl;
pub mod vcpu;
pub mod version;
pub mod xen;

pub use errno::Errno;
pub use payload::Payload;
pub use xen::Handle;
/// For users of the structures: how they come from bytes and go to bytes.
pub use zerocopy;
