// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done on a CPU against speculation that a guest has trained, and what guests are told.
//!
//! Sources: Arm DEN 0028 (SMCCC_ARCH_WORKAROUND_1 to 3), Arm's "Cache Speculation Side-channels"
//! and "Spectre-BHB" with the affected cores and the length of the loop.

use super::midr::{Core, Midr};
use crate::trap::smccc::{Mitigation, Mitigations};
use core::fmt;

/// SMCCC_ARCH_WORKAROUND_1.
pub const ARCH_WORKAROUND_1: u32 = 0x8000_8000;
/// SMCCC_ARCH_WORKAROUND_3.
pub const ARCH_WORKAROUND_3: u32 = 0x8000_3fff;

/// What is the matter with a CPU and one of the vulnerabilities.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Not affected.
    NotAffected,
    /// Affected; firmware does what is needed.
    ByFirmware,
    /// Affected; a loop of ours does what is needed.
    ByLoop,
    /// Affected, and nothing can be done.
    Vulnerable,
    /// Nobody says.
    Unknown,
}

/// What is done on a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The function of firmware to call whenever a guest was left, or 0.
    pub call: u32,
    /// Branches to take whenever a guest was left, so that the history it made is gone.
    pub branches: u8,
    /// Branch target injection, CVE-2017-5715 (Spectre v2).
    pub injection: State,
    /// Branch history injection, CVE-2022-23960 (Spectre-BHB).
    pub history: State,
    /// Speculative store bypass, CVE-2018-3639 (SSB).
    pub store_bypass: State,
}

/// What is done on a CPU whose firmware gives these answers; `csv2` is ID_AA64PFR0_EL1.CSV2.
pub fn plan(midr: Midr, csv2: u8, firmware: &Mitigations) -> Plan {
    let core = midr.core();
    let known = |safe: &[Core]| core.map(|core| !safe.contains(&core));
    // Of the cores known here, Cortex-A53 does not speculate that far.
    let affected = known(&[Core::A53]);
    let unaided = match affected {
        Some(true) => State::Vulnerable,
        Some(false) => State::NotAffected,
        None => State::Unknown,
    };
    let told = |answer| match answer {
        Mitigation::Required => Some(State::ByFirmware),
        Mitigation::NotRequired => Some(State::NotAffected),
        Mitigation::NotSupported => None,
    };
    // Workaround 3 includes 1.
    let injection = match (csv2, firmware.wa3, firmware.wa1) {
        (1.., _, _) => State::NotAffected,
        (_, Mitigation::Required, Mitigation::Required) => State::ByFirmware,
        (_, _, answer) => told(answer).unwrap_or(unaided),
    };
    let branches = match core {
        Some(Core::A57 | Core::A72) => 8,
        Some(Core::A53) | None => 0,
    };
    let history = match told(firmware.wa3) {
        Some(state) => state,
        None if branches != 0 => State::ByLoop,
        None => unaided,
    };
    let call = match (history, injection) {
        (State::ByFirmware, _) => ARCH_WORKAROUND_3,
        (_, State::ByFirmware) => ARCH_WORKAROUND_1,
        _ => 0,
    };
    Plan {
        call,
        branches: if history == State::ByLoop {
            branches
        } else {
            0
        },
        injection,
        history,
        store_bypass: told(firmware.wa2).unwrap_or(unaided),
    }
}

impl fmt::Display for Plan {
    /// For the log: what is done, and what is not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            ("Spectre v2", self.injection),
            ("Spectre-BHB", self.history),
            ("SSB", self.store_bypass),
        ];
        let affected = |state| state != State::NotAffected;
        for (name, state) in all.iter().filter(|(_, state)| affected(*state)) {
            let how = match state {
                State::NotAffected => "not affected",
                State::ByFirmware => "firmware",
                State::ByLoop => "loop",
                State::Vulnerable => "vulnerable, no firmware to call",
                State::Unknown => "unknown to firmware",
            };
            write!(f, ", {name}: {how}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Mitigation::{NotRequired, NotSupported, Required};
    use super::*;
    use std::string::ToString;

    const A53: Midr = Midr(0x410f_d034);
    const A57: Midr = Midr(0x411f_d070);
    const A72: Midr = Midr(0x410f_d083);
    const N1: Midr = Midr(0x413f_d0c1);

    fn told(wa1: Mitigation, wa2: Mitigation, wa3: Mitigation) -> Mitigations {
        Mitigations { wa1, wa2, wa3 }
    }

    #[test]
    fn firmware_that_knows_is_asked() {
        let plan = plan(A72, 0, &told(Required, Required, Required));
        assert_eq!((plan.call, plan.branches), (ARCH_WORKAROUND_3, 0));
        assert_eq!(
            plan.to_string(),
            ", Spectre v2: firmware, Spectre-BHB: firmware, SSB: firmware"
        );
    }

    #[test]
    fn firmware_of_before_spectre_bhb_leaves_the_loop_to_us() {
        let plan = plan(A57, 0, &told(Required, NotRequired, NotSupported));
        assert_eq!((plan.call, plan.branches), (ARCH_WORKAROUND_1, 8));
        assert_eq!(plan.store_bypass, State::NotAffected);
    }

    #[test]
    fn silent_firmware_is_said_to_be_so() {
        let plan72 = plan(A72, 0, &Mitigations::default());
        assert_eq!((plan72.call, plan72.branches), (0, 8));
        assert_eq!(
            (plan72.injection, plan72.store_bypass),
            (State::Vulnerable, State::Vulnerable)
        );
        let plan53 = plan(A53, 0, &Mitigations::default());
        assert_eq!((plan53.call, plan53.branches), (0, 0));
        assert_eq!(plan53.to_string(), "");
        let other = plan(N1, 1, &Mitigations::default());
        assert_eq!((other.call, other.branches), (0, 0));
        assert_eq!(other.injection, State::NotAffected);
        assert_eq!(other.history, State::Unknown);
    }

    #[test]
    fn a_core_that_needs_nothing_gets_nothing() {
        let plan = plan(N1, 1, &told(NotRequired, NotRequired, NotRequired));
        assert_eq!(
            (plan.call, plan.branches, plan.to_string().as_str()),
            (0, 0, "")
        );
    }
}
