// SPDX-License-Identifier: MIT OR Apache-2.0
//! `memory_op`: what lies where in the guest's address space.

use xen_abi::Handle;
use xen_abi::hypercall::MEMORY_OP;
use xen_abi::memory::{
    AcquireResource, AddToPhysmap, AddToPhysmapBatch, RemoveFromPhysmap, ReservedDeviceMemoryMap,
    XENMAPSPACE_DEV_MMIO, XENMAPSPACE_GMFN, XENMAPSPACE_GMFN_FOREIGN, XENMAPSPACE_GMFN_RANGE,
    XENMAPSPACE_GRANT_TABLE, XENMAPSPACE_SHARED_INFO, XENMEM_ACQUIRE_RESOURCE,
    XENMEM_ADD_TO_PHYSMAP, XENMEM_ADD_TO_PHYSMAP_BATCH, XENMEM_REMOVE_FROM_PHYSMAP,
    XENMEM_RESERVED_DEVICE_MEMORY_MAP, XENMEM_RESOURCE_GRANT_TABLE, XENMEM_RESOURCE_IOREQ_SERVER,
    XENMEM_RESOURCE_VMTRACE_BUF,
};
use xen_abi::physdev::PciDevice;
use xen_abi::xen::{DOMID_IO, DOMID_SELF, DOMID_XEN};

use super::call::{NOBODY, UNMAPPED, answer, with};
use super::check::{Check, Outcome, check, ensure, ensure_eq, rows};
use super::errno::{EBUSY, EFAULT, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, EPERM, ESRCH};
use crate::machine::dt::facts;
use crate::machine::exception::attempt;
use crate::machine::mmio::{read64, write64};
use crate::xen::memory::{add_to_physmap, remove_from_physmap};

/// A frame of the region that is set aside for the grant table: nothing is there.
fn free() -> u64 {
    facts().grant_region.base >> 12
}

fn add(domid: u16, space: u32, idx: u64, gpfn: u64) -> i64 {
    let argument = AddToPhysmap {
        domid,
        size: 0,
        space,
        idx,
        gpfn,
    };
    answer(MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, argument)
}

fn remove(domid: u16, gpfn: u64) -> i64 {
    let argument = RemoveFromPhysmap {
        domid,
        _pad: [0; 6],
        gpfn,
    };
    answer(MEMORY_OP, XENMEM_REMOVE_FROM_PHYSMAP, argument)
}

/// A batch of one entry; the call's answer and the entry's.
fn batch_of(
    domid: u16,
    space: u32,
    foreign_domid: u16,
    idx: u64,
    gpfn: u64,
    change: impl FnOnce(&mut AddToPhysmapBatch),
) -> (i64, i32) {
    let (idxs, gpfns, errs) = ([idx], [gpfn], [99_i32]);
    let mut argument = AddToPhysmapBatch {
        domid,
        space: space as u16,
        size: 1,
        foreign_domid,
        idxs: Handle(&raw const idxs as u64),
        gpfns: Handle(&raw const gpfns as u64),
        errs: Handle(&raw const errs as u64),
    };
    change(&mut argument);
    let (answer, _) = with(MEMORY_OP, XENMEM_ADD_TO_PHYSMAP_BATCH, argument);
    (answer, core::hint::black_box(&errs)[0])
}

fn batch(domid: u16, space: u32, foreign: u16, idx: u64) -> (i64, i32) {
    batch_of(domid, space, foreign, idx, free(), |_| ())
}

fn acquire(change: impl FnOnce(&mut AcquireResource)) -> i64 {
    let mut argument = AcquireResource {
        domid: NOBODY,
        r#type: XENMEM_RESOURCE_GRANT_TABLE,
        id: 0,
        nr_frames: 0,
        pad: 0,
        frame: 0,
        frame_list: Handle::NULL,
    };
    change(&mut argument);
    answer(MEMORY_OP, XENMEM_ACQUIRE_RESOURCE, argument)
}

fn device_memory(flags: u32) -> i64 {
    let argument = ReservedDeviceMemoryMap {
        flags,
        nr_entries: 0,
        buffer: Handle::NULL,
        dev: PciDevice {
            seg: 0,
            bus: 0,
            devfn: 0,
        },
        _pad: 0,
    };
    answer(MEMORY_OP, XENMEM_RESERVED_DEVICE_MEMORY_MAP, argument)
}

pub(super) const ANSWERS: &[Check] = rows! {
    "XENMAPSPACE_shared_info has one page", add(DOMID_SELF, XENMAPSPACE_SHARED_INFO, 1, free()) => EINVAL;
    "XENMAPSPACE_shared_info of no domain", add(NOBODY, XENMAPSPACE_SHARED_INFO, 0, free()) => ESRCH;
    "XENMAPSPACE_grant_table beyond its last frame", add(DOMID_SELF, XENMAPSPACE_GRANT_TABLE, 64, free()) => EINVAL;
    "XENMAPSPACE_grant_table: status frames are of version 2",
        add(DOMID_SELF, XENMAPSPACE_GRANT_TABLE, 1 << 31, free()) => EINVAL;
    "XENMAPSPACE_grant_table at frame ~0", add(DOMID_SELF, XENMAPSPACE_GRANT_TABLE, 0, u64::MAX) => EINVAL;
    "XENMAPSPACE_grant_table of no domain", add(NOBODY, XENMAPSPACE_GRANT_TABLE, 0, free()) => ESRCH;
    "XENMAPSPACE_grant_table of DOMID_IO", add(DOMID_IO, XENMAPSPACE_GRANT_TABLE, 0, free()) => ESRCH;
    "XENMAPSPACE_gmfn is not there", add(DOMID_SELF, XENMAPSPACE_GMFN, 0, free()) => ENOSYS;
    "XENMAPSPACE_gmfn_range of no pages is nothing", add(DOMID_SELF, XENMAPSPACE_GMFN_RANGE, 0, free()) => 0;
    "XENMAPSPACE_gmfn_foreign is for batches", add(DOMID_SELF, XENMAPSPACE_GMFN_FOREIGN, 0, free()) => ENOSYS;
    "space 6 is not there", add(DOMID_SELF, 6, 0, free()) => ENOSYS;
    "space ~0 is not there", add(DOMID_SELF, u32::MAX, 0, free()) => ENOSYS;
    "XENMAPSPACE_dev_mmio for no domain", add(NOBODY, XENMAPSPACE_DEV_MMIO, 0x9030, 0x9030) => ESRCH;
    "XENMAPSPACE_dev_mmio without permission changes nothing and succeeds",
        add(DOMID_SELF, XENMAPSPACE_DEV_MMIO, facts().gic.distributor() >> 12, free()) => 0;
    "XENMEM_remove_from_physmap of what is not there", remove(DOMID_SELF, free()) => ENOENT;
    "XENMEM_remove_from_physmap beyond the address space", remove(DOMID_SELF, 1 << 50) => ENOENT;
    "XENMEM_remove_from_physmap of frame ~0", remove(DOMID_SELF, u64::MAX) => ENOENT;
    "XENMEM_remove_from_physmap of no domain", remove(NOBODY, free()) => ESRCH;
    "XENMEM_remove_from_physmap of device registers", remove(DOMID_SELF, 0x9010) => ENOENT;
    "XENMEM_add_to_physmap_batch of nothing",
        batch_of(DOMID_SELF, XENMAPSPACE_GRANT_TABLE, 0, 0, 0, |b| b.size = 0) => (0, 99);
    "XENMEM_add_to_physmap_batch for no domain", batch(NOBODY, XENMAPSPACE_GRANT_TABLE, 0, 0) => (ESRCH, 99);
    "XENMEM_add_to_physmap_batch of XENMAPSPACE_gmfn_range",
        batch(DOMID_SELF, XENMAPSPACE_GMFN_RANGE, 0, 0) => (EOPNOTSUPP, 99);
    "XENMEM_add_to_physmap_batch: an entry that fails has its error",
        batch(DOMID_SELF, XENMAPSPACE_GRANT_TABLE, 0, 64) => (0, -22);
    "XENMEM_add_to_physmap_batch of XENMAPSPACE_gmfn", batch(DOMID_SELF, XENMAPSPACE_GMFN, 0, 0) => (0, -38);
    "XENMEM_add_to_physmap_batch: the foreign domain does not matter in another space",
        (batch(DOMID_SELF, XENMAPSPACE_GRANT_TABLE, NOBODY, 0), remove(DOMID_SELF, free())) => ((0, 0), 0);
    "XENMEM_add_to_physmap_batch: a foreign page of no domain",
        batch(DOMID_SELF, XENMAPSPACE_GMFN_FOREIGN, NOBODY, 0) => (0, -3);
    "XENMEM_add_to_physmap_batch: a foreign page of oneself",
        batch(DOMID_SELF, XENMAPSPACE_GMFN_FOREIGN, 0, 0) => (0, -1);
    "XENMEM_add_to_physmap_batch: a foreign page of DOMID_SELF",
        batch(DOMID_SELF, XENMAPSPACE_GMFN_FOREIGN, DOMID_SELF, 0) => (0, -3);
    "XENMEM_add_to_physmap_batch: a foreign page of DOMID_IO",
        batch(DOMID_SELF, XENMAPSPACE_GMFN_FOREIGN, DOMID_IO, 0) => (0, -3);
    "XENMEM_add_to_physmap_batch: a page of Xen's that is not shared",
        batch(DOMID_SELF, XENMAPSPACE_GMFN_FOREIGN, DOMID_XEN, free()) => (0, -22);
    "XENMEM_add_to_physmap_batch with indexes nowhere",
        batch_of(DOMID_SELF, XENMAPSPACE_GRANT_TABLE, 0, 0, 0, |b| b.idxs = Handle(UNMAPPED)) => (EFAULT, 99);
    "XENMEM_add_to_physmap_batch with frames nowhere",
        batch_of(DOMID_SELF, XENMAPSPACE_GRANT_TABLE, 0, 0, 0, |b| b.gpfns = Handle(UNMAPPED)) => (EFAULT, 99);
    "XENMEM_add_to_physmap_batch with errors nowhere",
        batch_of(DOMID_SELF, XENMAPSPACE_GRANT_TABLE, 0, 64, 0, |b| b.errs = Handle(UNMAPPED)) => (EFAULT, 99);
    "XENMEM_acquire_resource of DOMID_SELF", acquire(|a| a.domid = DOMID_SELF) => ESRCH;
    "XENMEM_acquire_resource of oneself", acquire(|a| a.domid = 0) => EPERM;
    "XENMEM_acquire_resource of no domain", acquire(|_| ()) => ESRCH;
    "XENMEM_acquire_resource with padding", acquire(|a| a.pad = 1) => EINVAL;
    "XENMEM_acquire_resource of an ioreq server of no domain",
        acquire(|a| a.r#type = XENMEM_RESOURCE_IOREQ_SERVER) => ESRCH;
    "XENMEM_acquire_resource of a trace buffer of no domain",
        acquire(|a| a.r#type = XENMEM_RESOURCE_VMTRACE_BUF) => ESRCH;
    "XENMEM_reserved_device_memory_map has none", device_memory(0) => 0;
    "XENMEM_reserved_device_memory_map of all devices has none", device_memory(1) => 0;
};

pub(super) const TABLE: &[Check] = &[
    check("the grant table is mapped on demand", on_demand),
    check("a frame of the grant table has one place", one_place),
    check("a frame of the grant table keeps its content", keeps),
    check("a frame of the grant table is gone once removed", gone),
    check("a batch maps as single calls do", as_batch),
];

/// Runs `body` with frames 0 to 3 of the table mapped.
fn mapped(body: impl FnOnce(u64) -> Outcome) -> Outcome {
    let base = facts().grant_region.base;
    for index in 0..4 {
        let answer = add_to_physmap(XENMAPSPACE_GRANT_TABLE, index, (base >> 12) + index);
        ensure_eq!(answer, 0, "frame {index}");
    }
    let outcome = body(base);
    for index in 0..4 {
        let answer = remove_from_physmap((base >> 12) + index);
        ensure_eq!(answer, 0, "removing frame {index}");
    }
    outcome
}

fn on_demand() -> Outcome {
    mapped(|base| {
        for index in 0..4 {
            write64(base + index * 4096 + 0x800, 0x1234_5678 + index);
        }
        for index in 0..4 {
            let at = base + index * 4096 + 0x800;
            ensure_eq!(read64(at), 0x1234_5678 + index, "content of frame {index}");
            write64(at, 0);
        }
        Ok(())
    })
}

fn one_place() -> Outcome {
    mapped(|base| {
        let again = add_to_physmap(XENMAPSPACE_GRANT_TABLE, 0, (base >> 12) + 9);
        ensure_eq!(again, EBUSY, "the second place");
        Ok(())
    })
}

fn keeps() -> Outcome {
    mapped(|base| {
        write64(base + 0x1800, 0x77);
        Ok(())
    })?;
    mapped(|base| {
        let kept = read64(base + 0x1800);
        write64(base + 0x1800, 0);
        ensure_eq!(kept, 0x77, "content once mapped again");
        Ok(())
    })
}

fn gone() -> Outcome {
    mapped(|_| Ok(()))?;
    ensure!(
        attempt(|| read64(facts().grant_region.base)).is_err(),
        "it can still be read"
    );
    ensure_eq!(remove_from_physmap(free()), ENOENT, "removing twice");
    Ok(())
}

fn as_batch() -> Outcome {
    let (answer, error) = batch(DOMID_SELF, XENMAPSPACE_GRANT_TABLE, 0, 0);
    let read = attempt(|| read64(facts().grant_region.base));
    let removed = remove_from_physmap(free());
    ensure_eq!((answer, error), (0, 0), "the call, the entry");
    ensure!(read.is_ok(), "it cannot be read");
    ensure_eq!(removed, 0, "removing it");
    Ok(())
}
