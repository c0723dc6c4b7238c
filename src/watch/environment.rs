//! One pass over one environment: read the state of its service, plan, apply if allowed, and record the status.
//!
//! The pass scheduler calls [`EnvironmentWatch::pass`], one at a time for an environment. Without the lease `watch` a pass plans
//! and applies nothing. A problem is recorded in the status, and reported if this watch holds the lease; it ends no other pass, and
//! the next one comes sooner. A plan that is out of date is made again, three times at most.

use std::{sync::Arc, time::Duration};

use super::{
    ExpiringCredential, Role, Shared,
    apply::{Applied, ApplyAttempt, Outcome, plan},
    checkout::blocking,
    credentials::CredentialMonitor,
    loader::{LoadedFiles, Loader},
    reports::{Condition, ReportKind},
};
use crate::{
    changes::{Drift, DriftKind, drift},
    client::Client,
    model::{Code, Digest, EnvironmentName, Problem, State, WatchSettings},
    operations::{ClientPurpose, Lease, MAX_PLANS, fetch_state},
    reconcile::Planned,
};

/// The name of the lease.
const LEASE: &str = "watch";
/// The time limit for reading the state of a service.
const READ_LIMIT: Duration = Duration::from_secs(60);
/// The number of objects that a report names.
const NAMED: usize = 10;

/// The outcome of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PassOutcome {
    /// The environment is as the files say, or waits for an operator. The next pass comes at the usual time.
    Settled,
    /// Something failed. The next pass comes soon.
    Failed,
    /// The watch ends.
    Stopped,
}

/// An environment, between passes.
pub(super) struct EnvironmentWatch {
    name: EnvironmentName,
    lease: Option<Lease>,
    settings: WatchSettings,
    loader: Loader,
    credentials: CredentialMonitor,
}

/// The environment's service, as it is before anything is planned.
struct Prepared {
    client: Client,
    state: State,
    /// The reason for which the lease cannot be acquired, unless another watch holds it.
    lease_problem: Option<Problem>,
    expiring: Option<Vec<ExpiringCredential>>,
}

/// The findings of a pass.
struct Findings {
    state: State,
    planned: Result<Planned, Problem>,
    commit: Option<String>,
    outcome: Outcome,
    applied: Option<Applied>,
    /// True if the state was not read again since something was applied.
    is_outdated: bool,
}

impl EnvironmentWatch {
    pub(super) fn new(name: EnvironmentName) -> Self {
        Self {
            lease: None,
            settings: WatchSettings::default(),
            loader: Loader::new(name.clone()),
            credentials: CredentialMonitor::new(name.clone()),
            name,
        }
    }

    /// Releases the lease.
    pub(super) async fn release(self) {
        if let Some(lease) = self.lease {
            lease.release().await;
        }
    }

    /// Returns true if this watch holds the lease.
    fn is_active(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| !*lease.lost().borrow())
    }

    /// Runs one pass.
    pub(super) async fn pass(mut self, shared: Arc<Shared>) -> (Self, PassOutcome) {
        let outcome = self.run_pass(&shared).await;
        (self, outcome)
    }

    async fn run_pass(&mut self, shared: &Shared) -> PassOutcome {
        let (address, files) = self.loader.load(shared).await;
        if let Ok(files) = &files {
            self.settings = files.desired.watch.clone();
        }
        let prepared = tokio::select! {
            prepared = self.prepare(shared, address, files.as_ref().ok()) => prepared,
            () = shared.stopped() => return PassOutcome::Stopped,
        };
        let Prepared { client, state, lease_problem, expiring } = match prepared {
            Ok(prepared) => prepared,
            Err(problem) => {
                // The address is in the files that were not loaded.
                let not_loaded = files.err().filter(|not_loaded| not_loaded.code == Code::DeadlineExceeded);
                let not_loaded = not_loaded.filter(|_| problem.code == Code::AddressMissing);
                return self.record_unreachable(shared, not_loaded.unwrap_or(problem));
            }
        };
        let findings = self.plan_and_apply(shared, &client, state, files).await;
        if matches!(findings.outcome, Outcome::Stopped) {
            return PassOutcome::Stopped;
        }
        self.report(shared, &findings, expiring.as_deref());
        self.record_status(shared, findings, expiring, lease_problem)
    }

    /// Reads the state of the service, and acquires the lease.
    async fn prepare(
        &mut self,
        shared: &Shared,
        address: Option<String>,
        files: Option<&LoadedFiles>,
    ) -> Result<Prepared, Problem> {
        let (client, state) = self.connect_and_read(shared, address).await?;
        let lease_problem = self.acquire_lease(shared, &client).await.err();
        shared.reports.set_conditions(
            &self.name,
            &self.settings.notify,
            &[ReportKind::EnvironmentUnreachable],
            Vec::new(),
        );
        let is_active = self.is_active();
        let expiring = match files {
            Some(files) => self.credentials.find_expiring(shared, &client, &state, files, is_active).await,
            None => None,
        };
        Ok(Prepared { client, state, lease_problem, expiring })
    }

    async fn connect_and_read(&self, shared: &Shared, address: Option<String>) -> Result<(Client, State), Problem> {
        let work = async {
            let (connect, name) = (Arc::clone(&shared.options.connect), self.name.clone());
            let client = blocking(move || connect(&name, address.as_deref(), ClientPurpose::Deploy)).await??;
            let state = fetch_state(&client, &self.name).await.map_err(Problem::condensed)?;
            Ok((client, state))
        };
        let slow = |_| {
            Err(Problem::new(Code::ServiceUnreachable, format!("the service did not answer within {READ_LIMIT:?}")))
        };
        tokio::time::timeout(READ_LIMIT, work).await.unwrap_or_else(slow)
    }

    /// Records that the state of the service cannot be read.
    fn record_unreachable(&self, shared: &Shared, problem: Problem) -> PassOutcome {
        tracing::warn!(
            environment = %self.name, code = problem.code.id(), problem = problem.message, remedy = problem.remedy,
            "cannot read the service state"
        );
        // A standby watch does not report: the active one does.
        if self.lease.is_some() || shared.environment_status(&self.name).role != Role::Standby {
            let kind = ReportKind::EnvironmentUnreachable;
            let condition = Condition::from_problem(kind, "service", problem.code.id(), &problem);
            shared.reports.set_conditions(&self.name, &self.settings.notify, &[kind], vec![condition]);
        }
        shared.set(|status| {
            if let Some(environment) = status.environments.get_mut(&self.name) {
                environment.problem = Some(problem);
                environment.errors += 1;
            }
        });
        PassOutcome::Failed
    }

    /// Acquires the lease if it is free. It is not a failure if another watch holds it.
    async fn acquire_lease(&mut self, shared: &Shared, client: &Client) -> Result<(), Problem> {
        if self.is_active() {
            return Ok(());
        }
        if self.lease.take().is_some() {
            tracing::warn!(environment = %self.name, "lease lost; switching to standby");
        }
        let (connect, name) = (Arc::clone(&shared.options.connect), self.name.clone());
        let address = client.address().to_owned();
        let own = blocking(move || connect(&name, Some(&address), ClientPurpose::Deploy)).await??;
        match Lease::acquire(own, LEASE, shared.options.holder.clone(), shared.options.lease_duration).await {
            Ok(lease) => {
                tracing::info!(environment = %self.name, "acquired the lease");
                self.lease = Some(lease);
                Ok(())
            }
            Err(problem) if problem.code == Code::LeaseHeld => {
                if shared.environment_status(&self.name).role != Role::Standby {
                    tracing::info!(environment = %self.name, reason = problem.message, "another watch holds the lease");
                }
                Ok(())
            }
            Err(problem) => Err(problem),
        }
    }

    /// Plans, and applies if this watch holds the lease and the settings allow it.
    async fn plan_and_apply(
        &mut self,
        shared: &Shared,
        client: &Client,
        mut state: State,
        mut files: Result<LoadedFiles, Problem>,
    ) -> Findings {
        let mut applied = None;
        let mut plans = 0;
        loop {
            let (planned, commit) = match &files {
                Ok(files) => (plan(files, &state, client, &[]), files.snapshot.source.commit.clone()),
                Err(problem) => (Err(problem.clone()), None),
            };
            let mut outcome = match (&files, &planned, &self.lease) {
                (Ok(files), Ok(planned), Some(lease)) if self.is_active() && applied.is_none() => {
                    let (name, settings, state) = (&self.name, &self.settings, &state);
                    ApplyAttempt { shared, name, settings, lease, client, files, state }.run(planned).await
                }
                _ => Outcome::Nothing,
            };
            plans += 1;
            let is_plan_outdated = matches!(&outcome, Outcome::Failed(problem)
                if matches!(problem.code, Code::StaleGeneration | Code::PlanOutdated));
            let mut is_outdated = false;
            if let Outcome::Applied(done) = outcome {
                applied = Some(done);
                outcome = Outcome::Nothing;
                is_outdated = true;
            } else if !is_plan_outdated || plans >= MAX_PLANS {
                return Findings { state, planned, commit, outcome, applied, is_outdated };
            }
            // The status is that after the apply.
            let again = tokio::select! {
                again = tokio::time::timeout(READ_LIMIT, fetch_state(client, &self.name)) => again.ok().and_then(Result::ok),
                () = shared.stopped() => None,
            };
            let Some(again) = again else { return Findings { state, planned, commit, outcome, applied, is_outdated } };
            state = again;
            if applied.is_none() {
                (_, files) = self.loader.load(shared).await;
            }
        }
    }

    /// Reports what is new, if this watch holds the lease.
    fn report(&self, shared: &Shared, findings: &Findings, expiring: Option<&[ExpiringCredential]>) {
        let notify = &self.settings.notify;
        if let Some(applied) = &findings.applied {
            shared.reports.report_event(&self.name, notify, ReportKind::ApplyDone, &applied.describe());
        }
        let failure = findings.planned.as_ref().err().or(match &findings.outcome {
            Outcome::Failed(problem) | Outcome::Delayed(problem) => Some(problem),
            _ => None,
        });
        if let Some(problem) = failure
            && !matches!(findings.outcome, Outcome::Delayed(_))
        {
            tracing::warn!(
                environment = %self.name, code = problem.code.id(), problem = problem.message, remedy = problem.remedy,
                "not applied"
            );
        }
        if !self.is_active() || findings.is_outdated {
            return;
        }
        let mut conditions = Vec::new();
        let drift = drift(&findings.state);
        if !drift.is_empty() {
            let digest = Digest::of_document(&drift).to_string();
            let remedy = format!(
                "`mailwright drift {0}` shows the change. Write it into the files to keep it; `mailwright apply {0}` undoes it.",
                self.name
            );
            conditions.push(Condition::new(ReportKind::DriftFound, "drift", &digest, &describe_drift(&drift), &remedy));
        }
        for credential in expiring.unwrap_or_default() {
            let key = format!("credential:{}:{}:{}", credential.profile, credential.secret, credential.ends);
            let remedy = format!("Get a new one, then: mailwright secrets rotate {} {}", self.name, credential.secret);
            conditions.push(Condition::new(ReportKind::CredentialExpiring, &key, "", &credential.describe(), &remedy));
        }
        // A plan that is refused again for the same reason is reported once, whatever the message.
        let plan_digest = |problem: &Problem| match &findings.planned {
            Ok(planned) => {
                format!(
                    "{} {}",
                    problem.code.id(),
                    Digest::of_document(&(&planned.plan.changes, &planned.plan.settings))
                )
            }
            Err(_) => format!("{} {}", problem.code.id(), problem.message),
        };
        match (&findings.outcome, failure) {
            (_, Some(problem)) => {
                conditions.push(Condition::from_problem(
                    ReportKind::ApplyRefused,
                    "apply",
                    &plan_digest(problem),
                    problem,
                ));
            }
            (Outcome::Waits(problem), None) => {
                conditions.push(Condition::from_problem(
                    ReportKind::ApplyWaiting,
                    "waiting",
                    &plan_digest(problem),
                    problem,
                ));
            }
            _ => {}
        }
        let mut kinds = vec![ReportKind::DriftFound, ReportKind::ApplyRefused];
        // What waited before is not reported again after a restart or a commit, if it still waits.
        if !matches!(findings.outcome, Outcome::Undecided) {
            kinds.push(ReportKind::ApplyWaiting);
        }
        // If the service did not answer, the credentials are not known to be renewed.
        if expiring.is_some() {
            kinds.push(ReportKind::CredentialExpiring);
        }
        shared.reports.set_conditions(&self.name, notify, &kinds, conditions);
    }

    /// Records the status of the environment.
    fn record_status(
        &self,
        shared: &Shared,
        findings: Findings,
        expiring: Option<Vec<ExpiringCredential>>,
        lease_problem: Option<Problem>,
    ) -> PassOutcome {
        let now = shared.options.clock.now();
        let role = match (&lease_problem, self.is_active()) {
            (Some(_), _) => Role::Unknown,
            (None, true) => Role::Acting,
            (None, false) => Role::Standby,
        };
        if let Some(problem) = &lease_problem {
            tracing::warn!(
                environment = %self.name, code = problem.code.id(), problem = problem.message, remedy = problem.remedy,
                "cannot acquire the lease; nothing is applied or reported"
            );
        }
        let Findings { state, planned, commit, outcome, applied, is_outdated } = findings;
        let is_undecided = matches!(outcome, Outcome::Undecided);
        let is_delayed = matches!(outcome, Outcome::Delayed(_));
        let (refused, waiting) = match outcome {
            Outcome::Failed(problem) | Outcome::Delayed(problem) => (Some(problem), None),
            Outcome::Waits(problem) => (None, Some(problem)),
            _ => (None, None),
        };
        let problem = planned.as_ref().err().cloned().or(lease_problem);
        let has_failed = problem.is_some() || refused.is_some() && !is_delayed;
        shared.set(|status| {
            let Some(environment) = status.environments.get_mut(&self.name) else { return };
            environment.role = role;
            let drift = drift(&state);
            environment.drift = if is_outdated { Vec::new() } else { drift.iter().map(object_name).collect() };
            environment.expiring = expiring.unwrap_or_else(|| std::mem::take(&mut environment.expiring));
            environment.generation = state.generation;
            if let Ok(Planned { plan, .. }) = &planned {
                environment.commit = commit;
                environment.planned_at = Some(now);
                let settings = usize::from(plan.settings.as_ref().is_some_and(|settings| !settings.fields.is_empty()));
                let changes = plan.changes.iter().filter(|change| !change.is_note()).count() + settings;
                environment.changes = if is_outdated { 0 } else { changes };
                environment.summary = plan.summary_line();
            }
            environment.errors += u64::from(has_failed);
            environment.problem = problem;
            environment.refused = refused;
            if !is_undecided {
                environment.waiting = waiting;
            }
            if let Some(applied) = applied {
                environment.applies += 1;
                environment.applied_at = Some(now);
                environment.applied = Some(applied.describe());
            }
        });
        if has_failed { PassOutcome::Failed } else { PassOutcome::Settled }
    }
}

fn object_name(drift: &Drift) -> String {
    drift.name.as_ref().map_or("the environment's settings".to_owned(), ToString::to_string)
}

/// Describes the changes that were made outside Git, and who made them.
fn describe_drift(drift: &[Drift]) -> String {
    let describe = |drift: &Drift| {
        let object = drift.name.as_ref().map_or("the environment's settings".to_owned(), |name| format!("`{name}`"));
        let change = match drift.kind {
            DriftKind::Changed => "changed",
            DriftKind::Removed => "removed",
            DriftKind::Restored => "restored",
        };
        let by = drift.by.as_ref().map(|by| format!(" by `{}` (generation {})", by.by, by.generation));
        format!("{object} was {change} outside Git{}", by.unwrap_or_default())
    };
    let mut lines: Vec<String> = drift.iter().take(NAMED).map(describe).collect();
    if drift.len() > NAMED {
        lines.push(format!("and {} more", drift.len() - NAMED));
    }
    lines.join("; ")
}
