//! Desired against desired: what a change of files would do to an environment, without any service.
//!
//! What the files said is taken as if it had been applied, so that the plan's own comparison does the work and nothing
//! counts as drift.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{
    PlanError, Request,
    plan::{Cause, FieldChange, Hint, Plan, SettingsChange},
};
use crate::{
    changes::fields,
    config::{Desired, Report, SecretFile},
    model::{
        Applied, ChangeKind, ChangeRecord, Destination, Digest, EnvironmentName, Place, ProfileName, ProfileState,
        SecretRecord, SecretReference, State, VerifySettings,
    },
    reconcile::planner::plan,
};

/// What differs in one environment.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The environment.
    pub environment: EnvironmentName,
    /// What differs.
    #[serde(flatten)]
    pub what: What,
}

/// What differs in an environment.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "status")]
pub enum What {
    /// It is there on both sides, and says something else.
    #[serde(rename_all = "camelCase")]
    Changed {
        /// What an apply of the one side over the other would do.
        plan: Box<Plan>,
    },
    /// It is there on the new side only.
    #[serde(rename_all = "camelCase")]
    Added {
        /// The profiles that it brings.
        profiles: Vec<ProfileName>,
        /// An environment that goes and says the same: its folder was probably renamed.
        #[serde(skip_serializing_if = "Option::is_none")]
        contents_of: Option<EnvironmentName>,
    },
    /// It is there on the old side only.
    #[serde(rename_all = "camelCase")]
    Removed {
        /// The profiles that it had.
        profiles: Vec<ProfileName>,
    },
    /// What one side, or both, says is wrong, so nothing can be compared.
    #[serde(rename_all = "camelCase")]
    Invalid {
        /// What is wrong with the old side.
        #[serde(skip_serializing_if = "Option::is_none")]
        old: Option<Box<Report>>,
        /// What is wrong with the new side.
        #[serde(skip_serializing_if = "Option::is_none")]
        new: Option<Box<Report>>,
        /// What keeps two good sides from being compared.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
}

/// What one side says of an environment: nothing if it is not there.
pub type Said = Option<Result<Desired, Report>>;

/// Compares what two sides say of an environment. Nothing if they say the same.
pub fn compare(environment: &EnvironmentName, old: Said, new: Said) -> Option<Difference> {
    let invalid = |old, new, why| What::Invalid { old, new, why };
    let names = |desired: &Desired| desired.profiles.keys().cloned().collect();
    let what = match (old, new) {
        (None, None) => return None,
        (Some(Err(old)), Some(Err(new))) => invalid(Some(Box::new(old)), Some(Box::new(new)), None),
        (Some(Err(old)), _) => invalid(Some(Box::new(old)), None, None),
        (_, Some(Err(new))) => invalid(None, Some(Box::new(new)), None),
        (None, Some(Ok(new))) => What::Added { profiles: names(&new), contents_of: None },
        (Some(Ok(old)), None) => What::Removed { profiles: names(&old) },
        (Some(Ok(old)), Some(Ok(new))) => match both(&old, &new) {
            Ok(plan) if plan.is_empty() => return None,
            Ok(plan) => What::Changed { plan: Box::new(plan) },
            Err(error) => invalid(None, None, Some(error.to_string())),
        },
    };
    Some(Difference { environment: environment.clone(), what })
}

/// Whether two sides say the same, so that no plan can differ.
pub fn is_same(old: &Desired, new: &Desired) -> bool {
    let same_profiles = old.profiles.len() == new.profiles.len()
        && old.profiles.iter().zip(&new.profiles).all(|((name, one), (other_name, other))| {
            name == other_name && one.stored == other.stored && one.renamed_from == other.renamed_from
        });
    same_profiles && old.settings == new.settings && of_files(old) == of_files(new)
}

/// A digest of all that an environment says, its name apart: equal ones were probably renamed.
pub fn contents(desired: &Desired) -> Digest {
    let profiles: Vec<_> = desired.profiles.iter().map(|(name, profile)| (name, &profile.stored.profile)).collect();
    Digest::of_document(&(profiles, &desired.settings))
}

fn both(old: &Desired, new: &Desired) -> Result<Plan, PlanError> {
    let state = as_applied(old);
    let mut plan = plan(&Request::new(new, &state, ""))?.plan;
    plan.verified.clear();
    plan.policy.clear();
    // Whether a rename has done its work only a service can tell.
    plan.hints.retain(|hint| matches!(hint, Hint::ProbablyRename { .. }));
    add_what_only_files_say(&mut plan, old, new);
    add_places(&mut plan, old, new);
    Ok(plan)
}

/// The state of a service that was applied to from these files, and that nobody touched since.
fn as_applied(desired: &Desired) -> State {
    let record =
        ChangeRecord { generation: 0, at: jiff::Timestamp::UNIX_EPOCH, by: String::new(), kind: ChangeKind::Apply };
    let mut state = State::empty(desired.environment.clone());
    state.settings = desired.settings.clone();
    state.applied_settings = Some(desired.settings.clone());
    let known = |reference: &SecretReference, digest: &Digest, destination: Destination| {
        let file = desired.secrets.get(reference);
        SecretRecord {
            digest: digest.clone(),
            value_id: file.map(SecretFile::bound_id),
            sealed_for: file.and_then(|file| file.sealed_for.clone()),
            destination,
        }
    };
    if let Some(reader) = &desired.settings.reader
        && let Some((reference, digest)) = reader.age_file()
    {
        state.secrets.insert(digest.clone(), known(reference, digest, reader.application.destination()));
    }
    for (name, profile) in &desired.profiles {
        let stored = profile.stored.clone();
        for (reference, digest) in &stored.secrets {
            let record = known(reference, digest, stored.profile.provider.destination());
            state.secrets.entry(digest.clone()).or_insert(record);
        }
        let changed = record.clone();
        let stored = ProfileState { live: Some(stored), applied: Applied::Same, changed };
        state.profiles.insert(name.clone(), stored);
    }
    state
}

/// What an environment says and no service holds: its address, and how verify judges.
fn of_files(desired: &Desired) -> fields::Fields {
    fields::of(&serde_json::json!({
        "service": { "address": desired.service_address },
        "labels": desired.labels,
        // The reader is among the settings.
        "verify": VerifySettings { reader: None, ..desired.verify.clone() },
    }))
}

fn add_what_only_files_say(plan: &mut Plan, old: &Desired, new: &Desired) {
    let (before, after) = (of_files(old), of_files(new));
    let (differing, _) = fields::differing(&before, &after);
    if differing.is_empty() {
        return;
    }
    let settings = plan.settings.get_or_insert_with(|| {
        plan.summary.change += 1;
        SettingsChange { cause: Cause::Git, place: new.settings_place.clone(), fields: Vec::new() }
    });
    settings.fields.extend(differing.into_iter().map(|path| FieldChange {
        path: path.to_owned(),
        before: fields::value(&before, path),
        after: fields::value(&after, path),
        cause: Cause::Git,
        place: None,
        before_place: None,
        secret: None,
    }));
    settings.fields.sort_by(|one, other| one.path.cmp(&other.path));
}

/// Where each side says it.
fn add_places(plan: &mut Plan, old: &Desired, new: &Desired) {
    let pointer = |path: &str| format!("/{}", path.replace('.', "/"));
    for field in plan.settings.iter_mut().flat_map(|settings| &mut settings.fields) {
        let of = |side: &Desired, value: &Value| {
            let place = side.environment_places.of(&pointer(&field.path));
            place.filter(|place| !value.is_null() && place.is_in_a_file())
        };
        (field.before_place, field.place) = (of(old, &field.before), of(new, &field.after));
    }
    for change in &mut plan.changes {
        let Some(before) = old.profiles.get(change.previous_name.as_ref().unwrap_or(&change.name)) else { continue };
        for field in &mut change.fields {
            let place = Some(before.place_of(&pointer(&field.path))).filter(Place::is_in_a_file);
            field.before_place = place.filter(|_| !field.before.is_null());
        }
        if change.place.is_none() {
            change.place = Some(before.place.clone()).filter(Place::is_in_a_file);
        }
    }
}

/// Says of environments that come which one that goes had the same contents.
pub fn note_renames(
    differences: &mut [Difference],
    gone: &BTreeMap<Digest, EnvironmentName>,
    come: &BTreeMap<EnvironmentName, Digest>,
) {
    let mut taken = BTreeSet::new();
    for difference in differences {
        if let What::Added { contents_of, .. } = &mut difference.what
            && let Some(from) = come.get(&difference.environment).and_then(|digest| gone.get(digest))
            && taken.insert(from.clone())
        {
            *contents_of = Some(from.clone());
        }
    }
}
