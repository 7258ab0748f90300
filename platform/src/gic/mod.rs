// SPDX-License-Identifier: MIT OR Apache-2.0

//! Interrupt controller: Arm GICv2 (IHI 0048) and GICv3/v4 (IHI 0069), physical side and the virtual
//! CPU interface of the calling CPU.
//!
//! The `arm-gic` crate is not used: it has no virtual interface, no GICv2 targets, no split of
//! priority drop and deactivation, no pending/active control and one redistributor region only.
//!
//! Ownership: all physical interrupts are one group, taken to EL2. An interrupt goes through
//! [`Gic::acknowledge`], [`Gic::drop_priority`] and, by us or by the guest through a list register
//! with the HW bit (if [`Gic::lrs_deactivate`]), deactivation.
//!
//! Concurrency: any CPU may call any method at any time. Registers of the calling CPU need no lock,
//! set/clear registers act on the bits written as one, byte fields are written as bytes; only trigger
//! configuration is read-modify-write and takes a private leaf lock. INTIDs the controller does not
//! have are ignored; their state reads as false.

mod cpu_table;
mod distributor;
mod encoding;
mod ich;
mod v2;
mod v3;

pub use encoding::affinity;
pub use v2::{GicV2, GicV2Regions};
pub use v3::{GicV3, GicV3Regions, RedistributorRegion};

use self::distributor::{Frame, ICACTIVER, ICENABLER, ICPENDR, ISACTIVER, ISENABLER, ISPENDR};
use arm_sysregs::el1::accessors::read_isr_el1;
use arm_sysregs::el1::registers::IsrEl1;
use core::fmt;

/// Priority interrupts have until [`Gic::set_priority`].
pub const DEFAULT_PRIORITY: u8 = 0xa0;

/// Why a GIC cannot be used. Addresses are physical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GicError {
    /// The peripheral identification of the distributor is not of the expected version.
    NotThisVersion {
        /// Version looked for.
        expected: u32,
        /// Base of the distributor.
        gicd: usize,
        /// What its ICPIDR2/GICD_PIDR2 reads.
        pidr2: u32,
    },
    /// GICv2: the CPU interface region has no room for GICC_DIR at 0x1000.
    CpuInterfaceTooSmall {
        /// Size of the region in bytes.
        size: usize,
    },
    /// GICv3: this CPU has no system register interface, or firmware keeps it from EL2.
    NoSystemRegisters,
    /// The distributor or redistributor at this address did not complete a write.
    WritePending(usize),
    /// GICv3: no redistributor has the affinity of this CPU.
    NoRedistributor(u64),
    /// GICv3: the redistributor at this address did not wake up.
    RedistributorAsleep(usize),
    /// GICv2: GICD_ITARGETSR0-7 do not tell this CPU's interface number.
    NoCpuInterface(u64),
    /// More CPUs than the driver has room for.
    TooManyCpus,
}

impl fmt::Display for GicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotThisVersion {
                expected,
                gicd,
                pidr2,
            } => write!(
                f,
                "no GICv{expected} distributor at {gicd:#x} (PIDR2 is {pidr2:#x})"
            ),
            Self::CpuInterfaceTooSmall { size } => write!(
                f,
                "GICC region of {size:#x} bytes has no GICC_DIR (0x2000 are needed)"
            ),
            Self::NoSystemRegisters => {
                f.write_str("the GIC system registers are not available at EL2")
            }
            Self::WritePending(base) => {
                write!(f, "the GIC registers at {base:#x} do not complete a write")
            }
            Self::NoRedistributor(mpidr) => {
                write!(f, "no GIC redistributor for the CPU with MPIDR {mpidr:#x}")
            }
            Self::RedistributorAsleep(base) => {
                write!(f, "the GIC redistributor at {base:#x} does not wake up")
            }
            Self::NoCpuInterface(mpidr) => write!(
                f,
                "no GIC CPU interface number for the CPU with MPIDR {mpidr:#x}"
            ),
            Self::TooManyCpus => f.write_str("too many CPUs for the GIC driver"),
        }
    }
}

impl core::error::Error for GicError {}

/// An acknowledged interrupt.
#[must_use = "an acknowledged interrupt keeps its priority active until dropped"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// What the interrupt acknowledge register read. GICv2 holds the source CPU of an SGI in bits
    /// 12:10 and wants the same value back.
    raw: u32,
    intid: u32,
}

impl Ack {
    /// The interrupt; 8192 and above is an LPI.
    pub fn intid(&self) -> u32 {
        self.intid
    }
}

/// State of the virtual CPU interface that belongs to a vCPU, list registers and HCR excepted.
/// The default is what a vCPU has after reset, on either version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtualState {
    /// GICH_VMCR or ICH_VMCR_EL2: the guest's view of its CPU interface control registers.
    pub vmcr: u64,
    /// Active priorities by group and register. GICv2 has one register for both groups: `[0][0]`.
    pub apr: [[u32; 4]; 2],
}

/// The interrupt controller of the machine.
pub enum Gic {
    /// GICv2 with memory-mapped CPU and virtual interfaces.
    V2(GicV2),
    /// GICv3 or GICv4 with system registers.
    V3(GicV3),
}

/// Calls the same method of whichever driver it is.
macro_rules! each {
    ($self:expr, $gic:ident => $call:expr) => {
        match $self {
            Gic::V2($gic) => $call,
            Gic::V3($gic) => $call,
        }
    };
}

impl Gic {
    /// Checks for a GICv2 and takes it. Changes nothing yet.
    ///
    /// # Safety
    ///
    /// The regions must be those of the machine's GIC, mapped as device memory for ever (GICV
    /// excepted), and no other driver may use them.
    pub unsafe fn new_v2(regions: &GicV2Regions) -> Result<Self, GicError> {
        // SAFETY: the caller promises what `GicV2::new` asks.
        unsafe { GicV2::new(regions) }.map(Self::V2)
    }

    /// Checks for a GICv3 or GICv4 and takes it. Changes nothing yet.
    ///
    /// # Safety
    ///
    /// As for [`Gic::new_v2`].
    pub unsafe fn new_v3(regions: GicV3Regions) -> Result<Self, GicError> {
        // SAFETY: the caller promises what `GicV3::new` asks.
        unsafe { GicV3::new(regions) }.map(Self::V3)
    }

    /// Number of INTIDs, private ones included: SPIs are 32 up to this.
    pub fn lines(&self) -> u32 {
        each!(self, gic => gic.distributor().lines)
    }

    /// Bits of an INTID (GICD_TYPER.IDbits); 10 on a GICv2.
    pub fn id_bits(&self) -> u32 {
        each!(self, gic => gic.distributor().id_bits)
    }

    /// Makes all SPIs disabled, inactive, not pending, level-sensitive, of default priority and
    /// routed to the calling CPU, then enables forwarding. Once, on the boot CPU, before any
    /// [`Gic::init_cpu`].
    pub fn init_distributor(&self) -> Result<(), GicError> {
        each!(self, gic => gic.init_distributor())
    }

    /// Makes the calling CPU, whose MPIDR_EL1 is `mpidr`, ready to take interrupts: SGIs and PPIs
    /// disabled and inactive, priority mask open, EOI only drops the priority, virtual interface off
    /// and empty. Again after each power-up.
    pub fn init_cpu(&self, mpidr: u64) -> Result<(), GicError> {
        each!(self, gic => gic.init_cpu(mpidr))
    }

    /// Stops interrupts to the calling CPU, also as wake-up events, before it is powered off.
    pub fn disable_cpu(&self) {
        each!(self, gic => gic.disable_cpu());
    }

    /// Takes the pending interrupt of highest priority, `None` if there is none.
    ///
    /// The interrupt is active, and equal or lower priorities are held off, until
    /// [`Gic::drop_priority`].
    pub fn acknowledge(&self) -> Option<Ack> {
        let ack = each!(self, gic => gic.acknowledge());
        (!(1020..=1023).contains(&ack.intid)).then_some(ack)
    }

    /// Lets further interrupts in; `ack` stays active.
    pub fn drop_priority(&self, ack: &Ack) {
        each!(self, gic => gic.drop_priority(ack));
    }

    /// Deactivates an acknowledged interrupt, on the CPU that acknowledged it if it is private.
    pub fn deactivate_ack(&self, ack: &Ack) {
        each!(self, gic => gic.deactivate(ack.raw));
    }

    /// Deactivates an SPI, or a PPI of the calling CPU, after its priority was dropped.
    pub fn deactivate(&self, intid: u32) {
        each!(self, gic => gic.deactivate(intid));
    }

    /// Sends SGI `sgi` (0-15) to the CPU with affinity `target_mpidr`, which must have run
    /// [`Gic::init_cpu`]. It sees all stores made before.
    pub fn send_sgi(&self, sgi: u32, target_mpidr: u64) {
        crate::barrier::dsb_ishst();
        each!(self, gic => gic.send_sgi(sgi, target_mpidr));
    }

    /// The registers with the state of `intid` (below 32: of the calling CPU).
    fn frame(&self, intid: u32) -> Option<Frame> {
        each!(self, gic => gic.frame(intid))
    }

    fn strike(&self, register: usize, intid: u32) {
        if let Some(frame) = self.frame(intid) {
            frame.strike(register, intid);
        }
    }

    fn test(&self, register: usize, intid: u32) -> bool {
        self.frame(intid)
            .is_some_and(|frame| frame.test(register, intid))
    }

    /// Lets `intid` be forwarded. SGIs and PPIs: of the calling CPU, here and below.
    pub fn enable(&self, intid: u32) {
        self.strike(ISENABLER, intid);
    }

    /// Stops forwarding `intid`. When this returns, it will not be newly taken by a CPU.
    pub fn disable(&self, intid: u32) {
        self.strike(ICENABLER, intid);
        each!(self, gic => gic.settle(intid));
    }

    /// Whether `intid` is enabled.
    pub fn is_enabled(&self, intid: u32) -> bool {
        self.test(ISENABLER, intid)
    }

    /// Sets whether `intid` is edge-triggered or level-sensitive. It must be disabled; SGIs and, in
    /// many implementations, PPIs do not change.
    pub fn set_edge(&self, intid: u32, edge: bool) {
        if let Some(frame) = self.frame(intid) {
            each!(self, gic => gic.distributor().set_edge(&frame, intid, edge));
        }
    }

    /// Sets the priority of `intid`; lower values are more urgent, low bits may not be implemented.
    pub fn set_priority(&self, intid: u32, priority: u8) {
        if let Some(frame) = self.frame(intid) {
            frame.set_priority(intid, priority);
        }
    }

    /// Sends SPI `intid` to the CPU with affinity `mpidr`, which must have run [`Gic::init_cpu`].
    pub fn route(&self, intid: u32, mpidr: u64) {
        if (32..self.lines()).contains(&intid) {
            each!(self, gic => gic.route(intid, mpidr));
        }
    }

    /// Makes `intid` active (it is not taken again until deactivated) or inactive.
    pub fn set_active(&self, intid: u32, active: bool) {
        self.strike(if active { ISACTIVER } else { ICACTIVER }, intid);
    }

    /// Makes `intid` pending or not. SGIs: use [`Gic::send_sgi`], which works on GICv2 too.
    pub fn set_pending(&self, intid: u32, pending: bool) {
        self.strike(if pending { ISPENDR } else { ICPENDR }, intid);
    }

    /// Whether `intid` is pending, by its latch or its input line.
    pub fn is_pending(&self, intid: u32) -> bool {
        self.test(ISPENDR, intid)
    }

    /// Whether a list register that is linked to a physical interrupt (`ICH_LR.HW`) can be trusted to
    /// deactivate it.
    pub fn lrs_deactivate(&self) -> bool {
        match self {
            Self::V2(gic) => gic.lrs_deactivate(),
            Self::V3(_) => true,
        }
    }

    /// Whether a physical IRQ is signalled to the calling CPU.
    #[inline]
    pub fn has_pending(&self) -> bool {
        read_isr_el1().contains(IsrEl1::I)
    }
}

/// The virtual CPU interface of the calling CPU.
///
/// List registers have the layout of `ICH_LR<n>_EL2` on both versions: vINTID 31:0, pINTID 44:32 (of an
/// interrupt with HW), EOI 41 (without HW), priority 55:48, group 60, HW 61, state 63:62. On GICv2
/// vINTID and pINTID have 10 bits, the priority its upper 5, and a software SGI (vINTID below 16, no
/// HW) carries its source CPU in bits 44:42, GICH_LR.CPUID; GICv3 ignores those.
impl Gic {
    /// Number of list registers: at most 16 on GICv3, 64 on GICv2.
    #[inline]
    pub fn nr_lrs(&self) -> usize {
        each!(self, gic => gic.nr_lrs())
    }

    /// Reads list register `n`; 0 if there is none such.
    #[inline]
    pub fn read_lr(&self, n: usize) -> u64 {
        each!(self, gic => gic.read_lr(n))
    }

    /// Writes list register `n`; nothing happens if there is none such.
    #[inline(always)]
    pub fn write_lr(&self, n: usize, lr: u64) {
        each!(self, gic => gic.write_lr(n, lr));
    }

    /// Bit `n`: list register `n` is free (its state is invalid and it does not wait for EOI
    /// maintenance). Bits without a register are 0.
    #[inline]
    pub fn elrsr(&self) -> u64 {
        each!(self, gic => gic.elrsr())
    }

    /// Bit `n`: list register `n` wants maintenance because its interrupt, written with EOI, ended.
    #[inline]
    pub fn eisr(&self) -> u64 {
        each!(self, gic => gic.eisr())
    }

    /// Causes of the maintenance interrupt. The same on both versions: EOI 0, U 1, LRENP 2, NP 3,
    /// VGrp0E 4, VGrp0D 5, VGrp1E 6, VGrp1D 7.
    #[inline]
    pub fn misr(&self) -> u32 {
        each!(self, gic => gic.misr())
    }

    /// GICH_HCR or ICH_HCR_EL2. The same on both versions: En 0, UIE 1, LRENPIE 2, NPIE 3,
    /// VGrp0EIE 4, VGrp0DIE 5, VGrp1EIE 6, VGrp1DIE 7, EOIcount 31:27. GICv3 alone traps guest
    /// accesses by TC 10, TALL0 11, TALL1 12, TSEI 13, TDIR 14.
    #[inline]
    pub fn read_hcr(&self) -> u32 {
        each!(self, gic => gic.read_hcr())
    }

    /// Writes what [`Gic::read_hcr`] reads.
    #[inline]
    pub fn write_hcr(&self, hcr: u32) {
        each!(self, gic => gic.write_hcr(hcr));
    }

    /// GICH_VMCR or ICH_VMCR_EL2, for one version only.
    #[inline]
    pub fn read_vmcr(&self) -> u64 {
        each!(self, gic => gic.read_vmcr())
    }

    /// Writes what [`Gic::read_vmcr`] reads.
    #[inline]
    pub fn write_vmcr(&self, vmcr: u64) {
        each!(self, gic => gic.write_vmcr(vmcr));
    }

    /// Stores the vCPU's state apart from list registers and HCR.
    pub fn save_virtual(&self, state: &mut VirtualState) {
        each!(self, gic => gic.save_virtual(state));
    }

    /// Loads the vCPU's state apart from list registers and HCR. On GICv3 after
    /// [`Gic::set_guest_sre`].
    pub fn restore_virtual(&self, state: &VirtualState) {
        each!(self, gic => gic.restore_virtual(state));
    }

    /// Whether the guest about to run on the calling CPU has the system register interface (a guest
    /// with GICv3) or none. Without it, ICC_SRE_EL1 traps. Nothing on GICv2.
    pub fn set_guest_sre(&self, sre: bool) {
        if let Self::V3(gic) = self {
            gic.set_guest_sre(sre);
        }
    }
}
