//! Whether a change is taken: the only place that commits.
//!
//! Every change, by changeset, by hand or by rollback, goes the same way: the new state is computed by the model,
//! its age files are opened (in memory, and wiped), its destinations, the rules and the guards are checked, and the
//! store takes it in one transaction. Whatever is refused leaves a line in the audit log and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rayon::prelude::*;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{Service, access::Caller, http::HttpProblem};
use crate::{
    api::{ChangesetOutcome, ChangesetResult, Rollback},
    approvals::{self, Judgement, REASON_LIMIT},
    changes::{guards, revert_changes},
    credential,
    entra::{FederatedFiles, federated},
    model::{
        Allowances, Approval, AuditOutcome, ChangeKind, ChangeRecord, ChangeSummary, Changeset, Code, Destination,
        Digest, EnvironmentName, Generation, Problem, ProfileChange, ProfileName, Provenance, SecretRecord,
        SecretReference, Settings, State,
        approvals::{self as needed, Deed},
        provenance::Breach,
        rules,
        token::Role,
    },
    secrets::{FILE_LIMIT, Header, NotAge, OpenError, Purpose, Redirected, ServiceIdentity, accepted_for_words},
    store::{AuditEvent, Commit, CommitError, NewSecret},
};

/// A change, however it was asked for.
struct Change {
    kind: ChangeKind,
    base: u64,
    settings: Option<Settings>,
    changes: Vec<ProfileChange>,
    sent: BTreeMap<Digest, String>,
    allowances: Allowances,
    approvals: Vec<Approval>,
    provenance: Provenance,
    changeset: Option<(uuid::Uuid, Digest)>,
    rolled_back_to: Option<u64>,
    /// The profiles that were not in Git's care at the generation that is gone back to.
    unmanaged: Vec<ProfileName>,
    action: &'static str,
    /// Only asked about. Where it would come from is not where it will come from, so the policy of the source warns.
    dry_run: bool,
}

/// A change that passed every check.
struct Checked {
    after: State,
    /// The names of the profiles that it is about.
    touched: BTreeSet<ProfileName>,
    new_secrets: Vec<NewSecret>,
    warnings: Vec<rules::Violation>,
    lifted: Vec<guards::Guard>,
    judgement: Judgement,
    change: Change,
}

impl Service {
    /// Takes a changeset, or says what taking it would do.
    pub(super) async fn take_changeset(
        self: &Arc<Self>,
        caller: &Caller,
        changeset: Changeset,
        dry_run: bool,
    ) -> Result<ChangesetResult, HttpProblem> {
        let id = changeset.id;
        // What the changeset does, without what was lifted or sent along: the same change has the same digest.
        let changes = Digest::of_documents(&changeset.changes);
        let digest = Digest::of_document(&(changeset.base, &changeset.settings, changes));
        let _one_at_a_time = self.changing.lock().await;
        if let Some((taken, generation)) = self.store.changeset(id).await? {
            if taken != digest {
                let problem = HttpProblem::new(
                    Code::ChangesetReused,
                    format!("generation {} came from a changeset of this id with other contents", generation.number),
                )
                .remedy("Plan again.");
                return self.refused(caller, "changeset", json!({ "changeset": id }), problem, dry_run).await;
            }
            return Ok(ChangesetResult {
                id,
                generation: generation.number,
                outcome: ChangesetOutcome::AlreadyApplied,
                summary: generation.summary,
                warnings: Vec::new(),
                missing_approvals: Vec::new(),
            });
        }
        if changeset.environment != *self.store.environment() {
            let problem = HttpProblem::new(
                Code::WrongEnvironment,
                format!(
                    "the changeset is for `{}`, and this service belongs to `{}`",
                    changeset.environment,
                    self.store.environment()
                ),
            )
            .remedy("Correct the service's address.");
            return self.refused(caller, "changeset", json!({ "changeset": id }), problem, dry_run).await;
        }
        if let Some(what) = changeset.provenance.too_long() {
            let problem = HttpProblem::malformed(format!("`provenance.{what}` is too long"));
            return self.refused(caller, "changeset", json!({ "changeset": id }), problem, dry_run).await;
        }
        let change = Change {
            kind: ChangeKind::Apply,
            base: changeset.base,
            settings: changeset.settings,
            changes: changeset.changes,
            sent: changeset.secrets,
            allowances: changeset.allowances,
            approvals: changeset.approvals,
            provenance: changeset.provenance,
            changeset: Some((id, digest)),
            rolled_back_to: None,
            unmanaged: Vec::new(),
            action: "changeset",
            dry_run,
        };
        let checked = match self.check(caller, change).await {
            Ok(checked) => checked,
            Err(problem) => {
                return self.refused(caller, "changeset", json!({ "changeset": id }), problem, dry_run).await;
            }
        };
        let warnings = checked.warnings.clone();
        let missing_approvals = checked.judgement.missing.iter().map(|(need, _)| need.clone()).collect();
        let (generation, outcome, summary) = if dry_run {
            let summary = summary(&checked.change);
            (checked.after.generation, ChangesetOutcome::DryRun, summary)
        } else {
            let (generation, summary) = self.commit(caller, checked).await?;
            (generation, ChangesetOutcome::Applied, summary)
        };
        Ok(ChangesetResult { id, generation, outcome, summary, warnings, missing_approvals })
    }

    /// Makes a change by hand. `change` is computed from the state that it is made on.
    pub(super) async fn change_by_hand(
        self: &Arc<Self>,
        caller: &Caller,
        action: &'static str,
        name: &ProfileName,
        change: impl FnOnce(&State) -> Result<Option<ProfileChange>, HttpProblem>,
    ) -> Result<(u64, ChangeSummary), HttpProblem> {
        let _one_at_a_time = self.changing.lock().await;
        let state = self.state();
        let detail = json!({ "profile": name });
        let change = match change(&state) {
            Ok(Some(change)) => change,
            Ok(None) => return Ok((state.generation, ChangeSummary::default())),
            Err(problem) => return self.refused(caller, action, detail, problem, false).await,
        };
        let change = Change {
            kind: ChangeKind::Manual,
            base: state.generation,
            settings: None,
            changes: vec![change],
            sent: BTreeMap::new(),
            allowances: Allowances::default(),
            approvals: Vec::new(),
            provenance: Provenance::default(),
            changeset: None,
            rolled_back_to: None,
            unmanaged: Vec::new(),
            action,
            dry_run: false,
        };
        match self.check(caller, change).await {
            Ok(checked) => self.commit(caller, checked).await,
            Err(problem) => self.refused(caller, action, detail, problem, false).await,
        }
    }

    /// Goes back to an earlier generation, as a new one.
    pub(super) async fn roll_back(
        self: &Arc<Self>,
        caller: &Caller,
        order: Rollback,
    ) -> Result<(u64, ChangeSummary), HttpProblem> {
        let _one_at_a_time = self.changing.lock().await;
        let state = self.state();
        let detail = json!({ "to": order.to });
        if order.base != state.generation {
            let problem = HttpProblem::stale(state.generation, order.base);
            return self.refused(caller, "rollback", detail, problem, false).await;
        }
        // Generation 0 is that of a store in which nothing was ever put.
        let target = match order.to {
            0 => Some((Settings::default(), BTreeMap::new(), Vec::new())),
            number => self
                .store
                .generation(number)
                .await?
                .map(|found| (found.settings, found.profiles, found.generation.unmanaged)),
        };
        let Some((target_settings, target, unmanaged)) = target else {
            let problem = HttpProblem::not_found(format!("there is no generation {}", order.to))
                .remedy("`mailwright history` lists them.");
            return self.refused(caller, "rollback", detail, problem, false).await;
        };
        let changes = revert_changes(&state, &target);
        let settings = state.settings.going_back_to(&target_settings);
        let settings = (settings != state.settings).then_some(settings);
        if changes.is_empty() && settings.is_none() {
            return Ok((state.generation, ChangeSummary::default()));
        }
        let change = Change {
            kind: ChangeKind::Rollback,
            base: state.generation,
            settings,
            changes,
            sent: BTreeMap::new(),
            allowances: order.allowances,
            approvals: order.approvals,
            provenance: Provenance::default(),
            changeset: None,
            rolled_back_to: Some(order.to),
            unmanaged,
            action: "rollback",
            dry_run: false,
        };
        match self.check(caller, change).await {
            Ok(checked) => self.commit(caller, checked).await,
            Err(problem) => self.refused(caller, "rollback", detail, problem, false).await,
        }
    }

    async fn check(self: &Arc<Self>, caller: &Caller, change: Change) -> Result<Checked, HttpProblem> {
        let state = self.state();
        if change.base != state.generation {
            return Err(HttpProblem::stale(state.generation, change.base));
        }
        let named: BTreeSet<Digest> = change
            .changes
            .iter()
            .filter_map(ProfileChange::profile)
            .flat_map(|stored| stored.age_files().map(|(_, digest)| digest.clone()))
            .chain(change.settings.iter().filter_map(|settings| settings.reader.as_ref()?.secret.clone()))
            .collect();
        // Not only what is in use: a rollback and an old commit name age files of earlier generations.
        let known: Vec<Digest> = named.iter().filter(|digest| !state.secrets.contains_key(*digest)).cloned().collect();
        let mut records = self.store.secrets(known).await?;
        records.extend(named.iter().filter_map(|digest| state.secrets.get(digest)).cloned());
        let record = ChangeRecord {
            generation: state.generation + 1,
            at: self.clock.now(),
            by: caller.name.clone(),
            kind: change.kind,
        };
        let read = move || {
            let sent = read_sent(&change.sent);
            (change, sent)
        };
        let (change, sent) = tokio::task::spawn_blocking(read).await.map_err(HttpProblem::internal)?;
        let value_ids = sent.values().flatten().map(|sent| sent.header.bound_id().as_str().to_owned()).collect();
        let secrets = Secrets { records, sent, accepted: self.store.destinations(value_ids).await? };
        let (identity, caller) = (Arc::clone(&self.identity), caller.clone());
        let federated = self.outgoing.federated.clone();
        let work = move || check_all(&state, change, secrets, &record, (&identity, &federated), &caller);
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(HttpProblem::internal(error)))
    }

    async fn commit(&self, caller: &Caller, checked: Checked) -> Result<(u64, ChangeSummary), HttpProblem> {
        let Checked { after, touched, new_secrets, lifted, change, judgement, .. } = checked;
        let before = self.state();
        let summary = summary(&change);
        let at = self.clock.now();
        let generation = Generation {
            number: after.generation,
            at,
            by: caller.name.clone(),
            kind: change.kind,
            changeset: change.changeset.as_ref().map(|(id, _)| *id),
            rolled_back_to: change.rolled_back_to,
            provenance: change.provenance,
            allowances: change.allowances,
            approvals: judgement.approved,
            summary,
            unmanaged: after.unmanaged_names(),
        };
        if let Some(reason) = &generation.allowances.break_glass {
            metrics::counter!("mailwright_break_glass_total").increment(1);
            tracing::warn!(actor = %caller.name, reason, "an administrator does without approvals");
        }
        // Taking ten thousand profiles apart takes a while, and nobody need wait for it.
        let done_with = change.changes;
        rayon::spawn(move || drop(done_with));
        let detail = json!({
            "generation": after.generation,
            "changeset": generation.changeset,
            "rolledBackTo": generation.rolled_back_to,
            "provenance": generation.provenance,
            "summary": summary,
            "profiles": touched.iter().take(100).collect::<Vec<_>>(),
            "allowances": generation.allowances,
            "guardsLifted": lifted,
            "approvals": generation.approvals.iter().map(|approved| json!({
                "signer": approved.signer,
                "key": approved.key,
                "reason": approved.reason,
                "expires": approved.expires,
            })).collect::<Vec<_>>(),
            "approvalsPassedOver": judgement.passed_over,
        });
        let after = Arc::new(after);
        let commit = Commit {
            base: before.generation,
            changeset: change.changeset.map(|(_, digest)| digest),
            after: Arc::clone(&after),
            touched,
            secrets: new_secrets,
            event: AuditEvent {
                at,
                actor: caller.name.clone(),
                action: change.action,
                outcome: AuditOutcome::Accepted,
                detail,
            },
            generation,
        };
        match self.store.commit(commit).await {
            Ok(()) => {
                let number = after.generation;
                self.set_state(after);
                metrics::counter!("mailwright_generations_total").increment(1);
                tracing::info!(generation = number, actor = %caller.name, "a new generation is in effect");
                Ok((number, summary))
            }
            Err(CommitError::Stale(generation)) => {
                // Somebody else writes to the same store. What is in memory is brought up to date.
                self.set_state(Arc::new(self.store.state().await?));
                Err(HttpProblem::stale(generation, before.generation))
            }
            Err(CommitError::Taken { generation, .. }) => Err(HttpProblem::stale(generation, before.generation)),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    /// Writes a refusal down. A dry run is a question, not an attempt.
    async fn refused<T>(
        &self,
        caller: &Caller,
        action: &'static str,
        mut detail: serde_json::Value,
        problem: HttpProblem,
        dry_run: bool,
    ) -> Result<T, HttpProblem> {
        metrics::counter!("mailwright_changes_refused_total", "code" => problem.code().id()).increment(1);
        if !dry_run {
            detail["code"] = json!(problem.code());
            detail["why"] = json!(problem.message());
            let event = AuditEvent {
                at: self.clock.now(),
                actor: caller.name.clone(),
                action,
                outcome: AuditOutcome::Refused,
                detail,
            };
            self.record_bounded(event).await?;
        }
        Err(problem)
    }
}

/// Every check, in the order in which a reader would want to hear of a failure.
fn check_all(
    state: &State,
    change: Change,
    secrets: Secrets,
    record: &ChangeRecord,
    (identity, federated): (&ServiceIdentity, &FederatedFiles),
    caller: &Caller,
) -> Result<Checked, HttpProblem> {
    let mut after = state.clone();
    after.change(change.settings.as_ref(), &change.changes, record).map_err(|conflict| {
        HttpProblem::new(Code::StaleGeneration, format!("the change does not fit the state: {conflict}"))
            .remedy("Plan again.")
            .at_generation(state.generation)
    })?;
    after.leave_unmanaged(&change.unmanaged);
    let (known, new_secrets) = check_secrets(&state.environment, &change, secrets, identity)?;
    check_federated(&state.environment, &change, federated)?;

    let touched: BTreeSet<ProfileName> = change.changes.iter().flat_map(ProfileChange::names).cloned().collect();
    let profiles = after.live().collect();
    let check = rules::Check::new(&after.settings, &profiles).search_only(|name| touched.contains(name));
    let mut violations = check.run();
    if let Some(reader) = &after.settings.reader {
        violations.extend(rules::check_reader(&reader.application));
    }
    let (errors, mut warnings): (Vec<_>, Vec<_>) =
        violations.into_iter().partition(|violation| violation.problem.is_error());
    if !errors.is_empty() {
        return Err(HttpProblem::rules(errors));
    }
    let lifted = if change.kind == ChangeKind::Manual { Vec::new() } else { check_guards(state, &after, &change)? };
    warnings.splice(0..0, check_source(state, &change)?);
    let judgement = check_approvals(state, &after, &change, record, caller)?;
    after.secrets = after
        .used_digests()
        .filter_map(|digest| {
            let record = known.get(digest).or_else(|| state.secrets.get(digest))?;
            Some((digest.clone(), record.clone()))
        })
        .collect();
    let warnings = warnings.into_iter().take(100).collect();
    Ok(Checked { after, touched, new_secrets, warnings, lifted, judgement, change })
}

/// Holds the change against the rules about approvals that are live. In a dry run, what is missing is told and no more.
fn check_approvals(
    state: &State,
    after: &State,
    change: &Change,
    record: &ChangeRecord,
    caller: &Caller,
) -> Result<Judgement, HttpProblem> {
    let rules = &state.settings.policy.approvals;
    let needs = needed::needs(state, after, &change.changes);
    // The usual case costs nothing: no rule matches, and nobody signed anything.
    if needs.is_empty() && change.approvals.is_empty() && change.allowances.break_glass.is_none() {
        return Ok(Judgement::default());
    }
    let deed = change.rolled_back_to.map_or(Deed::Apply, Deed::Rollback);
    let asked = approvals::Asked {
        rules,
        needs: &needs,
        environment: &state.environment,
        base: change.base,
        deed,
        digest: needed::digest(&state.environment, change.base, deed, change.settings.as_ref(), &change.changes),
        now: record.at,
        caller: &caller.name,
    };
    let judgement = asked.judge(&change.approvals).map_err(|error| {
        HttpProblem::new(Code::ApprovalMalformed, error.to_string())
            .remedy("Sign again with `mailwright approve PLANFILE`, and leave the files as they are.")
    })?;
    if let Some(reason) = &change.allowances.break_glass {
        break_glass(rules.break_glass, reason, caller)?;
        return Ok(judgement);
    }
    if judgement.missing.is_empty() || change.dry_run {
        return Ok(judgement);
    }
    Err(unapproved(change, &judgement))
}

/// An administrator does without approvals, where the environment says that one may.
fn break_glass(allowed: bool, reason: &str, caller: &Caller) -> Result<(), HttpProblem> {
    let refused = |why: String, remedy: &str| {
        let problem = HttpProblem::new(Code::BreakGlassRefused, why);
        Err(problem.remedy(remedy))
    };
    if !allowed {
        return refused(
            "the environment does not say that anybody may do without approvals".to_owned(),
            "Have the plan approved. `policy.approvals.breakGlass: true` allows it from the next apply on, which needs approvals itself.",
        );
    }
    if !caller.role.includes(Role::Admin) {
        return refused(
            format!("`{}` is no administrator", caller.name),
            "Have the plan approved, or ask an administrator.",
        );
    }
    if !approvals::is_reason(reason) || reason.is_empty() {
        return Err(HttpProblem::malformed(format!("a reason is one line of 1 to {REASON_LIMIT} characters")));
    }
    Ok(())
}

/// What is missing, what was passed over and why, and the way to get it.
fn unapproved(change: &Change, judgement: &Judgement) -> HttpProblem {
    let wanted = judgement.missing.iter().map(|(need, have)| {
        let so_far = if have.is_empty() { "none counts".to_owned() } else { format!("{} approved", have.join(", ")) };
        format!("the change needs {}, because it {} ({so_far})", need.words(), need.because.join(", "))
    });
    let mut parts: Vec<String> = wanted.collect();
    parts.extend(judgement.passed_over.iter().map(|passed_over| format!("{} {}", passed_over.by, passed_over.why)));
    let by_hand = change.kind == ChangeKind::Manual;
    let (code, remedy) = if by_hand {
        (
            Code::ManualChangeNeedsApproval,
            "Change the files instead: mailwright plan ENV --out PLANFILE, mailwright approve PLANFILE, mailwright apply PLANFILE.",
        )
    } else if change.kind == ChangeKind::Rollback {
        (
            judgement.passed_over.first().map_or(Code::ApprovalMissing, |passed_over| passed_over.code),
            "mailwright rollback ENV --to N --out PLANFILE, then each signer: mailwright approve PLANFILE, then: mailwright apply PLANFILE.",
        )
    } else {
        (
            judgement.passed_over.first().map_or(Code::ApprovalMissing, |passed_over| passed_over.code),
            "mailwright plan ENV --out PLANFILE, then each signer: mailwright approve PLANFILE, then: mailwright apply PLANFILE.",
        )
    };
    HttpProblem::new(code, parts.join("; ")).remedy(remedy)
}

/// Guards that stand refuse; guards that were lifted are written down.
fn check_guards(before: &State, after: &State, change: &Change) -> Result<Vec<guards::Guard>, HttpProblem> {
    let standing = guards::check(before, after, &change.changes, &change.allowances);
    if let Some(first) = standing.first() {
        let all = standing.iter().map(guards::Guard::message).collect::<Vec<_>>().join("; ");
        return Err(HttpProblem::new(Code::DeletionGuarded, all)
            .remedy(format!("If that is meant, for this plan only: --allow-deletes {}", first.allowance())));
    }
    if change.allowances.is_none() {
        return Ok(Vec::new());
    }
    Ok(guards::check(before, after, &change.changes, &Allowances::default()))
}

/// Where a changeset comes from is what the policy allows. What was only asked about is warned of.
fn check_source(before: &State, change: &Change) -> Result<Vec<rules::Violation>, HttpProblem> {
    if change.kind != ChangeKind::Apply {
        return Ok(Vec::new());
    }
    let breaches = guards::source(&before.settings, change.settings.as_ref(), &change.provenance);
    if let (Some(first), false) = (breaches.first(), change.dry_run) {
        let all = breaches.iter().map(|breach| breach.message.as_str()).collect::<Vec<_>>().join("; ");
        return Err(HttpProblem::new(Code::SourceRefused, all).remedy(first.remedy.clone()));
    }
    let warning = |breach: Breach| rules::Violation {
        profile: None,
        pointer: "/policy/source".to_owned(),
        problem: Problem::new(Code::SourceRefused, breach.message).remedy(breach.remedy),
    };
    Ok(breaches.into_iter().map(warning).collect())
}

/// Each profile's digests are those of the secrets that it names, and so is the reader's; each digest is known, or was sent
/// and opens; and each value goes where it was meant to go. Gives what is known of all, and those that are new.
fn check_secrets(
    environment: &EnvironmentName,
    change: &Change,
    secrets: Secrets,
    identity: &ServiceIdentity,
) -> Result<(HashMap<Digest, SecretRecord>, Vec<NewSecret>), HttpProblem> {
    let uses = uses(change)?;
    let mut first_use: BTreeMap<&Digest, &Use<'_>> = BTreeMap::new();
    for used in &uses {
        first_use.entry(used.digest).or_insert(used);
    }
    if let Some(stray) = change.sent.keys().find(|digest| !first_use.contains_key(*digest)) {
        return Err(HttpProblem::malformed(format!("an age file ({}) was sent that no profile names", stray.short())));
    }
    let Secrets { records, sent, accepted } = secrets;
    let mut known: HashMap<Digest, SecretRecord> =
        records.into_iter().map(|record| (record.digest.clone(), record)).collect();
    let mut meant = Meant { environment, accepted, here: HashMap::new() };
    for used in &uses {
        let checked = match (known.get(used.digest), sent.get(used.digest)) {
            (Some(record), _) => meant.check_known(record, &used.destination),
            (None, Some(Ok(sent))) => meant.check_new(&sent.header, &used.destination),
            // Refused below, with the reason.
            (None, _) => Ok(()),
        };
        checked.map_err(|redirected| used.refuse_redirected(&redirected, environment))?;
    }
    let wanted: Vec<_> = first_use.into_values().filter(|used| !known.contains_key(used.digest)).collect();
    let opened: Vec<NewSecret> = wanted
        .into_par_iter()
        .map(|used| open_sent(used, sent.get(used.digest), &meant, identity))
        .collect::<Vec<_>>()
        .into_iter()
        .collect::<Result<_, _>>()?;
    for new in &opened {
        known.insert(new.record.digest.clone(), new.record.clone());
    }
    Ok((known, opened))
}

/// One use of an age file by a change.
struct Use<'a> {
    /// The profile; none for the reader.
    profile: Option<&'a ProfileName>,
    secret: &'a SecretReference,
    digest: &'a Digest,
    destination: Destination,
}

impl Use<'_> {
    fn user(&self) -> String {
        self.profile.map_or_else(|| "`verify.reader`".to_owned(), |name| format!("profile `{name}`"))
    }

    fn refuse(&self, code: Code, why: &str, remedy: String) -> HttpProblem {
        HttpProblem::new(code, format!("the secret `{}` of {}: {why}", self.secret, self.user())).remedy(remedy)
    }

    fn refuse_redirected(&self, redirected: &Redirected, environment: &EnvironmentName) -> HttpProblem {
        HttpProblem::new(
            Code::SecretRedirected,
            format!(
                "the secret `{}` of {} {} and would travel to {}",
                self.secret,
                self.user(),
                accepted_for_words(redirected.accepted_for.as_deref()),
                redirected.destination
            ),
        )
        .remedy(format!(
            "If the new place is meant, somebody who knows the value seals it again: mailwright secrets set {environment} {}",
            self.secret
        ))
    }
}

/// Every use of an age file by a change.
fn uses(change: &Change) -> Result<Vec<Use<'_>>, HttpProblem> {
    let mut uses = Vec::new();
    for profile_change in &change.changes {
        let Some(stored) = profile_change.profile() else { continue };
        let named = stored.profile.provider.secret().map(|(reference, _)| reference);
        if !stored.secrets.keys().eq(named) {
            return Err(HttpProblem::malformed(format!(
                "the secrets of `{}` are not exactly those that its provider names",
                profile_change.name()
            )));
        }
        let is_rotation = |(reference, next): (&SecretReference, &Digest)| {
            stored.secrets.get(reference).is_some_and(|own| own != next)
        };
        if !stored.next.iter().all(is_rotation) {
            return Err(HttpProblem::malformed(format!(
                "the next secrets of `{}` are not others of those that it has",
                profile_change.name()
            )));
        }
        uses.extend(stored.age_files().map(|(secret, digest)| Use {
            profile: Some(profile_change.name()),
            secret,
            digest,
            destination: stored.profile.provider.destination(),
        }));
    }
    if let Some(reader) = change.settings.as_ref().and_then(|settings| settings.reader.as_ref()) {
        if reader.application.credential.secret().is_some() != reader.secret.is_some() {
            return Err(HttpProblem::malformed("the secret of `reader` is not the one that it names"));
        }
        let destination = reader.application.destination();
        uses.extend(reader.age_file().map(|(secret, digest)| Use { profile: None, secret, digest, destination }));
    }
    Ok(uses)
}

/// What the check of a change's secrets needs of the store and of the request.
struct Secrets {
    /// What is known of the age files that the change names.
    records: Vec<SecretRecord>,
    /// The age files that were sent along.
    sent: BTreeMap<Digest, Result<Sent, Unfit>>,
    /// Where the values in them were first accepted for, by the ids that they are bound under.
    accepted: BTreeMap<String, Destination>,
}

/// An age file as it was sent.
struct Sent {
    age_file: Vec<u8>,
    header: Header,
}

/// Why what was sent is not the age file that was named.
enum Unfit {
    TooLarge,
    NotBase64,
    OtherDigest,
    NotAge(NotAge),
}

fn read_sent(sent: &BTreeMap<Digest, String>) -> BTreeMap<Digest, Result<Sent, Unfit>> {
    let read = |digest: &Digest, text: &String| {
        if text.len() > FILE_LIMIT * 4 / 3 + 4 {
            return Err(Unfit::TooLarge);
        }
        let age_file = BASE64_STANDARD.decode(text).map_err(|_| Unfit::NotBase64)?;
        let header = Header::read(&age_file).map_err(Unfit::NotAge)?;
        if header.digest == *digest { Ok(Sent { age_file, header }) } else { Err(Unfit::OtherDigest) }
    };
    sent.par_iter().map(|(digest, text)| (digest.clone(), read(digest, text))).collect()
}

/// Where the values of a change are meant to go: as they were accepted before, and as this change uses them.
struct Meant<'a> {
    environment: &'a EnvironmentName,
    accepted: BTreeMap<String, Destination>,
    /// Values that this change brings, by the ids that they are bound under.
    here: HashMap<String, Destination>,
}

impl Meant<'_> {
    fn check_known(&self, record: &SecretRecord, destination: &Destination) -> Result<(), Redirected> {
        let accepted_for = Some(&record.destination);
        Purpose { environment: self.environment, destination, accepted_for }.check(record.sealed_for.as_ref())
    }

    fn check_new(&mut self, header: &Header, destination: &Destination) -> Result<(), Redirected> {
        let id = header.bound_id().as_str().to_owned();
        let accepted_for = match (self.accepted.get(&id), self.here.get(&id)) {
            (Some(accepted), _) => Some(accepted),
            // Two profiles of this change share it: the weaker connection admits the other.
            (None, Some(here)) if destination.admits(here) => None,
            (None, here) => here,
        };
        Purpose { environment: self.environment, destination, accepted_for }.check(header.sealed_for.as_ref())?;
        if accepted_for.is_none() {
            self.here.insert(id, destination.clone());
        }
        Ok(())
    }

    /// Where a value is accepted for, after all of its uses were checked.
    fn destination(&self, header: &Header) -> Option<&Destination> {
        let id = header.bound_id();
        self.accepted.get(id.as_str()).or_else(|| self.here.get(id.as_str()))
    }
}

fn open_sent(
    used: &Use<'_>,
    sent: Option<&Result<Sent, Unfit>>,
    meant: &Meant<'_>,
    identity: &ServiceIdentity,
) -> Result<NewSecret, HttpProblem> {
    let set = format!("mailwright secrets set {} {}", meant.environment, used.secret);
    let seal_again = format!("Take the file from Git again, or seal the value once more: {set}");
    let again = || "Plan and apply again.".to_owned();
    let Sent { age_file, header } = match sent {
        None => {
            let digest = used.digest.short();
            let why = format!("the service does not have its age file ({digest}), and it was not sent");
            return Err(used.refuse(Code::SecretNotSent, &why, again()));
        }
        Some(Err(Unfit::TooLarge)) => {
            let why = format!("its age file has more than {FILE_LIMIT} bytes");
            return Err(used.refuse(Code::TooLarge, &why, "Seal a smaller value.".to_owned()));
        }
        Some(Err(Unfit::NotBase64)) => {
            return Err(used.refuse(Code::MalformedRequest, "its age file is not base64", again()));
        }
        Some(Err(Unfit::OtherDigest)) => {
            let why = "its age file does not have the digest that was planned with";
            return Err(used.refuse(Code::DigestMismatch, why, again()));
        }
        Some(Err(Unfit::NotAge(error))) => {
            return Err(used.refuse(Code::NotAgeFile, &error.to_string(), seal_again));
        }
        Some(Ok(sent)) => sent,
    };
    let accepted_for = meant.destination(header).unwrap_or(&used.destination);
    let purpose =
        Purpose { environment: meant.environment, destination: &used.destination, accepted_for: Some(accepted_for) };
    // Opened to know that it can be and what it is, and wiped at once.
    let value = identity.open_for(age_file, &purpose).map_err(|error| {
        let remedy = match &error {
            OpenError::Redirected(redirected) => return used.refuse_redirected(redirected, meant.environment),
            // Somebody else may still be able to open it.
            OpenError::NotForUs => format!(
                "Put the service's recipient, {}, into recipients.txt, and then: mailwright secrets rekey {}, or {set}",
                identity.recipient(),
                meant.environment
            ),
            OpenError::Size | OpenError::Masked => format!("Seal the real value: {set}"),
            OpenError::NotAge | OpenError::Tampered | OpenError::Key(_) => seal_again,
        };
        used.refuse(Code::SecretNotOpenable, &error.to_string(), remedy)
    })?;
    credential::text(used.destination.kind(), value.expose_secret()).map_err(|unfit| {
        used.refuse(Code::SecretUnfit, &unfit.to_string(), format!("{} Seal it with: {set}", unfit.remedy()))
    })?;
    drop(value);
    let record = SecretRecord {
        digest: used.digest.clone(),
        value_id: Some(header.bound_id().as_str().to_owned()),
        sealed_for: header.sealed_for.clone(),
        destination: accepted_for.clone(),
    };
    Ok(NewSecret { record, age_file: age_file.clone() })
}

/// A federated token goes where the service's option says, whether a profile or the environment's reader names its file.
fn check_federated(environment: &EnvironmentName, change: &Change, files: &FederatedFiles) -> Result<(), HttpProblem> {
    let profiles = change.changes.iter().filter_map(|profile_change| {
        let provider = &profile_change.profile()?.profile.provider;
        let path = federated::file_of(provider)?;
        Some((format!("profile `{}`", profile_change.name()), path, provider.destination()))
    });
    let reader = change.settings.iter().filter_map(|settings| {
        let application = &settings.reader.as_ref()?.application;
        let path = application.credential.federated_token_file()?;
        Some(("`verify.reader`".to_owned(), path, application.destination()))
    });
    for (place, path, destination) in profiles.chain(reader) {
        let Some(why) = files.refusal(path, environment, &destination) else { continue };
        return Err(HttpProblem::new(
            Code::FederatedTokenRedirected,
            format!("the federated token of {place}, `{path}`: {why}"),
        )
        .remedy(format!(
            "If that is meant, the service's operator says so, and starts it again: {}",
            federated::option(path, environment, &destination)
        )));
    }
    Ok(())
}

fn summary(change: &Change) -> ChangeSummary {
    let mut summary = ChangeSummary { settings: change.settings.is_some(), ..ChangeSummary::default() };
    for change in &change.changes {
        match change {
            ProfileChange::Create { .. } => summary.added += 1,
            ProfileChange::Update { .. } => summary.changed += 1,
            ProfileChange::Rename { .. } => summary.renamed += 1,
            ProfileChange::Adopt { .. } => summary.adopted += 1,
            ProfileChange::Delete { .. } => summary.destroyed += 1,
            ProfileChange::Forget { .. } => summary.forgotten += 1,
        }
    }
    summary
}
