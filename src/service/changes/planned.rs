//! Planned changes: what a change would do, the result of the verifier for it, and the gate that it must pass.
//!
//! A change that a person makes in the console, and the plan of files that was proposed, are planned by the same checks as an apply,
//! without committing anything. The gate is that of the command line, by the last results of the verifier: errors, and profiles
//! that were not verified with these settings, stop the change unless they are accepted with a reason. Waivers are in the files,
//! which the service does not have, so waived findings count as open.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::json;

use super::{Change, ChangeLock, ChangeSignatures, CheckedChange, changes_digest, edit::EditTerms};
use crate::{
    api::{VerifyLine, VerifyRequest},
    approvals::Evaluation,
    changes::{
        approval_needs,
        comparison::{self, FieldDifference},
        drift::{self, Drift},
        fields,
        guards::{self, Guard},
        routing::{RoutingChange, find_routing_changes},
    },
    model::{
        Allowances, ApprovalNeed, ChangeKind, Changeset, Code, Digest, LastVerified, ProfileChange, ProfileName,
        Severity, State, StoredProfile,
        access::{Activity, Area},
        approvals::{self as rules, SignedAction},
        finding::Verified,
        rules::Violation,
    },
    service::{Service, caller::Caller, http::HttpProblem, http::upload::BodyPermit},
    text::enumerate,
};

/// Maximum time that a plan waits for the verifier.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(25);
/// Maximum number of results that are read in full.
const RESULTS_READ: usize = 100;
/// Maximum number of profiles that a message names.
const NAMED: usize = 5;

/// The plan of a change.
#[derive(Clone, Debug)]
pub(crate) struct PlannedChange {
    /// The generation that the plan was made from.
    pub(crate) base: u64,
    pub(crate) kind: ChangeKind,
    pub(crate) changes: Vec<ProfileChange>,
    /// The age files that the service does not have: base64 by digest.
    pub(crate) age_files: BTreeMap<Digest, String>,
    /// The settings first, then profiles in the order of the changes.
    pub(crate) differences: Vec<PlannedDifference>,
    pub(crate) routing: Vec<RoutingChange>,
    pub(crate) guards: Vec<Guard>,
    /// The digest that approvals sign, and the approvals that are needed.
    pub(crate) approvals: Option<(Digest, Vec<ApprovalNeed>)>,
    /// The problem for which the caller could not apply the change: a right that it does not have.
    pub(crate) missing_right: Option<HttpProblem>,
    /// The approvals that were given with the plan, as the service evaluates them.
    pub(crate) evaluation: Evaluation,
    /// The warnings about what changes.
    pub(crate) warnings: Vec<Violation>,
    /// The drift of a changed profile after a change by hand.
    pub(crate) drift: Vec<Drift>,
}

/// A planned difference of a profile or of the settings.
#[derive(Clone, Debug)]
pub(crate) struct PlannedDifference {
    /// The profile as it is named afterwards; none for the settings.
    pub(crate) name: Option<ProfileName>,
    /// `create`, `update`, `rename`, `adopt`, `delete` or `forget`.
    pub(crate) action: &'static str,
    pub(crate) fields: Vec<FieldDifference>,
    /// The number of fields that stay.
    pub(crate) unchanged: usize,
}

/// The result of the verifier for a profile of a change.
#[derive(Clone, Debug)]
pub(crate) enum ProfileVerification {
    Done(Box<Verified>),
    /// The last result, of which the findings were not read.
    Known(LastVerified),
    /// The verifier did not finish, or could not begin.
    Unfinished(String),
}

impl ProfileVerification {
    /// Returns the number of errors; none if it was not verified.
    pub(crate) fn errors(&self) -> Option<usize> {
        match self {
            ProfileVerification::Done(verified) => Some(count_errors(verified)),
            ProfileVerification::Known(last) => Some(last.errors as usize),
            ProfileVerification::Unfinished(_) => None,
        }
    }
}

/// The results of the verifier for the profiles that a change sets and that would send.
pub(crate) type Verifications = BTreeMap<ProfileName, ProfileVerification>;

impl Service {
    /// Plans a change. Guards and missing approvals are part of the plan; every other reason to refuse it is a problem.
    pub(super) async fn plan_change(
        self: &Arc<Self>,
        caller: &Caller,
        change: Change,
    ) -> Result<PlannedChange, HttpProblem> {
        let state = self.state();
        if change.base != state.generation {
            return Err(HttpProblem::stale(state.generation, change.base));
        }
        let age_files = change.age_files.clone();
        let change = Change { dry_run: true, is_guarded: false, ..change };
        let checked = self.check(caller, change).await?;
        let plan = move || plan(&state, checked, age_files);
        tokio::task::spawn_blocking(plan).await.map_err(HttpProblem::internal)
    }

    /// Plans the changeset of a proposal.
    pub(in crate::service) async fn plan_changeset(
        self: &Arc<Self>,
        caller: &Caller,
        changeset: &Changeset,
        signatures: ChangeSignatures,
    ) -> Result<PlannedChange, HttpProblem> {
        self.check_addressee(changeset)?;
        let digest = changes_digest(changeset);
        let change = Change::from_changeset(changeset.clone(), digest, true);
        self.plan_change(caller, Change { signatures, ..change }).await
    }

    /// Applies the changeset of a proposal, as an apply of the files does, for a caller that holds the lock for changes. Returns the
    /// generation.
    pub(in crate::service) async fn apply_proposed_changeset(
        self: &Arc<Self>,
        caller: &Caller,
        changeset: Changeset,
        terms: EditTerms,
        _: &ChangeLock<'_>,
    ) -> Result<u64, HttpProblem> {
        let digest = changes_digest(&changeset);
        // The process can have ended between the apply and the record of the decision.
        if let Some(earlier) = self.find_applied(&changeset, &digest).await? {
            return Ok(earlier.generation);
        }
        let id = changeset.id;
        let checked = async {
            self.check_addressee(&changeset)?;
            let generation = self.state().generation;
            if generation != changeset.base || terms.base != changeset.base {
                return Err(HttpProblem::stale(generation, changeset.base));
            }
            self.check_gate(&changeset.changes, &terms).await?;
            let reason = terms.reason_to_record();
            let (allowances, signatures) = (terms.allowances, terms.signatures);
            let changeset = Changeset { allowances, ..changeset };
            let change = Change { signatures, reason, ..Change::from_changeset(changeset, digest, false) };
            self.check(caller, change).await
        };
        match checked.await {
            Ok(checked) => self.commit(caller, checked).await.map(|(generation, _)| generation),
            Err(problem) => self.refuse_change(caller, "changeset", json!({ "changeset": id }), problem, false).await,
        }
    }

    /// Verifies the profiles of a plan, with their stored or new secrets. The results are stored as those of these settings.
    pub(crate) async fn verify_planned(self: &Arc<Self>, caller: &Caller, planned: &PlannedChange) -> Verifications {
        let profiles: BTreeMap<ProfileName, StoredProfile> =
            sending(&self.state(), &planned.changes).map(|(name, stored)| (name.clone(), stored.clone())).collect();
        if profiles.is_empty() {
            return Verifications::new();
        }
        let names: BTreeSet<ProfileName> = profiles.keys().cloned().collect();
        let all_unfinished = |reason: &str| {
            let unfinished = |name| (name, ProfileVerification::Unfinished(reason.to_owned()));
            names.iter().cloned().map(unfinished).collect::<Verifications>()
        };
        // The application that reads the directory is for callers who may apply.
        let reader = self.state().settings.reader.clone().filter(|_| caller.may_at_all(Area::Changes, Activity::Apply));
        let request = VerifyRequest {
            environment: self.store.environment().clone(),
            profiles,
            secrets: planned.age_files.clone(),
            siblings: Vec::new(),
            credential_days: 30,
            probe: false,
            reader,
            reader_token: None,
        };
        let mut lines = match self.verify(caller, request, BodyPermit::none()).await {
            Ok(lines) => lines,
            Err(problem) => return all_unfinished(problem.message()),
        };
        let reason = format!("the verifier did not finish within {} seconds", VERIFY_TIMEOUT.as_secs());
        let mut results = all_unfinished(&reason);
        let read = async {
            while let Some(line) = lines.recv().await {
                if let VerifyLine::Verified(verified) = line {
                    results.insert(verified.profile.clone(), ProfileVerification::Done(Box::new(verified)));
                }
            }
        };
        drop(tokio::time::timeout(VERIFY_TIMEOUT, read).await);
        results
    }

    /// Returns the last results of the verifier for the profiles of a plan, as far as they are for these settings and secrets.
    pub(crate) async fn last_verifications(&self, planned: &PlannedChange) -> Result<Verifications, HttpProblem> {
        let state = self.state();
        let mut known = self.store.verified_with(digests(&state, &planned.changes)).await?;
        let (mut results, mut read) = (Verifications::new(), 0);
        for (name, _) in sending(&state, &planned.changes) {
            let result = match known.remove(name) {
                None => ProfileVerification::Unfinished(not_verified(name)),
                Some(last) if read >= RESULTS_READ => ProfileVerification::Known(last),
                Some(last) => {
                    read += 1;
                    let verified = self.store.verified(name, Some(&last.of)).await?;
                    verified.map_or(ProfileVerification::Known(last), |verified| {
                        ProfileVerification::Done(Box::new(verified))
                    })
                }
            };
            results.insert(name.clone(), result);
        }
        Ok(results)
    }

    /// Refuses profiles that the verifier found errors in, or has not seen, unless that is accepted for this change with a reason.
    pub(super) async fn check_gate(&self, changes: &[ProfileChange], terms: &EditTerms) -> Result<(), HttpProblem> {
        let state = self.state();
        let known = self.store.verified_with(digests(&state, changes)).await?;
        let (mut failing, mut unseen, mut accepted) = (Vec::new(), Vec::new(), Vec::new());
        for (name, _) in sending(&state, changes) {
            match known.get(name) {
                Some(last) if last.errors == 0 => {}
                Some(_) if terms.allowances.findings.contains(name) => accepted.push(name),
                Some(_) => failing.push(name),
                None if terms.allowances.unverified => accepted.push(name),
                None => unseen.push(name),
            }
        }
        let names = |names: &[&ProfileName]| enumerate(names.iter().map(|name| format!("`{name}`")), NAMED);
        let (message, remedy) = match (&failing[..], &unseen[..], &accepted[..]) {
            ([], [], []) => return Ok(()),
            ([], [], _) if !terms.reason.is_empty() => return Ok(()),
            ([], [], accepted) => (
                format!("to accept what verify found or could not check in {} needs a reason", names(accepted)),
                "Write the reason. It goes to the audit log.",
            ),
            ([], unseen, _) => {
                let were = if unseen.len() == 1 { "was" } else { "were" };
                (
                    format!("{} {were} not verified with these settings", names(unseen)),
                    "Verify, or confirm below that it is applied in spite of this, with a reason.",
                )
            }
            (failing, ..) => (
                format!("verify found errors in {}", names(failing)),
                "Correct the profile, or confirm below that it is applied in spite of this, with a reason.",
            ),
        };
        Err(HttpProblem::new(Code::VerifyFailed, message).remedy(remedy))
    }
}

fn not_verified(name: &ProfileName) -> String {
    format!("`{name}` was not verified with these settings")
}

/// Returns the profiles that a change sets and that would send. One that is adopted as it is live does not change.
fn sending<'a>(
    state: &'a State,
    changes: &'a [ProfileChange],
) -> impl Iterator<Item = (&'a ProfileName, &'a StoredProfile)> {
    let is_live = |name: &ProfileName, stored: &StoredProfile| {
        state.profiles.get(name).is_some_and(|found| found.live.as_ref() == Some(stored))
    };
    changes
        .iter()
        .filter_map(|change| Some((change, change.profile()?)))
        .filter(move |(change, stored)| {
            stored.profile.enabled && !(matches!(change, ProfileChange::Adopt { .. }) && is_live(change.name(), stored))
        })
        .map(|(change, stored)| (change.name(), stored))
}

/// Returns the digest of each profile that a change sets and that would send, under which its results are kept.
fn digests(state: &State, changes: &[ProfileChange]) -> BTreeMap<ProfileName, Digest> {
    sending(state, changes).map(|(name, stored)| (name.clone(), stored.verified_digest())).collect()
}

/// Computes the plan of a change that was checked.
fn plan(state: &State, checked: CheckedChange, age_files: BTreeMap<Digest, String>) -> PlannedChange {
    let CheckedChange { after, new_secrets, warnings, evaluation, missing_right, change, .. } = checked;
    let mut values: BTreeMap<&Digest, Option<&String>> =
        state.secrets.iter().map(|(digest, record)| (digest, record.value_id.as_ref())).collect();
    values.extend(new_secrets.iter().map(|new| (&new.record.digest, new.record.value_id.as_ref())));
    let is_same_value = |one: &Digest, other: &Digest| {
        Some(values.get(one).copied().flatten()? == values.get(other).copied().flatten()?)
    };
    let mut differences = Vec::new();
    if change.settings.is_some() && state.settings != after.settings {
        let (before, after) = (fields::settings_fields(&state.settings), fields::settings_fields(&after.settings));
        let (fields, unchanged) = comparison::compare(&before, &after, &is_same_value);
        differences.push(PlannedDifference { name: None, action: "update", fields, unchanged });
    }
    let live = |state: &State, name: &ProfileName| {
        let stored = state.profiles.get(name).and_then(|state| state.live.as_ref());
        stored.map(fields::profile_fields).unwrap_or_default()
    };
    for one in &change.changes {
        let (name, action) = (one.name(), action_id(one));
        let earlier = if let ProfileChange::Rename { from, .. } = one { from } else { name };
        let (fields, unchanged) = comparison::compare(&live(state, earlier), &live(&after, name), &is_same_value);
        differences.push(PlannedDifference { name: Some(name.clone()), action, fields, unchanged });
    }
    let (changes, settings) = (&change.changes, change.settings.as_ref());
    let needs = approval_needs::find_needs(state, &after, changes);
    let digest = || rules::digest(&state.environment, state.generation, SignedAction::Apply, settings, changes);
    let touched: BTreeSet<&ProfileName> = changes.iter().flat_map(ProfileChange::names).collect();
    let is_touched = |name: Option<&ProfileName>| name.is_some_and(|name| touched.contains(name));
    let mut drift = if change.kind == ChangeKind::Manual { drift::drift(&after) } else { Vec::new() };
    drift.retain(|drift| is_touched(drift.name.as_ref()));
    let concerns = |violation: &Violation| change.settings.is_some() || is_touched(violation.profile.as_ref());
    let is_of_source = |violation: &Violation| violation.problem.code == Code::SourceRefused;
    PlannedChange {
        base: state.generation,
        kind: change.kind,
        routing: find_routing_changes(state, &after, changes),
        guards: guards::check(state, &after, changes, &Allowances::default()),
        evaluation,
        missing_right: missing_right.map(|problem| *problem),
        approvals: (!needs.is_empty()).then(|| (digest(), needs)),
        warnings: warnings.into_iter().filter(|warning| concerns(warning) || is_of_source(warning)).collect(),
        drift,
        age_files,
        differences,
        changes: change.changes,
    }
}

/// Returns the id of a change.
pub(crate) fn action_id(change: &ProfileChange) -> &'static str {
    match change {
        ProfileChange::Create { .. } => "create",
        ProfileChange::Update { .. } => "update",
        ProfileChange::Rename { .. } => "rename",
        ProfileChange::Adopt { .. } => "adopt",
        ProfileChange::Delete { .. } => "delete",
        ProfileChange::Forget { .. } => "forget",
    }
}

/// Returns the number of errors of a result that no waiver accepts.
pub(crate) fn count_errors(verified: &Verified) -> usize {
    verified.findings.iter().filter(|finding| finding.is_open() && finding.severity == Severity::Error).count()
}
