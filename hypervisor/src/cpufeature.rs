// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this CPU says it is.

use crate::el2;
use crate::percpu;
use crate::sysreg::mrs;
use hv_core::addr::CpuId;
use hv_core::cpu::kind::Cpu;
use hv_core::cpu::midr::Midr;
use hv_core::cpu::speculation::Plan;
use hv_core::trap::idreg::IdRegs;
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

/// MIDR_EL1.
pub(crate) fn midr() -> Midr {
    Midr(mrs!("midr_el1") as u32)
}

/// What matters of a CPU for all of them.
#[derive(Clone)]
pub(crate) struct Features {
    /// What guests see of it.
    pub(crate) cpu: Cpu,
    /// ID_AA64MMFR0_EL1.PARange.
    pub(crate) pa_range: u8,
    /// 16-bit VMIDs (ID_AA64MMFR1_EL1.VMIDBits).
    pub(crate) vmid16: bool,
    /// CNTFRQ_EL0.
    pub(crate) frequency: u64,
    /// What is done there against speculation.
    pub(crate) plan: Plan,
}

impl Features {
    /// This CPU's.
    pub(crate) fn of_this_cpu() -> Self {
        let (mitigations, plan) = el2::init_mitigations(midr());
        Self {
            cpu: Cpu {
                id: percpu::this().id,
                midr: midr(),
                id_regs: id_regs(),
                mitigations,
            },
            pa_range: (mrs!("id_aa64mmfr0_el1") & 0xf) as u8,
            vmid16: mrs!("id_aa64mmfr1_el1") >> 4 & 0xf == 2,
            frequency: platform::timer::cntfrq(),
            plan,
        }
    }

    /// The number of the CPU.
    pub(crate) fn id(&self) -> CpuId {
        self.cpu.id
    }
}
