//! `compare`: the fields at which two profiles differ, and what happens to a secret there.
//!
//! Plans of the command line and of the console are made of these. Pure; which side caused a difference, and the places in files,
//! are added by the planner.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::{self, Fields, NEXT};
use crate::model::Digest;

/// The change of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretChange {
    /// The kind of change.
    pub kind: SecretChangeKind,
    /// The digest of the live age file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Digest>,
    /// The digest of the age file in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Digest>,
}

/// A kind of change of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretChangeKind {
    /// The secret is new.
    New,
    /// The value changed.
    Rotated,
    /// The same value was sealed again.
    Resealed,
    /// The file changed. It was not written by `mailwright secrets`, so it is unknown whether the value did.
    FileChanged,
    /// The same file has another name.
    Renamed,
    /// The secret is not used any more.
    Removed,
    /// The next value becomes the current one.
    RotationFinished,
    /// A next value is staged, and is tried first.
    NextStaged,
    /// The next value changed.
    NextReplaced,
    /// The same next value was sealed again.
    NextResealed,
    /// The next value is withdrawn.
    NextWithdrawn,
}

/// A field at which two profiles differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDifference {
    /// The field: keys joined by dots.
    pub path: String,
    /// The earlier value; null for a new field.
    pub before: Value,
    /// The later value; null if the field is removed.
    pub after: Value,
    /// The kind of change, for a secret.
    pub secret: Option<SecretChange>,
}

/// Returns true if two age files hold the same value; none if that is not known.
pub(crate) type IsSameValue<'a> = dyn Fn(&Digest, &Digest) -> Option<bool> + 'a;

/// Returns the fields that differ, in order, and the number of equal ones. The removal of the next value belongs to a finished
/// rotation, and is not listed separately.
pub(crate) fn compare(
    before: &Fields,
    after: &Fields,
    is_same_value: &IsSameValue<'_>,
) -> (Vec<FieldDifference>, usize) {
    let (differing, unchanged) = fields::differing_paths(before, after);
    let is_half = |path: &&str| {
        path.strip_suffix(NEXT).is_some_and(|own| is_rotation_finished(own, before, after, is_same_value))
    };
    let differences = differing
        .into_iter()
        .filter(|path| !is_half(path))
        .map(|path| FieldDifference {
            path: path.to_owned(),
            before: fields::value_at(before, path),
            after: fields::value_at(after, path),
            secret: find_secret_change(path, before, after, is_same_value),
        })
        .collect();
    (differences, unchanged)
}

/// Returns the change of the secret at a path; none at other fields.
pub(crate) fn find_secret_change(
    path: &str,
    before: &Fields,
    after: &Fields,
    is_same_value: &IsSameValue<'_>,
) -> Option<SecretChange> {
    let digest = |fields: &Fields| fields.get(path).and_then(|field| field.digest.clone());
    let (old, new) = (digest(before), digest(after));
    let kind = match (path.strip_suffix(NEXT), &old, &new) {
        (_, None, None) => return None,
        (Some(_), None, Some(_)) => SecretChangeKind::NextStaged,
        (Some(_), Some(_), None) => SecretChangeKind::NextWithdrawn,
        (Some(_), Some(old), Some(new)) if is_same_value(old, new) == Some(true) => SecretChangeKind::NextResealed,
        (Some(_), Some(_), Some(_)) => SecretChangeKind::NextReplaced,
        (None, None, Some(_)) => SecretChangeKind::New,
        (None, Some(_), None) => SecretChangeKind::Removed,
        (None, Some(old), Some(new)) if old == new => SecretChangeKind::Renamed,
        (None, Some(_), Some(_)) if is_rotation_finished(path, before, after, is_same_value) => {
            SecretChangeKind::RotationFinished
        }
        (None, Some(old), Some(new)) => match is_same_value(old, new) {
            Some(true) => SecretChangeKind::Resealed,
            Some(false) => SecretChangeKind::Rotated,
            None => SecretChangeKind::FileChanged,
        },
    };
    Some(SecretChange { kind, before: old, after: new })
}

/// Returns true if the next value of the secret at a path becomes the current one, sealed again or not.
fn is_rotation_finished(path: &str, before: &Fields, after: &Fields, is_same_value: &IsSameValue<'_>) -> bool {
    let next = format!("{path}{NEXT}");
    let staged = before.get(&next).and_then(|field| field.digest.as_ref());
    let current = after.get(path).and_then(|field| field.digest.as_ref());
    let (Some(staged), Some(current)) = (staged, current) else { return false };
    !after.contains_key(&next) && (staged == current || is_same_value(staged, current) == Some(true))
}
