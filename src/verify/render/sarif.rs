//! SARIF 2.1.0.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::verify::{Finding, Report, Severity, Verdict};

pub(super) fn render(report: &Report) -> String {
    let found: Vec<&Finding> = report.all().filter(|finding| finding.verdict != Verdict::Pass).collect();
    let ids: BTreeSet<_> = found.iter().map(|finding| finding.id).collect();
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
    let document = json!({
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
            "results": found.into_iter().map(result).collect::<Vec<_>>(),
        }],
    });
    format!("{document:#}")
}

fn result(finding: &Finding) -> Value {
    let level = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    };
    let whom = finding.profile.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let mut text = format!("{whom}{}", finding.message);
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
    // A result that is only to be reviewed has no level of its own in SARIF.
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
