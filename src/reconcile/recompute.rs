//! A saved plan computed anew from its changeset, so that nobody signs something else than what is shown.
//!
//! The digest of a plan file tells of damage, not of malice: whoever writes the file can write a plan that shows one
//! thing and a changeset that does another. What is signed is the changeset, so its effect on the live state must be
//! what the plan shows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    PlanError, Request,
    plan::{Action, FieldChange, Plan, PlannedChange},
    saved::SavedPlan,
};
use crate::{
    config::{Desired, DesiredProfile, Labels, Places},
    model::{
        Changeset, Digest, Place, ProfileChange, ProfileName, ProfileState, Settings, State, StoredProfile,
        VerifySettings,
    },
};

/// Whether the plan shows what its changeset does to `state`, which is at its base, and says rightly what it needs.
pub fn is_true(saved: &SavedPlan, state: &State) -> Result<bool, PlanError> {
    let mut live = state.clone();
    if saved.rollback.is_some() {
        live = as_applied(state);
    }
    let desired = desired(&saved.changeset, &live);
    let anew = super::plan(&Request {
        allowances: saved.changeset.allowances.clone(),
        ..Request::new(&desired, &live, &saved.plan.service)
    })?;
    let touched: BTreeSet<&ProfileName> = saved.changeset.changes.iter().map(ProfileChange::name).collect();
    let changes = |plan: &Plan| -> Vec<(ProfileName, Action, Option<ProfileName>, Vec<Shown>)> {
        let told = |change: &PlannedChange| {
            (change.name.clone(), change.action, change.previous_name.clone(), fields(&change.fields))
        };
        plan.changes.iter().filter(|change| touched.contains(&change.name)).map(told).collect()
    };
    let settings = |plan: &Plan| plan.settings.as_ref().map(|settings| fields(&settings.fields)).unwrap_or_default();
    let needs = |plan: &Plan| plan.approvals.as_ref().map(|approvals| approvals.needs.clone()).unwrap_or_default();
    Ok(saved.plan.changes.len() == touched.len()
        && changes(&saved.plan) == changes(&anew.plan)
        && settings(&saved.plan) == settings(&anew.plan)
        && saved.plan.senders == anew.plan.senders
        && needs(&saved.plan) == needs(&anew.plan))
}

/// A field's change as far as it is shown: path, before, after, and the digests of a secret.
type Shown = (String, Value, Value, Option<Digest>, Option<Digest>);

fn fields(changes: &[FieldChange]) -> Vec<Shown> {
    let shown = |field: &FieldChange| {
        let digest =
            |of: fn(&super::plan::SecretChange) -> &Option<Digest>| field.secret.as_ref().and_then(|s| of(s).clone());
        let (before, after) = (digest(|secret| &secret.before), digest(|secret| &secret.after));
        (field.path.clone(), field.before.clone(), field.after.clone(), before, after)
    };
    changes.iter().map(shown).collect()
}

/// What the files would have to say for the changeset to come about.
fn desired(changeset: &Changeset, state: &State) -> Desired {
    let mut profiles: BTreeMap<ProfileName, DesiredProfile> =
        state.live_stored().map(|(name, stored)| (name.clone(), declared(stored, None))).collect();
    for change in &changeset.changes {
        let from = match change {
            ProfileChange::Rename { from, .. } => Some(from),
            _ => None,
        };
        for name in change.names() {
            profiles.remove(name);
        }
        if let Some(stored) = change.profile() {
            profiles.insert(change.name().clone(), declared(stored, from));
        }
    }
    nowhere(state, changeset.settings.clone().unwrap_or_else(|| state.settings.clone()), profiles)
}

/// A state as what the files say, for plans that are made without files.
pub fn nowhere(state: &State, settings: Settings, profiles: BTreeMap<ProfileName, DesiredProfile>) -> Desired {
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

/// A profile as a file would declare it, without a place.
pub fn declared(stored: &StoredProfile, from: Option<&ProfileName>) -> DesiredProfile {
    DesiredProfile {
        stored: stored.clone(),
        renamed_from: from.cloned(),
        place: Place::nowhere(),
        places: Places::default(),
    }
}

/// The state as if an apply had left all that is live: nothing counts as drift then.
#[must_use]
pub fn as_applied(state: &State) -> State {
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
