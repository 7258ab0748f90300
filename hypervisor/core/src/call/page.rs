// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of guests that the hypervisor keeps using: `vcpu_info`, FIFO control blocks, event arrays,
//! console rings.

use crate::addr::Gfn;
use crate::current::Current;
use crate::domain::Domain;
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
    ram_of(cur, cur.domain, Gfn(gfn))
}

/// As [`shared_page`], of any domain.
pub(super) fn ram_of(cur: &Current<'_>, domain: &Domain, gfn: Gfn) -> Result<SharedPage, Errno> {
    let (page, ty) = domain.p2m.page(gfn, Access::Write).ok_or(Errno::Inval)?;
    let state = page.state();
    let own = state.owner() == Some(domain.id) && state.kind() == Kind::Ram;
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
