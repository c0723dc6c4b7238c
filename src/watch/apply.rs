//! Applies the part of a plan that the environment's `watch` settings allow.
//!
//! The attempt ends at once if the watch stops or loses its lease before a changeset is sent. From then on the answer is waited
//! for, 30 seconds after such an end and 10 minutes in all: the service applies a changeset completely or not at all, and the next
//! pass finds out which.
//!
//! A guard, a redirected secret, a missing approval, the source policy or a conflict with drift waits for an operator. Other
//! failures are repeated at the next pass.

use std::time::Duration;

use super::{Shared, loader::LoadedFiles, wave_runs::RunAnswer};
use crate::{
    api::VerifyRequest,
    client::Client,
    model::{
        Code, EnvironmentName, HumanDuration, Problem, ProfileName, State, WatchSettings, provenance::SourcePolicy,
        watch_settings::ApplyMode,
    },
    operations::{AllowedPart, Lease, Retry, blockers, gate, select_allowed},
    reconcile::{
        self, PlanRequest, Planned,
        plan::{Cause, Plan},
    },
};

/// The time limit of an apply, with its verification and all repetitions.
const APPLY_LIMIT: &str = "10m";
/// The time that the answer to a changeset is waited for when the watch ends or its lease is lost.
const GRACE: Duration = Duration::from_secs(30);

/// The outcome of an attempt to apply.
pub(super) enum Outcome {
    /// There was nothing to apply, or nothing that the settings allow.
    Nothing,
    /// A changeset was applied.
    Applied(Applied),
    /// The plan needs an action of an operator; another attempt would end the same.
    Waits(Problem),
    /// A rollout was requested, and it is not known yet if it works or waits for an operator.
    Undecided,
    /// A rollout was requested, and cannot work now. It is tried again, whenever the next pass is.
    Delayed(Problem),
    /// The attempt failed, and is repeated.
    Failed(Problem),
    /// The watch ends, and nothing was sent.
    Stopped,
}

/// A changeset that was applied.
pub(super) struct Applied {
    generation: u64,
    summary: String,
}

impl Applied {
    /// Returns the summary of the changeset and its generation.
    pub(super) fn describe(&self) -> String {
        format!("{} (generation {})", self.summary, self.generation)
    }
}

/// Returns true if an operator must act before the plan can be applied.
fn needs_operator(code: Code) -> bool {
    matches!(
        code,
        Code::DeletionGuarded
            | Code::RightsAdded
            | Code::SecretRedirected
            | Code::ApprovalMissing
            | Code::DriftConflict
    ) || code == SourcePolicy::code()
}

impl From<Problem> for Outcome {
    fn from(problem: Problem) -> Self {
        if needs_operator(problem.code) { Self::Waits(problem) } else { Self::Failed(problem) }
    }
}

/// An attempt to apply in one environment.
pub(super) struct ApplyAttempt<'a> {
    pub(super) shared: &'a Shared,
    pub(super) name: &'a EnvironmentName,
    pub(super) settings: &'a WatchSettings,
    pub(super) lease: &'a Lease,
    pub(super) client: &'a Client,
    pub(super) files: &'a LoadedFiles,
    pub(super) state: &'a State,
}

impl ApplyAttempt<'_> {
    /// Applies the part of the plan that the settings allow. Changes of Git that they do not allow wait for an operator.
    pub(super) async fn run(&self, complete: &Planned) -> Outcome {
        let mut planned = match self.plan_allowed(complete) {
            Ok(Some(planned)) => planned,
            Ok(None) => return self.waiting_changes(&complete.plan),
            Err(problem) => return problem.into(),
        };
        let request = match self.prepare(&mut planned).await {
            Ok(request) => request,
            Err(problem) => return problem.into(),
        };
        self.verify_and_send(&planned, request.as_ref()).await
    }

    /// Plans the part that may be applied; none if there is none.
    fn plan_allowed(&self, complete: &Planned) -> Result<Option<Planned>, Problem> {
        if complete.plan.has_nothing_to_send() {
            return Ok(None);
        }
        let applies_files = self.settings.apply == ApplyMode::Auto;
        let only = match select_allowed(&complete.plan, applies_files, self.settings.drift)? {
            AllowedPart::All => Vec::new(),
            AllowedPart::Only(only) => only,
            AllowedPart::Nothing => return Ok(None),
        };
        let planned = plan(self.files, self.state, self.client, &only)?;
        blockers::check_unattended(&planned.plan, self.files.snapshot.source_refusal.as_ref())?;
        Ok(Some(planned))
    }

    /// Returns the changes of the files that wait because the settings do not allow to apply them.
    fn waiting_changes(&self, plan: &Plan) -> Outcome {
        let settings = plan.settings.iter().filter(|settings| !settings.fields.is_empty());
        let causes = settings.map(|settings| settings.cause);
        let mut causes =
            causes.chain(plan.changes.iter().filter(|change| !change.is_note()).map(|change| change.cause));
        if self.settings.apply == ApplyMode::Auto || causes.all(|cause| cause == Cause::Drift) {
            return Outcome::Nothing;
        }
        if let ApplyMode::Rollout(rollout) = &self.settings.apply {
            let (revision, data) = (self.files.snapshot.revision, &self.shared.options.data);
            return match self.shared.waves.request(rollout, revision, data) {
                RunAnswer::Works => Outcome::Nothing,
                RunAnswer::Undecided => Outcome::Undecided,
                RunAnswer::Fails(problem) => Outcome::Delayed(problem),
                RunAnswer::Waits(problem) => Outcome::Waits(problem),
            };
        }
        let message = format!("changes of the files are not applied: {}", plan.summary_counts());
        let remedy = format!(
            "`mailwright plan {0}` shows them, and `mailwright apply {0}` applies them. With `watch: {{ apply: auto }}` the watch does.",
            self.name
        );
        Outcome::Waits(Problem::new(Code::ApplyIsManual, message).remedy(remedy))
    }

    /// Attaches the age files and makes the verification request, while the files cannot be replaced.
    async fn prepare(&self, planned: &mut Planned) -> Result<Option<VerifyRequest>, Problem> {
        let _checked_out = self.shared.files.read().await;
        self.files.as_environment_files().prepare(self.state, planned)
    }

    async fn verify_and_send(&self, planned: &Planned, request: Option<&VerifyRequest>) -> Outcome {
        let Ok(limit) = APPLY_LIMIT.parse::<HumanDuration>() else { return Outcome::Nothing };
        let until = tokio::time::Instant::now() + limit.duration();
        let mut lost = self.lease.lost();
        let retry = Retry::default();
        let timed_out = || Outcome::Failed(retry.timed_out(limit, slow_service_remedy(self.name)));
        if let Some(request) = request {
            let clock = &self.shared.options.clock;
            let check = gate::check(self.client, request, &self.files.desired, clock, &retry);
            let result = tokio::select! {
                () = self.shared.stopped() => return Outcome::Stopped,
                _ = lost.wait_for(|lost| *lost) => return Outcome::Failed(lease_lost()),
                result = tokio::time::timeout_at(until, check) => result,
            };
            match result {
                Ok(Ok(())) => {}
                Ok(Err(problem)) => return problem.into(),
                Err(_) => return timed_out(),
            }
        }
        if *lost.borrow() {
            return Outcome::Failed(lease_lost());
        }
        let summary = planned.plan.summary_counts();
        tracing::info!(environment = %self.name, changes = summary, "applying");
        let grace_over = async {
            tokio::select! {
                () = self.shared.stopped() => {}
                _ = lost.wait_for(|lost| *lost) => {}
            }
            tokio::time::sleep(GRACE).await;
        };
        let sent = retry.run(|| self.client.apply(&planned.changeset, false));
        tokio::select! {
            biased;
            result = tokio::time::timeout_at(until, sent) => match result {
                Ok(Ok(result)) => {
                    tracing::info!(environment = %self.name, generation = result.generation, changes = summary, "applied");
                    Outcome::Applied(Applied { generation: result.generation, summary })
                }
                Ok(Err(problem)) => problem.into(),
                Err(_) => timed_out(),
            },
            () = grace_over => {
                let message = "the changeset was sent and not answered; the service applies it completely or not at all";
                Outcome::Failed(Problem::new(Code::DeadlineExceeded, message).remedy("The next pass finds out which."))
            }
        }
    }
}

fn slow_service_remedy(name: &EnvironmentName) -> String {
    format!("Find out why the service is slow: mailwright status {name}. The next pass tries again.")
}

fn lease_lost() -> Problem {
    Problem::new(Code::LeaseLost, "the lease was lost before anything was sent")
        .remedy("Another watch may be active here now; this one becomes active again when the lease is free.")
}

/// Plans the environment; with names, these profiles alone.
pub(super) fn plan(
    files: &LoadedFiles,
    state: &State,
    client: &Client,
    only: &[ProfileName],
) -> Result<Planned, Problem> {
    let files = files.as_environment_files();
    reconcile::plan(&PlanRequest { only, ..files.plan_request(state, client.address()) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails where it panics")]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_times_out_names_no_file_of_a_rollout() {
        let remedy = slow_service_remedy(&"prod".parse().unwrap());
        let problem = Retry::default().timed_out(APPLY_LIMIT.parse().unwrap(), remedy);
        assert_eq!(problem.message, "the service took longer than 10m");
        assert!(problem.remedy.contains("mailwright status prod") && !problem.remedy.contains("rollout"));
    }

    #[test]
    fn a_plan_that_an_operator_must_decide_on_waits() {
        for code in [
            Code::DeletionGuarded,
            Code::RightsAdded,
            Code::SecretRedirected,
            Code::ApprovalMissing,
            SourcePolicy::code(),
        ] {
            assert!(matches!(Outcome::from(Problem::new(code, "blocked")), Outcome::Waits(_)), "{code}");
        }
        assert!(matches!(Outcome::from(Problem::new(Code::VerifyFailed, "errors")), Outcome::Failed(_)));
    }
}
