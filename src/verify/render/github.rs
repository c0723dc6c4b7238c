//! The report as workflow commands of GitHub, which annotate the lines of a pull request.
//!
//! One line per open finding and per environment that could not be checked. Texts are escaped, so that none can be a command.

use std::fmt::Write as _;

use super::ReportSet;
use crate::model::Severity;

pub(super) fn render(reports: &ReportSet<'_>) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut out = String::new();
    for (name, why) in &reports.failed {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "::error title={}::{}", property(&format!("{name} could not be checked")), data(why));
    }
    for (report, finding) in reports.reports.iter().flat_map(|report| report.open().map(move |found| (report, found))) {
        let level = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "notice",
        };
        let place = finding.place.as_ref().filter(|place| place.is_in_a_file());
        let place =
            place.map(|place| format!("file={},line={},col={},", property(&place.file), place.line, place.column));
        let prefix = reports.subject_prefix(report, finding);
        let _ = writeln!(
            out,
            "::{level} {}title={}::{}",
            place.unwrap_or_default(),
            property(finding.id.id()),
            data(&format!(
                "{prefix}{}\nseen: {}\nexpected: {}\n{}",
                finding.message,
                finding.seen,
                finding.expected,
                finding.remedy.join("\n")
            ))
        );
    }
    out
}
