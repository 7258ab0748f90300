// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPU pools and the scheduler's parameters: what a toolstack may change, and what follows for the domains in them. Where
//! CPUs are of several kinds, a domain is of one, by default of any; dom0's vCPUs are of all.

use xen_abi::Handle;
use xen_abi::domctl::*;
use xen_abi::sysctl::{
    CpupoolOp, SchedulerOp as PoolSchedulerOp, XEN_SYSCTL_CPUPOOL_OP,
    XEN_SYSCTL_CPUPOOL_OP_ADDCPU as ADD, XEN_SYSCTL_CPUPOOL_OP_CREATE as CREATE,
    XEN_SYSCTL_CPUPOOL_OP_DESTROY as DESTROY, XEN_SYSCTL_CPUPOOL_OP_FREEINFO as FREE,
    XEN_SYSCTL_CPUPOOL_OP_INFO as INFO, XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN as MOVE,
    XEN_SYSCTL_CPUPOOL_OP_RMCPU as REMOVE, XEN_SYSCTL_CPUPOOL_PAR_ANY as ANY,
    XEN_SYSCTL_SCHEDOP_GETINFO, XEN_SYSCTL_SCHEDOP_PUTINFO, XEN_SYSCTL_SCHEDULER_OP,
};

use super::check::{Check, Failure, Outcome, check, ensure, ensure_eq, fail};
use super::domain::start;
use super::domctl::Domu;
use super::errno::{
    EADDRNOTAVAIL, EAGAIN, EBUSY, EEXIST, EINVAL, ENODEV, ENOENT, ENOSPC, ENOSYS, EPERM, ESRCH,
};
use super::hypfs;
use super::small::{nap, runnable_time};
use crate::machine::dt::{cpus_like, facts};
use crate::machine::timer::wait_until;
use crate::xen::domctl::{
    BASE, NONE, Program, command, create, domctl, info, map_foreign, plain, sysctl,
};
use crate::xen::memory::remove_from_physmap;

const CREDIT: u32 = XEN_SCHEDULER_CREDIT;
const CREDIT2: u32 = XEN_SCHEDULER_CREDIT2;
/// A pool and a domain that do not exist.
const NOBODY: u32 = 77;
/// Microseconds: long enough for a domain to be gone.
const LATE: u64 = 10_000_000;

pub(super) const CHECKS: &[Check] = &[
    check("the rate limit", ratelimit),
    check("pools are made and unmade", pools),
    check("a pool of credit", credit).unlike_xen("there is no other scheduler than credit2"),
    check("as many pools as two for each CPU", many),
    check("pools that are refused", refused),
    check("CPUs that are refused", refused_cpus),
    check("domains that stay", staying),
    check("a CPU goes to another pool and back", cpus),
    check("CPU 0 stays in pool 0", first_cpu),
    check("a domain goes to another pool and back", moving),
    check("a domain is made in a pool", made_there),
    check("a pool does not stay for a domain that is dead", dead),
    check("affinity where a CPU leaves the pool", broken),
    check("flags of setvcpuaffinity", flags),
    check("a domain that runs is pinned elsewhere at once", pinned),
    check("a domain runs in its pool, and comes back", runs),
    check(
        "a vCPU that wakes while another runs there is runnable meanwhile",
        waiting,
    ),
];

/// What a `cpupool_op` says, and its structure after.
struct Answer {
    result: i64,
    id: u32,
    scheduler: u32,
    domains: u32,
    cpus: u64,
}

fn operate(op: u32, cpupool_id: u32, sched_id: u32, domid: u32, cpu: u32) -> Answer {
    let mut bits = [0_u64; 2];
    let argument = CpupoolOp {
        op,
        cpupool_id,
        sched_id,
        domid,
        cpu,
        n_dom: 0,
        cpumap: Bitmap {
            bitmap: Handle(bits.as_mut_ptr() as u64),
            nr_bits: 64,
            _pad: 0,
        },
    };
    let (result, after): (_, CpupoolOp) = sysctl(XEN_SYSCTL_CPUPOOL_OP, &argument);
    Answer {
        result,
        id: after.cpupool_id,
        scheduler: after.sched_id,
        domains: after.n_dom,
        // SAFETY: a local, which the hypercall may have written.
        cpus: unsafe { bits.as_ptr().read_volatile() },
    }
}

fn of_cpu(op: u32, pool: u32, cpu: u32) -> i64 {
    operate(op, pool, 0, 0, cpu).result
}

/// Asks again while it is busy, as the toolstack does.
fn remove(pool: u32, cpu: u32) -> i64 {
    let mut result = EAGAIN;
    wait_until(LATE, || {
        result = of_cpu(REMOVE, pool, cpu);
        result != EAGAIN
    });
    result
}

/// Puts a free CPU into pool 0; true if there is none any more.
fn give_all_back() -> bool {
    of_cpu(ADD, 0, ANY);
    free() == 0
}

fn migrate(domain: u32, pool: u32) -> i64 {
    operate(MOVE, pool, 0, domain, 0).result
}

fn describe(pool: u32) -> Answer {
    operate(INFO, pool, 0, 0, 0)
}

fn free() -> u64 {
    operate(FREE, 0, 0, 0, 0).cpus
}

/// A pool, which is gone in the end, its CPUs in pool 0.
struct Pool(u32);

impl Pool {
    fn new() -> Result<Self, Failure> {
        let made = operate(CREATE, ANY, CREDIT2, 0, 0);
        ensure_eq!(made.result, 0, "create");
        Ok(Self(made.id))
    }

    /// One with the machine's last CPU.
    fn with_last_cpu() -> Result<(Self, u32), Failure> {
        let pool = Self::new()?;
        let cpu = last_cpu()?;
        ensure_eq!(remove(0, cpu), 0, "remove the last CPU");
        ensure_eq!(of_cpu(ADD, pool.0, cpu), 0, "add it");
        Ok((pool, cpu))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // A domain that was destroyed may be there for a moment.
        wait_until(LATE, || {
            describe(self.0).id != self.0 || describe(self.0).domains == 0
        });
        wait_until(LATE, || {
            remove(self.0, ANY);
            give_all_back() && (describe(self.0).id != self.0 || describe(self.0).cpus == 0)
        });
        operate(DESTROY, self.0, 0, 0, 0);
    }
}

fn last_cpu() -> Result<u32, Failure> {
    match facts().cpus as u32 {
        0 | 1 => Err(Failure::Skipped("one CPU")),
        cpus => Ok(cpus - 1),
    }
}

fn all_cpus() -> u64 {
    (1 << facts().cpus) - 1
}

fn ratelimit() -> Outcome {
    let run = |cmd, cpupool_id, sched_id, ratelimit_us| {
        let argument = PoolSchedulerOp {
            cpupool_id,
            sched_id,
            cmd,
            _pad: 0,
            ratelimit_us,
            _rest: [0; 3],
        };
        let (result, after): (_, PoolSchedulerOp) = sysctl(XEN_SYSCTL_SCHEDULER_OP, &argument);
        (result, after.ratelimit_us)
    };
    let get = |pool, scheduler| run(XEN_SYSCTL_SCHEDOP_GETINFO, pool, scheduler, 7);
    let put = |pool, scheduler, us| run(XEN_SYSCTL_SCHEDOP_PUTINFO, pool, scheduler, us).0;
    ensure_eq!(get(0, CREDIT2), (0, 1000), "get");
    ensure_eq!(get(0, CREDIT).0, EINVAL, "get of credit");
    ensure_eq!(get(NOBODY, CREDIT2).0, ESRCH, "get of no pool");
    ensure_eq!(run(9, NOBODY, CREDIT2, 0).0, EINVAL, "command 9");
    ensure_eq!(put(0, CREDIT, 1000), EINVAL, "put of credit");
    ensure_eq!(put(NOBODY, CREDIT2, 1000), ESRCH, "put of no pool");
    for us in [99, 500_001] {
        ensure_eq!(put(0, CREDIT2, us), EINVAL, "put {us}");
    }
    for us in [100, 500_000, 0, 1000] {
        ensure_eq!(put(0, CREDIT2, us), 0, "put {us}");
        ensure_eq!(get(0, CREDIT2), (0, us), "get");
    }
    let pool = Pool::new()?;
    ensure_eq!(put(pool.0, CREDIT2, 2000), 0, "put of another pool");
    ensure_eq!(get(pool.0, CREDIT2), (0, 2000), "get of another pool");
    ensure_eq!(get(0, CREDIT2), (0, 1000), "get of pool 0");
    Ok(())
}

fn pools() -> Outcome {
    let seen = describe(0);
    ensure_eq!(
        (seen.result, seen.id, seen.scheduler),
        (0, 0, CREDIT2),
        "pool 0"
    );
    ensure_eq!(seen.cpus, all_cpus(), "its CPUs");
    ensure_eq!(describe(1).result, ENOENT, "pool 1");
    ensure_eq!(free(), 0, "free CPUs");
    let made = operate(CREATE, 7, CREDIT2, 0, 0);
    ensure_eq!((made.result, made.id), (0, 7), "create 7");
    let pool = Pool(7);
    let seen = describe(3);
    ensure_eq!(
        (seen.result, seen.id, seen.scheduler),
        (0, 7, CREDIT2),
        "from 3 on"
    );
    ensure_eq!((seen.cpus, seen.domains), (0, 0), "what is in it");
    hypfs::lists(b"/cpupool\0", &[b"0", b"7"])?;
    hypfs::lists(b"/cpupool/7\0", &[b"sched-gran"])?;
    if facts().cpus > 1 {
        let next = Pool::new()?;
        ensure_eq!(next.0, 8, "the next pool's number");
        ensure_eq!(
            operate(CREATE, 7, CREDIT2, 0, 0).result,
            EEXIST,
            "create 7 again"
        );
    }
    ensure_eq!(operate(DESTROY, pool.0, 0, 0, 0).result, 0, "destroy");
    ensure_eq!(
        operate(DESTROY, pool.0, 0, 0, 0).result,
        ENOENT,
        "destroy it again"
    );
    let first = Pool::new()?;
    ensure_eq!(first.0, 1, "the first one's number");
    Ok(())
}

fn credit() -> Outcome {
    let made = operate(CREATE, ANY, CREDIT, 0, 0);
    ensure_eq!(made.result, 0, "create");
    drop(Pool(made.id));
    Ok(())
}

fn many() -> Outcome {
    let mut made = 0;
    let mut last = 0;
    while made < 64 {
        let answer = operate(CREATE, 100 + made, CREDIT2, 0, 0).result;
        if answer != 0 {
            last = answer;
            break;
        }
        made += 1;
    }
    for n in 0..made {
        operate(DESTROY, 100 + n, 0, 0, 0);
    }
    ensure_eq!(last, ENOSPC, "one too many");
    ensure_eq!(made, 2 * facts().cpus as u32 - 1, "pools beside pool 0");
    Ok(())
}

fn refused() -> Outcome {
    for scheduler in [0, 4, 7, 8, 9, 10, 99, u32::MAX] {
        let answer = operate(CREATE, ANY, scheduler, 0, 0).result;
        ensure_eq!(answer, ENOENT, "create with scheduler {scheduler}");
    }
    for op in [0, 8, u32::MAX] {
        ensure_eq!(
            operate(op, 0, CREDIT2, 0, 0).result,
            ENOSYS,
            "operation {op}"
        );
    }
    ensure_eq!(operate(CREATE, 0, CREDIT2, 0, 0).result, EEXIST, "create 0");
    ensure_eq!(operate(DESTROY, 0, 0, 0, 0).result, EBUSY, "destroy 0");
    ensure_eq!(operate(DESTROY, ANY, 0, 0, 0).result, ENOENT, "destroy any");
    ensure_eq!(describe(ANY).result, ENOENT, "describe any");
    Ok(())
}

fn refused_cpus() -> Outcome {
    let pool = Pool::new()?;
    ensure_eq!(of_cpu(ADD, pool.0, 0), ENODEV, "add a CPU of another pool");
    ensure_eq!(of_cpu(ADD, pool.0, ANY), ENODEV, "add any, of none");
    ensure_eq!(of_cpu(ADD, NOBODY, 0), ENOENT, "add to no pool");
    ensure_eq!(remove(pool.0, 0), EADDRNOTAVAIL, "remove from another pool");
    ensure_eq!(remove(pool.0, ANY), EINVAL, "remove any, of none");
    ensure_eq!(remove(NOBODY, 0), ENOENT, "remove from no pool");
    for cpu in [99, 5000] {
        ensure_eq!(of_cpu(ADD, pool.0, cpu), EINVAL, "add {cpu}");
        ensure_eq!(remove(0, cpu), EINVAL, "remove {cpu}");
    }
    Ok(())
}

fn staying() -> Outcome {
    let pool = Pool::new()?;
    for to in [0, pool.0, NOBODY] {
        ensure_eq!(migrate(0, to), EPERM, "dom0 to {to}");
        ensure_eq!(migrate(NOBODY, to), ESRCH, "nobody to {to}");
        ensure_eq!(migrate(0x7ff0, to), ESRCH, "the caller to {to}");
    }
    let domain = Domu::new()?;
    ensure_eq!(
        migrate(domain.0.into(), pool.0),
        ENOENT,
        "to a pool without CPUs"
    );
    ensure_eq!(migrate(domain.0.into(), NOBODY), ENOENT, "to no pool");
    ensure_eq!(migrate(domain.0.into(), 0), 0, "to where it is");
    Ok(())
}

fn cpus() -> Outcome {
    let (pool, cpu) = Pool::with_last_cpu()?;
    ensure_eq!(describe(0).cpus, all_cpus() & !(1 << cpu), "CPUs of pool 0");
    ensure_eq!(describe(pool.0).cpus, 1 << cpu, "CPUs of the pool");
    ensure_eq!(free(), 0, "free CPUs");
    ensure_eq!(of_cpu(ADD, pool.0, cpu), ENODEV, "add it again");
    ensure_eq!(of_cpu(ADD, 0, cpu), ENODEV, "add it to pool 0");
    ensure_eq!(remove(0, cpu), EADDRNOTAVAIL, "remove it from pool 0");
    ensure_eq!(
        operate(DESTROY, pool.0, 0, 0, 0).result,
        EBUSY,
        "destroy the pool"
    );
    ensure_eq!(remove(pool.0, ANY), 0, "remove any");
    ensure_eq!(free(), 1 << cpu, "free CPUs");
    ensure_eq!(of_cpu(ADD, 0, ANY), 0, "add any");
    ensure_eq!(describe(0).cpus, all_cpus(), "CPUs of pool 0");
    Ok(())
}

fn first_cpu() -> Outcome {
    ensure_eq!(remove(0, 0), EINVAL, "remove CPU 0");
    let mut stay = 1;
    for cpu in (1..facts().cpus as u32).rev() {
        // The last one of a kind that dom0 needs stays; any is the last one.
        let needed = describe(0).cpus & cpus_like(cpu) == 1 << cpu;
        let wanted = if stay == 1 { ANY } else { cpu };
        let answer = if needed { EBUSY } else { 0 };
        ensure_eq!(remove(0, wanted), answer, "remove CPU {cpu} by {wanted:#x}");
        ensure_eq!(
            free() >> cpu & 1 == 0,
            needed,
            "CPU {cpu} is left, the last one first"
        );
        stay |= u64::from(needed) << cpu;
    }
    let answer = if stay == 1 { EINVAL } else { EBUSY };
    ensure_eq!(remove(0, ANY), answer, "remove any that stays");
    ensure_eq!(describe(0).cpus, stay, "CPUs of pool 0");
    wait_until(LATE, give_all_back);
    ensure_eq!(describe(0).cpus, all_cpus(), "CPUs of pool 0");
    Ok(())
}

/// Sets or gets affinities of vCPU 0: what is said, and the sets after.
fn affinity(cmd: u32, domain: u16, flags: u32, hard: u64, soft: u64) -> (i64, u64, u64) {
    let mut bits = [hard, soft];
    let map = |at: *mut u64| Bitmap {
        bitmap: Handle(at as u64),
        nr_bits: 64,
        _pad: 0,
    };
    let bits = bits.as_mut_ptr();
    let argument = VcpuAffinity {
        vcpu: 0,
        flags,
        cpumap_hard: map(bits),
        // SAFETY: the second of two.
        cpumap_soft: map(unsafe { bits.add(1) }),
    };
    let result = domctl(cmd, domain, &argument);
    // SAFETY: locals, which the hypercall may have written.
    unsafe { (result, bits.read_volatile(), bits.add(1).read_volatile()) }
}

fn affinities(domain: u16) -> (i64, u64, u64) {
    affinity(XEN_DOMCTL_GETVCPUAFFINITY, domain, 3, 0, 0)
}

fn bind(domain: u16, hard: u64) -> (i64, u64) {
    let (result, hard, _) = affinity(XEN_DOMCTL_SETVCPUAFFINITY, domain, 1, hard, 0);
    (result, hard)
}

fn cpu_of(domain: u16) -> u32 {
    let (_, op) = command(XEN_DOMCTL_GETVCPUINFO, domain, &0_u32);
    op.u.get::<GetVcpuInfo>().cpu
}

fn share(domain: u16, cmd: u32, weight: u16, cap: u16) -> (i64, u16, u16) {
    let argument = SchedulerOp {
        sched_id: CREDIT2,
        cmd,
        weight,
        cap,
        _rest: [0; 3],
    };
    let (result, op) = command(XEN_DOMCTL_SCHEDULER_OP, domain, &argument);
    let op: SchedulerOp = op.u.get();
    (result, op.weight, op.cap)
}

fn moving() -> Outcome {
    let (pool, cpu) = Pool::with_last_cpu()?;
    let domain = Domu::new()?;
    let (id, own) = (domain.0, 1 << cpu);
    ensure_eq!(bind(id, 1), (0, 1), "bind it to CPU 0");
    ensure_eq!(
        share(id, XEN_DOMCTL_SCHEDOP_PUTINFO, 300, 20).0,
        0,
        "give it a share"
    );
    ensure_eq!(migrate(id.into(), pool.0), 0, "move it");
    ensure_eq!(info(id).map(|i| i.cpupool), Ok(pool.0), "its pool");
    // It has never run, and is of a kind that the pool has.
    let alike = cpus_like(cpu);
    ensure_eq!(affinities(id), (0, alike, all_cpus()), "its affinities");
    ensure_eq!(cpu_of(id), cpu, "its CPU");
    ensure_eq!(
        share(id, XEN_DOMCTL_SCHEDOP_GETINFO, 0, 0),
        (0, 256, 0),
        "its share"
    );
    ensure_eq!(describe(pool.0).domains, 1, "domains there");
    ensure_eq!(bind(id, 1).0, EINVAL, "bind it to CPU 0");
    ensure_eq!(bind(id, own), (0, own), "bind it to its CPU");
    ensure_eq!(bind(id, own | 1), (0, own), "bind it to both");
    ensure_eq!(affinities(id).1, (own | 1) & alike, "its hard affinity");
    ensure_eq!(remove(pool.0, cpu), EBUSY, "remove the last CPU");
    ensure_eq!(
        operate(DESTROY, pool.0, 0, 0, 0).result,
        EBUSY,
        "destroy the pool"
    );
    ensure_eq!(migrate(id.into(), 0), 0, "move it back");
    ensure_eq!(info(id).map(|i| i.cpupool), Ok(0), "its pool");
    ensure_eq!(affinities(id), (0, alike, all_cpus()), "its affinities");
    ensure!(cpu_of(id) != cpu, "its CPU is {}", cpu_of(id));
    Ok(())
}

fn made_there() -> Outcome {
    let (pool, cpu) = Pool::with_last_cpu()?;
    let empty = Pool::new()?;
    let make = |cpupool_id| {
        let mut config = plain();
        config.cpupool_id = cpupool_id;
        create(0, &config)
    };
    ensure_eq!(make(empty.0), Err(ENODEV), "in a pool without CPUs");
    ensure_eq!(make(NOBODY), Err(ESRCH), "in no pool");
    ensure_eq!(make(ANY), Err(ESRCH), "in any");
    let domain = match make(pool.0) {
        Ok(id) => Domu(id),
        Err(error) => fail!("createdomain says {error}"),
    };
    ensure_eq!(
        domctl(XEN_DOMCTL_MAX_VCPUS, domain.0, &MaxVcpus { max: 1 }),
        0,
        "max_vcpus"
    );
    ensure_eq!(info(domain.0).map(|i| i.cpupool), Ok(pool.0), "its pool");
    ensure_eq!(cpu_of(domain.0), cpu, "its CPU");
    ensure_eq!(describe(pool.0).domains, 1, "domains there");
    Ok(())
}

/// It is dead as long as we map a page of it.
fn dead() -> Outcome {
    let (pool, _) = Pool::with_last_cpu()?;
    let domain = Domu::new()?;
    let id = domain.0;
    ensure_eq!(migrate(id.into(), pool.0), 0, "move it");
    let at = facts().grant_region.base >> 12;
    ensure_eq!(map_foreign(id, BASE, at), 0, "map a page of it");
    drop(domain);
    let seen = info(id).map(|i| (i.cpupool, i.flags & XEN_DOMINF_DYING));
    let domains = describe(pool.0).domains;
    let removed = remove_from_physmap(at);
    ensure_eq!(
        seen,
        Ok((0, XEN_DOMINF_DYING)),
        "its pool, and that it is dead"
    );
    ensure_eq!(domains, 0, "domains in its old pool");
    ensure_eq!(removed, 0, "let go its page");
    Ok(())
}

fn broken() -> Outcome {
    let cpu = last_cpu()?;
    let domain = Domu::new()?;
    let (id, own) = (domain.0, 1 << cpu);
    let set = affinity(XEN_DOMCTL_SETVCPUAFFINITY, id, 3, own, own);
    ensure_eq!(set, (0, own, own), "set both");
    let pool = Pool::new()?;
    ensure_eq!(remove(0, cpu), 0, "remove its CPU");
    ensure_eq!(affinities(id), (0, cpus_like(cpu), own), "its affinities");
    ensure!(cpu_of(id) != cpu, "it is on the CPU that left");
    ensure_eq!(bind(id, own).0, EINVAL, "bind it to the CPU that left");
    let soft = affinity(XEN_DOMCTL_SETVCPUAFFINITY, id, 2, 0, own);
    ensure_eq!(soft, (0, 0, 0), "prefer the CPU that left");
    drop(pool);
    ensure_eq!(describe(0).cpus, all_cpus(), "CPUs of pool 0");
    Ok(())
}

fn flags() -> Outcome {
    let domain = Domu::new()?;
    let set = |flags| affinity(XEN_DOMCTL_SETVCPUAFFINITY, domain.0, flags, 1, 1);
    let get = |flags| affinity(XEN_DOMCTL_GETVCPUAFFINITY, domain.0, flags, 0, 0);
    let own = cpus_like(cpu_of(domain.0));
    ensure_eq!(affinities(domain.0), (0, own, all_cpus()), "at first");
    ensure_eq!(set(0).0, EINVAL, "set nothing");
    ensure_eq!(set(4), (0, 1, 1), "set with force alone");
    ensure_eq!(set(8), (0, 1, 1), "set with an unknown flag");
    ensure_eq!(affinities(domain.0), (0, own, all_cpus()), "as before");
    ensure_eq!(set(5), (0, 1, 1), "set with force");
    ensure_eq!(affinities(domain.0), (0, 1, all_cpus()), "after");
    ensure_eq!(get(0).0, EINVAL, "get nothing");
    for flags in [4, 8] {
        ensure_eq!(get(flags).0, 0, "get with flags {flags}");
    }
    Ok(())
}

/// A domain that counts for ever, on CPU `cpu` alone.
fn counting(cpu: u32) -> Result<Domu, Failure> {
    let domain = Domu::new()?;
    ensure_eq!(bind(domain.0, 1 << cpu).0, 0, "bind it");
    start(&domain, Program::Count, 0)?;
    Ok(domain)
}

/// True once it has run for longer. It may share its CPU with who asks.
fn is_running(domain: u16) -> bool {
    let time = || info(domain).map_or(0, |info| info.cpu_time);
    let before = time();
    wait_until(100_000, || time() > before)
}

fn pinned() -> Outcome {
    let cpu = last_cpu()?;
    let domain = counting(cpu)?;
    ensure!(
        wait_until(LATE, || is_running(domain.0)),
        "it does not run at first"
    );
    let other = cpus_like(cpu).trailing_zeros();
    if other == cpu {
        return Err(Failure::Skipped("one CPU of its kind"));
    }
    for to in [other, cpu, other, cpu] {
        ensure_eq!(bind(domain.0, 1 << to).0, 0, "bind it to CPU {to}");
        let moved = wait_until(100_000, || cpu_of(domain.0) == to);
        ensure!(moved, "it stays on CPU {}", cpu_of(domain.0));
        // Xen 4.20 forgets one now and then that is bound again before it has run.
        let runs = wait_until(LATE, || is_running(domain.0));
        ensure!(runs, "it does not run on CPU {to}");
    }
    Ok(())
}

fn runs() -> Outcome {
    let (pool, cpu) = Pool::with_last_cpu()?;
    let domain = Domu::new()?;
    start(&domain, Program::Count, 0)?;
    let go = |pool, what| {
        // Xen 4.20 breaks now and then when a domain that runs moves (in credit2's context_saved).
        ensure_eq!(domctl(XEN_DOMCTL_PAUSEDOMAIN, domain.0, &NONE), 0, "pause");
        ensure_eq!(migrate(domain.0.into(), pool), 0, "{what}");
        ensure_eq!(
            domctl(XEN_DOMCTL_UNPAUSEDOMAIN, domain.0, &NONE),
            0,
            "unpause"
        );
        Ok(())
    };
    go(pool.0, "move it")?;
    let moved = wait_until(LATE, || cpu_of(domain.0) == cpu && is_running(domain.0));
    ensure!(
        moved,
        "it does not run there, but on CPU {}",
        cpu_of(domain.0)
    );
    go(0, "move it back")?;
    ensure!(wait_until(LATE, || is_running(domain.0)), "it does not run");
    Ok(())
}

fn waiting() -> Outcome {
    const TIMES: u32 = 20;
    let before = beside_another(TIMES)?;
    ensure!(before != 0, "it was runnable for no time in {TIMES} times");
    Ok(())
}

/// Has CPU 0 wake so many times on a CPU that is busy; nanoseconds that it was runnable.
fn beside_another(times: u32) -> Result<u64, Failure> {
    ensure_eq!(bind(0, 1).0, 0, "bind vCPU 0");
    let domain = counting(0)?;
    let runs = wait_until(LATE, || is_running(domain.0));
    let before = runnable_time();
    let naps = (0..times).map(|_| nap(1_000_000)).min();
    let after = runnable_time();
    ensure_eq!(bind(0, all_cpus()).0, 0, "let it go anywhere");
    ensure!(runs, "the other one does not run");
    ensure_eq!(naps, Some(0), "SCHEDOP_poll");
    Ok(after - before)
}
