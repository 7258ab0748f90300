// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this CPU says it is.

use crate::el2;
use crate::sysreg::mrs;
use hv_core::trap::idreg::IdRegs;
use hv_core::trap::smccc::Mitigations;
use hv_core::trap::sysreg::SysReg;

/// Reads each register of S3_0_C0_C1_0 to S3_0_C0_C7_7; unallocated ones read as zero.
macro_rules! id_space {
    ($reg:expr; $($crm:literal: $($op2:literal)*;)*) => {
        match ($reg.crm(), $reg.op2()) {
            $($( ($crm, $op2) => mrs!(concat!("s3_0_c0_c", $crm, "_", $op2)), )*)*
            _ => 0,
        }
    };
}

/// This CPU's ID registers.
fn id_regs() -> IdRegs {
    IdRegs::from_reader(|reg: SysReg| {
        id_space!(reg;
            1: 0 1 2 3 4 5 6 7; 2: 0 1 2 3 4 5 6 7; 3: 0 1 2 3 4 5 6 7; 4: 0 1 2 3 4 5 6 7;
            5: 0 1 2 3 4 5 6 7; 6: 0 1 2 3 4 5 6 7; 7: 0 1 2 3 4 5 6 7;
        )
    })
}

/// What matters of a CPU's features for all of them.
#[derive(Clone)]
pub(crate) struct Features {
    /// ID registers.
    pub(crate) ids: IdRegs,
    /// ID_AA64MMFR0_EL1.PARange.
    pub(crate) pa_range: u8,
    /// 16-bit VMIDs (ID_AA64MMFR1_EL1.VMIDBits).
    pub(crate) vmid16: bool,
    /// What firmware says of the speculation workarounds.
    pub(crate) mitigations: Mitigations,
}

impl Features {
    /// This CPU's.
    pub(crate) fn of_this_cpu() -> Self {
        Self {
            ids: id_regs(),
            pa_range: (mrs!("id_aa64mmfr0_el1") & 0xf) as u8,
            vmid16: mrs!("id_aa64mmfr1_el1") >> 4 & 0xf == 2,
            mitigations: el2::init_mitigations(),
        }
    }

    /// What both can do, and what either needs.
    pub(crate) fn combine(self, other: Self) -> Self {
        Self {
            ids: self.ids.combine(&other.ids),
            pa_range: self.pa_range.min(other.pa_range),
            vmid16: self.vmid16 && other.vmid16,
            mitigations: self.mitigations.combine(other.mitigations),
        }
    }
}
