//! Three states to a plan: desired, live, last applied, compared field by field. Pure; the order of the result
//! depends on names alone.
//!
//! The cost is one comparison a profile; fields are taken apart only where two profiles differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use uuid::Uuid;

use super::plan::{
    Action, Cause, FORMAT_VERSION, FieldChange, Hint, Plan, PlanApprovals, PlannedChange, SecretChange,
    SecretChangeKind, SettingsChange, Summary, VerifiedBefore,
};
use crate::{
    changes::{
        drift::{self},
        fields::{self, Fields, NEXT},
        guards,
    },
    config::{Desired, DesiredProfile, suggest},
    model::{
        Allowances, ChangeKind, ChangeRecord, Changeset, Code, Digest, LastVerified, Place, ProfileChange, ProfileName,
        ProfileState, Provenance, State, StoredProfile,
        approvals::{self, SignedAction},
        settings::Prune,
    },
    reconcile::{routing_changes, secret_destinations},
};

/// What a plan is made of.
pub struct Request<'a> {
    /// What the files say.
    pub desired: &'a Desired,
    /// What the service holds, and what the last apply left there.
    pub state: &'a State,
    /// The service's address, for the document.
    pub service: &'a str,
    /// Where the files come from.
    pub source: Provenance,
    /// Limits the plan to these profiles; empty means everything.
    pub only: &'a [ProfileName],
    /// Whether a plan that is limited brings the environment's settings all the same.
    pub with_settings: bool,
    /// Guards that are lifted.
    pub allowances: Allowances,
    /// What the verifier last said of profiles.
    pub verified: &'a BTreeMap<ProfileName, LastVerified>,
}

impl<'a> Request<'a> {
    /// Everything that the files say, from nowhere in particular, with every guard in place and nothing known of the
    /// verifier.
    pub fn new(desired: &'a Desired, state: &'a State, service: &'a str) -> Self {
        static NEVER_VERIFIED: BTreeMap<ProfileName, LastVerified> = BTreeMap::new();
        Self {
            desired,
            state,
            service,
            source: Provenance::default(),
            only: &[],
            with_settings: false,
            allowances: Allowances::default(),
            verified: &NEVER_VERIFIED,
        }
    }
}

/// A plan, and the changeset that carries it out. The age files are not in it yet.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The changeset.
    pub changeset: Changeset,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The service belongs to another environment.
    #[error("the service at {service} belongs to environment `{theirs}`, not `{ours}`")]
    WrongEnvironment {
        /// The service's address.
        service: String,
        /// The environment of the files.
        ours: String,
        /// The environment of the service.
        theirs: String,
    },
    /// `--only` names a profile that nobody knows.
    #[error("no profile `{name}` in the files or in the service")]
    UnknownProfile {
        /// The name.
        name: String,
        /// A near one.
        meant: Option<String>,
    },
    /// A rename that cannot be.
    #[error("{place}: `{name}` cannot be renamed from `{from}`: {why}")]
    Rename {
        /// The new name.
        name: ProfileName,
        /// The old name.
        from: ProfileName,
        /// Where the file says so.
        place: String,
        /// Why not.
        why: &'static str,
    },
    /// The changes do not fit the state that they were computed from: a bug, told plainly.
    #[error("the plan does not fit the state it was made from: {0}")]
    Inconsistent(String),
}

impl PlanError {
    /// The code that `explain` knows.
    pub fn code(&self) -> Code {
        match self {
            PlanError::WrongEnvironment { .. } => Code::WrongEnvironment,
            PlanError::UnknownProfile { .. } => Code::NotFound,
            PlanError::Rename { .. } => Code::RenameImpossible,
            PlanError::Inconsistent(_) => Code::Internal,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            PlanError::WrongEnvironment { theirs, .. } => {
                format!("Correct the address, or plan `{theirs}`. A service serves one environment.")
            }
            PlanError::UnknownProfile { meant: Some(meant), .. } => format!("Did you mean `{meant}`?"),
            PlanError::UnknownProfile { meant: None, .. } => "`mailwright status` lists the live ones.".to_owned(),
            PlanError::Rename { from, .. } => {
                format!(
                    "Remove `renamedFrom`, or first remove one of the two; `mailwright show ENV {from}` tells more."
                )
            }
            PlanError::Inconsistent(_) => "Nothing was changed. Please report this.".to_owned(),
        }
    }
}

/// Computes the plan.
pub fn plan(request: &Request<'_>) -> Result<Planned, PlanError> {
    let Request { desired, state, service, source, only, with_settings, allowances, verified } = request;
    if state.environment != desired.environment {
        return Err(PlanError::WrongEnvironment {
            service: (*service).to_owned(),
            ours: desired.environment.to_string(),
            theirs: state.environment.to_string(),
        });
    }
    check_only(desired, state, only)?;
    let comparison = Comparison { desired, state };
    let mut hints = Vec::new();
    let mut pairs = comparison.profiles(&mut hints)?;
    if !only.is_empty() {
        pairs.retain(|(planned, change)| {
            only.contains(&planned.name) || change.names().any(|touched| only.contains(touched))
        });
    }
    comparison.suggest_renames(&pairs, &mut hints);
    let settings = if only.is_empty() || *with_settings { settings_change(&comparison) } else { None };
    let (changes, operations): (Vec<PlannedChange>, Vec<ProfileChange>) = pairs.into_iter().unzip();

    let after = after(state, settings.is_some().then_some(&desired.settings), &operations)?;
    let provenance = Provenance { mailwright: Some(env!("CARGO_PKG_VERSION").to_owned()), ..source.clone() };
    let brought = settings.is_some().then_some(&desired.settings);
    let is_nothing = changes.is_empty() && settings.is_none();
    let needs = approvals::needs(state, &after, &operations);
    let plan = Plan {
        approvals: (!needs.is_empty()).then(|| PlanApprovals {
            digest: approvals::digest(
                &state.environment,
                state.generation,
                SignedAction::Apply,
                settings.is_some().then_some(&desired.settings),
                &operations,
            ),
            needs,
        }),
        format_version: FORMAT_VERSION,
        mailwright: env!("CARGO_PKG_VERSION").to_owned(),
        environment: desired.environment.clone(),
        service: (*service).to_owned(),
        base: state.generation,
        source: source.clone(),
        only: only.to_vec(),
        drift: drift::drift(state),
        summary: summary(&changes, settings.as_ref().is_some_and(|settings| !settings.fields.is_empty())),
        unmanaged: comparison.unmanaged(&operations),
        senders: routing_changes::changes(state, &after, &operations),
        redirected: secret_destinations::secrets(desired, state, brought, &operations),
        guards: guards::check(state, &after, &operations, allowances),
        policy: if is_nothing { Vec::new() } else { guards::source(&state.settings, brought, &provenance) },
        verified: last_verified(&operations, verified),
        hints,
        moved: None,
        settings,
        changes,
    };
    let mut changeset = Changeset {
        id: Uuid::nil(),
        environment: desired.environment.clone(),
        base: state.generation,
        settings: plan.settings.is_some().then(|| desired.settings.clone()),
        changes: operations,
        secrets: BTreeMap::new(),
        allowances: allowances.clone(),
        approvals: Vec::new(),
        provenance: Provenance { plan: Some(plan.digest()), ..provenance },
    };
    changeset.id = content_id(&changeset);
    Ok(Planned { plan, changeset })
}

/// An id that follows from what the changeset does: whoever computes the same plan from the same generation
/// again sends the same id, so a killed job that is run again cannot apply twice.
fn content_id(changeset: &Changeset) -> Uuid {
    let digest = Digest::of_document(changeset);
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let pair = digest.as_str().get(7 + 2 * index..9 + 2 * index).unwrap_or("00");
        *byte = u8::from_str_radix(pair, 16).unwrap_or(0);
    }
    Uuid::new_v8(bytes)
}

fn check_only(desired: &Desired, state: &State, only: &[ProfileName]) -> Result<(), PlanError> {
    for name in only {
        if !desired.profiles.contains_key(name) && !state.profiles.contains_key(name) {
            let known = desired.profiles.keys().chain(state.profiles.keys()).map(ProfileName::as_str);
            let meant = suggest::nearest(name.as_str(), known).map(str::to_owned);
            return Err(PlanError::UnknownProfile { name: name.to_string(), meant });
        }
    }
    Ok(())
}

fn after(
    state: &State,
    settings: Option<&crate::model::Settings>,
    operations: &[ProfileChange],
) -> Result<State, PlanError> {
    let mut after = state.clone();
    let record = ChangeRecord {
        generation: state.generation + 1,
        at: jiff::Timestamp::UNIX_EPOCH,
        by: String::new(),
        kind: ChangeKind::Apply,
    };
    after.change(settings, operations, &record).map_err(|conflict| PlanError::Inconsistent(conflict.to_string()))?;
    Ok(after)
}

/// Desired against live and last applied.
struct Comparison<'a> {
    desired: &'a Desired,
    state: &'a State,
}

impl<'a> Comparison<'a> {
    /// Every profile that differs, by name, with the operation that mends it.
    fn profiles(&self, hints: &mut Vec<Hint>) -> Result<Vec<(PlannedChange, ProfileChange)>, PlanError> {
        let renames = self.renames(hints)?;
        let renamed: BTreeSet<&ProfileName> = renames.values().copied().collect();
        let names: BTreeSet<&ProfileName> = self.desired.profiles.keys().chain(self.state.profiles.keys()).collect();
        let mut pairs = Vec::new();
        for name in names {
            let wanted = self.desired.profiles.get(name);
            let found = self.state.profiles.get(name);
            let pair = match (wanted, found) {
                (Some(wanted), _) if renames.contains_key(name) => Some(self.rename(renames[name], name, wanted)),
                (Some(wanted), found) => self.keep(name, wanted, found),
                (None, Some(_)) if renamed.contains(name) => None,
                (None, Some(found)) => self.drop(name, found),
                (None, None) => None,
            };
            pairs.extend(pair);
        }
        Ok(pairs)
    }

    /// New name to old name, for the renames that are still to be made.
    fn renames(&self, hints: &mut Vec<Hint>) -> Result<BTreeMap<&'a ProfileName, &'a ProfileName>, PlanError> {
        let is_live = |name: &ProfileName| self.state.profiles.get(name).is_some_and(|state| state.live.is_some());
        let mut renames: BTreeMap<&'a ProfileName, &'a ProfileName> = BTreeMap::new();
        for (name, profile) in &self.desired.profiles {
            let Some(from) = &profile.renamed_from else { continue };
            let refuse = |why| {
                let place = profile.place_of("/renamedFrom").to_string();
                Err(PlanError::Rename { name: name.clone(), from: from.clone(), place, why })
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

    fn rename(
        &self,
        from: &ProfileName,
        name: &ProfileName,
        wanted: &DesiredProfile,
    ) -> (PlannedChange, ProfileChange) {
        let found = self.state.profiles.get(from);
        let live = found.and_then(|state| state.live.as_ref());
        let (fields, unchanged) = self.field_changes(wanted, live, found.and_then(ProfileState::applied));
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

    fn keep(
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
                let reason = "somebody made the same change outside Git; from now on it counts as applied";
                (Action::Adopt, Cause::Both, Some(reason.to_owned()))
            }
            (Some(_), Some(_)) => (Action::Update, Cause::Git, None),
            (Some(_), None) if found.is_some_and(ProfileState::is_restored) => {
                let by = found.map(|state| outside_git(&state.changed)).unwrap_or_default();
                let reason = format!("it was brought back {by}; from now on the files declare it again");
                (Action::Adopt, Cause::Both, Some(reason))
            }
            (Some(_), None) => {
                let reason = "it was made outside Git; from now on it is in Git's care";
                (Action::Adopt, Cause::Git, Some(reason.to_owned()))
            }
            (None, Some(applied)) => {
                let cause = if *applied == wanted.stored { Cause::Drift } else { Cause::Both };
                let by = found.map(|state| outside_git(&state.changed)).unwrap_or_default();
                (Action::Create, cause, Some(format!("it was removed {by}")))
            }
            (None, None) => (Action::Create, Cause::Git, None),
        };
        let (fields, unchanged) = self.field_changes(wanted, live, applied);
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
            Action::Adopt => ProfileChange::Adopt { name, profile },
            _ => ProfileChange::Update { name, profile },
        };
        Some((planned, change))
    }

    /// A profile that no file declares.
    fn drop(&self, name: &ProfileName, found: &ProfileState) -> Option<(PlannedChange, ProfileChange)> {
        let (action, cause, reason) = match (&found.live, found.applied()) {
            (Some(live), Some(applied)) => {
                let cause = if live == applied { Cause::Git } else { Cause::Both };
                (Action::Delete, cause, "because no file declares it any more".to_owned())
            }
            (Some(_), None) if found.is_restored() => {
                let by = outside_git(&found.changed);
                (Action::Delete, Cause::Drift, format!("because no file declares it, and it was brought back {by}"))
            }
            (Some(_), None) if self.desired.settings.policy.prune == Prune::All => (
                Action::Delete,
                Cause::Git,
                "because the environment says `prune: all` and no file declares it".to_owned(),
            ),
            (Some(_), None) => return None,
            (None, _) => {
                let by = outside_git(&found.changed);
                (Action::Forget, Cause::Both, format!("it was removed {by}, and no file declares it any more"))
            }
        };
        let fields = found.live.as_ref().map(fields::of_profile).unwrap_or_default();
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

    fn field_changes(
        &self,
        wanted: &DesiredProfile,
        live: Option<&StoredProfile>,
        applied: Option<&StoredProfile>,
    ) -> (Vec<FieldChange>, usize) {
        let after = fields::of_profile(&wanted.stored);
        let before = live.map(fields::of_profile).unwrap_or_default();
        let applied = applied.map(fields::of_profile);
        let (differing, unchanged) = fields::differing(&before, &after);
        // That the next value goes is the other half of a rotation that is finished, and needs no line of its own.
        let is_half = |path: &&str| path.strip_suffix(NEXT).is_some_and(|own| self.is_finished(own, &before, &after));
        let changes = differing
            .into_iter()
            .filter(|path| !is_half(path))
            .map(|path| FieldChange {
                path: path.to_owned(),
                before: fields::value(&before, path),
                after: fields::value(&after, path),
                cause: field_cause(path, &after, &before, applied.as_ref()),
                place: after.contains_key(path).then(|| wanted.place_of(&pointer(path))).filter(Place::is_in_a_file),
                before_place: None,
                secret: self.secret_change(path, &before, &after),
            })
            .collect();
        (changes, unchanged)
    }

    fn secret_change(&self, path: &str, before: &Fields, after: &Fields) -> Option<SecretChange> {
        let digest = |fields: &Fields| fields.get(path).and_then(|field| field.digest.clone());
        let (old, new) = (digest(before), digest(after));
        let kind = match (path.strip_suffix(NEXT), &old, &new) {
            (_, None, None) => return None,
            (Some(_), None, Some(_)) => SecretChangeKind::NextStaged,
            (Some(_), Some(_), None) => SecretChangeKind::NextWithdrawn,
            (Some(_), Some(old), Some(new)) if self.is_resealed(old, new) => SecretChangeKind::NextResealed,
            (Some(_), Some(_), Some(_)) => SecretChangeKind::NextReplaced,
            (None, None, Some(_)) => SecretChangeKind::New,
            (None, Some(_), None) => SecretChangeKind::Removed,
            (None, Some(old), Some(new)) if old == new => SecretChangeKind::Renamed,
            (None, Some(_), Some(_)) if self.is_finished(path, before, after) => SecretChangeKind::RotationFinished,
            (None, Some(old), Some(new)) => match self.value_ids(old, new) {
                (Some(old), Some(new)) if old == new => SecretChangeKind::Resealed,
                (Some(_), Some(_)) => SecretChangeKind::Rotated,
                _ => SecretChangeKind::FileChanged,
            },
        };
        Some(SecretChange { kind, before: old, after: new })
    }

    /// The ids of the values of a live age file and of one in the files.
    fn value_ids(&self, live: &Digest, wanted: &Digest) -> (Option<&String>, Option<&String>) {
        let live = self.state.secrets.get(live).and_then(|record| record.value_id.as_ref());
        let file = self.desired.age_files().map(|(_, file)| file).find(|file| file.digest == *wanted);
        (live, file.and_then(|file| file.value_id.as_ref()))
    }

    fn is_resealed(&self, live: &Digest, wanted: &Digest) -> bool {
        matches!(self.value_ids(live, wanted), (Some(live), Some(wanted)) if live == wanted)
    }

    /// Whether what was the next value of the secret at a path is the current one now, sealed anew or not.
    fn is_finished(&self, path: &str, before: &Fields, after: &Fields) -> bool {
        let next = format!("{path}{NEXT}");
        let staged = before.get(&next).and_then(|field| field.digest.as_ref());
        let current = after.get(path).and_then(|field| field.digest.as_ref());
        let (Some(staged), Some(current)) = (staged, current) else { return false };
        !after.contains_key(&next) && (staged == current || self.is_resealed(staged, current))
    }

    fn unmanaged(&self, operations: &[ProfileChange]) -> Vec<ProfileName> {
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

    fn suggest_renames(&self, pairs: &[(PlannedChange, ProfileChange)], hints: &mut Vec<Hint>) {
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

/// Who did something that no apply did, and in which generation.
fn outside_git(record: &ChangeRecord) -> String {
    let how = match record.kind {
        ChangeKind::Rollback => "by a rollback of",
        ChangeKind::Manual | ChangeKind::Apply => "outside Git by",
    };
    format!("{how} `{}` in generation {}", record.by, record.generation)
}

fn pointer(path: &str) -> String {
    format!("/{}", path.replace('.', "/"))
}

/// A difference between desired and live comes from Git if live is what was applied, from drift if desired is.
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

fn settings_change(comparison: &Comparison<'_>) -> Option<SettingsChange> {
    let Comparison { desired, state } = comparison;
    // Never applied, and nothing to say: still worth an apply, so that the next one has something to compare with.
    if desired.settings == state.settings && state.applied_settings.as_ref() == Some(&desired.settings) {
        return None;
    }
    let (after, before) = (fields::of_settings(&desired.settings), fields::of_settings(&state.settings));
    let applied = state.applied_settings.as_ref().map(fields::of_settings);
    let (differing, _) = fields::differing(&before, &after);
    let fields: Vec<FieldChange> = differing
        .into_iter()
        .map(|path| FieldChange {
            path: path.to_owned(),
            before: fields::value(&before, path),
            after: fields::value(&after, path),
            cause: field_cause(path, &after, &before, applied.as_ref()),
            place: None,
            before_place: None,
            secret: comparison.secret_change(path, &before, &after),
        })
        .collect();
    let cause = fields.iter().map(|field| field.cause).reduce(Cause::and).unwrap_or(Cause::Git);
    Some(SettingsChange { cause, place: desired.settings_place.clone(), fields })
}

fn summary(changes: &[PlannedChange], settings: bool) -> Summary {
    let mut summary = Summary { change: usize::from(settings), ..Summary::default() };
    for change in changes {
        match change.action {
            Action::Create => summary.add += 1,
            Action::Update => summary.change += 1,
            Action::Rename => summary.rename += 1,
            Action::Adopt => summary.adopt += 1,
            Action::Delete => summary.destroy += 1,
            Action::Forget => summary.forget += 1,
        }
    }
    summary
}

/// What the verifier last said of the profiles that the plan sets.
fn last_verified(operations: &[ProfileChange], known: &BTreeMap<ProfileName, LastVerified>) -> Vec<VerifiedBefore> {
    let set = operations.iter().filter_map(|change| Some((change.name(), change.profile()?)));
    set.filter(|(_, stored)| stored.profile.enabled)
        .map(|(name, stored)| {
            let last = known.get(name);
            VerifiedBefore {
                profile: name.clone(),
                current: last.is_some_and(|last| last.of == stored.verified_digest()),
                last: last.cloned(),
            }
        })
        .collect()
}
