// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares what a guest of xl's gets on Xenolith and on Xen, by the clock: 2 vCPUs of dom0's and 2 of the guest's on
//! 2 CPUs. The hypervisors take turns, each value is the median of its repetitions. Only a machine that has nothing
//! else to do gives numbers that mean something.

use std::path::Path;

use crate::dom0::Dom0;
use crate::error::Result;
use crate::guest::{Guest, LONG, PORT, quoted, receiving};
use crate::machine::{Gic, Hypervisor, Machine, Payload};
use crate::workspace::{target, write_whole};

const REPETITIONS: usize = 3;
/// Guests that are created in each, for the median: what else the host does shows most in these.
const CREATIONS: usize = 5;
/// What is read and written, in MiB.
const MIB: u32 = 64;
/// What is sent.
const SENT_MIB: u32 = 16;

/// A row of the table: what it is, and whether more is better.
struct Row {
    name: &'static str,
    more_is_better: bool,
}

const ROWS: [Row; 7] = [
    row("create to the guest's init, ms", false),
    row("disk read, MiB/s", true),
    row("disk write, MiB/s", true),
    row("ping, us (median of averages)", false),
    row("ping of a busy guest, us", false),
    row("TCP dom0 to guest, MiB/s", true),
    row("TCP guest to dom0, MiB/s", true),
];

const fn row(name: &'static str, more_is_better: bool) -> Row {
    Row {
        name,
        more_is_better,
    }
}

type Values = [f64; ROWS.len()];

/// Runs all on both hypervisors and prints the medians side by side.
///
/// # Errors
/// When an image is missing, or something does not work.
pub fn compare(gic: Gic) -> Result<()> {
    let image = target("scratch").join("bench-xl.img");
    write_whole(&image, &vec![0; (MIB as usize) << 20])?;
    let (mut ours, mut xen) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        xen.push(measure(Hypervisor::Xen, gic, &image)?);
        ours.push(measure(Hypervisor::Xenolith, gic, &image)?);
    }
    println!(
        "{:<32} {:>10} {:>10} {:>18}",
        "", "xenolith", "xen", "xenolith to xen"
    );
    for (index, row) in ROWS.iter().enumerate() {
        let [a, b] = [&ours, &xen].map(|all| median(all.iter().map(|v| v[index]).collect()));
        let word = if (a > b) == row.more_is_better {
            "better"
        } else {
            "worse"
        };
        println!(
            "{:<32} {a:>10.1} {b:>10.1} {:>11.2} {word}",
            row.name,
            a / b
        );
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn measure(hypervisor: Hypervisor, gic: Gic, image: &Path) -> Result<Values> {
    let mut machine = Machine::new(hypervisor);
    machine.payload = Payload::Tools;
    machine.gic = gic;
    (machine.cpus, machine.ram_mib) = (2, 2048);
    let file = image.display().to_string().replace(',', ",,");
    machine.attach("-drive", &format!("if=none,id=disk,format=raw,file={file}"));
    machine.attach("-device", "virtio-blk-pci,romfile=,drive=disk");
    let log = target("logs").join(format!("{hypervisor}-bench-xl-{gic}.log"));
    let mut dom0 = Dom0::boot(&machine, &log)?;
    let guest = Guest {
        cpus: 2,
        memory_mib: 256,
        args: format!("address={GUEST}/24"),
        config: vec![
            "vif = [ \"bridge=xenbr0\" ]".to_owned(),
            "disk = [ \"phy:/dev/vdb,xvda,w\" ]".to_owned(),
        ],
        ..Guest::new("bench")
    };
    guest.configure(&mut dom0)?;
    // The second time, xl and what it reads are in dom0's cache.
    create(&mut dom0)?;
    dom0.run_within("xl destroy bench", LONG)?;
    guest.await_gone(&mut dom0)?;
    let mut times = vec![create(&mut dom0)?];
    while times.len() < CREATIONS {
        dom0.run_within("xl destroy bench", LONG)?;
        guest.await_gone(&mut dom0)?;
        times.push(create(&mut dom0)?);
    }
    let created = median(times);
    let dd = |what: &str| {
        guest.command(&format!(
            "read begin rest </proc/uptime; dd {what} bs=1M count={MIB} 2>/dev/null; read end rest </proc/uptime; \
             echo from $begin to $end"
        ))
    };
    let read = dd("if=/dev/xvda of=/dev/null iflag=direct");
    let write = dd("if=/dev/zero of=/dev/xvda oflag=direct");
    let read = copied(&mut dom0, &read)?;
    let write = copied(&mut dom0, &write)?;
    let idle = ping(&mut dom0)?;
    guest.run(&mut dom0, "while :; do :; done & echo $! >/tmp/spin")?;
    let busy = ping(&mut dom0)?;
    guest.run(&mut dom0, "kill $(cat /tmp/spin)")?;
    let data = format!("head -c {SENT_MIB}M /dev/zero");
    let listen = receiving("cat >/dev/null");
    guest.run(&mut dom0, &listen)?;
    let sent = sent(&mut dom0, &format!("{data} | nc {GUEST} {PORT}"))?;
    dom0.run(&listen)?;
    let back = guest.command(&format!("{data} | nc 192.168.128.1 {PORT}"));
    let received = self::sent(&mut dom0, &back)?;
    dom0.run_within("xl destroy bench", LONG)?;
    guest.await_gone(&mut dom0)?;
    dom0.power_off()?;
    let values = [created, read, write, idle, busy, sent, received];
    println!("{hypervisor}: {values:.1?}");
    Ok(values)
}

const GUEST: &str = "192.168.128.2";

/// Milliseconds from `xl create` to the line that the guest's init prints.
fn create(dom0: &mut Dom0) -> Result<f64> {
    let log = "/var/log/xen/console/guest-bench.log";
    let command = format!(
        "rm -f {log}; xl create -q /etc/xen/bench.cfg; \
         until grep -a -q 'XENOLITH-TEST: guest' {log}; do usleep 10000; done"
    );
    milliseconds(dom0, &command)
}

/// Milliseconds that `command` takes.
fn milliseconds(dom0: &mut Dom0, command: &str) -> Result<f64> {
    let command = format!(
        "t=$(date +%s%N); {{ {command}; }} >/dev/null; echo took $((($(date +%s%N) - t) / 1000))"
    );
    let told = dom0.run_within(&command, LONG)?;
    let micros = number(dom0, &told, "took ", "")?;
    Ok(micros / 1000.0)
}

/// MiB/s of a command that sends.
fn sent(dom0: &mut Dom0, command: &str) -> Result<f64> {
    Ok(f64::from(SENT_MIB) * 1000.0 / milliseconds(dom0, command)?)
}

/// MiB/s by the guest's clock, which has hundredths of a second: `from 10.00 to 10.50`.
fn copied(dom0: &mut Dom0, command: &str) -> Result<f64> {
    let told = dom0.run_within(command, LONG)?;
    let [begin, end] = [("from ", " "), (" to ", "")].map(|(a, b)| number(dom0, &told, a, b));
    Ok(f64::from(MIB) / (end? - begin?))
}

/// Average microseconds of a ping: `rtt min/avg/max/mdev = 0.4/0.5/0.9/0.1 ms`.
fn ping(dom0: &mut Dom0) -> Result<f64> {
    let command =
        format!("ping -q -c 50 -i 0.1 {GUEST} | sed -n 's,^rtt [^=]*= [^/]*/,average ,p'");
    let told = dom0.run_within(&command, LONG)?;
    Ok(number(dom0, &told, "average ", "/")? * 1000.0)
}

/// The number between `before` and `after` (or the end of the line).
fn number(dom0: &Dom0, text: &str, before: &str, after: &str) -> Result<f64> {
    let found = text.split_once(before).and_then(|(_, rest)| {
        let line = rest.lines().next()?;
        let word = match after {
            "" => line,
            after => line.split(after).next()?,
        };
        word.trim().parse().ok()
    });
    let wanted = quoted(before);
    found.ok_or_else(|| {
        dom0.console
            .failure(&format!("no number after {wanted} in {text}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
