// SPDX-License-Identifier: MIT OR Apache-2.0

//! The GICv3 virtual interface control registers (ICH_*_EL2) that `arm-sysregs` lacks.

macro_rules! ich_registers {
    ($($name:ident: $encoding:ident),* $(,)?) => {
        #[cfg(not(target_arch = "aarch64"))]
        pub(super) mod fake {
            //! Variables in place of the registers.
            use std::sync::Mutex;

            #[derive(Default)]
            pub(in crate::gic) struct Registers {
                $(pub(in crate::gic) $name: u64,)*
            }

            pub(in crate::gic) static SYSREGS: Mutex<Registers> = Mutex::new(Registers { $($name: 0,)* });
        }

        #[allow(dead_code, reason = "the status registers are never written")]
        mod accessors {
            $(arm_sysregs::read_write_sysreg!(
                $name: $encoding, u64, safe_read, safe_write, super::fake::SYSREGS
            );)*
        }
    };
}

ich_registers! {
    ich_ap0r0_el2: s3_4_c12_c8_0,
    ich_ap0r1_el2: s3_4_c12_c8_1,
    ich_ap0r2_el2: s3_4_c12_c8_2,
    ich_ap0r3_el2: s3_4_c12_c8_3,
    ich_ap1r0_el2: s3_4_c12_c9_0,
    ich_ap1r1_el2: s3_4_c12_c9_1,
    ich_ap1r2_el2: s3_4_c12_c9_2,
    ich_ap1r3_el2: s3_4_c12_c9_3,
    ich_vtr_el2: s3_4_c12_c11_1,
    ich_misr_el2: s3_4_c12_c11_2,
    ich_eisr_el2: s3_4_c12_c11_3,
    ich_elrsr_el2: s3_4_c12_c11_5,
    ich_lr0_el2: s3_4_c12_c12_0,
    ich_lr1_el2: s3_4_c12_c12_1,
    ich_lr2_el2: s3_4_c12_c12_2,
    ich_lr3_el2: s3_4_c12_c12_3,
    ich_lr4_el2: s3_4_c12_c12_4,
    ich_lr5_el2: s3_4_c12_c12_5,
    ich_lr6_el2: s3_4_c12_c12_6,
    ich_lr7_el2: s3_4_c12_c12_7,
    ich_lr8_el2: s3_4_c12_c13_0,
    ich_lr9_el2: s3_4_c12_c13_1,
    ich_lr10_el2: s3_4_c12_c13_2,
    ich_lr11_el2: s3_4_c12_c13_3,
    ich_lr12_el2: s3_4_c12_c13_4,
    ich_lr13_el2: s3_4_c12_c13_5,
    ich_lr14_el2: s3_4_c12_c13_6,
    ich_lr15_el2: s3_4_c12_c13_7,
}

pub(super) use accessors::{
    read_ich_eisr_el2, read_ich_elrsr_el2, read_ich_misr_el2, read_ich_vtr_el2,
};

/// An indexed pair of functions over registers whose number is part of the instruction. An index
/// beyond the array reads as zero and is not written.
macro_rules! indexed {
    ($read:ident, $write:ident: $($index:literal => $get:ident, $set:ident;)*) => {
        #[inline]
        pub(super) fn $read(index: usize) -> u64 {
            match index {
                $($index => accessors::$get(),)*
                _ => 0,
            }
        }

        #[inline]
        pub(super) fn $write(index: usize, value: u64) {
            match index {
                $($index => accessors::$set(value),)*
                _ => {}
            }
        }
    };
}

indexed! { read_lr, write_lr:
    0 => read_ich_lr0_el2, write_ich_lr0_el2;
    1 => read_ich_lr1_el2, write_ich_lr1_el2;
    2 => read_ich_lr2_el2, write_ich_lr2_el2;
    3 => read_ich_lr3_el2, write_ich_lr3_el2;
    4 => read_ich_lr4_el2, write_ich_lr4_el2;
    5 => read_ich_lr5_el2, write_ich_lr5_el2;
    6 => read_ich_lr6_el2, write_ich_lr6_el2;
    7 => read_ich_lr7_el2, write_ich_lr7_el2;
    8 => read_ich_lr8_el2, write_ich_lr8_el2;
    9 => read_ich_lr9_el2, write_ich_lr9_el2;
    10 => read_ich_lr10_el2, write_ich_lr10_el2;
    11 => read_ich_lr11_el2, write_ich_lr11_el2;
    12 => read_ich_lr12_el2, write_ich_lr12_el2;
    13 => read_ich_lr13_el2, write_ich_lr13_el2;
    14 => read_ich_lr14_el2, write_ich_lr14_el2;
    15 => read_ich_lr15_el2, write_ich_lr15_el2;
}

indexed! { read_ap0r, write_ap0r:
    0 => read_ich_ap0r0_el2, write_ich_ap0r0_el2;
    1 => read_ich_ap0r1_el2, write_ich_ap0r1_el2;
    2 => read_ich_ap0r2_el2, write_ich_ap0r2_el2;
    3 => read_ich_ap0r3_el2, write_ich_ap0r3_el2;
}

indexed! { read_ap1r, write_ap1r:
    0 => read_ich_ap1r0_el2, write_ich_ap1r0_el2;
    1 => read_ich_ap1r1_el2, write_ich_ap1r1_el2;
    2 => read_ich_ap1r2_el2, write_ich_ap1r2_el2;
    3 => read_ich_ap1r3_el2, write_ich_ap1r3_el2;
}
