//! Enforces guards and the source policy for a change: deletions that were not allowed for this change, and files from a
//! source that the environment does not accept.
//!
//! The rules are [`crate::changes::guards`], which the plan shows. A guard refuses a dry run as well; a breach of the source policy
//! is then a warning. A change by hand through the API runs into no guard, and the source policy applies to changesets only.

use super::Change;
use crate::{
    changes::guards::{self, Guard},
    model::{Allowances, ChangeKind, Code, Problem, State, provenance::Breach, rules::Violation},
    service::http::HttpProblem,
};

/// Refuses a change that runs into a guard. Returns the guards that its allowances lift, for the audit log.
pub(super) fn check(before: &State, after: &State, change: &Change) -> Result<Vec<Guard>, HttpProblem> {
    let violated = guards::check(before, after, &change.changes, &change.allowances);
    if let Some(first) = violated.first() {
        let all = violated.iter().map(Guard::message).collect::<Vec<_>>().join("; ");
        return Err(HttpProblem::new(first.code(), all)
            .remedy(format!("If this is intended, allow it for this plan: {}", Guard::options(&violated))));
    }
    if change.allowances.is_none() {
        return Ok(Vec::new());
    }
    Ok(guards::check(before, after, &change.changes, &Allowances::default()))
}

/// Checks the source of a changeset by the policy. In a dry run, breaches are warnings.
pub(super) fn check_source(before: &State, change: &Change) -> Result<Vec<Violation>, HttpProblem> {
    if change.kind != ChangeKind::Apply {
        return Ok(Vec::new());
    }
    let breaches = guards::check_source(&before.settings, change.settings.as_ref(), &change.provenance);
    if let (Some(first), false) = (breaches.first(), change.dry_run) {
        let all = breaches.iter().map(|breach| breach.message.as_str()).collect::<Vec<_>>().join("; ");
        return Err(HttpProblem::new(Code::SourceRefused, all).remedy(first.remedy.clone()));
    }
    let warning = |breach: Breach| Violation {
        profile: None,
        pointer: "/policy/source".to_owned(),
        problem: Problem::new(Code::SourceRefused, breach.message).remedy(breach.remedy),
    };
    Ok(breaches.into_iter().map(warning).collect())
}
