//! Checks the rights of a caller on the difference that a change makes, and the rules for changes of the access policy.
//!
//! Every change comes through here: changeset, rollback, edit by hand. The rights are those of [`crate::changes::access`], decided
//! by the policy that is live before the change. A dry run is not checked: who may plan need not be the one who applies.

use super::Change;
use crate::{
    approvals::Evaluation,
    changes::access::{self as rights, AccessChangeDenied},
    model::{
        Code, State,
        access::{Decision, describe_gains},
        token::Token,
    },
    service::{access::step_up_remedy, caller::Caller, http::HttpProblem},
};

/// Refuses a change of which the caller does not have every right.
pub(super) fn check_rights(state: &State, after: &State, change: &Change, caller: &Caller) -> Result<(), HttpProblem> {
    if change.dry_run {
        return Ok(());
    }
    let policy = &state.settings.access;
    let Some(denied) = rights::find_denied(policy, &caller.principal, state, after, &change.changes, caller.at) else {
        return Ok(());
    };
    let message = format!("`{}` may not {}: {}", caller.name, denied.request, denied.decision.describe());
    if let Decision::StepUp { .. } = denied.decision {
        return Err(HttpProblem::new(Code::StepUpRequired, message).remedy(step_up_remedy(&denied.decision)));
    }
    let holders = denied.right.holders(policy, caller.at);
    Err(HttpProblem::new(Code::RightMissing, message).remedy(format!(
        "Those who may: {}. To change who may, change environments/{}/access.yaml.",
        holders.join(", "),
        state.environment
    )))
}

/// Refuses a change of the access policy that the caller may not make alone.
pub(super) fn check_policy(
    state: &State,
    after: &State,
    change: &Change,
    evaluation: &Evaluation,
    caller: &Caller,
) -> Result<(), HttpProblem> {
    if change.dry_run {
        return Ok(());
    }
    let is_other = |signer: &str| signer.to_lowercase() != caller.name.to_lowercase();
    let is_approved = evaluation.approved.iter().any(|approved| is_other(&approved.signer));
    let checked =
        rights::check_access_change(&state.settings, &after.settings, &caller.principal, is_approved, caller.at);
    let environment = &state.environment;
    match checked {
        Ok(()) => Ok(()),
        Err(AccessChangeDenied::NoRight(decision)) => {
            let message = format!("`{}` may not change the access policy: {}", caller.name, decision.describe());
            Err(HttpProblem::new(Code::RightMissing, message).remedy(format!(
                "Let an administrator apply it, or have the plan approved by another person: mailwright plan {environment} --out {environment}.plan, then a signer: mailwright approve {environment}.plan, then: mailwright apply {environment}.plan"
            )))
        }
        Err(AccessChangeDenied::Beyond(gains)) => {
            let message =
                format!("`{}` would give rights that it does not have: {}", caller.name, describe_gains(&gains));
            Err(HttpProblem::new(Code::RightsExceeded, message)
                .remedy("Let another administrator apply it, or have the plan approved by another person."))
        }
    }
}

/// Refuses a change of the access policy that leaves no administrator.
pub(super) fn check_administrator(
    change: &Change,
    state: &State,
    tokens: &[Token],
    now: jiff::Timestamp,
) -> Result<(), HttpProblem> {
    let Some(settings) = &change.settings else { return Ok(()) };
    if !rights::loses_administrator(&state.settings.access, &settings.access, tokens, now) {
        return Ok(());
    }
    Err(HttpProblem::new(
        Code::LastAdministrator,
        "after this change no one would have the role `admin`: neither a token nor a binding",
    )
    .remedy("Keep a binding of `admin`, or create a token with the role `admin` first."))
}
