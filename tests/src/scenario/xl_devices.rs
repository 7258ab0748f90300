// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks and network cards that come to a running guest and leave it again.

use super::xl_net::address;
use super::{Scenario, Selection, Stage};
use crate::dom0::Dom0;
use crate::error::Result;
use crate::guest::{Guest, LONG, SOON};
use crate::machine::Gic;

pub(super) fn scenarios() -> Vec<Scenario> {
    use Selection::Full;
    let case = |selection, gic: Gic| {
        Scenario::new(format!("xl/{gic}-hotplug"), selection, move |stage| {
            come_and_go(stage, gic)
        })
    };
    vec![case(Full, Gic::V3), case(Full, Gic::V2)]
}

/// Twice each: the second time finds what the first one has left.
fn come_and_go(stage: &Stage, gic: Gic) -> Result<()> {
    let mut dom0 = stage.boot(&stage.with_tools(gic))?;
    let guest = Guest::new("host");
    guest.create(&mut dom0)?;
    for _ in 0..2 {
        disk(&mut dom0, &guest)?;
        card(&mut dom0, &guest)?;
    }
    dom0.run_within("xl shutdown -w host", SOON)?;
    guest.await_gone(&mut dom0)?;
    dom0.power_off()
}

/// A command that waits until `test` holds.
fn until(test: &str) -> String {
    format!("for i in $(seq 600); do {test} && break; usleep 100000; done; {test}")
}

fn disk(dom0: &mut Dom0, guest: &Guest) -> Result<()> {
    let spec = "format=raw,vdev=xvdb,access=rw,target=/root/disk.img";
    dom0.run("head -c 8M /dev/urandom >/root/disk.img")?;
    dom0.run_within(&format!("xl block-attach host {spec}"), LONG)?;
    guest.run(dom0, &until("[ -b /dev/xvdb ]"))?;
    expect_same(dom0, guest)?;
    guest.run(
        dom0,
        "dd if=/dev/urandom of=/dev/xvdb bs=1M count=8 conv=notrunc,fsync 2>&1",
    )?;
    expect_same(dom0, guest)?;
    let listed = dom0.run("xl block-list host | awk 'NR > 1 { print $1, $4 }'")?;
    if listed.trim() != "51728 4" {
        return Err(dom0.console.failure(&format!("disks: {listed}")));
    }
    dom0.run_within("xl block-detach host xvdb", LONG)?;
    guest.run(dom0, &until("! [ -b /dev/xvdb ]"))?;
    dom0.run(&until("[ -z \"$(losetup --all)\" ]"))?;
    Ok(())
}

/// The guest and dom0 read the same.
fn expect_same(dom0: &mut Dom0, guest: &Guest) -> Result<()> {
    let there = guest.run(dom0, "sha256sum </dev/xvdb")?;
    let here = dom0.run("dd if=/root/disk.img bs=1M iflag=direct 2>/dev/null | sha256sum")?;
    if there.trim() == here.trim() {
        return Ok(());
    }
    let message = format!("the guest reads {there}, dom0 {here}");
    Err(dom0.console.failure(&message))
}

fn card(dom0: &mut Dom0, guest: &Guest) -> Result<()> {
    dom0.run_within("xl network-attach host bridge=xenbr0", LONG)?;
    guest.run(dom0, &until("[ -d /sys/class/net/eth0 ]"))?;
    let ip = address(1);
    let up = format!("ip address add {ip}/24 dev eth0 && ip link set eth0 up");
    guest.run(dom0, &up)?;
    let told = dom0.run_within(&format!("ping -q -c 3 {ip}"), SOON)?;
    if !told.contains(" 0% packet loss") {
        return Err(dom0.console.failure(&format!("pings are lost: {told}")));
    }
    let listed = dom0.run("xl network-list host | awk 'NR > 1 { print $1, $5 }'")?;
    if listed.trim() != "0 4" {
        return Err(dom0.console.failure(&format!("cards: {listed}")));
    }
    dom0.run_within("xl network-detach host 0", LONG)?;
    guest.run(dom0, &until("! [ -d /sys/class/net/eth0 ]"))?;
    dom0.run(&until("! ls /sys/class/net | grep -q vif"))?;
    Ok(())
}
