//! Proposals: the list, and one with its plan, which is computed against the current generation whenever it is shown.
//!
//! A proposal is verified, signed, applied or rejected by buttons. A person signs on a page that shows what is signed
//! (`signing`): an operator with a passkey, a person of an identity provider with a confirmation there. An approval by an SSH key
//! is a signature over the text that the page of the proposal shows; it is made on the signer's machine and pasted.

mod signing;

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, http::StatusCode, response::IntoResponse as _};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    difference::{DifferenceRow, difference_row},
    history::{Manifestation, counts},
    list_pages::{ListPages, Position},
    plan::{allowances, is_final, reason},
    plan_view::PlanView,
    profile_entry::Entry,
};
use crate::{
    api::proposals::ProposalStatus,
    approvals::{ApprovalText, NAMESPACE, is_reason, read_approval},
    console::{
        answer::{Answer, redirect, render},
        extract::{Form, Parameters, Segment},
        page::{Page, SignedIn, shown, shown_up_to},
        problem_page::ProblemNotice,
    },
    model::{
        Allowances, Approval, Code,
        access::{Activity, Area},
        approvals::SignedAction,
        proposal::{Proposal, ProposedChange},
        settings::ConsolePolicy,
    },
    service::{Caller, HttpProblem, PlannedChange, Service, Verifications, action_id},
};
pub(in crate::console) use signing::{add_signature, sign, sign_with_provider};

/// Number of rows of a page.
const ROWS: usize = 100;

/// The list.
#[derive(Template)]
#[template(path = "proposals.html")]
struct ProposalsPage {
    page: Page,
    rows: Vec<Row>,
    pages: Option<ListPages>,
}

struct Row {
    id: String,
    /// The change, for an edit of one profile: its name, and the id of the change.
    edit: Option<(String, &'static str)>,
    /// The source, for a plan of files.
    commit: String,
    branch: String,
    dirty: bool,
    /// The numbers of changes, with the ids of their texts, for a plan of files.
    counts: Vec<(&'static str, u64)>,
    settings: bool,
    at: Timestamp,
    by: String,
    reason: String,
    /// `open`, `expired`, `applied` or `rejected`.
    status: &'static str,
    /// The time after which it can no longer be signed and applied; none for a decided one, or without a limit.
    end: Option<Timestamp>,
    decided: Option<DecisionView>,
}

struct DecisionView {
    at: Timestamp,
    by: String,
    reason: String,
    generation: Option<u64>,
}

/// A proposal.
#[derive(Template)]
#[template(path = "proposal.html")]
struct ProposalPage {
    page: Page,
    row: Row,
    base: u64,
    generation: u64,
    conflict: Option<Vec<DifferenceRow>>,
    /// None if nothing would change, or if it cannot be planned.
    plan: Option<PlanView>,
    problem: Option<ProblemNotice>,
    /// True if the caller may not see the settings that the plan changes.
    hides_settings: bool,
    signatures: Vec<Manifestation>,
    /// Signatures that do not count: signer and reason.
    rejected: Vec<(String, String)>,
    missing: Vec<String>,
    /// The meanings with which the person is asked to sign; with true if a reason is required.
    meanings: Vec<(&'static str, bool)>,
    /// The text that a signer signs, if approvals are missing; empty if a reason is asked for first.
    text: Option<String>,
    /// The command that signs it.
    command: String,
    may_see_history: bool,
    /// The right that the caller lacks to apply it.
    missing_right: Option<ProblemNotice>,
    may_apply: bool,
    may_reject: bool,
    /// True if the caller made the proposal, and would withdraw it.
    is_own: bool,
    may_plan: bool,
    is_waiting_for_other: bool,
    is_waiting_for_signatures: bool,
    /// True if the person's own signature is needed, so that another one applies it.
    needs_own_signature: bool,
}

impl Row {
    fn new(service: &Service, proposal: &Proposal) -> Self {
        let source = proposal.contents.provenance();
        let text = |text: Option<&String>, limit| text.map(|text| shown_up_to(text, limit)).unwrap_or_default();
        let commit = source.and_then(|source| source.commit.as_ref());
        Self {
            id: proposal.id.clone(),
            edit: match &proposal.contents {
                ProposedChange::Edit { change, .. } => Some((change.name().to_string(), action_id(change))),
                ProposedChange::Files { .. } => None,
            },
            commit: commit.map(|commit| shown(commit).chars().take(12).collect()).unwrap_or_default(),
            branch: text(source.and_then(|source| source.branch.as_ref()), 60),
            dirty: source.is_some_and(|source| source.dirty),
            counts: if source.is_some() { counts(&proposal.summary) } else { Vec::new() },
            settings: proposal.summary.settings,
            at: proposal.at,
            by: shown(&proposal.by),
            reason: shown(&proposal.reason),
            status: ProposalStatus::of(proposal, service.is_proposal_expired(proposal)).id(),
            end: service.proposal_end(proposal).filter(|_| proposal.decision.is_none()),
            decided: proposal.decision.as_ref().map(|decision| DecisionView {
                at: decision.at,
                by: shown(&decision.by),
                reason: shown(&decision.reason),
                generation: decision.generation,
            }),
        }
    }
}

/// Shows the list.
pub(in crate::console) async fn list(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Parameters(position): Parameters<Position>,
) -> Answer {
    let found = service.visible_proposals(&caller).await?;
    let rows: Vec<Row> = found.iter().map(|proposal| Row::new(&service, proposal)).collect();
    let (rows, pages) = ListPages::cut(rows, ROWS, position.page, |number| format!("/console/proposals?page={number}"));
    render(&ProposalsPage { page, rows, pages })
}

/// Shows a proposal.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<String>,
    Parameters(SshReason { reason }): Parameters<SshReason>,
) -> Answer {
    show_proposal(&service, page, &caller, &id, Shown { ssh_reason: reason, ..Shown::default() }).await
}

/// The reason of an approval by an SSH key, which is part of the text that is signed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::console) struct SshReason {
    reason: String,
}

/// Verifies the profile of a proposal, and shows the proposal.
pub(in crate::console) async fn verify(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<String>,
) -> Answer {
    show_proposal(&service, page, &caller, &id, Shown { with_verification: true, ..Shown::default() }).await
}

/// Applies a proposal.
pub(in crate::console) async fn apply(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<String>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Answer {
    service.check_console_policy(ConsolePolicy::Propose)?;
    let entry = Entry::new(fields)?;
    let confirmed = allowances(&entry);
    let planned = entry.get("planned").parse().unwrap_or_default();
    let result = service.apply_proposal(&caller, &id, planned, confirmed.clone(), reason(&entry)?).await;
    show_result(&service, page, &caller, &id, &confirmed, result).await
}

/// Rejects a proposal, or withdraws one's own.
pub(in crate::console) async fn reject(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<String>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Answer {
    let entry = Entry::new(fields)?;
    let result = service.reject_proposal(&caller, &id, reason(&entry)?).await;
    show_result(&service, page, &caller, &id, &allowances(&entry), result).await
}

/// The fields of an approval.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::console) struct Signed {
    message: String,
    signature: String,
}

/// Adds an approval.
pub(in crate::console) async fn approve(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<String>,
    Form(signed): Form<Signed>,
) -> Answer {
    // Browsers send line ends as CRLF.
    let lines = |text: &str| format!("{}\n", text.replace("\r\n", "\n").trim_end());
    let approval = Approval { message: lines(&signed.message), signature: lines(&signed.signature) };
    let result = service.approve_proposal(&caller, &id, approval).await;
    show_result(&service, page, &caller, &id, &Allowances::default(), result).await
}

/// Redirects to the proposal, or shows it with the problem.
async fn show_result(
    service: &Arc<Service>,
    page: Page,
    caller: &Caller,
    id: &str,
    confirmed: &Allowances,
    result: Result<(), HttpProblem>,
) -> Answer {
    let Err(problem) = result else {
        return Ok(redirect(&format!("{}/console/proposals/{id}", page.base)));
    };
    if matches!(problem.code(), Code::NotFound | Code::Internal | Code::Busy | Code::RoleTooLow) {
        return Err(problem);
    }
    let status = StatusCode::from_u16(problem.code().status()).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    let again = Shown { confirmed: confirmed.clone(), problem: Some(problem), ..Shown::default() };
    Ok((status, show_proposal(service, page, caller, id, again).await?).into_response())
}

/// The part of a request that a page of a proposal depends on.
#[derive(Default)]
struct Shown {
    /// True if the verifier is run.
    with_verification: bool,
    /// The guards and findings that the form has confirmed so far.
    confirmed: Allowances,
    problem: Option<HttpProblem>,
    ssh_reason: String,
}

async fn show_proposal(service: &Arc<Service>, page: Page, caller: &Caller, id: &str, request: Shown) -> Answer {
    let Shown { with_verification, confirmed, problem, ssh_reason } = request;
    let proposal = service.proposal(caller, id).await?;
    let is_decided = proposal.decision.is_some();
    let is_open = !is_decided && !service.is_proposal_expired(&proposal);
    let (mut problem, mut planned) = (problem.as_ref().map(ProblemNotice::new), None);
    let mut conflict = None;
    if is_open {
        if let ProposedChange::Edit { base, change, .. } = &proposal.contents {
            conflict = service.find_visible_conflict(caller, change.name(), *base).await?;
        }
        match service.plan_for_proposer(caller, &proposal).await {
            Ok(found) => planned = found,
            Err(refused) => problem = problem.or_else(|| Some(ProblemNotice::new(&refused))),
        }
    }
    let verifications = match &planned {
        None => Verifications::new(),
        Some(planned) if with_verification => service.verify_planned(caller, planned).await,
        Some(planned) => service.last_verifications(planned).await?,
    };
    // The settings have the access policy in them.
    let sees_settings = page.may(Area::Settings, Activity::See) && page.may(Area::Access, Activity::See);
    let mut hides_settings = false;
    if let Some(planned) = planned.as_mut().filter(|_| !sees_settings) {
        let all = planned.differences.len();
        planned.differences.retain(|difference| difference.name.is_some());
        hides_settings = planned.differences.len() < all;
    }
    let missing: Vec<String> = planned
        .iter()
        .flat_map(|planned| &planned.evaluation.missing)
        .map(|(need, _)| shown(&need.describe()))
        .collect();
    let needs_own_signature = match &planned {
        Some(planned) if missing.is_empty() => service.needs_own_signature(caller, &proposal, planned).await?,
        _ => false,
    };
    let is_waiting_for_other = service.waits_for_other(caller, &proposal, planned.as_ref());
    // Those of an applied proposal are in the history; of a rejected one, nothing was evaluated.
    let signatures = match proposal.decision.as_ref().map(|decision| decision.generation) {
        None => {
            let approved = planned.iter().flat_map(|planned| &planned.evaluation.approved);
            approved.map(Manifestation::new).collect()
        }
        Some(Some(generation)) => {
            let entry = service.generation_entry(generation).await?;
            entry.iter().flat_map(|entry| &entry.approvals).map(Manifestation::new).collect()
        }
        Some(None) => {
            let state = service.state();
            let signers = &state.settings.policy.approvals.signers;
            let approvals = proposal.approvals.iter().filter_map(|approval| read_approval(approval, signers));
            let approvals = approvals.map(|approved| Manifestation::new(&approved));
            approvals.chain(proposal.signatures.iter().map(Manifestation::from)).collect()
        }
    };
    let is_complete = missing.is_empty();
    let may_decide =
        is_open && service.console_policy() > ConsolePolicy::ReadOnly && Service::may_apply(caller, &proposal);
    let missing_right = planned.as_ref().filter(|_| may_decide).and_then(|planned| planned.missing_right.as_ref());
    let lacks_right = missing_right.is_some_and(|problem| is_final(caller, problem));
    let missing_right = missing_right.map(ProblemNotice::new);
    render(&ProposalPage {
        missing_right,
        base: proposal.contents.base(),
        hides_settings,
        generation: planned.as_ref().map_or(service.state().generation, |planned| planned.base),
        conflict: conflict.map(|conflict| conflict.fields.iter().map(difference_row).collect()),
        signatures,
        rejected: planned
            .iter()
            .flat_map(|planned| &planned.evaluation.rejected)
            .map(|rejected| (shown(&rejected.signer), shown(&rejected.reason)))
            .collect(),
        text: planned
            .as_ref()
            .filter(|planned| can_be_signed_with_ssh(planned))
            .and_then(|planned| text_to_sign(service, planned, &proposal, &ssh_reason)),
        meanings: planned
            .iter()
            .flat_map(|planned| service.own_meanings(caller, &proposal, planned))
            .map(|(meaning, is_reason_required)| (meaning.id(), is_reason_required))
            .collect(),
        missing,
        command: format!("ssh-keygen -Y sign -n {NAMESPACE} -f ~/.ssh/id_ed25519 FILE"),
        may_see_history: page.may(Area::History, Activity::See),
        may_apply: may_decide
            && planned.is_some()
            && !is_waiting_for_other
            && !needs_own_signature
            && is_complete
            && !lacks_right,
        may_reject: !is_decided && Service::may_reject(caller, &proposal),
        is_own: caller.is_proposer(&proposal),
        may_plan: is_open && caller.may_at_all(Area::Changes, Activity::Plan),
        is_waiting_for_other: is_open && is_waiting_for_other,
        is_waiting_for_signatures: is_open && !is_complete,
        needs_own_signature,
        plan: planned.as_ref().map(|planned| PlanView::new(planned, &verifications, &confirmed)),
        row: Row::new(service, &proposal),
        problem,
        page,
    })
}

/// Returns true if a signature is missing that an SSH key can give.
fn can_be_signed_with_ssh(planned: &PlannedChange) -> bool {
    let needs = planned.evaluation.missing.iter();
    needs.flat_map(|(need, _)| &need.signers).any(|signer| !signer.key.is_empty())
}

/// Returns the text that approves a plan; empty if the reason is missing that a rule requires.
fn text_to_sign(service: &Service, planned: &PlannedChange, proposal: &Proposal, reason: &str) -> Option<String> {
    let (digest, _) = planned.approvals.as_ref()?;
    let is_reason_required = planned.evaluation.missing.iter().any(|(need, _)| need.reason_required);
    // Not empty: an empty one would end the text with a blank, which does not survive copying.
    let reason = match reason {
        "" if is_reason_required => return Some(String::new()),
        "" => format!("proposal {}", proposal.id),
        reason if is_reason(reason) => reason.to_owned(),
        _ => return Some(String::new()),
    };
    let text = ApprovalText {
        environment: service.environment().clone(),
        action: SignedAction::Apply.to_string(),
        base: planned.base,
        digest: digest.clone(),
        meaning: planned.evaluation.missing.first().map(|(need, _)| need.meaning).unwrap_or_default(),
        expires: service.signature_end(proposal).ok()?,
        reason,
    };
    Some(text.to_text())
}
