//! Formats of the report.
//!
//! The methods of [`Report`] render one environment, those of [`ReportSet`] several. All formats are rendered from the same
//! report, so they cannot disagree. Nothing here prints.

mod github;
mod human;
mod junit;
mod markdown;
mod sarif;

use crate::model::{
    Severity,
    finding::{Finding, Report, Verdict, Verified},
};

/// The reports of several environments, for one document.
#[derive(Debug, Default)]
pub struct ReportSet<'a> {
    /// The reports.
    pub reports: Vec<&'a Report>,
    /// The environments that could not be checked, each with the reason.
    pub failed: Vec<(&'a str, String)>,
}

impl<'a> ReportSet<'a> {
    fn single(report: &'a Report) -> Self {
        Self { reports: vec![report], failed: Vec::new() }
    }

    /// Renders SARIF 2.1.0, for code scanning.
    pub fn sarif(&self) -> String {
        sarif::render(self)
    }

    /// Renders `JUnit`'s XML.
    pub fn junit(&self) -> String {
        junit::render(self)
    }

    /// Renders workflow commands of GitHub, which appear at the lines of a pull request.
    pub fn github(&self) -> String {
        let summaries = self.reports.iter().map(|report| format!("{}: {}", report.environment, report.summary()));
        format!("{}{}", github::render(self), summaries.collect::<Vec<_>>().join("\n"))
    }

    /// Returns the profile of a finding as a prefix, with the environment if there are several.
    fn subject_prefix(&self, report: &Report, finding: &Finding) -> String {
        let several = self.reports.len() + self.failed.len() > 1;
        match (several, &finding.profile) {
            (false, None) => String::new(),
            (false, Some(name)) => format!("{name}: "),
            (true, None) => format!("{}: ", report.environment),
            (true, Some(name)) => format!("{}/{name}: ", report.environment),
        }
    }
}

impl Report {
    /// Renders text: open findings with evidence and remedy, then a table, then one line. With `all`, also findings
    /// that passed or are waived.
    pub fn human(&self, all: bool) -> String {
        human::render(self, all)
    }

    /// Renders JSON: the document of `schema/verify-report.schema.json`.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Renders SARIF 2.1.0, for code scanning.
    pub fn sarif(&self) -> String {
        ReportSet::single(self).sarif()
    }

    /// Renders `JUnit`'s XML.
    pub fn junit(&self) -> String {
        ReportSet::single(self).junit()
    }

    /// Renders Markdown, for a comment on a pull request.
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// Renders workflow commands of GitHub, which appear at the lines of a pull request.
    pub fn github(&self) -> String {
        format!("{}{}", github::render(&ReportSet::single(self)), self.summary())
    }

    /// Returns the summary: `1 error, 2 warnings, 3 unknown in 4 profiles; 40 checks passed, 9 requests.`
    pub fn summary(&self) -> String {
        let counted = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let known = |severity: Severity| {
            self.open().filter(|finding| finding.severity == severity && finding.verdict == Verdict::Fail).count()
        };
        let unknown = self.open().filter(|finding| finding.verdict == Verdict::Unknown).count();
        let mut parts = Vec::new();
        for (count, noun) in [(known(Severity::Error), "error"), (known(Severity::Warning), "warning")] {
            if count > 0 {
                parts.push(counted(count, noun));
            }
        }
        if unknown > 0 {
            let heavy = self.count(Severity::Error) - known(Severity::Error);
            let weight = match heavy {
                0 => String::new(),
                1 => " (1 counts as an error)".to_owned(),
                more => format!(" ({more} count as errors)"),
            };
            parts.push(format!("{unknown} unknown{weight}"));
        }
        let notes = known(Severity::Info);
        if notes > 0 {
            parts.push(counted(notes, "note"));
        }
        let waived = self.all().filter(|finding| finding.waived.is_some()).count();
        if waived > 0 {
            parts.push(format!("{waived} waived"));
        }
        if parts.is_empty() {
            parts.push("Nothing to correct".to_owned());
        }
        let passed = self.all().filter(|finding| finding.verdict == Verdict::Pass).count();
        format!(
            "{} in {}; {} passed, {}.",
            parts.join(", "),
            counted(self.profiles.len(), "profile"),
            counted(passed, "check"),
            counted(usize::try_from(self.requests).unwrap_or(usize::MAX), "request")
        )
    }
}

/// Returns the verdict and the severity of a finding as one word.
fn finding_label(finding: &Finding) -> &'static str {
    match (finding.verdict, finding.severity) {
        (Verdict::Pass, _) => "pass",
        (Verdict::Unknown, _) => "unknown",
        (Verdict::Fail, Severity::Error) => "error",
        (Verdict::Fail, Severity::Warning) => "warning",
        (Verdict::Fail, Severity::Info) => "note",
    }
}

/// Returns the verdict of a profile as one word.
fn verdict_label(verified: &Verified) -> &'static str {
    let failed = |severity: Severity| {
        let mut open = verified.findings.iter().filter(|finding| finding.is_open());
        open.any(|finding| finding.severity == severity && finding.verdict == Verdict::Fail)
    };
    if failed(Severity::Error) {
        "fail"
    } else if verified.count(Verdict::Unknown) > 0 {
        "unknown"
    } else if failed(Severity::Warning) {
        "pass, with warnings"
    } else {
        "pass"
    }
}
