//! Differences between two generations: settings and profiles, field by field.
//!
//! [`compare_generations`] is for the history and for the preview of a rollback. Pure; secrets are named with the digests of their
//! files, never shown.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fields::{self, Fields};
use crate::model::{ProfileName, Settings, StoredProfile};

/// The contents of a generation.
#[derive(Clone, Copy, Debug)]
pub struct GenerationContents<'a> {
    /// The settings.
    pub settings: &'a Settings,
    /// The live profiles.
    pub profiles: &'a BTreeMap<ProfileName, StoredProfile>,
}

/// Something that differs between two generations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationDifference {
    /// The profile; none for the settings.
    pub name: Option<ProfileName>,
    /// The kind of change.
    pub kind: DifferenceKind,
    /// The fields that differ; of a profile that only one generation has, all of its fields.
    pub fields: Vec<FieldChange>,
}

/// A kind of change between two generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// Only the later generation has it.
    Added,
    /// Both have it, with differences.
    Changed,
    /// Only the earlier generation has it.
    Removed,
}

impl DifferenceKind {
    /// Returns the name in documents.
    pub fn id(self) -> &'static str {
        match self {
            DifferenceKind::Added => "added",
            DifferenceKind::Changed => "changed",
            DifferenceKind::Removed => "removed",
        }
    }
}

/// A field with its values; null where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// The field: keys joined by dots.
    pub path: String,
    /// The earlier value.
    pub before: Value,
    /// The later value.
    pub after: Value,
}

/// Returns the differences: the settings first, then profiles by name. A renamed profile is removed and added.
pub fn compare_generations(before: GenerationContents<'_>, after: GenerationContents<'_>) -> Vec<GenerationDifference> {
    let mut differences = Vec::new();
    if before.settings != after.settings {
        let (one, other) = (fields::settings_fields(before.settings), fields::settings_fields(after.settings));
        let fields = compare(&one, &other);
        differences.push(GenerationDifference { name: None, kind: DifferenceKind::Changed, fields });
    }
    let names: BTreeSet<&ProfileName> = before.profiles.keys().chain(after.profiles.keys()).collect();
    for name in names {
        let (one, other) = (before.profiles.get(name), after.profiles.get(name));
        let kind = match (one, other) {
            (Some(one), Some(other)) if one == other => continue,
            (Some(_), Some(_)) => DifferenceKind::Changed,
            (None, _) => DifferenceKind::Added,
            (_, None) => DifferenceKind::Removed,
        };
        let fields_of = |profile: Option<&StoredProfile>| profile.map(fields::profile_fields).unwrap_or_default();
        let fields = compare(&fields_of(one), &fields_of(other));
        differences.push(GenerationDifference { name: Some(name.clone()), kind, fields });
    }
    differences
}

fn compare(before: &Fields, after: &Fields) -> Vec<FieldChange> {
    let (differing, _) = fields::differing_paths(before, after);
    let change = |path: &str| FieldChange {
        path: path.to_owned(),
        before: fields::shown_at(before, path),
        after: fields::shown_at(after, path),
    };
    differing.into_iter().map(change).collect()
}
