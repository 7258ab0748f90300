// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arm specifics (`xen/arch-arm.h`): vCPU register state and the guest's memory map.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// vCPUs with a slot in the shared info page.
pub const XEN_LEGACY_MAX_VCPUS: usize = 1;

/// [`VcpuGuestContext::flags`]: the vCPU runs.
pub const VGCF_ONLINE: u32 = 1 << 0;

/// The hardware's GIC version.
pub const XEN_DOMCTL_CONFIG_GIC_NATIVE: u8 = 0;
/// GICv2.
pub const XEN_DOMCTL_CONFIG_GIC_V2: u8 = 1;
/// GICv3.
pub const XEN_DOMCTL_CONFIG_GIC_V3: u8 = 2;
/// No trusted execution environment.
pub const XEN_DOMCTL_CONFIG_TEE_NONE: u16 = 0;
/// OP-TEE.
pub const XEN_DOMCTL_CONFIG_TEE_OPTEE: u16 = 1;
/// FF-A.
pub const XEN_DOMCTL_CONFIG_TEE_FFA: u16 = 2;

/// AArch32: Thumb state.
pub const PSR_THUMB: u64 = 1 << 5;
/// F: FIQ masked.
pub const PSR_FIQ_MASK: u64 = 1 << 6;
/// I: IRQ masked.
pub const PSR_IRQ_MASK: u64 = 1 << 7;
/// A: SError masked.
pub const PSR_ABT_MASK: u64 = 1 << 8;
/// AArch32 E: big-endian data.
pub const PSR_BIG_ENDIAN: u64 = 1 << 9;
/// AArch64 D: debug exceptions masked.
pub const PSR_DBG_MASK: u64 = 1 << 9;
/// Set in AArch32 modes.
pub const PSR_MODE_BIT: u64 = 0x10;
/// The mode field, M.
pub const PSR_MODE_MASK: u64 = 0x1f;
/// AArch64 EL0.
pub const PSR_MODE_EL0T: u64 = 0x00;
/// AArch64 EL1 with SP_EL0.
pub const PSR_MODE_EL1T: u64 = 0x04;
/// AArch64 EL1 with SP_EL1.
pub const PSR_MODE_EL1H: u64 = 0x05;
/// AArch64 EL2 with SP_EL0.
pub const PSR_MODE_EL2T: u64 = 0x08;
/// AArch64 EL2 with SP_EL2.
pub const PSR_MODE_EL2H: u64 = 0x09;
/// AArch64 EL3 with SP_EL0.
pub const PSR_MODE_EL3T: u64 = 0x0c;
/// AArch64 EL3 with SP_EL3.
pub const PSR_MODE_EL3H: u64 = 0x0d;
/// AArch32 User.
pub const PSR_MODE_USR: u64 = 0x10;
/// AArch32 FIQ.
pub const PSR_MODE_FIQ: u64 = 0x11;
/// AArch32 IRQ.
pub const PSR_MODE_IRQ: u64 = 0x12;
/// AArch32 Supervisor.
pub const PSR_MODE_SVC: u64 = 0x13;
/// AArch32 Monitor.
pub const PSR_MODE_MON: u64 = 0x16;
/// AArch32 Abort.
pub const PSR_MODE_ABT: u64 = 0x17;
/// AArch32 Hyp.
pub const PSR_MODE_HYP: u64 = 0x1a;
/// AArch32 Undefined.
pub const PSR_MODE_UND: u64 = 0x1b;
/// AArch32 System.
pub const PSR_MODE_SYS: u64 = 0x1f;
/// PSTATE of a starting 64-bit vCPU, 0x1c5.
pub const PSR_GUEST64_INIT: u64 = PSR_ABT_MASK | PSR_FIQ_MASK | PSR_IRQ_MASK | PSR_MODE_EL1H;
/// SCTLR_EL1 of a starting vCPU: MMU and caches off.
pub const SCTLR_GUEST_INIT: u64 = 0x00c5_0078;

/// Virtio-mmio window.
pub const GUEST_VIRTIO_MMIO_BASE: u64 = 0x0200_0000;
/// Size of it.
pub const GUEST_VIRTIO_MMIO_SIZE: u64 = 0x0010_0000;
/// GICv2 distributor.
pub const GUEST_GICD_BASE: u64 = 0x0300_1000;
/// Size of it.
pub const GUEST_GICD_SIZE: u64 = 0x0000_1000;
/// GICv2 CPU interface.
pub const GUEST_GICC_BASE: u64 = 0x0300_2000;
/// Size of it.
pub const GUEST_GICC_SIZE: u64 = 0x0000_2000;
/// GICv3 distributor.
pub const GUEST_GICV3_GICD_BASE: u64 = 0x0300_1000;
/// Size of it.
pub const GUEST_GICV3_GICD_SIZE: u64 = 0x0001_0000;
/// GICv3 redistributors, 128 KiB a vCPU.
pub const GUEST_GICV3_GICR0_BASE: u64 = 0x0302_0000;
/// Size of them.
pub const GUEST_GICV3_GICR0_SIZE: u64 = 0x0100_0000;
/// PCI configuration space.
pub const GUEST_VPCI_ECAM_BASE: u64 = 0x1000_0000;
/// Size of it.
pub const GUEST_VPCI_ECAM_SIZE: u64 = 0x1000_0000;
/// ACPI tables.
pub const GUEST_ACPI_BASE: u64 = 0x2000_0000;
/// Size of them.
pub const GUEST_ACPI_SIZE: u64 = 0x0200_0000;
/// Emulated SBSA UART.
pub const GUEST_PL011_BASE: u64 = 0x2200_0000;
/// Size of it.
pub const GUEST_PL011_SIZE: u64 = 0x0000_1000;
/// PCI memory window.
pub const GUEST_VPCI_MEM_ADDR: u64 = 0x2300_0000;
/// Size of it.
pub const GUEST_VPCI_MEM_SIZE: u64 = 0x1000_0000;
/// Space to map the grant table in.
pub const GUEST_GNTTAB_BASE: u64 = 0x3800_0000;
/// Size of it.
pub const GUEST_GNTTAB_SIZE: u64 = 0x0100_0000;
/// Magic pages: console, xenstore, memory access ring, virtual UART.
pub const GUEST_MAGIC_BASE: u64 = 0x3900_0000;
/// Space for them.
pub const GUEST_MAGIC_SIZE: u64 = 0x0100_0000;
/// First RAM bank.
pub const GUEST_RAM0_BASE: u64 = 0x4000_0000;
/// Most RAM in it.
pub const GUEST_RAM0_SIZE: u64 = 0xc000_0000;
/// PCI prefetchable memory window.
pub const GUEST_VPCI_PREFETCH_MEM_ADDR: u64 = 0x1_0000_0000;
/// Size of it.
pub const GUEST_VPCI_PREFETCH_MEM_SIZE: u64 = 0x1_0000_0000;
/// Second RAM bank.
pub const GUEST_RAM1_BASE: u64 = 0x2_0000_0000;
/// Most RAM in it.
pub const GUEST_RAM1_SIZE: u64 = 0xfe_0000_0000;
/// Number of RAM banks.
pub const GUEST_RAM_BANKS: usize = 2;
/// Bases of the RAM banks.
pub const GUEST_RAM_BANK_BASES: [u64; GUEST_RAM_BANKS] = [GUEST_RAM0_BASE, GUEST_RAM1_BASE];
/// Most RAM in each.
pub const GUEST_RAM_BANK_SIZES: [u64; GUEST_RAM_BANKS] = [GUEST_RAM0_SIZE, GUEST_RAM1_SIZE];
/// Most vCPUs of a domain.
pub const GUEST_MAX_VCPUS: u32 = 128;

/// Virtual timer interrupt.
pub const GUEST_TIMER_VIRT_PPI: u32 = 27;
/// Secure physical timer interrupt.
pub const GUEST_TIMER_PHYS_S_PPI: u32 = 29;
/// Non-secure physical timer interrupt.
pub const GUEST_TIMER_PHYS_NS_PPI: u32 = 30;
/// Event channel upcall interrupt.
pub const GUEST_EVTCHN_PPI: u32 = 31;
/// Emulated UART interrupt.
pub const GUEST_VPL011_SPI: u32 = 32;
/// First virtio-mmio interrupt.
pub const GUEST_VIRTIO_MMIO_SPI_FIRST: u32 = 33;
/// Last virtio-mmio interrupt.
pub const GUEST_VIRTIO_MMIO_SPI_LAST: u32 = 43;

/// PSCI 0.1 function number.
pub const PSCI_CPU_SUSPEND: u32 = 0;
/// PSCI 0.1 function number.
pub const PSCI_CPU_OFF: u32 = 1;
/// PSCI 0.1 function number.
pub const PSCI_CPU_ON: u32 = 2;
/// PSCI 0.1 function number.
pub const PSCI_MIGRATE: u32 = 3;

/// `struct vcpu_guest_core_regs`: general registers of a vCPU, AArch64 names.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct VcpuGuestCoreRegs {
    /// x0-x30.
    pub x: [u64; 31],
    /// Program counter.
    pub pc64: u64,
    /// PSTATE.
    pub cpsr: u64,
    /// SPSR_EL1.
    pub spsr_el1: u64,
    /// AArch32 only.
    pub spsr_fiq: u32,
    /// AArch32 only.
    pub spsr_irq: u32,
    /// AArch32 only.
    pub spsr_und: u32,
    /// AArch32 only.
    pub spsr_abt: u32,
    /// SP_EL0.
    pub sp_el0: u64,
    /// SP_EL1.
    pub sp_el1: u64,
    /// ELR_EL1.
    pub elr_el1: u64,
}

/// `struct vcpu_guest_context`: state of a vCPU as the toolstack sets and reads it (352 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct VcpuGuestContext {
    /// `VGCF_*`.
    pub flags: u32,
    /// Padding.
    pub _pad: u32,
    /// General registers.
    pub user_regs: VcpuGuestCoreRegs,
    /// SCTLR_EL1.
    pub sctlr: u64,
    /// TCR_EL1.
    pub ttbcr: u64,
    /// TTBR0_EL1.
    pub ttbr0: u64,
    /// TTBR1_EL1.
    pub ttbr1: u64,
}

/// `struct xen_arch_domainconfig`: Arm part of a domain's configuration.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ArchDomainConfig {
    /// In, out: `XEN_DOMCTL_CONFIG_GIC_*`.
    pub gic_version: u8,
    /// SVE vector length in units of 128 bits, 0 for none.
    pub sve_vl: u8,
    /// `XEN_DOMCTL_CONFIG_TEE_*`.
    pub tee_type: u16,
    /// Shared peripheral interrupts of the virtual GIC.
    pub nr_spis: u32,
    /// Out: timer frequency in Hz if the host's device tree gives one, else 0.
    pub clock_frequency: u32,
}
