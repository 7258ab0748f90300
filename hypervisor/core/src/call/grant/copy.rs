// SPDX-License-Identifier: MIT OR Apache-2.0
//! `GNTTABOP_copy`.

use super::{Peer, check_talk, status};
use crate::addr::Gfn;
use crate::current::Current;
use crate::domain::Domain;
use crate::grant::GrantError;
use crate::grant::copy::{End, Source, copy as copy_bytes};
use xen_abi::grant::{GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GrantCopy, GrantCopyPtr};
use xen_abi::xen::DOMID_SELF;

pub(super) fn copy(cur: &Current<'_>, batch: &mut [GrantCopy]) {
    let mut peers = (Peer::default(), Peer::default());
    for op in batch {
        op.status = status(copy_one(cur, &mut peers, op));
    }
}

/// Nothing is looked at when nothing is to be copied.
fn copy_one(
    cur: &Current<'_>,
    (source, dest): &mut (Peer, Peer),
    op: &GrantCopy,
) -> Result<(), GrantError> {
    if op.len == 0 {
        return Ok(());
    }
    let (source_granted, dest_granted) = (
        op.flags & GNTCOPY_SOURCE_GREF != 0,
        op.flags & GNTCOPY_DEST_GREF != 0,
    );
    let source = domain(cur, source, &op.source, source_granted)?;
    let dest = domain(cur, dest, &op.dest, dest_granted)?;
    // The caller is a third that the two must be allowed to hear from.
    check_talk(cur.domain, source)?;
    check_talk(cur.domain, dest)?;
    let from = end(source, &op.source, source_granted);
    let to = end(dest, &op.dest, dest_granted);
    copy_bytes(cur.domain.id, from, to, op.len)
}

/// Whose page that is. A frame must be the caller's, by `DOMID_SELF`.
fn domain<'a>(
    cur: &'a Current<'_>,
    peer: &'a mut Peer,
    ptr: &GrantCopyPtr,
    granted: bool,
) -> Result<&'a Domain, GrantError> {
    match ptr.domid {
        DOMID_SELF => Ok(cur.domain),
        domid => {
            let found = peer.find(cur, domid)?;
            granted.then_some(found).ok_or(GrantError::Denied)
        }
    }
}

fn end<'a>(domain: &'a Domain, ptr: &GrantCopyPtr, granted: bool) -> End<'a> {
    let page = match granted {
        true => Source::Grant(ptr.gref()),
        false => Source::Frame(Gfn(ptr.gmfn())),
    };
    End {
        domain,
        page,
        offset: ptr.offset,
    }
}
