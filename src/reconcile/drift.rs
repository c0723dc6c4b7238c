//! What somebody changed outside Git: live against last applied. What the files say plays no part.

use serde_json::Value;

use super::{
    fields::{self, Fields},
    plan::{Drift, DriftField, DriftKind},
};
use crate::model::{Applied, State};

/// What somebody changed outside Git since the last apply.
pub fn drift(state: &State) -> Vec<Drift> {
    let compare = |applied: &Fields, live: &Fields| {
        let (differing, _) = fields::differing(applied, live);
        let shown = |fields: &Fields, path: &str| match fields.get(path) {
            // Two secrets of one name differ in their digest only.
            Some(field) => match &field.digest {
                Some(digest) => {
                    serde_json::json!(format!("{} ({})", field.value.as_str().unwrap_or_default(), digest.short()))
                }
                None => field.value.clone(),
            },
            None => Value::Null,
        };
        differing
            .into_iter()
            .map(|path| DriftField { path: path.to_owned(), applied: shown(applied, path), live: shown(live, path) })
            .collect::<Vec<_>>()
    };
    let mut drift = Vec::new();
    if let Some(applied) = &state.applied_settings
        && *applied != state.settings
    {
        drift.push(Drift {
            name: None,
            kind: DriftKind::Changed,
            fields: compare(&fields::of_settings(applied), &fields::of_settings(&state.settings)),
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
            Some(live) => (DriftKind::Changed, compare(&fields::of_profile(applied), &fields::of_profile(live))),
            None => (DriftKind::Removed, Vec::new()),
        };
        drift.push(Drift { name: Some(name.clone()), kind, fields, by: Some(profile.changed.clone()) });
    }
    drift
}
