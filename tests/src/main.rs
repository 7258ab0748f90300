// SPDX-License-Identifier: MIT OR Apache-2.0
//! The harness's verbs; `make` calls them.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use tests::error::{Result, fail};
use tests::machine::{Gic, Hypervisor, Machine, Payload};
use tests::{
    bench, bench_xl as by_clock, conformance, debian, demo, initramfs, rootfs, runner, symbolize,
    uboot,
};

const USAGE: &str = "usage: tests fetch             fetch Debian's packages, build the archives
       tests lock              take the newest packages for dom0's disk
       tests list              name all scenarios
       tests boots [--full] [NAME...]   run scenarios whose name contains a NAME
       tests demo              the demonstration
       tests juno              the same on a model of a Juno (QEMU_JUNO=)
       tests linux             Debian's Linux as dom0 on this terminal
       tests juno-image        make target/juno: what U-Boot starts on a Juno
       tests conformance [FAMILY...]    check what a guest sees, on all machines, and report
       tests bench             compare instruction counts with Xen's
       tests bench-xl          compare by the clock what a guest of xl's gets
       tests symbolize         name the addresses in a log on standard input
environment: HV=xenolith|xen, JOBS=N at a time, RECORD=1, XENOLITH_TIMEOUT_SCALE=X";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (verb, rest) = match arguments.split_first() {
        Some((verb, rest)) => (verb.as_str(), rest),
        None => ("", arguments.as_slice()),
    };
    let outcome = match verb {
        "fetch" => fetch(),
        "lock" => rootfs::lock_newest(),
        "list" => {
            runner::list();
            Ok(())
        }
        "boots" => boots(rest),
        "demo" => demonstrate(),
        "juno" => Hypervisor::from_environment().and_then(demo::show_juno),
        "linux" => linux(),
        "juno-image" => juno_image(),
        "conformance" => conform(rest),
        "bench" => bench::compare(),
        "bench-xl" => bench_xl(),
        "symbolize" => symbolize::filter(),
        _ => fail(USAGE),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn fetch() -> Result<()> {
    debian::fetch_all()?;
    rootfs::fetch()?;
    initramfs::build_all()?;
    rootfs::build()
}

fn boots(arguments: &[String]) -> Result<()> {
    let (options, filters): (Vec<_>, Vec<_>) = arguments.iter().partition(|a| a.starts_with('-'));
    let full = options.iter().any(|option| *option == "--full");
    if let Some(unknown) = options.iter().find(|option| **option != "--full") {
        return fail(format!("there is no option {unknown}\n{USAGE}"));
    }
    fetch()?;
    runner::run(&runner::Request {
        hypervisor: Hypervisor::from_environment()?,
        full,
        filters: filters.into_iter().cloned().collect(),
        jobs: jobs()?,
    })
}

fn juno_image() -> Result<()> {
    debian::fetch_all()?;
    initramfs::build_all()?;
    let directory = uboot::juno()?;
    println!(
        "{}: copy it onto a disk or serve it by TFTP (docs/juno.md)",
        directory.display()
    );
    Ok(())
}

fn bench_xl() -> Result<()> {
    fetch()?;
    by_clock::compare(Gic::V3)
}

fn conform(families: &[String]) -> Result<()> {
    debian::fetch_all()?;
    conformance::run(Hypervisor::from_environment()?, families, jobs()?)
}

/// Two at a time unless `JOBS` says otherwise: a boot keeps about one core busy.
fn jobs() -> Result<usize> {
    match std::env::var("JOBS") {
        Ok(text) if !text.is_empty() => match text.parse() {
            Ok(jobs) => Ok(jobs),
            Err(_) => fail(format!("JOBS={text}: want a number")),
        },
        _ => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            Ok(cores.min(2))
        }
    }
}

/// Nothing is fetched but the hypervisor, if it is Debian's.
fn demonstrate() -> Result<()> {
    let hypervisor = Hypervisor::from_environment()?;
    if hypervisor == Hypervisor::Xen {
        debian::fetch("xen")?;
    }
    demo::show(hypervisor)
}

/// Replaces this process by QEMU with its console on the terminal.
fn linux() -> Result<()> {
    fetch()?;
    let mut machine = Machine::new(Hypervisor::from_environment()?);
    machine.cpus = 2;
    machine.ram_mib = 2048;
    machine.payload = Payload::Tools;
    machine.reboots = true;
    println!("Ctrl-t x ends QEMU, Ctrl-t c is its monitor; all other keys reach the guest.");
    let mut qemu = machine.command()?;
    qemu.args(["-serial", "mon:stdio", "-echr", "20"]);
    fail(format!("starting QEMU: {}", qemu.exec()))
}
