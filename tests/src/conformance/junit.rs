// SPDX-License-Identifier: MIT OR Apache-2.0
//! Results as JUnit XML, which CI systems read: a suite a machine, a case a check.

use super::escaped;
use super::results::Run;
use crate::machine::Hypervisor;
use crate::tap::{Count, Line, Outcome};

/// The runs of one hypervisor.
pub(super) fn report(hypervisor: Hypervisor, runs: &[Run]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    xml.push_str(&format!(
        "<testsuites name=\"conformance of {hypervisor}\">\n"
    ));
    for run in runs {
        let count = Count::of(run.lines.iter().map(|line| &line.outcome));
        xml.push_str(&format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\">\n",
            escaped(&run.machine),
            run.lines.len(),
            count.failed,
            count.skipped + count.known,
        ));
        xml.push_str("    <properties>\n");
        for (name, value) in [("hypervisor", &run.version), ("qemu", &run.qemu)] {
            let value = escaped(value);
            xml.push_str(&format!(
                "      <property name=\"{name}\" value=\"{value}\"/>\n"
            ));
        }
        xml.push_str("    </properties>\n");
        for line in &run.lines {
            xml.push_str(&case(hypervisor, &run.machine, line));
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn case(hypervisor: Hypervisor, machine: &str, line: &Line) -> String {
    let (family, name) = line.name.split_once('/').unwrap_or(("", &line.name));
    let class = escaped(&format!("{hypervisor}.{machine}.{family}"));
    let open = format!(
        "    <testcase classname=\"{class}\" name=\"{}\"",
        escaped(name)
    );
    let inner = match &line.outcome {
        Outcome::Passed => return format!("{open}/>\n"),
        Outcome::Skipped(reason) => format!("<skipped message=\"{}\"/>", escaped(reason)),
        Outcome::Known { detail, reason } => {
            let message = format!("known to fail {reason} ({detail})");
            format!("<skipped message=\"{}\"/>", escaped(&message))
        }
        Outcome::Failed(detail) => format!("<failure message=\"{}\"/>", escaped(detail)),
    };
    format!("{open}>{inner}</testcase>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one() {
        let line = Line {
            name: "a/b <c>".to_owned(),
            outcome: Outcome::Failed("1 & 2".to_owned()),
        };
        assert_eq!(
            case(Hypervisor::Xen, "gic3-smp1", &line),
            "    <testcase classname=\"xen.gic3-smp1.a\" name=\"b &lt;c&gt;\"><failure message=\"1 &amp; 2\"/></testcase>\n"
        );
    }
}
