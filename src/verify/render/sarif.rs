//! The report as SARIF 2.1.0: one rule per finding id, one result per finding that did not pass, with its place in the files.
//!
//! A finding without a place in a file names its environment and profile only. One that is waived has a suppression; one that is
//! `unknown` is marked for review.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::ReportSet;
use crate::model::{
    Severity,
    finding::{Finding, Verdict},
};

pub(super) fn render(reports: &ReportSet<'_>) -> String {
    let found: Vec<(String, &Finding)> = reports
        .reports
        .iter()
        .flat_map(|report| report.all().map(move |finding| (reports.subject_prefix(report, finding), finding)))
        .filter(|(_, finding)| finding.verdict != Verdict::Pass)
        .collect();
    let ids: BTreeSet<_> = found.iter().map(|(_, finding)| finding.id).collect();
    let rules: Vec<Value> = ids
        .iter()
        .map(|id| {
            json!({
                "id": id.id(),
                "shortDescription": { "text": id.title() },
                "fullDescription": { "text": id.explanation() },
                "helpUri": format!("https://mailwright.dev/findings/{id}"),
            })
        })
        .collect();
    let mut document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "mailwright verify",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": "https://mailwright.dev",
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": found.iter().map(|(prefix, finding)| result(prefix, finding)).collect::<Vec<_>>(),
        }],
    });
    if !reports.failed.is_empty() {
        let notice = |(name, why): &(&str, String)| json!({ "level": "error", "message": { "text": format!("{name} could not be checked: {why}") } });
        let notices: Vec<Value> = reports.failed.iter().map(notice).collect();
        document["runs"][0]["invocations"] =
            json!([{ "executionSuccessful": false, "toolExecutionNotifications": notices }]);
    }
    format!("{document:#}")
}

fn result(prefix: &str, finding: &Finding) -> Value {
    let level = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    };
    let mut text = format!("{prefix}{}", finding.message);
    for (label, part) in [("seen", &finding.seen), ("expected", &finding.expected)] {
        if !part.is_empty() {
            text = format!("{text}\n{label}: {part}");
        }
    }
    if !finding.remedy.is_empty() {
        text = format!("{text}\n{}", finding.remedy.join("\n"));
    }
    let mut result = json!({
        "ruleId": finding.id.id(),
        "level": level,
        "kind": if finding.verdict == Verdict::Unknown { "review" } else { "fail" },
        "message": { "text": text },
    });
    // In SARIF, a result with the kind `review` has no level of its own.
    if finding.verdict == Verdict::Unknown {
        result["level"] = json!("none");
    }
    if let Some(place) = finding.place.as_ref().filter(|place| place.is_in_a_file()) {
        result["locations"] = json!([{ "physicalLocation": {
            "artifactLocation": { "uri": place.file, "uriBaseId": "%SRCROOT%" },
            "region": { "startLine": place.line, "startColumn": place.column },
        } }]);
    }
    if let Some(reason) = &finding.waived {
        result["suppressions"] = json!([{ "kind": "external", "justification": reason }]);
    }
    result
}
