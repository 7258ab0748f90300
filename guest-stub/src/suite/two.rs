// SPDX-License-Identifier: MIT OR Apache-2.0
//! What checks with a second domain share.

use super::check::Failure;
use crate::xen::peer::{Peer, find};

/// Domain 1; the check does not apply where it is not.
pub(super) fn peer() -> Result<Peer, Failure> {
    find(1).ok_or(Failure::Skipped("there is no domain 1 that serves"))
}

/// Domain 1, if there is a domain 2 too.
pub(super) fn peer_of_two() -> Result<Peer, Failure> {
    if find(2).is_none() {
        return Err(Failure::Skipped("there is no domain 2 that serves"));
    }
    peer()
}

/// As `rows`, with a name for the peer.
macro_rules! peer_rows {
    ($find:path, $peer:ident; $($name:expr, $is:expr => $want:expr $(, $known:ident $reason:expr)?;)*) => {
        &[$($crate::suite::check::check($name, || {
            let $peer = $find()?;
            $crate::suite::check::equal($is, $want)
        })$(.$known($reason))?),*]
    };
}

pub(super) use peer_rows;
