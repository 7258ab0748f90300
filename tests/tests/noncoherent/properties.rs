// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data are right, whatever is transferred how.

use crate::kernel::Phase;
use crate::strategy;
use crate::transfer::perform;
use crate::world::{DISKS, World};
use guest_stub::dma::{Direction, Dispatch, PAGE_SIZE, Phys};
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use std::cell::RefCell;

/// Transfers that failed once, by seed: tried first.
const REGRESSIONS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/noncoherent/regressions.txt"
);

fn data_are_right(dispatch: Dispatch, cases: u32) {
    let config = Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
        ..Config::default()
    };
    let world = RefCell::new(World::new(dispatch));
    TestRunner::new(config)
        .run(&strategy::transfer(), |transfer| {
            let mut world = world.borrow_mut();
            perform(&mut world, &transfer).map_err(|failure| {
                world.restart(dispatch, false);
                TestCaseError::fail(format!("{failure:?}"))
            })
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn data_are_right_since_the_fix() {
    data_are_right(Dispatch::Archdata, 1000);
}

#[test]
fn data_are_right_with_a_check_for_the_initial_domain() {
    data_are_right(Dispatch::InitialDomainCheck, 300);
}

/// Calls of `GNTTABOP_cache_flush` that a transfer of two whole pages makes.
fn flushes(world: &World, disk: usize, frame: u64, direction: Direction) -> usize {
    let device = &world.disks[disk].device;
    let (phys, size) = (Phys(frame * PAGE_SIZE), 2 * PAGE_SIZE as usize);
    world.kernel.begin(Phase::Map);
    let addr = world.dma.map_page(device, phys, size, direction).unwrap();
    world.dma.unmap_page(device, addr, size, direction).unwrap();
    world.kernel.take_flushes()
}

#[test]
fn the_hypervisor_is_asked_a_call_a_page_for_foreign_pages_of_incoherent_devices() {
    let mut world = World::new(Dispatch::Archdata);
    world.map_grants(0, [0, 1, 2], false);
    for (disk, (name, coherent, _)) in DISKS.into_iter().enumerate() {
        let near_sighted = name.contains("near-sighted");
        for (direction, calls) in [
            (Direction::ToDevice, 2),
            (Direction::FromDevice, 4),
            (Direction::Bidirectional, 4),
        ] {
            let own = flushes(&world, disk, world.own_frame(0), direction);
            assert_eq!(own, 0, "{name}, {direction:?}");
            let foreign = flushes(&world, disk, world.window(0) + 1, direction);
            let bounced = near_sighted && foreign == 0;
            let expected = if coherent || bounced { 0 } else { calls };
            assert_eq!(foreign, expected, "{name}, {direction:?}");
        }
    }
}

#[test]
fn before_the_fix_data_land_in_the_page_of_the_guests_number() {
    for (dispatch, right) in [(Dispatch::Broken, false), (Dispatch::Archdata, true)] {
        let mut world = World::new(dispatch);
        world.map_grants(0, [0, 1, 2], false);
        let frame = world.window(0) + 1;
        let (_, granted) = world.granted(0, 0);
        let (device, phys) = (&world.disks[1].device, Phys(frame * PAGE_SIZE));
        let addr = world
            .dma
            .map_page(device, phys, 4096, Direction::FromDevice)
            .unwrap();
        let told = if right { granted } else { frame };
        assert_eq!(addr.0, told * PAGE_SIZE);
        let data = [0x5a; 4096];
        world.device_write(1, addr.0, &data).unwrap();
        world
            .dma
            .unmap_page(device, addr, 4096, Direction::FromDevice)
            .unwrap();
        // d1's page, as dom0 sees it, and the page that dom0 ballooned out and still owns.
        let mut seen = [0; 4096];
        world.kernel.read(0, phys.0, &mut seen);
        assert_eq!(seen == data, right);
        let stray = world.device_read(1, frame * PAGE_SIZE, 4096).unwrap();
        assert_eq!(stray == data, !right);
        world.unmap_grants();
    }
}
