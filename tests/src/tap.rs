// SPDX-License-Identifier: MIT OR Apache-2.0
//! TAP, the Test Anything Protocol: judges what a suite printed among a console's other lines.

use std::fmt;

/// How a suite's checks ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All that the plan names.
    pub checks: usize,
    /// `# SKIP`: do not apply.
    pub skipped: usize,
    /// `not ok` with `# TODO`: known to fail.
    pub expected: usize,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (checks, skipped, expected) = (self.checks, self.skipped, self.expected);
        write!(
            f,
            "{checks} checks, {skipped} skipped, {expected} failed as known"
        )
    }
}

/// Counts the checks; all must be there that the plan names, in order.
///
/// # Errors
/// When a check failed, the suite gave up, or lines are missing.
pub fn judge(output: &str) -> Result<Count, String> {
    let mut count = Count::default();
    let mut plan = None;
    let mut failed = Vec::new();
    for line in output.lines().map(str::trim_end) {
        if line.starts_with("Bail out!") {
            return Err(line.to_owned());
        }
        if let Some(last) = line.strip_prefix("1..") {
            if plan.replace(last.parse::<usize>().ok()).is_some() {
                return Err("there are two plans".to_owned());
            }
            continue;
        }
        let (passed, rest) = match (line.strip_prefix("not ok "), line.strip_prefix("ok ")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => continue,
        };
        count.checks += 1;
        let number = rest.split(' ').next().and_then(|n| n.parse().ok());
        if number != Some(count.checks) {
            return Err(format!("check {} is missing before: {line}", count.checks));
        }
        match (passed, rest.contains("# SKIP"), rest.contains("# TODO")) {
            (true, skipped, _) => count.skipped += usize::from(skipped),
            (false, _, true) => count.expected += 1,
            (false, _, false) => failed.push(line),
        }
    }
    match plan {
        _ if !failed.is_empty() => Err(failed.join("\n    ")),
        Some(Some(planned)) if planned == count.checks && planned > 0 => Ok(count),
        Some(_) => Err(format!("the plan is not of {} checks", count.checks)),
        None => Err(format!("no plan after {} checks", count.checks)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, judge};

    #[test]
    fn counts() {
        let output = "(XL) up\r\n# 1 a/b\r\nok 1 a/b\r\nok 2 a/c # SKIP none\r\n\
                      not ok 3 a/d: 1, not 2 # TODO on Xen: so\r\n1..3\r\n# 0 of 3 failed\r\n(XL) off";
        let count = Count {
            checks: 3,
            skipped: 1,
            expected: 1,
        };
        assert_eq!(judge(output), Ok(count));
    }

    #[test]
    fn whatever_is_wrong_fails() {
        for output in [
            "",
            "1..0",
            "ok 1 a",
            "ok 1 a\n1..2",
            "ok 1 a\n1..x",
            "ok 1 a\n1..1\n1..1",
            "ok 2 a\n1..1",
            "ok 1 a\nok 3 b\n1..2",
            "ok 1 a\nnot ok 2 b: why\n1..2",
            "not ok 1 b: why",
            "ok 1 a\n1..1\nBail out! panicked",
        ] {
            assert!(judge(output).is_err(), "{output}");
        }
    }
}
