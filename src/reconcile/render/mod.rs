//! Text and Markdown of plans and differences, and the phrases that both share.
//!
//! Everything is rendered from the document alone, so that the text cannot differ from it. Values are shown on one line with
//! control characters escaped. Returns text; `cli` prints it.

mod differences;
mod human;
mod markdown;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

pub use differences::Differences;
pub use human::{render_drift, render_human, render_human_compact};
pub use markdown::render_markdown;

use super::plan::{CellSender, PreviousVerification, RoutingChange, SecretChange, SecretChangeKind};
use crate::{
    model::CompanyId,
    text::{enumerate, printable},
};

/// Renders a value on one line: as JSON, with control characters and invisible characters escaped.
pub fn display_value(value: &Value) -> String {
    let text = match value {
        Value::Array(items) => format!("[{}]", items.iter().map(display_value).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    };
    printable(&text).into_owned()
}

/// Describes the change of a secret by a fixed phrase.
fn describe_secret_change(change: &SecretChange) -> &'static str {
    describe_secret_change_kind(change.kind)
}

/// Describes a kind of change of a secret.
pub fn describe_secret_change_kind(kind: SecretChangeKind) -> &'static str {
    match kind {
        SecretChangeKind::New => "(new secret)",
        SecretChangeKind::Rotated => "(secret rotated)",
        SecretChangeKind::Resealed => "(secret resealed, same value)",
        SecretChangeKind::FileChanged => "(secret file changed)",
        SecretChangeKind::Renamed => "(same secret under another name)",
        SecretChangeKind::Removed => "(secret removed)",
        SecretChangeKind::RotationFinished => "(rotation finished)",
        SecretChangeKind::NextStaged => "(next secret staged)",
        SecretChangeKind::NextReplaced => "(another next secret)",
        SecretChangeKind::NextResealed => "(next secret resealed, same value)",
        SecretChangeKind::NextWithdrawn => "(next secret withdrawn)",
    }
}

fn describe_sender(sender: Option<&CellSender>) -> String {
    match sender {
        None => "no sender".to_owned(),
        Some(CellSender { profile, from: Some(from) }) => {
            format!("{profile} <{}>", display_value(&Value::from(from.as_str())).trim_matches('"'))
        }
        Some(CellSender { profile, from: None }) => format!("{profile} (the signed-in user)"),
    }
}

/// Cells with the same change from one sender to another.
struct SenderGroup<'a> {
    before: Option<&'a CellSender>,
    after: Option<&'a CellSender>,
    cells: Vec<&'a RoutingChange>,
}

/// Groups cells, in the order of their first cell; those that lose their sender come first.
fn sender_groups(senders: &[RoutingChange]) -> Vec<SenderGroup<'_>> {
    let mut index = std::collections::HashMap::new();
    let mut groups: Vec<SenderGroup<'_>> = Vec::new();
    for change in senders {
        let key = (change.before.as_ref(), change.after.as_ref());
        let at = *index.entry(key).or_insert_with(|| {
            groups.push(SenderGroup { before: key.0, after: key.1, cells: Vec::new() });
            groups.len() - 1
        });
        groups[at].cells.push(change);
    }
    groups.sort_by_key(|group| group.after.is_some());
    groups
}

impl SenderGroup<'_> {
    /// Returns lines such as `EDU1, EDU2: all-documents, document-quality`, with one line per set of companies.
    fn lines(&self) -> Vec<String> {
        let mut companies: BTreeMap<_, BTreeSet<&CompanyId>> = BTreeMap::new();
        for change in &self.cells {
            let function = (change.cell.function, change.cell.client);
            companies.entry(function).or_default().insert(&change.cell.company);
        }
        let mut lines: Vec<(BTreeSet<&CompanyId>, Vec<String>)> = Vec::new();
        for ((function, client), companies) in companies {
            let word = client.map_or(function.to_string(), |client| format!("{function} ({})", client.id()));
            match lines.iter_mut().find(|(known, _)| *known == companies) {
                Some((_, words)) => words.push(word),
                None => lines.push((companies, vec![word])),
            }
        }
        let line = |(companies, words): &(BTreeSet<&CompanyId>, Vec<String>)| {
            format!("{}: {}", enumerate(companies.iter().map(ToString::to_string), 8), words.join(", "))
        };
        lines.iter().map(line).collect()
    }
}

/// Describes the last result of `verify` for a profile.
fn describe_verification(before: &PreviousVerification, format_time: fn(Timestamp) -> String) -> String {
    let Some(last) = &before.last else { return "never verified".to_owned() };
    let mut parts = Vec::new();
    for (count, noun) in [(last.errors, "error"), (last.warnings, "warning")] {
        if count > 0 {
            parts.push(format!("{count} {noun}{}", if count == 1 { "" } else { "s" }));
        }
    }
    if last.unknown > 0 {
        parts.push(format!("{} unknown", last.unknown));
    }
    if parts.is_empty() {
        parts.push("pass".to_owned());
    }
    let of = if before.current { "" } else { " of other settings" };
    format!("{}{of}, {} (reached {})", parts.join(", "), format_time(last.at), last.reached)
}
