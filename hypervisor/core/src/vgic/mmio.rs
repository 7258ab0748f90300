// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers that distributors and redistributors have in common: arrays with a bit, two bits
//! or a byte for each interrupt, at the same offsets everywhere.

use super::irq::{ACTIVE, BY_SOURCE, EDGE, ENABLED, IN_LR, Irq, LINKED};
use super::{Model, NR_PRIVATE, VcpuNotify, Vgic};
use crate::nospec;

/// A guest's load or store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A load.
    Read,
    /// A store of this value, zero-extended.
    Write(u64),
}

/// An access the register does not take: the caller injects an external abort.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccessFault;

/// What a load returns (a store: 0).
pub(super) type Answer = Result<u64, AccessFault>;

/// A bit for each interrupt.
#[derive(Clone, Copy)]
enum Bit {
    Enable,
    Pending,
    Active,
}

/// Who accesses which interrupts.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) vgic: &'a Vgic,
    /// Whose private interrupts are meant.
    pub(super) vcpu: u32,
    /// The interrupts that have registers here; the others read as zero and ignore writes.
    pub(super) first: u32,
    pub(super) end: u32,
    pub(super) notify: &'a dyn VcpuNotify,
}

impl Access {
    /// A register that cannot be written.
    pub(super) fn read_only(self, value: u64) -> u64 {
        match self {
            Self::Read => value,
            Self::Write(_) => 0,
        }
    }

    /// A 64-bit register accessed whole or by half: the half is `offset`'s. `write` gets the
    /// register's next value.
    pub(super) fn wide(
        self,
        offset: u32,
        size: u32,
        value: u64,
        write: impl FnOnce(u64),
    ) -> Answer {
        let (shift, mask) = match (offset & 7, size) {
            (0, 8) => (0, u64::MAX),
            (0, 4) => (0, 0xffff_ffff),
            (4, 4) => (32, 0xffff_ffff),
            _ => return Err(AccessFault),
        };
        match self {
            Self::Read => return Ok(value >> shift & mask),
            Self::Write(part) => write(value & !(mask << shift) | (part & mask) << shift),
        }
        Ok(0)
    }
}

/// Where [`View::access`] knows registers.
pub(super) const ARRAYS: core::ops::Range<u32> = 0x80..0xd00;

/// False if an access of up to 16 bytes at `address` asks for no pending or active state, should it
/// be to a distributor or redistributor: then [`Vgic::sync`] need not come before it.
#[inline]
pub fn may_tell_state(address: u64) -> bool {
    // I[SC]PENDR and I[SC]ACTIVER; [CS]PENDSGIR of a GICv2.
    matches!(address & 0xfff, 0x1f0..0x400 | 0xf00..0xf30)
}

/// True if the access is naturally aligned and of one of the `sizes`.
pub(super) fn sized(offset: u32, size: u32, sizes: &[u32]) -> Result<(), AccessFault> {
    let aligned = sizes.contains(&size) && offset & size.wrapping_sub(1) == 0;
    aligned.then_some(()).ok_or(AccessFault)
}

impl View<'_> {
    /// The registers in [`ARRAYS`] but `ITARGETSR`. `None`: no such register.
    pub(super) fn access(&self, offset: u32, size: u32, access: Access) -> Option<Answer> {
        // Sets of registers are aligned to 128 bytes.
        let answer = match offset >> 7 {
            // There is one group, and the guest does not see the security state it is of.
            0x1 => sized(offset, size, &[4]).map(|()| 0),
            0x2 => self.bits(offset, size, access, Bit::Enable, true),
            0x3 => self.bits(offset, size, access, Bit::Enable, false),
            0x4 => self.bits(offset, size, access, Bit::Pending, true),
            0x5 => self.bits(offset, size, access, Bit::Pending, false),
            0x6 => self.bits(offset, size, access, Bit::Active, true),
            0x7 => self.bits(offset, size, access, Bit::Active, false),
            0x8..0x10 => self.priorities(offset, size, access),
            0x18..0x1a => self.triggers(offset, size, access),
            _ => return None,
        };
        Some(answer)
    }

    /// `I[SC]ENABLER`, `I[SC]PENDR`, `I[SC]ACTIVER`: a written 1 sets or clears.
    fn bits(&self, offset: u32, size: u32, access: Access, bit: Bit, set: bool) -> Answer {
        sized(offset, size, &[4])?;
        let first = (offset & 0x7c) << 3;
        match access {
            Access::Read => {
                let value = self.gather(first, 32, 1, |irq| bit.of(irq));
                self.look_again(first, value, bit);
                return Ok(value);
            }
            Access::Write(value) => self.scatter(first, 32, 1, value, |irq, intid, one| {
                if one != 0 {
                    self.set_bit(irq, intid, bit, set);
                }
            }),
        }
        Ok(0)
    }

    /// What is said to be pending or active in a list register may be over by now. Whoever polls
    /// for that gets a newer answer next time: the vCPU that has it is made to look.
    fn look_again(&self, first: u32, value: u64, bit: Bit) {
        let said = self
            .fields(first, 32, 1)
            .filter(|(_, n)| value >> n & 1 != 0);
        for (intid, _) in said.filter(|_| !matches!(bit, Bit::Enable)) {
            let irq = self.vgic.cell(self.vcpu, intid).map(|c| c.get());
            if let Some(irq) = irq.filter(|irq| irq.has(IN_LR))
                && let Some(cpu) = self.vgic.cpu(irq.home())
            {
                cpu.set_dirty(true);
                self.notify.notify(irq.home());
            }
        }
    }

    fn set_bit(&self, irq: &mut Irq, intid: u32, bit: Bit, set: bool) {
        match bit {
            Bit::Enable => {
                if irq.has(LINKED) && intid >= NR_PRIVATE && irq.has(ENABLED) != set {
                    self.vgic.hw.irq_enable(irq.pintid(), set);
                }
                irq.set(ENABLED, set);
            }
            // GICv2 SGIs have registers of their own for this.
            Bit::Pending if irq.has(BY_SOURCE) => {}
            Bit::Pending if set => irq.add_sources(1),
            Bit::Pending => irq.clear_pending(),
            Bit::Active => irq.write_active(set),
        }
    }

    /// `IPRIORITYR`: a byte each, by byte or word. Bits not implemented read as zero.
    fn priorities(&self, offset: u32, size: u32, access: Access) -> Answer {
        sized(offset, size, &[1, 4])?;
        let first = offset & 0x3ff;
        let unused = 8u32.saturating_sub(self.vgic.config.priority_bits);
        let mask = 0xff << unused & 0xff;
        match access {
            Access::Read => return Ok(self.gather(first, size, 8, Irq::priority)),
            Access::Write(value) => self.scatter(first, size, 8, value, |irq, _, byte| {
                irq.set_priority(byte & mask);
            }),
        }
        Ok(0)
    }

    /// `ICFGR`: two bits each, the upper one edge. An SGI is an edge for ever.
    fn triggers(&self, offset: u32, size: u32, access: Access) -> Answer {
        sized(offset, size, &[4])?;
        let first = (offset & 0xfc) << 2;
        match access {
            Access::Read => {
                return Ok(self.gather(first, 16, 2, |irq| u32::from(irq.has(EDGE)) << 1));
            }
            Access::Write(value) => self.scatter(first, 16, 2, value, |irq, intid, bits| {
                if intid >= NR_PRIVATE / 2 {
                    irq.set(EDGE, bits & 2 != 0);
                }
            }),
        }
        Ok(0)
    }

    /// A field of `width` bits from each of `count` interrupts, as a register shows them.
    pub(super) fn gather(
        &self,
        first: u32,
        count: u32,
        width: u32,
        field: impl Fn(Irq) -> u32,
    ) -> u64 {
        self.fields(first, count, width)
            .fold(0, |value, (intid, shift)| {
                let irq = self.vgic.cell(self.vcpu, intid).map(|c| c.get());
                value | irq.map_or(0, |irq| u64::from(field(irq)).wrapping_shl(shift))
            })
    }

    /// Gives each of `count` interrupts its field of `width` bits of a register's value.
    pub(super) fn scatter(
        &self,
        first: u32,
        count: u32,
        width: u32,
        value: u64,
        change: impl Fn(&mut Irq, u32, u32),
    ) {
        let mask = 0xff >> 8u32.saturating_sub(width);
        for (intid, shift) in self.fields(first, count, width) {
            let field = value.wrapping_shr(shift) as u32 & mask;
            self.vgic.update(self.vcpu, intid, self.notify, |irq| {
                change(irq, intid, field)
            });
        }
    }

    /// The interrupts that have fields in a register, and where.
    fn fields(&self, first: u32, count: u32, width: u32) -> impl Iterator<Item = (u32, u32)> {
        let (from, to) = (self.first, self.end);
        (0..count.min(32))
            .map(move |n| (first.saturating_add(n), n.saturating_mul(width)))
            .filter(move |(intid, _)| (from..to).contains(intid))
            .map(move |(intid, at)| (nospec::confine(intid as usize, to as usize) as u32, at))
    }
}

impl Bit {
    fn of(self, irq: Irq) -> u32 {
        u32::from(match self {
            Self::Enable => irq.has(ENABLED),
            Self::Pending => irq.pending(),
            Self::Active => irq.has(ACTIVE),
        })
    }
}

impl Vgic {
    /// An access by `by_vcpu` to the distributor, at `offset` bytes into it, of `size` bytes.
    ///
    /// # Errors
    /// If no register takes an access of this size there.
    pub fn dist_access(
        &self,
        by_vcpu: u32,
        offset: u64,
        size: u32,
        access: Access,
        notify: &dyn VcpuNotify,
    ) -> Result<u64, AccessFault> {
        match self.config.model {
            Model::V2 => self.v2_dist_access(by_vcpu, offset, size, access, notify),
            Model::V3 => self.v3_dist_access(by_vcpu, offset, size, access, notify),
        }
    }

    /// An access to the redistributors, 128 KiB for each vCPU in order: `offset` counts through
    /// all regions. Any vCPU may access any.
    ///
    /// # Errors
    /// If no register takes an access of this size there, or the domain has a GICv2.
    pub fn redist_access(
        &self,
        offset: u64,
        size: u32,
        access: Access,
        notify: &dyn VcpuNotify,
    ) -> Result<u64, AccessFault> {
        match self.config.model {
            Model::V2 => Err(AccessFault),
            Model::V3 => self.v3_redist_access(offset, size, access, notify),
        }
    }

    /// Routes SPI `intid`, and the physical interrupt linked to it.
    pub(super) fn set_target(&self, intid: u32, vcpu: u32, notify: &dyn VcpuNotify) {
        let spis = self.spi_ids();
        if !spis.contains(&intid) {
            return;
        }
        let intid = nospec::confine(intid as usize, spis.end as usize) as u32;
        let mut linked = None;
        self.update(0, intid, notify, |irq| {
            irq.set_target(vcpu);
            linked = irq.has(LINKED).then_some(irq.pintid());
        });
        if let Some(pintid) = linked {
            self.hw.irq_route(pintid, notify.cpu_of(vcpu));
        }
    }

    /// `GICD_TYPER.ITLinesNumber`.
    pub(super) fn it_lines(&self) -> u64 {
        self.config.nr_spis.div_ceil(32).into()
    }

    /// A bit for each vCPU of a GICv2.
    pub(super) fn vcpu_mask(&self) -> u32 {
        0xff >> 8u32.saturating_sub(self.config.nr_vcpus)
    }
}
