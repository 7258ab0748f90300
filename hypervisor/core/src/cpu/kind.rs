// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kinds of CPU. Where a machine has several (big.LITTLE), a vCPU is of one: it sees that kind's
//! MIDR and ID registers and runs on its CPUs alone.

use super::midr::Midr;
use crate::addr::CpuId;
use crate::sched::bit;
use crate::trap::idreg::IdRegs;
use crate::trap::smccc::Mitigations;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

/// Which kind: its place in [`Kinds`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KindId(pub u8);

/// CPUs that a vCPU cannot tell apart.
pub struct Kind {
    /// MIDR_EL1 of all of them.
    pub midr: Midr,
    /// Which they are, a bit each. All bits if there is one kind.
    pub cpus: u128,
    /// ID registers as guests see them.
    pub id_regs: IdRegs,
    /// What guests are told of the speculation workarounds.
    pub mitigations: Mitigations,
    /// What is done about errata.
    pub workarounds: super::errata::Workarounds,
    /// vCPUs of this kind.
    vcpus: AtomicU32,
}

/// What one CPU is like.
#[derive(Clone)]
pub struct Cpu {
    /// Its number.
    pub id: CpuId,
    /// MIDR_EL1.
    pub midr: Midr,
    /// ID registers as they are.
    pub id_regs: IdRegs,
    /// What firmware says of it.
    pub mitigations: Mitigations,
}

/// Every kind of CPU the machine has, in the order of their CPUs' numbers.
pub struct Kinds {
    first: Kind,
    others: Box<[Kind]>,
}

impl Kind {
    fn of(cpu: &Cpu) -> Self {
        Self {
            midr: cpu.midr,
            cpus: bit(cpu.id),
            id_regs: cpu.id_regs,
            mitigations: cpu.mitigations,
            workarounds: super::errata::workarounds(cpu.midr),
            vcpus: AtomicU32::new(0),
        }
    }

    fn add(&mut self, cpu: &Cpu) {
        self.cpus |= bit(cpu.id);
        self.id_regs = self.id_regs.combine(&cpu.id_regs);
        self.mitigations = self.mitigations.combine(cpu.mitigations);
    }
}

impl Kinds {
    /// The kinds of these CPUs, all of which run guests; `None` without any. What a domain's vCPUs share is what all
    /// CPUs have: no guest sees more physical address bits than `pa_range`
    /// (ID_AA64MMFR0_EL1.PARange) says.
    pub fn new(mut cpus: Vec<Cpu>, pa_range: u8) -> Option<Self> {
        cpus.sort_by_key(|cpu| cpu.id);
        let mut kinds: Vec<Kind> = Vec::new();
        for cpu in &cpus {
            match kinds.iter_mut().find(|kind| kind.midr == cpu.midr) {
                Some(kind) => kind.add(cpu),
                None => kinds.push(Kind::of(cpu)),
            }
        }
        for kind in &mut kinds {
            kind.id_regs = kind.id_regs.sanitise().with_pa_range(pa_range);
        }
        if let [only] = kinds.as_mut_slice() {
            only.cpus = u128::MAX;
        }
        let mut kinds = kinds.into_iter();
        Some(Self {
            first: kinds.next()?,
            others: kinds.collect(),
        })
    }

    /// All kinds.
    pub fn iter(&self) -> impl Iterator<Item = (KindId, &Kind)> {
        let all = core::iter::once(&self.first).chain(&self.others);
        (0u8..).map(KindId).zip(all)
    }

    /// One of them; the first for a number that none has.
    #[inline]
    pub fn get(&self, kind: KindId) -> &Kind {
        let other = usize::from(kind.0).checked_sub(1);
        other
            .and_then(|n| self.others.get(n))
            .unwrap_or(&self.first)
    }

    /// True if the machine has several kinds.
    pub fn are_several(&self) -> bool {
        !self.others.is_empty()
    }

    /// The kind of the first of `cpus` that has one.
    pub fn of_first(&self, cpus: u128) -> Option<KindId> {
        let first = |kind: &Kind| (kind.cpus & cpus).trailing_zeros();
        let usable = self.iter().filter(|(_, kind)| kind.cpus & cpus != 0);
        usable.min_by_key(|(_, kind)| first(kind)).map(|(id, _)| id)
    }

    /// The kind for `nr` more vCPUs that may run on `cpus`: the one whose CPUs will then have the
    /// fewest each.
    pub fn least_used(&self, cpus: u128, nr: u32) -> Option<KindId> {
        let load = |kind: &Kind| {
            let on = u64::from((kind.cpus & cpus).count_ones());
            let vcpus = u64::from(kind.vcpus.load(Ordering::Relaxed).saturating_add(nr));
            // In 1/65536 of a vCPU for each CPU.
            (vcpus << 16).checked_div(on).unwrap_or(u64::MAX)
        };
        let usable = self.iter().filter(|(_, kind)| kind.cpus & cpus != 0);
        usable.min_by_key(|(_, kind)| load(kind)).map(|(id, _)| id)
    }

    /// A vCPU is of `kind` from now on.
    pub(crate) fn enter(&self, kind: KindId) {
        self.get(kind).vcpus.fetch_add(1, Ordering::Relaxed);
    }

    /// No longer.
    pub(crate) fn leave(&self, kind: KindId) {
        self.get(kind).vcpus.fetch_sub(1, Ordering::Relaxed);
    }
}

/// CPUs as a list: `0-1,4`.
pub struct CpuList(pub u128);

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0;
        let mut separator = "";
        while left != 0 {
            let first = left.trailing_zeros();
            let run = (!(left >> first)).trailing_zeros();
            write!(f, "{separator}{first}")?;
            if run > 1 {
                write!(f, "-{}", first.saturating_add(run).saturating_sub(1))?;
            }
            let end = first.saturating_add(run);
            left = left
                .checked_shr(end)
                .unwrap_or(0)
                .checked_shl(end)
                .unwrap_or(0);
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{A53, A72, juno_cpus};
    use crate::trap::sysreg::SysReg;
    use std::string::ToString;

    const MMFR0: SysReg = SysReg::new(3, 0, 0, 7, 0);

    #[test]
    fn a_juno_has_two() {
        let kinds = Kinds::new(juno_cpus(), 2).unwrap();
        let all: Vec<_> = kinds.iter().map(|(_, k)| (k.midr, k.cpus)).collect();
        assert_eq!(all, [(A72, 0b11), (A53, 0b11_1100)]);
        assert!(kinds.are_several());
        for (_, kind) in kinds.iter() {
            assert_eq!(kind.id_regs.read(MMFR0).unwrap() & 0xf, 2, "PARange");
        }
    }

    #[test]
    fn one_kind_has_every_cpu_there_may_be() {
        let cpus = juno_cpus().into_iter().filter(|cpu| cpu.midr == A53);
        let kinds = Kinds::new(cpus.collect(), 5).unwrap();
        assert!(!kinds.are_several());
        assert_eq!(kinds.get(KindId(0)).cpus, u128::MAX);
        assert_eq!(kinds.of_first(1), Some(KindId(0)));
    }

    #[test]
    fn domains_go_where_there_is_room() {
        let kinds = Kinds::new(juno_cpus(), 2).unwrap();
        let place = |nr| {
            let kind = kinds.least_used(0b11_1111, nr).unwrap();
            (0..nr).for_each(|_| kinds.enter(kind));
            kind.0
        };
        assert_eq!([2, 2, 2, 2].map(place), [1, 0, 1, 1]);
        assert_eq!(kinds.least_used(0b1, 100), Some(KindId(0)));
        assert_eq!(kinds.least_used(0b1_0000, 100), Some(KindId(1)));
        assert_eq!(kinds.least_used(1 << 77, 1), None);
        assert_eq!(kinds.of_first(0b110), Some(KindId(0)));
        assert_eq!(kinds.of_first(0b100), Some(KindId(1)));
    }

    #[test]
    fn lists_are_short() {
        let said = |cpus| CpuList(cpus).to_string();
        assert_eq!(said(0b11_1100), "2-5");
        assert_eq!(said(0b1_0001_0110), "1-2,4,8");
        assert_eq!(said(0), "");
        assert_eq!(said(u128::MAX), "0-127");
    }
}
