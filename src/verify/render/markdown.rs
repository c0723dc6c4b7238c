//! The report as Markdown for a comment on a pull request: a table of profiles, then the open findings, folded.
//!
//! Text from servers and files is escaped ([`crate::text::markdown`]).

use std::fmt::Write as _;

use super::{finding_label, verdict_label};
use crate::{
    model::finding::{Finding, Report},
    text::markdown::{code_block, code_span, escape_inline, html_text},
};

pub(super) fn render(report: &Report) -> String {
    let mut out = format!("### Verify: `{}`\n\n**{}**\n\n", report.environment, report.summary());
    out.push_str("| profile | provider | reached | verdict |\n| --- | --- | --- | --- |\n");
    for verified in &report.profiles {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| `{}` | {} | {} {} | {} |",
            verified.profile,
            escape_inline(&verified.provider),
            verified.reached.number(),
            verified.reached,
            verdict_label(verified)
        );
    }
    let mut open: Vec<&Finding> = report.open().collect();
    open.sort_by_key(|finding| (finding.severity, finding.verdict));
    for finding in open {
        let label = finding_label(finding);
        let prefix = finding.profile.as_ref().map(|name| format!("<code>{name}</code>: ")).unwrap_or_default();
        let _ = write!(
            out,
            "\n<details><summary><b>{label}</b> {} {prefix}{}</summary>\n\n",
            finding.id,
            html_text(&finding.message)
        );
        for (label, text) in [("Seen", &finding.seen), ("Expected", &finding.expected)] {
            if !text.is_empty() {
                let _ = writeln!(out, "{label}: {}\n", escape_inline(text));
            }
        }
        if let Some(place) = &finding.place {
            let _ = writeln!(out, "At: {}\n", code_span(&place.to_string()));
        }
        if !finding.remedy.is_empty() {
            let _ = writeln!(out, "{}", code_block(&finding.remedy.join("\n")));
        }
        out.push_str("</details>\n");
    }
    out
}
