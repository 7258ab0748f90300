// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options that can be changed while the hypervisor runs: files below `/params` of `hypfs_op`, which
//! `xl set-parameters` writes.

use super::Options;
use super::values::{
    ConSwitch, Level, Threshold, Timestamps, conswitch, level_name, threshold, timestamps,
    timestamps_name,
};
use core::fmt::{self, Write};

/// The options.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Params {
    /// What is logged of the hypervisor's own.
    pub loglvl: Threshold,
    /// What is logged that guests cause.
    pub guest_loglvl: Threshold,
    /// What is put before a line of the log.
    pub console_timestamps: Timestamps,
    /// The console's switch; who has the input first counts at boot only.
    pub conswitch: ConSwitch,
}

/// Their names, in order, the most bytes of a value that each says it takes, and what it does take:
/// as on Xen.
pub const PARAMS: [(&str, u32, u32); 4] = [
    ("console_timestamps", 7, 128),
    ("conswitch", 3, 3),
    ("guest_loglvl", 16, 128),
    ("loglvl", 16, 128),
];

impl Params {
    /// Those of the command line.
    pub const fn of(options: &Options<'_>) -> Self {
        Self {
            loglvl: options.loglvl,
            guest_loglvl: options.guest_loglvl,
            console_timestamps: options.console_timestamps,
            conswitch: options.conswitch,
        }
    }

    /// Changes one, as the command line would; an empty value changes nothing. `None` for a value
    /// that it cannot have.
    pub fn set(&mut self, name: &str, value: &str) -> Option<()> {
        if value.is_empty() {
            return Some(());
        }
        match name {
            "console_timestamps" => self.console_timestamps = timestamps(value)?,
            "conswitch" => self.conswitch = conswitch(value)?,
            "guest_loglvl" => self.guest_loglvl = threshold(value)?,
            "loglvl" => self.loglvl = threshold(value)?,
            _ => return None,
        }
        Some(())
    }

    /// Writes the value of one, as the command line would have it.
    pub fn show(&self, name: &str, to: &mut dyn Write) -> fmt::Result {
        let levels = |to: &mut dyn Write, of: Threshold| {
            write!(to, "{}/{}", level_name(of.always), level_name(of.limited))
        };
        match name {
            "console_timestamps" => to.write_str(timestamps_name(self.console_timestamps)),
            "conswitch" => {
                to.write_char(char::from(self.conswitch.key.unwrap_or(b'0')))?;
                to.write_str(if self.conswitch.dom0_first { "" } else { "x" })
            }
            "guest_loglvl" => levels(to, self.guest_loglvl),
            "loglvl" => levels(to, self.loglvl),
            _ => Ok(()),
        }
    }

    /// The level up to which what guests cause is logged: all of that is limited.
    pub fn guest_level(&self) -> Level {
        self.guest_loglvl.always.max(self.guest_loglvl.limited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn what_is_set_is_shown() {
        let mut params = Params::of(&Options::parse(""));
        for (name, value, shown) in [
            ("loglvl", "", "info/warning"),
            ("loglvl", "all", "all/all"),
            ("guest_loglvl", "", "none/warning"),
            ("guest_loglvl", "error/debug", "error/all"),
            ("console_timestamps", "", "none"),
            ("console_timestamps", "boot", "boot"),
            ("conswitch", "", "a"),
            ("conswitch", "bx", "bx"),
        ] {
            assert_eq!(params.set(name, value), Some(()));
            let mut text = String::new();
            params.show(name, &mut text).unwrap();
            assert_eq!(text, shown);
        }
        let before = params;
        assert_eq!(params.set("loglvl", "nonsense"), None);
        assert_eq!(params.set("nothing", "1"), None);
        assert_eq!(params, before);
        assert!(PARAMS.is_sorted_by_key(|(name, _, _)| *name));
    }
}
