// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cache maintenance by set and way, which cannot be virtualised.
//!
//! A guest uses `DC ISW`, `DC CSW`, `DC CISW` to empty the caches around turning them on or off.
//! The first one cleans and invalidates all the guest maps, and arms HCR_EL2.TVM; the write of
//! SCTLR_EL1 that turns the caches on or off is then seen, and does it again.

/// What to do, and HCR_EL2.TVM from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Clean and invalidate all the domain maps, before the guest runs on.
    pub flush: bool,
    /// HCR_EL2.TVM of this vCPU.
    pub tvm: bool,
}

/// SCTLR_EL1.{C, M}.
const CACHED: u64 = 1 << 2 | 1;

/// A trapped operation by set and way, with TVM as it is now.
pub const fn on_set_way(tvm: bool) -> Outcome {
    Outcome {
        flush: !tvm,
        tvm: true,
    }
}

/// A trapped write of SCTLR_EL1 (written through by the caller). Writes of the other registers
/// TVM traps are only written through.
pub const fn on_sctlr_write(old: u64, new: u64) -> Outcome {
    let was = old & CACHED == CACHED;
    let is = new & CACHED == CACHED;
    Outcome {
        flush: was != is,
        // Caches on: no more operations by set and way to expect, and TVM is slow.
        tvm: !is,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_sequence() {
        // Caches off, three operations, caches on.
        let first = on_set_way(false);
        assert_eq!(
            first,
            Outcome {
                flush: true,
                tvm: true
            }
        );
        assert_eq!(
            on_set_way(first.tvm),
            Outcome {
                flush: false,
                tvm: true
            }
        );
        // An intermediate write that turns nothing on.
        assert_eq!(
            on_sctlr_write(0, 1),
            Outcome {
                flush: false,
                tvm: true
            }
        );
        assert_eq!(
            on_sctlr_write(1, 5),
            Outcome {
                flush: true,
                tvm: false
            }
        );
    }

    #[test]
    fn kexec_sequence() {
        // Caches on, operations, caches off, operations, caches on.
        assert!(on_set_way(false).flush);
        assert_eq!(
            on_sctlr_write(5, 0),
            Outcome {
                flush: true,
                tvm: true
            }
        );
        assert_eq!(
            on_set_way(true),
            Outcome {
                flush: false,
                tvm: true
            }
        );
        assert_eq!(
            on_sctlr_write(0, 0x1005),
            Outcome {
                flush: true,
                tvm: false
            }
        );
        // Unrelated bits change nothing but end the watch.
        assert_eq!(
            on_sctlr_write(5, 0x1005),
            Outcome {
                flush: false,
                tvm: false
            }
        );
    }
}
