// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the virtual GIC: a guest's CPU interface and a physical GIC to play against.

mod delivery;
mod linked;
mod machine;
mod random;
mod registers;
mod threads;

use super::*;
use crate::fake::FakeHw;
use std::cell::RefCell;
use std::vec;

/// Notes who was told.
#[derive(Default)]
struct Told(RefCell<Vec<u32>>);

impl Told {
    fn take(&self) -> Vec<u32> {
        self.0.take()
    }
}

impl VcpuNotify for Told {
    fn notify(&self, vcpu: u32) {
        self.0.borrow_mut().push(vcpu);
    }
    fn cpu_of(&self, vcpu: u32) -> CpuId {
        CpuId(vcpu + 100)
    }
}

fn config(model: Model) -> VgicConfig {
    VgicConfig {
        model,
        nr_vcpus: 4,
        nr_spis: 64,
        lr_count: 4,
        lrs_deactivate: true,
        priority_bits: 5,
        id_bits: 10,
        redist_region_ends: Vec::new(),
    }
}

/// A vGIC on a machine that takes notes.
fn noted(model: Model) -> (Vgic, &'static FakeHw, Told) {
    noted_with(config(model))
}

fn noted_with(config: VgicConfig) -> (Vgic, &'static FakeHw, Told) {
    let hw = FakeHw::leak(0, 2 << 20);
    (Vgic::new(config, hw), hw, Told::default())
}
