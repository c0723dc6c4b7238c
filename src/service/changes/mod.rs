//! Changes: the only module that commits one.
//!
//! A changeset, a change by hand and a rollback follow the same path. The model computes the new state; the age files that were
//! sent are opened in memory and wiped; destinations, rules, guards, source policy and approvals are checked; the store commits
//! everything in one transaction. A refused change leaves an entry in the audit log, within the caller's budget, and nothing else;
//! a refused dry run is counted only. A changeset that was applied before returns its earlier result. Changes are checked and
//! committed one at a time.
//!
//! * this file: the three entry points, and the order of the checks
//! * `secrets` and `federated_tokens`: age files and token files go only to their destination
//! * `guards` and `approvals`: destructive changes, sources, signatures
//! * `access`: the rights that the difference needs, and changes of the access policy
//! * `rollback_preview`: what a rollback would do
//! * `edit`: changes that a person makes in the console
//! * `sealing`: the recipients of secrets, and what a page has encrypted to them
//! * `planned`: the plan of an edit or of a proposal, its verification, and the gate
//! * `commit`: the transaction, and the record of refusals

mod access;
mod approvals;
mod commit;
pub(super) mod edit;
mod federated_tokens;
mod guards;
pub(super) mod planned;
mod rollback_preview;
pub(super) mod sealing;
mod secrets;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::json;

use super::{Service, caller::Caller, http::HttpProblem};
use crate::{
    api::{ChangesetOutcome, ChangesetResult, Rollback},
    approvals::{Evaluation, SigningOperator, SigningPerson},
    changes::{guards::Guard, revert_changes},
    entra::FederatedFiles,
    model::{
        Allowances, Approval, ChangeKind, ChangeRecord, ChangeSummary, Changeset, Code, Digest, ProfileChange,
        ProfileName, Provenance, Settings, Signature, State, approvals::Actor, proposal::Proposal, rules,
    },
    passkey::RelyingParty,
    secrets::ServiceIdentity,
    store::NewSecret,
};
pub(crate) use rollback_preview::RollbackPreview;
use secrets::SentSecrets;

/// Maximum number of warnings in an answer.
const WARNINGS: usize = 100;

/// The lock under which a change is checked and committed (`Service::changing`).
pub(super) type ChangeLock<'a> = tokio::sync::MutexGuard<'a, ()>;

/// A change, independent of its origin.
struct Change {
    kind: ChangeKind,
    base: u64,
    settings: Option<Settings>,
    changes: Vec<ProfileChange>,
    /// Age files that were sent with the change: base64 by digest.
    age_files: BTreeMap<Digest, String>,
    allowances: Allowances,
    signatures: ChangeSignatures,
    provenance: Provenance,
    changeset: Option<(uuid::Uuid, Digest)>,
    rolled_back_to: Option<u64>,
    /// The profiles that Git did not manage at the generation that a rollback returns to.
    unmanaged: Vec<ProfileName>,
    /// The action in the audit log.
    action: &'static str,
    /// True for a preview. The policy of the source only warns then: the change will come from another source.
    dry_run: bool,
    /// True if the change runs into guards.
    is_guarded: bool,
    /// The reason that the caller states, for the audit log.
    reason: Option<String>,
}

/// The signatures of a change, and what its proposal states about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangeSignatures {
    /// Approvals by SSH keys.
    approvals: Vec<Approval>,
    /// Signatures of operators.
    signatures: Vec<Signature>,
    /// The proposer; none if the change is not a proposal.
    author: Option<Author>,
    /// The time at which the proposal can no longer be applied if it needs signatures.
    ends: Option<Timestamp>,
}

/// The proposer of a change.
#[derive(Clone, Debug)]
struct Author {
    name: String,
    subject: String,
}

impl Author {
    fn actor(&self) -> Actor<'_> {
        Actor { name: &self.name, subject: &self.subject }
    }
}

impl From<Vec<Approval>> for ChangeSignatures {
    fn from(approvals: Vec<Approval>) -> Self {
        Self { approvals, ..Self::default() }
    }
}

impl From<&Proposal> for ChangeSignatures {
    fn from(proposal: &Proposal) -> Self {
        Self {
            approvals: proposal.approvals.clone(),
            signatures: proposal.signatures.clone(),
            author: Some(Author { name: proposal.by.clone(), subject: proposal.by_subject.clone() }),
            ends: None,
        }
    }
}

impl ChangeSignatures {
    /// Sets the time at which the proposal can no longer be applied if it needs signatures.
    pub(crate) fn ending(self, ends: Option<Timestamp>) -> Self {
        Self { ends, ..self }
    }
}

/// The persons who may sign, and the site of their passkeys.
#[derive(Default)]
struct Signers {
    operators: Vec<SigningOperator>,
    persons: Vec<SigningPerson>,
    site: Option<RelyingParty>,
}

impl Change {
    fn new(kind: ChangeKind, action: &'static str, base: u64) -> Self {
        Self {
            kind,
            base,
            settings: None,
            changes: Vec::new(),
            age_files: BTreeMap::new(),
            allowances: Allowances::default(),
            signatures: ChangeSignatures::default(),
            provenance: Provenance::default(),
            changeset: None,
            rolled_back_to: None,
            unmanaged: Vec::new(),
            action,
            dry_run: false,
            // A change by hand through the API has no plan that could show its guards.
            is_guarded: kind != ChangeKind::Manual,
            reason: None,
        }
    }

    fn from_changeset(changeset: Changeset, digest: Digest, dry_run: bool) -> Self {
        Self {
            settings: changeset.settings,
            changes: changeset.changes,
            age_files: changeset.secrets,
            allowances: changeset.allowances,
            signatures: changeset.approvals.into(),
            provenance: changeset.provenance,
            changeset: Some((changeset.id, digest)),
            dry_run,
            ..Self::new(ChangeKind::Apply, "changeset", changeset.base)
        }
    }

    /// Returns the digests of the age files that the change names.
    fn named_digests(&self) -> BTreeSet<Digest> {
        let of_profiles = self
            .changes
            .iter()
            .filter_map(ProfileChange::profile)
            .flat_map(|stored| stored.age_files().map(|(_, digest)| digest.clone()));
        let of_reader = self.settings.iter().filter_map(|settings| settings.reader.as_ref()?.secret.clone());
        of_profiles.chain(of_reader).collect()
    }
}

/// A change that passed every check.
struct CheckedChange {
    after: State,
    /// The names of the profiles that it changes.
    touched: BTreeSet<ProfileName>,
    new_secrets: Vec<NewSecret>,
    warnings: Vec<rules::Violation>,
    /// The guards that the change's allowances lifted.
    lifted: Vec<Guard>,
    evaluation: Evaluation,
    /// The problem for which the caller of a dry run could not apply the change: a right that it does not have.
    missing_right: Option<Box<HttpProblem>>,
    change: Change,
}

impl Service {
    /// Applies a changeset, or previews it in a dry run.
    pub(super) async fn apply_changeset(
        self: &Arc<Self>,
        caller: &Caller,
        changeset: Changeset,
        dry_run: bool,
    ) -> Result<ChangesetResult, HttpProblem> {
        let id = changeset.id;
        let digest = changes_digest(&changeset);
        let _one_at_a_time = self.changing.lock().await;
        let checked = async {
            if let Some(earlier) = self.find_applied(&changeset, &digest).await? {
                return Ok(Err(earlier));
            }
            self.check_addressee(&changeset)?;
            self.check(caller, Change::from_changeset(changeset, digest, dry_run)).await.map(Ok)
        };
        let checked = match checked.await {
            Ok(Ok(checked)) => checked,
            Ok(Err(earlier)) => return Ok(earlier),
            Err(problem) => {
                let detail = json!({ "changeset": id });
                return self.refuse_change(caller, "changeset", detail, problem, dry_run).await;
            }
        };
        let warnings = checked.warnings.clone();
        let missing_approvals = checked.evaluation.missing.iter().map(|(need, _)| need.clone()).collect();
        let (generation, outcome, summary) = if dry_run {
            (checked.after.generation, ChangesetOutcome::DryRun, commit::summarize(&checked.change))
        } else {
            let (generation, summary) = self.commit(caller, checked).await?;
            (generation, ChangesetOutcome::Applied, summary)
        };
        Ok(ChangesetResult { id, generation, outcome, summary, warnings, missing_approvals })
    }

    /// Returns the result of the same changeset if it was applied before.
    async fn find_applied(
        &self,
        changeset: &Changeset,
        digest: &Digest,
    ) -> Result<Option<ChangesetResult>, HttpProblem> {
        let Some((applied, generation)) = self.store.changeset(changeset.id).await? else { return Ok(None) };
        if applied != *digest {
            let message =
                format!("generation {} came from a changeset with this id and other contents", generation.number);
            return Err(HttpProblem::new(Code::ChangesetReused, message).remedy("Plan again."));
        }
        Ok(Some(ChangesetResult {
            id: changeset.id,
            generation: generation.number,
            outcome: ChangesetOutcome::AlreadyApplied,
            summary: generation.summary,
            warnings: Vec::new(),
            missing_approvals: Vec::new(),
        }))
    }

    /// Checks that a changeset is for this environment and that its provenance is bounded.
    fn check_addressee(&self, changeset: &Changeset) -> Result<(), HttpProblem> {
        if changeset.environment != *self.store.environment() {
            let message = format!(
                "the changeset is for `{}`, and this service belongs to `{}`",
                changeset.environment,
                self.store.environment()
            );
            return Err(HttpProblem::new(Code::WrongEnvironment, message).remedy("Correct the address of the service."));
        }
        match changeset.provenance.too_long() {
            Some(field) => Err(HttpProblem::malformed(format!("`provenance.{field}` is too long"))),
            None => Ok(()),
        }
    }

    /// Makes a change by hand. `compute` returns the change to the current state; none if there is nothing to do.
    pub(super) async fn change_by_hand(
        self: &Arc<Self>,
        caller: &Caller,
        action: &'static str,
        name: &ProfileName,
        compute: impl FnOnce(&State) -> Result<Option<ProfileChange>, HttpProblem>,
    ) -> Result<(u64, ChangeSummary), HttpProblem> {
        let _one_at_a_time = self.changing.lock().await;
        let state = self.state();
        let checked = async {
            let Some(change) = compute(&state)? else { return Ok(None) };
            let change = Change { changes: vec![change], ..Change::new(ChangeKind::Manual, action, state.generation) };
            self.check(caller, change).await.map(Some)
        };
        match checked.await {
            Ok(Some(checked)) => self.commit(caller, checked).await,
            Ok(None) => Ok((state.generation, ChangeSummary::default())),
            Err(problem) => self.refuse_change(caller, action, json!({ "profile": name }), problem, false).await,
        }
    }

    /// Rolls back to an earlier generation; the result is a new generation.
    pub(crate) async fn roll_back(
        self: &Arc<Self>,
        caller: &Caller,
        request: Rollback,
    ) -> Result<(u64, ChangeSummary), HttpProblem> {
        let _one_at_a_time = self.changing.lock().await;
        let state = self.state();
        let to = request.to;
        let checked = async {
            let Some(change) = self.rollback_change(&state, request).await? else { return Ok(None) };
            self.check(caller, change).await.map(Some)
        };
        match checked.await {
            Ok(Some(checked)) => self.commit(caller, checked).await,
            Ok(None) => Ok((state.generation, ChangeSummary::default())),
            Err(problem) => self.refuse_change(caller, "rollback", json!({ "to": to }), problem, false).await,
        }
    }

    pub(super) fn generation_not_found(&self, number: u64) -> HttpProblem {
        HttpProblem::not_found(format!("generation {number} does not exist"))
            .remedy(format!("`mailwright history {}` lists the generations.", self.store.environment()))
    }

    /// Computes the change that returns to an earlier generation; none if the state is the same.
    async fn rollback_change(&self, state: &State, request: Rollback) -> Result<Option<Change>, HttpProblem> {
        if request.base != state.generation {
            return Err(HttpProblem::stale(state.generation, request.base));
        }
        // Generation 0 is the empty store.
        let target = match request.to {
            0 => Some((Settings::default(), BTreeMap::new(), Vec::new())),
            number => self
                .store
                .generation(number)
                .await?
                .map(|found| (found.settings, found.profiles, found.generation.unmanaged)),
        };
        let Some((settings, profiles, unmanaged)) = target else {
            return Err(self.generation_not_found(request.to));
        };
        let changes = revert_changes(state, &profiles);
        let settings = state.settings.going_back_to(&settings);
        let settings = (settings != state.settings).then_some(settings);
        if changes.is_empty() && settings.is_none() {
            return Ok(None);
        }
        Ok(Some(Change {
            settings,
            changes,
            allowances: request.allowances,
            signatures: request.approvals.into(),
            rolled_back_to: Some(request.to),
            unmanaged,
            ..Change::new(ChangeKind::Rollback, "rollback", state.generation)
        }))
    }

    /// Reads from the store what the checks need, and runs them.
    async fn check(self: &Arc<Self>, caller: &Caller, change: Change) -> Result<CheckedChange, HttpProblem> {
        let state = self.state();
        if change.base != state.generation {
            return Err(HttpProblem::stale(state.generation, change.base));
        }
        if change.settings.as_ref().is_some_and(|settings| settings.access != state.settings.access) {
            let (tokens, operators) = (self.store.tokens().await?, self.store.operators().await?);
            access::check_administrator(&change, &state, (&tokens, &operators), self.clock.now())?;
        }
        let named = change.named_digests();
        // A rollback or an old commit can name age files of earlier generations, which are only in the store.
        let unused = named.iter().filter(|digest| !state.secrets.contains_key(*digest)).cloned().collect();
        let mut records = self.store.secrets(unused).await?;
        records.extend(named.iter().filter_map(|digest| state.secrets.get(digest)).cloned());
        let record = ChangeRecord {
            generation: state.generation + 1,
            at: self.clock.now(),
            by: caller.name.clone(),
            kind: change.kind,
        };
        let decode = move || {
            let sent = secrets::decode(&change.age_files);
            (change, sent)
        };
        let (change, sent) = tokio::task::spawn_blocking(decode).await.map_err(HttpProblem::internal)?;
        let accepted = self.store.destinations(secrets::value_ids(&sent)).await?;
        let secrets = SentSecrets { records, sent, accepted };
        let signed = &change.signatures.signatures;
        let signers = if signed.is_empty() {
            Signers::default()
        } else {
            Signers {
                operators: self.signing_operators(signed).await?,
                persons: self.signing_persons(signed).await?,
                site: self.signing_site(signed),
            }
        };
        let (identity, caller) = (Arc::clone(&self.identity), caller.clone());
        let federated = self.outgoing.federated.clone();
        let work = move || check_all(&state, change, secrets, &record, (&identity, &federated), &signers, &caller);
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(HttpProblem::internal(error)))
    }
}

/// Computes the digest of what a changeset does. Allowances, approvals and age files are not part of it.
fn changes_digest(changeset: &Changeset) -> Digest {
    let changes = Digest::of_documents(&changeset.changes);
    Digest::of_document(&(changeset.base, &changeset.settings, changes))
}

/// Runs every check, in the order in which their failures are most useful to the caller.
fn check_all(
    state: &State,
    change: Change,
    secrets: SentSecrets,
    record: &ChangeRecord,
    (identity, federated): (&ServiceIdentity, &FederatedFiles),
    signers: &Signers,
    caller: &Caller,
) -> Result<CheckedChange, HttpProblem> {
    let mut after = state.clone();
    after.change(change.settings.as_ref(), &change.changes, record).map_err(|conflict| {
        HttpProblem::new(Code::StaleGeneration, format!("the change does not fit the state: {conflict}"))
            .remedy("Plan again.")
            .at_generation(state.generation)
    })?;
    after.leave_unmanaged(&change.unmanaged);
    let mut missing_right = None;
    // Who plans a change need not be the one who applies it.
    let mut check_right = |checked: Result<(), HttpProblem>| match checked {
        Err(problem) if change.dry_run => {
            missing_right.get_or_insert(Box::new(problem));
            Ok(())
        }
        checked => checked,
    };
    check_right(access::check_rights(state, &after, &change.changes, &secrets.value_ids(), caller))?;
    let (known, new_secrets) = secrets::check(&state.environment, &change, secrets, identity)?;
    federated_tokens::check(&state.environment, &change, federated)?;
    sealing::check_recipients(&state.settings, &after.settings, identity)?;

    let touched: BTreeSet<ProfileName> = change.changes.iter().flat_map(ProfileChange::names).cloned().collect();
    let profiles = after.live().collect();
    let check = rules::Check::new(&after.settings, &profiles).search_only(|name| touched.contains(name));
    let mut violations = check.run();
    if let Some(reader) = &after.settings.reader {
        violations.extend(rules::check_reader(&reader.application));
    }
    let (errors, broken): (Vec<_>, Vec<_>) = violations.into_iter().partition(|violation| violation.problem.is_error());
    if !errors.is_empty() {
        return Err(HttpProblem::rules(errors));
    }
    let lifted = if change.is_guarded { guards::check(state, &after, &change)? } else { Vec::new() };
    let source = guards::check_source(state, &change)?;
    let evaluation = approvals::check(state, &after, &change, record, signers, caller)?;
    check_right(access::check_policy(state, &after, &evaluation, caller))?;
    after.secrets = after
        .used_digests()
        .filter_map(|digest| {
            let record = known.get(digest).or_else(|| state.secrets.get(digest))?;
            Some((digest.clone(), record.clone()))
        })
        .collect();
    let warnings = source.into_iter().chain(broken).take(WARNINGS).collect();
    Ok(CheckedChange { after, touched, new_secrets, warnings, lifted, evaluation, missing_right, change })
}
