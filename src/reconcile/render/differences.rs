//! What differs between two sides, as people read it. Environments in which the same changes stand together: a change
//! of a layer that a thousand extend is read once.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde_json::json;

use super::{human, markdown};
use crate::{
    config::Report,
    model::ProfileName,
    reconcile::{
        file_diff::{Difference, What},
        plan::Summary,
    },
    text::{enumerate, markdown::inline, printable},
};

const GREEN: Style = AnsiColor::Green.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// How many groups people are shown.
const GROUPS: usize = 50;
/// How many environments of a group are named.
const NAMED: usize = 12;
/// GitHub takes comments of up to 65,536 characters; this leaves room for what a workflow adds.
const LIMIT: usize = 60_000;

/// What differs, with the words that name the two sides.
pub struct Differences {
    /// The old side.
    pub from: String,
    /// The new side.
    pub to: String,
    /// By environment.
    pub all: Vec<Difference>,
}

/// Environments that are alike.
struct Group<'a> {
    members: Vec<&'a Difference>,
    text: String,
}

impl Differences {
    /// `Diff: 3 environments changed, 1 new, 0 gone.`
    pub fn summary(&self) -> String {
        let count = |is: fn(&What) -> bool| self.all.iter().filter(|difference| is(&difference.what)).count();
        let changed = count(|what| matches!(what, What::Changed { .. }));
        let added = count(|what| matches!(what, What::Added { .. }));
        let removed = count(|what| matches!(what, What::Removed { .. }));
        let invalid = count(|what| matches!(what, What::Invalid { .. }));
        let s = if changed == 1 { "" } else { "s" };
        let wrong = if invalid > 0 { format!(", {invalid} with problems") } else { String::new() };
        format!("Diff: {changed} environment{s} changed, {added} new, {removed} gone{wrong}.")
    }

    /// Whether a side of an environment has problems.
    pub fn has_problems(&self) -> bool {
        self.all.iter().any(|difference| matches!(difference.what, What::Invalid { .. }))
    }

    /// For a terminal.
    pub fn human(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail, so the results of `write!` are dropped throughout.
        let _ = writeln!(out, "{BOLD}From {} to {}{BOLD:#}\n", self.from, self.to);
        if self.all.is_empty() {
            let _ = writeln!(out, "{GREEN}No differences.{GREEN:#} Every environment says the same on both sides.");
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
                "{DIM}... and {more} more environments in {} groups; name some, or take `--format json`{DIM:#}\n",
                groups.len() - GROUPS
            );
        }
        let _ = writeln!(out, "{BOLD}{}{BOLD:#}", self.summary());
        out
    }

    fn human_body(&self, difference: &Difference) -> String {
        match &difference.what {
            What::Changed { plan } => {
                let mut text = human::changes(plan);
                let _ = writeln!(text, "  {}", counted(&plan.summary));
                text
            }
            What::Added { profiles, contents_of } => {
                let mut text = format!("  {GREEN}+{GREEN:#} {}\n", profile_words(profiles));
                if let Some(from) = contents_of {
                    let _ = writeln!(text, "    {}", renamed_words(from));
                }
                text
            }
            What::Removed { profiles } => {
                let words = "Its service is not touched, and keeps what it holds.";
                format!("  {RED}-{RED:#} {}\n    {words}\n", profile_words(profiles))
            }
            What::Invalid { old, new, why } => {
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

    /// Those with the same text stand together, in the order of the first.
    fn groups<'a>(&'a self, text: impl Fn(&'a Difference) -> String) -> Vec<Group<'a>> {
        let mut index = std::collections::HashMap::new();
        let mut groups: Vec<Group<'a>> = Vec::new();
        for difference in &self.all {
            let text = text(difference);
            let key = without_name(&text, difference.environment.as_str());
            let kind = std::mem::discriminant(&difference.what);
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

    /// For a comment on a pull request.
    pub fn markdown(&self) -> String {
        let mut out = String::from("<!-- mailwright diff -->\n### Mailwright diff\n\n");
        let result = if self.all.is_empty() { "No differences.".to_owned() } else { self.summary() };
        let _ = writeln!(out, "**{result}**\n\nFrom {} to {}.\n", inline(&self.from), inline(&self.to));
        let groups = self.groups(|difference| self.markdown_body(difference));
        for (index, group) in groups.iter().enumerate() {
            let title = anstream::adapter::strip_str(&heading(group)).to_string();
            let block = format!("#### {}\n\n{}\n\n", inline(&title), group.text.trim_end());
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
        match &difference.what {
            What::Changed { plan } => markdown::changes(plan, LIMIT / 2),
            What::Added { profiles, contents_of } => {
                let from = contents_of.as_ref().map(|from| format!("\n{}\n", renamed_words(from)));
                format!("{}\n{}", profile_words(profiles), from.unwrap_or_default())
            }
            What::Removed { profiles } => format!("{}\n", profile_words(profiles)),
            What::Invalid { old, new, why } => {
                let mut text = String::new();
                for (report, side) in [(old, &self.from), (new, &self.to)] {
                    if let Some(report) = report {
                        let _ = writeln!(text, "In {}:\n\n{}", inline(side), problem_list(report));
                    }
                }
                if let Some(why) = why {
                    let _ = writeln!(text, "> [!CAUTION]\n> {}\n", inline(why));
                }
                text
            }
        }
    }

    /// For programs.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "formatVersion": 1,
            "mailwright": env!("CARGO_PKG_VERSION"),
            "from": self.from,
            "to": self.to,
            "environments": self.all,
            "summary": self.summary(),
        })
    }
}

/// A text without the environment's own folders, which is all that makes two that are alike differ.
fn without_name(text: &str, name: &str) -> String {
    text.replace(&format!("environments/{name}/"), "environments/*/").replace(&format!("secrets/{name}/"), "secrets/*/")
}

fn heading(group: &Group<'_>) -> String {
    let names = enumerate(group.members.iter().map(|member| member.environment.to_string()), NAMED);
    let alike = match group.members.len() {
        1 => String::new(),
        count => format!(" {DIM}({count} environments alike){DIM:#}"),
    };
    let what = match group.members.first().map(|member| &member.what) {
        Some(What::Added { .. }) => format!(" {GREEN}(new){GREEN:#}"),
        Some(What::Removed { .. }) => format!(" {RED}(gone){RED:#}"),
        Some(What::Invalid { .. }) => format!(" {RED}cannot be compared{RED:#}"),
        _ => String::new(),
    };
    format!("{BOLD}{names}{BOLD:#}{what}{alike}")
}

fn profile_words(profiles: &[ProfileName]) -> String {
    let s = if profiles.len() == 1 { "" } else { "s" };
    let names = enumerate(profiles.iter().map(ToString::to_string), NAMED);
    let colon = if names.is_empty() { "" } else { ": " };
    format!("{} profile{s}{colon}{names}", profiles.len())
}

fn renamed_words(from: &crate::model::EnvironmentName) -> String {
    format!("The contents are those of `{from}`, which is gone. A service belongs to one environment, by its name.")
}

/// `1 to add, 1 to change, 0 to destroy`, as a plan says it.
fn counted(summary: &Summary) -> String {
    let Summary { add, change, destroy, rename, .. } = summary;
    let rename = if *rename > 0 { format!(", {rename} to rename") } else { String::new() };
    format!("{add} to add, {change} to change, {destroy} to destroy{rename}")
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
            inline(&problem.message)
        );
    }
    if report.diagnostics.len() > 20 {
        let _ = writeln!(text, "- ... and {} more", report.diagnostics.len() - 20);
    }
    text
}
