// SPDX-License-Identifier: MIT OR Apache-2.0
//! MIDR_EL1: which core a CPU is.

use core::fmt;

/// Implementer code of Arm.
const ARM: u32 = 0x41;

/// MIDR_EL1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Midr(pub u32);

/// Variant and revision: `Revision(1, 2)` is r1p2.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Revision(pub u8, pub u8);

/// Cores whose errata are known here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Core {
    /// Cortex-A53.
    A53,
    /// Cortex-A57.
    A57,
    /// Cortex-A72.
    A72,
}

/// Names of Arm's cores, by part number.
const NAMES: &[(u32, &str)] = &[
    (0xd02, "Cortex-A34"),
    (0xd03, "Cortex-A53"),
    (0xd04, "Cortex-A35"),
    (0xd05, "Cortex-A55"),
    (0xd07, "Cortex-A57"),
    (0xd08, "Cortex-A72"),
    (0xd09, "Cortex-A73"),
    (0xd0a, "Cortex-A75"),
    (0xd0b, "Cortex-A76"),
    (0xd0c, "Neoverse-N1"),
    (0xd0d, "Cortex-A77"),
    (0xd40, "Neoverse-V1"),
    (0xd41, "Cortex-A78"),
    (0xd42, "Cortex-A78AE"),
    (0xd44, "Cortex-X1"),
    (0xd46, "Cortex-A510"),
    (0xd47, "Cortex-A710"),
    (0xd48, "Cortex-X2"),
    (0xd49, "Neoverse-N2"),
    (0xd4d, "Cortex-A715"),
    (0xd4f, "Neoverse-V2"),
];

impl Midr {
    const fn implementer(self) -> u32 {
        self.0 >> 24
    }

    const fn part(self) -> u32 {
        self.0 >> 4 & 0xfff
    }

    /// Its variant and revision.
    pub const fn revision(self) -> Revision {
        Revision((self.0 >> 20 & 0xf) as u8, (self.0 & 0xf) as u8)
    }

    /// The core, if it is one whose errata are known here.
    pub const fn core(self) -> Option<Core> {
        match (self.implementer(), self.part()) {
            (ARM, 0xd03) => Some(Core::A53),
            (ARM, 0xd07) => Some(Core::A57),
            (ARM, 0xd08) => Some(Core::A72),
            _ => None,
        }
    }

    fn name(self) -> Option<&'static str> {
        let known = NAMES.iter().find(|(part, _)| *part == self.part());
        known
            .filter(|_| self.implementer() == ARM)
            .map(|(_, name)| *name)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}p{}", self.0, self.1)
    }
}

impl fmt::Display for Midr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} {}", self.revision()),
            None => write!(f, "CPU with MIDR {:#x}", self.0),
        }
    }
}

impl fmt::Debug for Midr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn cores_have_names() {
        for (midr, name) in [
            (0x410f_d083, "Cortex-A72 r0p3"),
            (0x411f_d070, "Cortex-A57 r1p0"),
            (0x410f_d034, "Cortex-A53 r0p4"),
            (0x000f_0510, "CPU with MIDR 0xf0510"),
            (0x430f_d034, "CPU with MIDR 0x430fd034"),
        ] {
            assert_eq!(Midr(midr).to_string(), name);
        }
        assert_eq!(Midr(0x410f_d083).core(), Some(Core::A72));
        assert_eq!(Midr(0x430f_d083).core(), None);
    }
}
