//! A plan as people read it. Made from the plan alone, so that text and document cannot disagree.

mod differences;
mod human;
mod markdown;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use differences::Differences;
pub use human::{drift_text, human};
pub use markdown::markdown;

use super::plan::{SecretChange, SecretChangeKind, Sender, SenderChange, VerifiedBefore};
use crate::{
    model::CompanyId,
    text::{enumerate, printable},
};

/// A value on one line: as JSON, with everything that could move the cursor or hide text written as an escape.
pub fn shown(value: &Value) -> String {
    let text = match value {
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    };
    printable(&text).into_owned()
}

/// What is said of a secret's change: a fixed word, never a length.
fn secret_words(change: &SecretChange) -> &'static str {
    secret_kind_words(change.kind)
}

/// What is said of a kind of change of a secret.
pub fn secret_kind_words(kind: SecretChangeKind) -> &'static str {
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

fn sender_words(sender: Option<&Sender>) -> String {
    match sender {
        None => "nobody".to_owned(),
        Some(Sender { profile, from: Some(from) }) => {
            format!("{profile} <{}>", shown(&Value::from(from.as_str())).trim_matches('"'))
        }
        Some(Sender { profile, from: None }) => format!("{profile} (the signed-in user)"),
    }
}

/// Cells with the same step from one sender to another, together: what people can take in.
struct SenderGroup<'a> {
    before: Option<&'a Sender>,
    after: Option<&'a Sender>,
    cells: Vec<&'a SenderChange>,
}

/// Groups in the order of their first cell; those that lose their sender come first.
fn sender_groups(senders: &[SenderChange]) -> Vec<SenderGroup<'_>> {
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
    /// `EDU1, EDU2: all-documents, document-quality`: functions with the same companies on one line.
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

/// What the verifier last said of a profile, in words.
fn verified_words(before: &VerifiedBefore) -> String {
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
    format!("{}{of}, {} (reached {})", parts.join(", "), last.at.strftime("%Y-%m-%d %H:%M:%SZ"), last.reached)
}
