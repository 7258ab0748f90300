// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whom a hypercall is about, and whether the caller may do that.

use crate::addr::DomId;
use crate::current::Current;
use crate::domain::Domain;
use alloc::sync::Arc;
use xen_abi::errno::Errno;
use xen_abi::xen::DOMID_SELF;

/// Who may do something to a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// The domain itself (by number or `DOMID_SELF`), its device model and the control domain:
    /// `XSM_TARGET`.
    Target,
    /// The control domain, naming the domain by its number: `XSM_PRIV`, `XSM_DM_PRIV`.
    Control,
    /// As [`Class::Control`], but not to itself.
    ControlRemote,
}

/// Domain `domid`, if the caller may do to it what `class` covers.
///
/// # Errors
/// `ESRCH` without that domain (`DOMID_SELF` where a number must be given), then `EPERM`.
pub(super) fn resolve(cur: &Current<'_>, domid: u16, class: Class) -> Result<Arc<Domain>, Errno> {
    let domain = match class {
        Class::Target => by_any_id(cur, domid)?,
        Class::Control | Class::ControlRemote => by_id(cur, domid)?,
    };
    let itself = domain.id == cur.domain.id;
    let allowed = match class {
        Class::Target => itself || cur.domain.role.control || cur.domain.serves(&domain),
        Class::Control => cur.domain.role.control,
        Class::ControlRemote => cur.domain.role.control && !itself,
    };
    allowed.then_some(domain).ok_or(Errno::Perm)
}

/// Domain `domid`; `DOMID_SELF` is the caller's. `ESRCH` if there is none.
pub(super) fn by_any_id(cur: &Current<'_>, domid: u16) -> Result<Arc<Domain>, Errno> {
    if domid == DOMID_SELF || domid == cur.domain.id.0 {
        return Ok(cur.domain.clone());
    }
    by_id(cur, domid)
}

/// Domain `domid`. `ESRCH` if there is none, as `DOMID_SELF`.
pub(super) fn by_id(cur: &Current<'_>, domid: u16) -> Result<Arc<Domain>, Errno> {
    cur.sys.domains.get(DomId(domid)).ok_or(Errno::Srch)
}

/// `EPERM` unless the caller is the control domain.
pub(super) fn control(cur: &Current<'_>) -> Result<(), Errno> {
    cur.domain.role.control.then_some(()).ok_or(Errno::Perm)
}

/// Whether two domains may have an event channel or a grant between them (Xen's SILO mode, the
/// default): one of them is the control domain, or they are the same. `EPERM` if not.
pub(super) fn may_talk(a: &Domain, b: &Domain) -> Result<(), Errno> {
    let allowed = a.role.control || b.role.control || a.id == b.id;
    allowed.then_some(()).ok_or(Errno::Perm)
}
