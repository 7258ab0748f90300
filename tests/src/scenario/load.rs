// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0 under load: more virtual CPUs than real ones, CPUs going and coming, and long mixed work.

use std::time::Duration;

use super::{Scenario, Selection, Stage, disk};
use crate::dom0::Dom0;
use crate::error::{Result, fail};
use crate::machine::{Gic, Machine};
use crate::noise::noise;
use crate::workspace::write_whole;

pub(super) fn scenarios() -> Vec<Scenario> {
    let case = |name, selection, judge: fn(&Stage, Gic) -> Result<()>, gic| {
        Scenario::new(name, selection, move |stage| judge(stage, gic))
    };
    use Selection::{Full, Short};
    let soak = |name, selection, seconds| {
        Scenario::new(name, selection, move |stage| soaks(stage, seconds))
    };
    vec![
        case("overcommit/gic3", Short, overcommits, Gic::V3),
        case("overcommit/gic2", Full, overcommits, Gic::V2),
        case("hotplug/gic3", Short, hotplugs, Gic::V3),
        case("hotplug/gic2", Full, hotplugs, Gic::V2),
        soak("soak/45s", Short, 45),
        soak("soak/10min", Full, 600),
    ]
}

fn overcommits(stage: &Stage, gic: Gic) -> Result<()> {
    let machine = Machine {
        gic,
        cpus: 2,
        hypervisor_args: "dom0_max_vcpus=4".to_owned(),
        ..stage.machine()
    };
    let mut dom0 = stage.boot(&machine)?;
    dom0.expect_cpus(4)?;
    let sums = dom0.run_within(
        "for i in 1 2 3 4; do head -c 8000000 /dev/zero | sha256sum & done; wait",
        Duration::from_secs(240),
    )?;
    let lines: Vec<_> = sums.lines().filter(|line| line.ends_with(" -")).collect();
    if lines.len() != 4 || lines.iter().any(|line| *line != lines[0]) {
        let message = format!("four equal sums were expected, not: {sums}");
        return Err(dom0.console.failure(&message));
    }
    expect_quiet_kernel(&mut dom0)?;
    dom0.power_off()
}

fn hotplugs(stage: &Stage, gic: Gic) -> Result<()> {
    let machine = Machine {
        gic,
        cpus: 4,
        ..stage.machine()
    };
    let mut dom0 = stage.boot(&machine)?;
    for _ in 0..3 {
        for cpu in 1..4 {
            switch_cpu(&mut dom0, cpu, false)?;
            dom0.expect_cpus(3)?;
            switch_cpu(&mut dom0, cpu, true)?;
            dom0.expect_cpus(4)?;
        }
    }
    for cpu in 1..4 {
        switch_cpu(&mut dom0, cpu, false)?;
    }
    dom0.expect_cpus(1)?;
    for cpu in 1..4 {
        switch_cpu(&mut dom0, cpu, true)?;
    }
    dom0.expect_cpus(4)?;
    // A CPU that came back must run tasks, not only be counted.
    dom0.run("for c in 0 1 2 3; do taskset $((1 << c)) sleep 0.1 || exit 1; done")?;
    dom0.power_off()
}

fn switch_cpu(dom0: &mut Dom0, cpu: u32, on: bool) -> Result<()> {
    let value = u8::from(on);
    dom0.run(&format!(
        "echo {value} >/sys/devices/system/cpu/cpu{cpu}/online"
    ))?;
    Ok(())
}

/// Loops that end at the time `$end`; each is one kind of work.
const WORK: &[&str] = &[
    // Forks and pipes.
    "while [ $(date +%s) -lt $end ]; do seq 500 | sort -n | tail -n 1 >/dev/null; done",
    // Timers, several at a time.
    "while [ $(date +%s) -lt $end ]; do usleep 1000 & usleep 5000 & sleep 0.2; wait; done",
    // Files, judged.
    "while [ $(date +%s) -lt $end ]; do head -c 300000 /dev/urandom >/tmp/a; cp /tmp/a /tmp/b; \
     cmp /tmp/a /tmp/b || echo FILES DIFFER; rm /tmp/a /tmp/b; done",
    // The disk, past the page cache.
    "while [ $(date +%s) -lt $end ]; do echo 3 >/proc/sys/vm/drop_caches; \
     sha256sum $disk | cut -d ' ' -f 1 >>/tmp/sums; done",
    // Plain computing.
    "while [ $(date +%s) -lt $end ]; do head -c 2000000 /dev/zero | sha256sum >/dev/null; done",
];

fn soaks(stage: &Stage, seconds: u64) -> Result<()> {
    let image = stage.file(".img");
    write_whole(&image, &noise(13, 8 << 20))?;
    let mut machine = Machine {
        cpus: 2,
        hypervisor_args: "dom0_max_vcpus=3".to_owned(),
        ..stage.machine()
    };
    // Not NVMe: QEMU 7.2's holds its interrupt line up after the driver has seen to it, until Linux, also without a
    // hypervisor, gives up on the interrupt: "nobody cared".
    let node = disk::attach_virtio(&mut machine, &image);
    let mut dom0 = stage.boot(&machine)?;
    dom0.run(&disk::wait_for(node))?;
    dom0.run(&format!(
        "disk={node}; end=$(($(date +%s) + {seconds})); : >/tmp/sums"
    ))?;
    let jobs: Vec<_> = WORK.iter().map(|job| format!("( {job} ) &")).collect();
    let limit = Duration::from_secs(seconds * 2 + 120);
    let said = dom0.run_within(&format!("{} wait", jobs.join(" ")), limit)?;
    if said.contains("FILES DIFFER") {
        return Err(dom0.console.failure("a copied file differed"));
    }
    let sums = dom0.run("sort -u /tmp/sums | wc -l")?;
    if sums.trim() != "1" {
        let message = format!("the disk's content had {} different sums", sums.trim());
        return Err(dom0.console.failure(&message));
    }
    expect_quiet_kernel(&mut dom0)?;
    dom0.power_off()?;
    std::fs::remove_file(&image).or_else(|error| fail(format!("{}: {error}", image.display())))
}

/// Complaints of a kernel whose interrupts, timers or CPUs do not come when they should.
fn expect_quiet_kernel(dom0: &mut Dom0) -> Result<()> {
    const COMPLAINTS: &str = "lost interrupt|rcu.*stall|rcu.*detected|blocked for more than|soft lockup|nobody cared\
         |timeout, (aborting|completion polled|reset)|Unexpected interrupt|BUG:|WARNING:|Oops";
    let found = dom0.run(&format!("dmesg | grep -E '{COMPLAINTS}' || true"))?;
    if found.trim().is_empty() {
        return Ok(());
    }
    Err(dom0
        .console
        .failure(&format!("dom0's kernel complains: {found}")))
}
