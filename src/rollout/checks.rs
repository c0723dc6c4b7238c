//! The checks of a wave in one environment: drift, failed deliveries, verification, a probe mail. The quick ones come first.
//!
//! The engine calls [`run_checks`] after the soak time. The first check that fails ends it with a problem, as does a service that
//! does not answer within the deadline, or a probe that is not delivered in its time. Nothing is changed in the environment; a
//! probe is sent once per check, however often it is repeated.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{environment::EnvironmentTask, run::EnvironmentRun};
use crate::{
    api::messages::Submission,
    changes,
    client::Client,
    model::{
        Code, Problem, State, Status,
        rollout::{Checks, FailedDeliveries, Probe},
    },
    operations::{ClientPurpose, Retry, gate},
};

/// The longest window that the service counts deliveries in, in seconds: 30 days.
const LONGEST_WINDOW: u32 = 2_592_000;
/// The first and the longest pause between two requests for the status of a probe.
const PROBE_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// The longest part of a delivery's reason that a message quotes, in characters.
const QUOTED: usize = 200;

/// Runs the checks, and fails with the first that does not pass. `changed_before` is true if an earlier run made the change that is
/// checked; when it did is not known here, so failed deliveries are counted in the whole window.
pub(super) async fn run_checks(
    task: &EnvironmentTask<'_>,
    checks: &Checks,
    known: &EnvironmentRun,
    (run, changed_before): (Uuid, bool),
) -> Result<(), Problem> {
    let retry = Retry::default();
    let within = checks.probe.as_ref().map_or(Duration::ZERO, |probe| probe.within.duration());
    let work = async {
        let client = task.client(ClientPurpose::Deploy)?;
        let state = task.fetch_state(&client, &retry).await?;
        if checks.drift.is_some() {
            check_drift(&state)?;
        }
        if let Some(limit) = checks.failed_deliveries {
            let age = |at: Timestamp| task.clock.now().as_second().saturating_sub(at.as_second());
            let since_apply = if changed_before { i64::from(LONGEST_WINDOW) } else { known.at.map_or(0, age) };
            check_failed_deliveries(&client, limit, since_apply, &retry).await?;
        }
        if checks.verify.is_some() {
            check_verify(task, &client, &retry).await?;
        }
        if let Some(probe) = &checks.probe {
            // One key per check: however often the request is repeated, one mail is sent.
            let key = format!("rollout-{run}-{}-{}", task.name, known.checks);
            check_probe(task, probe, &state, &key, &retry).await?;
        }
        Ok(())
    };
    let result = tokio::time::timeout(task.deadline.duration() + within, work).await;
    result.unwrap_or_else(|_| Err(task.timed_out(&retry)))
}

fn check_drift(state: &State) -> Result<(), Problem> {
    let drift = changes::drift(state);
    let Some(first) = drift.first() else { return Ok(()) };
    let object = first.name.as_ref().map_or("the environment's settings".to_owned(), |name| format!("`{name}`"));
    let by = first.by.as_ref().map(|by| format!(" by `{}` (generation {})", by.by, by.generation)).unwrap_or_default();
    let more = if drift.len() > 1 { format!(" and {} more", drift.len() - 1) } else { String::new() };
    Err(failed_check("drift", &format!("{object}{more} was changed outside Git{by}")))
}

/// Counts deliveries that ended since the apply. Earlier failures are not caused by it.
async fn check_failed_deliveries(
    client: &Client,
    limit: FailedDeliveries,
    since_apply: i64,
    retry: &Retry,
) -> Result<(), Problem> {
    let window = u32::try_from(since_apply.max(1)).unwrap_or(u32::MAX);
    let window = window.min(u32::try_from(limit.over.duration().as_secs()).unwrap_or(u32::MAX));
    let window = window.clamp(1, LONGEST_WINDOW);
    let outbox = retry.run(|| client.outbox_finished_within(window)).await?;
    let finished = outbox.finished.unwrap_or_default();
    let count = |status: Status| finished.get(&status).copied().unwrap_or_default();
    let failed = count(Status::Failed) + count(Status::Unknown);
    let all = failed + count(Status::Delivered);
    if limit.below.is_above(failed, all) {
        return Ok(());
    }
    let message = format!(
        "{failed} of {all} deliveries failed or are unknown within {window} s, and fewer than {} may",
        limit.below
    );
    Err(failed_check("failedDeliveries", &message))
}

/// Verifies every enabled profile of the environment.
async fn check_verify(task: &EnvironmentTask<'_>, client: &Client, retry: &Retry) -> Result<(), Problem> {
    let desired = task.desired()?;
    let enabled = desired.profiles.iter().filter(|(_, profile)| profile.stored.profile.enabled);
    let profiles = enabled.map(|(name, profile)| (name.clone(), profile.stored.clone())).collect();
    let request = gate::profile_request(&task.rollout.root, desired, profiles)?;
    gate::check(client, &request, desired, task.clock, retry).await.map_err(|problem| {
        if problem.code == Code::VerifyFailed { failed_check("verify", &problem.message) } else { problem }
    })
}

/// Sends a mail through the service, and waits until it is delivered.
async fn check_probe(
    task: &EnvironmentTask<'_>,
    probe: &Probe,
    state: &State,
    key: &str,
    retry: &Retry,
) -> Result<(), Problem> {
    let client = task.client(ClientPurpose::SendMail)?;
    let company = probe.company.clone().or_else(|| state.settings.companies.first().cloned());
    let company = company.ok_or_else(|| failed_check("probe", "the environment has no company to send for"))?;
    let mut submission = Submission::new(company, probe.function);
    submission.to = vec![probe.to.clone()];
    submission.subject = format!("Probe of {}", task.name);
    submission.text = Some("This mail shows that mail is delivered. No action is needed.\n".to_owned());
    let mut message = retry.run(|| client.submit(&submission, Some(key))).await.map_err(|problem| {
        if problem.code == Code::RoleTooLow {
            problem
                .remedy("Submitting mail needs a token of role `sender` or `admin`: give it with `--probe-token-file`.")
        } else {
            problem
        }
    })?;
    let until = tokio::time::Instant::now() + probe.within.duration();
    let (mut pause, longest) = PROBE_PAUSES;
    while !message.status.is_final() && tokio::time::Instant::now() < until {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
        message = retry.run(|| client.message(message.id)).await?.message;
    }
    if message.status == Status::Delivered {
        return Ok(());
    }
    let reason: String = message.reason.chars().filter(|c| !c.is_control()).take(QUOTED).collect();
    let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
    let outcome = format!("the mail {} to {} is {}{reason}", message.id, probe.to, message.status.id());
    Err(failed_check("probe", &outcome))
}

fn failed_check(check: &str, cause: &str) -> Problem {
    Problem::new(Code::CheckFailed, format!("{check}: {cause}"))
}
