// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands of a toolstack, one by one: domains are made, described and paused, and what is wrong is refused.

use xen_abi::Handle;
use xen_abi::arch_arm::XEN_DOMCTL_CONFIG_TEE_OPTEE;
use xen_abi::domctl::*;

use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq, fail};
use super::errno::{EBUSY, EEXIST, EINVAL, ENODEV, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM, ESRCH};
use crate::xen::domctl::{NONE, build, command, create, domctl, info, plain};

/// A domain that does not exist.
const NOBODY: u16 = 77;

pub(super) const CHECKS: &[Check] = &[
    check("createdomain", creation),
    check("createdomain refuses", refusals),
    check("unknown domains and commands", unknown),
    check("not the caller itself", itself),
    check("arguments of zeroes", zeroes),
    check("pauses are counted", pauses),
    check("set_address_size", address_size),
];

/// A built domain, destroyed in the end.
pub(super) struct Domu(pub(super) u16);

impl Domu {
    pub(super) fn new() -> Result<Self, Failure> {
        match build() {
            Ok(id) => Ok(Self(id)),
            Err((step, error)) => fail!("{step} says {error}"),
        }
    }
}

impl Drop for Domu {
    fn drop(&mut self) {
        domctl(XEN_DOMCTL_DESTROYDOMAIN, self.0, &NONE);
    }
}

fn creation() -> Outcome {
    let mut config = plain();
    config.handle = [7; 16];
    let (result, op) = command(XEN_DOMCTL_CREATEDOMAIN, 0, &config);
    ensure_eq!(result, 0, "createdomain");
    let domain = Domu(op.domain);
    ensure!(
        (1..0x7ff0).contains(&op.domain),
        "its number is {:#x}",
        op.domain
    );
    let made: CreateDomain = op.u.get();
    ensure!(
        matches!(made.arch.gic_version, 1 | 2),
        "its GIC is {}",
        made.arch.gic_version
    );
    let seen = match info(domain.0) {
        Ok(seen) => seen,
        Err(error) => fail!("getdomaininfo says {error}"),
    };
    ensure_eq!(seen.flags, 0xffff_010a, "flags");
    ensure_eq!(seen.domain, domain.0, "domain");
    ensure_eq!((seen.tot_pages, seen.max_pages), (0, 0), "pages");
    ensure_eq!(seen.max_vcpu_id, u32::MAX, "max_vcpu_id");
    ensure_eq!((seen.nr_online_vcpus, seen.cpu_time), (0, 0), "vCPUs");
    ensure_eq!(seen.handle, [7; 16], "handle");
    ensure_eq!(seen.ssidref, 0, "ssidref");
    ensure_eq!(
        (seen.outstanding_pages, seen.shr_pages, seen.paged_pages),
        (0, 0, 0),
        "other pages"
    );
    // The next one has the next number.
    let next = match create(0, &plain()) {
        Ok(id) => Domu(id),
        Err(error) => fail!("a second one: {error}"),
    };
    ensure_eq!(next.0, domain.0 + 1, "the next number");
    ensure_eq!(create(domain.0, &plain()), Err(EEXIST), "a number in use");
    ensure_eq!(
        domctl(XEN_DOMCTL_MAX_VCPUS, domain.0, &MaxVcpus { max: 2 }),
        EINVAL,
        "more vCPUs than it was created for"
    );
    ensure_eq!(
        domctl(XEN_DOMCTL_MAX_VCPUS, domain.0, &MaxVcpus { max: 1 }),
        0,
        "max_vcpus"
    );
    let seen = info(domain.0).map(|seen| (seen.flags, seen.max_vcpu_id));
    ensure_eq!(seen, Ok((0xffff_010a, 0)), "flags and max_vcpu_id");
    Ok(())
}

/// What is wrong, the error, and how to make it wrong.
type Refused = (&'static str, i64, fn(&mut CreateDomain));

fn refusals() -> Outcome {
    let refused: [Refused; 12] = [
        ("no flags", EINVAL, |c| c.flags = 0),
        ("xs_domain", EINVAL, |c| c.flags |= XEN_DOMCTL_CDF_XS_DOMAIN),
        ("iommu", EINVAL, |c| c.flags |= XEN_DOMCTL_CDF_IOMMU),
        ("no vCPUs", EINVAL, |c| c.max_vcpus = 0),
        ("129 vCPUs", EINVAL, |c| c.max_vcpus = 129),
        ("grants of version 2", EINVAL, |c| c.grant_opts = 2),
        ("grants of no version", EINVAL, |c| c.grant_opts = 0),
        ("no grant frames", EINVAL, |c| c.max_grant_frames = 0),
        ("altp2m", EINVAL, |c| c.altp2m_opts = 1),
        ("a TEE", EINVAL, |c| {
            c.arch.tee_type = XEN_DOMCTL_CONFIG_TEE_OPTEE
        }),
        ("too many SPIs", EINVAL, |c| c.arch.nr_spis = 1 << 20),
        ("961 SPIs", EINVAL, |c| c.arch.nr_spis = 961),
    ];
    for (what, errno, change) in refused {
        let mut config = plain();
        change(&mut config);
        ensure_eq!(create(0, &config), Err(errno), "{what}");
    }
    let mut config = plain();
    let native = command(XEN_DOMCTL_CREATEDOMAIN, 0, &config);
    ensure_eq!(native.0, 0, "createdomain");
    let native = (Domu(native.1.domain), native.1.u.get::<CreateDomain>());
    // A GICv2 can be emulated on some GICv3s, but not the other way round.
    config.arch.gic_version = 3 - native.1.arch.gic_version;
    ensure_eq!(create(0, &config), Err(ENODEV), "another GIC");
    config.arch.gic_version = 9;
    ensure_eq!(create(0, &config), Err(EINVAL), "a GIC that there is not");
    Ok(())
}

fn unknown() -> Outcome {
    for domain in [NOBODY, 0x7ff0, 0x7ff1, 0x7ff4, 0xffff] {
        for cmd in [XEN_DOMCTL_GETDOMAININFO, XEN_DOMCTL_PAUSEDOMAIN, 9999] {
            ensure_eq!(domctl(cmd, domain, &NONE), ESRCH, "{cmd} of {domain:#x}");
        }
    }
    for cmd in [0, 6, 9999, u32::MAX] {
        ensure_eq!(domctl(cmd, 0, &NONE), ENOSYS, "command {cmd}");
    }
    Ok(())
}

fn itself() -> Outcome {
    for cmd in [XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_DESTROYDOMAIN] {
        ensure_eq!(domctl(cmd, 0, &NONE), EINVAL, "command {cmd}");
    }
    let context = VcpuContext {
        vcpu: 0,
        _pad: 0,
        ctxt: Handle(0),
    };
    for cmd in [XEN_DOMCTL_SETVCPUCONTEXT, XEN_DOMCTL_GETVCPUCONTEXT] {
        ensure_eq!(domctl(cmd, 0, &context), EINVAL, "command {cmd}");
    }
    let Ok(seen) = info(0) else {
        fail!("no info of dom0");
    };
    ensure_eq!(seen.flags, 0xffff_0122, "flags of dom0");
    Ok(())
}

fn zeroes() -> Outcome {
    let domain = Domu::new()?;
    let zero = [0_u64; 16];
    let answers: &[(i64, &[u32])] = &[
        (EINVAL, &[9, 15, 16, 25, 35, 39, 66, 68, 74, 81]),
        (0, &[5, 14, 11, 17, 18, 24, 27, 29, 69, 71, 85]),
        (EOPNOTSUPP, &[37, 38, 45, 47, 48, 50, 77, 87, 89]),
        (EPERM, &[20]),
        (-84, &[19]),
        (ENOMEM, &[86]),
        (
            ENOSYS,
            &[
                10, 21, 22, 28, 33, 34, 36, 40, 42, 43, 44, 54, 55, 56, 57, 59, 60, 61, 62, 63, 64,
                65, 67, 72, 73, 75, 78, 82, 83, 84, 88,
            ],
        ),
    ];
    for (answer, commands) in answers {
        for cmd in *commands {
            ensure_eq!(domctl(*cmd, domain.0, &zero), *answer, "command {cmd}");
        }
    }
    Ok(())
}

fn pauses() -> Outcome {
    let domain = Domu::new()?;
    let (pause, unpause) = (XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_UNPAUSEDOMAIN);
    for (cmd, answer, flags) in [
        (pause, 0, 0xffff_010a),
        (pause, 0, 0xffff_010a),
        (unpause, 0, 0xffff_010a),
        (unpause, 0, 0xffff_010a),
        (unpause, 0, 0xffff_0102),
        (unpause, EINVAL, 0xffff_0102),
        (pause, 0, 0xffff_010a),
        (unpause, 0, 0xffff_0102),
    ] {
        ensure_eq!(domctl(cmd, domain.0, &NONE), answer, "command {cmd}");
        ensure_eq!(info(domain.0).map(|i| i.flags), Ok(flags), "flags");
    }
    Ok(())
}

fn address_size() -> Outcome {
    let domain = match create(0, &plain()) {
        Ok(id) => Domu(id),
        Err(error) => fail!("createdomain says {error}"),
    };
    let set = |id, size| domctl(XEN_DOMCTL_SET_ADDRESS_SIZE, id, &AddressSize { size });
    ensure_eq!(set(domain.0, 48), EINVAL, "48");
    ensure_eq!(set(domain.0, 64), 0, "64");
    ensure_eq!(set(domain.0, 64), 0, "64 again");
    let built = Domu::new()?;
    ensure_eq!(set(built.0, 64), EBUSY, "64 of one with memory");
    ensure_eq!(set(0, 64), EBUSY, "64 of dom0");
    Ok(())
}
