// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command lines: whose is which, and the options of ours, named and spelled as Xen's.
//!
//! Nothing on a command line stops the boot. What is unknown, malformed or has no effect here ends
//! up in [`Options::warnings`].

mod others;
mod params;
mod values;

#[cfg(test)]
mod tests;

pub use params::{PARAMS, Params};
pub use values::{BootScrub, ConSwitch, Level, Scheduler, Threshold, Timestamps, size};

use super::host_dt::HostDt;
use super::modules::Modules;
use crate::sched::{DEFAULT_RATELIMIT_US, is_ratelimit};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use values::{
    bootscrub, choice, console, conswitch, number, scheduler, threshold, timestamps, truth,
};

/// The strings of the two command lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandLines<'d> {
    /// The hypervisor's.
    pub xen: &'d str,
    /// Dom0's kernel's.
    pub dom0: &'d str,
}

impl<'d> CommandLines<'d> {
    /// Chooses among `/chosen` and the kernel module as Xen does.
    pub fn find(host: &'d HostDt<'_>, modules: &Modules<'d>) -> Self {
        let chosen = host.find("/chosen");
        let text = |name| chosen.and_then(|node| node.str(name));
        let shared = text("bootargs");
        let dom0 = text("xen,dom0-bootargs");
        let module = modules.kernel().and_then(|kernel| kernel.bootargs);
        let module = module.filter(|text| !text.is_empty());
        let shared_is_ours = dom0.is_some() || module.is_some();
        let xen = text("xen,xen-bootargs").or(shared.filter(|_| shared_is_ours));
        Self {
            xen: xen.unwrap_or_default(),
            dom0: dom0.or(module).or(shared).unwrap_or_default(),
        }
    }
}

/// The hypervisor's options, with Xen's defaults.
#[derive(Clone, Debug)]
pub struct Options<'d> {
    /// The line as it was given.
    pub line: &'d str,
    /// Dom0's memory, in bytes.
    pub dom0_mem: Option<u64>,
    /// Dom0's vCPUs.
    pub dom0_max_vcpus: Option<u32>,
    /// Each of dom0's vCPUs stays on the CPU it starts on.
    pub dom0_vcpus_pin: bool,
    /// The console is the UART of the device tree.
    pub console: bool,
    /// The UART: alias or path, with or without `:options`.
    pub dtuart: Option<&'d str>,
    /// Guests' output goes to the log ring too.
    pub console_to_ring: bool,
    /// What is put before a line.
    pub console_timestamps: Timestamps,
    /// What of our own messages is logged.
    pub loglvl: Threshold,
    /// What of messages guests cause is logged.
    pub guest_loglvl: Threshold,
    /// Switching of the console's input.
    pub conswitch: ConSwitch,
    /// Bytes of the log ring.
    pub conring_size: u64,
    /// When free memory is scrubbed.
    pub bootscrub: BootScrub,
    /// Stop instead of a reboot after a crash.
    pub noreboot: bool,
    /// CPUs used.
    pub maxcpus: Option<u32>,
    /// The scheduler.
    pub sched: Scheduler,
    /// Rate limit of a new pool's scheduler, in microseconds; 0: none.
    pub sched_ratelimit_us: u32,
    /// WFI and WFE of a guest are not trapped.
    pub vwfi_native: bool,
    /// Frames of a grant table.
    pub gnttab_max_frames: u32,
    /// Frames that track a domain's mappings.
    pub gnttab_max_maptrack_frames: u32,
    /// Dom0's tree names extended regions.
    pub ext_regions: bool,
    /// An SError stops the machine, whoever caused it.
    pub serrors_panic: bool,
    /// What to tell the user.
    pub warnings: Vec<String>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            line: "",
            dom0_mem: None,
            dom0_max_vcpus: None,
            dom0_vcpus_pin: false,
            console: true,
            dtuart: None,
            console_to_ring: false,
            console_timestamps: Timestamps::None,
            // Xen's default is "warning"; what Xenolith has to say at "info" is a screenful at boot.
            loglvl: Threshold {
                always: Level::Info,
                limited: Level::Warning,
            },
            guest_loglvl: Threshold {
                always: Level::None,
                limited: Level::Warning,
            },
            conswitch: ConSwitch {
                key: Some(b'a'),
                dom0_first: true,
            },
            conring_size: 16 << 10,
            bootscrub: BootScrub::Idle,
            noreboot: false,
            maxcpus: None,
            sched: Scheduler::Credit2,
            sched_ratelimit_us: DEFAULT_RATELIMIT_US,
            vwfi_native: false,
            gnttab_max_frames: 64,
            gnttab_max_maptrack_frames: 1024,
            ext_regions: true,
            serrors_panic: false,
            warnings: Vec::new(),
        }
    }
}

/// What became of an option.
enum Outcome {
    Done,
    Malformed,
    Unknown,
    Unsupported,
}

impl From<Option<()>> for Outcome {
    fn from(done: Option<()>) -> Self {
        match done {
            Some(()) => Self::Done,
            None => Self::Malformed,
        }
    }
}

impl<'d> Options<'d> {
    /// Reads a command line; of an option given twice the last counts.
    pub fn parse(line: &'d str) -> Self {
        let mut options = Self {
            line,
            ..Self::default()
        };
        for word in line.split_ascii_whitespace() {
            let what = match options.apply(word) {
                Outcome::Done => continue,
                Outcome::Malformed => "malformed",
                Outcome::Unknown => "unknown",
                Outcome::Unsupported => "not supported",
            };
            let warning = format!("option \"{word}\": {what}, ignored");
            options.warnings.push(warning);
        }
        options
    }

    fn apply(&mut self, word: &'d str) -> Outcome {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        // "no-option" is "option=no".
        let (name, value) = match (name.strip_prefix("no-"), value) {
            (Some(name), None) => (name, Some("no")),
            _ => (name, value),
        };
        if let Some(flag) = self.flag(name) {
            return truth(value).map(|on| *flag = on).into();
        }
        match self.set(name, value.unwrap_or_default()) {
            Outcome::Unknown if others::has_no_effect(name) => Outcome::Done,
            Outcome::Unknown if others::is_unsupported(name) => Outcome::Unsupported,
            outcome => outcome,
        }
    }

    /// The options that are on or off.
    fn flag(&mut self, name: &str) -> Option<&mut bool> {
        Some(match name {
            "dom0_vcpus_pin" => &mut self.dom0_vcpus_pin,
            "console_to_ring" => &mut self.console_to_ring,
            "noreboot" => &mut self.noreboot,
            "ext_regions" => &mut self.ext_regions,
            _ => return None,
        })
    }

    /// The options that have a value.
    fn set(&mut self, name: &str, value: &'d str) -> Outcome {
        match name {
            "dom0_mem" => put(&mut self.dom0_mem, size(value).map(Some)),
            "dom0_max_vcpus" => put(&mut self.dom0_max_vcpus, number(value).map(Some)),
            "console" => put(&mut self.console, console(value)),
            "dtuart" => put(&mut self.dtuart, Some(Some(value))),
            "console_timestamps" => put(&mut self.console_timestamps, timestamps(value)),
            "loglvl" => put(&mut self.loglvl, threshold(value)),
            "guest_loglvl" => put(&mut self.guest_loglvl, threshold(value)),
            "conswitch" => put(&mut self.conswitch, conswitch(value)),
            "conring_size" => put(&mut self.conring_size, size(value)),
            "bootscrub" => put(&mut self.bootscrub, bootscrub(value)),
            "maxcpus" => put(&mut self.maxcpus, number(value).map(Some)),
            "sched_ratelimit_us" => put(
                &mut self.sched_ratelimit_us,
                number(value).filter(|us| is_ratelimit(*us)),
            ),
            "sched" => put(&mut self.sched, scheduler(value)),
            "vwfi" => put(&mut self.vwfi_native, choice(value, "native", "trap")),
            "gnttab_max_frames" => put(&mut self.gnttab_max_frames, number(value)),
            "gnttab_max_maptrack_frames" => {
                put(&mut self.gnttab_max_maptrack_frames, number(value))
            }
            "gnttab" => value.split(',').all(is_gnttab).then_some(()).into(),
            "serrors" => put(&mut self.serrors_panic, choice(value, "panic", "diverse")),
            _ => Outcome::Unknown,
        }
    }
}

/// True for what `gnttab=` may say. Version 1 has nothing of it.
fn is_gnttab(value: &str) -> bool {
    matches!(
        value,
        "max-ver:1" | "max-ver:2" | "transitive" | "no-transitive"
    )
}

fn put<T>(place: &mut T, value: Option<T>) -> Outcome {
    value.map(|value| *place = value).into()
}
