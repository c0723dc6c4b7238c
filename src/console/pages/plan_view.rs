//! [`PlanView`]: the contents of a plan, for the page of a plan and for that of a proposal (`plan_body.html`).

use super::{
    difference::{DifferenceRow, difference_row, display},
    profile::{FindingRow, finding_row},
};
use crate::{
    changes::{
        guards::Guard,
        routing::{CellSender, sender_groups},
    },
    console::page::shown,
    model::{Allowances, ProfileChange, finding::Verdict},
    service::{EditVerification, HttpProblem, PlannedEdit, count_errors},
};

/// Maximum number of groups of cells that are shown.
const GROUPS: usize = 50;

/// Maximum number of broken rules that a message names.
const RULES: usize = 5;

/// The contents of a plan.
pub(super) struct PlanView {
    /// `create`, `update` or `delete`.
    pub(super) action: &'static str,
    pub(super) fields: Vec<DifferenceRow>,
    pub(super) unchanged: usize,
    pub(super) groups: Vec<GroupRow>,
    pub(super) more_groups: usize,
    pub(super) guards: Vec<GuardRow>,
    pub(super) approvals: Option<ApprovalsView>,
    pub(super) warnings: Vec<Warning>,
    pub(super) verification: VerificationView,
    pub(super) drift: Vec<DifferenceRow>,
}

pub(super) struct GroupRow {
    pub(super) lines: Vec<String>,
    pub(super) before: Option<SenderView>,
    pub(super) after: Option<SenderView>,
}

pub(super) struct SenderView {
    pub(super) profile: String,
    /// None for a delegate, which sends as the signed-in user.
    pub(super) from: Option<String>,
}

pub(super) struct GuardRow {
    pub(super) message: String,
    /// The field and the value that confirm it.
    pub(super) field: &'static str,
    pub(super) value: String,
    pub(super) is_confirmed: bool,
}

pub(super) struct ApprovalsView {
    pub(super) digest: String,
    pub(super) needs: Vec<String>,
}

pub(super) struct Warning {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) remedy: String,
}

/// The result of the verifier.
pub(super) enum VerificationView {
    NotNeeded,
    Done { errors: usize, passed: usize, level: &'static str, open: Vec<FindingRow>, is_accepted: bool },
    Unfinished { reason: String, is_accepted: bool },
}

/// The problem because of which a plan was not applied.
pub(super) struct Refused {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) remedy: String,
}

impl Refused {
    pub(super) fn new(problem: &HttpProblem) -> Self {
        let problem = explain_rules(problem.clone());
        Self {
            code: problem.code().to_string(),
            message: shown(problem.message()),
            remedy: shown(problem.remedy_text()),
        }
    }
}

/// Names the broken rules in the message of a problem, for a page that has no fields to show them at.
pub(super) fn explain_rules(problem: HttpProblem) -> HttpProblem {
    let Some(first) = problem.violations().first() else { return problem };
    let messages = problem.violations().iter().take(RULES).map(|violation| violation.problem.message.as_str());
    let message = format!("{}: {}", problem.message(), messages.collect::<Vec<_>>().join("; "));
    HttpProblem::new(problem.code(), message).remedy(first.problem.remedy.clone())
}

/// Returns the id of a change: `create`, `update` or `delete`.
pub(super) fn action_id(change: &ProfileChange) -> &'static str {
    match change {
        ProfileChange::Create { .. } => "create",
        ProfileChange::Delete { .. } => "delete",
        _ => "update",
    }
}

impl PlanView {
    /// Creates the view of a plan; `confirmed` is what the form has confirmed so far.
    pub(super) fn new(planned: &PlannedEdit, verification: EditVerification, confirmed: &Allowances) -> Self {
        let groups = sender_groups(&planned.routing);
        let sender = |sender: Option<&CellSender>| {
            sender.map(|sender| SenderView {
                profile: sender.profile.to_string(),
                from: sender.from.as_deref().map(shown),
            })
        };
        // A change of one profile adds no rights.
        let guard = |guard: &Guard| {
            let (field, value, is_confirmed) = match guard {
                Guard::TooManyDeletes { deletes, .. } => {
                    ("allow-deletes", deletes.to_string(), confirmed.deletes.is_some())
                }
                Guard::DefaultProfile { name } | Guard::LastSender { name, .. } => {
                    ("allow-name", name.to_string(), confirmed.names.contains(name))
                }
                Guard::RightsAdded { .. } => return None,
            };
            Some(GuardRow { message: shown(&guard.message()), field, value, is_confirmed })
        };
        Self {
            action: action_id(&planned.change),
            fields: planned.fields.iter().map(difference_row).collect(),
            unchanged: planned.unchanged,
            groups: groups
                .iter()
                .take(GROUPS)
                .map(|group| GroupRow {
                    lines: group.lines(),
                    before: sender(group.before),
                    after: sender(group.after),
                })
                .collect(),
            more_groups: groups.len().saturating_sub(GROUPS),
            guards: planned.guards.iter().filter_map(guard).collect(),
            approvals: planned.approvals.as_ref().map(|(digest, needs)| ApprovalsView {
                digest: digest.to_string(),
                needs: needs.iter().map(|need| shown(&need.describe())).collect(),
            }),
            warnings: planned
                .warnings
                .iter()
                .map(|violation| Warning {
                    code: violation.problem.code.to_string(),
                    message: shown(&violation.problem.message),
                    remedy: shown(&violation.problem.remedy),
                })
                .collect(),
            verification: match verification {
                EditVerification::NotNeeded => VerificationView::NotNeeded,
                EditVerification::Unfinished(reason) => {
                    VerificationView::Unfinished { reason: shown(&reason), is_accepted: confirmed.unverified }
                }
                EditVerification::Done(verified) => VerificationView::Done {
                    errors: count_errors(&verified),
                    passed: verified.count(Verdict::Pass),
                    level: verified.reached.id(),
                    open: verified.findings.iter().filter(|finding| finding.is_open()).map(finding_row).collect(),
                    is_accepted: !confirmed.findings.is_empty(),
                },
            },
            drift: planned
                .drift
                .iter()
                .flat_map(|drift| &drift.fields)
                .map(|field| DifferenceRow {
                    path: field.path.clone(),
                    before: display(&field.applied),
                    after: display(&field.live),
                    secret: None,
                })
                .collect(),
        }
    }
}
