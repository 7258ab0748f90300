// SPDX-License-Identifier: MIT OR Apache-2.0
//! A list register: `ICH_LR<n>_EL2` (Arm IHI 0069), encoded and decoded.
//!
//! For a GICv2 SGI the source CPU is kept in bits 44:42, which a `GICH_LR` has at 12:10.

const EOI: u64 = 1 << 41;
const SOURCE_SHIFT: u32 = 42;
const PINTID_SHIFT: u32 = 32;
const PRIORITY_SHIFT: u32 = 48;
const GROUP1: u64 = 1 << 60;
const HW: u64 = 1 << 61;
const STATE_SHIFT: u32 = 62;

/// The state field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LrState {
    /// Shows nothing.
    Invalid,
    /// Pending.
    Pending,
    /// Active.
    Active,
    /// Active, and pending again.
    PendingActive,
}

impl LrState {
    /// From its two bits.
    pub const fn new(pending: bool, active: bool) -> Self {
        match (pending, active) {
            (false, false) => Self::Invalid,
            (true, false) => Self::Pending,
            (false, true) => Self::Active,
            (true, true) => Self::PendingActive,
        }
    }
    /// The pending bit.
    pub const fn pending(self) -> bool {
        matches!(self, Self::Pending | Self::PendingActive)
    }
    /// The active bit.
    pub const fn active(self) -> bool {
        matches!(self, Self::Active | Self::PendingActive)
    }
}

/// The value of a list register.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lr(pub u64);

impl Lr {
    /// Shows nothing.
    pub const EMPTY: Self = Self(0);

    /// A software interrupt: `priority` 8 bits.
    pub const fn new(vintid: u32, state: LrState, priority: u32, group1: bool) -> Self {
        Self(
            vintid as u64
                | ((priority & 0xff) as u64) << PRIORITY_SHIFT
                | if group1 { GROUP1 } else { 0 }
                | (state.pending() as u64) << STATE_SHIFT
                | (state.active() as u64) << (STATE_SHIFT + 1),
        )
    }
    /// Its deactivation deactivates the physical interrupt `pintid` as well.
    pub const fn with_hw(self, pintid: u32) -> Self {
        Self(self.0 | HW | ((pintid & 0x1fff) as u64) << PINTID_SHIFT)
    }
    /// The GICv2 source CPU of an SGI.
    pub const fn with_source(self, cpu: u32) -> Self {
        Self(self.0 | ((cpu & 7) as u64) << SOURCE_SHIFT)
    }
    /// Its deactivation raises a maintenance interrupt.
    pub const fn with_eoi(self, on: bool) -> Self {
        Self(if on { self.0 | EOI } else { self.0 })
    }
    /// The INTID the guest sees.
    pub const fn vintid(self) -> u32 {
        self.0 as u32
    }
    /// The state.
    pub const fn state(self) -> LrState {
        LrState::new(
            self.0 >> STATE_SHIFT & 1 != 0,
            self.0 >> (STATE_SHIFT + 1) & 1 != 0,
        )
    }
    /// The priority.
    pub const fn priority(self) -> u32 {
        (self.0 >> PRIORITY_SHIFT) as u32 & 0xff
    }
    /// The physical INTID that is deactivated with it.
    pub const fn hw(self) -> Option<u32> {
        if self.0 & HW == 0 {
            return None;
        }
        Some((self.0 >> PINTID_SHIFT) as u32 & 0x1fff)
    }
    /// The GICv2 source CPU.
    pub const fn source(self) -> u32 {
        (self.0 >> SOURCE_SHIFT) as u32 & 7
    }
    /// True if its deactivation raises a maintenance interrupt.
    pub const fn eoi(self) -> bool {
        self.0 & (EOI | HW) == EOI
    }
    /// False if the hardware does nothing with it.
    pub const fn is_live(self) -> bool {
        self.0 >> STATE_SHIFT != 0 || self.eoi()
    }
    /// The same, in another state.
    pub const fn with_state(self, state: LrState) -> Self {
        let rest = self.0 & !(3 << STATE_SHIFT);
        Self(rest | Self::new(0, state, 0, false).0)
    }
}
