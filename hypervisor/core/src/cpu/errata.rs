// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errata of cores that a hypervisor must know of: number, cores, what is done and where.
//!
//! Which apply is found out by MIDR when a CPU starts. Their conditions in full are in Arm's Software
//! Developers Errata Notices of Cortex-A53, Cortex-A57 and Cortex-A72. What
//! firmware works around before it starts us, and what concerns a guest's own code alone, is not
//! here.

use super::midr::{Core, Midr, Revision};
use bitflags::bitflags;
use core::fmt;

bitflags! {
    /// What is done on a CPU, beyond what is done on all.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Workarounds: u32 {
        /// `DC CVAC` is replaced by `DC CIVAC`.
        const CLEAN_INVALIDATES = 1 << 0;
        /// Loads from devices acquire.
        const DEVICE_LOADS_ACQUIRE = 1 << 1;
        /// A stage-2 translation fault may hide a stage-1 fault: HPFAR_EL2 is not to be believed.
        const STAGE2_FAULT_DOUBTED = 1 << 2;
        /// No stage-1 translation of the guest's while VTTBR_EL2 is another domain's.
        const NO_OUT_OF_CONTEXT_AT = 1 << 3;
    }
}

/// What is done about an erratum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Remedy {
    /// How the image is compiled and linked, for all CPUs.
    Image,
    /// Something on the CPUs that have it.
    Switched(Workarounds),
    /// What would cause it is never done.
    Avoided,
}

/// An erratum of all revisions of a core up to `last`.
#[derive(Debug)]
struct Erratum {
    number: u32,
    core: Core,
    last: Revision,
    remedy: Remedy,
}

const fn e(number: u32, core: Core, last: Revision, remedy: Remedy) -> Erratum {
    Erratum {
        number,
        core,
        last,
        remedy,
    }
}

/// No revision without it.
const ALL: Revision = Revision(15, 15);

const CLEAN: Remedy = Remedy::Switched(Workarounds::CLEAN_INVALIDATES);
const AT: Remedy = Remedy::Switched(Workarounds::NO_OUT_OF_CONTEXT_AT);

/// The table; docs/errata.md says the same in words.
const TABLE: &[Erratum] = &[
    // ADRP at the end of a page: the linker puts something else there (build.rs).
    e(843_419, Core::A53, Revision(0, 4), Remedy::Image),
    // A 64-bit multiply-accumulate after a load or store: the compiler puts a NOP between
    // (.cargo/config.toml).
    e(835_769, Core::A53, Revision(0, 4), Remedy::Image),
    // A clean of the data cache may corrupt data: Hw::cache.
    e(819_472, Core::A53, Revision(0, 1), CLEAN),
    e(824_069, Core::A53, Revision(0, 2), CLEAN),
    e(827_319, Core::A53, Revision(0, 2), CLEAN),
    // Exclusives beside loads from devices may deadlock: the drivers' loads acquire
    // (platform/src/mmio.rs). A guest that does not do the same can still stop its CPU.
    e(
        832_075,
        Core::A57,
        Revision(1, 2),
        Remedy::Switched(Workarounds::DEVICE_LOADS_ACQUIRE),
    ),
    // A stage-2 translation fault is reported though stage 1 has a fault: exit.rs translates again.
    e(
        834_220,
        Core::A57,
        Revision(1, 2),
        Remedy::Switched(Workarounds::STAGE2_FAULT_DOUBTED),
    ),
    // The order in which AArch32 state of EL1 is restored: there is none, EL1 is AArch64.
    e(852_523, Core::A57, ALL, Remedy::Avoided),
    // AT by speculation while a guest's registers are switched: run.rs loads them while nothing is
    // mapped at stage 2; Hw::flush_stage2 lets stage 1 translate nothing for as long as it looks at
    // another domain's tables.
    e(1_319_537, Core::A57, ALL, AT),
    e(1_319_367, Core::A72, ALL, AT),
];

impl Erratum {
    fn affects(&self, midr: Midr) -> bool {
        midr.core() == Some(self.core) && midr.revision() <= self.last
    }
}

/// What is done on a CPU with this MIDR.
pub fn workarounds(midr: Midr) -> Workarounds {
    let affecting = TABLE.iter().filter(|erratum| erratum.affects(midr));
    affecting.fold(Workarounds::empty(), |all, erratum| match erratum.remedy {
        Remedy::Switched(workarounds) => all | workarounds,
        Remedy::Image | Remedy::Avoided => all,
    })
}

/// The errata of a CPU with this MIDR, for the log: `errata 832075, 834220`, or nothing.
pub struct Summary(pub Midr);

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let affecting = TABLE.iter().filter(|erratum| erratum.affects(self.0));
        for (n, erratum) in affecting.enumerate() {
            f.write_str(if n == 0 { ", errata " } else { ", " })?;
            write!(f, "{}", erratum.number)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn midr(part: u32, variant: u32, revision: u32) -> Midr {
        Midr(0x410f_0000 | variant << 20 | part << 4 | revision)
    }

    #[test]
    fn revisions_that_were_repaired_are_left_alone() {
        let clean = |revision| {
            workarounds(midr(0xd03, 0, revision)).contains(Workarounds::CLEAN_INVALIDATES)
        };
        assert_eq!([0, 1, 2, 3, 4].map(clean), [true, true, true, false, false]);
        let a57 = |variant, revision| workarounds(midr(0xd07, variant, revision));
        let early = Workarounds::DEVICE_LOADS_ACQUIRE
            | Workarounds::STAGE2_FAULT_DOUBTED
            | Workarounds::NO_OUT_OF_CONTEXT_AT;
        assert_eq!(a57(0, 0), early);
        assert_eq!(a57(1, 2), early);
        assert_eq!(a57(1, 3), Workarounds::NO_OUT_OF_CONTEXT_AT);
        assert_eq!(
            workarounds(midr(0xd08, 1, 0)),
            Workarounds::NO_OUT_OF_CONTEXT_AT
        );
    }

    #[test]
    fn other_cores_have_none() {
        for other in [midr(0xd0c, 0, 0), Midr(0x430f_d030), Midr(0), Midr(!0)] {
            assert_eq!(workarounds(other), Workarounds::empty());
            assert_eq!(Summary(other).to_string(), "");
        }
    }

    #[test]
    fn the_log_names_them() {
        let said = |midr| Summary(midr).to_string();
        assert_eq!(said(midr(0xd03, 0, 4)), ", errata 843419, 835769");
        assert_eq!(
            said(midr(0xd03, 0, 0)),
            ", errata 843419, 835769, 819472, 824069, 827319"
        );
        assert_eq!(
            said(midr(0xd07, 1, 0)),
            ", errata 832075, 834220, 852523, 1319537"
        );
        assert_eq!(said(midr(0xd08, 0, 3)), ", errata 1319367");
    }
}
