// SPDX-License-Identifier: MIT OR Apache-2.0
//! The property finds what it is there for: each kind of maintenance that is missing, misplaced, too short or of the
//! wrong kind, in dom0's kernel or in the hypervisor, makes some transfer's data wrong.

use crate::caches::HypervisorFault;
use crate::kernel::{By, Fault, Phase, Wrong};
use crate::strategy;
use crate::transfer::{Failure, Transfer, perform};
use crate::world::World;
use guest_stub::dma::Dispatch;
use hv_core::hw::CacheOp;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Random transfers in which a fault must show.
const TRANSFERS: usize = 3000;

/// What is broken.
#[derive(Clone, Copy, Debug)]
enum Mutant {
    Kernel(Fault),
    Hypervisor(HypervisorFault),
    Dispatch(Dispatch),
    /// Firmware calls all devices coherent.
    AllCoherent,
    /// The kernel does not note where in the machine foreign pages are.
    NoP2m,
}

/// The first of `transfers`, in a fixed order, that shows it, and how.
fn first_wrong(world: &mut World, mutant: Mutant, transfers: usize) -> Option<(usize, Failure)> {
    let config = Config::default();
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let strategy = strategy::transfer();
    let (dispatch, all_coherent) = match mutant {
        Mutant::Dispatch(dispatch) => (dispatch, false),
        Mutant::AllCoherent => (Dispatch::Archdata, true),
        _ => (Dispatch::Archdata, false),
    };
    world.restart(dispatch, all_coherent);
    for n in 1..=transfers {
        let transfer = strategy.new_tree(&mut runner).unwrap().current();
        arm(world, mutant);
        if let Err(failure) = perform(world, &transfer) {
            world.restart(Dispatch::Archdata, false);
            still_right(world, &transfer);
            return Some((n, failure));
        }
    }
    None
}

/// It was the fault: without it the same transfer is right.
fn still_right(world: &mut World, transfer: &Transfer) {
    assert_eq!(perform(world, transfer), Ok(()));
}

fn arm(world: &mut World, mutant: Mutant) {
    match mutant {
        Mutant::Kernel(fault) => world.kernel.break_by(Some(fault)),
        Mutant::Hypervisor(fault) => world.caches.lock().unwrap().fault = Some(fault),
        Mutant::NoP2m => world.forget_p2m(),
        Mutant::Dispatch(_) | Mutant::AllCoherent => {}
    }
}

fn all_show_wrong_data(mutants: impl IntoIterator<Item = Mutant>) {
    let mut world = World::new(Dispatch::Archdata);
    for mutant in mutants {
        let (n, failure) = first_wrong(&mut world, mutant, TRANSFERS)
            .unwrap_or_else(|| panic!("{mutant:?}: all transfers were right"));
        println!("{mutant:?}: transfer {n}: {failure:x?}");
        assert!(
            matches!(failure, Failure::Data { .. }),
            "{mutant:?}: {failure:?}"
        );
    }
}

/// The maintenance there is: when, which.
const MAINTENANCE: [(Phase, CacheOp); 6] = [
    (Phase::Map, CacheOp::Clean),
    (Phase::Map, CacheOp::Invalidate),
    (Phase::SyncForCpu, CacheOp::Invalidate),
    (Phase::SyncForDevice, CacheOp::Clean),
    (Phase::SyncForDevice, CacheOp::Invalidate),
    (Phase::Unmap, CacheOp::Invalidate),
];

/// Breaks each piece of maintenance, by either means, in this way.
fn each_piece(wrong: Wrong) -> impl Iterator<Item = Mutant> {
    [By::Cpu, By::Hypercall].into_iter().flat_map(move |by| {
        MAINTENANCE.map(|(phase, op)| {
            Mutant::Kernel(Fault {
                phase,
                by,
                op,
                wrong,
            })
        })
    })
}

#[test]
fn missing_maintenance() {
    all_show_wrong_data(each_piece(Wrong::Missing));
}

#[test]
fn late_maintenance() {
    all_show_wrong_data(each_piece(Wrong::Late));
}

#[test]
fn maintenance_one_byte_short() {
    all_show_wrong_data(each_piece(Wrong::OneByteShort));
}

#[test]
fn maintenance_without_the_first_line() {
    all_show_wrong_data(each_piece(Wrong::FirstLineMissed));
}

#[test]
fn maintenance_of_the_first_page_only() {
    all_show_wrong_data(each_piece(Wrong::FirstPageOnly));
}

/// To clean before the device writes is as good as to invalidate: no line is dirty then. Linux has gone over to it.
fn is_as_good(mutant: &Mutant) -> bool {
    matches!(mutant, Mutant::Kernel(fault)
        if fault.op == CacheOp::Invalidate && matches!(fault.phase, Phase::Map | Phase::SyncForDevice))
}

#[test]
fn the_other_operation() {
    all_show_wrong_data(each_piece(Wrong::OtherOperation).filter(|mutant| !is_as_good(mutant)));
}

#[test]
fn to_clean_for_to_invalidate_before_the_device_writes() {
    let mut world = World::new(Dispatch::Archdata);
    for mutant in each_piece(Wrong::OtherOperation).filter(is_as_good) {
        assert_eq!(first_wrong(&mut world, mutant, 300), None);
    }
}

#[test]
fn the_guests_frame_for_the_machines() {
    let hypercalls = each_piece(Wrong::GuestFrame)
        .filter(|mutant| matches!(mutant, Mutant::Kernel(fault) if fault.by == By::Hypercall));
    all_show_wrong_data(hypercalls);
}

#[test]
fn a_hypervisor_that_maintains_badly() {
    all_show_wrong_data(
        [
            HypervisorFault::Nothing,
            HypervisorFault::EndRoundedDown,
            HypervisorFault::StartRoundedUp,
            HypervisorFault::DiscardsPartialLines,
            HypervisorFault::OnlyCleans,
            HypervisorFault::CleanDiscards,
            HypervisorFault::OneCpuOnly,
        ]
        .map(Mutant::Hypervisor),
    );
}

#[test]
fn the_wrong_addresses_and_the_wrong_devices() {
    all_show_wrong_data([
        Mutant::Dispatch(Dispatch::Broken),
        Mutant::AllCoherent,
        Mutant::NoP2m,
    ]);
}
