//! [`DifferenceRow`]: a field at which two profiles differ, for the plan and for the second of two editors.

use serde_json::Value;

use crate::{
    changes::comparison::{FieldDifference, SecretChangeKind},
    console::page::shown,
};

/// Maximum size of a value that is shown, in characters.
const VALUE: usize = 2000;

/// A field at which two profiles differ.
pub(super) struct DifferenceRow {
    pub(super) path: String,
    pub(super) before: String,
    pub(super) after: String,
    /// The id of the kind of change, for a secret.
    pub(super) secret: Option<&'static str>,
}

/// Returns a field at which two profiles differ, for a page.
pub(super) fn difference_row(difference: &FieldDifference) -> DifferenceRow {
    DifferenceRow {
        path: difference.path.clone(),
        before: display(&difference.before),
        after: display(&difference.after),
        secret: difference.secret.as_ref().map(|secret| secret_change(secret.kind)),
    }
}

fn secret_change(kind: SecretChangeKind) -> &'static str {
    match kind {
        SecretChangeKind::New => "new",
        SecretChangeKind::Rotated => "rotated",
        SecretChangeKind::Resealed => "resealed",
        SecretChangeKind::FileChanged => "file-changed",
        SecretChangeKind::Renamed => "renamed",
        SecretChangeKind::Removed => "removed",
        SecretChangeKind::RotationFinished => "rotation-finished",
        SecretChangeKind::NextStaged => "next-staged",
        SecretChangeKind::NextReplaced => "next-replaced",
        SecretChangeKind::NextResealed => "next-resealed",
        SecretChangeKind::NextWithdrawn => "next-withdrawn",
    }
}

/// Returns a value on one line; nothing for none.
pub(super) fn display(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(display).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    crate::text::shortened(&shown(&text), VALUE).into_owned()
}
