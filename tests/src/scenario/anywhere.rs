// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypervisor is entered at other 2 MiB boundaries than QEMU's boot loader chooses, and on another CPU than the first.

use super::{Scenario, Selection, Stage};
use crate::error::Result;
use crate::machine::{Entry, Gic, Machine};
use crate::trampoline;
use crate::workspace::write_whole;

pub(super) fn scenarios() -> Vec<Scenario> {
    let case = |name, selection, gic, cpu, address| {
        Scenario::new(name, selection, move |stage| {
            boots(stage, gic, cpu, address)
        })
    };
    use Selection::{Full, Short};
    vec![
        case("anywhere/gic3-cpu2", Short, Gic::V3, 2, 0x5a20_0000),
        case("anywhere/gic2-cpu2", Full, Gic::V2, 2, 0x5a20_0000),
        // Between kernel and ramdisk.
        case("anywhere/gic3-cpu0", Full, Gic::V3, 0, 0x4520_0000),
        case("anywhere/gic2-cpu3", Full, Gic::V2, 3, 0x7fa0_0000),
    ]
}

fn boots(stage: &Stage, gic: Gic, cpu: u32, address: u32) -> Result<()> {
    let program = match cpu {
        0 => trampoline::enter(address),
        cpu => trampoline::enter_on(u64::from(cpu), address),
    };
    let image = stage.file(".img");
    write_whole(&image, &trampoline::image(&program))?;
    let machine = Machine {
        entry: Entry::Program { image, address },
        gic,
        cpus: 4,
        ..stage.machine()
    };
    let mut dom0 = stage.boot(&machine)?;
    super::boot::inspect(&mut dom0, &machine)?;
    dom0.power_off()
}
