//! The report as XML of `JUnit`, which CI systems display as test results: one suite per profile, one case per finding.
//!
//! A case fails if its finding counts as an error and is not waived; other findings that did not pass (warnings, waived, other
//! unknown results) count as skipped. An environment that could not be checked is a case with an error.

use std::fmt::Write as _;

use super::ReportSet;
use crate::model::finding::{Finding, Limit, Report, Verdict};

/// Encodes a text for XML; characters that XML cannot contain are omitted.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            other if other.is_control() => {}
            other => out.push(other),
        }
    }
    out
}

pub(super) fn render(reports: &ReportSet<'_>) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"mailwright verify\">\n");
    for report in &reports.reports {
        suites(&mut out, report);
    }
    for (name, why) in &reports.failed {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "  <testsuite name=\"{0}\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\">\n    <testcase classname=\"{0}\" name=\"verify\"><error message=\"{1}\"/></testcase>\n  </testsuite>",
            escaped(name),
            escaped(why)
        );
    }
    out.push_str("</testsuites>");
    out
}

fn suites(out: &mut String, report: &Report) {
    let environment: Vec<&Finding> = report.findings.iter().collect();
    let suites = report
        .profiles
        .iter()
        .map(|verified| (verified.profile.to_string(), verified.findings.iter().collect::<Vec<_>>()));
    for (name, findings) in suites.chain((!environment.is_empty()).then(|| ("environment".to_owned(), environment))) {
        let failed = findings.iter().filter(|finding| fails(finding)).count();
        let skipped = findings.iter().filter(|finding| finding.verdict != Verdict::Pass && !fails(finding)).count();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" skipped=\"{skipped}\">",
            escaped(&format!("{}/{name}", report.environment)),
            findings.len()
        );
        for finding in findings {
            case(out, &name, finding);
        }
        out.push_str("  </testsuite>\n");
    }
}

fn fails(finding: &Finding) -> bool {
    Limit::Error.is_passed_by(finding)
}

fn case(out: &mut String, suite: &str, finding: &Finding) {
    let _ = write!(
        out,
        "    <testcase classname=\"{}\" name=\"{}: {}\"",
        escaped(suite),
        finding.id,
        escaped(&finding.message)
    );
    if let Some(place) = finding.place.as_ref().filter(|place| place.is_in_a_file()) {
        let _ = write!(out, " file=\"{}\" line=\"{}\"", escaped(&place.file), place.line);
    }
    let text = format!("seen: {}\nexpected: {}\n{}", finding.seen, finding.expected, finding.remedy.join("\n"));
    let _ = match (finding.verdict, fails(finding)) {
        (Verdict::Pass, _) => writeln!(out, "/>"),
        (_, true) => writeln!(
            out,
            "><failure type=\"{}\" message=\"{}\">{}</failure></testcase>",
            finding.severity.id(),
            escaped(&finding.message),
            escaped(&text)
        ),
        (_, false) => {
            let why = finding
                .waived
                .as_ref()
                .map_or_else(|| finding.severity.id().to_owned(), |reason| format!("waived: {reason}"));
            writeln!(
                out,
                "><skipped message=\"{}\"/><system-out>{}</system-out></testcase>",
                escaped(&why),
                escaped(&text)
            )
        }
    };
}
