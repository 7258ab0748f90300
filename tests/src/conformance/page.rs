// SPDX-License-Identifier: MIT OR Apache-2.0
//! The results of both hypervisors as one page: counts and versions, what differs, then every check by family.

use super::checks::{Check, Known};
use super::results::Run;
use super::{MACHINES, escaped, name};
use crate::machine::Hypervisor;
use crate::tap::{Count, Outcome};

const STYLE: &str = include_str!("page.css");

/// One hypervisor's runs.
type Column = (Hypervisor, Vec<Run>);

/// How a check ended on all machines of one hypervisor, or on one of them; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Failed,
    Missing,
    Known,
    Passed,
    Skipped,
}

impl Mark {
    fn of(outcome: Option<&Outcome>, known: &Known) -> Self {
        match (outcome, known) {
            (None, _) => Self::Missing,
            (Some(Outcome::Passed), _) => Self::Passed,
            (Some(Outcome::Skipped(_)), Known::Hangs(_)) => Self::Known,
            (Some(Outcome::Skipped(_)), _) => Self::Skipped,
            (Some(Outcome::Known { .. }), _) => Self::Known,
            (Some(Outcome::Failed(_)), _) => Self::Failed,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Missing => "missing",
            Self::Known => "known",
            Self::Passed => "passed",
            Self::Skipped => "skipped",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Failed => "FAILS",
            Self::Missing => "not run",
            Self::Known => "differs",
            Self::Passed => "passes",
            Self::Skipped => "n/a",
        }
    }
}

fn known(check: &Check, hypervisor: Hypervisor) -> &Known {
    match hypervisor {
        Hypervisor::Xen => &check.on_xen,
        Hypervisor::Xenolith => &check.on_xenolith,
    }
}

fn title(hypervisor: Hypervisor) -> &'static str {
    match hypervisor {
        Hypervisor::Xen => "Xen",
        Hypervisor::Xenolith => "Xenolith",
    }
}

/// The marks of a check on all machines that have run.
fn marks<'a>(
    check: &'a Check,
    (hypervisor, runs): &'a Column,
) -> impl Iterator<Item = (&'a Run, Mark, Option<&'a Outcome>)> {
    let known = known(check, *hypervisor);
    runs.iter().map(move |run| {
        let outcome = run.outcome(&check.name);
        (run, Mark::of(outcome, known), outcome)
    })
}

/// The worst of them.
fn worst(check: &Check, column: &Column) -> Mark {
    let marks = marks(check, column).map(|(_, mark, _)| mark);
    marks.min().unwrap_or(Mark::Missing)
}

pub(super) fn report(checks: &[Check], columns: &[Column]) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Conformance with Xen 4.20 on Arm</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>Conformance with Xen 4.20 on Arm</h1>\n\
         <p>{} checks, made by a small kernel that runs as dom0 (and as its peer, a domU). A check is one promise of the \
         ABI: it is here because Xen keeps it.</p>\n",
        checks.len()
    );
    page.push_str(&summary(checks, columns));
    page.push_str(&differences(checks, columns));
    page.push_str("<h2>All checks</h2>\n");
    let mut rest = checks;
    while let Some(first) = rest.first() {
        let same = |check: &&Check| check.family() == first.family();
        let (family, others) = rest.split_at(rest.iter().take_while(same).count());
        page.push_str(&section(family, columns));
        rest = others;
    }
    page.push_str("</body>\n</html>\n");
    page
}

/// Versions, and the counts of each machine.
fn summary(checks: &[Check], columns: &[Column]) -> String {
    let mut html = String::from("<table class=\"summary\">\n<tr><th></th>");
    for (hypervisor, _) in columns {
        html.push_str(&format!("<th>{}</th>", title(*hypervisor)));
    }
    html.push_str("</tr>\n<tr><th>result</th>");
    for column in columns {
        html.push_str(&verdict(checks, column));
    }
    html.push_str("</tr>\n");
    for (label, value) in [
        ("version", (|run| run.version.clone()) as fn(&Run) -> String),
        ("QEMU", |run| run.qemu.clone()),
        ("run", |run| date(run.time)),
    ] {
        html.push_str(&format!("<tr><th>{label}</th>"));
        for (_, runs) in columns {
            let value = runs.iter().max_by_key(|run| run.time).map(value);
            html.push_str(&format!("<td>{}</td>", escaped(&value.unwrap_or_default())));
        }
        html.push_str("</tr>\n");
    }
    for &(gic, cpus) in MACHINES {
        let machine = name(gic, cpus);
        html.push_str(&format!("<tr><th>{machine}</th>"));
        for (_, runs) in columns {
            let run = runs.iter().find(|run| run.machine == machine);
            let text = run.map_or("not run".to_owned(), |run| {
                Count::of(run.lines.iter().map(|line| &line.outcome)).to_string()
            });
            html.push_str(&format!("<td>{}</td>", escaped(&text)));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table>\n");
    html
}

/// Whether everything passed that should.
fn verdict(checks: &[Check], column: &Column) -> String {
    if column.1.len() < MACHINES.len() {
        return "<td><b class=\"missing\">not all machines have run</b></td>".to_owned();
    }
    let bad = |check: &&Check| worst(check, column) <= Mark::Missing;
    match checks.iter().filter(bad).count() {
        0 => "<td><b class=\"passed\">100%</b>: all pass, or differ as known</td>".to_owned(),
        bad => format!("<td><b class=\"failed\">{bad} checks fail or are missing</b></td>"),
    }
}

/// Every check that does not simply pass on one of them, with the reason.
fn differences(checks: &[Check], columns: &[Column]) -> String {
    let mut rows = String::new();
    for check in checks {
        if columns
            .iter()
            .all(|column| worst(check, column) >= Mark::Passed)
        {
            continue;
        }
        rows.push_str(&format!("<tr><td>{}</td>", escaped(&check.name)));
        for column in columns {
            rows.push_str(&cell(check, column));
        }
        let reasons: Vec<_> = columns
            .iter()
            .filter_map(|(hypervisor, _)| known(check, *hypervisor).reason())
            .map(escaped)
            .collect();
        rows.push_str(&format!("<td>{}</td></tr>\n", reasons.join("; ")));
    }
    if rows.is_empty() {
        return "<h2>Differences</h2>\n<p>None.</p>\n".to_owned();
    }
    format!(
        "<h2>Differences</h2>\n<table class=\"checks\">\n<tr><th>check</th>{}<th>reason</th></tr>\n{rows}</table>\n",
        heads(columns)
    )
}

fn heads(columns: &[Column]) -> String {
    columns
        .iter()
        .map(|(hypervisor, _)| format!("<th class=\"result\">{}</th>", title(*hypervisor)))
        .collect()
}

/// One family, open if something of it fails.
fn section(family: &[Check], columns: &[Column]) -> String {
    let name = family.first().map_or("", Check::family);
    let mut counts = String::new();
    let mut open = "";
    for column in columns {
        let marks: Vec<_> = family.iter().map(|check| worst(check, column)).collect();
        let parts: Vec<_> = [
            Mark::Failed,
            Mark::Missing,
            Mark::Known,
            Mark::Passed,
            Mark::Skipped,
        ]
        .into_iter()
        .filter_map(|kind| {
            let count = marks.iter().filter(|mark| **mark == kind).count();
            (count > 0)
                .then(|| format!("<i class=\"{}\">{count} {}</i>", kind.class(), kind.text()))
        })
        .collect();
        if marks.contains(&Mark::Failed) {
            open = " open";
        }
        let title = title(column.0);
        counts.push_str(&format!("<span>{title}: {}</span>", parts.join(" ")));
    }
    let mut html = format!(
        "<details{open}>\n<summary><b>{}</b><span>{} checks</span>{counts}</summary>\n<table class=\"checks\">\n\
         <tr><th>check</th>{}</tr>\n",
        escaped(name),
        family.len(),
        heads(columns)
    );
    for check in family {
        html.push_str(&format!("<tr><td>{}</td>", escaped(check.promise())));
        for column in columns {
            html.push_str(&cell(check, column));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table>\n</details>\n");
    html
}

/// How a check ended on one hypervisor: one word if all machines agree, else a word for each group of machines.
fn cell(check: &Check, column: &Column) -> String {
    let all: Vec<_> = marks(check, column).collect();
    let mut groups: Vec<(Mark, Vec<&str>, String)> = Vec::new();
    for (run, mark, outcome) in all.iter().copied() {
        let detail = match outcome {
            Some(Outcome::Failed(detail) | Outcome::Known { detail, .. }) => detail.clone(),
            Some(Outcome::Skipped(reason)) => reason.clone(),
            _ => String::new(),
        };
        match groups.iter_mut().find(|group| group.0 == mark) {
            Some(group) => group.1.push(&run.machine),
            None => groups.push((mark, vec![&run.machine], detail)),
        }
    }
    groups.sort_by_key(|group| group.0);
    let mut html = String::from("<td class=\"result\">");
    if groups.is_empty() {
        html.push_str("<i class=\"missing\">not run</i>");
    }
    for (mark, machines, detail) in &groups {
        let where_ = if machines.len() == all.len() {
            String::new()
        } else {
            format!(" <small>{}</small>", escaped(&machines.join(" ")))
        };
        let (class, text, detail) = (mark.class(), mark.text(), escaped(detail));
        html.push_str(&format!(
            "<i class=\"{class}\" title=\"{detail}\">{text}</i>{where_} "
        ));
        if *mark == Mark::Failed {
            html.push_str(&format!("<small>{detail}</small>"));
        }
    }
    html.push_str("</td>");
    html
}

/// A time as people write it, UTC.
fn date(time: u64) -> String {
    let (days, seconds) = (time / 86_400, time % 86_400);
    // Days since 0000-03-01, in eras of 400 years (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + carry;
    let (hour, minute) = (seconds / 3600, seconds / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::Line;

    fn check(name: &str, on_xen: Known) -> Check {
        Check {
            name: name.to_owned(),
            on_xen,
            on_xenolith: Known::Passes,
        }
    }

    fn run(hypervisor: Hypervisor, outcomes: &[(&str, Outcome)]) -> Run {
        Run {
            hypervisor,
            machine: "gic3-smp1".to_owned(),
            version: "Xen <4.20>".to_owned(),
            qemu: "QEMU".to_owned(),
            time: 0,
            lines: outcomes
                .iter()
                .map(|(name, outcome)| Line {
                    name: (*name).to_owned(),
                    outcome: outcome.clone(),
                })
                .collect(),
        }
    }

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_767_225_599), "2025-12-31 23:59 UTC");
    }

    #[test]
    fn differences_come_with_their_reason_and_text_is_escaped() {
        let checks = [
            check("a/one", Known::Passes),
            check("a/<two>", Known::Differs("it & that".to_owned())),
        ];
        let known = Outcome::Known {
            detail: "1 < 2".to_owned(),
            reason: String::new(),
        };
        let columns = [
            (
                Hypervisor::Xen,
                vec![run(
                    Hypervisor::Xen,
                    &[("a/one", Outcome::Passed), ("a/<two>", known)],
                )],
            ),
            (Hypervisor::Xenolith, Vec::new()),
        ];
        let page = report(&checks, &columns);
        assert!(page.contains("Xen &lt;4.20&gt;"));
        assert!(page.contains(
            "<td>a/&lt;two&gt;</td><td class=\"result\"><i class=\"known\" title=\"1 &lt; 2\">"
        ));
        assert!(page.contains("<td>it &amp; that</td>"));
        assert!(page.contains("not all machines have run"));
    }
}
