//! Workflow commands of GitHub.

use std::fmt::Write as _;

use crate::verify::{Report, Severity};

pub(super) fn render(report: &Report) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut out = String::new();
    for finding in report.open() {
        let level = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "notice",
        };
        let place = finding.place.as_ref().filter(|place| place.is_in_a_file());
        let place =
            place.map(|place| format!("file={},line={},col={},", property(&place.file), place.line, place.column));
        let whom = finding.profile.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "::{level} {}title={}::{}",
            place.unwrap_or_default(),
            property(finding.id.id()),
            data(&format!(
                "{whom}{}\nseen: {}\nexpected: {}\n{}",
                finding.message,
                finding.seen,
                finding.expected,
                finding.remedy.join("\n")
            ))
        );
    }
    out
}
