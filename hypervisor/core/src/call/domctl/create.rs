// SPDX-License-Identifier: MIT OR Apache-2.0
//! `XEN_DOMCTL_createdomain`: a domain without memory, that appears without vCPUs, and is paused.

use crate::addr::DomId;
use crate::current::Current;
use crate::domain::create::{CreateConfig, domu};
use crate::p2m::PoolLimit;
use crate::system::System;
use crate::vgic::Model;
use core::sync::atomic::Ordering;
use xen_abi::arch_arm::{
    ArchDomainConfig, XEN_DOMCTL_CONFIG_GIC_NATIVE, XEN_DOMCTL_CONFIG_GIC_V2,
    XEN_DOMCTL_CONFIG_GIC_V3, XEN_DOMCTL_CONFIG_TEE_NONE,
};
use xen_abi::domctl::{
    CreateDomain, Domctl, XEN_DOMCTL_CDF_HAP, XEN_DOMCTL_CDF_HVM, XEN_DOMCTL_GRANT_VERSION_MASK,
};
use xen_abi::errno::Errno;
use xen_abi::xen::DOMID_FIRST_RESERVED;

/// Pages that must be free beyond those kept, for a domain to be made.
const SPARE: u64 = 256;
/// SPIs that a toolstack can ask for: Xen's limit.
const SPIS: u32 = 960;
/// The one version of grant tables.
const GRANT_VERSION: u32 = 1;

/// Makes the domain that `op` describes, and fills in its number and its GIC.
///
/// # Errors
/// `EEXIST` for a number in use, `EINVAL` for what there is not on Arm, `ENODEV` for another GIC
/// than the machine's or a CPU pool without CPUs, `ESRCH` for no such pool, `ENOMEM`.
pub(super) fn create(cur: &Current<'_>, op: &mut Domctl) -> Result<(), Errno> {
    let sys = cur.sys;
    let mut wanted: CreateDomain = op.u.get();
    let id = number(sys, op.domain)?;
    check(&wanted)?;
    let gic = gic_version(sys, wanted.arch.gic_version)?;
    let config = CreateConfig {
        nr_vcpus: wanted.max_vcpus,
        nr_spis: wanted.arch.nr_spis,
        max_evtchn_port: wanted.max_evtchn_port,
        max_grant_frames: limit(wanted.max_grant_frames, sys.options.gnttab_max_frames),
        max_maptrack_frames: limit(
            wanted.max_maptrack_frames,
            sys.options.gnttab_max_maptrack_frames,
        ),
        tables: PoolLimit::Pages(0),
        handle: wanted.handle,
        direct_mapped: None,
    };
    // What it is made of is allocated in ways that must not fail.
    if sys.frames.free_pages() < sys.frames.kept_free().saturating_add(SPARE) {
        return Err(Errno::NoMem);
    }
    let domain = domu(sys, id, &config)?;
    if wanted.cpupool_id != 0 {
        domain.move_to_pool(wanted.cpupool_id)?;
    }
    domain.hide_vcpus();
    domain.is_64bit.store(false, Ordering::Relaxed);
    match op.domain == id.0 {
        true => sys.domains.insert(domain),
        false => sys.domains.insert_new(domain),
    }
    op.domain = id.0;
    wanted.arch = ArchDomainConfig {
        gic_version: gic,
        clock_frequency: 0,
        ..wanted.arch
    };
    op.u.set(&wanted);
    Ok(())
}

/// The number asked for, or else a free one.
fn number(sys: &System, wanted: u16) -> Result<DomId, Errno> {
    let free = |id: DomId| {
        let unknown = sys.domains.get(id).is_none();
        unknown && sys.frames.tot_pages(id) == 0 && sys.frames.shared_pages(id) == 0
    };
    if wanted != 0 && wanted < DOMID_FIRST_RESERVED {
        let id = DomId(wanted);
        return free(id).then_some(id).ok_or(Errno::Exist);
    }
    sys.domains.next_number(free).ok_or(Errno::NoMem)
}

fn check(wanted: &CreateDomain) -> Result<(), Errno> {
    let arch = &wanted.arch;
    let possible = wanted.flags == XEN_DOMCTL_CDF_HVM | XEN_DOMCTL_CDF_HAP
        && wanted.iommu_opts == 0
        && wanted.grant_opts & XEN_DOMCTL_GRANT_VERSION_MASK == GRANT_VERSION
        && wanted.grant_opts & !XEN_DOMCTL_GRANT_VERSION_MASK == 0
        && wanted.altp2m_opts == 0
        && wanted.vmtrace_size == 0
        && arch.sve_vl == 0
        && arch.tee_type == XEN_DOMCTL_CONFIG_TEE_NONE
        && arch.nr_spis <= SPIS;
    possible.then_some(()).ok_or(Errno::Inval)
}

/// The GIC that the domain gets: the host's.
fn gic_version(sys: &System, wanted: u8) -> Result<u8, Errno> {
    let native = match sys.guest_hw.gic.model {
        Model::V2 => XEN_DOMCTL_CONFIG_GIC_V2,
        Model::V3 => XEN_DOMCTL_CONFIG_GIC_V3,
    };
    match wanted {
        XEN_DOMCTL_CONFIG_GIC_NATIVE => Ok(native),
        other if other == native => Ok(native),
        XEN_DOMCTL_CONFIG_GIC_V2 | XEN_DOMCTL_CONFIG_GIC_V3 => Err(Errno::NoDev),
        _ => Err(Errno::Inval),
    }
}

/// A limit asked for, or the command line's, `most`, if that is less; a negative one is that.
fn limit(wanted: i32, most: u32) -> u32 {
    u32::try_from(wanted).map_or(most, |wanted| wanted.min(most))
}
