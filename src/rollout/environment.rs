//! The steps of a rollout in one environment: plan, apply, roll back. The checks after an apply are in `checks`.
//!
//! [`EnvironmentTask`] runs a step within a deadline; apply and rollback change the service only while the run holds its lease. Apply
//! has the service verify the profiles first, unless the rollout sets `gate: false`, and plans again if another client changed the
//! environment. Before a changeset is sent to the service, its id and base generation are written to the journal (an `Intent`);
//! before a rollback, its two generations. So a resumed run can find out from the service if the request was accepted. A step fails
//! for its environment alone when it is refused, when its deadline has passed, when the lease is lost, or when three plans in a row
//! were out of date; a journal that cannot be written ends the rollout. An environment that another client has changed since the
//! apply, or that was empty before the run and must not be emptied, is not rolled back. The order of environments is decided in
//! `engine`.

use std::collections::BTreeMap;

use super::{
    Event, JournalWriter, LoadedRollout,
    journal::ApplyOutcome,
    run::{EnvironmentOutcome, EnvironmentRun, Intent, RollbackStatus},
};
use crate::{
    api::{ChangesetOutcome, Rollback},
    client::Client,
    config::Desired,
    model::{Allowances, Code, EnvironmentName, HumanDuration, Problem, ProfileName, State},
    operations::{
        AllowedPart, ClientPurpose, EnvironmentFiles, LeaseMonitor, MAX_PLANS, Retry, blockers, fetch_generation,
        fetch_state, gate, rollback, select_allowed,
    },
    reconcile::{self, Plan, PlanRequest, Planned},
    time::Clock,
};

/// The failure of a step.
#[derive(Debug)]
pub(super) enum StepError {
    /// The environment failed; the rollout goes on with others.
    Environment(Problem),
    /// The journal cannot be written; the rollout ends.
    Journal(Problem),
}

impl From<Problem> for StepError {
    fn from(problem: Problem) -> Self {
        StepError::Environment(problem)
    }
}

impl StepError {
    /// Separates the failure of the environment, which is the inner result, from that of the journal.
    pub(super) fn split<T>(result: Result<T, StepError>) -> Result<Result<T, Problem>, Problem> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(StepError::Environment(problem)) => Ok(Err(problem)),
            Err(StepError::Journal(problem)) => Err(problem),
        }
    }
}

/// One environment of a rollout, and the limits of its steps.
pub(super) struct EnvironmentTask<'a> {
    pub(super) name: &'a EnvironmentName,
    pub(super) rollout: &'a LoadedRollout,
    pub(super) clock: &'a Clock,
    /// The lease of the run; none for steps that only read.
    pub(super) lease: Option<&'a LeaseMonitor>,
    /// True if the environment's `watch.drift` decides about changes made outside Git. They are undone otherwise.
    pub(super) obeys_watch: bool,
    /// The time limit of a step.
    pub(super) deadline: HumanDuration,
}

impl EnvironmentTask<'_> {
    /// Checks that the run still holds its lease. A request that was sent in time and arrives late does no harm: the service
    /// accepts it for the generation that it was computed from, or not at all.
    fn check_lease(&self) -> Result<(), Problem> {
        if self.lease.is_some_and(LeaseMonitor::is_held) {
            return Ok(());
        }
        Err(Problem::new(Code::LeaseLost, "the lease may have expired, so nothing was sent"))
    }

    pub(super) fn desired(&self) -> Result<&Desired, Problem> {
        self.rollout.desired.get(self.name).map(AsRef::as_ref).ok_or_else(|| {
            let unknown =
                || Problem::new(Code::UnknownEnvironment, format!("the files have no environment `{}`", self.name));
            self.rollout.invalid.get(self.name).cloned().unwrap_or_else(unknown)
        })
    }

    fn files(&self) -> Result<EnvironmentFiles<'_>, Problem> {
        let LoadedRollout { root, source, source_refusal, .. } = self.rollout;
        Ok(EnvironmentFiles { root, desired: self.desired()?, source, source_refusal: source_refusal.as_ref() })
    }

    pub(super) fn client(&self, purpose: ClientPurpose) -> Result<Client, Problem> {
        self.rollout.client(self.name, purpose)
    }

    pub(super) async fn fetch_state(&self, client: &Client, retry: &Retry) -> Result<State, Problem> {
        retry.run(|| fetch_state(client, self.name)).await
    }

    /// Returns the problem of a step that took longer than its deadline.
    pub(super) fn timed_out(&self, retry: &Retry) -> Problem {
        let file = &self.rollout.file.name;
        retry.timed_out(
            self.deadline,
            format!("Find out why the service is slow, or raise `deadline` in rollouts/{file}.yaml."),
        )
    }

    fn plan_changes(&self, state: &State, client: &Client) -> Result<Planned, Problem> {
        self.plan_profiles(state, client, &[])
    }

    /// Plans these profiles alone; everything without names.
    fn plan_profiles(&self, state: &State, client: &Client, only: &[ProfileName]) -> Result<Planned, Problem> {
        // Without earlier verifications, equal plans have equal changesets.
        reconcile::plan(&PlanRequest { only, ..self.files()?.plan_request(state, client.address()) })
    }

    /// Plans the changes that may be applied; none if there are none.
    fn plan_allowed(&self, state: &State, client: &Client) -> Result<Option<Planned>, Problem> {
        let planned = self.plan_changes(state, client)?;
        if planned.plan.has_nothing_to_send() {
            return Ok(None);
        }
        if !self.obeys_watch {
            return Ok(Some(planned));
        }
        match select_allowed(&planned.plan, true, self.desired()?.watch.drift)? {
            AllowedPart::All => Ok(Some(planned)),
            AllowedPart::Only(names) => self.plan_profiles(state, client, &names).map(Some),
            AllowedPart::Nothing => Ok(None),
        }
    }

    /// Plans the environment.
    pub(super) async fn plan(&self) -> Result<Plan, Problem> {
        let retry = Retry::default();
        let work = async {
            let client = self.client(ClientPurpose::Deploy)?;
            let state = self.fetch_state(&client, &retry).await?;
            Ok(self.plan_changes(&state, &client)?.plan)
        };
        let result = tokio::time::timeout(self.deadline.duration(), work).await;
        result.unwrap_or_else(|_| Err(self.timed_out(&retry)))
    }

    /// Applies the files to the environment.
    pub(super) async fn apply(
        &self,
        known: &EnvironmentRun,
        journal: &impl JournalWriter,
    ) -> Result<ApplyOutcome, StepError> {
        if let Some(problem) = self.rollout.invalid.get(self.name) {
            return Err(problem.clone().into());
        }
        let retry = Retry::default();
        let work = self.apply_within_deadline(known, journal, &retry);
        let result = tokio::time::timeout(self.deadline.duration(), work).await;
        result.unwrap_or_else(|_| Err(self.timed_out(&retry).into()))
    }

    async fn apply_within_deadline(
        &self,
        known: &EnvironmentRun,
        journal: &impl JournalWriter,
        retry: &Retry,
    ) -> Result<ApplyOutcome, StepError> {
        let client = self.client(ClientPurpose::Deploy)?;
        let mut intents = known.open.clone();
        if let Some(outcome) = find_applied_intent(&client, &intents, retry).await? {
            return Ok(outcome);
        }
        for _ in 0..MAX_PLANS {
            let state = self.fetch_state(&client, retry).await?;
            self.check_lease()?;
            let Some(mut planned) = self.plan_allowed(&state, &client)? else {
                return Ok(ApplyOutcome::Unchanged { generation: state.generation });
            };
            self.check_and_prepare(&client, &state, &mut planned, retry).await?;
            let intent = Intent {
                changeset: planned.changeset.id,
                base: state.generation,
                summary: planned.plan.summary_counts(),
            };
            let Intent { changeset, base, summary } = intent.clone();
            let intended = Event::Intended { environment: self.name.clone(), changeset, base, summary };
            journal.write(intended).await.map_err(StepError::Journal)?;
            intents.push(intent.clone());
            // The request can be repeated: the service accepts a changeset once.
            let lease = || self.check_lease();
            match retry.run_while(lease, || client.apply(&planned.changeset, false)).await {
                Ok(result) => {
                    debug_assert!(result.outcome != ChangesetOutcome::DryRun);
                    let Intent { base: before, summary, .. } = intent;
                    return Ok(ApplyOutcome::Applied { generation: result.generation, before, summary });
                }
                // The generation changed: by an earlier attempt of this run, or by another client.
                Err(problem) if problem.code == Code::StaleGeneration => {
                    retry.record(problem);
                    if let Some(outcome) = find_applied_intent(&client, &intents, retry).await? {
                        return Ok(outcome);
                    }
                }
                Err(problem) => return Err(problem.into()),
            }
        }
        Err(Problem::new(
            Code::StaleGeneration,
            format!(
                "other clients keep changing the environment: {MAX_PLANS} plans were out of date when they were sent"
            ),
        )
        .remedy(format!("`mailwright history {}` lists the changes. None of these plans was applied.", self.name))
        .into())
    }

    /// Checks that a plan may be sent, attaches its age files, and has the service verify it unless the rollout says not to.
    async fn check_and_prepare(
        &self,
        client: &Client,
        state: &State,
        planned: &mut Planned,
        retry: &Retry,
    ) -> Result<(), Problem> {
        let files = self.files()?;
        blockers::check_unattended(&planned.plan, files.source_refusal)?;
        let request = files.prepare(state, planned)?;
        if !self.rollout.file.gate {
            planned.changeset.allowances.unverified = true;
            return Ok(());
        }
        let Some(request) = request else { return Ok(()) };
        gate::check(client, &request, files.desired, self.clock, retry).await
    }

    /// Rolls the environment back to the generation that it had before the run. Returns the new generation, or none if the
    /// run did not change the environment.
    pub(super) async fn roll_back(
        &self,
        known: &EnvironmentRun,
        journal: &impl JournalWriter,
        to_empty: bool,
    ) -> Result<Option<u64>, StepError> {
        let retry = Retry::default();
        let work = self.roll_back_within_deadline(known, journal, to_empty, &retry);
        let result = tokio::time::timeout(self.deadline.duration(), work).await;
        result.unwrap_or_else(|_| Err(self.timed_out(&retry).into()))
    }

    async fn roll_back_within_deadline(
        &self,
        known: &EnvironmentRun,
        journal: &impl JournalWriter,
        to_empty: bool,
        retry: &Retry,
    ) -> Result<Option<u64>, StepError> {
        let client = self.client(ClientPurpose::Deploy)?;
        let applied = match known.outcome {
            EnvironmentOutcome::Applied { generation, before } => Some((generation, before)),
            // A changeset whose answer was lost may have been accepted.
            _ => match find_applied_intent(&client, &known.open, retry).await? {
                Some(ApplyOutcome::Applied { generation, before, .. }) => Some((generation, before)),
                _ => None,
            },
        };
        let Some((ours, before)) = applied else { return Ok(None) };
        if before == 0 && !to_empty {
            let (name, rollout) = (self.name, &self.rollout.file.name);
            let message =
                "the environment was empty before the run, and a rollback to the empty state was not requested";
            let remedy = format!(
                "To empty it: `mailwright rollout abort {rollout} --take-back --to-nothing`, or this environment alone: mailwright rollback {name} --to 0"
            );
            return Err(Problem::new(Code::NoPreviousGeneration, message).remedy(remedy).into());
        }
        let state = self.fetch_state(&client, retry).await?;
        if state.generation != ours {
            return Ok(Some(rollback::find_rollback(&client, self.name, ours, before, retry).await?));
        }
        let target = match before {
            0 => BTreeMap::new(),
            before => retry.run(|| client.generation(before)).await?.profiles,
        };
        // The loss of everything that the run brought is intended, whatever guards say.
        let names = state.live_stored().filter(|(name, stored)| target.get(*name) != Some(*stored));
        let allowances = Allowances { names: names.map(|(name, _)| name.clone()).collect(), ..Allowances::default() };
        let request = Rollback { to: before, base: ours, allowances, approvals: Vec::new() };
        self.check_lease()?;
        if known.rollback != Some(RollbackStatus::Requested { base: ours, to: before }) {
            let intended = Event::RollbackIntended { environment: self.name.clone(), base: ours, to: before };
            journal.write(intended).await.map_err(StepError::Journal)?;
        }
        Ok(Some(rollback::roll_back(&client, self.name, &request, retry, || self.check_lease()).await?))
    }
}

/// Finds the generation that one of the changesets created, which were sent without a known answer.
async fn find_applied_intent(
    client: &Client,
    intents: &[Intent],
    retry: &Retry,
) -> Result<Option<ApplyOutcome>, Problem> {
    for intent in intents {
        let created = fetch_generation(client, intent.base + 1, retry).await?;
        if let Some(created) = created.filter(|created| created.changeset == Some(intent.changeset)) {
            let Intent { base: before, summary, .. } = intent.clone();
            return Ok(Some(ApplyOutcome::Applied { generation: created.number, before, summary }));
        }
    }
    Ok(None)
}
