// SPDX-License-Identifier: MIT OR Apache-2.0
//! TAP, the Test Anything Protocol: what a suite printed among a console's other lines.
//!
//! Before a check the suite says `# 3 family/name`; then `ok 3 family/name`, with `# SKIP reason` if it does not apply,
//! or `not ok 3 family/name: what was wrong`, with `# TODO reason` if it is known to fail.

use std::fmt;

/// How one check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// It does not apply, and why.
    Skipped(String),
    /// It failed, which is known.
    Known {
        /// What was wrong.
        detail: String,
        /// Why that is accepted.
        reason: String,
    },
    /// It failed: what was wrong.
    Failed(String),
}

/// One check's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Family, slash, name.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a suite's checks ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// As they should.
    pub passed: usize,
    /// `# SKIP`: do not apply.
    pub skipped: usize,
    /// `not ok` with `# TODO`: known to fail.
    pub known: usize,
    /// `not ok`.
    pub failed: usize,
}

impl Count {
    /// Counts.
    pub fn of<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Self {
        let mut count = Self::default();
        for outcome in outcomes {
            match outcome {
                Outcome::Passed => count.passed += 1,
                Outcome::Skipped(_) => count.skipped += 1,
                Outcome::Known { .. } => count.known += 1,
                Outcome::Failed(_) => count.failed += 1,
            }
        }
        count
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, skipped, known) = (self.passed, self.skipped, self.known);
        write!(
            f,
            "{passed} passed, {skipped} skipped, {known} failed as known"
        )?;
        match self.failed {
            0 => Ok(()),
            failed => write!(f, ", {failed} FAILED"),
        }
    }
}

/// The checks of `output`; all must be there that its plan names, in order.
///
/// # Errors
/// When the suite gave up or lines are missing.
pub fn parse(output: &str) -> Result<Vec<Line>, String> {
    let mut lines: Vec<Line> = Vec::new();
    let mut plan = None;
    let mut name = String::new();
    for line in output.lines().map(str::trim_end) {
        if line.starts_with("Bail out!") {
            return Err(line.to_owned());
        }
        if let Some(last) = line.strip_prefix("1..") {
            if plan.replace(last.parse::<usize>().ok()).is_some() {
                return Err("there are two plans".to_owned());
            }
        } else if let Some(begun) = line.strip_prefix(&format!("# {} ", lines.len() + 1)) {
            begun.clone_into(&mut name);
        } else if let Some(outcome) = outcome(line, lines.len() + 1, &name)? {
            let name = std::mem::take(&mut name);
            lines.push(Line { name, outcome });
        }
    }
    match plan {
        Some(Some(planned)) if planned == lines.len() && planned > 0 => Ok(lines),
        Some(_) => Err(format!("the plan is not of {} checks", lines.len())),
        None => Err(format!(
            "no plan after {} checks; the last begun is {name}",
            lines.len()
        )),
    }
}

/// What a line says of check `number`, which has begun as `name`.
fn outcome(line: &str, number: usize, name: &str) -> Result<Option<Outcome>, String> {
    let (passed, rest) = match (line.strip_prefix("not ok "), line.strip_prefix("ok ")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Ok(None),
    };
    let rest = rest.strip_prefix(&format!("{number} {name}"));
    let Some(rest) = rest.filter(|_| !name.is_empty()) else {
        return Err(format!("check {number} is missing before: {line}"));
    };
    Ok(Some(if passed {
        match rest.split_once("# SKIP ") {
            Some((_, reason)) => Outcome::Skipped(reason.to_owned()),
            None => Outcome::Passed,
        }
    } else {
        let rest = rest.strip_prefix(": ").unwrap_or(rest);
        match rest.split_once(" # TODO ") {
            Some((detail, reason)) => Outcome::Known {
                detail: detail.to_owned(),
                reason: reason.to_owned(),
            },
            None => Outcome::Failed(rest.to_owned()),
        }
    }))
}

/// The same lines as a suite prints them.
#[must_use]
pub fn print(lines: &[Line]) -> String {
    let mut text = String::new();
    for (number, Line { name, outcome }) in (1..).zip(lines) {
        text.push_str(&format!("# {number} {name}\n"));
        text.push_str(&match outcome {
            Outcome::Passed => format!("ok {number} {name}\n"),
            Outcome::Skipped(reason) => format!("ok {number} {name} # SKIP {reason}\n"),
            Outcome::Known { detail, reason } => {
                format!("not ok {number} {name}: {detail} # TODO {reason}\n")
            }
            Outcome::Failed(detail) => format!("not ok {number} {name}: {detail}\n"),
        });
    }
    text.push_str(&format!("1..{}\n", lines.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "(XL) up\r\n# 1 a/b\r\nok 1 a/b\r\n# 2 a/c: d\r\nok 2 a/c: d # SKIP none\r\n# 3 a/d\r\n(XL) hm\r\n\
        not ok 3 a/d: 1, not 2 # TODO on Xen: so\r\n# 4 a/e\r\nnot ok 4 a/e: why\r\n1..4\r\n# 1 of 4 failed\r\n(XL) off";

    #[test]
    fn reads_what_a_suite_prints() {
        let lines = parse(GOOD).unwrap();
        let names: Vec<_> = lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["a/b", "a/c: d", "a/d", "a/e"]);
        assert_eq!(lines[1].outcome, Outcome::Skipped("none".to_owned()));
        let known = Outcome::Known {
            detail: "1, not 2".to_owned(),
            reason: "on Xen: so".to_owned(),
        };
        assert_eq!(lines[2].outcome, known);
        assert_eq!(lines[3].outcome, Outcome::Failed("why".to_owned()));
        let count = Count::of(lines.iter().map(|line| &line.outcome));
        assert_eq!(
            count.to_string(),
            "1 passed, 1 skipped, 1 failed as known, 1 FAILED"
        );
        assert_eq!(parse(&print(&lines)), Ok(lines));
    }

    #[test]
    fn whatever_is_wrong_is_refused() {
        for output in [
            "",
            "1..0",
            "# 1 a\nok 1 a",
            "ok 1 a\n1..1",
            "# 1 a\nok 1 a\n1..2",
            "# 1 a\nok 1 a\n1..x",
            "# 1 a\nok 1 a\n1..1\n1..1",
            "# 2 a\nok 2 a\n1..1",
            "# 1 a\nok 1 a\n# 3 b\nok 3 b\n1..2",
            "# 1 a\nok 1 b\n1..1",
            "# 1 b\nnot ok 1 b: why",
            "# 1 a\nok 1 a\n1..1\nBail out! panicked",
        ] {
            assert!(parse(output).is_err(), "{output}");
        }
    }
}
