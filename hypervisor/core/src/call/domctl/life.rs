// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pausing, resuming and destroying a domain.

use super::Answer;
use crate::current::Current;
use crate::domain::Domain;
use crate::p2m::Progress;
use alloc::sync::Arc;
use xen_abi::Payload;
use xen_abi::errno::Errno;

/// `EINVAL` for the caller's own domain.
fn other(cur: &Current<'_>, domain: &Domain) -> Result<(), Errno> {
    (domain.id != cur.domain.id)
        .then_some(())
        .ok_or(Errno::Inval)
}

/// Pauses are counted. Returns when the vCPUs are off the CPUs.
pub(super) fn pause(
    cur: &Current<'_>,
    domain: &Arc<Domain>,
    _: &mut Payload,
) -> Result<Answer, Errno> {
    other(cur, domain)?;
    domain.pause()?;
    domain.wait_until_settled();
    Ok(Answer::Done)
}

/// `EINVAL` if it is not paused.
pub(super) fn unpause(
    _: &Current<'_>,
    domain: &Arc<Domain>,
    _: &mut Payload,
) -> Result<Answer, Errno> {
    if !domain.unpause() {
        return Err(Errno::Inval);
    }
    Ok(Answer::Done)
}

/// Takes a shutdown back.
pub(super) fn resume(
    _: &Current<'_>,
    domain: &Arc<Domain>,
    _: &mut Payload,
) -> Result<Answer, Errno> {
    domain.resume();
    Ok(Answer::Done)
}

/// Goes on where an earlier call stopped, until nothing but what others hold is left.
pub(super) fn destroy(
    cur: &Current<'_>,
    domain: &Arc<Domain>,
    _: &mut Payload,
) -> Result<Answer, Errno> {
    other(cur, domain)?;
    while domain.destroy() == Progress::More {
        if cur.must_give_way() {
            return Ok(Answer::Again);
        }
    }
    Ok(Answer::Done)
}
