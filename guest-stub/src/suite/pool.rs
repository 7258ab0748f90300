// SPDX-License-Identifier: MIT OR Apache-2.0
//! probe

use xen_abi::domctl::*;
use xen_abi::sysctl::{
    CpupoolOp, SchedulerOp as SysSchedulerOp, XEN_SYSCTL_CPUPOOL_OP, XEN_SYSCTL_SCHEDULER_OP,
};
use xen_abi::Handle;

use super::check::{Check, Outcome, check};
use super::domctl::Domu;
use crate::console::println;
use crate::machine::dt::facts;
use crate::xen::domctl::{NONE, command, create, domctl, info, plain, sysctl};

pub(super) const CHECKS: &[Check] = &[check("probe", probe)];

struct Seen {
    r: i64,
    id: u32,
    sched: u32,
    ndom: u32,
    map: u64,
}

fn op(op: u32, cpupool_id: u32, sched_id: u32, domid: u32, cpu: u32) -> Seen {
    let mut bits = [0xa5a5_u64; 2];
    let bitmap = Handle(bits.as_mut_ptr() as u64);
    let argument = CpupoolOp {
        op,
        cpupool_id,
        sched_id,
        domid,
        cpu,
        n_dom: 0,
        cpumap: Bitmap { bitmap, nr_bits: 64, _pad: 0 },
    };
    let (r, o): (_, CpupoolOp) = sysctl(XEN_SYSCTL_CPUPOOL_OP, &argument);
    // SAFETY: probe.
    let map = unsafe { bits.as_ptr().read_volatile() };
    Seen { r, id: o.cpupool_id, sched: o.sched_id, ndom: o.n_dom, map }
}

fn say(what: &str, s: Seen) -> Seen {
    println!("PROBE {what}: {} id {} sched {} n_dom {} map {:#x}", s.r, s.id as i32, s.sched, s.ndom, s.map);
    s
}

fn aff(dom: u16, vcpu: u32) {
    let mut bits = [0_u64; 4];
    let a = VcpuAffinity {
        vcpu,
        flags: 3,
        cpumap_hard: Bitmap { bitmap: Handle(bits.as_mut_ptr() as u64), nr_bits: 64, _pad: 0 },
        cpumap_soft: Bitmap { bitmap: Handle(bits.as_mut_ptr() as u64 + 16), nr_bits: 64, _pad: 0 },
    };
    let r = domctl(XEN_DOMCTL_GETVCPUAFFINITY, dom, &a);
    // SAFETY: probe.
    let (h, s) = unsafe { (bits.as_ptr().read_volatile(), bits.as_ptr().add(2).read_volatile()) };
    println!("PROBE   affinity d{dom}v{vcpu}: {r} hard {h:#x} soft {s:#x}");
}

fn set_aff(dom: u16, vcpu: u32, flags: u32, hard: u64, soft: u64) {
    let mut bits = [hard, 0, soft, 0];
    let a = VcpuAffinity {
        vcpu,
        flags,
        cpumap_hard: Bitmap { bitmap: Handle(bits.as_mut_ptr() as u64), nr_bits: 64, _pad: 0 },
        cpumap_soft: Bitmap { bitmap: Handle(bits.as_mut_ptr() as u64 + 16), nr_bits: 64, _pad: 0 },
    };
    let r = domctl(XEN_DOMCTL_SETVCPUAFFINITY, dom, &a);
    // SAFETY: probe.
    let (h, s) = unsafe { (bits.as_ptr().read_volatile(), bits.as_ptr().add(2).read_volatile()) };
    println!("PROBE   set affinity d{dom}v{vcpu} flags {flags} {hard:#x} {soft:#x}: {r} back hard {h:#x} soft {s:#x}");
}

fn where_is(dom: u16) {
    let (r, o) = command(XEN_DOMCTL_GETVCPUINFO, dom, &0_u32);
    let s: GetVcpuInfo = o.u.get();
    println!("PROBE   vcpuinfo d{dom}v0: {r} online {} blocked {} running {} cpu {}", s.online, s.blocked, s.running, s.cpu);
}

fn sched(cmd: u32, pool: u32, id: u32, rate: u32) {
    let a = SysSchedulerOp { cpupool_id: pool, sched_id: id, cmd, _pad: 0, ratelimit_us: rate, _rest: [0; 3] };
    let (r, o): (_, SysSchedulerOp) = sysctl(XEN_SYSCTL_SCHEDULER_OP, &a);
    println!("PROBE sched cmd {cmd} pool {pool} id {id} rate {rate}: {r} rate {}", o.ratelimit_us);
}

const ANY: u32 = u32::MAX;

fn probe() -> Outcome {
    let last = facts().cpus as u32 - 1;
    for (cmd, pool, id, rate) in [
        (1, 0, 6, 0), (1, 0, 5, 0), (1, 1, 6, 0), (1, ANY, 6, 0), (2, 0, 6, 0),
        (0, 0, 6, 99), (0, 0, 6, 500_001), (0, 0, 6, 100), (1, 0, 6, 0), (0, 0, 6, 500_000), (1, 0, 6, 7),
        (0, 0, 6, 0), (1, 0, 6, 7), (0, 0, 5, 1000), (0, 1, 6, 1000), (0, 0, 6, 1000), (9, 0, 5, 0), (9, 1, 6, 0),
    ] {
        sched(cmd, pool, id, rate);
    }
    say("info 0", op(3, 0, 0, 0, 0));
    say("info 1", op(3, 1, 0, 0, 0));
    say("info any", op(3, ANY, 0, 0, 0));
    say("freeinfo", op(7, 0, 0, 0, 0));
    say("op 0", op(0, 0, 6, 0, 0));
    say("op 8", op(8, 0, 6, 0, 0));
    for s in [0, 1, 4, 5, 7, 8, 9, 10, 99, ANY] {
        let made = say("create any sched s", op(1, ANY, s, 0, 0));
        if made.r == 0 {
            say("  destroy", op(2, made.id, 0, 0, 0));
        } else {
            println!("PROBE   (sched {s})");
        }
    }
    say("create 0", op(1, 0, 6, 0, 0));
    let a = say("create any", op(1, ANY, 6, 0, 0));
    let b = say("create 7", op(1, 7, 6, 0, 0));
    say("create 7 again", op(1, 7, 6, 0, 0));
    let c = say("create any", op(1, ANY, 6, 0, 0));
    say("create 0xfffffffe", op(1, ANY - 1, 6, 0, 0));
    say("create any", op(1, ANY, 6, 0, 0));
    say("destroy it", op(2, ANY - 1, 6, 0, 0));
    say("info 2", op(3, 2, 0, 0, 0));
    say("info 9", op(3, 9, 0, 0, 0));
    say("destroy c", op(2, c.id, 0, 0, 0));
    say("destroy c again", op(2, c.id, 0, 0, 0));
    say("destroy 0", op(2, 0, 0, 0, 0));
    say("destroy any", op(2, ANY, 0, 0, 0));
    say("add cpu 0 to 7 (in use)", op(4, 7, 0, 0, 0));
    say("add cpu any to 7 (none free)", op(4, 7, 0, 0, ANY));
    say("add cpu 99 to 7", op(4, 7, 0, 0, 99));
    say("add cpu 5000 to 7", op(4, 7, 0, 0, 5000));
    say("add cpu 0 to 55", op(4, 55, 0, 0, 0));
    say("rm cpu 0 from 7", op(5, 7, 0, 0, 0));
    say("rm cpu any from 7", op(5, 7, 0, 0, ANY));
    say("rm cpu 99 from 0", op(5, 0, 0, 0, 99));
    say("rm cpu 5000 from 0", op(5, 0, 0, 0, 5000));
    say("rm cpu 0 from 55", op(5, 55, 0, 0, 0));
    say("move d77 to 7", op(6, 7, 0, 77, 0));
    say("move d0 to 55", op(6, 55, 0, 0, 0));
    say("move d0 to 7 (empty)", op(6, 7, 0, 0, 0));
    say("move d0 to 0", op(6, 0, 0, 0, 0));
    say("move self to 0", op(6, 0, 0, 0x7ff0, 0));
    say("move 0x10000 to 0", op(6, 0, 0, 0x10000, 0));
    if last == 0 {
        say("rm the only cpu", op(5, 0, 0, 0, 0));
        for id in [a.id, b.id] { say("destroy", op(2, id, 0, 0, 0)); }
        return Ok(());
    }
    let d = Domu::new()?;
    aff(d.0, 0);
    set_aff(d.0, 0, 2, 0, 2);
    aff(d.0, 0);
    set_aff(d.0, 0, 1, 1, 0);
    aff(d.0, 0);
    set_aff(d.0, 0, 3, 3, 0);
    set_aff(d.0, 0, 3, 3, 1);
    set_aff(d.0, 0, 7, 3, 1);
    set_aff(d.0, 0, 5, 3, 1);
    set_aff(d.0, 0, 4, 3, 1);
    set_aff(d.0, 0, 8, 3, 1);
    set_aff(d.0, 0, 3, 1 << last, 1 << last);
    where_is(d.0);
    say("rm last cpu (d pinned there)", op(5, 0, 0, 0, last));
    where_is(d.0);
    aff(d.0, 0);
    aff(0, 0);
    aff(0, last);
    say("info 0", op(3, 0, 0, 0, 0));
    say("freeinfo", op(7, 0, 0, 0, 0));
    set_aff(d.0, 0, 1, 1 << last, 0);
    set_aff(d.0, 0, 2, 0, 1 << last);
    say("rm it again", op(5, 0, 0, 0, last));
    say("add it to 7", op(4, 7, 0, 0, last));
    say("add it to 7 again", op(4, 7, 0, 0, last));
    say("add it to 0", op(4, 0, 0, 0, last));
    say("info 7", op(3, 7, 0, 0, 0));
    say("destroy 7 with cpu", op(2, 7, 0, 0, 0));
    sched(1, 7, 6, 0);
    sched(0, 7, 6, 2000);
    sched(1, 7, 6, 0);
    sched(1, 0, 6, 0);
    set_aff(d.0, 0, 1, 1, 0);
    say("move d to 7", op(6, 7, 0, u32::from(d.0), 0));
    aff(d.0, 0);
    where_is(d.0);
    println!("PROBE   getdomaininfo.cpupool {:?}", info(d.0).map(|i| i.cpupool));
    say("info 7", op(3, 7, 0, 0, 0));
    say("move d to 7 again", op(6, 7, 0, u32::from(d.0), 0));
    set_aff(d.0, 0, 1, 1, 0);
    set_aff(d.0, 0, 1, 3, 0);
    set_aff(d.0, 0, 1, 1 << last, 0);
    say("rm its last cpu", op(5, 7, 0, 0, last));
    say("destroy 7 with dom", op(2, 7, 0, 0, 0));
    let put = domctl(XEN_DOMCTL_SCHEDULER_OP, d.0, &SchedulerOp { sched_id: 6, cmd: 0, weight: 300, cap: 20, _rest: [0; 3] });
    say("move d to 0", op(6, 0, 0, u32::from(d.0), 0));
    let (r, o) = command(XEN_DOMCTL_SCHEDULER_OP, d.0, &SchedulerOp { sched_id: 6, cmd: 1, weight: 0, cap: 0, _rest: [0; 3] });
    let o: SchedulerOp = o.u.get();
    println!("PROBE   put {put}; after move: {r} weight {} cap {}", o.weight, o.cap);
    aff(d.0, 0);
    let mut config = plain();
    config.cpupool_id = 7;
    let made = create(0, &config);
    println!("PROBE   create in 7: {made:?} {:?}", made.map(|id| info(id).map(|i| i.cpupool)));
    if let Ok(id) = made {
        println!("PROBE     max_vcpus {}", domctl(XEN_DOMCTL_MAX_VCPUS, id, &MaxVcpus { max: 1 }));
        aff(id, 0);
        where_is(id);
        say("info 7", op(3, 7, 0, 0, 0));
        println!("PROBE     destroyed {}", domctl(XEN_DOMCTL_DESTROYDOMAIN, id, &NONE));
    }
    config.cpupool_id = a.id;
    println!("PROBE   create in empty: {:?}", create(0, &config));
    config.cpupool_id = 55;
    println!("PROBE   create in 55: {:?}", create(0, &config));
    config.cpupool_id = ANY;
    println!("PROBE   create in any: {:?}", create(0, &config));
    say("info 7", op(3, 7, 0, 0, 0));
    say("rm last from 7", op(5, 7, 0, 0, ANY));
    say("freeinfo", op(7, 0, 0, 0, 0));
    say("add any to 0", op(4, 0, 0, 0, ANY));
    for cpu in 0..last { say("rm low cpu", op(5, 0, 0, 0, cpu)); }
    say("rm the last one", op(5, 0, 0, 0, last));
    say("rm any", op(5, 0, 0, 0, ANY));
    where_is(0);
    say("info 0", op(3, 0, 0, 0, 0));
    for _ in 0..last { say("add any to 0", op(4, 0, 0, 0, ANY)); }
    say("info 0", op(3, 0, 0, 0, 0));
    for id in [a.id, b.id] { say("destroy", op(2, id, 0, 0, 0)); }
    aff(0, 0);
    println!("PROBE cap: {} {}", 
        domctl(XEN_DOMCTL_SCHEDULER_OP, d.0, &SchedulerOp { sched_id: 6, cmd: 2, weight: 0, cap: 0, _rest: [0; 3] }),
        domctl(XEN_DOMCTL_SCHEDULER_OP, d.0, &SchedulerOp { sched_id: 6, cmd: 3, weight: 0, cap: 0, _rest: [0; 3] }));
    Ok(())
}
