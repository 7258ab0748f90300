// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU's registers, as plain data: the binary moves them to and from the processor.

/// What a trap saves and a return restores.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Regs {
    /// X0 to X30.
    pub x: [u64; 31],
    /// ELR_EL2: where the guest is.
    pub pc: u64,
    /// SPSR_EL2: the guest's PSTATE.
    pub pstate: u64,
}

impl Regs {
    /// Register `n` of an instruction: 31 reads as zero.
    pub fn get(&self, n: u8) -> u64 {
        self.x.get(usize::from(n)).copied().unwrap_or(0)
    }

    /// Sets register `n` of an instruction: 31 is ignored.
    pub fn set(&mut self, n: u8, value: u64) {
        if let Some(x) = self.x.get_mut(usize::from(n)) {
            *x = value;
        }
    }

    /// Steps over an A64 instruction.
    pub fn skip(&mut self) {
        self.pc = self.pc.wrapping_add(4);
    }

    /// Steps back to an instruction that is to run again.
    pub fn rewind(&mut self) {
        self.pc = self.pc.wrapping_sub(4);
    }

    /// True in AArch64 EL0 or any AArch32 User mode.
    pub fn is_el0(&self) -> bool {
        self.pstate & 0xf == 0
    }

    /// True in AArch32 state.
    pub fn is_aarch32(&self) -> bool {
        self.pstate & 0x10 != 0
    }
}

/// EL1 and EL0 system registers, moved only when another vCPU takes the CPU.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the names are the Arm ARM's")]
pub struct SysRegs {
    pub sctlr_el1: u64,
    pub actlr_el1: u64,
    pub cpacr_el1: u64,
    pub ttbr0_el1: u64,
    pub ttbr1_el1: u64,
    pub tcr_el1: u64,
    pub esr_el1: u64,
    pub far_el1: u64,
    pub afsr0_el1: u64,
    pub afsr1_el1: u64,
    pub mair_el1: u64,
    pub amair_el1: u64,
    pub contextidr_el1: u64,
    pub vbar_el1: u64,
    pub tpidr_el0: u64,
    pub tpidrro_el0: u64,
    pub tpidr_el1: u64,
    pub sp_el0: u64,
    pub sp_el1: u64,
    pub elr_el1: u64,
    pub spsr_el1: u64,
    pub par_el1: u64,
    pub csselr_el1: u64,
    pub cntkctl_el1: u64,
    pub cntv_ctl_el0: u64,
    pub cntv_cval_el0: u64,
    pub hcr_el2: u64,
    pub vdisr_el2: u64,
    pub ich_vmcr_el2: u64,
    pub ich_apr: [[u32; 4]; 2],
}

/// FP and SIMD registers.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default)]
pub struct FpRegs {
    /// V0 to V31.
    pub v: [u128; 32],
    /// FPSR.
    pub fpsr: u64,
    /// FPCR.
    pub fpcr: u64,
}

/// PSTATE of a vCPU that starts: EL1h, asynchronous exceptions masked (as Xen 4.20 has it).
pub const PSTATE_RESET: u64 = 0x1c5;
/// SCTLR_EL1 of a vCPU that starts: MMU and caches off.
pub const SCTLR_RESET: u64 = 0x00c5_0078;

/// HCR_EL2 of a vCPU: stage 2 on, and trapped: RW, TSW,
/// TACR, TIDCP, TSC, TID3, TWE, TWI, BSU = inner, FB, AMO, IMO, FMO, PTW, SWIO, VM.
pub const HCR_GUEST: u64 = 0x807c_663f;

/// All of a vCPU's registers. Not `Default`: of HCR_EL2, zero is no value for a guest.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Saved at every exit.
    pub regs: Regs,
    /// Saved on a switch.
    pub sys: SysRegs,
    /// Saved on a switch.
    pub fp: FpRegs,
}

impl Context {
    /// What a vCPU starts with: at `entry`, `x0` in X0, the rest zero.
    pub fn reset(entry: u64, x0: u64) -> Self {
        let mut context = Self {
            regs: Regs::default(),
            sys: SysRegs::default(),
            fp: FpRegs::default(),
        };
        context.regs.pc = entry;
        context.regs.pstate = PSTATE_RESET;
        context.regs.set(0, x0);
        context.sys.sctlr_el1 = SCTLR_RESET;
        context.sys.hcr_el2 = HCR_GUEST;
        context
    }
}
