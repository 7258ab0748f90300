// SPDX-License-Identifier: MIT OR Apache-2.0
//! The generic timer as a guest sees it: an emulated physical timer, and when a virtual timer
//! that is not loaded would fire.

use super::sign_extend;

/// CNTx_CTL.ENABLE.
pub const ENABLE: u64 = 1;
/// CNTx_CTL.IMASK.
pub const IMASK: u64 = 1 << 1;
/// CNTx_CTL.ISTATUS, read only.
pub const ISTATUS: u64 = 1 << 2;

/// A register of the EL1 physical timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimerReg {
    /// CNTP_CTL_EL0.
    CntpCtl,
    /// CNTP_TVAL_EL0.
    CntpTval,
    /// CNTP_CVAL_EL0.
    CntpCval,
}

/// The emulated EL1 physical timer of one vCPU. All times are ticks of CNTPCT_EL0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PhysTimer {
    /// ENABLE and IMASK.
    ctl: u64,
    cval: u64,
}

impl PhysTimer {
    /// A guest's read.
    pub const fn read(&self, reg: TimerReg, now: u64) -> u64 {
        match reg {
            TimerReg::CntpCtl if self.met(now) => self.ctl | ISTATUS,
            TimerReg::CntpCtl => self.ctl,
            TimerReg::CntpTval => self.cval.wrapping_sub(now) as u32 as u64,
            TimerReg::CntpCval => self.cval,
        }
    }

    /// A guest's write. [`Self::line`] and [`Self::deadline`] may change.
    pub const fn write(&mut self, reg: TimerReg, value: u64, now: u64) {
        match reg {
            TimerReg::CntpCtl => self.ctl = value & (ENABLE | IMASK),
            TimerReg::CntpTval => self.cval = now.wrapping_add(sign_extend(value, 32) as u64),
            TimerReg::CntpCval => self.cval = value,
        }
    }

    /// The level of the interrupt line.
    pub const fn line(&self, now: u64) -> bool {
        self.met(now) && self.ctl & IMASK == 0
    }

    /// When the line will rise (or rose), if it can.
    pub const fn deadline(&self) -> Option<u64> {
        deadline(self.ctl, self.cval, 0)
    }

    const fn met(&self, now: u64) -> bool {
        self.ctl & ENABLE != 0 && now >= self.cval
    }
}

/// The line of a timer whose control register reads so.
pub const fn is_high(ctl: u64) -> bool {
    ctl & (ENABLE | IMASK | ISTATUS) == ENABLE | ISTATUS
}

/// When a timer with these saved registers raises its line, in ticks of CNTPCT_EL0; `offset` is
/// CNTVOFF_EL2. `None` if it is off, masked, or beyond the counter's range.
pub const fn deadline(ctl: u64, cval: u64, offset: u64) -> Option<u64> {
    if ctl & (ENABLE | IMASK) != ENABLE {
        return None;
    }
    cval.checked_add(offset)
}

#[cfg(test)]
mod tests {
    use super::TimerReg::{CntpCtl, CntpCval, CntpTval};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_down_and_fires() {
        let mut t = PhysTimer::default();
        assert_eq!((t.deadline(), t.line(0)), (None, false));
        t.write(CntpTval, 100, 1000);
        assert_eq!(t.read(CntpCval, 1000), 1100);
        t.write(CntpCtl, ENABLE, 1000);
        assert_eq!(t.deadline(), Some(1100));
        assert_eq!(t.read(CntpTval, 1050), 50);
        assert!(!t.line(1099));
        assert_eq!(t.read(CntpCtl, 1099), ENABLE);
        assert!(t.line(1100));
        assert_eq!(t.read(CntpCtl, 1100), ENABLE | ISTATUS);
        assert_eq!(t.read(CntpTval, 1101), 0xffff_ffff);
    }

    #[test]
    fn what_the_line_is() {
        assert!(is_high(ENABLE | ISTATUS));
        for low in [0, ENABLE, ISTATUS, ENABLE | IMASK | ISTATUS] {
            assert!(!is_high(low), "{low}");
        }
    }

    #[test]
    fn mask_hides_the_line_not_the_status() {
        let mut t = PhysTimer::default();
        t.write(CntpCval, 5, 0);
        t.write(CntpCtl, ENABLE | IMASK | ISTATUS | 0xf0, 0);
        assert_eq!(t.read(CntpCtl, 9), 7);
        assert_eq!((t.deadline(), t.line(9)), (None, false));
        t.write(CntpCtl, 0, 9);
        assert_eq!(t.read(CntpCtl, 9), 0);
    }

    #[test]
    fn tval_is_signed() {
        let mut t = PhysTimer::default();
        t.write(CntpTval, 0xffff_ffff, 10);
        assert_eq!(t.read(CntpCval, 10), 9);
        t.write(CntpTval, 0xffff_ffff, 0);
        assert_eq!(t.read(CntpCval, 0), u64::MAX);
    }

    #[test]
    fn virtual_deadline() {
        assert_eq!(deadline(ENABLE, 100, 1000), Some(1100));
        assert_eq!(deadline(ENABLE | ISTATUS, 100, 1000), Some(1100));
        assert_eq!(deadline(ENABLE | IMASK, 100, 1000), None);
        assert_eq!(deadline(IMASK, 100, 1000), None);
        assert_eq!(deadline(ENABLE, u64::MAX, 1), None);
    }

    proptest! {
        #[test]
        fn line_and_deadline_agree(ctl: u64, cval: u64, tval: u64, now: u64, later: u64) {
            let mut t = PhysTimer::default();
            t.write(CntpCval, cval, now);
            t.write(CntpCtl, ctl, now);
            prop_assert_eq!(t.line(later), t.deadline().is_some_and(|d| d <= later));
            t.write(CntpTval, tval, now);
            prop_assert_eq!(t.read(CntpTval, now), tval & 0xffff_ffff);
        }
    }
}
