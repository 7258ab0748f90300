// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's xl, as packaged, creates a guest, shows its console, and sees it go.

use super::{Scenario, Selection, Stage};
use crate::dom0::Dom0;
use crate::error::Result;
use crate::guest::{Guest, LONG, SOON, list};
use crate::machine::Gic;

pub(super) fn scenarios() -> Vec<Scenario> {
    use Selection::Short;
    vec![
        Scenario::new("xl/gic3-create", Short, |stage| creates(stage, Gic::V3)),
        Scenario::new("xl/gic2-create", Short, |stage| creates(stage, Gic::V2)),
    ]
}

/// `judge` of a dom0 with Debian's tools, which is then powered off.
pub(super) fn case(
    gic: Gic,
    selection: Selection,
    what: &str,
    judge: fn(&mut Dom0) -> Result<()>,
) -> Scenario {
    Scenario::new(format!("xl/{gic}-{what}"), selection, move |stage| {
        let mut dom0 = stage.boot(&stage.with_tools(gic))?;
        judge(&mut dom0)?;
        dom0.power_off()
    })
}

/// The example of `make linux`, then one guest that the harness talks to.
fn creates(stage: &Stage, gic: Gic) -> Result<()> {
    let mut dom0 = stage.boot(&stage.with_tools(gic))?;
    expect_info(&mut dom0)?;
    let create = "xl create -c /etc/xen/demo.cfg";
    dom0.start(create)?;
    dom0.console.expect("guest# ", LONG)?;
    dom0.console.send("nproc\n")?;
    dom0.console.expect("\n2\n", SOON)?;
    dom0.console.expect("guest# ", SOON)?;
    dom0.console.send("poweroff\n")?;
    dom0.finish(create, SOON)?;
    Guest::new("demo").await_gone(&mut dom0)?;

    let guest = Guest {
        cpus: 2,
        ..Guest::new("talker")
    };
    guest.create(&mut dom0)?;
    let told = guest.run(&mut dom0, "nproc; cat /sys/hypervisor/uuid")?;
    let uuid = dom0.run("xl vm-list | awk '$3 == \"talker\" { print $1 }'")?;
    if told.trim() != format!("2\n{}", uuid.trim()) {
        let message = format!("the guest says {told:?}, xl {uuid:?}");
        return Err(dom0.console.failure(&message));
    }
    let domains = list(&mut dom0)?;
    let shape: Vec<_> = domains.iter().map(|d| (d.name.as_str(), d.cpus)).collect();
    if shape != [("Domain-0", 2), ("talker", 2)] {
        return Err(dom0.console.failure(&format!("xl lists {domains:?}")));
    }
    dom0.run_within("xl shutdown -w talker", SOON)?;
    guest.await_gone(&mut dom0)?;
    dom0.power_off()
}

/// `xl info` says what the machine has.
fn expect_info(dom0: &mut Dom0) -> Result<()> {
    let info = dom0.run("xl info")?;
    let has = |name: &str, value: &str| {
        info.lines().any(|line| {
            line.split_once(':')
                .is_some_and(|(n, v)| n.trim() == name && v.trim() == value)
        })
    };
    for (name, value) in [
        ("nr_cpus", "2"),
        ("cores_per_socket", "2"),
        ("total_memory", "2048"),
        ("xen_major", "4"),
        ("xen_minor", "20"),
        ("xen_scheduler", "credit2"),
        ("xen_pagesize", "4096"),
    ] {
        if !has(name, value) {
            let message = format!("xl info does not say '{name} : {value}' but {info}");
            return Err(dom0.console.failure(&message));
        }
    }
    Ok(())
}
