// SPDX-License-Identifier: MIT OR Apache-2.0
//! What xl changes of a running guest: its memory, its vCPUs and where they run; and what it takes from one: a dump, its
//! console again and again.

use super::xl::case;
use super::{Scenario, Selection, xl_life};
use crate::dom0::Dom0;
use crate::error::Result;
use crate::fields::rows;
use crate::guest::{Guest, LONG, SOON};
use crate::machine::Gic;

pub(super) fn scenarios() -> Vec<Scenario> {
    use Selection::{Full, Short};
    vec![
        case(Gic::V3, Short, "resize", resizes),
        case(Gic::V2, Full, "resize", resizes),
        case(Gic::V3, Short, "dump", dumps),
        case(Gic::V2, Full, "dump", dumps),
        case(Gic::V3, Full, "console", shows_console_twice),
        case(Gic::V2, Full, "console", shows_console_twice),
        case(Gic::V3, Short, "vuart", has_vuart),
        case(Gic::V2, Full, "vuart", has_vuart),
    ]
}

/// Memory up and down by xenstore, vCPUs off and on, pinned. (`xl mem-set` and `mem-max` of Debian's 4.20 end by an
/// assertion of their own before they ask the hypervisor for anything, on real Xen too: the test writes what they would.)
fn resizes(dom0: &mut Dom0) -> Result<()> {
    let guest = Guest {
        cpus: 2,
        memory_mib: 192,
        ..Guest::new("elastic")
    };
    guest.create(dom0)?;
    let before = (total_mib(&guest, dom0)?, free_mib(dom0)?);
    balloon(&guest, dom0, 128)?;
    let small = (total_mib(&guest, dom0)?, free_mib(dom0)?);
    balloon(&guest, dom0, 192)?;
    let large = (total_mib(&guest, dom0)?, free_mib(dom0)?);
    let near = |a: u64, b: u64| a.abs_diff(b) <= 2;
    let fits = near(before.0, small.0 + 64)
        && near(before.1 + 64, small.1)
        && near(before.0, large.0)
        && near(before.1, large.1);
    if !fits {
        let message = format!("guest's and free MiB: {before:?}, {small:?}, {large:?}");
        return Err(dom0.console.failure(&message));
    }

    for (cpus, state) in [("1", "--p"), ("2", "-b-")] {
        dom0.run(&format!("xl vcpu-set elastic {cpus}"))?;
        // Linux takes a vCPU away by itself, but only offers one that comes: udev, or we, switch it on.
        let switch = "echo 1 >/sys/devices/system/cpu/cpu1/online 2>/dev/null";
        let count = match cpus {
            "2" => format!("{switch}; grep -c processor /proc/cpuinfo"),
            _ => "grep -c processor /proc/cpuinfo".to_owned(),
        };
        xl_life::await_that(dom0, &format!("{cpus} CPUs"), |dom0| {
            let seen = guest.run(dom0, &count)?;
            Ok(seen.trim() == cpus)
        })?;
        xl_life::await_that(dom0, &format!("vCPU 1 is {state}"), |dom0| {
            let text = dom0.run("xl vcpu-list elastic")?;
            let table = rows(&text, "Name");
            let seen = table.get(1).and_then(|row| row.get(4).copied());
            Ok(seen == Some(state) || (cpus == "2" && seen != Some("--p")))
        })?;
    }
    guest.run(
        dom0,
        "taskset 2 head -c 100000 /dev/zero | taskset 2 sha256sum",
    )?;

    for cpu in ["0", "1", "0"] {
        dom0.run(&format!(
            "xl vcpu-pin elastic 0 {cpu}; xl vcpu-pin elastic 1 all {cpu}"
        ))?;
        guest.run(dom0, "taskset 1 head -c 100000 /dev/zero | sha256sum")?;
        let text = dom0.run("xl vcpu-list elastic")?;
        let table = rows(&text, "Name");
        let place = |n: usize| table.get(n).map_or(&[][..], |row| &row[6.min(row.len())..]);
        let on = table.first().and_then(|row| row.get(3).copied());
        if on != Some(cpu) || place(0) != [cpu, "/", "all"] || place(1) != ["all", "/", cpu] {
            let message = format!("vCPU 0 pinned to {cpu}, vCPU 1 inclined to: {text}");
            return Err(dom0.console.failure(&message));
        }
    }
    dom0.run("xl destroy elastic")?;
    guest.await_gone(dom0)
}

/// Has the guest's balloon make it `mib` large.
fn balloon(guest: &Guest, dom0: &mut Dom0, mib: u32) -> Result<()> {
    let name = &guest.name;
    let kib = mib << 10;
    dom0.run(&format!(
        "xenstore-write /local/domain/$(xl domid {name})/memory/target {kib}"
    ))?;
    xl_life::await_that(dom0, &format!("{mib} MiB"), |dom0| {
        Ok(xl_life::listed(dom0, name)?.memory_mib == mib)
    })
}

/// What the guest has, as it sees it.
fn total_mib(guest: &Guest, dom0: &mut Dom0) -> Result<u64> {
    let text = guest.run(dom0, "cat /proc/meminfo")?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"));
    let kib = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.map(|kib| kib >> 10)
        .ok_or_else(|| dom0.console.failure(&format!("no MemTotal in {text}")))
}

fn free_mib(dom0: &mut Dom0) -> Result<u64> {
    let text = dom0.run("xl info free_memory")?;
    let mib = text.trim().parse();
    mib.map_err(|_| dom0.console.failure(&format!("free_memory: {text}")))
}

/// A person at `xl console`, who leaves it and comes back.
fn shows_console_twice(dom0: &mut Dom0) -> Result<()> {
    dom0.run_within("xl create -q /etc/xen/demo.cfg", LONG)?;
    for visit in 1..=2 {
        let command = "xl console demo";
        dom0.start(command)?;
        // The first time, what the guest has said is shown; then it is for us to ask.
        dom0.console.send("\n")?;
        dom0.console.expect("guest# ", LONG)?;
        dom0.console
            .send(&format!("echo visit $(({visit} + 40))\n"))?;
        dom0.console
            .expect(&format!("\nvisit {}\n", visit + 40), SOON)?;
        dom0.console.send("\x1d")?;
        dom0.finish(command, SOON)?;
        let log = dom0.run("grep -a -c '^visit' /var/log/xen/console/guest-demo.log")?;
        if log.trim() != visit.to_string() {
            let message = format!("the guest's log has {log} of {visit} visits");
            return Err(dom0.console.failure(&message));
        }
    }
    dom0.run("xl destroy demo")?;
    Guest::new("demo").await_gone(dom0)
}

/// A guest's UART, by which it says more than fits into any queue, and hears a line.
fn has_vuart(dom0: &mut Dom0) -> Result<()> {
    let guest = Guest {
        config: vec!["vuart = \"sbsa_uart\"".to_owned()],
        ..Guest::new("wired")
    };
    guest.create(dom0)?;
    let name = &guest.name;
    let tty = dom0.run(&format!(
        "xenstore-read /local/domain/$(xl domid {name})/vuart/0/tty"
    ))?;
    let tty = tty.trim();
    dom0.run(&format!("(cat {tty} >/tmp/said) & :"))?;
    guest.run(
        dom0,
        "stty -F /dev/ttyAMA0 raw -echo; (head -n 1 </dev/ttyAMA0 >/tmp/heard) & :",
    )?;
    guest.run(
        dom0,
        "for i in $(seq 300); do echo \"line $i of many\"; done >/dev/ttyAMA0",
    )?;
    xl_life::await_that(dom0, "300 lines by its UART", |dom0| {
        let said = dom0.run("grep -a -c '^line .* of many' /tmp/said || :")?;
        Ok(said.trim() == "300")
    })?;
    dom0.run(&format!("echo from dom0 >{tty}"))?;
    xl_life::await_that(dom0, "a line at its UART", |dom0| {
        Ok(guest.run(dom0, "cat /tmp/heard")?.trim() == "from dom0")
    })?;
    dom0.run(&format!("xl destroy {name}"))?;
    guest.await_gone(dom0)
}

const PAGE: u64 = 4096;
/// Bytes of ELF's header, and of each section's header. In Xen's dumps they follow it.
const HEADER: usize = 64;
/// What a dump has, by `xen/docs/misc/dump-core-format.txt`; some have their shared page, too.
const SECTIONS: [&str; 5] = [
    ".shstrtab",
    ".note.Xen",
    ".xen_prstatus",
    ".xen_pages",
    ".xen_pfn",
];

/// A section of the dump.
#[derive(Default)]
struct Section {
    name: String,
    offset: u64,
    length: u64,
    entry: u64,
}

/// A dump of a paused guest is Xen's ELF file with all its vCPUs and room for all its pages, and the guest goes on
/// afterwards.
fn dumps(dom0: &mut Dom0) -> Result<()> {
    let guest = Guest {
        cpus: 2,
        ..Guest::new("dumped")
    };
    guest.create(dom0)?;
    guest.run(
        dom0,
        "for i in 1 2 3; do echo mark $((i * 111)) end; done >/tmp/marks",
    )?;
    dom0.run("xl pause dumped")?;
    dom0.run_within("xl dump-core dumped /root/core", LONG)?;
    let size = number(dom0, "stat -c %s /root/core")?;
    let head = bytes(dom0, 0, HEADER as u64)?;
    let sections = sections(dom0, &head)?;
    let named = |name: &str| sections.iter().find(|section| section.name == name);
    if let Some(missing) = SECTIONS.iter().find(|name| named(name).is_none()) {
        let names: Vec<_> = sections.iter().map(|section| &section.name).collect();
        let message = format!("the dump has no {missing}, but {names:?}");
        return Err(dom0.console.failure(&message));
    }
    let none = Section::default();
    let [_, _, registers, memory, frames] = SECTIONS.map(|name| named(name).unwrap_or(&none));
    let pages = memory.length / PAGE;
    // Of pages that are not there the number is all ones.
    let listed = format!(
        "od -A n -v -t x8 -w8 -j {} -N {} /root/core >/tmp/all; echo all $(wc -l </tmp/all); \
         grep -v ffffffffffffffff /tmp/all >/tmp/frames; [ \"$(sort -u /tmp/frames | sha256sum)\" = \"$(sha256sum </tmp/frames)\" ]; echo sorted $?; \
         head -n 3 /tmp/frames; wc -l </tmp/frames; rm /tmp/all",
        frames.offset, frames.length
    );
    let listed = dom0.run_within(&listed, LONG)?;
    let problems = [
        (head.starts_with(b"\x7fELF\x02\x01"), "a 64-bit ELF file"),
        (little(&head, 16, 2) == 4, "of type CORE"),
        (
            little(&head, 40, 8) == HEADER as u64,
            "with sections behind its header",
        ),
        (
            registers.length == 2 * registers.entry,
            "registers of 2 vCPUs",
        ),
        (
            memory.length % PAGE == 0 && memory.entry == PAGE,
            "whole pages",
        ),
        (
            (32768..32768 + 16).contains(&pages),
            "128 MiB and special pages",
        ),
        (frames.length == 8 * pages, "a frame number for each page"),
        (
            listed.contains(&format!("all {pages}\n")),
            "each can be read",
        ),
        (listed.contains("sorted 0"), "in ascending order"),
        (size >= frames.offset + 8 * pages, "and the file has it all"),
    ];
    for (holds, rule) in problems {
        if !holds {
            let message = format!("not so: {rule}; size {size}, frames {listed}, {head:x?}");
            return Err(dom0.console.failure(&message));
        }
    }
    // The tools of 4.20 look at as many frames from 0 on as the guest has pages. On Arm its RAM is far behind these, so
    // they find no page, on Xen as here; were there any, what the guest has written would be among them.
    let marks = "[ ! -s /tmp/frames ] || grep -a -q 'mark 333 end' /root/core";
    dom0.run_within(marks, LONG)?;
    dom0.run("rm /root/core; xl unpause dumped")?;
    guest.run(dom0, "grep -c mark /tmp/marks")?;
    dom0.run("xl destroy dumped")?;
    guest.await_gone(dom0)
}

/// The sections of the dump whose ELF header is `head`.
fn sections(dom0: &mut Dom0, head: &[u8]) -> Result<Vec<Section>> {
    let (count, names_at) = (little(head, 60, 2), little(head, 62, 2) as usize);
    let table = bytes(dom0, HEADER as u64, count * HEADER as u64)?;
    let table: Vec<_> = table.chunks(HEADER).collect();
    let names = table.get(names_at).copied().unwrap_or_default();
    let names = bytes(dom0, little(names, 24, 8), little(names, 32, 8))?;
    let section = |header: &&[u8]| {
        let name = names
            .get(little(header, 0, 4) as usize..)
            .unwrap_or_default();
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        Section {
            name: String::from_utf8_lossy(name).into_owned(),
            offset: little(header, 24, 8),
            length: little(header, 32, 8),
            entry: little(header, 56, 8),
        }
    };
    Ok(table.iter().map(section).collect())
}

fn number(dom0: &mut Dom0, command: &str) -> Result<u64> {
    let text = dom0.run(command)?;
    let number = text.trim().parse();
    number.map_err(|_| dom0.console.failure(&format!("`{command}` prints {text}")))
}

/// Bytes of the dump.
fn bytes(dom0: &mut Dom0, offset: u64, count: u64) -> Result<Vec<u8>> {
    let text = dom0.run(&format!(
        "od -A n -v -t u1 -j {offset} -N {count} /root/core"
    ))?;
    let bytes: Option<Vec<u8>> = text.split_whitespace().map(|w| w.parse().ok()).collect();
    match bytes {
        Some(bytes) if bytes.len() as u64 == count => Ok(bytes),
        _ => Err(dom0
            .console
            .failure(&format!("the dump has at {offset}: {text}"))),
    }
}

/// A little-endian number of `size` bytes.
fn little(bytes: &[u8], at: usize, size: usize) -> u64 {
    let field = bytes.get(at..at + size).unwrap_or_default();
    field
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
