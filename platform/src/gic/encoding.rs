// SPDX-License-Identifier: MIT OR Apache-2.0

//! Register layouts as pure functions: affinities, SGI targets, list registers, VTR.

/// The affinity fields of an MPIDR_EL1 value (Aff3 in bits 39:32, Aff2-0 in bits 23:0).
///
/// The other bits must not reach a register: bit 31 of MPIDR_EL1 is RES1, and in GICD_IROUTER it
/// means "any CPU".
pub const fn affinity(mpidr: u64) -> u64 {
    mpidr & 0xff_00ff_ffff
}

/// The affinity as GICR_TYPER holds it in bits 63:32: Aff3.Aff2.Aff1.Aff0 without a gap.
pub(super) const fn packed_affinity(mpidr: u64) -> u32 {
    ((mpidr >> 8) & 0xff00_0000) as u32 | (mpidr & 0x00ff_ffff) as u32
}

/// ICC_SGI1R_EL1 that sends `sgi` to the one CPU with affinity `mpidr`.
///
/// TargetList (15:0) is a bit for Aff0 modulo 16, RS (47:44) is Aff0 divided by 16; IRM (40) is 0.
pub(super) const fn sgi1r(sgi: u32, mpidr: u64) -> u64 {
    let aff0 = mpidr & 0xff;
    let aff1 = (mpidr >> 8) & 0xff;
    let aff2 = (mpidr >> 16) & 0xff;
    let aff3 = (mpidr >> 32) & 0xff;
    let target = 1 << (aff0 & 0xf) | aff1 << 16 | aff2 << 32 | (aff0 >> 4) << 44 | aff3 << 48;
    target | ((sgi & 0xf) as u64) << 24
}

/// GICD_SGIR that sends `sgi` to the CPU interfaces in `mask` (TargetListFilter 0).
pub(super) const fn sgir(sgi: u32, mask: u8) -> u32 {
    (mask as u32) << 16 | sgi & 0xf
}

/// Number of active-priority registers a group needs for `bits` bits of preemption priority.
pub(super) const fn apr_count(bits: u32) -> usize {
    match bits {
        0..=5 => 1,
        6 => 2,
        _ => 4,
    }
}

/// ICH_VTR_EL2 and GICH_VTR: bits of preemption priority.
pub(super) const fn vtr_preemption_bits(vtr: u32) -> u32 {
    ((vtr >> 26) & 7) + 1
}

/// Fields of `ICH_LR<n>_EL2`.
mod ich_lr {
    pub(super) const PINTID: u32 = 32;
    pub(super) const EOI: u32 = 41;
    pub(super) const CPUID: u32 = 42;
    pub(super) const PRIORITY: u32 = 48;
    pub(super) const GROUP: u32 = 60;
    pub(super) const HW: u32 = 61;
    pub(super) const STATE: u32 = 62;
}

/// Fields of `GICH_LR<n>`.
mod gich_lr {
    pub(super) const PHYSICAL_ID: u32 = 10;
    pub(super) const CPUID: u32 = 10;
    pub(super) const EOI: u32 = 19;
    pub(super) const PRIORITY: u32 = 23;
    pub(super) const STATE: u32 = 28;
    pub(super) const GRP1: u32 = 30;
    pub(super) const HW: u32 = 31;
}

const fn field(value: u64, shift: u32, bits: u32) -> u64 {
    (value >> shift) & ((1 << bits) - 1)
}

/// The list register as `ICH_LR<n>_EL2` takes it: without bits 44:42 of a software interrupt, which
/// carry the source CPU for GICv2 only and are RES0 there.
pub(super) const fn ich_lr(lr: u64) -> u64 {
    if field(lr, ich_lr::HW, 1) == 1 {
        lr
    } else {
        lr & !(7 << ich_lr::CPUID)
    }
}

/// `GICH_LR<n>` for a list register in the common layout. The low three bits of the priority are lost,
/// as the register has five.
pub(super) const fn gich_from_ich(lr: u64) -> u32 {
    let hw = field(lr, ich_lr::HW, 1);
    let vintid = field(lr, 0, 10);
    let source = if hw == 1 {
        field(lr, ich_lr::PINTID, 10) << gich_lr::PHYSICAL_ID
    } else {
        let cpu = if vintid < 16 {
            field(lr, ich_lr::CPUID, 3)
        } else {
            0
        };
        field(lr, ich_lr::EOI, 1) << gich_lr::EOI | cpu << gich_lr::CPUID
    };
    (vintid
        | source
        | field(lr, ich_lr::PRIORITY + 3, 5) << gich_lr::PRIORITY
        | field(lr, ich_lr::STATE, 2) << gich_lr::STATE
        | field(lr, ich_lr::GROUP, 1) << gich_lr::GRP1
        | hw << gich_lr::HW) as u32
}

/// The common layout of what `GICH_LR<n>` holds; the inverse of [`gich_from_ich`].
pub(super) const fn ich_from_gich(lr: u32) -> u64 {
    let lr = lr as u64;
    let hw = field(lr, gich_lr::HW, 1);
    let source = if hw == 1 {
        field(lr, gich_lr::PHYSICAL_ID, 10) << ich_lr::PINTID
    } else {
        field(lr, gich_lr::EOI, 1) << ich_lr::EOI | field(lr, gich_lr::CPUID, 3) << ich_lr::CPUID
    };
    field(lr, 0, 10)
        | source
        | field(lr, gich_lr::PRIORITY, 5) << (ich_lr::PRIORITY + 3)
        | field(lr, gich_lr::GRP1, 1) << ich_lr::GROUP
        | hw << ich_lr::HW
        | field(lr, gich_lr::STATE, 2) << ich_lr::STATE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn affinity_drops_flags() {
        assert_eq!(affinity(0xc000_0102_8100_0203), 0x02_0000_0203);
        assert_eq!(packed_affinity(0x12_8134_5678), 0x1234_5678);
    }

    #[test]
    fn sgi_targets() {
        assert_eq!(sgi1r(0, 0x8000_0000), 1);
        assert_eq!(sgi1r(5, 0x8000_0103), 5 << 24 | 1 << 16 | 1 << 3);
        // Aff3.Aff2.Aff1.Aff0 = 1.2.3.18: range selector 1, bit 2.
        assert_eq!(
            sgi1r(15, 0x01_8102_0312),
            1 << 48 | 1 << 44 | 2 << 32 | 15 << 24 | 3 << 16 | 1 << 2
        );
        assert_eq!(sgir(3, 0b10), 0x2_0003);
        // A number that is no SGI must not reach the filter or the target list.
        assert_eq!(sgir(0x0fff_fff1, 1), 0x1_0001);
    }

    #[test]
    fn priority_bits_choose_the_active_priority_registers() {
        // GIC-400: 5 bits; GIC-600 and QEMU: 5; architecture's largest: 7.
        assert_eq!(apr_count(vtr_preemption_bits(0x9000_0003)), 1);
        assert_eq!(apr_count(6), 2);
        assert_eq!(apr_count(7), 4);
    }

    #[test]
    fn list_register_of_a_device() {
        // Pending group 0 SPI 34, physical 35, priority 0xa0.
        let ich = 1 << 62 | 1 << 61 | 0xa0 << 48 | 35 << 32 | 34;
        assert_eq!(
            gich_from_ich(ich),
            0x8000_0000 | 1 << 28 | 20 << 23 | 35 << 10 | 34
        );
        assert_eq!(ich_lr(ich), ich);
    }

    #[test]
    fn list_register_of_an_sgi() {
        // Active group 1 SGI 3 from CPU 5, with a maintenance interrupt at its end.
        let ich = 2 << 62 | 1 << 60 | 0x90 << 48 | 5 << 42 | 1 << 41 | 3;
        assert_eq!(
            gich_from_ich(ich),
            2 << 28 | 1 << 30 | 18 << 23 | 1 << 19 | 5 << 10 | 3
        );
        assert_eq!(ich_lr(ich), ich & !(7 << 42));
    }

    proptest! {
        /// Every value GICH_LR can hold survives the way through the common layout, save the source
        /// CPU of what is no SGI and the reserved bits.
        #[test]
        fn list_registers_round_trip(lr: u32) {
            let hw = lr >> 31 == 1;
            let mut kept = if hw { 0xff8f_ffff } else { 0xff88_1fff };
            if !hw && lr & 0x3ff >= 16 {
                kept &= !(7 << 10);
            }
            prop_assert_eq!(gich_from_ich(ich_from_gich(lr)), lr & kept);
        }

        #[test]
        fn nothing_panics(lr: u64, sgi: u32, mpidr: u64, mask: u8) {
            prop_assert_eq!(ich_from_gich(gich_from_ich(lr)) & !lr & !(7 << 42), 0);
            sgi1r(sgi, mpidr);
            sgir(sgi, mask);
        }
    }
}
