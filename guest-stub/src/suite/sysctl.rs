// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a toolstack asks of the machine.

use xen_abi::domctl::{Bitmap, GetDomainInfo};
use xen_abi::sysctl::*;
use xen_abi::zerocopy::FromZeros;
use xen_abi::{Handle, Payload};

use super::check::{Check, Outcome, check, ensure, ensure_eq};
use super::domctl::Domu;
use super::errno::{EFAULT, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP};
use crate::machine::dt::facts;
use crate::machine::timer::wait_until;
use crate::xen::domctl::{NONE, sysctl};

pub(super) const CHECKS: &[Check] = &[
    check("physinfo", physinfo),
    check("getdomaininfolist", list),
    check("cpupool_op", pool),
    check("topology and nodes", topology),
    check("readconsole", console),
    check("arguments of zeroes", sysctl_zeroes),
];

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
