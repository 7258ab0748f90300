// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest is destroyed while its disk and its network card are busy. Another one does not notice, and nothing is left.

use std::fs;

use super::disk::attach_virtio;
use super::xl_life::{Held, held};
use super::xl_net::{address, bridged};
use super::{Scenario, Selection, Stage};
use crate::dom0::Dom0;
use crate::error::{Context, Result};
use crate::guest::{Guest, LONG, PORT};
use crate::machine::Gic;
use crate::workspace::write_whole;

pub(super) fn scenarios() -> Vec<Scenario> {
    use Selection::Full;
    let case = |selection, gic: Gic, rounds: u32| {
        let name = format!("xl/{gic}-busy-death-{rounds}");
        Scenario::new(name, selection, move |stage| dies(stage, gic, rounds))
    };
    vec![
        case(Full, Gic::V3, 1),
        case(Full, Gic::V2, 1),
        case(Full, Gic::V3, 5),
    ]
}

/// Behind dom0's root.
const DISK: &str = "/dev/vdb";
/// Of the other's disk, which is a file.
const FILE: &str = "/root/disk.img";

fn dies(stage: &Stage, gic: Gic, rounds: u32) -> Result<()> {
    let image = stage.file(".img");
    write_whole(&image, &vec![0; 64 << 20])?;
    let mut machine = stage.with_tools(gic);
    attach_virtio(&mut machine, &image);
    let mut dom0 = stage.boot(&machine)?;
    dom0.run_within(&format!("head -c 16M /dev/urandom >{FILE}"), LONG)?;
    let sum = dom0.run(&format!("sha256sum <{FILE}"))?;

    let mut victim = bridged("victim", 1);
    victim
        .config
        .push(format!("disk = [ \"phy:{DISK},xvda,w\" ]"));
    let mut other = bridged("other", 2);
    other
        .config
        .push(format!("disk = [ \"{FILE},raw,xvda,r\" ]"));
    other.create(&mut dom0)?;
    let before = settled(stage, &mut dom0, &victim, &sum)?;
    for _ in 0..rounds {
        round(&mut dom0, &victim, &sum)?;
    }
    let after = held(stage, &mut dom0)?;
    if before != after {
        let message = format!("before {before:?}, after {after:?}");
        return Err(dom0.console.failure(&message));
    }
    dom0.run("xl destroy other")?;
    other.await_gone(&mut dom0)?;
    dom0.power_off()?;
    fs::remove_file(&image).context(|| format!("removing {}", image.display()))
}

/// Rounds in which dom0 may get stage-2 tables.
const SETTLING: u32 = 4;

/// What is held after a round that leaves all as it was. The first one fills caches, and makes daemons ask for memory
/// that they keep. Those after it may have more pages mapped at a time than ever before: where dom0 had nothing yet it
/// then has a table more, which stays and takes a free page. Nothing else may change, and this must end.
fn settled(stage: &Stage, dom0: &mut Dom0, victim: &Guest, sum: &str) -> Result<Held> {
    round(dom0, victim, sum)?;
    let mut seen = vec![held(stage, dom0)?];
    for _ in 0..SETTLING {
        round(dom0, victim, sum)?;
        let after = held(stage, dom0)?;
        let before = seen.last();
        if before == Some(&after) {
            return Ok(after);
        }
        let same = before.is_some_and(|before| before.but_for_tables() == after.but_for_tables());
        seen.push(after);
        if !same {
            break;
        }
    }
    let message = format!("something is lost: {seen:#?}");
    Err(dom0.console.failure(&message))
}

/// The victim reads, writes and sends until its end; the other one reads and answers on and on.
fn round(dom0: &mut Dom0, victim: &Guest, sum: &str) -> Result<()> {
    victim.create(dom0)?;
    let host = address(0);
    dom0.run(&format!(
        "mkfifo -m 600 /tmp/open 2>/dev/null; nc -l -p {PORT} <>/tmp/open >/dev/null & echo $! >/tmp/sink; sleep 1"
    ))?;
    for load in [
        "while :; do dd if=/dev/xvda of=/dev/null bs=1M iflag=direct; done",
        "while :; do dd if=/dev/zero of=/dev/xvda bs=1M count=32 oflag=direct; done",
        &format!("nc {host} {PORT} </dev/zero"),
    ] {
        victim.run(dom0, &format!("({load}) >/dev/null 2>&1 & :"))?;
    }
    let other = Guest::new("other");
    let read = other.command(
        "for i in 1 2 3; do dd if=/dev/xvda bs=1M iflag=direct 2>/dev/null | sha256sum; done",
    );
    let ping = format!("ping -q -i 0.5 -c 20 {}", address(2));
    // All at once, and the end of the victim in the midst of it. In a shell of its own, which does not wait for the sink.
    let command = format!("(({read}) & ({ping}) & sleep 3; xl destroy victim; wait)");
    let told = dom0.run_within(&command, LONG)?;
    let right = told.matches(sum.trim()).count();
    if right != 3 || !told.contains(" 0% packet loss") {
        let message = format!("the other guest is disturbed: {told}");
        return Err(dom0.console.failure(&message));
    }
    victim.await_gone(dom0)?;
    dom0.run("kill $(cat /tmp/sink) 2>/dev/null; wait; :")?;
    Ok(())
}
