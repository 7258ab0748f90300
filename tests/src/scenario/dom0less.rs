// SPDX-License-Identifier: MIT OR Apache-2.0
//! Domains that the device tree describes.

use std::time::Duration;

use super::{Scenario, Selection, Stage};
use crate::console::Console;
use crate::domu::{self, DomU};
use crate::error::Result;
use crate::machine::{Gic, Machine, Payload};
use crate::workspace::target;

const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn scenarios() -> Vec<Scenario> {
    [Gic::V3, Gic::V2]
        .map(|gic| {
            let name = format!("dom0less/alone-{gic}");
            Scenario::new(name, Selection::Full, move |stage| alone(stage, gic))
        })
        .into()
}

/// A domU and no dom0.
fn alone(stage: &Stage, gic: Gic) -> Result<()> {
    let mut machine = Machine {
        payload: Payload::Nothing,
        gic,
        ..stage.machine()
    };
    let stub = DomU::new(target("guest-stub.img"), "");
    domu::add(&mut machine, &[stub], &stage.file(".dtb"))?;
    let mut console = Console::start(&machine, &stage.log())?;
    console.expect("guest-stub: say", LIMIT).map(drop)
}
