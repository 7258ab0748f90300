// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest makes the hypervisor allocate is the guest's loss when memory is short.

use super::domctl::*;
use super::grant::WINDOW;
use super::*;
use crate::addr::{DomId, Gfn, Mfn};
use crate::frame::Limits;
use crate::p2m::{P2mError, P2mType};
use xen_abi::domctl::*;
use xen_abi::errno::Errno;
use xen_abi::grant::*;

/// A guest may fill memory with tables only as far as its pool goes, and nobody else's.
#[test]
fn a_guest_that_uses_up_its_pool_harms_itself() {
    let mut machine = Machine::new();
    let id = build(&mut machine);
    let frames = machine.sys.frames;
    let kept = 64;
    frames.keep_free(kept);
    while frames.alloc_ram(DomId(1), 0, Limits::default()).is_ok() {}
    assert_eq!(frames.free_pages(), kept);
    let domain = machine.sys.domains.get(DomId(id)).unwrap();
    // Each leaves an empty table behind.
    let mut sparse = (0..1000u64).map(|n| {
        let gfn = Gfn(n << 18);
        let done = domain.p2m.insert(gfn, Mfn(0), 1, P2mType::MmioDevice);
        let _ = domain.p2m.remove(gfn, 1);
        done
    });
    assert!(sparse.any(|done| done == Err(P2mError::NoMemory)));
    assert_eq!(frames.free_pages(), kept);
    // No more for anybody, until there is memory again.
    let size = 65 << 12;
    let grow = |machine: &mut Machine| {
        let set = XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE;
        says(machine, set, id, &PagingMempool { size })
    };
    assert_eq!(grow(&mut machine), -12);
    frames.keep_free(kept - 1);
    assert_eq!(grow(&mut machine), 0);
}

/// What a guest maps of its own takes handles, as long as the reserve is not touched too much.
#[test]
fn handles_do_not_use_up_the_reserve() {
    let mut machine = Machine::new();
    let frames = machine.sys.frames;
    machine.grant(1, 8, 1, 12, GTF_PERMIT_ACCESS);
    let mut map = |n: u32| {
        let gfn = WINDOW + u64::from(n);
        machine.map(1, 1, 8, gfn, GNTMAP_HOST_MAP).status
    };
    assert_eq!(map(0), GNTST_OKAY);
    frames.keep_free(2 * (frames.free_pages() + 1));
    // Those that are there may be used.
    assert!((1..100).all(|n| map(n) == GNTST_OKAY));
    let grants = &machine.sys.domains.get(DomId(1)).unwrap().grants;
    assert!(grants.frame(0).is_ok());
    assert_eq!(grants.frame(1).err(), Some(Errno::NoMem));
}
