//! The plan of a change: fields, coverage, guards, approvals, the verifier's findings and drift, and what can be done with it.
//!
//! Nothing is kept between the pages: the plan carries what was typed, and is computed again before it is applied. A plan is
//! applied only at the generation that it shows; otherwise the page is shown again. The parts of the plan come from
//! [`crate::changes`], as those of the command line do.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::{
    plan_view::PlanView,
    profile_entry::Entry,
    profile_form::{ConflictView, profile_not_found, show_again},
    read_edit::{field_problems, read_edit},
};
use crate::{
    changes::git_patch::GitPatch,
    console::{
        answer::{Answer, redirect, render},
        extract::{Form, Segment},
        page::{Page, SignedIn, shown},
        problem_page::{ProblemNotice, explain_rules},
    },
    model::{
        Allowances, Code, Profile, ProfileChange, ProfileName, StoredProfile,
        access::{Activity, Area},
        settings::ConsolePolicy,
    },
    service::{
        Caller, ChangeSignatures, Edit, EditConflict, EditTerms, HttpProblem, PlannedChange, SealingRecipients,
        Service, WantedProfile, action_id,
    },
};

/// The page.
#[derive(Template)]
#[template(path = "plan.html")]
struct PlanPage {
    page: Page,
    name: String,
    /// The id of the change; none if nothing would change.
    action: Option<&'static str>,
    generation: u64,
    /// None if nothing would change.
    plan: Option<PlanView>,
    /// The fields that the form is sent with.
    carried: Vec<(String, String)>,
    is_form: bool,
    reason: String,
    may_apply: bool,
    /// True if the environment lets changes be proposed only.
    is_proposal_only: bool,
    /// True if the verifier did not contact a host, because the caller may not apply.
    is_host_unverified: bool,
    /// The right that the caller does not have.
    missing_right: Option<ProblemNotice>,
    /// None unless a new value is not encrypted for every recipient of the environment.
    sealing_note: Option<SealingNote>,
    problem: Option<ProblemNotice>,
    /// The changes of another person since this one loaded the profile, for a button that needs no form.
    conflict: Option<ConflictView>,
}

/// Something that is left to do after the patch is in Git, because some operators cannot read a new value.
struct SealingNote {
    id: &'static str,
    command: &'static str,
    /// The secrets to set again, as `PROFILE/KEY`; empty where one command is for all.
    secrets: Vec<String>,
}

impl SealingNote {
    fn new(recipients: &SealingRecipients, planned: &PlannedChange) -> Option<Self> {
        match (recipients.is_complete(), recipients.has_operator()) {
            (true, _) => None,
            (false, true) => Some(Self { id: "rekey", command: "mailwright secrets rekey", secrets: Vec::new() }),
            (false, false) => {
                let new = planned.changes.iter().filter_map(ProfileChange::profile).flat_map(StoredProfile::age_files);
                let new = new.filter(|(_, digest)| planned.age_files.contains_key(*digest));
                let secrets = new.map(|(reference, _)| reference.to_string()).collect();
                Some(Self { id: "set", command: "mailwright secrets set", secrets })
            }
        }
    }
}

/// Shows the plan.
pub(in crate::console) async fn show(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Form(fields): Form<Vec<(String, String)>>,
) -> Answer {
    service.check_console_policy(ConsolePolicy::Propose)?;
    let entry = Entry::new(fields)?;
    match prepare(&service, &page, &caller, &entry).await? {
        Prepared::Planned(edit, planned) => {
            let seen = (entry.get("action") != "save" && entry.has("base")).then(|| entry.base());
            show_plan(&service, page, &caller, &entry, &edit, planned.as_deref(), Notices { problem: None, seen }).await
        }
        Prepared::Again(again) => Ok(again),
    }
}

/// Applies the plan.
pub(in crate::console) async fn apply(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Form(fields): Form<Vec<(String, String)>>,
) -> Answer {
    service.check_console_policy(ConsolePolicy::Apply)?;
    let entry = Entry::new(fields)?;
    let (edit, planned) = match prepare(&service, &page, &caller, &entry).await? {
        Prepared::Planned(edit, planned) => (edit, planned),
        Prepared::Again(again) => return Ok(again),
    };
    let terms = EditTerms {
        base: entry.get("planned").parse().unwrap_or_default(),
        allowances: allowances(&entry),
        reason: reason(&entry)?,
        ..EditTerms::default()
    };
    let problem = match service.apply_edit(&caller, &edit, terms).await {
        Ok(_) if matches!(edit.wanted, WantedProfile::Deleted) => {
            return Ok(redirect(&format!("{}/console/profiles", page.base)));
        }
        Ok(_) => return Ok(redirect(&format!("{}/console/profiles/{}", page.base, edit.name))),
        Err(problem) => problem,
    };
    let is_shown = matches!(
        problem.code(),
        Code::StaleGeneration | Code::DeletionGuarded | Code::VerifyFailed | Code::ManualChangeNeedsApproval
    );
    if !is_shown {
        return Err(problem);
    }
    // The form of a whole profile has been compared already.
    let seen = entry.get("planned").parse().ok().filter(|_| entry.get("action") != "save");
    let notices = Notices { problem: Some(problem), seen };
    show_plan(&service, page, &caller, &entry, &edit, planned.as_deref(), notices).await
}

/// Stores the plan as a proposal.
pub(in crate::console) async fn propose(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Form(fields): Form<Vec<(String, String)>>,
) -> Answer {
    service.check_console_policy(ConsolePolicy::Propose)?;
    let entry = Entry::new(fields)?;
    match prepare(&service, &page, &caller, &entry).await? {
        Prepared::Planned(edit, Some(planned)) => {
            // A button has no form that was compared: the person has seen the profile in the plan.
            if let Ok(seen) = entry.get("planned").parse::<u64>()
                && service.find_conflict(&edit.name, seen).await?.is_some()
            {
                let notices = Notices { problem: Some(HttpProblem::stale(planned.base, seen)), seen: Some(seen) };
                return show_plan(&service, page, &caller, &entry, &edit, Some(&planned), notices).await;
            }
            let id = service.propose(&caller, *planned, reason(&entry)?).await?;
            Ok(redirect(&format!("{}/console/proposals/{id}", page.base)))
        }
        Prepared::Planned(edit, None) => {
            show_plan(&service, page, &caller, &entry, &edit, None, Notices::default()).await
        }
        Prepared::Again(again) => Ok(again),
    }
}

/// Sends the files of the plan as a patch.
pub(in crate::console) async fn patch(
    State(service): State<Arc<Service>>,
    page: Page,
    SignedIn { caller, .. }: SignedIn,
    Form(fields): Form<Vec<(String, String)>>,
) -> Answer {
    service.check_console_policy(ConsolePolicy::Propose)?;
    let entry = Entry::new(fields)?;
    match prepare(&service, &page, &caller, &entry).await? {
        Prepared::Planned(edit, Some(planned)) => {
            let patch = service.edit_patch(&caller, &edit, &planned, &reason(&entry)?).await?;
            Ok(send_patch(&edit.name, &patch))
        }
        Prepared::Planned(..) => Err(no_patch()),
        Prepared::Again(again) => Ok(again),
    }
}

/// Sends what is live of a profile and not in Git as a patch.
pub(in crate::console) async fn drift_patch(
    State(service): State<Arc<Service>>,
    SignedIn { caller, .. }: SignedIn,
    Segment(name): Segment<ProfileName>,
) -> Answer {
    service.check_console_policy(ConsolePolicy::Propose)?;
    service.check_visible(&caller, &name, (&Method::GET, "/console/profiles")).await?;
    let patch = service.drift_patch(&caller, &name).await?;
    if patch.files.is_empty() { Err(no_patch()) } else { Ok(send_patch(&name, &patch)) }
}

/// Sends the files of an open proposal as a patch, with the proposer as the author.
pub(in crate::console) async fn proposal_patch(
    State(service): State<Arc<Service>>,
    SignedIn { caller, .. }: SignedIn,
    Segment(id): Segment<String>,
) -> Answer {
    service.check_console_policy(ConsolePolicy::Propose)?;
    let proposal = service.proposal(&caller, &id).await?;
    let edit = Service::proposed_edit(&proposal).filter(|_| proposal.decision.is_none()).ok_or_else(no_patch)?;
    let planned = service.plan_for_proposer(&caller, &proposal).await?.ok_or_else(no_patch)?;
    let patch = service.edit_patch(&caller, &edit, &planned, &proposal.reason).await?;
    Ok(send_patch(&edit.name, &GitPatch { author: proposal.by, ..patch }))
}

fn no_patch() -> HttpProblem {
    HttpProblem::not_found("there is nothing that Git does not have")
        .remedy("Go back to the profile: it is what the last apply left. A proposal that was decided has no patch.")
}

fn send_patch(name: &ProfileName, patch: &GitPatch) -> Response {
    let mut response = patch.to_mail().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/x-patch; charset=utf-8"));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}.patch\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An edit with its plan, or the form again.
enum Prepared {
    /// No plan if nothing would change.
    Planned(Edit, Option<Box<PlannedChange>>),
    Again(Response),
}

/// Makes the edit of an entry, and plans it.
async fn prepare(service: &Arc<Service>, page: &Page, caller: &Caller, entry: &Entry) -> Result<Prepared, HttpProblem> {
    let again =
        |problems, conflict| show_again(service, page.clone(), caller, entry, problems, conflict).map(Prepared::Again);
    let action = entry.get("action");
    let edit = if action == "save" {
        match read_edit(page, entry) {
            Ok(edit) => edit,
            Err(problems) => return again(problems, None),
        }
    } else {
        simple_edit(service, caller, action, entry).await?
    };
    service.check_visible_edit(caller, &edit).await?;
    let is_existing = entry.has("original");
    if action == "save"
        && is_existing
        && let Some(conflict) = service.find_visible_conflict(caller, &edit.name, entry.base()).await?
    {
        return again(Vec::new(), Some(conflict));
    }
    match service.plan_edit(caller, &edit, ChangeSignatures::default()).await {
        Ok(planned) => Ok(Prepared::Planned(edit, planned.map(Box::new))),
        Err(problem) => match field_problems(&edit.name, &problem) {
            Some(problems) if action == "save" => again(problems, None),
            _ => Err(explain_rules(problem)),
        },
    }
}

/// Makes the edit of a button that needs no form.
async fn simple_edit(service: &Service, caller: &Caller, action: &str, entry: &Entry) -> Result<Edit, HttpProblem> {
    let name: ProfileName = entry
        .get("original")
        .parse()
        .map_err(|_| HttpProblem::malformed("the form names no profile").remedy("Load the page again."))?;
    service.check_visible(caller, &name, (&Method::POST, "/console/plan")).await?;
    let state = service.state();
    let live = state.profiles.get(&name).and_then(|found| found.live.as_ref());
    let Some(live) = live else {
        let conflict = service.find_visible_conflict(caller, &name, entry.base()).await?;
        return Err(conflict.map_or_else(profile_not_found, |conflict| deleted_meanwhile(&name, conflict)));
    };
    let enabled = match action {
        "delete" => return Ok(Edit { name, wanted: WantedProfile::Deleted }),
        "enable" => true,
        "disable" => false,
        _ => return Err(HttpProblem::malformed("the form names no action").remedy("Load the page again.")),
    };
    let profile = Box::new(Profile { enabled, ..live.profile.clone() });
    Ok(Edit { name, wanted: WantedProfile::Saved { profile, age_file: None, is_new: false } })
}

/// Returns the problem of a profile that another person deleted since this one loaded it.
fn deleted_meanwhile(name: &ProfileName, conflict: EditConflict) -> HttpProblem {
    let by = conflict.by.map(|by| format!(" by `{}`", by.by)).unwrap_or_default();
    HttpProblem::not_found(format!("profile `{name}` was deleted{by} since you opened it"))
        .remedy("Choose one from the list of profiles. The history has the profile as it was.")
}

pub(super) fn allowances(entry: &Entry) -> Allowances {
    Allowances {
        deletes: entry.get("allow-deletes").parse().ok(),
        names: entry.all("allow-name").filter_map(|name| name.parse().ok()).collect(),
        rights: entry.has("allow-rights"),
        findings: entry.all("accept-findings").filter_map(|name| name.parse().ok()).collect(),
        unverified: entry.has("accept-unverified"),
        ..Allowances::default()
    }
}

pub(super) fn reason(entry: &Entry) -> Result<String, HttpProblem> {
    let reason = entry.get("reason");
    if crate::approvals::is_reason(reason) {
        return Ok(reason.to_owned());
    }
    Err(HttpProblem::malformed("the reason is too long, or has control characters").remedy("Write it on one line."))
}

/// Returns true if a caller cannot get past a missing right by confirming its identity, which a token cannot do.
pub(super) fn is_final(caller: &Caller, missing_right: &HttpProblem) -> bool {
    missing_right.code() != Code::StepUpRequired || !caller.can_confirm_identity()
}

/// Notices above a plan.
#[derive(Default)]
struct Notices {
    problem: Option<HttpProblem>,
    /// The generation that the person has seen, if changes of others since then are to be shown.
    seen: Option<u64>,
}

async fn show_plan(
    service: &Arc<Service>,
    page: Page,
    caller: &Caller,
    entry: &Entry,
    edit: &Edit,
    planned: Option<&PlannedChange>,
    Notices { problem, seen }: Notices,
) -> Answer {
    let conflict = match seen {
        Some(seen) => service.find_visible_conflict(caller, &edit.name, seen).await?,
        None => None,
    };
    let status = problem.as_ref().map_or(StatusCode::OK, |problem| {
        StatusCode::from_u16(problem.code().status()).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY)
    });
    let problem = problem.as_ref().map(ProblemNotice::new);
    let confirmed = allowances(entry);
    let plan = match planned {
        None => None,
        Some(planned) => {
            let verifications = service.verify_planned(caller, planned).await;
            Some(PlanView::new(planned, &verifications, &confirmed))
        }
    };
    let is_host_unverified = plan.as_ref().is_some_and(PlanView::has_uncontacted_host);
    let missing_right = planned.and_then(|planned| planned.missing_right.as_ref());
    let is_refused = missing_right.is_some_and(|problem| is_final(caller, problem));
    let shown_page = PlanPage {
        name: edit.name.to_string(),
        action: planned.and_then(|planned| planned.changes.first()).map(action_id),
        generation: planned.map_or(service.state().generation, |planned| planned.base),
        plan,
        carried: entry.carried(),
        is_form: entry.get("action") == "save",
        reason: shown(entry.get("reason")),
        may_apply: !is_refused
            && service.console_policy() == ConsolePolicy::Apply
            && caller.may_at_all(Area::Changes, Activity::Edit),
        is_proposal_only: service.console_policy() == ConsolePolicy::Propose,
        is_host_unverified,
        missing_right: missing_right.map(ProblemNotice::new),
        sealing_note: planned
            .filter(|planned| !planned.age_files.is_empty())
            .and_then(|planned| SealingNote::new(&service.sealing_recipients(), planned)),
        problem,
        conflict: conflict.map(ConflictView::new),
        page,
    };
    Ok((status, render(&shown_page)?).into_response())
}
