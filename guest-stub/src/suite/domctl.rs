// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands of a toolstack, one by one: what they answer to what is right and to what is wrong.

use xen_abi::arch_arm::{
    PSR_GUEST64_INIT, VGCF_ONLINE, VcpuGuestContext, XEN_DOMCTL_CONFIG_TEE_OPTEE,
};
use xen_abi::domctl::*;
use xen_abi::hypercall::MEMORY_OP;
use xen_abi::memory::{MemoryExchange, MemoryReservation, XENMEM_CLAIM_PAGES, XENMEM_EXCHANGE};
use xen_abi::sysctl::{
    CpuTopo, CpuTopoInfo, CpupoolOp, GetDomainInfoList, NumaInfo, PhysInfo, ReadConsole, SchedId,
    XEN_SYSCTL_CPUPOOL_OP, XEN_SYSCTL_CPUPOOL_OP_INFO, XEN_SYSCTL_CPUTOPOINFO,
    XEN_SYSCTL_GETDOMAININFOLIST, XEN_SYSCTL_NUMAINFO, XEN_SYSCTL_PHYSCAP_GNTTAB_V1,
    XEN_SYSCTL_PHYSCAP_HAP, XEN_SYSCTL_PHYSCAP_HVM, XEN_SYSCTL_PHYSINFO, XEN_SYSCTL_READCONSOLE,
    XEN_SYSCTL_SCHED_ID,
};
use xen_abi::zerocopy::FromZeros;
use xen_abi::{Handle, Payload};

use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq, fail};
use crate::machine::dt::facts;
use crate::machine::timer::wait_until;
use crate::xen::domctl::{
    BASE, NONE, PAGES, build, command, create, domctl, info, plain, populate, sysctl,
};
use crate::xen::hypercall::operate;

const EPERM: i64 = -1;
const ENOENT: i64 = -2;
const ESRCH: i64 = -3;
const ENOMEM: i64 = -12;
const EFAULT: i64 = -14;
const EBUSY: i64 = -16;
const EEXIST: i64 = -17;
const ENODEV: i64 = -19;
const EINVAL: i64 = -22;
const ENOSYS: i64 = -38;
const ENODATA: i64 = -61;
const EOPNOTSUPP: i64 = -95;

/// A domain that does not exist.
const NOBODY: u16 = 77;

pub(super) const CHECKS: &[Check] = &[
    check("createdomain", creation),
    check("createdomain refuses", refusals),
    check("unknown domains and commands", unknown),
    check("not the caller itself", itself),
    check("arguments of zeroes", zeroes),
    check("pauses are counted", pauses),
    check("limits of memory", memory),
    check("set_address_size", address_size),
    check("registers of a vCPU", context),
    check("getvcpuinfo", vcpu_info),
    check("scheduler_op", share),
    check("affinities", affinities),
    check("cacheflush", cacheflush),
    check("extents of many pages", extents),
    check("exchange", exchange),
    check("claims", claims),
    check("sysctl physinfo", physinfo),
    check("sysctl getdomaininfolist", list),
    check("sysctl cpupool_op", pool),
    check("sysctl topology and nodes", topology),
    check("sysctl readconsole", console),
    check("sysctl arguments of zeroes", sysctl_zeroes),
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
    let refused: [Refused; 11] = [
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

fn memory() -> Outcome {
    let domain = match create(0, &plain()) {
        Ok(id) => Domu(id),
        Err(error) => fail!("createdomain says {error}"),
    };
    let id = domain.0;
    let limit = |size| {
        domctl(
            XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE,
            id,
            &PagingMempool { size },
        )
    };
    let max = |max_memkb| domctl(XEN_DOMCTL_MAX_MEM, id, &MaxMem { max_memkb });
    ensure_eq!(populate(id, BASE, 1, 0), 0, "populate without a limit");
    ensure_eq!(max(12), 0, "max_mem");
    ensure_eq!(info(id).map(|i| i.max_pages), Ok(3), "max_pages");
    ensure_eq!(populate(id, BASE, 1, 0), 0, "populate without tables");
    ensure_eq!(limit(123), EINVAL, "a pool of 123 bytes");
    ensure_eq!(max(1024), 0, "max_mem");
    ensure_eq!(limit(256 << 12), 0, "a pool of 256 pages");
    let (result, op) = command(XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE, id, &NONE);
    ensure_eq!((result, op.u.get::<u64>()), (0, 256 << 12), "its size");
    ensure_eq!(populate(id, BASE, 3, 0), 3, "populate");
    let have = info(id).map_or(0, |i| i.tot_pages);
    ensure_eq!(max(have * 4), 0, "max_mem");
    ensure_eq!(
        populate(id, BASE + 16, 1, 0),
        0,
        "populate beyond the limit"
    );
    ensure_eq!(max(0), 0, "less than it has");
    ensure_eq!(info(id).map(|i| i.tot_pages), Ok(have), "tot_pages");
    ensure_eq!(max(4096), 0, "max_mem");
    ensure_eq!(limit(0), ENOMEM, "a pool smaller than its use");
    ensure_eq!(populate(id, BASE, 1, 0), 1, "the same frame again");
    ensure_eq!(info(id).map(|i| i.tot_pages), Ok(have + 1), "tot_pages");
    ensure_eq!(populate(id, 1 << 40, 1, 0), 0, "a frame beyond the tables");
    ensure_eq!(populate(id, BASE + 512, 1, 19), 0, "an extent of 2 GiB");
    ensure_eq!(populate(NOBODY, BASE, 1, 0), 0, "populate of nobody");
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

fn context() -> Outcome {
    let domain = Domu::new()?;
    let mut context = VcpuGuestContext::new_zeroed();
    context.flags = VGCF_ONLINE;
    context.user_regs.pc64 = 0x4000_0010;
    context.user_regs.x = core::array::from_fn(|n| n as u64 + 100);
    context.user_regs.cpsr = PSR_GUEST64_INIT;
    context.user_regs.sp_el1 = 0x4000_2000;
    context.sctlr = 0x00c5_0078;
    context.ttbr0 = 0x4000_3000;
    let argument = |vcpu, context: &VcpuGuestContext| VcpuContext {
        vcpu,
        _pad: 0,
        ctxt: Handle(&raw const *context as u64),
    };
    let set = |vcpu, context: &VcpuGuestContext| {
        domctl(
            XEN_DOMCTL_SETVCPUCONTEXT,
            domain.0,
            &argument(vcpu, context),
        )
    };
    let mut back = VcpuGuestContext::new_zeroed();
    let get = argument(0, &back);
    let get = || domctl(XEN_DOMCTL_GETVCPUCONTEXT, domain.0, &get);
    ensure_eq!(get(), ENODATA, "get before set");
    ensure_eq!(set(1, &context), EINVAL, "set of vCPU 1");
    for mode in [0x8, 0x9, 0xd, 0x13, 0x1f] {
        let mut bad = context;
        bad.user_regs.cpsr = mode;
        ensure_eq!(set(0, &bad), EINVAL, "set with mode {mode:#x}");
    }
    ensure_eq!(set(0, &context), 0, "set");
    ensure_eq!(get(), 0, "get");
    // SAFETY: a local, which the hypercall has written.
    back = unsafe { (&raw const back).read_volatile() };
    ensure_eq!(back.flags, VGCF_ONLINE, "flags");
    ensure_eq!(back.user_regs.x, context.user_regs.x, "x0 to x30");
    let core = |c: &VcpuGuestContext| (c.user_regs.pc64, c.user_regs.cpsr, c.user_regs.sp_el1);
    ensure_eq!(core(&back), core(&context), "pc, cpsr, sp_el1");
    let system = |c: &VcpuGuestContext| (c.sctlr, c.ttbcr, c.ttbr0, c.ttbr1);
    ensure_eq!(
        system(&back),
        system(&context),
        "sctlr, ttbcr, ttbr0, ttbr1"
    );
    ensure_eq!(
        info(domain.0).map(|i| i.nr_online_vcpus),
        Ok(1),
        "vCPUs online"
    );
    context.flags = 0;
    ensure_eq!(set(0, &context), 0, "set, not online");
    ensure_eq!(
        info(domain.0).map(|i| i.nr_online_vcpus),
        Ok(0),
        "vCPUs online"
    );
    let null = VcpuContext {
        vcpu: 0,
        _pad: 0,
        ctxt: Handle(0),
    };
    ensure_eq!(
        domctl(XEN_DOMCTL_SETVCPUCONTEXT, domain.0, &null),
        0,
        "reset"
    );
    ensure_eq!(get(), ENODATA, "get after a reset");
    Ok(())
}

fn vcpu_info() -> Outcome {
    let domain = Domu::new()?;
    let (result, op) = command(XEN_DOMCTL_GETVCPUINFO, domain.0, &0_u32);
    let seen: GetVcpuInfo = op.u.get();
    ensure_eq!(
        (result, seen.online, seen.running, seen.cpu_time),
        (0, 0, 0, 0),
        "vCPU 0"
    );
    for vcpu in [1, u32::MAX] {
        ensure_eq!(
            domctl(XEN_DOMCTL_GETVCPUINFO, domain.0, &vcpu),
            EINVAL,
            "vCPU {vcpu}"
        );
    }
    let (result, op) = command(XEN_DOMCTL_GETVCPUINFO, 0, &0_u32);
    let seen: GetVcpuInfo = op.u.get();
    ensure_eq!(
        (result, seen.online, seen.blocked, seen.running),
        (0, 1, 0, 1),
        "our own"
    );
    ensure!(seen.cpu_time != 0, "no time was used");
    Ok(())
}

fn share() -> Outcome {
    let domain = Domu::new()?;
    let argument = |sched_id, cmd, weight, cap| SchedulerOp {
        sched_id,
        cmd,
        weight,
        cap,
        _rest: [0; 3],
    };
    let run = |argument: SchedulerOp| {
        let (result, op) = command(XEN_DOMCTL_SCHEDULER_OP, domain.0, &argument);
        let op: SchedulerOp = op.u.get();
        (result, op.weight, op.cap)
    };
    ensure_eq!(run(argument(6, 1, 0, 0)), (0, 256, 0), "get");
    ensure_eq!(run(argument(5, 1, 0, 0)).0, EINVAL, "of credit");
    ensure_eq!(run(argument(6, 0, 512, 50)).0, 0, "put");
    ensure_eq!(run(argument(6, 1, 0, 0)), (0, 512, 50), "get");
    ensure_eq!(
        run(argument(6, 0, 1, 101)).0,
        EINVAL,
        "a cap of more than a vCPU"
    );
    ensure_eq!(run(argument(6, 1, 0, 0)), (0, 1, 50), "get");
    ensure_eq!(run(argument(6, 0, 0, 0)).0, 0, "put without a weight");
    ensure_eq!(run(argument(6, 1, 0, 0)), (0, 1, 0), "get");
    ensure_eq!(run(argument(6, 9, 0, 0)).0, EINVAL, "command 9");
    Ok(())
}

fn affinities() -> Outcome {
    let domain = Domu::new()?;
    let mut bits = [1_u64, u64::MAX];
    let argument = |vcpu, flags, bits: *mut u64, nr_bits| {
        let map = Bitmap {
            bitmap: Handle(bits as u64),
            nr_bits,
            _pad: 0,
        };
        VcpuAffinity {
            vcpu,
            flags,
            cpumap_hard: map,
            cpumap_soft: map,
        }
    };
    let bits = bits.as_mut_ptr();
    let set = |argument| domctl(XEN_DOMCTL_SETVCPUAFFINITY, domain.0, &argument);
    let get = |argument| domctl(XEN_DOMCTL_GETVCPUAFFINITY, domain.0, &argument);
    ensure_eq!(set(argument(0, 0, bits, 8)), EINVAL, "set of nothing");
    ensure_eq!(set(argument(1, 1, bits, 8)), EINVAL, "set of vCPU 1");
    ensure_eq!(set(argument(0, 2, bits, 8)), 0, "set of the soft one");
    ensure_eq!(set(argument(0, 1, bits, 8)), 0, "set of the hard one");
    ensure_eq!(set(argument(0, 1, bits, 0)), EINVAL, "set of no CPU");
    ensure_eq!(get(argument(0, 0, bits, 8)), EINVAL, "get of nothing");
    ensure_eq!(get(argument(1, 1, bits, 8)), EINVAL, "get of vCPU 1");
    // SAFETY: an array of two.
    unsafe { bits.write_volatile(u64::MAX) };
    ensure_eq!(get(argument(0, 1, bits, 16)), 0, "get of the hard one");
    // SAFETY: as before.
    let first = unsafe { bits.read_volatile() };
    ensure_eq!(first, 0xffff_ffff_ffff_0001, "the hard one");
    let node = |nr_bits| NodeAffinity {
        nodemap: Bitmap {
            bitmap: Handle(bits as u64),
            nr_bits,
            _pad: 0,
        },
    };
    ensure_eq!(
        domctl(XEN_DOMCTL_SETNODEAFFINITY, domain.0, &node(8)),
        0,
        "set of node 0"
    );
    ensure_eq!(
        domctl(XEN_DOMCTL_SETNODEAFFINITY, domain.0, &node(0)),
        EINVAL,
        "set of no node"
    );
    ensure_eq!(
        domctl(XEN_DOMCTL_GETNODEAFFINITY, domain.0, &node(8)),
        0,
        "get of nodes"
    );
    Ok(())
}

fn cacheflush() -> Outcome {
    let domain = Domu::new()?;
    let flush = |start_pfn, nr_pfns| {
        domctl(
            XEN_DOMCTL_CACHEFLUSH,
            domain.0,
            &CacheFlush { start_pfn, nr_pfns },
        )
    };
    ensure_eq!(flush(BASE, PAGES), 0, "its memory");
    ensure_eq!(flush(BASE - 1, PAGES + 2), 0, "and holes");
    ensure_eq!(flush(0, 0), 0, "nothing");
    ensure_eq!(flush(0, (1 << 18) + 1), EINVAL, "more than a gigabyte");
    ensure_eq!(flush(u64::MAX, 2), EINVAL, "around the end");
    Ok(())
}

fn physinfo() -> Outcome {
    let (result, seen): (_, PhysInfo) = sysctl(XEN_SYSCTL_PHYSINFO, &NONE);
    ensure_eq!(result, 0, "physinfo");
    ensure_eq!(seen.nr_cpus as usize, facts().cpus, "CPUs");
    ensure_eq!(seen.max_cpu_id as usize, facts().cpus - 1, "highest CPU");
    ensure_eq!((seen.nr_nodes, seen.max_node_id), (1, 0), "nodes");
    ensure_eq!(
        (seen.threads_per_core, seen.cores_per_socket),
        (1, facts().cpus as u32),
        "threads and cores"
    );
    ensure_eq!(
        u64::from(seen.cpu_khz),
        crate::machine::timer::frequency() / 1000,
        "kHz"
    );
    let needed = XEN_SYSCTL_PHYSCAP_HVM | XEN_SYSCTL_PHYSCAP_HAP | XEN_SYSCTL_PHYSCAP_GNTTAB_V1;
    ensure_eq!(seen.capabilities & needed, needed, "capabilities");
    ensure!(
        seen.free_pages != 0 && seen.free_pages < seen.total_pages,
        "{} of {} pages are free",
        seen.free_pages,
        seen.total_pages
    );
    ensure_eq!(seen.outstanding_pages, 0, "outstanding pages");
    let (result, seen): (_, SchedId) = sysctl(XEN_SYSCTL_SCHED_ID, &NONE);
    ensure_eq!((result, seen.sched_id), (0, 6), "scheduler");
    Ok(())
}

fn list() -> Outcome {
    let first = Domu::new()?;
    let second = Domu::new()?;
    let mut infos = [GetDomainInfo::new_zeroed(); 4];
    let buffer = Handle(&raw mut infos as u64);
    let mut ask = |first_domain, max_domains| {
        let argument = GetDomainInfoList {
            first_domain,
            _pad0: 0,
            max_domains,
            buffer,
            num_domains: 0,
            _pad1: 0,
        };
        let (result, op): (_, GetDomainInfoList) = sysctl(XEN_SYSCTL_GETDOMAININFOLIST, &argument);
        // SAFETY: a local, which the hypercall has written.
        infos = unsafe { (&raw const infos).read_volatile() };
        (result, op.num_domains, [infos[0].domain, infos[1].domain])
    };
    ensure_eq!(ask(0, 1), (0, 1, [0, 0]), "the first");
    let (result, nr, domains) = ask(first.0, 4);
    ensure_eq!(
        (result, nr, domains),
        (0, 2, [first.0, second.0]),
        "the two"
    );
    ensure_eq!(ask(second.0 + 1, 4).1, 0, "after them");
    Ok(())
}

fn pool() -> Outcome {
    let mut bits = [0_u64; 2];
    let bitmap = Handle(bits.as_mut_ptr() as u64);
    let ask = |cpupool_id| {
        let argument = CpupoolOp {
            op: XEN_SYSCTL_CPUPOOL_OP_INFO,
            cpupool_id,
            sched_id: 0,
            domid: 0,
            cpu: 0,
            n_dom: 0,
            cpumap: Bitmap {
                bitmap,
                nr_bits: 64,
                _pad: 0,
            },
        };
        let (result, op): (_, CpupoolOp) = sysctl(XEN_SYSCTL_CPUPOOL_OP, &argument);
        (result, op.cpupool_id, op.sched_id, op.n_dom)
    };
    // Destroyed ones may take a moment to be gone; with us there may be two others.
    wait_until(10_000_000, || ask(0).3 <= 3);
    let (result, pool, scheduler, domains) = ask(0);
    ensure_eq!((result, pool, scheduler), (0, 0, 6), "pool 0");
    ensure!((1..=3).contains(&domains), "pool 0 has {domains} domains");
    // SAFETY: a local, which the hypercall has written.
    let first = unsafe { bits.as_ptr().read_volatile() };
    ensure_eq!(first, (1 << facts().cpus) - 1, "its CPUs");
    ensure_eq!(ask(1).0, ENOENT, "pool 1");
    Ok(())
}

fn topology() -> Outcome {
    let null = Handle(0);
    let ask = |num_cpus, cputopo| {
        let argument = CpuTopoInfo {
            num_cpus,
            _pad: 0,
            cputopo,
        };
        let (result, op): (_, CpuTopoInfo) = sysctl(XEN_SYSCTL_CPUTOPOINFO, &argument);
        (result, op.num_cpus as usize)
    };
    ensure_eq!(ask(0, null), (0, facts().cpus), "CPUs");
    let mut topo = [CpuTopo::new_zeroed(); 8];
    topo[0].core = 9;
    let at = Handle(&raw mut topo as u64);
    ensure_eq!(ask(8, at), (0, facts().cpus), "CPUs");
    // SAFETY: a local, which the hypercall has written.
    topo = unsafe { (&raw const topo).read_volatile() };
    ensure_eq!(
        (topo[0].core, topo[0].socket, topo[0].node),
        (0, 0, 0),
        "CPU 0"
    );
    let argument = NumaInfo {
        num_nodes: 0,
        _pad: 0,
        meminfo: null,
        distance: null,
    };
    let (result, op): (_, NumaInfo) = sysctl(XEN_SYSCTL_NUMAINFO, &argument);
    ensure_eq!((result, op.num_nodes), (0, 1), "nodes");
    Ok(())
}

fn console() -> Outcome {
    let mut text = [0_u8; 64];
    let buffer = Handle(text.as_mut_ptr() as u64);
    let ask = |incremental, index, count| {
        let argument = ReadConsole {
            clear: 0,
            incremental,
            pad0: 0,
            pad1: 0,
            index,
            buffer,
            count,
            _pad: 0,
        };
        let (result, op): (_, ReadConsole) = sysctl(XEN_SYSCTL_READCONSOLE, &argument);
        (result, op.index, op.count)
    };
    let (result, index, count) = ask(0, 0, 64);
    ensure_eq!((result, count), (0, 64), "the first bytes");
    let (result, next, count) = ask(1, index, 64);
    ensure_eq!((result, count), (0, 64), "the next ones");
    ensure_eq!(next.wrapping_sub(index), 64, "the index");
    Ok(())
}

fn sysctl_zeroes() -> Outcome {
    let zero = [0_u64; 16];
    let answers: &[(i64, &[u32])] = &[
        (0, &[1, 3, 4, 6, 7, 8, 9, 16, 17]),
        (EFAULT, &[14]),
        (EINVAL, &[19]),
        (EOPNOTSUPP, &[20, 30]),
        (
            ENOSYS,
            &[
                0, 5, 10, 12, 13, 15, 21, 22, 23, 24, 25, 26, 27, 28, 29, 31, 9999,
            ],
        ),
    ];
    for (answer, commands) in answers {
        for cmd in *commands {
            let (result, _): (_, Payload) = sysctl(*cmd, &zero);
            ensure_eq!(result, *answer, "command {cmd}");
        }
    }
    Ok(())
}

fn extents() -> Outcome {
    let domain = Domu::new()?;
    let id = domain.0;
    let max_memkb = 1 << 20;
    ensure_eq!(
        domctl(XEN_DOMCTL_MAX_MEM, id, &MaxMem { max_memkb }),
        0,
        "max_mem"
    );
    let mut have = PAGES;
    for order in [9, 10, 12, 14] {
        ensure_eq!(
            populate(id, 1 << 18 | 1 << 17, 1, order),
            1,
            "2^{order} pages"
        );
        have += 1 << order;
        ensure_eq!(info(id).map(|i| i.tot_pages), Ok(have), "tot_pages");
    }
    for order in [18, 19, 31] {
        ensure_eq!(
            populate(id, 1 << 18 | 1 << 17, 1, order),
            0,
            "2^{order} pages"
        );
    }
    ensure_eq!(info(id).map(|i| i.tot_pages), Ok(have), "tot_pages");
    Ok(())
}

fn request(list: u64, nr_extents: u64, extent_order: u32, domid: u16) -> MemoryReservation {
    MemoryReservation {
        extent_start: Handle(list),
        nr_extents,
        extent_order,
        mem_flags: 0,
        domid,
        _pad: [0; 6],
    }
}

fn exchange() -> Outcome {
    let domain = Domu::new()?;
    let id = domain.0;
    let (mapped, hole) = ([BASE; 2], [BASE + 512; 2]);
    let (mapped, hole) = (mapped.as_ptr() as u64, hole.as_ptr() as u64);
    let ask = |input, out, nr_exchanged| {
        let mut argument = MemoryExchange {
            input,
            out,
            nr_exchanged,
        };
        operate(MEMORY_OP, XENMEM_EXCHANGE, &mut argument)
    };
    for (what, input, out, done, answer) in [
        (
            "a page for a page",
            (mapped, 1, 0, id),
            (mapped, 1, 0, id),
            0,
            EOPNOTSUPP,
        ),
        (
            "pages for a larger one",
            (mapped, 2, 0, id),
            (mapped, 1, 1, id),
            0,
            EOPNOTSUPP,
        ),
        ("nothing", (mapped, 0, 0, id), (mapped, 0, 0, id), 0, 0),
        ("all done", (mapped, 1, 0, id), (mapped, 1, 0, id), 1, 0),
        (
            "more than all done",
            (mapped, 1, 0, id),
            (mapped, 1, 0, id),
            2,
            EINVAL,
        ),
        (
            "one for two",
            (mapped, 1, 0, id),
            (mapped, 2, 0, id),
            0,
            EINVAL,
        ),
        (
            "of two domains",
            (mapped, 1, 0, id),
            (mapped, 1, 0, 0),
            0,
            EINVAL,
        ),
        (
            "of nobody",
            (mapped, 1, 0, NOBODY),
            (mapped, 1, 0, NOBODY),
            0,
            ESRCH,
        ),
        (
            "of 2 GiB",
            (mapped, 1, 19, id),
            (mapped, 1, 19, id),
            0,
            EPERM,
        ),
        ("a hole", (hole, 1, 0, id), (mapped, 1, 0, id), 0, EINVAL),
        (
            "a list that is not mapped",
            (0x7f_dead_0000, 1, 0, id),
            (mapped, 1, 0, id),
            0,
            EFAULT,
        ),
    ] {
        let of = |(list, nr, order, domid)| request(list, nr, order, domid);
        ensure_eq!(ask(of(input), of(out), done), answer, "{what}");
    }
    Ok(())
}

fn claims() -> Outcome {
    let domain = Domu::new()?;
    let id = domain.0;
    let claim = |nr, domid| operate(MEMORY_OP, XENMEM_CLAIM_PAGES, &mut request(0, nr, 0, domid));
    let outstanding = || {
        let (_, machine): (_, PhysInfo) = sysctl(XEN_SYSCTL_PHYSINFO, &NONE);
        (
            info(id).map_or(u64::MAX, |i| i.outstanding_pages),
            machine.outstanding_pages,
        )
    };
    for (what, mut argument) in [
        ("a list", request(8, 0, 0, id)),
        ("an order", request(0, 0, 1, id)),
        ("nobody", request(0, 10, 0, NOBODY)),
        ("less than it has", request(0, PAGES, 0, id)),
        ("more than it may have", request(0, 257, 0, id)),
    ] {
        ensure_eq!(
            operate(MEMORY_OP, XENMEM_CLAIM_PAGES, &mut argument),
            EINVAL,
            "{what}"
        );
    }
    ensure_eq!(claim(PAGES + 100, id), 0, "100 pages more");
    ensure_eq!(outstanding(), (100, 100), "outstanding");
    ensure_eq!(claim(PAGES + 50, id), EINVAL, "another claim");
    ensure_eq!(populate(id, BASE + PAGES, 4, 0), 4, "populate");
    ensure_eq!(outstanding(), (96, 96), "outstanding");
    ensure_eq!(claim(0, id), 0, "no more");
    ensure_eq!(outstanding(), (0, 0), "outstanding");
    let max_memkb = 1 << 32;
    ensure_eq!(
        domctl(XEN_DOMCTL_MAX_MEM, id, &MaxMem { max_memkb }),
        0,
        "max_mem"
    );
    ensure_eq!(claim(1 << 28, id), ENOMEM, "more than there is");
    ensure_eq!(claim(PAGES + 20, id), 0, "16 pages more");
    drop(domain);
    let (_, machine): (_, PhysInfo) = sysctl(XEN_SYSCTL_PHYSINFO, &NONE);
    ensure_eq!(machine.outstanding_pages, 0, "outstanding after its end");
    Ok(())
}
