//! Reasons for which a plan must not be sent: redirected secrets, the source policy, guards, and missing approvals.
//!
//! [`check_plan`] and [`check_approvals`] are for commands, [`check_unattended`] for rollouts and watch, which have no operator to
//! ask. The first reason found is returned as a problem with its remedy. The service refuses such a plan too; these checks come
//! before the operator is asked, before anything is verified, and before a rollout begins.

use crate::{
    changes::guards::Guard,
    model::{Code, Problem, approvals::ApprovalNeed, provenance::SourcePolicy},
    reconcile::plan::Plan,
};

/// Checks a plan of a rollout or of watch, which has no operator to ask and no approvals. The problem is condensed, for journals
/// and status pages.
pub fn check_unattended(plan: &Plan, source_refusal: Option<&Problem>) -> Result<(), Problem> {
    check_plan(plan, source_refusal).and_then(|()| check_approvals(plan)).map_err(Problem::condensed)
}

/// Checks everything but approvals: redirected secrets, the source policy, guards.
pub fn check_plan(plan: &Plan, source_refusal: Option<&Problem>) -> Result<(), Problem> {
    check_secrets(plan)?;
    check_source(plan, source_refusal)?;
    check_guards(plan)
}

/// Checks a plan that is proposed: the person who applies it decides about guards, and signers approve the proposal.
pub fn check_proposal(plan: &Plan, source_refusal: Option<&Problem>) -> Result<(), Problem> {
    check_secrets(plan)?;
    check_source(plan, source_refusal)
}

/// Checks that no secret would be sent to another destination than the one that it is bound to.
pub fn check_secrets(plan: &Plan) -> Result<(), Problem> {
    let Some(secret) = plan.redirected.first() else { return Ok(()) };
    let remedy = format!(
        "If the new destination is correct, an operator who knows the value sets it again: mailwright secrets set {} {}",
        plan.environment, secret.secret
    );
    Err(Problem::new(Code::SecretRedirected, secret.message())
        .detail(format!("declared at {}", secret.place))
        .remedy(remedy))
}

/// Checks the source of the files against `policy.source`.
fn check_source(plan: &Plan, source_refusal: Option<&Problem>) -> Result<(), Problem> {
    let Some(first) = plan.policy.first() else { return Ok(()) };
    if let Some(refusal) = source_refusal {
        return Err(refusal.clone().detail("`policy.source` of the environment requires the source of the files"));
    }
    let breaches = plan.policy.iter().map(|breach| breach.message.as_str()).collect::<Vec<_>>().join("; ");
    Err(Problem::new(SourcePolicy::code(), breaches).remedy(first.remedy.clone()))
}

/// Checks that no guard is left which the operator did not lift.
fn check_guards(plan: &Plan) -> Result<(), Problem> {
    let Some((first, others)) = plan.guards.split_first() else { return Ok(()) };
    let remedy = format!(
        "If this is intended, apply this environment by itself: mailwright apply {} {}",
        plan.environment,
        Guard::options(&plan.guards)
    );
    let problem = Problem::new(first.code(), first.message()).remedy(remedy);
    Err(others.iter().fold(problem, |problem, guard| problem.detail(guard.message())))
}

/// Checks that a plan needs no approvals.
pub fn check_approvals(plan: &Plan) -> Result<(), Problem> {
    let Some(approvals) = &plan.approvals else { return Ok(()) };
    let needs: Vec<String> = approvals.needs.iter().map(ApprovalNeed::describe).collect();
    let environment = &plan.environment;
    Err(Problem::new(Code::ApprovalMissing, format!("the plan needs {}", needs.join(", and "))).remedy(format!(
        "mailwright plan {environment} --out {environment}.plan, then each signer: mailwright approve {environment}.plan, then: mailwright apply {environment}.plan"
    )))
}
