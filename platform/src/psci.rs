// SPDX-License-Identifier: MIT OR Apache-2.0

//! Calls into the firmware below: PSCI (Arm DEN0022) and the SMCCC errata queries (Arm DEN0028).

pub use smccc::psci::Version;
pub use smccc::psci::error::Error;

use smccc::{Call, arch, psci};

#[cfg(not(target_arch = "aarch64"))]
use self::absent::NoFirmware as Smc;
#[cfg(target_arch = "aarch64")]
use smccc::Smc;

/// The firmware's PSCI, 0.2 or later, called with `SMC`: from EL2 there is no other way.
#[derive(Clone, Copy, Debug)]
pub struct Psci;

impl Psci {
    /// PSCI_VERSION.
    pub fn version(&self) -> Result<Version, Error> {
        psci::version::<Smc>()
    }

    /// CPU_ON: starts the CPU with affinity `mpidr` at physical address `entry`, at EL2 with its MMU
    /// off, `context` in x0. Bits of `mpidr` that are not affinity are ignored.
    pub fn cpu_on(&self, mpidr: u64, entry: u64, context: u64) -> Result<(), Error> {
        let target = crate::gic::affinity(mpidr);
        psci::cpu_on::<Smc>(target, entry, context)
    }

    /// SYSTEM_OFF. Returns only on failure.
    pub fn system_off(&self) -> Error {
        match psci::system_off::<Smc>() {
            Err(error) => error,
            Ok(()) => Error::InternalFailure,
        }
    }

    /// SYSTEM_RESET. Returns only on failure.
    pub fn system_reset(&self) -> Error {
        match psci::system_reset::<Smc>() {
            Err(error) => error,
            Ok(()) => Error::InternalFailure,
        }
    }

    /// The SMCCC version and the CPU errata calls firmware offers for the calling CPU.
    pub fn arch_features(&self) -> ArchFeatures {
        arch_features::<Smc>()
    }

    /// Turns the mitigation of CVE-2018-3639 on for good, on this CPU (SMCCC_ARCH_WORKAROUND_2).
    pub fn enable_workaround_2(&self) -> Result<(), arch::Error> {
        arch::arch_workaround_2::<Smc>(true)
    }
}

/// What firmware says of an SMCCC_ARCH_WORKAROUND call on the calling CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workaround {
    /// Firmware knows nothing of it: the CPU may be affected.
    Unknown,
    /// The CPU is affected and the call mitigates.
    Required,
    /// The CPU is not affected, or is mitigated for good.
    NotRequired,
}

/// Answers of SMCCC_ARCH_FEATURES on one CPU; CPUs of one machine may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchFeatures {
    /// (major, minor) of SMCCC; (1, 0) if firmware cannot tell.
    pub smccc: (u16, u16),
    /// SMCCC_ARCH_WORKAROUND_1: CVE-2017-5715 (branch target injection).
    pub workaround_1: Workaround,
    /// SMCCC_ARCH_WORKAROUND_2: CVE-2018-3639 (speculative store bypass).
    pub workaround_2: Workaround,
    /// SMCCC_ARCH_WORKAROUND_3: CVE-2022-23960 (branch history injection).
    pub workaround_3: Workaround,
}

fn arch_features<C: Call>() -> ArchFeatures {
    // SMCCC_VERSION exists if PSCI_FEATURES (PSCI 1.0) knows it: older firmware must not be asked.
    let version = psci::version::<C>()
        .ok()
        .filter(|version| version.major >= 1)
        .and_then(|_| psci::psci_features::<C>(arch::SMCCC_VERSION).ok())
        .and_then(|_| arch::version::<C>().ok());
    let Some(version) = version.filter(|version| (version.major, version.minor) >= (1, 1)) else {
        return ArchFeatures {
            smccc: (1, 0),
            workaround_1: Workaround::Unknown,
            workaround_2: Workaround::Unknown,
            workaround_3: Workaround::Unknown,
        };
    };
    let query = |function| Workaround::from(arch::features::<C>(function));
    ArchFeatures {
        smccc: (version.major, version.minor),
        workaround_1: query(arch::SMCCC_ARCH_WORKAROUND_1),
        workaround_2: query(arch::SMCCC_ARCH_WORKAROUND_2),
        workaround_3: query(arch::SMCCC_ARCH_WORKAROUND_3),
    }
}

impl From<Result<u32, arch::Error>> for Workaround {
    fn from(answer: Result<u32, arch::Error>) -> Self {
        match answer {
            Ok(0) => Self::Required,
            Ok(_) | Err(arch::Error::NotRequired) => Self::NotRequired,
            Err(_) => Self::Unknown,
        }
    }
}

/// A host has no firmware: every call is unknown.
#[cfg(not(target_arch = "aarch64"))]
mod absent {
    pub(super) struct NoFirmware;

    impl smccc::Call for NoFirmware {
        fn call32(_: u32, _: [u32; 7]) -> [u32; 8] {
            [u32::MAX; 8]
        }

        fn call64(_: u32, _: [u64; 17]) -> [u64; 18] {
            [u64::MAX; 18]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Firmware<const PSCI: u32>;

    impl<const PSCI: u32> Call for Firmware<PSCI> {
        fn call32(function: u32, args: [u32; 7]) -> [u32; 8] {
            let value = match (function, args[0]) {
                (psci::PSCI_VERSION, _) => PSCI,
                (psci::PSCI_FEATURES, arch::SMCCC_VERSION) => 0,
                (arch::SMCCC_VERSION, _) => 0x1_0002,
                (arch::SMCCC_ARCH_FEATURES, arch::SMCCC_ARCH_WORKAROUND_1) => 0,
                (arch::SMCCC_ARCH_FEATURES, arch::SMCCC_ARCH_WORKAROUND_2) => -2_i32 as u32,
                _ => u32::MAX,
            };
            [value; 8]
        }

        fn call64(_: u32, _: [u64; 17]) -> [u64; 18] {
            [u64::MAX; 18]
        }
    }

    #[test]
    fn workarounds_are_asked_of_new_firmware() {
        let features = arch_features::<Firmware<0x1_0001>>();
        assert_eq!(features.smccc, (1, 2));
        assert_eq!(features.workaround_1, Workaround::Required);
        assert_eq!(features.workaround_2, Workaround::NotRequired);
        assert_eq!(features.workaround_3, Workaround::Unknown);
    }

    #[test]
    fn old_firmware_is_not_asked() {
        assert_eq!(arch_features::<Firmware<2>>().smccc, (1, 0));
    }

    #[test]
    fn no_firmware_is_an_error() {
        let psci = Psci;
        assert_eq!(psci.version(), Err(Error::NotSupported));
        assert_eq!(psci.cpu_on(1, 0, 0), Err(Error::NotSupported));
        assert_eq!(psci.system_off(), Error::NotSupported);
    }
}
