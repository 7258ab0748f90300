// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's side of Xen's ABI.

pub(crate) mod domctl;
pub(crate) mod event;
pub(crate) mod fifo;
pub(crate) mod gnttab;
pub(crate) mod grant;
pub(crate) mod hypercall;
pub(crate) mod mailbox;
pub(crate) mod memory;
pub(crate) mod page;
pub(crate) mod peer;
pub(crate) mod version;
