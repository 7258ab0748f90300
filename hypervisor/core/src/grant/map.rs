// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mapping granted pages, and unmapping them: many with one flush.

use super::GrantError;
use super::entry::Claim;
use super::maptrack::Mapping;
use super::pin::{Pin, unpin};
use crate::addr::{Gfn, Mfn};
use crate::domain::Domain;
use crate::p2m::{P2mType, Progress};
use alloc::sync::Arc;

/// What to map where.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Which grant.
    pub reference: u32,
    /// Where.
    pub gfn: Gfn,
    /// To read only.
    pub readonly: bool,
}

/// Maps a grant of `owner` into `mapper`, in place of what is there. Returns the handle and the
/// page, which keeps its content and its owner until the mapping is [finished](finish).
///
/// # Errors
/// `NoSpace` without a handle; what [`Pin::new`] says; `General` if the page cannot be mapped
/// there, over another grant for instance.
pub fn map(mapper: &Domain, owner: &Domain, request: Request) -> Result<(u32, Mfn), GrantError> {
    let Request {
        reference,
        gfn,
        readonly,
    } = request;
    let handle = Reserved::new(mapper)?;
    let claim = Claim {
        by: mapper.id,
        write: !readonly,
        map: true,
    };
    let pin = Pin::new(owner, reference, claim)?;
    let mfn = pin.mfn();
    let page = mapper
        .sys
        .frames
        .get(mfn, owner.id)
        .ok_or(GrantError::General)?;
    let inserted = mapper.p2m.insert_page(gfn, page, kind(readonly));
    let replaced = inserted.map_err(|_| GrantError::General)?;
    if replaced.ram != 0 {
        mapper.xen_pages_unmapped(gfn, 1);
    }
    pin.keep();
    let mapping = Mapping {
        gfn,
        mfn,
        reference,
        owner: owner.id,
        readonly,
    };
    Ok((handle.publish(mapping), mfn))
}

/// The first half of unmapping: the mapping of `mapper` with `handle`, which is one no longer.
/// The second is [`finish`].
///
/// # Errors
/// `BadHandle`; `General` unless it is at `gfn`. Both without any change.
pub fn take(mapper: &Domain, handle: u32, gfn: Gfn) -> Result<Mapping, GrantError> {
    mapper.grants.maptrack.lock().take(handle, gfn)
}

/// Where the mapping of `mapper` with `handle` is.
///
/// # Errors
/// `BadHandle`.
pub fn find(mapper: &Domain, handle: u32) -> Result<Mapping, GrantError> {
    mapper
        .grants
        .maptrack
        .lock()
        .get(handle)
        .ok_or(GrantError::BadHandle)
}

/// The second half of unmapping: takes what was [taken](take) out of `mapper`'s p2m and TLBs, and
/// then lets go of the pages and tells the granters.
pub fn finish(mapper: &Domain, taken: &[Option<Mapping>]) {
    let batch = mapper.p2m.batch();
    for mapping in taken.iter().flatten() {
        // A dying domain's p2m may have been emptied before.
        let _ = batch.remove_exact(mapping.gfn, mapping.mfn, kind(mapping.readonly));
    }
    drop(batch);
    let mut owner: Option<Arc<Domain>> = None;
    for mapping in taken.iter().flatten() {
        if mapping.owner == mapper.id {
            unpin(mapper, mapping.reference, !mapping.readonly);
            continue;
        }
        if owner.as_ref().is_none_or(|owner| owner.id != mapping.owner) {
            owner = mapper.sys.domains.get(mapping.owner);
        }
        // Its number is not another's as long as it owns a page, which it does up to here.
        if let Some(owner) = &owner {
            unpin(owner, mapping.reference, !mapping.readonly);
        }
    }
}

/// Mappings that [`relinquish`] ends with one flush.
const SLICE: usize = 32;

/// Ends the mappings of a dying domain, looking at about `budget` handles; none begins any more.
/// Its vCPUs run no more, and its p2m is still there: it is emptied after this.
pub fn relinquish(mapper: &Domain, budget: u32) -> Progress {
    let mut left = budget;
    loop {
        let mut slice = [const { None }; SLICE];
        let mut maptrack = mapper.grants.maptrack.lock();
        for slot in &mut slice {
            *slot = maptrack.take_next(&mut left);
        }
        let done = maptrack.is_empty();
        drop(maptrack);
        finish(mapper, &slice);
        match (done, left) {
            (true, _) => return Progress::Done,
            (_, 0) => return Progress::More,
            _ => {}
        }
    }
}

fn kind(readonly: bool) -> P2mType {
    match readonly {
        true => P2mType::GrantRo,
        false => P2mType::GrantRw,
    }
}

/// A handle for a mapping that is being made.
struct Reserved<'a> {
    mapper: &'a Domain,
    handle: u32,
}

impl<'a> Reserved<'a> {
    fn new(mapper: &'a Domain) -> Result<Self, GrantError> {
        let may_grow = || mapper.sys.frames.may_grow(mapper.id);
        let handle = mapper.grants.maptrack.lock().reserve(may_grow);
        let handle = handle.ok_or(GrantError::NoSpace)?;
        Ok(Self { mapper, handle })
    }

    fn publish(self, mapping: Mapping) -> u32 {
        let Self { mapper, handle } = *core::mem::ManuallyDrop::new(self);
        mapper.grants.maptrack.lock().publish(handle, mapping);
        handle
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.mapper.grants.maptrack.lock().release(self.handle);
    }
}
