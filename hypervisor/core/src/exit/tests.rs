// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random guests: whatever they do, nothing panics, locks are taken in order, each trap ends and
//! gets the guest on, and in the end every page is accounted for.
//!
//! `XENOLITH_TRAPS` sets how many traps there are, `XENOLITH_SEED` where they start.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod guest;
mod machine;

use super::*;
use crate::addr::{Pa, PaRange};
use crate::cpu::midr::Midr;
use crate::domain::context::{PSTATE_RESET, Regs};
use crate::hw::Hw;
use crate::testing::{self, Setup};
use guest::Dice;
use machine::{Machine, Tally};
use std::string::String;
use xen_abi::hypercall::PLATFORM_OP;

/// Traps of one machine, before it is taken apart.
const PER_MACHINE: u64 = 2000;

const RAM: PaRange = PaRange {
    start: Pa(0x4000_0000),
    end: Pa(0x4080_0000),
};

/// Formats all that is logged, to nowhere.
struct Sink;

impl log::Log for Sink {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        assert!(std::format!("{}", record.args()).len() < 1024);
    }
    fn flush(&self) {}
}

fn from_environment(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text: String| text.parse().expect("a number"))
}

/// The guests were not all talk: traps came out in all ways, hypercalls failed and succeeded.
fn check_tally(tally: &Tally) {
    let outcomes = [tally.stepped, tally.excepted, tally.restarted, tally.ended];
    assert!(outcomes.iter().all(|&n| n > 0), "{tally:?}");
    for number in guest::NUMBERS {
        let [refused, performed] = tally.calls.get(&number).copied().unwrap_or_default();
        // Nobody may do a PLATFORM_OP but dom0, and it only little.
        let enough = refused > 0 && (performed > 0 || number == PLATFORM_OP);
        assert!(enough, "{number}: {tally:?}");
    }
}

/// A stage-2 translation fault on a core that may report one in place of a fault of stage 1.
#[test]
fn a_doubtful_fault_is_asked_about() {
    const A57: Midr = Midr(0x411f_d070);
    const A57_REPAIRED: Midr = Midr(0x411f_d073);
    // A load, translation fault at level 3.
    let esr = 0x24 << 26 | 1 << 25 | 7;
    let far = 0x5000;
    let after = |midr, mapped: bool| {
        let (hw, sys) = testing::of_core(RAM, midr);
        let domain = testing::domain(sys, hw, Setup::default());
        let vcpu = domain.vcpus()[0].clone();
        let mut regs = Regs {
            pc: 0x1000,
            pstate: PSTATE_RESET,
            ..Regs::default()
        };
        if mapped {
            hw.mappings.lock().unwrap().push((far, 0x7000, true));
        }
        hw.write_el1(El1Reg::Vbar, 0x8_0000);
        let mut cur = Current {
            sys,
            domain: &domain,
            vcpu: &vcpu,
            regs: &mut regs,
        };
        let hpfar = 0x6;
        handle_sync(&mut cur, Syndrome { esr, far, hpfar });
        regs.pc
    };
    // It tries again; it is an abort, as nothing is mapped there.
    assert_eq!(after(A57, false), 0x1000);
    assert_eq!(after(A57, true), 0x8_0200);
    assert_eq!(after(A57_REPAIRED, false), 0x8_0200);
}

#[test]
fn random_traps_do_no_harm() {
    let _ = log::set_logger(&Sink);
    log::set_max_level(log::LevelFilter::Trace);
    let traps = from_environment("XENOLITH_TRAPS", 24_000);
    let first_seed = from_environment("XENOLITH_SEED", 1);
    let fresh = Machine::new(Dice::new(0)).end();
    let mut most_events = 0;
    let mut tally = Tally::default();
    for seed in first_seed..first_seed + traps.div_ceil(PER_MACHINE) {
        std::eprintln!("seed {seed}");
        let mut machine = Machine::new(Dice::new(seed));
        while machine.traps < PER_MACHINE {
            machine.step();
        }
        machine.check_pages();
        most_events = most_events.max(machine.most_events);
        tally.add(&machine.tally);
        assert_eq!(machine.end(), fresh, "pages were lost");
    }
    check_tally(&tally);
    std::println!("{tally:?}");
    std::println!("at most {most_events} requests to the machine in one trap");
}
