//! Checks the rights of a caller on the difference that a change makes, and the rules for changes of the access policy.
//!
//! Every change comes through here: changeset, rollback, edit by hand. The rights are those of [`crate::changes::access`],
//! decided by the policy that is live before the change. Who may plan need not be the one who applies, so a dry run
//! reports what its caller lacks, and is not refused.

use super::Change;
use crate::{
    approvals::Evaluation,
    changes::access::{self as rights, AccessChangeDenied, ValueIds},
    model::{
        Code, Meaning, ProfileChange, State,
        access::{Decision, describe_gains},
        approvals::Approved,
        operator::Operator,
        token::Token,
    },
    service::{access::step_up_remedy, caller::Caller, http::HttpProblem},
};

/// Refuses changes of profiles of which the caller does not have every right.
pub(super) fn check_rights(
    state: &State,
    after: &State,
    changes: &[ProfileChange],
    sent: &ValueIds,
    caller: &Caller,
) -> Result<(), HttpProblem> {
    let policy = &state.settings.access;
    let Some(denied) = rights::find_denied(policy, &caller.principal, state, after, changes, sent, caller.at) else {
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

/// Refuses a change of the access policy, or of the rules about approvals, that the caller may not make alone.
pub(super) fn check_policy(
    state: &State,
    after: &State,
    evaluation: &Evaluation,
    caller: &Caller,
) -> Result<(), HttpProblem> {
    let signers = &state.settings.policy.approvals.signers;
    let is_other = |approved: &Approved| !approved.is_by(signers, caller.actor());
    let mut approvals = evaluation.approved.iter().filter(|approved| approved.meaning == Meaning::Approved);
    // A change without the required approvals (break-glass) is not approved by some of them.
    let is_approved = evaluation.missing.is_empty() && approvals.any(is_other);
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
        Err(AccessChangeDenied::NoRightToApprovals(decision)) => {
            let message = format!(
                "`{}` may not change the signers and rules of `policy.approvals` alone, because a signer can approve every right: {}",
                caller.name,
                decision.describe()
            );
            Err(HttpProblem::new(Code::RightMissing, message).remedy(
                "Let an administrator apply it; where there are rules, the approval of another person is enough.",
            ))
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
    admins: (&[Token], &[Operator]),
    now: jiff::Timestamp,
) -> Result<(), HttpProblem> {
    let Some(settings) = &change.settings else { return Ok(()) };
    if !rights::loses_administrator(&state.settings.access, &settings.access, admins, now) {
        return Ok(());
    }
    Err(HttpProblem::new(
        Code::LastAdministrator,
        "after this change no one would have the role `admin`: no token, no operator and no binding",
    )
    .remedy("Keep a binding of `admin`, or create a token or an operator with the role `admin` first."))
}
