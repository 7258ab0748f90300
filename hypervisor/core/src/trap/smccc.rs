// SPDX-License-Identifier: MIT OR Apache-2.0
//! Firmware calls of a guest (`HVC #0`, `SMC #0`): SMCCC and a virtual PSCI 1.1.
//!
//! Sources: Arm DEN0028 (SMCCC 1.2), DEN0022 (PSCI), DEN0098 (TRNG).

use arm_psci::{ErrorCode, Function, FunctionId, Mpidr, PsciFeature};

/// PSTATE of a vCPU at its entry point: EL1h, A, I and F masked.
pub const RESET_PSTATE: u64 = 0x1c5;
/// SCTLR_EL1 of a vCPU at its entry point: MMU and caches off.
pub const RESET_SCTLR: u64 = 0x00c5_0078;

/// PSCI: done.
pub const SUCCESS: u64 = 0;
/// SMCCC and PSCI: no such function.
pub const NOT_SUPPORTED: u64 = ErrorCode::NotSupported as i64 as u64;
/// PSCI: no such CPU, no such level.
pub const INVALID_PARAMETERS: u64 = ErrorCode::InvalidParameters as i64 as u64;
/// PSCI: refused.
pub const DENIED: u64 = ErrorCode::Denied as i64 as u64;
/// PSCI: the CPU runs already.
pub const ALREADY_ON: u64 = ErrorCode::AlreadyOn as i64 as u64;
/// PSCI: nothing can be entered there.
pub const INVALID_ADDRESS: u64 = ErrorCode::InvalidAddress as i64 as u64;
/// `AFFINITY_INFO`: a CPU of the affinity instance is on.
pub const AFFINITY_ON: u64 = 0;
/// `AFFINITY_INFO`: all CPUs of the affinity instance are off.
pub const AFFINITY_OFF: u64 = 1;

const SMCCC_VERSION: u32 = 0x8000_0000;
const ARCH_FEATURES: u32 = 0x8000_0001;
const ARCH_WORKAROUND_1: u32 = 0x8000_8000;
const ARCH_WORKAROUND_2: u32 = 0x8000_7fff;
const ARCH_WORKAROUND_3: u32 = 0x8000_3fff;
const HYP_CALL_COUNT: u32 = 0x8500_ff00;
const HYP_UID: u32 = 0x8500_ff01;
const HYP_REVISION: u32 = 0x8500_ff03;
const STD_CALL_COUNT: u32 = 0x8400_ff00;
const STD_UID: u32 = 0x8400_ff01;
const STD_REVISION: u32 = 0x8400_ff03;
const TRNG_VERSION: u32 = 0x8400_0050;
const PSCI_0_1_CPU_OFF: u32 = 1;
const PSCI_0_1_CPU_ON: u32 = 2;

/// SMCCC 1.2.
const VERSION_1_2: u64 = 0x1_0002;
/// PSCI 1.1.
const PSCI_VERSION_1_1: u64 = 0x1_0001;
/// `MIGRATE_INFO_TYPE`: no trusted OS that would have to migrate.
const MIGRATION_NOT_REQUIRED: u64 = 2;
/// Call count, UID and revision.
const HYP_CALLS: u64 = 3;
/// The twelve function ids of PSCI answered here, and the same three.
const STD_CALLS: u64 = 15;
/// a71812dc-c698-4369-9acf-79d18ddee667, as four words, lowest byte first.
const XEN_UID: [u64; 4] = [0xdc12_18a7, 0x6943_98c6, 0xd179_cf9a, 0x67e6_de8d];
/// f863386f-4b39-4cbd-9220-ce1641e59f6f.
const STD_UID_WORDS: [u64; 4] = [0x6f38_63f8, 0xbd4c_394b, 0x16ce_2092, 0x6f9f_e541];

/// What `ARCH_FEATURES` says of a workaround.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mitigation {
    /// 0: call it where needed.
    Required,
    /// 1: the CPUs do not need it.
    NotRequired,
    /// -1: nothing is known.
    #[default]
    NotSupported,
}

impl Mitigation {
    /// What is true of a vCPU that may run on a CPU of either kind.
    const fn combine(self, other: Self) -> Self {
        match (self, other) {
            (Self::Required, _) | (_, Self::Required) => Self::Required,
            (Self::NotRequired, Self::NotRequired) => Self::NotRequired,
            _ => Self::NotSupported,
        }
    }

    const fn answer(self) -> u64 {
        match self {
            Self::Required => 0,
            Self::NotRequired => 1,
            Self::NotSupported => NOT_SUPPORTED,
        }
    }
}

/// What guests are told of the speculation workarounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mitigations {
    /// Workaround 1, branch target injection.
    pub wa1: Mitigation,
    /// Workaround 2, speculative store bypass.
    pub wa2: Mitigation,
    /// Workaround 3, branch history injection.
    pub wa3: Mitigation,
}

impl Mitigations {
    /// What holds for two CPUs.
    pub const fn combine(self, other: Self) -> Self {
        Self {
            wa1: self.wa1.combine(other.wa1),
            wa2: self.wa2.combine(other.wa2),
            wa3: self.wa3.combine(other.wa3),
        }
    }
}

/// What a firmware call asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SmcccCall {
    /// Write x0.
    Return(u64),
    /// Write x0 to x3.
    Return4([u64; 4]),
    /// Workaround 1 or 3: coming here was it. No register changes.
    Nothing,
    /// Workaround 2: turn the mitigation of this vCPU on or off. No register changes.
    SetSsbd(bool),
    /// Something with vCPUs or the domain.
    Psci(PsciRequest),
    /// Log it; x0 = [`NOT_SUPPORTED`].
    Unhandled,
}

/// A PSCI call that policy cannot answer from constants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PsciRequest {
    /// Start a vCPU. In this order: [`INVALID_PARAMETERS`] if [`vcpu_of`] `mpidr` does not
    /// exist, [`INVALID_ADDRESS`] unless [`entry_is_valid`], [`ALREADY_ON`]. It starts at `entry`
    /// with x0 = `context`, other registers zero, [`RESET_PSTATE`], [`RESET_SCTLR`].
    CpuOn {
        /// The target's affinity fields.
        mpidr: u64,
        /// Its first instruction.
        entry: u64,
        /// Its x0.
        context: u64,
    },
    /// Stop this vCPU.
    CpuOff,
    /// Wait as WFI does, then x0 = [`SUCCESS`].
    CpuSuspend,
    /// x0 = [`AFFINITY_ON`] if a vCPU that [`in_affinity`] is up, [`AFFINITY_OFF`] if all are
    /// down, [`INVALID_PARAMETERS`] if there is none.
    AffinityInfo {
        /// The affinity instance.
        mpidr: u64,
        /// Lowest affinity level that counts, 0 to 3.
        level: u8,
    },
    /// Shut the domain down.
    SystemOff,
    /// Restart the domain.
    SystemReset,
}

/// Decodes a call from x0 to x3.
pub fn decode(x: &[u64; 4], mitigations: &Mitigations) -> SmcccCall {
    let &[x0, x1, x2, x3] = x;
    // The upper half of x0 does not count.
    match x0 as u32 {
        SMCCC_VERSION => SmcccCall::Return(VERSION_1_2),
        ARCH_FEATURES => SmcccCall::Return(arch_features(x1 as u32, mitigations)),
        ARCH_WORKAROUND_1 | ARCH_WORKAROUND_3 => SmcccCall::Nothing,
        ARCH_WORKAROUND_2 => SmcccCall::SetSsbd(x1 as u32 != 0),
        HYP_CALL_COUNT => SmcccCall::Return(HYP_CALLS),
        HYP_UID => SmcccCall::Return4(XEN_UID),
        STD_CALL_COUNT => SmcccCall::Return(STD_CALLS),
        STD_UID => SmcccCall::Return4(STD_UID_WORDS),
        // Major 0 in x0, minor 1 in x1.
        HYP_REVISION | STD_REVISION => SmcccCall::Return4([0, 1, x2, x3]),
        PSCI_0_1_CPU_OFF => SmcccCall::Psci(PsciRequest::CpuOff),
        PSCI_0_1_CPU_ON => SmcccCall::Psci(PsciRequest::CpuOn {
            mpidr: x1 & AFFINITY_MASK,
            entry: x2,
            context: 0,
        }),
        fid => match FunctionId::try_from(fid) {
            Ok(_) => psci(x),
            Err(_) if asks_for_service(fid) => SmcccCall::Return(NOT_SUPPORTED),
            Err(_) => SmcccCall::Unhandled,
        },
    }
}

/// True if a guest that calls this only wants to know whether a service is there: it asks for a
/// service's call count, UID or revision, or for the version of TRNG.
const fn asks_for_service(fid: u32) -> bool {
    let is_general = fid & 0xc0ff_0000 == 0x8000_0000;
    let is_about = matches!(fid & 0xffff, 0xff00 | 0xff01 | 0xff03);
    fid == TRNG_VERSION || is_general && is_about
}

fn arch_features(fid: u32, mitigations: &Mitigations) -> u64 {
    match fid {
        ARCH_WORKAROUND_1 => mitigations.wa1.answer(),
        ARCH_WORKAROUND_2 => mitigations.wa2.answer(),
        ARCH_WORKAROUND_3 => mitigations.wa3.answer(),
        _ => NOT_SUPPORTED,
    }
}

fn psci(x: &[u64; 4]) -> SmcccCall {
    let function = match Function::try_from(x) {
        Ok(function) => function,
        Err(error) => return SmcccCall::Return(psci_error(x, error)),
    };
    match function {
        Function::Version => SmcccCall::Return(PSCI_VERSION_1_1),
        Function::CpuSuspend { .. } => SmcccCall::Psci(PsciRequest::CpuSuspend),
        Function::CpuOff => SmcccCall::Psci(PsciRequest::CpuOff),
        Function::CpuOn { target_cpu, entry } => SmcccCall::Psci(PsciRequest::CpuOn {
            mpidr: target_cpu.into(),
            entry: entry.entry_point_address(),
            context: entry.context_id(),
        }),
        Function::AffinityInfo {
            mpidr,
            lowest_affinity_level,
        } => affinity_info(mpidr, lowest_affinity_level),
        Function::MigrateInfoType => SmcccCall::Return(MIGRATION_NOT_REQUIRED),
        Function::SystemOff => SmcccCall::Psci(PsciRequest::SystemOff),
        Function::SystemReset => SmcccCall::Psci(PsciRequest::SystemReset),
        Function::Features { psci_func_id } => SmcccCall::Return(psci_features(psci_func_id)),
        _ => SmcccCall::Unhandled,
    }
}

/// Bad arguments of a function that is not there are no reason to claim it is.
fn psci_error(x: &[u64; 4], error: arm_psci::Error) -> u64 {
    match FunctionId::try_from(x[0] as u32) {
        Ok(fid) if is_implemented(fid) => ErrorCode::from(error).into(),
        _ => NOT_SUPPORTED,
    }
}

fn affinity_info(mpidr: Mpidr, level: u32) -> SmcccCall {
    match level {
        0..=3 => SmcccCall::Psci(PsciRequest::AffinityInfo {
            mpidr: mpidr.into(),
            level: level as u8,
        }),
        _ => SmcccCall::Return(INVALID_PARAMETERS),
    }
}

fn psci_features(feature: PsciFeature) -> u64 {
    match feature {
        PsciFeature::SmcccVersion => SUCCESS,
        PsciFeature::PsciFunction(fid) if is_implemented(fid) => SUCCESS,
        PsciFeature::PsciFunction(_) => NOT_SUPPORTED,
    }
}

const fn is_implemented(fid: FunctionId) -> bool {
    matches!(
        fid,
        FunctionId::PsciVersion
            | FunctionId::CpuSuspend32
            | FunctionId::CpuSuspend64
            | FunctionId::CpuOff
            | FunctionId::CpuOn32
            | FunctionId::CpuOn64
            | FunctionId::AffinityInfo32
            | FunctionId::AffinityInfo64
            | FunctionId::MigrateInfoType
            | FunctionId::SystemOff
            | FunctionId::SystemReset
            | FunctionId::PsciFeatures
    )
}

/// MPIDR_EL1.{Aff3, Aff2, Aff1, Aff0}.
const AFFINITY_MASK: u64 = 0xff_00ff_ffff;
/// MPIDR_EL1 bit 31, RES1.
const MPIDR_RES1: u64 = 1 << 31;

/// The affinity fields of vCPU `id`: 16 to a cluster.
pub const fn affinity_of(id: u32) -> u64 {
    ((id as u64 >> 4) & 0xff) << 8 | (id as u64 & 0xf)
}

/// VMPIDR_EL2 of vCPU `id`.
pub const fn vmpidr(id: u32) -> u64 {
    MPIDR_RES1 | affinity_of(id)
}

/// The vCPU with these affinity fields; it need not exist.
pub const fn vcpu_of(mpidr: u64) -> Option<u32> {
    if mpidr & AFFINITY_MASK & !0xff0f != 0 {
        return None;
    }
    Some(((mpidr >> 8 & 0xff) << 4 | mpidr & 0xf) as u32)
}

/// True if vCPU `id` belongs to the affinity instance `mpidr` at `level`.
pub const fn in_affinity(id: u32, mpidr: u64, level: u8) -> bool {
    let ignored = match level {
        0 => 0,
        1 => 0xff,
        2 => 0xffff,
        _ => 0xff_ffff,
    };
    (affinity_of(id) ^ mpidr) & AFFINITY_MASK & !ignored == 0
}

/// True if an AArch64 CPU can start at `entry`; bit 0 would ask for T32.
pub const fn entry_is_valid(entry: u64) -> bool {
    entry & 1 == 0
}

#[cfg(test)]
mod tests;
