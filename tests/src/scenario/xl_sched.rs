// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Debian's xl says and does about CPU time: weights, caps, affinities, pools, and many guests on two CPUs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Scenario, Selection, Stage};
use crate::console::scaled;
use crate::dom0::Dom0;
use crate::error::Result;
use crate::guest::{Guest, LONG, SOON};
use crate::machine::Gic;

pub(super) fn scenarios() -> Vec<Scenario> {
    use Selection::Full;
    vec![
        Scenario::new("xl-sched/shares", Full, shares),
        Scenario::new("xl-sched/affinity", Full, affinity),
        Scenario::new("xl-sched/pools", Full, pools),
        Scenario::new("xl-sched/crowd", Full, crowd),
    ]
}

fn small(name: &str, cpus: u32) -> Guest {
    Guest {
        cpus,
        memory_mib: 96,
        ..Guest::new(name)
    }
}

/// Keeps all vCPUs of a guest busy.
fn spin(dom0: &mut Dom0, guest: &Guest) -> Result<()> {
    let one = "while :; do :; done &";
    let all = one.repeat(guest.cpus as usize);
    guest.run(dom0, &format!("{all} :"))?;
    Ok(())
}

/// Seconds of CPU time that each domain has had, by name, as `xl vcpu-list` has them; and the seconds that dom0's
/// clock shows, in the middle of what xl takes.
fn times(dom0: &mut Dom0) -> Result<(f64, BTreeMap<String, f64>)> {
    let text = dom0.run("cut -d' ' -f1 /proc/uptime; xl vcpu-list; cut -d' ' -f1 /proc/uptime")?;
    let lines: Vec<_> = text.lines().collect();
    let number = |text: Option<&str>| text.and_then(|t| t.trim().parse::<f64>().ok());
    let [first, _, lines @ .., last] = &lines[..] else {
        return Err(dom0.console.failure(&format!("no times in {text}")));
    };
    let (Some(first), Some(last)) = (number(Some(first)), number(Some(last))) else {
        return Err(dom0.console.failure(&format!("no time in {text}")));
    };
    let clock = f64::midpoint(first, last);
    let mut all = BTreeMap::new();
    for line in lines {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [name, _, _, _, _, time, ..] = fields[..] else {
            return Err(dom0
                .console
                .failure(&format!("a line of xl vcpu-list: {line}")));
        };
        let Some(time) = number(Some(time)) else {
            return Err(dom0.console.failure(&format!("no time in the line {line}")));
        };
        *all.entry(name.to_owned()).or_insert(0.0) += time;
    }
    Ok((clock, all))
}

/// CPUs' worth that each of `names` has in `seconds` seconds.
fn used<const N: usize>(dom0: &mut Dom0, names: [&str; N], seconds: u32) -> Result<[f64; N]> {
    let (begin, before) = times(dom0)?;
    dom0.run_within(&format!("sleep {seconds}"), LONG)?;
    let (end, after) = times(dom0)?;
    Ok(names.map(|name| {
        let of = |times: &BTreeMap<String, f64>| times.get(name).copied().unwrap_or(0.0);
        (of(&after) - of(&before)) / (end - begin)
    }))
}

/// Fails unless `is` is within `percent` of `want`.
fn expect_near(dom0: &Dom0, what: &str, is: f64, want: f64, percent: f64) -> Result<()> {
    println!("      {what}: {is:.3}, wanted {want:.3}");
    if (is - want).abs() * 100.0 <= want * percent {
        return Ok(());
    }
    let message = format!("{what}: {is:.3}, not {want:.3}");
    Err(dom0.console.failure(&message))
}

/// Weights of 2:1 over two CPUs and on one, and a cap.
fn shares(stage: &Stage) -> Result<()> {
    let mut dom0 = stage.boot(&stage.with_tools(Gic::V3))?;
    let (heavy, light) = (small("heavy", 2), small("light", 2));
    heavy.create(&mut dom0)?;
    light.create(&mut dom0)?;
    spin(&mut dom0, &heavy)?;
    spin(&mut dom0, &light)?;
    dom0.run("xl sched-credit2 -d heavy -w 512")?;
    let listed = dom0.run("xl sched-credit2 | awk '$1 == \"heavy\" { print $3, $4 }'")?;
    if listed.trim() != "512 0" {
        let message = format!("xl sched-credit2 shows weight and cap {listed}");
        return Err(dom0.console.failure(&message));
    }
    let names = [heavy.name.as_str(), light.name.as_str()];
    let [a, b] = used(&mut dom0, names, 10)?;
    expect_near(&dom0, "512 to 256 on two CPUs", a / b, 2.0, 10.0)?;
    dom0.run("xl vcpu-pin heavy all 1; xl vcpu-pin light all 1")?;
    let [a, b] = used(&mut dom0, names, 10)?;
    expect_near(&dom0, "512 to 256 on one CPU", a / b, 2.0, 10.0)?;
    dom0.run("xl vcpu-pin heavy all all; xl vcpu-pin light all all")?;
    dom0.run("xl sched-credit2 -d heavy -c 50")?;
    let [a, _] = used(&mut dom0, names, 10)?;
    expect_near(&dom0, "a cap of 50", a, 0.5, 10.0)?;
    dom0.run(
        "xl sched-credit2 -d heavy -c 0; xl sched-credit2 -s -r 5000; xl sched-credit2 -s -r 1000",
    )?;
    dom0.run_within("xl destroy heavy; xl destroy light", SOON)?;
    heavy.await_gone(&mut dom0)?;
    light.await_gone(&mut dom0)?;
    dom0.power_off()
}

/// Where the vCPUs of `domain` are: CPU, hard and soft affinity of each.
fn placed(dom0: &mut Dom0, domain: &str) -> Result<Vec<String>> {
    let text = dom0.run(&format!("xl vcpu-list {domain}"))?;
    let line = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        match fields[..] {
            [_, _, _, cpu, _, _, hard, "/", soft] => format!("{cpu} {hard} {soft}"),
            _ => line.to_owned(),
        }
    };
    Ok(text.lines().skip(1).map(line).collect())
}

fn expect_placed(dom0: &mut Dom0, domain: &str, want: &[&str]) -> Result<()> {
    let is = placed(dom0, domain)?;
    if is == want {
        return Ok(());
    }
    let message = format!("the vCPUs of {domain} are at {is:?}, not {want:?}");
    Err(dom0.console.failure(&message))
}

/// Pinning of a guest that runs, soft affinity, and vCPUs that go offline.
fn affinity(stage: &Stage) -> Result<()> {
    let mut dom0 = stage.boot(&stage.with_tools(Gic::V3))?;
    let guest = small("pinned", 2);
    guest.create(&mut dom0)?;
    spin(&mut dom0, &guest)?;
    for (pin, want) in [("0", ["0 0 all", "0 0 all"]), ("1", ["1 1 all", "1 1 all"])] {
        dom0.run(&format!("xl vcpu-pin pinned all {pin}"))?;
        expect_placed(&mut dom0, "pinned", &want)?;
    }
    dom0.run("xl vcpu-pin pinned 0 0 1; xl vcpu-pin pinned 1 1 -")?;
    expect_placed(&mut dom0, "pinned", &["0 0 1", "1 1 all"])?;
    dom0.run("xl vcpu-pin pinned all all all")?;
    dom0.run("xl vcpu-set pinned 1")?;
    let online = "for i in $(seq 100); do [ \"$(cat /sys/devices/system/cpu/online)\" = 0 ] && break; usleep 100000; done; cat /sys/devices/system/cpu/online";
    let online = guest.run(&mut dom0, online)?;
    let state = dom0.run("xl vcpu-list pinned | awk '$3 == 1 { print $4, $5 }'")?;
    if online.trim() != "0" || state.trim() != "- --p" {
        let message = format!("after vcpu-set 1: CPUs {online}, vCPU 1 is {state}");
        return Err(dom0.console.failure(&message));
    }
    dom0.run_within("xl destroy pinned", SOON)?;
    guest.await_gone(&mut dom0)?;
    dom0.power_off()
}

/// Fails unless the pools and their CPUs are `want`.
fn expect_pools(dom0: &mut Dom0, want: &str) -> Result<()> {
    let list = dom0.run("xl cpupool-list -c | awk 'NR > 1 { print $1, $2 }'")?;
    if list.trim() == want {
        return Ok(());
    }
    Err(dom0.console.failure(&format!("the pools are {list}")))
}

/// A pool of one CPU: a guest is made in it, another one goes there and back.
fn pools(stage: &Stage) -> Result<()> {
    let mut dom0 = stage.boot(&stage.with_tools(Gic::V3))?;
    let mover = small("mover", 2);
    mover.create(&mut dom0)?;
    dom0.run("xl cpupool-cpu-remove Pool-0 1")?;
    dom0.run("printf 'name = \"second\"\\nsched = \"credit2\"\\ncpus = [\"1\"]\\n' >/etc/xen/second.pool")?;
    dom0.run("xl cpupool-create /etc/xen/second.pool")?;
    expect_pools(&mut dom0, "Pool-0 0\nsecond 1")?;
    dom0.run("xl cpupool-migrate mover second")?;
    expect_placed(&mut dom0, "mover", &["1 all all", "1 all all"])?;
    let resident = Guest {
        config: vec!["pool = \"second\"".to_owned()],
        ..small("resident", 1)
    };
    resident.create(&mut dom0)?;
    spin(&mut dom0, &mover)?;
    spin(&mut dom0, &resident)?;
    expect_placed(&mut dom0, "resident", &["1 all all"])?;
    let [a, b] = used(&mut dom0, ["mover", "resident"], 5)?;
    expect_near(&dom0, "the second pool", a + b, 1.0, 10.0)?;
    // Neither is there for the asking while guests run there; what xl says of it is not its status always.
    for command in [
        "xl cpupool-cpu-remove second 1",
        "xl cpupool-destroy second",
    ] {
        dom0.run(&format!("{command} 2>&1 || :"))?;
        expect_pools(&mut dom0, "Pool-0 0\nsecond 1")?;
    }
    dom0.run("xl cpupool-migrate mover Pool-0")?;
    expect_placed(&mut dom0, "mover", &["0 all all", "0 all all"])?;
    dom0.run_within("xl destroy resident", SOON)?;
    resident.await_gone(&mut dom0)?;
    dom0.run("xl cpupool-destroy second && xl cpupool-cpu-add Pool-0 1")?;
    expect_pools(&mut dom0, "Pool-0 0,1")?;
    let [a] = used(&mut dom0, ["mover"], 5)?;
    expect_near(&dom0, "both CPUs again", a, 2.0, 15.0)?;
    dom0.run_within("xl destroy mover", SOON)?;
    mover.await_gone(&mut dom0)?;
    dom0.power_off()
}

/// Guests of two spinning vCPUs.
const CROWD: usize = 8;
/// What `xl list` may take among them. Real Xen: see what the run prints.
const ANSWER: Duration = Duration::from_secs(20);

/// Sixteen vCPUs spin on two CPUs: dom0 answers, and each guest gets its share.
fn crowd(stage: &Stage) -> Result<()> {
    let mut dom0 = stage.boot(&stage.with_tools(Gic::V3))?;
    let names: [String; CROWD] = core::array::from_fn(|n| format!("g{n}"));
    let guests = names.each_ref().map(|name| small(name, 2));
    for guest in &guests {
        guest.create(&mut dom0)?;
    }
    for guest in &guests {
        spin(&mut dom0, guest)?;
    }
    let mut worst = Duration::ZERO;
    for _ in 0..5 {
        let start = Instant::now();
        dom0.run_within("xl list >/dev/null", LONG)?;
        worst = worst.max(start.elapsed());
    }
    println!(
        "      xl list takes {:.2} s at most among {CROWD} guests that spin",
        worst.as_secs_f64()
    );
    if worst > scaled(ANSWER) {
        let message = format!("xl list takes {:.2} s", worst.as_secs_f64());
        return Err(dom0.console.failure(&message));
    }
    let got = used(&mut dom0, names.each_ref().map(String::as_str), 20)?;
    let mean = got.iter().sum::<f64>() / CROWD as f64;
    for (name, got) in names.iter().zip(got) {
        expect_near(&dom0, name, got, mean, 20.0)?;
    }
    for guest in &guests {
        dom0.run_within(&format!("xl destroy {}", guest.name), LONG)?;
    }
    dom0.power_off()
}
