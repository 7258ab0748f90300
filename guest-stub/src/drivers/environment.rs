// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's DMA: one environment for each way in which Xen's operations were ever dispatched to, and the one that
//! is used now. A real kernel has one; here they are compared.

use core::sync::atomic::{AtomicUsize, Ordering};

use guest_stub::dma::{Arm, Device, Dispatch, Dma, DmaError, Phys, Swiotlb};
use spin::Mutex;

use crate::machine::dma::Machine;
use crate::machine::once::Once;
use crate::machine::pages;

const DISPATCHES: [Dispatch; 3] = [
    Dispatch::Archdata,
    Dispatch::Broken,
    Dispatch::InitialDomainCheck,
];
/// Pages of bounce buffers of each environment.
const BOUNCE_PAGES: usize = 32;

static ARMS: Once<[Arm; DISPATCHES.len()]> = Once::new();
static ENVIRONMENTS: [Once<Dma>; DISPATCHES.len()] = [const { Once::new() }; DISPATCHES.len()];
static CHOSEN: AtomicUsize = AtomicUsize::new(0);
/// Devices that are set up.
static DEVICES: Mutex<[Option<&'static Device>; 8]> = Mutex::new([None; 8]);

/// Makes the environments. The fix is the one that is used.
pub(crate) fn start(initial_domain: bool) {
    ARMS.set(DISPATCHES.map(|dispatch| Arm {
        dispatch,
        initial_domain,
    }));
    for (environment, arm) in ENVIRONMENTS.iter().zip(&*ARMS) {
        let bounce = pages::allocate(BOUNCE_PAGES).expect("no memory for bounce buffers");
        let swiotlb = Swiotlb::new(Phys(bounce), BOUNCE_PAGES * 4096);
        environment.set(Dma::new(&Machine, arm, swiotlb));
    }
}

/// The environment in use.
pub(crate) fn dma() -> &'static Dma {
    &ENVIRONMENTS[CHOSEN.load(Ordering::Relaxed)]
}

/// Uses another one from now on. Devices that are set up are set up anew.
pub(crate) fn choose(dispatch: Dispatch) {
    let devices = DEVICES.lock();
    for device in devices.iter().flatten() {
        dma().arch.arch_teardown_dma_ops(device);
    }
    let index = DISPATCHES.iter().position(|other| *other == dispatch);
    CHOSEN.store(index.unwrap_or(0), Ordering::Relaxed);
    for device in devices.iter().flatten() {
        let is_coherent = device.is_dma_coherent();
        dma().arch.arch_setup_dma_ops(device, is_coherent, None);
    }
}

/// Whether a device is configured.
pub(crate) fn is_set_up(device: &'static Device) -> bool {
    let devices = DEVICES.lock();
    devices
        .iter()
        .flatten()
        .any(|other| core::ptr::eq(*other, device))
}

/// Configures a device as the device tree describes it, and lets it reach all addresses.
pub(crate) fn set_up(device: &'static Device, is_coherent: bool) {
    let mut devices = DEVICES.lock();
    let place = devices.iter_mut().find(|place| place.is_none());
    *place.expect("more devices than there is room for") = Some(device);
    dma().arch.arch_setup_dma_ops(device, is_coherent, None);
    let reaches_all = dma().set_mask(device, u64::MAX);
    assert!(reaches_all, "a device cannot have 64 bits of address");
}

/// Guest frame `gfn` is machine frame `mfn` of another domain from now on.
///
/// # Errors
/// `Exists`, `TableFull`.
pub(crate) fn note_foreign(gfn: u64, mfn: u64) -> Result<(), DmaError> {
    ENVIRONMENTS
        .iter()
        .try_for_each(|environment| environment.p2m.insert(gfn, mfn))
}

/// It is not any more.
pub(crate) fn forget_foreign(gfn: u64) {
    for environment in &ENVIRONMENTS {
        environment.p2m.remove(gfn);
    }
}
