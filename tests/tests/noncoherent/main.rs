// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine whose devices do not see its caches, on which DMA must nevertheless be right.
//!
//! QEMU has no caches that can be wrong, so they are simulated here: RAM, a write-back cache for each CPU, whose lines
//! come and go as they like, and devices that read and write RAM only. On it run the guest stub's DMA as dom0 would run
//! it, and the hypervisor's own hypercalls: d1 grants pages, dom0 maps them and lets devices use them. Whatever is
//! missing of cache maintenance, or misplaced, or too short, shows as wrong data; `mutants.rs` takes away each part of
//! it and proves that.
//!
//! | file | has |
//! |---|---|
//! | `caches.rs` | the caches |
//! | `kernel.rs` | dom0's kernel: the stub's `Platform` on the simulated machine |
//! | `world.rs` | the machine, its two domains, pages, grants and devices |
//! | `transfer.rs` | one transfer from beginning to end, and what must hold |
//! | `strategy.rs` | random transfers |
//! | `properties.rs` | they are right |
//! | `mutants.rs` | they are not, once anything is taken away |
//! | `death.rs` | a domain dies under DMA |
//! | `new_guest.rs` | what a new guest sees with its caches off |

mod caches;
mod death;
mod kernel;
mod mutants;
mod new_guest;
mod properties;
mod random;
mod strategy;
mod transfer;
mod world;
