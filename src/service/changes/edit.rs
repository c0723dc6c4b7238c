//! Edits: changes of one profile that a person makes in the console, each planned before it is applied.
//!
//! [`Service::plan_edit`] returns what the change would do; [`Service::verify_edit`] runs the verifier on it; [`Service::apply_edit`]
//! applies it, by the same checks as every other change. An edit is a change by hand, so it is drift until the files have it, but
//! unlike one by the API it runs into guards and into the gate of `verify`, because its plan has shown them. An edit is applied
//! only at the generation that its plan was made from. [`Service::find_conflict`] returns what the first of two editors
//! changed, for the second one. Values of secrets do not appear: an edit carries an age file.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::Change;
use crate::{
    api::{VerifyLine, VerifyRequest},
    approvals::Evaluation,
    changes::{
        comparison::{self, FieldDifference},
        drift::{self, Drift},
        fields,
        git_patch::{self, GitPatch},
        guards::{self, Guard},
        routing::{RoutingChange, find_routing_changes},
    },
    model::{
        Allowances, Approval, ApprovalNeed, ChangeKind, ChangeRecord, Code, Digest, LastVerified, Profile,
        ProfileChange, ProfileName, ProfileState, SecretReference, Severity, State, StoredProfile,
        access::{Activity, Area},
        approvals::{self as rules, SignedAction},
        finding::Verified,
        rules::Violation,
        settings::ConsolePolicy,
    },
    secrets::{Header, fingerprint},
    service::{Service, caller::Caller, http::HttpProblem, http::upload::BodyPermit},
};

/// Maximum time that a plan waits for the verifier.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(25);

/// A change, and the age files that come with it: base64 by digest.
type ChangeWithFiles = (ProfileChange, BTreeMap<Digest, String>);

/// A change of one profile.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pub(crate) name: ProfileName,
    pub(crate) wanted: WantedProfile,
}

/// The result of an edit.
#[derive(Clone, Debug)]
pub(crate) enum WantedProfile {
    /// The profile, with the new age file of its secret if there is one. `is_new` if it must not exist before.
    Saved { profile: Box<Profile>, age_file: Option<Vec<u8>>, is_new: bool },
    /// The profile of a proposal, with the age files that came with it: base64 by digest.
    Proposed { stored: Box<StoredProfile>, age_files: BTreeMap<Digest, String>, is_new: bool },
    /// No profile.
    Deleted,
}

/// The plan of an edit.
#[derive(Clone, Debug)]
pub(crate) struct PlannedEdit {
    /// The generation that the plan was made from.
    pub(crate) base: u64,
    pub(crate) change: ProfileChange,
    /// The age files that the service does not have: base64 by digest.
    pub(crate) age_files: BTreeMap<Digest, String>,
    pub(crate) fields: Vec<FieldDifference>,
    pub(crate) unchanged: usize,
    pub(crate) routing: Vec<RoutingChange>,
    pub(crate) guards: Vec<Guard>,
    /// The digest that approvals sign, and the approvals that are needed.
    pub(crate) approvals: Option<(Digest, Vec<ApprovalNeed>)>,
    /// The approvals that were given with the plan, as the service evaluates them.
    pub(crate) evaluation: Evaluation,
    pub(crate) warnings: Vec<Violation>,
    /// The drift of this profile afterwards.
    pub(crate) drift: Vec<Drift>,
}

/// The result of the verifier for an edit.
#[derive(Clone, Debug)]
pub(crate) enum EditVerification {
    /// The profile would not send, so there is nothing to verify.
    NotNeeded,
    Done(Box<Verified>),
    /// The verifier did not finish, or could not begin.
    Unfinished(String),
}

/// The changes since an editor began.
#[derive(Clone, Debug)]
pub(crate) struct EditConflict {
    /// The last change; none if the profile is gone without a record.
    pub(crate) by: Option<ChangeRecord>,
    /// True if the profile does not exist any more.
    pub(crate) is_deleted: bool,
    pub(crate) fields: Vec<FieldDifference>,
}

/// The terms on which an edit is applied.
#[derive(Clone, Debug, Default)]
pub(crate) struct EditTerms {
    /// The generation of the plan.
    pub(crate) base: u64,
    pub(crate) allowances: Allowances,
    pub(crate) approvals: Vec<Approval>,
    pub(crate) reason: String,
}

impl Service {
    /// Returns what the environment lets the console do.
    pub(crate) fn console_policy(&self) -> ConsolePolicy {
        self.state().settings.policy.console
    }

    /// Returns true if a caller may at least plan changes of profiles in the console.
    pub(crate) fn may_change_profiles(&self, caller: &Caller) -> bool {
        self.console_policy() > ConsolePolicy::ReadOnly && caller.may_at_all(Area::Changes, Activity::Plan)
    }

    /// Refuses what the environment does not let the console do.
    pub(crate) fn check_console_policy(&self, needed: ConsolePolicy) -> Result<(), HttpProblem> {
        let allowed = self.console_policy();
        if allowed >= needed {
            return Ok(());
        }
        let message = match allowed {
            ConsolePolicy::ReadOnly => "the environment's console is read-only",
            ConsolePolicy::Propose | ConsolePolicy::Apply => {
                "the environment's console makes proposals, and does not apply changes that were not proposed"
            }
        };
        Err(HttpProblem::new(Code::ConsoleRestricted, message).remedy(format!(
            "Change the files and apply them, or set `policy.console` in the environment.yaml of `{}`.",
            self.store.environment()
        )))
    }

    /// Plans an edit; none if it changes nothing. Broken rules and secrets that cannot be accepted are problems.
    pub(crate) async fn plan_edit(
        self: &Arc<Self>,
        caller: &Caller,
        edit: &Edit,
        approvals: &[Approval],
    ) -> Result<Option<PlannedEdit>, HttpProblem> {
        let state = self.state();
        let Some((change, age_files)) = self.edit_change(&state, edit)? else { return Ok(None) };
        let checked = Change {
            changes: vec![change.clone()],
            age_files: age_files.clone(),
            approvals: approvals.to_vec(),
            dry_run: true,
            ..Change::new(ChangeKind::Manual, "console.edit", state.generation)
        };
        let checked = self.check(caller, checked).await?;
        let (before, after) = (
            state.profiles.get(&edit.name).and_then(|state| state.live.as_ref()),
            checked.after.profiles.get(&edit.name).and_then(|state| state.live.as_ref()),
        );
        let mut values: BTreeMap<&Digest, Option<&String>> =
            state.secrets.iter().map(|(digest, record)| (digest, record.value_id.as_ref())).collect();
        values.extend(checked.new_secrets.iter().map(|new| (&new.record.digest, new.record.value_id.as_ref())));
        let is_same_value = |one: &Digest, other: &Digest| {
            Some(values.get(one).copied().flatten()? == values.get(other).copied().flatten()?)
        };
        let table = |stored: Option<&StoredProfile>| stored.map(fields::profile_fields).unwrap_or_default();
        let (fields, unchanged) = comparison::compare(&table(before), &table(after), &is_same_value);
        let changes = std::slice::from_ref(&change);
        let needs = rules::find_needs(&state, &checked.after, changes);
        let digest = || rules::digest(&state.environment, state.generation, SignedAction::Apply, None, changes);
        let mut drift = drift::drift(&checked.after);
        drift.retain(|drift| drift.name.as_ref() == Some(&edit.name));
        let of_profile = |violation: &Violation| violation.profile.as_ref() == Some(&edit.name);
        Ok(Some(PlannedEdit {
            base: state.generation,
            routing: find_routing_changes(&state, &checked.after, changes),
            guards: guards::check(&state, &checked.after, changes, &Allowances::default()),
            evaluation: checked.evaluation,
            approvals: (!needs.is_empty()).then(|| (digest(), needs)),
            warnings: checked.warnings.into_iter().filter(of_profile).collect(),
            change,
            age_files,
            fields,
            unchanged,
            drift,
        }))
    }

    /// Verifies the profile of a plan, with its stored or its new secret. The result is stored as that of the profile.
    pub(crate) async fn verify_edit(self: &Arc<Self>, caller: &Caller, planned: &PlannedEdit) -> EditVerification {
        let Some(stored) = planned.change.profile().filter(|stored| stored.profile.enabled) else {
            return EditVerification::NotNeeded;
        };
        // The application that reads the directory is for callers who may apply.
        let reader = self.state().settings.reader.clone().filter(|_| caller.may_at_all(Area::Changes, Activity::Apply));
        let request = VerifyRequest {
            environment: self.store.environment().clone(),
            profiles: BTreeMap::from([(planned.change.name().clone(), stored.clone())]),
            secrets: planned.age_files.clone(),
            siblings: Vec::new(),
            credential_days: 30,
            probe: false,
            reader,
            reader_token: None,
        };
        let mut lines = match self.verify(caller, request, BodyPermit::none()).await {
            Ok(lines) => lines,
            Err(problem) => return EditVerification::Unfinished(problem.message().to_owned()),
        };
        let mut result = None;
        let read = async {
            while let Some(line) = lines.recv().await {
                if let VerifyLine::Verified(verified) = line {
                    result = Some(verified);
                }
            }
        };
        let in_time = tokio::time::timeout(VERIFY_TIMEOUT, read).await.is_ok();
        match result {
            Some(verified) if in_time => EditVerification::Done(Box::new(verified)),
            _ => EditVerification::Unfinished(format!(
                "the verifier did not finish within {} seconds",
                VERIFY_TIMEOUT.as_secs()
            )),
        }
    }

    /// Returns the last result of the verifier for the profile of a plan, if it is for these settings and secrets.
    pub(crate) async fn last_verification(&self, planned: &PlannedEdit) -> Result<EditVerification, HttpProblem> {
        let name = planned.change.name();
        let Some(stored) = planned.change.profile().filter(|stored| stored.profile.enabled) else {
            return Ok(EditVerification::NotNeeded);
        };
        if self.find_last_verified(name, stored).await?.is_some()
            && let Some(verified) = self.store.verified(name).await?
        {
            return Ok(EditVerification::Done(Box::new(verified)));
        }
        Ok(EditVerification::Unfinished(format!("`{name}` was not verified with these settings")))
    }

    /// Returns the short form of the last result for a profile; none if it is for other settings or secrets.
    async fn find_last_verified(
        &self,
        name: &ProfileName,
        stored: &StoredProfile,
    ) -> Result<Option<LastVerified>, HttpProblem> {
        let last = self.store.last_verified().await?.remove(name);
        Ok(last.filter(|last| last.of == stored.verified_digest()))
    }

    /// Applies an edit as a change by hand. Returns the generation.
    pub(crate) async fn apply_edit(
        self: &Arc<Self>,
        caller: &Caller,
        edit: &Edit,
        terms: EditTerms,
    ) -> Result<u64, HttpProblem> {
        let _one_at_a_time = self.changing.lock().await;
        let state = self.state();
        let checked = async {
            if terms.base != state.generation {
                return Err(HttpProblem::stale(state.generation, terms.base));
            }
            let Some((change, age_files)) = self.edit_change(&state, edit)? else { return Ok(None) };
            self.check_gate(&change, &terms.allowances).await?;
            let change = Change {
                changes: vec![change],
                age_files,
                allowances: terms.allowances,
                approvals: terms.approvals,
                is_guarded: true,
                reason: Some(terms.reason).filter(|reason| !reason.is_empty()),
                ..Change::new(ChangeKind::Manual, "console.edit", state.generation)
            };
            self.check(caller, change).await.map(Some)
        };
        match checked.await {
            Ok(Some(checked)) => self.commit(caller, checked).await.map(|(generation, _)| generation),
            Ok(None) => Ok(state.generation),
            Err(problem) => {
                self.refuse_change(caller, "console.edit", json!({ "profile": edit.name }), problem, false).await
            }
        }
    }

    /// Refuses a profile that the verifier found errors in, or has not seen, unless that is accepted for this edit.
    async fn check_gate(&self, change: &ProfileChange, allowances: &Allowances) -> Result<(), HttpProblem> {
        let Some(stored) = change.profile().filter(|stored| stored.profile.enabled) else { return Ok(()) };
        let name = change.name();
        let refuse = |message: String| {
            Err(HttpProblem::new(Code::VerifyFailed, message)
                .remedy("Correct the profile, or confirm below that it is applied in spite of this."))
        };
        match self.find_last_verified(name, stored).await? {
            Some(last) if last.errors > 0 && !allowances.findings.contains(name) => {
                refuse(format!("verify found errors in `{name}`"))
            }
            None if !allowances.unverified => refuse(format!("`{name}` was not verified with these settings")),
            _ => Ok(()),
        }
    }

    /// Returns what was changed in a profile since a generation; none if it was not.
    pub(crate) async fn find_conflict(
        &self,
        name: &ProfileName,
        base: u64,
    ) -> Result<Option<EditConflict>, HttpProblem> {
        let state = self.state();
        let found = state.profiles.get(name);
        let live = found.and_then(|found| found.live.as_ref());
        if live.is_some() && found.is_some_and(|found| found.changed.generation <= base) {
            return Ok(None);
        }
        let earlier = self.store.generation(base).await?.and_then(|mut detail| detail.profiles.remove(name));
        if earlier.is_none() && live.is_none() {
            return Ok(None);
        }
        let table = |stored: Option<&StoredProfile>| stored.map(fields::profile_fields).unwrap_or_default();
        let (fields, _) = comparison::compare(&table(earlier.as_ref()), &table(live), &|_, _| None);
        Ok(Some(EditConflict { by: found.map(|found| found.changed.clone()), is_deleted: live.is_none(), fields }))
    }

    /// Returns the files of an edit as a patch for Git. It starts from what the last apply left, as Git does.
    pub(crate) async fn edit_patch(
        &self,
        caller: &Caller,
        planned: &PlannedEdit,
        reason: &str,
    ) -> Result<GitPatch, HttpProblem> {
        let text = |(digest, file): (&Digest, &String)| {
            let file = BASE64_STANDARD.decode(file).ok()?;
            Some((digest.clone(), String::from_utf8(file).ok()?))
        };
        let sent = planned.age_files.iter().filter_map(text).collect();
        self.patch(caller, planned.change.name(), planned.change.profile(), sent, reason).await
    }

    /// Returns what is live of a profile as a patch for Git; none if Git has it.
    pub(crate) async fn drift_patch(&self, caller: &Caller, name: &ProfileName) -> Result<GitPatch, HttpProblem> {
        let state = self.state();
        let live = state.profiles.get(name).and_then(|found| found.live.as_ref());
        self.patch(caller, name, live, BTreeMap::new(), "").await
    }

    async fn patch(
        &self,
        caller: &Caller,
        name: &ProfileName,
        after: Option<&StoredProfile>,
        mut texts: BTreeMap<Digest, String>,
        reason: &str,
    ) -> Result<GitPatch, HttpProblem> {
        let state = self.state();
        let before = state.profiles.get(name).and_then(ProfileState::applied);
        // Profiles can share a secret, so its file can be in Git for another one.
        let in_git = |file: &SecretReference| {
            let others = state.profiles.values().filter_map(ProfileState::applied);
            before.into_iter().chain(others).find_map(|stored| git_patch::file_digest(stored, file))
        };
        let files = before.into_iter().chain(after).flat_map(StoredProfile::file_names);
        let files_in_git: BTreeMap<SecretReference, Digest> =
            files.filter_map(|file| in_git(&file).cloned().map(|digest| (file, digest))).collect();
        let later = after.into_iter().flat_map(StoredProfile::age_files).map(|(_, digest)| digest);
        let digests: BTreeSet<&Digest> = files_in_git.values().chain(later).collect();
        for digest in digests {
            if !texts.contains_key(digest)
                && let Some(file) = self.store.age_file(digest).await?
                && let Ok(text) = String::from_utf8(file)
            {
                texts.insert(digest.clone(), text);
            }
        }
        let environment = self.store.environment();
        let age_text = |digest: &Digest| texts.get(digest).cloned();
        let files = git_patch::profile_changes(environment, name, (before, after), &files_in_git, &age_text);
        let verb = match (before, after) {
            (None, _) => "add",
            (_, None) => "remove",
            _ => "change",
        };
        Ok(GitPatch {
            author: caller.name.clone(),
            at: self.clock.now(),
            subject: format!("{environment}: {verb} profile {name}"),
            body: reason.to_owned(),
            files,
        })
    }

    /// Computes the change that an edit makes, and the age files that come with it; none if it changes nothing.
    fn edit_change(&self, state: &State, edit: &Edit) -> Result<Option<ChangeWithFiles>, HttpProblem> {
        let name = edit.name.clone();
        let live = state.profiles.get(&name).and_then(|state| state.live.as_ref());
        let (profile, age_file) = match &edit.wanted {
            WantedProfile::Deleted if live.is_none() => {
                return Err(HttpProblem::not_found(format!("profile `{name}` does not exist")));
            }
            WantedProfile::Deleted => return Ok(Some((ProfileChange::Delete { name }, BTreeMap::new()))),
            WantedProfile::Saved { is_new: true, .. } | WantedProfile::Proposed { is_new: true, .. }
                if live.is_some() =>
            {
                return Err(HttpProblem::new(Code::ProfileExists, format!("profile `{name}` exists already"))
                    .remedy("Choose another name, or change that profile."));
            }
            WantedProfile::Proposed { stored, age_files, .. } => {
                let new = age_files.iter().filter(|(digest, _)| !state.secrets.contains_key(*digest));
                let age_files = new.map(|(digest, file)| (digest.clone(), file.clone())).collect();
                return Ok(set(name, live, (**stored).clone()).map(|change| (change, age_files)));
            }
            WantedProfile::Saved { profile, age_file, .. } => ((**profile).clone(), age_file),
        };
        let Some(file) = age_file else {
            return Ok(replacement(state, name, live, profile)?.map(|change| (change, BTreeMap::new())));
        };
        let Some((reference, _)) = profile.provider.secret() else {
            return Err(HttpProblem::malformed("the profile names no secret, and an age file was sent"));
        };
        let digest = self.check_sealed(reference, file)?;
        let secrets = BTreeMap::from([(reference.clone(), digest.clone())]);
        let stored = StoredProfile { profile, secrets, next: BTreeMap::new() };
        let age_files = if state.secrets.contains_key(&digest) {
            BTreeMap::new()
        } else {
            BTreeMap::from([(digest, BASE64_STANDARD.encode(file))])
        };
        Ok(set(name, live, stored).map(|change| (change, age_files)))
    }

    /// Checks that bytes are an age file that names this service among its recipients, and returns its digest. Whether it opens,
    /// and is for the right destination, is checked with the change.
    fn check_sealed(&self, reference: &SecretReference, file: &[u8]) -> Result<Digest, HttpProblem> {
        let set = format!("mailwright secrets set {} {reference}", self.store.environment());
        let header = Header::read(file).map_err(|error| {
            HttpProblem::new(Code::NotAgeFile, format!("the secret `{reference}`: {error}"))
                .remedy(format!("Type the value again with JavaScript, or seal it on the command line: {set}"))
        })?;
        let own = fingerprint(&self.identity.recipient());
        let named: BTreeSet<&String> = header.recipients.iter().flatten().collect();
        if header.recipients.is_some() && !named.contains(&own) {
            return Err(HttpProblem::new(
                Code::SecretNotOpenable,
                format!("the secret `{reference}`: it is not sealed for this service"),
            )
            .remedy(format!("Seal it again: {set}")));
        }
        Ok(header.digest)
    }
}

/// Computes the change that replaces the live profile. The digests of its secrets are those that the service has.
pub(in crate::service) fn replacement(
    state: &State,
    name: ProfileName,
    live: Option<&StoredProfile>,
    profile: Profile,
) -> Result<Option<ProfileChange>, HttpProblem> {
    let (mut secrets, mut next) = (BTreeMap::new(), BTreeMap::new());
    if let Some((reference, _)) = profile.provider.secret() {
        let digest = find_digest(state, live, reference).ok_or_else(|| {
            HttpProblem::new(Code::SecretNotSent, format!("the service has no secret `{reference}`"))
                .remedy("Send the secret with an apply: `mailwright secrets set`, then `mailwright apply`.")
        })?;
        secrets.insert(reference.clone(), digest);
        // A rotation in progress continues.
        let staged = live.and_then(|live| live.next.get(reference)).cloned();
        next.extend(staged.map(|digest| (reference.clone(), digest)));
    }
    Ok(set(name, live, StoredProfile { profile, secrets, next }))
}

/// Returns the change that sets a profile; none if it is the same.
fn set(name: ProfileName, live: Option<&StoredProfile>, profile: StoredProfile) -> Option<ProfileChange> {
    match live {
        Some(live) if *live == profile => None,
        Some(_) => Some(ProfileChange::Update { name, profile }),
        None => Some(ProfileChange::Create { name, profile }),
    }
}

fn find_digest(state: &State, live: Option<&StoredProfile>, reference: &SecretReference) -> Option<Digest> {
    let own = live.and_then(|live| live.secrets.get(reference));
    let any = || state.live_stored().find_map(|(_, stored)| stored.secrets.get(reference));
    own.or_else(any).cloned()
}

/// Returns the number of errors of a result that no waiver accepts.
pub(crate) fn count_errors(verified: &Verified) -> usize {
    verified.findings.iter().filter(|finding| finding.is_open() && finding.severity == Severity::Error).count()
}
