// SPDX-License-Identifier: MIT OR Apache-2.0
//! The 2-level ABI: a pending and a mask bit per port in `shared_info`, a bit per word of pending
//! bits in `vcpu_info` (`xen/xen.h`).

use super::deliver::Set;
use super::vcpu_info::VcpuInfo;
use crate::guest::shared::{GuestAtomic, SharedPage, Starved};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};
use xen_abi::event::EVTCHN_2L_NR_CHANNELS;
use xen_abi::xen::SharedInfo;

const PENDING: usize = offset_of!(SharedInfo, evtchn_pending);
const MASK: usize = offset_of!(SharedInfo, evtchn_mask);

/// Words of pending bits.
pub(super) const WORDS: u32 = EVTCHN_2L_NR_CHANNELS / u64::BITS;

/// One port's bits.
struct Bits<'a> {
    pending: &'a AtomicU64,
    mask: &'a AtomicU64,
    /// Index of the word they are in.
    word: u32,
    bit: u64,
}

fn bits(shared_info: &SharedPage, port: u32) -> Option<Bits<'_>> {
    if port >= EVTCHN_2L_NR_CHANNELS {
        return None;
    }
    let word = port / u64::BITS;
    let offset = (word as usize).checked_mul(size_of::<u64>())?;
    Some(Bits {
        pending: shared_info.atomic_u64(PENDING.checked_add(offset)?)?,
        mask: shared_info.atomic_u64(MASK.checked_add(offset)?)?,
        word,
        bit: 1 << (port % u64::BITS),
    })
}

/// Sets the pending bit; unless masked, selects its word in `info`.
pub(super) fn set_pending(
    shared_info: &SharedPage,
    info: Option<&VcpuInfo>,
    port: u32,
) -> Result<Set, Starved> {
    let Some(b) = bits(shared_info, port) else {
        return Ok(Set::default());
    };
    if b.pending.change(|v| Some(v | b.bit))? & b.bit != 0 {
        return Ok(Set::default());
    }
    let look = b.mask.load(Ordering::SeqCst) & b.bit == 0 && select(info, b.word)?;
    Ok(Set { new: true, look })
}

/// Clears the mask bit; true if the vCPU must look since the port was masked and is pending.
pub(super) fn unmask(
    shared_info: &SharedPage,
    info: Option<&VcpuInfo>,
    port: u32,
) -> Result<bool, Starved> {
    let Some(b) = bits(shared_info, port) else {
        return Ok(false);
    };
    let was_masked = b.mask.change(|v| Some(v & !b.bit))? & b.bit != 0;
    let pending = b.pending.load(Ordering::SeqCst) & b.bit != 0;
    Ok(was_masked && pending && select(info, b.word)?)
}

/// A vCPU without a `vcpu_info` finds everything selected when it registers one.
fn select(info: Option<&VcpuInfo>, word: u32) -> Result<bool, Starved> {
    info.map_or(Ok(false), |info| info.select(word))
}

/// Clears the pending bit.
pub(super) fn clear_pending(shared_info: &SharedPage, port: u32) -> Result<(), Starved> {
    if let Some(b) = bits(shared_info, port) {
        b.pending.change(|v| Some(v & !b.bit))?;
    }
    Ok(())
}

/// Takes a whole word of pending bits.
pub(super) fn take_pending(shared_info: &SharedPage, word: u32) -> u64 {
    let Some(b) = bits(shared_info, word.saturating_mul(u64::BITS)) else {
        return 0;
    };
    let pending = b.pending.load(Ordering::Acquire);
    b.pending.store(0, Ordering::Relaxed);
    pending
}

/// The pending bit.
pub(super) fn is_pending(shared_info: &SharedPage, port: u32) -> bool {
    bits(shared_info, port).is_some_and(|b| b.pending.load(Ordering::Acquire) & b.bit != 0)
}

/// The mask bit.
pub(super) fn is_masked(shared_info: &SharedPage, port: u32) -> bool {
    bits(shared_info, port).is_some_and(|b| b.mask.load(Ordering::Acquire) & b.bit != 0)
}
