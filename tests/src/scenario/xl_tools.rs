// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Xen's tools show of the machine and of domains: each field by a rule that holds on any hypervisor with Xen's
//! ABI; what they cannot do on Arm; and the programs by which Xen tests itself.

use super::xl::case;
use super::{Scenario, Selection};
use crate::dom0::Dom0;
use crate::error::Result;
use crate::fields::{columns, is_state, row, rows, seconds, value};
use crate::guest::Guest;
use crate::machine::Gic;

pub(super) fn scenarios() -> Vec<Scenario> {
    use Selection::{Full, Short};
    vec![
        case(Gic::V3, Short, "fields", shows_fields),
        case(Gic::V2, Full, "fields", shows_fields),
        case(Gic::V3, Short, "xens-tests", passes_xens_tests),
        case(Gic::V2, Full, "xens-tests", passes_xens_tests),
    ]
}

/// Judges `holds`; what was seen is told if it does not.
fn expect(dom0: &Dom0, holds: bool, rule: &str, seen: &str) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(dom0
        .console
        .failure(&format!("not so: {rule}; seen: {seen}")))
}

fn shows_fields(dom0: &mut Dom0) -> Result<()> {
    let free = machine(dom0)?;
    log(dom0)?;
    let guest = Guest {
        cpus: 2,
        ..Guest::new("one")
    };
    guest.create(dom0)?;
    domains(dom0, &guest)?;
    times(dom0, &guest)?;
    top(dom0)?;
    refusals(dom0)?;
    let less = free_memory(dom0)?;
    let used = free.saturating_sub(less);
    let rule = "a guest of 128 MiB takes that and not much more of free_memory";
    expect(dom0, (128..160).contains(&used), rule, &used.to_string())?;
    dom0.run("xl destroy one")?;
    guest.await_gone(dom0)?;
    let again = free_memory(dom0)?;
    let rule = format!("free_memory is {free} again");
    expect(dom0, again == free, &rule, &again.to_string())
}

fn free_memory(dom0: &mut Dom0) -> Result<u64> {
    let info = dom0.run("xl info free_memory")?;
    match info.trim().parse() {
        Ok(mib) => Ok(mib),
        Err(_) => Err(dom0.console.failure(&format!("free_memory: {info}"))),
    }
}

type Rule = fn(&str) -> bool;

/// Lines of `xl info`, beside those that `xl/*-create` judges.
const INFO: &[(&str, Rule)] = &[
    ("host", |v| v == "dom0"),
    ("release", |v| v.ends_with("arm64")),
    ("machine", |v| v == "aarch64"),
    ("max_cpu_id", |v| v == "1"),
    ("nr_nodes", |v| v == "1"),
    ("threads_per_core", |v| v == "1"),
    ("cpu_mhz", |v| v.parse::<f64>().is_ok_and(|mhz| mhz > 0.0)),
    ("hw_caps", |v| {
        v.split(':').count() == 8 && v.split(':').all(is_hex)
    }),
    ("virt_caps", |v| {
        ["hvm", "hap", "gnttab-v1"].iter().all(|cap| has(v, cap))
    }),
    ("arm_sve_vector_length", |v| v == "0"),
    ("sharing_freed_memory", |v| v == "0"),
    ("sharing_used_memory", |v| v == "0"),
    ("outstanding_claims", |v| v == "0"),
    ("free_cpus", |v| v == "0"),
    ("xen_version", |v| v.starts_with("4.20.")),
    ("xen_caps", |v| has(v, "xen-3.0-aarch64")),
    ("platform_params", |v| v == "virt_start=0x0"),
    ("xen_commandline", |v| has(v, "dom0_mem=512M")),
    ("cc_compiler", |v| !v.is_empty()),
    ("cc_compile_by", |v| !v.is_empty()),
    ("build_id", |v| v.len() == 40 && is_hex(v)),
];

fn has(text: &str, word: &str) -> bool {
    text.split_whitespace().any(|w| w == word)
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// `xl info`, with and without topology, and the CPU pool. Returns the free memory in MiB.
fn machine(dom0: &mut Dom0) -> Result<u64> {
    let info = dom0.run("xl info -n 2>/dev/null")?;
    for (name, rule) in INFO {
        let seen = value(&info, name);
        expect(dom0, seen.is_some_and(rule), name, &format!("{seen:?}"))?;
    }
    let whole = format!(
        "{}.{}{}",
        value(&info, "xen_major").unwrap_or_default(),
        value(&info, "xen_minor").unwrap_or_default(),
        value(&info, "xen_extra").unwrap_or_default()
    );
    let seen = value(&info, "xen_version");
    expect(
        dom0,
        seen == Some(&whole),
        "xen_version is its parts",
        &whole,
    )?;

    let (total, free) = (value(&info, "total_memory"), value(&info, "free_memory"));
    let free = free.and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
    let rule = "most of what dom0 has not is free";
    expect(dom0, (1400..=2048 - 512).contains(&free), rule, &info)?;

    let cpus = rows(&info, "cpu:");
    let cpu = |n: usize| cpus.get(n).and_then(|row| row.first().copied());
    let rule = "a line of topology for each CPU";
    expect(
        dom0,
        (cpu(0), cpu(1)) == (Some("0:"), Some("1:")),
        rule,
        &info,
    )?;
    let node = row(&info, "node:", "0:").unwrap_or_default();
    let expected = ["0:", total.unwrap_or_default(), &free.to_string(), "20"];
    expect(dom0, node == expected, "the node has all memory", &info)?;

    let pools = dom0.run("xl cpupool-list; echo; xl cpupool-list -c | tail -n 1")?;
    let rule = "one pool with both CPUs";
    let pool = row(&pools, "Name", "Pool-0").unwrap_or_default();
    expect(
        dom0,
        pool == ["Pool-0", "2", "credit2", "y", "1"],
        rule,
        &pools,
    )?;
    expect(dom0, pools.ends_with(" 0,1"), rule, &pools)?;
    Ok(free)
}

/// `xl dmesg` has the hypervisor's lines and not dom0's; keys add to it, `-c` empties it.
fn log(dom0: &mut Dom0) -> Result<()> {
    // With a mark in front: the harness drops the hypervisor's lines from what a command prints.
    let log = dom0.run("xl dmesg | sed 's/^/| /'")?;
    expect(
        dom0,
        log.contains("dom0_mem=512M"),
        "it has the command line",
        &log,
    )?;
    let dom0s = ["Booting Linux", "Run /init", "@begin"];
    let rule = "nothing of dom0's is in it";
    expect(
        dom0,
        !dom0s.iter().any(|text| log.contains(text)),
        rule,
        &log,
    )?;
    let log = dom0.run("xl debug-keys h; xl dmesg -c | sed 's/^/| /'")?;
    expect(
        dom0,
        log.contains("'h' pressed"),
        "it has a key's answer",
        &log,
    )?;
    let log = dom0.run("xl dmesg | sed 's/^/| /'")?;
    expect(dom0, !log.contains("pressed"), "it was emptied", &log)
}

/// The lists, while `guest` and dom0 are all there is.
fn domains(dom0: &mut Dom0, guest: &Guest) -> Result<()> {
    let uuid = guest.run(dom0, "cat /sys/hypervisor/uuid")?;
    let uuid = uuid.trim();
    let list = dom0.run("xl list -v")?;
    let all = rows(&list, "Name");
    expect(dom0, all.len() == 2, "two domains", &list)?;
    for (row, memory) in all.iter().zip(["512", "128"]) {
        let state = row.get(4).is_some_and(|word| is_state(word, "rbpscd"));
        expect(dom0, row.len() == 9 && state, "nine fields", &list)?;
        let sizes = (row.get(2), row.get(3));
        expect(
            dom0,
            sizes == (Some(&memory), Some(&"2")),
            "MiB, vCPUs",
            &list,
        )?;
    }
    let named = row(&list, "Name", &guest.name).unwrap_or_default();
    expect(dom0, named.get(6) == Some(&uuid), "the guest's UUID", &list)?;

    let long = dom0.run(&format!("xl list -l {}", guest.name))?;
    for part in [
        &format!("\"uuid\": \"{uuid}\""),
        "\"name\": \"one\"",
        "\"max_vcpus\": 2",
        "\"max_memkb\": 131072",
        "\"target_memkb\": 131072",
        "\"sched\": \"credit2\"",
        "\"weight\": 256",
    ] {
        expect(dom0, long.contains(part), part, &long)?;
    }

    let vcpus = dom0.run("xl vcpu-list")?;
    let options = dom0.run("xl info xen_commandline")?;
    let pinned = has(&options, "dom0_vcpus_pin");
    let all = rows(&vcpus, "Name");
    expect(dom0, all.len() == 4, "four vCPUs", &vcpus)?;
    for (row, number) in all.iter().zip(["0", "1", "0", "1"]) {
        let hard = match row.first() {
            Some(&"Domain-0") if pinned => number,
            _ => "all",
        };
        let fine = row.len() == 9
            && row.get(2) == Some(&number)
            && row.get(3).is_some_and(|cpu| ["0", "1"].contains(cpu))
            && row.get(4).is_some_and(|word| is_state(word, "rbp"))
            && row.get(6..) == Some(&[hard, "/", "all"]);
        expect(dom0, fine, "number, CPU, state, affinity", &vcpus)?;
    }
    let shares = dom0.run("xl sched-credit2")?;
    let limit = value(&shares, "Cpupool Pool-0").unwrap_or_default();
    expect(
        dom0,
        limit.starts_with("ratelimit="),
        "a rate limit",
        &shares,
    )?;
    let share = row(&shares, "Name", "one").unwrap_or_default();
    expect(
        dom0,
        share.get(2..) == Some(&["256", "0"]),
        "weight and cap",
        &shares,
    )
}

/// CPU time and uptime grow, and agree with each other.
fn times(dom0: &mut Dom0, guest: &Guest) -> Result<()> {
    let ask = |dom0: &mut Dom0| {
        let text = dom0.run("xl uptime; echo; xl list; xl vcpu-list")?;
        let uptime = |name| seconds(row(&text, "Name", name)?.get(2)?);
        let list = text.split_once("\n\n").map_or("", |(_, rest)| rest);
        let used = row(list, "Name", "one").and_then(|r| r.get(5)?.parse::<f64>().ok());
        let vcpus = rows(list.split_once("Name").map_or("", |(_, l)| l), "Name");
        let ours = vcpus.iter().filter(|row| row.first() == Some(&"one"));
        let sum: f64 = ours.filter_map(|r| r.get(5)?.parse::<f64>().ok()).sum();
        match (uptime("Domain-0"), uptime("one"), used) {
            (Some(dom0s), Some(guests), Some(used)) => Ok((dom0s, guests, used, sum, text)),
            _ => Err(dom0.console.failure(&format!("a time is missing: {text}"))),
        }
    };
    let before = ask(dom0)?;
    guest.run(dom0, "head -c 8000000 /dev/zero | sha256sum")?;
    dom0.run("sleep 1")?;
    let after = ask(dom0)?;
    let seen = format!("{} then {}", before.4, after.4);
    expect(
        dom0,
        after.0 > before.0 && after.1 > before.1,
        "uptimes grow",
        &seen,
    )?;
    expect(dom0, after.1 < after.0, "the guest is the younger", &seen)?;
    expect(dom0, after.2 > before.2, "CPU time grows", &seen)?;
    // The vCPUs are asked later, and each time is rounded to a tenth.
    let fits = after.3 + 0.2 >= after.2 && after.3 < after.2 + 10.0;
    expect(dom0, fits, "a domain's time is its vCPUs'", &seen)
}

/// Two rounds of `xentop`.
fn top(dom0: &mut Dom0) -> Result<()> {
    let text = dom0.run("xentop -b -i 2")?;
    let second = text.rfind("NAME").map_or("", |at| &text[at..]);
    for (name, kib) in [("Domain-0", 512 << 10), ("one", 128 << 10)] {
        let fields = columns(second, "NAME", name).unwrap_or_default();
        let number = |column: &str| {
            let found = fields.iter().find(|(name, _)| *name == column);
            found
                .and_then(|(_, v)| v.parse::<f64>().ok())
                .unwrap_or(-1.0)
        };
        let within = |column: &str, low: f64, high: f64| {
            let seen = number(column);
            (low..=high).contains(&seen)
        };
        let kib = f64::from(kib);
        let share = kib / f64::from(2048 << 10) * 100.0;
        let state = fields
            .get(1)
            .is_some_and(|(_, word)| is_state(word, "dsbcpr"));
        for (rule, holds) in [
            ("STATE", state),
            ("CPU(sec)", within("CPU(sec)", 1.0, 1e6)),
            ("CPU(%)", within("CPU(%)", 0.0, 250.0)),
            ("MEM(k)", within("MEM(k)", kib, kib + 256.0)),
            ("MEM(%)", within("MEM(%)", share - 0.2, share + 0.2)),
            ("MAXMEM(k)", within("MAXMEM(k)", kib, kib + 2048.0)),
            ("VCPUS", within("VCPUS", 2.0, 2.0)),
            ("NETS", within("NETS", 0.0, 0.0)),
            ("VBDS", within("VBDS", 0.0, 0.0)),
        ] {
            expect(dom0, holds, &format!("{rule} of {name}"), &text)?;
        }
    }
    Ok(())
}

/// What xl on Arm, or Xen on Arm, does not do: the command, its status, and a part of what it says.
const REFUSED: &[(&str, u32, &str)] = &[
    ("save one /tmp/one", 1, "command not implemented"),
    ("migrate one localhost", 1, "command not implemented"),
    ("suspend one", 1, "command not implemented"),
    ("psr-hwinfo", 1, "command not implemented"),
    ("trigger one nmi", 0, "Function not implemented"),
    ("trigger one power", 0, "Function not implemented"),
    ("vcpu-list two", 1, "invalid domain identifier"),
    ("destroy two", 1, "invalid domain identifier"),
    ("unpause two", 1, "invalid domain identifier"),
];

fn refusals(dom0: &mut Dom0) -> Result<()> {
    for (command, status, says) in REFUSED {
        let text = dom0.run(&format!("xl {command} 2>&1; echo status $?"))?;
        let fits = text.contains(says) && text.ends_with(&format!("status {status}"));
        let rule = format!("xl {command} says {says:?}, status {status}");
        expect(dom0, fits, &rule, &text)?;
    }
    Ok(())
}

/// Debian's xen-utils has these programs of Xen's own tests.
fn passes_xens_tests(dom0: &mut Dom0) -> Result<()> {
    let before = free_memory(dom0)?;
    let text = dom0.run("test-xenstore")?;
    let parts = [
        "read 1 ",
        "read 2000",
        "write 1 ",
        "write 2000",
        "dir ",
        "rm node",
        "rm dir",
        "ta empty ",
        "ta empty x",
        "ta rmw ",
        "ta rmw x",
        "ta err",
    ];
    let passed = |part: &&str| {
        text.lines()
            .any(|l| l.starts_with(*part) && l.ends_with(" ns"))
    };
    expect(
        dom0,
        parts.iter().all(passed),
        "each part has a time",
        &text,
    )?;
    // These two ask for memory, and expect some, in a domain's pool for page tables, which on Arm is empty until a
    // toolstack fills it: real Xen answers the same.
    let text =
        dom0.run("test-resource 2>&1; echo status $?; test-paging-mempool 2>&1; echo status $?")?;
    println!("{text}");
    let text = dom0.run("xl list | tail -n +2 | wc -l")?;
    expect(dom0, text.trim() == "1", "their domains are gone", &text)?;
    let after = free_memory(dom0)?;
    let rule = format!("free_memory is {before} again");
    expect(dom0, after == before, &rule, &after.to_string())
}
