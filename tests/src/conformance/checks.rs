// SPDX-License-Identifier: MIT OR Apache-2.0
//! The suite's checks and what is known of them, read from the guest stub's image without running it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::error::{Context, Result, fail};

const BEGIN: &str = "\n# checks of guest-stub\n";
const END: &str = "# end of checks\n";

/// What is known of a check on one hypervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It passes.
    Passes,
    /// It fails, and why that is accepted.
    Differs(String),
    /// It is not run: the hypervisor would not survive it.
    Hangs(String),
}

impl Known {
    fn parse(text: &str) -> Option<Self> {
        if text == "passes" {
            return Some(Self::Passes);
        }
        match text.split_once(": ")? {
            ("differs", reason) => Some(Self::Differs(reason.to_owned())),
            ("hangs", reason) => Some(Self::Hangs(reason.to_owned())),
            _ => None,
        }
    }

    /// Why it is not expected to pass.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Passes => None,
            Self::Differs(reason) | Self::Hangs(reason) => Some(reason),
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Family, slash, what is promised.
    pub name: String,
    /// What is known of it on Xen.
    pub on_xen: Known,
    /// What is known of it on Xenolith.
    pub on_xenolith: Known,
}

impl Check {
    /// The part of the name before the slash.
    #[must_use]
    pub fn family(&self) -> &str {
        self.name.split('/').next().unwrap_or("")
    }

    /// The part of the name after the slash.
    #[must_use]
    pub fn promise(&self) -> &str {
        self.name.split_once('/').map_or("", |(_, promise)| promise)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let check = Self {
            name: fields.next()?.to_owned(),
            on_xen: Known::parse(fields.next()?)?,
            on_xenolith: Known::parse(fields.next()?)?,
        };
        fields.next().is_none().then_some(check)
    }
}

/// The checks in the image at `path`, in the order in which they run.
///
/// # Errors
/// When there is no such image, no list in it, or two checks have one name.
pub fn read(path: &Path) -> Result<Vec<Check>> {
    let image =
        fs::read(path).context(|| format!("reading {} (`make build` makes it)", path.display()))?;
    match list(&image) {
        Some(list) => parse(list),
        None => fail(format!("{} holds no list of checks", path.display())),
    }
}

fn list(image: &[u8]) -> Option<&str> {
    let find =
        |bytes: &[u8], text: &str| bytes.windows(text.len()).position(|w| w == text.as_bytes());
    let rest = &image[find(image, BEGIN)? + BEGIN.len()..];
    std::str::from_utf8(&rest[..find(rest, END)?]).ok()
}

fn parse(list: &str) -> Result<Vec<Check>> {
    let mut names = BTreeSet::new();
    let mut checks = Vec::new();
    for line in list.lines() {
        let Some(check) = Check::parse(line) else {
            return fail(format!("not a check in the guest stub's list: {line}"));
        };
        if !names.insert(check.name.clone()) {
            return fail(format!("two checks are named {}", check.name));
        }
        checks.push(check);
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_list_among_other_bytes() {
        let image =
            b"\xff\0\n# checks of guest-stub\na/b: c\tpasses\tdiffers: so\n# end of checks\n\xff";
        let checks = parse(list(image).unwrap()).unwrap();
        assert_eq!(checks.len(), 1);
        assert_eq!((checks[0].family(), checks[0].promise()), ("a", "b: c"));
        assert_eq!(checks[0].on_xen, Known::Passes);
        assert_eq!(checks[0].on_xenolith, Known::Differs("so".to_owned()));
    }

    #[test]
    fn refuses_two_of_one_name() {
        assert!(parse("a/b\tpasses\tpasses\na/b\tpasses\tpasses\n").is_err());
        assert!(parse("a/b\tpasses\tperhaps\n").is_err());
    }
}
