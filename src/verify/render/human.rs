//! The report of `verify` as text for the terminal, with colours. Text from mail servers, Entra and the service is printed without
//! control characters.
//!
//! Only open findings are listed, unless all are requested.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::{finding_label, verdict_label};
use crate::{
    model::{
        Severity,
        finding::{Finding, Report, Verdict},
    },
    text::printable,
};

fn style(finding: &Finding) -> Style {
    let colour = match (finding.verdict, finding.severity) {
        (Verdict::Pass, _) => AnsiColor::Green,
        (Verdict::Unknown, _) => AnsiColor::Magenta,
        (Verdict::Fail, Severity::Error) => AnsiColor::Red,
        (Verdict::Fail, Severity::Warning) => AnsiColor::Yellow,
        (Verdict::Fail, Severity::Info) => AnsiColor::Cyan,
    };
    colour.on_default().bold()
}

pub(super) fn render(report: &Report, all: bool) -> String {
    let mut out = String::new();
    let bold = Style::new().bold();
    for verified in &report.profiles {
        let shown: Vec<&Finding> = verified.findings.iter().filter(|finding| all || finding.is_open()).collect();
        if shown.is_empty() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{bold}{}{bold:#} ({}), level {} of 4: {}",
            verified.profile,
            printable(&verified.provider),
            verified.reached.number(),
            verified.reached
        );
        for finding in shown {
            render_finding(&mut out, finding);
        }
        out.push('\n');
    }
    for finding in report.findings.iter().filter(|finding| all || finding.is_open()) {
        render_finding(&mut out, finding);
        out.push('\n');
    }
    out.push_str(&table(report));
    out.push('\n');
    out.push_str(&report.summary());
    if report.open().any(|finding| finding.verdict == Verdict::Unknown) {
        out.push_str("\nAn unknown check was not completed and is not a pass: its remedy names what would decide it.");
    }
    out
}

fn render_finding(out: &mut String, finding: &Finding) {
    let (style, label) = (style(finding), finding_label(finding));
    let waived = finding.waived.as_ref().map(|reason| format!(" [waived: {}]", printable(reason))).unwrap_or_default();
    let _ = writeln!(out, "  {style}{label}{style:#} {}: {}{waived}", finding.id, printable(&finding.message));
    if finding.verdict == Verdict::Pass {
        return;
    }
    let line = |out: &mut String, label: &str, text: &str| {
        // The evidence may be text of a mail server: none of its lines may look like a line of this report.
        for (index, part) in text.lines().enumerate() {
            let _ = writeln!(out, "    {:<9} {}", if index == 0 { label } else { "" }, printable(part));
        }
    };
    if let Some(place) = &finding.place {
        line(out, "at", &place.to_string());
    }
    line(out, "seen", &finding.seen);
    line(out, "expected", &finding.expected);
    let label = if finding.verdict == Verdict::Unknown { "decides" } else { "remedy" };
    for (index, step) in finding.remedy.iter().enumerate() {
        line(out, if index == 0 { label } else { "" }, step);
    }
}

fn table(report: &Report) -> String {
    let width =
        report.profiles.iter().map(|verified| verified.profile.as_str().chars().count()).max().unwrap_or(0).max(7);
    let mut out = format!(
        "{:<width$}  {:<24}  {:<13}  {:<19}  {:>6}  {:>8}  {:>7}  {:>6}\n",
        "profile", "provider", "reached", "verdict", "errors", "warnings", "unknown", "passed"
    );
    for verified in &report.profiles {
        let failed = |severity: Severity| {
            let open = verified.findings.iter().filter(|finding| finding.is_open());
            open.filter(|finding| finding.severity == severity && finding.verdict == Verdict::Fail).count()
        };
        let _ = writeln!(
            out,
            "{:<width$}  {:<24}  {:<13}  {:<19}  {:>6}  {:>8}  {:>7}  {:>6}",
            verified.profile.as_str(),
            printable(&verified.provider),
            format!("{} {}", verified.reached.number(), verified.reached),
            verdict_label(verified),
            failed(Severity::Error),
            failed(Severity::Warning),
            verified.count(Verdict::Unknown),
            verified.count(Verdict::Pass)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::model::{
        ProfileName,
        finding::{Finding, Report, Verified},
        finding_id::FindingId,
    };

    /// A finding contains text of mail servers, of tenants, and of the service, none of which is trusted.
    #[test]
    fn untrusted_text_begins_no_line_and_adds_no_colours() {
        const HOSTILE: &str = "\u{1b}[30m\nforged\u{202e}\r";
        let profile: ProfileName = "relay".parse().unwrap();
        let mut finding = Finding::fail(FindingId::VerifySecret, "/provider", HOSTILE)
            .seen(HOSTILE)
            .expected(HOSTILE)
            .remedy(["first\nsecond", HOSTILE]);
        finding.profile = Some(profile.clone());
        let verified = Verified {
            profile,
            provider: HOSTILE.to_owned(),
            reached: crate::model::finding::Level::Offline,
            findings: vec![finding],
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        let report = Report {
            format_version: Report::FORMAT_VERSION,
            environment: "dev".to_owned(),
            profiles: vec![verified],
            findings: Vec::new(),
            requests: 0,
        };
        for text in [report.human(true), report.markdown()] {
            assert!(!text.contains(['\r', '\u{202e}']) && !text.contains("\u{1b}[30m"), "{text:?}");
        }
        let human = report.human(true);
        assert!(!human.lines().any(|line| line.starts_with("forged")), "{human}");
        assert!(human.contains("first\n              second\n"), "a remedy keeps its lines: {human}");
    }
}
