//! Recomputes a saved plan from its changeset, so that a signer cannot be shown one plan and sign another.
//!
//! The digest of a plan file detects damage, not forgery: an attacker who writes the file can combine a harmless plan with
//! another changeset. The changeset is what is signed, so its effect on the live state must be what the plan shows.
//!
//! [`matches_changeset`] takes the live state at the base of the plan and returns false if the two differ; the caller then refuses
//! the file. Drift, guards and hints of the plan are not compared. The other functions make plans without files.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    PlanRequest,
    plan::{Action, FieldChange, Plan, PlannedChange},
    saved::SavedPlan,
};
use crate::{
    config::{Desired, DesiredProfile, Labels, Places},
    model::{
        Changeset, Digest, Place, Problem, ProfileChange, ProfileName, ProfileState, Settings, State, StoredProfile,
        VerifySettings,
    },
};

/// Returns true if the plan shows the effect of its changeset on `state`, which is at its base, and the approvals that it needs.
pub fn matches_changeset(saved: &SavedPlan, state: &State) -> Result<bool, Problem> {
    let mut live = state.clone();
    if saved.rollback.is_some() {
        live = assume_applied(state);
    }
    let desired = desired_after(&saved.changeset, &live);
    let recomputed = super::plan(&PlanRequest {
        allowances: saved.changeset.allowances.clone(),
        ..PlanRequest::new(&desired, &live, &saved.plan.service)
    })?;
    let touched: BTreeSet<&ProfileName> = saved.changeset.changes.iter().map(ProfileChange::name).collect();
    let changes = |plan: &Plan| -> Vec<(ProfileName, Action, Option<ProfileName>, Vec<Shown>)> {
        let shown = |change: &PlannedChange| {
            (change.name.clone(), change.action, change.previous_name.clone(), shown_fields(&change.fields))
        };
        plan.changes.iter().filter(|change| touched.contains(&change.name)).map(shown).collect()
    };
    let settings =
        |plan: &Plan| plan.settings.as_ref().map(|settings| shown_fields(&settings.fields)).unwrap_or_default();
    let needs = |plan: &Plan| plan.approvals.as_ref().map(|approvals| approvals.needs.clone()).unwrap_or_default();
    Ok(saved.plan.changes.len() == touched.len()
        && changes(&saved.plan) == changes(&recomputed.plan)
        && settings(&saved.plan) == settings(&recomputed.plan)
        && saved.plan.routing_changes == recomputed.plan.routing_changes
        && needs(&saved.plan) == needs(&recomputed.plan))
}

/// The displayed part of a field's change: path, before, after, and the digests of a secret.
type Shown = (String, Value, Value, Option<Digest>, Option<Digest>);

fn shown_fields(changes: &[FieldChange]) -> Vec<Shown> {
    let shown = |field: &FieldChange| {
        let digest =
            |of: fn(&super::plan::SecretChange) -> &Option<Digest>| field.secret.as_ref().and_then(|s| of(s).clone());
        let (before, after) = (digest(|secret| &secret.before), digest(|secret| &secret.after));
        (field.path.clone(), field.before.clone(), field.after.clone(), before, after)
    };
    changes.iter().map(shown).collect()
}

/// Returns the desired state that leads to the changeset.
fn desired_after(changeset: &Changeset, state: &State) -> Desired {
    let mut profiles: BTreeMap<ProfileName, DesiredProfile> =
        state.live_stored().map(|(name, stored)| (name.clone(), declare_profile(stored, None))).collect();
    for change in &changeset.changes {
        let from = match change {
            ProfileChange::Rename { from, .. } => Some(from),
            _ => None,
        };
        for name in change.names() {
            profiles.remove(name);
        }
        if let Some(stored) = change.profile() {
            profiles.insert(change.name().clone(), declare_profile(stored, from));
        }
    }
    desired_from_state(state, changeset.settings.clone().unwrap_or_else(|| state.settings.clone()), profiles)
}

/// Returns a state as desired state, for plans that are made without files.
pub fn desired_from_state(
    state: &State,
    settings: Settings,
    profiles: BTreeMap<ProfileName, DesiredProfile>,
) -> Desired {
    Desired {
        labels: Labels::new(),
        environment: state.environment.clone(),
        service_address: None,
        settings,
        settings_place: Place::nowhere(),
        verify: VerifySettings::default(),
        watch: crate::model::WatchSettings::default(),
        environment_places: Places::default(),
        profiles,
        secrets: BTreeMap::new(),
        next: BTreeMap::new(),
    }
}

/// Returns a profile as if a file declared it, without a place.
pub fn declare_profile(stored: &StoredProfile, from: Option<&ProfileName>) -> DesiredProfile {
    DesiredProfile {
        stored: stored.clone(),
        renamed_from: from.cloned(),
        place: Place::nowhere(),
        places: Places::default(),
    }
}

/// Returns the state as if an apply had set all of the live state, so that nothing counts as drift.
#[must_use]
pub fn assume_applied(state: &State) -> State {
    let mut live = state.clone();
    live.applied_settings = Some(live.settings.clone());
    live.profiles = state
        .live_stored()
        .filter_map(|(name, stored)| {
            let changed = state.profiles.get(name)?.changed.clone();
            Some((name.clone(), ProfileState::new(Some(stored.clone()), Some(stored.clone()), changed)))
        })
        .collect();
    live
}
