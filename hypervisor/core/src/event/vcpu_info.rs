// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vcpu_info`: where a vCPU learns that events wait (`xen/xen.h`).

use crate::addr::PAGE_SIZE;
use crate::guest::shared::{GuestAtomic, SharedPage, Starved};
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use xen_abi::errno::Errno;

/// Bytes of `struct vcpu_info`.
const SIZE: usize = size_of::<xen_abi::xen::VcpuInfo>();
/// Last offset that leaves it in the page.
const LAST_OFFSET: usize = PAGE_SIZE as usize - SIZE;
/// Offset of `evtchn_pending_sel`.
const SEL: usize = 8;

/// The `vcpu_info` of one vCPU.
pub(super) struct VcpuInfo {
    page: SharedPage,
    offset: usize,
    registered: bool,
}

impl VcpuInfo {
    /// vCPU 0's first one, at the start of `shared_info`.
    pub(super) const fn legacy(shared_info: SharedPage) -> Self {
        Self {
            page: shared_info,
            offset: 0,
            registered: false,
        }
    }

    /// Checks a place a guest chose: `ENXIO` if it crosses the page or is not 8-aligned.
    pub(super) fn check_offset(offset: u32) -> Result<usize, Errno> {
        let offset = offset as usize;
        let fits = offset <= LAST_OFFSET && offset.is_multiple_of(8);
        fits.then_some(offset).ok_or(Errno::NXIO)
    }

    /// One at a place the guest chose, filled from `old`, with everything pending: an event that
    /// came before must not be lost.
    pub(super) fn register(page: SharedPage, offset: usize, old: Option<&Self>) -> Self {
        let mut bytes = [0; SIZE];
        if let Some(old) = old {
            old.page.read(old.offset, &mut bytes);
        }
        page.write(offset, &bytes);
        let new = Self {
            page,
            offset,
            registered: true,
        };
        if let (Some(sel), Some(pending)) = (new.sel(), new.pending()) {
            sel.store(!0, Ordering::Relaxed);
            pending.store(1, Ordering::Release);
        }
        new
    }

    /// True if the guest chose the place.
    pub(super) const fn is_registered(&self) -> bool {
        self.registered
    }

    /// Sets `evtchn_upcall_pending`; true if it was 0, so that the vCPU must be interrupted.
    pub(super) fn mark_pending(&self) -> Result<bool, Starved> {
        let Some(pending) = self.pending() else {
            return Ok(false);
        };
        Ok(pending.change(|_| Some(1))? == 0)
    }

    /// Nothing is pending.
    pub(super) fn clear(&self) {
        if let (Some(sel), Some(pending)) = (self.sel(), self.pending()) {
            sel.store(0, Ordering::Relaxed);
            pending.store(0, Ordering::Relaxed);
        }
    }

    /// True if `evtchn_upcall_pending` is set.
    pub(super) fn is_pending(&self) -> bool {
        self.pending()
            .is_some_and(|p| p.load(Ordering::Acquire) != 0)
    }

    /// Sets a bit of `evtchn_pending_sel`; true if it was clear.
    pub(super) fn select(&self, word: u32) -> Result<bool, Starved> {
        let bit = 1u64.checked_shl(word).unwrap_or(0);
        let Some(sel) = self.sel() else {
            return Ok(false);
        };
        Ok(sel.change(|v| Some(v | bit))? & bit == 0)
    }

    fn pending(&self) -> Option<&AtomicU8> {
        self.page.atomic_u8(self.offset)
    }

    fn sel(&self) -> Option<&AtomicU64> {
        self.page.atomic_u64(self.offset.checked_add(SEL)?)
    }
}
