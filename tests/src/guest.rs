// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests that xl starts in a dom0 with Debian's Xen tools, and what is asked of them by their consoles.

use std::time::{Duration, Instant};

use crate::console::scaled;
use crate::dom0::Dom0;
use crate::error::Result;

/// From `xl create` to the guest's agent, and for the longest of commands.
pub const LONG: Duration = Duration::from_secs(240);
/// For what xl does at once.
pub const SOON: Duration = Duration::from_secs(60);

/// What xl shall start: Debian's kernel with the initramfs that has busybox, Xen's frontends, and the agent.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// vCPUs.
    pub cpus: u32,
    /// More words for its command line: `address=192.168.128.2/24` is for its network card.
    pub args: String,
    /// More lines of its configuration, for instance `disk = [ "phy:/dev/nvme0n1,xvda,w" ]`.
    pub config: Vec<String>,
}

impl Guest {
    /// 128 MiB and one vCPU.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            memory_mib: 128,
            cpus: 1,
            args: String::new(),
            config: Vec::new(),
        }
    }

    /// Writes `/etc/xen/NAME.cfg`, which `xl create` can take.
    ///
    /// # Errors
    /// When dom0 cannot write it.
    pub fn configure(&self, dom0: &mut Dom0) -> Result<()> {
        let lines: String = self
            .lines()
            .iter()
            .map(|line| format!(" {}", quoted(line)))
            .collect();
        dom0.run(&format!("printf '%s\\n'{lines} >{}", self.file()))?;
        Ok(())
    }

    /// Creates it and waits until its agent answers.
    ///
    /// # Errors
    /// When xl fails, or the guest does not come up.
    pub fn create(&self, dom0: &mut Dom0) -> Result<()> {
        self.configure(dom0)?;
        dom0.run_within(&format!("xl create -q {}", self.file()), LONG)?;
        self.run(dom0, ":")?;
        Ok(())
    }

    /// Runs `command` in the guest and returns what it printed.
    ///
    /// # Errors
    /// When it exits with another status than 0 or does not end in time.
    pub fn run(&self, dom0: &mut Dom0, command: &str) -> Result<String> {
        dom0.run_within(&self.command(command), LONG)
    }

    /// The command of dom0's that runs `command` in the guest, to be part of a larger one.
    #[must_use]
    pub fn command(&self, command: &str) -> String {
        let limit = scaled(LONG).as_secs();
        format!("guest {} {} {limit}", self.name, quoted(command))
    }

    /// Waits until `xl list` does not show it any more.
    ///
    /// # Errors
    /// When it stays.
    pub fn await_gone(&self, dom0: &mut Dom0) -> Result<()> {
        let end = Instant::now() + scaled(SOON);
        let gone = format!("! xl domid {} 2>/dev/null", self.name);
        while dom0.run(&format!("{gone} && echo gone || true"))?.trim() != "gone" {
            if Instant::now() > end {
                let message = format!("{} is still in xl's list", self.name);
                return Err(dom0.console.failure(&message));
            }
        }
        await_no_remains(dom0, end)
    }

    fn file(&self) -> String {
        format!("/etc/xen/{}.cfg", self.name)
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("name = \"{}\"", self.name),
            "type = \"pvh\"".to_owned(),
            "kernel = \"/boot/vmlinuz\"".to_owned(),
            "ramdisk = \"/boot/guest.cpio\"".to_owned(),
            format!("extra = \"console=hvc0 quiet harness {}\"", self.args),
            format!("memory = {}", self.memory_mib),
            format!("vcpus = {}", self.cpus),
        ];
        lines.extend_from_slice(&self.config);
        lines
    }
}

/// Waits until no domain is left of which xl has forgotten the name: one that is being destroyed, or has pages that
/// others still hold.
fn await_no_remains(dom0: &mut Dom0, end: Instant) -> Result<()> {
    while dom0.run("xl list")?.contains("(null)") {
        if Instant::now() > end {
            return Err(dom0.console.failure("a destroyed domain does not go away"));
        }
    }
    Ok(())
}

/// The port of [`receiving`].
pub const PORT: u32 = 5001;

/// A command that has `sink` take what comes by TCP, from when it returns on. What it reads from must not end: busybox's
/// nc would tell the other side, which takes that for the end of all.
#[must_use]
pub fn receiving(sink: &str) -> String {
    format!(
        "[ -p /tmp/open ] || mkfifo /tmp/open; (nc -l -p {PORT} <>/tmp/open | {sink}) & \
         until grep -q ':{PORT:04X} ' /proc/net/tcp*; do usleep 100000; done"
    )
}

/// A line of `xl list`.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// vCPUs.
    pub cpus: u32,
    /// `r-----`, `-b----` and so on.
    pub state: String,
}

/// What `xl list` shows.
///
/// # Errors
/// When xl fails, or its answer cannot be understood.
pub fn list(dom0: &mut Dom0) -> Result<Vec<Listed>> {
    let text = dom0.run("xl list")?;
    match parse_list(&text) {
        Some(domains) => Ok(domains),
        None => Err(dom0
            .console
            .failure(&format!("xl list cannot be understood: {text}"))),
    }
}

fn parse_list(text: &str) -> Option<Vec<Listed>> {
    let lines = text.lines().skip_while(|line| !line.starts_with("Name "));
    let line = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some(Listed {
            name: words.next()?,
            id: words.next()?.parse().ok()?,
            memory_mib: words.next()?.parse().ok()?,
            cpus: words.next()?.parse().ok()?,
            state: words.next()?,
        })
    };
    lines
        .skip(1)
        .filter(|line| !line.trim().is_empty())
        .map(line)
        .collect()
}

/// `text` as one word of the shell's.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xl_list() {
        let text = "Name                  ID   Mem VCPUs\tState\tTime(s)\n\
                    Domain-0               0   512     2     r-----      36.2\n\
                    demo                   1   256     1     -b----       1.9\n";
        let found = parse_list(text).expect("well formed");
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].name, "demo");
        assert_eq!(
            (found[1].id, found[1].memory_mib, found[1].cpus),
            (1, 256, 1)
        );
        assert_eq!(found[1].state, "-b----");
        assert_eq!(parse_list("Name ID\ngarbage\n"), None);
    }

    #[test]
    fn words_of_the_shell() {
        assert_eq!(quoted("echo 'a'"), "'echo '\\''a'\\'''");
    }
}
