// SPDX-License-Identifier: MIT OR Apache-2.0
//! A model of Arm's Juno: two kinds of CPU, a GIC-400 with GICv2m, two banks of RAM. Skipped where there is no QEMU with
//! that machine (`QEMU_JUNO`).

use super::boot::inspect;
use super::disk::{self, NVME};
use super::pvdisk::Dma;
use super::{Scenario, Selection, Stage};
use super::{network, xl_disk};
use crate::conformance;
use crate::demo;
use crate::dom0::Dom0;
use crate::error::{Result, fail};
use crate::guest::{Guest, SOON};
use crate::juno::{Juno, Revision};
use crate::machine::{Board, Hypervisor, Kernel, Machine, Payload};

/// MIDR_EL1.PartNum of the cores.
const A53: &str = "0xd03";
const A57: &str = "0xd07";
const A72: &str = "0xd08";

pub(super) fn scenarios() -> Vec<Scenario> {
    use Kernel::{V6_1, V6_12};
    use Revision::{R0, R1, R2};
    use Selection::{Full, Short};
    let boot = |selection, revision, kernel, cpus, gib, el3| {
        let security = if el3 { "-el3" } else { "" };
        let name = format!("juno/{revision}-{kernel}-smp{cpus}-{gib}G{security}");
        let juno = Juno { revision, el3 };
        Scenario::new(name, selection, move |stage| {
            boots(stage, juno, kernel, cpus, gib)
        })
    };
    let disk = |name, selection, msi: bool| {
        Scenario::new(name, selection, move |stage| {
            let mut machine = machine(stage, PLAIN, 6, 2);
            if !msi {
                machine.dom0_args.push_str(" pci=nomsi");
            }
            let way = if msi { "GICv2m" } else { "GIC-0 168" };
            let check = format!("grep nvme /proc/interrupts | grep -q '{way}'");
            disk::reads_and_writes(stage, NVME, machine, &check)
        })
    };
    let suite = |cpus, el3| {
        let security = if el3 { "-el3" } else { "" };
        let name = format!("juno/conformance-smp{cpus}{security}");
        Scenario::new(name, Full, move |stage| {
            let juno = Juno { el3, ..PLAIN };
            let machine = machine(stage, juno, cpus, 2);
            let count = conformance::check_on(&machine, &stage.log())?;
            println!("      {}: {count}", stage.name);
            Ok(())
        })
    };
    let mut all = Vec::new();
    for kernel in [V6_12, V6_1] {
        for (cpus, gib, el3) in [
            (6, 8, true),
            (6, 8, false),
            (6, 2, true),
            (6, 2, false),
            (2, 8, true),
            (2, 8, false),
            (2, 2, true),
            (2, 2, false),
        ] {
            let first = all.is_empty();
            let selection = if first { Short } else { Full };
            all.push(boot(selection, R2, kernel, cpus, gib, el3));
        }
    }
    all.extend([
        boot(Full, R1, V6_12, 6, 8, false),
        boot(Full, R1, V6_1, 2, 2, true),
        boot(Full, R0, V6_12, 6, 8, true),
        boot(Full, R0, V6_1, 2, 2, false),
        disk("juno/nvme-msi", Short, true),
        disk("juno/nvme-intx", Full, false),
        Scenario::new("juno/lan9118", Short, |stage| {
            let mut machine = machine(stage, PLAIN, 6, 2);
            machine.attach("-nic", "user,model=lan9118");
            network::fetches_and_sends(stage, &machine)
        }),
        suite(2, false),
        suite(6, true).on_xenolith_alone(),
        Scenario::new("juno/demo-pl330", Short, |stage| {
            let name = format!("{}-{}", stage.hypervisor, stage.name);
            demo::run(&demo::on_juno(stage.hypervisor), &name, |_| ())
        })
        .on_xenolith_alone(),
        // dom0 has one kind of CPU, the guest the other.
        Scenario::new("juno/xl-nvme", Full, |stage| {
            let machine = Machine {
                payload: Payload::Tools,
                ..machine(stage, PLAIN, 6, 4)
            };
            xl_disk::nvme(stage, machine, Dma::Coherent)
        }),
        Scenario::new("juno/xl-kinds", Full, kinds).on_xenolith_alone(),
    ]);
    all.into_iter().map(Scenario::on_a_juno).collect()
}

const PLAIN: Juno = Juno {
    revision: Revision::R2,
    el3: false,
};

fn machine(stage: &Stage, juno: Juno, cpus: u32, gib: u32) -> Machine {
    Machine {
        board: Board::Juno(juno),
        cpus,
        ram_mib: gib * 1024,
        dom0_mib: 1024,
        // Xen parks the CPUs that are not like its boot CPU unless it is told this.
        hypervisor_args: match stage.hypervisor {
            Hypervisor::Xen => "hmp-unsafe=true".to_owned(),
            Hypervisor::Xenolith => String::new(),
        },
        ..stage.machine()
    }
}

fn boots(stage: &Stage, juno: Juno, kernel: Kernel, cpus: u32, gib: u32) -> Result<()> {
    let machine = Machine {
        payload: Payload::Linux(kernel),
        ..machine(stage, juno, cpus, gib)
    };
    let mut dom0 = stage.boot(&machine)?;
    inspect(&mut dom0, &machine)?;
    if stage.hypervisor == Hypervisor::Xenolith {
        sees_its_cores(&mut dom0, juno, cpus)?;
    }
    dom0.power_off()
}

/// xl shows kinds, a guest goes to the one that it is told, and stays with it.
fn kinds(stage: &Stage) -> Result<()> {
    let machine = Machine {
        payload: Payload::Tools,
        ..machine(stage, PLAIN, 6, 4)
    };
    let mut dom0 = stage.boot(&machine)?;
    expect_bound(
        &mut dom0,
        "Domain-0",
        &["0-1", "0-1", "2-5", "2-5", "2-5", "2-5"],
    )?;
    let big = Guest {
        cpus: 2,
        config: vec!["cpus = \"0-1\"".to_owned()],
        ..Guest::new("big")
    };
    big.create(&mut dom0)?;
    expect_cores(&mut dom0, &big, &[A72, A72])?;
    // What is refused xl says, and exits with 0.
    dom0.run("xl vcpu-pin big all 2-5 2>&1 | grep -q 'Could not set affinity'")?;
    expect_bound(&mut dom0, "big", &["0-1", "0-1"])?;
    dom0.run("xl vcpu-pin big 0 1-2")?;
    expect_bound(&mut dom0, "big", &["1", "0-1"])?;

    dom0.run("for cpu in 3 4 5; do xl cpupool-cpu-remove Pool-0 $cpu || exit 1; done")?;
    dom0.run("xl cpupool-cpu-remove Pool-0 2 2>&1 | grep -q 'Device or resource busy'")?;
    dom0.run(
        "printf 'name = \"second\"\\nsched = \"credit2\"\\ncpus = [\"3\", \"4\", \"5\"]\\n' >/etc/xen/second.pool",
    )?;
    dom0.run("xl cpupool-create /etc/xen/second.pool")?;
    dom0.run("! xl cpupool-migrate big second")?;
    let little = Guest {
        cpus: 2,
        config: vec!["pool = \"second\"".to_owned()],
        ..Guest::new("little")
    };
    little.create(&mut dom0)?;
    expect_cores(&mut dom0, &little, &[A53, A53])?;
    expect_bound(&mut dom0, "little", &["2-5", "2-5"])?;
    dom0.run("xl cpupool-migrate little Pool-0")?;
    expect_cores(&mut dom0, &little, &[A53, A53])?;
    for guest in [big, little] {
        dom0.run_within(&format!("xl destroy {}", guest.name), SOON)?;
        guest.await_gone(&mut dom0)?;
    }
    dom0.run("xl cpupool-destroy second")?;
    dom0.power_off()
}

/// The CPUs that a domain's vCPUs may run on, as xl shows them.
fn expect_bound(dom0: &mut Dom0, name: &str, expected: &[&str]) -> Result<()> {
    let seen = dom0.run(&format!(
        "xl vcpu-list {name} | awk 'NR > 1 {{ print $7 }}'"
    ))?;
    if seen.lines().map(str::trim).eq(expected.iter().copied()) {
        return Ok(());
    }
    let message = format!("{name} may run on {seen:?}, not {expected:?}");
    Err(dom0.console.failure(&message))
}

fn expect_cores(dom0: &mut Dom0, guest: &Guest, expected: &[&str]) -> Result<()> {
    let seen = guest.run(dom0, "sed -n 's/^CPU part.*: //p' /proc/cpuinfo")?;
    if seen.lines().map(str::trim).eq(expected.iter().copied()) {
        return Ok(());
    }
    let message = format!("{} sees cores {seen:?}, not {expected:?}", guest.name);
    Err(dom0.console.failure(&message))
}

/// Each vCPU is of one kind, wherever it runs.
fn sees_its_cores(dom0: &mut Dom0, juno: Juno, cpus: u32) -> Result<()> {
    let big = match juno.revision {
        Revision::R0 | Revision::R1 => A57,
        Revision::R2 => A72,
    };
    let mut expected = [big, big, A53, A53, A53, A53].to_vec();
    expected.truncate(cpus as usize);
    let seen = dom0.run("sed -n 's/^CPU part.*: //p' /proc/cpuinfo")?;
    let seen: Vec<_> = seen.lines().map(str::trim).collect();
    if seen != expected {
        return fail(format!("dom0 sees cores {seen:?}, not {expected:?}"));
    }
    // Linux says when a CPU has not what it should.
    dom0.run("! dmesg | grep -E 'SANITY CHECK|TAINT_CPU_OUT_OF_SPEC'")?;
    Ok(())
}
