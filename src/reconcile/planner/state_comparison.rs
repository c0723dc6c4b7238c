//! The comparison of desired, live and last applied state: finds the profiles and settings that differ, and plans the changes
//! that make the live state equal to the desired one.
//!
//! [`StateComparison`] names the cause of each difference: Git if the files changed since the last apply, drift if the service
//! did, or both. A live profile that no file declares is deleted if an apply had set it, a rollback had brought it back, or the
//! environment says `prune: all`, and left alone otherwise. A declared profile that was removed outside Git or by a rollback is
//! created again; a live one that the files newly declare is adopted. A rename that is not possible is a problem, and then
//! nothing of the environment is planned. Nothing here decides if a change is allowed; `planner` puts the results into a plan.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::{
    changes::{
        comparison::{self, FieldDifference},
        fields::{self, Fields, NEXT},
    },
    config::{Desired, DesiredProfile},
    model::{
        ChangeKind, ChangeRecord, Code, Digest, Place, Problem, ProfileChange, ProfileName, ProfileState, State,
        StoredProfile, settings::Prune,
    },
    reconcile::plan::{
        Action, Cause, FieldChange, Hint, PlannedChange, SecretChange, SecretChangeKind, SettingsChange,
    },
};

/// The comparison of desired, live and last applied state.
pub(super) struct StateComparison<'a> {
    pub(super) desired: &'a Desired,
    pub(super) state: &'a State,
}

impl<'a> StateComparison<'a> {
    /// Returns every profile that differs, by name, with the operation that reconciles it.
    pub(super) fn plan_profiles(&self, hints: &mut Vec<Hint>) -> Result<Vec<(PlannedChange, ProfileChange)>, Problem> {
        let renames = self.find_renames(hints)?;
        let renamed: BTreeSet<&ProfileName> = renames.values().copied().collect();
        let names: BTreeSet<&ProfileName> = self.desired.profiles.keys().chain(self.state.profiles.keys()).collect();
        let mut pairs = Vec::new();
        for name in names {
            let wanted = self.desired.profiles.get(name);
            let found = self.state.profiles.get(name);
            let pair = match (wanted, found) {
                (Some(wanted), _) if renames.contains_key(name) => Some(self.plan_rename(renames[name], name, wanted)),
                (Some(wanted), found) => self.plan_declared(name, wanted, found),
                (None, Some(_)) if renamed.contains(name) => None,
                (None, Some(found)) => self.plan_undeclared(name, found),
                (None, None) => None,
            };
            pairs.extend(pair);
        }
        Ok(pairs)
    }

    /// Returns the renames that are not applied yet, old name by new name.
    fn find_renames(&self, hints: &mut Vec<Hint>) -> Result<BTreeMap<&'a ProfileName, &'a ProfileName>, Problem> {
        let is_live = |name: &ProfileName| self.state.profiles.get(name).is_some_and(|state| state.live.is_some());
        let mut renames: BTreeMap<&'a ProfileName, &'a ProfileName> = BTreeMap::new();
        for (name, profile) in &self.desired.profiles {
            let Some(from) = &profile.renamed_from else { continue };
            let refuse = |why: &str| {
                let place = profile.place_of("/renamedFrom");
                let message = format!("{place}: `{name}` cannot be renamed from `{from}`: {why}");
                Err(Problem::new(Code::RenameImpossible, message).remedy(format!(
                    "Remove `renamedFrom`, or first remove one of the two; `mailwright show ENV {from}` shows more."
                )))
            };
            if self.desired.profiles.contains_key(from) {
                return refuse("a file of the old name is still there");
            }
            match (is_live(from), is_live(name)) {
                (true, true) => return refuse("the service has both"),
                (true, false) => {
                    if renames.values().any(|taken| *taken == from) {
                        return refuse("another profile says that it is renamed from the same one");
                    }
                    renames.insert(name, from);
                }
                (false, true) => {
                    hints.push(Hint::RenameDone { name: name.clone(), place: profile.place_of("/renamedFrom") });
                }
                (false, false) => {}
            }
        }
        Ok(renames)
    }

    fn plan_rename(
        &self,
        from: &ProfileName,
        name: &ProfileName,
        wanted: &DesiredProfile,
    ) -> (PlannedChange, ProfileChange) {
        let found = self.state.profiles.get(from);
        let live = found.and_then(|state| state.live.as_ref());
        let (fields, unchanged) = self.compare_fields(wanted, live, found.and_then(ProfileState::applied));
        let cause = fields.iter().map(|field| field.cause).fold(Cause::Git, Cause::and);
        let planned = PlannedChange {
            name: name.clone(),
            action: Action::Rename,
            previous_name: Some(from.clone()),
            cause,
            reason: None,
            place: Some(wanted.place.clone()).filter(Place::is_in_a_file),
            fields,
            unchanged,
        };
        (planned, ProfileChange::Rename { from: from.clone(), name: name.clone(), profile: wanted.stored.clone() })
    }

    fn plan_declared(
        &self,
        name: &ProfileName,
        wanted: &DesiredProfile,
        found: Option<&ProfileState>,
    ) -> Option<(PlannedChange, ProfileChange)> {
        let live = found.and_then(|state| state.live.as_ref());
        let applied = found.and_then(ProfileState::applied);
        let (action, cause, reason) = match (live, applied) {
            (Some(live), Some(applied)) if *live == wanted.stored && *applied == wanted.stored => return None,
            (Some(live), Some(_)) if *live == wanted.stored => {
                let reason = "the same change was made outside Git; from now on it counts as applied";
                (Action::Adopt, Cause::Both, Some(reason.to_owned()))
            }
            (Some(_), Some(_)) => (Action::Update, Cause::Git, None),
            (Some(_), None) if found.is_some_and(ProfileState::is_restored) => {
                let by = found.map(|state| describe_change(&state.changed)).unwrap_or_default();
                let reason = format!("it was brought back {by}; from now on the files declare it again");
                (Action::Adopt, Cause::Both, Some(reason))
            }
            (Some(_), None) => {
                let reason = "it was created outside Git; from now on the files manage it";
                (Action::Adopt, Cause::Git, Some(reason.to_owned()))
            }
            (None, Some(applied)) => {
                let cause = if *applied == wanted.stored { Cause::Drift } else { Cause::Both };
                let by = found.map(|state| describe_change(&state.changed)).unwrap_or_default();
                (Action::Create, cause, Some(format!("it was removed {by}")))
            }
            (None, None) => (Action::Create, Cause::Git, None),
        };
        let (fields, unchanged) = self.compare_fields(wanted, live, applied);
        let cause = match action {
            Action::Update => fields.iter().map(|field| field.cause).reduce(Cause::and).unwrap_or(Cause::Git),
            _ => cause,
        };
        let profile = wanted.stored.clone();
        let planned = PlannedChange {
            name: name.clone(),
            action,
            previous_name: None,
            cause,
            reason,
            place: Some(wanted.place.clone()).filter(Place::is_in_a_file),
            fields,
            unchanged,
        };
        let name = name.clone();
        let change = match action {
            Action::Create => ProfileChange::Create { name, profile },
            // With other contents it changes what is live, and is verified before an apply like every change.
            Action::Adopt if live == Some(&profile) => ProfileChange::Adopt { name, profile },
            _ => ProfileChange::Update { name, profile },
        };
        Some((planned, change))
    }

    /// Plans a live profile that no file declares.
    fn plan_undeclared(&self, name: &ProfileName, found: &ProfileState) -> Option<(PlannedChange, ProfileChange)> {
        let (action, cause, reason) = match (&found.live, found.applied()) {
            (Some(live), Some(applied)) => {
                let cause = if live == applied { Cause::Git } else { Cause::Both };
                (Action::Delete, cause, "because no file declares it any more".to_owned())
            }
            (Some(_), None) if found.is_restored() => {
                let by = describe_change(&found.changed);
                (Action::Delete, Cause::Drift, format!("because no file declares it, and it was brought back {by}"))
            }
            (Some(_), None) if self.desired.settings.policy.prune == Prune::All => (
                Action::Delete,
                Cause::Git,
                "because the environment says `prune: all` and no file declares it".to_owned(),
            ),
            (Some(_), None) => return None,
            (None, _) => {
                let by = describe_change(&found.changed);
                (Action::Forget, Cause::Both, format!("it was removed {by}, and no file declares it any more"))
            }
        };
        let fields = found.live.as_ref().map(fields::profile_fields).unwrap_or_default();
        let planned = PlannedChange {
            name: name.clone(),
            action,
            previous_name: None,
            cause,
            reason: Some(reason),
            place: None,
            fields: fields
                .iter()
                .map(|(path, field)| FieldChange {
                    path: path.clone(),
                    before: field.value.clone(),
                    after: Value::Null,
                    cause,
                    place: None,
                    before_place: None,
                    secret: field.digest.as_ref().map(|digest| SecretChange {
                        kind: if path.ends_with(NEXT) {
                            SecretChangeKind::NextWithdrawn
                        } else {
                            SecretChangeKind::Removed
                        },
                        before: Some(digest.clone()),
                        after: None,
                    }),
                })
                .collect(),
            unchanged: 0,
        };
        let name = name.clone();
        let change = match action {
            Action::Forget => ProfileChange::Forget { name },
            _ => ProfileChange::Delete { name },
        };
        Some((planned, change))
    }

    fn compare_fields(
        &self,
        wanted: &DesiredProfile,
        live: Option<&StoredProfile>,
        applied: Option<&StoredProfile>,
    ) -> (Vec<FieldChange>, usize) {
        let after = fields::profile_fields(&wanted.stored);
        let before = live.map(fields::profile_fields).unwrap_or_default();
        let applied = applied.map(fields::profile_fields);
        let (differences, unchanged) = comparison::compare(&before, &after, &|old, new| self.is_same_value(old, new));
        let changes = differences
            .into_iter()
            .map(|FieldDifference { path, before: old, after: new, secret }| FieldChange {
                cause: field_cause(&path, &after, &before, applied.as_ref()),
                place: after.contains_key(&path).then(|| wanted.place_of(&pointer(&path))).filter(Place::is_in_a_file),
                before_place: None,
                before: old,
                after: new,
                secret,
                path,
            })
            .collect();
        (changes, unchanged)
    }

    /// Returns true if a live age file and the file that replaces it hold the same value; none if one of them has no value id.
    fn is_same_value(&self, live: &Digest, wanted: &Digest) -> Option<bool> {
        let live = self.state.secrets.get(live).and_then(|record| record.value_id.as_ref());
        let file = self.desired.age_files().map(|(_, file)| file).find(|file| file.digest == *wanted);
        Some(live? == file?.value_id.as_ref()?)
    }

    pub(super) fn find_unmanaged(&self, operations: &[ProfileChange]) -> Vec<ProfileName> {
        let touched: BTreeSet<&ProfileName> = operations.iter().flat_map(ProfileChange::names).collect();
        self.state
            .profiles
            .iter()
            .filter(|(name, state)| {
                state.live.is_some()
                    && !state.is_managed()
                    && !touched.contains(name)
                    && !self.desired.profiles.contains_key(*name)
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    pub(super) fn hint_renames(&self, pairs: &[(PlannedChange, ProfileChange)], hints: &mut Vec<Hint>) {
        let mut gone: HashMap<Digest, &ProfileName> = HashMap::new();
        let key = |stored: &StoredProfile| Digest::of_document(stored);
        for (_, change) in pairs {
            if let ProfileChange::Delete { name } = change
                && let Some(live) = self.state.profiles.get(name).and_then(|state| state.live.as_ref())
            {
                gone.insert(key(live), name);
            }
        }
        if gone.is_empty() {
            return;
        }
        for (planned, change) in pairs {
            if let ProfileChange::Create { name, profile } = change
                && let (Some(from), Some(place)) = (gone.remove(&key(profile)), &planned.place)
            {
                hints.push(Hint::ProbablyRename { from: from.clone(), to: name.clone(), file: place.file.clone() });
            }
        }
    }
}

/// Describes the author and the generation of a change that was not an apply.
fn describe_change(record: &ChangeRecord) -> String {
    let how = match record.kind {
        ChangeKind::Rollback => "by a rollback of",
        ChangeKind::Manual | ChangeKind::Apply => "outside Git by",
    };
    format!("{how} `{}` in generation {}", record.by, record.generation)
}

fn pointer(path: &str) -> String {
    format!("/{}", path.replace('.', "/"))
}

/// Returns the cause of a difference between desired and live: Git if the live value is the applied one, drift if the desired
/// value is.
fn field_cause(path: &str, after: &Fields, before: &Fields, applied: Option<&Fields>) -> Cause {
    let Some(applied) = applied else { return Cause::Git };
    if before.get(path) == applied.get(path) {
        Cause::Git
    } else if after.get(path) == applied.get(path) {
        Cause::Drift
    } else {
        Cause::Both
    }
}

/// Returns the change of the settings, if they differ or were never applied.
pub(super) fn plan_settings(states: &StateComparison<'_>) -> Option<SettingsChange> {
    let StateComparison { desired, state } = states;
    // Settings that were never applied are recorded even if they are equal, so that the next plan can compare with them.
    if desired.settings == state.settings && state.applied_settings.as_ref() == Some(&desired.settings) {
        return None;
    }
    let (after, before) = (fields::settings_fields(&desired.settings), fields::settings_fields(&state.settings));
    let applied = state.applied_settings.as_ref().map(fields::settings_fields);
    let (differing, _) = fields::differing_paths(&before, &after);
    let fields: Vec<FieldChange> = differing
        .into_iter()
        .map(|path| FieldChange {
            path: path.to_owned(),
            before: fields::value_at(&before, path),
            after: fields::value_at(&after, path),
            cause: field_cause(path, &after, &before, applied.as_ref()),
            place: None,
            before_place: None,
            secret: comparison::find_secret_change(path, &before, &after, &|old, new| states.is_same_value(old, new)),
        })
        .collect();
    let cause = fields.iter().map(|field| field.cause).reduce(Cause::and).unwrap_or(Cause::Git);
    // The access policy has a file of its own.
    let is_access = !fields.is_empty() && fields.iter().all(|field| field.path.starts_with("access."));
    let policy = is_access.then(|| desired.environment_places.find("/access")).flatten();
    let place = policy.unwrap_or_else(|| desired.settings_place.clone());
    Some(SettingsChange { cause, place, fields })
}
