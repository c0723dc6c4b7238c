//! The planner: compares desired, live and last applied state field by field. Pure; the order of the result depends on names
//! alone.
//!
//! Costs one comparison per profile; fields are compared only where two profiles differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use uuid::Uuid;

use super::plan::{
    Action, Cause, FORMAT_VERSION, FieldChange, Hint, Plan, PlanApprovals, PlannedChange, PreviousVerification,
    SecretChange, SecretChangeKind, SettingsChange, Summary,
};
use crate::{
    changes::{
        drift::{self},
        fields::{self, Fields, NEXT},
        guards,
    },
    config::{Desired, DesiredProfile, suggest},
    model::{
        Allowances, ChangeKind, ChangeRecord, Changeset, Code, Digest, LastVerified, Place, Problem, ProfileChange,
        ProfileName, ProfileState, Provenance, State, StoredProfile,
        approvals::{self, SignedAction},
        settings::Prune,
    },
    reconcile::{routing_changes, secret_destinations},
};

/// The input of a plan.
pub struct PlanRequest<'a> {
    /// The desired state.
    pub desired: &'a Desired,
    /// The live state, with the last applied one.
    pub state: &'a State,
    /// The service's address, for the document.
    pub service: &'a str,
    /// The provenance of the files.
    pub source: Provenance,
    /// The profiles that the plan is limited to; empty means all.
    pub only: &'a [ProfileName],
    /// True if a limited plan includes the environment's settings.
    pub with_settings: bool,
    /// The guards that are lifted.
    pub allowances: Allowances,
    /// The last results of `verify`, by profile.
    pub verified: &'a BTreeMap<ProfileName, LastVerified>,
}

impl<'a> PlanRequest<'a> {
    /// Creates a request that plans everything, with no provenance, every guard in place, and no results of `verify`.
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

/// A plan with the changeset that carries it out. The age files are not attached yet.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The changeset.
    pub changeset: Changeset,
}

/// Computes the plan.
pub fn plan(request: &PlanRequest<'_>) -> Result<Planned, Problem> {
    let PlanRequest { desired, state, service, source, only, with_settings, allowances, verified } = request;
    if state.environment != desired.environment {
        let (ours, theirs) = (&desired.environment, &state.environment);
        let message = format!("the service at {service} belongs to environment `{theirs}`, not `{ours}`");
        let remedy = format!("Correct the address, or plan `{theirs}`. A service serves one environment.");
        return Err(Problem::new(Code::WrongEnvironment, message).remedy(remedy));
    }
    check_only(desired, state, only)?;
    let comparison = StateComparison { desired, state };
    let mut hints = Vec::new();
    let mut pairs = comparison.plan_profiles(&mut hints)?;
    if !only.is_empty() {
        pairs.retain(|(planned, change)| {
            only.contains(&planned.name) || change.names().any(|touched| only.contains(touched))
        });
    }
    comparison.hint_renames(&pairs, &mut hints);
    let settings = if only.is_empty() || *with_settings { plan_settings(&comparison) } else { None };
    let (changes, operations): (Vec<PlannedChange>, Vec<ProfileChange>) = pairs.into_iter().unzip();

    let brought = settings.is_some().then_some(&desired.settings);
    let after = state_after(state, brought, &operations)?;
    let provenance = Provenance { mailwright: Some(env!("CARGO_PKG_VERSION").to_owned()), ..source.clone() };
    let is_nothing = changes.is_empty() && settings.is_none();
    let needs = approvals::find_needs(state, &after, &operations);
    let plan = Plan {
        approvals: (!needs.is_empty()).then(|| PlanApprovals {
            digest: approvals::digest(&state.environment, state.generation, SignedAction::Apply, brought, &operations),
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
        summary: summarize(&changes, settings.as_ref().is_some_and(|settings| !settings.fields.is_empty())),
        unmanaged: comparison.find_unmanaged(&operations),
        routing_changes: routing_changes::find_routing_changes(state, &after, &operations),
        redirected: secret_destinations::find_redirected(desired, state, brought, &operations),
        guards: guards::check(state, &after, &operations, allowances),
        policy: if is_nothing { Vec::new() } else { guards::check_source(&state.settings, brought, &provenance) },
        verified: previous_verifications(&operations, verified),
        hints,
        moved: None,
        settings,
        changes,
    };
    let mut changeset = Changeset {
        id: Uuid::nil(),
        environment: desired.environment.clone(),
        base: state.generation,
        settings: brought.cloned(),
        changes: operations,
        secrets: BTreeMap::new(),
        allowances: allowances.clone(),
        approvals: Vec::new(),
        provenance: Provenance { plan: Some(plan.digest()), ..provenance },
    };
    changeset.id = content_id(&changeset);
    Ok(Planned { plan, changeset })
}

/// Derives the changeset's id from its contents: the same plan from the same generation has the same id, so that a job that is
/// killed and run again cannot apply twice.
fn content_id(changeset: &Changeset) -> Uuid {
    let digest = Digest::of_document(changeset);
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let pair = digest.as_str().get(7 + 2 * index..9 + 2 * index).unwrap_or("00");
        *byte = u8::from_str_radix(pair, 16).unwrap_or(0);
    }
    Uuid::new_v8(bytes)
}

fn check_only(desired: &Desired, state: &State, only: &[ProfileName]) -> Result<(), Problem> {
    for name in only {
        if !desired.profiles.contains_key(name) && !state.profiles.contains_key(name) {
            let known = desired.profiles.keys().chain(state.profiles.keys()).map(ProfileName::as_str);
            let remedy = match suggest::nearest(name.as_str(), known) {
                Some(meant) => format!("Did you mean `{meant}`?"),
                None => "`mailwright status` lists the live ones.".to_owned(),
            };
            let message = format!("no profile `{name}` in the files or in the service");
            return Err(Problem::new(Code::NotFound, message).remedy(remedy));
        }
    }
    Ok(())
}

fn state_after(
    state: &State,
    settings: Option<&crate::model::Settings>,
    operations: &[ProfileChange],
) -> Result<State, Problem> {
    let mut after = state.clone();
    let record = ChangeRecord {
        generation: state.generation + 1,
        at: jiff::Timestamp::UNIX_EPOCH,
        by: String::new(),
        kind: ChangeKind::Apply,
    };
    after.change(settings, operations, &record).map_err(|conflict| {
        // This is a bug.
        Problem::new(Code::Internal, format!("the plan does not fit the state it was made from: {conflict}"))
            .remedy("Nothing was changed. Please report this.")
    })?;
    Ok(after)
}

/// The comparison of desired, live and last applied state.
struct StateComparison<'a> {
    desired: &'a Desired,
    state: &'a State,
}

impl<'a> StateComparison<'a> {
    /// Returns every profile that differs, by name, with the operation that reconciles it.
    fn plan_profiles(&self, hints: &mut Vec<Hint>) -> Result<Vec<(PlannedChange, ProfileChange)>, Problem> {
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
            Action::Adopt => ProfileChange::Adopt { name, profile },
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
        let (differing, unchanged) = fields::differing_paths(&before, &after);
        // The removal of the next value belongs to a finished rotation, and is not listed separately.
        let is_half =
            |path: &&str| path.strip_suffix(NEXT).is_some_and(|own| self.is_rotation_finished(own, &before, &after));
        let changes = differing
            .into_iter()
            .filter(|path| !is_half(path))
            .map(|path| FieldChange {
                path: path.to_owned(),
                before: fields::value_at(&before, path),
                after: fields::value_at(&after, path),
                cause: field_cause(path, &after, &before, applied.as_ref()),
                place: after.contains_key(path).then(|| wanted.place_of(&pointer(path))).filter(Place::is_in_a_file),
                before_place: None,
                secret: self.describe_secret_change(path, &before, &after),
            })
            .collect();
        (changes, unchanged)
    }

    fn describe_secret_change(&self, path: &str, before: &Fields, after: &Fields) -> Option<SecretChange> {
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
            (None, Some(_), Some(_)) if self.is_rotation_finished(path, before, after) => {
                SecretChangeKind::RotationFinished
            }
            (None, Some(old), Some(new)) => match self.find_value_ids(old, new) {
                (Some(old), Some(new)) if old == new => SecretChangeKind::Resealed,
                (Some(_), Some(_)) => SecretChangeKind::Rotated,
                _ => SecretChangeKind::FileChanged,
            },
        };
        Some(SecretChange { kind, before: old, after: new })
    }

    /// Returns the value ids of a live age file and of the file that replaces it.
    fn find_value_ids(&self, live: &Digest, wanted: &Digest) -> (Option<&String>, Option<&String>) {
        let live = self.state.secrets.get(live).and_then(|record| record.value_id.as_ref());
        let file = self.desired.age_files().map(|(_, file)| file).find(|file| file.digest == *wanted);
        (live, file.and_then(|file| file.value_id.as_ref()))
    }

    fn is_resealed(&self, live: &Digest, wanted: &Digest) -> bool {
        matches!(self.find_value_ids(live, wanted), (Some(live), Some(wanted)) if live == wanted)
    }

    /// Returns true if the next value of the secret at a path becomes the current one, sealed again or not.
    fn is_rotation_finished(&self, path: &str, before: &Fields, after: &Fields) -> bool {
        let next = format!("{path}{NEXT}");
        let staged = before.get(&next).and_then(|field| field.digest.as_ref());
        let current = after.get(path).and_then(|field| field.digest.as_ref());
        let (Some(staged), Some(current)) = (staged, current) else { return false };
        !after.contains_key(&next) && (staged == current || self.is_resealed(staged, current))
    }

    fn find_unmanaged(&self, operations: &[ProfileChange]) -> Vec<ProfileName> {
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

    fn hint_renames(&self, pairs: &[(PlannedChange, ProfileChange)], hints: &mut Vec<Hint>) {
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

fn plan_settings(comparison: &StateComparison<'_>) -> Option<SettingsChange> {
    let StateComparison { desired, state } = comparison;
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
            secret: comparison.describe_secret_change(path, &before, &after),
        })
        .collect();
    let cause = fields.iter().map(|field| field.cause).reduce(Cause::and).unwrap_or(Cause::Git);
    Some(SettingsChange { cause, place: desired.settings_place.clone(), fields })
}

fn summarize(changes: &[PlannedChange], settings: bool) -> Summary {
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

/// Returns the last results of `verify` for the profiles that the plan sets.
fn previous_verifications(
    operations: &[ProfileChange],
    known: &BTreeMap<ProfileName, LastVerified>,
) -> Vec<PreviousVerification> {
    let set = operations.iter().filter_map(|change| Some((change.name(), change.profile()?)));
    set.filter(|(_, stored)| stored.profile.enabled)
        .map(|(name, stored)| {
            let last = known.get(name);
            PreviousVerification {
                profile: name.clone(),
                current: last.is_some_and(|last| last.of == stored.verified_digest()),
                last: last.cloned(),
            }
        })
        .collect()
}
