// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest's configuration can ask of xl beside memory and vCPUs: vCPUs for later, a version of the GIC, nodes of
//! its device tree. And the hypervisor's own file system.

use std::fs;

use super::{Scenario, Selection, Stage};
use crate::device_tree;
use crate::dom0::Dom0;
use crate::error::{Context, Result};
use crate::guest::{Guest, LONG};
use crate::machine::Gic;

pub(super) fn scenarios() -> Vec<Scenario> {
    let case = |gic: Gic, selection| {
        let name = format!("xl/{gic}-options");
        Scenario::new(name, selection, move |stage| options(stage, gic))
    };
    vec![
        case(Gic::V3, Selection::Short),
        case(Gic::V2, Selection::Full),
    ]
}

/// What a user adds to the guest's tree (`xen/docs/misc/arm/passthrough.txt`).
const NODES: &str = r#"/dts-v1/;
/ {
    #address-cells = <2>;
    #size-cells = <2>;
    passthrough {
        compatible = "simple-bus";
        #address-cells = <2>;
        #size-cells = <2>;
        ranges;
        probe {
            compatible = "example,probe";
            example,words = "by the user";
        };
    };
};
"#;

fn options(stage: &Stage, gic: Gic) -> Result<()> {
    let mut dom0 = stage.boot(&stage.with_tools(gic))?;
    put_tree(stage, &mut dom0)?;
    let (own, other) = match gic {
        Gic::V2 => ("v2", "v3"),
        Gic::V3 => ("v3", "v2"),
    };
    let with = |version: &str| Guest {
        cpus: 2,
        config: vec![
            "maxvcpus = 4".to_owned(),
            "device_tree = \"/root/nodes.dtb\"".to_owned(),
            format!("gic_version = \"{version}\""),
        ],
        ..Guest::new("special")
    };
    with(other).configure(&mut dom0)?;
    let refused = dom0.run_within("! xl create -q /etc/xen/special.cfg 2>&1", LONG)?;
    if !refused.contains("domain creation fail") {
        return Err(dom0.console.failure(&format!("xl says {refused}")));
    }
    let guest = with(own);
    guest.create(&mut dom0)?;
    let told = guest.run(
        &mut dom0,
        "nproc; ls -d /proc/device-tree/cpus/cpu@* | wc -l; tr '\\0' '\\n' </proc/device-tree/passthrough/probe/example,words; \
         cat /proc/device-tree/interrupt-controller*/compatible | tr '\\0' '\\n'",
    )?;
    let compatible = match gic {
        Gic::V2 => "arm,cortex-a15-gic",
        Gic::V3 => "arm,gic-v3",
    };
    let lines: Vec<_> = told.lines().map(str::trim).collect();
    if lines.get(..3) != Some(&["2", "4", "by the user"]) || !lines.contains(&compatible) {
        return Err(dom0.console.failure(&format!("the guest has {told}")));
    }
    let vcpus = dom0.run("xl vcpu-list special | awk 'NR > 1 { printf \"%s \", $5 }'")?;
    let states: Vec<_> = vcpus.split_whitespace().collect();
    if states.len() != 4 || states[2..] != ["--p", "--p"] {
        return Err(dom0.console.failure(&format!("its vCPUs are {vcpus}")));
    }
    dom0.run("xl destroy special")?;
    guest.await_gone(&mut dom0)?;
    shows_files(&mut dom0)?;
    dom0.power_off()
}

/// Puts [`NODES`], compiled, where dom0 has it as `/root/nodes.dtb`.
fn put_tree(stage: &Stage, dom0: &mut Dom0) -> Result<()> {
    let path = stage.file(".dtb");
    device_tree::compile(NODES, &path)?;
    let blob = fs::read(&path).context(|| format!("reading {}", path.display()))?;
    dom0.run("rm -f /root/nodes.dtb")?;
    for part in blob.chunks(128) {
        let text: String = part.iter().map(|byte| format!("\\{byte:03o}")).collect();
        dom0.run(&format!("printf '{text}' >>/root/nodes.dtb"))?;
    }
    fs::remove_file(&path).context(|| format!("removing {}", path.display()))
}

/// `xenhypfs` as a user sees it.
fn shows_files(dom0: &mut Dom0) -> Result<()> {
    let version = dom0.run(
        "xenhypfs cat /buildinfo/version/major; echo; xenhypfs cat /buildinfo/version/minor; echo",
    )?;
    if version.split_whitespace().collect::<Vec<_>>() != ["4", "20"] {
        let message = format!("the version is {version}");
        return Err(dom0.console.failure(&message));
    }
    let top = dom0.run("xenhypfs ls /")?;
    let has = |name: &str| {
        top.lines()
            .any(|line| line.split_whitespace().last() == Some(name))
    };
    if !["buildinfo", "cpupool", "params"].into_iter().all(has) {
        return Err(dom0.console.failure(&format!("at the top are {top}")));
    }
    let granularity = dom0.run("xenhypfs cat /cpupool/0/sched-gran")?;
    if granularity.trim() != "cpu" {
        let message = format!("the pool's granularity is {granularity}");
        return Err(dom0.console.failure(&message));
    }
    for command in [
        "xenhypfs tree | grep -q sched-gran",
        "! xenhypfs write /buildinfo/version/major 5",
        "! xenhypfs cat /nothing",
    ] {
        dom0.run(command)?;
    }
    Ok(())
}
