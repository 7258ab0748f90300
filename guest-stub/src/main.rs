// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small kernel at EL1 that runs as dom0 and measures (`bench` on its command line) or checks (`check`) the
//! hypervisor under it, or names its checks (`list`); or as dom0 and as domU demonstrates DMA to pages of another domain
//! (`demo`); or as domU does what the checks ask (`peer`).
#![no_std]
#![no_main]

mod bench;
mod console;
mod demo;
mod drivers;
mod machine;
mod peer;
mod suite;
mod text;
mod xen;

use console::println;
use machine::{dt, gic, mmu, psci};

core::arch::global_asm!(
    include_str!("head.S"),
    NORMAL_BLOCK = const mmu::NORMAL_BLOCK,
    MAIR = const mmu::MAIR,
    TCR = const mmu::TCR,
    SCTLR = const mmu::SCTLR,
);

/// The boot CPU, with the MMU on: the device tree's address, and the physical counter at the first instruction.
#[unsafe(no_mangle)]
extern "C" fn boot_main(tree: u64, first_count: u64) -> ! {
    dt::read(tree);
    gic::start();
    let mut words = dt::facts().arguments.split_whitespace();
    let is_verb = |word: &&str| {
        ["bench", "check", "list", "demo", "peer"]
            .iter()
            .any(|verb| word.starts_with(verb))
    };
    let verb = words.find(is_verb);
    match verb.map(|verb| verb.split_once('=').unwrap_or((verb, ""))) {
        Some(("bench", _)) => bench::run(first_count),
        Some(("check", filter)) => suite::run(filter),
        Some(("list", _)) => suite::list(),
        Some(("demo", which)) => demo::run(which),
        Some(("peer", _)) => peer::run(),
        _ => println!("guest-stub: say bench, check, list, demo or peer on the command line"),
    }
    psci::system_off()
}

unsafe extern "C" {
    #[link_name = "_image_start"]
    static IMAGE_START: u8;
    #[link_name = "_image_end"]
    static IMAGE_END: u8;
}

/// Where the image was loaded.
fn image_start() -> u64 {
    &raw const IMAGE_START as u64
}

/// Where what belongs to it ends.
fn image_end() -> u64 {
    &raw const IMAGE_END as u64
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    println!("Bail out! {info}");
    psci::system_off()
}
