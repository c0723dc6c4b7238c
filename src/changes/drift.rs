//! Drift: changes that were made outside Git since the last apply.
//!
//! Compares the live state with the state that the last apply left. The files play no part. A profile that no apply has set is not
//! drift, unless a rollback brought it back; nor are settings that were never applied.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::{self, Fields};
use crate::model::{Applied, ChangeRecord, ProfileName, State};

/// Something that was changed outside Git since the last apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// The profile; none for the environment's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ProfileName>,
    /// The kind of change.
    pub kind: DriftKind,
    /// The fields that differ.
    pub fields: Vec<DriftField>,
    /// The last change: author, time, kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ChangeRecord>,
}

/// A kind of change outside Git.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftKind {
    /// A profile or the settings were changed.
    Changed,
    /// A profile was removed.
    Removed,
    /// A rollback restored a profile that an apply had removed.
    Restored,
}

/// A field that drifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftField {
    /// The field: keys joined by dots.
    pub path: String,
    /// The value that the last apply set.
    pub applied: Value,
    /// The live value.
    pub live: Value,
}

/// Returns the drift of a state: the settings first, then profiles by name.
pub fn drift(state: &State) -> Vec<Drift> {
    let compare = |applied: &Fields, live: &Fields| {
        let (differing, _) = fields::differing_paths(applied, live);
        differing
            .into_iter()
            .map(|path| DriftField {
                path: path.to_owned(),
                applied: fields::shown_at(applied, path),
                live: fields::shown_at(live, path),
            })
            .collect::<Vec<_>>()
    };
    let mut drift = Vec::new();
    if let Some(applied) = &state.applied_settings
        && *applied != state.settings
    {
        drift.push(Drift {
            name: None,
            kind: DriftKind::Changed,
            fields: compare(&fields::settings_fields(applied), &fields::settings_fields(&state.settings)),
            by: state.settings_changed.clone(),
        });
    }
    for (name, profile) in &state.profiles {
        if profile.is_restored() {
            let (name, by) = (Some(name.clone()), Some(profile.changed.clone()));
            drift.push(Drift { name, kind: DriftKind::Restored, fields: Vec::new(), by });
            continue;
        }
        let Applied::Different(applied) = &profile.applied else { continue };
        let (kind, fields) = match &profile.live {
            Some(live) => {
                (DriftKind::Changed, compare(&fields::profile_fields(applied), &fields::profile_fields(live)))
            }
            None => (DriftKind::Removed, Vec::new()),
        };
        drift.push(Drift { name: Some(name.clone()), kind, fields, by: Some(profile.changed.clone()) });
    }
    drift
}
