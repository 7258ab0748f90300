// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demonstration: disks of dom0 move data straight into and out of pages that another domain granted, with the
//! DMA dispatch as it is since the fix; and what happens with the one before.
//!
//! Two stubs take part, with `demo` on both command lines. The domU ([`domu`]) grants pages and does what it is told;
//! dom0 ([`dom0`]) has the disks, leads and judges. They talk through one of the pages ([`mailbox`]).

#![expect(
    clippy::result_large_err,
    reason = "a problem carries its explanation; there is no heap to put it on"
)]

mod death;
mod disks;
mod dom0;
mod domu;
mod mailbox;
mod pattern;
mod peer;
mod report;
mod steps;
mod wait;

use xen_abi::version::XENFEAT_DOM0;

use crate::console::println;
use crate::text::Text;
use crate::xen::version::has_feature;

/// What went wrong, for people.
type Problem = Text<160>;

/// Fails with a formatted text.
macro_rules! fail {
    ($($argument:tt)*) => { return Err(crate::text::Text::format(format_args!($($argument)*))) };
}

use fail;

/// Takes part, as the domain that this is. `which` names one step of dom0's, or is empty for all.
pub(crate) fn run(which: &str) {
    let outcome = if has_feature(XENFEAT_DOM0) {
        dom0::run(which)
    } else {
        domu::run()
    };
    if let Err(problem) = outcome {
        println!("DEMO: failed: {problem}");
    }
}
