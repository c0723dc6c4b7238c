//! Rollback of one environment to an earlier generation.
//!
//! [`plan_rollback`] computes the change so that it can be shown, counted and signed; [`roll_back`] requests it, and finds out
//! whether a request without an answer was accepted. The service computes the change itself and commits it. If another client has
//! changed the environment in the meantime, nothing is rolled back and the problem names that change. Settings (except
//! `policy.source` and the access policy), profiles and secrets are rolled back, files are not.

use std::collections::BTreeMap;

use super::{Retry, fetch_generation};
use crate::{
    api::Rollback,
    changes::revert_changes,
    client::Client,
    model::{
        Allowances, ChangeKind, Code, EnvironmentName, GenerationDetail, Problem, ProfileName, Settings, State,
        StoredProfile,
        approvals::{SignedAction, digest},
    },
    reconcile::{self, PlanRequest, Planned, plan::Action, recompute},
};

/// The state at the generation that a rollback returns to. The default is the empty state before the first generation.
#[derive(Clone, Debug, Default)]
pub struct RollbackTarget {
    settings: Settings,
    profiles: BTreeMap<ProfileName, StoredProfile>,
}

impl From<GenerationDetail> for RollbackTarget {
    fn from(GenerationDetail { settings, profiles, .. }: GenerationDetail) -> Self {
        Self { settings, profiles }
    }
}

/// Plans a rollback: the state at generation `number` takes the place of the files. Changes since the last apply are part of
/// the rollback and not drift, so the live state also counts as the last applied one.
pub fn plan_rollback(
    state: &State,
    number: u64,
    target: &RollbackTarget,
    service: &str,
    allowances: Allowances,
) -> Result<Planned, Problem> {
    let profiles =
        target.profiles.iter().map(|(name, stored)| (name.clone(), recompute::declare_profile(stored, None)));
    let settings = state.settings.going_back_to(&target.settings);
    let desired = recompute::desired_from_state(state, settings.clone(), profiles.collect());
    let live = recompute::assume_applied(state);
    let request = PlanRequest { allowances, ..PlanRequest::new(&desired, &live, service) };
    let mut planned = reconcile::plan(&request)?;
    for change in &mut planned.plan.changes {
        if change.action == Action::Delete {
            change.reason = Some(match number {
                0 => "because nothing was there before the first apply".to_owned(),
                _ => format!("because generation {number} does not have it"),
            });
        }
    }
    // A request for a rollback names only the generation. The changes are listed here to be shown, counted and signed.
    let changeset = &mut planned.changeset;
    changeset.changes = revert_changes(state, &target.profiles);
    // As in the service: the digest that is signed must be the one that the service computes.
    changeset.settings = (settings != state.settings).then_some(settings);
    if let Some(approvals) = &mut planned.plan.approvals {
        let action = SignedAction::Rollback(number);
        approvals.digest =
            digest(&state.environment, state.generation, action, changeset.settings.as_ref(), &changeset.changes);
    }
    changeset.provenance.plan = Some(planned.plan.digest());
    Ok(planned)
}

/// Requests a rollback until it is answered, as long as `permit` allows it. Returns the new generation. A request whose
/// answer was lost is recognised by the generation that it created, and not repeated.
pub async fn roll_back(
    client: &Client,
    name: &EnvironmentName,
    rollback: &Rollback,
    retry: &Retry,
    permit: impl Fn() -> Result<(), Problem>,
) -> Result<u64, Problem> {
    match retry.run_while(permit, || client.roll_back(rollback)).await {
        Ok(changed) => Ok(changed.generation),
        Err(problem) if problem.code == Code::StaleGeneration => {
            find_rollback(client, name, rollback.base, rollback.to, retry).await
        }
        Err(problem) => Err(problem),
    }
}

/// Returns the generation after `base` if it is the rollback to generation `to`. Otherwise the environment was changed, and
/// the error names the change.
pub async fn find_rollback(
    client: &Client,
    name: &EnvironmentName,
    base: u64,
    to: u64,
    retry: &Retry,
) -> Result<u64, Problem> {
    match fetch_generation(client, base + 1, retry).await? {
        Some(next) if next.kind == ChangeKind::Rollback && next.rolled_back_to == Some(to) => Ok(next.number),
        Some(next) => Err(Problem::new(
            Code::ChangedMeanwhile,
            format!(
                "`{}` changed the environment since (generation {}, {}), so it is not rolled back",
                next.by,
                next.number,
                next.kind.id()
            ),
        )
        .remedy(format!("To roll it back regardless: mailwright rollback {name} --to {to}"))),
        None => Err(Problem::new(
            Code::ChangedMeanwhile,
            format!("the service does not have generation {base} any more: its store was replaced"),
        )),
    }
}
