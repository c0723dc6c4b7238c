//! Checks that a change has the approvals that the environment requires, or that an administrator may apply it without any
//! (break-glass).
//!
//! The needs follow from the live settings ([`crate::changes::approval_needs`]); signatures are evaluated by
//! [`crate::approvals`]. A dry run reports missing approvals and is not refused for them. Malformed approvals, and a break-glass
//! change that the environment, the role or the reason does not allow, are refused in both cases.

use super::{Author, Change, Signers};
use crate::{
    approvals::{ApprovalRequest, Evaluation, REASON_LIMIT, SignaturesGiven, is_reason},
    changes::approval_needs,
    model::{
        ChangeKind, ChangeRecord, Code, State,
        access::{Activity, Area},
        approvals::{self as rules, SignedAction},
    },
    service::{caller::Caller, http::HttpProblem, signatures::proposal_expired},
};

/// Evaluates the approvals of a change by the live rules. A dry run reports missing approvals and is not refused.
pub(super) fn check(
    state: &State,
    after: &State,
    change: &Change,
    record: &ChangeRecord,
    signers: &Signers,
    caller: &Caller,
) -> Result<Evaluation, HttpProblem> {
    let policy = &state.settings.policy.approvals;
    let needs = approval_needs::find_needs(state, after, &change.changes);
    // The usual case: no rule matches, and the change has no approvals.
    let signatures = &change.signatures;
    let is_signed = !signatures.approvals.is_empty() || !signatures.signatures.is_empty();
    if needs.is_empty() && !is_signed && change.allowances.break_glass.is_none() {
        return Ok(Evaluation::default());
    }
    let action = change.rolled_back_to.map_or(SignedAction::Apply, SignedAction::Rollback);
    let request = ApprovalRequest {
        rules: policy,
        needs: &needs,
        environment: &state.environment,
        base: change.base,
        action,
        digest: rules::digest(&state.environment, change.base, action, change.settings.as_ref(), &change.changes),
        now: record.at,
        caller: caller.actor(),
        author: signatures.author.as_ref().map(Author::actor),
        operators: &signers.operators,
        persons: &signers.persons,
        site: signers.site.as_ref(),
    };
    let given = SignaturesGiven { approvals: &signatures.approvals, signatures: &signatures.signatures };
    let evaluation = request.evaluate(given).map_err(|error| {
        HttpProblem::new(Code::ApprovalMalformed, error.to_string())
            .remedy("Sign again with `mailwright approve PLANFILE`, and do not edit the files.")
    })?;
    if let Some(reason) = &change.allowances.break_glass {
        check_break_glass(policy.break_glass, reason, caller)?;
        return Ok(evaluation);
    }
    if change.dry_run {
        return Ok(evaluation);
    }
    if !needs.is_empty() && signatures.ends.is_some_and(|ends| ends <= record.at) {
        return Err(proposal_expired());
    }
    if evaluation.missing.is_empty() {
        return Ok(evaluation);
    }
    Err(approvals_missing(change, &evaluation, state.environment.as_str()))
}

/// Checks that an administrator may apply a change without approvals.
fn check_break_glass(allowed: bool, reason: &str, caller: &Caller) -> Result<(), HttpProblem> {
    let refused = |why: String, remedy: &str| {
        let problem = HttpProblem::new(Code::BreakGlassRefused, why);
        Err(problem.remedy(remedy))
    };
    if !allowed {
        return refused(
            "the environment does not allow changes without approvals".to_owned(),
            "Have the plan approved. `policy.approvals.breakGlass: true` allows such changes after the next apply, which needs approvals.",
        );
    }
    if !caller.may_at_all(Area::Changes, Activity::BreakGlass) {
        return refused(
            format!("`{}` does not have the right `break-glass` in `changes` (built-in role `admin`)", caller.name),
            "Have the plan approved, or ask an administrator.",
        );
    }
    if !is_reason(reason) || reason.is_empty() {
        return Err(HttpProblem::malformed(format!("the reason must be one line of 1 to {REASON_LIMIT} characters")));
    }
    Ok(())
}

/// Describes the missing approvals, the rejected ones with their reasons, and how to get approvals.
fn approvals_missing(change: &Change, evaluation: &Evaluation, environment: &str) -> HttpProblem {
    let missing = evaluation.missing.iter().map(|(need, have)| {
        let progress =
            if have.is_empty() { "no approval so far".to_owned() } else { format!("approved by {}", have.join(", ")) };
        format!("the change needs {}, because it {} ({progress})", need.describe(), need.because.join(", "))
    });
    let mut parts: Vec<String> = missing.collect();
    parts.extend(evaluation.rejected.iter().map(|rejected| format!("{} {}", rejected.signer, rejected.reason)));
    let steps = |command: String| {
        let file = format!("{environment}.plan");
        format!("{command} --out {file}, then each signer: mailwright approve {file}, then: mailwright apply {file}")
    };
    let rejected = evaluation.rejected.first().map_or(Code::ApprovalMissing, |rejected| rejected.code);
    let by_hand = change.kind == ChangeKind::Manual;
    let (code, remedy) = if change.signatures.author.is_some() {
        (rejected, "Have the proposal signed on its page by the signers that the page names.".to_owned())
    } else if change.action == "console.edit" {
        (
            Code::ManualChangeNeedsApproval,
            "Propose the change. The signers sign on the page of the proposal.".to_owned(),
        )
    } else if by_hand {
        (
            Code::ManualChangeNeedsApproval,
            format!("Change the files instead: {}", steps(format!("mailwright plan {environment}"))),
        )
    } else if change.kind == ChangeKind::Rollback {
        (
            rejected,
            steps(format!("mailwright rollback {environment} --to {}", change.rolled_back_to.unwrap_or_default())),
        )
    } else {
        (rejected, steps(format!("mailwright plan {environment}")))
    };
    HttpProblem::new(code, parts.join("; ")).remedy(remedy)
}
