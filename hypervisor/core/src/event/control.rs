// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest gives for its events: `EVTCHNOP_init_control`, `EVTCHNOP_expand_array`,
//! `VCPUOP_register_vcpu_info`.
//!
//! Each takes `map`, which finds and pins the guest's page. It runs with no event lock held, after
//! the checks that come before it in Xen; what may have changed meanwhile is checked again.

use super::deliver::Signal;
use super::fifo::{self, Fifo, WORDS};
use super::port::Port;
use super::vcpu_info::VcpuInfo;
use super::{EventDomain, Inner, two_level};
use crate::guest::shared::SharedPage;
use xen_abi::errno::Errno;

/// `EVTCHNOP_init_control`: the control block of `vcpu`, at `offset` in the page. The first one
/// moves the domain to the FIFO ABI. `ENOENT` without that vCPU, `EINVAL` for a bad offset or if
/// the vCPU has a block.
pub fn init_control(
    d: &dyn EventDomain,
    vcpu: u32,
    offset: u32,
    map: impl FnOnce() -> Result<SharedPage, Errno>,
) -> Result<(), Errno> {
    if !d.vcpu_exists(vcpu) {
        return Err(Errno::NoEnt);
    }
    let offset = fifo::check_offset(offset)?;
    let page = map()?;
    let mut inner = d.events().lock();
    let result = inner.set_control(vcpu, &page, offset);
    drop(inner);
    result
}

impl Inner {
    fn set_control(&mut self, vcpu: u32, page: &SharedPage, offset: usize) -> Result<(), Errno> {
        if self.dying {
            return Err(Errno::Inval);
        }
        if let Some(fifo) = &mut self.fifo {
            return fifo.set_control(vcpu, page.clone(), offset);
        }
        let mut fifo = Fifo::new(self.vcpus.len())?;
        fifo.set_control(vcpu, page.clone(), offset)?;
        self.move_two_level_events();
        self.fifo = Some(fifo);
        Ok(())
    }

    /// What is pending in the 2-level ABI waits for its event word in the other. It is gone from
    /// the first, lest it hides a new event after a reset.
    fn move_two_level_events(&mut self) {
        for word in 0..two_level::WORDS {
            let mut pending = two_level::take_pending(&self.shared_info, word);
            while pending != 0 {
                let port = word
                    .saturating_mul(u64::BITS)
                    .saturating_add(pending.trailing_zeros());
                pending &= pending.wrapping_sub(1);
                if self.ports.get(port).is_some_and(Port::is_guests) {
                    self.ports.set_waiting(port, true);
                }
            }
        }
    }
}

/// `EVTCHNOP_expand_array`: a page of 1024 more event words; events that waited for theirs are
/// raised. `EOPNOTSUPP` on the 2-level ABI, `ENOSPC` when every port has its word.
pub fn expand_array(
    d: &dyn EventDomain,
    map: impl FnOnce() -> Result<SharedPage, Errno>,
) -> Result<(), Errno> {
    let check = |inner: &Inner| match &inner.fifo {
        Some(fifo) => fifo.check_room(),
        None => Err(Errno::OpNotSupp),
    };
    check(&d.events().lock())?;
    let page = map()?;
    let mut inner = d.events().lock();
    let added = match &mut inner.fifo {
        Some(fifo) => fifo.add_page(&page),
        None => Err(Errno::OpNotSupp),
    };
    drop(inner);
    let first = added?;
    replay(d, first, first.saturating_add(WORDS));
    Ok(())
}

/// Raises the events that waited for the event words of ports `first` to `end`.
fn replay(d: &dyn EventDomain, first: u32, end: u32) {
    for _ in first..end {
        let mut inner = d.events().lock();
        let Some(port) = inner.ports.next_waiting(first, end) else {
            return;
        };
        inner.ports.set_waiting(port, false);
        let signal = inner.raise(port);
        drop(inner);
        signal.send(d);
    }
}

/// `VCPUOP_register_vcpu_info`: moves the `vcpu_info` of `vcpu` to `offset` in the page, with
/// everything marked pending. `ENOENT` without that vCPU, `ENXIO` for a bad offset, `EBUSY` the
/// second time.
pub fn register_vcpu_info(
    d: &dyn EventDomain,
    vcpu: u32,
    offset: u32,
    map: impl FnOnce() -> Result<SharedPage, Errno>,
) -> Result<(), Errno> {
    if !d.vcpu_exists(vcpu) {
        return Err(Errno::NoEnt);
    }
    let offset = VcpuInfo::check_offset(offset)?;
    let page = map()?;
    let mut inner = d.events().lock();
    let result = inner.register(vcpu, &page, offset);
    drop(inner);
    result?;
    Signal::upcall(vcpu).send(d);
    Ok(())
}

impl Inner {
    fn register(&mut self, vcpu: u32, page: &SharedPage, offset: usize) -> Result<(), Errno> {
        let info = &mut self.vcpu_mut(vcpu).ok_or(Errno::NoEnt)?.info;
        if info.as_ref().is_some_and(VcpuInfo::is_registered) {
            return Err(Errno::Busy);
        }
        // The old one is in shared_info, which `self` keeps too.
        *info = Some(VcpuInfo::register(page.clone(), offset, info.as_ref()));
        Ok(())
    }
}
