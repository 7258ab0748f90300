// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mapping single pages: `XENMEM_add_to_physmap`, its batch form, `XENMEM_remove_from_physmap`.

use super::Call;
use crate::addr::{DomId, Gfn, Mfn};
use crate::call::access::{Class, by_id, resolve};
use crate::call::{CallResult, OK};
use crate::current::Current;
use crate::domain::Domain;
use crate::guest::copy::GuestPtr;
use crate::p2m::{Access, P2mType};
use xen_abi::errno::Errno;
use xen_abi::memory::{
    AddToPhysmap, AddToPhysmapBatch, RemoveFromPhysmap, XENMAPSPACE_DEV_MMIO,
    XENMAPSPACE_GMFN_FOREIGN, XENMAPSPACE_GMFN_RANGE, XENMAPSPACE_GRANT_TABLE,
    XENMAPSPACE_SHARED_INFO,
};
use xen_abi::xen::DOMID_XEN;

/// `XENMEM_add_to_physmap`.
pub(super) fn add(cur: &Current<'_>, call: Call) -> CallResult {
    let arg = call.ptr::<AddToPhysmap>().read(cur.memory())?;
    if arg.space == XENMAPSPACE_GMFN_FOREIGN {
        return Err(Errno::NoSys);
    }
    let domain = resolve(cur, arg.domid, Class::Target)?;
    // Of a range each page is a gmfn, which there is not.
    if arg.space == XENMAPSPACE_GMFN_RANGE && arg.size == 0 && arg.gpfn != u64::MAX {
        return OK;
    }
    let source = Source {
        space: arg.space,
        foreign: DomId(0),
    };
    add_one(cur, &domain, source, arg.idx, arg.gpfn)?;
    OK
}

/// `XENMEM_add_to_physmap_batch`: a result for each page; an error of one does not stop the rest.
pub(super) fn add_batch(cur: &Current<'_>, call: Call) -> CallResult {
    let start = u16::try_from(call.start).map_err(|_| Errno::Dom)?;
    let arg = call.ptr::<AddToPhysmapBatch>().read(cur.memory())?;
    let source = Source {
        space: arg.space.into(),
        foreign: DomId(arg.foreign_domid),
    };
    if source.space == XENMAPSPACE_GMFN_RANGE {
        return Err(Errno::OpNotSupp);
    }
    let domain = resolve(cur, arg.domid, Class::Target)?;
    if arg.size < start {
        return Err(Errno::IlSeq);
    }
    if source.space == XENMAPSPACE_DEV_MMIO && arg.foreign_domid != 0 {
        return Err(Errno::OpNotSupp);
    }
    let memory = cur.memory();
    for n in start..arg.size {
        if n > start && cur.must_give_way() {
            return call.again(n.into());
        }
        let idx = GuestPtr::<u64>::from(arg.idxs).at(n.into())?.read(memory)?;
        let gpfn = GuestPtr::<u64>::from(arg.gpfns)
            .at(n.into())?
            .read(memory)?;
        let result = add_one(cur, &domain, source, idx, gpfn);
        let code = result.err().map_or(0, i32::from);
        GuestPtr::<i32>::from(arg.errs)
            .at(n.into())?
            .write(memory, &code)?;
    }
    OK
}

/// Where pages come from.
#[derive(Clone, Copy)]
struct Source {
    /// `XENMAPSPACE_*`.
    space: u32,
    /// For `XENMAPSPACE_gmfn_foreign`.
    foreign: DomId,
}

/// Maps page `idx` of `source` at `gpfn` of `domain`, in place of what is there.
fn add_one(
    cur: &Current<'_>,
    domain: &Domain,
    source: Source,
    idx: u64,
    gpfn: u64,
) -> Result<(), Errno> {
    if gpfn == u64::MAX {
        return Err(Errno::Inval);
    }
    let gfn = Gfn(gpfn);
    match source.space {
        XENMAPSPACE_SHARED_INFO if idx == 0 => domain.shared_info.map(domain, gfn),
        XENMAPSPACE_SHARED_INFO => Err(Errno::Inval),
        XENMAPSPACE_GRANT_TABLE => {
            // Version 2's status frames (bit 31) are beyond the limit too.
            let index = u32::try_from(idx).map_err(|_| Errno::Inval)?;
            domain.grants.map(domain, index, gfn)
        }
        XENMAPSPACE_GMFN_FOREIGN => map_foreign(cur, domain, source.foreign, Gfn(idx), gfn),
        XENMAPSPACE_DEV_MMIO => map_device(cur, domain, Mfn(idx), gfn),
        _ => Err(Errno::NoSys),
    }
}

/// Maps another domain's RAM. The entry holds a reference.
fn map_foreign(
    cur: &Current<'_>,
    domain: &Domain,
    foreign: DomId,
    from: Gfn,
    gfn: Gfn,
) -> Result<(), Errno> {
    if foreign.0 == DOMID_XEN {
        // Of Xenolith's own pages none is shared this way.
        return Err(Errno::Inval);
    }
    let owner = by_id(cur, foreign.0)?;
    if owner.id == domain.id || !domain.role.control {
        return Err(Errno::Perm);
    }
    if owner.is_dying() {
        return Err(Errno::Inval);
    }
    let (page, ty) = owner.p2m.page(from, Access::Read).ok_or(Errno::Inval)?;
    let ty = match ty {
        P2mType::RamRw => P2mType::ForeignRw,
        P2mType::RamRo => P2mType::ForeignRo,
        _ => return Err(Errno::Inval),
    };
    let replaced = domain.p2m.insert_page(gfn, page, ty)?;
    if replaced.ram != 0 {
        domain.xen_pages_unmapped(gfn, 1);
    }
    Ok(())
}

/// Maps a device's page, if it is one that the initial domain was given at boot: those are where
/// the machine has them. Of others nothing is mapped, and nothing said: so Xen has it.
fn map_device(cur: &Current<'_>, domain: &Domain, mfn: Mfn, gfn: Gfn) -> Result<(), Errno> {
    if !domain.role.hardware || domain.id != cur.domain.id {
        return Err(Errno::Acces);
    }
    let own = domain.p2m.lookup(Gfn(mfn.0));
    let is_device = |ty: P2mType| !ty.is_memory();
    if own.is_some_and(|m| m.mfn == mfn && is_device(m.ty)) && gfn.0 != mfn.0 {
        let replaced = domain.p2m.insert(gfn, mfn, 1, P2mType::MmioCached)?;
        if replaced.ram != 0 {
            domain.xen_pages_unmapped(gfn, 1);
        }
    }
    Ok(())
}

/// `XENMEM_remove_from_physmap`: RAM or a foreign page, which loses the entry's reference.
/// `ENOENT` for anything else.
pub(super) fn remove(cur: &Current<'_>, call: Call) -> CallResult {
    let arg = call.ptr::<RemoveFromPhysmap>().read(cur.memory())?;
    let domain = resolve(cur, arg.domid, Class::Target)?;
    let gfn = Gfn(arg.gpfn);
    let found = domain.p2m.lookup(gfn).ok_or(Errno::NoEnt)?;
    if !found.ty.is_memory() || found.ty.is_grant() {
        return Err(Errno::NoEnt);
    }
    domain.p2m.remove_exact(gfn, found.mfn, found.ty)?;
    if found.ty.is_ram() {
        domain.xen_pages_unmapped(gfn, 1);
    }
    OK
}
