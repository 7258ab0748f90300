// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of the caller that the hypervisor keeps using: `vcpu_info`, FIFO control blocks and
//! event arrays.

use crate::addr::Gfn;
use crate::current::Current;
use crate::frame::{Kind, PageRef};
use crate::guest::shared::SharedPage;
use crate::hw::DirectMap;
use crate::p2m::{Access, P2mType};
use alloc::sync::Arc;
use xen_abi::errno::Errno;

/// The caller's own writable RAM at `gfn`, held for both sides to write.
///
/// # Errors
/// `EINVAL` if it is anything else.
pub(super) fn shared_page(cur: &Current<'_>, gfn: u64) -> Result<SharedPage, Errno> {
    let (page, ty) = cur
        .domain
        .p2m
        .page(Gfn(gfn), Access::Write)
        .ok_or(Errno::Inval)?;
    let state = page.state();
    let own = state.owner() == Some(cur.domain.id) && state.kind() == Kind::Ram;
    if ty != P2mType::RamRw || !own {
        return Err(Errno::Inval);
    }
    Ok(share(cur.sys.map, page))
}

/// A page that both sides write, kept by its reference.
pub(super) fn share(map: DirectMap, page: PageRef) -> SharedPage {
    let mfn = page.mfn();
    // SAFETY: a page with a reference is RAM, which `map` maps, and stays allocated as long as the
    // reference. Guest memory is only seen through raw volatile copies and atomics.
    unsafe { SharedPage::new(map, mfn, Some(Arc::new(page))) }
}
