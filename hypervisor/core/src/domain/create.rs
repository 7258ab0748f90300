// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes a domain that is not the initial one, whoever wants it: a node of the boot loader's device
//! tree, or `XEN_DOMCTL_createdomain`. Its interrupt controller, VMID and tables are the same then.

use super::{Domain, DomainConfig, GicLayout, PPI_VIRT_TIMER, Role};
use crate::addr::{DomId, Gfn, Ipa, Mfn, PAGE_SHIFT, Pa};
use crate::hw::Hw;
use crate::p2m::{P2m, P2mType, PoolLimit, Stage2Geometry, VmidAllocator};
use crate::system::System;
use crate::vgic::{MAX_SPIS, MAX_VCPUS_V2, MAX_VCPUS_V3, Model, Vgic, VgicConfig};
use alloc::sync::Arc;
use xen_abi::arch_arm::{
    GUEST_EVTCHN_PPI, GUEST_GICC_BASE, GUEST_GICC_SIZE, GUEST_GICD_BASE, GUEST_GICD_SIZE,
    GUEST_GICV3_GICD_BASE, GUEST_GICV3_GICD_SIZE, GUEST_GICV3_GICR0_BASE, GUEST_MAX_VCPUS,
};
use xen_abi::errno::Errno;

/// Bytes of a redistributor's two frames.
pub const GICR_FRAMES: u64 = 128 << 10;
/// `GICD_TYPER.IDbits` + 1 of a domain without LPIs.
const ID_BITS: u32 = 10;

/// Xen's limit for domains that it makes at boot; it is what `xl` gives, too.
const MAX_EVTCHN_PORT: u32 = 1023;

/// What the machine has for guests.
pub struct GuestHardware {
    /// The form of stage-2 tables.
    pub geometry: Stage2Geometry,
    /// The VMIDs.
    pub vmids: VmidAllocator,
    /// The virtual interface of the GIC.
    pub gic: GuestGic,
}

/// The virtual interface of the GIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestGic {
    /// The GIC that guests have: the host's.
    pub model: Model,
    /// List registers.
    pub lr_count: u32,
    /// They can be trusted to deactivate physical interrupts.
    pub lrs_deactivate: bool,
    /// Implemented priority bits.
    pub priority_bits: u32,
    /// SPIs of the host.
    pub nr_spis: u32,
    /// GICV of a GICv2, which guests have as their GICC.
    pub gicv: Option<Pa>,
}

impl GuestGic {
    /// vCPUs a domain may have.
    pub const fn max_vcpus(&self) -> u32 {
        match self.model {
            Model::V2 => MAX_VCPUS_V2,
            Model::V3 if MAX_VCPUS_V3 < GUEST_MAX_VCPUS => MAX_VCPUS_V3,
            Model::V3 => GUEST_MAX_VCPUS,
        }
    }

    /// Where a domain of `nr_vcpus` has its interrupt controller (public/arch-arm.h).
    pub fn layout(&self, nr_vcpus: u32) -> GicLayout {
        let gicr = u64::from(nr_vcpus).saturating_mul(GICR_FRAMES);
        match self.model {
            Model::V2 => GicLayout {
                gicd: (Ipa(GUEST_GICD_BASE), GUEST_GICD_SIZE),
                gicr: alloc::vec![],
                gicc: Some((Ipa(GUEST_GICC_BASE), GUEST_GICC_SIZE)),
            },
            Model::V3 => GicLayout {
                gicd: (Ipa(GUEST_GICV3_GICD_BASE), GUEST_GICV3_GICD_SIZE),
                gicr: alloc::vec![(Ipa(GUEST_GICV3_GICR0_BASE), gicr)],
                gicc: None,
            },
        }
    }
}

/// What a domain is to be like.
#[derive(Clone, Debug)]
pub struct CreateConfig {
    /// vCPUs.
    pub nr_vcpus: u32,
    /// SPIs.
    pub nr_spis: u32,
    /// Highest event channel port.
    pub max_evtchn_port: u32,
    /// Frames of its grant table; no more than the command line's limit.
    pub max_grant_frames: u32,
    /// Frames that track what it has mapped of others; no more than the command line's limit.
    pub max_maptrack_frames: u32,
    /// Pages its stage-2 tables may take.
    pub tables: PoolLimit,
    /// Its UUID.
    pub handle: [u8; 16],
    /// For a domain whose RAM is where it is in the machine (and may be where others have their
    /// interrupt controller): where that is instead.
    pub direct_mapped: Option<GicLayout>,
}

impl CreateConfig {
    /// A domain of `nr_vcpus` with the command line's limits and no more SPIs than the host.
    pub fn new(sys: &System, nr_vcpus: u32) -> Self {
        Self {
            nr_vcpus,
            nr_spis: sys.guest_hw.gic.nr_spis,
            max_evtchn_port: MAX_EVTCHN_PORT,
            max_grant_frames: sys.options.gnttab_max_frames,
            max_maptrack_frames: sys.options.gnttab_max_maptrack_frames,
            tables: PoolLimit::Unlimited,
            handle: [0; 16],
            direct_mapped: None,
        }
    }
}

/// Makes domain `id`: paused, its vCPUs down, without memory, and not among `sys.domains` yet.
///
/// # Errors
/// `EINVAL` for numbers out of range, `ENOMEM` (also without a free VMID).
pub fn domu(sys: &'static System, id: DomId, config: &CreateConfig) -> Result<Arc<Domain>, Errno> {
    let (hw, gic): (&'static dyn Hw, _) = (sys.hw, &sys.guest_hw.gic);
    let counts_are_valid = (1..=gic.max_vcpus()).contains(&config.nr_vcpus)
        && config.nr_spis <= MAX_SPIS
        && config.max_grant_frames != 0;
    if !counts_are_valid {
        return Err(Errno::Inval);
    }
    // Much of what is made here is allocated without a way to fail.
    if !sys.frames.may_grow(id) {
        return Err(Errno::NoMem);
    }
    let gic_layout = match &config.direct_mapped {
        Some(layout) => layout.clone(),
        None => gic.layout(config.nr_vcpus),
    };
    let vgic = VgicConfig {
        model: gic.model,
        nr_vcpus: config.nr_vcpus,
        nr_spis: config.nr_spis,
        lr_count: gic.lr_count,
        lrs_deactivate: gic.lrs_deactivate,
        priority_bits: gic.priority_bits,
        id_bits: ID_BITS,
        redist_region_ends: region_ends(&gic_layout),
    };
    let vmid = sys.guest_hw.vmids.take().ok_or(Errno::NoMem)?;
    let geometry = sys.guest_hw.geometry;
    let p2m = P2m::new(sys.frames, hw, geometry, vmid.number(), config.tables)?;
    let domain = Domain::new(
        sys,
        DomainConfig {
            id,
            role: Role {
                direct_mapped: config.direct_mapped.is_some(),
                ..Role::default()
            },
            nr_vcpus: config.nr_vcpus,
            max_evtchn_port: config.max_evtchn_port,
            max_grant_frames: config.max_grant_frames.min(sys.options.gnttab_max_frames),
            max_maptrack_frames: config
                .max_maptrack_frames
                .min(sys.options.gnttab_max_maptrack_frames),
            p2m,
            vmid,
            vgic: Vgic::new(vgic, hw),
            gic_layout,
            cntvoff: hw.now(),
            event_ppi: GUEST_EVTCHN_PPI,
        },
    )?;
    *domain.handle.lock() = config.handle;
    domain.vgic.link_ppi(PPI_VIRT_TIMER, &*domain);
    Ok(domain)
}

/// The number of the first vCPU after each redistributor region but the last.
pub fn region_ends(layout: &GicLayout) -> alloc::vec::Vec<u32> {
    let (_, first) = layout.gicr.split_last().unwrap_or((&(Ipa(0), 0), &[]));
    let mut end = 0u32;
    let ends = first.iter().map(|&(_, size)| {
        let vcpus = size.checked_div(GICR_FRAMES).unwrap_or(0);
        end = end.saturating_add(vcpus as u32);
        end
    });
    ends.collect()
}

/// Gives a domain with a GICv2 the hardware's CPU interface. For one with a limit for its tables
/// that is when it first uses it: there are none when it is made.
///
/// # Errors
/// `ENOMEM` without the tables.
pub fn map_gicv(domain: &Domain) -> Result<(), Errno> {
    let gicv = domain.sys.guest_hw.gic.gicv;
    if let (Some(gicv), Some((gicc, _))) = (gicv, domain.gic_layout.gicc) {
        let nr = GUEST_GICC_SIZE >> PAGE_SHIFT;
        let (gfn, mfn): (Gfn, Mfn) = (gicc.frame(), gicv.frame());
        let replaced = domain.p2m.insert(gfn, mfn, nr, P2mType::MmioDevice)?;
        if replaced.ram != 0 {
            domain.xen_pages_unmapped(gfn, nr);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::PaRange;
    use crate::testing;

    const RAM: PaRange = PaRange {
        start: Pa(0x4000_0000),
        end: Pa(0x4080_0000),
    };

    #[test]
    fn a_domain_is_paused_and_has_what_it_asked_for() {
        let (_, sys) = testing::system(RAM, 2);
        let mut config = CreateConfig::new(sys, 3);
        config.handle = [7; 16];
        let domain = domu(sys, DomId(4), &config).unwrap();
        assert_eq!(domain.vcpus().len(), 3);
        assert!(domain.vcpus().iter().all(|vcpu| !vcpu.is_up()));
        assert_eq!(domain.event_ppi, 31);
        assert_eq!(*domain.handle.lock(), [7; 16]);
        assert_eq!(domain.role, Role::default());
        assert!(domain.is_emulated(Ipa(0x0300_1000)));
        assert!(domain.is_emulated(Ipa(0x0302_0000 + 3 * GICR_FRAMES - 4)));
        assert!(!domain.is_emulated(Ipa(0x0302_0000 + 3 * GICR_FRAMES)));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let (_, sys) = testing::system(RAM, 1);
        let with = |change: fn(&mut CreateConfig)| {
            let mut config = CreateConfig::new(sys, 1);
            change(&mut config);
            domu(sys, DomId(1), &config).err()
        };
        assert_eq!(with(|c| c.nr_vcpus = 0), Some(Errno::Inval));
        assert_eq!(with(|c| c.nr_vcpus = 129), Some(Errno::Inval));
        assert_eq!(with(|c| c.nr_spis = MAX_SPIS + 1), Some(Errno::Inval));
        assert_eq!(with(|c| c.max_grant_frames = 0), Some(Errno::Inval));
        assert_eq!(with(|_| ()), None);
    }

    /// Whoever asks: a device tree, too. A call that lists all frames is bounded by this.
    #[test]
    fn grant_tables_have_the_command_lines_limit() {
        let (_, sys) = testing::system(RAM, 1);
        for (wanted, given) in [(2, 2), (64, 64), (65, 64), (u32::MAX, 64)] {
            let mut config = CreateConfig::new(sys, 1);
            config.max_grant_frames = wanted;
            config.max_maptrack_frames = wanted;
            let domain = domu(sys, DomId(1), &config).unwrap();
            assert_eq!(domain.grants.size(), (1, given));
        }
    }

    /// As `shared_info` is at an address that a guest chose.
    #[test]
    fn the_gicv_takes_the_place_of_a_xen_page() {
        let mut hw = testing::guest_hw();
        hw.gic.model = Model::V2;
        hw.gic.gicv = Some(Pa(0x0804_0000));
        let (_, sys) = testing::system_of(RAM, 1, hw);
        let domain = domu(sys, DomId(1), &CreateConfig::new(sys, 1)).unwrap();
        let gicc = Ipa(GUEST_GICC_BASE).frame();
        domain.shared_info.map(&domain, gicc).unwrap();
        map_gicv(&domain).unwrap();
        assert_eq!(domain.p2m.lookup(gicc).unwrap().mfn, Mfn(0x8040));
        assert_eq!(domain.shared_info.gfn(), None);
        domain.shared_info.map(&domain, Gfn(0x40000)).unwrap();
    }

    #[test]
    fn what_it_took_comes_back() {
        let (_, sys) = testing::system(RAM, 1);
        let free = sys.frames.free_pages();
        let config = CreateConfig::new(sys, 2);
        // 8-bit VMIDs: each is used several times.
        for id in 1..600 {
            drop(domu(sys, DomId(id), &config).unwrap());
        }
        assert_eq!(sys.frames.free_pages(), free);
    }
}
