// SPDX-License-Identifier: MIT OR Apache-2.0
//! What xl does with a domain from its creation to its end, and that nothing is left of it then.

use std::time::Instant;

use super::xl::case;
use super::{Scenario, Selection, Stage};
use crate::console::scaled;
use crate::dom0::Dom0;
use crate::error::Result;
use crate::fields::row;
use crate::guest::{Guest, LONG, Listed, list};
use crate::machine::{Gic, Hypervisor};

pub(super) fn scenarios() -> Vec<Scenario> {
    use Selection::{Full, Short};
    let cycles = |gic: Gic, selection, count: u32| {
        let name = format!("xl/{gic}-{count}-cycles");
        Scenario::new(name, selection, move |stage| cycles(stage, gic, count))
    };
    vec![
        case(Gic::V3, Short, "pause", pauses),
        case(Gic::V2, Full, "pause", pauses),
        case(Gic::V3, Short, "reboot", reboots),
        case(Gic::V2, Full, "reboot", reboots),
        case(Gic::V3, Full, "early-end", ends_early),
        case(Gic::V2, Full, "early-end", ends_early),
        case(Gic::V3, Short, "four", four_at_once),
        case(Gic::V2, Full, "four", four_at_once),
        cycles(Gic::V3, Short, 5),
        cycles(Gic::V2, Full, 5),
        cycles(Gic::V3, Full, 200),
        cycles(Gic::V2, Full, 200),
    ]
}

/// The line of `xl list` for `name`.
pub(super) fn listed(dom0: &mut Dom0, name: &str) -> Result<Listed> {
    let found = list(dom0)?.into_iter().find(|domain| domain.name == name);
    found.ok_or_else(|| dom0.console.failure(&format!("xl does not list {name}")))
}

/// Asks until the answer is as it should be.
pub(super) fn await_that(
    dom0: &mut Dom0,
    what: &str,
    is_so: impl Fn(&mut Dom0) -> Result<bool>,
) -> Result<()> {
    let end = Instant::now() + scaled(LONG);
    while !is_so(dom0)? {
        if Instant::now() > end {
            return Err(dom0.console.failure(&format!("it does not come: {what}")));
        }
        dom0.run("sleep 0.5")?;
    }
    Ok(())
}

/// A paused guest does nothing and says nothing; its clock stands as real Xen's does, which is to say it does not:
/// the counter goes on. xl gives it another name.
fn pauses(dom0: &mut Dom0) -> Result<()> {
    let guest = Guest::new("ticker");
    guest.create(dom0)?;
    guest.run(dom0, "(while :; do echo tick; sleep 0.2; done) & :")?;
    let log = "stat -c %s /var/log/xen/console/guest-ticker.log";
    let watch = format!("a=$({log}); sleep 3; echo $(($({log}) - a))");
    let talks = |dom0: &mut Dom0| Ok(dom0.run(&watch)?.trim() != "0");

    await_that(dom0, "ticks", talks)?;
    let before = uptime(&guest, dom0)?;
    dom0.run("xl pause ticker; sleep 1")?;
    let paused = listed(dom0, "ticker")?;
    let time = "xl list ticker | awk 'NR == 2 { print $6 }'";
    let used = dom0.run(time)?;
    if talks(dom0)? || dom0.run(time)? != used || paused.state != "--p---" {
        let message = format!("it is not paused: {paused:?}");
        return Err(dom0.console.failure(&message));
    }
    dom0.run("xl unpause ticker")?;
    await_that(dom0, "ticks again", talks)?;
    let after = uptime(&guest, dom0)?;
    if after < before + 4.0 {
        let message = format!("up {before} s, then {after} s");
        return Err(dom0.console.failure(&message));
    }
    // Pauses are counted: who has paused twice has to unpause twice.
    dom0.run("xl pause ticker; xl pause ticker; xl unpause ticker")?;
    if talks(dom0)? {
        return Err(dom0
            .console
            .failure("paused twice, unpaused once, it goes on"));
    }
    dom0.run("xl unpause ticker")?;
    await_that(dom0, "ticks after two pauses", talks)?;

    dom0.run("xl rename ticker other")?;
    let names: Vec<_> = list(dom0)?.into_iter().map(|d| d.name).collect();
    let number = dom0.run("xl domname $(xl domid other)")?;
    if names != ["Domain-0", "other"] || number.trim() != "other" {
        let message = format!("renamed, xl lists {names:?}, and {number}");
        return Err(dom0.console.failure(&message));
    }
    dom0.run_within("xl shutdown -w other", LONG)?;
    Guest::new("other").await_gone(dom0)
}

/// Seconds since the guest has booted, as it sees them.
fn uptime(guest: &Guest, dom0: &mut Dom0) -> Result<f64> {
    let text = guest.run(dom0, "cut -d ' ' -f 1 /proc/uptime | grep -v tick")?;
    let number = text.lines().find_map(|line| line.trim().parse().ok());
    number.ok_or_else(|| dom0.console.failure(&format!("its uptime is {text}")))
}

/// A guest that reboots, asked by xl or by itself, is a new domain; one that panics reboots, too, if its kernel is told so.
fn reboots(dom0: &mut Dom0) -> Result<()> {
    let guest = Guest {
        args: "panic=1".to_owned(),
        config: vec!["on_reboot = \"restart\"".to_owned()],
        ..Guest::new("again")
    };
    guest.create(dom0)?;
    for way in [
        "xl reboot again".to_owned(),
        guest.command("(sleep 1; reboot -f) & :"),
        guest.command("(sleep 1; echo c >/proc/sysrq-trigger) & :"),
    ] {
        let first = listed(dom0, "again")?.id;
        dom0.run_within(&way, LONG)?;
        // It has the name before it is complete, and runs when xl is done with it.
        let newer = |dom0: &mut Dom0| {
            let runs = |d: &Listed| d.name == "again" && d.id > first && !d.state.contains('p');
            Ok(list(dom0)?.iter().any(runs))
        };
        await_that(dom0, &format!("a new domain after {way}"), newer)?;
        let up = uptime(&guest, dom0)?;
        let domains = list(dom0)?;
        if domains.len() != 2 || domains[1].id != first + 1 {
            let message = format!("{first} after {way}, up {up} s: {domains:?}");
            return Err(dom0.console.failure(&message));
        }
    }
    dom0.run("xl destroy again")?;
    guest.await_gone(dom0)
}

/// A domain is destroyed before it has ever run, and at several moments of its boot.
fn ends_early(dom0: &mut Dom0) -> Result<()> {
    let guest = Guest {
        cpus: 2,
        ..Guest::new("short")
    };
    guest.configure(dom0)?;
    dom0.run_within("xl create -q -p /etc/xen/short.cfg", LONG)?;
    let never = listed(dom0, "short")?;
    if never.state != "--p---" {
        return Err(dom0.console.failure(&format!("created paused: {never:?}")));
    }
    dom0.run("xl destroy short")?;
    guest.await_gone(dom0)?;
    for moment in ["0", "0.2", "1", "3"] {
        let create = "xl create -q /etc/xen/short.cfg";
        let command = format!("{create} && sleep {moment} && xl destroy short");
        dom0.run_within(&command, LONG)?;
        guest.await_gone(dom0)?;
    }
    guest.create(dom0)?;
    dom0.run("xl destroy short")?;
    guest.await_gone(dom0)
}

/// Four guests that boot and work at the same time, and go when all are told to.
fn four_at_once(dom0: &mut Dom0) -> Result<()> {
    let guests: Vec<_> = (1..=4).map(|n| Guest::new(&format!("g{n}"))).collect();
    let mut create = String::new();
    let mut work = String::new();
    for guest in &guests {
        guest.configure(dom0)?;
        create.push_str(&format!("xl create -q /etc/xen/{}.cfg & ", guest.name));
        let sum = guest.command("head -c 1000000 /dev/zero | sha256sum");
        work.push_str(&format!("({sum}) & "));
    }
    dom0.run_within(&format!("{create} wait"), LONG)?;
    let sums = dom0.run_within(&format!("{work} wait"), LONG * 2)?;
    let lines: Vec<_> = sums.lines().filter(|line| line.ends_with(" -")).collect();
    if lines.len() != 4 || lines.iter().any(|line| *line != lines[0]) {
        let message = format!("four equal sums were expected, not: {sums}");
        return Err(dom0.console.failure(&message));
    }
    let mut names: Vec<_> = list(dom0)?.into_iter().map(|d| d.name).collect();
    names.sort();
    if names != ["Domain-0", "g1", "g2", "g3", "g4"] {
        return Err(dom0.console.failure(&format!("xl lists {names:?}")));
    }
    dom0.run_within("xl shutdown -a -w", LONG)?;
    for guest in &guests {
        guest.await_gone(dom0)?;
    }
    Ok(())
}

/// What must be the same before and after: on Xenolith also its counters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    free_mib: String,
    counters: String,
}

impl Held {
    /// The same with each number of dom0's tables and of free pages replaced by their sum.
    pub(super) fn but_for_tables(&self) -> Self {
        let number = |word: &str| {
            let mut words = self.counters.split_whitespace();
            let found = words.find(|w| *w == word).and_then(|_| words.next());
            found.and_then(|w| w.parse::<u64>().ok()).unwrap_or(0)
        };
        let (free, tables) = (number("pages"), number("tables"));
        let counters = self
            .counters
            .replacen(
                &format!("free pages {free}"),
                &format!("{}", free + tables),
                1,
            )
            .replacen(&format!("tables {tables}"), "", 1);
        Self {
            free_mib: self.free_mib.clone(),
            counters,
        }
    }
}

/// Domains that are created and destroyed at once, one after the other.
fn cycles(stage: &Stage, gic: Gic, count: u32) -> Result<()> {
    let mut dom0 = stage.boot(&stage.with_tools(gic))?;
    let guest = Guest {
        cpus: 2,
        ..Guest::new("brief")
    };
    guest.configure(&mut dom0)?;
    // The first one fills caches, and makes daemons ask for memory that they keep.
    let mut last = cycle(&mut dom0, &guest)?;
    let before = (held(stage, &mut dom0)?, dom0_free_kib(&mut dom0)?);
    for _ in 0..count {
        let id = cycle(&mut dom0, &guest)?;
        if id != last + 1 {
            let message = format!("domain {id} comes after {last}");
            return Err(dom0.console.failure(&message));
        }
        last = id;
    }
    let after = (held(stage, &mut dom0)?, dom0_free_kib(&mut dom0)?);
    // Pages that dom0's kernel and daemons have for other reasons.
    let lost = before.1.saturating_sub(after.1);
    println!("{}: {count} cycles: {before:?} {after:?}", stage.name);
    if before.0 != after.0 || lost > ALLOWED_KIB {
        let message = format!("before {before:?}, after {count} cycles {after:?}");
        return Err(dom0.console.failure(&message));
    }
    dom0.power_off()
}

const ALLOWED_KIB: u64 = 8 << 10;

/// Returns the domain's number.
fn cycle(dom0: &mut Dom0, guest: &Guest) -> Result<u32> {
    let name = &guest.name;
    let command =
        format!("xl create -q /etc/xen/{name}.cfg && xl domid {name} && xl destroy {name}");
    let id = dom0.run_within(&command, LONG)?;
    guest.await_gone(dom0)?;
    match id.trim().parse() {
        Ok(id) => Ok(id),
        Err(_) => Err(dom0.console.failure(&format!("its number is {id:?}"))),
    }
}

/// What is held now.
pub(super) fn held(stage: &Stage, dom0: &mut Dom0) -> Result<Held> {
    let free_mib = dom0.run("xl info free_memory")?;
    let counters = match stage.hypervisor {
        Hypervisor::Xen => String::new(),
        Hypervisor::Xenolith => dom0.run(
            "xl dmesg -c >/dev/null; xl debug-keys g; xl dmesg | grep -v pressed | sed 's/^/| /'",
        )?,
    };
    Ok(Held { free_mib, counters })
}

fn dom0_free_kib(dom0: &mut Dom0) -> Result<u64> {
    let command = "sync; echo 3 >/proc/sys/vm/drop_caches; sleep 1; cat /proc/meminfo";
    let text = dom0.run(command)?;
    let free = row(&text, "MemTotal:", "MemFree:").and_then(|r| r.get(1)?.parse().ok());
    free.ok_or_else(|| dom0.console.failure(&format!("no MemFree in {text}")))
}
