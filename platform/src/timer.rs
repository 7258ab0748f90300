// SPDX-License-Identifier: MIT OR Apache-2.0

//! The EL2 physical timer (CNTHP) of the calling CPU and the system counter.
//!
//! Its interrupt is a level-sensitive PPI (26 by convention): it stays asserted until the deadline
//! is moved or the timer disabled.

use crate::barrier::isb;
use arm_sysregs::el0::accessors::{read_cntfrq_el0, read_cntpct_el0};
use arm_sysregs::el2::accessors::{write_cnthp_ctl_el2, write_cnthp_cval_el2};
use arm_sysregs::el2::registers::{CnthpCtlEl2, CnthpCvalEl2};

/// Frequency of the counter in Hz as firmware stored it in CNTFRQ_EL0; 0 if firmware forgot.
pub fn cntfrq() -> u64 {
    read_cntfrq_el0().bits() & 0xffff_ffff
}

/// The physical count now, in ticks. Not read ahead of earlier instructions.
#[inline]
pub fn now() -> u64 {
    isb();
    read_cntpct_el0().bits()
}

/// Raises the timer interrupt as soon as the count reaches `cval`.
#[inline]
pub fn set_deadline(cval: u64) {
    write_cnthp_cval_el2(CnthpCvalEl2::from_bits_retain(cval));
    write_cnthp_ctl_el2(CnthpCtlEl2::ENABLE);
    isb();
}

/// Stops the timer and so takes its interrupt away.
#[inline]
pub fn disable() {
    write_cnthp_ctl_el2(CnthpCtlEl2::empty());
    isb();
}

#[cfg(test)]
mod tests {
    use super::*;
    use arm_sysregs::el2::fake::SYSREGS;

    #[test]
    fn deadline_enables_unmasked() {
        set_deadline(1_234);
        assert_eq!(SYSREGS.lock().unwrap().cnthp_cval_el2.bits(), 1_234);
        assert_eq!(SYSREGS.lock().unwrap().cnthp_ctl_el2, CnthpCtlEl2::ENABLE);
        disable();
        assert!(SYSREGS.lock().unwrap().cnthp_ctl_el2.is_empty());
    }
}
