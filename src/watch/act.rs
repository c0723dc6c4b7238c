//! Applies what may be applied of a plan. Until a changeset is sent everything can be broken off; once it is, its answer
//! is waited for, since the service takes it whole or not at all.

use std::time::Duration;

use super::{
    Shared,
    environment::{Read, Watched, plan},
};
use crate::{
    api::VerifyRequest,
    client::Client,
    model::{
        Code, Lapse, ProfileName, State,
        approvals::ApprovalNeed,
        provenance::SourcePolicy,
        watch_settings::{ApplyMode, DriftMode},
    },
    reconcile::{
        Planned, attachments,
        plan::{Cause, Plan},
    },
    rollout::{
        Problem,
        environment::{Last, blocked, patiently, verified},
    },
    verify::gate,
};

/// How long an apply may take, its verification and its repetitions with it.
const APPLY: &str = "10m";
/// How long the answer to what was sent is waited for when the watch ends, or its lease is lost.
const GRACE: Duration = Duration::from_secs(30);

/// What came of a plan.
pub(super) enum Outcome {
    /// There was nothing to do, or nothing that may be done.
    Nothing,
    /// It was applied.
    Applied(Applied),
    /// It waits for a person, and trying again helps nothing.
    Waits(Problem),
    /// It was not applied, and is tried again.
    Failed(Problem),
    /// The watch ends, and nothing was sent.
    Stopped,
}

/// What was applied.
pub(super) struct Applied {
    generation: u64,
    summary: String,
}

impl Applied {
    /// In words.
    pub(super) fn words(&self) -> String {
        format!("{} (generation {})", self.summary, self.generation)
    }
}

/// Whether a person must do something before it can be applied.
fn is_for_a_person(code: Code) -> bool {
    matches!(code, Code::DeletionGuarded | Code::SecretRedirected | Code::ApprovalMissing | Code::DriftConflict)
        || code == SourcePolicy::code()
}

impl From<Problem> for Outcome {
    fn from(problem: Problem) -> Self {
        if is_for_a_person(problem.code) { Self::Waits(problem) } else { Self::Failed(problem) }
    }
}

impl Watched {
    /// Applies what may be applied.
    pub(super) async fn act(
        &self,
        shared: &Shared,
        client: &Client,
        read: &Read,
        state: &State,
        whole: &Planned,
    ) -> Outcome {
        let allowed = self.allowed(client, read, state, whole);
        let mut planned = match allowed {
            Ok(Some(planned)) => planned,
            Ok(None) => return Outcome::Nothing,
            Err(problem) => return problem.into(),
        };
        let request = match arm(shared, read, state, &mut planned).await {
            Ok(request) => request,
            Err(problem) => return problem.into(),
        };
        self.send(shared, client, read, &planned, request.as_ref()).await
    }

    /// What of a plan may be applied, or why nothing of it may.
    fn allowed(
        &self,
        client: &Client,
        read: &Read,
        state: &State,
        whole: &Planned,
    ) -> Result<Option<Planned>, Problem> {
        if whole.plan.has_nothing_to_send() {
            return Ok(None);
        }
        let may_all = whole.plan.cause().map_or(self.settings.apply == ApplyMode::Auto, |cause| self.may(cause));
        let names: Vec<ProfileName> = if may_all {
            Vec::new()
        } else {
            if let Some(problem) = self.in_the_way(&whole.plan) {
                return Err(problem);
            }
            let names = whole.plan.changes.iter().filter(|change| !change.is_note() && self.may(change.cause));
            let names: Vec<ProfileName> = names.map(|change| change.name.clone()).collect();
            if names.is_empty() {
                return Ok(None);
            }
            names
        };
        let planned = plan(read, state, client, &names)?;
        blocked(&planned.plan)?;
        if let Some(breach) = planned.plan.policy.first() {
            if let Some(refusal) = &read.snapshot.source_refusal {
                return Err(refusal.clone().into());
            }
            return Err(Problem::new(SourcePolicy::code(), breach.message.clone()).remedy(breach.remedy.clone()));
        }
        if let Some(approvals) = &planned.plan.approvals {
            let needs: Vec<String> = approvals.needs.iter().map(ApprovalNeed::describe).collect();
            let message = format!("it needs {} before it is applied", needs.join(", and "));
            let remedy = format!(
                "mailwright plan {0} --out {0}.plan, have it approved (`mailwright approve {0}.plan`), and: mailwright apply {0}.plan",
                self.name
            );
            return Err(Problem::new(Code::ApprovalMissing, message).remedy(remedy));
        }
        Ok(Some(planned))
    }

    fn may(&self, cause: Cause) -> bool {
        let auto = self.settings.apply == ApplyMode::Auto;
        let revert = self.settings.drift == DriftMode::Revert;
        match cause {
            Cause::Git => auto,
            Cause::Drift => revert,
            Cause::Both => auto && revert,
        }
    }

    /// What Git changes and what waits because the same was changed outside Git.
    fn in_the_way(&self, plan: &Plan) -> Option<Problem> {
        if self.settings.apply != ApplyMode::Auto {
            return None;
        }
        let both = plan.changes.iter().find(|change| change.cause == Cause::Both);
        let both = both.map(|change| format!("`{}` was changed in Git and outside it", change.name));
        let settings =
            plan.settings.iter().find(|settings| !settings.fields.is_empty() && settings.cause != Cause::Drift);
        let settings = settings.map(|settings| match settings.cause {
            Cause::Both => "the environment's settings were changed in Git and outside it".to_owned(),
            _ => "the environment's settings were changed in Git, and profiles outside it".to_owned(),
        });
        let message =
            format!("{}; nothing of the commit is applied, since that would undo the other", both.or(settings)?);
        let remedy = format!(
            "Write the outside change into the files, or let it be undone: mailwright apply {}; or for good: `watch: {{ drift: revert }}`.",
            self.name
        );
        Some(Problem::new(Code::DriftConflict, message).remedy(remedy))
    }

    /// Verifies and sends.
    async fn send(
        &self,
        shared: &Shared,
        client: &Client,
        read: &Read,
        planned: &Planned,
        request: Option<&VerifyRequest>,
    ) -> Outcome {
        let Some(lease) = &self.lease else { return Outcome::Nothing };
        let Ok(deadline) = APPLY.parse::<Lapse>() else { return Outcome::Nothing };
        let until = tokio::time::Instant::now() + deadline.duration();
        let mut lost = lease.lost();
        let last = Last::default();
        if let Some(request) = request {
            let verified = verified(client, request, &read.desired, &shared.options.clock, &last);
            let result = tokio::select! {
                () = shared.stopped() => return Outcome::Stopped,
                _ = lost.wait_for(|lost| *lost) => return Outcome::Failed(lease_lost()),
                result = tokio::time::timeout_at(until, verified) => result,
            };
            match result {
                Ok(Ok(())) => {}
                Ok(Err(problem)) => return self.gated(problem).into(),
                Err(_) => return Outcome::Failed(last.too_long(deadline)),
            }
        }
        if *lost.borrow() {
            return Outcome::Failed(lease_lost());
        }
        let summary = planned.plan.summary_line().trim_start_matches("Plan: ").trim_end_matches('.').to_owned();
        tracing::info!(environment = %self.name, changes = summary, "applying");
        let broken_off = async {
            tokio::select! {
                () = shared.stopped() => {}
                _ = lost.wait_for(|lost| *lost) => {}
            }
            tokio::time::sleep(GRACE).await;
        };
        let sent = patiently(&last, || client.apply(&planned.changeset, false));
        tokio::select! {
            biased;
            result = tokio::time::timeout_at(until, sent) => match result {
                Ok(Ok(result)) => {
                    tracing::info!(environment = %self.name, generation = result.generation, changes = summary, "applied");
                    Outcome::Applied(Applied { generation: result.generation, summary })
                }
                Ok(Err(problem)) => problem.into(),
                Err(_) => Outcome::Failed(last.too_long(deadline)),
            },
            () = broken_off => {
                let message = "the change was sent and not answered; it is taken whole or not at all";
                Outcome::Failed(Problem::new(Code::DeadlineExceeded, message).remedy("The next pass tells which."))
            }
        }
    }

    /// Says of what verify found that it stopped the apply.
    fn gated(&self, problem: Problem) -> Problem {
        if problem.code != Code::VerifyFailed {
            return problem;
        }
        let remedy = format!(
            "`mailwright verify {}` says how to mend it. It is tried again by itself; what is accepted for a time gets a waiver in environment.yaml.",
            self.name
        );
        Problem::new(Code::VerifyFailed, format!("nothing was applied, because {}", problem.message)).remedy(remedy)
    }
}

fn lease_lost() -> Problem {
    Problem::new(Code::LeaseLost, "the lease was lost before anything was sent; nothing was applied")
        .remedy("Another watch may act here now; this one takes over again when the lease is free.")
}

/// Puts the age files in, and makes the request of the gate, while nobody changes the files.
async fn arm(
    shared: &Shared,
    read: &Read,
    state: &State,
    planned: &mut Planned,
) -> Result<Option<VerifyRequest>, Problem> {
    let _lying = shared.files.read().await;
    let root = read.snapshot.repository.root();
    let files = attachments::required_age_files(&read.desired, state, &planned.changeset);
    attachments::attach(&mut planned.changeset, &files, root)
        .map_err(|error| Problem::new(Code::PlanOutdated, error.to_string()).remedy("It is planned again."))?;
    Ok(gate::request(&planned.changeset, Some((root, &read.desired))))
}
