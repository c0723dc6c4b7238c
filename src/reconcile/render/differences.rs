//! Renders the [`Differences`] between two revisions as text, Markdown or JSON, for `mailwright diff`.
//!
//! Environments with the same changes are grouped, so that a change of a shared layer is shown once. An environment that cannot be
//! compared is shown with its problems. Text is cut after 50 groups and Markdown after 60,000 characters, with the number of
//! environments that are left out; JSON has all. The differences are computed by `file_diff`.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde_json::json;

use super::{human, markdown};
use crate::{
    config::Report,
    model::ProfileName,
    reconcile::file_diff::{DiffKind, Difference},
    text::{enumerate, markdown::escape_inline, printable},
};

const GREEN: Style = AnsiColor::Green.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// The maximum number of groups in text output.
const GROUPS: usize = 50;
/// The maximum number of environments of a group that are named.
const NAMED: usize = 12;
/// The maximum length of Markdown output. GitHub accepts comments of up to 65,536 characters; the rest is for the workflow.
const LIMIT: usize = 60_000;

/// The differences between two revisions.
pub struct Differences {
    /// The older revision, described.
    pub from: String,
    /// The newer revision, described.
    pub to: String,
    /// The differences by environment.
    pub all: Vec<Difference>,
}

/// Environments with the same difference.
struct Group<'a> {
    members: Vec<&'a Difference>,
    text: String,
}

impl Differences {
    /// Returns one line such as `Diff: 3 environments changed, 1 new, 0 gone.`
    pub fn summary(&self) -> String {
        let count = |is: fn(&DiffKind) -> bool| self.all.iter().filter(|difference| is(&difference.kind)).count();
        let changed = count(|what| matches!(what, DiffKind::Changed { .. }));
        let added = count(|what| matches!(what, DiffKind::Added { .. }));
        let removed = count(|what| matches!(what, DiffKind::Removed { .. }));
        let invalid = count(|what| matches!(what, DiffKind::Invalid { .. }));
        let s = if changed == 1 { "" } else { "s" };
        let wrong = if invalid > 0 { format!(", {invalid} with problems") } else { String::new() };
        format!("Diff: {changed} environment{s} changed, {added} new, {removed} gone{wrong}.")
    }

    /// Returns true if an environment is invalid in a revision.
    pub fn has_problems(&self) -> bool {
        self.all.iter().any(|difference| matches!(difference.kind, DiffKind::Invalid { .. }))
    }

    /// Renders for a terminal.
    pub fn to_human(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail, so the results of `write!` are dropped throughout.
        let _ = writeln!(out, "{BOLD}From {} to {}{BOLD:#}\n", self.from, self.to);
        if self.all.is_empty() {
            let _ = writeln!(out, "{GREEN}No differences.{GREEN:#} Every environment is the same on both sides.");
            return out;
        }
        let groups = self.groups(|difference| self.human_body(difference));
        for group in groups.iter().take(GROUPS) {
            let _ = writeln!(out, "{}\n\n{}\n", heading(group), group.text.trim_end());
        }
        if groups.len() > GROUPS {
            let more: usize = groups.iter().skip(GROUPS).map(|group| group.members.len()).sum();
            let _ = writeln!(
                out,
                "{DIM}... and {more} more environments in {} groups; name some, or use `--format json`{DIM:#}\n",
                groups.len() - GROUPS
            );
        }
        let _ = writeln!(out, "{BOLD}{}{BOLD:#}", self.summary());
        out
    }

    fn human_body(&self, difference: &Difference) -> String {
        match &difference.kind {
            DiffKind::Changed { plan } => {
                let mut text = human::render_changes(plan);
                let _ = writeln!(text, "  {}", plan.summary_counts());
                text
            }
            DiffKind::Added { profiles, contents_of } => {
                let mut text = format!("  {GREEN}+{GREEN:#} {}\n", describe_profiles(profiles));
                if let Some(from) = contents_of {
                    let _ = writeln!(text, "    {}", describe_rename(from));
                }
                text
            }
            DiffKind::Removed { profiles } => {
                let words = "Its service is not changed.";
                format!("  {RED}-{RED:#} {}\n    {words}\n", describe_profiles(profiles))
            }
            DiffKind::Invalid { old, new, why } => {
                let mut text = String::new();
                for (report, side) in [(old, &self.from), (new, &self.to)] {
                    if let Some(report) = report {
                        let _ = writeln!(text, "{RED}In {side}:{RED:#}\n\n{}\n", report.human());
                    }
                }
                if let Some(why) = why {
                    let _ = writeln!(text, "{RED}!{RED:#} {why}");
                }
                text
            }
        }
    }

    /// Groups environments with the same text, in the order of the first.
    fn groups<'a>(&'a self, text: impl Fn(&'a Difference) -> String) -> Vec<Group<'a>> {
        let mut index = std::collections::HashMap::new();
        let mut groups: Vec<Group<'a>> = Vec::new();
        for difference in &self.all {
            let text = text(difference);
            let key = without_name(&text, difference.environment.as_str());
            let kind = std::mem::discriminant(&difference.kind);
            let at = *index.entry((kind, key)).or_insert_with(|| {
                groups.push(Group { members: Vec::new(), text });
                groups.len() - 1
            });
            groups[at].members.push(difference);
        }
        for group in groups.iter_mut().filter(|group| group.members.len() > 1) {
            if let Some(first) = group.members.first() {
                group.text = without_name(&group.text, first.environment.as_str());
            }
        }
        groups
    }

    /// Renders as Markdown for a comment on a pull request.
    pub fn to_markdown(&self) -> String {
        let mut out = String::from("<!-- mailwright diff -->\n### Mailwright diff\n\n");
        let result = if self.all.is_empty() { "No differences.".to_owned() } else { self.summary() };
        let _ = writeln!(out, "**{result}**\n\nFrom {} to {}.\n", escape_inline(&self.from), escape_inline(&self.to));
        let groups = self.groups(|difference| self.markdown_body(difference));
        for (index, group) in groups.iter().enumerate() {
            let title = anstream::adapter::strip_str(&heading(group)).to_string();
            let block = format!("#### {}\n\n{}\n\n", escape_inline(&title), group.text.trim_end());
            if out.len() + block.len() + 200 > LIMIT {
                let more: usize = groups.iter().skip(index).map(|group| group.members.len()).sum();
                let _ = writeln!(out, "_... and {more} more environments; the diff as text or JSON has more of them._");
                break;
            }
            out.push_str(&block);
        }
        out
    }

    fn markdown_body(&self, difference: &Difference) -> String {
        match &difference.kind {
            DiffKind::Changed { plan } => markdown::render_changes(plan, LIMIT / 2),
            DiffKind::Added { profiles, contents_of } => {
                let from = contents_of.as_ref().map(|from| format!("\n{}\n", describe_rename(from)));
                format!("{}\n{}", describe_profiles(profiles), from.unwrap_or_default())
            }
            DiffKind::Removed { profiles } => format!("{}\n", describe_profiles(profiles)),
            DiffKind::Invalid { old, new, why } => {
                let mut text = String::new();
                for (report, side) in [(old, &self.from), (new, &self.to)] {
                    if let Some(report) = report {
                        let _ = writeln!(text, "In {}:\n\n{}", escape_inline(side), problem_list(report));
                    }
                }
                if let Some(why) = why {
                    let _ = writeln!(text, "> [!CAUTION]\n> {}\n", escape_inline(why));
                }
                text
            }
        }
    }

    /// Renders as a JSON document.
    pub fn to_json(&self) -> serde_json::Value {
        let environments: serde_json::Map<_, _> =
            self.all.iter().map(|difference| (difference.environment.to_string(), json!(difference))).collect();
        json!({
            "formatVersion": 1,
            "mailwright": env!("CARGO_PKG_VERSION"),
            "from": self.from,
            "to": self.to,
            "environments": environments,
            "summary": self.summary(),
        })
    }
}

/// Replaces the environment's name in paths, so that equal differences have equal texts.
fn without_name(text: &str, name: &str) -> String {
    text.replace(&format!("environments/{name}/"), "environments/*/").replace(&format!("secrets/{name}/"), "secrets/*/")
}

fn heading(group: &Group<'_>) -> String {
    let names = enumerate(group.members.iter().map(|member| member.environment.to_string()), NAMED);
    let alike = match group.members.len() {
        1 => String::new(),
        count => format!(" {DIM}({count} environments alike){DIM:#}"),
    };
    let what = match group.members.first().map(|member| &member.kind) {
        Some(DiffKind::Added { .. }) => format!(" {GREEN}(new){GREEN:#}"),
        Some(DiffKind::Removed { .. }) => format!(" {RED}(gone){RED:#}"),
        Some(DiffKind::Invalid { .. }) => format!(" {RED}cannot be compared{RED:#}"),
        _ => String::new(),
    };
    format!("{BOLD}{names}{BOLD:#}{what}{alike}")
}

fn describe_profiles(profiles: &[ProfileName]) -> String {
    let s = if profiles.len() == 1 { "" } else { "s" };
    let names = enumerate(profiles.iter().map(ToString::to_string), NAMED);
    let colon = if names.is_empty() { "" } else { ": " };
    format!("{} profile{s}{colon}{names}", profiles.len())
}

fn describe_rename(from: &crate::model::EnvironmentName) -> String {
    format!("The contents are those of `{from}`, which is gone. A service belongs to one environment, by its name.")
}

fn problem_list(report: &Report) -> String {
    let mut text = String::new();
    for problem in report.diagnostics.iter().take(20) {
        let _ = writeln!(
            text,
            "- `{}:{}:{}` {}: {}",
            printable(&problem.file).replace('`', "'"),
            problem.line,
            problem.column,
            problem.code,
            escape_inline(&problem.message)
        );
    }
    if report.diagnostics.len() > 20 {
        let _ = writeln!(text, "- ... and {} more", report.diagnostics.len() - 20);
    }
    text
}
