// SPDX-License-Identifier: MIT OR Apache-2.0
//! A booted dom0 and the protocol with the agent in its initramfs (`agent.sh`).

use std::path::Path;
use std::time::Duration;

use crate::console::Console;
use crate::error::Result;
use crate::machine::Machine;

/// What `/init` says when it has set everything up.
pub const USERSPACE: &str = "XENOLITH-TEST: userspace";

const BOOT: Duration = Duration::from_secs(240);
const COMMAND: Duration = Duration::from_secs(60);
/// From `poweroff -f` or `reboot -f` to QEMU's end.
pub const END: Duration = Duration::from_secs(60);
/// What fits every buffer between QEMU's UART and the shell.
const PIECE: usize = 60;

/// Ctrl-a, three times.
const SWITCH: &str = "\x01\x01\x01";
/// How often the input may have to be switched to come to a certain place: there are few domains here.
const SWITCHES: u32 = 8;

/// A dom0 that has reached userspace.
pub struct Dom0 {
    /// Its console, which is the hypervisor's too.
    pub console: Console,
    commands: u32,
}

impl Dom0 {
    /// Boots `machine` and waits for the agent.
    ///
    /// # Errors
    /// When userspace is not reached.
    pub fn boot(machine: &Machine, log: &Path) -> Result<Self> {
        let mut machine = machine.clone();
        machine.dom0_args.push_str(" harness");
        Self::of(Console::start(&machine, log)?)
    }

    /// Waits for the agent on a machine that boots.
    ///
    /// # Errors
    /// When userspace is not reached.
    pub fn of(console: Console) -> Result<Self> {
        let mut dom0 = Self {
            console,
            commands: 0,
        };
        dom0.await_userspace()?;
        Ok(dom0)
    }

    /// Waits for the agent of a dom0 that is booting, also after it was told to reboot.
    ///
    /// # Errors
    /// When userspace is not reached.
    pub fn await_userspace(&mut self) -> Result<()> {
        self.commands = 0;
        self.console.expect(USERSPACE, BOOT)?;
        self.console.expect("@ready\n", COMMAND)?;
        Ok(())
    }

    /// Runs `command` in dom0's shell and returns what it printed.
    ///
    /// # Errors
    /// When it exits with another status than 0 or does not end in time.
    pub fn run(&mut self, command: &str) -> Result<String> {
        self.run_within(command, COMMAND)
    }

    /// As [`Dom0::run`], with a deadline.
    ///
    /// # Errors
    /// When it exits with another status than 0 or does not end in time.
    pub fn run_within(&mut self, command: &str, deadline: Duration) -> Result<String> {
        self.start(command)?;
        self.finish(command, deadline)
    }

    /// Waits for the end of `command`, the last one that was started, and returns what it printed and was not yet
    /// expected.
    ///
    /// # Errors
    /// When it exits with another status than 0 or does not end in time.
    pub fn finish(&mut self, command: &str, deadline: Duration) -> Result<String> {
        let n = self.commands;
        let output = self.console.expect(&format!("@end {n} "), deadline)?;
        let status = self.console.expect("\n", COMMAND)?;
        let output = without_hypervisor_lines(&output);
        if status.trim() == "0" {
            return Ok(output);
        }
        let status = status.trim();
        let message = format!("dom0: `{command}` exits with {status} and prints: {output}");
        Err(self.console.failure(&message))
    }

    /// Judges the number of dom0's CPUs.
    ///
    /// # Errors
    /// When it is another.
    pub fn expect_cpus(&mut self, expected: u32) -> Result<()> {
        let cpus = self.run("nproc")?;
        if cpus.trim() == expected.to_string() {
            return Ok(());
        }
        let message = format!("dom0 has {} CPUs, not {expected}", cpus.trim());
        Err(self.console.failure(&message))
    }

    /// Switches the console's input from dom0 to Xenolith.
    ///
    /// # Errors
    /// When Xenolith does not say so.
    pub fn input_to_hypervisor(&mut self) -> Result<()> {
        self.input_to("Xenolith")
    }

    /// Switches the console's input back to dom0.
    ///
    /// # Errors
    /// When Xenolith does not say so.
    pub fn input_to_dom0(&mut self) -> Result<()> {
        self.input_to("DOM0")
    }

    /// The input goes round: hypervisor, dom0, each domU with a console.
    fn input_to(&mut self, place: &str) -> Result<()> {
        for _ in 0..SWITCHES {
            self.console.send(SWITCH)?;
            self.console.expect("*** Serial input to ", COMMAND)?;
            let reached = self
                .console
                .expect(" (type 'CTRL-a' three times to switch input)\n", COMMAND)?;
            if reached == place {
                return Ok(());
            }
        }
        Err(self
            .console
            .failure(&format!("the input does not go to {place}")))
    }

    /// Ends dom0. QEMU must end with it, and the hypervisor must have reported no error in all the time.
    ///
    /// # Errors
    /// When one of them is otherwise.
    pub fn power_off(&mut self) -> Result<()> {
        self.start("poweroff -f")?;
        self.console.wait_for_end(END)?;
        expect_no_errors(&self.console)
    }

    /// Types `command` and does not wait for its end: it may be the last one.
    ///
    /// # Errors
    /// When the agent does not take it.
    pub fn start(&mut self, command: &str) -> Result<()> {
        self.commands += 1;
        let mut rest = command;
        while rest.len() > PIECE {
            let (piece, after) = rest.split_at(PIECE);
            self.console.send(&format!("{piece}\\\n"))?;
            self.console.expect("@more\n", COMMAND)?;
            rest = after;
        }
        self.console.send(&format!("{rest}\n"))?;
        let begin = format!("@begin {}\n", self.commands);
        self.console.expect(&begin, COMMAND)?;
        Ok(())
    }
}

/// Fails if the hypervisor has reported an error.
///
/// # Errors
/// With what it reported.
pub fn expect_no_errors(console: &Console) -> Result<()> {
    let transcript = console.transcript();
    let is_error = |line: &&str| line.starts_with("(XL)") && line.contains("ERROR: ");
    let errors: Vec<_> = transcript.lines().filter(is_error).collect();
    if errors.is_empty() {
        return Ok(());
    }
    let message = format!("the hypervisor reported: {}", errors.join("\n    "));
    Err(console.failure(&message))
}

/// Takes out what the hypervisor said while a command ran.
fn without_hypervisor_lines(text: &str) -> String {
    let is_guest = |line: &&str| !line.starts_with("(XEN)") && !line.starts_with("(XL)");
    text.lines().filter(is_guest).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hypervisor_lines_are_not_output() {
        assert_eq!(without_hypervisor_lines("1\n(XEN) d0v0 hello\n2\n"), "1\n2");
    }
}
