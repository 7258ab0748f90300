// SPDX-License-Identifier: MIT OR Apache-2.0
//! Domains that the device tree describes: alone and beside dom0, their consoles, devices, ends, and nodes that are
//! refused.

use std::time::Duration;

use super::{Scenario, Selection, Stage};
use crate::console::Console;
use crate::debian;
use crate::device_tree::compile;
use crate::dom0::{Dom0, expect_no_errors};
use crate::domu::{self, DomU};
use crate::error::Result;
use crate::initramfs;
use crate::machine::{Gic, Hypervisor, Kernel, Machine, Payload};
use crate::tap::{self, Count};
use crate::workspace::target;

const LIMIT: Duration = Duration::from_secs(60);
/// Linux in a domU to its shell, beside one in dom0.
const BOOT: Duration = Duration::from_secs(240);
/// Time in which nothing more may come.
const SILENCE: Duration = Duration::from_secs(3);

/// Ctrl-a, three times.
const SWITCH: &str = "\x01\x01\x01";

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for (gic, selection) in [(Gic::V3, Selection::Short), (Gic::V2, Selection::Full)] {
        let mut add = |name: &str, selection, judge: fn(&Stage, Gic) -> Result<()>| {
            let name = format!("dom0less/{name}-{gic}");
            all.push(Scenario::new(name, selection, move |stage| {
                judge(stage, gic)
            }));
        };
        add("alone", Selection::Short, alone);
        add("uart", Selection::Full, uart);
        add("two", Selection::Full, two);
        add("linux", selection, linux);
        add("beside-dom0", Selection::Full, beside_dom0);
        add("device", Selection::Full, device);
    }
    let on_xenolith = [
        ("direct-map", direct_map as fn(&Stage) -> Result<()>),
        ("gzip", gzip),
        ("ends", ends),
    ];
    all.extend(on_xenolith.map(|(name, judge)| {
        let name = format!("dom0less/{name}");
        Scenario::new(name, Selection::Full, judge).on_xenolith_alone()
    }));
    all.extend(REFUSED.iter().map(|refused| {
        let name = format!("dom0less/refused-{}", refused.name);
        let judge = |stage: &Stage| refuse(stage, refused);
        Scenario::new(name, Selection::Full, judge).on_xenolith_alone()
    }));
    all
}

fn stub(args: &str) -> DomU {
    DomU::new(target("guest-stub.img"), args)
}

/// Debian's kernel with a shell on its UART. With `harness` the agent is at it.
fn debian_domu(args: &str) -> Result<DomU> {
    let kernel = Kernel::V6_12;
    let image = debian::boot_file(kernel.role(), "vmlinuz-")?;
    let args = format!("console=ttyAMA0 rdinit=/init {args}");
    Ok(DomU {
        memory_mib: 192,
        ramdisk: Some(initramfs::path(kernel)?),
        ..DomU::new(image, &args)
    })
}

/// A machine without dom0, with these.
fn machine_of(stage: &Stage, gic: Gic, domus: &[DomU]) -> Result<Machine> {
    let mut machine = Machine {
        payload: Payload::Nothing,
        gic,
        cpus: 2,
        ..stage.machine()
    };
    domu::add(&mut machine, domus, &stage.file(".dtb"))?;
    Ok(machine)
}

/// A domU and no dom0. When it has ended the machine goes on.
fn alone(stage: &Stage, gic: Gic) -> Result<()> {
    let machine = machine_of(stage, gic, &[stub("")])?;
    let mut console = Console::start(&machine, &stage.log())?;
    console.expect("*** Serial input to DOM1", LIMIT)?;
    console.expect("guest-stub: say", LIMIT)?;
    console.goes_on_for(SILENCE)
}

/// The registers of a domU's UART, checked from inside.
fn uart(stage: &Stage, gic: Gic) -> Result<()> {
    let machine = machine_of(stage, gic, &[stub("check=uart")])?;
    let mut console = Console::start(&machine, &stage.log())?;
    console.expect(" failed", LIMIT)?;
    let transcript = console.transcript().replace("(XEN) ", "");
    let lines = tap::parse(&transcript).map_err(|message| console.failure(&message))?;
    let count = Count::of(lines.iter().map(|line| &line.outcome));
    if count.failed != 0 || count.passed == 0 {
        return Err(console.failure(&format!("the UART: {count}")));
    }
    println!("      dom0less/uart-{gic}: {count}");
    expect_no_errors(&console)
}

/// Two domUs: who has no input is named in front of its lines.
fn two(stage: &Stage, gic: Gic) -> Result<()> {
    let machine = machine_of(stage, gic, &[stub(""), stub("")])?;
    let mut console = Console::start(&machine, &stage.log())?;
    console.expect("*** Serial input to DOM1", LIMIT)?;
    let second = if stage.hypervisor == Hypervisor::Xen {
        "DOM2: guest-stub: say"
    } else {
        "(d2) guest-stub: say"
    };
    console.expect(second, LIMIT)?;
    console.goes_on_for(SILENCE)?;
    let transcript = console.transcript();
    // A line may be cut if the machine is so slow that the other's waits too long for its end.
    match transcript.matches("say bench").count() {
        2 => expect_no_errors(&console),
        n => Err(console.failure(&format!("{n} stubs wrote their line, not 2"))),
    }
}

/// Debian's kernel in a domU of two vCPUs, spoken to over its UART.
fn linux(stage: &Stage, gic: Gic) -> Result<()> {
    let domu = DomU {
        cpus: 2,
        ..debian_domu("harness")?
    };
    let mut domu = stage.boot(&machine_of(stage, gic, &[domu])?)?;
    // Short ones: what is typed must fit the UART's FIFO.
    for command in [
        "test $(nproc) = 2",
        "taskset 2 true",
        "test -d /sys/hypervisor",
        "cat /proc/iomem >/tmp/m",
        "grep -q ^40000000-4bf /tmp/m",
        "grep -q pl011 /proc/interrupts",
    ] {
        domu.run(command)?;
    }
    expect_no_errors(&domu.console)
}

/// A Linux domU beside a Linux dom0: input goes to each in turn.
fn beside_dom0(stage: &Stage, gic: Gic) -> Result<()> {
    let mut machine = Machine {
        gic,
        cpus: 2,
        // The tree that is edited has dom0's line.
        dom0_args: "harness".to_owned(),
        ..stage.machine()
    };
    let domu = DomU {
        properties: "vpl011; xen,enhanced;".to_owned(),
        ..debian_domu("quiet")?
    };
    domu::add(&mut machine, &[domu], &stage.file(".dtb"))?;
    let mut dom0 = stage.boot(&machine)?;
    dom0.run("test -d /proc/xen || mount -t xenfs xenfs /proc/xen")?;
    dom0.console.send(SWITCH)?;
    dom0.console.expect("*** Serial input to DOM1", LIMIT)?;
    answer(&mut dom0, BOOT)?;
    for to in ["Xen", "DOM0"] {
        dom0.console.send(SWITCH)?;
        dom0.console
            .expect(&format!("*** Serial input to {to}"), LIMIT)?;
    }
    dom0.run("true")?;
    dom0.power_off()
}

/// Types to the domU's shell until it answers.
fn answer(domu: &mut Dom0, deadline: Duration) -> Result<()> {
    domu.console.send("echo sum $((20 + 22))\n")?;
    domu.console.expect("sum 42", deadline).map(drop)
}

/// QEMU's real-time clock is a domU's: its registers and its interrupt.
fn device(stage: &Stage, gic: Gic) -> Result<()> {
    let partial = stage.file("-partial.dtb");
    compile(PARTIAL, &partial)?;
    let domu = DomU {
        device_tree: Some(partial),
        ..debian_domu("harness")?
    };
    let mut domu = stage.boot(&machine_of(stage, gic, &[domu])?)?;
    for command in [
        "cd /sys/class/rtc/rtc0",
        "grep -q pl031 name",
        "test $(cat since_epoch) -gt 9",
        "echo +1 >wakealarm; sleep 3",
        "set $(grep 031 /proc/int*)",
        "test $2 -gt 0",
    ] {
        domu.run(command)?;
    }
    expect_no_errors(&domu.console)
}

const PARTIAL: &str = r#"/dts-v1/;
/ {
    #address-cells = <2>;
    #size-cells = <2>;
    gic: gic { #interrupt-cells = <3>; interrupt-controller; };
    aliases { rtc0 = "/passthrough/pl031@10010000"; };
    passthrough {
        compatible = "simple-bus";
        ranges;
        #address-cells = <2>;
        #size-cells = <2>;
        pclk: pclk {
            compatible = "fixed-clock";
            #clock-cells = <0>;
            clock-frequency = <24000000>;
        };
        pl031@10010000 {
            compatible = "arm,pl031", "arm,primecell";
            reg = <0 0x10010000 0 0x1000>;
            interrupt-parent = <&gic>;
            interrupts = <0 2 4>;
            clocks = <&pclk>;
            clock-names = "apb_pclk";
            xen,reg = <0 0x9010000 0 0x1000 0 0x10010000>;
            xen,path = "/pl031@9010000";
            xen,force-assign-without-iommu;
        };
    };
};
"#;

/// A domU that sees its memory, its interrupt controller and its UART where the machine has them.
fn direct_map(stage: &Stage) -> Result<()> {
    let domu = DomU {
        properties: "vpl011; direct-map; xen,enhanced = \"no-xenstore\";".to_owned(),
        ..debian_domu("harness")?
    };
    for gic in [Gic::V3, Gic::V2] {
        let mut domu = stage.boot(&machine_of(stage, gic, std::slice::from_ref(&domu))?)?;
        let memory = domu.console.transcript();
        let memory = memory
            .lines()
            .find_map(|line| line.split_once("d1 memory 0x"));
        let Some(start) = memory.and_then(|(_, range)| range.get(..8)) else {
            return Err(domu
                .console
                .failure("Xenolith does not say where d1's memory is"));
        };
        domu.run(&format!("grep -q '^{start}-.* : System RAM' /proc/iomem"))?;
        domu.run("grep -q '^09000000-09000fff : .*uart' /proc/iomem")?;
        expect_no_errors(&domu.console)?;
    }
    Ok(())
}

/// A compressed kernel.
fn gzip(stage: &Stage) -> Result<()> {
    let image = stage.file(".gz");
    let packed = std::process::Command::new("gzip")
        .args(["--stdout", "--fast"])
        .arg(target("guest-stub.img"))
        .output();
    let packed = crate::error::Context::context(packed, || "starting gzip".to_owned())?;
    crate::workspace::write_whole(&image, &packed.stdout)?;
    let machine = machine_of(stage, Gic::V3, &[DomU::new(image, "")])?;
    let mut console = Console::start(&machine, &stage.log())?;
    console.expect("guest-stub: say", LIMIT).map(drop)
}

/// Domains that have shut down stay so, and Xenolith's keys show it.
fn ends(stage: &Stage) -> Result<()> {
    let machine = machine_of(stage, Gic::V3, &[stub(""), debian_domu("quiet")?])?;
    let mut console = Console::start(&machine, &stage.log())?;
    console.expect("d1 shut down: power off\n", LIMIT)?;
    console.send(SWITCH)?;
    console.expect("*** Serial input to DOM2", LIMIT)?;
    console.expect("BusyBox", BOOT)?;
    console.send("reboot -f\n")?;
    console.expect("d2 shut down: reboot\n", LIMIT)?;
    console.send(SWITCH)?;
    console.expect("*** Serial input to Xenolith", LIMIT)?;
    console.send("q")?;
    for text in ["d1: 1 vCPUs", "shut down", "d2: 1 vCPUs", "shut down"] {
        console.expect(text, LIMIT)?;
    }
    expect_no_errors(&console)
}

/// A node that must be refused, and what the console must then say after "Xenolith cannot start: ".
struct Refused {
    name: &'static str,
    properties: &'static str,
    message: &'static str,
}

const REFUSED: &[Refused] = &[
    Refused {
        name: "static-memory",
        properties: "vpl011; xen,static-mem = <0x50000000 0x2000000>;",
        message: "/chosen/domU1: xen,static-mem: memory at given addresses is not supported",
    },
    Refused {
        name: "xenstore-without-dom0",
        properties: "vpl011; xen,enhanced;",
        message: "/chosen/domU1: xen,enhanced asks for xenstore, which dom0 serves",
    },
    Refused {
        name: "spis",
        properties: "vpl011; nr_spis = <0>;",
        message: "/chosen/domU1: nr_spis is 0, but vpl011 has SPI 32",
    },
];

fn refuse(stage: &Stage, refused: &Refused) -> Result<()> {
    let domu = DomU {
        properties: refused.properties.to_owned(),
        ..stub("")
    };
    let machine = machine_of(stage, Gic::V3, &[domu])?;
    let mut console = Console::start(&machine, &stage.log())?;
    console
        .expect(
            &format!("Xenolith cannot start: {}", refused.message),
            LIMIT,
        )
        .map(drop)
}
