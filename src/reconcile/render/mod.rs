//! Text and Markdown of plans and differences, and the phrases that both share.
//!
//! Everything is rendered from the document alone, so that the text cannot differ from it. Values are shown on one line with
//! control characters escaped. Returns text; `cli` prints it.

mod differences;
mod human;
mod markdown;

use jiff::Timestamp;
use serde_json::Value;

pub use differences::Differences;
pub use human::{render_drift, render_human, render_human_compact};
pub use markdown::render_markdown;

use super::plan::{CellSender, PreviousVerification, SecretChange, SecretChangeKind};
use crate::text::printable;

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
