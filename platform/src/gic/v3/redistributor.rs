// SPDX-License-Identifier: MIT OR Apache-2.0

//! GICv3 redistributors: two or four 64 KiB frames for each CPU.

use crate::gic::GicError;
use crate::gic::distributor::{Frame, arch_revision};
use crate::gic::encoding::packed_affinity;
use crate::mmio::Mmio;

/// Peripheral ID2, in the distributor and in each redistributor.
pub(super) const PIDR2: usize = 0xffe8;

pub(super) const GICR_CTLR: usize = 0x0;
pub(super) const GICR_TYPER: usize = 0x8;
pub(super) const GICR_WAKER: usize = 0x14;
pub(super) const GICR_SGI_FRAME: usize = 0x1_0000;
pub(super) const GICR_FRAME_SIZE: usize = 0x1_0000;
/// Frames RD and SGI.
pub(super) const GICR_SIZE: usize = 2 * GICR_FRAME_SIZE;

/// Not bit 31, where the distributor has it: that is UWP here.
pub(super) const GICR_CTLR_RWP: u32 = 1 << 3;
pub(super) const GICR_TYPER_VLPIS: u64 = 1 << 1;
pub(super) const GICR_TYPER_LAST: u64 = 1 << 4;
pub(super) const GICR_WAKER_PROCESSOR_SLEEP: u32 = 1 << 1;
pub(super) const GICR_WAKER_CHILDREN_ASLEEP: u32 = 1 << 2;

/// Whether PIDR2 is that of a GICv3 or GICv4.
pub(super) fn is_v3(pidr2: u32) -> bool {
    matches!(arch_revision(pidr2), 3 | 4)
}

pub(super) fn sgi_frame(redistributor: &Mmio) -> Frame {
    Frame(redistributor.sub(GICR_SGI_FRAME, GICR_FRAME_SIZE))
}

/// The redistributor with the affinity of `mpidr`: each region is walked up to the one marked last,
/// and never beyond its size.
pub(super) fn find_redistributor(
    regions: &[Mmio],
    stride: Option<usize>,
    mpidr: u64,
) -> Option<Mmio> {
    let wanted = packed_affinity(mpidr);
    regions.iter().find_map(|region| {
        walk(region, stride).find(|regs| (regs.read64(GICR_TYPER) >> 32) as u32 == wanted)
    })
}

/// The redistributors of one region.
fn walk(region: &Mmio, stride: Option<usize>) -> impl Iterator<Item = Mmio> {
    let mut next = Some(0_usize);
    core::iter::from_fn(move || {
        let offset = next?;
        let end = offset.checked_add(GICR_SIZE)?;
        let regs = (end <= region.size()).then(|| region.sub(offset, GICR_SIZE))?;
        if !is_v3(regs.read32(PIDR2)) {
            next = None;
            return None;
        }
        let typer = regs.read64(GICR_TYPER);
        let frames = if typer & GICR_TYPER_VLPIS != 0 { 4 } else { 2 };
        let stride = stride
            .filter(|stride| *stride >= GICR_SIZE && stride.is_multiple_of(GICR_FRAME_SIZE))
            .unwrap_or(frames * GICR_FRAME_SIZE);
        let last = typer & GICR_TYPER_LAST != 0;
        next = offset.checked_add(stride).filter(|_| !last);
        Some(regs)
    })
}

pub(super) fn wait_redistributor(regs: &Mmio) -> Result<(), GicError> {
    if regs.poll(GICR_CTLR, |ctlr| ctlr & GICR_CTLR_RWP == 0) {
        Ok(())
    } else {
        Err(GicError::WritePending(regs.base()))
    }
}

/// Tells the redistributor that its CPU is awake. The register is RAZ/WI where firmware keeps it.
pub(super) fn wake(regs: &Mmio) -> Result<(), GicError> {
    let waker = regs.read32(GICR_WAKER);
    regs.write32(GICR_WAKER, waker & !GICR_WAKER_PROCESSOR_SLEEP);
    if regs.poll(GICR_WAKER, |waker| waker & GICR_WAKER_CHILDREN_ASLEEP == 0) {
        Ok(())
    } else {
        Err(GicError::RedistributorAsleep(regs.base()))
    }
}
