//! One environment: bring it to what the files say, check it, take it back. Questions are asked again where nobody
//! answered; a refusal is never asked again.

use std::{collections::BTreeMap, time::Duration};

use uuid::Uuid;

use super::{
    Event, Material, Problem, Purpose,
    journal::Outcome,
    lock::Held,
    run::{Back, Became, EnvironmentRun, Intent},
};
use crate::{
    api::{ChangesetOutcome, Rollback, VerifyRequest, messages::Submission},
    client::Client,
    config::Desired,
    model::{
        Allowances, ChangeKind, Changeset, Code, EnvironmentName, Generation, Lapse, ProfileName, State, Status,
        finding::{Limit, Report},
        rollout::{Checks, FailedDeliveries, Probe},
    },
    reconcile::{self, Plan, PlanRequest, Planned, attachments},
    time::Clock,
    verify::gate,
};

/// The value; or the environment's failure, which is no failure of the journal.
macro_rules! or_fail {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(problem) => return Ok(Err(problem)),
        }
    };
}

/// How long to wait before the first repetition of a question; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// And at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a plan is made anew because somebody changed the environment in between.
const PLANS: usize = 3;

/// What a step may write into the journal while it is at it.
pub(super) trait Note {
    /// Writes an intent; the step goes on only once it is durable.
    async fn note(&self, event: Event) -> Result<(), Problem>;
}

/// Whether a question may be asked again: nobody answered, or somebody asked for patience.
fn is_transient(code: Code) -> bool {
    matches!(code, Code::ServiceUnreachable | Code::IncompleteAnswer | Code::Busy)
}

/// Asks until there is an answer or a refusal; whoever calls sets the end. What was said last is kept for the case that
/// time runs out.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, Problem>>>(
    last: &Last,
    ask: impl FnMut() -> F,
) -> Result<T, Problem> {
    patiently_while(|| Ok(()), last, ask).await
}

/// The same, as long as it may be asked.
async fn patiently_while<T, F: Future<Output = Result<T, Problem>>>(
    may: impl Fn() -> Result<(), Problem>,
    last: &Last,
    mut ask: impl FnMut() -> F,
) -> Result<T, Problem> {
    let mut pause = FIRST_PAUSE;
    loop {
        may()?;
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if is_transient(error.code) => {
                last.set(error.condensed());
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error.condensed()),
        }
    }
}

/// What was said last, where nobody has answered well.
#[derive(Default)]
pub(crate) struct Last(std::sync::Mutex<Option<Problem>>);

impl Last {
    fn set(&self, problem: Problem) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(problem);
    }

    /// Why there is no answer after all that time.
    pub(crate) fn too_long(&self, deadline: Lapse) -> Problem {
        let last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        match last {
            Some(problem) => {
                Problem { message: format!("{} (asked again for {deadline})", problem.message), ..problem }
            }
            None => Problem::new(Code::DeadlineExceeded, format!("the service took longer than {deadline}"))
                .remedy("Look at why it is slow, or raise `deadline` in the rollout's file."),
        }
    }
}

/// What one environment needs.
pub(super) struct Target<'a> {
    pub(super) name: &'a EnvironmentName,
    pub(super) material: &'a Material,
    pub(super) clock: &'a Clock,
    /// Whether the lease is held; none for whoever only looks.
    pub(super) held: Option<&'a Held>,
    pub(super) deadline: Lapse,
}

impl Target<'_> {
    /// Nothing is sent by a run that may have lost its lease: somebody else may be at it. What was sent in time and
    /// arrives late does no harm, since the service takes it on the generation that it was computed from or not at all.
    fn still_held(&self) -> Result<(), Problem> {
        if self.held.is_some_and(Held::now) {
            return Ok(());
        }
        Err(Problem::new(Code::LeaseLost, "the lease may be somebody else's by now, so nothing was sent"))
    }

    fn desired(&self) -> Result<&Desired, Problem> {
        self.material.desired.get(self.name).map(AsRef::as_ref).ok_or_else(|| {
            Problem::new(Code::UnknownEnvironment, format!("the files have no environment `{}`", self.name))
        })
    }

    async fn state(&self, client: &Client, last: &Last) -> Result<State, Problem> {
        let state = patiently(last, || client.state()).await?;
        if state.environment == *self.name {
            return Ok(state);
        }
        Err(Problem::new(
            Code::WrongEnvironment,
            format!("the service at {} belongs to environment `{}`", client.address(), state.environment),
        )
        .remedy("Correct the address in its environment.yaml. A service serves one environment."))
    }

    fn plan(&self, state: &State, client: &Client) -> Result<Planned, Problem> {
        // What the verifier said before plays no part; without it, equal plans have equal changesets.
        reconcile::plan(&PlanRequest {
            source: self.material.source.clone(),
            ..PlanRequest::new(self.desired()?, state, client.address())
        })
        .map_err(|error| Problem::new(error.code(), error.to_string()).remedy(error.remedy()))
    }

    /// What would change.
    pub(super) async fn planned(&self) -> Result<Plan, Problem> {
        let last = Last::default();
        let work = async {
            let client = self.material.client(self.name, Purpose::Deploy)?;
            let state = self.state(&client, &last).await?;
            Ok(self.plan(&state, &client)?.plan)
        };
        let result = tokio::time::timeout(self.deadline.duration(), work).await;
        result.unwrap_or_else(|_| Err(last.too_long(self.deadline)))
    }

    /// Brings it to what the files say. `Err` is the journal's failure; everything else is an outcome.
    pub(super) async fn apply(&self, known: &EnvironmentRun, journal: &impl Note) -> Result<Outcome, Problem> {
        let last = Last::default();
        let work = self.apply_in_time(known, journal, &last);
        match tokio::time::timeout(self.deadline.duration(), work).await {
            Ok(Ok(Ok(outcome))) => Ok(outcome),
            Ok(Ok(Err(problem))) => Ok(Outcome::Failed { problem }),
            Ok(Err(unwritable)) => Err(unwritable),
            Err(_) => Ok(Outcome::Failed { problem: last.too_long(self.deadline) }),
        }
    }

    async fn apply_in_time(
        &self,
        known: &EnvironmentRun,
        journal: &impl Note,
        last: &Last,
    ) -> Result<Result<Outcome, Problem>, Problem> {
        let client = or_fail!(self.material.client(self.name, Purpose::Deploy));
        let mut intents = known.open.clone();
        if let Some(outcome) = or_fail!(came_of(&client, &intents, last).await) {
            return Ok(Ok(outcome));
        }
        for _ in 0..PLANS {
            let state = or_fail!(self.state(&client, last).await);
            or_fail!(self.still_held());
            let mut planned = or_fail!(self.plan(&state, &client));
            if planned.plan.has_nothing_to_send() {
                return Ok(Ok(Outcome::AlreadySo { generation: state.generation }));
            }
            or_fail!(blocked(&planned.plan));
            or_fail!(self.attach(&mut planned, &state));
            if self.material.file.gate {
                or_fail!(self.gate(&client, &planned.changeset, last).await);
            } else {
                planned.changeset.allowances.unverified = true;
            }
            let summary = planned.plan.summary_line().trim_start_matches("Plan: ").trim_end_matches('.').to_owned();
            let intent = Intent { changeset: planned.changeset.id, base: state.generation, summary };
            journal
                .note(Event::Intended {
                    environment: self.name.clone(),
                    changeset: intent.changeset,
                    base: intent.base,
                    summary: intent.summary.clone(),
                })
                .await?;
            intents.push(intent.clone());
            // Sent as often as it takes: the service takes a changeset once.
            let held = || self.still_held();
            match patiently_while(held, last, || client.apply(&planned.changeset, false)).await {
                Ok(result) => {
                    debug_assert!(result.outcome != ChangesetOutcome::DryRun);
                    let Intent { base: before, summary, .. } = intent;
                    return Ok(Ok(Outcome::Applied { generation: result.generation, before, summary }));
                }
                // It was changed in between: by one of our own earlier attempts, or by somebody else.
                Err(problem) if problem.code == Code::StaleGeneration => {
                    last.set(problem);
                    if let Some(outcome) = or_fail!(came_of(&client, &intents, last).await) {
                        return Ok(Ok(outcome));
                    }
                }
                Err(problem) => return Ok(Err(problem)),
            }
        }
        Ok(Err(Problem::new(
            Code::StaleGeneration,
            format!("somebody else keeps changing it: {PLANS} plans were out of date when they were sent"),
        )
        .remedy("`mailwright history ENV` shows who. Nothing of these plans was taken.")))
    }

    fn attach(&self, planned: &mut Planned, state: &State) -> Result<(), Problem> {
        let files = attachments::required_age_files(self.desired()?, state, &planned.changeset);
        attachments::attach(&mut planned.changeset, &files, &self.material.root).map_err(|error| {
            Problem::new(Code::PlanOutdated, error.to_string()).remedy("Put the file back, and resume.")
        })
    }

    /// The service verifies what changes; an error in it stops this environment.
    async fn gate(&self, client: &Client, changeset: &Changeset, last: &Last) -> Result<(), Problem> {
        let desired = self.desired()?;
        let Some(request) = gate::request(changeset, Some((&self.material.root, desired))) else { return Ok(()) };
        self.verify(client, &request, desired, last).await.map_err(|problem| {
            if problem.code == Code::VerifyFailed {
                problem.remedy("`mailwright verify ENV` says how to mend it. If it is accepted for a time: a waiver.")
            } else {
                problem
            }
        })
    }

    async fn verify(
        &self,
        client: &Client,
        request: &VerifyRequest,
        desired: &Desired,
        last: &Last,
    ) -> Result<(), Problem> {
        verified(client, request, desired, self.clock, last).await
    }

    /// Makes the checks, the quick ones first. Gives what does not hold.
    pub(super) async fn check(&self, checks: &Checks, known: &EnvironmentRun, run: Uuid) -> Result<(), Problem> {
        let last = Last::default();
        let within = checks.probe.as_ref().map_or(Duration::ZERO, |probe| probe.within.duration());
        let work = async {
            let client = self.material.client(self.name, Purpose::Deploy)?;
            let state = self.state(&client, &last).await?;
            if checks.drift.is_some() {
                no_drift(&state)?;
            }
            if let Some(wanted) = checks.failed_deliveries {
                self.few_fail(&client, wanted, known, &last).await?;
            }
            if checks.verify.is_some() {
                self.verify_clean(&client, &last).await?;
            }
            if let Some(probe) = &checks.probe {
                self.probe(probe, &state, &format!("rollout-{run}-{}-{}", self.name, known.checks), &last).await?;
            }
            Ok(())
        };
        let result = tokio::time::timeout(self.deadline.duration() + within, work).await;
        result.unwrap_or_else(|_| Err(last.too_long(self.deadline)))
    }

    async fn verify_clean(&self, client: &Client, last: &Last) -> Result<(), Problem> {
        let desired = self.desired()?;
        let profiles: BTreeMap<_, _> = desired
            .profiles
            .iter()
            .filter(|(_, profile)| profile.stored.profile.enabled)
            .map(|(name, profile)| (name.clone(), profile.stored.clone()))
            .collect();
        let request = VerifyRequest {
            environment: self.name.clone(),
            siblings: gate::beside(desired, &profiles),
            profiles,
            // The service has the others: the change was taken.
            secrets: gate::reader_file(&self.material.root, desired).into_iter().collect(),
            credential_days: desired.verify.credential_days,
            probe: false,
            reader: gate::reading(desired),
            reader_token: None,
        };
        self.verify(client, &request, desired, last).await.map_err(|problem| {
            if problem.code == Code::VerifyFailed { failed_check("verify", &problem.message) } else { problem }
        })
    }

    /// Counts only what came to its end since the change: what failed before says nothing of it.
    async fn few_fail(
        &self,
        client: &Client,
        wanted: FailedDeliveries,
        known: &EnvironmentRun,
        last: &Last,
    ) -> Result<(), Problem> {
        let since = known.at.map_or(0, |at| self.clock.now().as_second().saturating_sub(at.as_second()));
        let over = u32::try_from(since.max(1)).unwrap_or(u32::MAX);
        let over = over.min(u32::try_from(wanted.over.duration().as_secs()).unwrap_or(u32::MAX)).clamp(1, 2_592_000);
        let outbox = patiently(last, || client.outbox_finished_within(over)).await?;
        let ended = outbox.finished.unwrap_or_default();
        let count = |status: Status| ended.get(&status).copied().unwrap_or_default();
        let bad = count(Status::Failed) + count(Status::Unknown);
        let whole = bad + count(Status::Delivered);
        if wanted.below.is_above(bad, whole) {
            return Ok(());
        }
        let what = format!(
            "{bad} of {whole} deliveries failed or are unknown within {over} s, and fewer than {} may",
            wanted.below
        );
        Err(failed_check("failedDeliveries", &what))
    }

    async fn probe(&self, probe: &Probe, state: &State, key: &str, last: &Last) -> Result<(), Problem> {
        let client = self.material.client(self.name, Purpose::Probe)?;
        let company = probe.company.clone().or_else(|| state.settings.companies.first().cloned());
        let company = company.ok_or_else(|| failed_check("probe", "the environment has no company to send for"))?;
        let mut submission = Submission::new(company, probe.function);
        submission.to = vec![probe.to.clone()];
        submission.subject = format!("Probe of {}", self.name);
        submission.text = Some("This mail shows that mail still leaves. Nobody need do anything.\n".to_owned());
        // The same key each time: however often it is asked, one mail is sent.
        let mut message = patiently(last, || client.submit(&submission, Some(key))).await.map_err(|problem| {
            if problem.code == Code::RoleTooLow {
                problem
                    .remedy("Submitting needs a token of role `sender` or `admin`: give it with `--probe-token-file`.")
            } else {
                problem
            }
        })?;
        let until = tokio::time::Instant::now() + probe.within.duration();
        let mut pause = FIRST_PAUSE;
        while !message.status.is_final() && tokio::time::Instant::now() < until {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
            message = patiently(last, || client.message(message.id)).await?.message;
        }
        if message.status == Status::Delivered {
            return Ok(());
        }
        let said: String = message.reason.chars().filter(|c| !c.is_control()).take(200).collect();
        let said = if said.is_empty() { said } else { format!(": {said}") };
        let what = format!("the mail {} to {} is {}{said}", message.id, probe.to, message.status.id());
        Err(failed_check("probe", &what))
    }

    /// Takes it back to the generation that it had; or says why not. Gives the generation that it is at then, and none
    /// if there was nothing to take back. The outer error is the journal's.
    pub(super) async fn take_back(
        &self,
        known: &EnvironmentRun,
        journal: &impl Note,
        to_nothing: bool,
    ) -> Result<Result<Option<u64>, Problem>, Problem> {
        let last = Last::default();
        let work = self.take_back_in_time(known, journal, to_nothing, &last);
        let result = tokio::time::timeout(self.deadline.duration(), work).await;
        result.unwrap_or_else(|_| Ok(Err(last.too_long(self.deadline))))
    }

    async fn take_back_in_time(
        &self,
        known: &EnvironmentRun,
        journal: &impl Note,
        to_nothing: bool,
        last: &Last,
    ) -> Result<Result<Option<u64>, Problem>, Problem> {
        let client = or_fail!(self.material.client(self.name, Purpose::Deploy));
        let made = match known.became {
            Became::Applied { generation, before } => Some((generation, before)),
            // What was sent and never answered may have been taken all the same.
            _ => match or_fail!(came_of(&client, &known.open, last).await) {
                Some(Outcome::Applied { generation, before, .. }) => Some((generation, before)),
                _ => None,
            },
        };
        let Some((ours, before)) = made else { return Ok(Ok(None)) };
        if before == 0 && !to_nothing {
            let what = "it held nothing before, and nobody said that it shall hold nothing again";
            let remedy = format!(
                "If that is meant: `mailwright rollout abort NAME --take-back --to-nothing`, or for this one: mailwright rollback {} --to 0",
                self.name
            );
            return Ok(Err(Problem::new(Code::NoPreviousGeneration, what).remedy(remedy)));
        }
        let state = or_fail!(self.state(&client, last).await);
        if state.generation != ours {
            return Ok(already_back(&client, ours, before, last).await);
        }
        let target = match before {
            0 => BTreeMap::new(),
            before => or_fail!(patiently(last, || client.generation(before)).await).profiles,
        };
        // That what the rollout brought goes again is meant, whoever sends for less afterwards.
        let names = state.live_stored().filter(|(name, stored)| target.get(*name) != Some(*stored));
        let allowances = Allowances { names: names.map(|(name, _)| name.clone()).collect(), ..Allowances::default() };
        let order = Rollback { to: before, base: ours, allowances, approvals: Vec::new() };
        or_fail!(self.still_held());
        if known.back != Some(Back::Asked { base: ours, to: before }) {
            journal.note(Event::BackIntended { environment: self.name.clone(), base: ours, to: before }).await?;
        }
        match patiently_while(|| self.still_held(), last, || client.roll_back(&order)).await {
            Ok(changed) => Ok(Ok(Some(changed.generation))),
            // The answer to an earlier asking was lost, or somebody changed it just now.
            Err(problem) if problem.code == Code::StaleGeneration => {
                Ok(already_back(&client, ours, before, last).await)
            }
            Err(problem) => Ok(Err(problem)),
        }
    }
}

/// The service verifies, and errors in what it finds are the failure.
pub(crate) async fn verified(
    client: &Client,
    request: &VerifyRequest,
    desired: &Desired,
    clock: &Clock,
    last: &Last,
) -> Result<(), Problem> {
    let ask = async || {
        let mut profiles = Vec::new();
        let (findings, requests) = client.verify(request, |verified| profiles.push(verified)).await?;
        profiles.sort_by(|a: &crate::model::finding::Verified, b| a.profile.cmp(&b.profile));
        let environment = desired.environment.to_string();
        Ok(Report { format_version: Report::FORMAT_VERSION, environment, profiles, findings, requests })
    };
    let mut report = patiently(last, ask).await?;
    let failed = gate::judge(&mut report, Some(desired), clock.now(), Limit::Error);
    let Some(first) = failed.first() else { return Ok(()) };
    let why = report
        .open()
        .find(|finding| {
            finding.severity == crate::model::finding::Severity::Error && finding.profile.as_ref() == Some(first)
        })
        .map(|finding| format!(": {} {}", finding.id.id(), finding.message))
        .unwrap_or_default();
    let names = failed.iter().take(5).map(ProfileName::as_str).collect::<Vec<_>>().join(", ");
    Err(Problem::new(Code::VerifyFailed, format!("verify found errors in {names}{why}")))
}

/// What came of changesets that may have been sent: the first generation that is one of theirs.
async fn came_of(client: &Client, intents: &[Intent], last: &Last) -> Result<Option<Outcome>, Problem> {
    for intent in intents {
        let made = generation(client, intent.base + 1, last).await?;
        if let Some(made) = made.filter(|made| made.changeset == Some(intent.changeset)) {
            let Intent { base: before, summary, .. } = intent.clone();
            return Ok(Some(Outcome::Applied { generation: made.number, before, summary }));
        }
    }
    Ok(None)
}

/// One generation without what was live at it; none if there is none.
async fn generation(client: &Client, number: u64, last: &Last) -> Result<Option<Generation>, Problem> {
    let page = patiently(last, || client.generations(Some(number + 1), 1)).await?;
    Ok(page.generations.into_iter().next().filter(|found| found.number == number))
}

/// Whether what came after our generation is the way back that we asked for.
async fn already_back(client: &Client, ours: u64, before: u64, last: &Last) -> Result<Option<u64>, Problem> {
    let next = generation(client, ours + 1, last).await?;
    match next {
        Some(next) if next.kind == ChangeKind::Rollback && next.rolled_back_to == Some(before) => Ok(Some(next.number)),
        Some(next) => Err(Problem::new(
            Code::ChangedMeanwhile,
            format!(
                "`{}` changed it since (generation {}, {}), so it is not taken back",
                next.by,
                next.number,
                next.kind.id()
            ),
        )
        .remedy(format!("`mailwright rollback ENV --to {before}` goes back all the same."))),
        None => Err(Problem::new(
            Code::ChangedMeanwhile,
            format!("its service no longer has generation {ours}: its store is another one"),
        )),
    }
}

/// What the plan itself says it cannot get past.
pub(crate) fn blocked(plan: &Plan) -> Result<(), Problem> {
    if let Some(secret) = plan.redirected.first() {
        return Err(Problem::new(
            Code::SecretRedirected,
            format!(
                "the secret `{}` of `{}` would travel to {}, and {}",
                secret.secret,
                secret.user(),
                secret.would_go_to,
                secret.describe_acceptance()
            ),
        )
        .remedy(format!("If the new place is meant: mailwright secrets set {} {}", plan.environment, secret.secret)));
    }
    let Some(guard) = plan.guards.first() else { return Ok(()) };
    Err(Problem::new(Code::DeletionGuarded, guard.message()).remedy(format!(
        "Nothing lifts a guard by itself. If it is meant, apply this environment by itself: mailwright apply {} --allow-deletes {}",
        plan.environment,
        guard.allowance()
    )))
}

fn no_drift(state: &State) -> Result<(), Problem> {
    let drift = crate::changes::drift::drift(state);
    let Some(first) = drift.first() else { return Ok(()) };
    let what = first.name.as_ref().map_or("the environment's settings".to_owned(), |name| format!("`{name}`"));
    let by = first.by.as_ref().map(|by| format!(" by `{}` (generation {})", by.by, by.generation)).unwrap_or_default();
    let more = if drift.len() > 1 { format!(" and {} more", drift.len() - 1) } else { String::new() };
    Err(failed_check("drift", &format!("{what}{more} was changed outside Git{by}")))
}

fn failed_check(check: &str, what: &str) -> Problem {
    Problem::new(Code::CheckFailed, format!("{check}: {what}"))
}
