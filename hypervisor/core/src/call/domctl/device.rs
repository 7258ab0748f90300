// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices of the machine that a toolstack gives to a domain: their registers, their interrupts.
//!
//! The caller can give what it may use itself: what was dom0's at boot, or in the machine's device
//! tree has `xen,passthrough`.

use super::Answer;
use crate::addr::{Gfn, Mfn, PAGE_SIZE, PaRange};
use crate::boot::dom0_mem::{merged, without};
use crate::current::Current;
use crate::domain::Domain;
use crate::p2m::P2mType;
use crate::vgic::{MAX_SPIS, NR_PRIVATE};
use alloc::sync::Arc;
use xen_abi::Payload;
use xen_abi::domctl::{BindPtIrq, IomemPermission, MemoryMapping, PT_IRQ_TYPE_SPI};
use xen_abi::errno::Errno;

/// Separate ranges that a domain may have.
const RANGES: usize = 512;

/// Bytes of `nr` frames from `first`. `EINVAL` for none and around the end, `EPERM` beyond all
/// addresses; none from 0 on are all there are to Xen.
fn range(first: u64, nr: u64) -> Result<PaRange, Errno> {
    if first.wrapping_add(nr).wrapping_sub(1) < first {
        return Err(Errno::Inval);
    }
    if nr == 0 {
        return Err(Errno::Perm);
    }
    let start = Mfn(first).base();
    let size = nr.checked_mul(PAGE_SIZE).ok_or(Errno::Perm)?;
    let range = PaRange::new(start, size).ok_or(Errno::Perm)?;
    (start.frame() == Mfn(first))
        .then_some(range)
        .ok_or(Errno::Perm)
}

/// `EPERM` unless `domain` may use all of `range`.
fn permitted(domain: &Domain, range: &PaRange) -> Result<(), Errno> {
    let iomem = domain.iomem.lock();
    let covers = |have: &PaRange| have.start <= range.start && range.end <= have.end;
    iomem.iter().any(covers).then_some(()).ok_or(Errno::Perm)
}

/// `XEN_DOMCTL_iomem_permission`: the domain may, or may no longer, be given registers.
pub(super) fn iomem_permission(
    cur: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let op: IomemPermission = arg.get();
    let range = range(op.first_mfn, op.nr_mfns)?;
    permitted(cur.domain, &range)?;
    let mut iomem = domain.iomem.lock();
    let changed = match op.allow_access {
        0 => without(&iomem, &[range]),
        _ => merged(iomem.iter().copied().chain([range]).collect()),
    };
    if changed.len() > RANGES.max(iomem.len()) {
        return Err(Errno::NoMem);
    }
    *iomem = changed;
    Ok(Answer::Done)
}

/// Most frames of a `XEN_DOMCTL_memory_mapping`.
const MOST: u64 = 64;

/// `XEN_DOMCTL_memory_mapping`: registers into a domain's address space, or out of it. `E2BIG` for
/// more than 64 frames, `EPERM` if not both domains may use them.
pub(super) fn memory_mapping(
    cur: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let op: MemoryMapping = arg.get();
    let nr = op.nr_mfns;
    let end = nr
        .checked_sub(1)
        .and_then(|n| op.first_gfn.checked_add(n))
        .ok_or(Errno::Inval)?;
    let registers = range(op.first_mfn, nr);
    if registers == Err(Errno::Inval) || end >> domain.p2m.ipa_bits().saturating_sub(12) != 0 {
        return Err(Errno::Inval);
    }
    if nr > MOST {
        return Err(Errno::TooBig);
    }
    let registers = registers?;
    permitted(cur.domain, &registers)?;
    permitted(domain, &registers)?;
    let (gfn, mfn) = (Gfn(op.first_gfn), Mfn(op.first_mfn));
    // dom0's are where the machine has them, and stay.
    if domain.role.hardware && gfn.0 == mfn.0 {
        return Ok(Answer::Done);
    }
    if op.add_mapping != 0 {
        let replaced = domain.p2m.insert(gfn, mfn, nr, P2mType::MmioDevice)?;
        if replaced.ram != 0 {
            domain.xen_pages_unmapped(gfn, nr);
        }
        return Ok(Answer::Done);
    }
    for n in 0..nr {
        let (gfn, mfn) = (Gfn(gfn.0.saturating_add(n)), Mfn(mfn.0.saturating_add(n)));
        let there = domain.p2m.lookup(gfn).filter(|m| m.mfn == mfn);
        if let Some(there) = there.filter(|m| !m.ty.is_memory()) {
            domain.p2m.remove_exact(gfn, mfn, there.ty)?;
        }
    }
    Ok(Answer::Done)
}

/// The SPI that `arg` is about, if the caller may give it. `EOPNOTSUPP` for another kind of
/// interrupt, `EINVAL` for another number in the domain than in the machine, `EPERM`.
fn interrupt(cur: &Current<'_>, arg: &Payload) -> Result<u32, Errno> {
    let op: BindPtIrq = arg.get();
    if op.irq_type != PT_IRQ_TYPE_SPI {
        return Err(Errno::OpNotSupp);
    }
    let intid = op.machine_irq;
    if u32::from(op.spi) != intid {
        return Err(Errno::Inval);
    }
    let is_spi = (NR_PRIVATE..NR_PRIVATE.saturating_add(MAX_SPIS)).contains(&intid);
    let permitted = is_spi && cur.domain.has_irq(intid);
    permitted.then_some(intid).ok_or(Errno::Perm)
}

/// `XEN_DOMCTL_bind_pt_irq`: the domain gets an interrupt of the machine's that nobody has. `EBUSY`
/// if somebody does.
pub(super) fn bind_irq(
    cur: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let intid = interrupt(cur, arg)?;
    let taken = cur.domain.vgic.is_linked(intid) || domain.vgic.is_linked(intid);
    if taken || domain.is_dying() || !cur.sys.irq_owners.give(intid, domain.id) {
        return Err(Errno::Busy);
    }
    if !domain.vgic.link_hw(intid, intid, &**domain) {
        // It has no such SPI.
        cur.sys.irq_owners.return_one(intid, domain.id);
        return Err(Errno::Inval);
    }
    cur.sys.hw.irq_route(intid, cur.sys.hw.this_cpu());
    Ok(Answer::Done)
}

/// `XEN_DOMCTL_unbind_pt_irq`: a domain that lives keeps its interrupts (`EBUSY`); they are given
/// back when it dies. `EINVAL` if it does not have this one.
pub(super) fn unbind_irq(
    cur: &Current<'_>,
    domain: &Arc<Domain>,
    arg: &mut Payload,
) -> Result<Answer, Errno> {
    let intid = interrupt(cur, arg)?;
    match domain.vgic.is_linked(intid) {
        true => Err(Errno::Busy),
        false => Err(Errno::Inval),
    }
}
