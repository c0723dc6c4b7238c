//! File diff: the effect of a change of files on an environment, without a service.
//!
//! The older revision is treated as applied, so that the planner compares the two and nothing counts as drift. An environment that
//! is invalid in one revision is not compared; the result has its problems. An environment with equal contents under a new name is
//! marked as a probable rename.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{
    PlanRequest,
    plan::{Cause, FieldChange, Hint, Plan, SettingsChange},
};
use crate::{
    changes::fields,
    config::{Desired, Report, SecretFile},
    model::{
        Applied, ChangeKind, ChangeRecord, Destination, Digest, EnvironmentName, Place, Problem, ProfileName,
        ProfileState, SecretRecord, SecretReference, State, VerifySettings,
    },
    reconcile::planner::plan,
};

/// The difference in one environment.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The environment.
    pub environment: EnvironmentName,
    /// The kind of difference.
    #[serde(flatten)]
    pub kind: DiffKind,
}

/// A kind of difference.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "status")]
pub enum DiffKind {
    /// The environment exists in both revisions, with different contents.
    #[serde(rename_all = "camelCase")]
    Changed {
        /// The plan that leads from the older revision to the newer one.
        plan: Box<Plan>,
    },
    /// The environment exists in the newer revision only.
    #[serde(rename_all = "camelCase")]
    Added {
        /// The profiles of the environment.
        profiles: Vec<ProfileName>,
        /// A removed environment with the same contents: its folder was probably renamed.
        #[serde(skip_serializing_if = "Option::is_none")]
        contents_of: Option<EnvironmentName>,
    },
    /// The environment exists in the older revision only.
    #[serde(rename_all = "camelCase")]
    Removed {
        /// The profiles of the environment.
        profiles: Vec<ProfileName>,
    },
    /// One or both revisions are invalid, or cannot be compared.
    #[serde(rename_all = "camelCase")]
    Invalid {
        /// The problems of the older revision.
        #[serde(skip_serializing_if = "Option::is_none")]
        old: Option<Box<Report>>,
        /// The problems of the newer revision.
        #[serde(skip_serializing_if = "Option::is_none")]
        new: Option<Box<Report>>,
        /// The reason why two valid revisions cannot be compared.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
}

/// An environment in one revision: none if it does not exist there.
pub type LoadedSide = Option<Result<Desired, Report>>;

/// Compares an environment in two revisions. None if there is no difference.
pub fn compare_environment(environment: &EnvironmentName, old: LoadedSide, new: LoadedSide) -> Option<Difference> {
    let invalid = |old, new, why| DiffKind::Invalid { old, new, why };
    let names = |desired: &Desired| desired.profiles.keys().cloned().collect();
    let kind = match (old, new) {
        (None, None) => return None,
        (Some(Err(old)), Some(Err(new))) => invalid(Some(Box::new(old)), Some(Box::new(new)), None),
        (Some(Err(old)), _) => invalid(Some(Box::new(old)), None, None),
        (_, Some(Err(new))) => invalid(None, Some(Box::new(new)), None),
        (None, Some(Ok(new))) => DiffKind::Added { profiles: names(&new), contents_of: None },
        (Some(Ok(old)), None) => DiffKind::Removed { profiles: names(&old) },
        (Some(Ok(old)), Some(Ok(new))) => match plan_difference(&old, &new) {
            Ok(plan) if plan.is_empty() => return None,
            Ok(plan) => DiffKind::Changed { plan: Box::new(plan) },
            Err(error) => invalid(None, None, Some(error.to_string())),
        },
    };
    Some(Difference { environment: environment.clone(), kind })
}

/// Returns true if two revisions have the same contents, so that plans from both are equal.
pub fn is_same(old: &Desired, new: &Desired) -> bool {
    let same_profiles = old.profiles.len() == new.profiles.len()
        && old.profiles.iter().zip(&new.profiles).all(|((name, one), (other_name, other))| {
            name == other_name && one.stored == other.stored && one.renamed_from == other.renamed_from
        });
    same_profiles && old.settings == new.settings && file_only_fields(old) == file_only_fields(new)
}

/// Computes the digest of an environment's contents without its name. An equal digest suggests a rename.
pub fn contents_digest(desired: &Desired) -> Digest {
    let profiles: Vec<_> = desired.profiles.iter().map(|(name, profile)| (name, &profile.stored.profile)).collect();
    Digest::of_document(&(profiles, &desired.settings))
}

fn plan_difference(old: &Desired, new: &Desired) -> Result<Plan, Problem> {
    let state = as_applied(old);
    let mut plan = plan(&PlanRequest::new(new, &state, ""))?.plan;
    plan.verified.clear();
    plan.policy.clear();
    // Only a service knows whether a rename was applied.
    plan.hints.retain(|hint| matches!(hint, Hint::ProbablyRename { .. }));
    add_file_only_fields(&mut plan, old, new);
    add_places(&mut plan, old, new);
    Ok(plan)
}

/// Returns the state of a service to which these files were applied and that was not changed since.
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

/// Returns the fields that no service stores: address, labels, settings of verify.
fn file_only_fields(desired: &Desired) -> fields::Fields {
    fields::document_fields(&serde_json::json!({
        "service": { "address": desired.service_address },
        "labels": desired.labels,
        // The reader is among the settings.
        "verify": VerifySettings { reader: None, ..desired.verify.clone() },
    }))
}

fn add_file_only_fields(plan: &mut Plan, old: &Desired, new: &Desired) {
    let (before, after) = (file_only_fields(old), file_only_fields(new));
    let (differing, _) = fields::differing_paths(&before, &after);
    if differing.is_empty() {
        return;
    }
    let settings = plan.settings.get_or_insert_with(|| {
        plan.summary.change += 1;
        SettingsChange { cause: Cause::Git, place: new.settings_place.clone(), fields: Vec::new() }
    });
    settings.fields.extend(differing.into_iter().map(|path| FieldChange {
        path: path.to_owned(),
        before: fields::value_at(&before, path),
        after: fields::value_at(&after, path),
        cause: Cause::Git,
        place: None,
        before_place: None,
        secret: None,
    }));
    settings.fields.sort_by(|one, other| one.path.cmp(&other.path));
}

/// Adds the places in both revisions.
fn add_places(plan: &mut Plan, old: &Desired, new: &Desired) {
    let pointer = |path: &str| format!("/{}", path.replace('.', "/"));
    for field in plan.settings.iter_mut().flat_map(|settings| &mut settings.fields) {
        let of = |side: &Desired, value: &Value| {
            let place = side.environment_places.find(&pointer(&field.path));
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

/// Marks added environments that have the contents of a removed one.
pub fn mark_renames(
    differences: &mut [Difference],
    gone: &BTreeMap<Digest, EnvironmentName>,
    come: &BTreeMap<EnvironmentName, Digest>,
) {
    let mut taken = BTreeSet::new();
    for difference in differences {
        if let DiffKind::Added { contents_of, .. } = &mut difference.kind
            && let Some(from) = come.get(&difference.environment).and_then(|digest| gone.get(digest))
            && taken.insert(from.clone())
        {
            *contents_of = Some(from.clone());
        }
    }
}
